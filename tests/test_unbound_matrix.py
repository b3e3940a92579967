"""Every method and attribute of asyncio's C Future and Task, on hotloop's objects, in every state.

hotloop's types share the memory layout of asyncio's and derive from them, so asyncio's own code
accepts them: ``asyncio.Future.set_result(own_future, 5)`` must do exactly what it does to an
asyncio future, down to who is woken and in which order.  The operations are generated from
``dir()`` of the stock types, so that an attribute that a later Python adds is tried as well.  The
same matrix is run with hotloop's own attribute in place of the stock one.

What is compared: what the operation returned or raised, every attribute afterwards, the order in
which waiters and callbacks ran, and what reached the loop's exception handler.
"""

import asyncio
import functools
import inspect
import io
import sys

import pytest
from support.task_kinds import (
    NATIVE,
    NATIVE_ON_ASYNCIO,
    STOCK,
    Kind,
    attempt,
)
from support.worlds import World

# hotloop's objects awaited by asyncio's tasks: the waiter then is asyncio's wake-up method.
NATIVE_AWAITED_BY_STOCK = Kind("hotloop<-asyncio", NATIVE.Future, STOCK.Task, NATIVE.new_loop)

# Where asyncio's own code dereferences a null pointer: state, attribute and the versions that do.
# test_evil.py has hotloop's own methods do the same.
CRASHES_STOCK = {
    ("uninitialized_task", "get_coro"): sys.version_info < (3, 13),
    ("uninitialized_task", "get_context"): sys.version_info < (3, 13, 1),
    ("running_cancelled_task", "__init__"): (3, 13, 1) <= sys.version_info < (3, 15),
}


class Scene(World):
    """A world with an object under test and those who wait for it."""

    def __init__(self, kind, subject_types, debug):
        super().__init__(kind, debug)
        self.types = subject_types
        self.sink = io.StringIO()

    def future(self, label="subject"):
        return self.describe.name(label, self.types.Future(loop=self.loop))

    def task(self, body, label="subject", task_type=None):
        self.describe.name(label + " coroutine", body)
        self.keep(body)
        task = (task_type or self.types.Task)(body, loop=self.loop, name=label)
        self._tasks.append(task)
        return self.describe.name(label, task)

    def waiter(self, label, awaitable):
        return self.task(self.wait_for(label, awaitable), label, self.kind.Task)

    def close(self, subject):
        # An uninitialised task has no loop to report to: asyncio's finalizer crashes on it.
        if isinstance(subject, asyncio.Task):
            subject._log_destroy_pending = False
        super().close()


# --- States ---------------------------------------------------------------------------------------
# Each takes the scene and calls act(subject) once, at the moment the operation shall happen.


def uninitialized_future(scene, act):
    act(scene.describe.name("subject", scene.types.Future.__new__(scene.types.Future)))


def pending_future(scene, act):
    act(scene.future())


def awaited_future(scene, act):
    future = scene.future()
    scene.waiter("first", future)
    scene.turns()
    act(future)


def future_awaited_twice(scene, act):
    future = scene.future()
    scene.waiter("first", future)
    scene.waiter("second", future)
    scene.turns()
    act(future)


def future_with_callback(scene, act):
    future = scene.future()
    future.add_done_callback(scene.callback("callback"))
    act(future)


def future_with_callbacks(scene, act):
    future = scene.future()
    for label in ("callback", "other", "third"):
        future.add_done_callback(scene.callback(label))
    act(future)


def future_awaited_then_with_callback(scene, act):
    future = scene.future()
    scene.waiter("first", future)
    scene.turns()
    future.add_done_callback(scene.callback("callback"))
    act(future)


def future_with_callback_then_awaited(scene, act):
    future = scene.future()
    future.add_done_callback(scene.callback("callback"))
    scene.waiter("first", future)
    scene.turns()
    act(future)


def future_whose_waiter_was_cancelled(scene, act):
    future = scene.future()
    waiter = scene.waiter("first", future)
    scene.turns()
    waiter.cancel("enough")
    act(future)


def finished_future(scene, act):
    future = scene.future()
    future.set_result("done")
    act(future)


