/* The epoll(7) backend of poller.h.  eventfd(2) wakes; epoll_pwait2(2) (Linux 5.11) gives
 * nanosecond timeouts, with epoll_wait's milliseconds, rounded up, on older kernels. */
#include "poll/poller.h"

#include "base/memory.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441 /* the same number on every architecture */
#endif

/* Event data of the eventfd.  A descriptor's data never has all bits set, because its
 * lower half is a non-negative int. */
static const uint64_t WAKE_DATA = UINT64_MAX;

enum { MAX_EVENTS = 256 };

void
hl_poller_init(hl_poller *poller, size_t item_size)
{
    *poller = (hl_poller){.epoll_fd = -1, .wake_fd = -1};
    hl_table_init(&poller->items, item_size);
}

static void
poller_close_descriptors(hl_poller *poller)
{
    if (poller->epoll_fd >= 0) {
        close(poller->epoll_fd);
        poller->epoll_fd = -1;
    }
    if (poller->wake_fd >= 0) {
        close(poller->wake_fd);
        poller->wake_fd = -1;
    }
}

void
hl_poller_fini(hl_poller *poller)
{
    poller_close_descriptors(poller);
    hl_table_fini(&poller->items);
    poller->registered = 0;
}

void
hl_poller_forget(hl_poller *poller)
{
    poller_close_descriptors(poller);
    hl_poll_slot *slot;
    for (int fd = -1; (slot = hl_table_next(&poller->items, &fd)) != NULL;) {
        slot->is_known = false;
    }
}

/* The slot of a descriptor that has one. */
static inline hl_poll_slot *
poller_slot(const hl_poller *poller, int fd)
{
    hl_poll_slot *slot = hl_table_at(&poller->items, fd);
    assert(slot != NULL);
    return slot;
}

static inline uint64_t
event_data(const hl_poll_slot *slot, int fd)
{
    return (uint64_t)slot->generation << 32 | (uint32_t)fd;
}

static int
poller_control(hl_poller *poller, int operation, int fd, int interest, int armed)
{
    struct epoll_event event = {.data.u64 = event_data(poller_slot(poller, fd), fd)};
    if ((interest | armed) & HL_POLL_READ) {
        event.events |= EPOLLIN;
    }
    if ((interest | armed) & HL_POLL_WRITE) {
        event.events |= EPOLLOUT;
    }
    if (interest == 0) {
        event.events |= EPOLLONESHOT;
    }
    return epoll_ctl(poller->epoll_fd, operation, fd, &event) < 0 ? -errno : 0;
}

static int
poller_add(hl_poller *poller, int fd, int interest, int armed)
{
    poller_slot(poller, fd)->generation++;
    int error = poller_control(poller, EPOLL_CTL_ADD, fd, interest, armed);
    if (error == -EEXIST) {
        /* Another owner of the number left a registration that a duplicate kept alive. */
        error = poller_control(poller, EPOLL_CTL_MOD, fd, interest, armed);
    }
    return error;
}

static int
poller_change(hl_poller *poller, int fd, int interest, int armed)
{
    int error = poller_control(poller, EPOLL_CTL_MOD, fd, interest, armed);
    /* ENOENT: the number was closed and opened anew since; watch the new file. */
    return error == -ENOENT ? poller_add(poller, fd, interest, armed) : error;
}

static inline bool
slot_is_watched(const hl_poll_slot *slot)
{
    return (slot->interest | slot->armed) != 0;
}

static void
poller_note(hl_poller *poller, hl_poll_slot *slot, int interest, int armed)
{
    assert((interest & armed) == 0);
    size_t registered = poller->registered - slot_is_watched(slot);
    slot->interest = (uint8_t)interest;
    slot->armed = (uint8_t)armed;
    __atomic_store_n(
        &poller->registered, registered + slot_is_watched(slot), __ATOMIC_RELAXED);
}

