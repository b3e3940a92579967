/* The check of plain_socket.h.
 *
 * The fields of a socket are read from its struct, PySocketSockObject of CPython's
 * socketmodule.h, which has not changed since 3.7:
 *     int descriptor, family, type, proto;  function *errorhandler;  int64_t timeout;
 * family, type and proto are attributes, whose descriptors tell where they are.  The two
 * others are beside them, and a socket without a descriptor, for which there is no system
 * call, shows at import whether they are what they should be: else every socket is asyncio's
 * business. */
#include "io/plain_socket.h"

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

static inline int
int_at(PyObject *object, Py_ssize_t offset)
{
    return __atomic_load_n((const int *)((const char *)object + offset),
                           __ATOMIC_RELAXED);
}

static inline int64_t
timeout_of(const hl_state *state, PyObject *sock)
{
    const char *place = (const char *)sock + state->socket_timeout_offset;
    return __atomic_load_n((const int64_t *)place, __ATOMIC_RELAXED);
}

/* A socket that was never opened: descriptor -1, and a timeout of -1 s, which is none. */
static bool
fields_are_as_expected(const hl_state *state, PyTypeObject *base)
{
    static const int64_t no_timeout = -1000000000;
    PyObject *sock = base->tp_new(base, state->empty_tuple, NULL);
    bool is_expected = sock != NULL && int_at(sock, state->socket_fd_offset) == -1 &&
                       timeout_of(state, sock) == no_timeout;
    Py_XDECREF(sock);
    PyErr_Clear(); /* MemoryError: it is done without */
    return is_expected;
}

int
hl_plain_socket_init(hl_state *state)
{
    PyTypeObject *base = state->SocketType->tp_base;
    Py_ssize_t size = sizeof(int);
    Py_ssize_t family = offset_of_int(base, "family");
    state->socket_family_offset = family;
    state->socket_type_offset = offset_of_int(base, "type");
    state->socket_proto_offset = offset_of_int(base, "proto");
    state->socket_fd_offset = family - size;
    state->socket_timeout_offset = family + 3 * size + (Py_ssize_t)sizeof(void *);
    state->knows_socket_fields =
        family > size && state->socket_type_offset == family + size &&
        state->socket_proto_offset == family + 2 * size &&
        state->socket_timeout_offset + (Py_ssize_t)sizeof(int64_t) <=
            base->tp_basicsize &&
        fields_are_as_expected(state, base);
    return 0;
}

/* The same as socket_class_is_intact, from memory while the class has not changed. */
static bool
is_intact(hl_state *state)
{
    const unsigned int *place = &state->SocketType->tp_version_tag;
    unsigned int version = __atomic_load_n(place, __ATOMIC_RELAXED);
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
        version = __atomic_load_n(place, __ATOMIC_RELAXED);
        __atomic_store_n(&state->socket_version, version, __ATOMIC_RELAXED);
    }
    return intact == 1;
}

int
hl_plain_socket_fd_again(const hl_state *state, PyObject *sock)
{
    return int_at(sock, state->socket_fd_offset);
}

int
hl_plain_socket_fd(hl_state *state, PyObject *sock)
{
    if (!Py_IS_TYPE(sock, state->SocketType) || !state->knows_socket_fields ||
        !is_intact(state) || timeout_of(state, sock) != 0) {
        return -1;
    }
    return hl_plain_socket_fd_again(state, sock);
}

int
hl_plain_socket_family(const hl_state *state, PyObject *sock)
{
    int family = int_at(sock, state->socket_family_offset);
    int type = int_at(sock, state->socket_type_offset);
    int proto = int_at(sock, state->socket_proto_offset);
    bool is_known = (family == AF_INET || family == AF_INET6) &&
                    (type == SOCK_STREAM || type == SOCK_DGRAM) &&
                    (proto == 0 || proto == IPPROTO_TCP || proto == IPPROTO_UDP);
    return is_known ? family : AF_UNSPEC;
}
