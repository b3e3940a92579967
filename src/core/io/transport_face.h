/* The Python face that types of transports have in common: methods, getters and rows for the
 * tables of types, also of those that do not derive from _Transport.
 *
 * Names with an underscore are what asyncio's own code and real programs read.
 * https://docs.python.org/3/library/asyncio-protocol.html#transports */
#ifndef HL_IO_TRANSPORT_FACE_H
#define HL_IO_TRANSPORT_FACE_H

#include "io/transport.h"
#include "py/types.h"
#include "sched/cork.h"

#include <structmember.h>

/* -- methods and getters ---------------------------------------------------------------------- */

PyObject *hl_transport_get_extra_info_method(PyObject *self, PyObject *const *args,
                                             Py_ssize_t nargs, PyObject *kwnames);
PyObject *hl_transport_set_protocol_method(PyObject *self, PyObject *protocol);
PyObject *hl_transport_get_protocol_method(PyObject *self, PyObject *unused);
PyObject *hl_transport_is_reading_method(PyObject *self, PyObject *unused);
PyObject *hl_transport_pause_reading_method(PyObject *self, PyObject *unused);
PyObject *hl_transport_resume_reading_method(PyObject *self, PyObject *unused);
PyObject *hl_transport_start_reading_method(PyObject *self, PyObject *unused);
PyObject *hl_transport_is_closing_method(PyObject *self, PyObject *unused);
PyObject *hl_transport_call_connection_lost_method(PyObject *self, PyObject *exc);
PyObject *hl_transport_get_loop(PyObject *self, void *closure);
PyObject *hl_transport_get_extra(PyObject *self, void *closure);
int hl_transport_set_extra(PyObject *self, PyObject *value, void *closure);
PyObject *hl_transport_get_protocol_attribute(PyObject *self, void *closure);
int hl_transport_set_protocol_attribute(PyObject *self, PyObject *value, void *closure);

/* function(transport) in its critical section, as what a method returns: None, or NULL.  The
 * loop is held meanwhile, because what runs may lose the transport, which held it. */
static inline PyObject *
hl_transport_do(PyObject *self, int (*function)(hl_transport *))
{
    int error;
    PyObject *loop;
    Py_BEGIN_CRITICAL_SECTION(self);
    loop = Py_XNewRef((PyObject *)hl_transport_of(self)->loop);
    error = function(hl_transport_of(self));
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(loop);
    return error == 0 ? Py_NewRef(Py_None) : NULL;
}

/* The same of a function that returns a new object, or NULL. */
static inline PyObject *
hl_transport_ask(PyObject *self, PyObject *(*function)(hl_transport *))
{
    PyObject *answer;
    Py_BEGIN_CRITICAL_SECTION(self);
    answer = function(hl_transport_of(self));
    Py_END_CRITICAL_SECTION();
    return answer;
}

/* Send what the loop holds back for the transport, if it still has a loop.  Returns 0 or -1. */
static inline int
hl_transport_flush_own(hl_transport *transport)
{
    return transport->is_given_up
               ? 0
               : hl_cork_flush_own(transport->loop, (PyObject *)transport);
}

typedef enum {
    HL_TRANSPORT_CLOSING,
    HL_TRANSPORT_PAUSED,
    HL_TRANSPORT_EOF,
    HL_TRANSPORT_PROTOCOL_CONNECTED,
    HL_TRANSPORT_PROTOCOL_PAUSED
} hl_transport_flag;

/* A flag as True or False; closure is an hl_transport_flag. */
PyObject *hl_transport_get_flag(PyObject *self, void *closure);

/* The same of write_limits.c. */
PyObject *hl_transport_get_write_buffer_limits(PyObject *self, PyObject *unused);
PyObject *hl_transport_maybe_pause(PyObject *self, PyObject *unused);
PyObject *hl_transport_maybe_resume(PyObject *self, PyObject *unused);
PyObject *hl_transport_get_write_buffer_size(PyObject *self, PyObject *unused);
PyObject *hl_transport_make_empty_waiter(PyObject *self, PyObject *unused);
PyObject *hl_transport_reset_empty_waiter(PyObject *self, PyObject *unused);
PyObject *hl_transport_set_write_buffer_limits(PyObject *self, PyObject *const *args,
                                               Py_ssize_t nargs, PyObject *kwnames);
PyObject *hl_transport_set_limits_only(PyObject *self, PyObject *const *args,
                                       Py_ssize_t nargs, PyObject *kwnames);
PyObject *hl_transport_get_high_water(PyObject *self, void *closure);
PyObject *hl_transport_get_low_water(PyObject *self, void *closure);
PyObject *hl_transport_get_empty_waiter(PyObject *self, void *closure);
PyObject *hl_transport_get_buffer(PyObject *self, void *closure);

