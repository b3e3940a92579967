/* The object of window.h. */
#include "py/window.h"

#include "py/types.h"

PyObject *
hl_window_new(hl_state *state)
{
    return state->WindowType->tp_alloc(state->WindowType, 0);
}

static int
window_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    hl_window *window = (hl_window *)self;
    return PyBuffer_FillInfo(view, self, window->data, window->length, 0, flags);
}

static void
window_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot window_slots[] = {
    {Py_tp_doc, "Memory that is shown to one call."},
    {Py_tp_dealloc, window_dealloc},
    {Py_bf_getbuffer, window_getbuffer},
    {0, NULL},
};

static PyType_Spec window_spec = {
    .name = "hotloop._core._Window",
    .basicsize = sizeof(hl_window),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = window_slots,
};

int
hl_window_type_init(PyObject *module, hl_state *state)
{
    state->WindowType = hl_type_new(module, &window_spec, NULL, NULL);
    return state->WindowType != NULL ? 0 : -1;
}
