/* Small services of loop.h: errors, waking, and which methods were replaced. */
#include "sched/loop.h"

#include <time.h>

int
hl_loop_check_open(hl_loop *loop)
{
    if (!hl_loop_is_closed(loop)) {
        return 0;
    }
    PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    return -1;
}

bool
hl_loop_claim(hl_loop *loop, bool closes)
{
    hl_mutex_lock(&loop->mutex);
    bool is_free = hl_loop_owner(loop) == 0;
    if (is_free) {
        if (closes) { /* first: nobody must take it for one that runs */
            __atomic_store_n(&loop->is_closed, true, __ATOMIC_RELAXED);
        }
        __atomic_store_n(&loop->owner, hl_thread_ident(), __ATOMIC_RELEASE);
    }
    hl_mutex_unlock(&loop->mutex);
    return is_free;
}

void
hl_loop_wake(hl_loop *loop)
{
    if (!__atomic_load_n(&loop->is_sleeping, __ATOMIC_SEQ_CST)) {
        return;
    }
    hl_mutex_lock(&loop->mutex);
    if (__atomic_exchange_n(&loop->is_sleeping, 0, __ATOMIC_SEQ_CST)) {
        hl_poller_wake(&loop->poller);
    }
    hl_mutex_unlock(&loop->mutex);
}

/* After so many calls without a turn in between, the thread that calls sleeps for a moment, and
 * the loop gets the GIL.  Otherwise it would get it after 5 ms (sys.getswitchinterval), by when
 * tens of thousands of calls lie in memory that no cache holds. */
enum { CALLS_IN_A_ROW = 8192, GIVING_WAY_NS = 20 * 1000 };

static void
loop_give_way(void)
{
    const struct timespec moment = {.tv_nsec = GIVING_WAY_NS};
    Py_BEGIN_ALLOW_THREADS;
    nanosleep(&moment, NULL);
    Py_END_ALLOW_THREADS;
}

void
hl_loop_note_foreign_call(hl_loop *loop)
{
    /* Read first: a burst of calls should not take the cache line for itself. */
    if (!__atomic_load_n(&loop->has_foreign_call, __ATOMIC_RELAXED)) {
        __atomic_store_n(&loop->has_foreign_call, true, __ATOMIC_RELAXED);
    }
    if (!HL_FREE_THREADED && ++loop->foreign_calls >= CALLS_IN_A_ROW) {
        loop->foreign_calls = 0;
        loop_give_way();
    }
}

PyObject *
hl_loop_get_attr(hl_loop *loop, hl_loop_attr index)
{
    PyObject *value;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    value = Py_XNewRef(loop->attrs[index]);
    Py_END_CRITICAL_SECTION();
    return value;
}

int
hl_loop_ask_debug(const hl_state *state, PyObject *loop)
{
    hl_loop *native = hl_loop_cast(state, loop);
    if (native != NULL && !hl_loop_replaces(native, HL_OVERRIDE_GET_DEBUG)) {
        return hl_loop_is_debug(native);
    }
    PyObject *debug = PyObject_CallMethodNoArgs(loop, state->str.get_debug);
    int is_debug = debug != NULL ? PyObject_IsTrue(debug) : -1;
    Py_XDECREF(debug);
    return is_debug;
}

void
hl_loop_set_attr(hl_loop *loop, hl_loop_attr index, PyObject *value)
{
    PyObject *previous;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    previous = loop->attrs[index];
    __atomic_store_n(&loop->attrs[index], Py_XNewRef(value), __ATOMIC_RELAXED);
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(previous);
}

/* The interned name of override number i. */
static PyObject *
override_name(const hl_state *state, int i)
{
    PyObject *const names[HL_OVERRIDE_COUNT] = {
        state->str.call_soon,
        state->str.time,
        state->str.call_at,
        state->str.get_debug,
        state->str.is_running,
        state->str._write_to_self,
        state->str._run_once,
        state->str._ensure_fd_no_transport,
        state->str._add_reader,
        state->str._remove_reader,
        state->str._add_writer,
        state->str._remove_writer,
        state->str.run_in_executor,
    };
    return names[i];
}

static unsigned int
type_version_of(hl_loop *loop)
{
    return __atomic_load_n(&Py_TYPE(loop)->tp_version_tag, __ATOMIC_RELAXED);
}

static void
note_overrides_lock_held(hl_loop *loop, unsigned overrides)
{
    if (loop->overrides != overrides) { /* not written without need: it is read often */
        __atomic_store_n(&loop->overrides, overrides, __ATOMIC_RELAXED);
    }
}

int
hl_loop_refresh_overrides(hl_loop *loop)
{
    const hl_state *state = loop->state;
    unsigned found = 0;
    for (int i = 0; i < HL_OVERRIDE_IN_CORE; i++) {
        PyObject *name = override_name(state, i);
        PyObject *used = PyObject_GetAttr((PyObject *)Py_TYPE(loop), name);
        if (used == NULL) {
            return -1;
        }
        PyObject *ours = PyObject_GetAttr((PyObject *)state->LoopType, name);
        if (ours == NULL) {
            Py_DECREF(used);
            return -1;
        }
        if (used != ours) {
            found |= 1u << i;
        }
        Py_DECREF(used);
        Py_DECREF(ours);
    }
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    note_overrides_lock_held(loop, found | loop->instance_overrides);
    /* Read last: the lookups above give the type a version if it had none. */
    __atomic_store_n(&loop->type_version, type_version_of(loop), __ATOMIC_RELEASE);
    Py_END_CRITICAL_SECTION();
    return 0;
}

void
hl_loop_note_attribute(hl_loop *loop, PyObject *name, bool is_set)
{
    for (int i = 0; i < HL_OVERRIDE_COUNT; i++) {
        if (PyUnicode_Compare(name, override_name(loop->state, i)) != 0) {
            continue;
        }
        unsigned bit = 1u << i;
        Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
        loop->instance_overrides &= ~bit;
        loop->instance_overrides |= is_set ? bit : 0;
        note_overrides_lock_held(loop, loop->overrides | loop->instance_overrides);
        /* Recompute before the next turn, or when it is next asked for. */
        __atomic_store_n(&loop->type_version, ~type_version_of(loop), __ATOMIC_RELEASE);
        Py_END_CRITICAL_SECTION();
        return;
    }
}
