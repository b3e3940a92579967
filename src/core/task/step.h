/* The steps of a task: resuming its coroutine and acting on what it answers.
 *
 * Two ways lead here.  On a hotloop loop the ready queue holds {run, task, argument} and
 * the run function publishes the task, enters its context and steps.  Everywhere else (a
 * foreign loop, debug mode, a replaced call_soon) loop.call_soon gets a callable, and its
 * handle entered the context already (step_callable.h).  Both end in the same step. */
#ifndef HL_TASK_STEP_H
#define HL_TASK_STEP_H

#include "sched/loop.h"
#include "task/layout.h"

/* Schedule the next step; exception (borrowed, or NULL) is thrown into the coroutine.
 * Returns 0 or -1. */
int hl_task_step_soon(hl_state *state, hl_task *task, PyObject *exception);

/* Schedule the wake-up of task (stolen), which waits for future (borrowed). */
int hl_task_wake_soon(hl_state *state, PyObject *task, PyObject *future);

/* hl_run of a wake-up: argument is the future that is done. */
int hl_task_wakeup_run(hl_loop *loop, PyObject *task, PyObject *future);

/* What the awaited future raises: new, or NULL if it has a result, which the coroutine's own
 * iterator reads.  A native future is asked directly.  Sets no exception. */
PyObject *hl_task_awaited_exception(hl_state *state, PyObject *future);

/* Resume the coroutine once, under the task's critical section.  The task is current and
 * its context entered.  Returns 0, or -1 with an exception for whoever runs the step. */
int hl_task_step_now(hl_state *state, hl_task *task, PyObject *exception);

#endif
