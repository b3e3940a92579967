/* A 4-ary min-heap of timers, ordered by deadline and then by insertion.
 *
 * Invariants:
 *  1. items[i] is not after any of items[4i+1 .. 4i+4].
 *  2. nodes[slot of items[i]] is the item's node, whose `slot` is that slot, or NULL: the node
 *     was removed and the item is dead.  A node outside has HL_HEAP_OUTSIDE.
 *  3. The first item is not dead, and dead items are at most as many as the others and
 *     HL_HEAP_SPARE_DEAD: they leave when they come first, or all at once.
 *  4. sequence numbers do not repeat, so the order is total and pops are stable.
 * An item is 16 bytes and names its node by a slot number: sifting moves items alone and
 * touches no timer, which with thousands of them would miss the cache each time.  Removing
 * does not even look for the item.
 * The heap owns no node; who inserts keeps it alive until it left. */
#ifndef HL_BASE_HEAP_H
#define HL_BASE_HEAP_H

#include "base/memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HL_HEAP_OUTSIDE UINT32_MAX

typedef struct {
    uint32_t slot; /* atomic: while inside, else HL_HEAP_OUTSIDE */
} hl_heap_node;

/* True if the node is in a heap.  Any thread may ask. */
static inline bool
hl_heap_is_inside(const hl_heap_node *node)
{
    return __atomic_load_n(&node->slot, __ATOMIC_RELAXED) != HL_HEAP_OUTSIDE;
}

/* 2^28 timers at once, and 2^36 insertions before ties could come out of order. */
enum { HL_HEAP_SLOT_BITS = 28, HL_HEAP_SPARE_DEAD = 64 };

typedef struct {
    uint64_t key;  /* deadline in the form of hl_heap_key */
    uint64_t rank; /* order of insertion, then the slot in the low HL_HEAP_SLOT_BITS */
} hl_heap_item;

typedef struct {
    hl_heap_item *items; /* the children of an item share a cache line */
    union hl_heap_slot {
        hl_heap_node *node; /* of a slot in use: borrowed, or NULL */
        uintptr_t next;     /* of a free slot: the next free one */
    } *slots;
    size_t count;      /* nodes inside */
    size_t item_count; /* with dead items */
    size_t capacity;
    uintptr_t free_slot; /* head of the chain of free slots below `capacity` */
    uint64_t next_sequence;
} hl_heap;

void hl_heap_init(hl_heap *heap);
void hl_heap_fini(hl_heap *heap);

/* True if the node is in this heap.  Who removes it must not change the heap meanwhile. */
static inline bool
hl_heap_holds(const hl_heap *heap, const hl_heap_node *node)
{
    uint32_t slot = __atomic_load_n(&node->slot, __ATOMIC_RELAXED);
    return slot < heap->capacity && heap->slots[slot].node == node;
}

/* Insert node, which must be outside, for a deadline in seconds (no nan).  Returns 0, or
 * HL_NO_MEMORY. */
int hl_heap_insert(hl_heap *heap, hl_heap_node *node, double deadline);

/* Remove node, which must be inside this heap. */
void hl_heap_remove(hl_heap *heap, hl_heap_node *node);

/* Take the earliest node.  The heap must not be empty. */
hl_heap_node *hl_heap_pop(hl_heap *heap);

/* The node at or after *place in the array of items, the earliest first and the others in no
 * order; NULL at the end.  *place starts at 0 and is moved behind the node. */
hl_heap_node *hl_heap_next(const hl_heap *heap, size_t *place);

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

/* The item of the earliest node, or NULL. */
static inline const hl_heap_item *
hl_heap_first(const hl_heap *heap)
{
    return heap->count > 0 ? &heap->items[0] : NULL;
}

#endif
