/* hotloop._core: everything is put together here, once per interpreter.
 *
 * Executing the module imports what the core needs of asyncio, verifies CPython's private
 * layout, and makes the types in the order of the layers. */
#include "api/loop_type.h"
#include "io/client_set.h"
#include "io/datagram.h"
#include "io/listener.h"
#include "io/pipe.h"
#include "io/numeric.h"
#include "io/sock_call.h"
#include "io/stream.h"
#include "io/tls.h"
#include "io/tls_transport.h"
#include "io/transport.h"
#include "py/context.h"
#include "py/freelist.h"
#include "py/state.h"
#include "py/types.h"
#include "py/window.h"
#include "sched/handle.h"
#include "sched/threadsafe_handle.h"
#include "sched/timer_handle.h"
#include "task/future.h"
#include "task/future_iter.h"
#include "task/layout.h"
#include "task/registry.h"
#include "task/step_callable.h"
#include "task/task.h"

#ifndef HL_BUILD_FLAGS
#define HL_BUILD_FLAGS ""
#endif
#ifndef HL_SANITIZE
#define HL_SANITIZE ""
#endif

static hl_state *
state_of_module(PyObject *module)
{
    return (hl_state *)PyModule_GetState(module);
}

/* -- functions ------------------------------------------------------------------------------- */

static PyObject *
core_check_layout(PyObject *module, PyObject *args)
{
    return hl_layout_check(state_of_module(module), args);
}

static PyObject *
core_registered_tasks(PyObject *module, PyObject *unused)
{
    return hl_registry_list(state_of_module(module));
}

