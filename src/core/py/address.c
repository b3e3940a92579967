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

static PyObject *
object_of_ipv4(const struct sockaddr_in *address)
{
    char text[INET_ADDRSTRLEN];
    (void)inet_ntop(AF_INET, &address->sin_addr, text, sizeof(text));
    return Py_BuildValue("(si)", text, (int)ntohs(address->sin_port));
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
    switch (aligned.ss_family) {
    case AF_INET:
        return object_of_ipv4((const struct sockaddr_in *)&aligned);
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
