/* Writing to a stream.
 *
 * Bytes take one of three ways:
 *   held back  within an entry of the ready queue: the loop keeps them until the entry ends
 *              (sched/cork.h), so that several small writes become one system call
 *   direct     outside of an entry, or large ones: to the kernel at once
 *   queued     what the kernel did not take, and all that follows: the transport's queue,
 *              sent on write events
 * Invariant: something is held back only while nothing is queued.
 * What is kept is safe from changes by the caller: bytes are referred to, all else copied. */
#include "io/stream.h"

#include "io/outgoing.h"
#include "io/transport_face.h"
#include "poll/socket.h"
#include "py/error.h"
#include "sched/cork.h"
#include "sched/handle.h"

#include <errno.h>

/* A write of this size, or as many bytes together, gains nothing by waiting. */
enum { CORK_LIMIT = 32 * 1024 };

static int stream_write_queued(hl_transport *stream);

static const char WRITE_ERROR[] = "Fatal write error on socket transport";

/* -- held back ------------------------------------------------------------------------------------- */

/* Move what is left of the held back bytes to the queue. */
static int
stream_queue_corked(hl_transport *stream, hl_spans *corked)
{
    while (corked->count > 0) {
        const hl_span first = corked->items[corked->head];
        (void)hl_spans_take_first(corked);
        if (hl_transport_queue(stream, first.owner, first.data, first.length) < 0) {
            hl_transport_sent(stream->loop, corked, corked->size);
            return -1;
        }
    }
    return hl_transport_wait_for_room(stream);
}

int
hl_stream_flush(hl_loop *loop, PyObject *self)
{
    hl_transport *stream = hl_transport_of(self);
    hl_spans *corked = &loop->corked_spans;
    if (stream->conn_lost > 0 || stream->is_lost) {
        hl_transport_sent(loop, corked, corked->size);
        return 0;
    }
    if (hl_transport_is_queued(stream)) {
        return stream_queue_corked(stream,
                                   corked); /* another thread's, without a GIL */
    }
    ssize_t sent = hl_socket_send_spans(hl_transport_descriptor(stream), corked);
    if (sent < 0 && sent != -EAGAIN) {
        hl_transport_sent(loop, corked, corked->size);
        return hl_transport_fail_errno(stream, (int)sent, WRITE_ERROR);
    }
    hl_transport_sent(loop, corked, sent > 0 ? (size_t)sent : 0);
    if (corked->count == 0) {
        return 0;
    }
    return stream_queue_corked(stream, corked);
}

/* -- write ------------------------------------------------------------------------------------------- */

/* Keep the piece until the entry ends. */
static int
stream_hold_back(hl_transport *stream, const hl_outgoing *piece)
{
    const char *data;
    PyObject *owner = hl_outgoing_keep(piece, 0, &data);
    return owner != NULL ? hl_cork_push(stream->loop,
                                        (PyObject *)stream,
                                        hl_stream_flush,
                                        owner,
                                        data,
                                        piece->length)
                         : -1;
}

/* Keep the piece until there is room for it and what is queued before it. */
static int
stream_queue_piece(hl_transport *stream, const hl_outgoing *piece)
{
    const char *data;
    PyObject *owner = hl_outgoing_keep(piece, 0, &data);
    return owner != NULL ? hl_transport_queue(stream, owner, data, piece->length) : -1;
}

/* What gains nothing by waiting any longer leaves.  Runs user code. */
static int
stream_flush_full(hl_transport *stream)
{
    size_t size = stream->loop->corked_spans.size;
    return size >= CORK_LIMIT || size > hl_transport_high_water(stream)
               ? hl_cork_flush(stream->loop)
               : 0;
}

/* To the kernel at once; the rest is queued. */
static int
stream_send(hl_transport *stream, hl_outgoing *piece)
{
    ssize_t sent =
        hl_socket_send(hl_transport_descriptor(stream), piece->data, piece->length);
    if (sent < 0 && sent != -EAGAIN) {
        hl_outgoing_close(piece);
        return hl_transport_fail_errno(stream, (int)sent, WRITE_ERROR);
    }
    size_t start = sent > 0 ? (size_t)sent : 0;
    if (start == piece->length) {
        return 0;
    }
    const char *data;
    PyObject *owner = hl_outgoing_keep(piece, start, &data);
    if (owner == NULL ||
        hl_transport_queue(stream, owner, data, piece->length - start) < 0) {
        return -1;
    }
    hl_outgoing_close(piece);
    return hl_transport_wait_for_room(stream);
}

