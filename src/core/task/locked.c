/* The methods and attributes of locked.h: what asyncio's do, in the critical section. */
#include "task/locked.h"

#include "task/future.h"

#if !HL_STOCK_TASKS_ARE_LOCKED

static PyObject *
reference_or_none(PyObject *object)
{
    return Py_NewRef(object != NULL ? object : Py_None);
}

static PyObject *
exception_lock_held(PyObject *self)
{
    hl_state *state = hl_state_of(self);
    hl_future *future = (hl_future *)self;
    if (future->loop == NULL || future->state == HL_CANCELLED) {
        return hl_future_result_lock_held(state, future); /* raises the same */
    }
    if (future->state != HL_FINISHED) {
        PyErr_SetString(state->InvalidStateError, "Exception is not set.");
        return NULL;
    }
    if (future->exception != NULL) {
        future->log_tb = 0;
    }
    return reference_or_none(future->exception);
}

PyObject *
hl_locked_exception(PyObject *self, PyObject *unused)
{
    PyObject *exception;
    Py_BEGIN_CRITICAL_SECTION(self);
    exception = exception_lock_held(self);
    Py_END_CRITICAL_SECTION();
    return exception;
}

PyObject *
hl_locked_make_cancelled_error(PyObject *self, PyObject *unused)
{
    PyObject *error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = hl_future_make_cancelled_error(hl_state_of(self), (hl_future *)self);
    Py_END_CRITICAL_SECTION();
    return error;
}

/* A task that nobody has named has a number until its name is asked for. */
static PyObject *
get_name_lock_held(hl_task *task)
{
    if (task->name != NULL && PyLong_CheckExact(task->name)) {
        PyObject *name = PyUnicode_FromFormat("Task-%S", task->name);
        if (name == NULL) {
            return NULL;
        }
        Py_SETREF(task->name, name);
    }
    return reference_or_none(task->name);
}

PyObject *
hl_locked_get_name(PyObject *self, PyObject *unused)
{
    PyObject *name;
    Py_BEGIN_CRITICAL_SECTION(self);
    name = get_name_lock_held((hl_task *)self);
    Py_END_CRITICAL_SECTION();
    return name;
}

PyObject *
hl_locked_set_name(PyObject *self, PyObject *value)
{
    PyObject *name =
        PyUnicode_CheckExact(value) ? Py_NewRef(value) : PyObject_Str(value);
    if (name == NULL) {
        return NULL;
    }
    PyObject *old;
    Py_BEGIN_CRITICAL_SECTION(self);
    old = ((hl_task *)self)->name;
    ((hl_task *)self)->name = name;
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(old);
    Py_RETURN_NONE;
}

PyObject *
hl_locked_cancelling(PyObject *self, PyObject *unused)
{
    int requests;
    Py_BEGIN_CRITICAL_SECTION(self);
    requests = ((hl_task *)self)->num_cancels;
    Py_END_CRITICAL_SECTION();
    return PyLong_FromLong(requests);
}

static int
uncancel_lock_held(hl_task *task)
{
    if (task->num_cancels > 0) {
        task->num_cancels--;
        if (task->num_cancels == 0) {
            task->must_cancel = 0;
        }
    }
    return task->num_cancels;
}

PyObject *
hl_locked_uncancel(PyObject *self, PyObject *unused)
{
    int requests;
    Py_BEGIN_CRITICAL_SECTION(self);
    requests = uncancel_lock_held((hl_task *)self);
    Py_END_CRITICAL_SECTION();
    return PyLong_FromLong(requests);
}

int
hl_locked_set_cancel_message(PyObject *self, PyObject *value, void *closure)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
        return -1;
    }
    PyObject *old;
    Py_BEGIN_CRITICAL_SECTION(self);
    old = ((hl_future *)self)->cancel_msg;
    ((hl_future *)self)->cancel_msg = Py_NewRef(value);
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(old);
    return 0;
}

#endif
