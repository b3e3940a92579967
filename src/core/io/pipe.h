/* Transports of one end of a pipe: FIFOs, sockets, terminals and other character devices.
 *
 * A read pipe reads, a write pipe writes; the file object that the caller gave is what owns
 * the descriptor.  Writes are never held back: up to PIPE_BUF bytes stay together, and a
 * message stays a message.  O_NONBLOCK, which all who share the open file see, is set while
 * the transport lives and cleared at its end if it was not set before.
 * https://docs.python.org/3/library/asyncio-eventloop.html#working-with-pipes */
#ifndef HL_IO_PIPE_H
#define HL_IO_PIPE_H

#include "io/transport_face.h"

int hl_pipe_types_init(PyObject *module, hl_state *state);

/* A transport of pipe (a file object), with its first entries scheduled.  ValueError if it
 * is none of the kinds above: the file stays the caller's then, as on any failure before
 * the transport exists.  Returns new, or NULL. */
PyObject *hl_pipe_make_reader(hl_loop *loop, const hl_transport_arguments *arguments);
PyObject *hl_pipe_make_writer(hl_loop *loop, const hl_transport_arguments *arguments);

/* -- shared by pipe.c and pipe_write.c -------------------------------------------------- */

extern const hl_transport_kind hl_pipe_writer_kind;

/* The type of write pipes: its methods stand in pipe_write.c. */
int hl_pipe_writer_type_init(PyObject *module, hl_state *state);

/* Setter of _pipe: None makes the transport forget its file, which somebody else closes. */
int hl_pipe_set_file(PyObject *self, PyObject *value, void *closure);

/* asyncio's line of debug mode: "%r was closed by peer".  Returns 0 or -1. */
int hl_pipe_log_closed(hl_transport *pipe);

#endif
