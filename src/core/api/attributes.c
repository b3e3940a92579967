/* The getsets of attributes.h: names that asyncio's own Python code, its tests and real
 * programs read on a loop, with asyncio's defaults. */
#include "api/attributes.h"

#include "sched/cork.h"
#include "sched/handle.h"
#include "sched/inbox.h"
#include "sched/loop.h"
#include "sched/timer_handle.h"
#include "task/step.h"
#include "task/step_callable.h"

/* -- plain attributes with a default ------------------------------------------------------ */

typedef enum {
    DEFAULT_NONE,
    DEFAULT_FALSE,
    DEFAULT_ZERO,
    DEFAULT_FLOAT,
    DEFAULT_MADE
} kind;

typedef struct {
    const char *name;
    hl_loop_attr index;
    kind kind;
    double number;
} attribute;

/* Have what was made (stolen) for an attribute, unless another thread was faster: what the
 * attribute is now, new. */
static PyObject *
keep_attribute(hl_loop *loop, hl_loop_attr index, PyObject *made)
{
    PyObject *kept;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    if (loop->attrs[index] == NULL) {
        __atomic_store_n(&loop->attrs[index], Py_NewRef(made), __ATOMIC_RELAXED);
    }
    kept = Py_NewRef(loop->attrs[index]);
    Py_END_CRITICAL_SECTION();
    Py_DECREF(made);
    return kept;
}

static PyObject *
attribute_default(hl_loop *loop, const attribute *which)
{
    PyObject *made;
    switch (which->kind) {
    case DEFAULT_NONE:
        Py_RETURN_NONE;
    case DEFAULT_FALSE:
        Py_RETURN_FALSE;
    case DEFAULT_ZERO:
        return PyLong_FromLong(0);
    case DEFAULT_FLOAT:
        return PyFloat_FromDouble(which->number);
    default:
        /* Made once, when first asked for. */
        made = PyObject_CallMethod(
            loop->state->support, "make_attribute", "sO", which->name, loop);
        return made != NULL ? keep_attribute(loop, which->index, made) : NULL;
    }
}

static PyObject *
get_attribute(PyObject *self, void *closure)
{
    hl_loop *loop = (hl_loop *)self;
    const attribute *which = closure;
    PyObject *value = hl_loop_get_attr(loop, which->index);
    return value != NULL ? value : attribute_default(loop, which);
}

static int
set_attribute(PyObject *self, PyObject *value, void *closure)
{
    const attribute *which = closure;
    hl_loop_set_attr((hl_loop *)self, which->index, value);
    return 0;
}

#define ATTRIBUTE(variable, name, index, kind, number)                                 \
    static const attribute variable = {name, index, kind, number};

ATTRIBUTE(default_executor, "_default_executor", HL_ATTR_DEFAULT_EXECUTOR, DEFAULT_NONE,
          0)
ATTRIBUTE(exception_handler, "_exception_handler", HL_ATTR_EXCEPTION_HANDLER,
          DEFAULT_NONE, 0)
ATTRIBUTE(task_factory, "_task_factory", HL_ATTR_TASK_FACTORY, DEFAULT_NONE, 0)
ATTRIBUTE(asyncgens, "_asyncgens", HL_ATTR_ASYNCGENS, DEFAULT_MADE, 0)
ATTRIBUTE(asyncgens_shutdown, "_asyncgens_shutdown_called",
          HL_ATTR_ASYNCGENS_SHUTDOWN_CALLED, DEFAULT_FALSE, 0)
ATTRIBUTE(executor_shutdown, "_executor_shutdown_called",
          HL_ATTR_EXECUTOR_SHUTDOWN_CALLED, DEFAULT_FALSE, 0)
ATTRIBUTE(current_handle, "_current_handle", HL_ATTR_CURRENT_HANDLE, DEFAULT_NONE, 0)
ATTRIBUTE(slow_callback, "slow_callback_duration", HL_ATTR_SLOW_CALLBACK_DURATION,
          DEFAULT_FLOAT, 0.1)
ATTRIBUTE(timer_cancelled, "_timer_cancelled_count", HL_ATTR_TIMER_CANCELLED_COUNT,
          DEFAULT_ZERO, 0)
ATTRIBUTE(clock_resolution, "_clock_resolution", HL_ATTR_CLOCK_RESOLUTION,
          DEFAULT_FLOAT, 1e-9)
ATTRIBUTE(origin_tracking, "_coroutine_origin_tracking_enabled",
          HL_ATTR_ORIGIN_TRACKING_ENABLED, DEFAULT_FALSE, 0)
