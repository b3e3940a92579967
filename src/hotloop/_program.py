"""Runs a program as the python command runs it, for python -m hotloop: what it sees and leaves.

`run_script`, `run_module`, `run_command` and `run_stdin` do what `python FILE`, `-m`, `-c` and `-`
do.  The program gets a `__main__` module of its own in the place of hotloop's (multiprocessing and
pickle look there), its own sys.argv and sys.path[0].  Whatever it raises leaves through `run` and
the interpreter's own exit, which knows about SystemExit, -i and dying by SIGINT; only the frames
below the program are taken off the traceback before it is printed.

What remains visible: the program is not at the bottom of the stack (warnings with a stacklevel
beyond the program, the depth left to a recursion), asyncio is imported, sys.orig_argv is true, and
a SyntaxError over bytes that cannot be decoded reads as compile() words it.
"""

from __future__ import annotations

import builtins
import errno
import linecache
import os
import pkgutil
import runpy
import sys
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader
from importlib.util import MAGIC_NUMBER
from types import ModuleType, TracebackType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType


# What the interpreter itself calls for -m, folders and zip files.  The public functions of runpy
# take __main__ away again when the module has run, under the feet of threads and exit handlers.
run_module_as_main: Callable[..., None] = vars(runpy)["_run_module_as_main"]


def run(kind: Callable[..., None], *arguments: object) -> None:
    """Call one of the functions below; what the program raises is shown as python shows it."""
    try:
        kind(*arguments)
    except BaseException as error:
        if not isinstance(error, SystemExit) or sys.flags.inspect:
            show_once_without_our_frames(error)
        raise


def show_once_without_our_frames(error: BaseException) -> None:
    """Have the interpreter print this exception without the frames that lie below the program.

    Every frame that the exception leaves is added to its traceback, so that it can be cut only
    after the last one: in sys.excepthook, which is the program's again when it is called.
    """
    hook = getattr(sys, "excepthook", None)
    if hook is None:
        return
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_globals is globals():
        traceback = traceback.tb_next

    def show(kind: type[BaseException], value: BaseException, whole: TracebackType | None) -> None:
        sys.excepthook = hook
        if value is not error:
            hook(kind, value, whole)
            return
        sys.last_traceback = value.__traceback__ = traceback
        try:
            hook(kind, value, traceback)
        except SystemExit:
            raise
        except BaseException as failure:
            # As the interpreter does it, which would show our frame here too.
            sys.stderr.write("Error in sys.excepthook:\n")
            inner = failure.__traceback__ and failure.__traceback__.tb_next
            sys.__excepthook__(type(failure), failure.with_traceback(inner), inner)
            sys.stderr.write("\nOriginal exception was:\n")
            sys.__excepthook__(kind, value, traceback)

    sys.excepthook = show


def run_script(path: str, arguments: list[str]) -> None:
    """Run a source or .pyc file, or a folder or zip file that contains a __main__.py."""
    sys.argv = [path, *arguments]
    filename = absolute(path)
    if pkgutil.get_importer(filename) is not None:
        # The folder or zip file goes on sys.path even under -P: the program is found through it.
        set_first_path_entry(filename, even_if_safe=True)
        new_main_module()
        run_module_as_main("__main__", False)
        return
    try:
        with open(filename, "rb") as file:
            content = file.read()
    except OSError as error:
        sys.stderr.write(
            f"{sys.orig_argv[0]}: can't open file {filename!r}: "
            f"[Errno {error.errno}] {os.strerror(error.errno or errno.EIO)}\n"
        )
        sys.exit(2)
    set_first_path_entry(os.path.dirname(os.path.realpath(path)))
    run_file(new_main_module(), filename, content)


