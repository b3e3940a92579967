/* The methods of Loop that make transports and servers, as Python's set-up code calls them. */
#ifndef HL_API_NETWORK_H
#define HL_API_NETWORK_H

#include "py/compat.h"

PyObject *hl_api_make_stream(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *hl_api_make_datagram(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *hl_api_make_read_pipe(PyObject *self, PyObject *const *args,
                                Py_ssize_t nargs);
PyObject *hl_api_make_write_pipe(PyObject *self, PyObject *const *args,
                                 Py_ssize_t nargs);
PyObject *hl_api_listen(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *hl_api_flush(PyObject *self, PyObject *unused);
PyObject *hl_api_transport_of(PyObject *self, PyObject *descriptor);
PyObject *hl_api_own_descriptor(PyObject *self, PyObject *const *args,
                                Py_ssize_t nargs);

#endif
