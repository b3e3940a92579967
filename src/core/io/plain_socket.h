/* What a plain socket is: one whose system calls may be made past its methods.
 *
 * The object is exactly of socket.socket, no method of that class that matters was
 * replaced, the timeout is zero, and it is open.  Everything else (subclasses, TLS sockets,
 * doubles in tests, blocking sockets) is left to asyncio's own methods, which know what to
 * do and what to say. */
#ifndef HL_IO_PLAIN_SOCKET_H
#define HL_IO_PLAIN_SOCKET_H

#include "py/state.h"

/* Fetch what the check needs.  Returns 0 or -1. */
int hl_plain_socket_init(hl_state *state);

/* The descriptor of sock if it is a plain socket, else -1, without an exception. */
int hl_plain_socket_fd(hl_state *state, PyObject *sock);

/* The descriptor that a socket which was found plain has now; -1 if it was closed. */
int hl_plain_socket_fd_again(const hl_state *state, PyObject *sock);

/* AF_INET or AF_INET6 if a plain socket is of that family and speaks TCP or UDP, else
 * AF_UNSPEC. */
int hl_plain_socket_family(const hl_state *state, PyObject *sock);

#endif
