/* The system calls of sockets and pipes: EINTR is retried here and nowhere else, errors are
 * -errno, and -EAGAIN means "not now".  Every descriptor is non-blocking. */
#ifndef HL_POLL_SOCKET_H
#define HL_POLL_SOCKET_H

#include "base/spans.h"

#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

/* Receive at most length bytes; 0 at the end of the stream.  Returns the count or -errno. */
ssize_t hl_socket_recv(int fd, void *buffer, size_t length);

/* Send; a peer that is gone gives -EPIPE and no signal.  Returns the count or -errno. */
ssize_t hl_socket_send(int fd, const void *data, size_t length);

/* Send from the front of spans (not empty) by one system call.  Returns the count or -errno. */
ssize_t hl_socket_send_spans(int fd, const hl_spans *spans);

/* Accept one connection as non-blocking and close-on-exec.  *address_length is the room in
 * address, and what was needed afterwards.  Returns the new descriptor or -errno. */
int hl_socket_accept(int fd, struct sockaddr *address, socklen_t *address_length);

/* Begin to connect.  Returns 0 if connected, -EINPROGRESS if that goes on in the background,
 * which a signal does not end, or -errno. */
int hl_socket_connect(int fd, const struct sockaddr *address, socklen_t length);

/* Take the error that stands against the socket.  Returns 0, it as -errno, or -errno. */
int hl_socket_error(int fd);

/* Turn Nagle's algorithm off if fd is a TCP socket; nothing otherwise. */
void hl_socket_set_nodelay(int fd, int family);

/* The local name of fd, which may be -1.  Returns 0, or -1 if it has none. */
int hl_socket_name(int fd, struct sockaddr *address, socklen_t *length);

/* End the stream in our direction.  Returns 0 or -errno. */
int hl_socket_shutdown_write(int fd);

/* Close once; after an EINTR the descriptor is gone, too.  Returns 0 or -errno. */
int hl_socket_close(int fd);

#endif
