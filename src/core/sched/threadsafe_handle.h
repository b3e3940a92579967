/* What call_soon_threadsafe returns.
 *
 * From 3.14 on a subtype of asyncio's own thread-safe handle: cancel() from another thread
 * waits while the callback runs, and a callback cancelled before never starts.  Earlier
 * versions return a plain Handle, and so do we. */
#ifndef HL_SCHED_THREADSAFE_HANDLE_H
#define HL_SCHED_THREADSAFE_HANDLE_H

#include "sched/handle.h"

int hl_threadsafe_handle_type_init(PyObject *module, hl_state *state);

/* A new handle for another thread's call, in the form of hl_handle_new. */
PyObject *hl_threadsafe_handle_new(hl_loop *loop, PyObject *callback,
                                   PyObject *const *args, Py_ssize_t nargs,
                                   PyObject *context);

/* hl_run of such handles. */
int hl_threadsafe_handle_run(hl_loop *loop, PyObject *owner, PyObject *argument);

#if HL_HANDLES_CAN_BE_THREADSAFE
typedef struct {
    hl_handle handle;
    PyObject *lock;       /* asyncio's slot; unused, NULL */
    PyMutex mutex;        /* held while the callback runs or the handle is cancelled */
    unsigned long holder; /* thread that holds it: its own cancel() must not wait */
} hl_threadsafe_handle;
#endif

#endif
