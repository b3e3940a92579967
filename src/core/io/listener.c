/* The listener of listener.h. */
#include "io/listener.h"

#include "io/stream.h"
#include "poll/socket.h"
#include "py/error.h"
#include "py/types.h"
#include "sched/handle.h"
#include "sched/watch.h"

#include <errno.h>
#include <structmember.h>

/* Accepted in one turn at most, so that a storm of connections leaves time for the others. */
enum { ACCEPT_LIMIT = 64 };

typedef struct {
    PyObject_HEAD
    hl_loop *loop;               /* owned */
    PyObject *protocol_factory;  /* owned */
    PyObject *sock;              /* owned: the listening socket */
    PyObject *sslcontext;        /* owned, or NULL */
    PyObject *server;            /* owned, or NULL */
    PyObject *backlog;           /* owned */
    PyObject *handshake_timeout; /* owned, or NULL */
    PyObject *shutdown_timeout;  /* owned, or NULL */
    PyObject *server_context;    /* owned: given by the server (3.15), or NULL */
    PyObject *context;           /* owned: that of accept events */
    long limit;                  /* connections per event */
    int fd;                      /* of sock, which owns it */
    int family;
    int proto;
} hl_listener;

/* -- a connection is ready to be made ------------------------------------------------------------ */

/* What asyncio reports in debug mode only; the connection is closed, whoever is to blame.
 * Returns 0, or -1 with an exception that must leave the loop. */
static int
accepted_failed(hl_listener *listener, hl_transport *stream)
{
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
        PyErr_ExceptionMatches(PyExc_SystemExit) || !hl_loop_is_debug(listener->loop)) {
        bool must_leave = PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
                          PyErr_ExceptionMatches(PyExc_SystemExit);
        if (!must_leave) {
            PyErr_Clear(); /* as asyncio: only debug mode tells */
        }
        return must_leave ? -1 : 0;
    }
    PyObject *exception = PyErr_GetRaisedException();
    PyObject *protocol = stream->protocol != NULL ? stream->protocol : Py_None;
    PyObject *result = hl_call_handling(exception,
                                        listener->loop->state->transports,
                                        "accept_failed",
                                        "(OOO)",
                                        (PyObject *)listener->loop,
                                        exception,
                                        protocol);
    Py_DECREF(exception);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* Make protocol and connection, in the connection's context.  Returns 0 or -1. */
static int
accepted_connect(hl_listener *listener, hl_transport *stream)
{
    PyObject *protocol = PyObject_CallNoArgs(listener->protocol_factory);
    if (protocol == NULL) {
        return -1;
    }
    int error = hl_transport_set_protocol(stream, protocol);
    Py_DECREF(protocol);
    if (error < 0 || (listener->server != NULL &&
                      hl_transport_attach(stream, listener->server) < 0)) {
        return -1;
    }
    hl_socket_set_nodelay(stream->fd, stream->family);
    return hl_transport_begin(stream, NULL);
}

/* The connection is nobody's: it closes without a warning.  A server that knows it already may
 * have shown it to another thread. */
static void
accepted_disown(hl_transport *stream)
{
    hl_exchange_field((PyObject *)stream, &stream->protocol, NULL);
}

/* hl_run of the turn after accept; argument is (listener, context). */
static int
run_accepted(hl_loop *loop, PyObject *owner, PyObject *argument)
{
    hl_listener *listener = (hl_listener *)PyTuple_GET_ITEM(argument, 0);
    PyObject *context = PyTuple_GET_ITEM(argument, 1);
    hl_transport *stream = hl_transport_of(owner);
    if (loop->current_task != NULL) {
        hl_loop_clear_current_task(loop);
    }
    int error = PyContext_Enter(context);
    if (error == 0) {
        error = accepted_connect(listener, stream);
        if (error < 0) {
            error = accepted_failed(listener, stream);
            accepted_disown(stream);
        }
        if (PyContext_Exit(context) < 0) {
            error = -1;
        }
    }
    return error;
}