/* asyncio._unregister_task of a task in our own array. */
static PyObject *
core_forget_task(PyObject *module, PyObject *task)
{
    hl_state *state = state_of_module(module);
    if (state->is_native && PyObject_TypeCheck(task, state->TaskType) &&
        hl_registry_remove(state, (hl_task *)task) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
core_before_fork(PyObject *module, PyObject *unused)
{
    if (hl_loops_before_fork(state_of_module(module)) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
core_after_fork(PyObject *module, PyObject *unused)
{
    return hl_loops_after_fork(state_of_module(module));
}

static PyObject *
core_build_info(PyObject *module, PyObject *unused)
{
#ifdef HL_DEBUG
    bool is_debug = true;
#else
    bool is_debug = false;
#endif
    return Py_BuildValue("{s:O,s:O,s:s,s:s,s:s,s:i,s:O}",
                         "debug",
                         is_debug ? Py_True : Py_False,
                         "freelists",
                         HL_FREELISTS ? Py_True : Py_False,
                         "sanitize",
                         HL_SANITIZE,
                         "compiler",
                         __VERSION__,
                         "flags",
                         HL_BUILD_FLAGS,
                         "layout",
                         HL_LAYOUT,
                         "free_threaded",
                         HL_FREE_THREADED ? Py_True : Py_False);
}

#ifdef HL_DEBUG
static int
add_count(PyObject *counts, const char *prefix, const char *name, Py_ssize_t number)
{
    PyObject *key = PyUnicode_FromFormat("%s_%s", prefix, name);
    PyObject *value = key != NULL ? PyLong_FromSsize_t(number) : NULL;
    int error = value != NULL ? PyDict_SetItem(counts, key, value) : -1;
    Py_XDECREF(key);
    Py_XDECREF(value);
    return error;
}
#endif

static PyObject *
core_counters(PyObject *module, PyObject *unused)
{
    PyObject *counts = PyDict_New();
#ifdef HL_DEBUG
    static const char *const names[HL_COUNT_KINDS] = {"Loop",
                                                      "Future",
                                                      "Task",
                                                      "Handle",
                                                      "TimerHandle",
                                                      "FutureIter",
                                                      "SockCall",
                                                      "Transport",
                                                      "TLS"};
    const hl_state *state = state_of_module(module);
    for (int i = 0; counts != NULL && i < HL_COUNT_KINDS; i++) {
        if (add_count(counts, "live", names[i], state->live[i]) < 0 ||
            add_count(counts, "created", names[i], state->created[i]) < 0) {
            Py_CLEAR(counts);
        }
    }
    PyObject *steps = counts != NULL ? PyLong_FromSsize_t(state->steps) : NULL;
    if (steps == NULL || PyDict_SetItemString(counts, "steps", steps) < 0) {
        Py_CLEAR(counts);
    }
    Py_XDECREF(steps);
#endif
    return counts;
}

static PyMethodDef core_functions[] = {
    {"build_info",
     core_build_info,
     METH_NOARGS,
     "build_info()\n--\n\nHow this extension was built, as a dict."},
    {"counters",
     core_counters,
     METH_NOARGS,
     "counters()\n--\n\nLive and ever created objects by type, and native task steps; empty "
     "in release builds."},
    {"_check_layout", core_check_layout, METH_VARARGS, NULL},
    {"_registered_tasks", core_registered_tasks, METH_NOARGS, NULL},
    {"_forget_task", core_forget_task, METH_O, NULL},
    {"_before_fork", core_before_fork, METH_NOARGS, NULL},
    {"_after_fork_in_child", core_after_fork, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* -- state ------------------------------------------------------------------------------------- */

/* Every owned object pointer of the state, for traverse and clear. */
#define HL_STATE_OBJECTS(X)                                                            \
    X(LoopType)                                                                        \
    X(FutureType)                                                                      \
    X(FutureIterType)                                                                  \
    X(TaskType)                                                                        \
    X(TaskStepType)                                                                    \
    X(HandleType)                                                                      \
    X(TimerHandleType)                                                                 \
    X(StockFutureType)                                                                 \
    X(StockTaskType)                                                                   \
    X(StockHandleType)                                                                 \
    X(StockTimerHandleType)                                                            \
    X(CancelledError)                                                                  \
    X(InvalidStateError)                                                               \
    X(iscoroutine)                                                                     \
    X(isfuture)                                                                        \
    X(ensure_future)                                                                   \
    X(run_until_complete_cb)                                                           \
    X(coroutines)                                                                      \
    X(extract_stack)                                                                   \
    X(get_event_loop)                                                                  \
    X(events)                                                                          \
    X(ThreadSafeHandleType)                                                            \
    X(SockCallType)                                                                    \
    X(SocketType)                                                                      \
    X(socket_names)                                                                    \
    X(AF_INET_member)                                                                  \
    X(AF_INET6_member)                                                                 \
    X(SOCK_STREAM_member)                                                              \
    X(SOCK_DGRAM_member)                                                               \
    X(StockThreadSafeHandleType)                                                       \
    X(enter_task)                                                                      \
    X(leave_task)                                                                      \
    X(swap_current_task)                                                               \
    X(register_task)                                                                   \
    X(unregister_task)                                                                 \
    X(eager_task_factory)                                                              \
    X(get_asyncgen_hooks)                                                              \
    X(set_asyncgen_hooks)                                                              \
    X(current_tasks)                                                                   \
    X(scheduled_tasks)                                                                 \
    X(eager_tasks)                                                                     \
    X(transports)                                                                      \
    X(support)                                                                         \
    X(layout_problem)                                                                  \
    X(empty_context)                                                                   \
    X(empty_vars)                                                                      \
    X(spare_context)                                                                   \
    X(TransportType)                                                                   \
    X(StreamType)                                                                      \
    X(DatagramType)                                                                    \
    X(ListenerType)                                                                    \
    X(ClientSetType)                                                                   \
    X(ReadPipeType)                                                                    \
    X(WritePipeType)                                                                   \
    X(StockReadTransportType)                                                          \
    X(TLSType)                                                                         \
    X(TLSTransportType)                                                                \
    X(WindowType)                                                                      \
    X(StockTLSTransportType)                                                           \
    X(SSLObjectType)                                                                   \
    X(MemoryBIOType)                                                                   \
    X(RawSSLType)                                                                      \
    X(sslobject_read)                                                                  \
    X(sslobject_write)                                                                 \
    X(ssl_again_errors)                                                                \
    X(tls_handshaking)                                                                 \
    X(tls_wrapped)                                                                     \
    X(tls_flushing)                                                                    \
    X(tls_shutting_down)                                                               \
    X(deque)                                                                           \
    X(StockBaseTransportType)                                                          \
    X(StockDatagramTransportType)                                                      \
    X(FlowControlMixinType)                                                            \
    X(BufferedProtocolType)                                                            \
    X(partial)                                                                         \
    X(set_result_unless_cancelled)                                                     \
    X(sendfile_try_native)                                                             \
    X(minus_one)                                                                       \
    X(empty_tuple)                                                                     \
    X(context_names)

static int
core_traverse(PyObject *module, visitproc visit, void *arg)
{
    hl_state *state = state_of_module(module);
#define VISIT(name) Py_VISIT(state->name);
    HL_STATE_OBJECTS(VISIT)
#undef VISIT
    return 0;
}

/* The lists hold objects of the types that go next. */
static void
drain_freelists(hl_state *state)
{
    if (state->TimerHandleType == NULL) {
        return; /* the types were never made, so nothing was freed */
    }
    hl_handle_trim_freelists(state, 0);
    if (state->SockCallType != NULL) {
        hl_sock_call_drain(state);
    }
    if (state->FutureIterType == NULL || !state->is_native) {
        return;
    }
    hl_freelist_drain(
        &state->free_futures, state->FutureType, offsetof(hl_future, loop));
    hl_freelist_drain(&state->free_tasks, state->TaskType, offsetof(hl_task, loop));
    hl_freelist_drain(&state->free_iterators, state->FutureIterType, sizeof(PyObject));
}

static int
core_clear(PyObject *module)
{
    hl_state *state = state_of_module(module);
    drain_freelists(state);
#define CLEAR(name) Py_CLEAR(state->name);
    HL_STATE_OBJECTS(CLEAR)
#undef CLEAR
#define CLEAR_NAME(name) Py_CLEAR(state->str.name);
    HL_NAMES(CLEAR_NAME)
#undef CLEAR_NAME
    hl_registry_fini(state);
    return 0;
}

static void
core_free(void *module)
{
    (void)core_clear((PyObject *)module);
}

/* -- execution ------------------------------------------------------------------------------------ */

static int
intern_names(hl_state *state)
{
#define INTERN(name)                                                                   \
    state->str.name = PyUnicode_InternFromString(#name);                               \
    if (state->str.name == NULL) {                                                     \
        return -1;                                                                     \
    }
    HL_NAMES(INTERN)
#undef INTERN
    state->str.default_ = PyUnicode_InternFromString("default");
    state->minus_one = PyLong_FromLong(-1);
    state->empty_tuple = PyTuple_New(0);
    state->context_names = PyTuple_Pack(1, state->str.context);
    return state->str.default_ != NULL && state->minus_one != NULL &&
                   state->empty_tuple != NULL && state->context_names != NULL
               ? 0
               : -1;
}

typedef struct {
    size_t slot; /* offset in hl_state */
    const char *name;
    bool is_optional;
} import_entry;

#define IMPORT(slot, name) {offsetof(hl_state, slot), name, false}
#define IMPORT_OPTIONAL(slot, name) {offsetof(hl_state, slot), name, true}

static int
import_from(hl_state *state, const char *module_name, const import_entry *entries,
            size_t count)
{
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL) {
        return -1;
    }
    int error = 0;
    for (size_t i = 0; error == 0 && i < count; i++) {
        PyObject **slot = (PyObject **)((char *)state + entries[i].slot);
        error = hl_import(slot, module, entries[i].name, entries[i].is_optional);
    }
    Py_DECREF(module);
    return error;
}

#define IMPORT_FROM(state, module, entries)                                            \
    import_from(state, module, entries, sizeof(entries) / sizeof((entries)[0]))

static int
import_tasks(hl_state *state)
{
    static const import_entry from_c[] = {
        IMPORT(StockFutureType, "Future"),
        IMPORT(StockTaskType, "Task"),
        IMPORT(enter_task, "_enter_task"),
        IMPORT(leave_task, "_leave_task"),
        IMPORT_OPTIONAL(swap_current_task, "_swap_current_task"),
        IMPORT(register_task, "_register_task"),
        IMPORT(unregister_task, "_unregister_task"),
        IMPORT_OPTIONAL(current_tasks, "_current_tasks"),
        IMPORT_OPTIONAL(eager_tasks, "_eager_tasks"),
    };
    static const import_entry from_events[] = {
        IMPORT(StockHandleType, "Handle"),
        IMPORT(StockTimerHandleType, "TimerHandle"),
#if HL_HANDLES_CAN_BE_THREADSAFE
        IMPORT(StockThreadSafeHandleType, "_ThreadSafeHandle"),
#endif
        IMPORT(get_event_loop, "get_event_loop"),
    };
    static const import_entry from_exceptions[] = {
        IMPORT(CancelledError, "CancelledError"),
        IMPORT(InvalidStateError, "InvalidStateError"),
    };
    static const import_entry from_tasks[] = {
        IMPORT(ensure_future, "ensure_future"),
        IMPORT_OPTIONAL(eager_task_factory, "eager_task_factory"),
#if HL_TASKS_IN_THREAD_STATE
        IMPORT_OPTIONAL(scheduled_tasks, "_scheduled_tasks"),
#elif HL_HAS_EAGER_TASKS
        IMPORT(scheduled_tasks, "_scheduled_tasks"),
#else
        IMPORT(scheduled_tasks, "_all_tasks"),
#endif
    };
    static const import_entry from_base[] = {
        IMPORT(run_until_complete_cb, "_run_until_complete_cb"),
    };
    static const import_entry from_coroutines[] = {IMPORT(iscoroutine, "iscoroutine")};
    static const import_entry from_futures[] = {
        IMPORT(isfuture, "isfuture"),
        IMPORT(set_result_unless_cancelled, "_set_result_unless_cancelled"),
    };
    /* The events module first: _asyncio, imported before the package, would find a package
     * half made, which then falls back to its functions in Python. */
    return IMPORT_FROM(state, "asyncio.events", from_events) < 0 ||
                   IMPORT_FROM(state, "_asyncio", from_c) < 0 ||
                   IMPORT_FROM(state, "asyncio.exceptions", from_exceptions) < 0 ||
                   IMPORT_FROM(state, "asyncio.tasks", from_tasks) < 0 ||
                   IMPORT_FROM(state, "asyncio.base_events", from_base) < 0 ||
                   IMPORT_FROM(state, "asyncio.coroutines", from_coroutines) < 0 ||
                   IMPORT_FROM(state, "asyncio.futures", from_futures) < 0
               ? -1
               : 0;
}

static int
import_transports(hl_state *state)
{
    static const import_entry from_transports[] = {
        IMPORT(StockBaseTransportType, "BaseTransport"),
        IMPORT(StockDatagramTransportType, "DatagramTransport"),
        IMPORT(StockReadTransportType, "ReadTransport"),
        IMPORT(FlowControlMixinType, "_FlowControlMixin"),
    };
    static const import_entry from_protocols[] = {
        IMPORT(BufferedProtocolType, "BufferedProtocol"),
    };
    static const import_entry from_functools[] = {IMPORT(partial, "partial")};
    static const import_entry from_socket[] = {IMPORT(SocketType, "socket")};
    return IMPORT_FROM(state, "asyncio.transports", from_transports) < 0 ||
                   IMPORT_FROM(state, "asyncio.protocols", from_protocols) < 0 ||
                   IMPORT_FROM(state, "functools", from_functools) < 0 ||
                   IMPORT_FROM(state, "socket", from_socket) < 0
               ? -1
               : 0;
}

static int
import_modules(hl_state *state)
{
    static const import_entry from_traceback[] = {
        IMPORT(extract_stack, "extract_stack")};
    static const import_entry from_sys[] = {
        IMPORT(get_asyncgen_hooks, "get_asyncgen_hooks"),
        IMPORT(set_asyncgen_hooks, "set_asyncgen_hooks"),
    };
    static const import_entry from_transports[] = {
        IMPORT(sendfile_try_native, "SENDFILE_TRY_NATIVE"),
    };
    if (IMPORT_FROM(state, "traceback", from_traceback) < 0 ||
        IMPORT_FROM(state, "sys", from_sys) < 0 ||
        IMPORT_FROM(state, "hotloop._transports", from_transports) < 0) {
        return -1;
    }
    state->events = PyImport_ImportModule("asyncio.events");
    state->coroutines = PyImport_ImportModule("asyncio.coroutines");
    state->support = PyImport_ImportModule("hotloop._support");
    state->transports = PyImport_ImportModule("hotloop._transports");
    return state->events != NULL && state->coroutines != NULL &&
                   state->support != NULL && state->transports != NULL
               ? 0
               : -1;
}

static int
probe_stop_iteration(hl_state *state)
{
    PyObject *answer =
        PyObject_CallMethod(state->support, "wraps_stop_iteration", NULL);
    if (answer == NULL) {
        return -1;
    }
    state->wraps_stop_iteration = answer == Py_True;
    Py_DECREF(answer);
    return 0;
}

static int
probe_datagrams(hl_state *state)
{
    int sends_empty = 0;
    PyObject *answer =
        PyObject_CallMethod(state->transports, "what_datagrams_do", NULL);
    int is_parsed =
        answer != NULL &&
        PyArg_ParseTuple(answer, "pn", &sends_empty, &state->datagram_header_size);
    Py_XDECREF(answer);
    state->sends_empty_datagrams = sends_empty;
    return is_parsed ? 0 : -1;
}

static int
make_io_types(PyObject *module, hl_state *state)
{
    return hl_window_type_init(module, state) < 0 ||
                   hl_transport_type_init(module, state) < 0 ||
                   hl_stream_type_init(module, state) < 0 ||
                   hl_datagram_type_init(module, state) < 0 ||
                   hl_tls_type_init(module, state) < 0 ||
                   hl_tls_transport_type_init(module, state) < 0 ||
                   hl_listener_type_init(module, state) < 0 ||
                   hl_client_set_type_init(module, state) < 0 ||
                   hl_pipe_types_init(module, state) < 0
               ? -1
               : 0;
}

/* Future, Task and what belongs to them: ours, or asyncio's if the layout is unknown. */
static int
make_task_types(PyObject *module, hl_state *state)
{
    if (hl_layout_verify(module, state) < 0) {
        return -1;
    }
    if (!state->is_native) {
        PyObject *warned = PyObject_CallMethod(
            state->support, "warn_of_stock_types", "O", state->layout_problem);
        if (warned == NULL) {
            return -1;
        }
        Py_DECREF(warned);
        state->FutureType =
            (PyTypeObject *)Py_NewRef((PyObject *)state->StockFutureType);
        state->TaskType = (PyTypeObject *)Py_NewRef((PyObject *)state->StockTaskType);
        return hl_step_callable_type_init(module, state);
    }
    if (hl_future_iter_type_init(module, state) < 0 ||
        hl_future_type_init(module, state) < 0 ||
        hl_step_callable_type_init(module, state) < 0 ||
        hl_task_type_init(module, state) < 0) {
        return -1;
    }
    return 0;
}

static int
add_names(PyObject *module, const hl_state *state)
{
    const struct {
        const char *name;
        PyObject *value;
    } names[] = {
        {"Loop", (PyObject *)state->LoopType},
        {"Future", (PyObject *)state->FutureType},
        {"Task", (PyObject *)state->TaskType},
        {"Handle", (PyObject *)state->HandleType},
        {"TimerHandle", (PyObject *)state->TimerHandleType},
        {"_Transport", (PyObject *)state->TransportType},
        {"_ClientSet", (PyObject *)state->ClientSetType},
        {"_SSLProtocol", (PyObject *)state->TLSType},
        {"_SSLProtocolTransport", (PyObject *)state->TLSTransportType},
        {"native", state->is_native ? Py_True : Py_False},
        {"layout_problem",
         state->layout_problem != NULL ? state->layout_problem : Py_None},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (PyModule_AddObjectRef(module, names[i].name, names[i].value) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
core_exec(PyObject *module)
{
    hl_state *state = state_of_module(module);
    if (intern_names(state) < 0 || import_tasks(state) < 0 ||
        import_transports(state) < 0 || import_modules(state) < 0 ||
        probe_stop_iteration(state) < 0 || probe_datagrams(state) < 0 ||
        hl_context_init(state) < 0 || hl_handle_type_init(module, state) < 0 ||
        hl_timer_handle_type_init(module, state) < 0 ||
        hl_threadsafe_handle_type_init(module, state) < 0 ||
        make_task_types(module, state) < 0 || make_io_types(module, state) < 0 ||
        hl_sock_call_type_init(module, state) < 0 || hl_numeric_init(state) < 0 ||
        hl_loop_type_init(module, state) < 0) {
        return -1;
    }
    return add_names(module, state);
}

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, (void *)core_exec},
    HL_MODULE_SLOTS,
};

PyModuleDef hl_module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "hotloop._core",
    .m_doc = "The event loop, Task and Future of hotloop, in C.",
    .m_size = sizeof(hl_state),
    .m_methods = core_functions,
    .m_slots = core_slots,
    .m_traverse = core_traverse,
    .m_clear = core_clear,
    .m_free = core_free,
};

PyMODINIT_FUNC PyInit__core(void);

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&hl_module_def);
}