def finished_future_not_yet_delivered(scene, act):
    future = scene.future()
    scene.waiter("first", future)
    scene.turns()
    future.set_result("done")
    act(future)


def failed_future(scene, act):
    future = scene.future()
    future.set_exception(LookupError("broken"))
    act(future)


def failed_future_not_yet_delivered(scene, act):
    future = scene.future()
    scene.waiter("first", future)
    scene.turns()
    future.set_exception(LookupError("broken"))
    act(future)


def cancelled_future(scene, act):
    future = scene.future()
    future.cancel("unwanted")
    act(future)


def cancelled_future_not_yet_delivered(scene, act):
    future = scene.future()
    scene.waiter("first", future)
    scene.turns()
    future.cancel("unwanted")
    act(future)


def uninitialized_task(scene, act):
    act(scene.describe.name("subject", scene.types.Task.__new__(scene.types.Task)))


def task_not_started(scene, act):
    act(scene.task(scene.wait_for("body", scene.future("gate"))))


def task_waiting(scene, act):
    task = scene.task(scene.wait_for("body", scene.future("gate")))
    scene.turns()
    act(task)


def task_waiting_for_a_task(scene, act):
    inner = scene.waiter("inner", scene.future("gate"))
    task = scene.task(scene.wait_for("body", inner))
    scene.turns()
    act(task)


def task_about_to_wake(scene, act):
    gate = scene.future("gate")
    task = scene.task(scene.wait_for("body", gate))
    scene.turns()
    gate.set_result("open")
    act(task)


def task_between_bare_yields(scene, act):
    async def body():
        for number in range(3):
            await asyncio.sleep(0)
            scene.log.append(("body", number))

    task = scene.task(body())
    scene.turns(2)
    act(task)


def awaited_task(scene, act):
    task = scene.task(scene.wait_for("body", scene.future("gate")))
    scene.waiter("first", task)
    scene.turns()
    act(task)


def task_awaited_twice(scene, act):
    task = scene.task(scene.wait_for("body", scene.future("gate")))
    scene.waiter("first", task)
    scene.waiter("second", task)
    scene.turns()
    act(task)


def task_with_callbacks(scene, act):
    task = scene.task(scene.wait_for("body", scene.future("gate")))
    task.add_done_callback(scene.callback("callback"))
    scene.waiter("first", task)
    scene.turns()
    task.add_done_callback(scene.callback("other"))
    act(task)


def task_cancelled_before_start(scene, act):
    task = scene.task(scene.wait_for("body", scene.future("gate")))
    task.cancel("early")
    act(task)


def task_cancelled_while_waiting(scene, act):
    task = scene.task(scene.wait_for("body", scene.future("gate")))
    scene.turns()
    task.cancel("late")
    act(task)


def running_task(scene, act):
    async def body():
        act(subject)
        return "ran"

    subject = scene.task(body())
    scene.waiter("first", subject)
    scene.turns()


def running_task_that_waits_afterwards(scene, act):
    async def body():
        act(subject)
        await scene.wait_for("body", gate)

    gate = scene.future("gate")
    subject = scene.task(body())
    scene.turns()


def running_cancelled_task(scene, act):
    async def body():
        subject.cancel("from within")
        act(subject)
        await scene.wait_for("body", gate)

    gate = scene.future("gate")
    subject = scene.task(body())
    scene.turns()


async def _returning(value):
    return value


async def _raising(error):
    raise error


def finished_task(scene, act):
    task = scene.task(_returning("value"))
    scene.turns()
    act(task)


def failed_task(scene, act):
    task = scene.task(_raising(LookupError("broken")))
    scene.turns()
    act(task)


def cancelled_task(scene, act):
    task = scene.task(_raising(asyncio.CancelledError("by itself")))
    scene.turns()
    act(task)


def finished_task_not_yet_delivered(scene, act):
    task = scene.task(_returning("value"))
    scene.waiter("first", task)
    scene.turns()
    act(task)


