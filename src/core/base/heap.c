/* The 4-ary heap of heap.h.  Measured against a binary heap and a timer wheel: four
 * children a node halve the depth.  A removed timer, which is the usual end of a timeout, is
 * only marked; dead items cannot pile up because they are swept out once they are more than
 * the others. */
#include "base/heap.h"

#include <assert.h>
#include <stdlib.h>

enum {
    CHILDREN = 4,
    FIRST_CAPACITY = 64,
    CACHE_LINE = 64,
    PADDING = CHILDREN -
        1,              /* items before the first, so that groups of children align */
    CHECKED_ITEMS = 32, /* assertions look at heaps up to this size */
};

_Static_assert(CHILDREN * sizeof(hl_heap_item) == CACHE_LINE,
               "children must fill a cache line");

void
hl_heap_init(hl_heap *heap)
{
    *heap = (hl_heap){0};
}

static void
heap_free_items(hl_heap *heap)
{
    if (heap->items != NULL) {
        free(heap->items - PADDING);
    }
}

void
hl_heap_fini(hl_heap *heap)
{
    heap_free_items(heap);
    free(heap->slots);
    hl_heap_init(heap);
}

static inline uint32_t
heap_slot(const hl_heap_item *item)
{
    return (uint32_t)(item->rank & ((UINT64_C(1) << HL_HEAP_SLOT_BITS) - 1));
}

static inline hl_heap_node *
heap_node(const hl_heap *heap, size_t place)
{
    return heap->slots[heap_slot(&heap->items[place])].node;
}

static inline void
heap_free_slot(hl_heap *heap, uint32_t slot)
{
    heap->slots[slot].next = heap->free_slot;
    heap->free_slot = slot;
}

/* -- order --------------------------------------------------------------------------------- */

/* One comparison of 128 bits, so that the compiler needs no branch. */
static inline bool
heap_before(const hl_heap_item *a, const hl_heap_item *b)
{
    unsigned __int128 left = (unsigned __int128)a->key << 64 | a->rank;
    unsigned __int128 right = (unsigned __int128)b->key << 64 | b->rank;
    return left < right;
}

/* Move item up from the hole at index, at most to `top`, until its parent is not after it. */
static inline void
heap_sift_up(hl_heap *heap, size_t index, size_t top, hl_heap_item item)
{
    while (index > top) {
        size_t parent = (index - 1) / CHILDREN;
        if (!heap_before(&item, &heap->items[parent])) {
            break;
        }
        heap->items[index] = heap->items[parent];
        index = parent;
    }
    heap->items[index] = item;
}

/* The earliest of the four items at first. */
static inline size_t
heap_first_of_four(const hl_heap_item *items, size_t first)
{
    size_t left = first + heap_before(&items[first + 1], &items[first]);
    size_t right = first + 2 + heap_before(&items[first + 3], &items[first + 2]);
    return heap_before(&items[right], &items[left]) ? right : left;
}

/* Fill the hole at index with *item, which comes from the end of the heap and stands outside
 * of it: let the hole sink to a leaf and let the item rise from there.  It nearly always
 * belongs near the bottom, so this saves comparing it with the children on the way down.  By
 * value it would be written as two halves and read back as one, for which the processor waits
 * until all stores before have reached the cache. */
static void
heap_sift_down(hl_heap *heap, size_t index, const hl_heap_item *item)
{
    hl_heap_item *items = heap->items;
    size_t hole = index;
    size_t child = hole * CHILDREN + 1;
    while (child + CHILDREN <= heap->item_count) {
        size_t first = heap_first_of_four(items, child);
        items[hole] = items[first];
        hole = first;
        child = hole * CHILDREN + 1;
    }
    if (child < heap->item_count) {
        size_t first = child;
        while (++child < heap->item_count) {
            first = heap_before(&items[child], &items[first]) ? child : first;
        }
        items[hole] = items[first];
        hole = first;
    }
    heap_sift_up(heap, hole, index, *item);
}

/* -- room ---------------------------------------------------------------------------------- */

/* Room for `capacity` items, with the present ones moved there.  Returns 0 or HL_NO_MEMORY. */
static int
heap_grow_items(hl_heap *heap, size_t capacity)
{
    /* With the padding a multiple of a line: capacity is one of CHILDREN. */
    size_t size = (capacity + CHILDREN) * sizeof(hl_heap_item);
    hl_heap_item *storage = aligned_alloc(CACHE_LINE, size);
    if (storage == NULL) {
        return HL_NO_MEMORY;
    }
    if (heap->item_count > 0) {
        memcpy(storage + PADDING, heap->items, heap->item_count * sizeof(hl_heap_item));
    }
    heap_free_items(heap);
    heap->items = storage + PADDING;
    return 0;
}

