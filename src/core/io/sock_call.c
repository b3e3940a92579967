/* The awaitable of sock_call.h. */
#include "io/sock_call.h"

#include "io/descriptor.h"
#include "io/plain_socket.h"
#include "py/error.h"
#include "py/freelist.h"
#include "py/generator.h"
#include "py/types.h"
#include "sched/handle.h"
#include "sched/watch.h"
#include "task/future.h"

#include <errno.h>

/* -- the end ----------------------------------------------------------------------------- */

/* Leave the table of what is watched, unless another took the place. */
static int
sock_call_unwatch(hl_sock_call *call)
{
    int removed =
        hl_watch_remove_own(call->loop, call->fd, call->kind, (PyObject *)call);
    return removed < 0 ? -1 : 0;
}

static void
sock_call_drop_data(hl_sock_call *call)
{
    if (call->data.obj != NULL) {
        PyBuffer_Release(&call->data);
    }
}

/* The call has ended, whatever the outcome.  An exception that is raised stays raised. */
static void
sock_call_end(hl_sock_call *call)
{
    PyObject *exception = PyErr_GetRaisedException();
    if (call->sock != NULL && sock_call_unwatch(call) < 0) {
        PyErr_WriteUnraisable((PyObject *)call);
    }
    sock_call_drop_data(call);
    Py_CLEAR(call->sock);
    Py_CLEAR(call->future);
    Py_CLEAR(call->argument);
    PyErr_SetRaisedException(exception);
}

/* -- waiting ------------------------------------------------------------------------------- */

static int sock_call_run(hl_loop *loop, PyObject *self, PyObject *unused);

