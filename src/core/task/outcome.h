/* The outcomes of a task step: the coroutine returned, raised, or yielded what to wait for.
 *
 * One function for each, called by step.c under the task's critical section.  Each returns
 * 0, or -1 with an exception for whoever runs the step. */
#ifndef HL_TASK_OUTCOME_H
#define HL_TASK_OUTCOME_H

#include "task/layout.h"

/* The coroutine returned result: the task is done, or cancelled right before. */
int hl_outcome_returned(hl_state *state, hl_task *task, PyObject *result);

/* The coroutine raised: the raised exception becomes the task's. */
int hl_outcome_raised(hl_state *state, hl_task *task);

/* The coroutine yielded a future, None (again in the next turn), or something wrong. */
int hl_outcome_yielded(hl_state *state, hl_task *task, PyObject *yielded);

#endif
