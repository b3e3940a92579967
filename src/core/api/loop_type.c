/* The type hotloop._core.Loop: life of the struct, small methods, the method table.
 *
 * The public class is hotloop.Loop, a Python subclass of this type and of asyncio's own
 * loop class: what is not here is asyncio's. */
#include "api/loop_type.h"

#include "api/attributes.h"
#include "api/calls.h"
#include "api/network.h"
#include "api/run.h"
#include "api/watching.h"
#include "base/clock.h"
#include "io/descriptor.h"
#include "io/numeric.h"
#include "io/plain_socket.h"
#include "io/sock_call.h"
#include "io/sock_methods.h"
#include "py/types.h"
#include "sched/cork.h"
#include "sched/inbox.h"
#include "sched/loop.h"
#include "sched/timer_handle.h"
#include "sched/watch.h"
#include "task/future.h"

/* -- life ------------------------------------------------------------------------------------ */

static void
loops_add(hl_state *state, hl_loop *loop)
{
    hl_mutex_lock(&state->loops_mutex);
    loop->next = state->loops;
    if (loop->next != NULL) {
        loop->next->previous = loop;
    }
    state->loops = loop;
    hl_mutex_unlock(&state->loops_mutex);
}

/* state is NULL if the module is gone, and then nobody looks at the list any more. */
static void
loops_remove(hl_state *state, hl_loop *loop)
{
    if (state == NULL) {
        return;
    }
    hl_mutex_lock(&state->loops_mutex);
    if (loop->previous != NULL) {
        loop->previous->next = loop->next;
    }
    else if (state->loops == loop) {
        state->loops = loop->next;
    }
    if (loop->next != NULL) {
        loop->next->previous = loop->previous;
    }
    loop->next = loop->previous = NULL;
    hl_mutex_unlock(&state->loops_mutex);
}

static PyObject *
loop_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    hl_state *state = hl_state_of_type(type);
    if (state == NULL) {
        return NULL;
    }
    hl_loop *loop = (hl_loop *)type->tp_alloc(type, 0);
    if (loop == NULL) {
        return NULL;
    }
    loop->state = state;
    hl_ready_init(&loop->ready);
    hl_heap_init(&loop->timers);
    hl_poller_init(&loop->poller, sizeof(hl_watch));
    hl_count_new(state, HL_COUNT_LOOP);
    loops_add(state, loop);
    if (hl_loop_refresh_overrides(loop) < 0) {
        Py_DECREF(loop);
        return NULL;
    }
    return (PyObject *)loop;
}

static int
loop_tp_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    hl_loop *loop = (hl_loop *)self;
    if (PyTuple_GET_SIZE(args) > 0 || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)) {
        loop->is_closed = true; /* nobody has it: no warning that it was not closed */
        PyErr_SetString(PyExc_TypeError, "Loop() takes no arguments");
        return -1;
    }
    /* Looked up each time: tests and tools replace it. */
    PyObject *debug =
        PyObject_CallMethod(loop->state->coroutines, "_is_debug_mode", NULL);
    int is_debug = debug != NULL ? PyObject_IsTrue(debug) : -1;
    Py_XDECREF(debug);
    if (is_debug < 0) {
        return -1;
    }
    loop->is_debug = is_debug;
    const char *write_through = getenv("HOTLOOP_WRITE_THROUGH");
    loop->is_writing_through = write_through != NULL && strcmp(write_through, "1") == 0;
    return 0;
}

/* Drop every timer; the handles may be used on. */
static void
loop_drop_timers(hl_loop *loop)
{
    PyObject *timer;
    hl_timer_track_scheduled(loop); /* in a forked child the parent's run never ends */
    do {
        timer = NULL;
        Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
        if (hl_heap_first(&loop->timers) != NULL) {
            timer = (PyObject *)hl_timer_of_node(hl_heap_pop(&loop->timers));
        }
        Py_END_CRITICAL_SECTION();
        Py_XDECREF(timer);
    } while (timer != NULL);
}

