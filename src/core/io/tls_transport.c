/* hotloop._core._SSLProtocolTransport: see tls_transport.h.
 *
 * hotloop._tls has a class that derives from this type and from asyncio's, and inherits all
 * but writing from the latter.  Whatever is not the usual case of writing goes there, too. */
#include "io/tls_transport.h"

#include "io/tls.h"
#include "py/types.h"

/* Slots of asyncio's BaseTransport and _FlowControlMixin, which stay what they are. */
enum { INHERITED_SLOTS = 5 };

typedef struct {
    PyObject_HEAD
    PyObject *inherited[INHERITED_SLOTS]; /* owned */
    PyObject *ssl_protocol;               /* owned; NULL: none any more */
    hl_tls *tls;                          /* borrowed: ssl_protocol, if it is ours */
    char is_closed; /* atomic: close() and abort() of any thread set it */
} hl_tls_transport;

static inline hl_tls_transport *
transport_of(PyObject *self)
{
    return (hl_tls_transport *)self;
}

/* -- life ------------------------------------------------------------------------------------ */

static int
transport_traverse(PyObject *self, visitproc visit, void *arg)
{
    hl_tls_transport *transport = transport_of(self);
    Py_VISIT(Py_TYPE(self));
    for (int i = 0; i < INHERITED_SLOTS; i++) {
        Py_VISIT(transport->inherited[i]);
    }
    Py_VISIT(transport->ssl_protocol);
    return 0;
}

static int
transport_clear(PyObject *self)
{
    hl_tls_transport *transport = transport_of(self);
    transport->tls = NULL;
    for (int i = 0; i < INHERITED_SLOTS; i++) {
        Py_CLEAR(transport->inherited[i]);
    }
    Py_CLEAR(transport->ssl_protocol);
    return 0;
}

static void
transport_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)transport_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* -- writing ----------------------------------------------------------------------------------- */

/* asyncio's own method. */
static PyObject *
write_inherited(const hl_state *state, PyObject *name, PyObject *self, PyObject *data)
{
    PyObject *method = PyObject_GetAttr((PyObject *)state->StockTLSTransportType, name);
    if (method == NULL) {
        return NULL;
    }
    PyObject *stack[] = {self, data};
    PyObject *result = PyObject_Vectorcall(method, stack, 2, NULL);
    Py_DECREF(method);
    return result;
}

/* Data of a type that cannot do anything surprising, and some of it. */
static bool
is_plain_data(PyObject *data)
{
    if (PyBytes_CheckExact(data)) {
        return PyBytes_GET_SIZE(data) > 0;
    }
    if (PyByteArray_CheckExact(data)) {
        return PyByteArray_GET_SIZE(data) > 0;
    }
    return PyMemoryView_Check(data) && PyObject_Size(data) > 0;
}

/* The connection, held: an error ends it and takes it away from the transport.  New, or NULL
 * without an exception. */
static hl_tls *
hold_tls(PyObject *self)
{
    hl_tls *tls;
    Py_BEGIN_CRITICAL_SECTION(self);
    tls = transport_of(self)->tls;
    Py_XINCREF((PyObject *)tls);
    Py_END_CRITICAL_SECTION();
    return tls;
}

/* Write the pieces if they can be encrypted now.  Returns 1 if that was done, 0 if not, -1
 * with an exception. */
static int
write_natively(PyObject *self, PyObject *const *pieces, Py_ssize_t count)
{
    hl_tls *tls = hold_tls(self);
    int answer = 0;
    if (tls == NULL) {
        return 0;
    }
    Py_BEGIN_CRITICAL_SECTION((PyObject *)tls);
    if (hl_tls_can_write(tls)) {
        answer = hl_tls_write(tls, pieces, count) < 0 ? -1 : 1;
    }
    Py_END_CRITICAL_SECTION();
    Py_DECREF((PyObject *)tls);
    return answer;
}

static PyObject *
transport_write(PyObject *self, PyObject *data)
{
    if (is_plain_data(data)) {
        int answer = write_natively(self, &data, 1);
        if (answer != 0) {
            return answer < 0 ? NULL : Py_NewRef(Py_None);
        }
    }
    else if (PyErr_Occurred()) {
        return NULL; /* a released memoryview has no size */
    }
    const hl_state *state = hl_state_of(self);
    return write_inherited(state, state->str.write, self, data);
}

/* True if every item is plain data. */
static bool
are_plain_data(PyObject *tuple)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++) {
        if (!is_plain_data(PyTuple_GET_ITEM(tuple, i))) {
            return false;
        }
    }
    return true;
}

