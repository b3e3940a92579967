/* hotloop._core._SSLProtocol: the state of a TLS connection under asyncio's names.
 *
 * hotloop._tls.SSLProtocol derives from this type and from asyncio's class; see tls.h. */
#include "io/tls.h"

#include "py/types.h"

static inline hl_tls *
tls_of(PyObject *self)
{
    return (hl_tls *)self;
}

/* -- life ------------------------------------------------------------------------------------ */

static PyObject *
tls_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    hl_state *state = hl_state_of_type(type);
    hl_tls *tls = state != NULL ? (hl_tls *)type->tp_alloc(type, 0) : NULL;
    if (tls != NULL) {
        tls->state = state;
        hl_count_new(state, HL_COUNT_TLS);
    }
    return (PyObject *)tls;
}

static int
tls_traverse(PyObject *self, visitproc visit, void *arg)
{
    hl_tls *tls = tls_of(self);
    Py_VISIT(Py_TYPE(self));
    Py_VISIT((PyObject *)tls->loop);
    Py_VISIT(tls->sslobj);
    Py_VISIT(tls->incoming);
    Py_VISIT(tls->outgoing);
    Py_VISIT(tls->raw);
    Py_VISIT(tls->write_backlog);
#define VISIT(name) Py_VISIT(tls->py.name);
    HL_TLS_OBJECTS(VISIT)
#undef VISIT
    return 0;
}

static int
tls_clear(PyObject *self)
{
    hl_tls *tls = tls_of(self);
    Py_CLEAR(tls->raw); /* first: without it nothing here uses the others */
    Py_CLEAR(tls->sslobj);
    Py_CLEAR(tls->incoming);
    Py_CLEAR(tls->outgoing);
    Py_CLEAR(tls->write_backlog);
#define CLEAR(name) Py_CLEAR(tls->py.name);
    HL_TLS_OBJECTS(CLEAR)
#undef CLEAR
    Py_CLEAR(tls->loop);
    return 0;
}

static void
tls_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)tls_clear(self);
    hl_count_free(hl_state_in_dealloc(type), HL_COUNT_TLS);
    type->tp_free(self);
    Py_DECREF(type);
}

/* -- what C may use directly ------------------------------------------------------------------- */

/* Whether a method of ssl.SSLObject is the one that the ssl module came with.  1, 0 or -1. */
static int
is_unpatched(PyTypeObject *type, PyObject *name, PyObject *expected)
{
    PyObject *found = PyObject_GetAttr((PyObject *)type, name);
    Py_XDECREF(found);
    return found != NULL ? found == expected : -1;
}

/* Find the object inside of the SSLObject; leave NULL if anything is not the ssl module's own:
 * then asyncio's methods do everything. */
static int
tls_find_raw(hl_tls *tls)
{
    const hl_state *state = tls->state;
    Py_CLEAR(tls->raw);
    if (state->bio_read == NULL || state->bio_write == NULL ||
        state->ssl_read == NULL || state->ssl_write == NULL || tls->loop == NULL ||
        tls->sslobj == NULL || tls->incoming == NULL || tls->outgoing == NULL ||
        Py_TYPE(tls->sslobj) != state->SSLObjectType ||
        Py_TYPE(tls->incoming) != state->MemoryBIOType ||
        Py_TYPE(tls->outgoing) != state->MemoryBIOType) {
        return 0;
    }
    PyTypeObject *type = state->SSLObjectType;
    int is_own = is_unpatched(type, state->str.read, state->sslobject_read);
    if (is_own > 0) {
        is_own = is_unpatched(type, state->str.write, state->sslobject_write);
    }
    if (is_own <= 0) {
        return is_own;
    }
    PyObject *raw = PyObject_GetAttr(tls->sslobj, state->str._sslobj);
    if (raw != NULL && Py_TYPE(raw) == state->RawSSLType) {
        tls->raw = Py_NewRef(raw);
    }
    Py_XDECREF(raw);
    return raw != NULL ? 0 : -1;
}

/* Exchange the object at an offset; NULL deletes it. */
static int
set_object(PyObject *self, PyObject *value, void *closure)
{
    PyObject **slot = (PyObject **)((char *)self + (size_t)closure);
    PyObject *previous;
    Py_BEGIN_CRITICAL_SECTION(self);
    previous = *slot;
    *slot = Py_XNewRef(value);
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(previous);
    return 0;
}

/* Flags and sizes stand at the offset that closure is.  They are no members, because any
 * thread may read them while the loop's writes. */
static PyObject *
get_flag(PyObject *self, void *closure)
{
    const char *flag = (char *)self + (size_t)closure;
    return PyBool_FromLong(__atomic_load_n(flag, __ATOMIC_RELAXED));
}

static int
set_flag(PyObject *self, PyObject *value, void *closure)
{
    char *flag = (char *)self + (size_t)closure;
    if (value != Py_True && value != Py_False) {
        PyErr_SetString(PyExc_TypeError, "the value of this attribute must be a bool");
        return -1;
    }
    __atomic_store_n(flag, (char)(value == Py_True), __ATOMIC_RELAXED);
    return 0;
}

