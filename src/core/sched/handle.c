/* The Handle type of handle.h.
 *
 * Order of a life: new -> ready queue -> run or cancelled -> freelist.  A handle
 * keeps its callback after it ran, as asyncio's does; cancel drops callback and arguments.
 * References: https://docs.python.org/3/library/asyncio-eventloop.html#callback-handles */
#include "sched/handle.h"

#include "py/args.h"
#include "py/context.h"
#include "py/error.h"
#include "py/types.h"
#include "sched/handle_slots.h"

/* -- storage ----------------------------------------------------------------------- */

/* Put arguments in: one as it is, others as a tuple.  Returns 0 or -1. */
static inline int
handle_store_args(hl_handle *handle, hl_state *state, PyObject *const *args,
                  Py_ssize_t nargs)
{
    if (nargs == 1) {
        handle->args = Py_NewRef(args[0]);
        handle->cancelled = Py_NewRef(Py_None);
        return 0;
    }
    handle->cancelled = Py_NewRef(Py_False);
    if (nargs == 0) {
        handle->args = Py_NewRef(state->empty_tuple);
        return 0;
    }
    PyObject *tuple = PyTuple_New(nargs);
    if (tuple == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < nargs; i++) {
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    }
    handle->args = tuple;
    return 0;
}

/* Keep where the handle was made, if the loop says that it is in debug mode. */
static int
handle_record_if_debug(hl_handle *handle, hl_state *state, PyObject *loop)
{
    int is_debug = hl_loop_ask_debug(state, loop);
    if (is_debug <= 0) {
        return is_debug;
    }
    PyObject *stack = PyObject_CallMethod(state->support, "extract_stack", NULL);
    if (stack == NULL) {
        return -1;
    }
    Py_XSETREF(handle->source_traceback, stack);
    return 0;
}

int
hl_handle_fill(hl_handle *handle, hl_loop *loop, PyObject *callback,
               PyObject *const *args, Py_ssize_t nargs, PyObject *context)
{
    handle->context =
        context != NULL ? Py_NewRef(context) : hl_context_copy_current(loop->state);
    if (handle->context == NULL ||
        handle_store_args(handle, loop->state, args, nargs) < 0) {
        return -1;
    }
    handle->callback = Py_NewRef(callback);
    handle->loop = Py_NewRef((PyObject *)loop);
    return hl_loop_may_be_debug(loop)
               ? handle_record_if_debug(handle, loop->state, (PyObject *)loop)
               : 0;
}

PyObject *
hl_handle_new(hl_loop *loop, PyObject *callback, PyObject *const *args,
              Py_ssize_t nargs, PyObject *context)
{
    hl_state *state = loop->state;
    PyObject *self =
        hl_handle_alloc_held(loop, state->HandleType, &state->free_handles);
    if (self == NULL) {
        return NULL;
    }
    hl_handle_track(self);
    hl_count_new(state, HL_COUNT_HANDLE);
    if (hl_handle_fill((hl_handle *)self, loop, callback, args, nargs, context) < 0) {
        Py_CLEAR(self);
    }
    return self;
}

PyObject *
hl_handle_new_queued(hl_loop *loop, PyObject *callback, PyObject *const *args,
                     Py_ssize_t nargs, PyObject *context)
{
    hl_state *state = loop->state;
    return hl_handle_make_queued(
        loop, state->HandleType, &state->free_handles, callback, args, nargs, context);
}

void
hl_handle_track_queued(const hl_loop *loop)
{
    const hl_state *state = loop->state;
    for (size_t i = 0; i < loop->ready.count; i++) {
        PyObject *owner = hl_ready_at(&loop->ready, i)->owner;
        if (Py_IS_TYPE(owner, state->HandleType) ||
            Py_IS_TYPE(owner, state->TimerHandleType) ||
            (state->ThreadSafeHandleType != NULL &&
             Py_IS_TYPE(owner, state->ThreadSafeHandleType))) {
            hl_handle_track(owner);
        }
    }
}

static PyObject *
handle_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *self = type->tp_alloc(type, 0);
    if (self != NULL) {
        hl_count_new(hl_state_of_type(type), HL_COUNT_HANDLE);
    }
    return self;
}

int
hl_handle_clear(PyObject *self)
{
    hl_handle *handle = (hl_handle *)self;
    Py_CLEAR(handle->cancelled); /* first: None would mean that there are args */
    Py_CLEAR(handle->args);
    Py_CLEAR(handle->callback);
    Py_CLEAR(handle->context);
    Py_CLEAR(handle->loop);
    Py_CLEAR(handle->repr);
    Py_CLEAR(handle->source_traceback);
    return 0;
}

