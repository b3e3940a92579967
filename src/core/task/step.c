/* One step of a task, and the queue entries that run it (see step.h).
 *
 * In a step user code may do anything: cancel the task, finish it, await it from within,
 * drop the last reference to it.  The caller (queue entry or callable) holds the task. */
#include "task/step.h"

#include "py/context.h"
#include "sched/current.h"
#include "sched/handle.h"
#include "task/awaited_by.h"
#include "task/future.h"
#include "task/future_callbacks.h"
#include "task/outcome.h"
#include "task/step_callable.h"

/* coro.throw(exception) with the result in the form of PyIter_Send. */
static PySendResult
coro_throw(hl_state *state, PyObject *coro, PyObject *exception, PyObject **result)
{
    *result = PyObject_CallMethodOneArg(coro, state->str.throw, exception);
    if (*result != NULL) {
        return PYGEN_NEXT;
    }
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return PYGEN_ERROR;
    }
    PyObject *stop = PyErr_GetRaisedException();
    *result = Py_NewRef(((PyStopIterationObject *)stop)->value);
    Py_DECREF(stop);
    return PYGEN_RETURN;
}

/* What to throw for a pending cancellation instead of exception (borrowed, or NULL).  New
 * reference in *thrown (NULL: nothing to throw).  Returns 0 or -1. */
static int
step_exception(hl_state *state, hl_task *task, PyObject *exception, PyObject **thrown)
{
    *thrown = Py_XNewRef(exception);
    if (!task->must_cancel) {
        return 0;
    }
    if (exception == NULL ||
        !PyErr_GivenExceptionMatches(exception, state->CancelledError)) {
        Py_XSETREF(*thrown, hl_future_make_cancelled_error(state, (hl_future *)task));
        if (*thrown == NULL) {
            return -1;
        }
    }
    task->must_cancel = 0;
    return 0;
}

static int
step_done_already(hl_state *state, hl_task *task, PyObject *exception)
{
    PyErr_Format(state->InvalidStateError,
                 HL_STEP_NAME "(): already done: %R %R",
                 task,
                 exception != NULL ? exception : Py_None);
    return -1;
}

static int
step_forget_waiter(hl_state *state, hl_task *task)
{
    PyObject *waiter = task->fut_waiter;
    if (waiter == NULL) {
        return 0;
    }
    task->fut_waiter = NULL;
    int error = hl_awaited_by_discard(state, waiter, (PyObject *)task);
    Py_DECREF(waiter);
    return error;
}

/* Resume the coroutine once and act on the answer.  The task is current and its context
 * entered.  Returns 0, or -1 with an exception for whoever runs the step. */
static int
task_step_lock_held(hl_state *state, hl_task *task, PyObject *exception)
{
    hl_count_step(state);
    if (task->state != HL_PENDING) {
        return step_done_already(state, task, exception);
    }
    PyObject *thrown = NULL, *result = NULL;
    if ((exception != NULL || task->must_cancel) &&
        step_exception(state, task, exception, &thrown) < 0) {
        return -1;
    }
    if (step_forget_waiter(state, task) < 0) {
        Py_XDECREF(thrown);
        return -1;
    }
    PyObject *coro = task->coro;
    if (coro == NULL) {
        Py_XDECREF(thrown);
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Task object");
        return -1;
    }
    PySendResult status;
    Py_INCREF(coro); /* it may give its task another one */
    if (thrown == NULL) {
        status = PyIter_Send(coro, Py_None, &result);
    }
    else {
        status = coro_throw(state, coro, thrown, &result);
        Py_DECREF(thrown);
    }
    Py_DECREF(coro);
    int error;
    if (status == PYGEN_NEXT) {
        error = hl_outcome_yielded(state, task, result);
        Py_DECREF(result);
        return error;
    }
    if (status == PYGEN_RETURN) {
        error = hl_outcome_returned(state, task, result);
        Py_DECREF(result);
        return error;
    }
    return hl_outcome_raised(state, task);
}

int
hl_task_step_now(hl_state *state, hl_task *task, PyObject *exception)
{
    int error;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)task);
    error = task_step_lock_held(state, task, exception);
    Py_END_CRITICAL_SECTION();
    return error;
}

/* -- steps from the ready queue ------------------------------------------------------------------ */

