/* The type of threadsafe_handle.h.  asyncio holds an RLock; a mutex of one byte and the
 * thread that holds it do the same without an object. */
#include "sched/threadsafe_handle.h"

#include "py/types.h"

#if HL_HANDLES_CAN_BE_THREADSAFE

/* Lock unless this thread, `here`, holds the lock already.  Returns whether it must be
 * unlocked. */
static inline bool
handle_lock(hl_threadsafe_handle *self, unsigned long here)
{
    if (__atomic_load_n(&self->holder, __ATOMIC_RELAXED) == here) {
        return false;
    }
    PyMutex_Lock(&self->mutex);
    __atomic_store_n(&self->holder, here, __ATOMIC_RELAXED);
    return true;
}

static inline void
handle_unlock(hl_threadsafe_handle *self, bool was_locked_here)
{
    if (was_locked_here) {
        __atomic_store_n(&self->holder, 0, __ATOMIC_RELAXED);
        PyMutex_Unlock(&self->mutex);
    }
}

PyObject *
hl_threadsafe_handle_new(hl_loop *loop, PyObject *callback, PyObject *const *args,
                         Py_ssize_t nargs, PyObject *context)
{
    hl_state *state = loop->state;
    return hl_handle_make_queued(loop,
                                 state->ThreadSafeHandleType,
                                 &state->free_threadsafe_handles,
                                 callback,
                                 args,
                                 nargs,
                                 context);
}

int
hl_threadsafe_handle_run(hl_loop *loop, PyObject *owner, PyObject *argument)
{
    (void)argument;
    hl_threadsafe_handle *self = (hl_threadsafe_handle *)owner;
    /* The turn runs in the owner's thread; none is noted where _run_once is called by hand. */
    unsigned long here = hl_loop_owner(loop);
    bool locked = handle_lock(self, here != 0 ? here : hl_thread_ident());
    int error = hl_handle_run_native(loop, owner);
    handle_unlock(self, locked);
    return error;
}

static PyObject *
threadsafe_cancel(PyObject *self, PyObject *unused)
{
    bool locked = handle_lock((hl_threadsafe_handle *)self, hl_thread_ident());
    int error;
    Py_BEGIN_CRITICAL_SECTION(self); /* for those who look at the slots */
    error = hl_handle_cancel((hl_handle *)self);
    Py_END_CRITICAL_SECTION();
    handle_unlock((hl_threadsafe_handle *)self, locked);
    if (error < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
threadsafe_cancelled(PyObject *self, PyObject *unused)
{
    bool locked = handle_lock((hl_threadsafe_handle *)self, hl_thread_ident());
    bool is_cancelled = hl_handle_is_cancelled((hl_handle *)self);
    handle_unlock((hl_threadsafe_handle *)self, locked);
    return PyBool_FromLong(is_cancelled);
}

static PyObject *
threadsafe_run(PyObject *self, PyObject *unused)
{
    bool locked = handle_lock((hl_threadsafe_handle *)self, hl_thread_ident());
    PyObject *result = hl_handle_is_cancelled((hl_handle *)self)
                           ? Py_NewRef(Py_None)
                           : hl_handle_run_method(self, unused);
    handle_unlock((hl_threadsafe_handle *)self, locked);
    return result;
}

static int
threadsafe_clear(PyObject *self)
{
    Py_CLEAR(((hl_threadsafe_handle *)self)->lock);
    return hl_handle_clear(self);
}

static int
threadsafe_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((hl_threadsafe_handle *)self)->lock);
    return hl_handle_traverse(self, visit, arg);
}

static void
threadsafe_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    hl_state *state = hl_state_in_dealloc(type);
    PyObject_GC_UnTrack(self);
    hl_clear_weakrefs(self);
    threadsafe_clear(self);
    hl_count_free(state, HL_COUNT_HANDLE);
    bool is_exact = state != NULL && type == state->ThreadSafeHandleType;
    hl_handle_free(self, is_exact ? &state->free_threadsafe_handles : NULL);
}

static PyMethodDef threadsafe_methods[] = {
    {"cancel",
     threadsafe_cancel,
     METH_NOARGS,
     "cancel($self, /)\n--\n\nCancel the callback; waits while another thread runs it.\n"
     "Thread-safe."},
    {"cancelled",
     threadsafe_cancelled,
     METH_NOARGS,
     "cancelled($self, /)\n--\n\nReturn True if the callback was cancelled.  Thread-safe."},
    {"_run",
     threadsafe_run,
     METH_NOARGS,
     "_run($self, /)\n--\n\nCall the callback now, as the loop does."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot threadsafe_slots[] = {
    {Py_tp_doc, "The handle of call_soon_threadsafe()."},
    {Py_tp_dealloc, threadsafe_dealloc},
    {Py_tp_traverse, threadsafe_traverse},
    {Py_tp_clear, threadsafe_clear},
    {Py_tp_methods, threadsafe_methods},
    {0, NULL},
};

static PyType_Spec threadsafe_spec = {
    .name = "hotloop._ThreadSafeHandle",
    .basicsize = sizeof(hl_threadsafe_handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = threadsafe_slots,
};

int
hl_threadsafe_handle_type_init(PyObject *module, hl_state *state)
{
    state->ThreadSafeHandleType = hl_type_new(
        module, &threadsafe_spec, state->HandleType, state->StockThreadSafeHandleType);
    return state->ThreadSafeHandleType != NULL ? 0 : -1;
}

#else

PyObject *
hl_threadsafe_handle_new(hl_loop *loop, PyObject *callback, PyObject *const *args,
                         Py_ssize_t nargs, PyObject *context)
{
    return hl_handle_new_queued(loop, callback, args, nargs, context);
}

int
hl_threadsafe_handle_run(hl_loop *loop, PyObject *owner, PyObject *argument)
{
    return hl_handle_run(loop, owner, argument);
}

int
hl_threadsafe_handle_type_init(PyObject *module, hl_state *state)
{
    (void)module;
    (void)state;
    return 0;
}

#endif
