/* The current task, as asyncio's own tables know it.
 *
 * asyncio.current_task() must see our tasks and a stock task must refuse to start inside
 * one, so every step publishes its task where CPython looks: up to 3.13 in the dict
 * {loop: task} of _asyncio, from 3.14 on in the thread state (at an offset found at
 * import).  Publishing is lazy: a step overwrites its predecessor's entry, and only what is
 * not a task step clears it.  loop->current_task mirrors what is published. */
#ifndef HL_SCHED_CURRENT_H
#define HL_SCHED_CURRENT_H

#include "sched/loop.h"

#if HL_TASKS_IN_THREAD_STATE

/* Make task the current one.  Returns 0, or -1 with RuntimeError if a task that this loop
 * did not publish is being executed. */
int hl_current_set(hl_loop *loop, PyObject *task);

#else

/* RuntimeError if a task is being executed that this loop did not publish.  0 or -1. */
int hl_current_check_none(const hl_loop *loop, PyObject *task);

/* As above. */
static inline int
hl_current_set(hl_loop *loop, PyObject *task)
{
    if (loop->current_task == NULL && hl_current_check_none(loop, task) < 0) {
        return -1;
    }
    loop->current_task = task; /* borrowed from the dict, which holds it */
    if (PyDict_SetItem(loop->state->current_tasks, (PyObject *)loop, task) < 0) {
        loop->current_task = NULL;
        return -1;
    }
    return 0;
}

#endif

/* What hl_current_swap displaced. */
typedef struct {
    PyObject *task;      /* owned, or NULL */
    PyObject *published; /* loop->current_task of before; borrowed */
} hl_current_saved;

/* Make task the current one in the middle of another's step.  Returns 0 or -1. */
int hl_current_swap(hl_loop *loop, PyObject *task, hl_current_saved *saved);

/* Undo hl_current_swap; steals saved->task.  Returns 0 or -1. */
int hl_current_restore(hl_loop *loop, hl_current_saved *saved);

#endif
