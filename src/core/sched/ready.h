/* The ready queue: one FIFO of everything that runs in this turn or the next.
 *
 * An entry is {run, owner, argument}: `run` is a function of the layer that pushed it, so
 * that the queue knows no Handle, no Task and no transport, and nothing is embedded in
 * them.  References are owned by the entry until it is taken.  A power-of-two ring. */
#ifndef HL_SCHED_READY_H
#define HL_SCHED_READY_H

#include "py/compat.h"

#include <assert.h>
#include <stddef.h>

struct hl_loop;

/* Run one entry.  Borrows owner and argument.  Returns 0, or -1 with an exception that
 * must leave the loop (KeyboardInterrupt, SystemExit, a failing exception handler). */
typedef int (*hl_run)(struct hl_loop *loop, PyObject *owner, PyObject *argument);

typedef struct {
    hl_run run;
    PyObject *owner;    /* owned */
    PyObject *argument; /* owned, or NULL */
} hl_ready_entry;

typedef struct {
    hl_ready_entry *entries;
    size_t head;
    size_t count;
    size_t
        mask; /* capacity - 1; capacity is 0 (and entries NULL) before the first push */
} hl_ready;

void hl_ready_init(hl_ready *ready);

/* Make room for one more entry.  Returns 0, or -1 with MemoryError. */
int hl_ready_grow(hl_ready *ready);

/* Drop every entry.  Runs user code (finalizers), which may push again: those go too. */
void hl_ready_clear(hl_ready *ready);

/* Drop every entry and the storage. */
void hl_ready_fini(hl_ready *ready);

/* Append new references to all entries to *copy.  Runs no code.  Returns 0, or -1 with
 * MemoryError. */
int hl_ready_copy(const hl_ready *ready, hl_ready *copy);

int hl_ready_traverse(const hl_ready *ready, visitproc visit, void *arg);

/* Entry number index, counted from the next to run. */
static inline hl_ready_entry *
hl_ready_at(const hl_ready *ready, size_t index)
{
    assert(index < ready->count);
    return &ready->entries[(ready->head + index) & ready->mask];
}

/* Make sure that one more entry fits.  Returns 0, or -1 with MemoryError. */
static inline int
hl_ready_reserve(hl_ready *ready)
{
    return ready->entries == NULL || ready->count > ready->mask ? hl_ready_grow(ready)
                                                                : 0;
}

/* Append an entry; steals owner and argument, also on failure.  Returns 0 or -1. */
static inline int
hl_ready_push(hl_ready *ready, hl_run run, PyObject *owner, PyObject *argument)
{
    if (hl_ready_reserve(ready) < 0) {
        Py_DECREF(owner);
        Py_XDECREF(argument);
        return -1;
    }
    hl_ready_entry *entry = &ready->entries[(ready->head + ready->count) & ready->mask];
    *entry = (hl_ready_entry){run, owner, argument};
    ready->count++;
    return 0;
}

/* Take the next entry, with its references.  The queue must not be empty. */
static inline hl_ready_entry
hl_ready_take(hl_ready *ready)
{
    assert(ready->count > 0);
    hl_ready_entry entry = ready->entries[ready->head];
    ready->head = (ready->head + 1) & ready->mask;
    ready->count--;
    return entry;
}

#endif
