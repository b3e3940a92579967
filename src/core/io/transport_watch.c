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

int
hl_transport_watch(hl_transport *transport, int kind, PyObject *context)
{
    hl_loop *loop = transport->loop;
    bool is_read = kind == HL_POLL_READ;
    if (context == NULL) {
        context = hl_transport_event_context(transport);
        if (context == NULL) {
            return -1;
        }
    }
    if (hl_loop_check_open(loop) < 0 ||
        (!is_read && hl_transport_need_rare(transport) == NULL) ||
        hl_watch_add_native(loop,
                            transport->fd,
                            kind,
                            (PyObject *)transport,
                            is_read ? transport->kind->on_readable
                                    : transport->kind->on_writable) < 0) {
        Py_DECREF(context);
        return -1;
    }
    if (is_read) {
        transport->is_read_watched = true;
        transport->read_since = hl_loop_turn_number(loop);
        Py_XSETREF(transport->read_context, context);
    }
    else {
        transport->is_write_watched = true;
        transport->rare->write_since = hl_loop_turn_number(loop);
        Py_XSETREF(transport->rare->write_context, context);
    }
    return 0;
}

int
hl_transport_unwatch(hl_transport *transport, int kind)
{
    PyObject *context;
    if (kind == HL_POLL_READ) {
        if (!transport->is_read_watched) {
            return 0;
        }
        transport->is_read_watched = false;
        context = transport->read_context;
        transport->read_context = NULL;
    }
    else {
        if (!transport->is_write_watched) {
            return 0;
        }
        transport->is_write_watched = false;
        context = transport->rare->write_context;
        transport->rare->write_context = NULL;
    }
    /* If the number came back for another file, what is watched is that. */
    int removed = hl_watch_remove_own(
        transport->loop, transport->fd, kind, (PyObject *)transport);
    Py_XDECREF(context);
    return removed < 0 ? -1 : 0;
}

/* What becomes of a context (stolen) that was made for one event: it serves the next one if
 * it is as new, or else takes the marker's place (hl_context_copy_current), if that is still
 * there. */
static void
transport_keep_context(hl_state *state, PyObject **slot, PyObject *context)
{
    bool is_as_new = hl_context_is_as_new(state, context, 1);
    if (HL_FREELISTS && is_as_new && state->spare_context == NULL) {
        state->spare_context = context;
    }
    else if (!is_as_new && *slot == state->empty_context) {
        Py_SETREF(*slot, context); /* the marker stays alive in state */
    }
    else {
        Py_DECREF(context);
    }
}

int
hl_transport_run(hl_loop *loop, hl_transport *transport, PyObject **slot,
                 int (*body)(hl_transport *), PyObject *name)
{
    if (loop->current_task != NULL) {
        hl_loop_clear_current_task(loop);
    }
    PyObject *context = Py_NewRef(*slot); /* the event may end the watching */
    bool is_made = context == loop->state->empty_context;
    int error = hl_context_materialize(loop->state, &context);
    if (error == 0) {
        error = PyContext_Enter(context);
    }
    if (error == 0) {
        Py_BEGIN_CRITICAL_SECTION((PyObject *)transport);
        error = body(transport);
        Py_END_CRITICAL_SECTION();
        if (PyContext_Exit(context) < 0) {
            error = -1;
        }
    }
    if (error < 0) {
        error = hl_handle_report_method(loop, (PyObject *)transport, name, context);
    }
    if (is_made) {
        transport_keep_context(loop->state, slot, context);
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
    if (!transport->is_write_watched &&
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
