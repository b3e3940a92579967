/* The slots of asyncio.Handle as attributes of ours.
 *
 * The slots are the storage (handle.h), and two of them hold more than their names say.
 * Getsets of the same names stand before the base class's member descriptors and show what
 * asyncio's slots would hold.  Where the slots are is checked at import. */
#ifndef HL_SCHED_HANDLE_SLOTS_H
#define HL_SCHED_HANDLE_SLOTS_H

#include "sched/handle.h"

/* The attributes of Handle; what a subtype adds is its own. */
extern PyGetSetDef hl_handle_getset[];

/* The arguments as a tuple, or None if __init__ never ran.  New, or NULL. */
PyObject *hl_handle_args_tuple(const hl_handle *handle);

/* Handle.get_context as a method. */
PyObject *hl_handle_get_context(PyObject *self, PyObject *unused);

/* Raise ImportError unless all slots of asyncio.Handle are where the struct has them. */
int hl_handle_check_slots(const hl_state *state);

/* A slot whose value is what its name says: the closure of the getters and setters. */
typedef struct {
    const char *name;
    size_t offset;
} hl_handle_slot;

PyObject *hl_handle_get_slot(PyObject *self, void *closure);
int hl_handle_set_slot(PyObject *self, PyObject *value, void *closure);
extern const hl_handle_slot hl_handle_slot_loop;

/* Raise ImportError unless type's slot stands at offset.  Returns 0 or -1. */
int hl_handle_check_slot(PyTypeObject *type, const char *name, size_t offset);

#endif
