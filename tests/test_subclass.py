"""Classes derived from hotloop's Task, Future and Loop, and what objects of the types can hold.

An override must be used wherever asyncio uses it; instance attributes, slots, weak references and
finalizers must behave as on asyncio's types; copying and pickling must fail as there.
"""

import asyncio
import copy
import gc
import pickle
import weakref

import pytest
from support.task_kinds import ALL_KINDS
from support.worlds import check_every_kind, same_as_asyncio

import hotloop


@same_as_asyncio
def test_overridden_methods_are_used_when_awaited(w):
    class Future(w.kind.Future):
        def add_done_callback(self, callback, *, context=None):
            w.note("add_done_callback", context)
            super().add_done_callback(callback, context=context)

        def result(self):
            w.note("result")
            return super().result()

        def get_loop(self):
            w.note("get_loop")
            return super().get_loop()

        def __await__(self):
            w.note("__await__")
            return (yield from super().__await__())

    async def main():
        future = Future(loop=w.loop)
        w.loop.call_soon(future.set_result, "value")
        w.note(await future)
        task = w.task(w.wait_for("task", future))
        await task

    w.run(main())


@same_as_asyncio
def test_overridden_cancel_of_a_future_is_used_by_the_task(w):
    class Future(w.kind.Future):
        def cancel(self, msg=None):
            w.note("cancel", msg)
            return False

    future = Future(loop=w.loop)
    task = w.task(w.wait_for("task", future))
    w.turns(1)
    w.attempt(task.cancel, "text")
    w.note(task._must_cancel)
    future.set_result("too late")
    w.turns(2)
    w.note(task._state)


@same_as_asyncio
def test_overridden_task_methods(w):
    class Task(w.kind.Task):
        def cancel(self, msg=None):
            w.note("cancel", msg)
            return super().cancel(msg)

        def add_done_callback(self, callback, *, context=None):
            w.note("add_done_callback")
            super().add_done_callback(callback, context=context)

        def get_name(self):
            return "always this"

        def __repr__(self):
            return "<mine>"

    async def main():
        inner = Task(w.keep(asyncio.sleep(1000)), loop=w.loop)
        outer = w.task(w.wait_for("outer", inner))
        await asyncio.sleep(0)
        outer.cancel("outside")
        await outer
        w.note(inner.cancelled(), inner.get_name(), repr(inner), str(inner))

    w.run(main())


@same_as_asyncio
def test_task_subclass_with_its_own_constructor(w):
    class Task(w.kind.Task):
        def __init__(self, label, coroutine, **options):
            self.label = label
            super().__init__(coroutine, **options)
            w.note("made", self.get_name())

    async def value():
        return "value"

    task = Task("label", w.keep(value()), loop=w.loop, name="name")
    w.turns(1)
    w.note(task.label, task.result(), repr(task))


@same_as_asyncio
def test_subclass_that_never_calls_the_base_constructor(w):
    class Future(w.kind.Future):
        def __init__(self):
            self.label = "no base"

    future = Future()
    w.note(future.label)
    w.attempt(future.done)
    w.attempt(future.result)
    w.attempt(future.set_result, 1)
    w.attempt(lambda: next(future.__await__()))


@same_as_asyncio
def test_class_attributes_and_slots(w):
    class Slotted(w.kind.Future):
        __slots__ = ("one",)

    class Plain(w.kind.Future):
        kind = "plain"

    slotted, plain = Slotted(loop=w.loop), Plain(loop=w.loop)
    w.attempt(lambda: slotted.one)
    slotted.one = 1
    w.note(slotted.one)
    w.attempt(setattr, slotted, "two", 2)
    plain.two = 2
    w.note(plain.kind, plain.two)
    w.attempt(vars, plain)
    w.note(repr(slotted), repr(plain))
    future = w.future()
    w.attempt(setattr, future, "attribute", 3)
    w.attempt(getattr, future, "attribute")
    w.attempt(vars, future)


@same_as_asyncio
def test_subclass_of_both_in_either_order(w):
    class Mixin:
        def hello(self):
            return "hello"

    class First(Mixin, w.kind.Future):
        pass

    class Second(w.kind.Future, Mixin):
        pass

    for kind in (First, Second):
        future = kind(loop=w.loop)
        future.set_result(future.hello())
        w.note(future.result(), asyncio.isfuture(future))


def test_mixing_own_and_stock_bases():
    """An application's asyncio.Task subclass can be combined with hotloop's Task."""

    class Named(asyncio.Task):
        pass

    class Both(hotloop.Task, Named):
        pass

    async def value():
        return "value"

    loop = hotloop.new_event_loop()
    assert loop.run_until_complete(Both(value(), loop=loop)) == "value"
    loop.close()


