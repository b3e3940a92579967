/* Methods and attributes of asyncio's Task and Future that 3.13 has without any lock.
 *
 * Our types inherit what they need not do better.  Without a GIL that is not enough in 3.13:
 * what the loop's thread replaces while another reads it would be freed under the reader, as
 * the name of a task that is shown.  So there they are defined once more, in the object's
 * critical section; 3.14's own take it. */
#ifndef HL_TASK_LOCKED_H
#define HL_TASK_LOCKED_H

#include "py/compat.h"

#if !HL_STOCK_TASKS_ARE_LOCKED

PyObject *hl_locked_exception(PyObject *self, PyObject *unused);
PyObject *hl_locked_make_cancelled_error(PyObject *self, PyObject *unused);
PyObject *hl_locked_get_name(PyObject *self, PyObject *unused);
PyObject *hl_locked_set_name(PyObject *self, PyObject *value);
PyObject *hl_locked_cancelling(PyObject *self, PyObject *unused);
PyObject *hl_locked_uncancel(PyObject *self, PyObject *unused);

int hl_locked_set_cancel_message(PyObject *self, PyObject *value, void *closure);

#endif

#endif
