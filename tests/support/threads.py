"""Threads that do something at the same moment, and loops that run in a thread of their own.

A race is a matter of nanoseconds, and threads that are woken by a barrier come microseconds after
one another. Where a test has to hit a race, `lockstep` begins each of some thousand rounds in all
threads at once: taken away, a lock is then missed within a second in a debug build. What only
ThreadSanitizer sees is said in the docstrings of the tests.
"""

import concurrent.futures
import contextlib
import os
import sys
import threading
import time

import hotloop

BOUND = 20  # Seconds that anything may take.
THREADS = min(4, max(2, os.cpu_count()))  # that really run at once

# Rounds at most: on a slow machine a second is over sooner. ThreadSanitizer, which makes all slow,
# needs no collision: it sees what was not ordered.
ROUNDS = 300 if hotloop._core.build_info()["sanitize"] == "thread" else 20_000

SPIN = 300  # Looks at the others before the processor is given up.
CYCLE = 100
STAGGER = 11  # Lengths of the pause before a thread begins its round, so that none is always first.


def in_threads(*functions):
    """Call each function in a thread of its own, at the same moment; return what they return."""
    barrier = threading.Barrier(len(functions))

    def call(function):
        barrier.wait(BOUND)
        return function()

    with concurrent.futures.ThreadPoolExecutor(len(functions)) as pool:
        calls = [pool.submit(call, function) for function in functions]
        return [one.result(BOUND) for one in calls]


def lockstep(rounds, *functions, seconds=1):
    """Call each function(number) for number in range(rounds), in a thread of its own.

    They begin each round together; the first of them ends them all after some seconds. Return the
    number of rounds. A thread that fails lets the others go on without it.
    """
    # Rounds are counted up to CYCLE, since all threads read these, and small numbers never die:
    # ThreadSanitizer reports how CPython itself looks at those that do.
    arrived = [CYCLE - 1] * len(functions)
    last = [rounds]
    end = time.monotonic() + seconds

    def begin(place, number):
        if place == 0 and time.monotonic() > end:
            last[0] = number
        arrived[place] = number % CYCLE
        before = (number - 1) % CYCLE
        looks = 0
        while before in arrived:
            looks += 1
            if looks > SPIN:
                time.sleep(0)
        for _ in range(number * place % STAGGER):
            pass
        return number < last[0]

    def run(place, function):
        try:
            for number in range(rounds):
                if not begin(place, number):
                    break
                function(number)
        finally:
            arrived[place] = CYCLE

    in_threads(*(lambda pair=pair: run(*pair) for pair in enumerate(functions)))
    return last[0]


@contextlib.contextmanager
def running_loop(loop=None):
    """Give a loop (a new one of ours by default) that runs in a thread until the end; close it."""
    loop = loop or hotloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def on_loop(loop, function, *arguments):
    """Return what function(*arguments) returns in the loop's thread."""
    result = concurrent.futures.Future()

    def call():
        try:
            result.set_result(function(*arguments))
        except BaseException as error:
            result.set_exception(error)

    loop.call_soon_threadsafe(call)
    return result.result(BOUND)


def references(objects):
    """Return the numbers of references to objects, each once: what a race makes differ."""
    return {sys.getrefcount(one) for one in objects}
