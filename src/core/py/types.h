/* Making heap types and fetching what they need from Python modules. */
#ifndef HL_PY_TYPES_H
#define HL_PY_TYPES_H

#include "py/compat.h"

/* A heap type of module from spec with one or two bases (second may be NULL; both NULL:
 * object).  Returns new, or NULL. */
PyTypeObject *hl_type_new(PyObject *module, PyType_Spec *spec, PyTypeObject *first,
                          PyTypeObject *second);

/* module.name into *slot (new).  A missing attribute is an error, or leaves NULL where
 * optional.  Returns 0 or -1. */
int hl_import(PyObject **slot, PyObject *module, const char *name, bool is_optional);

#endif
