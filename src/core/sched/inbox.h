/* The inbox: what is pushed on a loop that this thread does not run, without a GIL.
 *
 * With a GIL every thread pushes on the ready queue itself and there is no inbox; the
 * functions are empty then.  Without one the ready queue belongs to the thread that runs
 * the loop, and everybody else, and everybody while no thread does, appends here, under a
 * mutex that is held for a few stores and never while Python code may run.  The turn moves
 * the entries over, in order; `inbox_count` can be asked without the mutex. */
#ifndef HL_SCHED_INBOX_H
#define HL_SCHED_INBOX_H

#include "sched/loop.h"

#if HL_FREE_THREADED

/* True if nothing waits in the inbox.  A push that happened before is seen. */
static inline bool
hl_inbox_is_empty(const hl_loop *loop)
{
    return __atomic_load_n(&loop->inbox_count, __ATOMIC_SEQ_CST) == 0;
}

/* Move everything to the ready queue.  The thread that runs the loop.  Returns 0, or -1
 * with MemoryError: what did not fit stays, nothing is lost. */
int hl_inbox_drain(hl_loop *loop);

/* Append new references to all entries to *copy, for those who only look: those of the ready
 * queue first, if another thread does not run the loop.  Returns 0, or -1 with MemoryError. */
int hl_inbox_look(hl_loop *loop, hl_ready *copy);

/* Drop every entry.  Runs user code, which may push again: those go too. */
void hl_inbox_clear(hl_loop *loop);

/* Drop every entry and the storage. */
void hl_inbox_fini(hl_loop *loop);

int hl_inbox_traverse(const hl_loop *loop, visitproc visit, void *arg);

#else

static inline bool
hl_inbox_is_empty(const hl_loop *loop)
{
    (void)loop;
    return true;
}

static inline int
hl_inbox_drain(hl_loop *loop)
{
    (void)loop;
    return 0;
}

static inline int
hl_inbox_look(hl_loop *loop, hl_ready *copy)
{
    return hl_ready_copy(&loop->ready, copy);
}

static inline void
hl_inbox_clear(hl_loop *loop)
{
    (void)loop;
}

static inline void
hl_inbox_fini(hl_loop *loop)
{
    (void)loop;
}

static inline int
hl_inbox_traverse(const hl_loop *loop, visitproc visit, void *arg)
{
    (void)loop;
    (void)visit;
    (void)arg;
    return 0;
}

#endif

#endif
