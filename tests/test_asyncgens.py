"""Asynchronous generators: the loop's hooks, their finalizing, and shutdown_asyncgens.

A generator that is dropped half-way is closed by the loop that iterated it first; hooks that were
installed before a run are back after it.
"""

import asyncio
import gc
import sys
import threading

import pytest
from support.differential import assert_same_on_both, collect_reports, outcome_of, run_briefly


async def counting(log=None, fail=None):
    """Count for ever; note the closing, and fail in it if asked."""
    try:
        number = 0
        while True:
            yield number
            number += 1
    finally:
        if log is not None:
            await asyncio.sleep(0)
            log.append("closed")
        if fail is not None:
            raise fail


async def first_of(generator):
    async for value in generator:
        return value


def test_the_hooks_are_set_during_a_run_and_restored_after_it(loop):
    def first(generator):
        raise AssertionError("the outer hook was called during the run")

    def last(generator):
        raise AssertionError("the outer hook was called during the run")

    before = sys.get_asyncgen_hooks()
    seen = []
    sys.set_asyncgen_hooks(first, last)
    try:
        loop.call_soon(lambda: seen.append(sys.get_asyncgen_hooks()))
        run_briefly(loop)
        assert sys.get_asyncgen_hooks() == (first, last)
    finally:
        sys.set_asyncgen_hooks(*before)
    (during,) = seen
    assert callable(during.firstiter) and callable(during.finalizer)
    assert during != (first, last)


def test_hooks_are_restored_when_an_exception_leaves_the_run(loop):
    before = sys.get_asyncgen_hooks()

    def leave():
        raise KeyboardInterrupt

    loop.call_soon(leave)
    with pytest.raises(KeyboardInterrupt):
        run_briefly(loop)
    assert sys.get_asyncgen_hooks() == before


def test_a_dropped_generator_is_closed_by_the_loop(loop):
    log = []

    async def main():
        await first_of(counting(log))
        gc.collect()
        for _ in range(10):
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert log == ["closed"]


def test_a_generator_dropped_in_another_thread_is_closed_in_the_loop(loop):
    log = []

    async def main():
        generators = [counting(log)]
        await anext(generators[0])
        thread = threading.Thread(target=generators.clear)
        thread.start()
        thread.join()
        while not log:
            await asyncio.sleep(0)

    loop.run_until_complete(asyncio.wait_for(main(), 5))
    assert log == ["closed"]


def test_shutdown_closes_what_is_still_open(loop):
    log = []
    generators = [counting(log) for _ in range(3)]

    async def main():
        for generator in generators:
            await anext(generator)

    loop.run_until_complete(main())
    assert log == []
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert log == ["closed"] * 3
    loop.run_until_complete(loop.shutdown_asyncgens())


def test_generators_begun_after_the_shutdown_warn(loop):
    loop.run_until_complete(loop.shutdown_asyncgens())
    generator = counting()

    async def main():
        await anext(generator)
        await generator.aclose()

    with pytest.warns(ResourceWarning, match="was scheduled after loop.shutdown_asyncgens"):
        loop.run_until_complete(main())


def failing_generators(loop):
    reports = collect_reports(loop)
    generators = [counting(fail=ValueError("while closing")), counting()]

    async def main():
        for generator in generators:
            await anext(generator)

    loop.run_until_complete(main())
    ended = outcome_of(loop.run_until_complete, loop.shutdown_asyncgens())
    return ended, [(message.partition("<")[0], *rest) for message, *rest in reports]


def test_errors_while_closing_are_reported_as_by_asyncio():
    kind, (_, reports) = assert_same_on_both(failing_generators)
    assert kind == "returned" and len(reports) == 1


def unhandled_in_a_run(loop):
    """An error in a generator that asyncio.run's own cleaning closes."""
    reports = collect_reports(loop)
    kept = []

    async def main():
        kept.append(counting(fail=ZeroDivisionError("late")))
        await anext(kept[0])

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        ended = outcome_of(runner.run, main())
    return ended, [(message.partition("<")[0], *rest) for message, *rest in reports]


def test_errors_in_the_cleaning_of_a_runner_are_reported_as_by_asyncio():
    assert_same_on_both(unhandled_in_a_run)


def test_generators_of_two_loops_are_closed_each_by_its_own(loop_factory):
    first, second = loop_factory(), loop_factory()
    logs = {first: [], second: []}
    generators = {loop: counting(log) for loop, log in logs.items()}

    async def begin(generator):
        await anext(generator)

    for loop, generator in generators.items():
        loop.run_until_complete(begin(generator))
    first.run_until_complete(first.shutdown_asyncgens())
    assert (logs[first], logs[second]) == (["closed"], [])
    second.run_until_complete(second.shutdown_asyncgens())
    assert logs[second] == ["closed"]
    first.close()
    second.close()


def test_a_generator_that_outlives_its_loop_is_dropped_in_peace(loop_factory):
    loop = loop_factory()
    generators = [counting()]

    async def main():
        await anext(generators[0])

    loop.run_until_complete(main())
    loop.close()
    generators.clear()
    gc.collect()
