/* The calls of datagram.h: recvmmsg(2) and sendmmsg(2). */
#include "poll/datagram.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

/* Room for a sender: struct sockaddr_un, the longest that is asked for, has 110 bytes. */
enum { NAME_ROOM = 112 };

/* After datagrams of more than LARGE bytes fewer are received at a time, so that they are
 * still in the cache when they are copied out. */
enum { LARGE = 8 * 1024, LIMIT_OF_LARGE = 8 };

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103 /* the same number on every architecture */
#endif

/* From this many equal neighbours on they go as one buffer, which is no longer than one
 * datagram could be. */
enum { GROUP_MINIMUM = 3, GROUP_SIZE = 65000 };

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

/* Fill the first slot.  Returns 1 or -errno. */
static int
batch_receive_one(int fd, hl_datagram_batch *batch)
{
    struct mmsghdr *header = &batch->headers[0];
    ssize_t length;
    do {
        length = recvfrom(fd,
                          batch->vectors[0].iov_base,
                          batch->room,
                          MSG_DONTWAIT,
                          header->msg_hdr.msg_name,
                          &header->msg_hdr.msg_namelen);
    } while (length < 0 && errno == EINTR);
    header->msg_len = length > 0 ? (unsigned)length : 0;
    return length < 0 ? -errno : 1;
}

/* Fill what the limit allows.  Returns how many, or -errno. */
static int
batch_receive_many(int fd, hl_datagram_batch *batch)
{
    int count;
    do {
        count = recvmmsg(fd, batch->headers, batch->limit, MSG_DONTWAIT, NULL);
    } while (count < 0 && errno == EINTR);
    if (count <= 0) {
        return count < 0 ? -errno : -EAGAIN;
    }
    unsigned slots = batch->slots;
    bool is_large = batch->headers[count - 1].msg_len > LARGE;
    batch->limit = is_large && slots > LIMIT_OF_LARGE ? LIMIT_OF_LARGE : slots;
    return count;
}

int
hl_datagram_receive(int fd, hl_datagram_batch *batch, size_t room, bool is_single)
{
    assert(batch->room == 0 || !hl_datagram_batch_has_more(batch));
    if (batch->room != room) {
        batch_set_up(batch, room);
    }
    for (unsigned i = 0; i < batch->count; i++) {
        batch->headers[i].msg_hdr.msg_namelen = NAME_ROOM;
    }
    int count =
        is_single ? batch_receive_one(fd, batch) : batch_receive_many(fd, batch);
    batch->next = 0;
    batch->count = count > 0 ? (unsigned)count : 0;
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

bool
hl_datagram_can_segment(int fd)
{
    int size;
    socklen_t length = sizeof(size);
    /* Kernels and protocols that do not know it would send the buffer in one piece. */
    return getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, &length) == 0 && size == 0;
}

bool
hl_datagram_is_segment_error(int error)
{
    return error == -EINVAL || error == -EIO || error == -EMSGSIZE;
}

static bool
has_same_receiver(const hl_datagram_out *first, const hl_datagram_out *second)
{
    return first->name_length == second->name_length &&
           (first->name_length == 0 ||
            memcmp(first->name, second->name, first->name_length) == 0);
}

/* How many datagrams from the first on may go as one buffer: all have its size, but for the
 * last, which may be smaller. */
static size_t
group_length(const hl_datagram_out *datagrams, size_t count)
{
    size_t size = datagrams[0].length, total = size, length = 1;
    while (length < count && datagrams[length - 1].length == size &&
           datagrams[length].length <= size && total + size <= GROUP_SIZE &&
           has_same_receiver(&datagrams[0], &datagrams[length])) {
        total += datagrams[length].length;
        length++;
    }
    return length >= GROUP_MINIMUM ? length : 1;
}

/* A control message that asks for datagrams of a size. */
typedef struct {
    _Alignas(struct cmsghdr) char bytes[CMSG_SPACE(sizeof(uint16_t))];
} segment_control;

static void
header_segment(struct msghdr *header, segment_control *control, size_t size)
{
    uint16_t segment_size = (uint16_t)size;
    header->msg_control = control->bytes;
    header->msg_controllen = sizeof(control->bytes);
    struct cmsghdr *message = CMSG_FIRSTHDR(header);
    message->cmsg_level = IPPROTO_UDP;
    message->cmsg_type = UDP_SEGMENT;
    message->cmsg_len = CMSG_LEN(sizeof(segment_size));
    memcpy(CMSG_DATA(message), &segment_size, sizeof(segment_size));
}

int
hl_datagram_send_many(int fd, const hl_datagram_out *datagrams, size_t count,
                      bool may_segment)
{
    struct mmsghdr headers[HL_DATAGRAM_LIMIT];
    struct iovec vectors[HL_DATAGRAM_LIMIT];
    segment_control controls[HL_DATAGRAM_LIMIT];
    unsigned groups = 0;
    assert(count > 0 && count <= HL_DATAGRAM_LIMIT);
    if (count == 1) {
        int error = hl_datagram_send(fd, datagrams);
        return error < 0 ? error : 1;
    }
    for (size_t i = 0; i < count; i++) {
        vectors[i] =
            (struct iovec){(void *)(uintptr_t)datagrams[i].data, datagrams[i].length};
    }
    for (size_t i = 0; i < count; groups++) {
        struct msghdr *header = &headers[groups].msg_hdr;
        size_t length = may_segment ? group_length(&datagrams[i], count - i) : 1;
        *header = (struct msghdr){
            .msg_name = (void *)(uintptr_t)datagrams[i].name,
            .msg_namelen = datagrams[i].name_length,
            .msg_iov = &vectors[i],
            .msg_iovlen = length,
        };
        if (length > 1) {
            header_segment(header, &controls[groups], datagrams[i].length);
        }
        i += length;
    }
    int sent_groups;
    do {
        sent_groups = sendmmsg(fd, headers, groups, MSG_NOSIGNAL);
    } while (sent_groups < 0 && errno == EINTR);
    int sent = 0;
    for (int i = 0; i < sent_groups; i++) {
        sent += (int)headers[i].msg_hdr.msg_iovlen;
    }
    return sent_groups < 0 ? -errno : sent;
}
