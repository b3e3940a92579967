/* Sending datagrams.
 *
 * A datagram takes one of four ways:
 *   held back  within an entry of the ready queue: it leaves together with the others when the
 *              entry ends (sched/cork.h), by one system call
 *   direct     outside of an entry, or a large one: to the kernel at once
 *   by socket  where the address is not numbers of a tuple, or the family is none that C knows:
 *              by the socket's own method, with its checks and words
 *   queued     what the kernel did not take, and all that follow: sent on write events
 * Invariant: something is held back only while nothing is queued.
 * A queued datagram is a span whose owner is the tuple (data, address) and whose length is
 * what flow control counts for it. */
#include "io/datagram.h"

#include "io/outgoing.h"
#include "io/transport_face.h"
#include "py/args.h"
#include "py/context.h"
#include "sched/cork.h"
#include "sched/handle.h"

#include <errno.h>

/* A datagram of this size, or as many bytes together, gains nothing by waiting. */
enum { CORK_LIMIT = 32 * 1024 };

static const char WRITE_ERROR[] = "Fatal write error on datagram transport";

/* -- the queue ---------------------------------------------------------------------------------- */

/* Append data (an exact bytes object) for address.  Returns 0, or -1 with MemoryError. */
static int
queue_push(hl_transport *transport, PyObject *data, PyObject *address)
{
    size_t header = (size_t)hl_state_of((PyObject *)transport)->datagram_header_size;
    PyObject *pair = PyTuple_Pack(2, data, address);
    if (pair == NULL) {
        return -1;
    }
    return hl_transport_queue(
        transport, pair, NULL, (size_t)PyBytes_GET_SIZE(data) + header);
}

/* There is a queue since now: wait for room in the kernel.  Returns 0 or -1. */
static int
queue_watch(hl_transport *transport)
{
    return hl_transport_is_watched(transport, HL_POLL_WRITE)
               ? 0
               : hl_transport_watch(transport, HL_POLL_WRITE, NULL);
}

