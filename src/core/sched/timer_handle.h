/* TimerHandle: a call scheduled for a time.
 *
 * A C subtype of hotloop.Handle and of asyncio.TimerHandle.  While it is scheduled the
 * loop's heap holds a reference; a cancelled timer leaves the heap at once. */
#ifndef HL_SCHED_TIMER_HANDLE_H
#define HL_SCHED_TIMER_HANDLE_H

#include "sched/handle.h"

typedef struct {
    hl_handle handle;
    PyObject *scheduled; /* slot; the truth is node.slot while that is inside a heap */
    PyObject *when;      /* slot, owned: the caller's own number; NULL: see `seconds` */
    double seconds;      /* the deadline if no object was made of it yet; else nan */
    hl_heap_node node;
} hl_timer_handle;

int hl_timer_handle_type_init(PyObject *module, hl_state *state);

/* A new timer handle, not scheduled.  `when` is kept and given back unchanged; NULL: the
 * deadline is `seconds`, no nan, of which an object is made when somebody asks for it. */
PyObject *hl_timer_handle_new(hl_loop *loop, PyObject *when, double seconds,
                              PyObject *callback, PyObject *const *args,
                              Py_ssize_t nargs, PyObject *context);

/* The run of loop ends: let the collector see the timers that are scheduled. */
void hl_timer_track_scheduled(hl_loop *loop);

static inline hl_timer_handle *
hl_timer_of_node(hl_heap_node *node)
{
    return (hl_timer_handle *)((char *)node - offsetof(hl_timer_handle, node));
}

#endif
