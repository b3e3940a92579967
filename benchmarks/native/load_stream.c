/* Load over streams that stay connected: each has a fixed number of messages on their way.
 *
 * Messages of a stream are numbered from 0.  [next_receive, next_send) are on their way; the one
 * at next_send may be sent in part, the one at next_receive received in part.  EPOLLOUT is armed
 * only while a message is sent in part.
 */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "channel.h"

typedef struct {
    channel *channel; /* owned */
    int number;
    bool waits_to_send; /* EPOLLOUT is armed */
    uint64_t next_send, next_receive;
    size_t sent, received; /* bytes of the messages of these numbers */
    uint64_t *sent_ns; /* owned; when the sending of each message on its way began */
} stream;

static int epoll_fd;
static bool is_ending; /* what is on its way is waited for, and nothing more is sent */

enum { TURN_MS = 100 };
static const uint64_t ending_ns = 5000 * 1000000ull;

static void
watch(stream *self, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = self};
    if (epoll_ctl(epoll_fd, operation, channel_fd(self->channel), &event) < 0) {
        load_fail("epoll_ctl failed: %s", strerror(errno));
    }
}

static void
stream_open(stream *self, int number)
{
    memset(self, 0, sizeof(*self));
    self->number = number;
    self->sent_ns = calloc((size_t)options.in_flight, sizeof(uint64_t));
    if (self->sent_ns == NULL) {
        load_fail("out of memory");
    }
    self->channel = channel_open(load_connect(SOCK_STREAM, (uint64_t)number));
    watch(self, EPOLL_CTL_ADD, EPOLLIN);
}

/* Whether there is something to send now, as far as the messages on their way say. */
static bool
stream_wants_to_send(stream *self)
{
    bool may_send = self->next_send - self->next_receive < (uint64_t)options.in_flight;
    return may_send && (!is_ending || self->sent > 0);
}

/* Send until enough messages are on their way or the socket takes no more. */
static void
stream_send(stream *self)
{
    uint64_t in_flight = (uint64_t)options.in_flight;
    bool is_full = false;
    while (!is_full && stream_wants_to_send(self)) {
        const char *message = load_message(self->number, self->next_send);
        if (self->sent == 0) {
            self->sent_ns[self->next_send % in_flight] = load_now();
        }
        self->sent += channel_send(
            self->channel, message + self->sent, options.size - self->sent);
        if (self->sent == options.size) {
            self->sent = 0;
            self->next_send++;
        }
        else {
            is_full = true;
        }
    }
    if (is_full != self->waits_to_send) {
        self->waits_to_send = is_full;
        watch(self, EPOLL_CTL_MOD, is_full ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

/* Check what arrived against the messages on their way. */
static void
stream_take(stream *self, const char *bytes, size_t length)
{
    while (length > 0) {
        size_t sent = self->next_receive == self->next_send ? self->sent : options.size;
        size_t piece = sent - self->received < length ? sent - self->received : length;
        if (piece == 0) {
            load_fail("wrong echo: connection %d gave bytes that were not sent",
                      self->number);
        }
        load_check(self->number, self->next_receive, self->received, bytes, piece);
        self->received += piece;
        if (self->received == options.size) {
            load_record(
                self->sent_ns[self->next_receive % (uint64_t)options.in_flight]);
            self->received = 0;
            self->next_receive++;
        }
        bytes += piece;
        length -= piece;
    }
}

static void
stream_receive(stream *self)
{
    do {
        ssize_t length = channel_receive(self->channel, load_received, LOAD_BUFFER);
        if (length < 0) {
            load_fail("the server closed connection %d", self->number);
        }
        stream_take(self, load_received, (size_t)length);
    } while (channel_has_more(self->channel));
}

/* Wait once and take what came. */
static void
run_turn(void)
{
    struct epoll_event events[LOAD_EVENTS];
    int count = epoll_wait(epoll_fd, events, LOAD_EVENTS, TURN_MS);
    for (int i = 0; i < count; i++) {
        stream *self = events[i].data.ptr;
        if (events[i].events & ~(uint32_t)EPOLLOUT) {
            stream_receive(self);
        }
        stream_send(self);
    }
}

/* Wait for the echoes that are on their way, within reason, so that no connection is reset. */
static void
end_streams(stream *streams)
{
    uint64_t deadline = load_now() + ending_ns;
    is_ending = true;
    for (int i = 0; i < options.connections; i++) {
        stream *self = &streams[i];
        while ((self->next_receive < self->next_send || self->sent > 0) &&
               load_now() < deadline) {
            run_turn();
        }
        channel_close(self->channel);
        free(self->sent_ns);
    }
}

void
load_run_stream(void)
{
    stream *streams = calloc((size_t)options.connections, sizeof(stream));
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (streams == NULL || epoll_fd < 0) {
        load_fail("cannot set up: %s", strerror(errno));
    }
    for (int i = 0; i < options.connections; i++) {
        stream_open(&streams[i], i);
    }
    for (int i = 0; i < options.connections; i++) {
        stream_send(&streams[i]);
    }
    while (load_goes_on()) {
        run_turn();
    }
    end_streams(streams);
    free(streams);
}
