/* The table of watch.h, indexed by descriptor number. */
#include "sched/watch.h"

#include "py/error.h"
#include "sched/handle.h"

#include <string.h>

enum { FIRST_WATCHES = 64 };

static int
watch_grow(hl_loop *loop, int fd)
{
    size_t count = loop->watch_count > 0 ? loop->watch_count : FIRST_WATCHES;
    while (count <= (size_t)fd) {
        count *= 2;
    }
    hl_watch *watches = PyMem_Realloc(loop->watches, count * sizeof(*watches));
    if (watches == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    size_t old = loop->watch_count;
    memset(watches + old, 0, (count - old) * sizeof(*watches));
    loop->watches = watches;
    loop->watch_count = count;
    return 0;
}

static PyObject **
watch_place(hl_loop *loop, int fd, int kind)
{
    hl_watch *watch = &loop->watches[fd];
    return kind == HL_POLL_READ ? &watch->reader : &watch->writer;
}

static hl_run *
watch_run(hl_loop *loop, int fd, int kind)
{
    hl_watch *watch = &loop->watches[fd];
    return kind == HL_POLL_READ ? &watch->run_reader : &watch->run_writer;
}

/* What left its place; steals it.  A handle (run is NULL) is cancelled. */
static int
watch_retire(PyObject *watcher, hl_run run)
{
    if (watcher == NULL) {
        return 0;
    }
    PyObject *result = NULL;
    if (run == NULL) {
        result = PyObject_CallMethod(watcher, "cancel", NULL);
    }
    Py_DECREF(watcher);
    Py_XDECREF(result);
    return run != NULL || result != NULL ? 0 : -1;
}

static int
watch_reserve(hl_loop *loop, int fd)
{
    return (size_t)fd < loop->watch_count ? 0 : watch_grow(loop, fd);
}

/* Put watcher, for which the kernel watches fd now, in its place; run: see hl_watch. */
static int
watch_put(hl_loop *loop, int fd, int kind, PyObject *watcher, hl_run run)
{
    PyObject **place = watch_place(loop, fd, kind);
    hl_run *place_run = watch_run(loop, fd, kind);
    PyObject *old = *place;
    hl_run old_run = *place_run;
    *place = Py_NewRef(watcher);
    *place_run = run;
    return watch_retire(old, old_run);
}

/* Have the kernel report until further notice that fd is ready for kind. */
static int
watch_on(hl_loop *loop, int fd, int kind)
{
    if (watch_reserve(loop, fd) < 0) {
        return -1;
    }
    int interest = hl_poller_interest(&loop->poller, fd) | kind;
    int error = hl_poller_watch(&loop->poller, fd, interest);
    return error < 0 ? hl_error_set(error) : 0;
}

int
hl_watch_add(hl_loop *loop, int fd, int kind, PyObject *handle, PyObject *file)
{
    if (watch_on(loop, fd, kind) < 0) {
        return -1;
    }
    PyObject *old_file = loop->watches[fd].file;
    loop->watches[fd].file = Py_NewRef(file);
    int error = watch_put(loop, fd, kind, handle, NULL);
    Py_XDECREF(old_file);
    return error;
}

int
hl_watch_add_native(hl_loop *loop, int fd, int kind, PyObject *object, hl_run run)
{
    if (watch_on(loop, fd, kind) < 0) {
        return -1;
    }
    return watch_put(loop, fd, kind, object, run);
}

int
hl_watch_arm(hl_loop *loop, int fd, int kind, PyObject *object, hl_run run)
{
    if (watch_reserve(loop, fd) < 0) {
        return -1;
    }
    int error = hl_poller_arm(&loop->poller, fd, kind);
    if (error < 0) {
        return hl_error_set(error);
    }
    return watch_put(loop, fd, kind, object, run);
}

bool
hl_watch_holds(const hl_loop *loop, int fd, int kind, const PyObject *object)
{
    if (fd < 0 || (size_t)fd >= loop->watch_count) {
        return false;
    }
    const hl_watch *watch = &loop->watches[fd];
    return object == (kind == HL_POLL_READ ? watch->reader : watch->writer);
}

int
hl_watch_set_transport(hl_loop *loop, int fd, PyObject *transport)
{
    if (transport == NULL && (size_t)fd >= loop->watch_count) {
        return 0;
    }
    if (watch_reserve(loop, fd) < 0) {
        return -1;
    }
    loop->watches[fd].transport = transport;
    return 0;
}

int
hl_watch_remove(hl_loop *loop, int fd, int kind)
{
    if (fd < 0 || (size_t)fd >= loop->watch_count) {
        return 0;
    }
    PyObject **place = watch_place(loop, fd, kind);
    PyObject *old = *place;
    if (old == NULL) {
        return 0;
    }
    hl_run old_run = *watch_run(loop, fd, kind);
    *place = NULL;
    int error = 0;
    int interest = hl_poller_interest(&loop->poller, fd);
    if (interest & kind) {
        interest &= ~kind;
        error = hl_poller_watch(&loop->poller, fd, interest);
    }
    else {
        hl_poller_disarm(&loop->poller, fd, kind);
    }
    PyObject *file = NULL;
    if (interest == 0) {
        file = loop->watches[fd].file;
        loop->watches[fd].file = NULL;
    }
    Py_XDECREF(file);
    if (watch_retire(old, old_run) < 0) {
        return -1;
    }
    return error < 0 ? hl_error_set(error) : 1;
}

int
hl_watch_find(const hl_loop *loop, PyObject *file)
{
    for (size_t fd = 0; fd < loop->watch_count; fd++) {
        if (loop->watches[fd].file == file) {
            return (int)fd;
        }
    }
    return -1;
}

/* Push one watcher; drop the registration of a handle that was cancelled from outside. */
static int
watch_push(hl_loop *loop, int fd, int kind)
{
    PyObject *handle = *watch_place(loop, fd, kind);
    if (handle == NULL) {
        return 0;
    }
    hl_run run = *watch_run(loop, fd, kind);
    if (run != NULL) {
        return hl_loop_push(loop, run, Py_NewRef(handle), NULL);
    }
    if (PyObject_TypeCheck(handle, loop->state->HandleType) &&
        hl_handle_is_cancelled((hl_handle *)handle)) {
        return hl_watch_remove(loop, fd, kind) < 0 ? -1 : 0;
    }
    return hl_loop_push(loop, hl_handle_run, Py_NewRef(handle), NULL);
}

int
hl_watch_dispatch(hl_loop *loop, const hl_poll_event *event)
{
    if ((size_t)event->fd >= loop->watch_count) {
        return 0;
    }
    if ((event->ready & HL_POLL_READ) &&
        watch_push(loop, event->fd, HL_POLL_READ) < 0) {
        return -1;
    }
    if ((event->ready & HL_POLL_WRITE) &&
        watch_push(loop, event->fd, HL_POLL_WRITE) < 0) {
        return -1;
    }
    return 0;
}

PyObject *
hl_watch_list(const hl_loop *loop)
{
    PyObject *list = PyList_New(0);
    if (list == NULL) {
        return NULL;
    }
    for (size_t fd = 0; fd < loop->watch_count; fd++) {
        const hl_watch *watch = &loop->watches[fd];
        if (watch->reader == NULL && watch->writer == NULL) {
            continue;
        }
        PyObject *item = Py_BuildValue("(nOOO)",
                                       (Py_ssize_t)fd,
                                       watch->file ? watch->file : Py_None,
                                       watch->reader ? watch->reader : Py_None,
                                       watch->writer ? watch->writer : Py_None);
        if (item == NULL || PyList_Append(list, item) < 0) {
            Py_XDECREF(item);
            Py_DECREF(list);
            return NULL;
        }
        Py_DECREF(item);
    }
    return list;
}

void
hl_watch_clear(hl_loop *loop)
{
    hl_watch *watches = loop->watches;
    size_t count = loop->watch_count;
    loop->watches = NULL;
    loop->watch_count = 0;
    for (size_t fd = 0; fd < count; fd++) {
        Py_XDECREF(watches[fd].reader);
        Py_XDECREF(watches[fd].writer);
        Py_XDECREF(watches[fd].file);
    }
    PyMem_Free(watches);
}

int
hl_watch_traverse(const hl_loop *loop, visitproc visit, void *arg)
{
    for (size_t fd = 0; fd < loop->watch_count; fd++) {
        Py_VISIT(loop->watches[fd].reader);
        Py_VISIT(loop->watches[fd].writer);
        Py_VISIT(loop->watches[fd].file);
    }
    return 0;
}
