"""What happens when CPython's structs are not what the core was compiled for.

hotloop's Task and Future use CPython's private struct fields, so the import checks each of them.
A debug build can be told by HOTLOOP_TEST_LAYOUT_SHIFT to expect one field a pointer further than it
is; then everything must go on with asyncio's own types, and say so: in one warning, in repr(loop)
and in --info. A release build has no such switch, so there only the good case is collected.
"""

import sys
import textwrap

import pytest
from support import child

import hotloop

POINTERS = ["loop", "callback0", "context0", "callbacks", "exception", "exception_tb", "result"]
POINTERS += ["source_tb", "cancel_msg", "cancelled_exc", "fut_waiter", "coro", "name", "context"]
NUMBERS = ["state", "log_tb", "blocking", "must_cancel", "log_destroy_pending", "num_cancels"]
SIZES = ["future_size", "task_size"]


def fields():
    """The fields that this Python's structs have, as their names stand in CPython's source."""
    if sys.version_info < (3, 13):
        return [*POINTERS, *NUMBERS, *SIZES, "dict", "weakreflist"]
    if sys.version_info < (3, 14):
        return [*POINTERS, *NUMBERS, *SIZES]
    return [*POINTERS, *NUMBERS, *SIZES, "awaited_by", "is_task", "awaited_by_is_set", "node"]


PROGRAM = """
    import asyncio, warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import hotloop

    async def child(number):
        await asyncio.sleep(0.001)
        return number

    async def main():
        task = asyncio.create_task(child(1))
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, 2)
        async with asyncio.TaskGroup() as group:
            last = group.create_task(child(3))
        kinds = type(task).__module__, type(future).__module__
        return [await task, await future, last.result()], kinds, repr(asyncio.get_running_loop())

    results, kinds, loop = hotloop.run(main())
    print(results)
    print(kinds)
    print(loop)
    print(hotloop.Task is asyncio.Task, hotloop.Future is asyncio.Future)
    print(hotloop._core.native, hotloop._core.layout_problem)
    print(len(caught), *(f"{one.category.__name__}: {one.message}" for one in caught))
"""


def run_program(**environment):
    """Run the program in a child with these variables and return the lines that it printed."""
    code = textwrap.dedent(PROGRAM)
    output = child.run_ok("-c", code, env=child.environment(**environment))
    return output.splitlines()


def check_fallback(lines, field):
    """The program worked, on asyncio's types, and one warning says what is wrong and what helps."""
    results, kinds, loop, same_types, state, warned = lines
    assert results == "[1, 2, 3]"
    assert kinds == "('_asyncio', '_asyncio')"
    assert "stock" in loop
    assert "native" not in loop
    assert same_types == "True True"
    assert state == f"False {field}"
    count, category, message = warned.split(" ", 2)
    assert (count, category) == ("1", "RuntimeWarning:")
    assert ".".join(map(str, sys.version_info[:3])) in message
    assert "install" in message.lower()


if hotloop._core.build_info()["debug"]:

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("field", fields())
    def test_moved_field_makes_hotloop_use_asyncios_types(field):
        check_fallback(run_program(HOTLOOP_TEST_LAYOUT_SHIFT=field), field)

    @pytest.mark.timeout(60)
    def test_info_says_stock_and_why():
        environment = child.environment(HOTLOOP_TEST_LAYOUT_SHIFT="coro")
        done = child.run("-m", "hotloop", "--info", warnings="ignore", env=environment)
        assert done.returncode == 0
        assert "stock" in done.stdout
        assert "coro" in done.stdout
        assert "native" not in done.stdout

    @pytest.mark.timeout(60)
    def test_warning_is_no_error_that_stops_a_program():
        """Under -W error the warning becomes an exception; only then does the import fail."""
        environment = child.environment(HOTLOOP_TEST_LAYOUT_SHIFT="coro")
        done = child.run("-c", "import hotloop", env=environment)
        assert done.returncode == 1
        assert "RuntimeWarning" in done.stderr
        done = child.run("-c", "import hotloop", warnings=None, env=environment)
        assert done.returncode == 0
        assert done.stderr.count("Warning") == 1

    def test_unknown_name_of_a_field_shifts_nothing():
        lines = run_program(HOTLOOP_TEST_LAYOUT_SHIFT="no_such_field")
        assert lines[4] == "True None"


def test_layout_of_this_python_is_known():
    results, kinds, loop, same_types, state, warned = run_program()
    assert results == "[1, 2, 3]"
    assert kinds == "('hotloop', 'hotloop')"
    assert "native" in loop
    assert same_types == "False False"
    assert (state, warned) == ("True None", "0")


SECOND_INTERPRETER = """
    import hotloop

    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters

    second = interpreters.create()
    failure = interpreters.run_string(second, PROGRAM)
    interpreters.destroy(second)
    print(failure)
"""


@pytest.mark.timeout(60)
def test_a_second_interpreter_works_too():
    """On 3.11 with asyncio's own types, because there they stay those of the first interpreter."""
    code = textwrap.dedent(SECOND_INTERPRETER).replace("PROGRAM", repr(textwrap.dedent(PROGRAM)))
    *lines, failure = child.run_ok("-c", code).splitlines()
    assert failure == "None"
    if sys.version_info < (3, 12):
        check_fallback(lines, "cancelled_exc")
    else:
        results, kinds, *_ = lines
        assert (results, kinds) == ("[1, 2, 3]", "('hotloop', 'hotloop')")


def test_build_info_names_the_layout():
    assert hotloop._core.build_info()["layout"]
    assert hotloop._core.layout_problem is None
