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

#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || !HL_FREELISTS
#define HL_SPARE_BYTES 0
#else
#define HL_SPARE_BYTES 1
#endif

/* Smaller objects are pymalloc's, larger ones are received in place. */
enum { HL_SPARE_SMALLEST = 480, HL_SPARE_LARGEST = 16 * 1024 };

typedef struct {
    PyObject *bytes;     /* owned, the only reference; or NULL */
    Py_ssize_t capacity; /* of bytes */
} hl_spare_bytes;

/* Give up a reference to bytes (exact type), keeping the object if it was the last one. */
static inline void
hl_spare_give(hl_spare_bytes *spare, PyObject *bytes)
{
    Py_ssize_t size = PyBytes_GET_SIZE(bytes);
    if (HL_SPARE_BYTES && Py_REFCNT(bytes) == 1 && spare->bytes == NULL &&
        size >= HL_SPARE_SMALLEST && size <= HL_SPARE_LARGEST) {
        spare->bytes = bytes;
        spare->capacity = size;
        return;
    }
    Py_DECREF(bytes);
}

/* A bytes object of size bytes, copied from data.  Returns new, or NULL with MemoryError. */
static inline PyObject *
hl_spare_take(hl_spare_bytes *spare, const char *data, Py_ssize_t size)
{
    /* Not much larger than needed, or a program that keeps messages would waste memory. */
    if (!HL_SPARE_BYTES || spare->bytes == NULL || size > spare->capacity ||
        size < spare->capacity - spare->capacity / 4) {
        return PyBytes_FromStringAndSize(data, size);
    }
    PyObject *bytes = spare->bytes;
    spare->bytes = NULL;
    memcpy(PyBytes_AS_STRING(bytes), data, (size_t)size);
    PyBytes_AS_STRING(bytes)[size] = '\0';
    Py_SET_SIZE((PyVarObject *)bytes, size);
    hl_bytes_forget_hash(bytes);
    return bytes;
}

/* Free what is kept. */
static inline void
hl_spare_drop(hl_spare_bytes *spare)
{
    Py_CLEAR(spare->bytes);
}

#endif