/* -- rows of tables --------------------------------------------------------------------------- */

#define HL_ASYNCIO_PROTOCOL                                                            \
    "https://docs.python.org/3/library/asyncio-protocol.html#asyncio."
#define HL_TRANSPORT_OBJECT(name, field)                                               \
    {name, hl_get_object, NULL, NULL, (void *)offsetof(hl_transport, field)}
#define HL_TRANSPORT_FLAG(name, flag)                                                  \
    {name, hl_transport_get_flag, NULL, NULL, (void *)(size_t)(flag)}

/* A method without arguments that asyncio documents under the name in `documented`. */
#define HL_TRANSPORT_METHOD(name, function, text, documented)                          \
    {name,                                                                             \
     function,                                                                         \
     METH_NOARGS,                                                                      \
     name "($self)\n--\n\n" text "\n\n" HL_ASYNCIO_PROTOCOL documented}

#define HL_TRANSPORT_METHODS                                                              \
    {"get_extra_info",                                                                    \
     HL_FASTCALL(hl_transport_get_extra_info_method),                                     \
     METH_FASTCALL | METH_KEYWORDS,                                                       \
     "get_extra_info($self, name, default=None)\n--\n\n"                                  \
     "Return information about the transport or its socket.\n\n" HL_ASYNCIO_PROTOCOL      \
     "BaseTransport.get_extra_info"},                                                     \
        {"set_protocol",                                                                  \
         hl_transport_set_protocol_method,                                                \
         METH_O,                                                                          \
         "set_protocol($self, protocol)\n--\n\n"                                          \
         "Call protocol from now on.\n\n" HL_ASYNCIO_PROTOCOL                             \
         "BaseTransport.set_protocol"},                                                   \
        HL_TRANSPORT_METHOD("get_protocol",                                               \
                            hl_transport_get_protocol_method,                             \
                            "Return the current protocol.",                               \
                            "BaseTransport.get_protocol"),                                \
        HL_TRANSPORT_METHOD("is_closing",                                                 \
                            hl_transport_is_closing_method,                               \
                            "Return True if the transport is closed or closing.",         \
                            "BaseTransport.is_closing"),                                  \
        {"_start_reading",                                                                \
         hl_transport_start_reading_method,                                               \
         METH_NOARGS,                                                                     \
         "_start_reading($self)\n--\n\nBegin to receive, if neither closed nor paused."}, \
        {"_call_connection_lost",                                                         \
         hl_transport_call_connection_lost_method,                                        \
         METH_O,                                                                          \
         "_call_connection_lost($self, exc, /)\n--\n\n"                                   \
         "Tell the protocol, and give the descriptor up."}

/* The methods of transports that receive.  A pipe for writing inherits asyncio's, which refuse. */
#define HL_TRANSPORT_READING_METHODS                                                   \
    HL_TRANSPORT_METHOD("is_reading",                                                  \
                        hl_transport_is_reading_method,                                \
                        "Return True if the transport receives.",                      \
                        "ReadTransport.is_reading"),                                   \
        HL_TRANSPORT_METHOD("pause_reading",                                           \
                            hl_transport_pause_reading_method,                         \
                            "Receive nothing until resume_reading().",                 \
                            "ReadTransport.pause_reading"),                            \
        HL_TRANSPORT_METHOD("resume_reading",                                          \
                            hl_transport_resume_reading_method,                        \
                            "Receive again.",                                          \
                            "ReadTransport.resume_reading")

#define HL_TRANSPORT_GETSET                                                            \
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},        \
        {"_extra", hl_transport_get_extra, hl_transport_set_extra, NULL, NULL},        \
        {"_protocol",                                                                  \
         hl_transport_get_protocol_attribute,                                          \
         hl_transport_set_protocol_attribute,                                          \
         NULL,                                                                         \
         NULL},                                                                        \
        {"_loop", hl_transport_get_loop, NULL, NULL, NULL},                            \
        HL_TRANSPORT_FLAG("_closing", HL_TRANSPORT_CLOSING),                           \
        HL_TRANSPORT_FLAG("_paused", HL_TRANSPORT_PAUSED)

#define HL_TRANSPORT_MEMBERS                                                           \
    {"__dictoffset__", T_PYSSIZET, offsetof(hl_transport, dict), READONLY, NULL},      \
    {                                                                                  \
        "__weaklistoffset__", T_PYSSIZET, offsetof(hl_transport, weakrefs), READONLY,  \
            NULL                                                                       \
    }

#define HL_TRANSPORT_SLOTS                                                             \
    {Py_tp_traverse, hl_transport_traverse}, {Py_tp_clear, hl_transport_clear},        \
        {Py_tp_dealloc, hl_transport_dealloc},                                         \
    {                                                                                  \
        Py_tp_finalize, hl_transport_finalize                                          \
    }

#endif
