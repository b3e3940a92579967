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
    hl_heap_init(heap);
}

/* One comparison of 128 bits, so that the compiler needs no branch. */
static inline bool
heap_before(const hl_heap_item *a, const hl_heap_item *b)
{
    unsigned __int128 left = (unsigned __int128)a->key << 64 | a->sequence;
    unsigned __int128 right = (unsigned __int128)b->key << 64 | b->sequence;
    return left < right;
}

static inline void
heap_place(hl_heap *heap, size_t index, hl_heap_item item)
{
    heap->items[index] = item;
    item.node->index = index;
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

static int
heap_grow(hl_heap *heap)
{
    size_t capacity = heap->capacity > 0 ? heap->capacity * 2 : FIRST_CAPACITY;
    hl_heap_item *items = realloc(heap->items, capacity * sizeof(*items));
    if (items == NULL) {
        return -ENOMEM;
    }
    heap->items = items;
    heap->capacity = capacity;
    return 0;
}

int
hl_heap_insert(hl_heap *heap, hl_heap_node *node, double deadline)
{
    assert(node->index == HL_HEAP_OUTSIDE);
    assert(deadline == deadline); /* a nan would break the order of everything else */
    if (heap->count == heap->capacity && heap_grow(heap) < 0) {
        return -ENOMEM;
    }
    hl_heap_item item = {
        .key = hl_heap_key(deadline), .sequence = heap->next_sequence++, .node = node};
    heap_sift_up(heap, heap->count++, item);
    return 0;
}

void
hl_heap_remove(hl_heap *heap, hl_heap_node *node)
{
    size_t index = node->index;
    assert(index < heap->count && heap->items[index].node == node);
    node->index = HL_HEAP_OUTSIDE;
    hl_heap_item last = heap->items[--heap->count];
    if (index == heap->count) {
        return;
    }
    if (index > 0 && heap_before(&last, &heap->items[(index - 1) / CHILDREN])) {
        heap_sift_up(heap, index, last);
    }
    else {
        heap_sift_down(heap, index, last);
    }
}

bool
hl_heap_check(const hl_heap *heap)
{
    for (size_t i = 0; i < heap->count; i++) {
        if (heap->items[i].node->index != i) {
            return false;
        }
        if (i > 0 && heap_before(&heap->items[i], &heap->items[(i - 1) / CHILDREN])) {
            return false;
        }
    }
    return true;
}
