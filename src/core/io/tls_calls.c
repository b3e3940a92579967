/* The ssl module's functions: see tls_calls.h. */
#include "io/tls_calls.h"

#include "py/window.h"
#include "sched/cork.h"

/* Whether that is still so: a callback of the ssl module runs user code. */
static int
tls_check_raw(const hl_tls *tls)
{
    if (tls->raw == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the SSL object was exchanged");
        return -1;
    }
    return 0;
}

/* function(object, argument) with the object held. */
static PyObject *
apply(PyCFunction function, PyObject *object, PyObject *argument)
{
    Py_INCREF(object);
    PyObject *result = function(object, argument);
    Py_DECREF(object);
    return result;
}

PyObject *
hl_tls_read_outgoing(hl_tls *tls)
{
    typedef PyObject *(*fast_function)(PyObject *, PyObject *const *, Py_ssize_t);
    if (tls_check_raw(tls) < 0) {
        return NULL;
    }
    fast_function read = (fast_function)(void (*)(void))tls->state->bio_read;
    PyObject *bio = Py_NewRef(tls->outgoing); /* held */
    PyObject *data = read(bio, NULL, 0);
    Py_DECREF(bio);
    return data;
}

static PyObject *
make_window_arguments(hl_state *state)
{
    PyObject *window = hl_window_new(state);
    return window != NULL ? Py_BuildValue("(iN)", (int)HL_READ_BUFFER_SIZE, window)
                          : NULL;
}

/* The arguments of `read` with a window on memory that is shown next: the loop's for its own
 * thread.  New, or NULL. */
static PyObject *
tls_window_arguments(hl_loop *loop)
{
    if (!hl_cork_is_accessible(loop)) {
        return make_window_arguments(loop->state);
    }
    if (loop->window_arguments == NULL) {
        loop->window_arguments = make_window_arguments(loop->state);
    }
    return Py_XNewRef(loop->window_arguments);
}

int
hl_tls_write_incoming(hl_tls *tls, const char *data, size_t length)
{
    PyObject *arguments = tls_window_arguments(tls->loop);
    if (arguments == NULL) {
        return -1;
    }
    PyObject *window = PyTuple_GET_ITEM(arguments, 1);
    hl_window_open(window, (char *)data, length);
    PyObject *result = apply(tls->state->bio_write, tls->incoming, window);
    hl_window_close(window);
    Py_DECREF(arguments);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

Py_ssize_t
hl_tls_encrypt(hl_tls *tls, PyObject *data)
{
    if (tls_check_raw(tls) < 0) {
        return HL_TLS_FAILED;
    }
    tls->is_drained = false;
    PyObject *number = apply(tls->state->ssl_write, tls->raw, data);
    if (number == NULL) {
        if (!PyErr_ExceptionMatches(tls->state->ssl_again_errors)) {
            return HL_TLS_FAILED;
        }
        PyErr_Clear(); /* SSLWantReadError: in the middle of a renegotiation */
        return HL_TLS_AGAIN;
    }
    Py_ssize_t count = PyLong_AsSsize_t(number);
    Py_DECREF(number);
    return count;
}

PyObject *
hl_tls_pending(const hl_tls *tls)
{
    PyObject *incoming = Py_NewRef(tls->incoming != NULL ? tls->incoming : Py_None);
    PyObject *pending = PyObject_GetAttr(incoming, tls->state->str.pending);
    Py_DECREF(incoming);
    return pending;
}

/* OpenSSL wants more input: all that is complete was read, unless input is left after all. */
static Py_ssize_t
tls_on_want_read(hl_tls *tls)
{
    PyErr_Clear(); /* SSLWantReadError or SSLSyscallError, as the caller has checked */
    PyObject *pending = hl_tls_pending(tls);
    if (pending == NULL) {
        return HL_TLS_FAILED;
    }
    int is_left = PyObject_IsTrue(pending);
    Py_DECREF(pending);
    if (is_left == 0) {
        hl_records_take_all(&tls->records);
    }
    return is_left < 0 ? HL_TLS_FAILED : HL_TLS_AGAIN;
}

Py_ssize_t
hl_tls_decrypt(hl_tls *tls, char *target, size_t room)
{
    const hl_state *state = tls->state;
    PyObject *arguments = tls_window_arguments(tls->loop);
    if (arguments == NULL || tls_check_raw(tls) < 0) {
        Py_XDECREF(arguments);
        return HL_TLS_FAILED;
    }
    PyObject *window = PyTuple_GET_ITEM(arguments, 1);
    tls->is_drained = false;
    hl_window_open(window, target, room);
    PyObject *number = apply(state->ssl_read, tls->raw, arguments);
    hl_window_close(window);
    Py_DECREF(arguments);
    if (number == NULL) {
        return PyErr_ExceptionMatches(state->ssl_again_errors) ? tls_on_want_read(tls)
                                                               : HL_TLS_FAILED;
    }
    Py_ssize_t count = PyLong_AsSsize_t(number);
    Py_DECREF(number);
    /* With room left the record is used up; else there may be more of it. */
    if (count > 0 && (size_t)count < room) {
        hl_records_take_one(&tls->records);
    }
    return count;
}

PyObject *
hl_tls_call_held(PyObject *object, PyObject *name, PyObject *argument)
{
    object = Py_NewRef(object != NULL ? object : Py_None);
    PyObject *stack[] = {object, argument};
    PyObject *result = PyObject_VectorcallMethod(name, stack, 2, NULL);
    Py_DECREF(object);
    return result;
}
