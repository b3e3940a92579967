/* The methods of Loop that run it. */
#ifndef HL_API_RUN_H
#define HL_API_RUN_H

#include "py/compat.h"

PyObject *hl_api_run_forever(PyObject *self, PyObject *unused);
PyObject *hl_api_run_until_complete(PyObject *self, PyObject *const *args,
                                    Py_ssize_t nargs, PyObject *kwnames);
PyObject *hl_api_run_once(PyObject *self, PyObject *unused);

#endif