/* The piece takes its way; nothing is refused any more. */
static int
stream_put(hl_transport *stream, hl_outgoing *piece)
{
    bool is_queued = hl_transport_is_queued(stream);
    if (!is_queued && !(hl_cork_is_possible(stream->loop) &&
                        (piece->length < CORK_LIMIT || stream->loop->corked != NULL))) {
        return stream_send(stream, piece);
    }
    int error =
        is_queued ? stream_queue_piece(stream, piece) : stream_hold_back(stream, piece);
    hl_outgoing_close(piece);
    if (error < 0) {
        return -1;
    }
    return is_queued ? hl_flow_maybe_pause(stream) : stream_flush_full(stream);
}

static int
check_open_lock_held(const hl_transport *stream, const char *eof, const char *sendfile)
{
    if (stream->is_eof_written) {
        PyErr_SetString(PyExc_RuntimeError, eof);
        return -1;
    }
    if (stream->rare != NULL && stream->rare->empty_waiter != NULL) {
        PyErr_SetString(PyExc_RuntimeError, sendfile);
        return -1;
    }
    return 0;
}

/* Whether writing is allowed at all.  Returns 0, or -1 with RuntimeError. */
static int
stream_check_open(hl_transport *stream, const char *eof, const char *sendfile)
{
    int error;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)stream);
    error = check_open_lock_held(stream, eof, sendfile);
    Py_END_CRITICAL_SECTION();
    return error;
}

/* asyncio's own words for data of a wrong type, which differ between versions. */
static PyObject *
stream_refuse_type(PyObject *self, PyObject *data)
{
    PyObject *result = PyObject_CallMethod(
        hl_state_of(self)->transports, "refuse_write", "OO", self, data);
    Py_XDECREF(result);
    return NULL;
}

/* What is held back for others leaves before what is written now; so does our own if another
 * thread, without a GIL, has queued something since.  Runs user code. */
static int
stream_flush_before(hl_transport *stream)
{
    if (hl_cork_flush_others(stream->loop, (PyObject *)stream) < 0) {
        return -1;
    }
    return hl_transport_is_queued(stream)
               ? hl_cork_flush_own(stream->loop, (PyObject *)stream)
               : 0;
}

static int
stream_write_piece(hl_transport *stream, hl_outgoing *piece)
{
    if (piece->length == 0) {
        return 0;
    }
    if (stream->conn_lost > 0 || stream->is_lost) {
        return hl_transport_note_lost_write(stream);
    }
    if (stream_flush_before(stream) < 0) {
        return -1;
    }
    if (stream->conn_lost > 0 || stream->is_lost) {
        return hl_transport_note_lost_write(
            stream); /* the other's protocol has ended us */
    }
    return stream_put(stream, piece);
}

/* A memoryview that is not contiguous cannot be sent by asyncio either; that is raised. */
static int
stream_refuse_scattered(hl_transport *stream)
{
    return stream->conn_lost > 0 || stream->is_lost
               ? -1
               : hl_transport_fail(stream, WRITE_ERROR);
}

PyObject *
hl_stream_write(PyObject *self, PyObject *data)
{
    hl_transport *stream = hl_transport_of(self);
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        return stream_refuse_type(self, data);
    }
    if (stream_check_open(stream,
                          "Cannot call write() after write_eof()",
                          "unable to write; sendfile is in progress") < 0) {
        return NULL;
    }
    hl_outgoing piece;
    if (hl_outgoing_open(&piece, data) < 0) {
        return hl_transport_do(self, stream_refuse_scattered);
    }
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = stream_write_piece(stream, &piece);
    Py_END_CRITICAL_SECTION();
    hl_outgoing_close(&piece);
    if (error < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- writelines ---------------------------------------------------------------------------------------- */

/* A memoryview of a piece; nothing of one that is false, such as an empty one, or None, as
 * asyncio's latest.  New, or NULL. */
static PyObject *
view_of(PyObject *item)
{
    int is_true = PyObject_IsTrue(item);
    if (is_true <= 0) {
        return is_true < 0 ? NULL : PyBytes_FromStringAndSize(NULL, 0);
    }
    return PyMemoryView_FromObject(item);
}

/* Bytes stay, all else becomes a memoryview of it: refuses what is no data before anything
 * is written.  New, or NULL. */
static PyObject *
views_of(PyObject *list)
{
    PyObject *views = PySequence_List(list);
    for (Py_ssize_t i = 0; views != NULL && i < PyList_GET_SIZE(views); i++) {
        PyObject *item = PyList_GET_ITEM(views, i);
        if (PyBytes_CheckExact(item)) {
            continue;
        }
        PyObject *view = view_of(item);
        if (view == NULL || PyList_SetItem(views, i, view) < 0) {
            Py_CLEAR(views);
        }
    }
    return views;
}

/* Returns 0, or -1 with BufferError if a piece is a memoryview that cannot be sent. */
static int
check_pieces(PyObject *pieces)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(pieces); i++) {
        hl_outgoing piece;
        if (hl_outgoing_open(&piece, PyList_GET_ITEM(pieces, i)) < 0) {
            return -1;
        }
        hl_outgoing_close(&piece);
    }
    return 0;
}

