/* A 4-ary min-heap of timers, ordered by deadline and then by insertion.
 *
 * Invariants:
 *  1. items[i] is not after any of items[4i+1 .. 4i+4].
 *  2. items[i].node->index == i for every i < count; a node outside has HL_HEAP_OUTSIDE.
 *  3. sequence numbers never repeat, so the order is total and pops are stable.
 * Keys stand in the array (24 bytes an entry), so sifting touches no timer but the moved.
 * The heap owns no node; who inserts keeps it alive until it left. */
#ifndef HL_BASE_HEAP_H
#define HL_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HL_HEAP_OUTSIDE SIZE_MAX

typedef struct {
    size_t index; /* place in the heap, or HL_HEAP_OUTSIDE */
} hl_heap_node;

typedef struct {
    uint64_t key;      /* deadline in the form of hl_heap_key */
    uint64_t sequence; /* tie breaker: order of insertion */
    hl_heap_node *node;
} hl_heap_item;

typedef struct {
    hl_heap_item *items;
    size_t count;
    size_t capacity;
    uint64_t next_sequence;
} hl_heap;

void hl_heap_init(hl_heap *heap);
void hl_heap_fini(hl_heap *heap);

/* Insert node, which must be outside, for a deadline in seconds (no nan).  Returns 0, or
 * -ENOMEM. */
int hl_heap_insert(hl_heap *heap, hl_heap_node *node, double deadline);

/* Remove node, which must be inside. */
void hl_heap_remove(hl_heap *heap, hl_heap_node *node);

/* True if every invariant holds; for assertions and tests. */
bool hl_heap_check(const hl_heap *heap);

/* A number that orders as the deadline does.  Integers compare without branches, which the
 * processor would guess wrong half of the time while an item sinks. */
static inline uint64_t
hl_heap_key(double deadline)
{
    const uint64_t sign = UINT64_C(1) << 63;
    uint64_t bits;
    deadline += 0.0; /* -0.0 becomes 0.0 */
    memcpy(&bits, &deadline, sizeof(bits));
    return bits & sign ? ~bits : bits | sign;
}

/* The deadline, in seconds, that a key was made of. */
static inline double
hl_heap_deadline(uint64_t key)
{
    const uint64_t sign = UINT64_C(1) << 63;
    uint64_t bits = key & sign ? key & ~sign : ~key;
    double deadline;
    memcpy(&deadline, &bits, sizeof(deadline));
    return deadline;
}

static inline hl_heap_item *
hl_heap_first(hl_heap *heap)
{
    return heap->count > 0 ? &heap->items[0] : NULL;
}

#endif
