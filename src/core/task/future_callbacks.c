/* The done callbacks of a future (see future_callbacks.h).
 *
 * Comparing callbacks is user code, which may change everything about the future: lists are
 * built anew and replace the old one only if that is still there. */
#include "task/future_callbacks.h"

#include "py/args.h"
#include "sched/handle.h"
#include "task/future.h"
#include "task/registry.h"
#include "task/step.h"
#include "task/step_callable.h"

int
hl_call_soon(hl_state *state, PyObject *loop, PyObject *callback, PyObject *argument,
             PyObject *context)
{
    hl_loop *native = hl_loop_cast(state, loop);
    if (native != NULL && hl_loop_is_direct(native)) {
        /* None, which add_done_callback() may have been given, means the context of now. */
        PyObject *own_context = context != Py_None ? context : NULL;
        PyObject *handle = hl_handle_new_queued(
            native, callback, &argument, argument != NULL, own_context);
        return handle != NULL ? hl_loop_push(native, hl_handle_run, handle, NULL) : -1;
    }
    PyObject *stack[4] = {loop, callback};
    size_t count = 2;
    if (argument != NULL) {
        stack[count++] = argument;
    }
    PyObject *names = NULL;
    if (context != NULL) {
        stack[count] = context;
        names = state->context_names;
    }
    PyObject *handle = PyObject_VectorcallMethod(
        state->str.call_soon, stack, count | PY_VECTORCALL_ARGUMENTS_OFFSET, names);
    Py_XDECREF(handle);
    return handle != NULL ? 0 : -1;
}

/* Schedule the first callback; steals callback and context. */
static int
future_schedule_first(hl_state *state, hl_future *future, PyObject *callback,
                      PyObject *context)
{
    int error;
    if (Py_IS_TYPE(callback, state->TaskType)) {
        /* A native waiter (see future.h).  Its loop is the future's. */
        error = hl_task_wake_soon(state, callback, (PyObject *)future);
    }
    else {
        error =
            hl_call_soon(state, future->loop, callback, (PyObject *)future, context);
        Py_DECREF(callback);
    }
    Py_XDECREF(context);
    return error;
}

/* A task that is done leaves the register, whoever finished it. */
static inline int
future_unregister(hl_state *state, hl_future *future)
{
    if (Py_IS_TYPE(future, state->FutureType) ||
        !PyObject_TypeCheck((PyObject *)future, state->TaskType)) {
        return 0;
    }
    return hl_registry_remove(state, (hl_task *)future);
}

int
hl_future_schedule_callbacks(hl_state *state, hl_future *future)
{
    PyObject *first = future->callback0;
    PyObject *context = future->context0;
    PyObject *others = future->callbacks;
    future->callback0 = NULL;
    future->context0 = NULL;
    future->callbacks = NULL;
    int error = future_unregister(state, future);
    if (first != NULL && error == 0) {
        error = future_schedule_first(state, future, first, context);
    }
    Py_ssize_t count = others != NULL ? PyList_GET_SIZE(others) : 0;
    for (Py_ssize_t i = 0; error == 0 && i < count; i++) {
        PyObject *pair =
            PyList_GET_ITEM(others, i); /* borrowed: nobody else has others */
        error = hl_call_soon(state,
                             future->loop,
                             PyTuple_GET_ITEM(pair, 0),
                             (PyObject *)future,
                             PyTuple_GET_ITEM(pair, 1));
    }
    Py_XDECREF(others);
    return error;
}

int
hl_future_add_callback_lock_held(hl_state *state, hl_future *future, PyObject *callback,
                                 PyObject *context)
{
    if (future->state != HL_PENDING) {
        return hl_call_soon(state, future->loop, callback, (PyObject *)future, context);
    }
    /* A task in the first slot is one that waits; as a callback it is nothing to be called. */
    if (future->callbacks == NULL && future->callback0 == NULL &&
        !Py_IS_TYPE(callback, state->TaskType)) {
        future->callback0 = Py_NewRef(callback);
        future->context0 = Py_NewRef(context);
        return 0;
    }
    if (future->callbacks == NULL) {
        future->callbacks = PyList_New(0);
        if (future->callbacks == NULL) {
            return -1;
        }
    }
    PyObject *pair = PyTuple_Pack(2, callback, context);
    if (pair == NULL) {
        return -1;
    }
    int error = PyList_Append(future->callbacks, pair);
    Py_DECREF(pair);
    return error;
}

/* The callable that stands for what is in callback0.  New, or NULL. */
static PyObject *
future_first_callable(hl_state *state, const hl_future *future)
{
    PyObject *callback = Py_NewRef(future->callback0);
    if (!Py_IS_TYPE(callback, state->TaskType)) {
        return callback;
    }
    PyObject *wakeup = hl_task_wakeup_callable(callback);
    Py_DECREF(callback);
    return wakeup;
}

/* Remove callback0 if it equals callback.  Returns 1 if so, 0, or -1.  Equality is user
 * code: it may change everything about the future. */