/* Report a failed step as asyncio does: as the exception of the handle that ran it. */
static int
report_failed_step(hl_loop *loop, hl_task *task, PyObject *argument, bool is_wakeup)
{
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
        PyErr_ExceptionMatches(PyExc_SystemExit)) {
        return -1;
    }
    PyObject *exception = PyErr_GetRaisedException();
    if (loop->current_task != NULL) {
        hl_loop_clear_current_task(loop);
    }
    PyObject *callable =
        is_wakeup ? hl_task_wakeup_callable((PyObject *)task)
                  : hl_task_step_callable(loop->state, (PyObject *)task, argument);
    PyObject *handle =
        callable != NULL
            ? hl_handle_new(loop, callable, &argument, is_wakeup ? 1 : 0, task->context)
            : NULL;
    Py_XDECREF(callable);
    if (handle == NULL) {
        Py_DECREF(exception);
        return -1;
    }
    PyErr_SetRaisedException(exception);
    int error = hl_handle_report(loop, handle);
    Py_DECREF(handle);
    return error;
}

/* Something else than a Context was given as context: what matters is its run(), as for a
 * handle. */
static int
run_step_by_run(hl_loop *loop, PyObject *context, PyObject *task, PyObject *exception)
{
    if (loop->current_task != NULL) {
        hl_loop_clear_current_task(loop);
    }
    PyObject *step = hl_task_step_callable(loop->state, task, exception);
    PyObject *result =
        step != NULL ? PyObject_CallMethodOneArg(context, loop->state->str.run, step)
                     : NULL;
    Py_XDECREF(step);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* Publish the task, enter its context, step.  Returns 0, or -1 with an exception. */
static inline int
run_step(hl_loop *loop, hl_task *task, PyObject *exception)
{
    PyObject *context = task->context;
    if (context == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Task object");
        return -1;
    }
    Py_INCREF(context);
    int error = hl_context_enter(loop->state, loop->thread_state, context);
    if (error == 0) {
        error = hl_current_set(loop, (PyObject *)task);
        if (error == 0) {
            error = hl_task_step_now(loop->state, task, exception);
        }
        if (hl_context_exit(loop->state, loop->thread_state, context) < 0) {
            error = -1;
        }
    }
    else if (!PyContext_CheckExact(context)) {
        PyErr_Clear(); /* TypeError, which says so */
        error = run_step_by_run(loop, context, (PyObject *)task, exception);
    }
    Py_DECREF(context);
    return error;
}

static int
task_step_run(hl_loop *loop, PyObject *owner, PyObject *exception)
{
    hl_task *task = (hl_task *)owner;
    if (run_step(loop, task, exception) == 0) {
        return 0;
    }
    return report_failed_step(loop, task, exception, false);
}

PyObject *
hl_task_awaited_exception(hl_state *state, PyObject *future)
{
    PyObject *result;
    if (hl_is_native_future(state, future)) {
        const hl_future *native = (hl_future *)future;
        if (native->state == HL_FINISHED && native->exception == NULL) {
            return NULL;
        }
        Py_BEGIN_CRITICAL_SECTION(future);
        result = hl_future_result_lock_held(state, (hl_future *)future);
        Py_END_CRITICAL_SECTION();
    }
    else {
        result = PyObject_CallMethodNoArgs(future, state->str.result);
    }
    if (result == NULL) {
        return PyErr_GetRaisedException();
    }
    Py_DECREF(result);
    return NULL;
}

int
hl_task_wakeup_run(hl_loop *loop, PyObject *owner, PyObject *future)
{
    hl_task *task = (hl_task *)owner;
    PyObject *exception = hl_task_awaited_exception(loop->state, future);
    int error = run_step(loop, task, exception);
    Py_XDECREF(exception);
    return error == 0 ? 0 : report_failed_step(loop, task, future, true);
}

int
hl_task_wake_soon(hl_state *state, PyObject *task, PyObject *future)
{
    hl_loop *loop = hl_loop_cast(state, ((hl_task *)task)->loop);
    if (loop != NULL && hl_loop_is_direct(loop)) {
        return hl_loop_push(loop, hl_task_wakeup_run, task, Py_NewRef(future));
    }
    PyObject *wakeup = hl_task_wakeup_callable(task);
    int error = -1;
    if (wakeup != NULL) {
        error = hl_call_soon(
            state, ((hl_task *)task)->loop, wakeup, future, ((hl_task *)task)->context);
        Py_DECREF(wakeup);
    }
    Py_DECREF(task);
    return error;
}

int
hl_task_step_soon(hl_state *state, hl_task *task, PyObject *exception)
{
    hl_loop *loop = hl_loop_cast(state, task->loop);
    if (loop != NULL && hl_loop_is_direct(loop)) {
        return hl_loop_push(
            loop, task_step_run, Py_NewRef((PyObject *)task), Py_XNewRef(exception));
    }
    PyObject *step = hl_task_step_callable(state, (PyObject *)task, exception);
    if (step == NULL) {
        return -1;
    }
    PyObject *context = Py_NewRef(task->context);
    int error = hl_call_soon(state, task->loop, step, NULL, context);
    Py_DECREF(context);
    Py_DECREF(step);
    return error;
}