@same_as_asyncio
def test_finalizer_of_a_subclass(w):
    class Future(w.kind.Future):
        def __del__(self):
            w.note("finalized", self._state)
            super().__del__()

    future = Future(loop=w.loop)
    future.set_exception(LookupError("never looked at"))
    del future
    gc.collect()


@same_as_asyncio
def test_task_subclass_resurrected_by_its_finalizer(w):
    survivors = []

    class Task(w.kind.Task):
        def __del__(self):
            survivors.append(self)

    async def value():
        return "value"

    task = Task(w.keep(value()), loop=w.loop, name="task")
    w.turns(1)
    del task
    gc.collect()
    w.note(len(survivors), survivors[0].result(), survivors[0].get_name())
    survivors.clear()
    gc.collect()
    w.note(len(survivors))


@pytest.mark.parametrize(
    "operation", [copy.copy, copy.deepcopy, pickle.dumps], ids=lambda f: f.__name__
)
def test_copying_and_pickling(operation):
    def scenario(w):
        async def value():
            return "value"

        for thing in (w.future(), w.task(value())):
            # What cannot be done is worded with the type's full name, which differs.
            try:
                w.note(type(operation(thing)).__name__)
            except Exception as error:
                w.note(type(error).__name__)
        w.turns(1)

    check_every_kind(scenario)


@pytest.mark.parametrize("kind", ALL_KINDS, ids=str)
def test_weak_references(kind):
    loop = kind.new_loop()
    future = kind.Future(loop=loop)
    weak_set, weak_keys = weakref.WeakSet([future]), weakref.WeakKeyDictionary({future: 1})
    finalized = []
    weakref.finalize(future, finalized.append, "finalized")
    assert future in weak_set
    del future
    gc.collect()
    assert (list(weak_set), list(weak_keys), finalized) == ([], [], ["finalized"])
    loop.close()


@same_as_asyncio
def test_identity_equality_and_hash(w):
    one, two = w.future("one"), w.future("two")
    w.note(one == one, one == two, one != two, len({one, two, one}))
    w.attempt(lambda: one < two)
    w.attempt(bool, one)
    w.attempt(len, one)


# --- The loop -------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [asyncio.SelectorEventLoop, hotloop.Loop], ids=["asyncio", "own"])
def test_call_soon_of_a_loop_subclass_sees_every_step(base):
    """What a loop derived from ours overrides is called for the wake-ups of tasks as well."""
    seen = []

    class Loop(base):
        def call_soon(self, callback, *args, context=None):
            seen.append(len(args))
            return super().call_soon(callback, *args, context=context)

    async def main():
        future = loop.create_future()
        loop.call_soon(future.set_result, "value")
        value = await future
        await asyncio.sleep(0)
        return value

    loop = Loop()
    assert loop.run_until_complete(main()) == "value"
    # The first step, set_result, the wake-up, the step after the bare yield, the end of the run.
    assert seen[:5] == [0, 1, 1, 0, 1]
    loop.close()


@pytest.mark.parametrize("base", [asyncio.SelectorEventLoop, hotloop.Loop], ids=["asyncio", "own"])
def test_call_soon_assigned_to_the_instance_sees_every_step(base):
    loop = base()
    seen = []
    original = loop.call_soon

    def call_soon(callback, *args, context=None):
        seen.append(len(args))
        return original(callback, *args, context=context)

    async def main():
        loop.call_soon = call_soon
        future = loop.create_future()
        loop.call_soon(future.set_result, "value")
        await future
        await asyncio.sleep(0)
        del loop.call_soon

    loop.run_until_complete(main())
    assert seen[:3] == [1, 1, 0]
    loop.close()


@pytest.mark.parametrize("base", [asyncio.SelectorEventLoop, hotloop.Loop], ids=["asyncio", "own"])
def test_create_task_and_create_future_of_a_loop_subclass(base):
    class Loop(base):
        made = 0

        def create_future(self):
            self.made += 1
            return super().create_future()

        def create_task(self, coroutine, **options):
            self.made += 10
            return super().create_task(coroutine, **options)

    async def main():
        assert loop.made == 10
        await asyncio.sleep(0.001)
        assert loop.made == 11
        await asyncio.create_task(asyncio.sleep(0))
        assert loop.made == 21

    loop = Loop()
    loop.run_until_complete(main())
    loop.close()
