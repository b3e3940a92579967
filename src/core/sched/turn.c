/* The turn of the loop: what runs, in which order, and when the kernel is asked.
 *
 * docs/architecture.md numbers the steps; the numbers below are the same.  The wait only
 * collects; everything that calls Python code is an entry of the ready queue. */
#include "sched/loop.h"

#include "base/clock.h"
#include "py/error.h"
#include "sched/cork.h"
#include "sched/handle.h"
#include "sched/inbox.h"
#include "sched/timer_handle.h"
#include "sched/watch.h"

#include <errno.h>
#include <math.h>

/* Events taken per wait.  Level-triggered epoll reports the rest in the next turn. */
enum { EVENTS_PER_WAIT = 256 };

/* asyncio sleeps a day at most, so that no timeout overflows in the kernel. */
static const int64_t LONGEST_WAIT_NS = (int64_t)24 * 3600 * 1000000000;

/* -- time ----------------------------------------------------------------------------- */

static int
loop_time_of_method(hl_loop *loop, double *seconds)
{
    PyObject *now = PyObject_CallMethodNoArgs((PyObject *)loop, loop->state->str.time);
    if (now == NULL) {
        return -1;
    }
    *seconds = PyFloat_AsDouble(now);
    Py_DECREF(now);
    return *seconds == -1.0 && PyErr_Occurred() ? -1 : 0;
}

int
hl_loop_time(hl_loop *loop, double *seconds)
{
    if (hl_loop_replaces(loop, HL_OVERRIDE_TIME)) {
        return loop_time_of_method(loop, seconds);
    }
    *seconds = hl_clock_seconds(hl_clock_ns());
    return 0;
}

/* -- 1. how long to wait --------------------------------------------------------------- */

/* When the first timer is due.  False if there is none.  A call_at() from another thread,
 * which asyncio forbids, may change the heap at any time where no GIL prevents it. */
static bool
turn_first_deadline(hl_loop *loop, double *deadline)
{
    bool is_one;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    const hl_heap_item *first = hl_heap_first(&loop->timers);
    is_one = first != NULL;
    *deadline = is_one ? hl_heap_deadline(first->key) : 0;
    Py_END_CRITICAL_SECTION();
    return is_one;
}

/* Where timers stand so close that a wait ends with as many of them as CROWD, the next wait is
 * at least this long: most of what a wake-up for each few of them costs is the wake-up.  It
 * makes a timer of a crowd late by a quarter of what asyncio's rounding to milliseconds may. */
static const int64_t CROWDED_WAIT_NS = 250 * INT64_C(1000);

enum { CROWD = 8 };

/* Nanoseconds to wait for a timer that is due in timeout_ns. */
static int64_t
turn_wait_of_crowd(hl_loop *loop, int64_t timeout_ns)
{
    bool is_crowded = loop->expired_since_wait >= CROWD;
    loop->expired_since_wait = 0;
    return is_crowded && timeout_ns < CROWDED_WAIT_NS ? CROWDED_WAIT_NS : timeout_ns;
}

/* Nanoseconds until the first timer, 0 if it is due, negative without one.  Rounded up: a
 * timer never fires early. */
static int
turn_timeout(hl_loop *loop, int64_t *timeout_ns)
{
    *timeout_ns = 0;
    if (loop->ready.count > 0 || hl_loop_is_stopping(loop)) {
        return 0;
    }
    double deadline;
    if (!turn_first_deadline(loop, &deadline)) {
        *timeout_ns = -1;
        return 0;
    }
    double now;
    if (hl_loop_time(loop, &now) < 0) {
        return -1;
    }
    double seconds = deadline - now;
    if (!(seconds > 0)) {
        return 0;
    }
    *timeout_ns = seconds * 1e9 >= (double)LONGEST_WAIT_NS
                      ? LONGEST_WAIT_NS
                      : turn_wait_of_crowd(loop, (int64_t)ceil(seconds * 1e9));
    return 0;
}