int
hl_handle_traverse(PyObject *self, visitproc visit, void *arg)
{
    hl_handle *handle = (hl_handle *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(handle->args);
    Py_VISIT(handle->callback);
    Py_VISIT(handle->context);
    Py_VISIT(handle->loop);
    Py_VISIT(handle->repr);
    Py_VISIT(handle->source_traceback);
    return 0;
}

static void
handle_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    hl_state *state = hl_state_in_dealloc(type);
    PyObject_GC_UnTrack(self);
    hl_clear_weakrefs(self);
    hl_handle_clear(self);
    hl_count_free(state, HL_COUNT_HANDLE);
    bool is_exact = state != NULL && type == state->HandleType;
    hl_handle_free(self, is_exact ? &state->free_handles : NULL);
}

void
hl_handle_trim_freelists(hl_state *state, int limit)
{
    size_t link = offsetof(hl_handle, args);
    hl_freelist_trim(&state->free_handles, limit, state->HandleType, link);
    hl_freelist_trim(&state->free_timer_handles, limit, state->TimerHandleType, link);
    if (state->ThreadSafeHandleType != NULL) {
        hl_freelist_trim(
            &state->free_threadsafe_handles, limit, state->ThreadSafeHandleType, link);
    }
}

/* -- __init__, as asyncio's Python signature ---------------------------------------- */

int
hl_handle_init_fields(hl_handle *handle, hl_state *state, PyObject *callback,
                      PyObject *args, PyObject *loop, PyObject *context)
{
    PyObject *copy = context == NULL || context == Py_None ? PyContext_CopyCurrent()
                                                           : Py_NewRef(context);
    if (copy == NULL) {
        return -1;
    }
    /* The handle may have been in use: each of these may run code that looks at it. */
    Py_BEGIN_CRITICAL_SECTION((PyObject *)handle);
    hl_handle_set_cancelled(handle, Py_False);
    Py_XSETREF(handle->args, Py_NewRef(args));
    Py_XSETREF(handle->callback, Py_NewRef(callback));
    Py_XSETREF(handle->context, copy);
    Py_XSETREF(handle->loop, Py_NewRef(loop));
    Py_CLEAR(handle->repr);
    Py_CLEAR(handle->source_traceback);
    Py_END_CRITICAL_SECTION();
    return handle_record_if_debug(handle, state, loop);
}

static int
handle_tp_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    hl_state *state = hl_state_of(self);
    PyObject *const names[] = {state->str.callback,
                               state->str.args,
                               state->str.loop,
                               state->str.context,
                               NULL};
    PyObject *values[4] = {NULL};
    if (hl_args_parse_init("Handle.__init__", args, kwargs, names, 3, 4, values) < 0) {
        return -1;
    }
    return hl_handle_init_fields(
        (hl_handle *)self, state, values[0], values[1], values[2], values[3]);
}

/* -- cancelling and running --------------------------------------------------------- */

/* In debug mode the text of the handle is kept: callback and arguments go. */
static int
handle_keep_repr(hl_handle *handle, hl_state *state)
{
    if (handle->loop == NULL) {
        return 0;
    }
    int is_debug = hl_loop_ask_debug(state, handle->loop);
    if (is_debug <= 0) {
        return is_debug;
    }
    PyObject *repr = PyObject_Repr((PyObject *)handle);
    if (repr == NULL) {
        return -1;
    }
    Py_XSETREF(handle->repr, repr);
    return 0;
}

int
hl_handle_cancel(hl_handle *handle)
{
    if (hl_handle_is_cancelled(handle)) {
        return 0;
    }
    hl_state *state = hl_state_of((PyObject *)handle);
    if (handle->cancelled == Py_None) {
        /* The repr below and everybody after reads a tuple. */
        PyObject *tuple = hl_handle_args_tuple(handle);
        if (tuple == NULL) {
            return -1;
        }
        Py_SETREF(handle->args, tuple);
    }
    hl_handle_set_cancelled(handle, Py_True);
    hl_loop *loop = handle->loop != NULL ? hl_loop_cast(state, handle->loop) : NULL;
    if ((loop == NULL || hl_loop_may_be_debug(loop)) &&
        handle_keep_repr(handle, state) < 0) {
        return -1;
    }
    Py_XSETREF(handle->callback, Py_NewRef(Py_None));
    Py_XSETREF(handle->args, Py_NewRef(Py_None));
    return 0;
}

