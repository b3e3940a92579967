/* The calls of sock_methods.h: each is a first system call, and what to try again later. */
#include "io/sock_methods.h"

#include "io/plain_socket.h"
#include "io/sock_call.h"
#include "poll/socket.h"
#include "py/address.h"
#include "py/error.h"
#include "sched/cork.h"

#include <errno.h>

/* -- beginning ------------------------------------------------------------------------------- */

/* What is held back leaves first; then the descriptor of sock, or -1 if the call is
 * asyncio's business, or -2 with an exception. */
static int
begin_call(hl_loop *loop, PyObject *sock)
{
    if (hl_cork_flush(loop) < 0) {
        return -2;
    }
    return loop->state->is_native ? hl_plain_socket_fd(loop->state, sock) : -1;
}

static PyObject *
not_ours(int fd)
{
    return fd == -1 ? Py_NewRef(Py_None) : NULL;
}

PyObject *
hl_sock_begin(hl_loop *loop, PyObject *sock)
{
    int fd = begin_call(loop, sock);
    return fd == -2 ? NULL : PyBool_FromLong(fd >= 0);
}

/* -- receiving ------------------------------------------------------------------------------ */

/* What a count of a system call means: 0 for "not now", else 1, or -1 with OSError. */
static int
outcome_of(ssize_t count)
{
    if (count >= 0) {
        return 1;
    }
    return count == -EAGAIN || count == -EWOULDBLOCK ? 0 : hl_error_set((int)count);
}

/* A socket that was closed, or a buffer that cannot be written any more: the socket's own
 * method, which has the words for it.  "Not now" cannot be its answer. */
static int
ask_socket(hl_sock_call *call, const char *method)
{
    call->result = PyObject_CallMethod(call->sock, method, "O", call->argument);
    return call->result != NULL ? 1 : -1;
}

/* Receive at most limit bytes of fd as a bytes object.  They go through the loop's buffer:
 * a bytes object of the limit's size, shrunk afterwards, costs page faults each time. */
static int
receive_bytes(hl_loop *loop, int fd, Py_ssize_t limit, PyObject **result)
{
    char *buffer = NULL;
    *result = NULL;
    if (limit <= HL_READ_BUFFER_SIZE &&
        (!HL_FREE_THREADED || hl_loop_owner(loop) == hl_thread_ident())) {
        buffer = hl_loop_read_buffer(loop);
    }
    else {
        *result = PyBytes_FromStringAndSize(NULL, limit);
        buffer = *result != NULL ? PyBytes_AS_STRING(*result) : NULL;
    }
    if (buffer == NULL) {
        return -1;
    }
    ssize_t count = hl_socket_recv(fd, buffer, (size_t)limit);
    int outcome = outcome_of(count);
    if (outcome <= 0) {
        Py_CLEAR(*result);
        return outcome;
    }
    if (*result == NULL) {
        *result = PyBytes_FromStringAndSize(buffer, count);
    }
    else if (count < limit) {
        (void)_PyBytes_Resize(result, count); /* sets *result to NULL if it fails */
    }
    return *result != NULL ? 1 : -1;
}

static int
attempt_recv(hl_sock_call *call)
{
    int fd = hl_plain_socket_fd_again(call->loop->state, call->sock);
    if (fd < 0) {
        return ask_socket(call, "recv");
    }
    return receive_bytes(
        call->loop, fd, PyLong_AsSsize_t(call->argument), &call->result);
}

static const hl_sock_call_kind receiving = {HL_POLL_READ, attempt_recv, NULL};

PyObject *
hl_sock_recv(hl_loop *loop, PyObject *sock, PyObject *limit)
{
    int fd = begin_call(loop, sock);
    Py_ssize_t count =
        fd >= 0 && PyLong_CheckExact(limit) ? PyLong_AsSsize_t(limit) : -1;
    if (fd >= 0 && count <= 0) {
        PyErr_Clear(); /* OverflowError; asyncio's own call raises it again */
        fd = -1;
    }
    if (fd < 0) {
        return not_ours(fd);
    }
    PyObject *result;
    int outcome = receive_bytes(loop, fd, count, &result);
    if (outcome != 0) {
        return result;
    }
    return hl_sock_call_start(loop, sock, fd, &receiving, limit);
}

