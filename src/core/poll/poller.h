/* Readiness of descriptors, and the sleep of the loop.
 *
 * The poller knows the kernel and no Python: errors are -errno.  It collects events and
 * calls nobody.  Every registration carries a generation in the event data; an event of
 * an earlier registration of the same number is dropped, so that a recycled descriptor
 * never sees its predecessor's events.  Level-triggered epoll(7).
 *
 * A descriptor is watched for reading and for writing, each either until further notice
 * (hl_poller_watch) or for one event (hl_poller_arm).  What was armed and has been reported,
 * or was disarmed, stays known to the kernel but asleep: arming it again is one cheap call,
 * and the user may close the descriptor meanwhile.
 *
 * The epoll set and the wake-up eventfd are made at first need: a loop that only runs
 * callbacks never makes a system call here. */
#ifndef HL_POLL_POLLER_H
#define HL_POLL_POLLER_H

#include "base/table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HL_POLL_READ = 1, HL_POLL_WRITE = 2 };

/* What the kernel reports: to be given to hl_poller_accept. */
typedef struct {
    int fd;
    uint32_t generation; /* of the registration that it belongs to */
    int ready; /* HL_POLL_READ | HL_POLL_WRITE; a hang-up or an error counts as both */
} hl_poll_event;

/* What the poller knows of a descriptor.  It comes first in the item that whoever watches has
 * in the poller's table; the rest is theirs.  The kinds (HL_POLL_*) in `interest` and `armed`
 * are never the same. */
typedef struct {
    uint32_t generation; /* changes with every new registration of this number */
    uint8_t interest;    /* kinds that are reported until further notice */
    uint8_t armed;       /* kinds of which one event is to be reported */
    bool is_known;       /* in the epoll set as far as we know, perhaps asleep */
} hl_poll_slot;

typedef struct {
    int epoll_fd;   /* owned; -1 until first needed */
    int wake_fd;    /* owned eventfd; -1 until first needed */
    hl_table items; /* by descriptor; each begins with a hl_poll_slot */
    size_t
        registered; /* atomic: descriptors with an interest or armed; a sleeping one is
                          none.  Read at any time by the thread that runs the loop */
} hl_poller;

/* item_size: of the items in the table. */
void hl_poller_init(hl_poller *poller, size_t item_size);

/* Close what the poller opened and forget every registration; the items are freed. */
void hl_poller_fini(hl_poller *poller);

/* In a forked child: close the inherited descriptors by number (never through epoll_ctl,
 * which would change the parent's set) and keep the interests: the next wait or watch
 * registers them in a set of this process. */
void hl_poller_forget(hl_poller *poller);

/* False if fd surely is no descriptor, which the kernel would refuse as well: it must not get an
 * item, because the table is as long as its largest number.  fd is not negative. */
bool hl_poller_may_watch(const hl_poller *poller, int fd);

/* Watch fd until further notice for exactly interest (0: stop); a kind that was armed and
 * is in interest is armed no longer.  Returns 0 or -errno; on an error of adding or
 * changing, fd is not watched any more. */
int hl_poller_watch(hl_poller *poller, int fd, int interest);

/* Report the next event of kind once; if fd is ready already, that is the next wait's.
 * Ends an interest in kind.  Returns 0 or -errno, as hl_poller_watch. */
int hl_poller_arm(hl_poller *poller, int fd, int kind);

/* Do not report what hl_poller_arm asked for.  No system call, unless fd is watched for
 * something else.  fd may be closed by now. */
void hl_poller_disarm(hl_poller *poller, int fd, int kind);

/* Make sure that there is a set.  Returns 0 or -errno. */
int hl_poller_open(hl_poller *poller);

/* Wait at most timeout_ns (0: poll, negative: for ever) and fill events.  Returns the
 * number filled, or -errno (-EINTR: a signal came).  A wake-up is consumed silently.  After
 * hl_poller_open; reads nothing that the functions above change, so other threads may call
 * those meanwhile. */
int hl_poller_wait(const hl_poller *poller, int64_t timeout_ns, hl_poll_event *events,
                   int capacity);

/* What of an event that was waited for is to be reported: kinds (HL_POLL_*), or 0.  slot: of
 * its descriptor. */
int hl_poller_accept(hl_poller *poller, hl_poll_slot *slot, const hl_poll_event *event);

/* Make sure that hl_poller_wake has something to write to.  Returns 0 or -errno. */
int hl_poller_open_wake(hl_poller *poller);

/* End the current or the next wait.  Safe from any thread and in signal handlers; does
 * nothing before hl_poller_open_wake. */
void hl_poller_wake(const hl_poller *poller);

#endif
