"""Run the same scenario on asyncio's loop and on hotloop's, and compare what comes out.

A scenario is a function that is given a fresh loop and does something with it.  What it returns or
raises is reduced to an *outcome*: plain data in which memory addresses and the names of the loop's
own class are replaced, because only those may differ.  Two equal outcomes are the definition of
"hotloop behaves like asyncio" that most tests in this folder use, so that no test has to spell out
what a given Python version's asyncio says.
"""

import asyncio
import math
import re

import hotloop

# The selector loop is named directly: asyncio.new_event_loop() may be hotloop's after install().
FACTORIES = {"asyncio": asyncio.SelectorEventLoop, "hotloop": hotloop.new_event_loop}

_ADDRESS = re.compile(r"0x[0-9a-fA-F]+|(?<=id=.)[0-9]+")
_LOOP_CLASS = re.compile(r"<(?:[\w.]*\.)?(?:_UnixSelectorEventLoop|Loop) ")
# Deadlines of real clocks differ between two runs; those that tests make up are small numbers.
_DEADLINE = re.compile(r"(?<=when=)\d{3,}\.\d+")
# hotloop's repr of a loop adds whether its tasks are native; a method's qualified name in an error
# message says in which class it was found.
_TASK_KIND = re.compile(r" tasks=\w+(?=>)")
_METHOD_CLASS = re.compile(
    r"\b(?:BaseEventLoop|BaseSelectorEventLoop|_UnixSelectorEventLoop|Loop)\."
)
# A wrong number of arguments, and one given by position and by name, are worded in one way by
# Python functions, in another by C functions.
_WRONG_COUNT = re.compile(r"(\w+\(\)) (?:missing|takes) .*")
_GIVEN_TWICE = re.compile(
    r"argument for ([\w.]+\(\)) given by name \(('\w+')\) and position \(\d+\)"
)
_LOOP_NAME = re.compile(r"'(?:_UnixSelectorEventLoop|Loop)'")
_HANDLE_MODULE = re.compile(r"\b(?:hotloop(?:\._core)?|asyncio\.events)\.(?=(?:Timer)?Handle\b)")
_TASK_MODULE = re.compile(r"\b(?:hotloop(?:\._core)?|_asyncio)\.(?=(?:Future|Task)\b)")


def normalized(text):
    """Replace what may differ between two runs: addresses and where the own classes live."""
    text = _ADDRESS.sub("0x...", text)
    text = _LOOP_CLASS.sub("<LOOP ", text)
    text = _DEADLINE.sub("...", text)
    text = _LOOP_NAME.sub("'LOOP'", text)
    text = _METHOD_CLASS.sub("", _TASK_KIND.sub("", text))
    text = _GIVEN_TWICE.sub(r"\1 got multiple values for argument \2", text)
    text = _WRONG_COUNT.sub(r"\1 was called with a wrong number of arguments", text)
    return _HANDLE_MODULE.sub("", _TASK_MODULE.sub("", text))


def outcome_of(function, *args, **kwargs):
    """Call the function and describe how it ended, as comparable data.

    What only a mistake in a test raises goes through: two equal mistakes would agree.
    """
    try:
        value = function(*args, **kwargs)
    except (NameError, AssertionError):
        raise
    except RecursionError as error:
        return ("raised", type(error).__qualname__)  # The text tells by accident where it was.
    except BaseException as error:
        return ("raised", type(error).__qualname__, normalized(str(error)))
    return ("returned", normalized(value) if isinstance(value, str) else value)


def class_of_loops(factory):
    """The class of the loops that the factory makes, to derive from."""
    loop = factory()
    loop.close()
    return type(loop)


def close_completely(loop):
    """Finish a loop that a scenario may have left in any state except running."""
    if not loop.is_closed():
        loop.close()


def outcome_on(name, scenario, *args):
    """Run the scenario on a fresh loop of the named kind and return its outcome."""
    loop = FACTORIES[name]()
    try:
        return outcome_of(scenario, loop, *args)
    finally:
        close_completely(loop)


def assert_same_on_both(scenario, *args):
    """Fail unless asyncio and hotloop give the same outcome; return that outcome."""
    expected = outcome_on("asyncio", scenario, *args)
    actual = outcome_on("hotloop", scenario, *args)
    assert actual == expected, f"asyncio: {expected}\nhotloop: {actual}"
    return expected


def collect_reports(loop):
    """Have the loop report into a list of comparable data, and return that list."""
    reports = []

    def keep(loop, context):
        error = context.get("exception")
        described = sorted(key for key in context)
        reports.append((normalized(context["message"]), normalized(repr(error)), described))

    loop.set_exception_handler(keep)
    return reports


def evaluated(expression, loop, **names):
    """Evaluate an expression of a table; written as text, it is also the name of its test."""
    return eval(expression, {"loop": loop, "asyncio": asyncio, "math": math, **names})


def assert_same_log_on_both(caplog, scenario):
    """Fail unless the outcome and asyncio's log of errors agree; return the common (outcome, log).

    The log is forgotten at the end: its records hold tracebacks, and with them loops and handles.
    """
    seen = {}
    for name in FACTORIES:
        caplog.clear()
        ended = outcome_on(name, scenario)
        records = [record for record in caplog.records if record.name == "asyncio"]
        seen[name] = (
            ended,
            [
                (record.levelname, bool(record.exc_info), normalized(record.getMessage()))
                for record in records
                if record.levelname in ("ERROR", "CRITICAL")
            ],
        )
        del records
    caplog.clear()
    assert seen["hotloop"] == seen["asyncio"], seen
    return seen["asyncio"]


def run_briefly(loop, turns=1):
    """Let the loop take that many turns: stop() asked for before a run ends it after one."""
    for _ in range(turns):
        loop.stop()
        loop.run_forever()