/* -- 2. the wait ------------------------------------------------------------------------- */

/* While other threads are known to want the GIL, a busy loop sleeps this long, without it, in
 * every such period.  A thread that waits for the GIL needs some 10 to 50 us to wake up and
 * take it: shorter releases come and go before it can, and each restarts the 5 ms after which
 * it may insist.  So a release is either long enough or left out. */
static const int64_t GIL_WINDOW_NS = 20 * INT64_C(1000);
static const int64_t GIL_PERIOD_NS = 60 * INT64_C(1000);

/* How long after a call from another thread the loop keeps handing over the GIL. */
static const int64_t FOREIGN_GRACE_NS = 100 * INT64_C(1000000);

/* True while other threads are known to want the GIL: a job is out at an executor, or a call
 * from another thread came lately. */
static bool
turn_has_rivals(hl_loop *loop)
{
    if (HL_FREE_THREADED) {
        return false;
    }
    if (__atomic_load_n(&loop->executor_jobs, __ATOMIC_RELAXED) > 0) {
        return true;
    }
    if (__atomic_load_n(&loop->has_foreign_call, __ATOMIC_RELAXED)) {
        __atomic_store_n(&loop->has_foreign_call, false, __ATOMIC_RELAXED);
        loop->foreign_until_ns = hl_clock_ns() + FOREIGN_GRACE_NS;
        return true;
    }
    if (loop->foreign_until_ns == 0) {
        return false;
    }
    if (hl_clock_ns() < loop->foreign_until_ns) {
        return true;
    }
    loop->foreign_until_ns = 0;
    return false;
}

/* True if it is time for the busy loop to sleep a moment for the others. */
static bool
turn_owes_window(hl_loop *loop)
{
    if (!turn_has_rivals(loop)) {
        return false;
    }
    int64_t now = hl_clock_ns();
    if (now - loop->last_window_ns < GIL_PERIOD_NS) {
        return false;
    }
    loop->last_window_ns = now;
    return true;
}

/* The descriptors of the user, not those of the loop itself. */
static inline bool
turn_has_watches(const hl_loop *loop)
{
    /* Another thread may begin to watch something at this moment. */
    size_t registered = __atomic_load_n(&loop->poller.registered, __ATOMIC_RELAXED);
    return registered > (size_t)hl_loop_flag(&loop->is_internal_watched) ||
           hl_loop_flag(&loop->has_signal_handlers);
}

/* The poller's set is made at first need, by whoever watches or waits first: another thread may
 * begin to watch at this moment.  open: hl_poller_open or hl_poller_open_wake. */
static inline int
turn_open_poller(hl_loop *loop, int (*open)(hl_poller *))
{
    int error;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    error = open(&loop->poller);
    Py_END_CRITICAL_SECTION();
    return error;
}

static int
turn_sleep(hl_loop *loop, int64_t timeout_ns, hl_poll_event *events)
{
    int count = turn_open_poller(loop, hl_poller_open);
    if (count < 0) {
        return count;
    }
    __atomic_store_n(&loop->is_sleeping, 1, __ATOMIC_SEQ_CST);
    if (!hl_inbox_is_empty(loop)) {
        timeout_ns = 0; /* pushed after the drain, before is_sleeping was seen */
    }
    Py_BEGIN_ALLOW_THREADS;
    count = hl_poller_wait(&loop->poller, timeout_ns, events, EVENTS_PER_WAIT);
    Py_END_ALLOW_THREADS;
    __atomic_store_n(&loop->is_sleeping, 0, __ATOMIC_SEQ_CST);
    if (turn_has_rivals(loop)) {
        loop->last_window_ns =
            hl_clock_ns(); /* this wait was one: no other is owed yet */
    }
    return count;
}

static int
turn_poll(hl_loop *loop, hl_poll_event *events)
{
    int error = turn_open_poller(loop, hl_poller_open);
    return error < 0 ? error
                     : hl_poller_wait(&loop->poller, 0, events, EVENTS_PER_WAIT);
}

