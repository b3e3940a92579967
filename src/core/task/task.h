/* Task: a coroutine driven by a loop.
 *
 * A task is a future whose result its coroutine makes.  While it is scheduled the ready
 * queue holds it, while it waits the awaited future's callback does; nobody else needs to.
 * How it runs is in step.h.
 * Reference: https://docs.python.org/3/library/asyncio-task.html#task-object */
#ifndef HL_TASK_TASK_H
#define HL_TASK_TASK_H

#include "sched/loop.h"
#include "task/layout.h"

int hl_task_type_init(PyObject *module, hl_state *state);

/* What create_task makes without a factory: a native task that is scheduled, or that ran
 * its first step already (eager).  name and context may be NULL or None.  New, or NULL. */
PyObject *hl_task_new(hl_loop *loop, PyObject *coro, PyObject *name, PyObject *context,
                      bool is_eager);

#endif
