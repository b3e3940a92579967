/* Making heap types and fetching what they need from Python modules. */
#ifndef HL_PY_TYPES_H
#define HL_PY_TYPES_H

#include "py/compat.h"

/* A function of a method table that takes its arguments by vectorcall. */
#define HL_FASTCALL(function) (PyCFunction)(void (*)(void)) function

/* A heap type of module from spec with one or two bases (second may be NULL; both NULL:
 * object).  Returns new, or NULL. */
PyTypeObject *hl_type_new(PyObject *module, PyType_Spec *spec, PyTypeObject *first,
                          PyTypeObject *second);

/* module.name into *slot (new).  A missing attribute is an error, or leaves NULL where
 * optional.  Returns 0 or -1. */
int hl_import(PyObject **slot, PyObject *module, const char *name, bool is_optional);

/* The C function behind a method of a type that is made in C, if it takes its arguments as
 * flags (METH_*) say; it lives as long as the type.  NULL, without an exception, if there is
 * no such method. */
PyCFunction hl_method_function(PyTypeObject *type, const char *name, int flags);

/* A getter of an owned object of the struct, None for NULL; closure is its offset.  Takes the
 * object's critical section. */
PyObject *hl_get_object(PyObject *self, void *closure);

/* Put value (borrowed, or NULL) into an owned field of self, in its critical section; what was
 * there is dropped after it. */
void hl_exchange_field(PyObject *self, PyObject **field, PyObject *value);

/* PyObject_ClearWeakRefs for a dying object whose type has weak references: no call if there
 * are none, which is the rule. */
static inline void
hl_clear_weakrefs(PyObject *object)
{
    const char *list = (const char *)object + Py_TYPE(object)->tp_weaklistoffset;
    if (HL_FREE_THREADED || *(PyObject *const *)list != NULL) {
        PyObject_ClearWeakRefs(object);
    }
}

#endif
