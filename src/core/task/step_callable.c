/* Task steps as Python callables (see step_callable.h). */
#include "task/step_callable.h"

#include "py/types.h"
#include "task/step.h"

/* What call_soon gets on foreign loops and in debug mode. */
typedef struct {
    PyObject_HEAD
    PyObject *task;      /* owned */
    PyObject *exception; /* owned, or NULL */
} hl_task_step;

/* Call asyncio's _enter_task or _leave_task. */
static int
call_with_loop_and_task(PyObject *function, hl_task *task)
{
    PyObject *stack[] = {NULL, task->loop, (PyObject *)task};
    PyObject *result = PyObject_Vectorcall(
        function, stack + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

static int
leave_task(hl_state *state, hl_task *task)
{
    PyObject *exception = PyErr_GetRaisedException();
    int error = call_with_loop_and_task(state->leave_task, task);
    if (exception != NULL) {
        /* The step's own exception is the one to see. */
        PyErr_Clear();
        PyErr_SetRaisedException(exception);
    }
    return error;
}

/* A step under asyncio's own entering and leaving: for loops that are not ours. */
static int
task_step(hl_state *state, hl_task *task, PyObject *exception)
{
    if (task->loop == NULL || task->context == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Task object");
        return -1;
    }
    if (call_with_loop_and_task(state->enter_task, task) < 0) {
        return -1;
    }
    int error = hl_task_step_now(state, task, exception);
    return leave_task(state, task) < 0 ? -1 : error;
}

static PyObject *
task_step_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    hl_task_step *step = (hl_task_step *)self;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0) {
        PyErr_SetString(PyExc_TypeError, "function takes no keyword arguments");
        return NULL;
    }
    if (PyTuple_GET_SIZE(args) != 0) {
        PyErr_SetString(PyExc_TypeError, "function takes no positional arguments");
        return NULL;
    }
    if (task_step(hl_state_of(self), (hl_task *)step->task, step->exception) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
task_step_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *task, *exception = NULL;
    hl_state *state = hl_state_of_type(type);
    if (!PyArg_ParseTuple(args, "O!|O", state->TaskType, &task, &exception)) {
        return NULL;
    }
    hl_task_step *self = (hl_task_step *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->task = Py_NewRef(task);
        self->exception = Py_XNewRef(exception);
    }
    return (PyObject *)self;
}

static int
task_step_clear(PyObject *self)
{
    Py_CLEAR(((hl_task_step *)self)->task);
    Py_CLEAR(((hl_task_step *)self)->exception);
    return 0;
}

static int
task_step_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((hl_task_step *)self)->task);
    Py_VISIT(((hl_task_step *)self)->exception);
    return 0;
}

static void
task_step_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    task_step_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
task_step_get_self(PyObject *self, void *closure)
{
    PyObject *task = ((hl_task_step *)self)->task;
    return Py_NewRef(task != NULL ? task : Py_None);
}

static PyGetSetDef task_step_getset[] = {
    {"__self__", task_step_get_self, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot task_step_slots[] = {
    {Py_tp_new, task_step_new},
    {Py_tp_call, task_step_call},
    {Py_tp_dealloc, task_step_dealloc},
    {Py_tp_traverse, task_step_traverse},
    {Py_tp_clear, task_step_clear},
    {Py_tp_getset, task_step_getset},
    {0, NULL},
};

static PyType_Spec task_step_spec = {
    .name = "hotloop.TaskStepMethWrapper",
    .basicsize = sizeof(hl_task_step),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = task_step_slots,
};

int
hl_step_callable_type_init(PyObject *module, hl_state *state)
{
    state->TaskStepType = hl_type_new(module, &task_step_spec, NULL, NULL);
    return state->TaskStepType != NULL ? 0 : -1;
}

static PyObject *
task_wakeup(PyObject *self, PyObject *future)
{
    hl_state *state = hl_state_of(self);
    PyObject *exception = hl_task_awaited_exception(state, future);
    int error = task_step(state, (hl_task *)self, exception);
    Py_XDECREF(exception);
    if (error < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
hl_task_step_callable(hl_state *state, PyObject *task, PyObject *exception)
{
    return PyObject_CallFunctionObjArgs(
        (PyObject *)state->TaskStepType, task, exception, NULL);
}

PyObject *
hl_task_wakeup_callable(PyObject *task)
{
    static PyMethodDef definition = {"task_wakeup", task_wakeup, METH_O, NULL};
    return PyCFunction_New(&definition, task);
}