PyObject *
hl_datagram_queue_list(const hl_transport *transport)
{
    PyObject *list = PyList_New(0);
    const hl_spans *queue =
        hl_transport_is_queued(transport) ? &transport->rare->queue : NULL;
    for (size_t i = 0; list != NULL && queue != NULL && i < queue->count; i++) {
        PyObject *pair = queue->items[queue->head + i].owner;
        if (PyList_Append(list, pair) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* Queue what sendto() was given. */
static int
queue_piece(hl_transport *transport, hl_outgoing *piece, PyObject *address)
{
    const char *data;
    PyObject *bytes = hl_outgoing_keep(piece, 0, &data);
    hl_outgoing_close(piece);
    int error = bytes != NULL ? queue_push(transport, bytes, address) : -1;
    Py_XDECREF(bytes);
    return error < 0 || queue_watch(transport) < 0 ? -1
                                                   : hl_flow_maybe_pause(transport);
}

/* -- what is held back -------------------------------------------------------------------------- */

/* A datagram that was held back, taken out of the loop because user code runs. */
typedef struct {
    PyObject *owner; /* owned: exact bytes, all of which are the datagram */
    hl_inet_address receiver;
} held_datagram;

static hl_datagram_out
outgoing_of(const held_datagram *held)
{
    return (hl_datagram_out){
        .data = PyBytes_AS_STRING(held->owner),
        .length = (size_t)PyBytes_GET_SIZE(held->owner),
        .name = held->receiver.length > 0 ? held->receiver.bytes : NULL,
        .name_length = held->receiver.length,
    };
}

/* Take everything from index `first` on, dropping what is before it.  Returns how many. */
static size_t
take_held(hl_loop *loop, size_t first, held_datagram *held)
{
    const hl_datagram_shared *shared = loop->shared;
    size_t count = 0;
    PyObject *owner;
    for (size_t i = 0; (owner = hl_spans_take_first(&loop->corked_spans)) != NULL;
         i++) {
        if (i < first) {
            Py_DECREF(owner); /* exact bytes: runs no code */
            continue;
        }
        held[count++] = (held_datagram){owner, shared->receivers[i]};
    }
    return count;
}

/* Queue one that the kernel did not take. */
static int
queue_held(hl_transport *transport, const held_datagram *held)
{
    PyObject *address =
        held->receiver.length > 0
            ? hl_address_object((const struct sockaddr *)held->receiver.bytes,
                                held->receiver.length)
            : Py_NewRef(hl_datagram_of(transport)->address);
    int error = address != NULL ? queue_push(transport, held->owner, address) : -1;
    Py_XDECREF(address);
    return error < 0 ? -1 : queue_watch(transport);
}

/* error_received() for a datagram that was held back: what that raises is reported, since
 * the call that sent the datagram has returned.  What it sends goes out at once, as on
 * asyncio: before the datagrams behind the failed one. */
static int
held_failed(hl_loop *loop, hl_transport *transport, int error)
{
    bool was_in_entry = loop->is_in_entry;
    loop->is_in_entry = false;
    int result = hl_datagram_error_received(transport, error);
    if (result < 0) {
        result = hl_handle_report_method(
            loop, (PyObject *)transport, loop->state->str._sendto_ready, NULL);
    }
    loop->is_in_entry = was_in_entry;
    return result < 0 ? -1 : 0;
}

/* Send those that are left, of which the first gave `error` (0: not tried), one by one. */
static int
send_held(hl_loop *loop, hl_transport *transport, const held_datagram *held,
          size_t count, int error)
{
    int result = 0;
    for (size_t i = 0; result == 0 && i < count && !transport->is_lost; i++) {
        if (error == 0 && !hl_transport_is_queued(transport)) {
            hl_datagram_out datagram = outgoing_of(&held[i]);
            error = hl_datagram_send(hl_transport_descriptor(transport), &datagram);
        }
        if (hl_transport_is_queued(transport) || error == -EAGAIN) {
            result = queue_held(transport, &held[i]);
        }
        else if (error < 0) {
            result = held_failed(loop, transport, error);
        }
        error = 0;
    }
    return result;
}

/* send_held in the context that sendto() was called in: error_received() runs there, and what
 * waits for room is watched from there. */
static int
send_held_in(PyObject *context, hl_loop *loop, hl_transport *transport,
             const held_datagram *held, size_t count, int error)
{
    bool is_entered = false;
    if (context != NULL && context != hl_context_current()) {
        is_entered = PyContext_Enter(context) == 0;
        PyErr_Clear(); /* RuntimeError: it was entered further out, and we are within it */
    }
    int result = send_held(loop, transport, held, count, error);
    if (result == 0 && hl_transport_is_queued(transport)) {
        result = hl_flow_maybe_pause(transport);
    }
    if (is_entered && PyContext_Exit(context) < 0) {
        result = -1;
    }
    return result;
}

/* Whether the kernel may cut datagrams out of one buffer, asked at the first need. */
static bool
may_segment(hl_transport *transport, size_t count)
{
    hl_datagram *datagram = hl_datagram_of(transport);
    if (count < 2 || datagram->is_segmentable || datagram->is_never_segmented) {
        return datagram->is_segmentable;
    }
    datagram->is_segmentable =
        transport->family != AF_UNIX && hl_datagram_can_segment(transport->fd);
    datagram->is_never_segmented = !datagram->is_segmentable;
    return datagram->is_segmentable;
}

/* hl_datagram_send_many, without segments where that does not work. */
static int
send_many(hl_transport *transport, const hl_datagram_out *datagrams, size_t count)
{
    bool segments = may_segment(transport, count);
    int fd = hl_transport_descriptor(transport);
    int sent = hl_datagram_send_many(fd, datagrams, count, segments);
    if (segments && hl_datagram_is_segment_error(sent)) {
        hl_datagram_of(transport)->is_segmentable = false;
        hl_datagram_of(transport)->is_never_segmented = true;
        sent = hl_datagram_send_many(fd, datagrams, count, false);
    }
    return sent;
}

int
hl_datagram_flush(hl_loop *loop, PyObject *self)
{
    hl_transport *transport = hl_transport_of(self);
    hl_datagram_shared *shared = loop->shared;
    PyObject *context = shared->context;
    shared->context = NULL;
    const hl_spans *corked = &loop->corked_spans;
    hl_datagram_out datagrams[HL_DATAGRAM_LIMIT];
    held_datagram held[HL_DATAGRAM_LIMIT];
    for (size_t i = 0; i < corked->count; i++) {
        const hl_span *span = &corked->items[corked->head + i];
        uint32_t length = shared->receivers[i].length;
        datagrams[i] = (hl_datagram_out){
            .data = span->data,
            .length = span->length,
            .name = length > 0 ? shared->receivers[i].bytes : NULL,
            .name_length = length,
        };
    }
    int sent = transport->is_lost ? (int)corked->count
                                  : send_many(transport, datagrams, corked->count);
    size_t count = take_held(loop, sent > 0 ? (size_t)sent : 0, held);
    int error = 0;
    if (count > 0) {
        error =
            send_held_in(context, loop, transport, held, count, sent < 0 ? sent : 0);
    }
    for (size_t i = 0; i < count; i++) {
        Py_DECREF(held[i].owner);
    }
    Py_XDECREF(context);
    return error;
}

/* Keep the datagram until the entry ends.  Returns 0 or -1. */
static int
hold_back(hl_transport *transport, hl_outgoing *piece, const hl_inet_address *receiver)
{
    hl_loop *loop = transport->loop;
    hl_datagram_shared *shared = loop->shared;
    size_t index = loop->corked_spans.count;
    const char *data;
    PyObject *owner = hl_outgoing_keep(piece, 0, &data);
    hl_outgoing_close(piece);
    if (owner == NULL) {
        return -1;
    }
    assert(index < HL_DATAGRAM_LIMIT);
    shared->receivers[index] = *receiver;
    if (index == 0) {
        Py_XSETREF(shared->context, Py_XNewRef(hl_context_current()));
    }
    if (hl_cork_push(loop,
                     (PyObject *)transport,
                     hl_datagram_flush,
                     owner,
                     data,
                     piece->length) < 0) {
        return -1;
    }
    size_t size = loop->corked_spans.size;
    return index + 1 == HL_DATAGRAM_LIMIT || size >= CORK_LIMIT ||
                   size > hl_transport_high_water(transport)
               ? hl_cork_flush(loop)
               : 0;
}

/* -- the three ways to the kernel --------------------------------------------------------------- */

/* Read the receiver of a datagram; length 0: the socket is connected.  Returns false if the
 * socket's own method has to send. */
static bool
find_receiver(hl_transport *transport, PyObject *address, hl_inet_address *receiver)
{
    const hl_datagram *datagram = hl_datagram_of(transport);
    receiver->length = 0;
    if (!datagram->is_native || datagram->is_connected) {
        return datagram->is_native;
    }
    hl_datagram_shared *shared = hl_datagram_shared_of(transport->loop);
    return hl_address_cache_parse(shared != NULL ? &shared->addresses : NULL,
                                  address,
                                  transport->family,
                                  receiver);
}

/* By the socket's own method. */
static int
send_by_socket(hl_transport *transport, PyObject *data, PyObject *address)
{
    PyObject *sock = hl_transport_socket(transport);
    PyObject *result = NULL;
    if (sock != NULL) {
        result = hl_datagram_of(transport)->is_connected
                     ? PyObject_CallMethod(sock, "send", "O", data)
                     : PyObject_CallMethod(sock, "sendto", "OO", data, address);
        Py_DECREF(sock);
    }
    if (result != NULL) {
        Py_DECREF(result);
        return HL_DATAGRAM_DONE;
    }
    return hl_datagram_socket_failed(transport, WRITE_ERROR);
}

/* Tell audit hooks of a datagram that is sent past the socket's own method. */
static int
audit(hl_transport *transport, PyObject *address)
{
    if (hl_datagram_of(transport)->is_connected ||
        PySys_Audit("socket.sendto", "OO", transport->sock, address) == 0) {
        return HL_DATAGRAM_DONE;
    }
    return hl_datagram_socket_failed(transport, WRITE_ERROR);
}

/* To the kernel.  The piece stays open only if it is not now that it goes. */
static int
send_directly(hl_transport *transport, hl_outgoing *piece,
              const hl_inet_address *receiver)
{
    const hl_datagram_out datagram = {
        .data = piece->data,
        .length = piece->length,
        .name = receiver->length > 0 ? receiver->bytes : NULL,
        .name_length = receiver->length,
    };
    int error = hl_datagram_send(hl_transport_descriptor(transport), &datagram);
    if (error == 0 || error == -EAGAIN) {
        return error == 0 ? HL_DATAGRAM_DONE : HL_DATAGRAM_NOT_NOW;
    }
    hl_outgoing_close(piece);
    return hl_datagram_error_received(transport, error);
}

/* -- sendto ------------------------------------------------------------------------------------- */

/* What is written to a lost connection is dropped; one without an address that is its only
 * one sends until the descriptor is gone. */
static bool
is_dropping(const hl_transport *transport)
{
    return transport->is_lost ||
           (transport->conn_lost > 0 &&
            ((const hl_datagram *)transport)->is_bound_to_address);
}

static bool
may_hold_back(const hl_transport *transport, const hl_outgoing *piece)
{
    const hl_loop *loop = transport->loop;
    return hl_cork_is_possible(loop) && transport->conn_lost == 0 &&
           piece->length > 0 && (piece->length < CORK_LIMIT || loop->corked != NULL);
}

/* Send a datagram that is not held back.  Returns 0 or -1. */
static int
send_past_cork(hl_transport *transport, hl_outgoing *piece, PyObject *address,
               const hl_inet_address *receiver)
{
    int result;
    if (receiver != NULL) {
        result = send_directly(transport, piece, receiver);
    }
    else {
        hl_outgoing_close(piece);
        result = send_by_socket(transport, piece->object, address);
        if (result == HL_DATAGRAM_NOT_NOW &&
            hl_outgoing_open(piece, piece->object) < 0) {
            return -1;
        }
    }
    if (result != HL_DATAGRAM_NOT_NOW) {
        return result < 0 ? -1 : 0;
    }
    return transport->is_lost ? 0 : queue_piece(transport, piece, address);
}

/* Send what other transports hold back, and what this one does from another context.  Returns
 * 0 or -1. */
static int
flush_before(hl_transport *transport)
{
    hl_loop *loop = transport->loop; /* kept by whoever runs it */
    const hl_datagram_shared *shared = hl_datagram_shared_of(loop);
    if (shared != NULL && shared->context != hl_context_current() &&
        hl_cork_flush_own(loop, (PyObject *)transport) < 0) {
        return -1;
    }
    return hl_cork_flush_others(loop, (PyObject *)transport);
}

/* sendto() with checked arguments.  User code runs in hooks and in what is flushed. */
static int
send_piece(hl_transport *transport, hl_outgoing *piece, PyObject *address)
{
    hl_inet_address receiver;
    bool is_known = find_receiver(transport, address, &receiver);
    if (is_known && !hl_transport_is_queued(transport)) {
        int result = audit(transport, address);
        if (result == HL_DATAGRAM_NOT_NOW && !transport->is_lost) {
            return queue_piece(transport, piece, address);
        }
        if (result != HL_DATAGRAM_DONE) {
            return result < 0 ? -1 : 0;
        }
    }
    if (!transport->is_lost && flush_before(transport) < 0) {
        return -1;
    }
    if (!is_dropping(transport) && !hl_transport_is_queued(transport)) {
        if (is_known && may_hold_back(transport, piece)) {
            return hold_back(transport, piece, &receiver);
        }
        if (hl_cork_flush_own(transport->loop, (PyObject *)transport) < 0) {
            return -1;
        }
    }
    if (is_dropping(transport)) {
        return hl_transport_note_lost_write(transport);
    }
    return hl_transport_is_queued(transport)
               ? queue_piece(transport, piece, address)
               : send_past_cork(transport, piece, address, is_known ? &receiver : NULL);
}

/* The only address that a transport with one takes.  Returns 0, or -1 with ValueError. */
static int
check_address(const hl_datagram *datagram, PyObject *address)
{
    if (address == Py_None || address == datagram->address) {
        return 0;
    }
    PyObject *allowed = PyTuple_Pack(2, Py_None, datagram->address);
    int is_allowed = allowed != NULL ? PySequence_Contains(allowed, address) : -1;
    Py_XDECREF(allowed);
    if (is_allowed == 0) {
        PyErr_Format(
            PyExc_ValueError, "Invalid address: must be None or %S", datagram->address);
    }
    return is_allowed > 0 ? 0 : -1;
}

/* A memoryview that is not contiguous: the socket refuses it, the queue takes it. */
static int
send_scattered(hl_transport *transport, PyObject *data, PyObject *address)
{
    hl_outgoing piece;
    if (!hl_transport_is_queued(transport)) {
        return hl_transport_fail(transport, WRITE_ERROR);
    }
    PyErr_Clear(); /* BufferError */
    PyObject *bytes = PyBytes_FromObject(data);
    int error = bytes != NULL ? hl_outgoing_open(&piece, bytes) : -1;
    if (error == 0) {
        error = send_piece(transport, &piece, address);
        hl_outgoing_close(&piece);
    }
    Py_XDECREF(bytes);
    return error;
}

static int
send_to(hl_transport *transport, PyObject *data, PyObject *address)
{
    const hl_datagram *datagram = hl_datagram_of(transport);
    hl_outgoing piece;
    if (datagram->is_bound_to_address) {
        if (check_address(datagram, address) < 0) {
            return -1;
        }
        address = datagram->address;
    }
    if (is_dropping(transport)) {
        return hl_transport_note_lost_write(transport);
    }
    if (hl_outgoing_open(&piece, data) < 0) {
        return send_scattered(transport, data, address);
    }
    int error = is_dropping(transport) ? hl_transport_note_lost_write(transport)
                                       : send_piece(transport, &piece, address);
    hl_outgoing_close(&piece);
    return error;
}

/* Returns 1 if data is to be sent, 0 if it is to be ignored, -1 with an exception. */
static int
check_data(PyObject *self, PyObject *data)
{
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        PyObject *name = PyType_GetName(Py_TYPE(data));
        if (name != NULL) {
            PyErr_Format(PyExc_TypeError,
                         "data argument must be a bytes-like object, not %R",
                         name);
            Py_DECREF(name);
        }
        return -1;
    }
    return hl_state_of(self)->sends_empty_datagrams ? 1 : PyObject_IsTrue(data);
}

PyObject *
hl_datagram_sendto(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kwnames)
{
    const hl_state *state = hl_state_of(self);
    PyObject *const names[] = {state->str.data, state->str.addr, NULL};
    PyObject *values[2] = {NULL, Py_None};
    if (hl_args_parse("sendto", args, nargs, kwnames, names, 1, 2, values) < 0) {
        return NULL;
    }
    int error = check_data(self, values[0]);
    if (error > 0) {
        Py_BEGIN_CRITICAL_SECTION(self);
        error = send_to(hl_transport_of(self), values[0], values[1]);
        Py_END_CRITICAL_SECTION();
    }
    if (error < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- write events ------------------------------------------------------------------------------- */

/* Send one that was queued; pair is (data, address). */
static int
send_pair(hl_transport *transport, PyObject *pair)
{
    PyObject *data = PyTuple_GET_ITEM(pair, 0);
    PyObject *address = PyTuple_GET_ITEM(pair, 1);
    hl_inet_address receiver;
    hl_outgoing piece;
    if (!find_receiver(transport, address, &receiver)) {
        return send_by_socket(transport, data, address);
    }
    int result = audit(transport, address);
    if (result != HL_DATAGRAM_DONE || transport->is_lost ||
        hl_outgoing_open(&piece, data) < 0) {
        return result;
    }
    result = send_directly(transport, &piece, &receiver);
    hl_outgoing_close(&piece);
    return result;
}

/* Send until the kernel takes no more.  Returns as the last send. */
static int
send_from_queue(hl_transport *transport)
{
    int result = HL_DATAGRAM_DONE;
    while (result == HL_DATAGRAM_DONE && hl_transport_is_queued(transport)) {
        hl_spans *queue = &transport->rare->queue;
        hl_span first = queue->items[queue->head];
        PyObject *pair = hl_spans_take_first(queue);
        result = send_pair(transport, pair);
        if (result == HL_DATAGRAM_NOT_NOW && transport->conn_lost == 0) {
            if (hl_spans_put_back(queue, first) == 0) {
                return result;
            }
            PyErr_NoMemory();
            result = -1;
        }
        Py_DECREF(pair);
    }
    return result;
}

/* Everything is sent. */
static int
queue_drained(hl_transport *transport)
{
    hl_transport_drop_queue(transport); /* its storage */
    if (hl_transport_unwatch(transport, HL_POLL_WRITE) < 0) {
        return -1;
    }
    if (!transport->is_closing) {
        return 0;
    }
    transport->conn_lost++;
    return hl_transport_lose(transport, Py_None);
}

static int
send_queued(hl_transport *transport)
{
    int result = send_from_queue(transport);
    if (result < 0 || result == HL_DATAGRAM_FAILED || transport->is_lost) {
        return result < 0 ? -1 : 0; /* the rest follows at the next event */
    }
    /* resume_writing() may send more, which must not be held back: a transport that is
     * closing would be lost before it. */
    if (hl_flow_maybe_resume(transport) < 0 ||
        (!transport->is_given_up &&
         hl_cork_flush_own(transport->loop, (PyObject *)transport) < 0)) {
        return -1;
    }
    if (transport->is_lost || transport->conn_lost > 0 ||
        hl_transport_is_queued(transport)) {
        return 0;
    }
    return queue_drained(transport);
}

static int
send_open(hl_transport *transport)
{
    return transport->conn_lost == 0 && !transport->is_lost ? send_queued(transport)
                                                            : 0;
}

int
hl_datagram_on_writable(hl_loop *loop, PyObject *self, PyObject *unused)
{
    hl_transport *transport = hl_transport_of(self);
    if (hl_transport_is_write_stale(loop, transport)) {
        return 0;
    }
    return hl_transport_run(loop,
                            transport,
                            &transport->rare->write_context,
                            send_open,
                            loop->state->str._sendto_ready);
}

PyObject *
hl_datagram_sendto_ready(PyObject *self, PyObject *unused)
{
    return hl_transport_do(self, send_open);
}
