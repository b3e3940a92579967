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