static PyObject *
get_size(PyObject *self, void *closure)
{
    const Py_ssize_t *size = (const Py_ssize_t *)((char *)self + (size_t)closure);
    return PyLong_FromSsize_t(__atomic_load_n(size, __ATOMIC_RELAXED));
}

static int
set_size(PyObject *self, PyObject *value, void *closure)
{
    Py_ssize_t *size = (Py_ssize_t *)((char *)self + (size_t)closure);
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError, "this attribute cannot be deleted");
        return -1;
    }
    Py_ssize_t number = PyLong_AsSsize_t(value);
    if (number == -1 && PyErr_Occurred()) {
        return -1;
    }
    __atomic_store_n(size, number, __ATOMIC_RELAXED);
    return 0;
}

/* closure is the offset of one of the three. */
static int
set_part(PyObject *self, PyObject *value, void *closure)
{
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    Py_CLEAR(tls_of(self)->raw); /* first: it vouches for the types of all three */
    error = set_object(self, value, closure);
    if (error == 0) {
        error = tls_find_raw(tls_of(self));
    }
    Py_END_CRITICAL_SECTION();
    return error;
}

static int
set_loop_lock_held(hl_tls *tls, PyObject *value)
{
    hl_loop *loop = value != NULL ? hl_loop_cast(tls->state, value) : NULL;
    if (loop == NULL || (tls->loop != NULL && tls->loop != loop)) {
        PyErr_Format(PyExc_TypeError, "the loop must be one hotloop, not %R", value);
        return -1;
    }
    if (tls->loop == NULL) {
        tls->loop = (hl_loop *)Py_NewRef(value);
    }
    return tls_find_raw(tls);
}

static int
set_loop(PyObject *self, PyObject *value, void *closure)
{
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = set_loop_lock_held(tls_of(self), value);
    Py_END_CRITICAL_SECTION();
    return error;
}

/* Most connections never have one: it is made when it is asked for. */
static PyObject *
get_write_backlog(PyObject *self, void *closure)
{
    hl_tls *tls = tls_of(self);
    PyObject *backlog;
    Py_BEGIN_CRITICAL_SECTION(self);
    if (tls->write_backlog == NULL) {
        backlog = PyObject_CallNoArgs(tls->state->deque);
        Py_XSETREF(tls->write_backlog, backlog);
    }
    backlog = Py_XNewRef(tls->write_backlog);
    Py_END_CRITICAL_SECTION();
    return backlog;
}

static int
set_write_backlog(PyObject *self, PyObject *value, void *closure)
{
    Py_ssize_t size = value != NULL ? PyObject_Size(value) : 0;
    if (size < 0) {
        return -1;
    }
    return set_object(
        self, size > 0 ? value : NULL, (void *)offsetof(hl_tls, write_backlog));
}

/* -- methods for hotloop._tls -------------------------------------------------------------------- */

static PyObject *
tls_try_read(PyObject *self, PyObject *unused)
{
    hl_tls *tls = tls_of(self);
    int error = 0;
    bool is_native;
    Py_BEGIN_CRITICAL_SECTION(self);
    is_native = tls->raw != NULL;
    if (is_native) {
        error = hl_tls_read(tls);
    }
    Py_END_CRITICAL_SECTION();
    return error == 0 ? PyBool_FromLong(is_native) : NULL;
}

static PyObject *
tls_follow(PyObject *self, PyObject *data)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    Py_BEGIN_CRITICAL_SECTION(self);
    hl_records_follow(&tls_of(self)->records, view.buf, (size_t)view.len);
    Py_END_CRITICAL_SECTION();
    PyBuffer_Release(&view);
    Py_RETURN_NONE;
}

static PyObject *
get_has_unread(PyObject *self, void *closure)
{
    const hl_tls *tls = tls_of(self);
    bool has_unread;
    Py_BEGIN_CRITICAL_SECTION(self);
    has_unread = tls->raw == NULL || tls->records.count > 0 || tls->records.is_lost;
    Py_END_CRITICAL_SECTION();
    return PyBool_FromLong(has_unread);
}

static PyMethodDef tls_methods[] = {
    {"_try_read",
     tls_try_read,
     METH_NOARGS,
     "_try_read($self, /)\n--\n\nDo what _do_read() does; False if that is asyncio's business."},
    {"_follow",
     tls_follow,
     METH_O,
     "_follow($self, data, /)\n--\n\nCount the records in data, which the caller puts into "
     "the incoming BIO."},
    {NULL, NULL, 0, NULL},
};

