"""What the tutorial says about tasks, futures, cancellation and gather, sentence by sentence.

The programs of examples/ show these rules by what they print; here each one is a test that runs on
hotloop and on asyncio alike, without waiting for real seconds: where something has to be "later",
an event or a future of the test decides when.
"""

import asyncio
import gc

import pytest


async def return_value(value):
    return value


async def raise_error(error):
    raise error


@pytest.fixture
def own_types(loop_factory):
    """Return the Future and Task classes that belong to the loop of this run of the test."""
    if loop_factory is asyncio.SelectorEventLoop:
        return asyncio.Future, asyncio.Task
    import hotloop

    return hotloop.Future, hotloop.Task


# Futures.


def test_a_task_is_a_future(loop, own_types):
    own_future, own_task = own_types

    async def main():
        task = asyncio.create_task(return_value(1))
        assert type(task) is own_task
        assert isinstance(task, own_future)
        assert isinstance(task, asyncio.Task)
        assert isinstance(task, asyncio.Future)
        assert asyncio.isfuture(task)
        assert await task == 1

    loop.run_until_complete(main())
    assert issubclass(own_task, own_future)


def test_a_future_is_no_task_and_has_no_coroutine(loop, own_types):
    own_future = own_types[0]
    future = loop.create_future()
    assert type(future) is own_future
    assert not isinstance(future, asyncio.Task)
    assert not hasattr(future, "get_coro")


def test_a_timer_resolves_a_future_that_is_awaited(loop):
    async def main():
        future = loop.create_future()
        start = loop.time()
        loop.call_later(0.05, future.set_result, "late")
        assert not future.done()
        with pytest.raises(asyncio.InvalidStateError, match=r"^Result is not set\.$"):
            future.result()
        assert await future == "late"
        return loop.time() - start

    assert 0.05 <= loop.run_until_complete(main()) < 5


def test_every_task_that_awaits_a_future_gets_its_result(loop):
    async def main():
        future = loop.create_future()
        order = []

        async def wait(name):
            order.append((name, await future))

        tasks = [asyncio.create_task(wait(name)) for name in "abc"]
        loop.call_soon(future.set_result, 7)
        await asyncio.wait(tasks)
        assert order == [("a", 7), ("b", 7), ("c", 7)]

    loop.run_until_complete(main())


def test_a_done_future_can_be_awaited_again_and_not_set_again(loop):
    async def main():
        future = loop.create_future()
        future.set_result("once")
        assert await future == await future == future.result() == "once"
        with pytest.raises(asyncio.InvalidStateError, match="invalid state"):
            future.set_result("twice")

    loop.run_until_complete(main())


def test_an_exception_set_on_a_future_is_raised_where_it_is_awaited(loop):
    error = ValueError("set on it")

    async def main():
        future = loop.create_future()
        loop.call_soon(future.set_exception, error)
        with pytest.raises(ValueError, match="set on it") as caught:
            await future
        assert caught.value is error is future.exception()

    loop.run_until_complete(main())


def test_the_result_of_a_task_is_set_by_its_coroutine_alone(loop):
    async def main():
        task = asyncio.create_task(return_value("its own"))
        with pytest.raises(RuntimeError, match="Task does not support set_result operation"):
            task.set_result("another")
        assert await task == "its own"

    loop.run_until_complete(main())


# Coroutines.


def test_a_coroutine_does_nothing_until_it_is_awaited(loop):
    ran = []

    async def work():
        ran.append("work")

    async def main():
        coroutine = work()
        await asyncio.sleep(0)
        assert ran == []
        await coroutine
        assert ran == ["work"]

    loop.run_until_complete(main())


def test_a_coroutine_that_is_never_awaited_warns_and_never_runs(loop):
    ran = []

    async def forgotten():
        ran.append("forgotten")

    async def main():
        forgotten()
        gc.collect()

    with pytest.warns(RuntimeWarning, match=r"^coroutine '.*forgotten' was never awaited$"):
        loop.run_until_complete(main())
    assert ran == []


def test_a_task_starts_when_its_maker_pauses_and_not_before(loop):
    ran = []

    async def work(name):
        ran.append(name)

    async def main():
        tasks = [asyncio.create_task(work(name)) for name in "ab"]
        assert ran == []
        await asyncio.sleep(0)
        assert ran == ["a", "b"]
        await asyncio.wait(tasks)

    loop.run_until_complete(main())


def test_a_coroutine_cannot_be_awaited_twice(loop):
    async def main():
        coroutine = return_value(1)
        await coroutine
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await coroutine

    loop.run_until_complete(main())


# Cancellation.


async def cancelled_with(message, *, swallow=False):
    """Cancel a task that waits; return it and what arrived inside and outside."""
    started = asyncio.Event()
    arrived = []

    async def wait():
        try:
            started.set()
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError as cancelled:
            arrived.append(cancelled.args)
            if not swallow:
                raise
        return "cleaned up"

    task = asyncio.create_task(wait())
    await started.wait()
    assert task.cancel(*message) is True
    assert not task.done()
    assert task.cancelling() == 1
    try:
        arrived.append(await task)
    except asyncio.CancelledError as cancelled:
        arrived.append(cancelled.args)
    return task, arrived


