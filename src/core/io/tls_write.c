/* Writing through TLS: see tls.h.
 *
 * Data is encrypted and handed to the transport in the call that writes it, which holds it
 * back until the entry of the ready queue ends, as it does with other bytes.  What cannot be
 * encrypted yet goes to asyncio's backlog, and from then on all goes there. */
#include "io/stream.h"
#include "io/tls.h"
#include "io/tls_calls.h"

/* Hand what is encrypted to the transport; returns 0 or -1. */
static int
tls_send(hl_tls *tls)
{
    const hl_state *state = tls->state;
    PyObject *data = hl_tls_read_outgoing(tls);
    if (data == NULL) {
        return -1;
    }
    tls->is_drained = true;
    int error = 0;
    if (PyBytes_GET_SIZE(data) > 0) {
        PyObject *transport = tls->py._transport;
        PyObject *result;
        if (transport != NULL && Py_TYPE(transport) == state->StreamType) {
            Py_INCREF(transport); /* held */
            result = hl_stream_write(transport, data);
            Py_DECREF(transport);
        }
        else {
            result = hl_tls_call_held(transport, state->str.write, data);
        }
        error = result != NULL ? 0 : -1;
        Py_XDECREF(result);
    }
    hl_spare_give(&tls->loop->spare, data);
    return error;
}

bool
hl_tls_is_positive(PyObject *mark)
{
    return mark != NULL && (PyLong_CheckExact(mark) || PyFloat_CheckExact(mark)) &&
           PyObject_IsTrue(mark) == 1;
}

/* Whether nothing can wait in `outgoing`.  What ends a connection puts something there, too. */
static bool
is_drained(const hl_tls *tls)
{
    return tls->is_drained && tls->py._state == tls->state->tls_wrapped;
}

/* asyncio's _control_app_writing() does nothing while nothing is kept back and the program was
 * not paused. */
int
hl_tls_process_outgoing(hl_tls *tls)
{
    if (!hl_tls_flag(tls, _ssl_writing_paused)) {
        if (!is_drained(tls) && tls_send(tls) < 0) {
            return -1;
        }
        if (__atomic_load_n(&tls->write_buffer_size, __ATOMIC_RELAXED) == 0 &&
            !hl_tls_flag(tls, _app_writing_paused) &&
            hl_tls_is_positive(tls->py._outgoing_high_water)) {
            return 0;
        }
    }
    return hl_tls_call(tls, "_control_app_writing");
}

bool
hl_tls_has_backlog(const hl_tls *tls)
{
    return tls->write_backlog != NULL && PyObject_Size(tls->write_backlog) != 0;
}

bool
hl_tls_can_write(const hl_tls *tls)
{
    return tls->raw != NULL && tls->py._state == tls->state->tls_wrapped &&
           !hl_tls_has_backlog(tls);
}

/* The same for what is left of an object of which OpenSSL took only a part. */
static Py_ssize_t
tls_encrypt_rest(hl_tls *tls, const char *data, size_t length)
{
    PyObject *view =
        PyMemoryView_FromMemory((char *)data, (Py_ssize_t)length, PyBUF_READ);
    if (view == NULL) {
        return HL_TLS_FAILED;
    }
    Py_ssize_t count = hl_tls_encrypt(tls, view);
    Py_DECREF(view);
    return count;
}

/* Keep a copy of data for asyncio's _do_write(). */
static int
tls_keep(hl_tls *tls, const char *data, Py_ssize_t length)
{
    PyObject *backlog = PyObject_GetAttrString((PyObject *)tls, "_write_backlog");
    PyObject *copy = backlog != NULL ? PyBytes_FromStringAndSize(data, length) : NULL;
    PyObject *result =
        copy != NULL ? PyObject_CallMethod(backlog, "append", "O", copy) : NULL;
    if (result != NULL) {
        __atomic_add_fetch(&tls->write_buffer_size, length, __ATOMIC_RELAXED);
    }
    Py_XDECREF(result);
    Py_XDECREF(copy);
    Py_XDECREF(backlog);
    return result != NULL ? 0 : -1;
}

/* The same of the bytes of an object, but the first `done`. */
static int
tls_keep_object(hl_tls *tls, PyObject *object, Py_ssize_t done)
{
    Py_buffer view;
    if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    int error = tls_keep(tls, (char *)view.buf + done, view.len - done);
    PyBuffer_Release(&view);
    return error;
}

/* What was not encrypted stays in the backlog, as on asyncio, where all of it is there from
 * the beginning: the bytes of count objects but the first `done`.  An exception that is raised
 * stays raised. */
static void
tls_keep_refused(hl_tls *tls, PyObject *const *pieces, Py_ssize_t count,
                 Py_ssize_t done)
{
    PyObject *exception = PyErr_GetRaisedException();
    for (Py_ssize_t i = 0; i < count; i++, done = 0) {
        if (tls_keep_object(tls, pieces[i], done) < 0) {
            PyErr_Clear(); /* BufferError or MemoryError; the connection ends by the first */
        }
    }
    PyErr_SetRaisedException(exception);
}

/* Encrypt a whole object, or as much of it as goes now; *total is how much that was. */
static int
tls_put(hl_tls *tls, PyObject *object, Py_ssize_t *total)
{
    Py_buffer view;
    *total = 0;
    if (hl_tls_has_backlog(tls)) {
        return tls_keep_object(tls, object, 0);
    }
    Py_ssize_t done = hl_tls_encrypt(tls, object);
    if (done == HL_TLS_FAILED ||
        (PyBytes_CheckExact(object) && done == PyBytes_GET_SIZE(object))) {
        return done < 0 ? -1 : 0;
    }
    if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    *total = done > 0 ? done : 0;
    while (done > 0 && *total < view.len) {
        done = tls_encrypt_rest(
            tls, (char *)view.buf + *total, (size_t)(view.len - *total));
        *total += done > 0 ? done : 0;
    }
    int error = done == HL_TLS_FAILED ? -1 : 0;
    if (error == 0 && *total < view.len) {
        error = tls_keep(tls, (char *)view.buf + *total, view.len - *total);
    }
    PyBuffer_Release(&view);
    return error;
}

int
hl_tls_write(hl_tls *tls, PyObject *const *pieces, Py_ssize_t count)
{
    int error = 0;
    Py_ssize_t done;
    for (Py_ssize_t i = 0; error == 0 && i < count; i++) {
        error = tls_put(tls, pieces[i], &done);
        if (error < 0) {
            tls_keep_refused(tls, pieces + i, count - i, done);
        }
    }
    if (error == 0) {
        error = hl_tls_process_outgoing(tls);
    }
    return error < 0 ? hl_tls_fail(tls) : 0;
}
