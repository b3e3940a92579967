/* Arguments of vectorcalled methods.
 *
 * Keyword names are compared with interned ones, by identity first.  Nothing is converted
 * here and nothing has side effects before the last argument was checked. */
#ifndef HL_PY_ARGS_H
#define HL_PY_ARGS_H

#include "py/compat.h"

/* Accept at most the one keyword `name` behind npos positional arguments.  *value is the
 * borrowed value, or NULL if it was not given.  Returns 0, or -1 with TypeError. */
int hl_args_one_keyword(const char *function, PyObject *const *args, Py_ssize_t npos,
                        PyObject *kwnames, PyObject *name, PyObject **value);

/* Spread positional and keyword arguments over the parameters `names` (NULL-terminated;
 * the first `max_positional` may be given by position, the first `required` must be
 * given).  values[i] is borrowed, and left as it is where not given.  Returns 0, or -1
 * with TypeError. */
int hl_args_parse(const char *function, PyObject *const *args, Py_ssize_t npos,
                  PyObject *kwnames, PyObject *const *names, Py_ssize_t required,
                  Py_ssize_t max_positional, PyObject **values);

/* The same for a tuple and a dict, as tp_init gets them. */
int hl_args_parse_init(const char *function, PyObject *args, PyObject *kwargs,
                       PyObject *const *names, Py_ssize_t required,
                       Py_ssize_t max_positional, PyObject **values);

/* The memory of an argument to write to.  where: the argument, as PyArg_Parse names it for
 * "w*", "recv_into() argument 1" for example.  Returns 0, or -1 with its TypeError. */
int hl_args_get_writable(PyObject *object, const char *where, Py_buffer *view);

#endif
