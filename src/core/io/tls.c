/* Reading and writing through TLS: see tls.h. */
#include "io/tls.h"

#include "io/tls_calls.h"
#include "py/args.h"
#include "py/error.h"
#include "sched/cork.h"
#include "task/future_callbacks.h"

/* The least ciphertext that is decrypted into a bytes object of its own size.  Less goes
 * through the loop's buffer and is copied, which is cheaper than to shrink the object. */
enum { COPY_LIMIT = 4 * 1024 };

/* -- calling the inherited half -------------------------------------------------------------- */

int
hl_tls_call(hl_tls *tls, const char *name)
{
    PyObject *result = PyObject_CallMethod((PyObject *)tls, name, NULL);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

int
hl_tls_fail(hl_tls *tls)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        return -1;
    }
    PyObject *exception = PyErr_GetRaisedException();
    PyObject *result = hl_call_handling(exception,
                                        (PyObject *)tls,
                                        "_fatal_error",
                                        "(Os)",
                                        exception,
                                        "Fatal error on SSL protocol");
    Py_DECREF(exception);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* The peer has said that it sends no more. */
static int
tls_on_close_notify(hl_tls *tls)
{
    return hl_tls_call(tls, "_call_eof_received") < 0
               ? -1
               : hl_tls_call(tls, "_start_shutdown");
}

/* -- decrypting -------------------------------------------------------------------------------- */

static inline bool
has_unread(const hl_tls *tls)
{
    return tls->records.count > 0 || tls->records.is_lost;
}

/* Plain text that was collected: in `bytes`, if that is there, else in the loop's buffer. */
typedef struct {
    PyObject *bytes; /* owned; a bytes object that nobody else has, or NULL */
    char *data;      /* borrowed from one of the two */
    size_t length;
    size_t room; /* bytes of data altogether */
} plain_text;

/* Have `bytes` with so much room, and in it what was collected.  Returns 0 or -1. */
static int
plain_resize(plain_text *plain, size_t room)
{
    if (plain->bytes != NULL) {
        /* The size of a spare one says nothing. */
        hl_spare_cut(plain->bytes, (Py_ssize_t)plain->length);
        if (_PyBytes_Resize(&plain->bytes, (Py_ssize_t)room) < 0) {
            return -1;
        }
    }
    else {
        plain->bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)room);
        if (plain->bytes == NULL) {
            return -1;
        }
        memcpy(PyBytes_AS_STRING(plain->bytes), plain->data, plain->length);
    }
    plain->data = PyBytes_AS_STRING(plain->bytes);
    plain->room = room;
    return 0;
}

/* Begin with what fits for what is there.  Returns 0 or -1. */
static int
plain_begin(plain_text *plain, hl_tls *tls)
{
    plain->bytes = NULL;
    plain->length = 0;
    /* Only the loop's thread may use its buffer: the program's own call in another one gets
     * what fits the largest record. */
    size_t expected = tls->records.size;
    if (!hl_cork_is_accessible(tls->loop)) {
        expected += HL_RECORD_MAX_PLAIN;
    }
    if (expected < COPY_LIMIT) {
        plain->data = hl_loop_read_buffer(tls->loop);
        plain->room = HL_READ_BUFFER_SIZE;
        return plain->data != NULL ? 0 : -1;
    }
    Py_ssize_t room;
    plain->bytes = hl_spare_reserve(&tls->loop->spare, (Py_ssize_t)expected, &room);
    if (plain->bytes == NULL) {
        return -1;
    }
    plain->data = PyBytes_AS_STRING(plain->bytes);
    plain->room = (size_t)room;
    return 0;
}

/* Everything as one bytes object; *capacity is what that has memory for.  Returns new, or
 * NULL. */
static PyObject *
plain_take(plain_text *plain, hl_loop *loop, Py_ssize_t *capacity)
{
    Py_ssize_t length = (Py_ssize_t)plain->length, room = (Py_ssize_t)plain->room;
    *capacity = length;
    if (plain->bytes == NULL) {
        return hl_spare_take(&loop->spare, plain->data, length);
    }
    PyObject *bytes = plain->bytes;
    plain->bytes = NULL;
    if (hl_spare_is_fitting(room, length)) {
        *capacity = room;
        hl_spare_cut(bytes,
                     length); /* cheaper than to give back some 17 bytes a record */
    }
    else {
        _PyBytes_Resize(&bytes, length); /* NULL on failure */
    }
    return bytes;
}

