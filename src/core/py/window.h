/* An object that shows a piece of memory to a C function for the time of one call.
 *
 * It has the buffer interface, and is used again and again: cheaper than a memoryview, and
 * after the call there is nothing to be seen in it any more.  For functions only that give
 * the buffer back before they return. */
#ifndef HL_PY_WINDOW_H
#define HL_PY_WINDOW_H

#include "py/state.h"

typedef struct {
    PyObject_HEAD
    char *data;
    Py_ssize_t length; /* 0: closed */
} hl_window;

static inline void
hl_window_open(PyObject *window, char *data, size_t length)
{
    ((hl_window *)window)->data = data;
    ((hl_window *)window)->length = (Py_ssize_t)length;
}

static inline void
hl_window_close(PyObject *window)
{
    ((hl_window *)window)->length = 0;
}

/* New, or NULL. */
PyObject *hl_window_new(hl_state *state);

int hl_window_type_init(PyObject *module, hl_state *state);

#endif
