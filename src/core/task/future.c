/* The Future type of future.h.  Methods that are not here (getters, get_loop, done, ...)
 * are inherited from _asyncio.Future, which finds the same fields in the same struct. */
#include "task/future.h"

#include "py/args.h"
#include "py/freelist.h"
#include "py/types.h"
#include "task/future_callbacks.h"
#include "task/future_iter.h"
#include "task/locked.h"

/* -- life -------------------------------------------------------------------------------- */

static PyObject *
current_loop(hl_state *state)
{
    return PyObject_CallNoArgs(state->get_event_loop);
}

void
hl_future_drop_fields(hl_future *future)
{
    Py_CLEAR(future->loop);
    Py_CLEAR(future->callback0);
    Py_CLEAR(future->context0);
    Py_CLEAR(future->callbacks);
    Py_CLEAR(future->exception);
    Py_CLEAR(future->exception_tb);
    Py_CLEAR(future->result);
    Py_CLEAR(future->source_tb);
    Py_CLEAR(future->cancel_msg);
    Py_CLEAR(future->cancelled_exc);
#if HL_LAYOUT != 311 && HL_LAYOUT != 313
    Py_CLEAR(future->awaited_by);
    future->awaited_by_is_set = 0;
#endif
}

int
hl_future_init(hl_state *state, hl_future *future, PyObject *loop)
{
#if HL_REINIT_IS_REFUSED
    if (future->loop != NULL) {
        PyErr_Format(PyExc_RuntimeError, "%T object is already initialized", future);
        return -1;
    }
#endif
    /* Before anything is dropped: a task that is initialised again may be scheduled. */
    PyObject *owner =
        loop == NULL || loop == Py_None ? current_loop(state) : Py_NewRef(loop);
    if (owner == NULL) {
        return -1;
    }
    hl_future_drop_fields(future);
    future->state = HL_PENDING;
    future->log_tb = 0;
    future->blocking = 0;
    Py_XSETREF(future->loop, owner); /* dropping them ran code */
    int is_debug = hl_loop_ask_debug(state, owner);
    if (is_debug < 0) {
        return -1;
    }
    if (is_debug && !Py_IsFinalizing()) {
        future->source_tb = PyObject_CallNoArgs(state->extract_stack);
        return future->source_tb != NULL ? 0 : -1;
    }
    return 0;
}

int
hl_future_check_alive(const hl_future *future)
{
    if (future->loop != NULL) {
        return 0;
    }
    PyErr_SetString(PyExc_RuntimeError, "Future object is not initialized.");
    return -1;
}

PyObject *
hl_future_new(hl_loop *loop)
{
    hl_state *state = loop->state;
    PyObject *self = hl_freelist_pop(
        &state->free_futures, state->FutureType, offsetof(hl_future, loop));
    if (self != NULL) {
        PyObject_GC_Track(self);
    }
    else {
        self = state->FutureType->tp_alloc(state->FutureType, 0);
        if (self == NULL) {
            return NULL;
        }
    }
    hl_count_new(state, HL_COUNT_FUTURE);
    if (hl_loop_may_be_debug(loop)) {
        if (hl_future_init(state, (hl_future *)self, (PyObject *)loop) < 0) {
            Py_DECREF(self);
            return NULL;
        }
        return self;
    }
    ((hl_future *)self)->loop = Py_NewRef((PyObject *)loop);
    return self;
}

static PyObject *
future_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *self = type->tp_alloc(type, 0);
    if (self != NULL) {
        hl_count_new(hl_state_of_type(type), HL_COUNT_FUTURE);
    }
    return self;
}

static int
future_tp_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    hl_state *state = hl_state_of(self);
    PyObject *const names[] = {state->str.loop, NULL};
    PyObject *values[1] = {NULL};
    if (hl_args_parse_init("Future", args, kwargs, names, 0, 0, values) < 0) {
        return -1;
    }
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = hl_future_init(state, (hl_future *)self, values[0]);
    Py_END_CRITICAL_SECTION();
    return error;
}

int
hl_finalize_dying(PyObject *self)
{
    PyObject_GC_Track(self); /* as the finalizer, which may keep it, expects */
    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return -1;
    }
    PyObject_GC_UnTrack(self);
    return 0;
}

/* A native future without an unread exception needs no finalizer; asking for one would
 * mark the object as finalized for ever and keep it off the freelist. */
