/* The type of write pipes, and writing: part of pipe.h.
 *
 * A write goes to the kernel at once, whatever runs; what it does not take is queued. */
#include "io/pipe.h"

#include "io/outgoing.h"
#include "poll/pipe.h"
#include "py/error.h"
#include "py/types.h"
#include "sched/cork.h"

#include <errno.h>

static const char WRITE_ERROR[] = "Fatal write error on pipe transport";

/* -- the end -------------------------------------------------------------------------------------- */

/* Drop what is queued and schedule connection_lost(exc), once. */
static int
writer_end(hl_transport *pipe, PyObject *exc)
{
    if (pipe->is_lost || pipe->is_losing) {
        return 0;
    }
    pipe->is_closing = true;
    pipe->is_losing = true;
    hl_transport_drop_queue(pipe);
    int error = hl_transport_unwatch(pipe, HL_POLL_WRITE);
    if (hl_transport_unwatch(pipe, HL_POLL_READ) < 0) {
        error = -1;
    }
    return error < 0 ? -1 : hl_transport_lose_soon(pipe, exc);
}

/* The kernel refused for good. */
static int
writer_failed(hl_transport *pipe, int error)
{
    hl_error_set(error);
    PyObject *exception = PyErr_GetRaisedException();
    int failed = hl_transport_report(pipe, "transport_failed", WRITE_ERROR, exception);
    if (failed == 0) {
        failed = writer_end(pipe, exception);
    }
    Py_DECREF(exception);
    return failed;
}

/* End of our writing: what is queued is still sent. */
static int
write_eof_lock_held(hl_transport *pipe)
{
    if (pipe->is_closing || pipe->is_lost) {
        return 0;
    }
    if (hl_transport_queued(pipe) > 0) {
        pipe->is_closing = true;
        return 0;
    }
    return writer_end(pipe, NULL);
}

static PyObject *
writer_write_eof(PyObject *self, PyObject *unused)
{
    return hl_transport_do(self, write_eof_lock_held);
}

static int
abort_lock_held(hl_transport *pipe)
{
    return writer_end(pipe, NULL);
}

static PyObject *
writer_abort(PyObject *self, PyObject *unused)
{
    return hl_transport_do(self, abort_lock_held);
}

/* -- events ---------------------------------------------------------------------------------------- */

/* The reading end is closed, or a socket's peer has sent something: asyncio ends too. */
static int
writer_peer_gone(hl_transport *pipe)
{
    if (hl_pipe_log_closed(pipe) < 0) {
        return -1;
    }
    if (hl_transport_queued(pipe) == 0) {
        return writer_end(pipe, NULL);
    }
    PyObject *broken = PyObject_CallNoArgs(PyExc_BrokenPipeError);
    int error = broken != NULL ? writer_end(pipe, broken) : -1;
    Py_XDECREF(broken);
    return error;
}

/* hl_run of a read event. */
static int
writer_on_readable(hl_loop *loop, PyObject *self, PyObject *unused)
{
    hl_transport *pipe = hl_transport_of(self);
    if (hl_transport_is_read_stale(loop, pipe)) {
        return 0;
    }
    return hl_transport_run(loop,
                            pipe,
                            &pipe->read_context,
                            writer_peer_gone,
                            loop->state->str._read_ready);
}

/* Everything is written. */
static int
writer_drained(hl_transport *pipe)
{
    hl_transport_drop_queue(pipe);
    if (hl_transport_unwatch(pipe, HL_POLL_WRITE) < 0 ||
        hl_flow_maybe_resume(pipe) < 0) {
        return -1;
    }
    if (!pipe->is_closing || pipe->is_losing || hl_transport_queued(pipe) > 0) {
        return 0;
    }
    pipe->is_losing = true;
    return hl_transport_unwatch(pipe, HL_POLL_READ) < 0
               ? -1
               : hl_transport_lose(pipe, Py_None);
}

