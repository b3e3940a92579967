/* Transports of datagram sockets: UDP, unix, and what else the socket module knows.
 *
 * datagram.c receives and makes the type; datagram_send.c sends.  Many datagrams are received
 * by one system call and delivered in one entry, and what an entry sends leaves by one.
 * Both are for the families of py/address.h; sockets of others go through their own recvfrom()
 * and sendto(), one datagram at a time. */
#ifndef HL_IO_DATAGRAM_H
#define HL_IO_DATAGRAM_H

#include "io/transport.h"
#include "poll/datagram.h"
#include "py/address_cache.h"

typedef struct {
    hl_transport base;
    PyObject *address;        /* owned: the only one to send to, as set up, or None */
    hl_datagram_batch *batch; /* owned: received and not yet delivered; or NULL */
    bool is_bound_to_address; /* `address` counts */
    bool is_connected;        /* the kernel knows the receiver */
    bool is_native;           /* of a family of py/address.h */
    bool is_segmentable;      /* UDP_SEGMENT may be used; false: not known yet */
    bool is_never_segmented;
    uint8_t lone_events; /* read events in a row that found only one datagram */
} hl_datagram;

/* What the datagram transports of a loop share; belongs to the loop's thread. */
typedef struct {
    hl_address_cache addresses;
    hl_datagram_batch *batch; /* owned; NULL: not made yet, or in use */
    /* Receivers of what is held back, by the index in loop->corked_spans; length 0: the
     * socket is connected. */
    hl_inet_address receivers[HL_DATAGRAM_LIMIT];
    /* Owned: the context that what is held back was sent in; NULL if nothing is, or none. */
    PyObject *context;
} hl_datagram_shared;

static inline hl_datagram *
hl_datagram_of(hl_transport *transport)
{
    return (hl_datagram *)transport;
}

/* What the loop's datagram transports share, or NULL for another thread than the loop's. */
hl_datagram_shared *hl_datagram_shared_of(const hl_loop *loop);

int hl_datagram_type_init(PyObject *module, hl_state *state);

/* What asyncio's _make_datagram_transport does; address (borrowed) is None, or the only one
 * that sendto() may be told.  Returns new, or NULL (the socket is closed then). */
PyObject *hl_datagram_make(hl_loop *loop, const hl_transport_arguments *arguments,
                           PyObject *address);

/* What became of a datagram, where it is not -1 with an exception. */
enum {
    HL_DATAGRAM_DONE = 0,
    HL_DATAGRAM_FAILED = 1, /* the protocol was told, or the transport is closing */
    HL_DATAGRAM_NOT_NOW = 2
};

/* protocol.error_received(OSError(-error)).  Returns HL_DATAGRAM_FAILED, or -1 with what it
 * raised. */
int hl_datagram_error_received(hl_transport *transport, int error);

/* An exception of one of the socket's own methods: "not now", another OSError, which the
 * protocol is told, or the end with message. */
int hl_datagram_socket_failed(hl_transport *transport, const char *message);

/* -- sending (datagram_send.c) --------------------------------------------------------- */

PyObject *hl_datagram_sendto(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames);
PyObject *hl_datagram_sendto_ready(PyObject *self, PyObject *unused);

/* Send what the loop holds back for the transport: its hl_flush. */
int hl_datagram_flush(hl_loop *loop, PyObject *self);

/* hl_run of a write event. */
int hl_datagram_on_writable(hl_loop *loop, PyObject *self, PyObject *unused);

/* [(data, address), ...] of what is queued.  New, or NULL. */
PyObject *hl_datagram_queue_list(const hl_transport *transport);

#endif
