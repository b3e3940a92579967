/* One bytes object that nobody refers to any more, kept for the next message.
 *
 * A message above pymalloc's limit of 512 bytes costs a malloc and a free of the C library,
 * some 800 instructions of the 2,400 that an echo of 1 KiB takes; most die before the next
 * one is received.  An object is kept only if the reference that is given up is the last
 * one, so that nobody can see it change: to the program this is a free and a malloc.
 * Off where that proof does not hold (free threading) or would hide a use after free. */
#ifndef HL_PY_SPARE_BYTES_H
#define HL_PY_SPARE_BYTES_H

#include "py/compat.h"

#include <stdbool.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || !HL_FREELISTS
#define HL_SPARE_BYTES 0
#else
#define HL_SPARE_BYTES 1
#endif

/* Smaller objects are pymalloc's, larger ones are received in place.  A record of TLS, whose
 * plain text is 16 KiB at most, fits. */
enum { HL_SPARE_SMALLEST = 480, HL_SPARE_LARGEST = 17 * 1024 };

typedef struct {
    PyObject *bytes;     /* owned, the only reference; or NULL */
    Py_ssize_t capacity; /* of bytes */
} hl_spare_bytes;

/* Give up a reference to bytes (exact type) with memory for capacity bytes, keeping the
 * object if it was the last reference. */
static inline void
hl_spare_give_back(hl_spare_bytes *spare, PyObject *bytes, Py_ssize_t capacity)
{
    if (HL_SPARE_BYTES && Py_REFCNT(bytes) == 1 && spare->bytes == NULL &&
        capacity >= HL_SPARE_SMALLEST && capacity <= HL_SPARE_LARGEST) {
        spare->bytes = bytes;
        spare->capacity = capacity;
        return;
    }
    Py_DECREF(bytes);
}

/* The same of any bytes object. */
static inline void
hl_spare_give(hl_spare_bytes *spare, PyObject *bytes)
{
    hl_spare_give_back(spare, bytes, PyBytes_GET_SIZE(bytes));
}

/* True if `capacity` is not much more than size: a program that keeps many messages must not
 * waste memory by that. */
static inline bool
hl_spare_is_fitting(Py_ssize_t capacity, Py_ssize_t size)
{
    return size <= capacity && size >= capacity - capacity / 4;
}

/* A bytes object that nobody else has, for at least size bytes, to be filled and then cut by
 * hl_spare_cut(); *capacity is what it has memory for.  Returns new, or NULL with
 * MemoryError. */
static inline PyObject *
hl_spare_reserve(hl_spare_bytes *spare, Py_ssize_t size, Py_ssize_t *capacity)
{
    if (!HL_SPARE_BYTES || spare->bytes == NULL ||
        !hl_spare_is_fitting(spare->capacity, size)) {
        *capacity = size;
        return PyBytes_FromStringAndSize(NULL, size);
    }
    PyObject *bytes = spare->bytes;
    spare->bytes = NULL;
    *capacity = spare->capacity;
    return bytes;
}

/* Have bytes end after size bytes; the memory stays. */
static inline void
hl_spare_cut(PyObject *bytes, Py_ssize_t size)
{
    PyBytes_AS_STRING(bytes)[size] = '\0';
    Py_SET_SIZE((PyVarObject *)bytes, size);
    hl_bytes_forget_hash(bytes);
}

/* A bytes object of size bytes, copied from data.  Returns new, or NULL with MemoryError. */
static inline PyObject *
hl_spare_take(hl_spare_bytes *spare, const char *data, Py_ssize_t size)
{
    if (!HL_SPARE_BYTES || spare->bytes == NULL ||
        !hl_spare_is_fitting(spare->capacity, size)) {
        return PyBytes_FromStringAndSize(data, size);
    }
    PyObject *bytes = spare->bytes;
    spare->bytes = NULL;
    memcpy(PyBytes_AS_STRING(bytes), data, (size_t)size);
    hl_spare_cut(bytes, size);
    return bytes;
}

/* Free what is kept. */
static inline void
hl_spare_drop(hl_spare_bytes *spare)
{
    Py_CLEAR(spare->bytes);
}

#endif