FUTURE_STATES = [
    uninitialized_future,
    pending_future,
    awaited_future,
    future_awaited_twice,
    future_with_callback,
    future_with_callbacks,
    future_awaited_then_with_callback,
    future_with_callback_then_awaited,
    future_whose_waiter_was_cancelled,
    finished_future,
    finished_future_not_yet_delivered,
    failed_future,
    failed_future_not_yet_delivered,
    cancelled_future,
    cancelled_future_not_yet_delivered,
]
TASK_STATES = [
    uninitialized_task,
    task_not_started,
    task_waiting,
    task_waiting_for_a_task,
    task_about_to_wake,
    task_between_bare_yields,
    awaited_task,
    task_awaited_twice,
    task_with_callbacks,
    task_cancelled_before_start,
    task_cancelled_while_waiting,
    running_task,
    running_task_that_waits_afterwards,
    running_cancelled_task,
    finished_task,
    failed_task,
    cancelled_task,
    finished_task_not_yet_delivered,
]


# --- Operations -----------------------------------------------------------------------------------


def operations_of(stock):
    """The names of everything that the stock type adds to object and that takes an instance."""
    for name in dir(stock):
        attribute = inspect.getattr_static(stock, name)
        inherited = inspect.getattr_static(object, name, None) is attribute
        takes_instance = hasattr(type(attribute), "__get__") and not isinstance(
            attribute, type(int.__new__) | type(dict.__dict__["fromkeys"])
        )
        if not inherited and takes_instance and name != "__init_subclass__":
            yield name


class EqualToEverything:
    def __eq__(self, other):
        return True

    __hash__ = None


def _new_coroutine(scene):
    body = scene.wait_for("again", scene.future("second gate"))
    scene.describe.name("second coroutine", body)
    return scene.keep(body)


# Argument lists for the methods that need some; any other method is called with none, and with one.
ARGUMENTS = {
    "__init__": [
        lambda scene: ((), {"loop": scene.loop}),
        lambda scene: ((_new_coroutine(scene),), {"loop": scene.loop, "name": "again"}),
        lambda scene: ((5,), {"loop": scene.loop}),
    ],
    "set_result": [lambda scene: ((5,), {}), lambda scene: ((), {})],
    "set_exception": [
        lambda scene: ((OSError("given"),), {}),
        lambda scene: ((KeyError,), {}),
        lambda scene: ((5,), {}),
        lambda scene: ((StopIteration("bad"),), {}),
    ],
    "add_done_callback": [
        lambda scene: ((scene.callback("added"),), {}),
        lambda scene: ((scene.callback("added"),), {"wrong": 1}),
    ],
    "remove_done_callback": [
        lambda scene: ((EqualToEverything(),), {}),
        lambda scene: ((print,), {}),
    ],
    "cancel": [
        lambda scene: ((), {}),
        lambda scene: (("message",), {}),
        lambda scene: ((), {"msg": "message"}),
    ],
    # Only the newest frame: below it are the loop's, which are not the same.
    "get_stack": [lambda scene: ((), {"limit": 1})],
    "print_stack": [lambda scene: ((), {"limit": 1, "file": scene.sink})],
    "set_name": [lambda scene: (("renamed",), {}), lambda scene: ((7,), {})],
    "__iter__": [lambda scene: ((), {})],
    "__await__": [lambda scene: ((), {})],
    "__del__": [lambda scene: ((), {})],
}
DEFAULT_ARGUMENTS = [lambda scene: ((), {}), lambda scene: ((5,), {})]

SETTABLE_VALUES = [None, True, False, "text"]


def _drive_iterator(scene, iterator):
    """What an await does, step by step, then what it does when an exception is thrown in."""
    results = [attempt(scene.describe, iterator.send, None)]
    if results[0][0] == "returned":  # An exhausted iterator asyncio's own code does not bear.
        results.append(attempt(scene.describe, iterator.send, None))
    results.append(attempt(scene.describe, iterator.throw, ValueError("thrown")))
    results.append(attempt(scene.describe, iterator.close))
    return results


def _call(name, arguments):
    def operation(scene, attribute, subject):
        args, kwargs = arguments(scene)
        result = attribute(subject, *args, **kwargs)
        if name in ("__iter__", "__await__"):
            return _drive_iterator(scene, result)
        return result

    return operation


def _read(scene, attribute, subject):
    return attribute.__get__(subject, type(subject))


