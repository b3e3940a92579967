/* Contexts of handles, made when they are needed.
 *
 * A handle runs in a copy of the context it was scheduled in.  Most programs schedule in a
 * context without variables, and a copy of that is an empty one, whenever it is made. So a
 * handle stores the interpreter's marker `state->empty_context` instead, and gets a context
 * of its own when it runs or when somebody asks for it.  One that nobody kept is used again
 * by the next handle (`state->spare_context`).
 *
 * Whether a context is empty is read from CPython's private struct, which is checked at
 * import (hl_context_init).  If it is not as expected, and on free-threaded builds, there is
 * no marker, and contexts are copied at once.  Where there is one, contexts are also entered
 * and left here, up to 3.13: later versions tell watchers of it. */
#ifndef HL_PY_CONTEXT_H
#define HL_PY_CONTEXT_H

#include "py/state.h"

/* CPython's PyContext. */
typedef struct {
    PyObject_HEAD
    PyObject *previous; /* entered before this one; borrowed from the thread state */
    PyObject *vars;     /* immutable mapping; one object stands for all empty ones */
    PyObject *weakrefs;
    int is_entered;
} hl_context;

/* Check the struct and set state->empty_context, or leave it NULL.  Returns 0 or -1. */
int hl_context_init(hl_state *state);

/* The current context: borrowed; NULL where none was entered yet. */
static inline PyObject *
hl_context_current(void)
{
    return PyThreadState_Get()->context;
}

/* PyContext_Enter() for the current thread, whose state is given.  Returns 0 or -1. */
static inline int
hl_context_enter(const hl_state *state, PyThreadState *thread, PyObject *object)
{
    hl_context *context = (hl_context *)object;
    if (HL_CONTEXT_IS_WATCHED || state->empty_context == NULL ||
        !PyContext_CheckExact(object) || context->is_entered) {
        return PyContext_Enter(object);
    }
    context->previous = thread->context;
    context->is_entered = 1;
    thread->context = Py_NewRef(object);
    thread->context_ver++;
    return 0;
}

/* PyContext_Exit() in the same way. */
static inline int
hl_context_exit(const hl_state *state, PyThreadState *thread, PyObject *object)
{
    hl_context *context = (hl_context *)object;
    if (HL_CONTEXT_IS_WATCHED || state->empty_context == NULL ||
        thread->context != object || !context->is_entered) {
        return PyContext_Exit(object);
    }
    thread->context = context->previous; /* the reference is its own */
    context->previous = NULL;
    context->is_entered = 0;
    thread->context_ver++;
    Py_DECREF(object); /* never the last one: whoever entered it has one too */
    return 0;
}

/* A copy of the current context, or the marker for an empty one.  New, or NULL. */
static inline PyObject *
hl_context_copy_current(const hl_state *state)
{
    PyObject *marker = state->empty_context;
    const hl_context *current = (hl_context *)hl_context_current();
    if (marker != NULL && current != NULL && current->vars == state->empty_vars) {
        return Py_NewRef(marker);
    }
    return PyContext_CopyCurrent();
}

/* Put a context in the place of the marker, if *slot is that.  Returns 0 or -1. */
static inline int
hl_context_materialize(hl_state *state, PyObject **slot)
{
    if (*slot != state->empty_context || *slot == NULL) {
        return 0;
    }
    PyObject *context = state->spare_context;
    state->spare_context = NULL;
    if (context == NULL) {
        context = PyContext_New();
        if (context == NULL) {
            return -1;
        }
    }
    Py_SETREF(*slot, context); /* the marker stays alive in state */
    return 0;
}

/* True if no variable is set in a context that was made by hl_context_materialize, and
 * nobody but its owners here, so many, has it. */
static inline bool
hl_context_is_as_new(const hl_state *state, PyObject *object, Py_ssize_t owners)
{
    const hl_context *context = (hl_context *)object;
    return Py_REFCNT(context) == owners && context->vars == state->empty_vars &&
           context->weakrefs == NULL;
}

/* Keep the context in *slot for the next handle if nobody else has it and it is as new.
 * References: one of *slot, which becomes NULL then, and one of the caller. */
static inline void
hl_context_recycle(hl_state *state, PyObject **slot)
{
    if (HL_FREELISTS && state->spare_context == NULL && state->empty_context != NULL &&
        hl_context_is_as_new(state, *slot, 2)) {
        state->spare_context = *slot;
        *slot = NULL;
    }
}

#endif
