/* Flow control: pause_writing() and resume_writing() by the water marks of a transport.
 * https://docs.python.org/3/library/asyncio-protocol.html#asyncio.BaseProtocol.pause_writing */
#include "io/transport.h"

#include "py/error.h"

/* What flow_call does; the loop is held, because the call may lose the transport. */
static int
flow_call_held(hl_loop *loop, hl_transport *transport, PyObject *name)
{
    PyObject *result = hl_transport_call(transport, name, NULL);
    if (result != NULL) {
        Py_DECREF(result);
        return 0;
    }
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
        PyErr_ExceptionMatches(PyExc_SystemExit)) {
        return -1;
    }
    PyObject *exception = PyErr_GetRaisedException();
    result = hl_call_handling(exception,
                              loop->state->transports,
                              "flow_control_failed",
                              "(OOOO)",
                              (PyObject *)loop,
                              name,
                              exception,
                              (PyObject *)transport);
    Py_DECREF(exception);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* Call protocol.<name>(); what it raises goes to the exception handler, whose context names
 * the method.  Returns 0, or -1 if an exception must leave the loop. */
static int
flow_call(hl_transport *transport, PyObject *name)
{
    hl_loop *loop = (hl_loop *)Py_NewRef((PyObject *)transport->loop);
    int error = flow_call_held(loop, transport, name);
    Py_DECREF((PyObject *)loop);
    return error;
}

int
hl_flow_maybe_pause(hl_transport *transport)
{
    if (hl_transport_queued(transport) <= hl_transport_high_water(transport) ||
        transport->is_protocol_paused || transport->is_given_up) {
        return 0;
    }
    transport->is_protocol_paused = true;
    return flow_call(transport, transport->loop->state->str.pause_writing);
}

int
hl_flow_maybe_resume(hl_transport *transport)
{
    if (!transport->is_protocol_paused || transport->is_given_up ||
        hl_transport_queued(transport) > hl_transport_low_water(transport)) {
        return 0;
    }
    transport->is_protocol_paused = false;
    return flow_call(transport, transport->loop->state->str.resume_writing);
}
