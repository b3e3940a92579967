/* What all transports have in common: the descriptor they own, the protocol they call, flow
 * control, and the close machine.
 *
 * States, each entered once and in this order:
 *   open     -> protocol.connection_made() is scheduled, then runs
 *   closing  -> close(), abort(), end of stream or a fatal error: no more reading
 *   losing   -> conn_lost > 0: connection_lost() is scheduled; what is written is dropped
 *   lost     -> connection_lost() ran: the descriptor is closed, loop and protocol are gone
 * A transport owns its descriptor from its creation until `lost` or its death, and nobody
 * else closes it.  Once a Python socket was made of it, that socket is what is closed.
 *
 * User code may run in every call of a protocol, exception handler or logger; afterwards
 * the state is read again.  Without a GIL every function runs in the transport's critical
 * section.  Another thread may get that wherever user code could run, and also where one of
 * the loop, or of any other object, is entered.  The names with an underscore that Python sees are asyncio's.
 * https://docs.python.org/3/library/asyncio-protocol.html#transports */
#ifndef HL_IO_TRANSPORT_H
#define HL_IO_TRANSPORT_H

#include "base/spans.h"
#include "io/plain_socket.h"
#include "py/address.h"
#include "sched/loop.h"

#include <stdint.h>
#include <sys/types.h>

struct hl_transport;
struct hl_client_set;

/* What a kind of transport does; one static table each. */
typedef struct {
    hl_run on_readable; /* entries that the turn pushes */
    hl_run on_writable;
    hl_flush flush; /* sends loop->corked_spans; NULL if nothing is ever held back */
    int (*resumed)(struct hl_transport *); /* reading begins or goes on; may be NULL */
    bool is_socket; /* has names and socket options, and owns its number in the loop */
} hl_transport_kind;

/* What few transports need, and not all the time. */
typedef struct {
    PyObject
        *context; /* owned: of every callback (from 3.15 on); NULL: copies are made */
    PyObject *write_context; /* as read_context, while it is watched for writing */
    PyObject *empty_waiter;  /* owned future of sendfile, or NULL */
    hl_address *local;       /* owned; kept when the descriptor goes; NULL: ask it */
    hl_spans queue;          /* what the kernel did not take */
    size_t high_water;
    size_t low_water;
    uint32_t write_since; /* atomic, as read_since */
} hl_transport_rare;

/* asyncio's default water marks. */
enum { HL_HIGH_WATER = 64 * 1024, HL_LOW_WATER = HL_HIGH_WATER / 4 };

/* Connections come by the thousands, and most of them do nothing most of the time: what is in
 * here is what each of them needs.  160 bytes with the collector's. */
typedef struct hl_transport {
    PyObject_HEAD
    /* Where asyncio's BaseTransport and _FlowControlMixin have their slots: _extra,
     * _high_water, _loop, _low_water, _protocol_paused.  Getsets of the same names hide the
     * classes' descriptors; whatever those read here is an object or nothing. */
    PyObject *extra;    /* owned dict; NULL until asked for */
    PyObject *server;   /* owned; NULL without one, and once lost */
    hl_loop *loop;      /* owned; once lost gone, or not to be shown: see is_given_up */
    PyObject *protocol; /* owned; NULL once lost, or while being accepted */
    PyObject *sock;     /* owned socket.socket, or NULL: not made yet */

    PyObject *dict; /* owned; instance attributes */
    PyObject *weakrefs;
    const hl_transport_kind *kind;
    PyObject
        *read_context; /* owned while the descriptor is watched for reading; guarded
                               by the loop's section, as `watched` is */
    union {
        hl_address *stored; /* owned; NULL: unknown */
        hl_ipv4 ipv4;       /* if is_peer_ipv4 */
    } peer;
    struct hl_client_set *clients;        /* borrowed: the set that links it, or NULL */
    struct hl_transport *client_next;     /* borrowed, in that set */
    struct hl_transport *client_previous; /* likewise */
    hl_transport_rare *rare; /* owned; NULL until needed, then there to the end */
    uint32_t
        read_since; /* atomic: turn in which reading was (re)started; entries of that
                            turn are of an earlier registration */
    int fd;         /* owned until lost; kept as a number afterwards */
    uint16_t read_hint; /* of the last read, in units of HL_READ_UNIT */
    uint16_t conn_lost; /* > 0: losing; counts dropped writes, too, as far as it can */
    uint8_t family;     /* AF_* of the socket */
    uint8_t watched;    /* atomic: HL_POLL_* that the descriptor is watched for, and
                            HL_NEVER_WATCHED */
    bool is_closing : 1;
    bool is_lost : 1;
    bool is_paused : 1;
    bool is_eof_written : 1;
    bool is_protocol_connected : 1;
    bool is_protocol_paused : 1;
    bool is_buffered : 1;  /* the protocol is a BufferedProtocol */
    bool is_tls : 1;       /* it is that of io/tls.h, which takes bytes directly */
    bool was_blocking : 1; /* of a pipe: O_NONBLOCK goes again at the end */
    bool is_losing : 1; /* of a write pipe: connection_lost() is scheduled, or called */
    bool is_peer_ipv4 : 1;
    bool is_given_up : 1; /* connection_lost() ran, and there is no loop any more */
    bool has_no_proto
        : 1; /* what socket() is to be told: nothing, or what the kernel says */
} hl_transport;

