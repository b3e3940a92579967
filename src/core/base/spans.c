/* The queue of spans.h: an array whose front moves, compacted when its end is reached. */
#include "base/spans.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

enum { FIRST_CAPACITY = 4 };

int
hl_spans_reserve(hl_spans *spans)
{
    if (spans->head + spans->count < spans->capacity) {
        return 0;
    }
    if (spans->head > spans->count) {
        /* More than half of the array is in front of what is used. */
        memcpy(spans->items,
               spans->items + spans->head,
               spans->count * sizeof(*spans->items));
        spans->head = 0;
        return 0;
    }
    size_t capacity = spans->capacity > 0 ? spans->capacity * 2 : FIRST_CAPACITY;
    hl_span *items = realloc(spans->items, capacity * sizeof(*items));
    if (items == NULL) {
        return HL_NO_MEMORY;
    }
    spans->items = items;
    spans->capacity = capacity;
    return 0;
}

void *
hl_spans_take_first(hl_spans *spans)
{
    if (spans->count == 0) {
        return NULL;
    }
    const hl_span *first = &spans->items[spans->head];
    spans->size -= first->length;
    spans->count--;
    spans->head = spans->count > 0 ? spans->head + 1 : 0;
    return first->owner;
}

int
hl_spans_put_back(hl_spans *spans, hl_span span)
{
    if (spans->head == 0) {
        if (hl_spans_reserve(spans) < 0) {
            return HL_NO_MEMORY;
        }
        memmove(spans->items + 1, spans->items, spans->count * sizeof(*spans->items));
    }
    else {
        spans->head--;
    }
    spans->items[spans->head] = span;
    spans->count++;
    spans->size += span.length;
    return 0;
}

void *
hl_spans_take_sent(hl_spans *spans, size_t *sent)
{
    assert(*sent <= spans->size);
    if (*sent == 0) {
        return NULL;
    }
    hl_span *first = &spans->items[spans->head];
    if (first->length <= *sent) {
        *sent -= first->length;
        return hl_spans_take_first(spans);
    }
    first->data += *sent;
    first->length -= *sent;
    spans->size -= *sent;
    *sent = 0;
    return NULL;
}

size_t
hl_spans_describe(const hl_spans *spans, struct iovec *vector, size_t limit)
{
    size_t count = spans->count < limit ? spans->count : limit;
    for (size_t i = 0; i < count; i++) {
        const hl_span *span = &spans->items[spans->head + i];
        vector[i] = (struct iovec){(void *)(uintptr_t)span->data, span->length};
    }
    return count;
}

void
hl_spans_join(const hl_spans *spans, char *target)
{
    for (size_t i = 0; i < spans->count; i++) {
        const hl_span *span = &spans->items[spans->head + i];
        memcpy(target, span->data, span->length);
        target += span->length;
    }
}

void
hl_spans_fini(hl_spans *spans)
{
    assert(spans->count == 0);
    free(spans->items);
    *spans = (hl_spans){0};
}
