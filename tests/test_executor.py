"""run_in_executor and the default executor: which is used, what it may be, how it is shut down.

The methods are asyncio's own Python, which hotloop inherits; what is tested is that they meet a
core on which they work: calls that come back from threads, futures of both kinds, and the private
names they use.
"""

import asyncio
import concurrent.futures
import contextvars
import sys
import threading
import time
import warnings

import pytest
from support.differential import assert_same_on_both, outcome_of

variable = contextvars.ContextVar("variable", default="default")


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield pool


def finish(loop):
    loop.run_until_complete(loop.shutdown_default_executor())


def run(loop, function, *args):
    """The outcome of the function in the default executor, which is shut down afterwards."""

    async def main():
        return await loop.run_in_executor(None, function, *args)

    try:
        return outcome_of(loop.run_until_complete, main())
    finally:
        finish(loop)


def test_results_and_exceptions_come_back(loop):
    assert run(loop, divmod, 7, 2) == ("returned", (3, 1))


def test_exceptions_come_back(loop):
    assert run(loop, int, "no number")[:2] == ("raised", "ValueError")


@pytest.mark.parametrize("error", [asyncio.CancelledError, TimeoutError, GeneratorExit])
def test_special_exceptions_end_as_on_asyncio(error):
    def raise_it():
        raise error("special")

    assert_same_on_both(run, raise_it)


def test_jobs_run_in_other_threads_and_results_arrive_in_the_loops(loop):
    async def main():
        threads = {await loop.run_in_executor(None, threading.get_ident)}
        threads |= set(
            await asyncio.gather(
                *(loop.run_in_executor(None, threading.get_ident) for _ in range(20))
            )
        )
        future = loop.run_in_executor(None, int)
        where = []
        future.add_done_callback(lambda future: where.append(threading.get_ident()))
        await future
        await asyncio.sleep(0)
        return threads, where

    threads, where = loop.run_until_complete(main())
    assert threading.get_ident() not in threads
    assert where == [threading.get_ident()]
    finish(loop)


def test_the_default_executor_is_made_at_first_use_and_named_asyncio(loop):
    assert loop._default_executor is None

    async def main():
        return await loop.run_in_executor(None, lambda: threading.current_thread().name)

    assert loop.run_until_complete(main()).startswith("asyncio_")
    assert isinstance(loop._default_executor, concurrent.futures.ThreadPoolExecutor)
    finish(loop)


def test_an_executor_that_is_given_is_used(loop, pool):
    async def main():
        return await loop.run_in_executor(pool, lambda: threading.current_thread().name)

    assert loop.run_until_complete(main()).startswith("ThreadPoolExecutor-")
    assert loop._default_executor is None


def test_a_future_of_asyncios_from_an_executor_is_left_as_it_is(loop):
    class Executor:
        def submit(self, function, *args):
            future = loop.create_future()
            loop.call_soon(lambda: future.set_result(function(*args)))
            return future

    future = loop.run_in_executor(Executor(), divmod, 7, 2)
    assert not future._callbacks
    assert loop.run_until_complete(future) == (3, 1)


def test_a_default_executor_that_is_set_is_used(loop, pool):
    loop.set_default_executor(pool)
    assert loop._default_executor is pool

    async def main():
        return await loop.run_in_executor(None, lambda: threading.current_thread().name)

    assert loop.run_until_complete(main()).startswith("ThreadPoolExecutor-")


@pytest.mark.parametrize(
    "make",
    [
        lambda: None,
        lambda: 5,
        lambda: "executor",
        lambda: object(),
        lambda: concurrent.futures.Executor(),
        lambda: concurrent.futures.ThreadPoolExecutor,
    ],
    ids=["None", "number", "string", "object", "Executor", "class"],
)
def test_what_may_be_the_default_executor_is_asyncios_choice(make):
    assert_same_on_both(lambda loop: loop.set_default_executor(make()))


