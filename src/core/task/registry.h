/* Which tasks exist, as asyncio.all_tasks() must find them.
 *
 * From 3.14 on a task stands in CPython's own intrusive list of its thread, through the
 * node in its struct; debuggers walk the same list.  Up to 3.13 asyncio keeps a WeakSet,
 * whose add and discard cost half a task; there an array of borrowed pointers holds ours
 * and the WeakSet's class becomes a subclass that chains it (only if it is exactly a
 * WeakSet; else we register there as asyncio does).
 *
 * A task is registered from its creation until it is done or dies. */
#ifndef HL_TASK_REGISTRY_H
#define HL_TASK_REGISTRY_H

#include "task/layout.h"

/* Register task, unless it is.  Returns 0 or -1. */
int hl_registry_add(hl_state *state, hl_task *task);

/* Forget task, if it is registered.  Returns 0 or -1 (only where asyncio's own functions
 * are used). */
int hl_registry_remove(hl_state *state, hl_task *task);

/* The registered tasks of our own array, as a new list (empty from 3.14 on). */
PyObject *hl_registry_list(hl_state *state);

void hl_registry_fini(hl_state *state);

#endif
