/* The methods of Loop that schedule: call_soon and its kin, create_future, create_task. */
#ifndef HL_API_CALLS_H
#define HL_API_CALLS_H

#include "py/compat.h"

PyObject *hl_api_call_soon(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *kwnames);
PyObject *hl_api_call_soon_threadsafe(PyObject *self, PyObject *const *args,
                                      Py_ssize_t nargs, PyObject *kwnames);
PyObject *hl_api_call_later(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames);
PyObject *hl_api_call_at(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kwnames);
PyObject *hl_api_create_future(PyObject *self, PyObject *unused);
PyObject *hl_api_create_task(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames);
PyObject *hl_api_add_callback(PyObject *self, PyObject *handle);
PyObject *hl_api_add_callback_signalsafe(PyObject *self, PyObject *handle);
PyObject *hl_api_write_to_self(PyObject *self, PyObject *unused);

#endif
