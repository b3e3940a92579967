/* The parsers of args.h.  Messages read like those of CPython's own builtins. */
#include "py/args.h"

#include <assert.h>

static bool
name_matches(PyObject *given, PyObject *name)
{
    if (given == name) {
        return true;
    }
    return PyUnicode_Compare(given, name) == 0; /* both are str: cannot fail */
}

static int
unexpected_keyword(const char *function, PyObject *given)
{
    PyErr_Format(PyExc_TypeError,
                 "%s() got an unexpected keyword argument '%S'",
                 function,
                 given);
    return -1;
}

int
hl_args_one_keyword(const char *function, PyObject *const *args, Py_ssize_t npos,
                    PyObject *kwnames, PyObject *name, PyObject **value)
{
    *value = NULL;
    Py_ssize_t count = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *given = PyTuple_GET_ITEM(kwnames, i);
        if (!name_matches(given, name)) {
            return unexpected_keyword(function, given);
        }
        *value = args[npos + i];
    }
    return 0;
}

/* Store a keyword's value in its place.  position < 0: no such parameter. */
static int
store_keyword(const char *function, PyObject *given, PyObject *value,
              PyObject *const *names, PyObject **values, Py_ssize_t npos)
{
    for (Py_ssize_t i = 0; names[i] != NULL; i++) {
        if (!name_matches(given, names[i])) {
            continue;
        }
        if (i < npos) {
            PyErr_Format(PyExc_TypeError,
                         "argument for %s() given by name ('%S') and position (%zd)",
                         function,
                         given,
                         i + 1);
            return -1;
        }
        values[i] = value;
        return 0;
    }
    return unexpected_keyword(function, given);
}

static int
check_positional(const char *function, Py_ssize_t npos, Py_ssize_t max_positional)
{
    if (npos <= max_positional) {
        return 0;
    }
    if (max_positional == 0) {
        PyErr_Format(PyExc_TypeError, "%s() takes no positional arguments", function);
        return -1;
    }
    PyErr_Format(PyExc_TypeError,
                 "%s() takes at most %zd positional argument%s (%zd given)",
                 function,
                 max_positional,
                 max_positional == 1 ? "" : "s",
                 npos);
    return -1;
}

/* values are known to be NULL where not given up to `required`. */
static int
check_required(const char *function, PyObject *const *names, PyObject **values,
               Py_ssize_t required)
{
    for (Py_ssize_t i = 0; i < required; i++) {
        if (values[i] == NULL) {
            PyErr_Format(PyExc_TypeError,
                         "%s() missing required argument '%S' (pos %zd)",
                         function,
                         names[i],
                         i + 1);
            return -1;
        }
    }
    return 0;
}

int
hl_args_parse(const char *function, PyObject *const *args, Py_ssize_t npos,
              PyObject *kwnames, PyObject *const *names, Py_ssize_t required,
              Py_ssize_t max_positional, PyObject **values)
{
    if (check_positional(function, npos, max_positional) < 0) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < npos; i++) {
        values[i] = args[i];
    }
    Py_ssize_t count = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *given = PyTuple_GET_ITEM(kwnames, i);
        if (store_keyword(function, given, args[npos + i], names, values, npos) < 0) {
            return -1;
        }
    }
    return check_required(function, names, values, required);
}

int
hl_args_parse_init(const char *function, PyObject *args, PyObject *kwargs,
                   PyObject *const *names, Py_ssize_t required,
                   Py_ssize_t max_positional, PyObject **values)
{
    Py_ssize_t npos = PyTuple_GET_SIZE(args);
    if (check_positional(function, npos, max_positional) < 0) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < npos; i++) {
        values[i] = PyTuple_GET_ITEM(args, i);
    }
    PyObject *given, *value;
    Py_ssize_t place = 0;
    while (kwargs != NULL && PyDict_Next(kwargs, &place, &given, &value)) {
        if (!PyUnicode_Check(given)) {
            PyErr_SetString(PyExc_TypeError, "keywords must be strings");
            return -1;
        }
        if (store_keyword(function, given, value, names, values, npos) < 0) {
            return -1;
        }
    }
    return check_required(function, names, values, required);
}

int
hl_args_get_writable(PyObject *object, const char *where, Py_buffer *view)
{
    if (PyObject_GetBuffer(object, view, PyBUF_WRITABLE) == 0) {
        return 0;
    }
    PyErr_Clear(); /* TypeError or BufferError, as PyArg_Parse does */
    PyErr_Format(PyExc_TypeError,
                 "%s must be read-write bytes-like object, not %.50s",
                 where,
                 object == Py_None ? "None" : Py_TYPE(object)->tp_name);
    return -1;
}
