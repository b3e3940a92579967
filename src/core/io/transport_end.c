/* The close machine of transports: see the states in transport.h. */
#include "io/transport.h"

#include "poll/socket.h"
#include "py/error.h"
#include "sched/cork.h"
#include "sched/handle.h"
#include "sched/watch.h"
#include "task/future_callbacks.h"

/* -- giving the descriptor up -------------------------------------------------------------- */

int
hl_transport_end_nonblocking(hl_transport *transport)
{
    if (!transport->was_blocking || transport->sock == NULL) {
        return 0;
    }
    transport->was_blocking = false;
    PyObject *result = PyObject_CallMethod(transport->loop->state->transports,
                                           "end_nonblocking",
                                           "Oi",
                                           transport->sock,
                                           transport->fd);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* Leave the loop's table and close the descriptor, by the socket if there is one. */
static void
transport_close_descriptor(hl_transport *transport)
{
    hl_loop *loop = transport->loop;
    int fd = transport->fd;
    if (fd >= 0) {
        hl_watch_forget_transport(loop, fd, (PyObject *)transport);
    }
    if (hl_transport_end_nonblocking(transport) < 0) {
        PyErr_WriteUnraisable((PyObject *)transport);
    }
    PyObject *sock = Py_XNewRef(transport->sock);
    if (!transport->kind->is_socket) {
        Py_CLEAR(transport->sock); /* that of a socket is shown on: see extra_info.c */
    }
    if (sock != NULL) {
        PyObject *result = PyObject_CallMethod(sock, "close", NULL);
        if (result == NULL) {
            PyErr_WriteUnraisable(sock);
        }
        Py_XDECREF(result);
        Py_DECREF(sock);
    }
    else if (fd >= 0) {
        (void)hl_socket_close(fd); /* what close(2) reports is about lost writes */
    }
}

static int
transport_detach(hl_transport *transport)
{
    PyObject *server = transport->server;
    if (server == NULL) {
        return 0;
    }
    transport->server = NULL;
    PyObject *stack[] = {server, (PyObject *)transport};
    PyObject *result = PyObject_VectorcallMethod(transport->loop->state->str._detach,
                                                 stack,
                                                 HL_SERVERS_KNOW_CLIENTS ? 2 : 1,
                                                 NULL);
    Py_XDECREF(result);
    Py_DECREF(server);
    return result != NULL ? 0 : -1;
}

void
hl_transport_finalize(PyObject *self)
{
    hl_transport *transport = hl_transport_of(self);
    if (transport->is_lost || transport->fd < 0) {
        return;
    }
    PyObject *exception = PyErr_GetRaisedException();
    /* One that has no protocol never was anybody's. */
    if (transport->protocol != NULL &&
        PyErr_ResourceWarning(self, 1, "unclosed transport %R", self) < 0 &&
        PyErr_ExceptionMatches(PyExc_Warning)) {
        PyErr_WriteUnraisable(self);
    }
    PyErr_Clear(); /* what the warning's own repr raised */
    hl_transport_unwatch_for_good(transport);
    transport->is_lost = true;
    transport_close_descriptor(transport);
    if (transport_detach(transport) < 0) {
        PyErr_WriteUnraisable(self);
    }
    PyErr_SetRaisedException(exception);
}

/* -- closing, failing, losing ---------------------------------------------------------------- */

int
hl_transport_lose_soon(hl_transport *transport, PyObject *exc)
{
    hl_loop *loop = transport->loop;
    PyObject *lose =
        PyObject_GetAttr((PyObject *)transport, loop->state->str._call_connection_lost);
    int error = lose != NULL ? hl_call_soon(loop->state,
                                            (PyObject *)loop,
                                            lose,
                                            exc != NULL ? exc : Py_None,
                                            hl_transport_context(transport))
                             : -1;
    Py_XDECREF(lose);
    return error;
}

/* close(), when nothing of the transport is held back any more. */
static int
transport_end_when_sent(hl_transport *transport)
{
    if (hl_transport_queued(transport) > 0) {
        return 0; /* the rest follows when it is sent */
    }
    transport->conn_lost++;
    return hl_transport_unwatch(transport, HL_POLL_WRITE) < 0
               ? -1
               : hl_transport_lose_soon(transport, NULL);
}

/* hl_run of a close() in another thread. */
static int
run_end_when_sent(hl_loop *loop, PyObject *owner, PyObject *unused)
{
    (void)loop;
    (void)unused;
    hl_transport *transport = hl_transport_of(owner);
    int error = 0;
    Py_BEGIN_CRITICAL_SECTION(owner);
    if (transport->conn_lost == 0 && !transport->is_lost) {
        error = transport_end_when_sent(transport);
    }
    Py_END_CRITICAL_SECTION();
    return error;
}

int
hl_transport_close(hl_transport *transport)
{
    if (transport->is_closing || transport->is_lost) {
        return 0;
    }
    if (hl_cork_flush_own(transport->loop, (PyObject *)transport) < 0) {
        return -1;
    }
    if (transport->is_closing) {
        return 0; /* the flush failed */
    }
    transport->is_closing = true;
    if (hl_transport_unwatch(transport, HL_POLL_READ) < 0) {
        return -1;
    }
    return hl_cork_is_foreign(transport->loop)
               ? hl_loop_push(transport->loop,
                              run_end_when_sent,
                              Py_NewRef((PyObject *)transport),
                              NULL)
               : transport_end_when_sent(transport);
}

int
hl_transport_force_close(hl_transport *transport, PyObject *exc)
{
    if (transport->conn_lost > 0 || transport->is_lost) {
        return 0;
    }
    /* What was written before reached the kernel on asyncio. */
    if (hl_cork_flush_own(transport->loop, (PyObject *)transport) < 0) {
        return -1;
    }
    if (transport->conn_lost > 0 || transport->is_lost) {
        return 0;
    }
    hl_transport_drop_queue(transport);
    transport->is_closing = true;
    transport->conn_lost++;
    int error = hl_transport_unwatch(transport, HL_POLL_WRITE);
    if (hl_transport_unwatch(transport, HL_POLL_READ) < 0) {
        error = -1;
    }
    return error < 0 ? -1 : hl_transport_lose_soon(transport, exc);
}

int
hl_transport_note_lost_write(hl_transport *transport)
{
    /* asyncio.constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES */
    enum { LOG_THRESHOLD = 5 };
    if (transport->conn_lost >= LOG_THRESHOLD) {
        PyObject *result =
            PyObject_CallMethod(hl_state_of((PyObject *)transport)->transports,
                                transport->kind->is_socket ? "warn_of_lost_write"
                                                           : "warn_of_lost_pipe_write",
                                NULL);
        if (result == NULL) {
            return -1;
        }
        Py_DECREF(result);
    }
    if (transport->conn_lost < UINT16_MAX) {
        transport->conn_lost++;
    }
    return 0;
}

int
hl_transport_report(hl_transport *transport, const char *function, const char *message,
                    PyObject *exception)
{
    PyObject *result = hl_call_handling(exception,
                                        transport->loop->state->transports,
                                        function,
                                        "(OsOO)",
                                        (PyObject *)transport->loop,
                                        message,
                                        exception,
                                        (PyObject *)transport);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

int
hl_transport_fail(hl_transport *transport, const char *message)
{
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
        PyErr_ExceptionMatches(PyExc_SystemExit)) {
        return -1;
    }
    PyObject *exception = PyErr_GetRaisedException();
    int error = 0;
    bool is_quiet = PyObject_TypeCheck(exception, (PyTypeObject *)PyExc_OSError) &&
                    !transport->is_given_up && !hl_loop_is_debug(transport->loop);
    if (!is_quiet && !transport->is_given_up) {
        error = hl_transport_report(transport, "transport_failed", message, exception);
    }
    if (error == 0 && !transport->is_given_up) {
        error = hl_transport_force_close(transport, exception);
    }
    Py_DECREF(exception);
    return error;
}

int
hl_transport_fail_errno(hl_transport *transport, int error, const char *message)
{
    hl_error_set(error);
    return hl_transport_fail(transport, message);
}

/* Somebody may ask for the addresses later on. */
static void
transport_keep_local(hl_transport *transport)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    if (!hl_address_is_known(transport->family) ||
        Py_REFCNT((PyObject *)transport) <= 1 ||
        hl_socket_name(hl_transport_descriptor(transport),
                       (struct sockaddr *)&address,
                       &length) < 0) {
        return;
    }
    hl_transport_rare *rare = hl_transport_need_rare(transport);
    if (rare != NULL && rare->local == NULL) {
        rare->local = hl_address_store((struct sockaddr *)&address, length);
    }
    PyErr_Clear(); /* MemoryError: it will be None then */
}

