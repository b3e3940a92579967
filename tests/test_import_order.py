"""Importing hotloop leaves asyncio as it is, whichever of the two is imported first.

asyncio takes its fast functions and types from the C module _asyncio, which itself imports asyncio.
Who imports _asyncio first makes asyncio, silently, fall back to pure Python versions that do not
know of the C tables in which tasks are entered.
"""

import json

import pytest
from support import child

pytestmark = pytest.mark.timeout(60)

# Prints, for each function and class that asyncio's modules show, in which module it was defined.
WHERE_FROM = """
import asyncio.base_events, json
answers = {}
for part in ("base_events", "events", "futures", "runners", "tasks"):
    for name, thing in sorted(vars(getattr(asyncio, part)).items()):
        answers[f"{part}.{name}"] = str(getattr(thing, "__module__", None))
answers["policy"] = str(getattr(asyncio.events, "_event_loop_policy", None))
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def stock():
    """Return the answers of a process without hotloop."""
    return json.loads(child.run_ok("-c", WHERE_FROM))


@pytest.mark.parametrize("first", ["hotloop", "hotloop._core", "asyncio, hotloop"])
def test_importing_hotloop_leaves_asyncio_as_it_is(first, stock):
    assert json.loads(child.run_ok("-c", f"import {first}\n{WHERE_FROM}")) == stock


def test_asyncio_runs_its_own_c_tasks(stock):
    assert stock["tasks.Task"] == stock["futures.Future"] == "_asyncio"
