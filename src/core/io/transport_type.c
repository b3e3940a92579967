/* The Python face that all transports share: hotloop._core._Transport, the base type.
 *
 * The methods are those of asyncio.BaseTransport, ReadTransport and WriteTransport that do
 * not depend on the kind of descriptor; names with an underscore are what asyncio's own code
 * and real programs read of its selector transports.
 * https://docs.python.org/3/library/asyncio-protocol.html#transports */
#include "io/transport_face.h"

#include "py/args.h"
#include "py/types.h"
#include "sched/cork.h"
#include "sched/handle_slots.h"

/* -- protocol ------------------------------------------------------------------------------------ */

static int
set_protocol_lock_held(hl_transport *transport, PyObject *protocol)
{
    if (transport->is_given_up) {
        /* Lost: nobody will be called any more. */
        Py_XSETREF(transport->protocol, Py_NewRef(protocol));
        return 0;
    }
    return hl_cork_flush_own(transport->loop, (PyObject *)transport) < 0
               ? -1
               : hl_transport_set_protocol(transport, protocol);
}

PyObject *
hl_transport_set_protocol_method(PyObject *self, PyObject *protocol)
{
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = set_protocol_lock_held(hl_transport_of(self), protocol);
    Py_END_CRITICAL_SECTION();
    return error == 0 ? Py_NewRef(Py_None) : NULL;
}

