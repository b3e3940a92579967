/* The methods of network.h.  All of them are private: the public ones are asyncio's own
 * coroutines, which call these through the factories of hotloop.Loop. */
#include "api/network.h"

#include "io/datagram.h"
#include "io/listener.h"
#include "io/pipe.h"
#include "io/stream.h"
#include "sched/cork.h"
#include "sched/watch.h"

static int
check_count(const char *method, Py_ssize_t nargs, Py_ssize_t wanted)
{
    if (nargs == wanted) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError,
                 "%s() takes %zd positional arguments but %zd were given",
                 method,
                 wanted,
                 nargs);
    return -1;
}

PyObject *
hl_api_make_stream(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (check_count("_make_stream", nargs, 6) < 0) {
        return NULL;
    }
    hl_transport_arguments arguments = {
        .sock = args[0],
        .protocol = args[1],
        .waiter = args[2],
        .extra = args[3],
        .server = args[4],
        .context = args[5],
    };
    return hl_stream_make((hl_loop *)self, &arguments);
}

/* The four arguments of a pipe transport.  Returns 0, or -1 with TypeError. */
static int
pipe_arguments(const char *method, PyObject *const *args, Py_ssize_t nargs,
               hl_transport_arguments *arguments)
{
    if (check_count(method, nargs, 4) < 0) {
        return -1;
    }
    *arguments = (hl_transport_arguments){
        .sock = args[0],
        .protocol = args[1],
        .waiter = args[2],
        .extra = args[3],
    };
    return 0;
}

PyObject *
hl_api_make_read_pipe(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    hl_transport_arguments arguments;
    return pipe_arguments("_make_read_pipe", args, nargs, &arguments) < 0
               ? NULL
               : hl_pipe_make_reader((hl_loop *)self, &arguments);
}

PyObject *
hl_api_make_write_pipe(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    hl_transport_arguments arguments;
    return pipe_arguments("_make_write_pipe", args, nargs, &arguments) < 0
               ? NULL
               : hl_pipe_make_writer((hl_loop *)self, &arguments);
}

PyObject *
hl_api_make_datagram(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (check_count("_make_datagram", nargs, 5) < 0) {
        return NULL;
    }
    const hl_transport_arguments arguments = {
        .sock = args[0],
        .protocol = args[1],
        .waiter = args[3],
        .extra = args[4],
    };
    return hl_datagram_make((hl_loop *)self, &arguments, args[2]);
}

PyObject *
hl_api_listen(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (check_count("_listen", nargs, 8) < 0) {
        return NULL;
    }
    hl_listener_arguments arguments = {
        .protocol_factory = args[0],
        .sock = args[1],
        .sslcontext = args[2],
        .server = args[3],
        .backlog = args[4],
        .handshake_timeout = args[5],
        .shutdown_timeout = args[6],
        .context = args[7],
    };
    if (hl_listener_start((hl_loop *)self, &arguments) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
hl_api_flush(PyObject *self, PyObject *unused)
{
    hl_loop *loop = (hl_loop *)self;
    if (hl_loop_owner(loop) == hl_thread_ident() && hl_cork_flush(loop) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
hl_api_transport_of(PyObject *self, PyObject *descriptor)
{
    int fd = PyLong_AsInt(descriptor);
    if (fd == -1 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError)) {
            return NULL;
        }
        PyErr_Clear(); /* OverflowError: nobody owns what is no descriptor */
    }
    PyObject *transport = hl_watch_transport((hl_loop *)self, fd);
    return transport != NULL ? transport : Py_NewRef(Py_None);
}

PyObject *
hl_api_own_descriptor(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    hl_loop *loop = (hl_loop *)self;
    if (check_count("_own_descriptor", nargs, 2) < 0) {
        return NULL;
    }
    int fd = PyLong_AsInt(args[0]);
    if (fd == -1 && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *transport = args[1] != Py_None ? args[1] : NULL;
    if (transport != NULL &&
        (!PyObject_TypeCheck(transport, loop->state->TransportType) ||
         hl_transport_of(transport)->fd != fd || hl_transport_of(transport)->is_lost)) {
        PyErr_SetString(PyExc_ValueError, "not the open transport of that descriptor");
        return NULL;
    }
    if (fd >= 0 && hl_watch_set_transport(loop, fd, transport) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}
