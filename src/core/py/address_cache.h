/* The last addresses of datagrams, as the objects that stand for them.
 *
 * Making the tuple of an address and reading one costs more than the system call's own part
 * of a small datagram, and peers come back.  Received addresses are found by their bytes,
 * addresses to send to by the identity of the tuple: only exact tuples of exact str and int
 * are kept, so what they say cannot change.  A cache belongs to a thread. */
#ifndef HL_PY_ADDRESS_CACHE_H
#define HL_PY_ADDRESS_CACHE_H

#include "py/address.h"

enum { HL_ADDRESS_CACHE_SLOTS = 256 };

typedef struct {
    PyObject *object; /* owned; NULL: empty */
    hl_inet_address address;
} hl_address_entry;

typedef struct {
    hl_address_entry received[HL_ADDRESS_CACHE_SLOTS]; /* by a hash of the bytes */
    hl_address_entry sent[HL_ADDRESS_CACHE_SLOTS]; /* by the object's place in memory */
    const hl_address_entry *last;                  /* received: a likely receiver */
} hl_address_cache;

/* The object for an address of a known family.  cache may be NULL.  Returns new, or NULL. */
PyObject *hl_address_cache_object(hl_address_cache *cache,
                                  const struct sockaddr *address, socklen_t length);

/* hl_address_parse, from memory if it is possible.  cache may be NULL. */
bool hl_address_cache_parse(hl_address_cache *cache, PyObject *object, int family,
                            hl_inet_address *parsed);

void hl_address_cache_clear(hl_address_cache *cache);

#endif
