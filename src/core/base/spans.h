/* A queue of outgoing bytes: spans of memory that their owners keep alive.
 *
 * Plain C: an owner is an opaque pointer that whoever pushed it releases when the queue
 * hands it back, in order.  Invariants: `size` is the sum of the lengths; no span is empty;
 * the spans in use are items[head .. head + count). */
#ifndef HL_BASE_SPANS_H
#define HL_BASE_SPANS_H

#include "base/memory.h"

#include <stddef.h>
#include <stdint.h>

struct iovec;

typedef struct {
    void *owner; /* released by the caller once hl_spans_take_sent hands it back */
    const char *data;
    size_t length;
} hl_span;

typedef struct {
    hl_span *items; /* owned storage, or NULL before the first push */
    size_t head;
    size_t count;
    size_t capacity;
    size_t size; /* bytes in all spans */
} hl_spans;

/* Make room at the end for one more span.  Returns 0 or HL_NO_MEMORY. */
int hl_spans_reserve(hl_spans *spans);

/* Append length > 0 bytes; there must be room (hl_spans_reserve). */
static inline void
hl_spans_push(hl_spans *spans, void *owner, const char *data, size_t length)
{
    spans->items[spans->head + spans->count] = (hl_span){owner, data, length};
    spans->count++;
    spans->size += length;
}

/* Take up to *sent bytes off the front.  Returns the owner of a span that is used up (call
 * again), or NULL when *sent is used up: the first span may have become shorter. */
void *hl_spans_take_sent(hl_spans *spans, size_t *sent);

/* Take the first span off whole.  Returns its owner, or NULL if there is none. */
void *hl_spans_take_first(hl_spans *spans);

/* The same where it is the only one, which is usual. */
static inline void *
hl_spans_take_only(hl_spans *spans)
{
    void *owner = spans->items[spans->head].owner;
    spans->head = spans->count = spans->size = 0;
    return owner;
}

/* Put a span back in front of what was behind it when it was taken.  Returns 0 or HL_NO_MEMORY. */
int hl_spans_put_back(hl_spans *spans, hl_span span);

/* Describe the first spans, at most `limit`, for writev(2).  Returns how many. */
size_t hl_spans_describe(const hl_spans *spans, struct iovec *vector, size_t limit);

/* Copy all bytes to target, which has room for `size`. */
void hl_spans_join(const hl_spans *spans, char *target);

/* Free the storage of an empty queue. */
void hl_spans_fini(hl_spans *spans);

#endif