static int
future_remove_first(hl_state *state, hl_future *future, PyObject *callback)
{
    if (future->callback0 == NULL) {
        return 0;
    }
    PyObject *first = future_first_callable(state, future);
    if (first == NULL) {
        return -1;
    }
    int equal = PyObject_RichCompareBool(first, callback, Py_EQ);
    Py_DECREF(first);
    if (equal > 0) {
        Py_CLEAR(future->callback0);
        Py_CLEAR(future->context0);
    }
    return equal;
}

/* A list of the pairs whose callback does not equal the given one.  New, or NULL. */
static PyObject *
future_remaining(PyObject *pairs, PyObject *callback)
{
    PyObject *kept = PyList_New(0);
    if (kept == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(pairs); i++) {
        PyObject *pair = Py_NewRef(PyList_GET_ITEM(pairs, i));
        int equal =
            PyObject_RichCompareBool(PyTuple_GET_ITEM(pair, 0), callback, Py_EQ);
        int error = equal == 0 ? PyList_Append(kept, pair) : equal < 0 ? -1 : 0;
        Py_DECREF(pair);
        if (error < 0) {
            Py_DECREF(kept);
            return NULL;
        }
    }
    return kept;
}

static PyObject *
future_remove_callback_lock_held(PyObject *self, PyObject *callback)
{
    hl_state *state = hl_state_of(self);
    hl_future *future = (hl_future *)self;
    if (hl_future_check_alive(future) < 0) {
        return NULL;
    }
    int removed_first = future_remove_first(state, future, callback);
    if (removed_first < 0) {
        return NULL;
    }
    if (future->callbacks == NULL) {
        return PyLong_FromLong(removed_first);
    }
    PyObject *pairs = Py_NewRef(future->callbacks);
    PyObject *kept = future_remaining(pairs, callback);
    if (kept == NULL) {
        Py_DECREF(pairs);
        return NULL;
    }
    Py_ssize_t removed = PyList_GET_SIZE(pairs) - PyList_GET_SIZE(kept);
    if (future->callbacks == pairs && removed > 0) {
        if (PyList_GET_SIZE(kept) > 0) {
            Py_SETREF(future->callbacks, Py_NewRef(kept));
        }
        else {
            Py_CLEAR(future->callbacks);
        }
    }
    Py_DECREF(kept);
    Py_DECREF(pairs);
    return PyLong_FromSsize_t(removed + removed_first);
}

PyObject *
hl_future_remove_done_callback(PyObject *self, PyObject *callback)
{
    PyObject *removed;
    Py_BEGIN_CRITICAL_SECTION(self);
    removed = future_remove_callback_lock_held(self, callback);
    Py_END_CRITICAL_SECTION();
    return removed;
}

PyObject *
hl_future_add_done_callback(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames)
{
    hl_state *state = hl_state_of(self);
    hl_future *future = (hl_future *)self;
    PyObject *context;
    if (nargs != 1) {
        PyErr_Format(
            PyExc_TypeError,
            "add_done_callback() takes exactly 1 positional argument (%zd given)",
            nargs);
        return NULL;
    }
    if (hl_args_one_keyword(
            "add_done_callback", args, nargs, kwnames, state->str.context, &context) <
        0) {
        return NULL;
    }
    if (future->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Future object");
        return NULL;
    }
    PyObject *own_context =
        context != NULL ? Py_NewRef(context) : PyContext_CopyCurrent();
    if (own_context == NULL) {
        return NULL;
    }
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = hl_future_add_callback_lock_held(state, future, args[0], own_context);
    Py_END_CRITICAL_SECTION();
    Py_DECREF(own_context);
    if (error < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
future_get_callbacks_lock_held(PyObject *self)
{
    hl_state *state = hl_state_of(self);
    hl_future *future = (hl_future *)self;
    if (hl_future_check_alive(future) < 0) {
        return NULL;
    }
    if (future->callback0 == NULL && future->callbacks == NULL) {
        Py_RETURN_NONE;
    }
    PyObject *list = PyList_New(0);
    PyObject *first = NULL, *pair = NULL, *context = NULL;
    if (list == NULL) {
        return NULL;
    }
    if (future->callback0 != NULL) {
        context =
            Py_NewRef(future->context0); /* held: making the others collects garbage */
        first = future_first_callable(state, future);
        pair = first != NULL ? PyTuple_Pack(2, first, context) : NULL;
        if (pair == NULL || PyList_Append(list, pair) < 0) {
            Py_CLEAR(list);
            goto done;
        }
    }
    if (future->callbacks != NULL) {
        PyObject *all = PySequence_Concat(list, future->callbacks);
        Py_SETREF(list, all);
    }
done:
    Py_XDECREF(pair);
    Py_XDECREF(first);
    Py_XDECREF(context);
    return list;
}

PyObject *
hl_future_get_callbacks(PyObject *self, void *closure)
{
    PyObject *list;
    Py_BEGIN_CRITICAL_SECTION(self);
    list = future_get_callbacks_lock_held(self);
    Py_END_CRITICAL_SECTION();
    return list;
}
