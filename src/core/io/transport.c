/* The life of a transport, its protocol, and how it begins: see transport.h for the states.
 * Its events are in transport_watch.c, its end in transport_end.c. */
#include "io/transport.h"

#include "io/client_set.h"
#include "py/error.h"
#include "sched/handle.h"
#include "sched/watch.h"
#include "task/future.h"
#include "task/future_callbacks.h"

/* -- life ---------------------------------------------------------------------------------- */

hl_transport *
hl_transport_new(PyTypeObject *type, const hl_transport_kind *kind, hl_loop *loop,
                 int fd, int family)
{
    hl_transport *transport = (hl_transport *)type->tp_alloc(type, 0);
    if (transport == NULL) {
        return NULL;
    }
    hl_count_new(loop->state, HL_COUNT_TRANSPORT);
    transport->kind = kind;
    transport->fd = -1;
    transport->family = (uint8_t)family;
    transport->loop = (hl_loop *)Py_NewRef((PyObject *)loop);
    if (kind->is_socket &&
        hl_watch_set_transport(loop, fd, (PyObject *)transport) < 0) {
        Py_DECREF(transport);
        return NULL;
    }
    transport->fd = fd;
    return transport;
}

hl_transport_rare *
hl_transport_need_rare(hl_transport *transport)
{
    if (transport->rare == NULL) {
        transport->rare = PyMem_Calloc(1, sizeof(*transport->rare));
        if (transport->rare == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        transport->rare->high_water = HL_HIGH_WATER;
        transport->rare->low_water = HL_LOW_WATER;
    }
    return transport->rare;
}

int
hl_transport_attach(hl_transport *transport, PyObject *server)
{
    hl_state *state = transport->loop->state;
    PyObject *stack[] = {server, (PyObject *)transport};
    PyObject *result = PyObject_VectorcallMethod(
        state->str._attach, stack, HL_SERVERS_KNOW_CLIENTS ? 2 : 1, NULL);
    if (result == NULL) {
        return -1;
    }
    Py_DECREF(result);
    transport->server = Py_NewRef(server);
    return 0;
}

int
hl_transport_set_peer(hl_transport *transport, const struct sockaddr *address,
                      socklen_t length)
{
    transport->is_peer_ipv4 = hl_ipv4_read(address, length, &transport->peer.ipv4);
    if (!transport->is_peer_ipv4) {
        transport->peer.stored = hl_address_store(address, length);
        return transport->peer.stored != NULL ? 0 : -1;
    }
    return 0;
}

/* Remember who the peer is while the kernel knows.  Not connected: no peer. */
static int
transport_note_peer(hl_transport *transport)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    if (!hl_address_is_known(transport->family) ||
        getpeername(transport->fd, (struct sockaddr *)&address, &length) < 0) {
        return 0;
    }
    return hl_transport_set_peer(transport, (struct sockaddr *)&address, length);
}

/* Fill a new transport with what was given. */
static int
transport_fill(hl_transport *transport, const hl_transport_arguments *arguments)
{
    PyObject *extra = arguments->extra;
    if (extra != NULL && extra != Py_None) {
        transport->extra = PyDict_New();
        if (transport->extra == NULL || PyDict_Update(transport->extra, extra) < 0) {
            return -1;
        }
    }
    if (arguments->context != NULL && arguments->context != Py_None) {
        hl_transport_rare *rare = hl_transport_need_rare(transport);
        if (rare == NULL) {
            return -1;
        }
        rare->context = Py_NewRef(arguments->context);
    }
    if (transport_note_peer(transport) < 0 ||
        hl_transport_set_protocol(transport, arguments->protocol) < 0) {
        return -1;
    }
    PyObject *server = arguments->server;
    return server != NULL && server != Py_None ? hl_transport_attach(transport, server)
                                               : 0;
}

static int
integer_attribute(PyObject *object, const char *name, int *value)
{
    PyObject *number = PyObject_GetAttrString(object, name);
    *value = number != NULL ? PyLong_AsInt(number) : -1;
    Py_XDECREF(number);
    return *value == -1 && PyErr_Occurred() ? -1 : 0;
}

