"""Floors: what CPython alone needs, without any loop, for what a loop cannot do without."""

import contextvars

from benchmarks.registry import row
from benchmarks.tasks import sleep0_forever, trivial


@row(needs_loop=False)
def ctx_run(case):
    """One call of an empty function through Context.run."""

    def empty():
        pass

    run = contextvars.copy_context().run
    with case.timed():
        for _ in range(case.passes):
            run(empty)


@row(needs_loop=False)
def coro_send(case):
    """One resumption of a coroutine that awaits asyncio.sleep(0) for ever."""
    coroutine = sleep0_forever()
    send = coroutine.send
    with case.timed():
        for _ in range(case.passes):
            send(None)
    coroutine.close()


@row(needs_loop=False)
def coro_full(case):
    """One trivial coroutine made, run to its end and thrown away."""
    with case.timed():
        for _ in range(case.passes):
            try:  # noqa: SIM105, contextlib.suppress would cost more than what is measured
                trivial().send(None)
            except StopIteration:
                pass
