/* The two tables of address_cache.h, in which a newer address takes an older one's slot. */
#include "py/address_cache.h"

#include <string.h>

static hl_address_entry *
slot_of_bytes(hl_address_cache *cache, const char *bytes, socklen_t length)
{
    uint32_t hash = 0;
    for (socklen_t i = 0; i + sizeof(uint32_t) <= length; i += sizeof(uint32_t)) {
        uint32_t word;
        memcpy(&word, bytes + i, sizeof(word));
        hash = (hash ^ word) * 0x9E3779B1u; /* 2^32 by the golden ratio */
    }
    return &cache->received[(hash >> 16) % HL_ADDRESS_CACHE_SLOTS];
}

PyObject *
hl_address_cache_object(hl_address_cache *cache, const struct sockaddr *address,
                        socklen_t length)
{
    if (cache == NULL || length == 0 || length > HL_ADDRESS_BYTES) {
        return hl_address_object(address, length);
    }
    hl_address_entry *entry = slot_of_bytes(cache, (const char *)address, length);
    if (entry->object == NULL || entry->address.length != length ||
        memcmp(entry->address.bytes, address, length) != 0) {
        hl_inet_address copy = {.length = length}; /* of what garbage may overwrite */
        memcpy(copy.bytes, address, length);
        PyObject *object = hl_address_object(address, length);
        if (object == NULL) {
            return NULL;
        }
        entry->address = copy;
        Py_XSETREF(entry->object, object);
    }
    cache->last = entry;
    return Py_NewRef(entry->object);
}

/* Copy what the entry says about object, if it does. */
static bool
entry_tells(const hl_address_entry *entry, PyObject *object, int family,
            hl_inet_address *address)
{
    sa_family_t entry_family;
    if (entry->object != object) {
        return false;
    }
    memcpy(&entry_family, entry->address.bytes, sizeof(entry_family));
    if (entry_family != family) {
        return false;
    }
    *address = entry->address;
    return true;
}

/* Nothing in object can change. */
static bool
is_constant(PyObject *object)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(object); i++) {
        PyObject *item = PyTuple_GET_ITEM(object, i);
        if (!PyUnicode_CheckExact(item) && !PyLong_CheckExact(item)) {
            return false;
        }
    }
    return true;
}

bool
hl_address_cache_parse(hl_address_cache *cache, PyObject *object, int family,
                       hl_inet_address *parsed)
{
    if (cache == NULL || !PyTuple_CheckExact(object)) {
        return hl_address_parse(object, family, parsed);
    }
    hl_address_entry *entry =
        &cache->sent[((uintptr_t)object >> 5) % HL_ADDRESS_CACHE_SLOTS];
    if ((cache->last != NULL && entry_tells(cache->last, object, family, parsed)) ||
        entry_tells(entry, object, family, parsed)) {
        return true;
    }
    if (!hl_address_parse(object, family, parsed)) {
        return false;
    }
    if (is_constant(object)) {
        entry->address = *parsed;
        Py_XSETREF(entry->object, Py_NewRef(object));
    }
    return true;
}

static void
clear_entries(hl_address_entry *entries)
{
    for (size_t i = 0; i < HL_ADDRESS_CACHE_SLOTS; i++) {
        Py_CLEAR(entries[i].object);
    }
}

void
hl_address_cache_clear(hl_address_cache *cache)
{
    cache->last = NULL;
    clear_entries(cache->received);
    clear_entries(cache->sent);
}
