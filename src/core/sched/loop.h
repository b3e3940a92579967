/* The loop's struct, and what the layers above may do with it.
 *
 * The struct stands at the bottom, the method table that Python sees on top (api/), so that
 * no layer includes upwards.  One loop belongs to one thread while it runs: `owner`.  With
 * a GIL other threads push on the ready queue themselves (the GIL is the lock); without one
 * their entries go to the inbox, which the turn drains first. */
#ifndef HL_SCHED_LOOP_H
#define HL_SCHED_LOOP_H

#include "base/heap.h"
#include "base/spans.h"
#include "poll/poller.h"
#include "py/spare_bytes.h"
#include "py/state.h"
#include "sched/ready.h"

/* Methods that C calls directly unless a subclass or an instance attribute replaces them. */
enum {
    HL_OVERRIDE_CALL_SOON = 1 << 0,
    HL_OVERRIDE_TIME = 1 << 1,
    HL_OVERRIDE_CALL_AT = 1 << 2,
    HL_OVERRIDE_GET_DEBUG = 1 << 3,
    HL_OVERRIDE_IS_RUNNING = 1 << 4,
    HL_OVERRIDE_WRITE_TO_SELF = 1 << 5,
    HL_OVERRIDE_RUN_ONCE = 1 << 6,
    HL_OVERRIDE_ENSURE_NO_TRANSPORT = 1 << 7,
    HL_OVERRIDE_ADD_READER = 1 << 8, /* the methods with an underscore */
    HL_OVERRIDE_REMOVE_READER = 1 << 9,
    HL_OVERRIDE_ADD_WRITER = 1 << 10,
    HL_OVERRIDE_REMOVE_WRITER = 1 << 11,
    /* Methods of hotloop.Loop in Python: only an attribute of the instance is noticed. */
    HL_OVERRIDE_RUN_IN_EXECUTOR = 1 << 12,
    HL_OVERRIDE_IN_CORE = 12, /* the others, whose bits come first */
    HL_OVERRIDE_COUNT = 13
};

/* Python attributes of asyncio's loop and of ours that live in the struct and not in a dict,
 * so that a fresh loop costs nothing and method calls find no instance dict to look into:
 * up to 3.13 the interpreter looks up a method anew in each call on an object that has one. */
typedef enum {
    HL_ATTR_DEFAULT_EXECUTOR,
    HL_ATTR_EXCEPTION_HANDLER,
    HL_ATTR_TASK_FACTORY,
    HL_ATTR_ASYNCGENS,
    HL_ATTR_ASYNCGENS_SHUTDOWN_CALLED,
    HL_ATTR_EXECUTOR_SHUTDOWN_CALLED,
    HL_ATTR_CURRENT_HANDLE,
    HL_ATTR_SLOW_CALLBACK_DURATION,
    HL_ATTR_TIMER_CANCELLED_COUNT,
    HL_ATTR_CLOCK_RESOLUTION,
    HL_ATTR_ORIGIN_TRACKING_ENABLED,
    HL_ATTR_ORIGIN_TRACKING_SAVED_DEPTH,
    HL_ATTR_TRANSPORTS,
    HL_ATTR_SIGNAL_HANDLERS,
    HL_ATTR_UNIX_SERVER_SOCKETS,
    HL_ATTR_SSOCK,
    HL_ATTR_CSOCK,
    HL_ATTR_BORROWED_WAKEUP,
    HL_ATTR_FOREIGN_WAKEUP_FD,
    HL_ATTR_PROCESS_FDS,
    HL_ATTR_OLD_AGEN_HOOKS,
    HL_ATTR_WATCHER,
    HL_ATTR_COUNT
} hl_loop_attr;

/* What is called when a descriptor is ready: a handle (of add_reader or add_writer), or a
 * native object, which says by a hl_run what is to be pushed. */
typedef struct {
    PyObject *object; /* owned, or NULL */
    hl_run run;       /* of a native object; NULL for a handle */
} hl_watcher;

/* What few descriptors need. */
typedef struct {
    hl_watcher writer;
    PyObject *file; /* owned: what handles were registered with, or NULL */
} hl_watch_rare;

/* What is known of one descriptor: an item of the poller's table. */
typedef struct {
    hl_poll_slot poll;
    PyObject *transport; /* borrowed: the open transport that owns the descriptor (it
                            takes itself out when it closes or dies), or NULL */
    hl_watcher reader;
    hl_watch_rare *rare; /* owned; NULL until needed */
#if HL_FREE_THREADED
    PyObject *transport_reference; /* owned: a weak one of transport, or NULL */
#endif
} hl_watch;

/* Sends what an object holds back until the end of the entry (sched/cork.h).  Borrows
 * object.  Returns 0, or -1 with an exception that must leave the loop. */
typedef int (*hl_flush)(struct hl_loop *loop, PyObject *object);

