"""python -m hotloop runs a program as python runs it: the same output, errors and exit code.

Most of these tests run one program twice in a fresh folder, by `python` and by
`python -m hotloop`, and compare stdout, stderr and the exit code literally; only addresses of
objects are blanked out.  The programs print what they see, so that a difference shows in the
comparison.  What only hotloop's command has (its options, its own errors) is tested at the end.
"""

import os
import py_compile
import re
import signal
import subprocess
import sys
import zipfile

import pytest
from support import child

import hotloop

# What a program sees of the way it was started.
FACTS = """\
'''The docstring.'''
import sys, __main__
print(sys.argv, sys.path, __name__, __doc__, __package__, __spec__)
print(globals().get("__file__"), globals().get("__cached__"), type(__loader__), __builtins__)
print(getattr(__loader__, "name", None), getattr(__loader__, "path", None), sorted(globals()))
print(__main__ is sys.modules["__main__"], vars(__main__) is globals(), sys.flags)
"""

FAILS = """\
def outer():
    try:
        inner()
    except ZeroDivisionError as error:
        raise ValueError("outer") from error

def inner():
    1 / 0

outer()
"""

# Python files that are run as `app.py`; the name is the id of the test.
SCRIPTS = {
    "facts": FACTS,
    "empty": "",
    "exception": FAILS,
    "exception_group": "raise ExceptionGroup('several', [ValueError(1), TypeError(2)])",
    "exception_with_notes": "e = OSError(2, 'gone', 'name')\ne.add_note('a note')\nraise e",
    "exception_without_context": "try:\n    1 / 0\nexcept Exception:\n    raise KeyError from None",
    "syntax_error": "print('not printed')\nx = = 1\n",
    "indentation_error": "if True:\nprint(1)\n",
    "syntax_error_at_run_time": "print('printed')\ncompile('1 +', 'other', 'exec')\n",
    "import_error": "import no_such_module_anywhere\n",
    "null_byte_in_string": "print(repr('\\0'))\n",
    "exit_nothing": "import sys\nsys.exit()",
    "exit_three": "import sys\nsys.exit(3)",
    "exit_text": "import sys\nsys.exit('some text')",
    "exit_object": "raise SystemExit([1, 2])",
    "exit_true": "raise SystemExit(True)",
    "exit_large": "raise SystemExit(256 + 5)",
    "exit_negative": "raise SystemExit(-1)",
    "exit_builtin": "exit(4)",
    "exit_in_function_with_finally": "try:\n    exit(5)\nfinally:\n    print('finally')",
    "exit_hard": "import os\nos._exit(6)",
    "keyboard_interrupt": "raise KeyboardInterrupt",
    "sigint": "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint('not printed')\n",
    "sigint_ignored": (
        "import os, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "os.kill(os.getpid(), signal.SIGINT)\nprint('printed')\n"
    ),
    "sigint_caught": (
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    signal.pause()\n"
        "except KeyboardInterrupt:\n    print('caught')\n"
    ),
    "sigterm": "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n",
    "excepthook": (
        "import sys, traceback\n"
        "def hook(kind, value, tb):\n"
        "    print(kind, value, traceback.extract_tb(tb), sys.excepthook is hook)\n"
        "    print(tb is value.__traceback__ is sys.last_traceback)\n"
        "sys.excepthook = hook\n" + FAILS
    ),
    "excepthook_fails": "import sys\nsys.excepthook = lambda *args: {}['key']\n" + FAILS,
    "excepthook_exits": "import sys\nsys.excepthook = lambda *args: sys.exit(7)\n" + FAILS,
    "excepthook_missing": "import sys\ndel sys.excepthook\nsys.exit(8)",
    "excepthook_default_stays": (
        "import atexit, sys\n"
        "atexit.register(lambda: print(sys.excepthook is sys.__excepthook__))\n" + FAILS
    ),
    "last_exception_at_exit": (
        "import atexit, sys, traceback\n"
        "atexit.register(lambda: print(traceback.extract_tb(sys.last_traceback)))\n" + FAILS
    ),
    "unraisable": "class A:\n    def __del__(self):\n        1 / 0\nA()\nprint('goes on')",
    "atexit": "import atexit\nfor i in range(3):\n    atexit.register(print, i)\nprint('end')",
    "atexit_after_exception": "import atexit\natexit.register(print, 'atexit')\n1 / 0",
    "atexit_exits": "import atexit, sys\natexit.register(sys.exit, 9)\n",
    "file_at_exit": "import atexit\natexit.register(lambda: print('__file__' in globals()))\n",
    "thread": (
        "import threading\nmain = threading.main_thread()\n"
        "threading.Thread(target=lambda: (main.join(), print('thread'))).start()\n"
        "print('main', main is threading.current_thread())\n"
    ),
    "thread_fails": "import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\n",
    "finalizers": (
        "import sys\nclass A:\n    def __del__(self):\n        print('gone', sys is not None)\n"
        "a = A()\ncycle = [A()]\ncycle.append(cycle)\nprint('end')"
    ),
    "stdout_gone": "import os\nprint('lost')\nos.close(1)\n",
    "warning": "import warnings\ndef f():\n    warnings.warn('here', stacklevel=2)\nf()\n",
    "deprecation_in_main": "import warnings\nwarnings.warn('old', DeprecationWarning)\n",
    "syntax_warning": "x = 1\nif x is 1:\n    print('one')\n",
    "never_awaited": "async def f():\n    pass\nf()\n",
    "pickle": (
        "import pickle\nclass A:\n    x = 1\n"
        "print(pickle.loads(pickle.dumps(A)) is A, A.__module__)\n"
        "print(pickle.loads(b'c__main__\\nA\\n.'))\n"
    ),
    "inspect_source": "import inspect\ndef f():\n    return 1\nprint(inspect.getsource(f))\n",
    "doctest": "'''\n>>> 1 + 1\n2\n>>> 1 + 2\n4\n'''\nimport doctest\ndoctest.testmod()\n",
    "unittest": (
        "import io, sys, unittest\nclass T(unittest.TestCase):\n    def test(self):\n        pass\n"
        "sys.stderr = io.StringIO()\nunittest.main()\n"
    ),
    "input": "print(input(), input('> '))\ntry:\n    input()\nexcept EOFError:\n    print('eof')\n",
    "annotations": "class A:\n    y: int\nprint(A.__annotations__)\ndef f(x: 'str'): ...\n",
    "future_import": "from __future__ import annotations\ndef f(x: no_such): ...\nprint(f)\n",
    "import_main": "import __main__\nx = 5\nprint(__main__.x, __main__.__name__)\n",
    "runpy_inside": (
        "import runpy, sys\n"
        "if __name__ == '__main__':\n"
        "    print(runpy.run_path(__file__)['__name__'], sys.modules['__main__'].__file__)\n"
    ),
    "globals_cleared": "import sys\nout = sys.stdout\nglobals().clear()\n",
    "exec_text": "exec('def f(): 1/0')\nf()\n",
    "run": (
        "import asyncio\nasync def main():\n    await asyncio.sleep(0)\n    return 'done'\n"
        "print(asyncio.run(main()))\n"
    ),
    "exit_in_coroutine": (
        "import asyncio, sys\nasync def main():\n    sys.exit(11)\nasyncio.run(main())\n"
    ),
}
STDIN = {"input": "first\nsecond\n"}


