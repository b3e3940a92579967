/* Differences between CPython 3.11 and 3.15, with and without the GIL.
 *
 * The only file that asks for the version.  Everything here has the name and the meaning
 * of the newest CPython, so that the callers read as if only that existed. */
#ifndef HL_PY_COMPAT_H
#define HL_PY_COMPAT_H

#include <Python.h>

#include <stdbool.h>

#if PY_VERSION_HEX < 0x030B0000
#error "hotloop needs CPython 3.11 or later"
#endif

/* The release of CPython whose private Future and Task layout task/layout.h mirrors.  An
 * unknown minor version has none: it runs with asyncio's own types. */
#if PY_VERSION_HEX < 0x030D0000
#define HL_LAYOUT 311 /* 3.11 and 3.12 */
#elif PY_VERSION_HEX < 0x030E0000
#define HL_LAYOUT 313
#elif PY_VERSION_HEX < 0x03100000
#define HL_LAYOUT 314 /* 3.14 and 3.15 */
#else
#define HL_LAYOUT 0
#endif

/* What the versions do differently and code elsewhere must know. */
#define HL_STOCK_TYPES_ARE_STATIC (PY_VERSION_HEX < 0x030C0000)
#define HL_HAS_EAGER_TASKS (PY_VERSION_HEX >= 0x030C0000)
#define HL_TASKS_TELL_THEIR_CONTEXT (PY_VERSION_HEX >= 0x030C0000)
#define HL_TASK_NAME_IS_LAZY (PY_VERSION_HEX >= 0x030D0000)
#define HL_THREE_ARGUMENT_THROW_WARNS (PY_VERSION_HEX >= 0x030C0000)
#define HL_TASKS_IN_THREAD_STATE (PY_VERSION_HEX >= 0x030E0000)
#define HL_LOOPS_OWN_CHILD_WATCHER (PY_VERSION_HEX >= 0x030E0000)
#define HL_CONTEXT_IS_WATCHED (PY_VERSION_HEX >= 0x030E0000)
#define HL_HANDLES_CAN_BE_THREADSAFE (PY_VERSION_HEX >= 0x030E0000)
#define HL_REINIT_IS_REFUSED (PY_VERSION_HEX >= 0x030F0000)
#define HL_CONTEXT_IS_CHECKED (PY_VERSION_HEX >= 0x030F0000)
#define HL_CREATE_TASK_TAKES_EAGER_START (PY_VERSION_HEX >= 0x030E0000)
#if PY_VERSION_HEX < 0x030D0300
#define HL_CREATE_TASK_KEYWORDS "*, name=None, context=None"
#elif PY_VERSION_HEX >= 0x030D0400 && PY_VERSION_HEX < 0x030E0000
#define HL_CREATE_TASK_KEYWORDS "*, name=None, context=None, **kwargs"
#else
#define HL_CREATE_TASK_KEYWORDS "**kwargs"
#endif
/* What Loop._add_reader and _add_writer take besides a descriptor and a callback. */
#define HL_READERS_TAKE_CONTEXT (PY_VERSION_HEX >= 0x030F0000)
#if HL_READERS_TAKE_CONTEXT
#define HL_ADD_READER_PARAMETERS "fd, callback, *args, context=None"
#else
#define HL_ADD_READER_PARAMETERS "fd, callback, *args"
#endif
#define HL_SERVERS_KNOW_CLIENTS (PY_VERSION_HEX >= 0x030D0000)
#define HL_STREAMS_WRITE_LINES (PY_VERSION_HEX >= 0x030C0000)
#define HL_HANDLES_HAVE_WEAKREF_SLOT (PY_VERSION_HEX < 0x030C0000)

/* How asyncio names the step function in an error's text. */
#if PY_VERSION_HEX >= 0x030E0000
#define HL_STEP_NAME "__step"
#else
#define HL_STEP_NAME "_step"
#endif

#ifdef Py_GIL_DISABLED
#define HL_FREE_THREADED 1
#else
#define HL_FREE_THREADED 0
#endif

/* asyncio's own tasks and futures have locks where there is no GIL to be one. */
#define HL_STOCK_TASKS_ARE_LOCKED (!HL_FREE_THREADED || PY_VERSION_HEX >= 0x030E0000)

/* Freelists are off where objects of one type die on many threads at once, and in builds
 * that look for use after free. */
#ifndef HL_FREELISTS
#define HL_FREELISTS (!HL_FREE_THREADED)
#endif

#if PY_VERSION_HEX < 0x030D0000
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION() }

static inline int
PyObject_GetOptionalAttr(PyObject *object, PyObject *name, PyObject **result)
{
    *result = PyObject_GetAttr(object, name);
    if (*result != NULL) {
        return 1;
    }
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return -1;
    }
    PyErr_Clear(); /* AttributeError: what "optional" means */
    return 0;
}

