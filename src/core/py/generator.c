/* The conventions of generator.h. */
#include "py/generator.h"

void
hl_generator_return(PyObject *value)
{
    if (value == Py_None) {
        Py_DECREF(value);
        return;
    }
    if (PyTuple_Check(value) || PyExceptionInstance_Check(value)) {
        /* PyErr_SetObject would take these apart. */
        PyObject *exception = PyObject_CallOneArg(PyExc_StopIteration, value);
        Py_DECREF(value);
        value = exception;
    }
    if (value != NULL) {
        PyErr_SetObject(PyExc_StopIteration, value);
        Py_DECREF(value);
    }
}

/* The exception to raise, from the old three arguments. */
static PyObject *
exception_of_arguments(PyObject *type, PyObject *value)
{
    if (PyExceptionInstance_Check(type)) {
        if (value != NULL) {
            PyErr_SetString(PyExc_TypeError,
                            "instance exception may not have a separate value");
            return NULL;
        }
        return Py_NewRef(type);
    }
    if (!PyExceptionClass_Check(type)) {
        PyErr_SetString(PyExc_TypeError,
                        "exceptions must be classes deriving BaseException or "
                        "instances of such a class");
        return NULL;
    }
    if (value != NULL && PyObject_TypeCheck(value, (PyTypeObject *)type)) {
        return Py_NewRef(value);
    }
    PyObject *exception = value == NULL          ? PyObject_CallNoArgs(type)
                          : PyTuple_Check(value) ? PyObject_Call(type, value, NULL)
                                                 : PyObject_CallOneArg(type, value);
    if (exception != NULL && !PyExceptionInstance_Check(exception)) {
        PyErr_Format(
            PyExc_TypeError,
            "calling %R should have returned an instance of BaseException, not %s",
            type,
            Py_TYPE(exception)->tp_name);
        Py_CLEAR(exception);
    }
    return exception;
}

static int
check_throw_arguments(PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 3) {
        PyErr_Format(PyExc_TypeError,
                     nargs < 1 ? "throw expected at least 1 argument, got %zd"
                               : "throw expected at most 3 arguments, got %zd",
                     nargs);
        return -1;
    }
#if HL_THREE_ARGUMENT_THROW_WARNS
    if (nargs > 1 &&
        PyErr_WarnEx(PyExc_DeprecationWarning,
                     "the (type, exc, tb) signature of throw() is deprecated, "
                     "use the single-arg signature instead.",
                     1) < 0) {
        return -1;
    }
#endif
    if (nargs == 3 && args[2] != Py_None && !PyTraceBack_Check(args[2])) {
        PyErr_SetString(PyExc_TypeError, "throw() third argument must be a traceback");
        return -1;
    }
    return 0;
}

PyObject *
hl_generator_thrown(PyObject *const *args, Py_ssize_t nargs)
{
    if (check_throw_arguments(args, nargs) < 0) {
        return NULL;
    }
    PyObject *value = nargs > 1 && args[1] != Py_None ? args[1] : NULL;
    PyObject *exception = exception_of_arguments(args[0], value);
    if (exception != NULL && nargs == 3 && args[2] != Py_None) {
        PyException_SetTraceback(exception, args[2]);
    }
    return exception;
}
