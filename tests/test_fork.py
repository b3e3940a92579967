"""fork(): the child gets a working asyncio of its own, and the parent never notices.

A child inherits the parent's descriptors.  It must not change what the kernel keeps for the parent
under them, above all the epoll set, and it must be able to make and run a new loop at once.  What
the child sees of the parent's loop is asked of asyncio.
"""

import asyncio
import concurrent.futures
import gc
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
import warnings

import pytest
from support.differential import assert_same_on_both, normalized, outcome_of, run_briefly

# CPython warns of every fork while other threads exist; hypothesis and pytest have some.
pytestmark = pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")

CHILD_LIMIT = 8  # Seconds after which a child that hangs is killed by its own alarm.


def in_child(function):
    """Fork, call the function in the child and return what it returned, a short string."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(CHILD_LIMIT)
            os.close(reading)
            os.write(writing, str(function()).encode())
            status = 0
        except BaseException:
            os.write(writing, traceback.format_exc().encode())
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        text = answer.read().decode()
    _, status = os.waitpid(pid, 0)
    assert status == 0, text
    return text


def new_loop_works(factory):
    """Use everything a loop has descriptors for: timers, threads, sockets, signals."""

    async def main():
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0.001)
        near, far = socket.socketpair()
        received = loop.create_future()
        loop.add_reader(near, lambda: received.set_result(near.recv(5)))
        far.send(b"hello")
        text = await received
        loop.remove_reader(near)
        near.close()
        far.close()
        handled = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, handled.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.wait_for(handled.wait(), 5)
        number = await asyncio.to_thread(int, "5")
        return text.decode(), number

    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


async def parent_works(loop):
    """The parent's own descriptors still wake it."""
    near, far = socket.socketpair()
    received = loop.create_future()
    loop.add_reader(near, lambda: received.set_result(near.recv(5)))
    sender = threading.Timer(0.005, far.send, [b"awake"])
    sender.start()
    text = await asyncio.wait_for(received, 5)
    sender.join()
    loop.remove_reader(near)
    near.close()
    far.close()
    return text, await loop.run_in_executor(None, abs, -3)


def test_the_child_of_an_idle_loops_process_makes_its_own(loop, loop_factory):
    run_briefly(loop)
    assert in_child(lambda: new_loop_works(loop_factory)) == "('hello', 5)"
    assert loop.run_until_complete(parent_works(loop)) == (b"awake", 3)
    loop.run_until_complete(loop.shutdown_default_executor())


def test_the_child_forked_inside_a_callback_makes_its_own(loop, loop_factory):
    answers = []
    loop.call_soon(lambda: answers.append(in_child(lambda: new_loop_works(loop_factory))))
    run_briefly(loop)
    assert answers == ["('hello', 5)"]
    assert loop.run_until_complete(parent_works(loop)) == (b"awake", 3)
    loop.run_until_complete(loop.shutdown_default_executor())


def test_the_child_forked_inside_a_task_makes_its_own(loop, loop_factory):
    async def main():
        return in_child(lambda: new_loop_works(loop_factory)), await parent_works(loop)

    assert loop.run_until_complete(main()) == ("('hello', 5)", (b"awake", 3))
    loop.run_until_complete(loop.shutdown_default_executor())


def test_the_child_forked_in_another_thread_makes_its_own(loop, loop_factory):
    async def main():
        answer = await asyncio.to_thread(in_child, lambda: plain_run(loop_factory))
        return answer, await parent_works(loop)

    def plain_run(factory):
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(asyncio.sleep(0.001, "slept"))

    assert loop.run_until_complete(main()) == ("slept", (b"awake", 3))
    loop.run_until_complete(loop.shutdown_default_executor())


def no_loop_in_the_child(loop):
    """What asyncio's own functions say in a child forked while the loop ran."""
    return in_child(
        lambda: (outcome_of(asyncio.get_running_loop), asyncio._get_running_loop() is None)
    )


def test_no_loop_is_running_in_the_child():
    def scenario(loop):
        answers = []
        loop.call_soon(lambda: answers.append(no_loop_in_the_child(loop)))
        run_briefly(loop)
        return answers[0]

    _, answer = assert_same_on_both(scenario)
    assert "no running event loop" in answer


def use_in_the_child(loop):
    """What the parent's loop answers in the child, call by call."""
    return [
        loop.is_running(),
        loop.is_closed(),
        outcome_of(loop.close if loop.is_running() else int),
        outcome_of(lambda: type(loop.call_soon(int)).__name__),
        outcome_of(lambda: type(loop.call_later(0, int)).__name__),
        outcome_of(lambda: type(loop.call_soon_threadsafe(int)).__name__),
        outcome_of(lambda: loop.create_future().done()),
        outcome_of(asyncio.get_running_loop),
        outcome_of(lambda: None if loop.is_running() else run_briefly(loop, 2)),
        outcome_of(lambda: None if loop.is_running() else loop.run_until_complete(sleep(loop))),
        # The last, because the early 3.13 releases then forget that the loop is running.
        outcome_of(loop.run_forever if loop.is_running() else int),
    ]


async def sleep(loop):
    return await asyncio.sleep(0.001, "slept in the child")


