/* Streams of plain bytes. */
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

struct channel {
    int fd; /* owned */
};

channel *
channel_open(int fd)
{
    channel *self = malloc(sizeof(*self));
    if (self == NULL || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        load_fail("cannot set up a connection: %s", strerror(errno));
    }
    self->fd = fd;
    return self;
}

size_t
channel_send(channel *self, const char *bytes, size_t length)
{
    ssize_t sent = send(self->fd, bytes, length, MSG_NOSIGNAL);
    if (sent >= 0) {
        return (size_t)sent;
    }
    if (errno != EAGAIN && errno != EINTR) {
        load_fail("send failed: %s", strerror(errno));
    }
    return 0;
}

ssize_t
channel_receive(channel *self, char *bytes, size_t length)
{
    ssize_t received = recv(self->fd, bytes, length, 0);
    if (received > 0) {
        return received;
    }
    if (received == 0) {
        return -1;
    }
    if (errno != EAGAIN && errno != EINTR) {
        load_fail("recv failed: %s", strerror(errno));
    }
    return 0;
}

int
channel_has_more(channel *self)
{
    (void)self;
    return 0;
}

int
channel_fd(channel *self)
{
    return self->fd;
}

void
channel_close(channel *self)
{
    close(self->fd);
    free(self);
}