_Static_assert(sizeof(hl_transport) - sizeof(PyObject) <= 128,
               "what every connection costs");

/* In hl_transport.watched: the descriptor is being given up. */
enum { HL_NEVER_WATCHED = 1 << 7 };

_Static_assert(((HL_POLL_READ | HL_POLL_WRITE) & HL_NEVER_WATCHED) == 0,
               "bits of their own");

static inline hl_transport *
hl_transport_of(PyObject *object)
{
    return (hl_transport *)object;
}

/* The block of what few transports need, made if need be.  NULL: MemoryError. */
hl_transport_rare *hl_transport_need_rare(hl_transport *transport);

/* The context of every callback: borrowed, or NULL. */
static inline PyObject *
hl_transport_context(const hl_transport *transport)
{
    return transport->rare != NULL ? transport->rare->context : NULL;
}

/* -- life ------------------------------------------------------------------------------ */

/* A new object of type that owns fd: reads nothing and is known to nobody.  family: AF_*.
 * On failure the descriptor stays the caller's.  Returns new, or NULL. */
hl_transport *hl_transport_new(PyTypeObject *type, const hl_transport_kind *kind,
                               hl_loop *loop, int fd, int family);

/* The arguments of asyncio's constructors; what is NULL or None was not given. */
typedef struct {
    PyObject *sock; /* socket.socket */
    PyObject *protocol;
    PyObject *waiter; /* a future */
    PyObject *extra;  /* a dict */
    PyObject *server;
    PyObject *context;
} hl_transport_arguments;

/* A new transport of sock, which owns it from here on, also if this fails.  Remembers the
 * peer and attaches to the server; schedules nothing.  Returns new, or NULL. */
hl_transport *hl_transport_of_socket(PyTypeObject *type, const hl_transport_kind *kind,
                                     hl_loop *loop,
                                     const hl_transport_arguments *arguments);

/* Remember who the peer is.  Returns 0, or -1 with MemoryError. */
int hl_transport_set_peer(hl_transport *transport, const struct sockaddr *address,
                          socklen_t length);

/* Tell the server of the transport, and have the transport find its server again. */
int hl_transport_attach(hl_transport *transport, PyObject *server);

int hl_transport_traverse(PyObject *self, visitproc visit, void *arg);
int hl_transport_clear(PyObject *self);
void hl_transport_dealloc(PyObject *self);
/* tp_finalize: ResourceWarning and close, if it is still open. */
void hl_transport_finalize(PyObject *self);

/* -- calling the protocol --------------------------------------------------------------- */

/* Schedule connection_made(transport), then reading, then waiter's result (a future; NULL
 * or None: none): each an entry of its own, as on asyncio.  Returns 0 or -1. */
int hl_transport_begin(hl_transport *transport, PyObject *waiter);

/* Begin to read, unless the transport closed or paused meanwhile.  context (stolen, may be
 * NULL: a copy of the current one) is that of the read events.  Returns 0 or -1. */
int hl_transport_start_reading(hl_transport *transport, PyObject *context);

/* transport.protocol.<name>(argument), argument NULL: without.  New, or NULL. */
PyObject *hl_transport_call(hl_transport *transport, PyObject *name,
                            PyObject *argument);

/* Make protocol the one that is called.  Returns 0 or -1. */
int hl_transport_set_protocol(hl_transport *transport, PyObject *protocol);

/* -- watching ------------------------------------------------------------------------- */

/* True if the descriptor is watched for kind (HL_POLL_*). */
static inline bool
hl_transport_is_watched(const hl_transport *transport, int kind)
{
    return __atomic_load_n(&transport->watched, __ATOMIC_RELAXED) & kind;
}

/* True if an entry for a read event is of an earlier registration. */
static inline bool
hl_transport_is_read_stale(const hl_loop *loop, const hl_transport *transport)
{
    return !hl_transport_is_watched(transport, HL_POLL_READ) ||
           __atomic_load_n(&transport->read_since, __ATOMIC_RELAXED) ==
               hl_loop_turn_number(loop);
}

/* The same of a write event. */
static inline bool
hl_transport_is_write_stale(const hl_loop *loop, const hl_transport *transport)
{
    return !hl_transport_is_watched(transport, HL_POLL_WRITE) ||
           __atomic_load_n(&transport->rare->write_since, __ATOMIC_RELAXED) ==
               hl_loop_turn_number(loop);
}

/* A context for events: that of all callbacks, or a copy of the current one.  New, or NULL. */
PyObject *hl_transport_event_context(const hl_transport *transport);

/* Watch for kind (HL_POLL_*); context is stolen, NULL: a copy of the current one.  Returns
 * 0 or -1. */
int hl_transport_watch(hl_transport *transport, int kind, PyObject *context);

/* Stop watching for kind; nothing if it is not watched.  Returns 0 or -1. */
int hl_transport_unwatch(hl_transport *transport, int kind);

