/* The module's state: everything that lives once per interpreter.
 *
 * Types, interned names, and what was imported from asyncio.  Every field is owned unless
 * it says otherwise.  Reached from an object of ours through its type's module, or in hot
 * paths through the loop, which keeps a borrowed pointer (the module outlives every object
 * of its types, because the types hold it). */
#ifndef HL_PY_STATE_H
#define HL_PY_STATE_H

#include "py/compat.h"

#include <stdint.h>

/* Interned names, each as state->str.<name>. */
#define HL_NAMES(X)                                                                    \
    X(add_done_callback)                                                               \
    X(_asyncio_future_blocking)                                                        \
    X(_loop)                                                                           \
    X(call_at)                                                                         \
    X(call_soon)                                                                       \
    X(cancel)                                                                          \
    X(context)                                                                         \
    X(coro)                                                                            \
    X(data)                                                                            \
    X(create_task)                                                                     \
    X(_create_task_with_factory)                                                       \
    X(_check_callback)                                                                 \
    X(eager_start)                                                                     \
    X(exception)                                                                       \
    X(future)                                                                          \
    X(getaddrinfo)                                                                     \
    X(get_debug)                                                                       \
    X(_get_running_loop)                                                               \
    X(_set_running_loop)                                                               \
    X(get_loop)                                                                        \
    X(is_running)                                                                      \
    X(loop)                                                                            \
    X(msg)                                                                             \
    X(name)                                                                            \
    X(result)                                                                          \
    X(_run_once)                                                                       \
    X(run)                                                                             \
    X(run_forever)                                                                     \
    X(run_in_executor)                                                                 \
    X(_run)                                                                            \
    X(throw)                                                                           \
    X(time)                                                                            \
    X(_asyncgen_firstiter_hook)                                                        \
    X(_asyncgen_finalizer_hook)                                                        \
    X(_set_coroutine_origin_tracking)                                                  \
    X(_write_to_self)                                                                  \
    X(_ensure_fd_no_transport)                                                         \
    X(_add_reader)                                                                     \
    X(_remove_reader)                                                                  \
    X(_add_writer)                                                                     \
    X(_remove_writer)                                                                  \
    X(_transports)                                                                     \
    X(fd)                                                                              \
    X(fileno)                                                                          \
    X(get)                                                                             \
    X(is_closing)                                                                      \
    X(_prepare_to_block)                                                               \
    X(_after_block)                                                                    \
    X(_timer_handle_cancelled)                                                         \
    X(_log_destroy_pending)                                                            \
    X(remove_done_callback)                                                            \
    X(callback)                                                                        \
    X(args)                                                                            \
    X(when)                                                                            \
    X(done)                                                                            \
    X(cancelled)                                                                       \
    X(connection_made)                                                                 \
    X(connection_lost)                                                                 \
    X(data_received)                                                                   \
    X(eof_received)                                                                    \
    X(get_buffer)                                                                      \
    X(buffer_updated)                                                                  \
    X(datagram_received)                                                               \
    X(pause_writing)                                                                   \
    X(resume_writing)                                                                  \
    X(accept)                                                                          \
    X(_attach)                                                                         \
    X(_detach)                                                                         \
    X(_start_reading)                                                                  \
    X(_read_ready)                                                                     \
    X(_write_ready)                                                                    \
    X(_sendto_ready)                                                                   \
    X(_call_connection_lost)                                                           \
    X(socket)                                                                          \
    X(sockname)                                                                        \
    X(peername)                                                                        \
    X(exc)                                                                             \
    X(message)                                                                         \
    X(high)                                                                            \
    X(low)                                                                             \
    X(sock)                                                                            \
    X(protocol)                                                                        \
    X(waiter)                                                                          \
    X(addr)                                                                            \
    X(extra)                                                                           \
    X(server)                                                                          \
    X(protocol_factory)                                                                \
    X(sslcontext)                                                                      \
    X(backlog)                                                                         \
    X(ssl_handshake_timeout)                                                           \
    X(ssl_shutdown_timeout)                                                            \
    X(read)                                                                            \
    X(write)                                                                           \
    X(writelines)                                                                      \
    X(pending)                                                                         \
    X(_sslobj)                                                                         \
    X(_do_read)

/* What is counted in debug builds: live objects and how many were ever made. */
typedef enum {
    HL_COUNT_LOOP,
    HL_COUNT_FUTURE,
    HL_COUNT_TASK,
    HL_COUNT_HANDLE,
    HL_COUNT_TIMER_HANDLE,
    HL_COUNT_FUTURE_ITER,
    HL_COUNT_SOCK_CALL,
    HL_COUNT_TRANSPORT,
    HL_COUNT_TLS,
    HL_COUNT_KINDS
} hl_count_kind;

/* Freed objects of one exact type, linked through a field of their own. */
typedef struct {
    PyObject *first; /* owned, untracked, with every other field cleared */
    int count;
} hl_freelist;

