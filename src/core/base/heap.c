/* The 4-ary heap of heap.h.  Measured against a binary heap and a timer wheel: four
 * children a node halve the depth, and eager removal by index keeps cancelled timers
 * from piling up, which is the usual life of a timeout. */
#include "base/heap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { CHILDREN = 4, FIRST_CAPACITY = 64 };

void
hl_heap_init(hl_heap *heap)
{
    *heap = (hl_heap){0};
}

void
hl_heap_fini(hl_heap *heap)
{
    free(heap->items);
    free(heap->places);
    free(heap->nodes);
    hl_heap_init(heap);
}

/* One comparison of 128 bits, so that the compiler needs no branch. */
static inline bool
heap_before(const hl_heap_item *a, const hl_heap_item *b)
{
    unsigned __int128 left = (unsigned __int128)a->key << 64 | a->rank;
    unsigned __int128 right = (unsigned __int128)b->key << 64 | b->rank;
    return left < right;
}

static inline void
heap_place(hl_heap *heap, size_t place, hl_heap_item item)
{
    heap->items[place] = item;
    heap->places[hl_heap_slot(&item)] = (uint32_t)place;
}

/* Move item up from the hole at index until its parent is not after it. */
static void
heap_sift_up(hl_heap *heap, size_t index, hl_heap_item item)
{
    while (index > 0) {
        size_t parent = (index - 1) / CHILDREN;
        if (!heap_before(&item, &heap->items[parent])) {
            break;
        }
        heap_place(heap, index, heap->items[parent]);
        index = parent;
    }
    heap_place(heap, index, item);
}

/* Index of the earliest child of index, or count if it has none. */
static inline size_t
heap_first_child(const hl_heap *heap, size_t index)
{
    size_t best = index * CHILDREN + 1;
    if (best >= heap->count) {
        return heap->count;
    }
    size_t end = best + CHILDREN;
    if (end > heap->count) {
        end = heap->count;
    }
    for (size_t child = best + 1; child < end; child++) {
        best = heap_before(&heap->items[child], &heap->items[best]) ? child : best;
    }
    return best;
}

/* Fill the hole at index with item, which comes from the end of the heap: let the hole sink
 * to a leaf and let item rise from there.  It nearly always belongs near the bottom, so
 * this saves comparing it with the children on the way down. */
static void
heap_sift_down(hl_heap *heap, size_t index, hl_heap_item item)
{
    size_t hole = index;
    for (;;) {
        size_t child = heap_first_child(heap, hole);
        if (child == heap->count) {
            break;
        }
        heap_place(heap, hole, heap->items[child]);
        hole = child;
    }
    while (hole > index && heap_before(&item, &heap->items[(hole - 1) / CHILDREN])) {
        heap_place(heap, hole, heap->items[(hole - 1) / CHILDREN]);
        hole = (hole - 1) / CHILDREN;
    }
    heap_place(heap, hole, item);
}

/* Double the three arrays and chain the new slots.  Returns 0 or -ENOMEM. */
static int
heap_grow(hl_heap *heap)
{
    size_t capacity = heap->capacity > 0 ? heap->capacity * 2 : FIRST_CAPACITY;
    if (capacity > (size_t)1 << HL_HEAP_SLOT_BITS) {
        return -ENOMEM;
    }
    /* Each is stored at once: what has grown is right even if the next cannot. */
    hl_heap_item *items = realloc(heap->items, capacity * sizeof(*items));
    if (items == NULL) {
        return -ENOMEM;
    }
    heap->items = items;
    uint32_t *places = realloc(heap->places, capacity * sizeof(*places));
    if (places == NULL) {
        return -ENOMEM;
    }
    heap->places = places;
    hl_heap_node **nodes = realloc(heap->nodes, capacity * sizeof(*nodes));
    if (nodes == NULL) {
        return -ENOMEM;
    }
    heap->nodes = nodes;
    for (size_t slot = heap->capacity; slot < capacity; slot++) {
        heap->places[slot] = (uint32_t)slot + 1;
    }
    heap->free_slot = (uint32_t)heap->capacity; /* all others are in use */
    heap->capacity = capacity;
    return 0;
}

int
hl_heap_insert(hl_heap *heap, hl_heap_node *node, double deadline)
{
    assert(node->slot == HL_HEAP_OUTSIDE);
    assert(deadline == deadline); /* a nan would break the order of everything else */
    if (heap->count == heap->capacity && heap_grow(heap) < 0) {
        return -ENOMEM;
    }
    uint32_t slot = heap->free_slot;
    heap->free_slot = heap->places[slot];
    heap->nodes[slot] = node;
    node->slot = slot;
    uint64_t rank = heap->next_sequence++ << HL_HEAP_SLOT_BITS | slot;
    hl_heap_item item = {.key = hl_heap_key(deadline), .rank = rank};
    heap_sift_up(heap, heap->count++, item);
    return 0;
}

void
hl_heap_remove(hl_heap *heap, hl_heap_node *node)
{
    uint32_t slot = node->slot;
    assert(slot < heap->capacity && heap->nodes[slot] == node);
    size_t place = heap->places[slot];
    node->slot = HL_HEAP_OUTSIDE;
    heap->places[slot] = heap->free_slot;
    heap->free_slot = slot;
    hl_heap_item last = heap->items[--heap->count];
    if (place == heap->count) {
        return;
    }
    if (place > 0 && heap_before(&last, &heap->items[(place - 1) / CHILDREN])) {
        heap_sift_up(heap, place, last);
    }
    else {
        heap_sift_down(heap, place, last);
    }
}

bool
hl_heap_check(const hl_heap *heap)
{
    for (size_t i = 0; i < heap->count; i++) {
        uint32_t slot = hl_heap_slot(&heap->items[i]);
        if (heap->places[slot] != i || heap->nodes[slot]->slot != slot) {
            return false;
        }
        if (i > 0 && heap_before(&heap->items[i], &heap->items[(i - 1) / CHILDREN])) {
            return false;
        }
    }
    return true;
}
