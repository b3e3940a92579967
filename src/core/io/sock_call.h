/* A call on a socket that has to wait: what `await loop.sock_recv(...)` awaits then.
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

typedef struct hl_sock_call hl_sock_call;

/* What a kind of call does when its descriptor is ready for `direction` (HL_POLL_*). */
typedef struct {
    int direction;
    /* Try again, in the step of the task that waits.  Returns 1, with call->result if there
     * is one, 0 if the kernel says "not now", or -1 with an exception. */
    int (*attempt)(hl_sock_call *call);
    /* Go on without the task; NULL: wake it at once.  Raises nothing.  Returns 1 to wake it,
     * 0 to wait for the next event. */
    int (*progress)(hl_sock_call *call);
} hl_sock_call_kind;

struct hl_sock_call {
    PyObject_HEAD
    PyObject *sock;   /* owned; NULL once the call has ended */
    hl_loop *loop;    /* owned */
    PyObject *future; /* owned: what the task waits for; NULL while it does not wait */
    PyObject *argument; /* owned: what the kind needs for another try; or NULL */
    PyObject *result;   /* owned: what was received, until it is taken; or NULL */
    int (*attempt)(hl_sock_call *call);
    int (*progress)(hl_sock_call *call);
    Py_buffer data; /* of sending: owned as long as data.obj is set */
    Py_ssize_t sent;
    int error; /* -errno of a send that failed while the task waited, or 0 */
    int fd;    /* as it was when it was armed: only to find the place in the table */
    int kind;  /* HL_POLL_READ or HL_POLL_WRITE */
};

/* An awaitable of a call on sock, which waits for fd, its descriptor, from here on.  Borrows
 * argument (may be NULL).  New, or NULL: RuntimeError if a transport owns the descriptor. */
PyObject *hl_sock_call_start(hl_loop *loop, PyObject *sock, int fd,
                             const hl_sock_call_kind *kind, PyObject *argument);

/* The same for data (stolen, also on failure) of which `sent` bytes are gone. */
PyObject *hl_sock_call_start_sending(hl_loop *loop, PyObject *sock, int fd,
                                     const hl_sock_call_kind *kind, Py_buffer *data,
                                     Py_ssize_t sent);

#endif