/* -- accepting ------------------------------------------------------------------------------------- */

/* The context of a new connection.  New, or NULL. */
static PyObject *
connection_context(const hl_listener *listener)
{
    return listener->server_context != NULL ? PyContext_Copy(listener->server_context)
                                            : PyContext_CopyCurrent();
}

/* Give the connection what its entry needs.  New: (listener, context), or NULL. */
static PyObject *
accepted_prepare(hl_listener *listener, hl_transport *stream,
                 const struct sockaddr *address, socklen_t length)
{
    PyObject *context = connection_context(listener);
    PyObject *pair =
        context != NULL ? PyTuple_Pack(2, (PyObject *)listener, context) : NULL;
    if (pair != NULL && listener->server_context != NULL) {
        hl_transport_rare *rare = hl_transport_need_rare(stream);
        if (rare != NULL) {
            rare->context = Py_NewRef(context);
        }
        else {
            Py_CLEAR(pair);
        }
    }
    Py_XDECREF(context);
    if (pair != NULL && hl_transport_set_peer(stream, address, length) < 0) {
        Py_CLEAR(pair);
    }
    return pair;
}

/* A plain connection: its entry for the next turn.  Owns fd from here on. */
static int
accept_plain(hl_listener *listener, int fd, const struct sockaddr *address,
             socklen_t length)
{
    hl_loop *loop = listener->loop;
    hl_transport *stream = hl_stream_accepted(loop, fd, listener->family);
    if (stream == NULL) {
        (void)hl_socket_close(fd);
        return -1;
    }
    stream->has_no_proto = listener->proto == 0;
    PyObject *pair = accepted_prepare(listener, stream, address, length);
    if (pair == NULL) {
        Py_DECREF(stream);
        return -1;
    }
    return hl_loop_push(loop, run_accepted, (PyObject *)stream, pair);
}