static void
future_free(PyObject *self)
{
    hl_future *future = (hl_future *)self;
    PyTypeObject *type = Py_TYPE(self);
    hl_state *state = hl_state_in_dealloc(type);
    bool is_exact = state != NULL && type == state->FutureType;
    if ((!is_exact || future->log_tb) && hl_finalize_dying(self) < 0) {
        return; /* resurrected */
    }
    PyObject_ClearWeakRefs(self);
    hl_future_drop_fields(future);
    HL_CLEAR_FUTURE_DICT(future);
    hl_count_free(state, HL_COUNT_FUTURE);
    if (is_exact) {
        future->state = HL_PENDING;
        future->log_tb = 0;
        future->blocking = 0;
        if (hl_freelist_push(
                &state->free_futures, self, type, offsetof(hl_future, loop))) {
            return;
        }
    }
    type->tp_free(self);
    Py_DECREF(type);
}

/* True if something that may own a future again dies with this one. */
static inline bool
future_may_nest(const hl_future *future)
{
    return (future->result != NULL && PyType_IS_GC(Py_TYPE(future->result))) ||
           future->callback0 != NULL || future->callbacks != NULL ||
           future->exception != NULL || future->cancel_msg != NULL ||
           future->cancelled_exc != NULL;
}

/* A future whose result is a future whose result is a future ...: CPython's trashcan bounds
 * how deep the frees nest.  The usual future is spared the cost. */
static void
future_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    if (!future_may_nest((hl_future *)self)) {
        future_free(self);
        return;
    }
    Py_TRASHCAN_BEGIN(self, future_dealloc);
    future_free(self);
    Py_TRASHCAN_END;
}

/* -- results ----------------------------------------------------------------------------- */

static int
future_check_pending(hl_state *state, const hl_future *future)
{
    if (future->state == HL_PENDING) {
        return 0;
    }
    PyErr_SetString(state->InvalidStateError, "invalid state");
    return -1;
}

int
hl_future_set_result_lock_held(hl_state *state, hl_future *future, PyObject *result)
{
    if (hl_future_check_alive(future) < 0 || future_check_pending(state, future) < 0) {
        return -1;
    }
    Py_XSETREF(future->result, Py_NewRef(result));
    future->state = HL_FINISHED;
    return hl_future_schedule_callbacks(state, future);
}

/* StopIteration would end the awaiting generator instead of raising in it.  Steals
 * exception; returns what to store (new), or NULL. */
static PyObject *
future_wrap_stop_iteration(hl_state *state, PyObject *exception)
{
    static const char message[] =
        "StopIteration interacts badly with generators and cannot be raised into a Future";
    PyObject *wrapper = NULL;
    if (state->wraps_stop_iteration) {
        wrapper = PyObject_CallFunction(PyExc_RuntimeError, "s", message);
    }
    else {
        PyErr_SetString(PyExc_TypeError, message);
    }
    if (wrapper != NULL) {
        PyException_SetCause(wrapper, Py_NewRef(exception));
        PyException_SetContext(wrapper, Py_NewRef(exception));
    }
    Py_DECREF(exception);
    return wrapper;
}

static bool
is_stop_iteration(const hl_state *state, PyObject *exception)
{
    return state->wraps_stop_iteration
               ? PyErr_GivenExceptionMatches(exception, PyExc_StopIteration)
               : Py_IS_TYPE(exception, (PyTypeObject *)PyExc_StopIteration);
}

/* The instance to store for what the caller gave.  New, or NULL. */
static PyObject *
future_exception_instance(hl_state *state, PyObject *exception)
{
    PyObject *instance = PyExceptionClass_Check(exception)
                             ? PyObject_CallNoArgs(exception)
                             : Py_NewRef(exception);
    if (instance == NULL) {
        return NULL;
    }
    if (!PyExceptionInstance_Check(instance)) {
        Py_DECREF(instance);
        PyErr_SetString(PyExc_TypeError, "invalid exception object");
        return NULL;
    }
    return is_stop_iteration(state, instance)
               ? future_wrap_stop_iteration(state, instance)
               : instance;
}

