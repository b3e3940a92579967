/* Descriptors watched by add_reader and add_writer, and by native objects (transports).
 *
 * Each watched descriptor has a reader, a writer, or both.  Replacing or removing a handle
 * cancels it, so that an event collected before and not yet dispatched calls nobody,
 * exactly as on asyncio; a native object notes for itself that it is no longer due.
 * The table has the loop's critical section; what leaves it is let go after that.
 * Reference: https://docs.python.org/3/library/asyncio-eventloop.html#watching-file-descriptors */
#ifndef HL_SCHED_WATCH_H
#define HL_SCHED_WATCH_H

#include "sched/loop.h"

/* Watch fd with handle for kind (HL_POLL_READ or HL_POLL_WRITE), replacing the handle that
 * was there.  `file` is the object that the caller registered, kept for removals when it is
 * closed, and NULL if that was a plain number.  Returns 0, or -1 with OSError: nothing is watched by it then. */
int hl_watch_add(hl_loop *loop, int fd, int kind, PyObject *handle, PyObject *file);

/* The same with a native object: run is pushed with it when fd is ready.  It has to bear
 * that run comes once more after a removal. */
int hl_watch_add_native(hl_loop *loop, int fd, int kind, PyObject *object, hl_run run);

/* Push run with object once, when fd is ready; then it stays in its place, to be armed again
 * or removed by whoever armed it.  Replaces what was there, as hl_watch_add. */
int hl_watch_arm(hl_loop *loop, int fd, int kind, PyObject *object, hl_run run);

/* True if object stands where fd is watched for kind: it was not replaced or removed. */
bool hl_watch_holds(hl_loop *loop, int fd, int kind, const PyObject *object);

/* Stop watching fd for kind.  Returns 1 if it was watched, 0 if not, -1 on error. */
int hl_watch_remove(hl_loop *loop, int fd, int kind);

/* The same, unless something else than object stands there. */
int hl_watch_remove_own(hl_loop *loop, int fd, int kind, const PyObject *object);

/* The open transport that owns fd: new, or NULL, without an exception, if there is none. */
PyObject *hl_watch_transport(hl_loop *loop, int fd);

/* Note that transport (borrowed; NULL: none) owns fd.  Returns 0, or -1 with MemoryError. */
int hl_watch_set_transport(hl_loop *loop, int fd, PyObject *transport);

/* Note that transport does not own fd any more, if it did. */
void hl_watch_forget_transport(hl_loop *loop, int fd, const PyObject *transport);

/* The descriptor that was registered as `file` (by identity), or -1. */
int hl_watch_find(hl_loop *loop, PyObject *file);

/* Push what became ready, event by event, reader before writer.  Returns 0 or -1. */
int hl_watch_dispatch(hl_loop *loop, const hl_poll_event *events, int count);

/* [(fd, file, reader or None, writer or None), ...] of everything watched.  New. */
PyObject *hl_watch_list(hl_loop *loop);

void hl_watch_clear(hl_loop *loop);
int hl_watch_traverse(const hl_loop *loop, visitproc visit, void *arg);

#endif
