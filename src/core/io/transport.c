/* The life of a transport and its close machine: see transport.h for the states. */
#include "io/transport.h"

#include "io/client_set.h"
#include "poll/socket.h"
#include "py/context.h"
#include "py/error.h"
#include "sched/cork.h"
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
    transport->family = (int16_t)family;
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

int
hl_transport_end_nonblocking(hl_transport *transport)
{
    if (!transport->was_blocking || transport->sock == NULL) {
        return 0;
    }
    transport->was_blocking = false;
    PyObject *result = PyObject_CallMethod(transport->loop->state->transports,
                                           "end_nonblocking",
                                           "Oi",
                                           transport->sock,
                                           transport->fd);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* Leave the loop's table and close the descriptor, by the socket if there is one. */
static void
transport_close_descriptor(hl_transport *transport)
{
    hl_loop *loop = transport->loop;
    int fd = transport->fd;
    transport->is_lost = true;
    if (fd >= 0) {
        hl_watch_forget_transport(loop, fd, (PyObject *)transport);
    }
    if (hl_transport_end_nonblocking(transport) < 0) {
        PyErr_WriteUnraisable((PyObject *)transport);
    }
    PyObject *sock = transport->sock;
    transport->sock = NULL;
    if (sock != NULL) {
        PyObject *result = PyObject_CallMethod(sock, "close", NULL);
        if (result == NULL) {
            PyErr_WriteUnraisable(sock);
        }
        Py_XDECREF(result);
        Py_DECREF(sock);
    }
    else if (fd >= 0) {
        (void)hl_socket_close(fd); /* what close(2) reports is about lost writes */
    }
}

static int
transport_detach(hl_transport *transport)
{
    PyObject *server = transport->server;
    if (server == NULL) {
        return 0;
    }
    transport->server = NULL;
    PyObject *stack[] = {server, (PyObject *)transport};
    PyObject *result = PyObject_VectorcallMethod(transport->loop->state->str._detach,
                                                 stack,
                                                 HL_SERVERS_KNOW_CLIENTS ? 2 : 1,
                                                 NULL);
    Py_XDECREF(result);
    Py_DECREF(server);
    return result != NULL ? 0 : -1;
}

void
hl_transport_finalize(PyObject *self)
{
    hl_transport *transport = hl_transport_of(self);
    if (transport->is_lost || transport->loop == NULL || transport->fd < 0) {
        return;
    }
    PyObject *exception = PyErr_GetRaisedException();
    /* One that has no protocol never was anybody's. */
    if (transport->protocol != NULL &&
        PyErr_ResourceWarning(self, 1, "unclosed transport %R", self) < 0 &&
        PyErr_ExceptionMatches(PyExc_Warning)) {
        PyErr_WriteUnraisable(self);
    }
    PyErr_Clear(); /* what the warning's own repr raised */
    (void)hl_transport_unwatch(transport, HL_POLL_READ);
    (void)hl_transport_unwatch(transport, HL_POLL_WRITE);
    transport_close_descriptor(transport);
    if (transport_detach(transport) < 0) {
        PyErr_WriteUnraisable(self);
    }
    PyErr_SetRaisedException(exception);
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
    if (transport->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    hl_client_set_forget(transport);
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
    const hl_state *state = transport->loop->state;
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
    (void)loop;
    return hl_transport_start_reading(hl_transport_of(owner), Py_XNewRef(argument));
}

/* A context for events: that of all callbacks, or a copy of the current one.  New, or NULL. */
static PyObject *
transport_event_context(const hl_transport *transport)
{
    PyObject *context = hl_transport_context(transport);
    return context != NULL ? Py_NewRef(context)
                           : hl_context_copy_current(transport->loop->state);
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
    PyObject *context = transport_event_context(transport);
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

/* -- watching ------------------------------------------------------------------------------------ */

int
hl_transport_watch(hl_transport *transport, int kind, PyObject *context)
{
    hl_loop *loop = transport->loop;
    bool is_read = kind == HL_POLL_READ;
    if (context == NULL) {
        context = transport_event_context(transport);
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

/* -- the end --------------------------------------------------------------------------------------- */

int
hl_transport_lose_soon(hl_transport *transport, PyObject *exc)
{
    hl_loop *loop = transport->loop;
    PyObject *lose =
        PyObject_GetAttr((PyObject *)transport, loop->state->str._call_connection_lost);
    int error = lose != NULL ? hl_call_soon(loop->state,
                                            (PyObject *)loop,
                                            lose,
                                            exc != NULL ? exc : Py_None,
                                            hl_transport_context(transport))
                             : -1;
    Py_XDECREF(lose);
    return error;
}

int
hl_transport_close(hl_transport *transport)
{
    if (transport->is_closing || transport->is_lost) {
        return 0;
    }
    if (hl_cork_flush_own(transport->loop, (PyObject *)transport) < 0) {
        return -1;
    }
    if (transport->is_closing) {
        return 0; /* the flush failed */
    }
    transport->is_closing = true;
    if (hl_transport_unwatch(transport, HL_POLL_READ) < 0) {
        return -1;
    }
    if (hl_transport_queued(transport) > 0) {
        return 0; /* the rest follows when it is sent */
    }
    transport->conn_lost++;
    return hl_transport_unwatch(transport, HL_POLL_WRITE) < 0
               ? -1
               : hl_transport_lose_soon(transport, NULL);
}

int
hl_transport_force_close(hl_transport *transport, PyObject *exc)
{
    if (transport->conn_lost > 0 || transport->is_lost) {
        return 0;
    }
    /* What was written before reached the kernel on asyncio. */
    if (hl_cork_flush_own(transport->loop, (PyObject *)transport) < 0) {
        return -1;
    }
    if (transport->conn_lost > 0) {
        return 0;
    }
    hl_transport_drop_queue(transport);
    transport->is_closing = true;
    transport->conn_lost++;
    int error = hl_transport_unwatch(transport, HL_POLL_WRITE);
    if (hl_transport_unwatch(transport, HL_POLL_READ) < 0) {
        error = -1;
    }
    return error < 0 ? -1 : hl_transport_lose_soon(transport, exc);
}

int
hl_transport_note_lost_write(hl_transport *transport)
{
    /* asyncio.constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES */
    enum { LOG_THRESHOLD = 5 };
    if (transport->conn_lost >= LOG_THRESHOLD) {
        PyObject *result =
            PyObject_CallMethod(hl_state_of((PyObject *)transport)->transports,
                                transport->kind->is_socket ? "warn_of_lost_write"
                                                           : "warn_of_lost_pipe_write",
                                NULL);
        if (result == NULL) {
            return -1;
        }
        Py_DECREF(result);
    }
    if (transport->conn_lost < UINT16_MAX) {
        transport->conn_lost++;
    }
    return 0;
}

int
hl_transport_fail(hl_transport *transport, const char *message)
{
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
        PyErr_ExceptionMatches(PyExc_SystemExit)) {
        return -1;
    }
    PyObject *exception = PyErr_GetRaisedException();
    int error = 0;
    bool is_quiet = PyObject_TypeCheck(exception, (PyTypeObject *)PyExc_OSError) &&
                    transport->loop != NULL && !transport->loop->is_debug;
    if (!is_quiet && transport->loop != NULL) {
        PyObject *result = PyObject_CallMethod(transport->loop->state->transports,
                                               "transport_failed",
                                               "OsOO",
                                               (PyObject *)transport->loop,
                                               message,
                                               exception,
                                               (PyObject *)transport);
        error = result != NULL ? 0 : -1;
        Py_XDECREF(result);
    }
    if (error == 0 && transport->loop != NULL) {
        error = hl_transport_force_close(transport, exception);
    }
    Py_DECREF(exception);
    return error;
}

int
hl_transport_fail_errno(hl_transport *transport, int error, const char *message)
{
    hl_error_set(error);
    return hl_transport_fail(transport, message);
}

/* Somebody may ask for the addresses later on. */
static void
transport_keep_local(hl_transport *transport)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    if (!hl_address_is_known(transport->family) ||
        Py_REFCNT((PyObject *)transport) <= 1 ||
        getsockname(transport->fd, (struct sockaddr *)&address, &length) < 0) {
        return;
    }
    hl_transport_rare *rare = hl_transport_need_rare(transport);
    if (rare != NULL && rare->local == NULL) {
        rare->local = hl_address_store((struct sockaddr *)&address, length);
    }
    PyErr_Clear(); /* MemoryError: it will be None then */
}

/* What asyncio does in `finally`: everything is given up, whatever connection_lost did. */
static int
transport_give_up(hl_transport *transport)
{
    PyObject *loop = (PyObject *)transport->loop; /* held to the end */
    PyObject *protocol = transport->protocol;
    int error = hl_transport_unwatch(transport, HL_POLL_READ);
    if (hl_transport_unwatch(transport, HL_POLL_WRITE) < 0) {
        error = -1;
    }
    hl_transport_drop_queue(transport);
    transport_keep_local(transport);
    transport_close_descriptor(transport);
    transport->protocol = NULL;
    if (transport_detach(transport) < 0) {
        error = -1;
    }
    transport->loop = NULL;
    Py_XDECREF(protocol);
    Py_DECREF(loop);
    return error;
}

/* Whoever waits for the queue to become empty waits in vain. */
static int
transport_fail_waiter(hl_transport *transport)
{
    PyObject *waiter = transport->rare != NULL ? transport->rare->empty_waiter : NULL;
    if (waiter == NULL) {
        return 0;
    }
    PyObject *exception = PyObject_CallFunction(
        PyExc_ConnectionError, "s", "Connection is closed by peer");
    PyObject *result =
        exception != NULL ? PyObject_CallMethod(waiter, "set_exception", "O", exception)
                          : NULL;
    Py_XDECREF(exception);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

int
hl_transport_lose(hl_transport *transport, PyObject *exc)
{
    if (transport->is_lost) {
        return 0;
    }
    int error = 0;
    PyObject *exception = NULL;
    if (transport->is_protocol_connected) {
        PyObject *result = hl_transport_call(
            transport, transport->loop->state->str.connection_lost, exc);
        error = result != NULL ? 0 : -1;
        Py_XDECREF(result);
        exception = PyErr_GetRaisedException();
    }
    if (!transport->is_lost && transport_give_up(transport) < 0) {
        error = -1;
    }
    if (transport_fail_waiter(transport) < 0) {
        error = -1;
    }
    if (exception != NULL) {
        PyErr_SetRaisedException(exception);
    }
    return error;
}