/* What one read takes at most, as asyncio's transports. */
enum { HL_READ_BUFFER_SIZE = 256 * 1024 };

typedef struct hl_loop {
    PyObject_HEAD
    hl_state *state; /* borrowed from the module, which the type holds */
    hl_ready ready;
    hl_heap timers;   /* of TimerHandles; each item holds a reference */
    hl_poller poller; /* its items are hl_watch */

    PyObject
        *corked; /* owned: what holds bytes back until the end of this entry, or NULL */
    hl_flush flush_corked;
    hl_spans corked_spans; /* the bytes; each owner is an owned bytes object */
    hl_spare_bytes spare;  /* of the last message, for the next one */
    char *read_buffer; /* owned, HL_READ_BUFFER_SIZE bytes; NULL until first needed */
    void *shared;      /* owned: what io/ keeps for all datagram transports, or NULL */
    void (*free_shared)(void *shared);
    PyObject *
        window_arguments; /* owned tuple (HL_READ_BUFFER_SIZE, py/window.h) for calls of
                                   `read`; NULL until first needed */

    /* Owned; NULL: the default.  Exchanged, atomically, in the loop's section. */
    PyObject *attrs[HL_ATTR_COUNT];

    unsigned overrides; /* atomic: HL_OVERRIDE_* of type and instance together */
    unsigned instance_overrides; /* written in the loop's section, as `overrides` is */
    unsigned int type_version;   /* atomic: of the type when `overrides` was computed */

    unsigned expired_since_wait; /* timers, since the last wait for one */
    uint32_t turn_number;        /* atomic: counts turns; wraps around */
    unsigned long
        owner;        /* atomic: thread that runs the loop, 0 while it does not run */
    bool is_debug;    /* atomic, as all that attributes of Python set (attributes.c) */
    bool is_closed;   /* atomic */
    bool is_stopping; /* atomic */
    PyThreadState *thread_state; /* of the thread that runs the present turn */
    bool is_in_entry; /* an entry of the ready queue is running: bytes may be corked */
    bool is_writing_through; /* atomic: every write goes to the kernel at once */
    bool is_forked_running;  /* it was running in the parent when this process forked */
    bool is_wakeup_prepared; /* _prepare_to_block was called in this run_forever */
    bool
        is_internal_watched; /* atomic: the signal socket counts among poller.registered */
    bool has_signal_handlers;  /* atomic */
    bool has_untracked_timers; /* some were scheduled since the run began (handle.h) */
    bool has_own_attributes;   /* the program has set one that no class describes */
    int is_sleeping;           /* atomic: a waker must write the eventfd */

    int executor_jobs;        /* atomic: submitted and not answered */
    int64_t last_window_ns;   /* when the busy loop last slept for other threads */
    bool has_foreign_call;    /* atomic: another thread called since the last look */
    int64_t foreign_until_ns; /* other threads get the GIL until then: one called */
    int foreign_calls;      /* of other threads since the last turn began; with a GIL */
    PyObject *current_task; /* owned; published to asyncio, to be cleared; or NULL */

    hl_mutex
        mutex; /* for the inbox, for becoming the owner, who has the ready queue, and for
                       closing what another thread may wake */
#if HL_FREE_THREADED
    hl_ready inbox;     /* guarded by mutex */
    size_t inbox_count; /* atomic copy of inbox.count */
#endif

    struct hl_loop *next; /* list of all loops of this interpreter: state->loops */
    struct hl_loop *previous;
} hl_loop;

/* The thread that runs the loop, 0 if none does.  Any thread may ask; who learns that none
 * does sees everything that the last one wrote. */
static inline unsigned long
hl_loop_owner(const hl_loop *loop)
{
    return __atomic_load_n(&loop->owner, __ATOMIC_ACQUIRE);
}

/* Make this thread the loop's, with `closes` of a loop that is closed from then on, at once.
 * False: another one was quicker. */
bool hl_loop_claim(hl_loop *loop, bool closes);

/* Undo hl_loop_claim: from here on another thread may run the loop. */
static inline void
hl_loop_release(hl_loop *loop)
{
    __atomic_store_n(&loop->owner, 0, __ATOMIC_RELEASE);
}

/* The flags: any thread may ask, and set them by an attribute or by stop(). */
static inline bool
hl_loop_flag(const bool *flag)
{
    return __atomic_load_n(flag, __ATOMIC_RELAXED);
}

/* What the caller does then may still meet a loop that was closed meanwhile. */
static inline bool
hl_loop_is_closed(const hl_loop *loop)
{
    return hl_loop_flag(&loop->is_closed);
}

static inline bool
hl_loop_is_debug(const hl_loop *loop)
{
    return hl_loop_flag(&loop->is_debug);
}

static inline bool
hl_loop_is_stopping(const hl_loop *loop)
{
    return hl_loop_flag(&loop->is_stopping);
}