ATTRIBUTE(origin_depth, "_coroutine_origin_tracking_saved_depth",
          HL_ATTR_ORIGIN_TRACKING_SAVED_DEPTH, DEFAULT_NONE, 0)
ATTRIBUTE(transports, "_transports", HL_ATTR_TRANSPORTS, DEFAULT_MADE, 0)
ATTRIBUTE(signal_handlers, "_signal_handlers", HL_ATTR_SIGNAL_HANDLERS, DEFAULT_MADE, 0)
ATTRIBUTE(unix_sockets, "_unix_server_sockets", HL_ATTR_UNIX_SERVER_SOCKETS,
          DEFAULT_MADE, 0)
ATTRIBUTE(ssock, "_ssock", HL_ATTR_SSOCK, DEFAULT_NONE, 0)
ATTRIBUTE(csock, "_csock", HL_ATTR_CSOCK, DEFAULT_NONE, 0)
ATTRIBUTE(borrowed_wakeup, "_borrowed_wakeup", HL_ATTR_BORROWED_WAKEUP, DEFAULT_FALSE,
          0)
ATTRIBUTE(foreign_wakeup, "_foreign_wakeup_fd", HL_ATTR_FOREIGN_WAKEUP_FD, DEFAULT_NONE,
          0)
ATTRIBUTE(process_fds, "_process_fds", HL_ATTR_PROCESS_FDS, DEFAULT_MADE, 0)
#if HL_LOOPS_OWN_CHILD_WATCHER
ATTRIBUTE(watcher, "_watcher", HL_ATTR_WATCHER, DEFAULT_MADE, 0)
#endif
ATTRIBUTE(old_hooks, "_old_agen_hooks", HL_ATTR_OLD_AGEN_HOOKS, DEFAULT_NONE, 0)

/* -- flags of the core ------------------------------------------------------------------------ */

static int
truth_of(PyObject *value)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
        return -1;
    }
    return PyObject_IsTrue(value);
}

/* A bool of the struct; closure is its offset. */
static PyObject *
get_flag(PyObject *self, void *closure)
{
    return PyBool_FromLong(hl_loop_flag((bool *)((char *)self + (size_t)closure)));
}

static int
set_flag(PyObject *self, PyObject *value, void *closure)
{
    int is_true = truth_of(value);
    if (is_true < 0) {
        return -1;
    }
    __atomic_store_n(
        (bool *)((char *)self + (size_t)closure), (bool)is_true, __ATOMIC_RELAXED);
    return 0;
}

/* What is held back goes first, before what will not be. */
static int
set_write_through(PyObject *self, PyObject *value, void *closure)
{
    return set_flag(self, value, closure) < 0 ? -1 : hl_cork_flush((hl_loop *)self);
}

/* asyncio's loop owns one watched descriptor from its creation to its close; ours, which
 * makes it later, counts it from the start too. */
static PyObject *
get_internal_fds(PyObject *self, void *closure)
{
    return PyLong_FromLong(!hl_loop_is_closed((hl_loop *)self));
}

static PyObject *
get_thread_id(PyObject *self, void *closure)
{
    unsigned long owner = hl_loop_owner((hl_loop *)self);
    if (owner == 0) {
        Py_RETURN_NONE;
    }
    return PyLong_FromUnsignedLong(owner);
}

static int
set_thread_id(PyObject *self, PyObject *value, void *closure)
{
    unsigned long owner = 0;
    if (value != NULL && value != Py_None) {
        owner = PyLong_AsUnsignedLong(value);
        if (owner == (unsigned long)-1 && PyErr_Occurred()) {
            return -1;
        }
    }
    __atomic_store_n(&((hl_loop *)self)->owner, owner, __ATOMIC_RELEASE);
    return 0;
}

/* -- what is scheduled, for those who look -------------------------------------------------------- */

/* The handle that stands for an entry: its own, or one made for a task's step. */
static PyObject *
handle_of_entry(hl_loop *loop, const hl_ready_entry *entry)
{
    PyObject *owner = entry->owner, *argument = entry->argument;
    if (!PyObject_TypeCheck(owner, loop->state->StockTaskType)) {
        return Py_NewRef(owner);
    }
    bool is_wakeup = entry->run == hl_task_wakeup_run;
    PyObject *callable = is_wakeup
                             ? hl_task_wakeup_callable(owner)
                             : hl_task_step_callable(loop->state, owner, argument);
    if (callable == NULL) {
        return NULL;
    }
    PyObject *handle = hl_handle_new(
        loop, callable, &argument, is_wakeup ? 1 : 0, ((hl_task *)owner)->context);
    Py_DECREF(callable);
    return handle;
}