int
hl_future_set_exception_lock_held(hl_state *state, hl_future *future,
                                  PyObject *exception)
{
    if (hl_future_check_alive(future) < 0 || future_check_pending(state, future) < 0) {
        return -1;
    }
    PyObject *instance = future_exception_instance(state, exception);
    if (instance == NULL) {
        return -1;
    }
    /* The exception's class may have finished the future in its __init__. */
    if (future_check_pending(state, future) < 0) {
        Py_DECREF(instance);
        return -1;
    }
    Py_XSETREF(future->exception, instance);
    Py_XSETREF(future->exception_tb, PyException_GetTraceback(instance));
    future->state = HL_FINISHED;
    if (hl_future_schedule_callbacks(state, future) < 0) {
        return -1;
    }
    future->log_tb = 1;
    return 0;
}

int
hl_future_cancel_lock_held(hl_state *state, hl_future *future, PyObject *message)
{
    future->log_tb = 0;
    if (future->state != HL_PENDING) {
        return 0;
    }
    future->state = HL_CANCELLED;
    Py_XSETREF(future->cancel_msg, Py_XNewRef(message));
    return hl_future_schedule_callbacks(state, future) < 0 ? -1 : 1;
}

PyObject *
hl_future_make_cancelled_error(hl_state *state, hl_future *future)
{
    PyObject *stored = future->cancelled_exc;
    if (stored != NULL) {
        future->cancelled_exc = NULL;
        return stored;
    }
    if (future->cancel_msg == NULL || future->cancel_msg == Py_None) {
        return PyObject_CallNoArgs(state->CancelledError);
    }
    return PyObject_CallOneArg(state->CancelledError, future->cancel_msg);
}

static void
future_raise_cancelled(hl_state *state, hl_future *future)
{
    PyObject *error = hl_future_make_cancelled_error(state, future);
    if (error != NULL) {
        PyErr_SetObject(state->CancelledError, error);
        Py_DECREF(error);
    }
}

/* Raise the stored exception with the traceback it came with: once, so that reading the
 * result again does not grow it. */
static void
future_raise_exception(hl_future *future)
{
    PyObject *exception = Py_NewRef(future->exception);
    PyObject *traceback = future->exception_tb;
    future->exception_tb = NULL;
    if (PyException_SetTraceback(exception, traceback != NULL ? traceback : Py_None) ==
        0) {
        PyErr_SetObject(PyExceptionInstance_Class(exception), exception);
    }
    Py_XDECREF(traceback);
    Py_DECREF(exception);
}

PyObject *
hl_future_result_lock_held(hl_state *state, hl_future *future)
{
    if (future->loop == NULL) {
        PyErr_SetString(state->InvalidStateError, "Future object is not initialized.");
        return NULL;
    }
    if (future->state == HL_CANCELLED) {
        future_raise_cancelled(state, future);
        return NULL;
    }
    if (future->state != HL_FINISHED) {
        PyErr_SetString(state->InvalidStateError, "Result is not set.");
        return NULL;
    }
    future->log_tb = 0;
    if (future->exception != NULL) {
        future_raise_exception(future);
        return NULL;
    }
    return Py_NewRef(future->result != NULL ? future->result : Py_None);
}

/* -- methods ------------------------------------------------------------------------------ */

static PyObject *
future_result_lock_held(PyObject *self)
{
    return hl_future_result_lock_held(hl_state_of(self), (hl_future *)self);
}

