/* The scheduling methods of calls.h.
 *
 * Each parses, checks (closed, and in debug mode thread and callback), makes a handle or a
 * task, and pushes.  Texts of errors are asyncio's, whose methods are Python functions.
 * https://docs.python.org/3/library/asyncio-eventloop.html#scheduling-callbacks */
#include "api/calls.h"

#include "base/clock.h"
#include "py/args.h"
#include "py/error.h"
#include "sched/handle.h"
#include "sched/loop.h"
#include "sched/threadsafe_handle.h"
#include "sched/timer_handle.h"
#include "task/future.h"
#include "task/step.h"
#include "task/task.h"

#include <math.h>

/* -- arguments ------------------------------------------------------------------------------ */

/* What a scheduling method is called with. */
typedef struct {
    const char *function; /* as errors of the call name it */
    const char *method;   /* as debug mode's checks name it */
    const char *names[2]; /* of the required parameters; the last is the callback */
    Py_ssize_t required;
} call_signature;

static const call_signature signature_soon = {
    "BaseEventLoop.call_soon", "call_soon", {"callback"}, 1};
static const call_signature signature_threadsafe = {
    "BaseEventLoop.call_soon_threadsafe", "call_soon_threadsafe", {"callback"}, 1};
static const call_signature signature_at = {
    "BaseEventLoop.call_at", "call_at", {"when", "callback"}, 2};
/* asyncio's call_later goes through call_at, which checks the callback. */
static const call_signature signature_later = {
    "BaseEventLoop.call_later", "call_at", {"delay", "callback"}, 2};

/* A call, taken apart: the required parameters and what follows them. */
typedef struct {
    const call_signature *signature;
    PyObject *const *args; /* borrowed: the required parameters, then the callback's */
    Py_ssize_t nargs;
    PyObject *context;       /* borrowed; NULL: a copy of the current one */
    PyObject *by_keyword[2]; /* storage for args where parameters were given by name */
} call_arguments;

/* The place of the keyword among the required parameters, or -1. */
static Py_ssize_t
place_of_keyword(const call_arguments *call, PyObject *given)
{
    for (Py_ssize_t i = 0; i < call->signature->required; i++) {
        if (PyUnicode_CompareWithASCIIString(given, call->signature->names[i]) == 0) {
            return i;
        }
    }
    return -1;
}

static int
take_keyword(const hl_state *state, call_arguments *call, PyObject *given,
             PyObject *value)
{
    if (given == state->str.context ||
        PyUnicode_Compare(given, state->str.context) == 0) {
        call->context = value != Py_None ? value : NULL;
        return 0;
    }
    Py_ssize_t place = place_of_keyword(call, given);
    if (place < 0) {
        PyErr_Format(PyExc_TypeError,
                     "%s() got an unexpected keyword argument '%S'",
                     call->signature->function,
                     given);
        return -1;
    }
    if (place < call->nargs) {
        PyErr_Format(PyExc_TypeError,
                     "%s() got multiple values for argument '%S'",
                     call->signature->function,
                     given);
        return -1;
    }
    call->by_keyword[place] = value;
    return 0;
}

static int
report_missing(const call_arguments *call)
{
    bool misses_first = call->nargs < 1 && call->by_keyword[0] == NULL;
    bool misses_second = call->signature->required == 2 && call->nargs < 2 &&
                         call->by_keyword[1] == NULL;
    if (misses_first && misses_second) {
        PyErr_Format(PyExc_TypeError,
                     "%s() missing 2 required positional arguments: '%s' and '%s'",
                     call->signature->function,
                     call->signature->names[0],
                     call->signature->names[1]);
        return -1;
    }
    if (misses_first || misses_second) {
        PyErr_Format(PyExc_TypeError,
                     "%s() missing 1 required positional argument: '%s'",
                     call->signature->function,
                     call->signature->names[misses_first ? 0 : 1]);
        return -1;
    }
    return 0;
}

/* Parse the keywords, and check that what is required is there.  Returns 0 or -1. */
static int
parse_keywords(const hl_state *state, call_arguments *call, PyObject *kwnames)
{
    Py_ssize_t count = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    call->by_keyword[0] = call->by_keyword[1] = NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (take_keyword(state,
                         call,
                         PyTuple_GET_ITEM(kwnames, i),
                         call->args[call->nargs + i]) < 0) {
            return -1;
        }
    }
    Py_ssize_t required = call->signature->required;
    if (call->nargs >= required) {
        return 0;
    }
    if (report_missing(call) < 0) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < call->nargs; i++) {
        call->by_keyword[i] = call->args[i];
    }
    call->args = call->by_keyword;
    call->nargs = required;
    return 0;
}

