/* The stream transport's type, and reading: see stream.h. */
#include "io/stream.h"

#include "io/tls.h"
#include "io/transport_face.h"
#include "poll/socket.h"
#include "py/args.h"
#include "py/error.h"
#include "py/types.h"
#include "sched/cork.h"

#include <errno.h>

static const char READ_ERROR[] = "Fatal read error on socket transport";
static const char GET_BUFFER_FAILED[] =
    "Fatal error: protocol.get_buffer() call failed.";
static const char BUFFER_UPDATED_FAILED[] =
    "Fatal error: protocol.buffer_updated() call failed.";

/* -- reading ------------------------------------------------------------------------------------ */

static int
stream_on_eof(hl_transport *stream)
{
    hl_loop *loop = stream->loop;
    if (hl_loop_is_debug(loop)) {
        PyObject *result = PyObject_CallMethod(
            loop->state->transports, "log_debug", "sO", "%r received EOF", stream);
        Py_XDECREF(result);
        if (result == NULL) {
            return -1;
        }
    }
    PyObject *answer = hl_transport_call(stream, loop->state->str.eof_received, NULL);
    int keep_open = answer != NULL ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    if (keep_open < 0) {
        return hl_transport_fail(stream,
                                 "Fatal error: protocol.eof_received() call failed.");
    }
    if (stream->is_lost) {
        return 0;
    }
    /* Kept open, the protocol may write on, but there is nothing more to read. */
    return keep_open ? hl_transport_unwatch(stream, HL_POLL_READ)
                     : hl_transport_close(stream);
}

static int
stream_read_failed(hl_transport *stream, Py_ssize_t error)
{
    if (error == -EAGAIN) {
        return 0;
    }
    if (error == HL_NO_MEMORY) {
        return hl_transport_fail(stream, READ_ERROR);
    }
    return hl_transport_fail_errno(stream, (int)error, READ_ERROR);
}

static int
stream_read_data(hl_transport *stream)
{
    PyObject *data;
    hl_loop *loop =
        stream->loop; /* kept by whoever runs it, also if the stream is lost */
    Py_ssize_t count = hl_transport_receive(stream, hl_socket_recv, &data);
    if (count < 0) {
        return stream_read_failed(stream, count);
    }
    if (count == 0) {
        return stream_on_eof(stream);
    }
    PyObject *result = hl_transport_call(stream, loop->state->str.data_received, data);
    hl_spare_give(&loop->spare, data);
    if (result == NULL) {
        return hl_transport_fail(stream,
                                 "Fatal error: protocol.data_received() call failed.");
    }
    Py_DECREF(result);
    return 0;
}

/* Ask the protocol for a buffer.  Returns NULL, or what has failed, with an exception. */
static const char *
stream_get_buffer(hl_transport *stream, Py_buffer *view)
{
    hl_state *state = stream->loop->state;
    PyObject *buffer =
        hl_transport_call(stream, state->str.get_buffer, state->minus_one);
    if (buffer == NULL) {
        return GET_BUFFER_FAILED;
    }
    Py_ssize_t length = PyObject_Size(buffer);
    if (length == 0) {
        PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
    }
    const char *failure = length <= 0 ? GET_BUFFER_FAILED : NULL;
    if (failure == NULL &&
        hl_args_get_writable(buffer, "recv_into() argument 1", view) < 0) {
        failure = READ_ERROR;
    }
    Py_DECREF(buffer);
    return failure;
}