/* Keep all pieces, in one of the two ways, before user code runs that may write more. */
static int
stream_keep_pieces(hl_transport *stream, PyObject *pieces,
                   int (*keep)(hl_transport *, const hl_outgoing *))
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(pieces); i++) {
        hl_outgoing piece;
        if (hl_outgoing_open(&piece, PyList_GET_ITEM(pieces, i)) < 0) {
            return -1;
        }
        int error = piece.length > 0 ? keep(stream, &piece) : 0;
        hl_outgoing_close(&piece);
        if (error < 0) {
            return -1;
        }
    }
    return 0;
}

/* Where nothing is held back, what is queued is sent at once with what is added, as by
 * asyncio. */
static int
stream_send_pieces(hl_transport *stream, PyObject *pieces)
{
    if (stream_keep_pieces(stream, pieces, stream_queue_piece) < 0 ||
        stream_write_queued(stream) < 0) {
        return -1;
    }
    return stream->conn_lost == 0 && !stream->is_lost && hl_transport_is_queued(stream)
               ? hl_transport_wait_for_room(stream)
               : 0;
}

/* `pieces` is a list of our own. */
static int
stream_write_pieces(hl_transport *stream, PyObject *pieces)
{
    if (stream_flush_before(stream) < 0) {
        return -1;
    }
    if (stream->conn_lost > 0 || stream->is_lost) {
        return 0; /* the other's protocol, or a piece, has ended us */
    }
    if (check_pieces(pieces) < 0) {
        return hl_transport_fail(stream, WRITE_ERROR);
    }
    if (hl_transport_is_queued(stream) || !hl_cork_is_possible(stream->loop)) {
        return stream_send_pieces(stream, pieces);
    }
    return stream_keep_pieces(stream, pieces, stream_hold_back) < 0
               ? -1
               : stream_flush_full(stream);
}

static int
stream_write_list(hl_transport *stream, PyObject *list)
{
    if (stream->conn_lost > 0 || stream->is_lost) {
        return hl_transport_note_lost_write(stream);
    }
    PyObject *views = views_of(list);
    if (views == NULL) {
        return -1;
    }
    int error = stream->is_lost ? 0 : stream_write_pieces(stream, views);
    Py_DECREF(views);
    return error;
}