def normalised(text):
    """Blank out the addresses in a text, which differ from process to process."""
    return re.sub(r"\b0x[0-9a-f]+\b", "0x", text)


def outcome(*arguments, **options):
    """Return what one run of the interpreter left: exit code, stdout and stderr."""
    done = child.run(*arguments, **options)
    return done.returncode, normalised(done.stdout), normalised(done.stderr)


def assert_same(*arguments, options=(), **more):
    """Run the program with and without hotloop, require one outcome, and return it."""
    expected = outcome(*options, *arguments, **more)
    assert outcome(*options, "-m", "hotloop", *arguments, **more) == expected
    return expected


def write(folder, **files):
    """Write Python files into a folder; __ in a keyword stands for a slash."""
    for name, text in files.items():
        path = folder / (name.replace("_in_", "/") + ".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", SCRIPTS)
def test_script_has_the_outcome_it_has_under_python(name, tmp_path):
    write(tmp_path, app=SCRIPTS[name])
    assert_same(
        "app.py", "one", "--two", "-c", cwd=tmp_path, stdin=STDIN.get(name, ""), warnings="always"
    )


@pytest.fixture
def project(tmp_path):
    """A folder with everything that can be named on a command line."""
    write(
        tmp_path,
        app=FACTS,
        fails=FAILS,
        bad="x = = 1\n",
        sub_in_script=FACTS,
        module=FACTS,
        package_in___init__="print('package', __name__)\n",
        package_in___main__=FACTS + "from . import other\n",
        package_in_other="print('other', __name__, __package__)\n",
        library_in___init__="",
        broken_in___init__="import no_such_module_anywhere\n",
        broken_in___main__="print('not printed')\n",
        folder_in___main__=FACTS + "import beside\n",
        folder_in_beside="print(__file__)\n",
        asking="print(input())\n",
    )
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", FACTS + "import beside\n1 / 0\n")
        archive.writestr("beside.py", "print(__file__)\n")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "link.py").symlink_to("sub/script.py")
    (tmp_path / "latin.py").write_bytes(
        "# coding: latin-1\nprint(ascii('\xe4'))\n".encode("latin-1")
    )
    (tmp_path / "bom.py").write_bytes(b"\xef\xbb\xbfprint(ascii('\xc3\xa4'))\r\nprint(2)\r\n")
    (tmp_path / "unreadable.py").symlink_to("unreadable.py")
    (tmp_path / "no_suffix").write_text(FACTS)
    return tmp_path


