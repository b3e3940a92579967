/* Running the loop: what is set up, undone, and checked around the turns.
 * https://docs.python.org/3/library/asyncio-eventloop.html#running-and-stopping-the-loop */
#include "api/run.h"

#include "py/args.h"
#include "py/error.h"
#include "sched/handle.h"
#include "sched/loop.h"
#include "sched/timer_handle.h"
#include "task/future.h"

static int
refuse_running(void)
{
    PyErr_SetString(PyExc_RuntimeError, "This event loop is already running");
    return -1;
}

static int
is_true_method(PyObject *object, PyObject *name)
{
    PyObject *answer = PyObject_CallMethodNoArgs(object, name);
    int is_true = answer != NULL ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return is_true;
}

/* By the method is_running() if that was replaced.  Returns 1, 0, or -1. */
static int
loop_is_running(hl_loop *loop)
{
    if (hl_loop_owner(loop) != 0) {
        return 1;
    }
    if (hl_loop_check_overrides(loop) < 0) {
        return -1;
    }
    return hl_loop_replaces(loop, HL_OVERRIDE_IS_RUNNING)
               ? is_true_method((PyObject *)loop, loop->state->str.is_running)
               : 0;
}

static int
check_not_running(hl_loop *loop)
{
    int is_running = loop_is_running(loop);
    if (is_running != 0) {
        return is_running < 0 ? -1 : refuse_running();
    }
    /* Looked up in asyncio.events each time, because tools replace them there. */
    PyObject *running = PyObject_CallMethodNoArgs(loop->state->events,
                                                  loop->state->str._get_running_loop);
    if (running == NULL) {
        return -1;
    }
    bool is_none = running == Py_None;
    Py_DECREF(running);
    if (!is_none) {
        PyErr_SetString(PyExc_RuntimeError,
                        "Cannot run the event loop while another loop is running");
        return -1;
    }
    return 0;
}

