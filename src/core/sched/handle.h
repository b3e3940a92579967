/* Handle and TimerHandle: one scheduled call.
 *
 * C subtypes of asyncio.Handle and asyncio.TimerHandle, which are Python classes with
 * __slots__.  The slots are the storage: the struct mirrors them (checked at import against
 * the classes' own member descriptors), and getsets of the same names stand before the
 * descriptors, because two slots hold more than their name says:
 *  - `cancelled` is True, False, or None: "not cancelled, and `args` is the only argument
 *    itself and not a tuple".  That saves a tuple for the usual callback.
 *  - a slot may be NULL where __init__ never ran.
 * Whatever the base class's descriptors read or write there stays a valid object. */
#ifndef HL_SCHED_HANDLE_H
#define HL_SCHED_HANDLE_H

#include "sched/loop.h"

typedef struct {
    PyObject_HEAD
    /* The slots of asyncio.Handle in their order (sorted by name); all owned. */
    PyObject *args;
    PyObject *callback;
    PyObject *cancelled;
    PyObject *context;
    PyObject *loop;
    PyObject *repr;
    PyObject *source_traceback;
#if HL_HANDLES_HAVE_WEAKREF_SLOT
    PyObject *weakrefs;
#endif
} hl_handle;

typedef struct {
    hl_handle handle;
    PyObject *scheduled; /* slot; the truth is node.slot while that is inside a heap */
    PyObject *when;      /* slot, owned: the caller's own number */
    hl_heap_node node;
} hl_timer_handle;

int hl_handle_type_init(PyObject *module, hl_state *state);

/* A new handle.  context NULL: a copy of the current one.  Returns new, or NULL. */
PyObject *hl_handle_new(hl_loop *loop, PyObject *callback, PyObject *const *args,
                        Py_ssize_t nargs, PyObject *context);

/* A new timer handle, not scheduled.  `when` is kept and given back unchanged. */
PyObject *hl_timer_handle_new(hl_loop *loop, PyObject *when, PyObject *callback,
                              PyObject *const *args, Py_ssize_t nargs,
                              PyObject *context);

static inline bool
hl_handle_is_cancelled(const hl_handle *handle)
{
    return handle->cancelled == Py_True;
}

/* Cancel as Handle.cancel does.  Returns 0 or -1. */
int hl_handle_cancel(hl_handle *handle);

/* hl_run of handles: calls the callback unless it was cancelled; reports what it raises.
 * owner may also be a handle of asyncio's own (Loop._add_callback takes any). */
int hl_handle_run(hl_loop *loop, PyObject *owner, PyObject *argument);

/* Report the raised exception, as Handle._run does, for a handle that failed.  Leaves
 * KeyboardInterrupt and SystemExit raised.  Returns 0, or -1 if one must leave the loop. */
int hl_handle_report(hl_loop *loop, PyObject *handle);

/* The same for a handle of ours, whatever its type: no check of the type. */
int hl_handle_run_native(hl_loop *loop, PyObject *owner);

/* What subtypes build on.  Fill: every field is NULL; returns 0 or -1. */
int hl_handle_fill(hl_handle *handle, hl_loop *loop, PyObject *callback,
                   PyObject *const *args, Py_ssize_t nargs, PyObject *context);
int hl_handle_clear(PyObject *self);
int hl_handle_traverse(PyObject *self, visitproc visit, void *arg);

static inline hl_timer_handle *
hl_timer_of_node(hl_heap_node *node)
{
    return (hl_timer_handle *)((char *)node - offsetof(hl_timer_handle, node));
}

#endif
