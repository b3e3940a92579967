/* A connected stream as the load client sees it: plain bytes or TLS.
 *
 * channel_plain.c and channel_tls.c both define these; the program is linked with one of them.
 */
#ifndef CHANNEL_H
#define CHANNEL_H

#include <sys/types.h>

typedef struct channel channel;

/* Make a channel over a connected blocking socket, which it owns from here on, and shake hands.
 * The socket is non-blocking afterwards. */
channel *channel_open(int fd);

/* The number of bytes sent, 0 if none can be sent now. */
size_t channel_send(channel *self, const char *bytes, size_t length);

/* The number of bytes received; 0 if there are none now, -1 at the end of the stream. */
ssize_t channel_receive(channel *self, char *bytes, size_t length);

/* Whether received bytes wait inside, where epoll does not see them. */
int channel_has_more(channel *self);

int channel_fd(channel *self);

void channel_close(channel *self);

#endif
