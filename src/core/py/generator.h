/* What an iterator in C has to do like a generator, because `await` drives it as one. */
#ifndef HL_PY_GENERATOR_H
#define HL_PY_GENERATOR_H

#include "py/compat.h"

/* End the iteration with value (stolen) from tp_iternext: raise StopIteration(value) as a
 * generator's return does.  None needs no exception at all: an iterator that returns NULL
 * without one has ended with None. */
void hl_generator_return(PyObject *value);

/* What throw(*args) is to raise, in its present or its old form of three arguments.  New, or
 * NULL with TypeError. */
PyObject *hl_generator_thrown(PyObject *const *args, Py_ssize_t nargs);

#endif
