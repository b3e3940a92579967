/* The TimerHandle type of timer_handle.h: what it adds to Handle.
 *
 * Comparison and hash are asyncio.TimerHandle's, by deadline.
 * https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.TimerHandle */
#include "sched/timer_handle.h"

#include "py/args.h"
#include "py/types.h"
#include "sched/handle_slots.h"

#include <math.h>

/* -- life ------------------------------------------------------------------------------- */

PyObject *
hl_timer_handle_new(hl_loop *loop, PyObject *when, double seconds, PyObject *callback,
                    PyObject *const *args, Py_ssize_t nargs, PyObject *context)
{
    hl_state *state = loop->state;
    PyObject *self =
        hl_handle_alloc_held(loop, state->TimerHandleType, &state->free_timer_handles);
    if (self == NULL) {
        return NULL;
    }
    if (hl_handle_may_be_untracked(loop)) {
        loop->has_untracked_timers = true;
    }
    hl_count_new(state, HL_COUNT_TIMER_HANDLE);
    hl_timer_handle *timer = (hl_timer_handle *)self;
    timer->node.slot = HL_HEAP_OUTSIDE;
    timer->when = Py_XNewRef(when);
    timer->seconds = when != NULL ? NAN : seconds;
    if (hl_handle_fill(&timer->handle, loop, callback, args, nargs, context) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return self;
}

void
hl_timer_track_scheduled(hl_loop *loop)
{
    hl_heap_node *node;
    if (!loop->has_untracked_timers) {
        return;
    }
    loop->has_untracked_timers = false;
    for (size_t place = 0; (node = hl_heap_next(&loop->timers, &place)) != NULL;) {
        hl_handle_track((PyObject *)hl_timer_of_node(node));
    }
}

static PyObject *
timer_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *self = type->tp_alloc(type, 0);
    if (self != NULL) {
        ((hl_timer_handle *)self)->node.slot = HL_HEAP_OUTSIDE;
        ((hl_timer_handle *)self)->seconds = NAN;
        hl_count_new(hl_state_of_type(type), HL_COUNT_TIMER_HANDLE);
    }
    return self;
}

static int
timer_tp_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    hl_state *state = hl_state_of(self);
    hl_timer_handle *timer = (hl_timer_handle *)self;
    PyObject *const names[] = {state->str.when,
                               state->str.callback,
                               state->str.args,
                               state->str.loop,
                               state->str.context,
                               NULL};
    PyObject *values[5] = {NULL};
    if (hl_args_parse_init("TimerHandle.__init__", args, kwargs, names, 4, 5, values) <
        0) {
        return -1;
    }
    if (hl_heap_is_inside(&timer->node)) {
        PyErr_SetString(PyExc_RuntimeError, "the timer handle is scheduled");
        return -1;
    }
    if (hl_handle_init_fields(
            &timer->handle, state, values[1], values[2], values[3], values[4]) < 0) {
        return -1;
    }
    timer->seconds = NAN;
    Py_XSETREF(timer->when, Py_NewRef(values[0]));
    return 0;
}

static int
timer_clear(PyObject *self)
{
    hl_timer_handle *timer = (hl_timer_handle *)self;
    Py_CLEAR(timer->scheduled);
    Py_CLEAR(timer->when);
    return hl_handle_clear(self);
}

static int
timer_traverse(PyObject *self, visitproc visit, void *arg)
{
    hl_timer_handle *timer = (hl_timer_handle *)self;
    Py_VISIT(timer->scheduled);
    Py_VISIT(timer->when);
    return hl_handle_traverse(self, visit, arg);
}

static void
timer_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    hl_state *state = hl_state_in_dealloc(type);
    assert(!hl_heap_is_inside(&((hl_timer_handle *)self)->node));
    PyObject_GC_UnTrack(self);
    hl_clear_weakrefs(self);
    timer_clear(self);
    hl_count_free(state, HL_COUNT_TIMER_HANDLE);
    bool is_exact = state != NULL && type == state->TimerHandleType;
    hl_handle_free(self, is_exact ? &state->free_timer_handles : NULL);
}

/* -- cancelling ------------------------------------------------------------------------- */

/* Take the timer, of which the caller holds a reference too, out of its loop's heap, if it is
 * there: asyncio's own descriptor of the slot can give a handle another loop at any time. */
