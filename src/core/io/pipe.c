/* Making pipe transports, and reading: see pipe.h. */
#include "io/pipe.h"

#include "poll/pipe.h"
#include "py/error.h"
#include "py/types.h"
#include "sched/cork.h"
#include "task/future_callbacks.h"

#include <errno.h>
#include <sys/stat.h>

static const char READ_ERROR[] = "Fatal read error on pipe transport";

int
hl_pipe_log_closed(hl_transport *pipe)
{
    if (!hl_loop_is_debug(pipe->loop)) {
        return 0;
    }
    PyObject *result = PyObject_CallMethod(
        pipe->loop->state->transports, "log_closed_by_peer", "O", (PyObject *)pipe);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

static int
forget_file_lock_held(hl_transport *pipe)
{
    if (pipe->is_lost) {
        return 0;
    }
    pipe->is_lost = true;
    hl_transport_unwatch_for_good(pipe);
    int error = hl_transport_end_nonblocking(pipe);
    Py_CLEAR(pipe->sock);
    return error;
}

int
hl_pipe_set_file(PyObject *self, PyObject *value, void *closure)
{
    if (value != Py_None) {
        PyErr_SetString(PyExc_TypeError, "_pipe can only be set to None");
        return -1;
    }
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = forget_file_lock_held(hl_transport_of(self));
    Py_END_CRITICAL_SECTION();
    return error;
}

/* -- reading --------------------------------------------------------------------------------- */

/* Read no more and schedule connection_lost(exc), once. */
static int
reader_end(hl_transport *pipe, PyObject *exc)
{
    if (pipe->conn_lost > 0 || pipe->is_lost) {
        return 0;
    }
    pipe->is_closing = true;
    pipe->conn_lost++;
    return hl_transport_unwatch(pipe, HL_POLL_READ) < 0
               ? -1
               : hl_transport_lose_soon(pipe, exc);
}

/* A terminal whose other side is gone gives EIO, which is a usual end; all else is told. */
static int
reader_failed(hl_transport *pipe, int error)
{
    if (error != HL_NO_MEMORY) {
        hl_error_set(error);
    }
    PyObject *exception = PyErr_GetRaisedException();
    int failed = hl_transport_report(pipe, "read_pipe_failed", READ_ERROR, exception);
    if (failed == 0) {
        failed = reader_end(pipe, exception);
    }
    Py_DECREF(exception);
    return failed;
}

/* The other side is closed: eof_received(), then connection_lost(None), each an entry. */
static int
reader_on_eof(hl_transport *pipe)
{
    hl_loop *loop = pipe->loop;
    if (hl_pipe_log_closed(pipe) < 0) {
        return -1;
    }
    pipe->is_closing = true;
    if (hl_transport_unwatch(pipe, HL_POLL_READ) < 0) {
        return -1;
    }
    PyObject *protocol = Py_NewRef(pipe->protocol != NULL ? pipe->protocol : Py_None);
    PyObject *eof = PyObject_GetAttr(protocol, loop->state->str.eof_received);
    Py_DECREF(protocol);
    int error =
        eof != NULL
            ? hl_call_soon(
                  loop->state, (PyObject *)loop, eof, NULL, hl_transport_context(pipe))
            : -1;
    Py_XDECREF(eof);
    return error < 0 ? -1 : reader_end(pipe, NULL);
}

static int
reader_read(hl_transport *pipe)
{
    PyObject *data;
    Py_ssize_t count = hl_transport_receive(pipe, hl_pipe_read, &data);
    if (count == -EAGAIN) {
        return 0;
    }
    if (count < 0) {
        return reader_failed(pipe, (int)count);
    }
    if (count == 0) {
        return reader_on_eof(pipe);
    }
    PyObject *result =
        hl_transport_call(pipe, pipe->loop->state->str.data_received, data);
    Py_DECREF(data);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1; /* as asyncio: reported, and the pipe goes on */
}

/* hl_run of a read event. */
static int
reader_on_readable(hl_loop *loop, PyObject *self, PyObject *unused)
{
    hl_transport *pipe = hl_transport_of(self);
    if (hl_transport_is_read_stale(loop, pipe)) {
        return 0;
    }
    return hl_transport_run(
        loop, pipe, &pipe->read_context, reader_read, loop->state->str._read_ready);
}

static const hl_transport_kind reader_kind = {.on_readable = reader_on_readable};

static int
read_lock_held(hl_transport *pipe)
{
    return pipe->is_lost ? 0 : reader_read(pipe);
}

static PyObject *
reader_read_ready(PyObject *self, PyObject *unused)
{
    return hl_transport_do(self, read_lock_held);
}

static int
close_lock_held(hl_transport *pipe)
{
    return pipe->is_closing ? 0 : reader_end(pipe, NULL);
}

static PyObject *
reader_close(PyObject *self, PyObject *unused)
{
    return hl_transport_do(self, close_lock_held);
}

static PyObject *
repr_lock_held(hl_transport *pipe)
{
    const char *state = pipe->is_lost ? " closed" : pipe->is_closing ? " closing" : "";
    const char *activity = pipe->is_lost ? "closed"
                           : pipe->is_given_up || hl_loop_is_closed(pipe->loop) ? "open"
                           : hl_transport_is_watched(pipe, HL_POLL_READ) ? "polling"
                                                                         : "idle";
    return PyUnicode_FromFormat(
        "<_UnixReadPipeTransport%s fd=%d %s>", state, pipe->fd, activity);
}

static PyObject *
reader_repr(PyObject *self)
{
    return hl_transport_ask(self, repr_lock_held);
}

/* -- making ------------------------------------------------------------------------------------- */

/* The descriptor of a file object that may be a pipe; -1 with an exception. */
static int
pipe_descriptor(PyObject *file, const char *refusal, mode_t *mode)
{
    struct stat status;
    PyObject *number = PyObject_CallMethod(file, "fileno", NULL);
    int fd = number != NULL ? PyLong_AsInt(number) : -1;
    Py_XDECREF(number);
    if (fd < 0) {
        return PyErr_Occurred() ? -1 : hl_error_set(-EBADF);
    }
    if (fstat(fd, &status) < 0) {
        return hl_error_set(-errno);
    }
    *mode = status.st_mode;
    if (!S_ISFIFO(*mode) && !S_ISSOCK(*mode) && !S_ISCHR(*mode)) {
        PyErr_SetString(PyExc_ValueError, refusal);
        return -1;
    }
    return fd;
}

/* Set O_NONBLOCK; the transport knows afterwards whether to clear it.  Returns 0 or -1. */
static int
pipe_unblock(hl_transport *pipe, PyObject *file)
{
    PyObject *answer = PyObject_CallMethod(
        pipe->loop->state->transports, "begin_nonblocking", "Oi", file, pipe->fd);
    if (answer == NULL) {
        return -1;
    }
    pipe->was_blocking = answer == Py_True;
    Py_DECREF(answer);
    return 0;
}

/* Extra information: what was given, and the file.  Returns 0 or -1. */
static int
pipe_fill(hl_transport *pipe, const hl_transport_arguments *arguments)
{
    PyObject *extra = arguments->extra;
    pipe->extra = PyDict_New();
    if (pipe->extra == NULL ||
        (extra != NULL && extra != Py_None && PyDict_Update(pipe->extra, extra) < 0) ||
        PyDict_SetItemString(pipe->extra, "pipe", arguments->sock) < 0 ||
        hl_transport_set_protocol(pipe, arguments->protocol) < 0) {
        return -1;
    }
    return pipe_unblock(pipe, arguments->sock);
}

static hl_transport *
pipe_new(PyTypeObject *type, const hl_transport_kind *kind, hl_loop *loop, int fd,
         const hl_transport_arguments *arguments)
{
    hl_transport *pipe = hl_transport_new(type, kind, loop, fd, AF_UNSPEC);
    if (pipe == NULL) {
        return NULL;
    }
    if (pipe_fill(pipe, arguments) < 0) {
        pipe->fd = -1; /* stays the caller's: nothing to close */
        Py_CLEAR(pipe->protocol);
        Py_DECREF(pipe);
        return NULL;
    }
    pipe->sock = Py_NewRef(arguments->sock); /* from here on it owns the file */
    return pipe;
}

PyObject *
hl_pipe_make_reader(hl_loop *loop, const hl_transport_arguments *arguments)
{
    mode_t mode;
    int fd = pipe_descriptor(
        arguments->sock, "Pipe transport is for pipes/sockets only.", &mode);
    if (fd < 0) {
        return NULL;
    }
    hl_transport *pipe =
        pipe_new(loop->state->ReadPipeType, &reader_kind, loop, fd, arguments);
    if (pipe != NULL && hl_transport_begin(pipe, arguments->waiter) < 0) {
        Py_CLEAR(pipe);
    }
    return (PyObject *)pipe;
}

PyObject *
hl_pipe_make_writer(hl_loop *loop, const hl_transport_arguments *arguments)
{
    mode_t mode;
    int fd = pipe_descriptor(
        arguments->sock,
        "Pipe transport is only for pipes, sockets and character devices",
        &mode);
    if (fd < 0) {
        return NULL;
    }
    hl_transport *pipe =
        pipe_new(loop->state->WritePipeType, &hl_pipe_writer_kind, loop, fd, arguments);
    if (pipe == NULL) {
        return NULL;
    }
    /* A character device says nothing when its other side goes: it is not watched. */
    pipe->is_paused = S_ISCHR(mode);
    if (hl_transport_begin(pipe, arguments->waiter) < 0) {
        Py_CLEAR(pipe);
    }
    return (PyObject *)pipe;
}

/* -- the type of read pipes ----------------------------------------------------------------------- */

static PyMethodDef reader_methods[] = {
    HL_TRANSPORT_METHODS,
    HL_TRANSPORT_READING_METHODS,
    {"close",
     reader_close,
     METH_NOARGS,
     "close($self)\n--\n\nClose.  Not thread-safe.\n\n" HL_ASYNCIO_PROTOCOL
     "BaseTransport.close"},
    {"_read_ready",
     reader_read_ready,
     METH_NOARGS,
     "_read_ready($self)\n--\n\nReceive once and tell the protocol."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef reader_getset[] = {
    HL_TRANSPORT_GETSET,
    {"_pipe",
     hl_get_object,
     hl_pipe_set_file,
     NULL,
     (void *)offsetof(hl_transport, sock)},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef reader_members[] = {
    {"_fileno", T_INT, offsetof(hl_transport, fd), READONLY, NULL},
    HL_TRANSPORT_MEMBERS,
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot reader_slots[] = {
    {Py_tp_doc, "The reading end of a pipe.\n\n" HL_ASYNCIO_PROTOCOL "ReadTransport"},
    HL_TRANSPORT_SLOTS,
    {Py_tp_repr, reader_repr},
    {Py_tp_methods, reader_methods},
    {Py_tp_getset, reader_getset},
    {Py_tp_members, reader_members},
    {0, NULL},
};

static PyType_Spec reader_spec = {
    .name = "hotloop._core._UnixReadPipeTransport",
    .basicsize = sizeof(hl_transport),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = reader_slots,
};

int
hl_pipe_types_init(PyObject *module, hl_state *state)
{
    state->ReadPipeType =
        hl_type_new(module, &reader_spec, state->StockReadTransportType, NULL);
    PyObject *size = PyLong_FromLong(HL_READ_BUFFER_SIZE);
    int error =
        state->ReadPipeType == NULL || size == NULL
            ? -1
            : PyObject_SetAttrString((PyObject *)state->ReadPipeType, "max_size", size);
    Py_XDECREF(size);
    return error < 0 ? -1 : hl_pipe_writer_type_init(module, state);
}
