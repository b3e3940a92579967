/* The border between the poller's -errno and Python's OSError. */
#ifndef HL_PY_ERROR_H
#define HL_PY_ERROR_H

#include "base/memory.h"
#include "py/compat.h"

/* Raise OSError for error, which is -errno, or MemoryError for HL_NO_MEMORY.  Returns -1. */
int hl_error_set(int error);

/* Of steps that all have to be made: if one failed, keep its exception in *first (owned, or NULL)
 * unless there is one already. */
void hl_keep_first_exception(PyObject **first, int error);

/* object.method(...) as in an `except` clause: while it runs, exception is the one that is
 * being handled, which sys.exc_info() shows and what is raised meanwhile has as its context.
 * format: that of Py_BuildValue for a tuple of the arguments.  New, or NULL. */
PyObject *hl_call_handling(PyObject *exception, PyObject *object, const char *method,
                           const char *format, ...);

#endif