/* Append the handles of the entries of a queue of our own to list.  Returns 0 or -1. */
static int
append_handles(hl_loop *loop, const hl_ready *queue, PyObject *list)
{
    int error = 0;
    for (size_t i = 0; error == 0 && i < queue->count; i++) {
        PyObject *handle = handle_of_entry(loop, hl_ready_at(queue, i));
        error = handle != NULL ? PyList_Append(list, handle) : -1;
        Py_XDECREF(handle);
    }
    return error;
}

/* The ready queue, if this thread may look at it, and then the inbox. */
static PyObject *
get_ready(PyObject *self, void *closure)
{
    hl_loop *loop = (hl_loop *)self;
    PyObject *list = PyList_New(0), *tuple = NULL;
    hl_ready queue;
    hl_ready_init(&queue);
    if (list != NULL && hl_inbox_look(loop, &queue) == 0 &&
        append_handles(loop, &queue, list) == 0) {
        tuple = PyList_AsTuple(list);
    }
    hl_ready_fini(&queue);
    Py_XDECREF(list);
    return tuple;
}

static PyObject *
get_scheduled_lock_held(hl_loop *loop)
{
    PyObject *list = PyList_New(0); /* collects garbage, which may cancel timers */
    size_t place = 0;
    hl_heap_node *node;
    while (list != NULL && (node = hl_heap_next(&loop->timers, &place)) != NULL) {
        if (PyList_Append(list, (PyObject *)hl_timer_of_node(node)) < 0) {
            Py_CLEAR(list);
        }
    }
    PyObject *tuple = list != NULL ? PyList_AsTuple(list) : NULL;
    Py_XDECREF(list);
    return tuple;
}

static PyObject *
get_scheduled(PyObject *self, void *closure)
{
    PyObject *tuple;
    Py_BEGIN_CRITICAL_SECTION(self);
    tuple = get_scheduled_lock_held((hl_loop *)self);
    Py_END_CRITICAL_SECTION();
    return tuple;
}

#define PLAIN(variable, name)                                                          \
    {name, get_attribute, set_attribute, NULL, (void *)&(variable)}
#define FLAG(name, field)                                                              \
    {name, get_flag, set_flag, NULL, (void *)offsetof(hl_loop, field)}

PyGetSetDef hl_loop_getset[] = {
    PLAIN(default_executor, "_default_executor"),
    PLAIN(exception_handler, "_exception_handler"),
    PLAIN(task_factory, "_task_factory"),
    PLAIN(asyncgens, "_asyncgens"),
    PLAIN(asyncgens_shutdown, "_asyncgens_shutdown_called"),
    PLAIN(executor_shutdown, "_executor_shutdown_called"),
    PLAIN(current_handle, "_current_handle"),
    PLAIN(slow_callback, "slow_callback_duration"),
    PLAIN(timer_cancelled, "_timer_cancelled_count"),
    {"_internal_fds", get_internal_fds, NULL, NULL, NULL},
    PLAIN(clock_resolution, "_clock_resolution"),
    PLAIN(origin_tracking, "_coroutine_origin_tracking_enabled"),
    PLAIN(origin_depth, "_coroutine_origin_tracking_saved_depth"),
    PLAIN(transports, "_transports"),
    PLAIN(signal_handlers, "_signal_handlers"),
    PLAIN(unix_sockets, "_unix_server_sockets"),
    PLAIN(ssock, "_ssock"),
    PLAIN(csock, "_csock"),
    PLAIN(borrowed_wakeup, "_borrowed_wakeup"),
    PLAIN(foreign_wakeup, "_foreign_wakeup_fd"),
    PLAIN(process_fds, "_process_fds"),
#if HL_LOOPS_OWN_CHILD_WATCHER
    PLAIN(watcher, "_watcher"),
#endif
    PLAIN(old_hooks, "_old_agen_hooks"),
    FLAG("_debug", is_debug),
    FLAG("_closed", is_closed),
    FLAG("_stopping", is_stopping),
    FLAG("_has_signal_handlers", has_signal_handlers),
    FLAG("_internal_watched", is_internal_watched),
    FLAG("_has_own_attributes", has_own_attributes),
    {"write_through",
     get_flag,
     set_write_through,
     "True: every write of a transport goes to the kernel at once.  False (the default\n"
     "unless HOTLOOP_WRITE_THROUGH=1 is in the environment): what a callback writes\n"
     "goes out when the callback ends.",
     (void *)offsetof(hl_loop, is_writing_through)},
    {"_thread_id", get_thread_id, set_thread_id, NULL, NULL},
    {"_ready", get_ready, NULL, NULL, NULL},
    {"_scheduled", get_scheduled, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