/* Forget everything that is scheduled or watched, and close what is open. */
static void
loop_drop_work(hl_loop *loop)
{
    hl_cork_drop(loop);
    hl_ready_clear(&loop->ready);
    hl_inbox_clear(loop);
    loop_drop_timers(loop);
    hl_watch_clear(loop);
    /* Not between a waker's look at the loop and its write. */
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    hl_mutex_lock(&loop->mutex);
    hl_poller_fini(&loop->poller);
    hl_mutex_unlock(&loop->mutex);
    Py_END_CRITICAL_SECTION();
}

static int
loop_tp_clear(PyObject *self)
{
    hl_loop *loop = (hl_loop *)self;
    loop_drop_work(loop);
    for (int i = 0; i < HL_ATTR_COUNT; i++) {
        Py_CLEAR(loop->attrs[i]);
    }
    return 0;
}

/* The loop's own sockets, made for its first wait, can be in a younger generation than the loop.
 * The collector begins with the youngest: if it saw them it would close them before the loop's
 * own finalizer could.  They refer to nothing, so hiding them keeps no garbage alive. */
static inline bool
is_hidden_from_collector(const hl_loop *loop, int i)
{
    const PyObject *value = loop->attrs[i];
    return (i == HL_ATTR_SSOCK || i == HL_ATTR_CSOCK) && value != NULL &&
           Py_IS_TYPE(value, loop->state->SocketType->tp_base); /* _socket.socket */
}

static int
loop_tp_traverse(PyObject *self, visitproc visit, void *arg)
{
    hl_loop *loop = (hl_loop *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(loop->corked);
    for (int i = 0; i < HL_ATTR_COUNT; i++) {
        if (!is_hidden_from_collector(loop, i)) {
            Py_VISIT(loop->attrs[i]);
        }
    }
    size_t place = 0;
    hl_heap_node *node;
    while ((node = hl_heap_next(&loop->timers, &place)) != NULL) {
        PyObject *timer = (PyObject *)hl_timer_of_node(node);
        Py_VISIT(timer);
    }
    int stop = hl_watch_traverse(loop, visit, arg);
    if (stop == 0) {
        stop = hl_inbox_traverse(loop, visit, arg);
    }
    return stop != 0 ? stop : hl_ready_traverse(&loop->ready, visit, arg);
}

static void
loop_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    hl_loop *loop = (hl_loop *)self;
    hl_state *state = hl_state_in_dealloc(type);
    PyObject_GC_UnTrack(self);
    loops_remove(state, loop); /* first: a fork in what runs below must not find it */
    loop_tp_clear(self);
    hl_ready_fini(&loop->ready);
    hl_heap_fini(&loop->timers);
    hl_spans_fini(&loop->corked_spans);
    hl_spare_drop(&loop->spare);
    PyMem_RawFree(loop->read_buffer);
    if (loop->shared != NULL) {
        loop->free_shared(loop->shared);
    }
    Py_CLEAR(loop->window_arguments);
    hl_inbox_fini(loop);
    hl_count_free(state, HL_COUNT_LOOP);
    type->tp_free(self);
    Py_DECREF(type);
}

/* True if a class describes the attribute: it is not in the instance's dict. */
static int
is_described(PyTypeObject *type, PyObject *name)
{
    PyObject *found;
    int error = PyObject_GetOptionalAttr((PyObject *)type, name, &found);
    bool is_data = found != NULL && Py_TYPE(found)->tp_descr_set != NULL;
    Py_XDECREF(found);
    return error < 0 ? -1 : is_data;
}

/* Notice attributes of the instance's own, such as those that replace a method. */
static int
loop_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    if (PyObject_GenericSetAttr(self, name, value) < 0) {
        return -1;
    }
    if (PyUnicode_Check(name)) {
        hl_loop_note_attribute((hl_loop *)self, name, value != NULL);
    }
    if (value != NULL) {
        int described = is_described(Py_TYPE(self), name);
        if (described < 0) {
            return -1;
        }
        if (!described) {
            __atomic_store_n(
                &((hl_loop *)self)->has_own_attributes, true, __ATOMIC_RELAXED);
        }
    }
    return 0;
}

int
hl_loops_before_fork(hl_state *state)
{
    hl_mutex_lock(&state->loops_mutex);
    hl_loop *loop = state->loops;
    while (loop != NULL && hl_loop_owner(loop) != hl_thread_ident()) {
        loop = loop->next;
    }
    hl_mutex_unlock(&state->loops_mutex);
    return loop != NULL ? hl_cork_flush(loop) : 0; /* a thread runs one loop */
}