/* Enough for a burst of a thousand callbacks (benchmark call_soon_burst1000); at most some
 * 100 KiB a list.  Handles come in larger numbers, one for each call from a thread that runs
 * ahead and for each timeout that is pending (threadsafe_burst, where some 25,000 calls come in
 * the 5 ms that a thread keeps the GIL, and timer_fire_10k); what exceeds the smaller limit is
 * at most some 4 MiB a list and is freed when a run of a loop ends. */
enum { HL_FREELIST_LIMIT = 1024, HL_HANDLE_FREELIST_LIMIT = 32 * 1024 };

struct hl_loop;

typedef struct {
    /* Our types. */
    PyTypeObject *LoopType;
    PyTypeObject *FutureType;
    PyTypeObject *FutureIterType;
    PyTypeObject *TaskType;
    PyTypeObject *TaskStepType;
    PyTypeObject *HandleType;
    PyTypeObject *TimerHandleType;
    PyTypeObject *ThreadSafeHandleType; /* NULL before 3.14 */
    PyTypeObject *SockCallType;
    PyTypeObject *TransportType;
    PyTypeObject *StreamType;
    PyTypeObject *DatagramType;
    PyTypeObject *ListenerType;
    PyTypeObject *ClientSetType;
    PyTypeObject *ReadPipeType;
    PyTypeObject *WritePipeType;
    PyTypeObject *TLSType;
    PyTypeObject *TLSTransportType;
    PyTypeObject *WindowType;

    /* asyncio's types that ours derive from or treat specially. */
    PyTypeObject *StockFutureType;
    PyTypeObject *StockTaskType;
    PyTypeObject *StockHandleType;
    PyTypeObject *StockTimerHandleType;
    PyTypeObject *StockThreadSafeHandleType; /* NULL before 3.14 */
    PyTypeObject *StockBaseTransportType;
    PyTypeObject *StockDatagramTransportType;
    PyTypeObject *StockReadTransportType;
    PyTypeObject *FlowControlMixinType;
    PyTypeObject *BufferedProtocolType;

    /* Of asyncio.sslproto and ssl; without an ssl module the latter's are NULL. */
    PyTypeObject *StockTLSTransportType;
    PyTypeObject *SSLObjectType;
    PyTypeObject *MemoryBIOType;
    PyTypeObject *RawSSLType; /* _ssl._SSLSocket */
    PyObject *
        sslobject_read; /* ssl.SSLObject.read and write, to see if they were replaced */
    PyObject *sslobject_write;
    /* The C functions behind methods of _ssl.MemoryBIO and _ssl._SSLSocket; NULL: unknown. */
    PyCFunction bio_read;       /* METH_FASTCALL */
    PyCFunction bio_write;      /* METH_O */
    PyCFunction ssl_read;       /* METH_VARARGS */
    PyCFunction ssl_write;      /* METH_O */
    PyObject *ssl_again_errors; /* asyncio's tuple of exceptions: not now */
    PyObject *tls_handshaking;  /* asyncio's SSLProtocolState, member by member */
    PyObject *tls_wrapped;
    PyObject *tls_flushing;
    PyObject *tls_shutting_down;
    PyObject *deque; /* collections.deque */

    /* socket.socket, the version of the class that was last seen unchanged (atomic), and
     * where the fields of its objects are: io/plain_socket.h. */
    PyTypeObject *SocketType;
    unsigned int socket_version;
    bool knows_socket_fields; /* the others say nothing if not */
    Py_ssize_t socket_fd_offset;
    Py_ssize_t socket_family_offset;
    Py_ssize_t socket_type_offset;
    Py_ssize_t socket_proto_offset;
    Py_ssize_t socket_timeout_offset;

    /* For answers of getaddrinfo: the socket module's names, and members of its enums. */
    PyObject *socket_names;
    PyObject *AF_INET_member;
    PyObject *AF_INET6_member; /* NULL without IPv6 */
    PyObject *SOCK_STREAM_member;
    PyObject *SOCK_DGRAM_member;

    /* asyncio's functions. */
    PyObject *CancelledError;
    PyObject *InvalidStateError;
    PyObject *coroutines; /* the module asyncio.coroutines */
    PyObject *events;     /* the module asyncio.events */
    PyObject *iscoroutine;
    PyObject *isfuture;
    PyObject *ensure_future;
    PyObject *run_until_complete_cb; /* base_events' own done callback */
    PyObject *extract_stack;
    PyObject *get_event_loop; /* asyncio.events.get_event_loop */
    PyObject *enter_task;
    PyObject *leave_task;
    PyObject *swap_current_task; /* NULL on 3.11 */
    PyObject *register_task;
    PyObject *unregister_task;
    PyObject *eager_task_factory; /* asyncio.eager_task_factory; NULL on 3.11 */
    PyObject *get_asyncgen_hooks;
    PyObject *set_asyncgen_hooks;
    PyObject *current_tasks;   /* {loop: task}, up to 3.13 */
    PyObject *scheduled_tasks; /* the WeakSet of tasks, up to 3.13 */
    PyObject *eager_tasks;     /* the set of eagerly run tasks, 3.12 and 3.13 */

    /* Functions of hotloop._support, called on cold paths. */
    PyObject *support;

    /* The module hotloop._transports, likewise. */
    PyObject *transports;

    /* True if Future and Task are ours; else the layout check failed. */
    bool is_native;
    PyObject *layout_problem; /* str, or None */

    /* Offsets in CPython's thread state found at import (3.14 and later). */
    Py_ssize_t running_task_offset;
    Py_ssize_t task_list_offset;

    /* Native tasks that are not done, up to 3.13: task/registry.h. */
    PyObject **tasks; /* owned array of borrowed tasks */
    size_t task_count;
    size_t task_capacity;
    bool is_task_set_decided; /* whether `tasks` or the WeakSet is used */
    bool is_task_set_chained;

    /* What this version's set_exception(StopIteration()) does: wrap it in RuntimeError, or
     * refuse it.  It changed in a micro release, so it is probed. */
    bool wraps_stop_iteration;

    /* What this version's datagram transports do with b"", and what they add to the size of a
     * datagram that is queued.  They changed in micro releases, so they are probed. */
    bool sends_empty_datagrams;
    Py_ssize_t datagram_header_size;

    uint64_t task_name_counter;
    hl_freelist free_futures;
    hl_freelist free_tasks;
    hl_freelist free_iterators;
    hl_freelist free_handles;
    hl_freelist free_timer_handles;
    hl_freelist free_threadsafe_handles;
    hl_freelist free_sock_calls;

    /* LoopType's own, which its subclasses inherit: a quick proof that a loop is ours. */
    setattrofunc loop_setattro;

    /* All loops, so that a forked child can disown their descriptors.  Borrowed. */
    struct hl_loop *loops; /* guarded by loops_mutex */
    hl_mutex loops_mutex;

    PyObject *empty_context; /* marker in handles: py/context.h; or NULL */
    PyObject *empty_vars;    /* what contexts without variables have; or NULL */
    PyObject *spare_context; /* for the next handle that runs; or NULL */

    PyObject *partial;                     /* functools.partial */
    PyObject *set_result_unless_cancelled; /* of asyncio.futures */
    PyObject *sendfile_try_native; /* asyncio.constants._SendfileMode.TRY_NATIVE */
    PyObject *minus_one;
    PyObject *empty_tuple;
    PyObject *context_names; /* ("context",) */

    struct {
#define HL_FIELD(name) PyObject *name;
        HL_NAMES(HL_FIELD)
#undef HL_FIELD
        PyObject *default_; /* "default", a word of C */
    } str;

#ifdef HL_DEBUG
    Py_ssize_t live[HL_COUNT_KINDS];
    Py_ssize_t created[HL_COUNT_KINDS];
    Py_ssize_t steps;
#endif
} hl_state;