static int
writer_write_queued(hl_transport *pipe)
{
    if (hl_transport_queued(pipe) == 0) {
        return hl_transport_unwatch(pipe, HL_POLL_WRITE);
    }
    ssize_t sent = hl_pipe_write_spans(pipe->fd, &pipe->rare->queue);
    if (sent == -EAGAIN) {
        return 0;
    }
    if (sent < 0) {
        return writer_failed(pipe, (int)sent);
    }
    hl_transport_sent(pipe->loop, &pipe->rare->queue, (size_t)sent);
    return hl_transport_queued(pipe) == 0 ? writer_drained(pipe) : 0;
}

/* hl_run of a write event. */
static int
writer_on_writable(hl_loop *loop, PyObject *self, PyObject *unused)
{
    hl_transport *pipe = hl_transport_of(self);
    if (hl_transport_is_write_stale(loop, pipe)) {
        return 0;
    }
    return hl_transport_run(loop,
                            pipe,
                            &pipe->rare->write_context,
                            writer_write_queued,
                            loop->state->str._write_ready);
}

const hl_transport_kind hl_pipe_writer_kind = {
    .on_readable = writer_on_readable,
    .on_writable = writer_on_writable,
};

static int
peer_gone_lock_held(hl_transport *pipe)
{
    return pipe->is_lost ? 0 : writer_peer_gone(pipe);
}

static PyObject *
writer_read_ready(PyObject *self, PyObject *unused)
{
    return hl_transport_do(self, peer_gone_lock_held);
}

static int
write_queued_lock_held(hl_transport *pipe)
{
    return pipe->is_lost ? 0 : writer_write_queued(pipe);
}

static PyObject *
writer_write_ready(PyObject *self, PyObject *unused)
{
    return hl_transport_do(self, write_queued_lock_held);
}

/* -- writing ---------------------------------------------------------------------------------------- */

static int
writer_put(hl_transport *pipe, hl_outgoing *piece)
{
    size_t start = 0;
    bool was_empty = hl_transport_queued(pipe) == 0;
    if (was_empty) {
        ssize_t sent = hl_pipe_write(pipe->fd, piece->data, piece->length);
        if (sent < 0 && sent != -EAGAIN) {
            hl_outgoing_close(piece);
            return writer_failed(pipe, (int)sent);
        }
        start = sent > 0 ? (size_t)sent : 0;
        if (start == piece->length) {
            return 0;
        }
    }
    const char *data;
    PyObject *owner = hl_outgoing_keep(piece, start, &data);
    if (owner == NULL ||
        hl_transport_queue(pipe, owner, data, piece->length - start) < 0) {
        return -1;
    }
    hl_outgoing_close(piece);
    return hl_transport_wait_for_room(pipe);
}

static int
writer_write_piece(hl_transport *pipe, hl_outgoing *piece)
{
    if (piece->length == 0) {
        return 0;
    }
    if (pipe->is_closing || pipe->conn_lost > 0 || pipe->is_lost) {
        return hl_transport_note_lost_write(pipe);
    }
    /* What a socket holds back was written before. */
    if (hl_cork_flush_others(pipe->loop, (PyObject *)pipe) < 0) {
        return -1;
    }
    if (pipe->is_closing || pipe->is_lost) {
        return hl_transport_note_lost_write(pipe);
    }
    return writer_put(pipe, piece);
}