PyObject *
hl_loops_after_fork(hl_state *state)
{
    PyObject *list = PyList_New(0);
    /* Threads that are not there any more may have held the mutexes. */
    state->loops_mutex = (hl_mutex){0};
    for (hl_loop *loop = state->loops; loop != NULL; loop = loop->next) {
        hl_poller_forget(&loop->poller);
        loop->mutex = (hl_mutex){0};
        hl_cork_drop(loop); /* the parent sends it */
        loop->is_wakeup_prepared = false;
        loop->is_sleeping = 0;
        loop->executor_jobs = 0;
        loop->has_foreign_call = false;
        loop->foreign_until_ns = 0;
        if (hl_loop_owner(loop) != 0) {
            loop->is_forked_running = true;
        }
        if (list != NULL && PyList_Append(list, (PyObject *)loop) < 0) {
            Py_CLEAR(list); /* go on: the descriptors matter more */
        }
    }
    return list;
}

/* -- small methods ------------------------------------------------------------------------------ */

static PyObject *
loop_time(PyObject *self, PyObject *unused)
{
    return PyFloat_FromDouble(hl_clock_seconds(hl_clock_ns()));
}

static PyObject *
loop_stop(PyObject *self, PyObject *unused)
{
    __atomic_store_n(&((hl_loop *)self)->is_stopping, true, __ATOMIC_RELAXED);
    Py_RETURN_NONE;
}

/* make() makes the two sockets that signals wake the loop by.  Called and kept here, where no
 * signal's handler can raise in between and lose them; so is the next one's answer. */
static PyObject *
loop_keep_self_pipe(PyObject *self, PyObject *make)
{
    PyObject *ssock, *csock;
    PyObject *pair = PyObject_CallNoArgs(make);
    if (pair == NULL || !PyArg_ParseTuple(pair, "OO", &ssock, &csock)) {
        Py_XDECREF(pair);
        return NULL;
    }
    hl_loop_set_attr((hl_loop *)self, HL_ATTR_SSOCK, ssock);
    hl_loop_set_attr((hl_loop *)self, HL_ATTR_CSOCK, csock);
    Py_DECREF(pair);
    Py_RETURN_NONE;
}

/* install() makes own the interpreter's wake-up descriptor and returns what was that before: kept
 * if it is another one. */
static PyObject *
loop_keep_foreign_wakeup(PyObject *self, PyObject *args)
{
    PyObject *install, *own;
    if (!PyArg_ParseTuple(args, "OO", &install, &own)) {
        return NULL;
    }
    PyObject *previous = PyObject_CallNoArgs(install);
    int is_own = previous != NULL ? PyObject_RichCompareBool(previous, own, Py_EQ) : -1;
    if (is_own == 0) {
        hl_loop_set_attr((hl_loop *)self, HL_ATTR_FOREIGN_WAKEUP_FD, previous);
    }
    Py_XDECREF(previous);
    return is_own < 0 ? NULL : Py_NewRef(Py_None);
}

/* Who closes a loop owns it, too: what dies then is not told that it runs. */
static PyObject *
loop_is_running(PyObject *self, PyObject *unused)
{
    const hl_loop *loop = (hl_loop *)self;
    return PyBool_FromLong(hl_loop_owner(loop) != 0 && !hl_loop_is_closed(loop));
}

static PyObject *
loop_is_closed(PyObject *self, PyObject *unused)
{
    return PyBool_FromLong(hl_loop_is_closed((hl_loop *)self));
}

static PyObject *
loop_get_debug(PyObject *self, PyObject *unused)
{
    return PyBool_FromLong(hl_loop_is_debug((hl_loop *)self));
}