static PyObject *
future_set_result_lock_held(PyObject *self, PyObject *result)
{
    if (hl_future_set_result_lock_held(hl_state_of(self), (hl_future *)self, result) <
        0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
future_set_exception_lock_held(PyObject *self, PyObject *exception)
{
    if (hl_future_set_exception_lock_held(
            hl_state_of(self), (hl_future *)self, exception) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

HL_LOCKED_METHOD(future_result)
HL_LOCKED_METHOD_O(future_set_result)
HL_LOCKED_METHOD_O(future_set_exception)

static PyObject *
future_cancel(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
              PyObject *kwnames)
{
    hl_state *state = hl_state_of(self);
    PyObject *const names[] = {state->str.msg, NULL};
    PyObject *values[1] = {Py_None};
    if (hl_args_parse("cancel", args, nargs, kwnames, names, 0, 1, values) < 0 ||
        hl_future_check_alive((hl_future *)self) < 0) {
        return NULL;
    }
    int cancelled;
    Py_BEGIN_CRITICAL_SECTION(self);
    cancelled = hl_future_cancel_lock_held(state, (hl_future *)self, values[0]);
    Py_END_CRITICAL_SECTION();
    return cancelled < 0 ? NULL : PyBool_FromLong(cancelled);
}

static PyMethodDef future_methods[] = {
    {"result",
     future_result,
     METH_NOARGS,
     "result($self, /)\n--\n\nReturn the result, or raise the exception of the future.\n\n"
     "CancelledError if it was cancelled, InvalidStateError if it is not done.\n"
     "https://docs.python.org/3/library/asyncio-future.html#asyncio.Future.result"},
    {"set_result",
     future_set_result,
     METH_O,
     "set_result($self, result, /)\n--\n\nMark the future done with a result.\n\n"
     "InvalidStateError if it is done already."},
    {"set_exception",
     future_set_exception,
     METH_O,
     "set_exception($self, exception, /)\n--\n\nMark the future done with an exception.\n\n"
     "An instance or a class.  InvalidStateError if it is done already."},
    {"cancel",
     HL_FASTCALL(future_cancel),
     METH_FASTCALL | METH_KEYWORDS,
     "cancel($self, /, msg=None)\n--\n\nCancel the future and schedule its callbacks.\n\n"
     "Return False if it is done already, else True."},
    {"add_done_callback",
     HL_FASTCALL(hl_future_add_done_callback),
     METH_FASTCALL | METH_KEYWORDS,
     "add_done_callback($self, fn, /, *, context=<unrepresentable>)\n--\n\n"
     "Call fn(future) by the loop when the future is done, in context or a copy of the\n"
     "current one."},
    {"remove_done_callback",
     hl_future_remove_done_callback,
     METH_O,
     "remove_done_callback($self, fn, /)\n--\n\nRemove every callback equal to fn; return "
     "their number."},
#if !HL_STOCK_TASKS_ARE_LOCKED
    {"exception",
     hl_locked_exception,
     METH_NOARGS,
     "exception($self, /)\n--\n\nReturn the exception that was set, or None."},
    {"_make_cancelled_error",
     hl_locked_make_cancelled_error,
     METH_NOARGS,
     "_make_cancelled_error($self, /)\n--\n\nReturn the CancelledError to raise."},
#endif
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef future_getset[] = {
    {"_callbacks", hl_future_get_callbacks, NULL, NULL, NULL},
#if !HL_STOCK_TASKS_ARE_LOCKED
    {"_cancel_message",
     hl_get_object,
     hl_locked_set_cancel_message,
     NULL,
     (void *)offsetof(hl_future, cancel_msg)},
#endif
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot future_slots[] = {
    {Py_tp_doc,
     "Future(*, loop=None)\n--\n\nAn asyncio.Future in C: a result that is not there yet.\n\n"
     "https://docs.python.org/3/library/asyncio-future.html#asyncio.Future"},
    {Py_tp_new, future_tp_new},
    {Py_tp_init, future_tp_init},
    {Py_tp_dealloc, future_dealloc},
    {Py_tp_iter, hl_future_iter_new},
    {Py_am_await, hl_future_iter_new},
    {Py_tp_methods, future_methods},
    {Py_tp_getset, future_getset},
    {0, NULL},
};

static PyType_Spec future_spec = {
    .name = "hotloop.Future",
    /* The collector's flag comes with the functions of the base. */
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = future_slots,
};

/* -- type ---------------------------------------------------------------------------------- */

#if HL_STOCK_TYPES_ARE_STATIC
/* A static type's traverse does not visit the type; an object of a heap type must. */
static int
future_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    hl_state *state = hl_state_in_dealloc(Py_TYPE(self));
    if (state == NULL) {
        return 0;
    }
    PyTypeObject *stock = PyObject_TypeCheck(self, state->StockTaskType)
                              ? state->StockTaskType
                              : state->StockFutureType;
    return stock->tp_traverse(self, visit, arg);
}
#endif

void
hl_adopt_stock_slots(PyTypeObject *type, const PyTypeObject *stock)
{
#if HL_STOCK_TYPES_ARE_STATIC
    type->tp_traverse = future_traverse;
#else
    type->tp_traverse = stock->tp_traverse;
#endif
    type->tp_clear = stock->tp_clear;
    type->tp_repr = stock->tp_repr;
}

int
hl_future_type_init(PyObject *module, hl_state *state)
{
    state->FutureType = hl_type_new(module, &future_spec, state->StockFutureType, NULL);
    if (state->FutureType == NULL) {
        return -1;
    }
    hl_adopt_stock_slots(state->FutureType, state->StockFutureType);
    state->FutureType->tp_finalize = state->StockFutureType->tp_finalize;
    return 0;
}
