/* The methods of Loop that watch descriptors: add_reader and its kin, and the private ones
 * of asyncio's that these call. */
#ifndef HL_API_WATCHING_H
#define HL_API_WATCHING_H

#include "py/compat.h"

PyObject *hl_api_add_reader(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames);
PyObject *hl_api_add_writer(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames);
PyObject *hl_api_remove_reader(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *kwnames);
PyObject *hl_api_remove_writer(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *kwnames);

/* With an underscore: no look at who owns the descriptor; adding returns the handle. */
PyObject *hl_api_own_add_reader(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames);
PyObject *hl_api_own_add_writer(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames);
PyObject *hl_api_own_remove_reader(PyObject *self, PyObject *const *args,
                                   Py_ssize_t nargs, PyObject *kwnames);
PyObject *hl_api_own_remove_writer(PyObject *self, PyObject *const *args,
                                   Py_ssize_t nargs, PyObject *kwnames);

PyObject *hl_api_ensure_fd_no_transport(PyObject *self, PyObject *const *args,
                                        Py_ssize_t nargs, PyObject *kwnames);

/* What the mapping that loop._selector shows is made of. */
PyObject *hl_api_watched_as(PyObject *self, PyObject *file);
PyObject *hl_api_watch_list(PyObject *self, PyObject *unused);

#endif
