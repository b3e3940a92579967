"""What every test of hotloop has in common: loops, limits and the check of what is left behind.

* `loop_factory` and `loop` run a test twice, on hotloop and on asyncio (ids "hotloop" and
  "asyncio"): what is promised is that both behave alike. `@pytest.mark.only_hotloop("why")` keeps
  the hotloop half only, for what asyncio does not have.
* Each test ends within 10 s unless it carries `@pytest.mark.timeout(seconds)` or the caller gives
  another limit (--timeout, PYTEST_TIMEOUT). Warnings are errors, also those of objects that are
  collected late, because garbage is collected before the verdict.
* After each test that passed: no descriptor more than before, no native object more than before
  (debug builds count them), nothing installed, no report to an exception handler or to asyncio's
  log that the test did not take.

HOTLOOP_TEST_LOOP=hotloop or =asyncio in the environment runs one half of the doubled tests only.
"""

import asyncio
import contextlib
import faulthandler
import gc
import logging
import os

import pytest
from support.leaks import Baseline, LoggedErrors, Reports
from support.sockets import nonblocking_pair
from users import requirements

DEFAULT_TIMEOUT = 10  # Seconds.
LOOPS = ("hotloop", "asyncio")

# Where the watchdog writes: the real stderr, which pytest has redirected while a test runs.
STDERR = pytest.StashKey()
# Set on an item whose test failed: its traceback keeps objects alive, which is no leak.
FAILED = pytest.StashKey()


def pytest_configure(config):
    """Register the markers and make warnings errors, whatever folder pytest was started in."""
    config.addinivalue_line("markers", "only_hotloop(reason): asyncio has no such thing to compare")
    config.addinivalue_line("markers", "leak: repeats operations and looks at memory use")
    if "error" not in config.getini("filterwarnings"):
        config.addinivalue_line("filterwarnings", "error")
        # hypothesis warns of its own registry of random sources on 3.14 and later, now and then.
        config.addinivalue_line(
            "filterwarnings",
            "ignore:It looks like `register_random`:hypothesis.errors.HypothesisWarning",
        )
    config.stash[STDERR] = os.fdopen(os.dup(2), "w")
    keep_objects_mortal()


def keep_objects_mortal():
    """Free-threaded CPython 3.13 never frees functions and classes once a thread was started.

    What they refer to would count as left behind. CPython's own tests switch that off in this way.
    """
    with contextlib.suppress(ImportError, AttributeError):
        import _testinternalcapi

        _testinternalcapi.suppress_immortalization(True)


def pytest_unconfigure(config):
    """Close what pytest_configure has opened."""
    config.stash[STDERR].close()


def pytest_report_header():
    """Say that tests/users is left out, and what it needs, where its libraries are missing."""
    return requirements.header()


def wanted_loops(definition):
    """Return the names of the loops that a test is to run on."""
    marker = definition.get_closest_marker("only_hotloop")
    if marker is None:
        return LOOPS
    if not marker.args:
        raise pytest.UsageError(f"{definition.nodeid}: only_hotloop needs the reason")
    return LOOPS[:1]


def pytest_generate_tests(metafunc):
    """Double each test that uses `loop_factory`, itself or through `loop`."""
    if "loop_factory" in metafunc.fixturenames:
        names = wanted_loops(metafunc.definition)
        metafunc.parametrize("loop_factory", names, indirect=True, ids=names)


def pytest_collection_modifyitems(config, items):
    """Give each test its time limit and leave out the half that HOTLOOP_TEST_LOOP excludes."""
    if config.getoption("timeout") is None and "PYTEST_TIMEOUT" not in os.environ:
        for item in items:
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(DEFAULT_TIMEOUT))
    chosen = os.environ.get("HOTLOOP_TEST_LOOP")
    if chosen:
        excluded = [item for item in items if loop_name(item) not in (None, chosen)]
        items[:] = [item for item in items if loop_name(item) in (None, chosen)]
        config.hook.pytest_deselected(items=excluded)


def loop_name(item):
    """Return the name of the loop an item runs on, or None where that is the test's business."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    # A `kind` of types, or a loop's name, that a test is about; mixed kinds are about both.
    names = [params.get("loop_factory"), str(params.get("kind"))]
    return next((name for name in names if name in LOOPS), None)


def pytest_collection_finish():
    """Take what exists by now out of garbage collection: a collection per test becomes cheap."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def reports_out_of_garbage_collection():
    """Do the same after each file: pytest keeps the reports of all tests that have run."""
    yield
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Remember for the fixtures' teardown whether the test itself has failed."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture(autouse=True)
def watchdog(request):
    """Kill the process, showing all stacks, when a test outlives its limit three times.

    pytest-timeout raises in the main thread, which native code that never returns to the
    interpreter does not notice; this thread needs no interpreter.
    """
    marker = request.node.get_closest_marker("timeout")
    limit = marker.args[0] if marker is not None and marker.args else 60
    stderr = request.config.stash[STDERR]
    faulthandler.dump_traceback_later(3 * limit + 5, exit=True, file=stderr)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def nothing_left_behind(request, watchdog):
    """Fail a test that passed but left something behind; see the top of this file."""
    logger = logging.getLogger("asyncio")
    errors = LoggedErrors()
    logger.addHandler(errors)
    baseline = Baseline()
    yield
    # pytest keeps the values of the fixtures, a closed loop for example, until after this point.
    request.node.funcargs.clear()
    differences = baseline.differences()
    logger.removeHandler(errors)
    if "caplog" not in request.fixturenames:  # A test that asks for the log checks it itself.
        differences += [f"asyncio logged: {line}" for line in errors.lines]
    if differences and FAILED not in request.node.stash:
        pytest.fail("left behind:\n" + "\n".join(differences), pytrace=False)


@pytest.fixture
def loop_factory(request):
    """Return a callable that makes a new loop of the kind this run of the test is about.

    The caller closes what it makes. Use it as the loop_factory of asyncio.Runner, or for tests
    with several loops.
    """
    if request.param == "asyncio":
        return asyncio.SelectorEventLoop
    import hotloop

    return hotloop.new_event_loop


@pytest.fixture
def loop_reports():
    """Return the exception handler of the `loop` fixture; `take()` gives the contexts it got."""
    return Reports()


@pytest.fixture
def loop(loop_factory, loop_reports, request):
    """Return a new loop, closed after the test, that records calls of its exception handler.

    The test fails if there were any that it did not take out of `loop_reports`. The loop is not
    made the thread's current one.
    """
    new_loop = loop_factory()
    new_loop.set_exception_handler(loop_reports)
    yield new_loop
    new_loop.close()
    gc.collect()  # Reports of objects that the test has dropped must come before the verdict.
    unexpected = loop_reports.describe_and_forget()
    if unexpected and FAILED not in request.node.stash:
        pytest.fail("exception handler called:\n" + "\n".join(unexpected), pytrace=False)


@pytest.fixture
def pair():
    """Return two connected unix sockets that do not block, closed after the test."""
    near, far = nonblocking_pair()
    yield near, far
    near.close()
    far.close()


@pytest.fixture
def endpoints(loop):
    """Return what makes datagram endpoints on the loop, and closes them after the test."""
    from support.datagrams import Endpoints

    opened = Endpoints(loop)
    yield opened
    opened.close()
