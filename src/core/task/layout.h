/* CPython's private structs of _asyncio.Future and _asyncio.Task.
 *
 * Our types derive from them and add no storage: all state stands in these fields, so that
 * unbound stock methods, C type checks and `python -m asyncio ps` see the truth.  The mirror
 * is compiled per layout and verified at import, field by field, against stock objects
 * (layout.c); on a mismatch hotloop uses asyncio's own types. */
#ifndef HL_TASK_LAYOUT_H
#define HL_TASK_LAYOUT_H

#include "py/state.h"

typedef enum { HL_PENDING, HL_CANCELLED, HL_FINISHED } hl_future_state;

/* Fields every version has, in front. */
#define HL_FUTURE_HEAD                                                                 \
    PyObject_HEAD                                                                      \
    PyObject *loop;                                                                    \
    PyObject *callback0;                                                               \
    PyObject *context0;                                                                \
    PyObject *callbacks;                                                               \
    PyObject *exception;                                                               \
    PyObject *exception_tb;                                                            \
    PyObject *result;                                                                  \
    PyObject *source_tb;                                                               \
    PyObject *cancel_msg;

#if HL_LAYOUT == 311

#define HL_FUTURE_FIELDS                                                               \
    HL_FUTURE_HEAD                                                                     \
    int state;                                                                         \
    int log_tb;                                                                        \
    int blocking;                                                                      \
    PyObject *dict;                                                                    \
    PyObject *weakrefs;                                                                \
    PyObject *cancelled_exc;

typedef struct {
    HL_FUTURE_FIELDS
} hl_future;

typedef struct {
    HL_FUTURE_FIELDS
    PyObject *fut_waiter;
    PyObject *coro;
    PyObject *name;
    PyObject *context;
    int must_cancel;
    int log_destroy_pending;
    int num_cancels;
    uint32_t registry_index; /* ours, in the padding: place in state->tasks, plus one */
} hl_task;

#elif HL_LAYOUT == 313

#define HL_FUTURE_FIELDS                                                               \
    HL_FUTURE_HEAD                                                                     \
    PyObject *cancelled_exc;                                                           \
    int state;                                                                         \
    unsigned log_tb : 1;                                                               \
    unsigned blocking : 1;

typedef struct {
    HL_FUTURE_FIELDS
} hl_future;

typedef struct {
    HL_FUTURE_FIELDS
    unsigned must_cancel : 1;
    unsigned log_destroy_pending : 1;
    int num_cancels;
    uint32_t registry_index; /* ours, in the padding: place in state->tasks, plus one */
    PyObject *fut_waiter;
    PyObject *coro;
    PyObject *name;
    PyObject *context;
} hl_task;

#else /* 3.14 and 3.15; unknown versions compile with it and use stock types */

typedef struct hl_list_node {
    struct hl_list_node *next;
    struct hl_list_node *previous;
} hl_list_node;

#define HL_FUTURE_FIELDS                                                               \
    HL_FUTURE_HEAD                                                                     \
    PyObject *cancelled_exc;                                                           \
    PyObject *awaited_by;                                                              \
    int state;                                                                         \
    char is_task;                                                                      \
    char awaited_by_is_set;                                                            \
    unsigned log_tb : 1;                                                               \
    unsigned blocking : 1;

typedef struct {
    HL_FUTURE_FIELDS
} hl_future;

typedef struct {
    HL_FUTURE_FIELDS
    unsigned must_cancel : 1;
    unsigned log_destroy_pending : 1;
    int num_cancels;
    PyObject *fut_waiter;
    PyObject *coro;
    PyObject *name;
    PyObject *context;
    hl_list_node node; /* in CPython's list of this thread's tasks */
#if HL_FREE_THREADED
    uintptr_t thread_id;
#endif
} hl_task;

#endif

/* Check the mirror against stock objects and find what lies in the thread state.  Sets
 * state->is_native, and state->layout_problem where not.  Returns 0, or -1 on an error
 * that has nothing to do with the layout. */
int hl_layout_verify(PyObject *module, hl_state *state);

/* What the probe calls with (expectations, mark, task) while its objects are in place; see
 * layout.c.  Returns True, False (a field does not hold), or NULL. */
PyObject *hl_layout_check(hl_state *state, PyObject *arguments);

#endif
