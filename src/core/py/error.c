/* The conversion of error.h. */
#include "py/error.h"

#include <errno.h>

int
hl_error_set(int error)
{
    if (error == -ENOMEM) {
        PyErr_NoMemory();
        return -1;
    }
    errno = -error;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

PyObject *
hl_call_handling(PyObject *exception, PyObject *object, const char *method,
                 const char *format, ...)
{
    va_list values;
    va_start(values, format);
    PyObject *args = Py_VaBuildValue(format, values);
    va_end(values);
    PyObject *callable = args != NULL ? PyObject_GetAttrString(object, method) : NULL;
    PyObject *result = NULL;
    if (callable != NULL) {
        PyObject *outer = PyErr_GetHandledException();
        PyErr_SetHandledException(exception);
        result = PyObject_Call(callable, args, NULL);
        PyErr_SetHandledException(outer);
        Py_XDECREF(outer);
    }
    Py_XDECREF(callable);
    Py_XDECREF(args);
    return result;
}