@pytest.mark.parametrize(
    "arguments", [(), (None,), (5, print), ("pool", print), (None, None), (None, 5), (None, "f")]
)
@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
def test_wrong_arguments_end_as_on_asyncio(arguments, debug):
    def scenario(loop):
        loop.set_debug(debug)

        async def main():
            return await loop.run_in_executor(*arguments)

        try:
            return outcome_of(loop.run_until_complete, main())
        finally:
            finish(loop)

    assert_same_on_both(scenario)


def test_contexts_are_not_copied_by_the_loop_but_by_to_thread(loop):
    async def main():
        variable.set("of the task")
        plain = await loop.run_in_executor(None, variable.get)
        copied = await asyncio.to_thread(variable.get)
        return plain, copied

    # Free-threaded builds let a new thread inherit the context of the one that starts it.
    inherited = getattr(sys.flags, "thread_inherit_context", False)
    expected = "of the task" if inherited else "default"
    assert loop.run_until_complete(main()) == (expected, "of the task")
    finish(loop)


def test_shutdown_without_an_executor_refuses_later_jobs(loop):
    finish(loop)
    finish(loop)

    async def main():
        await loop.run_in_executor(None, print)

    with pytest.raises(RuntimeError, match=r"^Executor shutdown has been called$"):
        loop.run_until_complete(main())


def test_shutdown_waits_for_running_jobs(loop):
    release, ended = threading.Event(), []

    def job():
        release.wait(10)
        ended.append("job")

    async def main():
        future = loop.run_in_executor(None, job)
        loop.call_soon(release.set)
        await loop.shutdown_default_executor()
        ended.append("shutdown")
        await future

    loop.run_until_complete(main())
    assert ended == ["job", "shutdown"]
    assert not [t for t in threading.enumerate() if t.name.startswith("asyncio_")]


def shutdown_too_soon(loop):
    """Shut down with a limit that a job exceeds; early 3.12 releases join it nevertheless."""

    async def main():
        future = loop.run_in_executor(None, time.sleep, 0.3)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                await loop.shutdown_default_executor(timeout=0.01)
            finally:
                await future
        return [str(warning.message) for warning in caught]

    try:
        return outcome_of(loop.run_until_complete, main())
    finally:
        finish(loop)


def test_shutdown_gives_up_after_its_timeout_as_asyncios():
    kind, value = assert_same_on_both(shutdown_too_soon)
    assert kind == "returned"
    if sys.version_info >= (3, 13):
        assert "The executor did not finishing joining its threads" in str(value)


@pytest.mark.parametrize("timeout", [(), (None,), (5,), ("x",)])
def test_shutdown_takes_the_arguments_asyncios_takes(timeout):
    def scenario(loop):
        async def main():
            await loop.run_in_executor(None, int)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                await loop.shutdown_default_executor(*timeout)

        before = set(threading.enumerate())
        try:
            return outcome_of(loop.run_until_complete, main())
        finally:
            finish(loop)
            for thread in set(threading.enumerate()) - before:
                thread.join(10)  # asyncio leaves it to itself where the timeout is refused

    assert_same_on_both(scenario)


def test_cancelling_the_wrapped_future_does_not_disturb_the_loop(loop):
    release = threading.Event()

    async def main():
        future = loop.run_in_executor(None, release.wait, 10)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        release.set()
        return await loop.run_in_executor(None, int, "5")

    assert loop.run_until_complete(main()) == 5
    finish(loop)


def test_closing_the_loop_while_a_job_runs_lets_the_job_end(loop_factory):
    loop = loop_factory()
    release, ended = threading.Event(), threading.Event()
    errors = []

    def job():
        release.wait(10)
        ended.set()

    async def main():
        loop.run_in_executor(None, job)

    hook, threading.excepthook = threading.excepthook, lambda args: errors.append(args)
    try:
        loop.run_until_complete(main())
        executor = loop._default_executor
        loop.close()
        release.set()
        assert ended.wait(10)
        executor.shutdown(wait=True)
    finally:
        threading.excepthook = hook
    assert loop._default_executor is None and errors == []


def test_many_round_trips_in_a_row(loop):
    async def main():
        return [await loop.run_in_executor(None, abs, -n) for n in range(300)]

    assert loop.run_until_complete(main()) == list(range(300))
    finish(loop)