/* True if one of the methods (HL_OVERRIDE_*) was replaced.  Any thread may ask. */
static inline bool
hl_loop_replaces(const hl_loop *loop, unsigned methods)
{
    return (__atomic_load_n(&loop->overrides, __ATOMIC_RELAXED) & methods) != 0;
}

/* The number of the turn.  Any thread may ask. */
static inline uint32_t
hl_loop_turn_number(const hl_loop *loop)
{
    return __atomic_load_n(&loop->turn_number, __ATOMIC_RELAXED);
}

/* True if object is a loop of ours.  Borrowed cast. */
static inline hl_loop *
hl_loop_cast(const hl_state *state, PyObject *object)
{
    if (Py_TYPE(object)->tp_setattro == state->loop_setattro ||
        PyObject_TypeCheck(object, state->LoopType)) {
        return (hl_loop *)object;
    }
    return NULL;
}

/* False if hl_loop_ask_debug() would say so: handles and futures need not ask. */
static inline bool
hl_loop_may_be_debug(const hl_loop *loop)
{
    return hl_loop_is_debug(loop) || hl_loop_replaces(loop, HL_OVERRIDE_GET_DEBUG);
}

/* True if futures and tasks may push on the ready queue themselves: nobody replaced
 * call_soon, and debug mode (which wants real handles) is off. */
static inline bool
hl_loop_is_direct(const hl_loop *loop)
{
    return !hl_loop_may_be_debug(loop) && !hl_loop_is_closed(loop) &&
           !hl_loop_replaces(loop, HL_OVERRIDE_CALL_SOON);
}

#if HL_FREE_THREADED
/* The same as hl_loop_push, on the inbox.  Any thread. */
int hl_loop_push_foreign(hl_loop *loop, hl_run run, PyObject *owner,
                         PyObject *argument);
#endif

/* Append an entry to the ready queue; steals owner and argument, also on failure.
 * Returns 0, or -1 with MemoryError. */
static inline int
hl_loop_push(hl_loop *loop, hl_run run, PyObject *owner, PyObject *argument)
{
#if HL_FREE_THREADED
    if (hl_loop_owner(loop) != hl_thread_ident() ||
        __atomic_load_n(&loop->inbox_count, __ATOMIC_RELAXED) > 0) {
        return hl_loop_push_foreign(loop, run, owner, argument);
    }
#endif
    return hl_ready_push(&loop->ready, run, owner, argument);
}

/* Stop publishing the current task, if a task step left it for the next one: before
 * anything that is not a task step runs.  May run user code (the task may die). */
void hl_loop_clear_current_task(hl_loop *loop);

/* The clock of the loop in seconds: the method time() if it was replaced.  Returns 0, or
 * -1 with the method's exception. */
int hl_loop_time(hl_loop *loop, double *seconds);

/* RuntimeError if the loop is closed.  Returns 0 or -1. */
int hl_loop_check_open(hl_loop *loop);

/* Wake the loop if it sleeps.  Any thread. */
void hl_loop_wake(hl_loop *loop);

/* A thread that is not the loop's has pushed and woken it: let the loop hand over the GIL for a
 * while, and have it now after very many calls. */
void hl_loop_note_foreign_call(hl_loop *loop);

/* One turn, as docs/architecture.md numbers it.  The caller owns the loop's thread.
 * Returns 0, or -1 with an exception that leaves the loop. */
int hl_loop_turn(hl_loop *loop);

/* Recompute which methods were replaced. */
int hl_loop_refresh_overrides(hl_loop *loop);

/* The same if the type changed since the last time.  Any thread; who finds the version of now
 * sees what another thread has computed for it.  Returns 0 or -1. */
static inline int
hl_loop_check_overrides(hl_loop *loop)
{
    return __atomic_load_n(&loop->type_version, __ATOMIC_ACQUIRE) ==
                   __atomic_load_n(&Py_TYPE(loop)->tp_version_tag, __ATOMIC_RELAXED)
               ? 0
               : hl_loop_refresh_overrides(loop);
}

/* Whether a loop of any kind is in debug mode, by its own get_debug() unless that is ours.  Returns
 * 0, 1 or -1 with the method's exception. */
int hl_loop_ask_debug(const hl_state *state, PyObject *loop);

/* One of loop->attrs, which any thread may exchange: new, or NULL. */
PyObject *hl_loop_get_attr(hl_loop *loop, hl_loop_attr index);

/* The same to be compared only, not to be used: it may be gone by then. */
static inline const PyObject *
hl_loop_peek_attr(const hl_loop *loop, hl_loop_attr index)
{
    return __atomic_load_n(&loop->attrs[index], __ATOMIC_RELAXED);
}

/* Put value there (borrowed; NULL: the default). */
void hl_loop_set_attr(hl_loop *loop, hl_loop_attr index, PyObject *value);

/* Note that an instance attribute called name was set or deleted. */
void hl_loop_note_attribute(hl_loop *loop, PyObject *name, bool is_set);

#endif
