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

#define HL_HEAP_OUTSIDE SIZE_MAX

typedef struct {
    size_t index; /* place in the heap, or HL_HEAP_OUTSIDE */
} hl_heap_node;

typedef struct {
    double key;        /* deadline in seconds; never a nan */
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

/* Insert node, which must be outside.  Returns 0, or -ENOMEM. */
int hl_heap_insert(hl_heap *heap, hl_heap_node *node, double key);

/* Remove node, which must be inside. */
void hl_heap_remove(hl_heap *heap, hl_heap_node *node);

/* True if every invariant holds; for assertions and tests. */
bool hl_heap_check(const hl_heap *heap);

static inline hl_heap_item *
hl_heap_first(hl_heap *heap)
{
    return heap->count > 0 ? &heap->items[0] : NULL;
}

#endif