/* RuntimeError if a transport owns fd. */
static int
check_no_transport(hl_loop *loop, int fd)
{
    if (hl_descriptor_is_free(loop, fd)) {
        return 0;
    }
    PyObject *result =
        PyObject_CallMethod((PyObject *)loop, "_ensure_fd_no_transport", "i", fd);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

static int
sock_call_arm(hl_sock_call *call)
{
    return hl_watch_arm(
        call->loop, call->fd, call->kind, (PyObject *)call, sock_call_run);
}

/* Begin a wait of fd, with a future of its own.  Returns 0 or -1. */
static int
sock_call_wait(hl_sock_call *call, int fd)
{
    if (check_no_transport(call->loop, fd) < 0 || hl_loop_check_open(call->loop) < 0) {
        return -1;
    }
    PyObject *future = hl_future_new(call->loop);
    if (future == NULL) {
        return -1;
    }
    Py_XSETREF(call->future, future);
    call->fd = fd;
    return sock_call_arm(call);
}

/* The wait is over: the task that waits runs in the next turn. */
static int
sock_call_wake(hl_sock_call *call)
{
    if (sock_call_unwatch(call) < 0) {
        return -1;
    }
    int error = 0;
    hl_future *future = (hl_future *)Py_NewRef(call->future);
    Py_BEGIN_CRITICAL_SECTION(future);
    if (future->state == HL_PENDING) {
        error = hl_future_set_result_lock_held(call->loop->state, future, Py_None);
    }
    Py_END_CRITICAL_SECTION();
    Py_DECREF(future);
    return error;
}

/* hl_run of the event.  Errors of ours go to the task. */
static int
sock_call_run(hl_loop *loop, PyObject *self, PyObject *unused)
{
    hl_sock_call *call = (hl_sock_call *)self;
    if (call->future == NULL || ((hl_future *)call->future)->state != HL_PENDING ||
        !hl_watch_holds(loop, call->fd, call->kind, self)) {
        return 0; /* it ended, or another took the place, after the event was collected */
    }
    if (call->progress != NULL && !call->progress(call)) {
        if (sock_call_arm(call) == 0) {
            return 0;
        }
        PyErr_Clear(); /* OSError or MemoryError: the descriptor cannot be watched */
        call->error = -EBADF;
    }
    if (sock_call_wake(call) == 0) {
        return 0;
    }
    if (loop->current_task != NULL) {
        hl_loop_clear_current_task(loop); /* who reports runs in no task */
    }
    return hl_handle_report_method(loop, self, loop->state->str._run, NULL);
}

/* -- life ------------------------------------------------------------------------------------ */

static hl_sock_call *
sock_call_new(hl_loop *loop, PyObject *sock, const hl_sock_call_kind *kind)
{
    hl_state *state = loop->state;
    PyTypeObject *type = state->SockCallType;
    hl_sock_call *call = (hl_sock_call *)hl_freelist_pop(
        &state->free_sock_calls, type, offsetof(hl_sock_call, sock));
    if (call != NULL) {
        PyObject_GC_Track((PyObject *)call);
    }
    else {
        call = (hl_sock_call *)type->tp_alloc(type, 0);
        if (call == NULL) {
            return NULL;
        }
    }
    hl_count_new(state, HL_COUNT_SOCK_CALL);
    call->loop = (hl_loop *)Py_NewRef((PyObject *)loop);
    call->sock = Py_NewRef(sock);
    call->kind = kind->direction;
    call->attempt = kind->attempt;
    call->progress = kind->progress;
    call->fd = -1;
    call->sent = 0;
    call->error = 0;
    return call;
}

static void
sock_call_dealloc(PyObject *self)
{
    hl_sock_call *call = (hl_sock_call *)self;
    PyTypeObject *type = Py_TYPE(self);
    hl_state *state = hl_state_in_dealloc(type);
    PyObject_GC_UnTrack(self);
    /* The table of what is watched holds a reference: it is not in there. */
    sock_call_drop_data(call);
    Py_CLEAR(call->sock);
    Py_CLEAR(call->future);
    Py_CLEAR(call->argument);
    Py_CLEAR(call->result);
    Py_CLEAR(call->loop);
    hl_count_free(state, HL_COUNT_SOCK_CALL);
    if (state != NULL &&
        hl_freelist_push(
            &state->free_sock_calls, self, type, offsetof(hl_sock_call, sock))) {
        return;
    }
    type->tp_free(self);
    Py_DECREF(type);
}

void
hl_sock_call_drain(hl_state *state)
{
    hl_freelist_drain(
        &state->free_sock_calls, state->SockCallType, offsetof(hl_sock_call, sock));
}

static int
sock_call_clear(PyObject *self)
{
    hl_sock_call *call = (hl_sock_call *)self;
    sock_call_drop_data(call);
    Py_CLEAR(call->sock);
    Py_CLEAR(call->future);
    Py_CLEAR(call->argument);
    Py_CLEAR(call->result);
    return 0; /* the loop stays: `fd` and `kind` mean nothing without it */
}

static int
sock_call_traverse(PyObject *self, visitproc visit, void *arg)
{
    hl_sock_call *call = (hl_sock_call *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(call->sock);
    Py_VISIT((PyObject *)call->loop);
    Py_VISIT(call->future);
    Py_VISIT(call->argument);
    Py_VISIT(call->result);
    Py_VISIT(call->data.obj);
    return 0;
}

/* -- awaiting -------------------------------------------------------------------------------- */

static int
sock_call_yield(hl_sock_call *call, PyObject **yielded)
{
    hl_future *future = (hl_future *)call->future;
    bool was_blocking;
    Py_BEGIN_CRITICAL_SECTION(future);
    was_blocking = future->blocking;
    future->blocking = 1;
    Py_END_CRITICAL_SECTION();
    if (was_blocking) {
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
        return -1;
    }
    *yielded = Py_NewRef(call->future);
    return 1;
}

/* What the wait has ended with.  Returns 0, or -1 with CancelledError for example. */
static int
sock_call_finish_wait(hl_sock_call *call)
{
    PyObject *future = call->future;
    PyObject *nothing;
    call->future = NULL;
    Py_BEGIN_CRITICAL_SECTION(future);
    nothing = hl_future_result_lock_held(call->loop->state, (hl_future *)future);
    Py_END_CRITICAL_SECTION();
    Py_DECREF(future);
    Py_XDECREF(nothing);
    return nothing != NULL ? 0 : -1;
}

/* The descriptor for another wait, or -1 with OSError if the socket was closed. */
static int
sock_call_descriptor(const hl_sock_call *call)
{
    int fd = hl_plain_socket_fd_again(call->loop->state, call->sock);
    return fd < 0 ? hl_error_set(-EBADF) : fd;
}

static void
sock_call_ended(void)
{
    PyErr_SetString(PyExc_RuntimeError, "this call has ended");
}

/* The one step: 1 with what is to be yielded, 0 when the call has ended, or -1. */
static int
sock_call_step(hl_sock_call *call, PyObject **yielded)
{
    *yielded = NULL;
    if (call->future == NULL) {
        sock_call_ended();
        return -1;
    }
    if (((hl_future *)call->future)->state == HL_PENDING) {
        return sock_call_yield(call, yielded);
    }
    int outcome = sock_call_finish_wait(call);
    if (outcome == 0) {
        outcome = call->attempt(call);
    }
    if (outcome == 0 && call->sock == NULL) {
        sock_call_ended(); /* by close(), while a buffer's __buffer__() ran */
        outcome = -1;
    }
    if (outcome == 0) {
        int fd = sock_call_descriptor(call);
        if (fd >= 0 && sock_call_wait(call, fd) == 0) {
            return sock_call_yield(call, yielded);
        }
        outcome = -1;
    }
    sock_call_end(call);
    return outcome > 0 ? 0 : -1;
}

/* The value of `await` is None, always, because any other takes an exception to get out of
 * tp_iternext, which is what `await` calls: some 1,500 instructions.  take() has the result. */
static PySendResult
sock_call_send(PyObject *self, PyObject *unused, PyObject **result)
{
    int outcome = sock_call_step((hl_sock_call *)self, result);
    if (outcome == 0) {
        *result = Py_NewRef(Py_None);
        return PYGEN_RETURN;
    }
    return outcome > 0 ? PYGEN_NEXT : PYGEN_ERROR;
}

static PyObject *
sock_call_next(PyObject *self)
{
    PyObject *yielded;
    (void)sock_call_step((hl_sock_call *)self, &yielded);
    return yielded; /* NULL without an exception: it has ended with None */
}

static PyObject *
sock_call_send_method(PyObject *self, PyObject *value)
{
    PyObject *result = sock_call_next(self);
    if (result == NULL && !PyErr_Occurred()) {
        PyErr_SetNone(PyExc_StopIteration);
    }
    return result;
}

static PyObject *
sock_call_take(PyObject *self, PyObject *unused)
{
    PyObject *result = ((hl_sock_call *)self)->result;
    ((hl_sock_call *)self)->result = NULL;
    return result != NULL ? result : Py_NewRef(Py_None);
}

static PyObject *
sock_call_throw(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *exception = hl_generator_thrown(args, nargs);
    if (exception != NULL) {
        PyErr_SetRaisedException(exception);
        sock_call_end((hl_sock_call *)self);
    }
    return NULL;
}

static PyObject *
sock_call_close(PyObject *self, PyObject *unused)
{
    sock_call_end((hl_sock_call *)self);
    Py_RETURN_NONE;
}

/* _run(): what an event does, for the text of a report. */
static PyObject *
sock_call_run_method(PyObject *self, PyObject *unused)
{
    if (sock_call_run(((hl_sock_call *)self)->loop, self, NULL) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef sock_call_methods[] = {
    {"send", sock_call_send_method, METH_O, NULL},
    {"throw", HL_FASTCALL(sock_call_throw), METH_FASTCALL, NULL},
    {"close", sock_call_close, METH_NOARGS, NULL},
    {"take", sock_call_take, METH_NOARGS, NULL},
    {"_run", sock_call_run_method, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot sock_call_slots[] = {
    {Py_tp_dealloc, sock_call_dealloc},
    {Py_tp_traverse, sock_call_traverse},
    {Py_tp_clear, sock_call_clear},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, sock_call_next},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, sock_call_send},
    {Py_tp_methods, sock_call_methods},
    {0, NULL},
};

static PyType_Spec sock_call_spec = {
    .name = "hotloop.SockCall",
    .basicsize = sizeof(hl_sock_call),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = sock_call_slots,
};

int
hl_sock_call_type_init(PyObject *module, hl_state *state)
{
    state->SockCallType = hl_type_new(module, &sock_call_spec, NULL, NULL);
    return state->SockCallType != NULL ? hl_plain_socket_init(state) : -1;
}

/* -- beginning ------------------------------------------------------------------------------- */

PyObject *
hl_sock_call_start(hl_loop *loop, PyObject *sock, int fd, const hl_sock_call_kind *kind,
                   PyObject *argument)
{
    hl_sock_call *call = sock_call_new(loop, sock, kind);
    if (call == NULL) {
        return NULL;
    }
    call->argument = Py_XNewRef(argument);
    if (sock_call_wait(call, fd) < 0) {
        sock_call_end(call);
        Py_CLEAR(call);
    }
    return (PyObject *)call;
}

PyObject *
hl_sock_call_start_sending(hl_loop *loop, PyObject *sock, int fd,
                           const hl_sock_call_kind *kind, Py_buffer *data,
                           Py_ssize_t sent)
{
    hl_sock_call *call = sock_call_new(loop, sock, kind);
    if (call == NULL) {
        PyBuffer_Release(data);
        return NULL;
    }
    call->data = *data;
    call->sent = sent;
    if (sock_call_wait(call, fd) < 0) {
        sock_call_end(call);
        Py_CLEAR(call);
    }
    return (PyObject *)call;
}
