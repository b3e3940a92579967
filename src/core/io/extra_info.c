/* The socket of a transport and what get_extra_info() tells: made when somebody first asks. */
#include "io/transport_face.h"

#include "poll/socket.h"
#include "py/args.h"
#include "sched/cork.h"

/* A socket object was made for the descriptor: keep it, unless another thread was faster, or
 * the descriptor is gone.  Such a one (stolen) must not close it.  Returns 0 or -1. */
static int
keep_socket(hl_transport *transport, PyObject *sock)
{
    if (transport->sock == NULL && !transport->is_lost) {
        transport->sock = sock;
        return 0;
    }
    PyObject *result = PyObject_CallMethod(sock, "detach", NULL);
    Py_XDECREF(result);
    Py_DECREF(sock);
    return result != NULL ? 0 : -1;
}

/* What the proto of the socket is to be: the listening one's, or -1 for what the kernel says. */
static int
wanted_proto(const hl_transport *transport)
{
    return transport->has_no_proto ? 0 : -1;
}

PyObject *
hl_transport_socket(hl_transport *transport)
{
    if (transport->sock == NULL && !transport->is_lost) {
        PyObject *sock = PyObject_CallMethod(transport->loop->state->transports,
                                             "adopt_socket",
                                             "ii",
                                             transport->fd,
                                             wanted_proto(transport));
        if (sock == NULL || keep_socket(transport, sock) < 0) {
            return NULL;
        }
    }
    return Py_NewRef(transport->sock != NULL && !transport->is_lost ? transport->sock
                                                                    : Py_None);
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
        name = Py_NewRef(Py_None);
    }
    Py_DECREF(sock);
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
    if (hl_socket_name(hl_transport_descriptor(transport),
                       (struct sockaddr *)&address,
                       &length) < 0) {
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
    /* A closed socket still shows its family and type. */
    PyObject *sock = transport->sock != NULL ? Py_NewRef(transport->sock)
                                             : hl_transport_socket(transport);
    if (sock == NULL) {
        return NULL;
    }
    hl_state *state = hl_state_of((PyObject *)transport);
    PyObject *loop = !transport->is_given_up ? (PyObject *)transport->loop : Py_None;
    Py_INCREF(loop); /* held */
    PyObject *result = PyObject_CallMethod(state->transports,
                                           "transport_socket",
                                           "OOii",
                                           loop,
                                           sock,
                                           (int)transport->family,
                                           wanted_proto(transport));
    Py_DECREF(loop);
    Py_DECREF(sock);
    return result;
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
lookup_in(hl_transport *transport, PyObject *extra, PyObject *name, PyObject **value)
{
    if (PyDict_GetItemRef(extra, name, value) < 0) {
        return -1;
    }
    if (*value != NULL) {
        return 0;
    }
    *value = make_extra(transport, name);
    if (*value == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    return PyDict_SetItem(extra, name, *value);
}

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
    PyObject *extra =
        Py_NewRef(transport->extra); /* held: it may be exchanged meanwhile */
    int error = lookup_in(transport, extra, name, value);
    Py_DECREF(extra);
    if (error < 0) {
        Py_CLEAR(*value);
    }
    return error;
}

/* What get_extra_info() does. */
static int
extra_info_lock_held(hl_transport *transport, PyObject *name, PyObject **value)
{
    /* Options set on the raw socket apply to what is sent from then on. */
    return hl_transport_flush_own(transport) < 0 ? -1
                                                 : extra_lookup(transport, name, value);
}

PyObject *
hl_transport_get_extra_info_method(PyObject *self, PyObject *const *args,
                                   Py_ssize_t nargs, PyObject *kwnames)
{
    const hl_state *state = hl_state_of(self);
    PyObject *const names[] = {state->str.name, state->str.default_, NULL};
    PyObject *values[2] = {NULL, Py_None};
    if (hl_args_parse("get_extra_info", args, nargs, kwnames, names, 1, 2, values) <
        0) {
        return NULL;
    }
    PyObject *value;
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = extra_info_lock_held(hl_transport_of(self), values[0], &value);
    Py_END_CRITICAL_SECTION();
    if (error < 0) {
        return NULL;
    }
    return value != NULL ? value : Py_NewRef(values[1]);
}

static PyObject *
whole_extra_lock_held(hl_transport *transport)
{
    const hl_state *state = hl_state_of((PyObject *)transport);
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

/* The dict with everything in it, for code that reads transport._extra. */
PyObject *
hl_transport_get_extra(PyObject *self, void *closure)
{
    return hl_transport_ask(self, whole_extra_lock_held);
}

int
hl_transport_set_extra(PyObject *self, PyObject *value, void *closure)
{
    if (value == NULL || !PyDict_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "_extra must be a dict");
        return -1;
    }
    PyObject *previous;
    Py_BEGIN_CRITICAL_SECTION(self);
    previous = hl_transport_of(self)->extra;
    hl_transport_of(self)->extra = Py_NewRef(value);
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(previous);
    return 0;
}