static PyObject *
loop_check_closed(PyObject *self, PyObject *unused)
{
    if (hl_loop_check_open((hl_loop *)self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Another thread may have begun to run or to close the loop since its close() asked. */
static PyObject *
loop_drop_work_method(PyObject *self, PyObject *unused)
{
    hl_loop *loop = (hl_loop *)self;
    if (hl_loop_claim(loop, true)) {
        loop_drop_work(loop);
        hl_loop_release(loop);
    }
    else if (!hl_loop_is_closed(loop)) {
        PyErr_SetString(PyExc_RuntimeError, "Cannot close a running event loop");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
loop_executor_job(PyObject *self, PyObject *change)
{
    int by = PyLong_Check(change) ? (int)PyLong_AsLong(change) : -1;
    __atomic_add_fetch(&((hl_loop *)self)->executor_jobs, by, __ATOMIC_RELAXED);
    Py_RETURN_NONE;
}

/* -- sockets ----------------------------------------------------------------------------------------- */

static PyObject *
loop_begin_sock_call(PyObject *self, PyObject *sock)
{
    return hl_sock_begin((hl_loop *)self, sock);
}

static int
check_two_arguments(const char *name, Py_ssize_t nargs)
{
    if (nargs == 2) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%s() needs two arguments", name);
    return -1;
}

static PyObject *
loop_try_sock_recv(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return check_two_arguments("_try_sock_recv", nargs) < 0
               ? NULL
               : hl_sock_recv((hl_loop *)self, args[0], args[1]);
}

static PyObject *
loop_try_sock_recv_into(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return check_two_arguments("_try_sock_recv_into", nargs) < 0
               ? NULL
               : hl_sock_recv_into((hl_loop *)self, args[0], args[1]);
}

static PyObject *
loop_try_sock_sendall(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return check_two_arguments("_try_sock_sendall", nargs) < 0
               ? NULL
               : hl_sock_sendall((hl_loop *)self, args[0], args[1]);
}

static PyObject *
loop_try_sock_connect(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return check_two_arguments("_try_sock_connect", nargs) < 0
               ? NULL
               : hl_sock_connect((hl_loop *)self, args[0], args[1]);
}

static PyObject *
loop_sock_ready(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (check_two_arguments("_sock_ready", nargs) < 0) {
        return NULL;
    }
    int kind = PyLong_AsInt(args[1]);
    if (kind == -1 && PyErr_Occurred()) {
        return NULL;
    }
    return hl_sock_ready((hl_loop *)self, args[0], kind);
}

static PyObject *
loop_numeric_addresses(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 6) {
        PyErr_SetString(PyExc_TypeError, "_numeric_addresses() needs six arguments");
        return NULL;
    }
    return hl_numeric_addresses((hl_loop *)self, args);
}

static PyObject *
loop_numeric_endpoint(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return check_two_arguments("_numeric_endpoint", nargs) < 0
               ? NULL
               : hl_numeric_endpoint(((hl_loop *)self)->state, args[0], args[1]);
}

static PyObject *
loop_is_free_socket(PyObject *self, PyObject *sock)
{
    hl_loop *loop = (hl_loop *)self;
    int fd = hl_plain_socket_fd(loop->state, sock);
    return PyBool_FromLong(fd >= 0 && hl_descriptor_is_free(loop, fd));
}

/* -- tables ----------------------------------------------------------------------------------------- */

#define ASYNCIO_LOOP                                                                   \
    "https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop."

static PyMethodDef loop_methods[] = {
    {"run_forever",
     hl_api_run_forever,
     METH_NOARGS,
     "run_forever($self, /)\n--\n\nRun until stop() is called.\n\n" ASYNCIO_LOOP
     "run_forever"},
    {"run_until_complete",
     HL_FASTCALL(hl_api_run_until_complete),
     METH_FASTCALL | METH_KEYWORDS,
     "run_until_complete($self, future)\n--\n\nRun until the future is done; return its\n"
     "result or raise its exception.  A coroutine becomes a task.\n\n" ASYNCIO_LOOP
     "run_until_complete"},
    {"_run_once",
     hl_api_run_once,
     METH_NOARGS,
     "_run_once($self, /)\n--\n\nRun one turn of the loop."},
    {"stop",
     loop_stop,
     METH_NOARGS,
     "stop($self, /)\n--\n\nStop run_forever() at the end of this turn.\n\n" ASYNCIO_LOOP
     "stop"},
    {"is_running",
     loop_is_running,
     METH_NOARGS,
     "is_running($self, /)\n--\n\nReturn True while the loop runs."},
    {"is_closed",
     loop_is_closed,
     METH_NOARGS,
     "is_closed($self, /)\n--\n\nReturn True once the loop was closed."},
    {"time",
     loop_time,
     METH_NOARGS,
     "time($self, /)\n--\n\nReturn time.monotonic() now: seconds, float.\n\n" ASYNCIO_LOOP
     "time"},
    {"get_debug",
     loop_get_debug,
     METH_NOARGS,
     "get_debug($self, /)\n--\n\nReturn True in debug mode."},
    {"call_soon",
     HL_FASTCALL(hl_api_call_soon),
     METH_FASTCALL | METH_KEYWORDS,
     "call_soon($self, callback, *args, context=None)\n--\n\nCall callback(*args) in the "
     "next turn.\n\nReturn a Handle.  RuntimeError if the loop is closed.  Not "
     "thread-safe.\n" ASYNCIO_LOOP "call_soon"},
    {"call_soon_threadsafe",
     HL_FASTCALL(hl_api_call_soon_threadsafe),
     METH_FASTCALL | METH_KEYWORDS,
     "call_soon_threadsafe($self, callback, *args, context=None)\n--\n\ncall_soon() for "
     "other threads: wakes the loop.  Thread-safe.\n\n" ASYNCIO_LOOP
     "call_soon_threadsafe"},
    {"call_later",
     HL_FASTCALL(hl_api_call_later),
     METH_FASTCALL | METH_KEYWORDS,
     "call_later($self, delay, callback, *args, context=None)\n--\n\nCall callback(*args) "
     "after delay seconds, never earlier.\n\nReturn a TimerHandle.  Not thread-safe.\n" ASYNCIO_LOOP
     "call_later"},
    {"call_at",
     HL_FASTCALL(hl_api_call_at),
     METH_FASTCALL | METH_KEYWORDS,
     "call_at($self, when, callback, *args, context=None)\n--\n\nCall callback(*args) when "
     "time() reaches when (seconds).\n\nReturn a TimerHandle.  Not thread-safe.\n" ASYNCIO_LOOP
     "call_at"},
    {"create_future",
     hl_api_create_future,
     METH_NOARGS,
     "create_future($self, /)\n--\n\nReturn a new hotloop.Future of this loop.\n\n" ASYNCIO_LOOP
     "create_future"},
    {"create_task",
     HL_FASTCALL(hl_api_create_task),
     METH_FASTCALL | METH_KEYWORDS,
     "create_task($self, coro, " HL_CREATE_TASK_KEYWORDS
     ")\n--\n\nSchedule a coroutine; return its Task.\n\n"
     "Keywords as in this version's asyncio.  With a task factory, what it returns.\n" ASYNCIO_LOOP
     "create_task"},
    {"_add_callback",
     hl_api_add_callback,
     METH_O,
     "_add_callback($self, handle, /)\n--\n\nAppend a handle to the ready queue."},
    {"_add_callback_signalsafe",
     hl_api_add_callback_signalsafe,
     METH_O,
     "_add_callback_signalsafe($self, handle, /)\n--\n\nThe same, and wake the loop."},
    {"_write_to_self",
     hl_api_write_to_self,
     METH_NOARGS,
     "_write_to_self($self, /)\n--\n\nWake the loop if it sleeps.  Thread-safe."},
    {"_check_closed",
     loop_check_closed,
     METH_NOARGS,
     "_check_closed($self, /)\n--\n\nRaise RuntimeError if the loop is closed."},
    {"_drop_work",
     loop_drop_work_method,
     METH_NOARGS,
     "_drop_work($self, /)\n--\n\nMark the loop closed; forget what is scheduled and watched."},
    {"_keep_self_pipe",
     loop_keep_self_pipe,
     METH_O,
     "_keep_self_pipe($self, make, /)\n--\n\nCall make() and keep the two sockets that it returns."},
    {"_keep_foreign_wakeup",
     loop_keep_foreign_wakeup,
     METH_VARARGS,
     "_keep_foreign_wakeup($self, install, own, /)\n--\n\nCall install(); keep the descriptor that "
     "it returns\nunless it is own."},
    {"_executor_job",
     loop_executor_job,
     METH_O,
     "_executor_job($self, change, /)\n--\n\nCount a job: 1 when submitted; anything but a\n"
     "number (the future) when done.  Thread-safe."},
    {"add_reader",
     HL_FASTCALL(hl_api_add_reader),
     METH_FASTCALL | METH_KEYWORDS,
     "add_reader($self, fd, callback, *args)\n--\n\nCall callback(*args) whenever fd can be\nread from.\n\n" ASYNCIO_LOOP
     "add_reader"},
    {"remove_reader",
     HL_FASTCALL(hl_api_remove_reader),
     METH_FASTCALL | METH_KEYWORDS,
     "remove_reader($self, fd)\n--\n\nUndo add_reader(); return whether there was one.\n\n" ASYNCIO_LOOP
     "remove_reader"},
    {"_add_reader",
     HL_FASTCALL(hl_api_own_add_reader),
     METH_FASTCALL | METH_KEYWORDS,
     "_add_reader($self, " HL_ADD_READER_PARAMETERS
     ")\n--\n\nadd_reader() of any descriptor, a transport's too; return the Handle."},
    {"_remove_reader",
     HL_FASTCALL(hl_api_own_remove_reader),
     METH_FASTCALL | METH_KEYWORDS,
     "_remove_reader($self, fd)\n--\n\nremove_reader() of any descriptor, a transport's too."},
    {"add_writer",
     HL_FASTCALL(hl_api_add_writer),
     METH_FASTCALL | METH_KEYWORDS,
     "add_writer($self, fd, callback, *args)\n--\n\nCall callback(*args) whenever fd can be\nwritten to.\n\n" ASYNCIO_LOOP
     "add_writer"},
    {"remove_writer",
     HL_FASTCALL(hl_api_remove_writer),
     METH_FASTCALL | METH_KEYWORDS,
     "remove_writer($self, fd)\n--\n\nUndo add_writer(); return whether there was one.\n\n" ASYNCIO_LOOP
     "remove_writer"},
    {"_add_writer",
     HL_FASTCALL(hl_api_own_add_writer),
     METH_FASTCALL | METH_KEYWORDS,
     "_add_writer($self, " HL_ADD_READER_PARAMETERS
     ")\n--\n\nadd_writer() of any descriptor, a transport's too; return the Handle."},
    {"_remove_writer",
     HL_FASTCALL(hl_api_own_remove_writer),
     METH_FASTCALL | METH_KEYWORDS,
     "_remove_writer($self, fd)\n--\n\nremove_writer() of any descriptor, a transport's too."},
    {"_ensure_fd_no_transport",
     HL_FASTCALL(hl_api_ensure_fd_no_transport),
     METH_FASTCALL | METH_KEYWORDS,
     "_ensure_fd_no_transport($self, fd)\n--\n\nRaise RuntimeError if an open transport owns "
     "fd."},
    {"_make_stream",
     HL_FASTCALL(hl_api_make_stream),
     METH_FASTCALL,
     "_make_stream($self, sock, protocol, waiter, extra, server, context, /)\n--\n\nA "
     "transport of a connected stream socket."},
    {"_make_datagram",
     HL_FASTCALL(hl_api_make_datagram),
     METH_FASTCALL,
     "_make_datagram($self, sock, protocol, address, waiter, extra, /)\n--\n\nA transport "
     "of a datagram socket."},
    {"_make_read_pipe",
     HL_FASTCALL(hl_api_make_read_pipe),
     METH_FASTCALL,
     "_make_read_pipe($self, pipe, protocol, waiter, extra, /)\n--\n\nA transport of the "
     "reading end of a pipe."},
    {"_make_write_pipe",
     HL_FASTCALL(hl_api_make_write_pipe),
     METH_FASTCALL,
     "_make_write_pipe($self, pipe, protocol, waiter, extra, /)\n--\n\nA transport of the "
     "writing end of a pipe."},
    {"_listen",
     HL_FASTCALL(hl_api_listen),
     METH_FASTCALL,
     "_listen($self, protocol_factory, sock, sslcontext, server, backlog, "
     "ssl_handshake_timeout, ssl_shutdown_timeout, context, /)\n--\n\nAccept the "
     "connections of a listening socket."},
    {"_flush",
     hl_api_flush,
     METH_NOARGS,
     "_flush($self, /)\n--\n\nSend what a transport holds back until the running callback "
     "ends."},
    {"_transport_of",
     hl_api_transport_of,
     METH_O,
     "_transport_of($self, fd, /)\n--\n\nThe open native transport that owns fd, or None."},
    {"_own_descriptor",
     HL_FASTCALL(hl_api_own_descriptor),
     METH_FASTCALL,
     "_own_descriptor($self, fd, transport, /)\n--\n\nNote which native transport owns fd; "
     "None: none."},
    {"_watched_as",
     hl_api_watched_as,
     METH_O,
     "_watched_as($self, file, /)\n--\n\nThe descriptor registered as this object, or -1."},
    {"_watch_list",
     hl_api_watch_list,
     METH_NOARGS,
     "_watch_list($self, /)\n--\n\nList (fd, file, reader, writer) of everything watched."},
    {"_numeric_addresses",
     HL_FASTCALL(loop_numeric_addresses),
     METH_FASTCALL,
     "_numeric_addresses($self, host, port, family, type, proto, flags, /)\n--\n\nWhat "
     "getaddrinfo() answers, or None: to be asked in the executor."},
    {"_numeric_endpoint",
     HL_FASTCALL(loop_numeric_endpoint),
     METH_FASTCALL,
     "_numeric_endpoint($self, host, port, /)\n--\n\n(family, address) of what is numbers, or "
     "None."},
    {"_is_free_socket",
     loop_is_free_socket,
     METH_O,
     "_is_free_socket($self, sock, /)\n--\n\nWhether sock is plain and no transport's."},
    {"_begin_sock_call",
     loop_begin_sock_call,
     METH_O,
     "_begin_sock_call($self, sock, /)\n--\n\nSend what is held back; return whether sock can "
     "do without asyncio's own method."},
    {"_try_sock_recv",
     HL_FASTCALL(loop_try_sock_recv),
     METH_FASTCALL,
     "_try_sock_recv($self, sock, n, /)\n--\n\nThe bytes, or an awaitable of them, or None: "
     "asyncio's business."},
    {"_try_sock_recv_into",
     HL_FASTCALL(loop_try_sock_recv_into),
     METH_FASTCALL,
     "_try_sock_recv_into($self, sock, buf, /)\n--\n\nThe number of bytes, or an awaitable of "
     "it, or None: asyncio's business."},
    {"_try_sock_sendall",
     HL_FASTCALL(loop_try_sock_sendall),
     METH_FASTCALL,
     "_try_sock_sendall($self, sock, data, /)\n--\n\nTrue if all was sent, or an awaitable, or "
     "None: asyncio's business."},
    {"_try_sock_connect",
     HL_FASTCALL(loop_try_sock_connect),
     METH_FASTCALL,
     "_try_sock_connect($self, sock, address, /)\n--\n\nTrue if connected, or an awaitable, or "
     "None: to be done in Python."},
    {"_sock_ready",
     HL_FASTCALL(loop_sock_ready),
     METH_FASTCALL,
     "_sock_ready($self, sock, kind, /)\n--\n\nAn awaitable: sock can be read (1) or written "
     "(2)."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot loop_slots[] = {
    {Py_tp_doc, "Loop()\n--\n\nThe scheduling half of hotloop.Loop, in C."},
    {Py_tp_new, loop_tp_new},
    {Py_tp_init, loop_tp_init},
    {Py_tp_dealloc, loop_dealloc},
    {Py_tp_traverse, loop_tp_traverse},
    {Py_tp_clear, loop_tp_clear},
    {Py_tp_setattro, loop_setattro},
    {Py_tp_methods, loop_methods},
    {Py_tp_getset, hl_loop_getset},
    {0, NULL},
};

static PyType_Spec loop_spec = {
    .name = "hotloop._core.Loop",
    .basicsize = sizeof(hl_loop),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = loop_slots,
};

int
hl_loop_type_init(PyObject *module, hl_state *state)
{
    state->LoopType = hl_type_new(module, &loop_spec, NULL, NULL);
    state->loop_setattro = loop_setattro;
    return state->LoopType != NULL ? 0 : -1;
}
