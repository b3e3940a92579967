/* The conversions of address.h. */
#include "py/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

hl_address *
hl_address_store(const struct sockaddr *address, socklen_t length)
{
    hl_address *stored = PyMem_Malloc(offsetof(hl_address, bytes) + length);
    if (stored == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    stored->length = (unsigned short)length;
    memcpy(stored->bytes, address, length);
    return stored;
}

bool
hl_ipv4_read(const struct sockaddr *address, socklen_t length, hl_ipv4 *ipv4)
{
    struct sockaddr_in aligned;
    if (length < sizeof(aligned) || address->sa_family != AF_INET) {
        return false;
    }
    memcpy(&aligned, address, sizeof(aligned));
    *ipv4 = (hl_ipv4){aligned.sin_addr.s_addr, aligned.sin_port};
    return true;
}

PyObject *
hl_ipv4_object(const hl_ipv4 *ipv4)
{
    char text[INET_ADDRSTRLEN];
    (void)inet_ntop(AF_INET, &ipv4->host, text, sizeof(text));
    return Py_BuildValue("(si)", text, (int)ntohs(ipv4->port));
}

static PyObject *
object_of_ipv6(const struct sockaddr_in6 *address)
{
    char text[INET6_ADDRSTRLEN];
    (void)inet_ntop(AF_INET6, &address->sin6_addr, text, sizeof(text));
    return Py_BuildValue("(siII)",
                         text,
                         (int)ntohs(address->sin6_port),
                         (unsigned)ntohl(address->sin6_flowinfo),
                         (unsigned)address->sin6_scope_id);
}

/* A path as str; an abstract name as bytes, with its leading NUL. */
static PyObject *
object_of_unix(const struct sockaddr_un *address, socklen_t length)
{
    size_t start = offsetof(struct sockaddr_un, sun_path);
    size_t path_length = length > start ? length - start : 0;
    const char *path = address->sun_path;
    if (path_length > 0 && path[0] == '\0') {
        return PyBytes_FromStringAndSize(path, (Py_ssize_t)path_length);
    }
    return PyUnicode_DecodeFSDefaultAndSize(path,
                                            (Py_ssize_t)strnlen(path, path_length));
}

PyObject *
hl_address_object(const struct sockaddr *address, socklen_t length)
{
    if (length == 0) {
        Py_RETURN_NONE;
    }
    struct sockaddr_storage aligned = {0};
    memcpy(&aligned, address, length < sizeof(aligned) ? length : sizeof(aligned));
    hl_ipv4 ipv4;
    if (hl_ipv4_read((const struct sockaddr *)&aligned, length, &ipv4)) {
        return hl_ipv4_object(&ipv4);
    }
    switch (aligned.ss_family) {
    case AF_INET6:
        return object_of_ipv6((const struct sockaddr_in6 *)&aligned);
    default:
        assert(aligned.ss_family == AF_UNIX);
        return object_of_unix((const struct sockaddr_un *)&aligned, length);
    }
}

PyObject *
hl_address_stored_object(const hl_address *address)
{
    return hl_address_object((const struct sockaddr *)(const void *)address->bytes,
                             address->length);
}

_Static_assert(sizeof(struct sockaddr_in6) == HL_ADDRESS_BYTES, "room for the longest");

/* item, an int from 0 to limit.  Returns false, without an exception, for all else. */
static bool
read_number(PyObject *item, unsigned long limit, unsigned long *number)
{
    if (!PyLong_CheckExact(item)) {
        return false;
    }
    *number = PyLong_AsUnsignedLong(item);
    if (*number == (unsigned long)-1 && PyErr_Occurred()) {
        PyErr_Clear(); /* OverflowError: the socket module has its own words for it */
        return false;
    }
    return *number <= limit;
}

/* item, an address in numbers of family.  Returns false, without an exception, for all else. */
static bool
read_host(PyObject *item, int family, void *address)
{
    Py_ssize_t length;
    if (!PyUnicode_CheckExact(item) || !PyUnicode_IS_COMPACT_ASCII(item)) {
        return false;
    }
    const char *text = PyUnicode_AsUTF8AndSize(item, &length);
    assert(text != NULL); /* of an ASCII string it is the string's own memory */
    return strlen(text) == (size_t)length && inet_pton(family, text, address) == 1;
}

static bool
parse_ipv4(PyObject *object, hl_inet_address *parsed)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    unsigned long port;
    if (PyTuple_GET_SIZE(object) != 2 ||
        !read_number(PyTuple_GET_ITEM(object, 1), UINT16_MAX, &port) ||
        !read_host(PyTuple_GET_ITEM(object, 0), AF_INET, &address.sin_addr)) {
        return false;
    }
    address.sin_port = htons((uint16_t)port);
    memcpy(parsed->bytes, &address, sizeof(address));
    parsed->length = sizeof(address);
    return true;
}

static bool
parse_ipv6(PyObject *object, hl_inet_address *parsed)
{
    enum { FLOW_LIMIT = 0xfffff };
    struct sockaddr_in6 address = {.sin6_family = AF_INET6};
    Py_ssize_t size = PyTuple_GET_SIZE(object);
    unsigned long port, flow = 0, scope = 0;
    if (size < 2 || size > 4 ||
        !read_number(PyTuple_GET_ITEM(object, 1), UINT16_MAX, &port) ||
        (size > 2 && !read_number(PyTuple_GET_ITEM(object, 2), FLOW_LIMIT, &flow)) ||
        (size > 3 && !read_number(PyTuple_GET_ITEM(object, 3), UINT32_MAX, &scope)) ||
        !read_host(PyTuple_GET_ITEM(object, 0), AF_INET6, &address.sin6_addr)) {
        return false;
    }
    address.sin6_port = htons((uint16_t)port);
    address.sin6_flowinfo = htonl((uint32_t)flow);
    address.sin6_scope_id = (uint32_t)scope;
    memcpy(parsed->bytes, &address, sizeof(address));
    parsed->length = sizeof(address);
    return true;
}

bool
hl_address_parse(PyObject *object, int family, hl_inet_address *parsed)
{
    if (!PyTuple_Check(object)) {
        return false;
    }
    switch (family) {
    case AF_INET:
        return parse_ipv4(object, parsed);
    case AF_INET6:
        return parse_ipv6(object, parsed);
    default:
        return false;
    }
}
