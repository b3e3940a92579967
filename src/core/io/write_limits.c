/* What a transport shows of its queue: water marks, size, content, and the waiter by which
 * sendfile() learns that it is empty. */
#include "io/transport_face.h"

#include "py/args.h"
#include "sched/cork.h"

/* -- water marks --------------------------------------------------------------------------------------- */

static PyObject *
limits_lock_held(hl_transport *transport)
{
    return Py_BuildValue("(nn)",
                         (Py_ssize_t)hl_transport_low_water(transport),
                         (Py_ssize_t)hl_transport_high_water(transport));
}

PyObject *
hl_transport_get_write_buffer_limits(PyObject *self, PyObject *unused)
{
    return hl_transport_ask(self, limits_lock_held);
}

static int
limit_lock_held(hl_transport *transport, Py_ssize_t high, Py_ssize_t low)
{
    if (hl_transport_flush_own(transport) < 0) {
        return -1;
    }
    hl_transport_rare *rare = hl_transport_need_rare(transport);
    if (rare == NULL) {
        return -1;
    }
    rare->high_water = (size_t)high;
    rare->low_water = (size_t)low;
    return 0;
}

/* Check the limits and apply them.  Returns 0 or -1. */
static int
transport_limit(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    hl_state *state = hl_state_of(self);
    PyObject *const names[] = {state->str.high, state->str.low, NULL};
    PyObject *values[2] = {Py_None, Py_None};
    Py_ssize_t low, high;
    if (hl_args_parse(
            "set_write_buffer_limits", args, nargs, kwnames, names, 0, 2, values) < 0) {
        return -1;
    }
    PyObject *limits = PyObject_CallMethod(
        state->transports, "water_marks", "OO", values[0], values[1]);
    if (limits == NULL) {
        return -1;
    }
    int is_parsed = PyArg_ParseTuple(limits, "nn", &high, &low);
    Py_DECREF(limits);
    if (!is_parsed) {
        return -1;
    }
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = limit_lock_held(hl_transport_of(self), high, low);
    Py_END_CRITICAL_SECTION();
    return error;
}

static int
maybe_pause_lock_held(hl_transport *transport)
{
    return transport->is_given_up ? 0 : hl_flow_maybe_pause(transport);
}

PyObject *
hl_transport_set_write_buffer_limits(PyObject *self, PyObject *const *args,
                                     Py_ssize_t nargs, PyObject *kwnames)
{
    return transport_limit(self, args, nargs, kwnames) < 0
               ? NULL
               : hl_transport_do(self, maybe_pause_lock_held);
}

PyObject *
hl_transport_set_limits_only(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames)
{
    if (transport_limit(self, args, nargs, kwnames) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
hl_transport_maybe_pause(PyObject *self, PyObject *unused)
{
    return hl_transport_do(self, maybe_pause_lock_held);
}

static int
maybe_resume_lock_held(hl_transport *transport)
{
    return transport->is_given_up ? 0 : hl_flow_maybe_resume(transport);
}

PyObject *
hl_transport_maybe_resume(PyObject *self, PyObject *unused)
{
    return hl_transport_do(self, maybe_resume_lock_held);
}

static PyObject *
size_lock_held(hl_transport *transport)
{
    return hl_transport_flush_own(transport) < 0
               ? NULL
               : PyLong_FromSize_t(hl_transport_queued(transport));
}

PyObject *
hl_transport_get_write_buffer_size(PyObject *self, PyObject *unused)
{
    return hl_transport_ask(self, size_lock_held);
}

/* -- sendfile's view ----------------------------------------------------------------------------------- */

static PyObject *
make_waiter_lock_held(hl_transport *transport)
{
    hl_transport_rare *rare = hl_transport_need_rare(transport);
    if (rare == NULL) {
        return NULL;
    }
    if (rare->empty_waiter != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Empty waiter is already set");
        return NULL;
    }
    if (hl_transport_flush_own(transport) < 0) {
        return NULL;
    }
    if (transport->is_given_up) {
        PyErr_SetString(PyExc_RuntimeError, "The transport is closed");
        return NULL;
    }
    PyObject *waiter =
        PyObject_CallMethod((PyObject *)transport->loop, "create_future", NULL);
    if (waiter == NULL) {
        return NULL;
    }
    Py_XSETREF(rare->empty_waiter, Py_NewRef(waiter));
    if (hl_transport_queued(transport) == 0) {
        PyObject *result = PyObject_CallMethod(waiter, "set_result", "O", Py_None);
        if (result == NULL) {
            Py_CLEAR(waiter);
        }
        Py_XDECREF(result);
    }
    return waiter;
}

PyObject *
hl_transport_make_empty_waiter(PyObject *self, PyObject *unused)
{
    return hl_transport_ask(self, make_waiter_lock_held);
}

static int
reset_waiter_lock_held(hl_transport *transport)
{
    if (transport->rare != NULL) {
        Py_CLEAR(transport->rare->empty_waiter);
    }
    return 0;
}

PyObject *
hl_transport_reset_empty_waiter(PyObject *self, PyObject *unused)
{
    return hl_transport_do(self, reset_waiter_lock_held);
}

/* -- attributes ------------------------------------------------------------------------------- */

static PyObject *
high_water_lock_held(hl_transport *transport)
{
    return PyLong_FromSize_t(hl_transport_high_water(transport));
}

PyObject *
hl_transport_get_high_water(PyObject *self, void *closure)
{
    return hl_transport_ask(self, high_water_lock_held);
}

static PyObject *
low_water_lock_held(hl_transport *transport)
{
    return PyLong_FromSize_t(hl_transport_low_water(transport));
}

PyObject *
hl_transport_get_low_water(PyObject *self, void *closure)
{
    return hl_transport_ask(self, low_water_lock_held);
}

static PyObject *
empty_waiter_lock_held(hl_transport *transport)
{
    const hl_transport_rare *rare = transport->rare;
    return Py_NewRef(rare != NULL && rare->empty_waiter != NULL ? rare->empty_waiter
                                                                : Py_None);
}

PyObject *
hl_transport_get_empty_waiter(PyObject *self, void *closure)
{
    return hl_transport_ask(self, empty_waiter_lock_held);
}

static PyObject *
buffer_lock_held(hl_transport *transport)
{
    if (hl_transport_flush_own(transport) < 0) {
        return NULL;
    }
    PyObject *list = PyList_New(0);
    const hl_spans *queue =
        hl_transport_is_queued(transport) ? &transport->rare->queue : NULL;
    for (size_t i = 0; list != NULL && queue != NULL && i < queue->count; i++) {
        const hl_span *span = &queue->items[queue->head + i];
        PyObject *bytes =
            PyBytes_FromStringAndSize(span->data, (Py_ssize_t)span->length);
        if (bytes == NULL || PyList_Append(list, bytes) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(bytes);
    }
    return list;
}

/* What waits to be sent, as a new list of bytes. */
PyObject *
hl_transport_get_buffer(PyObject *self, void *closure)
{
    return hl_transport_ask(self, buffer_lock_held);
}
