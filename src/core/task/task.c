/* The Task type of task.h.  Cold methods (get_stack, set_name, cancelling, ...) and all
 * getters are inherited from _asyncio.Task, which finds the same fields in the struct. */
#include "task/task.h"

#include "py/args.h"
#include "py/freelist.h"
#include "py/types.h"
#include "task/eager.h"
#include "task/future.h"
#include "task/locked.h"
#include "task/registry.h"
#include "task/step.h"

/* -- construction ----------------------------------------------------------------------- */

static int
check_coroutine(hl_state *state, hl_task *task, PyObject *coro)
{
    if (PyCoro_CheckExact(coro)) {
        return 0;
    }
    PyObject *answer = PyObject_CallOneArg(state->iscoroutine, coro);
    int is_coroutine = answer != NULL ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    if (is_coroutine > 0) {
        return 0;
    }
    if (is_coroutine == 0) {
        task->log_destroy_pending = 0;
        PyErr_Format(PyExc_TypeError, "a coroutine was expected, got %R", coro);
    }
    return -1;
}

/* The name to store.  New, or NULL. */
static PyObject *
task_name(hl_state *state, PyObject *name)
{
    if (name != NULL && name != Py_None) {
        return PyUnicode_CheckExact(name) ? Py_NewRef(name) : PyObject_Str(name);
    }
    uint64_t number =
        __atomic_add_fetch(&state->task_name_counter, 1, __ATOMIC_RELAXED);
#if HL_TASK_NAME_IS_LAZY
    /* get_name formats it: most tasks are never asked. */
    return PyLong_FromUnsignedLongLong(number);
#else
    return PyUnicode_FromFormat("Task-%llu", (unsigned long long)number);
#endif
}

static PyObject *
task_context(PyObject *context)
{
    if (context == NULL || context == Py_None) {
        return PyContext_CopyCurrent();
    }
#if HL_CONTEXT_IS_CHECKED
    if (!PyContext_CheckExact(context)) {
        PyErr_Format(
            PyExc_TypeError, "a contextvars.Context was expected, got %T", context);
        return NULL;
    }
#endif
    return Py_NewRef(context);
}

static int
task_is_loop_running(hl_state *state, PyObject *loop)
{
    hl_loop *native = hl_loop_cast(state, loop);
    if (native != NULL && !hl_loop_replaces(native, HL_OVERRIDE_IS_RUNNING)) {
        return hl_loop_owner(native) != 0;
    }
    PyObject *answer = PyObject_CallMethodNoArgs(loop, state->str.is_running);
    int is_running = answer != NULL ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return is_running;
}

/* Fill the task's own fields and schedule or start it; the future part is initialised. */
static int
task_fill(hl_state *state, hl_task *task, PyObject *coro, PyObject *name,
          PyObject *context, bool is_eager)
{
    if (check_coroutine(state, task, coro) < 0) {
        return -1;
    }
    PyObject *own_context = task_context(context);
    if (own_context == NULL) {
        return -1;
    }
    Py_XSETREF(task->context, own_context);
    Py_CLEAR(task->fut_waiter);
    task->must_cancel = 0;
    task->log_destroy_pending = 1;
    task->num_cancels = 0;
#if HL_LAYOUT != 311 && HL_LAYOUT != 313
    task->is_task = 1;
#endif
    Py_XSETREF(task->coro, Py_NewRef(coro));
    PyObject *own_name = task_name(state, name);
    if (own_name == NULL) {
        return -1;
    }
    Py_XSETREF(task->name, own_name);
    if (is_eager) {
        int is_running = task_is_loop_running(state, task->loop);
        if (is_running != 0) {
            return is_running < 0 ? -1 : hl_task_start_eagerly(state, task);
        }
    }
    if (hl_task_step_soon(state, task, NULL) < 0) {
        return -1;
    }
    return hl_registry_add(state, task);
}

static PyObject *
task_alloc(hl_state *state)
{
    PyObject *self =
        hl_freelist_pop(&state->free_tasks, state->TaskType, offsetof(hl_task, loop));
    if (self != NULL) {
        PyObject_GC_Track(self);
    }
    else {
        self = state->TaskType->tp_alloc(state->TaskType, 0);
    }
    if (self != NULL) {
        hl_count_new(state, HL_COUNT_TASK);
    }
    return self;
}

PyObject *
hl_task_new(hl_loop *loop, PyObject *coro, PyObject *name, PyObject *context,
            bool is_eager)
{
    hl_state *state = loop->state;
    PyObject *self = task_alloc(state);
    if (self == NULL) {
        return NULL;
    }
    if (hl_future_init(state, (hl_future *)self, (PyObject *)loop) < 0 ||
        task_fill(state, (hl_task *)self, coro, name, context, is_eager) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return self;
}

static PyObject *
task_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *self = type->tp_alloc(type, 0);
    if (self != NULL) {
        hl_count_new(hl_state_of_type(type), HL_COUNT_TASK);
    }
    return self;
}