@pytest.mark.parametrize("message", [(), ("no time to wait",)], ids=["without", "with"])
def test_cancellation_carries_its_message_into_the_task_and_out(loop, message):
    task, arrived = loop.run_until_complete(cancelled_with(message))
    assert arrived == [message, message]
    assert task.cancelled()
    assert task.cancel("too late") is False


def test_a_cancelled_task_has_neither_result_nor_exception(loop):
    task, _ = loop.run_until_complete(cancelled_with(("stop",)))
    with pytest.raises(asyncio.CancelledError) as caught:
        task.result()
    assert caught.value.args == ()  # The message went to the one who awaited the task.
    with pytest.raises(asyncio.CancelledError):
        task.exception()


def test_a_task_that_swallows_its_cancellation_ends_with_its_result(loop):
    task, arrived = loop.run_until_complete(cancelled_with(("stop",), swallow=True))
    assert arrived == [("stop",), "cleaned up"]
    assert not task.cancelled()
    assert task.cancelling() == 1


def test_a_task_cancelled_before_it_starts_never_runs(loop):
    ran = []

    async def work():
        ran.append("work")

    async def main():
        task = asyncio.create_task(work())
        task.cancel("early")
        with pytest.raises(asyncio.CancelledError, match="early"):
            await task
        assert task.cancelled()

    loop.run_until_complete(main())
    assert ran == []


def test_cancelling_a_task_cancels_the_future_it_waits_for(loop):
    async def main():
        future = loop.create_future()

        async def wait():
            await future

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert future.cancelled()

    loop.run_until_complete(main())


# gather().


async def gather_with_a_failure(return_exceptions):
    """Gather three of which the second fails at once and the others wait for `release`.

    Return what the caller of gather got, who was finished at that moment, and who at the end.
    """
    release = asyncio.Event()

    async def might_fail(number):
        if number == 2:
            raise ValueError("This is an expected error!")
        await release.wait()
        return number * 2

    tasks = [asyncio.create_task(might_fail(number)) for number in (1, 2, 3)]
    gathered = asyncio.gather(*tasks, return_exceptions=return_exceptions)
    if return_exceptions:
        asyncio.get_running_loop().call_later(0.01, release.set)
    try:
        got = await gathered
    except ValueError as error:
        got = error
    at_once = [task.done() for task in tasks]
    release.set()
    await asyncio.wait(tasks)
    return got, at_once, [task.exception() or task.result() for task in tasks]


def test_gather_hands_the_first_exception_on_while_the_others_go_on(loop):
    got, at_once, in_the_end = loop.run_until_complete(gather_with_a_failure(False))
    assert repr(got) == "ValueError('This is an expected error!')"
    assert at_once == [False, True, False]
    assert in_the_end == [2, got, 6]


def test_gather_can_return_the_exceptions_in_their_places(loop):
    got, at_once, in_the_end = loop.run_until_complete(gather_with_a_failure(True))
    assert repr(got) == "[2, ValueError('This is an expected error!'), 6]"
    assert at_once == [True, True, True]
    assert in_the_end == got


def test_gather_returns_results_in_the_order_of_its_arguments(loop):
    async def main():
        finished = []

        async def after(turns):
            for _ in range(turns):
                await asyncio.sleep(0)
            finished.append(turns)
            return turns

        assert await asyncio.gather(after(3), after(1), after(2)) == [3, 1, 2]
        assert finished == [1, 2, 3]

    loop.run_until_complete(main())


def test_the_second_exception_of_a_gather_is_not_reported(loop):
    """Only the first one is raised, and gather has looked at the others as well."""

    async def main():
        first, second = ValueError("first"), ValueError("second")
        with pytest.raises(ValueError, match="first"):
            await asyncio.gather(raise_error(first), raise_error(second))
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    gc.collect()  # The fixture fails this test if the exception handler is called by now.


def test_cancelling_a_gather_cancels_all_its_children(loop):
    async def main():
        futures = [loop.create_future() for _ in range(3)]
        gathered = asyncio.gather(*futures)
        gathered.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathered
        assert all(future.cancelled() for future in futures)

    loop.run_until_complete(main())


# An exception nobody asks for.


def test_an_exception_nobody_retrieves_is_reported(loop, loop_reports):
    async def main():
        task = asyncio.create_task(raise_error(ValueError("lost")))
        await asyncio.wait([task])
        assert task.done()

    loop.run_until_complete(main())
    gc.collect()
    [context] = loop_reports.take()
    assert context["message"] == "Task exception was never retrieved"
    assert repr(context["exception"]) == "ValueError('lost')"
    assert type(context["future"]).__name__ == "Task"


# The loop.


def test_the_running_loop_is_the_one_that_runs_the_coroutine(loop):
    async def main():
        assert asyncio.get_running_loop() is loop
        assert asyncio.get_event_loop() is loop

    loop.run_until_complete(main())
    with pytest.raises(RuntimeError, match=r"^no running event loop$"):
        asyncio.get_running_loop()
