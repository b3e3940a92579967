/* The iterator behind `await future`: yields the future once, then returns its result. */
#ifndef HL_TASK_FUTURE_ITER_H
#define HL_TASK_FUTURE_ITER_H

#include "py/state.h"

int hl_future_iter_type_init(PyObject *module, hl_state *state);

/* am_await and tp_iter of Future and Task.  New, or NULL with RuntimeError. */
PyObject *hl_future_iter_new(PyObject *future);

#endif
