/* The calls of socket.h. */
#include "poll/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Below this many bytes one copy is cheaper than a vector: a send(2) of 16 pieces costs some
 * 460 ns more than one of a single buffer, copying 4 KiB some 100 ns. */
enum { JOIN_LIMIT = 4096, VECTOR_LIMIT = 64 };

ssize_t
hl_socket_recv(int fd, void *buffer, size_t length)
{
    ssize_t count;
    do {
        count = recv(fd, buffer, length, 0);
    } while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

ssize_t
hl_socket_send(int fd, const void *data, size_t length)
{
    ssize_t count;
    do {
        count = send(fd, data, length, MSG_NOSIGNAL);
    } while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

static ssize_t
send_vector(int fd, const hl_spans *spans)
{
    struct iovec vector[VECTOR_LIMIT];
    struct msghdr message = {.msg_iov = vector};
    message.msg_iovlen = hl_spans_describe(spans, vector, VECTOR_LIMIT);
    ssize_t count;
    do {
        count = sendmsg(fd, &message, MSG_NOSIGNAL);
    } while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

static ssize_t
send_joined(int fd, const hl_spans *spans)
{
    char joined[JOIN_LIMIT];
    hl_spans_join(spans, joined);
    return hl_socket_send(fd, joined, spans->size);
}

ssize_t
hl_socket_send_spans(int fd, const hl_spans *spans)
{
    if (spans->count == 1) {
        const hl_span *only = &spans->items[spans->head];
        return hl_socket_send(fd, only->data, only->length);
    }
    return spans->size > JOIN_LIMIT ? send_vector(fd, spans) : send_joined(fd, spans);
}

int
hl_socket_accept(int fd, struct sockaddr *address, socklen_t *address_length)
{
    int accepted;
    socklen_t room = *address_length;
    do {
        *address_length = room;
        accepted = accept4(fd, address, address_length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (accepted < 0 && errno == EINTR);
    return accepted < 0 ? -errno : accepted;
}

int
hl_socket_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    if (connect(fd, address, length) == 0) {
        return 0;
    }
    return errno == EINTR ? -EINPROGRESS : -errno;
}

int
hl_socket_error(int fd)
{
    int error = 0;
    socklen_t length = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0) {
        return -errno;
    }
    return -error;
}

void
hl_socket_set_nodelay(int fd, int family)
{
    if (family == AF_INET || family == AF_INET6) {
        int on = 1;
        /* Fails where the protocol is not TCP (SCTP, for example): nothing to turn off. */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
}

int
hl_socket_name(int fd, struct sockaddr *address, socklen_t *length)
{
    return fd < 0 || getsockname(fd, address, length) < 0 ? -1 : 0;
}

int
hl_socket_shutdown_write(int fd)
{
    return shutdown(fd, SHUT_WR) < 0 ? -errno : 0;
}

int
hl_socket_close(int fd)
{
    return close(fd) < 0 ? -errno : 0;
}
