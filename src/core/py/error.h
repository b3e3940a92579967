/* The border between the poller's -errno and Python's OSError. */
#ifndef HL_PY_ERROR_H
#define HL_PY_ERROR_H

#include "py/compat.h"

/* Raise OSError (or MemoryError) for error, which is -errno.  Returns -1. */
int hl_error_set(int error);

#endif
