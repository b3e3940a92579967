/* One call of sock_recv, sock_recv_into or sock_sendall that has to wait, and the wait for
 * readiness that the other sock_* methods are made of.
 *
 * The system call comes first; only if the kernel says "not now" is there an object, the
 * awaitable of this file.  It arms the descriptor for one event, and a future of the loop
 * stands for the wait, so that any task can await it.  Promises:
 *  - Data is received in the step of the task that gets it, never before: what cancels the
 *    task meanwhile loses no byte.  Sending goes on without the task.
 *  - Ending in any way (result, error, cancellation, close, collection) leaves nothing armed.
 *  - Each system call asks the socket object for its descriptor: after a close the number
 *    may be another file's.
 *  - A second call of the same direction on a descriptor takes the place of the first, which
 *    then waits for ever, as on asyncio.
 * Reference: https://docs.python.org/3/library/asyncio-eventloop.html#working-with-socket-objects-directly */
#ifndef HL_IO_SOCK_CALL_H
#define HL_IO_SOCK_CALL_H

#include "sched/loop.h"

int hl_sock_call_type_init(PyObject *module, hl_state *state);

/* Drop what was kept for reuse. */
void hl_sock_call_drain(hl_state *state);

/* Send what is held back, as every call on a socket does first.  New: True if asyncio's own
 * method is not needed, because sock is plain (io/plain_socket.h), or False; or NULL. */
PyObject *hl_sock_begin(hl_loop *loop, PyObject *sock);

/* The methods' first system call.  New: the result (of sending: True), or what is to be
 * awaited and then has it in take(); None where the call is asyncio's business.  NULL with
 * an exception. */
PyObject *hl_sock_recv(hl_loop *loop, PyObject *sock, PyObject *limit);
PyObject *hl_sock_recv_into(hl_loop *loop, PyObject *sock, PyObject *buffer);
PyObject *hl_sock_sendall(hl_loop *loop, PyObject *sock, PyObject *data);

/* What is to be awaited until sock is ready for kind (HL_POLL_READ or HL_POLL_WRITE).  New,
 * or NULL: RuntimeError if a transport owns the descriptor, OSError. */
PyObject *hl_sock_ready(hl_loop *loop, PyObject *sock, int kind);

#endif