/* Before the first wait of a run that may block: the eventfd for other threads, and on the
 * main thread the signal wake-up, without which a signal between the last check and the
 * wait would be noticed only with the next event. */
static int
turn_prepare_to_block(hl_loop *loop)
{
    int error = turn_open_poller(loop, hl_poller_open_wake);
    if (error < 0) {
        return hl_error_set(error);
    }
    loop->is_wakeup_prepared = true;
    PyObject *result =
        PyObject_CallMethodNoArgs((PyObject *)loop, loop->state->str._prepare_to_block);
    Py_XDECREF(result);
    /* A signal that came before the wake-up was in place has set its flag by now. */
    return result != NULL ? PyErr_CheckSignals() : -1;
}

/* Collect events.  Returns their number, or -1. */
static int
turn_collect(hl_loop *loop, int64_t timeout_ns, hl_poll_event *events)
{
    int count;
    if (timeout_ns != 0) {
        if (!loop->is_wakeup_prepared && turn_prepare_to_block(loop) < 0) {
            return -1;
        }
        if (loop->ready.count > 0 || hl_loop_is_stopping(loop)) {
            timeout_ns = 0; /* a signal's Python handler scheduled something */
        }
        count = turn_sleep(loop, timeout_ns, events);
    }
    else if (turn_owes_window(loop)) {
        int error = turn_open_poller(loop, hl_poller_open_wake);
        count = error < 0 ? error : turn_sleep(loop, GIL_WINDOW_NS, events);
    }
    else if (turn_has_watches(loop)) {
        count = turn_poll(loop, events);
    }
    else {
        return 0; /* nothing to see: no system call */
    }
    if (count == -EINTR) {
        return PyErr_CheckSignals() < 0 ? -1 : 0;
    }
    return count < 0 ? hl_error_set(count) : count;
}

/* -- 3. and 4. what became ready --------------------------------------------------------- */

/* Push the timers due by the clock read now, earliest first. */
static int
turn_expire_timers(hl_loop *loop)
{
    double now, deadline;
    if (!turn_first_deadline(loop, &deadline)) {
        return 0;
    }
    if (hl_loop_time(loop, &now) < 0) {
        return -1;
    }
    if (now != now) {
        return 0; /* a replaced time() that answers nan: nothing is due */
    }
    uint64_t due = hl_heap_key(now);
    int error = 0;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    const hl_heap_item *first;
    while (error == 0 && (first = hl_heap_first(&loop->timers)) != NULL &&
           first->key <= due) {
        hl_timer_handle *timer = hl_timer_of_node(hl_heap_pop(&loop->timers));
        loop->expired_since_wait++;
        /* The heap's reference becomes the queue's. */
        error = hl_loop_push(loop, hl_handle_run, (PyObject *)timer, NULL);
    }
    Py_END_CRITICAL_SECTION();
    return error;
}

/* -- 5. running ---------------------------------------------------------------------------- */

/* Send what the entry that ends held back, also if an exception leaves the loop. */
static int
turn_flush(hl_loop *loop, int error)
{
    PyObject *exception = error < 0 ? PyErr_GetRaisedException() : NULL;
    if (hl_cork_flush(loop) < 0) {
        error = -1;
    }
    if (exception != NULL) {
        PyErr_SetRaisedException(exception); /* the first one counts */
    }
    return error;
}

