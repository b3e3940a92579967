/* The system calls of datagram sockets, many datagrams at a time: as in socket.h, EINTR is
 * retried, errors are -errno, and -EAGAIN means "not now". */
#ifndef HL_POLL_DATAGRAM_H
#define HL_POLL_DATAGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

/* Datagrams that one system call takes at most. */
enum { HL_DATAGRAM_LIMIT = 64 };

/* What a UDP datagram holds at most, and any other. */
enum { HL_DATAGRAM_ROOM_UDP = 64 * 1024, HL_DATAGRAM_ROOM = 256 * 1024 };

/* Datagrams as they were received: allocated once (some 4 MiB of address space, of which
 * only what datagrams have filled is memory) and filled again and again. */
typedef struct hl_datagram_batch hl_datagram_batch;

typedef struct {
    const char *data;
    size_t length;
    const struct sockaddr *name; /* of the sender */
    socklen_t name_length;       /* 0: it has none */
} hl_datagram_in;

typedef struct {
    const char *data;
    size_t length;
    const void *name; /* of the receiver; NULL: the socket is connected */
    socklen_t name_length;
} hl_datagram_out;

/* Returns an empty batch (free with hl_datagram_batch_free), or NULL: no memory. */
hl_datagram_batch *hl_datagram_batch_new(void);

void hl_datagram_batch_free(hl_datagram_batch *batch);

/* Receive what waits, each datagram up to room (HL_DATAGRAM_ROOM*) bytes, or only one if
 * is_single; the batch must be used up.  Returns how many they are, or -errno. */
int hl_datagram_receive(int fd, hl_datagram_batch *batch, size_t room, bool is_single);

/* The next datagram of the batch into *datagram, valid until the batch is filled again.
 * Returns false if it is used up. */
bool hl_datagram_next(hl_datagram_batch *batch, hl_datagram_in *datagram);

/* Forget what was not taken. */
void hl_datagram_batch_drop(hl_datagram_batch *batch);

/* True if hl_datagram_next would give one. */
bool hl_datagram_batch_has_more(const hl_datagram_batch *batch);

/* Send one.  Returns 0 or -errno. */
int hl_datagram_send(int fd, const hl_datagram_out *datagram);

/* True if the kernel can cut one buffer into many datagrams for the socket (UDP_SEGMENT, since
 * Linux 4.18) and the program does not do so itself. */
bool hl_datagram_can_segment(int fd);

/* Send count (1 to HL_DATAGRAM_LIMIT) datagrams.  may_segment: neighbours of one size to one
 * receiver go as one buffer that the kernel cuts, which costs a third.  Returns how many
 * went out, at least one, before the first that did not, or -errno if that is the first. */
int hl_datagram_send_many(int fd, const hl_datagram_out *datagrams, size_t count,
                          bool may_segment);

/* True if an error of hl_datagram_send_many may be due to segmenting: where the route's MTU
 * is smaller than a datagram, or its device computes no checksums. */
bool hl_datagram_is_segment_error(int error);

#endif