static PyObject *
writer_write(PyObject *self, PyObject *data)
{
    hl_transport *pipe = hl_transport_of(self);
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        PyObject *shown = PyObject_Repr(data); /* asyncio has an assertion here */
        if (shown != NULL) {
            PyErr_SetObject(PyExc_AssertionError, shown);
            Py_DECREF(shown);
        }
        return NULL;
    }
    hl_outgoing piece;
    if (hl_outgoing_open(&piece, data) < 0) {
        return NULL;
    }
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = writer_write_piece(pipe, &piece);
    Py_END_CRITICAL_SECTION();
    hl_outgoing_close(&piece);
    if (error < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
writer_can_write_eof(PyObject *self, PyObject *unused)
{
    Py_RETURN_TRUE;
}

static PyObject *
repr_lock_held(hl_transport *pipe)
{
    const char *state = pipe->is_lost ? " closed" : pipe->is_closing ? " closing" : "";
    if (pipe->is_lost || pipe->is_given_up || hl_loop_is_closed(pipe->loop)) {
        return PyUnicode_FromFormat("<_UnixWritePipeTransport%s fd=%d %s>",
                                    state,
                                    pipe->fd,
                                    pipe->is_lost ? "closed" : "open");
    }
    return PyUnicode_FromFormat("<_UnixWritePipeTransport%s fd=%d %s bufsize=%zd>",
                                state,
                                pipe->fd,
                                hl_transport_is_watched(pipe, HL_POLL_WRITE) ? "polling"
                                                                             : "idle",
                                (Py_ssize_t)hl_transport_queued(pipe));
}

static PyObject *
writer_repr(PyObject *self)
{
    return hl_transport_ask(self, repr_lock_held);
}

/* -- the type ------------------------------------------------------------------------------------------ */

static PyMethodDef writer_methods[] = {
    {"write",
     writer_write,
     METH_O,
     "write($self, data)\n--\n\nWrite data (bytes, bytearray or memoryview) at once; never "
     "blocks.\n\nNot thread-safe.\n" HL_ASYNCIO_PROTOCOL "WriteTransport.write"},
    {"write_eof",
     writer_write_eof,
     METH_NOARGS,
     "write_eof($self)\n--\n\nClose after what is queued.\n\n" HL_ASYNCIO_PROTOCOL
     "WriteTransport.write_eof"},
    {"close",
     writer_write_eof,
     METH_NOARGS,
     "close($self)\n--\n\nClose after what is queued.\n\n" HL_ASYNCIO_PROTOCOL
     "BaseTransport.close"},
    {"abort",
     writer_abort,
     METH_NOARGS,
     "abort($self)\n--\n\nClose now; what is queued is lost.\n\n" HL_ASYNCIO_PROTOCOL
     "WriteTransport.abort"},
    {"can_write_eof",
     writer_can_write_eof,
     METH_NOARGS,
     "can_write_eof($self)\n--\n\nReturn True."},
    {"_read_ready",
     writer_read_ready,
     METH_NOARGS,
     "_read_ready($self)\n--\n\nThe other end is closed."},
    {"_write_ready",
     writer_write_ready,
     METH_NOARGS,
     "_write_ready($self)\n--\n\nWrite once from what is queued."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef writer_getset[] = {
    {"_pipe",
     hl_get_object,
     hl_pipe_set_file,
     NULL,
     (void *)offsetof(hl_transport, sock)},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef writer_members[] = {
    {"_fileno", T_INT, offsetof(hl_transport, fd), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot writer_slots[] = {
    {Py_tp_doc, "The writing end of a pipe.\n\n" HL_ASYNCIO_PROTOCOL "WriteTransport"},
    {Py_tp_traverse, hl_transport_traverse},
    {Py_tp_clear, hl_transport_clear},
    {Py_tp_dealloc, hl_transport_dealloc},
    {Py_tp_repr, writer_repr},
    {Py_tp_methods, writer_methods},
    {Py_tp_getset, writer_getset},
    {Py_tp_members, writer_members},
    {0, NULL},
};

static PyType_Spec writer_spec = {
    .name = "hotloop._core._UnixWritePipeTransport",
    .basicsize = sizeof(hl_transport),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = writer_slots,
};

int
hl_pipe_writer_type_init(PyObject *module, hl_state *state)
{
    state->WritePipeType =
        hl_type_new(module, &writer_spec, state->TransportType, NULL);
    return state->WritePipeType != NULL ? 0 : -1;
}
