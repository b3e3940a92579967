/* Lists of freed objects of one exact type, kept for the next allocation.
 *
 * An object on a list is untracked, owns nothing and has given up its reference to its
 * type; `link` is one of its pointer fields, used to chain.  Sanitizer builds poison what
 * is listed, so that a use after free is still seen.  Only with a GIL: the list belongs to
 * the interpreter and is not locked. */
#ifndef HL_PY_FREELIST_H
#define HL_PY_FREELIST_H

#include "py/state.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define hl_poison(address, size) ASAN_POISON_MEMORY_REGION(address, size)
#define hl_unpoison(address, size) ASAN_UNPOISON_MEMORY_REGION(address, size)
#else
#define hl_poison(address, size) ((void)(address))
#define hl_unpoison(address, size) ((void)(address))
#endif

/* Take an object off the list: untracked, refcount 1, link cleared; NULL if it is empty. */
static inline PyObject *
hl_freelist_pop(hl_freelist *list, PyTypeObject *type, size_t link)
{
    PyObject *object = list->first;
    if (!HL_FREELISTS || object == NULL) {
        return NULL;
    }
    hl_unpoison(object, (size_t)type->tp_basicsize);
    PyObject **next = (PyObject **)((char *)object + link);
    list->first = *next;
    list->count--;
    *next = NULL;
    __builtin_prefetch(list->first); /* objects that died in no order are far apart */
    return PyObject_Init(object, type);
}

/* Keep object, which is untracked and cleared, and drop its reference to type.  Returns
 * false if the list has `limit` objects (or freelists are off): the caller frees it then.
 *
 * An object that the collector has finalized keeps that mark for ever and would never be
 * finalized again, so it is not kept. */
static inline bool
hl_freelist_push_up_to(hl_freelist *list, int limit, PyObject *object,
                       PyTypeObject *type, size_t link)
{
    if (!HL_FREELISTS || list->count >= limit || PyObject_GC_IsFinalized(object)) {
        return false;
    }
    *(PyObject **)((char *)object + link) = list->first;
    list->first = object;
    list->count++;
    hl_poison((char *)object, (size_t)type->tp_basicsize);
    Py_DECREF(type);
    return true;
}

/* The same with the usual limit. */
static inline bool
hl_freelist_push(hl_freelist *list, PyObject *object, PyTypeObject *type, size_t link)
{
    return hl_freelist_push_up_to(list, HL_FREELIST_LIMIT, object, type, link);
}

/* Free what the list has beyond `limit` objects. */
static inline void
hl_freelist_trim(hl_freelist *list, int limit, PyTypeObject *type, size_t link)
{
    while (list->count > limit) {
        PyObject *object = list->first;
        hl_unpoison(object, (size_t)type->tp_basicsize);
        list->first = *(PyObject **)((char *)object + link);
        list->count--;
        PyObject_GC_Del(object);
    }
}

/* Free everything on the list. */
static inline void
hl_freelist_drain(hl_freelist *list, PyTypeObject *type, size_t link)
{
    hl_freelist_trim(list, 0, type, link);
}

#endif