static int
call_and_drop(PyObject *result)
{
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

static int
set_running_loop(hl_loop *loop, PyObject *running)
{
    return call_and_drop(PyObject_CallMethodOneArg(
        loop->state->events, loop->state->str._set_running_loop, running));
}

/* Debug mode tracks where coroutines were made; off costs nothing here. */
static int
track_origins(hl_loop *loop, bool is_enabled)
{
    const PyObject *enabled = hl_loop_peek_attr(loop, HL_ATTR_ORIGIN_TRACKING_ENABLED);
    bool was_enabled = enabled != NULL && enabled != Py_False;
    if (is_enabled == was_enabled) {
        return 0;
    }
    return call_and_drop(
        PyObject_CallMethodOneArg((PyObject *)loop,
                                  loop->state->str._set_coroutine_origin_tracking,
                                  is_enabled ? Py_True : Py_False));
}

/* -- asynchronous generators' hooks ------------------------------------------------------------ */

static int
set_asyncgen_hooks(hl_state *state, PyObject *firstiter, PyObject *finalizer)
{
    PyObject *stack[] = {NULL, firstiter, finalizer};
    return call_and_drop(PyObject_Vectorcall(state->set_asyncgen_hooks,
                                             stack + 1,
                                             2 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                             NULL));
}

/* Install the loop's hooks; the old ones are kept in *old (new). */
static int
install_asyncgen_hooks(hl_loop *loop, PyObject **old)
{
    hl_state *state = loop->state;
    *old = PyObject_CallNoArgs(state->get_asyncgen_hooks);
    if (*old == NULL) {
        return -1;
    }
    PyObject *firstiter =
        PyObject_GetAttr((PyObject *)loop, state->str._asyncgen_firstiter_hook);
    PyObject *finalizer =
        firstiter != NULL
            ? PyObject_GetAttr((PyObject *)loop, state->str._asyncgen_finalizer_hook)
            : NULL;
    int error =
        finalizer != NULL ? set_asyncgen_hooks(state, firstiter, finalizer) : -1;
    Py_XDECREF(firstiter);
    Py_XDECREF(finalizer);
    return error;
}

static int
restore_asyncgen_hooks(hl_loop *loop, PyObject *old)
{
    if (old == NULL) {
        return 0;
    }
    PyObject *firstiter = PySequence_GetItem(old, 0);
    PyObject *finalizer = firstiter != NULL ? PySequence_GetItem(old, 1) : NULL;
    int error =
        finalizer != NULL ? set_asyncgen_hooks(loop->state, firstiter, finalizer) : -1;
    Py_XDECREF(firstiter);
    Py_XDECREF(finalizer);
    return error;
}

/* -- run_forever ---------------------------------------------------------------------------------- */

/* Make this thread the one that runs the loop, unless another was quicker to run or to close
 * it. */
static int
run_claim(hl_loop *loop)
{
    bool is_claimed = hl_loop_claim(loop, false);
    if (hl_loop_check_open(loop) < 0) {
        if (is_claimed) {
            hl_loop_release(loop);
        }
        return -1;
    }
    return is_claimed ? 0 : refuse_running();
}

static int
run_setup(hl_loop *loop, PyObject **old_hooks)
{
    if (track_origins(loop, hl_loop_is_debug(loop)) < 0 ||
        install_asyncgen_hooks(loop, old_hooks) < 0) {
        return -1;
    }
    loop->is_wakeup_prepared = false;
    if (hl_loop_refresh_overrides(loop) < 0) {
        return -1;
    }
    return set_running_loop(loop, (PyObject *)loop);
}

/* Undo everything, whatever fails.  The first exception is the one that stays raised. */
static int
run_cleanup(hl_loop *loop, PyObject *old_hooks)
{
    PyObject *exception = PyErr_GetRaisedException();
    bool was_wakeup_prepared = loop->is_wakeup_prepared;
    loop->is_wakeup_prepared = false;
    __atomic_store_n(&loop->is_stopping, false, __ATOMIC_RELAXED);
    hl_handle_track_queued(loop);
    hl_timer_track_scheduled(loop);
    hl_loop_release(loop);
    hl_keep_first_exception(&exception, set_running_loop(loop, Py_None));
    hl_keep_first_exception(&exception, track_origins(loop, false));
    hl_keep_first_exception(&exception, restore_asyncgen_hooks(loop, old_hooks));
    if (was_wakeup_prepared) {
        hl_keep_first_exception(&exception,
                                call_and_drop(PyObject_CallMethodNoArgs(
                                    (PyObject *)loop, loop->state->str._after_block)));
    }
    if (exception == NULL) {
        return 0;
    }
    PyErr_SetRaisedException(exception);
    return -1;
}

static int
run_turns(hl_loop *loop)
{
    int error;
    do {
        error = hl_loop_replaces(loop, HL_OVERRIDE_RUN_ONCE)
                    ? call_and_drop(PyObject_CallMethodNoArgs(
                          (PyObject *)loop, loop->state->str._run_once))
                    : hl_loop_turn(loop);
    } while (error == 0 && !hl_loop_is_stopping(loop));
    return error;
}

PyObject *
hl_api_run_forever(PyObject *self, PyObject *unused)
{
    hl_loop *loop = (hl_loop *)self;
    PyObject *old_hooks = NULL;
    if (hl_loop_check_open(loop) < 0 || check_not_running(loop) < 0 ||
        run_claim(loop) < 0) {
        return NULL;
    }
    int error = run_setup(loop, &old_hooks);
    if (error == 0) {
        error = run_turns(loop);
    }
    if (run_cleanup(loop, old_hooks) < 0) {
        error = -1;
    }
    hl_handle_trim_freelists(loop->state, HL_FREELIST_LIMIT);
    Py_XDECREF(old_hooks);
    if (error < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
hl_api_run_once(PyObject *self, PyObject *unused)
{
    if (hl_loop_turn((hl_loop *)self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- run_until_complete ------------------------------------------------------------------------------ */

/* The future to wait for.  *is_new_task: it was made here.  New, or NULL. */
static PyObject *
future_to_run(hl_loop *loop, PyObject *awaitable, bool *is_new_task)
{
    hl_state *state = loop->state;
    PyObject *answer = PyObject_CallOneArg(state->isfuture, awaitable);
    int is_future = answer != NULL ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    if (is_future < 0) {
        return NULL;
    }
    *is_new_task = !is_future;
    if (*is_new_task && PyCoro_CheckExact(awaitable)) {
        return PyObject_CallMethodOneArg(
            (PyObject *)loop, state->str.create_task, awaitable);
    }
    PyObject *names = PyTuple_Pack(1, state->str.loop);
    if (names == NULL) {
        return NULL;
    }
    PyObject *stack[] = {NULL, awaitable, (PyObject *)loop};
    PyObject *future = PyObject_Vectorcall(
        state->ensure_future, stack + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, names);
    Py_DECREF(names);
    return future;
}

/* The coroutine raised out of the loop: nobody else can read its exception. */
static int
consume_exception(hl_state *state, PyObject *task)
{
    int is_done = is_true_method(task, state->str.done);
    int is_cancelled =
        is_done > 0 ? is_true_method(task, state->str.cancelled) : is_done;
    if (is_done <= 0 || is_cancelled != 0) {
        return is_done < 0 || is_cancelled < 0 ? -1 : 0;
    }
    return call_and_drop(PyObject_CallMethodNoArgs(task, state->str.exception));
}

/* Run until the callback on future stops the loop.  Returns 0 or -1. */
static int
run_until_stopped(hl_loop *loop, PyObject *future, bool is_new_task)
{
    hl_state *state = loop->state;
    if (call_and_drop(PyObject_CallMethodOneArg(
            future, state->str.add_done_callback, state->run_until_complete_cb)) < 0) {
        return -1;
    }
    int error = call_and_drop(
        PyObject_CallMethodNoArgs((PyObject *)loop, state->str.run_forever));
    PyObject *exception = PyErr_GetRaisedException();
    if (error < 0 && is_new_task) {
        hl_keep_first_exception(&exception, consume_exception(state, future));
    }
    hl_keep_first_exception(
        &exception,
        call_and_drop(PyObject_CallMethodOneArg(
            future, state->str.remove_done_callback, state->run_until_complete_cb)));
    if (exception == NULL) {
        return 0;
    }
    PyErr_SetRaisedException(exception);
    return -1;
}

static PyObject *
run_until_complete(hl_loop *loop, PyObject *awaitable)
{
    hl_state *state = loop->state;
    bool is_new_task = false;
    PyObject *result = NULL;
    if (hl_loop_check_open(loop) < 0 || check_not_running(loop) < 0) {
        return NULL;
    }
    PyObject *future = future_to_run(loop, awaitable, &is_new_task);
    if (future == NULL) {
        return NULL;
    }
    /* If it does not complete, the RuntimeError below says so: no log line as well. */
    if (is_new_task &&
        PyObject_SetAttr(future, state->str._log_destroy_pending, Py_False) < 0) {
        goto done;
    }
    if (run_until_stopped(loop, future, is_new_task) < 0) {
        goto done;
    }
    int is_done = is_true_method(future, state->str.done);
    if (is_done == 0) {
        PyErr_SetString(PyExc_RuntimeError,
                        "Event loop stopped before Future completed.");
    }
    if (is_done > 0) {
        result = PyObject_CallMethodNoArgs(future, state->str.result);
    }

done:
    Py_DECREF(future);
    return result;
}

PyObject *
hl_api_run_until_complete(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                          PyObject *kwnames)
{
    hl_loop *loop = (hl_loop *)self;
    PyObject *const names[] = {loop->state->str.future, NULL};
    PyObject *values[1] = {NULL};
    if (hl_args_parse("run_until_complete", args, nargs, kwnames, names, 1, 1, values) <
        0) {
        return NULL;
    }
    return run_until_complete(loop, values[0]);
}