/* The memory of an object to receive into.  False, without an exception, if there is none:
 * the socket's own method has the words for it. */
static bool
get_writable(PyObject *object, Py_buffer *view)
{
    if (PyObject_GetBuffer(object, view, PyBUF_WRITABLE) == 0) {
        return true;
    }
    PyErr_Clear(); /* TypeError or BufferError */
    return false;
}

/* Receive into view, and release it. */
static int
receive_into(int fd, Py_buffer *view, PyObject **result)
{
    ssize_t count =
        view->len > 0 ? hl_socket_recv(fd, view->buf, (size_t)view->len) : 0;
    PyBuffer_Release(view);
    int outcome = outcome_of(count);
    if (outcome > 0) {
        *result = PyLong_FromSsize_t(count);
        return *result != NULL ? 1 : -1;
    }
    return outcome;
}

static int
attempt_recv_into(hl_sock_call *call)
{
    Py_buffer view;
    PyObject *buffer = Py_NewRef(call->argument); /* held: its __buffer__() may run */
    bool is_writable = get_writable(buffer, &view);
    Py_DECREF(buffer);
    int fd = call->sock != NULL
                 ? hl_plain_socket_fd_again(call->loop->state, call->sock)
                 : -1;
    if (is_writable && fd >= 0) {
        return receive_into(fd, &view, &call->result);
    }
    if (is_writable) {
        PyBuffer_Release(&view);
    }
    return call->sock != NULL ? ask_socket(call, "recv_into") : 0;
}

static const hl_sock_call_kind receiving_into = {HL_POLL_READ, attempt_recv_into, NULL};

PyObject *
hl_sock_recv_into(hl_loop *loop, PyObject *sock, PyObject *buffer)
{
    Py_buffer view;
    int fd = begin_call(loop, sock);
    if (fd < 0 || !get_writable(buffer, &view)) {
        return not_ours(fd < 0 ? fd : -1);
    }
    if (hl_plain_socket_fd_again(loop->state, sock) != fd) {
        PyBuffer_Release(&view);
        return not_ours(-1); /* the buffer's __buffer__() has closed the socket */
    }
    PyObject *result = NULL;
    int outcome = receive_into(fd, &view, &result);
    if (outcome != 0) {
        return result;
    }
    if (hl_plain_socket_fd_again(loop->state, sock) != fd) {
        return not_ours(-1); /* and so has its __release_buffer__() */
    }
    return hl_sock_call_start(loop, sock, fd, &receiving_into, buffer);
}

/* -- sending -------------------------------------------------------------------------------- */

/* Send more.  Returns 1 when nothing is left or an error stands in the call, else 0. */
static int
send_more(hl_sock_call *call)
{
    if (hl_plain_socket_fd_again(call->loop->state, call->sock) != call->fd) {
        call->error = -EBADF;
        return 1;
    }
    ssize_t count = hl_socket_send(call->fd,
                                   (const char *)call->data.buf + call->sent,
                                   (size_t)(call->data.len - call->sent));
    if (count >= 0) {
        call->sent += count;
        return call->sent == call->data.len;
    }
    if (count == -EAGAIN || count == -EWOULDBLOCK) {
        return 0;
    }
    call->error = (int)count;
    return 1;
}

/* All was sent, or an error stands in the call: the sending went on without the task. */
static int
attempt_sendall(hl_sock_call *call)
{
    return call->error < 0 ? hl_error_set(call->error) : 1;
}

static const hl_sock_call_kind sending = {HL_POLL_WRITE, attempt_sendall, send_more};

/* True if len(data) is its number of bytes, which sock_sendall compares with. */
static bool
is_plain_data(PyObject *data)
{
    if (PyBytes_CheckExact(data) || PyByteArray_CheckExact(data)) {
        return true;
    }
    if (!PyMemoryView_Check(data)) {
        return false;
    }
    const Py_buffer *view = PyMemoryView_GET_BUFFER(data);
    return view->ndim == 1 && view->itemsize == 1;
}

