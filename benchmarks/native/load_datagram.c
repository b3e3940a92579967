/* Load by datagrams: each peer (a connected socket) has a fixed number of them on their way.
 *
 * A datagram begins with its number.  Each place of a peer holds one datagram: that of number n
 * is in place n modulo the number of places, and its echo makes room for n plus that number.
 * What does not come back within a while is counted as lost and sent again.
 */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { LARGEST = 65507, RECEIVES_PER_EVENT = 64 };
static const uint64_t patience_ns = 200 * 1000000ull;

typedef struct {
    uint64_t number;
    uint64_t sent_ns;
} place;

typedef struct {
    int fd; /* owned */
    int number;
    bool has_lost; /* so an echo may come after all, and twice */
    place *places; /* owned; options.in_flight of them */
} peer;

static void
peer_send(peer *self, place *here)
{
    char datagram[LARGEST];
    memcpy(datagram, load_message(self->number, here->number), options.size);
    memcpy(datagram, &here->number, sizeof(here->number));
    here->sent_ns = load_now();
    /* What a full buffer refuses is lost like what the network drops. */
    if (send(self->fd, datagram, options.size, 0) < 0 && errno != EAGAIN) {
        load_fail("send failed: %s", strerror(errno));
    }
}

static void
peer_take(peer *self, size_t length)
{
    uint64_t number;
    if (length != options.size) {
        load_fail("wrong echo: %zu bytes instead of %zu", length, options.size);
    }
    memcpy(&number, load_received, sizeof(number));
    place *here = &self->places[number % (uint64_t)options.in_flight];
    if (here->number != number) {
        if (!self->has_lost) {
            load_fail("wrong echo: peer %d got a datagram that it did not wait for",
                      self->number);
        }
        return;
    }
    load_check(self->number,
               number,
               sizeof(number),
               load_received + sizeof(number),
               options.size - sizeof(number));
    load_record(here->sent_ns);
    here->number += (uint64_t)options.in_flight;
    peer_send(self, here);
}

static void
peer_receive(peer *self)
{
    for (int i = 0; i < RECEIVES_PER_EVENT; i++) {
        ssize_t length = recv(self->fd, load_received, LOAD_BUFFER, MSG_DONTWAIT);
        if (length < 0 && errno == EAGAIN) {
            return;
        }
        if (length < 0) {
            load_fail("recv failed: %s", strerror(errno));
        }
        peer_take(self, (size_t)length);
    }
}

static void
peer_send_lost(peer *self)
{
    for (int i = 0; i < options.in_flight; i++) {
        if (load_now() - self->places[i].sent_ns > patience_ns) {
            self->has_lost = true;
            load_count_lost();
            peer_send(self, &self->places[i]);
        }
    }
}

static void
peer_open(peer *self, int number, int epoll_fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = self};
    self->number = number;
    self->fd = load_connect(SOCK_DGRAM, (uint64_t)number);
    self->places = calloc((size_t)options.in_flight, sizeof(place));
    if (self->places == NULL ||
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, self->fd, &event) < 0) {
        load_fail("cannot set up a peer: %s", strerror(errno));
    }
    for (int i = 0; i < options.in_flight; i++) {
        self->places[i].number = (uint64_t)i;
        peer_send(self, &self->places[i]);
    }
}

void
load_run_datagram(void)
{
    peer *peers = calloc((size_t)options.connections, sizeof(peer));
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (peers == NULL || epoll_fd < 0) {
        load_fail("cannot set up: %s", strerror(errno));
    }
    if (options.size < sizeof(uint64_t) || options.size > LARGEST) {
        load_fail("a datagram has 8 to %d bytes", LARGEST);
    }
    for (int i = 0; i < options.connections; i++) {
        peer_open(&peers[i], i, epoll_fd);
    }
    struct epoll_event events[LOAD_EVENTS];
    uint64_t looked_ns = load_now();
    while (load_goes_on()) {
        int count = epoll_wait(epoll_fd, events, LOAD_EVENTS, 50);
        for (int i = 0; i < count; i++) {
            peer_receive(events[i].data.ptr);
        }
        if (load_now() - looked_ns > patience_ns / 2) {
            looked_ns = load_now();
            for (int i = 0; i < options.connections; i++) {
                peer_send_lost(&peers[i]);
            }
        }
    }
    for (int i = 0; i < options.connections; i++) {
        close(peers[i].fd);
        free(peers[i].places);
    }
    free(peers);
    close(epoll_fd);
}
