/* The ceiling: a server on epoll with nothing between the system calls.
 *
 * Level-triggered, one recv and one send per event.  What send does not take is kept, and nothing
 * more is read from that connection until it is gone.  Datagrams go through recvmmsg/sendmmsg.
 * The kind `turns` makes the calls of a program that awaits sock_recv() and sock_sendall() by
 * turns: each begins with the system call, and only what is awaited is watched, once.
 */
#include "server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, BATCH = 64, DATAGRAM = 2048 };

typedef struct {
    int fd;              /* owned */
    int http_state;      /* of server_count_requests */
    char *pending;       /* owned; what is still to be sent, or NULL */
    size_t sent, length; /* of pending */
} connection;

static server_setup setup;
static int epoll_fd;
static char received[SERVER_BUFFER];
static char answers[SERVER_BUFFER];

static void
watch(connection *self, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = self};
    if (epoll_ctl(epoll_fd, operation, self->fd, &event) < 0) {
        server_fail("epoll_ctl");
    }
}

static void
accept_all(void)
{
    for (int i = 0; i < BATCH; i++) {
        int on = 1;
        int fd = accept4(setup.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        if (!setup.is_local) {
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        }
        connection *self = calloc(1, sizeof(*self));
        if (self == NULL) {
            server_fail("calloc");
        }
        self->fd = fd;
        watch(self, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void
connection_close(connection *self)
{
    close(self->fd);
    free(self->pending);
    free(self);
}

/* Send, and keep what is not taken; 0, or -1 if the connection is gone. */
static int
connection_send(connection *self, const char *bytes, size_t length)
{
    ssize_t sent = send(self->fd, bytes, length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        return -1;
    }
    size_t taken = sent < 0 ? 0 : (size_t)sent;
    if (taken == length) {
        return 0;
    }
    self->length = length - taken;
    self->sent = 0;
    self->pending = malloc(self->length);
    if (self->pending == NULL) {
        server_fail("malloc");
    }
    memcpy(self->pending, bytes + taken, self->length);
    watch(self, EPOLL_CTL_MOD, EPOLLOUT);
    return 0;
}

static void
on_writable(connection *self)
{
    ssize_t sent = send(
        self->fd, self->pending + self->sent, self->length - self->sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        connection_close(self);
        return;
    }
    self->sent += sent < 0 ? 0 : (size_t)sent;
    if (self->sent == self->length) {
        free(self->pending);
        self->pending = NULL;
        watch(self, EPOLL_CTL_MOD, EPOLLIN);
    }
}

static void
on_readable(connection *self)
{
    ssize_t length = recv(self->fd, received, sizeof(received), 0);
    if (length <= 0) {
        if (length == 0 || errno != EAGAIN) {
            connection_close(self);
        }
        return;
    }
    const char *reply = received;
    size_t reply_length = (size_t)length;
    if (setup.kind == SERVE_HTTP) {
        int requests =
            server_count_requests(received, (size_t)length, &self->http_state);
        reply = answers;
        reply_length = server_answer(answers, sizeof(answers), requests);
    }
    if (reply_length > 0 && connection_send(self, reply, reply_length) < 0) {
        connection_close(self);
    }
}

/* Answer until nothing is there, and then wait for more. */
static void
take_turns(connection *self)
{
    ssize_t length;
    while ((length = recv(self->fd, received, sizeof(received), 0)) > 0) {
        if (connection_send(self, received, (size_t)length) < 0) {
            connection_close(self);
            return;
        }
        if (self->pending != NULL) {
            return;
        }
    }
    if (length == 0 || errno != EAGAIN) {
        connection_close(self);
        return;
    }
    watch(self, EPOLL_CTL_MOD, EPOLLIN | EPOLLONESHOT);
}

static void
serve_streams(void)
{
    struct epoll_event events[EVENTS];
    struct epoll_event listening = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, setup.fd, &listening) < 0) {
        server_fail("epoll_ctl");
    }
    for (;;) {
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            connection *self = events[i].data.ptr;
            if (self == NULL) {
                accept_all();
            }
            else if (self->pending != NULL) {
                on_writable(self);
            }
            else if (setup.kind == SERVE_TURNS) {
                take_turns(self);
            }
            else {
                on_readable(self);
            }
        }
    }
}

static void
serve_datagrams(void)
{
    static char datagrams[BATCH][DATAGRAM];
    static struct sockaddr_in peers[BATCH];
    struct iovec pieces[BATCH];
    struct mmsghdr headers[BATCH];
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, setup.fd, &event) < 0) {
        server_fail("epoll_ctl");
    }
    while (epoll_wait(epoll_fd, &event, 1, -1) != 0) {
        for (int i = 0; i < BATCH; i++) {
            pieces[i] = (struct iovec){datagrams[i], DATAGRAM};
            headers[i] = (struct mmsghdr){.msg_hdr = {.msg_name = &peers[i],
                                                      .msg_namelen = sizeof(peers[i]),
                                                      .msg_iov = &pieces[i],
                                                      .msg_iovlen = 1}};
        }
        int count = recvmmsg(setup.fd, headers, BATCH, 0, NULL);
        for (int i = 0; i < count; i++) {
            pieces[i].iov_len = headers[i].msg_len;
        }
        /* What the socket does not take is lost; the client sends it again. */
        if (count > 0 && sendmmsg(setup.fd, headers, (unsigned)count, 0) < 0 &&
            errno != EAGAIN) {
            server_fail("sendmmsg");
        }
    }
}

int
main(int argc, char **argv)
{
    setup = server_set_up(argc, argv);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) {
        server_fail("epoll_create1");
    }
    server_say_ready(&setup);
    if (setup.kind == SERVE_DATAGRAM) {
        serve_datagrams();
    }
    else {
        serve_streams();
    }
}
