/* The questions of descriptor.h; words and order are those of asyncio's selector_events and
 * of selectors. */
#include "io/descriptor.h"

#include "sched/watch.h"

#include <limits.h>

/* -- the number -------------------------------------------------------------------------- */

/* file.fileno() raised, or gave no number: `raise ValueError(...) from None`, if that is one
 * of the exceptions that mean so. */
static void
refuse_file(PyObject *file)
{
    if (!PyErr_ExceptionMatches(PyExc_AttributeError) &&
        !PyErr_ExceptionMatches(PyExc_TypeError) &&
        !PyErr_ExceptionMatches(PyExc_ValueError)) {
        return;
    }
    PyObject *reason = PyErr_GetRaisedException();
    PyObject *shown = PyObject_Repr(file);
    if (shown == NULL) {
        Py_DECREF(reason);
        return;
    }
    PyErr_Format(PyExc_ValueError, "Invalid file object: %U", shown);
    Py_DECREF(shown);
    PyObject *error = PyErr_GetRaisedException();
    PyException_SetContext(error, reason); /* steals reason */
    PyException_SetCause(error, NULL);     /* which hides the context */
    PyErr_SetRaisedException(error);
}

PyObject *
hl_descriptor_number(const hl_state *state, PyObject *file)
{
    if (PyLong_Check(file)) {
        return Py_NewRef(file);
    }
    PyObject *given = PyObject_CallMethodNoArgs(file, state->str.fileno);
    PyObject *number = given != NULL ? PyNumber_Long(given) : NULL;
    Py_XDECREF(given);
    if (number == NULL) {
        refuse_file(file);
    }
    return number;
}

int
hl_descriptor_of_number(PyObject *number)
{
    int overflow;
    long fd = PyLong_AsLongAndOverflow(number, &overflow);
    if (overflow < 0 || (overflow == 0 && fd < 0)) {
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %S", number);
        return -1;
    }
    return overflow > 0 || fd > INT_MAX ? -2 : (int)fd;
}

/* -- the owner --------------------------------------------------------------------------- */

/* False if no transport made in Python is known for fd; the loop's table of those is a
 * WeakValueDictionary. */
static bool
may_have_python_transport(hl_loop *loop, int fd)
{
    PyObject *table = hl_loop_get_attr(loop, HL_ATTR_TRANSPORTS);
    PyObject *data;
    if (table == NULL) {
        return false;
    }
    int has_data = PyObject_GetOptionalAttr(table, loop->state->str.data, &data);
    Py_DECREF(table);
    if (has_data <= 0) {
        PyErr_Clear(); /* some other table, which has to be asked */
        return true;
    }
    bool may_have = true;
    if (PyDict_CheckExact(data)) {
        PyObject *key = PyDict_GET_SIZE(data) > 0 ? PyLong_FromLong(fd) : NULL;
        may_have = key != NULL && PyDict_Contains(data, key) != 0;
        Py_XDECREF(key);
        PyErr_Clear(); /* MemoryError of the key: the method will meet it as well */
    }
    Py_DECREF(data);
    return may_have;
}

bool
hl_descriptor_is_free(hl_loop *loop, int fd)
{
    PyObject *transport = hl_watch_transport(loop, fd);
    bool is_free = transport == NULL && !may_have_python_transport(loop, fd);
    Py_XDECREF(transport);
    return is_free;
}

/* Returns 1 if transport is one and does not close, 0 if not, -1 on error. */
static int
transport_is_open(const hl_state *state, PyObject *transport)
{
    int is_one = transport != Py_None ? PyObject_IsTrue(transport) : 0;
    if (is_one <= 0) {
        return is_one;
    }
    PyObject *answer = PyObject_CallMethodNoArgs(transport, state->str.is_closing);
    int is_closing = answer != NULL ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return is_closing < 0 ? -1 : !is_closing;
}

/* RuntimeError if the loop's mapping of transports has an open one for number. */
static int
check_mapping(hl_loop *loop, PyObject *number, PyObject *file)
{
    const hl_state *state = loop->state;
    PyObject *mapping = PyObject_GetAttr((PyObject *)loop, state->str._transports);
    PyObject *transport =
        mapping != NULL ? PyObject_CallMethodOneArg(mapping, state->str.get, number)
                        : NULL;
    int is_open = transport != NULL ? transport_is_open(state, transport) : -1;
    if (is_open > 0) {
        PyErr_Format(PyExc_RuntimeError,
                     "File descriptor %R is used by transport %R",
                     file,
                     transport);
    }
    Py_XDECREF(transport);
    Py_XDECREF(mapping);
    return is_open == 0 ? 0 : -1;
}

int
hl_descriptor_check_free(hl_loop *loop, PyObject *file)
{
    PyObject *number = hl_descriptor_number(loop->state, file);
    if (number == NULL) {
        return -1;
    }
    int overflow;
    long fd = PyLong_AsLongAndOverflow(number, &overflow);
    bool is_descriptor = overflow == 0 && fd >= 0 && fd <= INT_MAX;
    int error = hl_descriptor_is_free(loop, is_descriptor ? (int)fd : -1)
                    ? 0
                    : check_mapping(loop, number, file);
    Py_DECREF(number);
    return error;
}