def _write(value):
    return lambda scene, attribute, subject: attribute.__set__(subject, value)


def _delete(scene, attribute, subject):
    return attribute.__delete__(subject)


def variations(stock, name):
    """All the ways in which the matrix uses one attribute."""
    attribute = inspect.getattr_static(stock, name)
    if callable(attribute):
        return [_call(name, arguments) for arguments in ARGUMENTS.get(name, DEFAULT_ARGUMENTS)]
    return [_read, _delete, *map(_write, SETTABLE_VALUES)]


# --- The comparison -------------------------------------------------------------------------------

GETTERS = [
    name
    for name in operations_of(asyncio.Task)
    if not callable(inspect.getattr_static(asyncio.Task, name))
]
QUERIES = ["done", "cancelled", "cancelling", "get_name", "get_loop", "__repr__"]


def snapshot(scene, subject):
    """Every attribute of the object, read through its own type."""
    state = {name: attempt(scene.describe, getattr, subject, name) for name in GETTERS}
    for name in QUERIES:
        if hasattr(subject, name):
            state[name] = attempt(scene.describe, getattr(subject, name))
    return state


def observe(kind, subject_types, owner, state, name, operation, debug):
    """Play one cell of the matrix and return all that can be seen of it."""
    scene = Scene(kind, subject_types, debug)
    attribute = inspect.getattr_static(owner, name)
    seen = []
    subjects = []

    def act(subject):
        subjects.append(subject)
        seen.append(attempt(scene.describe, operation, scene, attribute, subject))
        seen.append(snapshot(scene, subject))

    state(scene, act)
    (subject,) = subjects
    scene.turns(2)
    seen.append(snapshot(scene, subject))
    # Now the normal end of its life, by the object's own methods: who is still waiting wakes up.
    seen.append(attempt(scene.describe, subject.cancel, "end of test"))
    scene.turns(2)
    seen.append(snapshot(scene, subject))
    seen.append(list(scene.log))
    seen.append(scene.sink.getvalue())
    scene.close(subject)
    return seen


# The first waiter is stored as the task itself; asyncio's own getter, and it alone, shows that.
SHOWS_THE_WAITER = "_callbacks"


CELLS = [
    pytest.param(owner, state, id=f"{owner}-{state.__name__}")
    for owner, states in (("Future", FUTURE_STATES + TASK_STATES), ("Task", TASK_STATES))
    for state in states
]


@functools.cache
def expectation(owner, state, name, number, debug):
    """What asyncio does; asked by three tests, so remembered."""
    stock = getattr(STOCK, owner)
    operation = variations(stock, name)[number]
    return observe(STOCK, STOCK, stock, state, name, operation, debug)


def check_cell(owner, state, kind, unbound, debug):
    """Compare one row: all operations of one stock type on one state."""
    stock = getattr(STOCK, owner)
    types = NATIVE
    for name in operations_of(stock):
        if CRASHES_STOCK.get((state.__name__, name)) or (unbound and name == SHOWS_THE_WAITER):
            continue
        for number, operation in enumerate(variations(stock, name)):
            expected = expectation(owner, state, name, number, debug)
            used = stock if unbound else getattr(NATIVE, owner)
            actual = observe(kind, types, used, state, name, operation, debug)
            assert actual == expected, f"{owner}.{name}, variation {number}"


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
@pytest.mark.parametrize("owner, state", CELLS)
def test_unbound_stock_attribute_works_on_own_object(owner, state, debug):
    check_cell(owner, state, NATIVE, unbound=True, debug=debug)


@pytest.mark.parametrize(
    "kind", [NATIVE_AWAITED_BY_STOCK, NATIVE_ON_ASYNCIO], ids=["awaited by asyncio", "on asyncio"]
)
@pytest.mark.parametrize("owner, state", CELLS)
def test_unbound_stock_attribute_works_among_stock_objects(owner, state, kind):
    check_cell(owner, state, kind, unbound=True, debug=False)


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
@pytest.mark.parametrize("owner, state", CELLS)
def test_own_attribute_equals_stock_attribute(owner, state, debug):
    check_cell(owner, state, NATIVE, unbound=False, debug=debug)
