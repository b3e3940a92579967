/* Future: a result that is not there yet.
 *
 * State machine: PENDING -> FINISHED (set_result, set_exception) or CANCELLED (cancel);
 * nothing leaves a done state.  Leaving PENDING takes the callbacks out of the struct first
 * and schedules each once, in order.  The first waiter, if it is a native Task of the same
 * loop, stands in callback0 as the Task itself and is pushed on the ready queue without any
 * object in between; every other callback is a callable.
 * Reference: https://docs.python.org/3/library/asyncio-future.html
 *
 * Functions ending in _lock_held expect the future's critical section. */
#ifndef HL_TASK_FUTURE_H
#define HL_TASK_FUTURE_H

#include "sched/loop.h"
#include "task/layout.h"

int hl_future_type_init(PyObject *module, hl_state *state);

/* A pending native future of loop.  New, or NULL. */
PyObject *hl_future_new(hl_loop *loop);

/* What Future.__init__ does: forget everything, belong to loop (NULL or None: the running
 * or current one).  Returns 0 or -1. */
int hl_future_init(hl_state *state, hl_future *future, PyObject *loop);

/* RuntimeError if __init__ never ran.  Returns 0 or -1. */
int hl_future_check_alive(const hl_future *future);

/* Done with result (borrowed).  InvalidStateError if done already.  Returns 0 or -1. */
int hl_future_set_result_lock_held(hl_state *state, hl_future *future,
                                   PyObject *result);

/* Done with exception, an instance or a class (borrowed).  Returns 0 or -1. */
int hl_future_set_exception_lock_held(hl_state *state, hl_future *future,
                                      PyObject *exception);

/* Cancelled, with message (borrowed; NULL: none).  Returns 1, 0 if it was done, or -1. */
int hl_future_cancel_lock_held(hl_state *state, hl_future *future, PyObject *message);

/* The result.  Returns new, or NULL with the exception of the future raised. */
PyObject *hl_future_result_lock_held(hl_state *state, hl_future *future);

/* The CancelledError to raise: the stored one, once, or a fresh one.  New, or NULL. */
PyObject *hl_future_make_cancelled_error(hl_state *state, hl_future *future);

/* Call the finalizer of an untracked object from its dealloc.  Returns 0, or -1 if the
 * finalizer kept the object, which is tracked again then. */
int hl_finalize_dying(PyObject *self);

/* Drop what Future's fields own: part of dealloc, of future and task. */
void hl_future_drop_fields(hl_future *future);

/* Give type the collector's functions and the repr of the stock type, whose struct it
 * shares. */
void hl_adopt_stock_slots(PyTypeObject *type, const PyTypeObject *stock);

static inline bool
hl_is_native_future(const hl_state *state, const PyObject *object)
{
    return Py_IS_TYPE(object, state->FutureType) || Py_IS_TYPE(object, state->TaskType);
}

/* Declare `name`, a method without arguments, that runs name_lock_held(self) in self's
 * critical section. */
#define HL_LOCKED_METHOD(name)                                                         \
    static PyObject *name(PyObject *self, PyObject *unused)                            \
    {                                                                                  \
        PyObject *result;                                                              \
        (void)unused;                                                                  \
        Py_BEGIN_CRITICAL_SECTION(self);                                               \
        result = name##_lock_held(self);                                               \
        Py_END_CRITICAL_SECTION();                                                     \
        return result;                                                                 \
    }

/* The same for a method of one positional argument. */
#define HL_LOCKED_METHOD_O(name)                                                       \
    static PyObject *name(PyObject *self, PyObject *argument)                          \
    {                                                                                  \
        PyObject *result;                                                              \
        Py_BEGIN_CRITICAL_SECTION(self);                                               \
        result = name##_lock_held(self, argument);                                     \
        Py_END_CRITICAL_SECTION();                                                     \
        return result;                                                                 \
    }

#endif