/* The loop is nobody's business any more.  Without a GIL another thread may be in the middle
 * of a call that works with it, so that the reference stays until the transport dies. */
static void
transport_forget_loop(hl_transport *transport)
{
    transport->is_given_up = true;
#if !HL_FREE_THREADED
    Py_CLEAR(transport->loop);
#endif
}

/* What asyncio does in `finally`: everything is given up, whatever connection_lost did. */
static int
transport_give_up(hl_transport *transport)
{
    PyObject *loop = Py_NewRef((PyObject *)transport->loop); /* held to the end */
    transport->is_lost = true; /* before another thread can get in */
    transport->is_closing =
        true; /* it is not, if _call_connection_lost() was called by hand */
    hl_transport_unwatch_for_good(transport);
    hl_transport_drop_queue(transport);
    transport_keep_local(transport);
    transport_close_descriptor(transport);
    PyObject *protocol = transport->protocol;
    transport->protocol = NULL;
    int error = transport_detach(transport);
    transport_forget_loop(transport);
    Py_XDECREF(protocol);
    Py_DECREF(loop);
    return error;
}

/* Whoever waits for the queue to become empty waits in vain. */
static int
transport_fail_waiter(hl_transport *transport)
{
    PyObject *waiter =
        transport->rare != NULL ? Py_XNewRef(transport->rare->empty_waiter) : NULL;
    if (waiter == NULL) {
        return 0;
    }
    PyObject *exception = PyObject_CallFunction(
        PyExc_ConnectionError, "s", "Connection is closed by peer");
    PyObject *result =
        exception != NULL ? PyObject_CallMethod(waiter, "set_exception", "O", exception)
                          : NULL;
    Py_XDECREF(exception);
    Py_XDECREF(result);
    Py_DECREF(waiter);
    return result != NULL ? 0 : -1;
}

int
hl_transport_lose(hl_transport *transport, PyObject *exc)
{
    if (transport->is_lost) {
        return 0;
    }
    PyObject *exception = NULL;
    if (transport->is_protocol_connected) {
        PyObject *result = hl_transport_call(
            transport, transport->loop->state->str.connection_lost, exc);
        hl_keep_first_exception(&exception, result != NULL ? 0 : -1);
        Py_XDECREF(result);
    }
    if (!transport->is_lost) {
        hl_keep_first_exception(&exception, transport_give_up(transport));
    }
    hl_keep_first_exception(&exception, transport_fail_waiter(transport));
    if (exception == NULL) {
        return 0;
    }
    PyErr_SetRaisedException(exception);
    return -1;
}
