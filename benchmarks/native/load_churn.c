/* Load by connections of one message: connect, send, receive the echo, close, from the start.
 *
 * A slot is one such connection at a time.  Plain sockets only: what is measured is accepting.
 */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

typedef struct {
    int fd; /* owned */
    int number;
    uint64_t connections; /* made by this slot, the present one included */
    size_t received;
    uint64_t started_ns;
} slot;

static int epoll_fd;

/* Connect and send; on loopback both are done at once. */
static void
slot_start(slot *self)
{
    self->started_ns = load_now();
    self->received = 0;
    self->fd = load_connect(SOCK_STREAM, self->connections++);
    const char *message = load_message(self->number, self->connections);
    if (send(self->fd, message, options.size, MSG_NOSIGNAL) != (ssize_t)options.size) {
        load_fail("send failed: %s", strerror(errno));
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = self};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, self->fd, &event) < 0) {
        load_fail("epoll_ctl failed: %s", strerror(errno));
    }
}

static void
slot_receive(slot *self)
{
    ssize_t length = recv(self->fd, load_received, LOAD_BUFFER, MSG_DONTWAIT);
    if (length <= 0) {
        load_fail("connection %d ended early: %s",
                  self->number,
                  length < 0 ? strerror(errno) : "closed by the server");
    }
    if ((size_t)length > options.size - self->received) {
        load_fail("wrong echo: connection %d gave bytes that were not sent",
                  self->number);
    }
    load_check(
        self->number, self->connections, self->received, load_received, (size_t)length);
    self->received += (size_t)length;
    if (self->received == options.size) {
        close(self->fd);
        load_record(self->started_ns);
        slot_start(self);
    }
}

void
load_run_churn(void)
{
    slot *slots = calloc((size_t)options.connections, sizeof(slot));
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (slots == NULL || epoll_fd < 0) {
        load_fail("cannot set up: %s", strerror(errno));
    }
    for (int i = 0; i < options.connections; i++) {
        slots[i].number = i;
        slot_start(&slots[i]);
    }
    struct epoll_event events[LOAD_EVENTS];
    while (load_goes_on()) {
        int count = epoll_wait(epoll_fd, events, LOAD_EVENTS, 100);
        for (int i = 0; i < count; i++) {
            slot_receive(events[i].data.ptr);
        }
    }
    for (int i = 0; i < options.connections; i++) {
        close(slots[i].fd);
    }
    free(slots);
}