/* Double both arrays and chain the new slots.  Returns 0 or HL_NO_MEMORY. */
static int
heap_grow(hl_heap *heap)
{
    size_t capacity = heap->capacity > 0 ? heap->capacity * 2 : FIRST_CAPACITY;
    if (capacity > (size_t)1 << HL_HEAP_SLOT_BITS) {
        return HL_NO_MEMORY;
    }
    /* Each is stored at once: what has grown is right even if the next cannot. */
    union hl_heap_slot *slots = realloc(heap->slots, capacity * sizeof(*slots));
    if (slots == NULL) {
        return HL_NO_MEMORY;
    }
    heap->slots = slots;
    if (heap_grow_items(heap, capacity) < 0) {
        return HL_NO_MEMORY;
    }
    for (size_t slot = heap->capacity; slot < capacity; slot++) {
        heap->slots[slot].next = slot + 1;
    }
    heap->free_slot = heap->capacity; /* all others are in use */
    heap->capacity = capacity;
    return 0;
}

/* Take the first item out; its slot becomes free. */
static void
heap_drop_first(hl_heap *heap)
{
    heap_free_slot(heap, heap_slot(&heap->items[0]));
    heap->item_count--;
    if (heap->item_count > 0) {
        heap_sift_down(heap, 0, &heap->items[heap->item_count]);
    }
}

/* Sweep the dead items out and order the others anew. */
static void
heap_sweep(hl_heap *heap)
{
    size_t kept = 0;
    for (size_t i = 0; i < heap->item_count; i++) {
        if (heap_node(heap, i) != NULL) {
            heap->items[kept++] = heap->items[i];
        }
        else {
            heap_free_slot(heap, heap_slot(&heap->items[i]));
        }
    }
    assert(kept == heap->count);
    heap->item_count = kept;
    for (size_t i = kept > 1 ? (kept - 2) / CHILDREN + 1 : 0; i-- > 0;) {
        const hl_heap_item item = heap->items[i];
        heap_sift_down(heap, i, &item);
    }
    assert(hl_heap_check(heap));
}

/* Make invariant 3 hold after a node was removed or taken. */
static inline void
heap_settle(hl_heap *heap)
{
    while (heap->item_count > 0 && heap_node(heap, 0) == NULL) {
        heap_drop_first(heap);
    }
    if (heap->item_count - heap->count > heap->count + HL_HEAP_SPARE_DEAD) {
        heap_sweep(heap);
    }
    assert(heap->item_count > CHECKED_ITEMS || hl_heap_check(heap));
}

/* -- nodes --------------------------------------------------------------------------------- */

static inline void
node_set_slot(hl_heap_node *node, uint32_t slot)
{
    __atomic_store_n(&node->slot, slot, __ATOMIC_RELAXED);
}

int
hl_heap_insert(hl_heap *heap, hl_heap_node *node, double deadline)
{
    assert(!hl_heap_is_inside(node));
    assert(deadline == deadline); /* a nan would break the order of everything else */
    if (heap->item_count == heap->capacity && heap_grow(heap) < 0) {
        return HL_NO_MEMORY;
    }
    uint32_t slot = (uint32_t)heap->free_slot;
    heap->free_slot = heap->slots[slot].next;
    heap->slots[slot].node = node;
    node_set_slot(node, slot);
    uint64_t rank = heap->next_sequence++ << HL_HEAP_SLOT_BITS | slot;
    hl_heap_item item = {.key = hl_heap_key(deadline), .rank = rank};
    heap->count++;
    heap_sift_up(heap, heap->item_count++, 0, item);
    return 0;
}

void
hl_heap_remove(hl_heap *heap, hl_heap_node *node)
{
    uint32_t slot = node->slot;
    assert(slot < heap->capacity && heap->slots[slot].node == node);
    node_set_slot(node, HL_HEAP_OUTSIDE);
    heap->slots[slot].node = NULL;
    heap->count--;
    heap_settle(heap);
}

hl_heap_node *
hl_heap_pop(hl_heap *heap)
{
    assert(heap->count > 0);
    hl_heap_node *node = heap_node(heap, 0);
    node_set_slot(node, HL_HEAP_OUTSIDE);
    heap->count--;
    heap_drop_first(heap);
    heap_settle(heap);
    return node;
}

hl_heap_node *
hl_heap_next(const hl_heap *heap, size_t *place)
{
    while (*place < heap->item_count) {
        hl_heap_node *node = heap_node(heap, (*place)++);
        if (node != NULL) {
            return node;
        }
    }
    return NULL;
}

bool
hl_heap_check(const hl_heap *heap)
{
    size_t count = 0;
    for (size_t i = 0; i < heap->item_count; i++) {
        const hl_heap_node *node = heap_node(heap, i);
        if (node != NULL) {
            count++;
        }
        if (i == 0 ? node == NULL
                   : heap_before(&heap->items[i], &heap->items[(i - 1) / CHILDREN])) {
            return false;
        }
        if (node != NULL && node->slot != heap_slot(&heap->items[i])) {
            return false;
        }
    }
    return count == heap->count;
}
