/* The iterator of future_iter.h.  `await` creates one per wait, so they are recycled. */
#include "task/future_iter.h"

#include "py/freelist.h"
#include "py/generator.h"
#include "py/types.h"
#include "task/future.h"

typedef struct {
    PyObject_HEAD
    PyObject *future; /* owned; NULL once the iterator is exhausted */
} hl_future_iter;

PyObject *
hl_future_iter_new(PyObject *future)
{
    hl_state *state = hl_state_of(future);
    if (hl_future_check_alive((hl_future *)future) < 0) {
        return NULL;
    }
    PyTypeObject *type = state->FutureIterType;
    PyObject *self =
        hl_freelist_pop(&state->free_iterators, type, offsetof(hl_future_iter, future));
    if (self == NULL) {
        self = (PyObject *)PyObject_GC_New(hl_future_iter, type);
        if (self == NULL) {
            return NULL;
        }
    }
    hl_count_new(state, HL_COUNT_FUTURE_ITER);
    ((hl_future_iter *)self)->future = Py_NewRef(future);
    PyObject_GC_Track(self);
    return self;
}

static void
future_iter_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    hl_state *state = hl_state_in_dealloc(type);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(((hl_future_iter *)self)->future);
    hl_count_free(state, HL_COUNT_FUTURE_ITER);
    if (state != NULL &&
        hl_freelist_push(
            &state->free_iterators, self, type, offsetof(hl_future_iter, future))) {
        return;
    }
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PySendResult
future_iter_step_lock_held(hl_future_iter *self, hl_future *future, PyObject **result)
{
    if (future->state == HL_PENDING) {
        if (future->blocking) {
            PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
            return PYGEN_ERROR;
        }
        future->blocking = 1;
        *result = Py_NewRef((PyObject *)future);
        return PYGEN_NEXT;
    }
    self->future = NULL;
    *result = hl_future_result_lock_held(hl_state_of((PyObject *)self), future);
    return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
}

static PySendResult
future_iter_send(PyObject *op, PyObject *unused, PyObject **result)
{
    hl_future_iter *self = (hl_future_iter *)op;
    PyObject *future = self->future;
    *result = NULL;
    (void)unused; /* a future does not care what it is sent */
    if (future == NULL) {
        return PYGEN_ERROR;
    }
    PySendResult status;
    Py_INCREF(future);
    Py_BEGIN_CRITICAL_SECTION(future);
    status = future_iter_step_lock_held(self, (hl_future *)future, result);
    Py_END_CRITICAL_SECTION();
    if (status != PYGEN_NEXT && self->future == NULL) {
        Py_DECREF(future); /* the iterator's own reference */
    }
    Py_DECREF(future);
    return status;
}

static PyObject *
future_iter_next(PyObject *self)
{
    PyObject *result;
    switch (future_iter_send(self, NULL, &result)) {
    case PYGEN_NEXT:
        return result;
    case PYGEN_RETURN:
        hl_generator_return(result);
        return NULL;
    default:
        return NULL;
    }
}

static PyObject *
future_iter_send_method(PyObject *self, PyObject *value)
{
    PyObject *result = future_iter_next(self);
    if (result == NULL && !PyErr_Occurred()) {
        PyErr_SetNone(PyExc_StopIteration);
    }
    return result;
}

static PyObject *
future_iter_throw(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *exception = hl_generator_thrown(args, nargs);
    if (exception == NULL) {
        return NULL;
    }
    Py_CLEAR(((hl_future_iter *)self)->future);
    PyErr_SetRaisedException(exception);
    return NULL;
}

static PyObject *
future_iter_close(PyObject *self, PyObject *unused)
{
    Py_CLEAR(((hl_future_iter *)self)->future);
    Py_RETURN_NONE;
}

static int
future_iter_clear(PyObject *self)
{
    Py_CLEAR(((hl_future_iter *)self)->future);
    return 0;
}

static int
future_iter_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((hl_future_iter *)self)->future);
    return 0;
}

static PyMethodDef future_iter_methods[] = {
    {"send", future_iter_send_method, METH_O, NULL},
    {"throw", HL_FASTCALL(future_iter_throw), METH_FASTCALL, NULL},
    {"close", future_iter_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot future_iter_slots[] = {
    {Py_tp_dealloc, future_iter_dealloc},
    {Py_tp_traverse, future_iter_traverse},
    {Py_tp_clear, future_iter_clear},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, future_iter_next},
    {Py_am_send, future_iter_send},
    {Py_tp_methods, future_iter_methods},
    {0, NULL},
};

static PyType_Spec future_iter_spec = {
    .name = "hotloop.FutureIter",
    .basicsize = sizeof(hl_future_iter),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = future_iter_slots,
};

int
hl_future_iter_type_init(PyObject *module, hl_state *state)
{
    state->FutureIterType = hl_type_new(module, &future_iter_spec, NULL, NULL);
    return state->FutureIterType != NULL ? 0 : -1;
}