/* Take a call apart.  Returns 0 or -1. */
static inline int
parse_call(const hl_loop *loop, const call_signature *signature, PyObject *const *args,
           Py_ssize_t nargs, PyObject *kwnames, call_arguments *call)
{
    call->signature = signature;
    call->args = args;
    call->nargs = nargs;
    call->context = NULL;
    if (kwnames == NULL && nargs >= signature->required) {
        return 0;
    }
    return parse_keywords(loop->state, call, kwnames);
}

/* -- checks -------------------------------------------------------------------------------------- */

static int
check_thread(hl_loop *loop)
{
    unsigned long owner = hl_loop_owner(loop);
    if (owner == 0 || owner == hl_thread_ident()) {
        return 0;
    }
    PyErr_SetString(PyExc_RuntimeError,
                    "Non-thread-safe operation invoked on an event loop other "
                    "than the current one");
    return -1;
}

static int
check_callback(hl_loop *loop, const call_arguments *call)
{
    PyObject *callback = call->args[call->signature->required - 1];
    PyObject *name = PyUnicode_FromString(call->signature->method);
    if (name == NULL) {
        return -1;
    }
    PyObject *result = PyObject_CallMethodObjArgs(
        (PyObject *)loop, loop->state->str._check_callback, callback, name, NULL);
    Py_DECREF(name);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* The loop must be open, and in debug mode the caller in its thread, unless any thread may
 * call, and the callback a callable.  Returns 0 or -1. */
static inline int
check_call(hl_loop *loop, const call_arguments *call)
{
    if (hl_loop_check_open(loop) < 0) {
        return -1;
    }
    if (!hl_loop_is_debug(loop)) {
        return 0;
    }
    if (call->signature != &signature_threadsafe && check_thread(loop) < 0) {
        return -1;
    }
    return check_callback(loop, call);
}

/* -- call_soon ------------------------------------------------------------------------------------ */

/* An exact native task as a callback is its wake-up: unbound methods of asyncio.Future
 * schedule what they find in our future's first slot. */
static inline bool
is_native_wakeup(const hl_loop *loop, PyObject *callback, Py_ssize_t nargs)
{
    return Py_IS_TYPE(callback, loop->state->TaskType) && nargs == 1 &&
           loop->state->is_native;
}

/* Make a handle of args[0](args[1:]) and append it.  Returns the handle, new, or NULL. */
static PyObject *
push_call(hl_loop *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *context)
{
    PyObject *callback = args[0], *handle;
    if (is_native_wakeup(loop, callback, nargs - 1)) {
        handle = hl_handle_new(loop, callback, args + 1, nargs - 1, context);
        if (handle != NULL &&
            hl_task_wake_soon(loop->state, Py_NewRef(callback), args[1]) < 0) {
            Py_CLEAR(handle);
        }
        return handle;
    }
    handle = hl_handle_new_queued(loop, callback, args + 1, nargs - 1, context);
    if (handle != NULL &&
        hl_loop_push(loop, hl_handle_run, Py_NewRef(handle), NULL) < 0) {
        Py_CLEAR(handle);
    }
    return handle;
}

PyObject *
hl_api_call_soon(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames)
{
    hl_loop *loop = (hl_loop *)self;
    call_arguments call;
    if (parse_call(loop, &signature_soon, args, nargs, kwnames, &call) < 0 ||
        check_call(loop, &call) < 0) {
        return NULL;
    }
    return push_call(loop, call.args, call.nargs, call.context);
}

static int
wake_by_method(hl_loop *loop)
{
    PyObject *result =
        PyObject_CallMethodNoArgs((PyObject *)loop, loop->state->str._write_to_self);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* Any thread has pushed: wake the loop. */
static int
wake_after_push(hl_loop *loop)
{
    if (!hl_loop_replaces(loop, HL_OVERRIDE_WRITE_TO_SELF)) {
        hl_loop_wake(loop);
    }
    else if (wake_by_method(loop) < 0) {
        return -1;
    }
    unsigned long owner = hl_loop_owner(loop);
    if (owner != 0 && owner != hl_thread_ident()) {
        hl_loop_note_foreign_call(loop);
    }
    return 0;
}

PyObject *
hl_api_call_soon_threadsafe(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames)
{
    hl_loop *loop = (hl_loop *)self;
    call_arguments call;
    if (parse_call(loop, &signature_threadsafe, args, nargs, kwnames, &call) < 0 ||
        check_call(loop, &call) < 0) {
        return NULL;
    }
    PyObject *handle = hl_threadsafe_handle_new(
        loop, call.args[0], call.args + 1, call.nargs - 1, call.context);
    if (handle != NULL &&
        hl_loop_push(loop, hl_threadsafe_handle_run, Py_NewRef(handle), NULL) < 0) {
        Py_CLEAR(handle);
    }
    if (handle != NULL && wake_after_push(loop) < 0) {
        Py_CLEAR(handle);
    }
    return handle;
}

PyObject *
hl_api_write_to_self(PyObject *self, PyObject *unused)
{
    hl_loop_wake((hl_loop *)self);
    Py_RETURN_NONE;
}

static int
push_handle(hl_loop *loop, PyObject *handle)
{
    if (!PyObject_TypeCheck(handle, loop->state->StockHandleType)) {
        PyErr_SetString(PyExc_TypeError, "A Handle is required here");
        return -1;
    }
    if (PyObject_TypeCheck(handle, loop->state->HandleType) &&
        hl_handle_is_cancelled((hl_handle *)handle)) {
        return 0;
    }
    return hl_loop_push(loop, hl_handle_run, Py_NewRef(handle), NULL);
}

PyObject *
hl_api_add_callback(PyObject *self, PyObject *handle)
{
    if (push_handle((hl_loop *)self, handle) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
hl_api_add_callback_signalsafe(PyObject *self, PyObject *handle)
{
    hl_loop *loop = (hl_loop *)self;
    if (push_handle(loop, handle) < 0 || wake_after_push(loop) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- timers ------------------------------------------------------------------------------------------ */

/* The heap's key for a deadline.  A nan is due at once, as on asyncio. */
static int
timer_key(PyObject *when, double *key)
{
    *key = PyFloat_AsDouble(when);
    if (*key == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (isnan(*key)) {
        *key = -INFINITY;
    }
    return 0;
}

/* Put the timer into the heap, unless another thread has closed the loop meanwhile: nobody
 * would take it out again.  Returns 0, or -1 with an exception. */
static int
insert_timer_lock_held(hl_loop *loop, hl_timer_handle *timer, double key)
{
    if (hl_loop_check_open(loop) < 0) {
        return -1;
    }
    int error = hl_heap_insert(&loop->timers, &timer->node, key);
    return error < 0 ? hl_error_set(error) : 0;
}

/* Make the timer of args[0](args[1:]) and put it into the heap.  when: the deadline, or NULL
 * if it is the number `seconds`.  New, or NULL. */
static PyObject *
schedule_timer(hl_loop *loop, PyObject *when, double seconds, PyObject *const *args,
               Py_ssize_t nargs, PyObject *context)
{
    double key = seconds;
    if (when != NULL && timer_key(when, &key) < 0) {
        return NULL;
    }
    PyObject *handle =
        hl_timer_handle_new(loop, when, seconds, args[0], args + 1, nargs - 1, context);
    if (handle == NULL) {
        return NULL;
    }
    int error;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    error = insert_timer_lock_held(loop, (hl_timer_handle *)handle, key);
    Py_END_CRITICAL_SECTION();
    if (error < 0) {
        Py_DECREF(handle);
        return NULL;
    }
    return Py_NewRef(handle); /* the first reference is the heap's */
}

PyObject *
hl_api_call_at(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
               PyObject *kwnames)
{
    hl_loop *loop = (hl_loop *)self;
    call_arguments call;
    if (parse_call(loop, &signature_at, args, nargs, kwnames, &call) < 0) {
        return NULL;
    }
    if (call.args[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, "when cannot be None");
        return NULL;
    }
    if (check_call(loop, &call) < 0) {
        return NULL;
    }
    return schedule_timer(
        loop, call.args[0], 0, call.args + 1, call.nargs - 1, call.context);
}

/* loop.time() + delay: the number *seconds, or the object *when (new) where a number alone does
 * not do: Python's own addition of other types, a nan, a call_at that was replaced. */
static int
deadline_of_delay(hl_loop *loop, PyObject *delay, PyObject **when, double *seconds)
{
    bool is_plain = PyFloat_CheckExact(delay) || PyLong_CheckExact(delay);
    if (is_plain && !hl_loop_replaces(loop, HL_OVERRIDE_TIME)) {
        *seconds = PyFloat_AsDouble(delay);
        if (*seconds == -1.0 && PyErr_Occurred()) {
            return -1;
        }
        *seconds += hl_clock_seconds(hl_clock_ns());
        if (!isnan(*seconds) && !hl_loop_replaces(loop, HL_OVERRIDE_CALL_AT)) {
            return 0;
        }
        *when = PyFloat_FromDouble(*seconds);
    }
    else {
        PyObject *now =
            PyObject_CallMethodNoArgs((PyObject *)loop, loop->state->str.time);
        *when = now != NULL ? PyNumber_Add(now, delay) : NULL;
        Py_XDECREF(now);
    }
    return *when != NULL ? 0 : -1;
}

/* call_at was replaced: call_later goes through it, as asyncio's does. */
static PyObject *
call_replaced_call_at(hl_loop *loop, PyObject *when, PyObject *const *args,
                      Py_ssize_t nargs, PyObject *context)
{
    PyObject *call_at = PyObject_GetAttr((PyObject *)loop, loop->state->str.call_at);
    PyObject *all = call_at != NULL ? PyTuple_New(nargs + 1) : NULL;
    PyObject *kwargs = all != NULL ? PyDict_New() : NULL;
    PyObject *result = NULL;
    if (kwargs != NULL && PyDict_SetItem(kwargs,
                                         loop->state->str.context,
                                         context != NULL ? context : Py_None) == 0) {
        PyTuple_SET_ITEM(all, 0, Py_NewRef(when));
        for (Py_ssize_t i = 0; i < nargs; i++) {
            PyTuple_SET_ITEM(all, i + 1, Py_NewRef(args[i]));
        }
        result = PyObject_Call(call_at, all, kwargs);
    }
    Py_XDECREF(kwargs);
    Py_XDECREF(all);
    Py_XDECREF(call_at);
    return result;
}

PyObject *
hl_api_call_later(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *kwnames)
{
    hl_loop *loop = (hl_loop *)self;
    call_arguments call;
    if (parse_call(loop, &signature_later, args, nargs, kwnames, &call) < 0) {
        return NULL;
    }
    if (call.args[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, "delay must not be None");
        return NULL;
    }
    PyObject *when = NULL, *handle = NULL;
    double seconds = 0;
    if (deadline_of_delay(loop, call.args[0], &when, &seconds) < 0) {
        return NULL;
    }
    /* Replaced by another thread at this moment it is the next call's, as without an object. */
    if (when != NULL && hl_loop_replaces(loop, HL_OVERRIDE_CALL_AT)) {
        handle = call_replaced_call_at(
            loop, when, call.args + 1, call.nargs - 1, call.context);
    }
    else if (check_call(loop, &call) == 0) {
        handle = schedule_timer(
            loop, when, seconds, call.args + 1, call.nargs - 1, call.context);
    }
    Py_XDECREF(when);
    return handle;
}

/* -- futures and tasks ---------------------------------------------------------------------------------- */

PyObject *
hl_api_create_future(PyObject *self, PyObject *unused)
{
    hl_loop *loop = (hl_loop *)self;
    if (loop->state->is_native) {
        return hl_future_new(loop);
    }
    PyObject *kwargs = Py_BuildValue("{sO}", "loop", self);
    PyObject *future = kwargs != NULL
                           ? PyObject_Call((PyObject *)loop->state->StockFutureType,
                                           loop->state->empty_tuple,
                                           kwargs)
                           : NULL;
    Py_XDECREF(kwargs);
    return future;
}

/* Factories, unknown keywords and stock tasks: asyncio's own method of this version. */
static PyObject *
create_task_in_python(hl_loop *loop, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kwnames)
{
    PyObject *method =
        PyObject_GetAttr((PyObject *)loop, loop->state->str._create_task_with_factory);
    if (method == NULL) {
        return NULL;
    }
    PyObject *task = PyObject_Vectorcall(method, args, (size_t)nargs, kwnames);
    Py_DECREF(method);
    return task;
}

/* No factory, or asyncio's eager one, which we are able to be ourselves. */
static bool
is_known_factory(const hl_loop *loop, bool *is_eager)
{
    const PyObject *factory = hl_loop_peek_attr(loop, HL_ATTR_TASK_FACTORY);
    *is_eager = factory != NULL && factory == loop->state->eager_task_factory;
    return factory == NULL || factory == Py_None || *is_eager;
}

/* name, context and eager_start from the keywords.  False: something else was given. */
static bool
parse_task_keywords(const hl_loop *loop, PyObject *const *values, PyObject *kwnames,
                    PyObject **name, PyObject **context, bool *is_eager)
{
    const hl_state *state = loop->state;
    Py_ssize_t count = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *given = PyTuple_GET_ITEM(kwnames, i);
        if (given == state->str.name) {
            *name = values[i];
        }
        else if (given == state->str.context) {
            *context = values[i];
        }
        else if (HL_CREATE_TASK_TAKES_EAGER_START && given == state->str.eager_start &&
                 (values[i] == Py_True || values[i] == Py_False ||
                  values[i] == Py_None)) {
            *is_eager = values[i] == Py_True;
        }
        else {
            return false;
        }
    }
    return true;
}

PyObject *
hl_api_create_task(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kwnames)
{
    hl_loop *loop = (hl_loop *)self;
    PyObject *name = NULL, *context = NULL;
    bool is_eager;
    if (!loop->state->is_native || nargs != 1 || !is_known_factory(loop, &is_eager) ||
        !parse_task_keywords(loop, args + 1, kwnames, &name, &context, &is_eager)) {
        return create_task_in_python(loop, args, nargs, kwnames);
    }
    if (hl_loop_check_open(loop) < 0) {
        return NULL;
    }
    return hl_task_new(loop, args[0], name, context, is_eager);
}
