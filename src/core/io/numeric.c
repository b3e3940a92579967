/* The answers of numeric.h. */
#include "io/numeric.h"

#include "py/types.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* Flags that change nothing about an address that is a number. */
enum { HARMLESS_FLAGS = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV };

enum { LARGEST_PORT = 65535 };

/* What is asked for, once it is known to be ours. */
typedef struct {
    PyObject *host; /* borrowed */
    int family;     /* AF_INET or AF_INET6 */
    int type;       /* SOCK_STREAM or SOCK_DGRAM */
    int proto;      /* the one that goes with the type */
    int asked_family;
    int asked_proto;
    int port;
    char text[INET6_ADDRSTRLEN]; /* as getaddrinfo(3) spells an address of IPv6 */
} numeric_query;

int
hl_numeric_init(hl_state *state)
{
    PyObject *module = PyImport_ImportModule("socket");
    if (module == NULL) {
        return -1;
    }
    state->socket_names = Py_NewRef(PyModule_GetDict(module));
    int error = -1;
    PyObject *has_ipv6 = PyObject_GetAttrString(module, "has_ipv6");
    if (has_ipv6 != NULL &&
        hl_import(&state->AF_INET_member, module, "AF_INET", false) == 0 &&
        hl_import(&state->AF_INET6_member, module, "AF_INET6", true) == 0 &&
        hl_import(&state->SOCK_STREAM_member, module, "SOCK_STREAM", false) == 0 &&
        hl_import(&state->SOCK_DGRAM_member, module, "SOCK_DGRAM", false) == 0) {
        error = 0;
    }
    if (has_ipv6 != Py_True) {
        Py_CLEAR(state->AF_INET6_member); /* such addresses are not ours then */
    }
    Py_XDECREF(has_ipv6);
    Py_DECREF(module);
    return error;
}

/* True if socket.getaddrinfo is a function of that module, as it comes. */
static bool
resolver_is_intact(const hl_state *state)
{
    PyObject *function;
    if (PyDict_GetItemRef(state->socket_names, state->str.getaddrinfo, &function) <=
        0) {
        PyErr_Clear(); /* of a key that cannot be compared: not what it was */
        return false;
    }
    bool is_intact = PyFunction_Check(function) &&
                     PyFunction_GET_GLOBALS(function) == state->socket_names;
    Py_DECREF(function);
    return is_intact;
}

/* True if asyncio's own method would go straight to socket.getaddrinfo. */
static bool
loop_is_plain(const hl_loop *loop)
{
    const PyObject *is_shut_down =
        hl_loop_peek_attr(loop, HL_ATTR_EXECUTOR_SHUTDOWN_CALLED);
    return !hl_loop_is_debug(loop) && !hl_loop_is_closed(loop) &&
           !hl_loop_replaces(loop, HL_OVERRIDE_RUN_IN_EXECUTOR) &&
           (is_shut_down == NULL || is_shut_down == Py_False) &&
           resolver_is_intact(loop->state);
}

/* A number that fits an int.  False, without an exception, if it is anything else. */
static bool
get_int(PyObject *argument, int *number)
{
    int overflow;
    if (!PyLong_Check(argument)) {
        return false;
    }
    long value = PyLong_AsLongAndOverflow(argument, &overflow);
    *number = (int)value;
    return !overflow && *number == value;
}

static bool
get_port(PyObject *argument, int *port)
{
    *port = 0;
    return argument == Py_None ||
           (PyLong_CheckExact(argument) && get_int(argument, port) && *port >= 0 &&
            *port <= LARGEST_PORT);
}

/* The protocol of the type.  False if what was asked for does not go with it. */
static bool
choose_proto(numeric_query *query)
{
    if (query->type != SOCK_STREAM && query->type != SOCK_DGRAM) {
        return false;
    }
    query->proto = query->type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
    return query->asked_proto == 0 || query->asked_proto == query->proto;
}

/* Which family the address is of.  False if it is none, or not of the asked family. */
static bool
get_address(const hl_state *state, PyObject *host, numeric_query *query)
{
    union {
        struct in_addr inet;
        struct in6_addr inet6;
    } address;
    if (!PyUnicode_CheckExact(host) || !PyUnicode_IS_ASCII(host) ||
        PyUnicode_GET_LENGTH(host) >= INET6_ADDRSTRLEN) {
        return false;
    }
    const char *text = (const char *)PyUnicode_1BYTE_DATA(host);
    if (strlen(text) != (size_t)PyUnicode_GET_LENGTH(host)) {
        return false; /* a NUL inside */
    }
    query->host = host;
    if (inet_pton(AF_INET, text, &address) == 1) {
        query->family = AF_INET;
    }
    else if (state->AF_INET6_member != NULL &&
             inet_pton(AF_INET6, text, &address) == 1) {
        query->family = AF_INET6;
        inet_ntop(AF_INET6, &address, query->text, sizeof(query->text));
    }
    else {
        return false;
    }
    return query->asked_family == AF_UNSPEC || query->asked_family == query->family;
}

static bool
get_query(const hl_state *state, PyObject *const *arguments, numeric_query *query)
{
    int flags;
    return get_int(arguments[2], &query->asked_family) &&
           get_int(arguments[3], &query->type) &&
           get_int(arguments[4], &query->asked_proto) && choose_proto(query) &&
           get_int(arguments[5], &flags) && (flags & ~HARMLESS_FLAGS) == 0 &&
           get_port(arguments[1], &query->port) &&
           get_address(state, arguments[0], query);
}

static PyObject *
address_of(const numeric_query *query)
{
    if (query->family == AF_INET) {
        return Py_BuildValue("(Oi)", query->host, query->port);
    }
    return Py_BuildValue("(siii)", query->text, query->port, 0, 0);
}

static PyObject *
family_of(const hl_state *state, const numeric_query *query)
{
    return query->family == AF_INET ? state->AF_INET_member : state->AF_INET6_member;
}

PyObject *
hl_numeric_endpoint(const hl_state *state, PyObject *host, PyObject *port)
{
    numeric_query query = {.asked_family = AF_UNSPEC};
    if (!get_port(port, &query.port) || !get_address(state, host, &query)) {
        return Py_NewRef(Py_None);
    }
    const char *format = query.family == AF_INET ? "(O(Oi))" : "(O(Oiii))";
    return Py_BuildValue(format, family_of(state, &query), host, query.port, 0, 0);
}

PyObject *
hl_numeric_addresses(hl_loop *loop, PyObject *const *arguments)
{
    const hl_state *state = loop->state;
    numeric_query query;
    if (!loop_is_plain(loop) || !get_query(state, arguments, &query)) {
        return Py_NewRef(Py_None);
    }
    if (PySys_Audit("socket.getaddrinfo",
                    "OOiii",
                    arguments[0],
                    arguments[1],
                    query.asked_family,
                    query.type,
                    query.asked_proto) < 0) {
        return NULL;
    }
    PyObject *family = family_of(state, &query);
    PyObject *type = query.type == SOCK_STREAM ? state->SOCK_STREAM_member
                                               : state->SOCK_DGRAM_member;
    PyObject *address = address_of(&query);
    return address != NULL
               ? Py_BuildValue("[(OOisN)]", family, type, query.proto, "", address)
               : NULL;
}
