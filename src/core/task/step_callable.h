/* The callables that stand for a task step where there is no queue entry: what call_soon and
 * add_done_callback get on foreign loops, in debug mode, and from awaited objects that are
 * not native.  Their names are asyncio's, because they show in the repr of handles. */
#ifndef HL_TASK_STEP_CALLABLE_H
#define HL_TASK_STEP_CALLABLE_H

#include "task/layout.h"

int hl_step_callable_type_init(PyObject *module, hl_state *state);

/* TaskStepMethWrapper: steps task; exception (NULL: none) is thrown into the coroutine.  New,
 * or NULL. */
PyObject *hl_task_step_callable(hl_state *state, PyObject *task, PyObject *exception);

/* The callable `task_wakeup` bound to task, as asyncio's futures hold it.  New, or NULL. */
PyObject *hl_task_wakeup_callable(PyObject *task);

#endif
