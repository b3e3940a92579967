/* A 4-ary min-heap of timers, ordered by deadline and then by insertion.
 *
 * Invariants:
 *  1. items[i] is not after any of items[4i+1 .. 4i+4].
 *  2. places[slot of items[i]] == i, and nodes[slot of items[i]]->slot is that slot; a node
 *     outside has HL_HEAP_OUTSIDE.
 *  3. sequence numbers do not repeat, so the order is total and pops are stable.
 * An item is 16 bytes and names its node by a slot number: sifting writes to two dense
 * arrays and touches no timer, which with thousands of them would miss the cache each time.
 * The heap owns no node; who inserts keeps it alive until it left. */
#ifndef HL_BASE_HEAP_H
#define HL_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HL_HEAP_OUTSIDE UINT32_MAX

typedef struct {
    uint32_t slot; /* while inside, else HL_HEAP_OUTSIDE */
} hl_heap_node;

/* 2^28 timers at once, and 2^36 insertions before ties could come out of order. */
enum { HL_HEAP_SLOT_BITS = 28 };

typedef struct {
    uint64_t key;  /* deadline in the form of hl_heap_key */
    uint64_t rank; /* order of insertion, then the slot in the low HL_HEAP_SLOT_BITS */
} hl_heap_item;

typedef struct {
    hl_heap_item *items;
    uint32_t
        *places; /* of each slot in use: its place in items; else the next free slot */
    hl_heap_node **nodes; /* of each slot in use; borrowed */
    size_t count;
    size_t capacity;
    uint32_t free_slot; /* head of the chain of free slots below `capacity` */
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

static inline uint32_t
hl_heap_slot(const hl_heap_item *item)
{
    return (uint32_t)(item->rank & ((UINT64_C(1) << HL_HEAP_SLOT_BITS) - 1));
}

/* The node at a place in the heap; place 0 is the earliest. */
static inline hl_heap_node *
hl_heap_node_at(const hl_heap *heap, size_t place)
{
    return heap->nodes[hl_heap_slot(&heap->items[place])];
}

static inline const hl_heap_item *
hl_heap_first(const hl_heap *heap)
{
    return heap->count > 0 ? &heap->items[0] : NULL;
}

#endif