/* Debug mode: name the handle, and log it if it takes too long. */
static int
turn_run_slowly(hl_loop *loop, hl_ready_entry *entry)
{
    double before, after;
    if (hl_loop_time(loop, &before) < 0) {
        return -1;
    }
    assert(entry->owner != NULL);
    hl_loop_set_attr(loop, HL_ATTR_CURRENT_HANDLE, entry->owner);
    int error = entry->run(loop, entry->owner, entry->argument);
    if (loop->corked != NULL) {
        error = turn_flush(loop, error); /* sending is part of what takes time */
    }
    hl_loop_set_attr(loop, HL_ATTR_CURRENT_HANDLE, NULL);
    if (loop->current_task != NULL) {
        hl_loop_clear_current_task(loop); /* the log record tells of it */
    }
    if (error < 0 || hl_loop_time(loop, &after) < 0) {
        return -1;
    }
    PyObject *result = PyObject_CallMethod(loop->state->support,
                                           "report_slow",
                                           "OOd",
                                           (PyObject *)loop,
                                           entry->owner,
                                           after - before);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* Thousands of timers and of calls from threads lie all over the memory: while one runs the
 * next one is fetched. */
static inline void
turn_prefetch_next(const hl_loop *loop)
{
    if (loop->ready.count > 0) {
        const char *next = (const char *)hl_ready_at(&loop->ready, 0)->owner;
        __builtin_prefetch(next);
        __builtin_prefetch(next + 64);
    }
}

/* A task that dies with its entry must not be found as the current one by what runs then, nor
 * live on as that until the next step has published its own task, in whose context it would
 * die. */
static inline void
turn_withdraw_dying(hl_loop *loop, PyObject *owner)
{
    if (loop->current_task == owner && Py_REFCNT(owner) <= 2) {
        hl_loop_clear_current_task(loop);
    }
}

/* Give up what an entry referred to, in asyncio's order. */
static inline void
turn_drop_entry(hl_loop *loop, const hl_ready_entry *entry)
{
    turn_withdraw_dying(loop, entry->owner);
    if (entry->argument != NULL) {
        Py_DECREF(entry->argument);
        turn_withdraw_dying(loop,
                            entry->owner); /* of which it may have been the owner */
    }
    Py_DECREF(entry->owner);
}

/* Run exactly the entries that are present now: what they add runs in the next turn. */
static int
turn_run_ready(hl_loop *loop)
{
    int error = 0;
    bool was_in_entry = loop->is_in_entry; /* a turn may be run by a callback */
    loop->is_in_entry = true;
    for (size_t n = loop->ready.count; error == 0 && n > 0 && loop->ready.count > 0;
         n--) {
        hl_ready_entry entry = hl_ready_take(&loop->ready);
        turn_prefetch_next(loop);
        error = hl_loop_is_debug(loop) ? turn_run_slowly(loop, &entry)
                                       : entry.run(loop, entry.owner, entry.argument);
        if (loop->corked != NULL) {
            error = turn_flush(loop, error);
        }
        turn_drop_entry(loop, &entry);
    }
    loop->is_in_entry = was_in_entry;
    return error;
}

static int
turn_fork_error(void)
{
    PyErr_SetString(PyExc_RuntimeError,
                    "The event loop was running when the process forked; "
                    "the child must create its own event loop");
    return -1;
}

int
hl_loop_turn(hl_loop *loop)
{
    hl_poll_event events[EVENTS_PER_WAIT];
    int64_t timeout_ns;
    if (hl_loop_check_overrides(loop) < 0 || hl_cork_flush(loop) < 0 ||
        hl_inbox_drain(loop) < 0 || turn_timeout(loop, &timeout_ns) < 0) {
        return -1;
    }
    int count = turn_collect(loop, timeout_ns, events);
    __atomic_store_n(&loop->turn_number, loop->turn_number + 1, __ATOMIC_RELAXED);
    loop->foreign_calls = 0;
    loop->thread_state = PyThreadState_Get();
    if (count < 0 || hl_inbox_drain(loop) < 0 ||
        hl_watch_dispatch(loop, events, count) < 0 || turn_expire_timers(loop) < 0) {
        return -1;
    }
    int error = turn_run_ready(loop);
    if (loop->current_task != NULL) {
        hl_loop_clear_current_task(loop);
    }
    if (error < 0) {
        return -1;
    }
    if (loop->is_forked_running) {
        return turn_fork_error();
    }
    /* 6. Python's signal handlers run here at the latest. */
    return PyErr_CheckSignals();
}
