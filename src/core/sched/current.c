/* The two places of current.h. */
#include "sched/current.h"

#if HL_TASKS_IN_THREAD_STATE

/* The field of this thread's state that holds the running task (a strong reference). */
static inline PyObject **
current_place(const hl_loop *loop)
{
    char *thread = (char *)PyThreadState_Get();
    return (PyObject **)(thread + loop->state->running_task_offset);
}

int
hl_current_set(hl_loop *loop, PyObject *task)
{
    PyObject **place = current_place(loop);
    PyObject *before = *place;
    if (before != loop->current_task) {
        PyErr_Format(
            PyExc_RuntimeError,
            "Cannot enter into task %R while another task %R is being executed.",
            task,
            before != NULL ? before : Py_None);
        return -1;
    }
    *place = Py_NewRef(task);
    loop->current_task = task; /* borrowed from *place, which holds it */
    Py_XDECREF(before);
    return 0;
}

void
hl_loop_clear_current_task(hl_loop *loop)
{
    PyObject **place = current_place(loop);
    PyObject *before = *place;
    if (before == loop->current_task) {
        *place = NULL;
        loop->current_task = NULL;
        Py_XDECREF(before);
        return;
    }
    loop->current_task = NULL;
}

int
hl_current_swap(hl_loop *loop, PyObject *task, hl_current_saved *saved)
{
    PyObject **place = current_place(loop);
    *saved = (hl_current_saved){.task = *place, .published = loop->current_task};
    *place = Py_NewRef(task);
    loop->current_task = task;
    return 0;
}

int
hl_current_restore(hl_loop *loop, hl_current_saved *saved)
{
    PyObject **place = current_place(loop);
    PyObject *task = *place;
    *place = saved->task;
    loop->current_task = saved->published;
    Py_XDECREF(task);
    return 0;
}

#else

/* RuntimeError: other (stolen) is being executed. */
static int
current_refuse(PyObject *task, PyObject *other)
{
    PyErr_Format(PyExc_RuntimeError,
                 "Cannot enter into task %R while another task %R is being executed.",
                 task,
                 other);
    Py_DECREF(other);
    return -1;
}

int
hl_current_check_none(const hl_loop *loop, PyObject *task)
{
    PyObject *other;
    int found = PyDict_GetItemRef(loop->state->current_tasks, (PyObject *)loop, &other);
    if (found != 0) {
        return found < 0 ? -1 : current_refuse(task, other);
    }
    return 0;
}

void
hl_loop_clear_current_task(hl_loop *loop)
{
    PyObject *exception = PyErr_GetRaisedException();
    loop->current_task = NULL;
    if (PyDict_DelItem(loop->state->current_tasks, (PyObject *)loop) < 0) {
        PyErr_Clear(); /* KeyError: somebody left the task by asyncio's own function */
    }
    PyErr_SetRaisedException(exception);
}

int
hl_current_swap(hl_loop *loop, PyObject *task, hl_current_saved *saved)
{
    PyObject *tasks = loop->state->current_tasks;
    saved->published = loop->current_task;
    if (PyDict_GetItemRef(tasks, (PyObject *)loop, &saved->task) < 0) {
        return -1;
    }
    if (PyDict_SetItem(tasks, (PyObject *)loop, task) < 0) {
        Py_CLEAR(saved->task);
        return -1;
    }
    loop->current_task = task;
    return 0;
}

int
hl_current_restore(hl_loop *loop, hl_current_saved *saved)
{
    PyObject *tasks = loop->state->current_tasks;
    int error = saved->task != NULL
                    ? PyDict_SetItem(tasks, (PyObject *)loop, saved->task)
                    : PyDict_DelItem(tasks, (PyObject *)loop);
    loop->current_task = saved->published;
    Py_CLEAR(saved->task);
    return error;
}

#endif
