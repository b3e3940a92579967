/* The Python face that all transports share: hotloop._core._Transport, the base type.
 *
 * The methods are those of asyncio.BaseTransport, ReadTransport and WriteTransport that do
 * not depend on the kind of descriptor; names with an underscore are what asyncio's own code
 * and real programs read of its selector transports.
 * https://docs.python.org/3/library/asyncio-protocol.html#transports */
#include "io/transport.h"

#include "py/args.h"
#include "py/types.h"
#include "sched/cork.h"
#include "sched/handle_slots.h"
#include "sched/watch.h"

#include <structmember.h>

/* -- the socket and extra information --------------------------------------------------------- */

PyObject *
hl_transport_socket(hl_transport *transport)
{
    if (transport->is_lost || transport->loop == NULL) {
        return Py_None;
    }
    if (transport->sock == NULL) {
        transport->sock = PyObject_CallMethod(
            transport->loop->state->transports, "adopt_socket", "i", transport->fd);
    }
    return transport->sock;
}

/* A name of the descriptor: getsockname or getpeername of the socket; None if it has none. */
static PyObject *
name_by_socket(hl_transport *transport, const char *method)
{
    PyObject *sock = hl_transport_socket(transport);
    if (sock == NULL) {
        return NULL;
    }
    PyObject *name =
        sock != Py_None ? PyObject_CallMethod(sock, method, NULL) : Py_NewRef(Py_None);
    if (name == NULL && PyErr_ExceptionMatches(PyExc_OSError)) {
        PyErr_Clear(); /* OSError: not bound, or not connected */
        return Py_NewRef(Py_None);
    }
    return name;
}

static PyObject *
make_sockname(hl_transport *transport)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    if (transport->rare != NULL && transport->rare->local != NULL) {
        return hl_address_stored_object(transport->rare->local);
    }
    if (transport->is_lost || !hl_address_is_known(transport->family)) {
        return name_by_socket(transport, "getsockname");
    }
    if (getsockname(transport->fd, (struct sockaddr *)&address, &length) < 0) {
        return Py_NewRef(Py_None);
    }
    return hl_address_object((struct sockaddr *)&address, length);
}

static PyObject *
make_peername(hl_transport *transport)
{
    if (transport->is_peer_ipv4) {
        return hl_ipv4_object(&transport->peer.ipv4);
    }
    if (transport->peer.stored != NULL) {
        return hl_address_stored_object(transport->peer.stored);
    }
    return hl_address_is_known(transport->family)
               ? Py_NewRef(Py_None)
               : name_by_socket(transport, "getpeername");
}

static PyObject *
make_transport_socket(hl_transport *transport)
{
    PyObject *sock = hl_transport_socket(transport);
    if (sock == NULL) {
        return NULL;
    }
    hl_state *state = hl_state_of((PyObject *)transport);
    PyObject *loop = transport->loop != NULL ? (PyObject *)transport->loop : Py_None;
    return PyObject_CallMethod(state->transports, "transport_socket", "OO", loop, sock);
}

/* The value of one of the names that are made when first asked for: new; NULL without an
 * exception if name is none of them. */
static PyObject *
make_extra(hl_transport *transport, PyObject *name)
{
    const hl_state *state = hl_state_of((PyObject *)transport);
    if (!transport->kind->is_socket || !PyUnicode_CheckExact(name)) {
        return NULL;
    }
    if (PyUnicode_Compare(name, state->str.peername) == 0) {
        return make_peername(transport);
    }
    if (PyUnicode_Compare(name, state->str.sockname) == 0) {
        return make_sockname(transport);
    }
    if (PyUnicode_Compare(name, state->str.socket) == 0) {
        return make_transport_socket(transport);
    }
    return NULL;
}

