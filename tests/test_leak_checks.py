"""The checks of conftest.py find what they are for: each is shown one seeded fault.

Every test here runs pytest in a child on a small module with one test in it, with conftest.py
loaded as a plugin, and looks at the verdict. A check that never fires would let every other test
pass for nothing.
"""

import os
from pathlib import Path

import pytest
from support import child

TESTS = Path(__file__).parent

pytestmark = pytest.mark.timeout(60)


def verdict(folder, body):
    """Run the test `body` under conftest.py; return the exit code and the report."""
    module = folder / "test_seeded.py"
    module.write_text("import asyncio, gc, os, warnings, pytest\n" + body)
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    done = child.run(
        *("-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-q", module),
        warnings=None,
        env=child.environment(PYTHONPATH=path, HOTLOOP_TEST_LOOP="asyncio"),
        cwd=folder,
    )
    return done.returncode, done.stdout + done.stderr


SEEDED = {
    "descriptor": (
        "def test_it():\n    os.dup(1)\n",
        "is still open",
    ),
    "warning": (
        "def test_it():\n    warnings.warn('seeded', UserWarning)\n",
        "UserWarning: seeded",
    ),
    "unclosed loop": (
        "def test_it(loop_factory):\n    loop_factory()\n",
        "unclosed event loop",
    ),
    "never awaited": (
        "async def main():\n    pass\ndef test_it():\n    main()\n",
        "was never awaited",
    ),
    "late exception": (
        "class Late:\n"
        "    def __init__(self):\n        self.me = self\n"
        "    def __del__(self):\n        raise ValueError('seeded')\n"
        "def test_it():\n    Late()\n",
        "ValueError: seeded",
    ),
    "handler called": (
        "def test_it(loop):\n"
        "    loop.call_soon(lambda: 1 / 0)\n    loop.call_soon(loop.stop)\n"
        "    loop.run_forever()\n",
        "exception handler called",
    ),
    "task destroyed": (
        "async def wait():\n    await asyncio.get_running_loop().create_future()\n"
        "async def main():\n    asyncio.ensure_future(wait())\n    await asyncio.sleep(0)\n"
        "def test_it(loop):\n    loop.run_until_complete(main())\n",
        "Task was destroyed but it is pending",
    ),
    "logged": (
        "async def main():\n    asyncio.get_running_loop().create_future()"
        ".set_exception(OSError())\n"
        "def test_it():\n    asyncio.run(main())\n    gc.collect()\n",
        "asyncio logged: Future exception was never retrieved",
    ),
    "installed": (
        "def test_it():\n    asyncio.new_event_loop = asyncio.SelectorEventLoop\n",
        "asyncio.new_event_loop is not what it was",
    ),
    "timeout": (
        "@pytest.mark.timeout(0.2)\ndef test_it():\n    os.read(os.pipe()[0], 1)\n",
        "Timeout",
    ),
    "marker without a reason": (
        "@pytest.mark.only_hotloop\ndef test_it(loop):\n    pass\n",
        "only_hotloop needs the reason",
    ),
}


@pytest.mark.parametrize("name", SEEDED)
def test_a_seeded_fault_fails(name, tmp_path):
    body, expected = SEEDED[name]
    code, report = verdict(tmp_path, body)
    assert code != 0
    assert expected in report


def test_a_clean_test_passes(tmp_path):
    body = (
        "def test_it(loop, loop_reports):\n"
        "    loop.call_soon(lambda: 1 / 0)\n    loop.call_soon(loop.stop)\n    loop.run_forever()\n"
        "    [context] = loop_reports.take()\n"
        "    assert isinstance(context['exception'], ZeroDivisionError)\n"
    )
    code, report = verdict(tmp_path, body)
    assert code == 0, report
    assert "1 passed, 1 deselected" in report


@pytest.mark.only_hotloop("asyncio's loops are not counted")
def test_a_leaked_native_loop_is_counted(tmp_path, loop_factory):
    body = (
        "kept = []\n"
        "def test_it():\n"
        "    import hotloop\n    kept.append(hotloop.new_event_loop())\n    kept[0].close()\n"
    )
    import hotloop._core

    code, report = verdict(tmp_path, body)
    counted = bool(hotloop._core.counters())
    assert ("live_Loop grew from 0 to 1" in report) == counted
    assert (code != 0) == counted
