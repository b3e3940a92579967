"""Programs under python -m hotloop may start processes: fork, spawn, forkserver and executors.

A child started by spawn or forkserver is a new interpreter that imports the program's main module
again: it must find the user's, never hotloop's own command.  Such a child runs asyncio's stock loop
unless --children is given; a forked one inherits hotloop.  Every program here says which loop and
which module its children see.
"""

import pytest
from support import child

METHODS = ("fork", "spawn", "forkserver")

pytestmark = pytest.mark.timeout(120)

# Prints one line for the parent and one per child: the loop's class, the main module's name, and
# the number an instance of a class of the main module carries through pickle and back.
PROGRAM = """\
import asyncio, concurrent.futures, multiprocessing, sys

class Message:
    def __init__(self, number):
        self.number = number

async def loop_class():
    return type(asyncio.get_running_loop()).__module__

def report(message):
    message.number += 1
    return asyncio.run(loop_class()), __name__, type(message) is Message, message

def in_child(queue, message):
    queue.put(report(message))

def in_grandchild(queue, message):
    start(in_child, queue, message)

def start(target, *args):
    process = multiprocessing.get_context().Process(target=target, args=args)
    process.start()
    process.join()
    assert process.exitcode == 0, process.exitcode

def main():
    method, way = sys.argv[-2:]
    multiprocessing.set_start_method(method)
    print(asyncio.run(loop_class()), __name__)
    if way == "executor":
        with concurrent.futures.ProcessPoolExecutor(1) as pool:
            answer = pool.submit(report, Message(41)).result()
    else:
        queue = multiprocessing.get_context().SimpleQueue()
        start(in_grandchild if way == "grandchild" else in_child, queue, Message(41))
        answer = queue.get()
    loop, name, is_same_class, message = answer
    print(loop, name, is_same_class, type(message) is Message, message.number)

if __name__ == "__main__":
    main()
"""

STOCK = "asyncio.unix_events"


@pytest.fixture
def project(tmp_path):
    """A folder with the program as a script, as a module of a package, and as one file to zip."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    for path in (tmp_path / "app.py", package / "app.py"):
        path.write_text(PROGRAM)
    return tmp_path


def what_children_see(project, *arguments):
    """Run the program and return its two lines, split into words."""
    stdout = child.run_ok(*arguments, cwd=project, warnings="ignore")
    return [line.split() for line in stdout.splitlines()]


def expected(method, loop):
    """Return what the program prints when its children run on a loop of that module."""
    name = "__main__" if method == "fork" else "__mp_main__"
    return [loop, name, "True", "True", "42"]


@pytest.mark.parametrize("way", ["process", "executor", "grandchild"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("start", [["app.py"], ["-m", "package.app"]], ids=["script", "module"])
@pytest.mark.parametrize("option", [[], ["--children"]], ids=["plain", "children"])
def test_children_find_the_program_and_the_loop(option, start, method, way, project):
    lines = what_children_see(project, "-m", "hotloop", *option, *start, method, way)
    child_loop = "hotloop" if option or method == "fork" else STOCK
    assert lines == [["hotloop", "__main__"], expected(method, child_loop)]


@pytest.mark.parametrize("method", METHODS)
def test_children_of_plain_python_see_the_same(method, project):
    """The comparison for the test above: nothing but the loop differs from python itself."""
    lines = what_children_see(project, "app.py", method, "process")
    assert lines == [[STOCK, "__main__"], expected(method, STOCK)]


# The children call a function of the standard library: code on the command line is not imported
# again, so that a child can find nothing of its own there.
COMMAND = """\
import asyncio, multiprocessing, sys
multiprocessing.set_start_method(sys.argv[1])
with multiprocessing.Pool(1) as pool:
    loop = pool.apply(eval, ["type(__import__('asyncio').new_event_loop()).__module__"])
    print(loop, pool.apply(eval, ["__import__('sys').argv"]))
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("option", [[], ["--children"]], ids=["plain", "children"])
def test_children_of_code_on_the_command_line(option, method, project):
    stdout = child.run_ok(
        "-m", "hotloop", *option, "-c", COMMAND, method, cwd=project, warnings="ignore"
    )
    child_loop = "hotloop" if option or method == "fork" else STOCK
    assert stdout == f"{child_loop} ['-c', '{method}']\n"


def test_default_start_method_is_left_alone(project):
    program = "import multiprocessing; print(multiprocessing.get_start_method())"
    expected = child.run_ok("-c", program)
    assert child.run_ok("-m", "hotloop", "--children", "-c", program) == expected


FAILS = """\
import multiprocessing
def fail():
    1 / 0
if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    process = multiprocessing.Process(target=fail)
    process.start()
    process.join()
    print(process.exitcode)
"""


@pytest.mark.parametrize("start", [[], ["-m", "hotloop"], ["-m", "hotloop", "--children"]])
def test_failing_child_reports_as_it_does_under_python(start, tmp_path):
    (tmp_path / "app.py").write_text(FAILS)
    done = child.run(*start, "app.py", cwd=tmp_path, warnings="ignore")
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert done.stderr.startswith("Process Process-1:\nTraceback (most recent call last):\n")
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert "hotloop" not in done.stderr