static PyObject *
handle_cancel_method(PyObject *self, PyObject *unused)
{
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = hl_handle_cancel((hl_handle *)self);
    Py_END_CRITICAL_SECTION();
    if (error < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Call the callback with arguments kept alive by references of our own: the callback may
 * cancel the handle.  The loop calls nothing if another thread has cancelled it by now. */
static PyObject *
handle_call(hl_handle *handle, bool is_by_loop)
{
    PyObject *callback, *args, *result;
    bool is_single, is_cancelled;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)handle);
    callback = Py_XNewRef(handle->callback);
    args = Py_XNewRef(handle->args);
    is_single = handle->cancelled == Py_None;
    is_cancelled = hl_handle_is_cancelled(handle);
    Py_END_CRITICAL_SECTION();
    if (is_cancelled && is_by_loop) {
        result = Py_NewRef(Py_None);
    }
    else if (callback == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_callback"); /* deleted */
        result = NULL;
    }
    else if (is_single) {
        PyObject *const stack[] = {NULL, args};
        result = PyObject_Vectorcall(
            callback, stack + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    else if (args != NULL && PyTuple_CheckExact(args)) {
        result = PyObject_Vectorcall(
            callback, &PyTuple_GET_ITEM(args, 0), (size_t)PyTuple_GET_SIZE(args), NULL);
    }
    else {
        /* Arguments that were deleted, or that are any iterable. */
        PyObject *tuple = args != NULL ? PySequence_Tuple(args) : NULL;
        if (tuple == NULL && !PyErr_Occurred()) {
            PyErr_SetString(PyExc_AttributeError, "_args");
        }
        result = tuple != NULL ? PyObject_Call(callback, tuple, NULL) : NULL;
        Py_XDECREF(tuple);
    }
    Py_XDECREF(args);
    Py_XDECREF(callback);
    return result;
}

/* Something else than a Context was given as context: what matters is its run(). */
static int
handle_call_by_run(hl_handle *handle)
{
    hl_state *state = hl_state_of((PyObject *)handle);
    PyObject *args, *callback, *context;
    PyObject *run = NULL, *all = NULL, *result = NULL;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)handle);
    args = hl_handle_args_tuple(handle);
    callback = PyTuple_Pack(1, handle->callback != NULL ? handle->callback : Py_None);
    context = Py_XNewRef(handle->context);
    Py_END_CRITICAL_SECTION();
    if (args == NULL || callback == NULL) {
        goto done;
    }
    if (context == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_context");
        goto done;
    }
    run = PyObject_GetAttr(context, state->str.run);
    all = run != NULL ? PySequence_Concat(callback, args) : NULL;
    result = all != NULL ? PyObject_Call(run, all, NULL) : NULL;

done:
    Py_XDECREF(all);
    Py_XDECREF(run);
    Py_XDECREF(context);
    Py_XDECREF(callback);
    Py_XDECREF(args);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* The context that the handle has now: *context is new, or NULL if it has none.  Returns 0 or
 * -1. */
static inline int
handle_take_context(hl_handle *handle, hl_state *state, PyObject **context)
{
    int error;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)handle);
    error = hl_context_materialize(state, &handle->context);
    *context = Py_XNewRef(handle->context);
    Py_END_CRITICAL_SECTION();
    return error;
}

/* Call in the handle's context.  Returns 0 or -1 with what it raised. */
static inline int
handle_call_in_context(hl_handle *handle, hl_state *state, PyThreadState *thread,
                       bool is_by_loop)
{
    PyObject *context;
    int error = handle_take_context(handle, state, &context);
    if (error < 0 || context == NULL || !PyContext_CheckExact(context)) {
        Py_XDECREF(context);
        return error < 0 ? -1 : handle_call_by_run(handle);
    }
    if (hl_context_enter(state, thread, context) < 0) {
        Py_DECREF(context);
        return -1;
    }
    PyObject *result = handle_call(handle, is_by_loop);
    error = result != NULL ? 0 : -1;
    Py_XDECREF(result);
    if (hl_context_exit(state, thread, context) < 0) {
        error = -1;
    }
    if (Py_REFCNT(handle) == 1 && error == 0 && handle->context == context) {
        /* The caller's is the last reference. */
        hl_context_recycle(state, &handle->context);
    }
    Py_DECREF(context);
    return error;
}

int
hl_handle_report(hl_loop *loop, PyObject *handle)
{
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
        PyErr_ExceptionMatches(PyExc_SystemExit)) {
        return -1;
    }
    PyObject *exception = PyErr_GetRaisedException();
    PyObject *result = hl_call_handling(
        exception, loop->state->support, "handle_failed", "(OO)", handle, exception);
    Py_DECREF(exception);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

int
hl_handle_report_method(hl_loop *loop, PyObject *object, PyObject *name,
                        PyObject *context)
{
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
        PyErr_ExceptionMatches(PyExc_SystemExit)) {
        return -1;
    }
    PyObject *exception = PyErr_GetRaisedException();
    PyObject *method = PyObject_GetAttr(object, name);
    PyObject *handle =
        method != NULL ? hl_handle_new(loop, method, NULL, 0, context) : NULL;
    Py_XDECREF(method);
    if (handle == NULL) {
        Py_DECREF(exception);
        return -1;
    }
    PyErr_SetRaisedException(exception);
    int error = hl_handle_report(loop, handle);
    Py_DECREF(handle);
    return error;
}

