/* Eager start of tasks (asyncio.eager_task_factory, eager_start=True).
 * https://docs.python.org/3/library/asyncio-task.html#eager-task-factory */
#ifndef HL_TASK_EAGER_H
#define HL_TASK_EAGER_H

#include "sched/loop.h"
#include "task/layout.h"

/* Run the first step now, inside the step of whoever creates the task.  Returns 0 or -1. */
int hl_task_start_eagerly(hl_state *state, hl_task *task);

#endif
