/* What a task does with its coroutine's answer (see outcome.h).
 *
 * A task that waits stands in the awaited future: as itself where both are native and the
 * loop takes entries directly, else by a callable and add_done_callback.  Texts of errors are
 * asyncio's. */
#include "task/outcome.h"

#include "task/awaited_by.h"
#include "task/future.h"
#include "task/future_callbacks.h"
#include "task/step.h"
#include "task/step_callable.h"

int
hl_outcome_returned(hl_state *state, hl_task *task, PyObject *result)
{
    int error;
    if (task->must_cancel) {
        /* Cancelled right before it returned. */
        task->must_cancel = 0;
        PyObject *message = Py_XNewRef(task->cancel_msg);
        error = hl_future_cancel_lock_held(state, (hl_future *)task, message);
        Py_XDECREF(message);
    }
    else {
        error = hl_future_set_result_lock_held(state, (hl_future *)task, result);
    }
    return error < 0 ? -1 : 0;
}

int
hl_outcome_raised(hl_state *state, hl_task *task)
{
    PyObject *exception = PyErr_GetRaisedException();
    if (PyErr_GivenExceptionMatches(exception, state->CancelledError)) {
        /* Kept: awaiting the task raises this very exception. */
        Py_XSETREF(task->cancelled_exc, exception);
        return hl_future_cancel_lock_held(state, (hl_future *)task, NULL) < 0 ? -1 : 0;
    }
    if (hl_future_set_exception_lock_held(state, (hl_future *)task, exception) < 0) {
        Py_DECREF(exception);
        return -1;
    }
    if (PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt) ||
        PyErr_GivenExceptionMatches(exception, PyExc_SystemExit)) {
        PyErr_SetRaisedException(exception); /* leaves the loop as well */
        return -1;
    }
    Py_DECREF(exception);
    return 0;
}

/* Throw RuntimeError(message) into the coroutine in the next turn; steals message. */
static int
throw_error_soon(hl_state *state, hl_task *task, PyObject *message)
{
    if (message == NULL) {
        return -1;
    }
    PyObject *error = PyObject_CallOneArg(PyExc_RuntimeError, message);
    Py_DECREF(message);
    if (error == NULL) {
        return -1;
    }
    int failed = hl_task_step_soon(state, task, error);
    Py_DECREF(error);
    return failed;
}

static int
throw_different_loop(hl_state *state, hl_task *task, PyObject *awaited)
{
    return throw_error_soon(
        state,
        task,
        PyUnicode_FromFormat(
            "Task %R got Future %R attached to a different loop", task, awaited));
}

static int
throw_plain_yield(hl_state *state, hl_task *task, PyObject *awaited)
{
    return throw_error_soon(
        state,
        task,
        PyUnicode_FromFormat(
            "yield was used instead of yield from in task %R with %R", task, awaited));
}