static int
task_tp_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    hl_state *state = hl_state_of(self);
    PyObject *names[] = {state->str.coro,
                         state->str.loop,
                         state->str.name,
                         state->str.context,
                         state->str.eager_start,
                         NULL};
    PyObject *values[5] = {NULL};
    if (!HL_HAS_EAGER_TASKS) {
        names[4] = NULL;
    }
    if (hl_args_parse_init("Task", args, kwargs, names, 1, 1, values) < 0) {
        return -1;
    }
    int is_eager = values[4] != NULL ? PyObject_IsTrue(values[4]) : 0;
    if (is_eager < 0) {
        return -1;
    }
    hl_task *task = (hl_task *)self;
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = hl_future_init(state, (hl_future *)task, values[1]);
    if (error == 0) {
        error = task_fill(state, task, values[0], values[2], values[3], is_eager);
    }
    Py_END_CRITICAL_SECTION();
    return error;
}

/* -- end of life ---------------------------------------------------------------------------- */

static void
task_drop_fields(hl_task *task)
{
    hl_future_drop_fields((hl_future *)task);
    Py_CLEAR(task->fut_waiter);
    Py_CLEAR(task->coro);
    Py_CLEAR(task->name);
    Py_CLEAR(task->context);
    HL_CLEAR_FUTURE_DICT(task);
}

static void
task_reset_flags(hl_task *task)
{
    task->state = HL_PENDING;
    task->log_tb = 0;
    task->blocking = 0;
    task->must_cancel = 0;
    task->log_destroy_pending = 0;
    task->num_cancels = 0;
}

static bool
task_needs_finalizer(const hl_task *task)
{
    return task->log_tb || (task->state == HL_PENDING && task->log_destroy_pending);
}

/* Leave the register before anybody is told: a WeakSet has lost a dying task by then, and
 * the exception handler may keep it. */
static void
task_finalize(PyObject *self)
{
    hl_state *state = hl_state_in_dealloc(Py_TYPE(self));
    if (state == NULL || ((hl_task *)self)->loop == NULL) {
        return; /* never initialised: there is no loop to tell */
    }
    if (!HL_TASKS_IN_THREAD_STATE) {
        hl_registry_remove(state, (hl_task *)self);
    }
    state->StockTaskType->tp_finalize(self);
}

static void
task_free(PyObject *self)
{
    hl_task *task = (hl_task *)self;
    PyTypeObject *type = Py_TYPE(self);
    hl_state *state = hl_state_in_dealloc(type);
    bool is_exact = state != NULL && type == state->TaskType;
    /* As for futures: no finalizer where there is nothing to say. */
    if ((!is_exact || task_needs_finalizer(task)) && hl_finalize_dying(self) < 0) {
        return; /* resurrected */
    }
    if (state != NULL && hl_registry_remove(state, task) < 0) {
        PyErr_WriteUnraisable(self);
    }
    PyObject_ClearWeakRefs(self);
    task_drop_fields(task);
    hl_count_free(state, HL_COUNT_TASK);
    if (is_exact) {
        task_reset_flags(task);
        if (hl_freelist_push(&state->free_tasks, self, type, offsetof(hl_task, loop))) {
            return;
        }
    }
    type->tp_free(self);
    Py_DECREF(type);
}

/* Tasks may own each other by results and coroutines, in chains as long as the program
 * likes: CPython's trashcan bounds how deep the frees nest.  What is put off there is dead
 * already, so nobody may find it in our array of tasks any more. */
static void
task_dealloc(PyObject *self)
{
    hl_state *state = hl_state_in_dealloc(Py_TYPE(self));
    if (!HL_TASKS_IN_THREAD_STATE && state != NULL) {
        hl_registry_remove(state, (hl_task *)self);
    }
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, task_dealloc);
    task_free(self);
    Py_TRASHCAN_END;
}

/* -- cancelling ------------------------------------------------------------------------------- */

