/* The Python face of the loop: hotloop._core.Loop. */
#ifndef HL_API_LOOP_TYPE_H
#define HL_API_LOOP_TYPE_H

#include "py/state.h"

int hl_loop_type_init(PyObject *module, hl_state *state);

/* Before a fork: send what the callback that forks holds back, or the child's copy of it
 * would be in doubt.  Returns 0 or -1. */
int hl_loops_before_fork(hl_state *state);

/* In a forked child: close the inherited descriptors of every loop by number, and mark the
 * loops that were running, which must not go on here.  Returns a list of all loops. */
PyObject *hl_loops_after_fork(hl_state *state);

#endif