#define OBJECT(name)                                                                   \
    {#name, hl_get_object, set_object, NULL, (void *)offsetof(hl_tls, py.name)},
#define FLAG(name)                                                                     \
    {#name, get_flag, set_flag, NULL, (void *)offsetof(hl_tls, flag.name)},
#define SIZE(name, field)                                                              \
    {name, get_size, set_size, NULL, (void *)offsetof(hl_tls, field)}
#define PART(name, field)                                                              \
    {name, hl_get_object, set_part, NULL, (void *)offsetof(hl_tls, field)}

static PyGetSetDef tls_getset[] = {
    PART("_sslobj", sslobj),
    PART("_incoming", incoming),
    PART("_outgoing", outgoing),
    {"_loop", hl_get_object, set_loop, NULL, (void *)offsetof(hl_tls, loop)},
    {"_write_backlog", get_write_backlog, set_write_backlog, NULL, NULL},
    {"_has_unread",
     get_has_unread,
     NULL,
     "False if the incoming BIO holds no complete record.",
     NULL},
    SIZE("_write_buffer_size", write_buffer_size),
    SIZE("_conn_lost", conn_lost),
    HL_TLS_OBJECTS(OBJECT) HL_TLS_FLAGS(FLAG){NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot tls_slots[] = {
    {Py_tp_doc, "What hotloop's TLS connections add to asyncio's."},
    {Py_tp_new, tls_new},
    {Py_tp_traverse, tls_traverse},
    {Py_tp_clear, tls_clear},
    {Py_tp_dealloc, tls_dealloc},
    {Py_tp_methods, tls_methods},
    {Py_tp_getset, tls_getset},
    {0, NULL},
};

static PyType_Spec tls_spec = {
    .name = "hotloop._core._SSLProtocol",
    .basicsize = sizeof(hl_tls),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = tls_slots,
};

/* The members of asyncio's SSLProtocolState that are compared with. */
static int
import_states(hl_state *state, PyObject *sslproto)
{
    PyObject *states = PyObject_GetAttrString(sslproto, "SSLProtocolState");
    int error =
        states == NULL ||
                hl_import(&state->tls_handshaking, states, "DO_HANDSHAKE", false) < 0 ||
                hl_import(&state->tls_wrapped, states, "WRAPPED", false) < 0 ||
                hl_import(&state->tls_flushing, states, "FLUSHING", false) < 0 ||
                hl_import(&state->tls_shutting_down, states, "SHUTDOWN", false) < 0
            ? -1
            : 0;
    Py_XDECREF(states);
    return error;
}

/* What the ssl module makes; asyncio's sslproto has None in its place where there is none. */
static int
import_ssl(hl_state *state, PyObject *sslproto)
{
    PyObject *ssl = PyObject_GetAttrString(sslproto, "ssl");
    if (ssl == NULL || ssl == Py_None) {
        Py_XDECREF(ssl);
        return ssl == NULL ? -1 : 0;
    }
    int error =
        hl_import((PyObject **)&state->SSLObjectType, ssl, "SSLObject", false) < 0 ||
                hl_import((PyObject **)&state->MemoryBIOType, ssl, "MemoryBIO", false) <
                    0 ||
                hl_import(&state->sslobject_read,
                          (PyObject *)state->SSLObjectType,
                          "read",
                          false) < 0 ||
                hl_import(&state->sslobject_write,
                          (PyObject *)state->SSLObjectType,
                          "write",
                          false) < 0 ||
                hl_import(&state->ssl_again_errors, sslproto, "SSLAgainErrors", false) <
                    0
            ? -1
            : 0;
    Py_DECREF(ssl);
    if (error == 0) {
        PyTypeObject *bio = state->MemoryBIOType;
        state->bio_read = hl_method_function(bio, "read", METH_FASTCALL);
        state->bio_write = hl_method_function(bio, "write", METH_O);
    }
    return error;
}

/* What _ssl makes and ssl wraps. */
static void
find_socket_functions(hl_state *state)
{
    PyObject *type = NULL;
    PyObject *module = PyImport_ImportModule("_ssl");
    if (module != NULL) {
        type = PyObject_GetAttrString(module, "_SSLSocket");
    }
    if (type != NULL) {
        state->RawSSLType = (PyTypeObject *)type;
        state->ssl_read = hl_method_function(state->RawSSLType, "read", METH_VARARGS);
        state->ssl_write = hl_method_function(state->RawSSLType, "write", METH_O);
    }
    Py_XDECREF(module);
    PyErr_Clear(); /* ImportError or AttributeError: asyncio's methods do everything */
}

int
hl_tls_type_init(PyObject *module, hl_state *state)
{
    PyObject *sslproto = PyImport_ImportModule("asyncio.sslproto");
    PyObject *collections = PyImport_ImportModule("collections");
    int error = sslproto == NULL || collections == NULL ||
                        hl_import((PyObject **)&state->StockTLSTransportType,
                                  sslproto,
                                  "_SSLProtocolTransport",
                                  false) < 0 ||
                        hl_import(&state->deque, collections, "deque", false) < 0 ||
                        import_states(state, sslproto) < 0 ||
                        import_ssl(state, sslproto) < 0
                    ? -1
                    : 0;
    Py_XDECREF(sslproto);
    Py_XDECREF(collections);
    if (error < 0) {
        return -1;
    }
    find_socket_functions(state);
    state->TLSType = hl_type_new(module, &tls_spec, NULL, NULL);
    return state->TLSType != NULL ? 0 : -1;
}