/* extra[name], made if need be.  *value is new, or NULL if there is no such name. */
static int
extra_lookup(hl_transport *transport, PyObject *name, PyObject **value)
{
    *value = NULL;
    if (transport->extra == NULL) {
        transport->extra = PyDict_New();
        if (transport->extra == NULL) {
            return -1;
        }
    }
    if (PyDict_GetItemRef(transport->extra, name, value) < 0) {
        return -1;
    }
    if (*value != NULL) {
        return 0;
    }
    *value = make_extra(transport, name);
    if (*value == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    return PyDict_SetItem(transport->extra, name, *value);
}

PyObject *
hl_transport_get_extra_info_method(PyObject *self, PyObject *const *args,
                                   Py_ssize_t nargs, PyObject *kwnames)
{
    hl_transport *transport = hl_transport_of(self);
    const hl_state *state = hl_state_of(self);
    PyObject *const names[] = {state->str.name, state->str.default_, NULL};
    PyObject *values[2] = {NULL, Py_None};
    if (hl_args_parse("get_extra_info", args, nargs, kwnames, names, 1, 2, values) <
        0) {
        return NULL;
    }
    /* Options set on the raw socket apply to what is sent from then on. */
    if (transport->loop != NULL && hl_cork_flush_own(transport->loop, self) < 0) {
        return NULL;
    }
    PyObject *value;
    if (extra_lookup(transport, values[0], &value) < 0) {
        Py_XDECREF(value);
        return NULL;
    }
    return value != NULL ? value : Py_NewRef(values[1]);
}

/* The dict with everything in it, for code that reads transport._extra. */
PyObject *
hl_transport_get_extra(PyObject *self, void *closure)
{
    hl_transport *transport = hl_transport_of(self);
    const hl_state *state = hl_state_of(self);
    PyObject *const names[] = {
        state->str.socket, state->str.sockname, state->str.peername};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        PyObject *value;
        int error = extra_lookup(transport, names[i], &value);
        Py_XDECREF(value);
        if (error < 0) {
            return NULL;
        }
    }
    return Py_NewRef(transport->extra);
}

int
hl_transport_set_extra(PyObject *self, PyObject *value, void *closure)
{
    if (value == NULL || !PyDict_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "_extra must be a dict");
        return -1;
    }
    Py_XSETREF(hl_transport_of(self)->extra, Py_NewRef(value));
    return 0;
}

/* -- protocol ------------------------------------------------------------------------------------ */

