/* The socket of a transport and what get_extra_info() tells: made when somebody first asks. */
#include "io/transport_face.h"

#include "py/args.h"
#include "sched/cork.h"

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
