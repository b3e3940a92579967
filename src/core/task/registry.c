/* The registers of registry.h. */
#include "task/registry.h"

/* asyncio's own function, for what we cannot do ourselves. */
static int
registry_call(PyObject *function, hl_task *task)
{
    PyObject *result = PyObject_CallOneArg(function, (PyObject *)task);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

#if HL_TASKS_IN_THREAD_STATE

static hl_list_node *
list_head(const hl_state *state)
{
    return (hl_list_node *)((char *)PyThreadState_Get() + state->task_list_offset);
}

int
hl_registry_add(hl_state *state, hl_task *task)
{
    hl_list_node *node = &task->node;
    if (node->next != NULL) {
        return 0;
    }
    hl_enable_try_incref((PyObject *)task);
#if HL_FREE_THREADED
    task->thread_id = _Py_ThreadId();
#endif
    hl_list_node *head = list_head(state);
    node->next = head;
    node->previous = head->previous;
    head->previous->next = node;
    head->previous = node;
    return 0;
}

int
hl_registry_remove(hl_state *state, hl_task *task)
{
    hl_list_node *node = &task->node;
    if (node->next == NULL) {
        return 0;
    }
#if HL_FREE_THREADED
    if (task->thread_id != _Py_ThreadId()) {
        /* Another thread's list: CPython stops the world for it. */
        return registry_call(state->unregister_task, task);
    }
#endif
    node->next->previous = node->previous;
    node->previous->next = node->next;
    node->next = NULL;
    node->previous = NULL;
    (void)registry_call;
    return 0;
}

PyObject *
hl_registry_list(hl_state *state)
{
    return PyList_New(0);
}

void
hl_registry_fini(hl_state *state)
{
    (void)state;
}

#else

enum { FIRST_CAPACITY = 64 };

/* Decide once how tasks are kept: see registry.h.  Not on free-threaded builds, where an
 * array would need a lock: there it is asyncio's WeakSet.  Returns 0 or -1. */
static int
registry_decide(hl_state *state)
{
    state->is_task_set_decided = true;
    PyObject *chained = PyObject_CallMethod(
        state->support, "chain_task_set", "O", state->scheduled_tasks);
    if (chained == NULL) {
        return -1;
    }
    state->is_task_set_chained = chained == Py_True;
    Py_DECREF(chained);
    return 0;
}

static int
registry_grow(hl_state *state)
{
    size_t capacity =
        state->task_capacity > 0 ? state->task_capacity * 2 : FIRST_CAPACITY;
    PyObject **tasks = PyMem_Realloc(state->tasks, capacity * sizeof(*tasks));
    if (tasks == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    state->tasks = tasks;
    state->task_capacity = capacity;
    return 0;
}

int
hl_registry_add(hl_state *state, hl_task *task)
{
    if (!HL_FREE_THREADED && !state->is_task_set_decided &&
        registry_decide(state) < 0) {
        return -1;
    }
    if (!state->is_task_set_chained) {
        return registry_call(state->register_task, task);
    }
    if (task->registry_index != 0) {
        return 0;
    }
    if (state->task_count == state->task_capacity && registry_grow(state) < 0) {
        return -1;
    }
    state->tasks[state->task_count++] = (PyObject *)task;
    task->registry_index = (uint32_t)state->task_count;
    return 0;
}

int
hl_registry_remove(hl_state *state, hl_task *task)
{
    if (task->registry_index == 0) {
        /* Not in our array; in the WeakSet a dead or done task does no harm: all_tasks()
         * skips it, as it does for asyncio's own. */
        return 0;
    }
    hl_task *last = (hl_task *)state->tasks[--state->task_count];
    state->tasks[task->registry_index - 1] = (PyObject *)last;
    last->registry_index = task->registry_index;
    task->registry_index = 0;
    return 0;
}

PyObject *
hl_registry_list(hl_state *state)
{
    PyObject *list = PyList_New((Py_ssize_t)state->task_count);
    if (list == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < state->task_count; i++) {
        PyList_SET_ITEM(list, (Py_ssize_t)i, Py_NewRef(state->tasks[i]));
    }
    return list;
}

void
hl_registry_fini(hl_state *state)
{
    PyMem_Free(state->tasks);
    state->tasks = NULL;
    state->task_count = state->task_capacity = 0;
}

#endif
