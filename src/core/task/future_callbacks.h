/* Who waits for a future, and how the waiters are called.
 *
 * The first callback and its context stand in callback0 and context0, all others as pairs in
 * the list `callbacks`.  callback0 may be a native Task itself, which is pushed on the ready
 * queue without any object in between (future.h); whoever asks sees its wake-up callable. */
#ifndef HL_TASK_FUTURE_CALLBACKS_H
#define HL_TASK_FUTURE_CALLBACKS_H

#include "sched/loop.h"
#include "task/layout.h"

/* loop.call_soon(callback, argument, context=context) on any loop; argument may be NULL. */
int hl_call_soon(hl_state *state, PyObject *loop, PyObject *callback,
                 PyObject *argument, PyObject *context);

/* Call callback (borrowed) with the future when it is done, in context (borrowed). */
int hl_future_add_callback_lock_held(hl_state *state, hl_future *future,
                                     PyObject *callback, PyObject *context);

/* The future is done: take all callbacks out, then schedule each once, in order: what runs
 * meanwhile sees none left.  Returns 0 or -1. */
int hl_future_schedule_callbacks(hl_state *state, hl_future *future);

/* Methods of Future, and the getter of `_callbacks`. */
PyObject *hl_future_add_done_callback(PyObject *self, PyObject *const *args,
                                      Py_ssize_t nargs, PyObject *kwnames);
PyObject *hl_future_remove_done_callback(PyObject *self, PyObject *callback);
PyObject *hl_future_get_callbacks(PyObject *self, void *closure);

#endif