@pytest.mark.parametrize("state", ["never run", "idle", "running"])
def test_the_parents_loop_answers_in_the_child_as_asyncios(state):
    def scenario(loop):
        answers = []

        def ask():
            answers.append(in_child(lambda: use_in_the_child(loop)))

        if state == "running":
            loop.call_soon(ask)
        if state != "never run":
            run_briefly(loop)
        if state != "running":
            ask()
        return normalized(answers[0])

    assert_same_on_both(scenario)


def test_a_loop_used_after_a_fork_says_literally_what_it_refuses(loop):
    answers = []

    def refusals():
        return [outcome_of(action)[2] for action in (loop.close, loop.run_forever)]

    loop.call_soon(lambda: answers.append(in_child(refusals)))
    run_briefly(loop)
    assert answers == [
        "['Cannot close a running event loop', 'This event loop is already running']"
    ]


@pytest.mark.only_hotloop("asyncio's child shares the epoll set and the pipes with its parent")
class TestTheParentIsLeftAlone:
    @pytest.fixture
    def watched(self, loop):
        """A list of what the parent's reader has received, and the end to send to."""
        near, far = socket.socketpair()
        received = []
        loop.add_reader(near, lambda: received.append(near.recv(1)))
        run_briefly(loop)
        yield near, far, received
        loop.remove_reader(near)
        near.close()
        far.close()

    @pytest.mark.parametrize(
        "use",
        [
            lambda loop, near: loop.close(),
            lambda loop, near: loop.remove_reader(near),
            lambda loop, near: (loop.add_writer(near, int), loop.remove_reader(near)),
            lambda loop, near: (loop.remove_reader(near), near.close(), run_briefly(loop, 3)),
            lambda loop, near: run_briefly(loop, 3),
            lambda loop, near: loop.run_until_complete(asyncio.sleep(0.001)),
            lambda loop, near: loop.call_soon_threadsafe(int),
        ],
        ids=["close", "remove", "replace", "remove and run", "run", "sleep", "threadsafe"],
    )
    def test_by_what_the_child_does_with_its_loop(self, loop, watched, use):
        near, far, received = watched
        assert in_child(lambda: use(loop, near) and None) == "None"
        far.send(b"x")
        run_briefly(loop, 2)
        assert received == [b"x"]
        assert loop.run_until_complete(parent_works(loop)) == (b"awake", 3)
        loop.run_until_complete(loop.shutdown_default_executor())

    def test_by_dropping_the_loop_in_the_child(self, loop_factory):
        loops = [loop_factory()]
        near, far = socket.socketpair()
        received = []
        loops[0].add_reader(near, lambda: received.append(near.recv(1)))
        run_briefly(loops[0])

        def drop_it():
            warnings.simplefilter("ignore", ResourceWarning)
            loops.clear()
            gc.collect()
            near.close()

        assert in_child(drop_it) == "None"
        far.send(b"x")
        run_briefly(loops[0], 2)
        loops[0].remove_reader(near)
        loops[0].close()
        near.close()
        far.close()
        assert received == [b"x"]

    def test_and_the_child_goes_on_watching_what_the_parent_watched(self, loop, watched):
        _, far, received = watched

        def receive_in_the_child():
            far.send(b"c")
            run_briefly(loop, 2)
            return received

        assert in_child(receive_in_the_child) == "[b'c']"
        assert received == []

    def test_by_signals_of_the_child(self, loop):
        handled = []
        loop.add_signal_handler(signal.SIGUSR1, handled.append, 1)
        run_briefly(loop)

        def signal_itself():
            os.kill(os.getpid(), signal.SIGUSR1)
            return None

        assert in_child(signal_itself) == "None"
        run_briefly(loop, 4)
        assert handled == []
        signal.raise_signal(signal.SIGUSR1)
        run_briefly(loop, 4)
        assert handled == [1]


def test_the_child_leaves_by_sys_exit_through_a_running_parents_loop(loop):
    """os.fork() in a callback, and sys.exit() in the child, is how simple daemons end."""

    def fork_and_exit():
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(CHILD_LIMIT)
            raise SystemExit(7)
        statuses.append(os.waitpid(pid, 0)[1])

    statuses, parent = [], os.getpid()
    loop.call_soon(fork_and_exit)
    try:
        run_briefly(loop)
    except SystemExit as error:
        os._exit(error.code if os.getpid() != parent else 99)
    assert [os.waitstatus_to_exitcode(status) for status in statuses] == [7]
    loop.run_until_complete(asyncio.sleep(0))


def test_a_process_pool_by_fork_works_beside_the_loop(loop):
    async def main():
        context = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            return await asyncio.gather(*(loop.run_in_executor(pool, abs, -n) for n in range(6)))

    assert loop.run_until_complete(main()) == list(range(6))


def test_exec_after_fork_finds_no_descriptors_of_the_loop(loop):
    """What the loop opens for itself is close-on-exec, as everything Python opens."""

    async def main():
        near, far = socket.socketpair()
        loop.add_reader(near, int)
        await asyncio.sleep(0)
        before = set(os.listdir("/proc/self/fd"))
        code = "import os; print(len(os.listdir('/proc/self/fd')))"
        shown = subprocess.run(
            [sys.executable, "-S", "-c", code], capture_output=True, text=True, close_fds=False
        )
        loop.remove_reader(near)
        near.close()
        far.close()
        return int(shown.stdout), len(before)

    inherited, own = loop.run_until_complete(main())
    # Standard input, output and error, and the folder that is being listed.
    assert inherited <= own and inherited <= 6
