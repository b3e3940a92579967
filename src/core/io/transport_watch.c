/* Events and the queue of a transport: watching its descriptor, running a step of it in its
 * context, and keeping what the kernel has not taken yet. */
#include "io/transport.h"

#include "py/context.h"
#include "sched/handle.h"
#include "sched/watch.h"

/* -- watching ------------------------------------------------------------------------------------ */

PyObject *
hl_transport_event_context(const hl_transport *transport)
{
    PyObject *context = hl_transport_context(transport);
    return context != NULL ? Py_NewRef(context)
                           : hl_context_copy_current(transport->loop->state);
}

static void
set_watched(hl_transport *transport, int watched)
{
    __atomic_store_n(&transport->watched, (uint8_t)watched, __ATOMIC_RELAXED);
}

static PyObject **
context_of(hl_transport *transport, int kind)
{
    return kind == HL_POLL_READ ? &transport->read_context
                                : &transport->rare->write_context;
}

/* Watch for kind; *context is exchanged for the one before.  The loop's section is held, so
 * that what is watched agrees with what the transport knows of it, and no descriptor that
 * was given up meanwhile is watched.  Returns 0 or -1. */
static int
watch_loop_locked(hl_transport *transport, int kind, PyObject **context)
{
    bool is_read = kind == HL_POLL_READ;
    hl_loop *loop = transport->loop;
    if (hl_watch_add_native(loop,
                            transport->fd,
                            kind,
                            (PyObject *)transport,
                            is_read ? transport->kind->on_readable
                                    : transport->kind->on_writable) < 0) {
        return -1;
    }
    set_watched(transport, transport->watched | kind);
    __atomic_store_n(is_read ? &transport->read_since : &transport->rare->write_since,
                     hl_loop_turn_number(loop),
                     __ATOMIC_RELAXED);
    PyObject **slot = context_of(transport, kind);
    PyObject *previous = *slot;
    *slot = *context;
    *context = previous;
    return 0;
}

int
hl_transport_watch(hl_transport *transport, int kind, PyObject *context)
{
    if (context == NULL) {
        context = hl_transport_event_context(transport);
        if (context == NULL) {
            return -1;
        }
    }
    if (hl_loop_check_open(transport->loop) < 0 ||
        (kind == HL_POLL_WRITE && hl_transport_need_rare(transport) == NULL)) {
        Py_DECREF(context);
        return -1;
    }
    int error = 0;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)transport->loop);
    if (!hl_transport_is_watched(transport, HL_NEVER_WATCHED)) {
        error = watch_loop_locked(transport, kind, &context);
    }
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(context);
    return error;
}

/* Stop watching for kind.  *context is what the events had, which is stolen.  The loop's
 * section is held.  Returns 0 or -1. */
static int
unwatch_loop_locked(hl_transport *transport, int kind, PyObject **context)
{
    if (!hl_transport_is_watched(transport, kind)) {
        return 0;
    }
    PyObject **slot = context_of(transport, kind);
    set_watched(transport, transport->watched & ~kind);
    *context = *slot;
    *slot = NULL;
    /* If the number came back for another file, what is watched is that. */
    return hl_watch_remove_own(
               transport->loop, transport->fd, kind, (PyObject *)transport) < 0
               ? -1
               : 0;
}

int
hl_transport_unwatch(hl_transport *transport, int kind)
{
    if (!hl_transport_is_watched(transport, kind)) {
        return 0;
    }
    int error;
    PyObject *context = NULL;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)transport->loop);
    error = unwatch_loop_locked(transport, kind, &context);
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(context);
    return error;
}

void
hl_transport_unwatch_for_good(hl_transport *transport)
{
    PyObject *read_context = NULL, *write_context = NULL;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)transport->loop);
    set_watched(transport, transport->watched | HL_NEVER_WATCHED);
    if (unwatch_loop_locked(transport, HL_POLL_READ, &read_context) < 0) {
        PyErr_Clear(); /* OSError: its file was closed behind its back */
    }
    if (unwatch_loop_locked(transport, HL_POLL_WRITE, &write_context) < 0) {
        PyErr_Clear(); /* the same */
    }
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(read_context);
    Py_XDECREF(write_context);
}

