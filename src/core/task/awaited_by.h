/* Who awaits a future: what CPython 3.14 and later show in call graphs.
 *
 * The future's own field `awaited_by` holds a single task as it is and several as a set, as
 * asyncio's functions of the same purpose leave it.  Versions without the field do nothing. */
#ifndef HL_TASK_AWAITED_BY_H
#define HL_TASK_AWAITED_BY_H

#include "task/layout.h"

#if HL_LAYOUT != 311 && HL_LAYOUT != 313

static inline bool
hl_has_awaited_by(const hl_state *state, PyObject *object)
{
    return PyObject_TypeCheck(object, state->StockFutureType);
}

static inline int
hl_awaited_by_add_lock_held(hl_future *future, PyObject *task)
{
    if (future->awaited_by == NULL) {
        future->awaited_by = Py_NewRef(task);
        return 0;
    }
    if (!future->awaited_by_is_set) {
        PyObject *set = PySet_New(NULL);
        if (set == NULL || PySet_Add(set, future->awaited_by) < 0) {
            Py_XDECREF(set);
            return -1;
        }
        Py_SETREF(future->awaited_by, set);
        future->awaited_by_is_set = 1;
    }
    return PySet_Add(future->awaited_by, task);
}

static inline int
hl_awaited_by_discard_lock_held(hl_future *future, PyObject *task)
{
    if (future->awaited_by == task) {
        Py_CLEAR(future->awaited_by);
        return 0;
    }
    if (future->awaited_by_is_set) {
        return PySet_Discard(future->awaited_by, task) < 0 ? -1 : 0;
    }
    return 0;
}

/* Note that task awaits awaited, which may be of any type.  Returns 0 or -1. */
static inline int
hl_awaited_by_add(const hl_state *state, PyObject *awaited, PyObject *task)
{
    int error = 0;
    if (hl_has_awaited_by(state, awaited)) {
        Py_BEGIN_CRITICAL_SECTION(awaited);
        error = hl_awaited_by_add_lock_held((hl_future *)awaited, task);
        Py_END_CRITICAL_SECTION();
    }
    return error;
}

/* Task has stopped awaiting awaited.  Returns 0 or -1. */
static inline int
hl_awaited_by_discard(const hl_state *state, PyObject *awaited, PyObject *task)
{
    int error = 0;
    if (hl_has_awaited_by(state, awaited)) {
        Py_BEGIN_CRITICAL_SECTION(awaited);
        error = hl_awaited_by_discard_lock_held((hl_future *)awaited, task);
        Py_END_CRITICAL_SECTION();
    }
    return error;
}

#else

static inline int
hl_awaited_by_add(const hl_state *state, PyObject *awaited, PyObject *task)
{
    return 0;
}

static inline int
hl_awaited_by_discard(const hl_state *state, PyObject *awaited, PyObject *task)
{
    return 0;
}

#endif

#endif