/* Stop watching, and never begin again: the descriptor is given up.  Raises nothing. */
void hl_transport_unwatch_for_good(hl_transport *transport);

/* Run the body of an event, in the context in *slot (read_context or write_context, of which
 * an empty one is made only now) and in the transport's critical section.  What the
 * body raises is reported as asyncio reports a failing handle of the method `name`.
 * Returns 0, or -1 with an exception that must leave the loop. */
int hl_transport_run(hl_loop *loop, hl_transport *transport, PyObject **slot,
                     int (*body)(hl_transport *), PyObject *name);

/* The descriptor for a system call: -1, which the kernel refuses with EBADF, if the program
 * closed the socket object behind the transport's back: the number may be another
 * connection's by now. */
static inline int
hl_transport_descriptor(const hl_transport *transport)
{
    const hl_state *state = transport->loop->state;
    return transport->sock == NULL || !transport->kind->is_socket ||
                   !state->knows_socket_fields ||
                   hl_plain_socket_fd_again(state, transport->sock) == transport->fd
               ? transport->fd
               : -1;
}

/* -- receiving (receive.c) --------------------------------------------------------------- */

/* HL_READ_BUFFER_SIZE of these fit the read_hint. */
enum { HL_READ_UNIT = 8 };

/* recv or read: at most length bytes; the count, 0 at the end, or -errno. */
typedef ssize_t (*hl_receive)(int fd, void *buffer, size_t length);

/* Receive once into a bytes object.  *data is new, or NULL: at the end of the stream (0 is
 * returned) and on an error (-errno, or HL_NO_MEMORY with MemoryError set). */
Py_ssize_t hl_transport_receive(hl_transport *transport, hl_receive receive,
                                PyObject **data);

/* -- the end ------------------------------------------------------------------------------ */

/* close(): flush, stop reading, and schedule connection_lost once nothing is queued. */
int hl_transport_close(hl_transport *transport);

/* Drop what is queued and schedule connection_lost(exc) (borrowed; None for none). */
int hl_transport_force_close(hl_transport *transport, PyObject *exc);

/* Tell the exception handler by a function of _transports.py that takes (loop, message,
 * exception, transport).  Returns 0, or -1 if an exception must leave the loop. */
int hl_transport_report(hl_transport *transport, const char *function,
                        const char *message, PyObject *exception);

/* The raised exception ends the connection: OSError quietly, others are reported with
 * message.  KeyboardInterrupt and SystemExit stay raised.  Returns 0, or -1. */
int hl_transport_fail(hl_transport *transport, const char *message);

/* The same with an error of the kernel, -errno. */
int hl_transport_fail_errno(hl_transport *transport, int error, const char *message);

/* connection_lost(exc) now, then give everything up.  Returns 0 or -1. */
int hl_transport_lose(hl_transport *transport, PyObject *exc);

/* Append to the queue; steals owner.  Returns 0, or -1 with MemoryError. */
int hl_transport_queue(hl_transport *transport, PyObject *owner, const char *data,
                       size_t length);

/* Take what was sent off the front of a queue of spans. */
void hl_transport_sent(hl_loop *loop, hl_spans *spans, size_t sent);

/* Schedule connection_lost(exc); NULL: None. */
int hl_transport_lose_soon(hl_transport *transport, PyObject *exc);

/* The queue has something since now: wait for room in the kernel, and tell the protocol if
 * it is too much. */
int hl_transport_wait_for_room(hl_transport *transport);

/* The end of a pipe: its file blocks again if it did before.  Returns 0 or -1. */
int hl_transport_end_nonblocking(hl_transport *transport);

/* Drop the queued bytes. */
void hl_transport_drop_queue(hl_transport *transport);

/* The program writes on although the connection is lost: count, and warn after a while.
 * Returns 0 or -1. */
int hl_transport_note_lost_write(hl_transport *transport);

/* -- flow control (flow.c) ------------------------------------------------------------- */

static inline size_t
hl_transport_queued(const hl_transport *transport)
{
    return transport->rare != NULL ? transport->rare->queue.size : 0;
}

static inline bool
hl_transport_is_queued(const hl_transport *transport)
{
    return transport->rare != NULL && transport->rare->queue.count > 0;
}

static inline size_t
hl_transport_high_water(const hl_transport *transport)
{
    return transport->rare != NULL ? transport->rare->high_water : HL_HIGH_WATER;
}

static inline size_t
hl_transport_low_water(const hl_transport *transport)
{
    return transport->rare != NULL ? transport->rare->low_water : HL_LOW_WATER;
}

/* pause_writing() if too much is queued; resume_writing() if little enough is left. */
int hl_flow_maybe_pause(hl_transport *transport);
int hl_flow_maybe_resume(hl_transport *transport);

/* The Python socket, made at first need; None once lost.  New, or NULL. */
PyObject *hl_transport_socket(hl_transport *transport);

/* Imports what transports need, and makes the base type.  Returns 0 or -1. */
int hl_transport_type_init(PyObject *module, hl_state *state);

#endif
