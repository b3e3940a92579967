/* Growth and clearing of the ring of ready.h. */
#include "sched/ready.h"

#include <string.h>

enum { FIRST_CAPACITY = 64 };

void
hl_ready_init(hl_ready *ready)
{
    *ready = (hl_ready){0};
}

int
hl_ready_grow(hl_ready *ready)
{
    size_t old = ready->entries != NULL ? ready->mask + 1 : 0;
    size_t capacity = old > 0 ? old * 2 : FIRST_CAPACITY;
    hl_ready_entry *entries = PyMem_Malloc(capacity * sizeof(*entries));
    if (entries == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (old > 0) {
        size_t until_end = old - ready->head;
        if (until_end > ready->count) {
            until_end = ready->count;
        }
        memcpy(entries, ready->entries + ready->head, until_end * sizeof(*entries));
        memcpy(entries + until_end,
               ready->entries,
               (ready->count - until_end) * sizeof(*entries));
    }
    PyMem_Free(ready->entries);
    ready->entries = entries;
    ready->head = 0;
    ready->mask = capacity - 1;
    return 0;
}

void
hl_ready_clear(hl_ready *ready)
{
    while (ready->count > 0) {
        hl_ready_entry entry = hl_ready_take(ready);
        Py_DECREF(entry.owner);
        Py_XDECREF(entry.argument);
    }
}

int
hl_ready_copy(const hl_ready *ready, hl_ready *copy)
{
    for (size_t i = 0; i < ready->count; i++) {
        if (hl_ready_reserve(copy) < 0) {
            return -1;
        }
        const hl_ready_entry *entry = hl_ready_at(ready, i);
        hl_ready_push(
            copy, entry->run, Py_NewRef(entry->owner), Py_XNewRef(entry->argument));
    }
    return 0;
}

void
hl_ready_fini(hl_ready *ready)
{
    hl_ready_clear(ready);
    PyMem_Free(ready->entries);
    hl_ready_init(ready);
}

int
hl_ready_traverse(const hl_ready *ready, visitproc visit, void *arg)
{
    for (size_t i = 0; i < ready->count; i++) {
        const hl_ready_entry *entry = hl_ready_at(ready, i);
        Py_VISIT(entry->owner);
        Py_VISIT(entry->argument);
    }
    return 0;
}