/* A handle of asyncio's own class, or of a subclass with its own _run. */
static int
run_foreign_handle(hl_loop *loop, PyObject *handle)
{
    PyObject *result = PyObject_CallMethodNoArgs(handle, loop->state->str._run);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

int
hl_handle_run(hl_loop *loop, PyObject *owner, PyObject *argument)
{
    (void)argument;
    PyTypeObject *type = Py_TYPE(owner);
    if (type != loop->state->HandleType && type != loop->state->TimerHandleType) {
        if (loop->current_task != NULL) {
            hl_loop_clear_current_task(loop);
        }
        return run_foreign_handle(loop, owner);
    }
    return hl_handle_run_native(loop, owner);
}

/* Call the callback unless the handle was cancelled; report what it raises. */
static inline int
handle_run(hl_loop *loop, hl_handle *handle)
{
    /* Without a GIL another thread may cancel it now: asked under its lock, see handle_call. */
    if (!HL_FREE_THREADED && hl_handle_is_cancelled(handle)) {
        return 0;
    }
    if (handle_call_in_context(handle, loop->state, loop->thread_state, true) == 0) {
        return 0;
    }
    return hl_handle_report(loop, (PyObject *)handle);
}

int
hl_handle_run_native(hl_loop *loop, PyObject *owner)
{
    if (loop->current_task != NULL) {
        hl_loop_clear_current_task(loop);
    }
    int error = handle_run(loop, (hl_handle *)owner);
    if (Py_REFCNT(owner) > 1) {
        hl_handle_track(owner);
    }
    return error;
}

PyObject *
hl_handle_run_method(PyObject *self, PyObject *unused)
{
    hl_state *state = hl_state_of(self);
    if (handle_call_in_context((hl_handle *)self, state, PyThreadState_Get(), false) <
        0) {
        if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
            PyErr_ExceptionMatches(PyExc_SystemExit)) {
            return NULL;
        }
        PyObject *exception = PyErr_GetRaisedException();
        PyObject *result = hl_call_handling(
            exception, state->support, "handle_failed", "(OO)", self, exception);
        Py_DECREF(exception);
        return result;
    }
    Py_RETURN_NONE;
}

/* -- methods --------------------------------------------------------------------------- */

static PyObject *
handle_cancelled(PyObject *self, PyObject *unused)
{
    return PyBool_FromLong(hl_handle_is_cancelled((hl_handle *)self));
}

static PyMethodDef handle_methods[] = {
    {"cancel",
     handle_cancel_method,
     METH_NOARGS,
     "cancel($self, /)\n--\n\nCancel the callback; does nothing if it was cancelled or ran.\n\n"
     "https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.Handle.cancel"},
    {"cancelled",
     handle_cancelled,
     METH_NOARGS,
     "cancelled($self, /)\n--\n\nReturn True if the callback was cancelled."},
    {"get_context",
     hl_handle_get_context,
     METH_NOARGS,
     "get_context($self, /)\n--\n\nReturn the contextvars.Context the callback runs in."},
    {"_run",
     hl_handle_run_method,
     METH_NOARGS,
     "_run($self, /)\n--\n\nCall the callback now, as the loop does; report what it raises."},
    {NULL, NULL, 0, NULL},
};

/* -- types ---------------------------------------------------------------------------- */

static PyType_Slot handle_slots[] = {
    {Py_tp_doc,
     "Handle(callback, args, loop, context=None)\n--\n\n"
     "A scheduled callback; what call_soon() and call_soon_threadsafe() return.\n\n"
     "https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.Handle"},
    {Py_tp_new, handle_tp_new},
    {Py_tp_init, handle_tp_init},
    {Py_tp_dealloc, handle_dealloc},
    {Py_tp_traverse, hl_handle_traverse},
    {Py_tp_clear, hl_handle_clear},
    {Py_tp_methods, handle_methods},
    {Py_tp_getset, hl_handle_getset},
    {0, NULL},
};

static PyType_Spec handle_spec = {
    .name = "hotloop.Handle",
    /* Not immutable: the base is a Python class, which is not either. */
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = handle_slots,
};

int
hl_handle_type_init(PyObject *module, hl_state *state)
{
    if (hl_handle_check_slots(state) < 0) {
        return -1;
    }
    state->HandleType = hl_type_new(module, &handle_spec, state->StockHandleType, NULL);
    return state->HandleType != NULL ? 0 : -1;
}