extern PyModuleDef hl_module_def;

/* The state of the module that an object's type, or a base of it, belongs to.  Borrowed;
 * NULL with TypeError if object is not of a type of ours.  Every such type is a heap type. */
static inline hl_state *
hl_state_of_type(PyTypeObject *type)
{
    PyObject *module = ((PyHeapTypeObject *)type)->ht_module;
    if (module == NULL || PyModule_GetDef(module) != &hl_module_def) {
        module = PyType_GetModuleByDef(type, &hl_module_def); /* of a subclass */
    }
    return module != NULL ? (hl_state *)PyModule_GetState(module) : NULL;
}

static inline hl_state *
hl_state_of(PyObject *object)
{
    return hl_state_of_type(Py_TYPE(object));
}

/* The same for a dying object, without raising: NULL if the module is gone already, as it
 * can be while the interpreter ends.  Borrowed. */
static inline hl_state *
hl_state_in_dealloc(PyTypeObject *type)
{
    while (type != NULL && PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE)) {
        PyObject *module = ((PyHeapTypeObject *)type)->ht_module;
        if (module != NULL && PyModule_GetDef(module) == &hl_module_def) {
            return (hl_state *)PyModule_GetState(module);
        }
        type = type->tp_base;
    }
    return NULL;
}

/* Counting costs nothing in release builds.  Relaxed atomics: the numbers are read at rest. */
#ifdef HL_DEBUG
#define hl_count_new(state, kind)                                                      \
    ((void)__atomic_add_fetch(&(state)->live[kind], 1, __ATOMIC_RELAXED),              \
     (void)__atomic_add_fetch(&(state)->created[kind], 1, __ATOMIC_RELAXED))
#define hl_count_free(state, kind)                                                     \
    ((state) != NULL                                                                   \
         ? (void)__atomic_sub_fetch(&(state)->live[kind], 1, __ATOMIC_RELAXED)         \
         : (void)0)
#define hl_count_step(state)                                                           \
    ((void)__atomic_add_fetch(&(state)->steps, 1, __ATOMIC_RELAXED))
#else
#define hl_count_new(state, kind) ((void)(state))
#define hl_count_free(state, kind) ((void)(state))
#define hl_count_step(state) ((void)(state))
#endif

#endif