def run_file(main: ModuleType, filename: str, content: bytes) -> None:
    """Run the content of a file in the given main module."""
    set_file(main, filename)
    if filename.endswith(".pyc") or content[:2] == MAGIC_NUMBER[:2]:
        loader = SourcelessFileLoader("__main__", filename)
        vars(main)["__loader__"] = loader
        code = loader.get_code("__main__")
        assert code is not None, "a file that is no .pyc raises"
        exec(code, vars(main))
    else:
        vars(main)["__loader__"] = SourceFileLoader("__main__", filename)
        exec(compiled(content, filename), vars(main))
    unset_file(main)


def run_module(name: str, arguments: list[str]) -> None:
    """Run a module or a package's __main__ by its name; it may be in the current directory."""
    # runpy puts the module's file here once it has found it, as it does for python -m.
    sys.argv = ["-m", *arguments]
    new_main_module()
    run_module_as_main(name)


def run_command(source: str, arguments: list[str]) -> None:
    """Run source text given on the command line."""
    sys.argv = ["-c", *arguments]
    set_first_path_entry("")
    if sys.version_info >= (3, 14) and source[:1].isspace():
        import textwrap

        source = textwrap.dedent(source)
    main = new_main_module()
    try:
        source.encode()
    except UnicodeEncodeError:
        sys.stderr.write("Unable to decode the command from the command line:\n")
        raise
    code = compiled(source, "<string>")
    remember_lines(code, source)
    exec(code, vars(main))


def remember_lines(code: CodeType, source: str) -> None:
    """Give linecache the lines of -c, which tracebacks show from Python 3.13 on."""
    register = getattr(linecache, "_register_code", None)
    if register is not None:
        # The first releases of 3.13 know the text by its name, later ones by each code object.
        by_code = hasattr(linecache, "_interactive_cache")
        register(code if by_code else "<string>", source, "<string>")


def run_stdin(arguments: list[str]) -> None:
    """Run what stands on stdin, or talk to the user who sits there."""
    sys.argv = arguments or [""]
    set_first_path_entry("")
    main = new_main_module()
    if sys.flags.interactive or os.isatty(0):
        import code

        code.interact(local=vars(main), exitmsg="")
        return
    set_file(main, "<stdin>")
    exec(compiled(sys.stdin.buffer.read(), "<stdin>"), vars(main))
    unset_file(main)


def absolute(path: str) -> str:
    """Return the path as python puts it in __file__: absolute, but not normalised."""
    return os.getcwd() if path in ("", ".") else os.path.join(os.getcwd(), path)


def set_first_path_entry(entry: str, even_if_safe: bool = False) -> None:
    """Put in sys.path[0] what belongs to the program, in the place of what python -m put there."""
    if not sys.flags.safe_path:
        sys.path[0] = entry
    elif even_if_safe:
        sys.path.insert(0, entry)


def new_main_module() -> ModuleType:
    """Put a fresh __main__, as the interpreter starts with, in the place of hotloop's."""
    main = ModuleType("__main__")
    vars(main).update(__loader__=BuiltinImporter, __builtins__=builtins)
    if sys.version_info < (3, 14):
        vars(main)["__annotations__"] = {}
    sys.modules["__main__"] = main
    if "__mp_main__" in sys.modules:
        # multiprocessing has taken note of hotloop's module as the one whose classes children send.
        sys.modules["__mp_main__"] = main
    return main


def set_file(main: ModuleType, filename: str) -> None:
    """Tell the program where it was read from."""
    vars(main)["__file__"] = filename
    if sys.version_info < (3, 15):
        vars(main)["__cached__"] = None


def unset_file(main: ModuleType) -> None:
    """Take back what set_file set: python does so when the program has run to its end."""
    vars(main).pop("__file__", None)
    vars(main).pop("__cached__", None)


def compiled(source: str | bytes, filename: str) -> CodeType:
    """Return the code of a program, free of the __future__ imports of this file."""
    try:
        return compile(source, filename, "exec", dont_inherit=True)
    except ValueError as error:  # null bytes: a SyntaxError from later 3.11 releases on
        raise SyntaxError(str(error)) from None