static inline int
PyDict_GetItemRef(PyObject *dict, PyObject *key, PyObject **result)
{
    *result = Py_XNewRef(PyDict_GetItemWithError(dict, key));
    if (*result != NULL) {
        return 1;
    }
    return PyErr_Occurred() ? -1 : 0;
}

static inline int
PyLong_AsInt(PyObject *number)
{
    return _PyLong_AsInt(number);
}

static inline int
Py_IsFinalizing(void)
{
    return _Py_IsFinalizing();
}
#endif

#if PY_VERSION_HEX < 0x030C0000
static inline PyObject *
PyErr_GetRaisedException(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (type == NULL) {
        return NULL;
    }
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(value, traceback);
    }
    Py_DECREF(type);
    Py_XDECREF(traceback);
    return value;
}

static inline void
PyErr_SetRaisedException(PyObject *exception)
{
    if (exception == NULL) {
        PyErr_Clear(); /* nothing was raised before: restore that */
        return;
    }
    PyErr_Restore(
        Py_NewRef(Py_TYPE(exception)), exception, PyException_GetTraceback(exception));
}
#endif

/* The object's dict and weak references, which moved before its head over the years. */
#if PY_VERSION_HEX >= 0x030D0000
#define HL_CLEAR_FUTURE_DICT(future) PyObject_ClearManagedDict((PyObject *)(future))
#else
#define HL_CLEAR_FUTURE_DICT(future) Py_CLEAR((future)->dict)
#endif

#if HL_FREE_THREADED && PY_VERSION_HEX < 0x030E0000
/* The critical section of an object that this thread entered last is entered again, by a
 * transport's write() in data_received() for example.  3.14 sees that; 3.13 yields the
 * processor 40 times, gives the lock up and takes it again. */
static inline void
hl_section_begin(PyCriticalSection *section, PyObject *object)
{
    const uintptr_t tags = 3;
    const PyCriticalSection *last =
        (PyCriticalSection *)(PyThreadState_GetUnchecked()->critical_section & ~tags);
    if (last != NULL && last->_cs_mutex == &object->ob_mutex) {
        section->_cs_mutex = NULL;
        return;
    }
    PyCriticalSection_Begin(section, object);
}

static inline void
hl_section_end(PyCriticalSection *section)
{
    if (section->_cs_mutex != NULL) {
        PyCriticalSection_End(section);
    }
}

#undef Py_BEGIN_CRITICAL_SECTION
#undef Py_END_CRITICAL_SECTION
#define Py_BEGIN_CRITICAL_SECTION(object)                                              \
    {                                                                                  \
        PyCriticalSection hl_section;                                                  \
        hl_section_begin(&hl_section, _PyObject_CAST(object))
#define Py_END_CRITICAL_SECTION()                                                      \
    hl_section_end(&hl_section);                                                       \
    }
#endif

#if PY_VERSION_HEX >= 0x030E0000
/* Let another thread that only holds a borrowed pointer try to take a reference. */
#define hl_enable_try_incref(object) PyUnstable_EnableTryIncRef(object)
#else
#define hl_enable_try_incref(object) ((void)(object))
#endif

/* A mutex that is only needed, and only there, where no GIL keeps threads apart.  Held for a
 * few stores, never while Python code may run. */
#if HL_FREE_THREADED
typedef PyMutex hl_mutex;
#define hl_mutex_lock(mutex) PyMutex_Lock(mutex)
#define hl_mutex_unlock(mutex) PyMutex_Unlock(mutex)
#else
typedef char hl_mutex;
#define hl_mutex_lock(mutex) ((void)(mutex))
#define hl_mutex_unlock(mutex) ((void)(mutex))
#endif

/* The hash that a bytes object caches is unknown again.  The field is deprecated for those
 * who read it. */
static inline void
hl_bytes_forget_hash(PyObject *bytes)
{
    _Pragma("GCC diagnostic push");
    _Pragma("GCC diagnostic ignored \"-Wdeprecated-declarations\"");
    ((PyBytesObject *)bytes)->ob_shash = -1;
    _Pragma("GCC diagnostic pop");
}

/* An identifier of the calling thread, as CPython's threading.get_ident(). */
static inline unsigned long
hl_thread_ident(void)
{
    return PyThread_get_thread_ident();
}

/* The slots every module of ours ends with. */
#if PY_VERSION_HEX >= 0x030D0000
#define HL_MODULE_SLOTS                                                                \
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},              \
        {Py_mod_gil, Py_MOD_GIL_NOT_USED},                                             \
    {                                                                                  \
        0, NULL                                                                        \
    }
#elif PY_VERSION_HEX >= 0x030C0000
#define HL_MODULE_SLOTS                                                                \
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},              \
    {                                                                                  \
        0, NULL                                                                        \
    }
#else
#define HL_MODULE_SLOTS {0, NULL}
#endif

#endif