static void
poller_remove(hl_poller *poller, int fd)
{
    hl_poll_slot *slot = poller_slot(poller, fd);
    if (slot->is_known) {
        /* The descriptor may be closed already, which removed it: an error says no more. */
        (void)poller_control(poller, EPOLL_CTL_DEL, fd, 0, 0);
        slot->is_known = false;
    }
    poller_note(poller, slot, 0, 0);
}

/* Tell the kernel what fd is to be watched for, which is something, and note it. */
static int
poller_apply(hl_poller *poller, int fd, int interest, int armed)
{
    hl_poll_slot *slot = poller_slot(poller, fd);
    int error = slot->is_known ? poller_change(poller, fd, interest, armed)
                               : poller_add(poller, fd, interest, armed);
    if (error < 0) {
        poller_remove(poller, fd);
        return error;
    }
    slot->is_known = true;
    poller_note(poller, slot, interest, armed);
    return 0;
}

/* After a fork: register in the set of this process what was registered in the parent's. */
static void
poller_restore(hl_poller *poller)
{
    const hl_poll_slot *slot;
    for (int fd = -1; (slot = hl_table_next(&poller->items, &fd)) != NULL;) {
        if (slot_is_watched(slot)) {
            /* Fails if it is closed in the child: nothing to wait for there. */
            (void)poller_apply(poller, fd, slot->interest, slot->armed);
        }
    }
}

int
hl_poller_open(hl_poller *poller)
{
    if (poller->epoll_fd >= 0) {
        return 0;
    }
    poller->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (poller->epoll_fd < 0) {
        return -errno;
    }
    if (poller->registered > 0) {
        poller_restore(poller);
    }
    return 0;
}

bool
hl_poller_may_watch(const hl_poller *poller, int fd)
{
    return hl_table_at(&poller->items, fd) != NULL || fcntl(fd, F_GETFD) >= 0;
}

/* Make sure that fd has a slot and that there is a set. */
static int
poller_prepare(hl_poller *poller, int fd)
{
    int error = hl_poller_open(poller);
    return error == 0 && hl_table_need(&poller->items, fd) == NULL ? HL_NO_MEMORY
                                                                   : error;
}

int
hl_poller_watch(hl_poller *poller, int fd, int interest)
{
    assert(fd >= 0);
    const hl_poll_slot *slot = hl_table_at(&poller->items, fd);
    int armed = slot != NULL ? slot->armed & ~interest : 0;
    if ((interest | armed) == 0) {
        if (slot != NULL && slot->interest != 0) {
            poller_remove(poller, fd);
        }
        return 0;
    }
    int error = poller_prepare(poller, fd);
    if (error < 0) {
        return error;
    }
    return poller_apply(poller, fd, interest, armed);
}

int
hl_poller_arm(hl_poller *poller, int fd, int kind)
{
    assert(fd >= 0);
    int error = poller_prepare(poller, fd);
    if (error < 0) {
        return error;
    }
    const hl_poll_slot *slot = poller_slot(poller, fd);
    return poller_apply(poller, fd, slot->interest & ~kind, slot->armed | kind);
}

void
hl_poller_disarm(hl_poller *poller, int fd, int kind)
{
    hl_poll_slot *slot = hl_table_at(&poller->items, fd);
    if (slot == NULL || (slot->armed & kind) == 0) {
        return;
    }
    int armed = slot->armed & ~kind;
    if ((slot->interest | armed) == 0 || !slot->is_known) {
        /* The kernel reports it once more at most, and hl_poller_accept drops that. */
        poller_note(poller, slot, 0, 0);
        return;
    }
    /* Fails if fd was closed: then nothing of it is reported either. */
    (void)poller_apply(poller, fd, slot->interest, armed);
}

int
hl_poller_open_wake(hl_poller *poller)
{
    if (poller->wake_fd >= 0) {
        return 0;
    }
    int error = hl_poller_open(poller);
    if (error < 0) {
        return error;
    }
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        return -errno;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = WAKE_DATA};
    if (epoll_ctl(poller->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        error = -errno;
        close(fd);
        return error;
    }
    poller->wake_fd = fd;
    return 0;
}