static int
stream_read_buffered(hl_transport *stream)
{
    Py_buffer view;
    hl_state *state = stream->loop->state;
    const char *failure = stream_get_buffer(stream, &view);
    if (failure != NULL) {
        return hl_transport_fail(stream, failure);
    }
    if (stream->is_lost) {
        PyBuffer_Release(&view);
        return 0; /* get_buffer() has ended it */
    }
    Py_ssize_t count =
        hl_socket_recv(hl_transport_descriptor(stream), view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    if (count < 0) {
        return stream_read_failed(stream, count);
    }
    if (count == 0) {
        return stream_on_eof(stream);
    }
    PyObject *number = PyLong_FromSsize_t(count);
    PyObject *result =
        number != NULL ? hl_transport_call(stream, state->str.buffer_updated, number)
                       : NULL;
    Py_XDECREF(number);
    if (result == NULL) {
        return hl_transport_fail(stream, BUFFER_UPDATED_FAILED);
    }
    Py_DECREF(result);
    return 0;
}

/* Ciphertext goes to the TLS protocol straight from the loop's buffer. */
static int
stream_read_tls(hl_transport *stream)
{
    char *buffer = hl_loop_read_buffer(stream->loop);
    if (buffer == NULL) {
        return stream_read_failed(stream, HL_NO_MEMORY);
    }
    ssize_t count =
        hl_socket_recv(hl_transport_descriptor(stream), buffer, HL_READ_BUFFER_SIZE);
    if (count < 0) {
        return stream_read_failed(stream, count);
    }
    if (count == 0) {
        return stream_on_eof(stream);
    }
    PyObject *protocol =
        Py_NewRef(stream->protocol); /* it may be exchanged meanwhile */
    int error = hl_tls_feed((hl_tls *)protocol, buffer, (size_t)count);
    Py_DECREF(protocol);
    return error == 0 ? 0 : hl_transport_fail(stream, BUFFER_UPDATED_FAILED);
}

static int
stream_read(hl_transport *stream)
{
    if (stream->is_tls) {
        return stream_read_tls(stream);
    }
    return stream->is_buffered ? stream_read_buffered(stream)
                               : stream_read_data(stream);
}

static int
stream_read_open(hl_transport *stream)
{
    return stream->conn_lost == 0 && !stream->is_lost ? stream_read(stream) : 0;
}

/* hl_run of a read event. */
static int
stream_on_readable(hl_loop *loop, PyObject *self, PyObject *unused)
{
    hl_transport *stream = hl_transport_of(self);
    if (hl_transport_is_read_stale(loop, stream)) {
        return 0;
    }
    return hl_transport_run(loop,
                            stream,
                            &stream->read_context,
                            stream_read_open,
                            loop->state->str._read_ready);
}

static PyObject *
stream_read_ready(PyObject *self, PyObject *unused)
{
    return hl_transport_do(self, stream_read_open);
}

/* -- life ---------------------------------------------------------------------------------------- */

static const hl_transport_kind stream_kind = {
    .on_readable = stream_on_readable,
    .on_writable = hl_stream_on_writable,
    .flush = hl_stream_flush,
    .is_socket = true,
};

PyObject *
hl_stream_make(hl_loop *loop, const hl_transport_arguments *arguments)
{
    hl_transport *stream =
        hl_transport_of_socket(loop->state->StreamType, &stream_kind, loop, arguments);
    if (stream == NULL) {
        return NULL;
    }
    /* Small writes go out at once, whatever the acknowledgements do. */
    hl_socket_set_nodelay(stream->fd, stream->family);
    if (hl_transport_begin(stream, arguments->waiter) < 0) {
        Py_DECREF(stream);
        return NULL;
    }
    return (PyObject *)stream;
}

hl_transport *
hl_stream_accepted(hl_loop *loop, int fd, int family)
{
    return hl_transport_new(loop->state->StreamType, &stream_kind, loop, fd, family);
}

static PyObject *
stream_can_write_eof(PyObject *self, PyObject *unused)
{
    Py_RETURN_TRUE;
}

static PyMethodDef stream_methods[] = {
    HL_TRANSPORT_READING_METHODS,
    {"_read_ready",
     stream_read_ready,
     METH_NOARGS,
     "_read_ready($self)\n--\n\nReceive once and tell the protocol."},
    {"_write_ready",
     hl_stream_write_ready,
     METH_NOARGS,
     "_write_ready($self)\n--\n\nSend once from what is queued."},
    {"write",
     hl_stream_write,
     METH_O,
     "write($self, data)\n--\n\nSend data (bytes, bytearray or memoryview); never blocks.\n\n"
     "Within a callback of the loop what is written goes out when the callback ends.  Not\n"
     "thread-safe.\n" HL_ASYNCIO_PROTOCOL "WriteTransport.write"},
#if HL_STREAMS_WRITE_LINES
    {"writelines",
     hl_stream_writelines,
     METH_O,
     "writelines($self, list_of_data)\n--\n\nSend the pieces in order.\n\n" HL_ASYNCIO_PROTOCOL
     "WriteTransport.writelines"},
#endif
    {"write_eof",
     hl_stream_write_eof,
     METH_NOARGS,
     "write_eof($self)\n--\n\nEnd our direction of the stream after what is queued.\n\n" HL_ASYNCIO_PROTOCOL
     "WriteTransport.write_eof"},
    {"can_write_eof",
     stream_can_write_eof,
     METH_NOARGS,
     "can_write_eof($self)\n--\n\nReturn True.\n\n" HL_ASYNCIO_PROTOCOL
     "WriteTransport.can_write_eof"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_doc, "A connected stream socket.\n\n" HL_ASYNCIO_PROTOCOL "Transport"},
    {Py_tp_traverse, hl_transport_traverse},
    {Py_tp_clear, hl_transport_clear},
    {Py_tp_dealloc, hl_transport_dealloc},
    {Py_tp_methods, stream_methods},
    {0, NULL},
};

static PyType_Spec stream_spec = {
    .name = "hotloop._core._SelectorSocketTransport",
    .basicsize = sizeof(hl_transport),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = stream_slots,
};

/* What asyncio's own code asks of a transport before start_tls() and sendfile(). */
static int
set_abilities(hl_state *state, PyTypeObject *type)
{
    PyObject *size = PyLong_FromLong(HL_READ_BUFFER_SIZE);
    int error =
        size == NULL ||
                PyObject_SetAttrString((PyObject *)type, "max_size", size) < 0 ||
                PyObject_SetAttrString(
                    (PyObject *)type, "_start_tls_compatible", Py_True) < 0 ||
                PyObject_SetAttrString((PyObject *)type,
                                       "_sendfile_compatible",
                                       state->sendfile_try_native) < 0
            ? -1
            : 0;
    Py_XDECREF(size);
    return error;
}

int
hl_stream_type_init(PyObject *module, hl_state *state)
{
    state->StreamType = hl_type_new(module, &stream_spec, state->TransportType, NULL);
    return state->StreamType != NULL ? set_abilities(state, state->StreamType) : -1;
}