PyObject *
hl_sock_sendall(hl_loop *loop, PyObject *sock, PyObject *data)
{
    int fd = begin_call(loop, sock);
    if (fd < 0 || !is_plain_data(data)) {
        return not_ours(fd < 0 ? fd : -1);
    }
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    ssize_t count = hl_socket_send(fd, view.buf, (size_t)view.len);
    int outcome = outcome_of(count);
    if (outcome == 0 || (outcome > 0 && count < view.len)) {
        return hl_sock_call_start_sending(
            loop, sock, fd, &sending, &view, outcome == 0 ? 0 : count);
    }
    PyBuffer_Release(&view);
    return outcome > 0 ? Py_NewRef(Py_True) : NULL;
}

/* -- connecting ------------------------------------------------------------------------------ */

/* (host, port) or (host, port, flow, scope): the address with which asyncio connects. */
static PyObject *
resolved_address(PyObject *address, int family)
{
    PyObject *host = PyTuple_GET_ITEM(address, 0);
    PyObject *port = PyTuple_GET_ITEM(address, 1);
    Py_ssize_t size = PyTuple_GET_SIZE(address);
    if (family == AF_INET) {
        return PyTuple_Pack(2, host, port);
    }
    PyObject *zero = PyLong_FromLong(0);
    PyObject *result =
        zero != NULL ? PyTuple_Pack(4,
                                    host,
                                    port,
                                    size > 2 ? PyTuple_GET_ITEM(address, 2) : zero,
                                    size > 3 ? PyTuple_GET_ITEM(address, 3) : zero)
                     : NULL;
    Py_XDECREF(zero);
    return result;
}

/* Raise what the kernel says about a connection in the background. */
static void
raise_failed_connection(int error, PyObject *address)
{
    PyObject *message = PyUnicode_FromFormat("Connect call failed %S", address);
    PyObject *exception =
        message != NULL ? PyObject_CallFunction(PyExc_OSError, "iO", -error, message)
                        : NULL;
    if (exception != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    }
    Py_XDECREF(exception);
    Py_XDECREF(message);
}

static int
attempt_connect(hl_sock_call *call)
{
    int fd = hl_plain_socket_fd_again(call->loop->state, call->sock);
    int error = fd < 0 ? -EBADF : hl_socket_error(fd);
    if (error == -EBADF) {
        return hl_error_set(error);
    }
    if (error < 0) {
        raise_failed_connection(error, call->argument);
        return -1;
    }
    return 1;
}

static const hl_sock_call_kind connecting = {HL_POLL_WRITE, attempt_connect, NULL};

PyObject *
hl_sock_connect(hl_loop *loop, PyObject *sock, PyObject *address)
{
    hl_inet_address parsed;
    int fd = begin_call(loop, sock);
    int family = fd >= 0 ? hl_plain_socket_family(loop->state, sock) : AF_UNSPEC;
    if (fd < 0 || !hl_address_parse(address, family, &parsed)) {
        return not_ours(fd < 0 ? fd : -1);
    }
    PyObject *resolved = resolved_address(address, family);
    if (resolved == NULL || PySys_Audit("socket.connect", "OO", sock, resolved) < 0) {
        Py_XDECREF(resolved);
        return NULL;
    }
    PyObject *result = NULL;
    fd = hl_plain_socket_fd_again(loop->state, sock); /* a hook may have closed it */
    int error =
        hl_socket_connect(fd, (const struct sockaddr *)parsed.bytes, parsed.length);
    if (error == 0) {
        result = Py_NewRef(Py_True);
    }
    else if (error == -EINPROGRESS) {
        result = hl_sock_call_start(loop, sock, fd, &connecting, resolved);
    }
    else {
        hl_error_set(error);
    }
    Py_DECREF(resolved);
    return result;
}

/* -- readiness alone --------------------------------------------------------------------------- */

static int
attempt_ready(hl_sock_call *call)
{
    return 1;
}

static const hl_sock_call_kind reading = {HL_POLL_READ, attempt_ready, NULL};
static const hl_sock_call_kind writing = {HL_POLL_WRITE, attempt_ready, NULL};

PyObject *
hl_sock_ready(hl_loop *loop, PyObject *sock, int kind)
{
    int fd = hl_plain_socket_fd(loop->state, sock);
    if (fd < 0) {
        hl_error_set(-EBADF);
        return NULL;
    }
    return hl_sock_call_start(
        loop, sock, fd, kind == HL_POLL_READ ? &reading : &writing, NULL);
}
