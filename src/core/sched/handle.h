/* Handle: one scheduled call.
 *
 * A C subtype of asyncio.Handle, which is a Python class with __slots__.  The slots are the storage: the struct mirrors them (checked at import against
 * the class's own member descriptors), and getsets of the same names stand before the
 * descriptors, because two slots hold more than their name says:
 *  - `cancelled` is True, False, or None: "not cancelled, and `args` is the only argument
 *    itself and not a tuple".  That saves a tuple for the usual callback.
 *  - a slot may be NULL where __init__ never ran.
 * Whatever the base class's descriptors read or write there stays a valid object.
 *
 * The collector does not track a handle that was made for the ready queue or the timers of a
 * running loop: the loop runs, so neither the handle nor what it holds can be garbage, and
 * with a thousand of them waiting each collection would go through all.  It is tracked if
 * somebody still has it when it has run or was taken out of the timers, and if it waits when
 * the run of the loop ends. */
#ifndef HL_SCHED_HANDLE_H
#define HL_SCHED_HANDLE_H

#include "py/freelist.h"
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

int hl_handle_type_init(PyObject *module, hl_state *state);

/* A new handle.  context NULL: a copy of the current one.  Returns new, or NULL. */
PyObject *hl_handle_new(hl_loop *loop, PyObject *callback, PyObject *const *args,
                        Py_ssize_t nargs, PyObject *context);

/* The same for a handle that goes right into the ready queue of loop, with hl_handle_run. */
PyObject *hl_handle_new_queued(hl_loop *loop, PyObject *callback, PyObject *const *args,
                               Py_ssize_t nargs, PyObject *context);

/* Let the collector see a handle that leaves the loop. */
static inline void
hl_handle_track(PyObject *self)
{
    if (!PyObject_GC_IsTracked(self)) {
        PyObject_GC_Track(self);
    }
}

/* The run of loop ends: let the collector see the handles that wait in the ready queue. */
void hl_handle_track_queued(const hl_loop *loop);

/* Any thread may ask. */
static inline bool
hl_handle_is_cancelled(const hl_handle *handle)
{
    return __atomic_load_n(&handle->cancelled, __ATOMIC_RELAXED) == Py_True;
}

/* Store True, False or None (see the top).  The handle's section is held. */
static inline void
hl_handle_set_cancelled(hl_handle *handle, PyObject *value)
{
    PyObject *previous = handle->cancelled;
    __atomic_store_n(&handle->cancelled, Py_NewRef(value), __ATOMIC_RELAXED);
    Py_XDECREF(previous); /* one of the three as well, if any: runs no code */
}

/* Cancel as Handle.cancel does, in the handle's section.  Returns 0 or -1. */
int hl_handle_cancel(hl_handle *handle);

/* hl_run of handles: calls the callback unless it was cancelled; reports what it raises.
 * owner may also be a handle of asyncio's own (Loop._add_callback takes any). */
int hl_handle_run(hl_loop *loop, PyObject *owner, PyObject *argument);

/* Report the raised exception, as Handle._run does, for a handle that failed.  Leaves
 * KeyboardInterrupt and SystemExit raised.  Returns 0, or -1 if one must leave the loop. */
int hl_handle_report(hl_loop *loop, PyObject *handle);

/* The same without a handle: what was run stands for one of object's method `name`, made in
 * context (NULL: a copy of the current one). */
int hl_handle_report_method(hl_loop *loop, PyObject *object, PyObject *name,
                            PyObject *context);

/* hl_handle_run for a handle of ours, whatever its type: no check of the type. */
int hl_handle_run_native(hl_loop *loop, PyObject *owner);

/* The method _run(): what the loop does, called by hand, maybe within a task. */
PyObject *hl_handle_run_method(PyObject *self, PyObject *unused);

/* -- what the subtypes build on (timer_handle.c, threadsafe_handle.c) ------------------- */

/* What __init__ does once the arguments are known; context may be NULL or None. */
int hl_handle_init_fields(hl_handle *handle, hl_state *state, PyObject *callback,
                          PyObject *args, PyObject *loop, PyObject *context);

/* Fill: every field is NULL; returns 0 or -1. */
int hl_handle_fill(hl_handle *handle, hl_loop *loop, PyObject *callback,
                   PyObject *const *args, Py_ssize_t nargs, PyObject *context);

/* True if a handle that loop is to hold need not be tracked; see the top. */
static inline bool
hl_handle_may_be_untracked(const hl_loop *loop)
{
    return !HL_FREE_THREADED && hl_loop_owner(loop) != 0 && !hl_loop_is_debug(loop);
}

/* An empty handle of an exact type that loop is to hold, from its freelist if possible.  New,
 * or NULL. */
static inline PyObject *
hl_handle_alloc_held(const hl_loop *loop, PyTypeObject *type, hl_freelist *list)
{
    PyObject *self = hl_freelist_pop(list, type, offsetof(hl_handle, args));
    if (self == NULL) {
        self = type->tp_alloc(type, 0);
        if (self != NULL && hl_handle_may_be_untracked(loop)) {
            PyObject_GC_UnTrack(self);
        }
    }
    else if (!hl_handle_may_be_untracked(loop)) {
        PyObject_GC_Track(self);
    }
    return self;
}

/* A filled handle of an exact type that adds nothing to Handle, for the ready queue.  context
 * NULL: a copy of the current one.  New, or NULL. */
static inline PyObject *
hl_handle_make_queued(hl_loop *loop, PyTypeObject *type, hl_freelist *list,
                      PyObject *callback, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *context)
{
    PyObject *self = hl_handle_alloc_held(loop, type, list);
    if (self == NULL) {
        return NULL;
    }
    hl_count_new(loop->state, HL_COUNT_HANDLE);
    if (hl_handle_fill((hl_handle *)self, loop, callback, args, nargs, context) < 0) {
        Py_CLEAR(self);
    }
    return self;
}

/* The end of a dealloc: self is untracked and cleared.  list is NULL for a subclass. */
static inline void
hl_handle_free(PyObject *self, hl_freelist *list)
{
    PyTypeObject *type = Py_TYPE(self);
    if (list != NULL &&
        hl_freelist_push_up_to(
            list, HL_HANDLE_FREELIST_LIMIT, self, type, offsetof(hl_handle, args))) {
        return;
    }
    type->tp_free(self);
    Py_DECREF(type);
}

/* Free what the freelists of handles hold beyond `limit` each. */
void hl_handle_trim_freelists(hl_state *state, int limit);

int hl_handle_clear(PyObject *self);
int hl_handle_traverse(PyObject *self, visitproc visit, void *arg);

#endif