/* What becomes of a context (stolen) that was made for one event: it serves the next one if
 * it is as new, or else takes the marker's place (hl_context_copy_current), if that is still
 * there. */
static void
transport_keep_context(hl_loop *loop, PyObject **slot, PyObject *context)
{
    hl_state *state = loop->state;
    bool is_as_new = hl_context_is_as_new(state, context, 1);
    if (HL_FREELISTS && is_as_new && state->spare_context == NULL) {
        state->spare_context = context;
        return;
    }
    if (!is_as_new) {
        Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
        if (*slot == state->empty_context) {
            *slot = context;
            context = state->empty_context; /* one reference less, and not the last */
        }
        Py_END_CRITICAL_SECTION();
    }
    Py_DECREF(context);
}

/* The context of an event: new, or NULL if the watching has ended. */
static PyObject *
take_context(hl_loop *loop, PyObject *const *slot)
{
    PyObject *context;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    context = Py_XNewRef(*slot); /* the event may end the watching */
    Py_END_CRITICAL_SECTION();
    return context;
}

/* The body of an event.  Without a GIL another thread may have ended the transport since it
 * was looked at. */
static int
run_lock_held(hl_transport *transport, int (*body)(hl_transport *))
{
    return HL_FREE_THREADED && transport->is_lost ? 0 : body(transport);
}

int
hl_transport_run(hl_loop *loop, hl_transport *transport, PyObject **slot,
                 int (*body)(hl_transport *), PyObject *name)
{
    if (loop->current_task != NULL) {
        hl_loop_clear_current_task(loop);
    }
    PyObject *context = take_context(loop, slot);
    if (HL_FREE_THREADED && context == NULL) {
        return 0;
    }
    bool is_made = context == loop->state->empty_context;
    int error = hl_context_materialize(loop->state, &context);
    if (error == 0) {
        error = hl_context_enter(loop->state, loop->thread_state, context);
    }
    if (error == 0) {
        Py_BEGIN_CRITICAL_SECTION((PyObject *)transport);
        error = run_lock_held(transport, body);
        Py_END_CRITICAL_SECTION();
        if (hl_context_exit(loop->state, loop->thread_state, context) < 0) {
            error = -1;
        }
    }
    if (error < 0) {
        error = hl_handle_report_method(loop, (PyObject *)transport, name, context);
    }
    if (is_made) {
        transport_keep_context(loop, slot, context);
    }
    else {
        Py_DECREF(context);
    }
    return error;
}

/* -- the queue ----------------------------------------------------------------------------------------------- */

int
hl_transport_queue(hl_transport *transport, PyObject *owner, const char *data,
                   size_t length)
{
    hl_transport_rare *rare = hl_transport_need_rare(transport);
    if (rare == NULL || hl_spans_reserve(&rare->queue) < 0) {
        Py_DECREF(owner);
        PyErr_NoMemory();
        return -1;
    }
    hl_spans_push(&rare->queue, owner, data, length);
    return 0;
}

void
hl_transport_sent(hl_loop *loop, hl_spans *spans, size_t sent)
{
    PyObject *owner; /* exact bytes: runs no code */
    if (spans->count == 1 && sent == spans->size) {
        hl_spare_give(&loop->spare, hl_spans_take_only(spans));
        return;
    }
    while ((owner = hl_spans_take_sent(spans, &sent)) != NULL) {
        hl_spare_give(&loop->spare, owner);
    }
}

int
hl_transport_wait_for_room(hl_transport *transport)
{
    if (!hl_transport_is_watched(transport, HL_POLL_WRITE) &&
        hl_transport_watch(transport, HL_POLL_WRITE, NULL) < 0) {
        return -1;
    }
    return hl_flow_maybe_pause(transport);
}

void
hl_transport_drop_queue(hl_transport *transport)
{
    if (transport->rare == NULL) {
        return;
    }
    hl_spans queue = transport->rare->queue; /* taken: an owner's end may run code */
    transport->rare->queue = (hl_spans){0};
    PyObject *owner;
    while ((owner = hl_spans_take_first(&queue)) != NULL) {
        Py_DECREF(owner);
    }
    hl_spans_fini(&queue);
}