hl_transport *
hl_transport_of_socket(PyTypeObject *type, const hl_transport_kind *kind, hl_loop *loop,
                       const hl_transport_arguments *arguments)
{
    int family;
    PyObject *sock = arguments->sock;
    PyObject *number = PyObject_CallMethod(sock, "fileno", NULL);
    int fd = number != NULL ? PyLong_AsInt(number) : -1;
    Py_XDECREF(number);
    if (fd < 0) {
        if (!PyErr_Occurred()) {
            hl_error_set(-EBADF);
        }
        return NULL;
    }
    if (integer_attribute(sock, "family", &family) < 0) {
        return NULL;
    }
    hl_transport *transport = hl_transport_new(type, kind, loop, fd, family);
    if (transport == NULL) {
        return NULL;
    }
    transport->sock = Py_NewRef(sock);
    if (transport_fill(transport, arguments) < 0) {
        /* Nobody has seen it: it closes its socket and warns of nothing. */
        PyObject *exception = PyErr_GetRaisedException();
        Py_CLEAR(transport->protocol);
        Py_DECREF(transport);
        PyErr_SetRaisedException(exception);
        return NULL;
    }
    return transport;
}

int
hl_transport_traverse(PyObject *self, visitproc visit, void *arg)
{
    hl_transport *transport = hl_transport_of(self);
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(transport->extra);
    Py_VISIT(transport->dict);
    Py_VISIT((PyObject *)transport->loop);
    Py_VISIT(transport->protocol);
    Py_VISIT(transport->read_context);
    Py_VISIT(transport->sock);
    Py_VISIT(transport->server);
    if (transport->rare != NULL) {
        Py_VISIT(transport->rare->context);
        Py_VISIT(transport->rare->write_context);
        Py_VISIT(transport->rare->empty_waiter);
    }
    return 0;
}

int
hl_transport_clear(PyObject *self)
{
    hl_transport *transport = hl_transport_of(self);
    Py_CLEAR(transport->extra);
    Py_CLEAR(transport->dict);
    Py_CLEAR(transport->protocol);
    Py_CLEAR(transport->read_context);
    Py_CLEAR(transport->server);
    if (transport->rare != NULL) {
        Py_CLEAR(transport->rare->context);
        Py_CLEAR(transport->rare->write_context);
        Py_CLEAR(transport->rare->empty_waiter);
    }
    return 0;
}

static void
transport_free_parts(hl_transport *transport)
{
    if (!transport->is_peer_ipv4) {
        PyMem_Free(transport->peer.stored);
    }
    if (transport->rare != NULL) {
        PyMem_Free(transport->rare->local);
        PyMem_Free(transport->rare);
    }
}