PyObject *
hl_stream_writelines(PyObject *self, PyObject *list)
{
    hl_transport *stream = hl_transport_of(self);
    if (stream_check_open(stream,
                          "Cannot call writelines() after write_eof()",
                          "unable to writelines; sendfile is in progress") < 0) {
        return NULL;
    }
    int is_true = PyObject_IsTrue(list);
    if (is_true <= 0) {
        return is_true < 0 ? NULL : Py_NewRef(Py_None);
    }
    int error;
    Py_BEGIN_CRITICAL_SECTION(self);
    error = stream_write_list(stream, list);
    Py_END_CRITICAL_SECTION();
    if (error < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- the end of our direction ------------------------------------------------------------------------- */

/* Nothing follows what was sent.  Returns 0, or -1 with OSError. */
static int
stream_shut(hl_transport *stream)
{
    int error = hl_socket_shutdown_write(hl_transport_descriptor(stream));
    return error < 0 ? hl_error_set(error) : 0;
}

/* hl_run of a write_eof() in another thread. */
static int
run_shut(hl_loop *loop, PyObject *owner, PyObject *unused)
{
    (void)unused;
    hl_transport *stream = hl_transport_of(owner);
    int error = 0;
    Py_BEGIN_CRITICAL_SECTION(owner);
    if (stream->conn_lost == 0 && !stream->is_lost && !hl_transport_is_queued(stream)) {
        error = stream_shut(stream);
    }
    Py_END_CRITICAL_SECTION();
    return error < 0 ? hl_handle_report_method(
                           loop, owner, loop->state->str._write_ready, NULL)
                     : 0;
}

static int
write_eof_lock_held(hl_transport *stream)
{
    if (stream->is_closing || stream->is_eof_written) {
        return 0;
    }
    if (hl_cork_flush_own(stream->loop, (PyObject *)stream) < 0) {
        return -1;
    }
    stream->is_eof_written = true;
    if (hl_transport_is_queued(stream) || stream->is_closing) {
        return 0;
    }
    return hl_cork_is_foreign(stream->loop)
               ? hl_loop_push(
                     stream->loop, run_shut, Py_NewRef((PyObject *)stream), NULL)
               : stream_shut(stream);
}

PyObject *
hl_stream_write_eof(PyObject *self, PyObject *unused)
{
    return hl_transport_do(self, write_eof_lock_held);
}

/* -- write events ---------------------------------------------------------------------------------------- */

static int
stream_finish_waiter(hl_transport *stream, PyObject *exception)
{
    PyObject *waiter = stream->rare->empty_waiter;
    if (waiter == NULL) {
        return 0;
    }
    Py_INCREF(waiter); /* held */
    PyObject *result =
        exception != NULL ? PyObject_CallMethod(waiter, "set_exception", "O", exception)
                          : PyObject_CallMethod(waiter, "set_result", "O", Py_None);
    Py_DECREF(waiter);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* The kernel refused for good. */
static int
stream_write_failed(hl_transport *stream, int error)
{
    hl_error_set(error);
    PyObject *exception = PyErr_GetRaisedException();
    PyErr_SetRaisedException(Py_NewRef(exception));
    hl_transport_drop_queue(stream);
    int result = hl_transport_unwatch(stream, HL_POLL_WRITE);
    if (result == 0) {
        result = hl_transport_fail(stream, WRITE_ERROR);
    }
    if (result == 0) {
        result = stream_finish_waiter(stream, exception);
    }
    Py_DECREF(exception);
    return result;
}

/* Everything is sent: what was put off until now. */
static int
stream_drained(hl_transport *stream)
{
    hl_transport_drop_queue(stream); /* its storage */
    if (hl_transport_unwatch(stream, HL_POLL_WRITE) < 0 ||
        stream_finish_waiter(stream, NULL) < 0) {
        return -1;
    }
    if (stream->is_closing) {
        if (stream->conn_lost > 0) {
            return 0;
        }
        stream->conn_lost++;
        return hl_transport_lose(stream, Py_None);
    }
    if (!stream->is_eof_written) {
        return 0;
    }
    return stream_shut(stream);
}

static int
stream_write_queued(hl_transport *stream)
{
    if (!hl_transport_is_queued(stream)) {
        return hl_transport_unwatch(stream, HL_POLL_WRITE);
    }
    ssize_t sent =
        hl_socket_send_spans(hl_transport_descriptor(stream), &stream->rare->queue);
    if (sent == -EAGAIN) {
        return 0;
    }
    if (sent < 0) {
        return stream_write_failed(stream, (int)sent);
    }
    hl_transport_sent(stream->loop, &stream->rare->queue, (size_t)sent);
    /* resume_writing() may write more, which must not be held back: a transport that is
     * closing would be lost before it. */
    if (hl_flow_maybe_resume(stream) < 0 ||
        (!stream->is_given_up &&
         hl_cork_flush_own(stream->loop, (PyObject *)stream) < 0)) {
        return -1;
    }
    if (stream->is_lost || stream->conn_lost > 0 || hl_transport_is_queued(stream)) {
        return 0;
    }
    return stream_drained(stream);
}

static int
stream_write_open(hl_transport *stream)
{
    return stream->conn_lost == 0 && !stream->is_lost ? stream_write_queued(stream) : 0;
}

int
hl_stream_on_writable(hl_loop *loop, PyObject *self, PyObject *unused)
{
    hl_transport *stream = hl_transport_of(self);
    if (hl_transport_is_write_stale(loop, stream)) {
        return 0;
    }
    return hl_transport_run(loop,
                            stream,
                            &stream->rare->write_context,
                            stream_write_open,
                            loop->state->str._write_ready);
}

PyObject *
hl_stream_write_ready(PyObject *self, PyObject *unused)
{
    return hl_transport_do(self, stream_write_open);
}