COMMAND_LINES = {
    "script_in_folder": ["sub/script.py", "-x"],
    "script_dotted": ["./app.py"],
    "script_dotted_up": ["sub/../app.py"],
    "script_by_link": ["link.py"],
    "script_without_suffix": ["no_suffix"],
    "script_after_dashes": ["--", "app.py", "--", "x"],
    "script_latin": ["latin.py"],
    "script_bom": ["bom.py"],
    "script_missing": ["missing.py"],
    "script_missing_in_missing_folder": ["missing/missing.py"],
    "script_unreadable": ["unreadable.py"],
    "folder": ["folder", "x"],
    "folder_with_slash": ["./folder/"],
    "folder_without_main": ["nothing"],
    "folder_of_now_without_main": ["."],
    "zip": ["app.zip", "x"],
    "module": ["-m", "module", "-m", "x"],
    "module_without_space": ["-mmodule", "x"],
    "module_fails": ["-m", "fails"],
    "module_syntax_error": ["-m", "bad"],
    "module_missing": ["-m", "missing"],
    "module_in_missing_package": ["-m", "missing.module"],
    "module_with_suffix": ["-m", "module.py"],
    "module_relative": ["-m", ".module"],
    "module_whose_package_fails": ["-m", "broken"],
    "module_imported_already": ["-m", "package.other"],
    "package": ["-m", "package", "x"],
    "package_without_main": ["-m", "library"],
    "code": ["-c", FACTS, "x", "-y"],
    "code_without_space": ["-cprint(1)", "x"],
    "code_fails": ["-c", FAILS],
    "code_syntax_error": ["-c", "x = = 1"],
    "code_indented": ["-c", "\n    print(1)\n    1 / 0\n"],
    "code_annotations": ["-c", SCRIPTS["annotations"]],
    "code_empty": ["-c", ""],
    "code_undecodable": ["-c", "print('\udcff')"],
    "code_exits": ["-c", "exit(3)"],
    "code_pickle": ["-c", "import pickle\nclass A: pass\nprint(pickle.loads(pickle.dumps(A)))"],
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", COMMAND_LINES)
def test_command_line_means_what_it_means_to_python(name, project):
    assert_same(*COMMAND_LINES[name], cwd=project)


@pytest.mark.timeout(60)
def test_absolute_script_from_elsewhere(project):
    assert_same(project / "sub" / "script.py", cwd="/")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", [".", "", "./"])
def test_current_folder_as_the_program(name, project):
    assert_same(name, "x", cwd=project / "folder")


UNDECODABLE = {
    "wrong_encoding": b"print('\xff')\n",
    "unknown_encoding": b"# coding: no-such-encoding\n",
    "null_byte": b"x = 'a\0b'\n",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", UNDECODABLE)
def test_undecodable_script_is_a_syntax_error_in_other_words(name, tmp_path):
    """CPython words these errors otherwise for files it reads itself than for compile()."""
    (tmp_path / "app.py").write_bytes(UNDECODABLE[name])
    for start in ([], ["-m", "hotloop"]):
        code, stdout, stderr = outcome(*start, "app.py", cwd=tmp_path)
        assert (code, stdout) == (1, "")
        assert stderr.splitlines()[-1].startswith("SyntaxError: ")
        assert "Traceback" not in stderr


@pytest.mark.timeout(60)
@pytest.mark.parametrize("option", ["-P", "-O", "-u", "-b", "-Xdev", "-Xutf8=0", "-Wdefault"])
@pytest.mark.parametrize("name", ["folder", "script_in_folder", "module", "code"])
def test_options_of_python_hold(option, name, project):
    assert_same(*COMMAND_LINES[name], options=[option], cwd=project)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("arguments", [[], ["-"], ["-", "x"]], ids=" ".join)
@pytest.mark.parametrize("text", [FACTS, FAILS, "x = = 1", "print(input())", ""])
def test_program_on_stdin(arguments, text, tmp_path):
    assert_same(*arguments, stdin=text, cwd=tmp_path)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("script", ["x = 5\nimport sys", "x = 5\n1 / 0", "x = 5\nexit(3)"])
def test_inspect_option_leaves_the_user_in_the_program(script, tmp_path):
    write(tmp_path, app=script)
    typed = "print('x is', x, __name__)\n"
    code, stdout, stderr = assert_same("app.py", options=["-i"], stdin=typed, cwd=tmp_path)
    assert (code, "x is 5 __main__" in stdout) == (0, True), stderr


@pytest.mark.timeout(60)
def test_compiled_script(tmp_path):
    write(tmp_path, app=FAILS)
    for name in ("app.pyc", "no_suffix"):
        py_compile.compile(tmp_path / "app.py", tmp_path / name, doraise=True)
        code, _, stderr = assert_same(name, cwd=tmp_path)
        assert code == 1 and "ZeroDivisionError" in stderr


WAITS = """\
import asyncio, sys
async def main():
    asyncio.get_running_loop().call_soon(print, "waiting")
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        print("cleaned up")
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted")
    if "again" in sys.argv:
        raise
"""


# Of a traceback: a frame of the loop, which hotloop has none of (see test_known_differences.py).
LOOP_FRAME = re.compile(
    r'^  File "[^"]*/(?:asyncio/base_events|selectors)\.py", .*\n(?:    .*\n)*', re.MULTILINE
)


def interrupt_when_waiting(folder, *arguments):
    """Start the program, send SIGINT once it waits, and return what became of it."""
    process = subprocess.Popen(
        child.command("-u", *arguments),
        cwd=folder,
        env=child.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            first = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=30)
        finally:
            process.kill()
    return process.returncode, first + stdout, LOOP_FRAME.sub("", stderr)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "start", [["app.py"], ["-m", "app"], ["-c", WAITS]], ids=["script", "-m", "-c"]
)
@pytest.mark.parametrize("how", ["leave", "again"])
def test_ctrl_c_while_the_loop_is_idle(how, start, tmp_path):
    write(tmp_path, app=WAITS)
    expected = interrupt_when_waiting(tmp_path, *start, how)
    assert interrupt_when_waiting(tmp_path, "-m", "hotloop", *start, how) == expected
    code = 0 if how == "leave" else -signal.SIGINT
    assert expected[:2] == (code, "waiting\ncleaned up\ninterrupted\n")
    assert ("KeyboardInterrupt" in expected[2]) == (how == "again")


@pytest.mark.timeout(60)
def test_interactive_session_runs_on_hotloop(tmp_path):
    """With -i python takes stdin for a user at a terminal, whatever it is."""
    typed = (
        "import asyncio, sys\nprint(type(asyncio.new_event_loop()), sys.argv, __name__)\n1 / 0\n"
    )
    done = child.run("-i", "-m", "hotloop", stdin=typed, cwd=tmp_path, warnings="ignore")
    assert done.returncode == 0
    assert "<class 'hotloop.Loop'> [''] __main__\n" in done.stdout
    assert "ZeroDivisionError" in done.stderr and ">>> " in done.stdout + done.stderr


PRINT_LOOP = """\
import asyncio
async def main():
    print(type(asyncio.get_running_loop()))
asyncio.run(main())
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("way", ["app.py", "-mapp", "-c", "-"])
def test_program_runs_on_hotloop(way, tmp_path):
    write(tmp_path, app=PRINT_LOOP)
    text = [PRINT_LOOP] if way == "-c" else []
    stdin = PRINT_LOOP if way == "-" else ""
    stdout = child.run_ok("-m", "hotloop", way, *text, cwd=tmp_path, stdin=stdin)
    assert stdout == "<class 'hotloop.Loop'>\n"


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(option):
    shown = child.run_ok("-m", "hotloop", option)
    assert shown.startswith("usage: python")
    for documented in ("--children", "--info", "--version", "--help", "-m MODULE", "-c CODE"):
        assert documented in shown


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version(option):
    assert child.run_ok("-m", "hotloop", option) == f"hotloop {hotloop.__version__}\n"


def shown_info(**variables):
    """Return what --info shows, as a dict."""
    env = child.environment(**variables)
    done = child.run("-m", "hotloop", "--info", env=env, warnings="ignore")
    assert (done.returncode, done.stderr) == (0, "")
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


def test_info_names_what_matters():
    shown = shown_info()
    assert shown["hotloop"] == hotloop.__version__
    assert (shown["tasks"] == "native") == hotloop._core.native
    assert shown["backend"] == "epoll"
    assert sys.version in shown["python"] and sys.executable in shown["python"]
    assert os.uname().release in shown["kernel"]
    for name, value in hotloop._core.build_info().items():
        assert shown[f"build {name}"] == str(value)


def test_info_says_why_tasks_are_stock():
    """Debug builds can be told to expect a field elsewhere; release builds take no notice."""
    shown = shown_info(HOTLOOP_TEST_LAYOUT_SHIFT="callback0")["tasks"]
    if hotloop._core.build_info()["debug"]:
        assert shown.startswith("stock (asyncio's own; ") and "callback0" in shown
    else:
        assert shown == "native"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--no-such-option", "app.py"], "hotloop: unknown option --no-such-option"),
        (["-O", "app.py"], "hotloop: unknown option -O"),
        (["--children", "--nothing"], "hotloop: unknown option --nothing"),
        (["-m"], "hotloop: argument expected for the -m option"),
        (["-c"], "hotloop: argument expected for the -c option"),
    ],
)
def test_bad_command_line_is_one_line_and_exit_code_2(arguments, message):
    done = child.run("-m", "hotloop", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message) and done.stderr.count("\n") == 1
    assert child.run(*arguments[-2:]).returncode == 2
