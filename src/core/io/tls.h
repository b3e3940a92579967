/* TLS on top of any transport: the hot half of asyncio.sslproto.SSLProtocol.
 *
 * hotloop._tls.SSLProtocol derives from the type made here and from asyncio's class, in this
 * order.  Handshake, shutdown, errors and the decisions of flow control are the inherited
 * Python of the running version.  Here is what runs per message: ciphertext goes from the
 * loop's read buffer into the incoming MemoryBIO and is decrypted back into that buffer, and
 * what the program writes is encrypted and handed to the transport at once.  Only the ssl
 * module's own objects are used, never OpenSSL itself.
 *
 * The attributes that asyncio's class keeps are fields of the struct, with descriptors of
 * asyncio's names in front: Python and C read and write the same state, there is no dict, and
 * at every point either of the two may go on.
 *
 * Invariant: records.count is never less than the number of complete records that OpenSSL
 * has not handed out, as long as the stream could be followed.  So at 0 there is nothing to
 * read, and no SSLWantReadError has to be raised to find that out. */
#ifndef HL_IO_TLS_H
#define HL_IO_TLS_H

#include "base/records.h"
#include "sched/loop.h"

/* asyncio's attributes that are plain objects: NULL shows as None. */
#define HL_TLS_OBJECTS(X)                                                              \
    X(_ssl_buffer)                                                                     \
    X(_ssl_buffer_view)                                                                \
    X(_server_side)                                                                    \
    X(_server_hostname)                                                                \
    X(_sslcontext)                                                                     \
    X(_extra)                                                                          \
    X(_waiter)                                                                         \
    X(_app_transport)                                                                  \
    X(_transport)                                                                      \
    X(_ssl_handshake_timeout)                                                          \
    X(_ssl_shutdown_timeout)                                                           \
    X(_state)                                                                          \
    X(_app_state)                                                                      \
    X(_app_protocol)                                                                   \
    X(_app_protocol_get_buffer)                                                        \
    X(_app_protocol_buffer_updated)                                                    \
    X(_incoming_high_water)                                                            \
    X(_incoming_low_water)                                                             \
    X(_outgoing_high_water)                                                            \
    X(_outgoing_low_water)                                                             \
    X(_handshake_start_time)                                                           \
    X(_handshake_timeout_handle)                                                       \
    X(_shutdown_timeout_handle)

#define HL_TLS_FLAGS(X)                                                                \
    X(_app_transport_created)                                                          \
    X(_ssl_writing_paused)                                                             \
    X(_app_reading_paused)                                                             \
    X(_ssl_reading_paused)                                                             \
    X(_eof_received)                                                                   \
    X(_app_writing_paused)                                                             \
    X(_app_protocol_is_buffer)

typedef struct {
    PyObject_HEAD
    hl_state *state;    /* borrowed from the module, which the type holds */
    hl_loop *loop;      /* owned */
    PyObject *sslobj;   /* owned ssl.SSLObject */
    PyObject *incoming; /* owned ssl.MemoryBIO */
    PyObject *outgoing; /* owned ssl.MemoryBIO */
    PyObject
        *raw; /* owned: the _ssl._SSLSocket inside, if nothing of the three is more than
                      what the ssl module makes; else NULL, and everything is asyncio's */
    PyObject *write_backlog; /* owned deque; NULL: empty */
    Py_ssize_t write_buffer_size;
    Py_ssize_t conn_lost;
    hl_records records; /* of what was written into `incoming` */
    bool
        is_drained; /* nothing was encrypted or decrypted here since `outgoing` was read */
    struct {
#define HL_FIELD(name) PyObject *name; /* owned, or NULL */
        HL_TLS_OBJECTS(HL_FIELD)
#undef HL_FIELD
    } py;
    struct {
#define HL_FIELD(name) char name;
        HL_TLS_FLAGS(HL_FIELD)
#undef HL_FIELD
    } flag;
} hl_tls;

/* One of HL_TLS_FLAGS, which Python may set in any thread. */
#define hl_tls_flag(tls, name)                                                         \
    (__atomic_load_n(&(tls)->flag.name, __ATOMIC_RELAXED) != 0)

/* True if what the program writes can be encrypted at once by hl_tls_write(). */
bool hl_tls_can_write(const hl_tls *tls);

/* Take length bytes of ciphertext, which may be in the loop's read buffer: buffer_updated()
 * of asyncio's class.  Runs user code.  Returns 0, or -1 with an exception. */
int hl_tls_feed(hl_tls *tls, const char *data, size_t length);

/* Encrypt and send count objects, each of them bytes, bytearray or memoryview and not empty.
 * hl_tls_can_write() is true.  Errors end the connection.  Returns 0, or -1 with an exception
 * that is no Exception. */
int hl_tls_write(hl_tls *tls, PyObject *const *pieces, Py_ssize_t count);

/* What asyncio's _do_read() does; hl_tls.raw is there.  Returns 0, or -1 as above. */
int hl_tls_read(hl_tls *tls);

/* -- shared by reading and writing ------------------------------------------------------- */

/* self.<name>(), for what happens once.  Returns 0 or -1. */
int hl_tls_call(hl_tls *tls, const char *name);

/* The raised exception ends the connection, as on asyncio; what is no Exception goes on.
 * Returns 0, or -1 with an exception. */
int hl_tls_fail(hl_tls *tls);

/* asyncio's _process_outgoing(): hand what is encrypted to the transport. */
int hl_tls_process_outgoing(hl_tls *tls);

/* True if something waits to be encrypted, which asyncio's _do_write() does. */
bool hl_tls_has_backlog(const hl_tls *tls);

/* A water mark that is a number above 0, as nearly all are. */
bool hl_tls_is_positive(PyObject *mark);

int hl_tls_type_init(PyObject *module, hl_state *state); /* tls_type.c */

/* True if protocol is one of ours. */
static inline bool
hl_tls_check(const hl_state *state, PyObject *protocol)
{
    return PyObject_TypeCheck(protocol, state->TLSType);
}

#endif