/* Decrypt all that is complete.  Returns HL_TLS_AGAIN, 0 for close_notify, or HL_TLS_FAILED. */
static Py_ssize_t
tls_collect(hl_tls *tls, plain_text *plain)
{
    while (has_unread(tls)) {
        /* Room is short only where the records were not counted. */
        if (plain->length == plain->room &&
            plain_resize(plain, 2 * plain->room + HL_RECORD_MAX_PLAIN) < 0) {
            return HL_TLS_FAILED;
        }
        Py_ssize_t count = hl_tls_decrypt(
            tls, plain->data + plain->length, plain->room - plain->length);
        if (count <= 0) {
            return count;
        }
        plain->length += (size_t)count;
    }
    return HL_TLS_AGAIN;
}

/* -- the program's protocol --------------------------------------------------------------------- */

/* Call protocol.data_received(), or feed another TLS inside this one. */
static int
tls_deliver(hl_tls *tls, plain_text *plain)
{
    PyObject *protocol = tls->py._app_protocol;
    if (protocol != NULL && hl_tls_check(tls->state, protocol)) {
        Py_INCREF(protocol); /* held */
        int error = hl_tls_feed((hl_tls *)protocol, plain->data, plain->length);
        Py_DECREF(protocol);
        return error;
    }
    Py_ssize_t capacity;
    PyObject *data = plain_take(plain, tls->loop, &capacity);
    if (data == NULL) {
        return -1;
    }
    PyObject *result = hl_tls_call_held(protocol, tls->state->str.data_received, data);
    hl_spare_give_back(&tls->loop->spare, data, capacity);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* For a Protocol: all that is complete in one call. */
static int
tls_read_copied(hl_tls *tls)
{
    plain_text plain;
    int error = plain_begin(&plain, tls);
    Py_ssize_t end = error == 0 ? tls_collect(tls, &plain) : HL_TLS_FAILED;
    if (end == HL_TLS_FAILED) {
        error = -1;
    }
    else if (plain.length > 0) {
        error = tls_deliver(tls, &plain);
    }
    Py_XDECREF(plain.bytes);
    return error == 0 && end == 0 ? tls_on_close_notify(tls) : error;
}

/* self._app_protocol_get_buffer(pending) into view.  Returns 0 or -1. */
static int
tls_get_buffer(hl_tls *tls, Py_buffer *view)
{
    PyObject *pending = hl_tls_pending(tls);
    if (pending == NULL) {
        return -1;
    }
    PyObject *method = tls->py._app_protocol_get_buffer;
    PyObject *buffer = NULL;
    if (method != NULL) {
        Py_INCREF(method);
        buffer = PyObject_CallOneArg(method, pending);
        Py_DECREF(method);
    }
    Py_DECREF(pending);
    int error = buffer != NULL && PyObject_Size(buffer) >= 0
                    ? hl_args_get_writable(buffer, "read() argument 2", view)
                    : -1;
    Py_XDECREF(buffer);
    return error;
}

/* Fill the program's buffer.  *filled is how far; returns as tls_collect(). */
static Py_ssize_t
tls_fill(hl_tls *tls, const Py_buffer *view, Py_ssize_t *filled)
{
    if (view->len == 0) {
        return 0; /* as the ssl module answers for an empty buffer */
    }
    while (has_unread(tls)) {
        Py_ssize_t count = hl_tls_decrypt(
            tls, (char *)view->buf + *filled, (size_t)(view->len - *filled));
        if (count <= 0) {
            return count;
        }
        *filled += count;
        if (*filled == view->len) {
            return HL_TLS_AGAIN;
        }
    }
    return HL_TLS_AGAIN;
}

/* The buffer is full: the rest comes in another turn. */
static int
tls_read_soon(hl_tls *tls)
{
    PyObject *read = PyObject_GetAttr((PyObject *)tls, tls->state->str._do_read);
    int error = read != NULL
                    ? hl_call_soon(tls->state, (PyObject *)tls->loop, read, NULL, NULL)
                    : -1;
    Py_XDECREF(read);
    return error;
}

/* self._app_protocol_buffer_updated(count) */
static int
tls_tell_filled(hl_tls *tls, Py_ssize_t count)
{
    PyObject *method = tls->py._app_protocol_buffer_updated;
    method = Py_NewRef(method != NULL ? method : Py_None);
    PyObject *number = PyLong_FromSsize_t(count);
    PyObject *result = number != NULL ? PyObject_CallOneArg(method, number) : NULL;
    Py_XDECREF(number);
    Py_XDECREF(result);
    Py_DECREF(method);
    return result != NULL ? 0 : -1;
}

/* For a BufferedProtocol. */
static int
tls_read_buffered(hl_tls *tls)
{
    Py_buffer view;
    if (tls_get_buffer(tls, &view) < 0) {
        return -1;
    }
    Py_ssize_t filled = 0;
    Py_ssize_t end = tls_fill(tls, &view, &filled);
    bool is_full = filled > 0 && filled == view.len;
    PyBuffer_Release(&view);
    if (end == HL_TLS_FAILED || (is_full && tls_read_soon(tls) < 0) ||
        (filled > 0 && tls_tell_filled(tls, filled) < 0)) {
        return -1;
    }
    return end == 0 ? tls_on_close_notify(tls) : 0;
}

static int
tls_read_app(hl_tls *tls)
{
    PyObject *protocol = tls->py._app_protocol;
    bool is_filled_by_program =
        hl_tls_flag(tls, _app_protocol_is_buffer) &&
        (protocol == NULL || !hl_tls_check(tls->state, protocol));
    return is_filled_by_program ? tls_read_buffered(tls) : tls_read_copied(tls);
}

/* The body of _do_read(), without what it does about exceptions. */
static int
tls_read_unguarded(hl_tls *tls)
{
    bool is_paused = hl_tls_flag(tls, _app_reading_paused);
    if (!is_paused) {
        if (tls_read_app(tls) < 0) {
            return -1;
        }
        if (hl_tls_has_backlog(tls) ? hl_tls_call(tls, "_do_write") < 0
                                    : hl_tls_process_outgoing(tls) < 0) {
            return -1;
        }
    }
    if (!is_paused && !hl_tls_flag(tls, _ssl_reading_paused) && !has_unread(tls) &&
        hl_tls_is_positive(tls->py._incoming_high_water)) {
        return 0; /* nothing waits in front of the program */
    }
    return hl_tls_call(tls, "_control_ssl_reading");
}

int
hl_tls_read(hl_tls *tls)
{
    const hl_state *state = tls->state;
    if (tls->py._state != state->tls_wrapped && tls->py._state != state->tls_flushing) {
        return 0;
    }
    return tls_read_unguarded(tls) < 0 ? hl_tls_fail(tls) : 0;
}

/* -- ciphertext --------------------------------------------------------------------------------- */

/* Write ciphertext into `incoming`, which copies it. */
static int
tls_take(hl_tls *tls, const char *data, size_t length)
{
    hl_records_follow(&tls->records, data, length);
    if (tls->raw != NULL) {
        return hl_tls_write_incoming(tls, data, length);
    }
    PyObject *bytes = PyBytes_FromStringAndSize(data, (Py_ssize_t)length);
    PyObject *result =
        bytes != NULL ? hl_tls_call_held(tls->incoming, tls->state->str.write, bytes)
                      : NULL;
    Py_XDECREF(bytes);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

static int
tls_feed_lock_held(hl_tls *tls, const char *data, size_t length)
{
    const hl_state *state = tls->state;
    if (tls_take(tls, data, length) < 0) {
        return -1;
    }
    PyObject *phase = tls->py._state;
    if (phase == state->tls_wrapped) {
        return tls->raw != NULL ? hl_tls_read(tls) : hl_tls_call(tls, "_do_read");
    }
    if (phase == state->tls_handshaking) {
        return hl_tls_call(tls, "_do_handshake");
    }
    if (phase == state->tls_flushing) {
        return hl_tls_call(tls, "_do_flush");
    }
    return phase == state->tls_shutting_down ? hl_tls_call(tls, "_do_shutdown") : 0;
}

int
hl_tls_feed(hl_tls *tls, const char *data, size_t length)
{
    int error;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)tls);
    error = tls_feed_lock_held(tls, data, length);
    Py_END_CRITICAL_SECTION();
    return error;
}