static PyObject *
transport_writelines(PyObject *self, PyObject *list)
{
    const hl_state *state = hl_state_of(self);
    if (!PyList_CheckExact(list) && !PyTuple_CheckExact(list)) {
        return write_inherited(state, state->str.writelines, self, list);
    }
    PyObject *pieces = PySequence_Tuple(list);
    if (pieces == NULL) {
        return NULL;
    }
    int answer = 0;
    if (are_plain_data(pieces)) {
        answer = write_natively(
            self, &PyTuple_GET_ITEM(pieces, 0), PyTuple_GET_SIZE(pieces));
    }
    else {
        PyErr_Clear(); /* ValueError: a released memoryview; asyncio will find it again */
    }
    Py_DECREF(pieces);
    if (answer != 0) {
        return answer < 0 ? NULL : Py_NewRef(Py_None);
    }
    return write_inherited(state, state->str.writelines, self, list);
}

/* -- attributes and tables --------------------------------------------------------------------- */

static PyObject *
get_ssl_protocol(PyObject *self, void *closure)
{
    PyObject *protocol;
    Py_BEGIN_CRITICAL_SECTION(self);
    protocol = transport_of(self)->ssl_protocol;
    protocol = Py_NewRef(protocol != NULL ? protocol : Py_None);
    Py_END_CRITICAL_SECTION();
    return protocol;
}

static int
set_ssl_protocol(PyObject *self, PyObject *value, void *closure)
{
    hl_tls_transport *transport = transport_of(self);
    bool is_ours = value != NULL && hl_tls_check(hl_state_of(self), value);
    PyObject *previous;
    Py_BEGIN_CRITICAL_SECTION(self);
    previous = transport->ssl_protocol;
    transport->ssl_protocol = Py_XNewRef(value);
    transport->tls = is_ours ? (hl_tls *)value : NULL;
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(previous);
    return 0;
}

static PyObject *
get_closed(PyObject *self, void *closure)
{
    return PyBool_FromLong(
        __atomic_load_n(&transport_of(self)->is_closed, __ATOMIC_RELAXED));
}

static int
set_closed(PyObject *self, PyObject *value, void *closure)
{
    if (value != Py_True && value != Py_False) {
        PyErr_SetString(PyExc_TypeError, "the value of this attribute must be a bool");
        return -1;
    }
    __atomic_store_n(
        &transport_of(self)->is_closed, (char)(value == Py_True), __ATOMIC_RELAXED);
    return 0;
}

#define ASYNCIO_PROTOCOL                                                               \
    "https://docs.python.org/3/library/asyncio-protocol.html#asyncio."

static PyMethodDef transport_methods[] = {
    {"write",
     transport_write,
     METH_O,
     "write($self, data)\n--\n\nEncrypt and send data (bytes, bytearray or memoryview); "
     "never blocks.\n\n" ASYNCIO_PROTOCOL "WriteTransport.write"},
    {"writelines",
     transport_writelines,
     METH_O,
     "writelines($self, list_of_data)\n--\n\nEncrypt and send the pieces in "
     "order.\n\n" ASYNCIO_PROTOCOL "WriteTransport.writelines"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef transport_getset[] = {
    {"_ssl_protocol", get_ssl_protocol, set_ssl_protocol, NULL, NULL},
    {"_closed", get_closed, set_closed, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot transport_slots[] = {
    {Py_tp_doc, "What hotloop's TLS transports add to asyncio's."},
    {Py_tp_traverse, transport_traverse},
    {Py_tp_clear, transport_clear},
    {Py_tp_dealloc, transport_dealloc},
    {Py_tp_methods, transport_methods},
    {Py_tp_getset, transport_getset},
    {0, NULL},
};

static PyType_Spec transport_spec = {
    .name = "hotloop._core._SSLProtocolTransport",
    .basicsize = sizeof(hl_tls_transport),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = transport_slots,
};

int
hl_tls_transport_type_init(PyObject *module, hl_state *state)
{
    PyTypeObject *base = state->FlowControlMixinType;
    if ((size_t)base->tp_basicsize != offsetof(hl_tls_transport, ssl_protocol)) {
        PyErr_Format(PyExc_ImportError, "the slots of %R are not as expected", base);
        return -1;
    }
    state->TLSTransportType = hl_type_new(module, &transport_spec, base, NULL);
    return state->TLSTransportType != NULL ? 0 : -1;
}
