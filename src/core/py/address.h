/* Socket addresses between the kernel's form and Python's.
 *
 * A stored address is compact (16 bytes of payload for IPv4, 28 for IPv6) and becomes the
 * object that the socket module would give only when somebody asks for it.
 * Reference: https://docs.python.org/3/library/socket.html#socket-families */
#ifndef HL_PY_ADDRESS_H
#define HL_PY_ADDRESS_H

#include "py/compat.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

typedef struct {
    unsigned short length; /* of bytes; 0: no address */
    char bytes[];          /* as the kernel gave it; not aligned for a sockaddr */
} hl_address;

/* True if hl_address_object knows the family; others are the socket module's business. */
static inline bool
hl_address_is_known(int family)
{
    return family == AF_INET || family == AF_INET6 || family == AF_UNIX;
}

/* Keep an address.  Returns it (free with PyMem_Free), or NULL with MemoryError. */
hl_address *hl_address_store(const struct sockaddr *address, socklen_t length);

/* What socket.getpeername() would return for it: a tuple, str or bytes; None if length is
 * 0.  The family must be a known one.  Returns new, or NULL. */
PyObject *hl_address_object(const struct sockaddr *address, socklen_t length);

/* The same of a stored address. */
PyObject *hl_address_stored_object(const hl_address *address);

/* An address of IPv4, as small as it gets; in the order of the network. */
typedef struct {
    uint32_t host;
    uint16_t port;
} hl_ipv4;

/* Read one.  Returns false if it is an address of another family, or none. */
bool hl_ipv4_read(const struct sockaddr *address, socklen_t length, hl_ipv4 *ipv4);

/* (host, port) for Python.  New, or NULL. */
PyObject *hl_ipv4_object(const hl_ipv4 *ipv4);

/* An address of IPv4 or IPv6, for the kernel. */
enum { HL_ADDRESS_BYTES = 28 }; /* sizeof(struct sockaddr_in6) */
typedef struct {
    uint32_t length; /* of bytes */
    _Alignas(4) char bytes[HL_ADDRESS_BYTES];
} hl_inet_address;

/* What sendto() would make of object on a socket of family, if that is easy: a tuple of an
 * address in numbers and a port, for IPv4 or IPv6.  Returns false, without an exception, for
 * all else: names, values out of range, other families. */
bool hl_address_parse(PyObject *object, int family, hl_inet_address *parsed);

#endif