/* A connection that somebody looks at, or that TLS comes first on: asyncio's own task. */
static int
accept_by_task(hl_listener *listener, int fd, const struct sockaddr *address,
               socklen_t length)
{
    PyObject *peer = hl_address_is_known(listener->family)
                         ? hl_address_object(address, length)
                         : Py_NewRef(Py_None);
    PyObject *result = NULL;
    if (peer == NULL) {
        (void)hl_socket_close(fd);
        return -1;
    }
    result = PyObject_CallMethod(
        listener->loop->state->transports,
        "accept_by_task",
        "OiiOOOOOOOO",
        (PyObject *)listener->loop,
        fd,
        listener->proto,
        peer,
        listener->sock,
        listener->protocol_factory,
        listener->sslcontext != NULL ? listener->sslcontext : Py_None,
        listener->server != NULL ? listener->server : Py_None,
        listener->handshake_timeout != NULL ? listener->handshake_timeout : Py_None,
        listener->shutdown_timeout != NULL ? listener->shutdown_timeout : Py_None,
        listener->server_context != NULL ? listener->server_context : Py_None);
    Py_DECREF(peer);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

static int
accept_one(hl_listener *listener, int fd, const struct sockaddr *address,
           socklen_t length)
{
    if (hl_address_is_known(listener->family) && listener->sslcontext == NULL &&
        hl_loop_is_direct(listener->loop)) {
        return accept_plain(listener, fd, address, length);
    }
    return accept_by_task(listener, fd, address, length);
}

/* No more descriptors or memory: say so once, and come back in a while. */
static int
accept_pause(hl_listener *listener, int error)
{
    hl_error_set(error);
    PyObject *exception = PyErr_GetRaisedException();
    int result = hl_watch_remove(listener->loop, listener->fd, HL_POLL_READ);
    PyObject *answer = result < 0 ? NULL
                                  : hl_call_handling(exception,
                                                     listener->loop->state->transports,
                                                     "accept_paused",
                                                     "(OOO)",
                                                     (PyObject *)listener->loop,
                                                     exception,
                                                     (PyObject *)listener);
    Py_DECREF(exception);
    Py_XDECREF(answer);
    return answer != NULL ? 0 : -1;
}

static bool
is_exhaustion(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOBUFS ||
           error == -ENOMEM;
}

/* The descriptor for a system call: -1, which the kernel refuses with EBADF, if the socket was
 * closed meanwhile, by a task that began at once for example. */
static int
listener_descriptor(const hl_listener *listener)
{
    const hl_state *state = listener->loop->state;
    bool is_known = state->knows_socket_fields &&
                    PyObject_TypeCheck(listener->sock, state->SocketType);
    return !is_known || hl_plain_socket_fd_again(state, listener->sock) == listener->fd
               ? listener->fd
               : -1;
}

static int
accept_ready(hl_listener *listener)
{
    for (long i = 0; i < listener->limit; i++) {
        struct sockaddr_storage address;
        socklen_t length = sizeof(address);
        int fd = hl_socket_accept(
            listener_descriptor(listener), (struct sockaddr *)&address, &length);
        if (fd == -EAGAIN) {
            return 0;
        }
        if (fd == -ECONNABORTED) {
            continue; /* gone before we came */
        }
        if (is_exhaustion(fd)) {
            return accept_pause(listener, fd);
        }
        if (fd < 0) {
            return hl_error_set(fd);
        }
        if (accept_one(listener, fd, (struct sockaddr *)&address, length) < 0) {
            return -1;
        }
    }
    return 0;
}

/* hl_run of an event of the listening socket. */
static int
listener_on_readable(hl_loop *loop, PyObject *self, PyObject *unused)
{
    hl_listener *listener = (hl_listener *)self;
    if (!hl_watch_holds(loop, listener->fd, HL_POLL_READ, self)) {
        return 0; /* stopped since the event was collected */
    }
    if (loop->current_task != NULL) {
        hl_loop_clear_current_task(loop);
    }
    int error = PyContext_Enter(listener->context);
    if (error == 0) {
        error = accept_ready(listener);
        if (PyContext_Exit(listener->context) < 0) {
            error = -1;
        }
    }
    return error < 0 ? hl_handle_report_method(
                           loop, self, loop->state->str.accept, listener->context)
                     : 0;
}

/* -- life ----------------------------------------------------------------------------------------------- */

static PyObject *
given(PyObject *argument)
{
    return argument != NULL && argument != Py_None ? Py_NewRef(argument) : NULL;
}

/* A number that the socket shows, or -1, with an exception if there was none before. */
static int
socket_attribute(const hl_listener *listener, const char *name)
{
    if (listener->fd < 0 || PyErr_Occurred()) {
        return -1;
    }
    PyObject *number = PyObject_GetAttrString(listener->sock, name);
    int value = number != NULL ? PyLong_AsInt(number) : -1;
    Py_XDECREF(number);
    return value;
}

static int
listener_fill(hl_listener *listener, const hl_listener_arguments *arguments)
{
    listener->protocol_factory = Py_NewRef(arguments->protocol_factory);
    listener->sock = Py_NewRef(arguments->sock);
    listener->sslcontext = given(arguments->sslcontext);
    listener->server = given(arguments->server);
    listener->backlog = Py_NewRef(arguments->backlog);
    listener->handshake_timeout = given(arguments->handshake_timeout);
    listener->shutdown_timeout = given(arguments->shutdown_timeout);
    listener->server_context = given(arguments->context);
    listener->context = PyContext_CopyCurrent();
    PyObject *number = PyObject_CallMethod(listener->sock, "fileno", NULL);
    listener->fd = number != NULL ? PyLong_AsInt(number) : -1;
    Py_XDECREF(number);
    listener->family = socket_attribute(listener, "family");
    listener->proto = socket_attribute(listener, "proto");
    long backlog = PyLong_AsLong(listener->backlog);
    if (PyErr_Occurred() || listener->context == NULL) {
        return -1;
    }
    if (listener->fd < 0) {
        return hl_error_set(-EBADF);
    }
    /* One more than the kernel's own queue, so that a backlog of 0 accepts. */
    listener->limit = backlog < ACCEPT_LIMIT ? backlog + 1 : ACCEPT_LIMIT;
    return 0;
}

int
hl_listener_start(hl_loop *loop, const hl_listener_arguments *arguments)
{
    PyTypeObject *type = loop->state->ListenerType;
    hl_listener *listener = (hl_listener *)type->tp_alloc(type, 0);
    if (listener == NULL) {
        return -1;
    }
    listener->loop = (hl_loop *)Py_NewRef((PyObject *)loop);
    int error = listener_fill(listener, arguments);
    if (error == 0) {
        error = hl_loop_check_open(loop);
    }
    if (error == 0) {
        error = hl_watch_add_native(loop,
                                    listener->fd,
                                    HL_POLL_READ,
                                    (PyObject *)listener,
                                    listener_on_readable);
    }
    Py_DECREF(listener);
    return error;
}

static int
listener_traverse(PyObject *self, visitproc visit, void *arg)
{
    hl_listener *listener = (hl_listener *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT((PyObject *)listener->loop);
    Py_VISIT(listener->protocol_factory);
    Py_VISIT(listener->sock);
    Py_VISIT(listener->sslcontext);
    Py_VISIT(listener->server);
    Py_VISIT(listener->backlog);
    Py_VISIT(listener->handshake_timeout);
    Py_VISIT(listener->shutdown_timeout);
    Py_VISIT(listener->server_context);
    Py_VISIT(listener->context);
    return 0;
}

static int
listener_clear(PyObject *self)
{
    hl_listener *listener = (hl_listener *)self;
    Py_CLEAR(listener->protocol_factory);
    Py_CLEAR(listener->sock);
    Py_CLEAR(listener->sslcontext);
    Py_CLEAR(listener->server);
    Py_CLEAR(listener->backlog);
    Py_CLEAR(listener->handshake_timeout);
    Py_CLEAR(listener->shutdown_timeout);
    Py_CLEAR(listener->server_context);
    Py_CLEAR(listener->context);
    Py_CLEAR(listener->loop);
    return 0;
}

static void
listener_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)listener_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* accept(): what an event does, for the text of a report. */
static PyObject *
listener_accept(PyObject *self, PyObject *unused)
{
    if (accept_ready((hl_listener *)self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* restart(): watch again, unless the server closed the socket meanwhile. */
static PyObject *
listener_restart(PyObject *self, PyObject *unused)
{
    hl_listener *listener = (hl_listener *)self;
    PyObject *number = PyObject_CallMethod(listener->sock, "fileno", NULL);
    int fd = number != NULL ? PyLong_AsInt(number) : -1;
    Py_XDECREF(number);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (fd == listener->fd && !hl_loop_is_closed(listener->loop) &&
        hl_watch_add_native(
            listener->loop, fd, HL_POLL_READ, self, listener_on_readable) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef listener_methods[] = {
    {"accept", listener_accept, METH_NOARGS, "accept($self)\n--\n\nAccept what waits."},
    {"restart",
     listener_restart,
     METH_NOARGS,
     "restart($self)\n--\n\nAccept again, if the socket is still open."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef listener_members[] = {
    {"sock", T_OBJECT_EX, offsetof(hl_listener, sock), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot listener_slots[] = {
    {Py_tp_doc, "Accepts the connections of one listening socket."},
    {Py_tp_traverse, listener_traverse},
    {Py_tp_clear, listener_clear},
    {Py_tp_dealloc, listener_dealloc},
    {Py_tp_methods, listener_methods},
    {Py_tp_members, listener_members},
    {0, NULL},
};

static PyType_Spec listener_spec = {
    .name = "hotloop._core._Listener",
    .basicsize = sizeof(hl_listener),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = listener_slots,
};

int
hl_listener_type_init(PyObject *module, hl_state *state)
{
    state->ListenerType = hl_type_new(module, &listener_spec, NULL, NULL);
    return state->ListenerType != NULL ? 0 : -1;
}
