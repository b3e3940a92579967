/* The calls of datagram.h: recvmmsg(2) and sendmmsg(2). */
#include "poll/datagram.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

/* Room for a sender: struct sockaddr_un, the longest that is asked for, has 110 bytes. */
enum { NAME_ROOM = 112 };

/* After datagrams of more than LARGE bytes fewer are received at a time, so that they are
 * still in the cache when they are copied out. */
enum { LARGE = 8 * 1024, LIMIT_OF_LARGE = 8 };

/* Slots do not start at the same place of a page: the cache would have room for few. */
enum {
    STAGGER = 5 * 64,
    DATA_SIZE = HL_DATAGRAM_LIMIT * (HL_DATAGRAM_ROOM_UDP + STAGGER)
};

struct hl_datagram_batch {
    struct mmsghdr headers[HL_DATAGRAM_LIMIT];
    struct iovec vectors[HL_DATAGRAM_LIMIT];
    _Alignas(8) char names[HL_DATAGRAM_LIMIT][NAME_ROOM];
    size_t room;    /* what the slots are set up for; 0: not yet */
    unsigned slots; /* how many are set up */
    unsigned limit; /* how many the next call may fill */
    unsigned count; /* received */
    unsigned next;  /* index of the first that was not taken */
    char data[DATA_SIZE];
};

hl_datagram_batch *
hl_datagram_batch_new(void)
{
    hl_datagram_batch *batch = malloc(sizeof(*batch));
    if (batch != NULL) {
        batch->room = 0;
        batch->count = batch->next = 0;
    }
    return batch;
}

void
hl_datagram_batch_free(hl_datagram_batch *batch)
{
    free(batch);
}

/* Divide the memory into slots of room bytes. */
static void
batch_set_up(hl_datagram_batch *batch, size_t room)
{
    size_t slots = DATA_SIZE / (room + STAGGER);
    memset(batch->headers, 0, sizeof(batch->headers));
    for (size_t i = 0; i < slots; i++) {
        batch->vectors[i] = (struct iovec){batch->data + i * (room + STAGGER), room};
        struct msghdr *header = &batch->headers[i].msg_hdr;
        header->msg_iov = &batch->vectors[i];
        header->msg_iovlen = 1;
        header->msg_name = batch->names[i];
        header->msg_namelen = NAME_ROOM;
    }
    batch->room = room;
    batch->slots = batch->limit = (unsigned)slots;
    batch->count = 0;
}

int
hl_datagram_receive(int fd, hl_datagram_batch *batch, size_t room)
{
    assert(batch->room == 0 || !hl_datagram_batch_has_more(batch));
    if (batch->room != room) {
        batch_set_up(batch, room);
    }
    for (unsigned i = 0; i < batch->count; i++) {
        batch->headers[i].msg_hdr.msg_namelen = NAME_ROOM;
    }
    int count;
    do {
        count = recvmmsg(fd, batch->headers, batch->limit, MSG_DONTWAIT, NULL);
    } while (count < 0 && errno == EINTR);
    batch->next = 0;
    batch->count = count > 0 ? (unsigned)count : 0;
    if (count <= 0) {
        return count < 0 ? -errno : -EAGAIN;
    }
    unsigned slots = batch->slots;
    bool is_large = batch->headers[count - 1].msg_len > LARGE;
    batch->limit = is_large && slots > LIMIT_OF_LARGE ? LIMIT_OF_LARGE : slots;
    return count;
}

bool
hl_datagram_batch_has_more(const hl_datagram_batch *batch)
{
    return batch->next < batch->count;
}

bool
hl_datagram_next(hl_datagram_batch *batch, hl_datagram_in *datagram)
{
    if (batch->next >= batch->count) {
        return false;
    }
    const struct mmsghdr *header = &batch->headers[batch->next++];
    datagram->data = header->msg_hdr.msg_iov->iov_base;
    datagram->length = header->msg_len;
    datagram->name = header->msg_hdr.msg_name;
    datagram->name_length = header->msg_hdr.msg_namelen;
    return true;
}

void
hl_datagram_batch_drop(hl_datagram_batch *batch)
{
    batch->next = batch->count;
}

int
hl_datagram_send(int fd, const hl_datagram_out *datagram)
{
    ssize_t sent;
    do {
        sent = sendto(fd,
                      datagram->data,
                      datagram->length,
                      MSG_NOSIGNAL,
                      datagram->name,
                      datagram->name_length);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

int
hl_datagram_send_many(int fd, const hl_datagram_out *datagrams, size_t count)
{
    struct mmsghdr headers[HL_DATAGRAM_LIMIT];
    struct iovec vectors[HL_DATAGRAM_LIMIT];
    assert(count > 0 && count <= HL_DATAGRAM_LIMIT);
    if (count == 1) {
        int error = hl_datagram_send(fd, datagrams);
        return error < 0 ? error : 1;
    }
    for (size_t i = 0; i < count; i++) {
        vectors[i] =
            (struct iovec){(void *)(uintptr_t)datagrams[i].data, datagrams[i].length};
        headers[i] =
            (struct mmsghdr){.msg_hdr = {
                                 .msg_name = (void *)(uintptr_t)datagrams[i].name,
                                 .msg_namelen = datagrams[i].name_length,
                                 .msg_iov = &vectors[i],
                                 .msg_iovlen = 1,
                             }};
    }
    int sent;
    do {
        sent = sendmmsg(fd, headers, (unsigned)count, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}