PyObject *
hl_transport_set_protocol_method(PyObject *self, PyObject *protocol)
{
    hl_transport *transport = hl_transport_of(self);
    if (transport->loop == NULL) {
        /* Lost: nobody will be called any more. */
        Py_XSETREF(transport->protocol, Py_NewRef(protocol));
        Py_RETURN_NONE;
    }
    if (hl_cork_flush_own(transport->loop, self) < 0 ||
        hl_transport_set_protocol(transport, protocol) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
hl_transport_get_protocol_method(PyObject *self, PyObject *unused)
{
    PyObject *protocol = hl_transport_of(self)->protocol;
    return Py_NewRef(protocol != NULL ? protocol : Py_None);
}

int
hl_transport_set_protocol_attribute(PyObject *self, PyObject *value, void *closure)
{
    PyObject *result =
        hl_transport_set_protocol_method(self, value != NULL ? value : Py_None);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

PyObject *
hl_transport_get_protocol_attribute(PyObject *self, void *closure)
{
    return hl_transport_get_protocol_method(self, NULL);
}

/* -- reading ---------------------------------------------------------------------------------------- */

static int
log_debug(const hl_transport *transport, const char *text)
{
    if (transport->loop == NULL || !transport->loop->is_debug) {
        return 0;
    }
    PyObject *result = PyObject_CallMethod(transport->loop->state->transports,
                                           "log_debug",
                                           "sO",
                                           text,
                                           (PyObject *)transport);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

static bool
transport_reads(const hl_transport *transport)
{
    return !transport->is_closing && !transport->is_paused;
}

PyObject *
hl_transport_is_reading_method(PyObject *self, PyObject *unused)
{
    return PyBool_FromLong(transport_reads(hl_transport_of(self)));
}

PyObject *
hl_transport_pause_reading_method(PyObject *self, PyObject *unused)
{
    hl_transport *transport = hl_transport_of(self);
    if (!transport_reads(transport)) {
        Py_RETURN_NONE;
    }
    transport->is_paused = true;
    if (hl_transport_unwatch(transport, HL_POLL_READ) < 0 ||
        log_debug(transport, "%r pauses reading") < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
hl_transport_resume_reading_method(PyObject *self, PyObject *unused)
{
    hl_transport *transport = hl_transport_of(self);
    if (transport->is_closing || !transport->is_paused) {
        Py_RETURN_NONE;
    }
    transport->is_paused = false;
    if (hl_transport_start_reading(transport, NULL) < 0 ||
        log_debug(transport, "%r resumes reading") < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
hl_transport_start_reading_method(PyObject *self, PyObject *unused)
{
    if (hl_transport_start_reading(hl_transport_of(self), NULL) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- closing ---------------------------------------------------------------------------------------- */

PyObject *
hl_transport_is_closing_method(PyObject *self, PyObject *unused)
{
    return PyBool_FromLong(hl_transport_of(self)->is_closing);
}

static PyObject *
transport_close(PyObject *self, PyObject *unused)
{
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = hl_transport_close(hl_transport_of(self));
    Py_END_CRITICAL_SECTION();
    if (error < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
transport_force_close(PyObject *self, PyObject *exc)
{
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = hl_transport_force_close(hl_transport_of(self), exc);
    Py_END_CRITICAL_SECTION();
    if (error < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
transport_abort(PyObject *self, PyObject *unused)
{
    return transport_force_close(self, Py_None);
}

PyObject *
hl_transport_call_connection_lost_method(PyObject *self, PyObject *exc)
{
    if (hl_transport_lose(hl_transport_of(self), exc) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* _fatal_error(exc, message='Fatal error on transport') */
static PyObject *
transport_fatal_error(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kwnames)
{
    const hl_state *state = hl_state_of(self);
    PyObject *const names[] = {state->str.exc, state->str.message, NULL};
    PyObject *values[2] = {NULL, NULL};
    if (hl_args_parse("_fatal_error", args, nargs, kwnames, names, 1, 2, values) < 0) {
        return NULL;
    }
    const char *message =
        values[1] != NULL ? PyUnicode_AsUTF8(values[1]) : "Fatal error on transport";
    if (message == NULL) {
        return NULL;
    }
    if (!PyExceptionInstance_Check(values[0])) {
        PyErr_SetString(PyExc_TypeError, "exc must be an exception");
        return NULL;
    }
    PyErr_SetRaisedException(Py_NewRef(values[0]));
    if (hl_transport_fail(hl_transport_of(self), message) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- water marks --------------------------------------------------------------------------------------- */

static PyObject *
transport_get_write_buffer_limits(PyObject *self, PyObject *unused)
{
    const hl_transport *transport = hl_transport_of(self);
    return Py_BuildValue("(nn)",
                         (Py_ssize_t)hl_transport_low_water(transport),
                         (Py_ssize_t)hl_transport_high_water(transport));
}

/* Check the limits and apply them.  Returns 0 or -1. */
static int
transport_limit(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    hl_transport *transport = hl_transport_of(self);
    hl_state *state = hl_state_of(self);
    PyObject *const names[] = {state->str.high, state->str.low, NULL};
    PyObject *values[2] = {Py_None, Py_None};
    Py_ssize_t low, high;
    if (hl_args_parse(
            "set_write_buffer_limits", args, nargs, kwnames, names, 0, 2, values) < 0) {
        return -1;
    }
    PyObject *limits = PyObject_CallMethod(
        state->transports, "water_marks", "OO", values[0], values[1]);
    if (limits == NULL) {
        return -1;
    }
    int is_parsed = PyArg_ParseTuple(limits, "nn", &high, &low);
    Py_DECREF(limits);
    if (!is_parsed) {
        return -1;
    }
    if (transport->loop != NULL && hl_cork_flush_own(transport->loop, self) < 0) {
        return -1;
    }
    hl_transport_rare *rare = hl_transport_need_rare(transport);
    if (rare == NULL) {
        return -1;
    }
    rare->high_water = (size_t)high;
    rare->low_water = (size_t)low;
    return 0;
}

static PyObject *
transport_set_write_buffer_limits(PyObject *self, PyObject *const *args,
                                  Py_ssize_t nargs, PyObject *kwnames)
{
    hl_transport *transport = hl_transport_of(self);
    if (transport_limit(self, args, nargs, kwnames) < 0 ||
        (transport->loop != NULL && hl_flow_maybe_pause(transport) < 0)) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
transport_set_limits_only(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                          PyObject *kwnames)
{
    if (transport_limit(self, args, nargs, kwnames) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
transport_maybe_pause(PyObject *self, PyObject *unused)
{
    hl_transport *transport = hl_transport_of(self);
    if (transport->loop != NULL && hl_flow_maybe_pause(transport) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
transport_maybe_resume(PyObject *self, PyObject *unused)
{
    hl_transport *transport = hl_transport_of(self);
    if (transport->loop != NULL && hl_flow_maybe_resume(transport) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
transport_get_write_buffer_size(PyObject *self, PyObject *unused)
{
    hl_transport *transport = hl_transport_of(self);
    if (transport->loop != NULL && hl_cork_flush_own(transport->loop, self) < 0) {
        return NULL;
    }
    return PyLong_FromSize_t(hl_transport_queued(transport));
}

/* -- sendfile's view ----------------------------------------------------------------------------------- */

static PyObject *
transport_make_empty_waiter(PyObject *self, PyObject *unused)
{
    hl_transport *transport = hl_transport_of(self);
    hl_transport_rare *rare = hl_transport_need_rare(transport);
    if (rare == NULL) {
        return NULL;
    }
    if (rare->empty_waiter != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Empty waiter is already set");
        return NULL;
    }
    if (transport->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "The transport is closed");
        return NULL;
    }
    if (hl_cork_flush_own(transport->loop, self) < 0) {
        return NULL;
    }
    PyObject *waiter =
        PyObject_CallMethod((PyObject *)transport->loop, "create_future", NULL);
    if (waiter == NULL) {
        return NULL;
    }
    Py_XSETREF(rare->empty_waiter, Py_NewRef(waiter));
    if (hl_transport_queued(transport) == 0) {
        PyObject *result = PyObject_CallMethod(waiter, "set_result", "O", Py_None);
        if (result == NULL) {
            Py_CLEAR(waiter);
        }
        Py_XDECREF(result);
    }
    return waiter;
}

static PyObject *
transport_reset_empty_waiter(PyObject *self, PyObject *unused)
{
    hl_transport_rare *rare = hl_transport_of(self)->rare;
    if (rare != NULL) {
        Py_CLEAR(rare->empty_waiter);
    }
    Py_RETURN_NONE;
}

/* -- repr and attributes ---------------------------------------------------------------------------------- */

static PyObject *
transport_repr(PyObject *self)
{
    hl_transport *transport = hl_transport_of(self);
    const char *state = transport->is_lost      ? " closed"
                        : transport->is_closing ? " closing"
                                                : "";
    const char *type_name = strrchr(Py_TYPE(self)->tp_name, '.');
    type_name = type_name != NULL ? type_name + 1 : Py_TYPE(self)->tp_name;
    hl_loop *loop = transport->loop;
    if (loop == NULL || hl_loop_is_closed(loop)) {
        return PyUnicode_FromFormat("<%s%s fd=%d>", type_name, state, transport->fd);
    }
    if (hl_cork_flush_own(loop, self) < 0) {
        return NULL;
    }
    return PyUnicode_FromFormat("<%s%s fd=%d read=%s write=<%s, bufsize=%zd>>",
                                type_name,
                                state,
                                transport->fd,
                                transport->is_read_watched ? "polling" : "idle",
                                transport->is_write_watched ? "polling" : "idle",
                                (Py_ssize_t)hl_transport_queued(transport));
}

static PyObject *
get_sock(PyObject *self, void *closure)
{
    hl_transport *transport = hl_transport_of(self);
    if (transport->loop != NULL && hl_cork_flush_own(transport->loop, self) < 0) {
        return NULL;
    }
    return Py_XNewRef(hl_transport_socket(transport));
}

/* An object field; NULL shows as None.  closure is the offset. */
PyObject *
hl_transport_get_object(PyObject *self, void *closure)
{
    PyObject *value = *(PyObject **)((char *)self + (size_t)closure);
    return Py_NewRef(value != NULL ? value : Py_None);
}

PyObject *
hl_transport_get_flag(PyObject *self, void *closure)
{
    const hl_transport *transport = hl_transport_of(self);
    switch ((hl_transport_flag)(size_t)closure) {
    case HL_TRANSPORT_CLOSING:
        return PyBool_FromLong(transport->is_closing);
    case HL_TRANSPORT_PAUSED:
        return PyBool_FromLong(transport->is_paused);
    case HL_TRANSPORT_EOF:
        return PyBool_FromLong(transport->is_eof_written);
    case HL_TRANSPORT_PROTOCOL_CONNECTED:
        return PyBool_FromLong(transport->is_protocol_connected);
    default:
        return PyBool_FromLong(transport->is_protocol_paused);
    }
}

static PyObject *
get_conn_lost(PyObject *self, void *closure)
{
    return PyLong_FromUnsignedLong(hl_transport_of(self)->conn_lost);
}

static PyObject *
get_high_water(PyObject *self, void *closure)
{
    return PyLong_FromSize_t(hl_transport_high_water(hl_transport_of(self)));
}

static PyObject *
get_low_water(PyObject *self, void *closure)
{
    return PyLong_FromSize_t(hl_transport_low_water(hl_transport_of(self)));
}

static PyObject *
get_empty_waiter(PyObject *self, void *closure)
{
    const hl_transport_rare *rare = hl_transport_of(self)->rare;
    return Py_NewRef(rare != NULL && rare->empty_waiter != NULL ? rare->empty_waiter
                                                                : Py_None);
}

/* What waits to be sent, as a new list of bytes. */
static PyObject *
get_buffer(PyObject *self, void *closure)
{
    hl_transport *transport = hl_transport_of(self);
    if (transport->loop != NULL && hl_cork_flush_own(transport->loop, self) < 0) {
        return NULL;
    }
    PyObject *list = PyList_New(0);
    const hl_spans *queue =
        hl_transport_is_queued(transport) ? &transport->rare->queue : NULL;
    for (size_t i = 0; list != NULL && queue != NULL && i < queue->count; i++) {
        const hl_span *span = &queue->items[queue->head + i];
        PyObject *bytes =
            PyBytes_FromStringAndSize(span->data, (Py_ssize_t)span->length);
        if (bytes == NULL || PyList_Append(list, bytes) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(bytes);
    }
    return list;
}

#define FASTCALL(function) (PyCFunction)(void (*)(void)) function
#define ASYNCIO_PROTOCOL                                                               \
    "https://docs.python.org/3/library/asyncio-protocol.html#asyncio."

static PyMethodDef transport_methods[] = {
    {"get_extra_info",
     FASTCALL(hl_transport_get_extra_info_method),
     METH_FASTCALL | METH_KEYWORDS,
     "get_extra_info($self, name, default=None)\n--\n\nReturn information about the "
     "transport or its socket.\n\n" ASYNCIO_PROTOCOL "BaseTransport.get_extra_info"},
    {"set_protocol",
     hl_transport_set_protocol_method,
     METH_O,
     "set_protocol($self, protocol)\n--\n\nCall protocol from now on.\n\n" ASYNCIO_PROTOCOL
     "BaseTransport.set_protocol"},
    {"get_protocol",
     hl_transport_get_protocol_method,
     METH_NOARGS,
     "get_protocol($self)\n--\n\nReturn the current protocol.\n\n" ASYNCIO_PROTOCOL
     "BaseTransport.get_protocol"},
    {"is_reading",
     hl_transport_is_reading_method,
     METH_NOARGS,
     "is_reading($self)\n--\n\nReturn True if the transport receives.\n\n" ASYNCIO_PROTOCOL
     "ReadTransport.is_reading"},
    {"pause_reading",
     hl_transport_pause_reading_method,
     METH_NOARGS,
     "pause_reading($self)\n--\n\nReceive nothing until resume_reading().\n\n" ASYNCIO_PROTOCOL
     "ReadTransport.pause_reading"},
    {"resume_reading",
     hl_transport_resume_reading_method,
     METH_NOARGS,
     "resume_reading($self)\n--\n\nReceive again.\n\n" ASYNCIO_PROTOCOL
     "ReadTransport.resume_reading"},
    {"_start_reading",
     hl_transport_start_reading_method,
     METH_NOARGS,
     "_start_reading($self)\n--\n\nBegin to receive, if neither closed nor paused."},
    {"is_closing",
     hl_transport_is_closing_method,
     METH_NOARGS,
     "is_closing($self)\n--\n\nReturn True if the transport is closed or closing.\n\n" ASYNCIO_PROTOCOL
     "BaseTransport.is_closing"},
    {"close",
     transport_close,
     METH_NOARGS,
     "close($self)\n--\n\nSend what is queued, then close.  Not thread-safe.\n\n" ASYNCIO_PROTOCOL
     "BaseTransport.close"},
    {"abort",
     transport_abort,
     METH_NOARGS,
     "abort($self)\n--\n\nClose now; what is queued is lost.  Not thread-safe.\n\n" ASYNCIO_PROTOCOL
     "WriteTransport.abort"},
    {"_force_close",
     transport_force_close,
     METH_O,
     "_force_close($self, exc, /)\n--\n\nClose now with an exception, or None."},
    {"_fatal_error",
     FASTCALL(transport_fatal_error),
     METH_FASTCALL | METH_KEYWORDS,
     "_fatal_error($self, exc, message='Fatal error on transport')\n--\n\nReport exc and "
     "close."},
    {"_call_connection_lost",
     hl_transport_call_connection_lost_method,
     METH_O,
     "_call_connection_lost($self, exc, /)\n--\n\nTell the protocol, and give the socket up."},
    {"get_write_buffer_limits",
     transport_get_write_buffer_limits,
     METH_NOARGS,
     "get_write_buffer_limits($self)\n--\n\nReturn (low, high) in bytes.\n\n" ASYNCIO_PROTOCOL
     "WriteTransport.get_write_buffer_limits"},
    {"set_write_buffer_limits",
     FASTCALL(transport_set_write_buffer_limits),
     METH_FASTCALL | METH_KEYWORDS,
     "set_write_buffer_limits($self, high=None, low=None)\n--\n\nSet the water marks of flow "
     "control, in bytes.\n\n" ASYNCIO_PROTOCOL
     "WriteTransport.set_write_buffer_limits"},
    {"_set_write_buffer_limits",
     FASTCALL(transport_set_limits_only),
     METH_FASTCALL | METH_KEYWORDS,
     "_set_write_buffer_limits($self, high=None, low=None)\n--\n\nSet the water marks and "
     "do nothing yet."},
    {"_maybe_pause_protocol",
     transport_maybe_pause,
     METH_NOARGS,
     "_maybe_pause_protocol($self)\n--\n\nCall pause_writing() if too much is queued."},
    {"_maybe_resume_protocol",
     transport_maybe_resume,
     METH_NOARGS,
     "_maybe_resume_protocol($self)\n--\n\nCall resume_writing() if little is left."},
    {"get_write_buffer_size",
     transport_get_write_buffer_size,
     METH_NOARGS,
     "get_write_buffer_size($self)\n--\n\nReturn how many bytes wait to be sent.\n\n" ASYNCIO_PROTOCOL
     "WriteTransport.get_write_buffer_size"},
    {"_make_empty_waiter",
     transport_make_empty_waiter,
     METH_NOARGS,
     "_make_empty_waiter($self)\n--\n\nReturn a future that is done once nothing is queued; "
     "no write until it is reset."},
    {"_reset_empty_waiter",
     transport_reset_empty_waiter,
     METH_NOARGS,
     "_reset_empty_waiter($self)\n--\n\nAllow writes again."},
    {NULL, NULL, 0, NULL},
};

#define OBJECT(name, field)                                                            \
    {name, hl_transport_get_object, NULL, NULL, (void *)offsetof(hl_transport, field)}
#define FLAG(name, flag)                                                               \
    {name, hl_transport_get_flag, NULL, NULL, (void *)(size_t)(flag)}

static PyGetSetDef transport_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"_extra", hl_transport_get_extra, hl_transport_set_extra, NULL, NULL},
    {"_sock", get_sock, NULL, NULL, NULL},
    {"_protocol",
     hl_transport_get_protocol_attribute,
     hl_transport_set_protocol_attribute,
     NULL,
     NULL},
    {"_buffer", get_buffer, NULL, NULL, NULL},
    {"_conn_lost", get_conn_lost, NULL, NULL, NULL},
    OBJECT("_loop", loop),
    OBJECT("_server", server),
    {"_empty_waiter", get_empty_waiter, NULL, NULL, NULL},
    FLAG("_closing", HL_TRANSPORT_CLOSING),
    FLAG("_paused", HL_TRANSPORT_PAUSED),
    FLAG("_eof", HL_TRANSPORT_EOF),
    FLAG("_protocol_connected", HL_TRANSPORT_PROTOCOL_CONNECTED),
    FLAG("_protocol_paused", HL_TRANSPORT_PROTOCOL_PAUSED),
    {"_high_water", get_high_water, NULL, NULL, NULL},
    {"_low_water", get_low_water, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef transport_members[] = {
    {"_sock_fd", T_INT, offsetof(hl_transport, fd), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(hl_transport, dict), READONLY, NULL},
    {"__weaklistoffset__",
     T_PYSSIZET,
     offsetof(hl_transport, weakrefs),
     READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot transport_slots[] = {
    {Py_tp_doc, "What hotloop's transports have in common."},
    {Py_tp_traverse, hl_transport_traverse},
    {Py_tp_clear, hl_transport_clear},
    {Py_tp_dealloc, hl_transport_dealloc},
    {Py_tp_finalize, hl_transport_finalize},
    {Py_tp_repr, transport_repr},
    {Py_tp_methods, transport_methods},
    {Py_tp_getset, transport_getset},
    {Py_tp_members, transport_members},
    {0, NULL},
};

static PyType_Spec transport_spec = {
    .name = "hotloop._core._Transport",
    .basicsize = sizeof(hl_transport),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = transport_slots,
};

/* The slots of asyncio's classes must be where the struct has objects. */
static int
check_slots(const hl_state *state)
{
    PyTypeObject *mixin = state->FlowControlMixinType;
    const struct {
        PyTypeObject *type;
        const char *name;
        size_t offset;
    } slots[] = {
        {state->StockBaseTransportType, "_extra", offsetof(hl_transport, extra)},
        {mixin, "_high_water", offsetof(hl_transport, server)},
        {mixin, "_loop", offsetof(hl_transport, loop)},
        {mixin, "_low_water", offsetof(hl_transport, protocol)},
        {mixin, "_protocol_paused", offsetof(hl_transport, sock)},
    };
    for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
        if (hl_handle_check_slot(slots[i].type, slots[i].name, slots[i].offset) < 0) {
            return -1;
        }
    }
    return 0;
}

int
hl_transport_type_init(PyObject *module, hl_state *state)
{
    if (check_slots(state) < 0) {
        return -1;
    }
    state->TransportType =
        hl_type_new(module, &transport_spec, state->FlowControlMixinType, NULL);
    return state->TransportType != NULL ? 0 : -1;
}
