/* Eager start: the first step of a task inside the step of whoever creates it.
 *
 * The new task is current meanwhile and its context entered; both are put back, whatever
 * the step does.  A task that ends in this step never was scheduled. */
#include "task/eager.h"

#include "py/types.h"
#include "sched/current.h"
#include "task/registry.h"
#include "task/step.h"

/* On a loop that is not ours asyncio's own function swaps.  *previous is new. */
static int
swap_on_foreign_loop(hl_state *state, PyObject *loop, PyObject *task,
                     PyObject **previous)
{
    *previous =
        PyObject_CallFunctionObjArgs(state->swap_current_task, loop, task, NULL);
    return *previous != NULL ? 0 : -1;
}

static int
eager_registry_enter(hl_state *state, hl_task *task)
{
#if HL_TASKS_IN_THREAD_STATE
    return hl_registry_add(state, task);
#else
    return PySet_Add(state->eager_tasks, (PyObject *)task);
#endif
}

static int
eager_registry_leave(hl_state *state, hl_task *task)
{
#if !HL_TASKS_IN_THREAD_STATE
    PyObject *exception = PyErr_GetRaisedException();
    int error = PySet_Discard(state->eager_tasks, (PyObject *)task);
    if (exception != NULL) {
        PyErr_Clear();
        PyErr_SetRaisedException(exception);
    }
    if (error < 0) {
        return -1;
    }
#endif
    return task->state == HL_PENDING ? hl_registry_add(state, task)
                                     : hl_registry_remove(state, task);
}

/* The first step, in the task's context.  Returns 0 or -1. */
static int
eager_step(hl_state *state, hl_task *task)
{
    PyObject *context = Py_NewRef(task->context);
    int error = PyContext_Enter(context);
    if (error == 0) {
        error = hl_task_step_now(state, task, NULL);
        if (PyContext_Exit(context) < 0) {
            error = -1;
        }
    }
    Py_DECREF(context);
    return error;
}

static int
eager_step_on_native(hl_state *state, hl_loop *loop, hl_task *task)
{
    hl_current_saved saved;
    if (hl_current_swap(loop, (PyObject *)task, &saved) < 0) {
        return -1;
    }
    int error = eager_step(state, task);
    PyObject *exception = PyErr_GetRaisedException();
    if (hl_current_restore(loop, &saved) < 0) {
        error = -1;
    }
    if (exception != NULL) {
        PyErr_SetRaisedException(exception);
    }
    return error;
}

static int
eager_step_on_foreign(hl_state *state, hl_task *task)
{
    PyObject *previous, *current;
    PyObject *loop = Py_NewRef(task->loop);
    if (swap_on_foreign_loop(state, loop, (PyObject *)task, &previous) < 0) {
        Py_DECREF(loop);
        return -1;
    }
    int error = eager_step(state, task);
    PyObject *exception = PyErr_GetRaisedException();
    if (swap_on_foreign_loop(state, loop, previous, &current) < 0) {
        error = -1;
    }
    Py_XDECREF(current);
    Py_DECREF(previous);
    Py_DECREF(loop);
    if (exception != NULL) {
        PyErr_SetRaisedException(exception);
    }
    return error;
}

/* The coroutine has ended.  In its step it may have shown the task to other threads. */
static void
eager_drop_coro(hl_task *task)
{
    hl_exchange_field((PyObject *)task, &task->coro, NULL);
}

int
hl_task_start_eagerly(hl_state *state, hl_task *task)
{
    hl_loop *loop = hl_loop_cast(state, task->loop);
    if (eager_registry_enter(state, task) < 0) {
        return -1;
    }
    int error = loop != NULL ? eager_step_on_native(state, loop, task)
                             : eager_step_on_foreign(state, task);
    if (error < 0 && task->state == HL_PENDING) {
        /* It never ran: there is nothing to warn of when it dies. */
        Py_BEGIN_CRITICAL_SECTION((PyObject *)task);
        task->log_destroy_pending = 0;
        Py_END_CRITICAL_SECTION();
        if (!HL_TASKS_IN_THREAD_STATE) {
            PyObject *exception = PyErr_GetRaisedException();
            PySet_Discard(state->eager_tasks, (PyObject *)task);
            PyErr_SetRaisedException(exception);
        }
        return -1;
    }
    if (eager_registry_leave(state, task) < 0) {
        return -1;
    }
    if (task->state != HL_PENDING) {
        eager_drop_coro(task);
    }
    return error;
}