/* The task now waits for awaited; a cancellation that came meanwhile goes on to it. */
static int
task_wait_for(hl_state *state, hl_task *task, PyObject *awaited)
{
    Py_XSETREF(task->fut_waiter, Py_NewRef(awaited));
    if (!task->must_cancel) {
        return 0;
    }
    PyObject *message =
        Py_NewRef(task->cancel_msg != NULL ? task->cancel_msg : Py_None);
    PyObject *stack[] = {awaited, message};
    PyObject *answer = PyObject_VectorcallMethod(
        state->str.cancel, stack, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(message);
    int took = answer != NULL ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    if (took > 0) {
        task->must_cancel = 0;
    }
    return took < 0 ? -1 : 0;
}

/* Become the first waiter of a native future without any object in between.  False if the
 * slot is taken or the loop wants real handles. */
static inline bool
wait_directly(hl_state *state, hl_task *task, hl_future *future)
{
    hl_loop *loop = hl_loop_cast(state, task->loop);
    if (loop == NULL || !hl_loop_is_direct(loop) || future->state != HL_PENDING ||
        future->callback0 != NULL || future->callbacks != NULL ||
        !Py_IS_TYPE(task, state->TaskType)) {
        return false;
    }
    future->callback0 = Py_NewRef((PyObject *)task);
    future->context0 = Py_NewRef(task->context);
    return true;
}

static int
wait_by_callback(hl_state *state, hl_task *task, hl_future *future)
{
    PyObject *wakeup = hl_task_wakeup_callable((PyObject *)task);
    if (wakeup == NULL) {
        return -1;
    }
    int error = hl_future_add_callback_lock_held(state, future, wakeup, task->context);
    Py_DECREF(wakeup);
    return error;
}

/* The coroutine yielded a native future. */
static int
outcome_awaits_native(hl_state *state, hl_task *task, PyObject *awaited)
{
    hl_future *future = (hl_future *)awaited;
    if (future->loop != task->loop) {
        return throw_different_loop(state, task, awaited);
    }
    int error = 0;
    bool was_blocking;
    Py_BEGIN_CRITICAL_SECTION(awaited);
    was_blocking = future->blocking;
    if (was_blocking) {
        future->blocking = 0;
        if (!wait_directly(state, task, future)) {
            error = wait_by_callback(state, task, future);
        }
        if (error == 0) {
            error = hl_awaited_by_add(state, awaited, (PyObject *)task);
        }
    }
    Py_END_CRITICAL_SECTION();
    if (!was_blocking) {
        return throw_plain_yield(state, task, awaited);
    }
    return error < 0 ? -1 : task_wait_for(state, task, awaited);
}

/* The loop of any future: get_loop(), or the attribute _loop of old ones.  New, or NULL. */
static PyObject *
foreign_loop(hl_state *state, PyObject *awaited)
{
    PyObject *method;
    if (PyObject_GetOptionalAttr(awaited, state->str.get_loop, &method) < 0) {
        return NULL;
    }
    if (method == NULL) {
        return PyObject_GetAttr(awaited, state->str._loop);
    }
    PyObject *loop = PyObject_CallNoArgs(method);
    Py_DECREF(method);
    return loop;
}

static int
wait_by_protocol(hl_state *state, hl_task *task, PyObject *awaited)
{
    if (hl_awaited_by_add(state, awaited, (PyObject *)task) < 0 ||
        PyObject_SetAttr(awaited, state->str._asyncio_future_blocking, Py_False) < 0) {
        return -1;
    }
    PyObject *wakeup = hl_task_wakeup_callable((PyObject *)task);
    if (wakeup == NULL) {
        return -1;
    }
    PyObject *context = Py_NewRef(task->context);
    PyObject *stack[] = {awaited, wakeup, context};
    PyObject *added = PyObject_VectorcallMethod(state->str.add_done_callback,
                                                stack,
                                                2 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                                state->context_names);
    Py_DECREF(context);
    Py_DECREF(wakeup);
    Py_XDECREF(added);
    return added != NULL ? task_wait_for(state, task, awaited) : -1;
}

/* The coroutine yielded something with _asyncio_future_blocking. */
static int
outcome_awaits_foreign(hl_state *state, hl_task *task, PyObject *awaited,
                       int is_blocking)
{
    PyObject *loop = foreign_loop(state, awaited);
    if (loop == NULL) {
        return -1;
    }
    bool is_same = loop == task->loop;
    Py_DECREF(loop);
    if (!is_same) {
        return throw_different_loop(state, task, awaited);
    }
    if (!is_blocking) {
        return throw_plain_yield(state, task, awaited);
    }
    return wait_by_protocol(state, task, awaited);
}

static int
outcome_yielded_other(hl_state *state, hl_task *task, PyObject *yielded)
{
    PyObject *blocking;
    if (PyObject_GetOptionalAttr(
            yielded, state->str._asyncio_future_blocking, &blocking) < 0) {
        return -1;
    }
    if (blocking != NULL && blocking != Py_None) {
        int is_blocking = PyObject_IsTrue(blocking);
        Py_DECREF(blocking);
        return is_blocking < 0
                   ? -1
                   : outcome_awaits_foreign(state, task, yielded, is_blocking);
    }
    Py_XDECREF(blocking);
    const char *format =
        PyGen_Check(yielded)
            ? "yield was used instead of yield from for generator in task "
              "%R with %R"
            : NULL;
    PyObject *message = format != NULL
                            ? PyUnicode_FromFormat(format, task, yielded)
                            : PyUnicode_FromFormat("Task got bad yield: %R", yielded);
    return throw_error_soon(state, task, message);
}

int
hl_outcome_yielded(hl_state *state, hl_task *task, PyObject *yielded)
{
    if (yielded == Py_None) {
        /* A bare yield: again in the next turn. */
        return hl_task_step_soon(state, task, NULL);
    }
    if (yielded == (PyObject *)task) {
        return throw_error_soon(
            state, task, PyUnicode_FromFormat("Task cannot await on itself: %R", task));
    }
    if (hl_is_native_future(state, yielded)) {
        return outcome_awaits_native(state, task, yielded);
    }
    return outcome_yielded_other(state, task, yielded);
}
