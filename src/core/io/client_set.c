/* The set of client_set.h. */
#include "io/client_set.h"

#include "py/types.h"

typedef struct hl_client_set {
    PyObject_HEAD
    hl_transport *first; /* borrowed; the others follow by client_next */
    Py_ssize_t count;
    PyObject
        *others; /* owned WeakSet; NULL until something is added that is not native */
} hl_client_set;

/* -- the list ----------------------------------------------------------------------------------- */

static void
clients_link(hl_client_set *set, hl_transport *transport)
{
    transport->clients = set;
    transport->client_previous = NULL;
    transport->client_next = set->first;
    if (set->first != NULL) {
        set->first->client_previous = transport;
    }
    set->first = transport;
    set->count++;
}

void
hl_client_set_forget(hl_transport *transport)
{
    hl_client_set *set = transport->clients;
    if (set == NULL) {
        return;
    }
    if (transport->client_previous != NULL) {
        transport->client_previous->client_next = transport->client_next;
    }
    else {
        set->first = transport->client_next;
    }
    if (transport->client_next != NULL) {
        transport->client_next->client_previous = transport->client_previous;
    }
    transport->clients = NULL;
    set->count--;
}

/* object as a transport to be linked, or NULL.  Without a GIL there is none: a transport
 * could die in one thread while another one follows the links. */
static hl_transport *
native_client(PyObject *self, PyObject *object)
{
    const hl_state *state = hl_state_of(self);
    return !HL_FREE_THREADED && PyObject_TypeCheck(object, state->TransportType)
               ? hl_transport_of(object)
               : NULL;
}

/* -- methods ------------------------------------------------------------------------------------- */

/* The WeakSet, which stays once it is there: borrowed, or NULL. */
static PyObject *
others_of(hl_client_set *set)
{
    PyObject *others;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)set);
    others = set->others;
    Py_END_CRITICAL_SECTION();
    return others;
}

/* Have a WeakSet (stolen), unless another thread was faster. */
static void
set_others(hl_client_set *set, PyObject *others)
{
    Py_BEGIN_CRITICAL_SECTION((PyObject *)set);
    if (set->others == NULL) {
        set->others = others;
        others = NULL;
    }
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(others);
}

/* What is not native goes to a WeakSet, by its method of that name.  New, or NULL. */
static PyObject *
call_others(hl_client_set *set, const char *method, PyObject *object)
{
    if (others_of(set) == NULL) {
        PyObject *weakref = PyImport_ImportModule("weakref");
        PyObject *others =
            weakref != NULL ? PyObject_CallMethod(weakref, "WeakSet", NULL) : NULL;
        Py_XDECREF(weakref);
        if (others == NULL) {
            return NULL;
        }
        set_others(set, others);
    }
    return PyObject_CallMethod(others_of(set), method, "O", object);
}

static PyObject *
clients_add(PyObject *self, PyObject *object)
{
    hl_client_set *set = (hl_client_set *)self;
    hl_transport *transport = native_client(self, object);
    if (transport == NULL) {
        return call_others(set, "add", object);
    }
    hl_client_set_forget(transport);
    clients_link(set, transport);
    Py_RETURN_NONE;
}

static PyObject *
clients_discard(PyObject *self, PyObject *object)
{
    hl_client_set *set = (hl_client_set *)self;
    hl_transport *transport = native_client(self, object);
    if (transport == NULL) {
        return call_others(set, "discard", object);
    }
    if (transport->clients == set) {
        hl_client_set_forget(transport);
    }
    Py_RETURN_NONE;
}

/* A list of all, for iterating while they come and go.  New, or NULL. */
static PyObject *
clients_copy(PyObject *self, PyObject *unused)
{
    hl_client_set *set = (hl_client_set *)self;
    PyObject *others = others_of(set);
    PyObject *list = others != NULL ? PySequence_List(others) : PyList_New(0);
    for (hl_transport *transport = set->first; list != NULL && transport != NULL;
         transport = transport->client_next) {
        if (PyList_Append(list, (PyObject *)transport) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static PyObject *
clients_iter(PyObject *self)
{
    PyObject *list = clients_copy(self, NULL);
    PyObject *iterator = list != NULL ? PyObject_GetIter(list) : NULL;
    Py_XDECREF(list);
    return iterator;
}

static Py_ssize_t
clients_length(PyObject *self)
{
    hl_client_set *set = (hl_client_set *)self;
    PyObject *others = others_of(set);
    Py_ssize_t count = others != NULL ? PyObject_Size(others) : 0;
    return count < 0 ? -1 : set->count + count;
}

static int
clients_contains(PyObject *self, PyObject *object)
{
    hl_client_set *set = (hl_client_set *)self;
    hl_transport *transport = native_client(self, object);
    if (transport != NULL) {
        return transport->clients == set;
    }
    PyObject *others = others_of(set);
    return others != NULL ? PySequence_Contains(others, object) : 0;
}

/* -- life and type ------------------------------------------------------------------------------ */

static PyObject *
clients_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    return type->tp_alloc(type, 0);
}

static int
clients_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((hl_client_set *)self)->others);
    return 0;
}

static int
clients_clear(PyObject *self)
{
    Py_CLEAR(((hl_client_set *)self)->others);
    return 0;
}

static void
clients_dealloc(PyObject *self)
{
    hl_client_set *set = (hl_client_set *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    while (set->first != NULL) {
        hl_client_set_forget(set->first);
    }
    (void)clients_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef clients_methods[] = {
    {"add", clients_add, METH_O, "add($self, transport, /)\n--\n\nAdd a connection."},
    {"discard",
     clients_discard,
     METH_O,
     "discard($self, transport, /)\n--\n\nTake a connection out, if it is in."},
    {"copy",
     clients_copy,
     METH_NOARGS,
     "copy($self, /)\n--\n\nReturn a list of the connections."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot clients_slots[] = {
    {Py_tp_doc, "_ClientSet()\n--\n\nThe connections of a server, none kept alive."},
    {Py_tp_new, clients_tp_new},
    {Py_tp_dealloc, clients_dealloc},
    {Py_tp_traverse, clients_traverse},
    {Py_tp_clear, clients_clear},
    {Py_tp_iter, clients_iter},
    {Py_tp_methods, clients_methods},
    {Py_sq_length, clients_length},
    {Py_sq_contains, clients_contains},
    {0, NULL},
};

static PyType_Spec clients_spec = {
    .name = "hotloop._core._ClientSet",
    .basicsize = sizeof(hl_client_set),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = clients_slots,
};

int
hl_client_set_type_init(PyObject *module, hl_state *state)
{
    state->ClientSetType = hl_type_new(module, &clients_spec, NULL, NULL);
    return state->ClientSetType != NULL ? 0 : -1;
}