/* Pass the request on to what the task waits for.  Returns 1 if it took it, 0, or -1. */
static int
task_cancel_waiter(hl_state *state, hl_task *task, PyObject *message)
{
    PyObject *waiter = Py_NewRef(task->fut_waiter);
    PyObject *stack[] = {waiter, message};
    PyObject *answer = PyObject_VectorcallMethod(
        state->str.cancel, stack, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(waiter);
    int took = answer != NULL ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return took;
}

static int
task_cancel_lock_held(hl_state *state, hl_task *task, PyObject *message)
{
    task->log_tb = 0;
    if (task->state != HL_PENDING) {
        return 0;
    }
    task->num_cancels++;
    if (task->fut_waiter != NULL) {
        int took = task_cancel_waiter(state, task, message);
        if (took != 0) {
            return took;
        }
    }
    task->must_cancel = 1;
    Py_XSETREF(task->cancel_msg, Py_NewRef(message));
    return 1;
}

static PyObject *
task_cancel(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    hl_state *state = hl_state_of(self);
    PyObject *const names[] = {state->str.msg, NULL};
    PyObject *values[1] = {Py_None};
    if (hl_args_parse("cancel", args, nargs, kwnames, names, 0, 1, values) < 0) {
        return NULL;
    }
    int cancelled;
    Py_BEGIN_CRITICAL_SECTION(self);
    cancelled = task_cancel_lock_held(state, (hl_task *)self, values[0]);
    Py_END_CRITICAL_SECTION();
    return cancelled < 0 ? NULL : PyBool_FromLong(cancelled);
}

static PyObject *
task_set_result(PyObject *self, PyObject *result)
{
    PyErr_SetString(PyExc_RuntimeError, "Task does not support set_result operation");
    return NULL;
}

static PyObject *
task_set_exception(PyObject *self, PyObject *exception)
{
    PyErr_SetString(PyExc_RuntimeError,
                    "Task does not support set_exception operation");
    return NULL;
}

/* Inherited from CPython 3.11 to 3.13 these two crash where __init__ never ran. */
static PyObject *
task_get_coro_lock_held(PyObject *self)
{
    PyObject *coro = ((hl_task *)self)->coro;
    return Py_NewRef(coro != NULL ? coro : Py_None);
}

HL_LOCKED_METHOD(task_get_coro)

#if HL_TASKS_TELL_THEIR_CONTEXT
static PyObject *
task_get_context_lock_held(PyObject *self)
{
    PyObject *context = ((hl_task *)self)->context;
    return Py_NewRef(context != NULL ? context : Py_None);
}

HL_LOCKED_METHOD(task_get_context)
#endif

static PyMethodDef task_methods[] = {
    {"cancel",
     HL_FASTCALL(task_cancel),
     METH_FASTCALL | METH_KEYWORDS,
     "cancel($self, /, msg=None)\n--\n\nAsk the task to cancel itself.\n\n"
     "CancelledError(msg) is thrown into its coroutine in the next turn.  Return False if\n"
     "the task is done already, else True.\n"
     "https://docs.python.org/3/library/asyncio-task.html#asyncio.Task.cancel"},
    {"get_coro",
     task_get_coro,
     METH_NOARGS,
     "get_coro($self, /)\n--\n\nReturn the coroutine, or None if there is none (any more)."},
#if HL_TASKS_TELL_THEIR_CONTEXT
    {"get_context",
     task_get_context,
     METH_NOARGS,
     "get_context($self, /)\n--\n\nReturn the contextvars.Context that the task runs in."},
#endif
    {"set_result",
     task_set_result,
     METH_O,
     "set_result($self, result, /)\n--\n\nRaise RuntimeError: only the coroutine does."},
    {"set_exception",
     task_set_exception,
     METH_O,
     "set_exception($self, exception, /)\n--\n\nRaise RuntimeError: only the coroutine does."},
#if !HL_STOCK_TASKS_ARE_LOCKED
    {"get_name",
     hl_locked_get_name,
     METH_NOARGS,
     "get_name($self, /)\n--\n\nReturn the name of the task."},
    {"set_name",
     hl_locked_set_name,
     METH_O,
     "set_name($self, value, /)\n--\n\nSet the name of the task to str(value)."},
    {"cancelling",
     hl_locked_cancelling,
     METH_NOARGS,
     "cancelling($self, /)\n--\n\nReturn the number of requests to cancel the task."},
    {"uncancel",
     hl_locked_uncancel,
     METH_NOARGS,
     "uncancel($self, /)\n--\n\nTake one request to cancel back; return the number left."},
#endif
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef task_getset[] = {
#if !HL_STOCK_TASKS_ARE_LOCKED
    {"_coro", hl_get_object, NULL, NULL, (void *)offsetof(hl_task, coro)},
    {"_fut_waiter", hl_get_object, NULL, NULL, (void *)offsetof(hl_task, fut_waiter)},
#endif
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot task_slots[] = {
    {Py_tp_doc,
#if HL_HAS_EAGER_TASKS
     "Task(coro, *, loop=None, name=None, context=None, eager_start=False)\n--\n\n"
#else
     "Task(coro, *, loop=None, name=None, context=None)\n--\n\n"
#endif
     "An asyncio.Task in C: a coroutine driven by a loop.\n\n"
     "https://docs.python.org/3/library/asyncio-task.html#asyncio.Task"},
    {Py_tp_new, task_tp_new},
    {Py_tp_init, task_tp_init},
    {Py_tp_dealloc, task_dealloc},
    {Py_tp_finalize, task_finalize}, /* here, so that subclasses find it as __del__ */
    {Py_tp_methods, task_methods},
    {Py_tp_getset, task_getset},
    {0, NULL},
};

static PyType_Spec task_spec = {
    .name = "hotloop.Task",
    /* The collector's flag comes with the functions of the base. */
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = task_slots,
};

int
hl_task_type_init(PyObject *module, hl_state *state)
{
    state->TaskType =
        hl_type_new(module, &task_spec, state->FutureType, state->StockTaskType);
    if (state->TaskType == NULL) {
        return -1;
    }
    hl_adopt_stock_slots(state->TaskType, state->StockTaskType);
    return 0;
}
