/* The check of plain_socket.h.  The descriptor and the timeout are read by the C functions
 * behind _socket.socket's own methods, without a lookup. */
#include "io/plain_socket.h"

#include "py/types.h"

#include <netinet/in.h>
#include <structmember.h>
#include <sys/socket.h>

/* The methods that the calls of this folder stand in for. */
static const char *const replaceable[] = {
    "fileno", "gettimeout", "recv", "recv_into", "send", "connect", "getsockopt"};

enum { REPLACEABLE = sizeof(replaceable) / sizeof(replaceable[0]) };

/* 1 if socket.socket inherits all of them from _socket.socket, 0 if not, -1 on error. */
static int
socket_class_is_intact(const hl_state *state)
{
    PyObject *base = (PyObject *)state->SocketType->tp_base;
    for (int i = 0; i < REPLACEABLE; i++) {
        PyObject *used =
            PyObject_GetAttrString((PyObject *)state->SocketType, replaceable[i]);
        PyObject *original =
            used != NULL ? PyObject_GetAttrString(base, replaceable[i]) : NULL;
        bool is_same = used == original;
        Py_XDECREF(used);
        Py_XDECREF(original);
        if (original == NULL) {
            return -1;
        }
        if (!is_same) {
            return 0;
        }
    }
    return 1;
}

/* The offset of an int that type shows as a read-only attribute, or 0. */
static Py_ssize_t
offset_of_int(PyTypeObject *type, const char *name)
{
    PyObject *descriptor = PyObject_GetAttrString((PyObject *)type, name);
    Py_ssize_t offset = 0;
    if (descriptor != NULL && Py_IS_TYPE(descriptor, &PyMemberDescr_Type)) {
        const PyMemberDef *member = ((PyMemberDescrObject *)descriptor)->d_member;
        offset = member->type == T_INT ? member->offset : 0;
    }
    Py_XDECREF(descriptor);
    PyErr_Clear(); /* AttributeError: without it, it is done without */
    return offset;
}

int
hl_plain_socket_init(hl_state *state)
{
    PyTypeObject *base = state->SocketType->tp_base;
    state->socket_fileno = hl_method_function(base, "fileno", METH_NOARGS);
    state->socket_gettimeout = hl_method_function(base, "gettimeout", METH_NOARGS);
    state->socket_family_offset = offset_of_int(base, "family");
    state->socket_type_offset = offset_of_int(base, "type");
    state->socket_proto_offset = offset_of_int(base, "proto");
    return 0;
}

/* The same as socket_class_is_intact, from memory while the class has not changed. */
static bool
is_intact(hl_state *state)
{
    unsigned int version = state->SocketType->tp_version_tag;
    if (version != 0 &&
        version == __atomic_load_n(&state->socket_version, __ATOMIC_RELAXED)) {
        return true;
    }
    int intact = socket_class_is_intact(state);
    if (intact < 0) {
        PyErr_Clear(); /* AttributeError: a method was deleted */
    }
    if (intact == 1) {
        /* Read last: the lookups give the class a version if it had none. */
        __atomic_store_n(&state->socket_version,
                         state->SocketType->tp_version_tag,
                         __ATOMIC_RELAXED);
    }
    return intact == 1;
}

static bool
is_nonblocking(const hl_state *state, PyObject *sock)
{
    PyObject *timeout = state->socket_gettimeout(sock, NULL);
    if (timeout == NULL) {
        PyErr_Clear(); /* MemoryError: the slow way will meet it as well */
        return false;
    }
    bool is_zero = PyFloat_CheckExact(timeout) && PyFloat_AS_DOUBLE(timeout) == 0.0;
    Py_DECREF(timeout);
    return is_zero;
}

int
hl_plain_socket_fd_again(const hl_state *state, PyObject *sock)
{
    PyObject *number = state->socket_fileno(sock, NULL);
    if (number == NULL) {
        PyErr_Clear(); /* MemoryError, likewise */
        return -1;
    }
    int fd = (int)PyLong_AsLong(number);
    Py_DECREF(number);
    return fd;
}

int
hl_plain_socket_fd(hl_state *state, PyObject *sock)
{
    if (!Py_IS_TYPE(sock, state->SocketType) || state->socket_fileno == NULL ||
        state->socket_gettimeout == NULL || !is_intact(state) ||
        !is_nonblocking(state, sock)) {
        return -1;
    }
    return hl_plain_socket_fd_again(state, sock);
}

static inline int
int_at(PyObject *object, Py_ssize_t offset)
{
    return *(const int *)((const char *)object + offset);
}

int
hl_plain_socket_family(const hl_state *state, PyObject *sock)
{
    if (state->socket_family_offset == 0 || state->socket_type_offset == 0 ||
        state->socket_proto_offset == 0) {
        return AF_UNSPEC;
    }
    int family = int_at(sock, state->socket_family_offset);
    int type = int_at(sock, state->socket_type_offset);
    int proto = int_at(sock, state->socket_proto_offset);
    bool is_known = (family == AF_INET || family == AF_INET6) &&
                    (type == SOCK_STREAM || type == SOCK_DGRAM) &&
                    (proto == 0 || proto == IPPROTO_TCP || proto == IPPROTO_UDP);
    return is_known ? family : AF_UNSPEC;
}
