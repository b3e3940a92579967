/* The sock_* methods of the loop: the first system call of each, on plain sockets.
 *
 * Reference: https://docs.python.org/3/library/asyncio-eventloop.html#working-with-socket-objects-directly */
#ifndef HL_IO_SOCK_METHODS_H
#define HL_IO_SOCK_METHODS_H

#include "sched/loop.h"

/* Send what is held back, as every call on a socket does first.  New: True if asyncio's own
 * method is not needed, because sock is plain (io/plain_socket.h), or False; or NULL. */
PyObject *hl_sock_begin(hl_loop *loop, PyObject *sock);

/* Each makes its system call.  New: the result (of sending and connecting: True), or what
 * is to be awaited (io/sock_call.h) and then has it in take(); None where the call is
 * asyncio's business.  NULL with an exception. */
PyObject *hl_sock_recv(hl_loop *loop, PyObject *sock, PyObject *limit);
PyObject *hl_sock_recv_into(hl_loop *loop, PyObject *sock, PyObject *buffer);
PyObject *hl_sock_sendall(hl_loop *loop, PyObject *sock, PyObject *data);
PyObject *hl_sock_connect(hl_loop *loop, PyObject *sock, PyObject *address);

/* What is to be awaited until sock is ready for kind (HL_POLL_READ or HL_POLL_WRITE).  New,
 * or NULL: RuntimeError if a transport owns the descriptor, OSError. */
PyObject *hl_sock_ready(hl_loop *loop, PyObject *sock, int kind);

#endif