void
hl_poller_wake(const hl_poller *poller)
{
    if (poller->wake_fd < 0) {
        return;
    }
    int saved_errno = errno;
    uint64_t one = 1;
    /* EAGAIN means that the counter is full: the wake-up is there already. */
    ssize_t written = write(poller->wake_fd, &one, sizeof(one));
    (void)written;
    errno = saved_errno;
}

static int
wait_milliseconds(int epoll_fd, struct epoll_event *raw, int capacity,
                  int64_t timeout_ns)
{
    int64_t milliseconds = timeout_ns < 0 ? -1 : (timeout_ns + 999999) / 1000000;
    return epoll_wait(epoll_fd, raw, capacity, (int)milliseconds);
}

/* The system call alone.  A poll and an endless wait need no clock and use epoll_wait. */
static int
poller_sleep(const hl_poller *poller, struct epoll_event *raw, int capacity,
             int64_t timeout_ns)
{
    if (timeout_ns <= 0) {
        return epoll_wait(poller->epoll_fd, raw, capacity, timeout_ns < 0 ? -1 : 0);
    }
    struct timespec timeout = {.tv_sec = timeout_ns / 1000000000,
                               .tv_nsec = timeout_ns % 1000000000};
    int count = (int)syscall(
        SYS_epoll_pwait2, poller->epoll_fd, raw, capacity, &timeout, NULL, (size_t)0);
    if (count < 0 && (errno == ENOSYS || errno == EPERM)) {
        /* Before Linux 5.11, or a seccomp profile that does not know the call. */
        count = wait_milliseconds(poller->epoll_fd, raw, capacity, timeout_ns);
    }
    return count;
}

static void
poller_consume_wake(const hl_poller *poller)
{
    uint64_t count;
    ssize_t got = read(poller->wake_fd, &count, sizeof(count));
    (void)got; /* EAGAIN: another reader is not possible, an empty counter harmless */
}

/* What the kernel reports of one descriptor, in our terms: what is neither input nor output
 * is both. */
static inline hl_poll_event
event_of(const struct epoll_event *raw)
{
    return (hl_poll_event){
        .fd = (int)(uint32_t)raw->data.u64,
        .generation = (uint32_t)(raw->data.u64 >> 32),
        .ready = ((raw->events & ~(uint32_t)EPOLLOUT) != 0 ? HL_POLL_READ : 0) |
                 ((raw->events & ~(uint32_t)EPOLLIN) != 0 ? HL_POLL_WRITE : 0)};
}

int
hl_poller_wait(const hl_poller *poller, int64_t timeout_ns, hl_poll_event *events,
               int capacity)
{
    struct epoll_event raw[MAX_EVENTS];
    int count = poller_sleep(
        poller, raw, capacity < MAX_EVENTS ? capacity : MAX_EVENTS, timeout_ns);
    if (count < 0) {
        return -errno;
    }
    int filled = 0;
    for (int i = 0; i < count; i++) {
        if (raw[i].data.u64 == WAKE_DATA) {
            poller_consume_wake(poller);
        }
        else {
            events[filled++] = event_of(&raw[i]);
        }
    }
    return filled;
}

/* What was armed and is ready falls asleep. */
static void
poller_disarm(hl_poller *poller, hl_poll_slot *slot, int fd, int ready)
{
    int interest = slot->interest;
    int armed = slot->armed & ~ready;
    poller_note(poller, slot, interest, armed);
    if (slot_is_watched(slot)) {
        /* The kernel has put the whole descriptor to sleep, or, where there is an interest,
         * nothing of it.  Fails if fd was closed. */
        (void)poller_apply(poller, fd, interest, armed);
    }
}

int
hl_poller_accept(hl_poller *poller, hl_poll_slot *slot, const hl_poll_event *event)
{
    if (slot->generation != event->generation) {
        return 0; /* of an earlier registration */
    }
    int ready = event->ready & (slot->interest | slot->armed);
    if (ready & slot->armed) {
        poller_disarm(poller, slot, event->fd, ready);
    }
    return ready;
}