static void
timer_unschedule(hl_timer_handle *timer, hl_loop *loop)
{
    bool was_inside = false;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    if (hl_heap_holds(&loop->timers, &timer->node)) {
        hl_heap_remove(&loop->timers, &timer->node);
        was_inside = true;
    }
    Py_END_CRITICAL_SECTION();
    if (was_inside) {
        hl_handle_track((PyObject *)timer); /* the caller still has it */
        Py_DECREF((PyObject *)timer);
    }
}

/* A loop that is not ours counts its cancelled timers. */
static int
timer_tell_loop(hl_timer_handle *timer, hl_state *state)
{
    if (timer->handle.loop == NULL) {
        return 0;
    }
    PyObject *result = PyObject_CallMethodOneArg(
        timer->handle.loop, state->str._timer_handle_cancelled, (PyObject *)timer);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

static int
timer_cancel_lock_held(hl_timer_handle *timer)
{
    if (hl_handle_is_cancelled(&timer->handle)) {
        return 0;
    }
    hl_state *state = hl_state_of((PyObject *)timer);
    hl_loop *loop =
        timer->handle.loop != NULL ? hl_loop_cast(state, timer->handle.loop) : NULL;
    if (loop != NULL) {
        timer_unschedule(timer, loop); /* the place is its loop's to look at */
    }
    else if (timer_tell_loop(timer, state) < 0) {
        return -1;
    }
    return hl_handle_cancel(&timer->handle);
}

static PyObject *
timer_cancel(PyObject *self, PyObject *unused)
{
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = timer_cancel_lock_held((hl_timer_handle *)self);
    Py_END_CRITICAL_SECTION();
    if (error < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- attributes ------------------------------------------------------------------------- */

static const hl_handle_slot slot_when = {"_when", offsetof(hl_timer_handle, when)};
static const hl_handle_slot slot_scheduled = {"_scheduled",
                                              offsetof(hl_timer_handle, scheduled)};

/* Make an object of the deadline if there is none yet.  Returns 0 or -1. */
static int
timer_make_when_lock_held(hl_timer_handle *timer)
{
    if (timer->when == NULL && !isnan(timer->seconds)) {
        timer->when = PyFloat_FromDouble(timer->seconds);
        return timer->when != NULL ? 0 : -1;
    }
    return 0;
}

static PyObject *
timer_get_when(PyObject *self, void *closure)
{
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = timer_make_when_lock_held((hl_timer_handle *)self);
    Py_END_CRITICAL_SECTION();
    return error < 0 ? NULL : hl_handle_get_slot(self, closure);
}

static int
timer_set_when(PyObject *self, PyObject *value, void *closure)
{
    hl_timer_handle *timer = (hl_timer_handle *)self;
    PyObject *previous;
    Py_BEGIN_CRITICAL_SECTION(self);
    previous = timer->when;
    timer->when = Py_XNewRef(value);
    timer->seconds = NAN; /* of which nobody may make an object any more */
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(previous);
    return 0;
}

static PyObject *
timer_when(PyObject *self, PyObject *unused)
{
    return timer_get_when(self, (void *)&slot_when);
}

static int
handle_refuse_loop_change(PyObject *self, PyObject *value, void *closure)
{
    hl_timer_handle *timer = (hl_timer_handle *)self;
    if (hl_heap_is_inside(&timer->node)) {
        PyErr_SetString(PyExc_RuntimeError, "the timer handle is scheduled");
        return -1;
    }
    return hl_handle_set_slot(self, value, closure);
}

static PyObject *
timer_get_scheduled(PyObject *self, void *closure)
{
    const hl_timer_handle *timer = (hl_timer_handle *)self;
    PyObject *value;
    if (hl_heap_is_inside(&timer->node)) {
        Py_RETURN_TRUE;
    }
    Py_BEGIN_CRITICAL_SECTION(self);
    value = Py_NewRef(timer->scheduled != NULL ? timer->scheduled : Py_False);
    Py_END_CRITICAL_SECTION();
    return value;
}

static PyMethodDef timer_methods[] = {
    {"cancel",
     timer_cancel,
     METH_NOARGS,
     "cancel($self, /)\n--\n\nCancel the callback; it leaves the loop's timers at once."},
    {"when",
     timer_when,
     METH_NOARGS,
     "when($self, /)\n--\n\nReturn the time of the call, in seconds of loop.time(), as the\n"
     "number that was given to call_at()."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef timer_getset[] = {
    {"_scheduled",
     timer_get_scheduled,
     hl_handle_set_slot,
     NULL,
     (void *)&slot_scheduled},
    {"_when", timer_get_when, timer_set_when, NULL, (void *)&slot_when},
    {"_loop",
     hl_handle_get_slot,
     handle_refuse_loop_change,
     NULL,
     (void *)&hl_handle_slot_loop},
    {NULL, NULL, NULL, NULL, NULL},
};

/* -- comparison of timers, as asyncio.TimerHandle's ----------------------------------- */

static Py_hash_t
timer_hash(PyObject *self)
{
    PyObject *when = timer_when(self, NULL);
    if (when == NULL) {
        return -1;
    }
    Py_hash_t hash = PyObject_Hash(when);
    Py_DECREF(when);
    return hash;
}

static int
attributes_equal(PyObject *a, PyObject *b, const char *name)
{
    PyObject *left = PyObject_GetAttrString(a, name);
    PyObject *right = left != NULL ? PyObject_GetAttrString(b, name) : NULL;
    int equal = right != NULL ? PyObject_RichCompareBool(left, right, Py_EQ) : -1;
    Py_XDECREF(left);
    Py_XDECREF(right);
    return equal;
}

static int
timers_equal(PyObject *a, PyObject *b)
{
    static const char *const names[] = {"_when", "_callback", "_args", "_cancelled"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        int equal = attributes_equal(a, b, names[i]);
        if (equal <= 0) {
            return equal;
        }
    }
    return 1;
}

static PyObject *
timer_richcompare(PyObject *self, PyObject *other, int op)
{
    hl_state *state = hl_state_of(self);
    if (!PyObject_TypeCheck(other, state->StockTimerHandleType)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    if (op == Py_EQ || op == Py_NE) {
        int equal = timers_equal(self, other);
        return equal < 0 ? NULL : PyBool_FromLong(equal == (op == Py_EQ));
    }
    PyObject *left = PyObject_GetAttrString(self, "_when");
    PyObject *right = left != NULL ? PyObject_GetAttrString(other, "_when") : NULL;
    int strict = op == Py_LE ? Py_LT : op == Py_GE ? Py_GT : op;
    int result = right != NULL ? PyObject_RichCompareBool(left, right, strict) : -1;
    Py_XDECREF(left);
    Py_XDECREF(right);
    if (result == 0 && strict != op) {
        result = timers_equal(self, other);
    }
    return result < 0 ? NULL : PyBool_FromLong(result);
}

/* -- type ------------------------------------------------------------------------------- */

static PyType_Slot timer_slots[] = {
    {Py_tp_doc,
     "TimerHandle(when, callback, args, loop, context=None)\n--\n\n"
     "A callback scheduled for a time; what call_later() and call_at() return.\n\n"
     "https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.TimerHandle"},
    {Py_tp_new, timer_tp_new},
    {Py_tp_init, timer_tp_init},
    {Py_tp_dealloc, timer_dealloc},
    {Py_tp_traverse, timer_traverse},
    {Py_tp_clear, timer_clear},
    {Py_tp_hash, timer_hash},
    {Py_tp_richcompare, timer_richcompare},
    {Py_tp_methods, timer_methods},
    {Py_tp_getset, timer_getset},
    {0, NULL},
};

static PyType_Spec timer_spec = {
    .name = "hotloop.TimerHandle",
    .basicsize = sizeof(hl_timer_handle),
    /* Not immutable: the base is a Python class, which is not either. */
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = timer_slots,
};

int
hl_timer_handle_type_init(PyObject *module, hl_state *state)
{
    PyTypeObject *stock = state->StockTimerHandleType;
    size_t scheduled = offsetof(hl_timer_handle, scheduled);
    size_t when = offsetof(hl_timer_handle, when);
    if (hl_handle_check_slot(stock, "_scheduled", scheduled) < 0 ||
        hl_handle_check_slot(stock, "_when", when) < 0) {
        return -1;
    }
    state->TimerHandleType = hl_type_new(module, &timer_spec, state->HandleType, stock);
    return state->TimerHandleType != NULL ? 0 : -1;
}