PyObject *
hl_transport_get_protocol_method(PyObject *self, PyObject *unused)
{
    return hl_get_object(self, (void *)offsetof(hl_transport, protocol));
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
    if (transport->is_given_up || !hl_loop_is_debug(transport->loop)) {
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

static PyObject *
is_reading_lock_held(hl_transport *transport)
{
    return PyBool_FromLong(transport_reads(transport));
}

PyObject *
hl_transport_is_reading_method(PyObject *self, PyObject *unused)
{
    return hl_transport_ask(self, is_reading_lock_held);
}

static int
pause_reading_lock_held(hl_transport *transport)
{
    if (!transport_reads(transport)) {
        return 0;
    }
    transport->is_paused = true;
    return hl_transport_unwatch(transport, HL_POLL_READ) < 0
               ? -1
               : log_debug(transport, "%r pauses reading");
}

PyObject *
hl_transport_pause_reading_method(PyObject *self, PyObject *unused)
{
    return hl_transport_do(self, pause_reading_lock_held);
}

static int
resume_reading_lock_held(hl_transport *transport)
{
    if (transport->is_closing || !transport->is_paused) {
        return 0;
    }
    transport->is_paused = false;
    return hl_transport_start_reading(transport, NULL) < 0
               ? -1
               : log_debug(transport, "%r resumes reading");
}

PyObject *
hl_transport_resume_reading_method(PyObject *self, PyObject *unused)
{
    return hl_transport_do(self, resume_reading_lock_held);
}

static int
start_reading_lock_held(hl_transport *transport)
{
    return hl_transport_start_reading(transport, NULL);
}

PyObject *
hl_transport_start_reading_method(PyObject *self, PyObject *unused)
{
    return hl_transport_do(self, start_reading_lock_held);
}

/* -- closing ---------------------------------------------------------------------------------------- */

PyObject *
hl_transport_is_closing_method(PyObject *self, PyObject *unused)
{
    return hl_transport_get_flag(self, (void *)(size_t)HL_TRANSPORT_CLOSING);
}

static PyObject *
transport_close(PyObject *self, PyObject *unused)
{
    return hl_transport_do(self, hl_transport_close);
}

static PyObject *
transport_force_close(PyObject *self, PyObject *exc)
{
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = hl_transport_force_close(hl_transport_of(self), exc);
    Py_END_CRITICAL_SECTION();
    return error == 0 ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
transport_abort(PyObject *self, PyObject *unused)
{
    return transport_force_close(self, Py_None);
}

PyObject *
hl_transport_call_connection_lost_method(PyObject *self, PyObject *exc)
{
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = hl_transport_lose(hl_transport_of(self), exc);
    Py_END_CRITICAL_SECTION();
    return error == 0 ? Py_NewRef(Py_None) : NULL;
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
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = hl_transport_fail(hl_transport_of(self), message);
    Py_END_CRITICAL_SECTION();
    return error == 0 ? Py_NewRef(Py_None) : NULL;
}

/* -- repr and attributes ---------------------------------------------------------------------------------- */

static PyObject *
repr_lock_held(hl_transport *transport)
{
    PyObject *self = (PyObject *)transport;
    const char *state = transport->is_lost      ? " closed"
                        : transport->is_closing ? " closing"
                                                : "";
    const char *type_name = strrchr(Py_TYPE(self)->tp_name, '.');
    type_name = type_name != NULL ? type_name + 1 : Py_TYPE(self)->tp_name;
    if (transport->is_given_up || hl_loop_is_closed(transport->loop)) {
        return PyUnicode_FromFormat("<%s%s fd=%d>", type_name, state, transport->fd);
    }
    if (hl_transport_flush_own(transport) < 0) {
        return NULL;
    }
    bool reads = hl_transport_is_watched(transport, HL_POLL_READ);
    bool writes = hl_transport_is_watched(transport, HL_POLL_WRITE);
    return PyUnicode_FromFormat("<%s%s fd=%d read=%s write=<%s, bufsize=%zd>>",
                                type_name,
                                state,
                                transport->fd,
                                reads ? "polling" : "idle",
                                writes ? "polling" : "idle",
                                (Py_ssize_t)hl_transport_queued(transport));
}

static PyObject *
transport_repr(PyObject *self)
{
    return hl_transport_ask(self, repr_lock_held);
}

static PyObject *
sock_lock_held(hl_transport *transport)
{
    return hl_transport_flush_own(transport) < 0 ? NULL
                                                 : hl_transport_socket(transport);
}

static PyObject *
get_sock(PyObject *self, void *closure)
{
    return hl_transport_ask(self, sock_lock_held);
}

static PyObject *
loop_lock_held(hl_transport *transport)
{
    return Py_NewRef(!transport->is_given_up ? (PyObject *)transport->loop : Py_None);
}

PyObject *
hl_transport_get_loop(PyObject *self, void *closure)
{
    return hl_transport_ask(self, loop_lock_held);
}

static bool
flag_lock_held(const hl_transport *transport, hl_transport_flag flag)
{
    switch (flag) {
    case HL_TRANSPORT_CLOSING:
        return transport->is_closing;
    case HL_TRANSPORT_PAUSED:
        return transport->is_paused;
    case HL_TRANSPORT_EOF:
        return transport->is_eof_written;
    case HL_TRANSPORT_PROTOCOL_CONNECTED:
        return transport->is_protocol_connected;
    default:
        return transport->is_protocol_paused;
    }
}

PyObject *
hl_transport_get_flag(PyObject *self, void *closure)
{
    bool is_set;
    Py_BEGIN_CRITICAL_SECTION(self);
    is_set = flag_lock_held(hl_transport_of(self), (hl_transport_flag)(size_t)closure);
    Py_END_CRITICAL_SECTION();
    return PyBool_FromLong(is_set);
}

static PyObject *
conn_lost_lock_held(hl_transport *transport)
{
    return PyLong_FromUnsignedLong(transport->conn_lost);
}

static PyObject *
get_conn_lost(PyObject *self, void *closure)
{
    return hl_transport_ask(self, conn_lost_lock_held);
}

static PyMethodDef transport_methods[] = {
    HL_TRANSPORT_METHODS,
    {"close",
     transport_close,
     METH_NOARGS,
     "close($self)\n--\n\nSend what is queued, then close.  Not thread-safe.\n\n" HL_ASYNCIO_PROTOCOL
     "BaseTransport.close"},
    {"abort",
     transport_abort,
     METH_NOARGS,
     "abort($self)\n--\n\nClose now; what is queued is lost.  Not thread-safe.\n\n" HL_ASYNCIO_PROTOCOL
     "WriteTransport.abort"},
    {"_force_close",
     transport_force_close,
     METH_O,
     "_force_close($self, exc, /)\n--\n\nClose now with an exception, or None."},
    {"_fatal_error",
     HL_FASTCALL(transport_fatal_error),
     METH_FASTCALL | METH_KEYWORDS,
     "_fatal_error($self, exc, message='Fatal error on transport')\n--\n\nReport exc and "
     "close."},
    {"get_write_buffer_limits",
     hl_transport_get_write_buffer_limits,
     METH_NOARGS,
     "get_write_buffer_limits($self)\n--\n\nReturn (low, high) in bytes.\n\n" HL_ASYNCIO_PROTOCOL
     "WriteTransport.get_write_buffer_limits"},
    {"set_write_buffer_limits",
     HL_FASTCALL(hl_transport_set_write_buffer_limits),
     METH_FASTCALL | METH_KEYWORDS,
     "set_write_buffer_limits($self, high=None, low=None)\n--\n\nSet the water marks of flow "
     "control, in bytes.\n\n" HL_ASYNCIO_PROTOCOL
     "WriteTransport.set_write_buffer_limits"},
    {"_set_write_buffer_limits",
     HL_FASTCALL(hl_transport_set_limits_only),
     METH_FASTCALL | METH_KEYWORDS,
     "_set_write_buffer_limits($self, high=None, low=None)\n--\n\nSet the water marks and "
     "do nothing yet."},
    {"_maybe_pause_protocol",
     hl_transport_maybe_pause,
     METH_NOARGS,
     "_maybe_pause_protocol($self)\n--\n\nCall pause_writing() if too much is queued."},
    {"_maybe_resume_protocol",
     hl_transport_maybe_resume,
     METH_NOARGS,
     "_maybe_resume_protocol($self)\n--\n\nCall resume_writing() if little is left."},
    {"get_write_buffer_size",
     hl_transport_get_write_buffer_size,
     METH_NOARGS,
     "get_write_buffer_size($self)\n--\n\nReturn how many bytes wait to be sent.\n\n" HL_ASYNCIO_PROTOCOL
     "WriteTransport.get_write_buffer_size"},
    {"_make_empty_waiter",
     hl_transport_make_empty_waiter,
     METH_NOARGS,
     "_make_empty_waiter($self)\n--\n\nReturn a future that is done once nothing is queued; "
     "no write until it is reset."},
    {"_reset_empty_waiter",
     hl_transport_reset_empty_waiter,
     METH_NOARGS,
     "_reset_empty_waiter($self)\n--\n\nAllow writes again."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef transport_getset[] = {
    HL_TRANSPORT_GETSET,
    {"_sock", get_sock, NULL, NULL, NULL},
    {"_buffer", hl_transport_get_buffer, NULL, NULL, NULL},
    {"_conn_lost", get_conn_lost, NULL, NULL, NULL},
    HL_TRANSPORT_OBJECT("_server", server),
    {"_empty_waiter", hl_transport_get_empty_waiter, NULL, NULL, NULL},
    HL_TRANSPORT_FLAG("_eof", HL_TRANSPORT_EOF),
    HL_TRANSPORT_FLAG("_protocol_connected", HL_TRANSPORT_PROTOCOL_CONNECTED),
    HL_TRANSPORT_FLAG("_protocol_paused", HL_TRANSPORT_PROTOCOL_PAUSED),
    {"_high_water", hl_transport_get_high_water, NULL, NULL, NULL},
    {"_low_water", hl_transport_get_low_water, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef transport_members[] = {
    {"_sock_fd", T_INT, offsetof(hl_transport, fd), READONLY, NULL},
    HL_TRANSPORT_MEMBERS,
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot transport_slots[] = {
    {Py_tp_doc, "What hotloop's transports have in common."},
    HL_TRANSPORT_SLOTS,
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
