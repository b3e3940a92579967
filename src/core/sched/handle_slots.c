/* The private slots of handles as Python reads and writes them (see handle_slots.h): in the
 * handle's section, since another thread may cancel it, as asyncio's slots have locks. */
#include "sched/handle_slots.h"

#include "py/context.h"
#include "py/types.h"

#include <structmember.h>

PyObject *
hl_handle_args_tuple(const hl_handle *handle)
{
    if (handle->cancelled == Py_None) {
        return PyTuple_Pack(1, handle->args);
    }
    return Py_NewRef(handle->args != NULL ? handle->args : Py_None);
}

static PyObject *
slot_value(PyObject *value, const char *name)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, name);
        return NULL;
    }
    return Py_NewRef(value);
}

static PyObject *
get_context_lock_held(PyObject *self)
{
    hl_handle *handle = (hl_handle *)self;
    if (hl_context_materialize(hl_state_of(self), &handle->context) < 0) {
        return NULL;
    }
    return slot_value(handle->context, "_context");
}

PyObject *
hl_handle_get_context(PyObject *self, PyObject *unused)
{
    PyObject *context;
    Py_BEGIN_CRITICAL_SECTION(self);
    context = get_context_lock_held(self);
    Py_END_CRITICAL_SECTION();
    return context;
}

static PyObject *
handle_get_context_slot(PyObject *self, void *closure)
{
    return hl_handle_get_context(self, NULL);
}

static PyObject *
get_args_lock_held(const hl_handle *handle)
{
    return handle->args != NULL ? hl_handle_args_tuple(handle)
                                : slot_value(NULL, "_args");
}

static PyObject *
handle_get_args(PyObject *self, void *closure)
{
    PyObject *args;
    Py_BEGIN_CRITICAL_SECTION(self);
    args = get_args_lock_held((hl_handle *)self);
    Py_END_CRITICAL_SECTION();
    return args;
}

static int
handle_set_args(PyObject *self, PyObject *value, void *closure)
{
    hl_handle *handle = (hl_handle *)self;
    PyObject *previous;
    Py_BEGIN_CRITICAL_SECTION(self);
    if (handle->cancelled == Py_None) {
        hl_handle_set_cancelled(handle, Py_False);
    }
    previous = handle->args;
    handle->args = Py_XNewRef(value);
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(previous);
    return 0;
}

static PyObject *
handle_get_cancelled(PyObject *self, void *closure)
{
    /* One of three that never die: nothing to lock. */
    PyObject *value =
        __atomic_load_n(&((hl_handle *)self)->cancelled, __ATOMIC_RELAXED);
    return slot_value(value == Py_None ? Py_False : value, "_cancelled");
}

static int
set_cancelled_lock_held(hl_handle *handle, bool is_cancelled)
{
    PyObject *tuple = hl_handle_args_tuple(handle);
    if (tuple == NULL) {
        return -1;
    }
    Py_XSETREF(handle->args, tuple);
    hl_handle_set_cancelled(handle, is_cancelled ? Py_True : Py_False);
    return 0;
}

static int
handle_set_cancelled(PyObject *self, PyObject *value, void *closure)
{
    int is_true = value != NULL ? PyObject_IsTrue(value) : 0;
    if (is_true < 0) {
        return -1;
    }
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = set_cancelled_lock_held((hl_handle *)self, is_true);
    Py_END_CRITICAL_SECTION();
    return error;
}

static const hl_handle_slot slot_callback = {"_callback",
                                             offsetof(hl_handle, callback)};
static const hl_handle_slot slot_context = {"_context", offsetof(hl_handle, context)};
const hl_handle_slot hl_handle_slot_loop = {"_loop", offsetof(hl_handle, loop)};

PyObject *
hl_handle_get_slot(PyObject *self, void *closure)
{
    const hl_handle_slot *slot = closure;
    PyObject *value;
    Py_BEGIN_CRITICAL_SECTION(self);
    value = slot_value(*(PyObject **)((char *)self + slot->offset), slot->name);
    Py_END_CRITICAL_SECTION();
    return value;
}

int
hl_handle_set_slot(PyObject *self, PyObject *value, void *closure)
{
    const hl_handle_slot *slot = closure;
    hl_exchange_field(self, (PyObject **)((char *)self + slot->offset), value);
    return 0;
}

/* NULL means None in these two: they are None outside debug mode and cost no reference. */
static const hl_handle_slot slot_repr = {"_repr", offsetof(hl_handle, repr)};
static const hl_handle_slot slot_source = {"_source_traceback",
                                           offsetof(hl_handle, source_traceback)};

static PyObject *
handle_get_optional_slot(PyObject *self, void *closure)
{
    const hl_handle_slot *slot = closure;
    return hl_get_object(self, (void *)slot->offset);
}

PyGetSetDef hl_handle_getset[] = {
    {"_args", handle_get_args, handle_set_args, NULL, NULL},
    {"_cancelled", handle_get_cancelled, handle_set_cancelled, NULL, NULL},
    {"_callback", hl_handle_get_slot, hl_handle_set_slot, NULL, (void *)&slot_callback},
    {"_context",
     handle_get_context_slot,
     hl_handle_set_slot,
     NULL,
     (void *)&slot_context},
    {"_loop",
     hl_handle_get_slot,
     hl_handle_set_slot,
     NULL,
     (void *)&hl_handle_slot_loop},
    {"_repr", handle_get_optional_slot, hl_handle_set_slot, NULL, (void *)&slot_repr},
    {"_source_traceback",
     handle_get_optional_slot,
     hl_handle_set_slot,
     NULL,
     (void *)&slot_source},
    {NULL, NULL, NULL, NULL, NULL},
};

/* -- the check at import --------------------------------------------------------------- */

int
hl_handle_check_slot(PyTypeObject *type, const char *name, size_t offset)
{
    PyObject *descriptor = PyObject_GetAttrString((PyObject *)type, name);
    if (descriptor == NULL) {
        return -1;
    }
    bool matches =
        Py_IS_TYPE(descriptor, &PyMemberDescr_Type) &&
        ((PyMemberDescrObject *)descriptor)->d_member->offset == (Py_ssize_t)offset;
    Py_DECREF(descriptor);
    if (!matches) {
        PyErr_Format(PyExc_ImportError,
                     "asyncio's %s.%s is not where hotloop expects it; this version of "
                     "Python needs a newer hotloop",
                     type->tp_name,
                     name);
        return -1;
    }
    return 0;
}

int
hl_handle_check_slots(const hl_state *state)
{
    const struct {
        PyTypeObject *type;
        const char *name;
        size_t offset;
    } slots[] = {
        {state->StockHandleType, "_args", offsetof(hl_handle, args)},
        {state->StockHandleType, "_callback", offsetof(hl_handle, callback)},
        {state->StockHandleType, "_cancelled", offsetof(hl_handle, cancelled)},
        {state->StockHandleType, "_context", offsetof(hl_handle, context)},
        {state->StockHandleType, "_loop", offsetof(hl_handle, loop)},
        {state->StockHandleType, "_repr", offsetof(hl_handle, repr)},
        {state->StockHandleType,
         "_source_traceback",
         offsetof(hl_handle, source_traceback)},
    };
    for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
        if (hl_handle_check_slot(slots[i].type, slots[i].name, slots[i].offset) < 0) {
            return -1;
        }
    }
    return 0;
}
