"""Which of CPython's test ids cannot pass on hotloop, and why: the only failures there may be.

An entry matches ids without their "test.test_asyncio." by a shell pattern, in the modes and on the
versions that it names. Each listed test is run all the same and must not pass: an entry that has
become wrong fails the run. The reasons are a closed set; anything else is a bug of hotloop's.
"""

import dataclasses
import fnmatch
import sys

SELECTORS = "patches selectors"
NOT_OURS = "tests an asyncio class that is not ours"
PLATFORM = "another platform"
REASONS = (SELECTORS, NOT_OURS, PLATFORM)
ALL_VERSIONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
THIS_VERSION = "{}.{}".format(*sys.version_info)


@dataclasses.dataclass(frozen=True)
class Exclusion:
    """Tests that are expected not to pass, with the reason out of the closed set."""

    pattern: str
    reason: str
    detail: str
    versions: tuple = ALL_VERSIONS
    modes: tuple = ("loop",)
    may_be_absent: tuple = ()  # Versions of which not every release has the tests.

    def __post_init__(self):
        if self.reason not in REASONS:
            raise ValueError(f"{self.pattern}: {self.reason!r} is no reason to leave a test out")
        if not set(self.may_be_absent) <= set(self.versions) <= set(ALL_VERSIONS):
            raise ValueError(f"{self.pattern}: unknown version in {self.versions!r}")

    def is_needed(self, module_name, mode_name):
        """Say whether that module in that mode on this Python must have a test for this entry."""
        return (
            THIS_VERSION in set(self.versions) - set(self.may_be_absent)
            and mode_name in self.modes
            and self.pattern.startswith(short_id(module_name) + ".")
        )

    def matches(self, test_id, mode_name):
        """Say whether this entry speaks of that id in that mode on this Python."""
        return (
            THIS_VERSION in self.versions
            and mode_name in self.modes
            and fnmatch.fnmatchcase(short_id(test_id), self.pattern)
        )


def short_id(test_id):
    """Return the id without the package that most ids begin with."""
    return test_id.removeprefix("test.test_asyncio.")


PIPE_TRANSPORTS_ON_TEST_LOOP = (
    "ReadPipeTransportTests.test_ctor",
    "ReadPipeTransportTests.test__close",
    "ReadPipeTransportTests.test__read_ready_eof",
    "ReadPipeTransportTests.test_pause_reading",
    "ReadPipeTransportTests.test_resume_reading",
    "WritePipeTransportTests.test_ctor",
    "WritePipeTransportTests.test__read_ready",
    "WritePipeTransportTests.test__write_ready",
    "WritePipeTransportTests.test__write_ready_again",
    "WritePipeTransportTests.test__write_ready_closing",
    "WritePipeTransportTests.test__write_ready_empty",
    "WritePipeTransportTests.test__write_ready_err",
    "WritePipeTransportTests.test__write_ready_partial",
    "WritePipeTransportTests.test_abort",
    "WritePipeTransportTests.test_write",
    "WritePipeTransportTests.test_write_again",
    "WritePipeTransportTests.test_write_buffer",
    "WritePipeTransportTests.test_write_eof",
    "WritePipeTransportTests.test_write_err",
    "WritePipeTransportTests.test_write_no_data",
    "WritePipeTransportTests.test_write_partial",
)
EXCLUSIONS = (
    Exclusion(
        "test_ssl.TestSSL.test_remote_shutdown_receives_trailing_data_on_slow_socket",
        NOT_OURS,
        "Looks into asyncio's selector transport (_read_ready_cb) and exchanges its socket.",
        versions=("3.13", "3.14", "3.15"),
        may_be_absent=("3.13",),
    ),
    Exclusion(
        "test_free_threading.Test*PyFreeThreading."
        "test_all_tasks_from_other_thread_includes_eager_tasks",
        NOT_OURS,
        "Looks for all tasks in the registry of asyncio's pure-Python Task, which the loop is to "
        "make because asyncio.tasks.Task was replaced by it; hotloop's loop makes its own Task.",
        versions=("3.14", "3.15"),
    ),
    Exclusion(
        "test_tasks.CTask_CFuture_Tests.test_set_*_causes_invalid_state",
        NOT_OURS,
        "Calls a method of hotloop's Future on asyncio's own Task, which is not derived from it.",
        modes=("future",),
    ),
    Exclusion(
        "test_base_events.BaseEventLoopTests.test__run_once",
        NOT_OURS,
        "Appends to the heap that BaseEventLoop keeps its timers in.",
    ),
    Exclusion(
        "test_base_events.BaseEventLoopTests.test__run_once_schedule_handle",
        NOT_OURS,
        "Appends to the heap that BaseEventLoop keeps its timers in.",
    ),
    Exclusion(
        "test_base_events.BaseEventLoopTests.test__run_once_cancelled_event_cleanup",
        NOT_OURS,
        "Counts the cancelled timers in BaseEventLoop's heap; they leave hotloop's at once.",
    ),
    Exclusion(
        "test_base_events.BaseEventLoopTests.test_not_implemented",
        NOT_OURS,
        "Calls the methods that BaseEventLoop leaves to derived classes.",
    ),
    Exclusion(
        "test_base_events.BaseEventLoopTests.test_custom_run_forever_integration",
        SELECTORS,
        "Replaces _process_events by a mock and counts the calls.",
        versions=("3.13", "3.14", "3.15"),
    ),
    Exclusion(
        "test_base_events.BaseEventLoopTests.test_run_forever_pre_stopped",
        SELECTORS,
        "Asks a mock in the place of the selector how it was called.",
    ),
    Exclusion(
        "test_base_events.BaseEventLoopTests.test_single_selecter_event_callback_after_stopping",
        SELECTORS,
        "Has a mock in the place of the selector return an event.",
    ),
    Exclusion(
        "test_subprocess.SubprocessThreadedWatcherTests.test_pid_not_reaped_before_exit_published",
        NOT_OURS,
        "Looks for a thread in asyncio's private watcher of children, which hotloop does without.",
        versions=("3.14", "3.15"),
    ),
    Exclusion(
        "test_unix_events.PidfdChildWatcherTests.test_pidfd_closed_when_waitpid_raises",
        NOT_OURS,
        "Waits for a call of os.waitpid() by asyncio's private watcher; hotloop calls os.waitid().",
        versions=("3.15",),
    ),
    Exclusion(
        "test_unix_events.SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_not_available",
        PLATFORM,
        "Takes os.sendfile() away, which Linux always has.",
    ),
    *(
        Exclusion(
            f"test_unix_events.Unix{name}",
            NOT_OURS,
            "Asks CPython's TestLoop which readers and writers asyncio's own pipe transport added.",
        )
        for name in PIPE_TRANSPORTS_ON_TEST_LOOP
    ),
)
