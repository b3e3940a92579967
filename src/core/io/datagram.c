/* The datagram transport's type, and receiving: see datagram.h.
 *
 * A batch is received into memory that the loop's datagram transports lend each other, and
 * delivered at once.  If the protocol wants no more in the middle of one (it pauses, it stops
 * the loop), the rest stays with the transport, and goes first when it goes on. */
#include "io/datagram.h"

#include "io/transport_face.h"
#include "py/error.h"
#include "py/types.h"
#include "sched/cork.h"

#include <errno.h>
#include <structmember.h>

/* What a socket's own recvfrom() is asked for, as asyncio's transports. */
enum { MAX_SIZE = HL_DATAGRAM_ROOM };

static const char READ_ERROR[] = "Fatal read error on datagram transport";

/* -- what is shared ----------------------------------------------------------------------------- */

static void
shared_free(void *memory)
{
    hl_datagram_shared *shared = memory;
    hl_address_cache_clear(&shared->addresses);
    hl_datagram_batch_free(shared->batch);
    Py_XDECREF(shared->context);
    PyMem_Free(shared);
}

/* Make it at the first transport of a loop.  Returns 0, or -1 with MemoryError. */
static int
shared_prepare(hl_loop *loop)
{
    if (loop->shared != NULL) {
        return 0;
    }
    loop->shared = PyMem_Calloc(1, sizeof(hl_datagram_shared));
    if (loop->shared == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    loop->free_shared = shared_free;
    return 0;
}

hl_datagram_shared *
hl_datagram_shared_of(const hl_loop *loop)
{
    return HL_FREE_THREADED && hl_loop_owner(loop) != hl_thread_ident() ? NULL
                                                                        : loop->shared;
}

static hl_address_cache *
cache_of(const hl_loop *loop)
{
    hl_datagram_shared *shared = hl_datagram_shared_of(loop);
    return shared != NULL ? &shared->addresses : NULL;
}

/* A batch to fill: the shared one, which nobody else uses meanwhile, or a new one.  Returns
 * it, or NULL with MemoryError. */
static hl_datagram_batch *
batch_take(const hl_loop *loop)
{
    hl_datagram_shared *shared = hl_datagram_shared_of(loop);
    hl_datagram_batch *batch = shared != NULL ? shared->batch : NULL;
    if (batch != NULL) {
        shared->batch = NULL;
        return batch;
    }
    batch = hl_datagram_batch_new();
    if (batch == NULL) {
        PyErr_NoMemory();
    }
    return batch;
}

/* The batch is done with; loop may be NULL. */
static void
batch_give_back(const hl_loop *loop, hl_datagram_batch *batch)
{
    hl_datagram_shared *shared = loop != NULL ? hl_datagram_shared_of(loop) : NULL;
    if (shared == NULL || shared->batch != NULL) {
        hl_datagram_batch_free(batch);
        return;
    }
    hl_datagram_batch_drop(batch);
    shared->batch = batch;
}

/* -- delivering --------------------------------------------------------------------------------- */

/* protocol.datagram_received(data, address).  Returns 0, or -1 with what it raised. */
static int
call_datagram_received(hl_transport *transport, PyObject *data, PyObject *address)
{
    /* Held: the protocol may be exchanged while it runs. */
    PyObject *protocol =
        Py_NewRef(transport->protocol != NULL ? transport->protocol : Py_None);
    PyObject *stack[] = {protocol, data, address};
    PyObject *result = PyObject_VectorcallMethod(
        transport->loop->state->str.datagram_received, stack, 3, NULL);
    Py_DECREF(protocol);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

static int
deliver_one(hl_transport *transport, const hl_datagram_in *datagram)
{
    PyObject *data =
        PyBytes_FromStringAndSize(datagram->data, (Py_ssize_t)datagram->length);
    PyObject *address = data != NULL
                            ? hl_address_cache_object(cache_of(transport->loop),
                                                      datagram->name,
                                                      datagram->name_length)
                            : NULL;
    if (address == NULL) {
        Py_XDECREF(data);
        return hl_transport_fail(transport, READ_ERROR);
    }
    int error = call_datagram_received(transport, data, address);
    Py_DECREF(data);
    Py_DECREF(address);
    return error;
}

static bool
is_ended(const hl_transport *transport)
{
    return transport->is_closing || transport->is_lost;
}

/* Deliver the transport's batch, until the protocol wants no more; then the rest stays where
 * it is.  The batch is looked up again each time: a call may make the transport receive.
 * Returns 0, or -1 with what a call raised. */
static int
deliver(hl_transport *transport)
{
    const hl_loop *loop = transport->loop; /* held by our caller */
    hl_datagram *self = hl_datagram_of(transport);
    hl_datagram_in datagram;
    int error = 0;
    while (error == 0 && !is_ended(transport) && !transport->is_paused &&
           self->batch != NULL && hl_datagram_next(self->batch, &datagram)) {
        error = deliver_one(transport, &datagram);
        if (hl_loop_is_stopping(loop)) {
            break;
        }
    }
    if (self->batch != NULL &&
        (is_ended(transport) || !hl_datagram_batch_has_more(self->batch))) {
        batch_give_back(loop, self->batch);
        self->batch = NULL;
    }
    return error;
}

/* True if datagrams are kept that may be delivered. */
static bool
has_kept(const hl_transport *transport)
{
    const hl_datagram *self = (const hl_datagram *)transport;
    return hl_transport_is_watched(transport, HL_POLL_READ) && self->batch != NULL &&
           hl_datagram_batch_has_more(self->batch);
}

static int deliver_soon(hl_transport *transport);

/* Run body as an event does, and then deliver what is left: after an exception the rest goes
 * on, because on asyncio each datagram has an event of its own.  What may not go on in this
 * entry does so in another.  Returns 0, or -1 with an exception that must leave the loop. */
static int
run_and_deliver(hl_loop *loop, hl_transport *transport, int (*body)(hl_transport *))
{
    PyObject *name = loop->state->str._read_ready;
    int error = hl_transport_run(loop, transport, &transport->read_context, body, name);
    while (error == 0 && has_kept(transport) && !hl_loop_is_stopping(loop)) {
        error =
            hl_transport_run(loop, transport, &transport->read_context, deliver, name);
    }
    if (!has_kept(transport)) {
        return error;
    }
    PyObject *exception = error < 0 ? PyErr_GetRaisedException() : NULL;
    if (deliver_soon(transport) < 0) {
        error = -1;
    }
    if (exception != NULL) {
        PyErr_SetRaisedException(exception); /* the first one counts */
    }
    return error;
}

/* hl_run of deliver_soon. */
static int
run_kept(hl_loop *loop, PyObject *self, PyObject *unused)
{
    hl_transport *transport = hl_transport_of(self);
    return has_kept(transport) ? run_and_deliver(loop, transport, deliver) : 0;
}

/* Have what is kept delivered in an entry of its own.  Returns 0 or -1. */
static int
deliver_soon(hl_transport *transport)
{
    return hl_loop_push(
        transport->loop, run_kept, Py_NewRef((PyObject *)transport), NULL);
}

/* Reading begins or goes on: hl_transport_kind.resumed. */
static int
datagram_resumed(hl_transport *transport)
{
    return has_kept(transport) ? deliver_soon(transport) : 0;
}

/* -- errors ------------------------------------------------------------------------------------- */

/* protocol.error_received() with the raised exception. */
static int
call_error_received(hl_transport *transport)
{
    PyObject *exception = PyErr_GetRaisedException();
    PyObject *protocol =
        Py_NewRef(transport->protocol != NULL ? transport->protocol : Py_None);
    PyObject *result =
        hl_call_handling(exception, protocol, "error_received", "(O)", exception);
    Py_DECREF(protocol);
    Py_DECREF(exception);
    Py_XDECREF(result);
    return result != NULL ? HL_DATAGRAM_FAILED : -1;
}

int
hl_datagram_error_received(hl_transport *transport, int error)
{
    hl_error_set(error);
    return call_error_received(transport);
}

int
hl_datagram_socket_failed(hl_transport *transport, const char *message)
{
    if (PyErr_ExceptionMatches(PyExc_BlockingIOError) ||
        PyErr_ExceptionMatches(PyExc_InterruptedError)) {
        PyErr_Clear(); /* those two: not now */
        return HL_DATAGRAM_NOT_NOW;
    }
    if (PyErr_ExceptionMatches(PyExc_OSError)) {
        return call_error_received(transport);
    }
    return hl_transport_fail(transport, message) < 0 ? -1 : HL_DATAGRAM_FAILED;
}

/* -- receiving ---------------------------------------------------------------------------------- */

/* By the socket's own recvfrom(): one datagram. */
static int
receive_by_socket(hl_transport *transport)
{
    PyObject *sock = hl_transport_socket(transport);
    PyObject *answer =
        sock != NULL ? PyObject_CallMethod(sock, "recvfrom", "i", MAX_SIZE) : NULL;
    Py_XDECREF(sock);
    if (answer == NULL) {
        return hl_datagram_socket_failed(transport, READ_ERROR) < 0 ? -1 : 0;
    }
    PyObject *data, *address;
    int error = -1;
    if (PyArg_ParseTuple(answer, "OO:recvfrom", &data, &address)) {
        error = call_datagram_received(transport, data, address);
    }
    Py_DECREF(answer);
    return error;
}

/* One datagram by recvfrom() costs 0.6 us, by recvmmsg(), which looks for a second one, 0.8:
 * where they come one by one the former is used, but for every eighth time. */
enum { LONE_EVENTS = 4, LOOK_AGAIN = 8 };

static bool
expects_one(const hl_datagram *self)
{
    return self->lone_events >= LONE_EVENTS && self->lone_events % LOOK_AGAIN != 0;
}

static void
note_count(hl_datagram *self, int count)
{
    if (count > 1) {
        self->lone_events = 0;
    }
    else {
        self->lone_events++;
        if (self->lone_events == UINT8_MAX) {
            self->lone_events = LOOK_AGAIN;
        }
    }
}

static int
receive(hl_transport *transport)
{
    hl_datagram *self = hl_datagram_of(transport);
    if (self->batch != NULL) {
        return deliver(transport);
    }
    if (!self->is_native) {
        return receive_by_socket(transport);
    }
    hl_datagram_batch *batch = batch_take(transport->loop);
    if (batch == NULL) {
        return hl_transport_fail(transport, READ_ERROR);
    }
    size_t room =
        transport->family != AF_UNIX ? HL_DATAGRAM_ROOM_UDP : HL_DATAGRAM_ROOM;
    int count = hl_datagram_receive(
        hl_transport_descriptor(transport), batch, room, expects_one(self));
    if (count > 0) {
        note_count(self, count);
        self->batch = batch;
        return deliver(transport);
    }
    batch_give_back(transport->loop, batch);
    return count == -EAGAIN || hl_datagram_error_received(transport, count) > 0 ? 0
                                                                                : -1;
}

static int
receive_open(hl_transport *transport)
{
    return transport->conn_lost == 0 && !transport->is_lost ? receive(transport) : 0;
}

/* hl_run of a read event. */
static int
datagram_on_readable(hl_loop *loop, PyObject *self, PyObject *unused)
{
    hl_transport *transport = hl_transport_of(self);
    if (hl_transport_is_read_stale(loop, transport)) {
        return 0;
    }
    return run_and_deliver(loop, transport, receive_open);
}

static int
read_lock_held(hl_transport *transport)
{
    if (transport->conn_lost > 0 || transport->is_lost) {
        return 0;
    }
    int error = receive(transport);
    return error == 0 && has_kept(transport) ? deliver_soon(transport) : error;
}

static PyObject *
datagram_read_ready(PyObject *self, PyObject *unused)
{
    return hl_transport_do(self, read_lock_held);
}

/* -- life --------------------------------------------------------------------------------------- */

static const hl_transport_kind datagram_kind = {
    .on_readable = datagram_on_readable,
    .on_writable = hl_datagram_on_writable,
    .flush = hl_datagram_flush,
    .resumed = datagram_resumed,
    .is_socket = true,
};

/* Whether the kernel knows the receiver, by what get_extra_info("peername") says.  Asks for
 * all the names, which from here on are those of now: one that the kernel chooses at the first
 * send is not told. */
static int
note_names(hl_datagram *datagram)
{
    PyObject *extra = PyObject_GetAttrString((PyObject *)datagram, "_extra");
    PyObject *peer =
        extra != NULL
            ? PyDict_GetItemWithError(extra, datagram->base.loop->state->str.peername)
            : NULL; /* borrowed from extra */
    int is_connected = peer != NULL ? PyObject_IsTrue(peer) : -1;
    Py_XDECREF(extra);
    if (is_connected < 0) {
        return -1;
    }
    datagram->is_connected = is_connected;
    return 0;
}

/* Fill what a new transport has besides what all have.  Returns 0 or -1. */
static int
datagram_fill(hl_datagram *datagram, PyObject *address)
{
    int is_bound = PyObject_IsTrue(address);
    if (is_bound < 0 || shared_prepare(datagram->base.loop) < 0) {
        return -1;
    }
    datagram->address = Py_NewRef(address);
    datagram->is_bound_to_address = is_bound;
    datagram->is_native = hl_address_is_known(datagram->base.family);
    return note_names(datagram);
}

PyObject *
hl_datagram_make(hl_loop *loop, const hl_transport_arguments *arguments,
                 PyObject *address)
{
    hl_transport *transport = hl_transport_of_socket(
        loop->state->DatagramType, &datagram_kind, loop, arguments);
    if (transport == NULL) {
        return NULL;
    }
    if (datagram_fill(hl_datagram_of(transport), address) < 0) {
        /* Nobody has seen it: it closes its socket and warns of nothing. */
        PyObject *exception = PyErr_GetRaisedException();
        Py_CLEAR(transport->protocol);
        Py_DECREF(transport);
        PyErr_SetRaisedException(exception);
        return NULL;
    }
    if (hl_transport_begin(transport, arguments->waiter) < 0) {
        Py_DECREF(transport);
        return NULL;
    }
    return (PyObject *)transport;
}

static int
datagram_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(hl_datagram_of(hl_transport_of(self))->address);
    return hl_transport_traverse(self, visit, arg);
}

static int
datagram_clear(PyObject *self)
{
    Py_CLEAR(hl_datagram_of(hl_transport_of(self))->address);
    return hl_transport_clear(self);
}

static void
datagram_dealloc(PyObject *self)
{
    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    hl_datagram *datagram = hl_datagram_of(hl_transport_of(self));
    if (datagram->batch != NULL) {
        hl_datagram_batch_free(datagram->batch);
        datagram->batch = NULL;
    }
    Py_CLEAR(datagram->address);
    hl_transport_dealloc(self); /* the finalizer runs only once */
}

static PyObject *
queue_lock_held(hl_transport *transport)
{
    return hl_transport_flush_own(transport) < 0 ? NULL
                                                 : hl_datagram_queue_list(transport);
}

static PyObject *
get_datagram_queue(PyObject *self, void *closure)
{
    return hl_transport_ask(self, queue_lock_held);
}

static PyObject *
get_queue_size(PyObject *self, void *closure)
{
    return PyObject_CallMethod(self, "get_write_buffer_size", NULL);
}

static PyMethodDef datagram_methods[] = {
    HL_TRANSPORT_READING_METHODS,
    {"sendto",
     HL_FASTCALL(hl_datagram_sendto),
     METH_FASTCALL | METH_KEYWORDS,
     "sendto($self, data, addr=None)\n--\n\nSend data (bytes, bytearray or memoryview) to "
     "addr, or to the peer; never blocks.\n\n"
     "Within a callback of the loop what is sent goes out when the callback ends.  Not\n"
     "thread-safe.\n" HL_ASYNCIO_PROTOCOL "DatagramTransport.sendto"},
    {"_read_ready",
     datagram_read_ready,
     METH_NOARGS,
     "_read_ready($self)\n--\n\nReceive what waits and tell the protocol."},
    {"_sendto_ready",
     hl_datagram_sendto_ready,
     METH_NOARGS,
     "_sendto_ready($self)\n--\n\nSend from what is queued."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef datagram_getset[] = {
    {"_buffer", get_datagram_queue, NULL, NULL, NULL},
    {"_buffer_size", get_queue_size, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef datagram_members[] = {
    {"_address", T_OBJECT, offsetof(hl_datagram, address), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot datagram_slots[] = {
    {Py_tp_doc, "A datagram socket.\n\n" HL_ASYNCIO_PROTOCOL "DatagramTransport"},
    {Py_tp_traverse, datagram_traverse},
    {Py_tp_clear, datagram_clear},
    {Py_tp_dealloc, datagram_dealloc},
    {Py_tp_methods, datagram_methods},
    {Py_tp_getset, datagram_getset},
    {Py_tp_members, datagram_members},
    {0, NULL},
};

static PyType_Spec datagram_spec = {
    .name = "hotloop._core._SelectorDatagramTransport",
    .basicsize = sizeof(hl_datagram),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = datagram_slots,
};

int
hl_datagram_type_init(PyObject *module, hl_state *state)
{
    state->DatagramType = hl_type_new(module,
                                      &datagram_spec,
                                      state->TransportType,
                                      state->StockDatagramTransportType);
    if (state->DatagramType == NULL) {
        return -1;
    }
    PyObject *size = PyLong_FromLong(MAX_SIZE);
    int error =
        size != NULL
            ? PyObject_SetAttrString((PyObject *)state->DatagramType, "max_size", size)
            : -1;
    Py_XDECREF(size);
    return error;
}