void
hl_transport_dealloc(PyObject *self)
{
    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    hl_transport *transport = hl_transport_of(self);
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    hl_client_set_forget(transport); /* first: nobody may find it who is called below */
    if (transport->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    hl_transport_drop_queue(transport);
    (void)hl_transport_clear(self);
    transport_free_parts(transport);
    Py_CLEAR(transport->sock);
    Py_CLEAR(transport->loop);
    hl_count_free(hl_state_in_dealloc(type), HL_COUNT_TRANSPORT);
    type->tp_free(self);
    Py_DECREF(type);
}

/* -- calling the protocol -------------------------------------------------------------------- */

int
hl_transport_set_protocol(hl_transport *transport, PyObject *protocol)
{
    const hl_state *state = hl_state_of((PyObject *)transport);
    int is_buffered =
        PyObject_IsInstance(protocol, (PyObject *)state->BufferedProtocolType);
    if (is_buffered < 0) {
        return -1;
    }
    transport->is_buffered = is_buffered;
    transport->is_tls = PyObject_TypeCheck(protocol, state->TLSType);
    transport->is_protocol_connected = true;
    Py_XSETREF(transport->protocol, Py_NewRef(protocol));
    return 0;
}

PyObject *
hl_transport_call(hl_transport *transport, PyObject *name, PyObject *argument)
{
    /* Held: the protocol may be exchanged while it runs. */
    PyObject *protocol =
        Py_NewRef(transport->protocol != NULL ? transport->protocol : Py_None);
    PyObject *stack[] = {protocol, argument};
    PyObject *result =
        PyObject_VectorcallMethod(name, stack, argument != NULL ? 2 : 1, NULL);
    Py_DECREF(protocol);
    return result;
}

/* -- beginning ----------------------------------------------------------------------------------- */

/* hl_run of the entry that begins to read; argument is the context for that. */
static int
run_start_reading(hl_loop *loop, PyObject *owner, PyObject *argument)
{
    int error;
    if (loop->current_task != NULL) {
        hl_loop_clear_current_task(loop); /* who reports an error runs in no task */
    }
    Py_BEGIN_CRITICAL_SECTION(owner);
    error = hl_transport_start_reading(hl_transport_of(owner), Py_XNewRef(argument));
    Py_END_CRITICAL_SECTION();
    /* The kernel watches no more descriptors, or not this one. */
    return error < 0 ? hl_handle_report_method(
                           loop, owner, loop->state->str._start_reading, argument)
                     : 0;
}

/* Schedule run_start_reading; through call_soon where somebody looks at the handles. */
static int
transport_read_soon(hl_transport *transport)
{
    hl_loop *loop = transport->loop;
    if (!hl_loop_is_direct(loop)) {
        PyObject *start =
            PyObject_GetAttr((PyObject *)transport, loop->state->str._start_reading);
        int error = start != NULL ? hl_call_soon(loop->state,
                                                 (PyObject *)loop,
                                                 start,
                                                 NULL,
                                                 hl_transport_context(transport))
                                  : -1;
        Py_XDECREF(start);
        return error;
    }
    PyObject *context = hl_transport_event_context(transport);
    if (context == NULL) {
        return -1;
    }
    return hl_loop_push(
        loop, run_start_reading, Py_NewRef((PyObject *)transport), context);
}

/* hl_run of the entry that wakes a native future. */
static int
run_wake(hl_loop *loop, PyObject *owner, PyObject *unused)
{
    hl_future *waiter = (hl_future *)owner;
    int error = 0;
    if (loop->current_task != NULL) {
        hl_loop_clear_current_task(loop);
    }
    Py_BEGIN_CRITICAL_SECTION(owner);
    if (waiter->state == HL_PENDING) {
        error = hl_future_set_result_lock_held(loop->state, waiter, Py_None);
    }
    Py_END_CRITICAL_SECTION();
    return error;
}

/* waiter.set_result(None) unless it was cancelled, soon. */
static int
transport_wake_soon(hl_transport *transport, PyObject *waiter)
{
    hl_loop *loop = transport->loop;
    hl_state *state = loop->state;
    if (hl_loop_is_direct(loop) && Py_IS_TYPE(waiter, state->FutureType)) {
        return hl_loop_push(loop, run_wake, Py_NewRef(waiter), NULL);
    }
    PyObject *call = PyObject_CallFunctionObjArgs(
        state->partial, state->set_result_unless_cancelled, waiter, Py_None, NULL);
    int error =
        call != NULL
            ? hl_call_soon(
                  state, (PyObject *)loop, call, NULL, hl_transport_context(transport))
            : -1;
    Py_XDECREF(call);
    return error;
}

int
hl_transport_begin(hl_transport *transport, PyObject *waiter)
{
    hl_loop *loop = transport->loop;
    PyObject *made =
        PyObject_GetAttr(transport->protocol, loop->state->str.connection_made);
    if (made == NULL) {
        return -1;
    }
    int error = hl_call_soon(loop->state,
                             (PyObject *)loop,
                             made,
                             (PyObject *)transport,
                             hl_transport_context(transport));
    Py_DECREF(made);
    if (error < 0 || transport_read_soon(transport) < 0) {
        return -1;
    }
    return waiter != NULL && waiter != Py_None ? transport_wake_soon(transport, waiter)
                                               : 0;
}

int
hl_transport_start_reading(hl_transport *transport, PyObject *context)
{
    if (transport->is_closing || transport->is_paused || transport->is_lost) {
        Py_XDECREF(context);
        return 0;
    }
    if (hl_transport_watch(transport, HL_POLL_READ, context) < 0) {
        return -1;
    }
    return transport->kind->resumed != NULL ? transport->kind->resumed(transport) : 0;
}
