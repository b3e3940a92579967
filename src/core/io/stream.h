/* Transports of connected stream sockets: TCP, unix, and what else has SOCK_STREAM.
 *
 * stream.c reads and makes the type; stream_write.c writes.  One recv per event: small reads
 * go through the loop's buffer and are copied out, large ones straight into a bytes object. */
#ifndef HL_IO_STREAM_H
#define HL_IO_STREAM_H

#include "io/transport.h"

int hl_stream_type_init(PyObject *module, hl_state *state);

/* What asyncio's _make_socket_transport does: a transport of arguments->sock, with its first
 * entries scheduled.  Returns new, or NULL (the socket is closed then). */
PyObject *hl_stream_make(hl_loop *loop, const hl_transport_arguments *arguments);

/* A transport that owns the accepted descriptor fd and has no protocol yet. */
hl_transport *hl_stream_accepted(hl_loop *loop, int fd, int family);

/* -- writing (stream_write.c) ---------------------------------------------------------- */

PyObject *hl_stream_write(PyObject *self, PyObject *data);
PyObject *hl_stream_writelines(PyObject *self, PyObject *list);
PyObject *hl_stream_write_eof(PyObject *self, PyObject *unused);

PyObject *hl_stream_write_ready(PyObject *self, PyObject *unused);

/* Send what the loop holds back for the stream: its hl_flush. */
int hl_stream_flush(hl_loop *loop, PyObject *self);

/* hl_run of a write event. */
int hl_stream_on_writable(hl_loop *loop, PyObject *self, PyObject *unused);

#endif
