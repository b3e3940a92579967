/* Accepting connections of a listening socket.
 *
 * A listener is what the loop watches in the place of asyncio's _accept_connection handle.
 * The order is asyncio's: accept in the turn of the event, protocol_factory() in the next
 * turn, connection_made() in the one after.  From accept(2) on, a transport owns the new
 * descriptor, so that none is lost on any path.
 * https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.create_server */
#ifndef HL_IO_LISTENER_H
#define HL_IO_LISTENER_H

#include "sched/loop.h"

int hl_listener_type_init(PyObject *module, hl_state *state);

/* What asyncio's _start_serving takes.  NULL or None: not given. */
typedef struct {
    PyObject *protocol_factory;
    PyObject *sock; /* the listening socket.socket */
    PyObject *sslcontext;
    PyObject *server;
    PyObject *backlog;
    PyObject *handshake_timeout;
    PyObject *shutdown_timeout;
    PyObject *context; /* 3.15 and later */
} hl_listener_arguments;

/* Watch the listening socket and accept.  Returns 0 or -1. */
int hl_listener_start(hl_loop *loop, const hl_listener_arguments *arguments);

#endif
