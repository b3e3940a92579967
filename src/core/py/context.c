/* The check of CPython's context struct for context.h. */
#include "py/context.h"

#include <stddef.h>

static const hl_context *
as_struct(PyObject *context)
{
    return (const hl_context *)context;
}

/* Set a variable in context, a new one.  Returns 1 if every field read as expected, 0, or
 * -1 with an exception. */
static int
check_entered(PyObject *context)
{
    const PyThreadState *thread = PyThreadState_Get();
    PyObject *outer = thread->context;
    if (PyContext_Enter(context) < 0) {
        return -1;
    }
    bool holds = thread->context == context && as_struct(context)->is_entered == 1 &&
                 as_struct(context)->previous == outer;
    PyObject *before = as_struct(context)->vars;
    PyObject *variable = PyContextVar_New("hotloop", NULL);
    PyObject *token = variable != NULL ? PyContextVar_Set(variable, Py_None) : NULL;
    holds = holds && as_struct(context)->vars != before;
    int error = token != NULL ? 0 : -1;
    Py_XDECREF(token);
    Py_XDECREF(variable);
    if (PyContext_Exit(context) < 0 || error < 0) {
        return -1;
    }
    return holds && thread->context == outer && as_struct(context)->is_entered == 0 &&
           as_struct(context)->previous == NULL;
}

/* Whether the struct is as context.h says: 1, 0, or -1 with an exception. */
static int
check_struct(PyObject *empty, PyObject *other)
{
    if (PyContext_Type.tp_basicsize != sizeof(hl_context) ||
        PyContext_Type.tp_weaklistoffset != offsetof(hl_context, weakrefs)) {
        return 0;
    }
    PyObject *vars = as_struct(empty)->vars;
    if (vars == NULL || as_struct(other)->vars != vars) {
        return 0;
    }
    return check_entered(other);
}

int
hl_context_init(hl_state *state)
{
    if (HL_FREE_THREADED) {
        return 0; /* a handle's field is read by several threads: it does not change */
    }
    PyObject *empty = PyContext_New();
    PyObject *other = empty != NULL ? PyContext_New() : NULL;
    int holds = other != NULL ? check_struct(empty, other) : -1;
    if (holds > 0) {
        state->empty_context = Py_NewRef(empty);
        state->empty_vars = Py_NewRef(as_struct(empty)->vars);
    }
    Py_XDECREF(other);
    Py_XDECREF(empty);
    return holds < 0 ? -1 : 0;
}
