/* The conversion of error.h. */
#include "py/error.h"

#include <errno.h>

int
hl_error_set(int error)
{
    if (error == HL_NO_MEMORY) {
        PyErr_NoMemory();
        return -1;
    }
    errno = -error;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

void
hl_keep_first_exception(PyObject **first, int error)
{
    if (error == 0) {
        return;
    }
    PyObject *raised = PyErr_GetRaisedException();
    if (*first == NULL) {
        *first = raised;
    }
    else {
        Py_XDECREF(raised);
    }
}

/* The exception stands in an entry of its own, as the one that a generator handles: in the
 * entry of whoever calls, a coroutine would take along what is handled around the loop. */
static PyObject *
call_while_handled(PyObject *exception, PyObject *callable, PyObject *args)
{
    PyThreadState *thread = PyThreadState_Get();
    _PyErr_StackItem entry = {
        .exc_value = Py_NewRef(exception),
        .previous_item = thread->exc_info,
    };
    thread->exc_info = &entry;
    PyObject *result = PyObject_Call(callable, args, NULL);
    thread->exc_info = entry.previous_item;
    Py_XDECREF(entry.exc_value);
    return result;
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
    PyObject *result =
        callable != NULL ? call_while_handled(exception, callable, args) : NULL;
    Py_XDECREF(callable);
    Py_XDECREF(args);
    return result;
}
