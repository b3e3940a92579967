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

/* What left the table: let go when nothing is locked any more. */
typedef struct {
    PyObject *watcher; /* owned, or NULL */
    hl_run run;        /* NULL for a handle, which is cancelled */
    PyObject *file;    /* owned, or NULL */
} watch_retired;

static int
watch_retire(const watch_retired *retired)
{
    PyObject *watcher = retired->watcher;
    Py_XDECREF(retired->file);
    if (watcher == NULL) {
        return 0;
    }
    PyObject *result = NULL;
    if (retired->run == NULL) {
        result = PyObject_CallMethod(watcher, "cancel", NULL);
    }
    Py_DECREF(watcher);
    Py_XDECREF(result);
    return retired->run != NULL || result != NULL ? 0 : -1;
}

static int
watch_reserve(hl_loop *loop, int fd)
{
    return (size_t)fd < loop->watch_count ? 0 : watch_grow(loop, fd);
}

/* Put watcher, for which the kernel watches fd now, in its place; run: see hl_watch. */
static void
watch_put(hl_loop *loop, int fd, int kind, PyObject *watcher, hl_run run,
          watch_retired *old)
{
    PyObject **place = watch_place(loop, fd, kind);
    hl_run *place_run = watch_run(loop, fd, kind);
    old->watcher = *place;
    old->run = *place_run;
    *place = Py_NewRef(watcher);
    *place_run = run;
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
    int error;
    watch_retired old = {0};
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    error = watch_on(loop, fd, kind);
    if (error == 0) {
        watch_put(loop, fd, kind, handle, NULL, &old);
        old.file = loop->watches[fd].file;
        loop->watches[fd].file = Py_NewRef(file);
    }
    Py_END_CRITICAL_SECTION();
    return error == 0 ? watch_retire(&old) : -1;
}

int
hl_watch_add_native(hl_loop *loop, int fd, int kind, PyObject *object, hl_run run)
{
    int error;
    watch_retired old = {0};
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    error = watch_on(loop, fd, kind);
    if (error == 0) {
        watch_put(loop, fd, kind, object, run, &old);
    }
    Py_END_CRITICAL_SECTION();
    return error == 0 ? watch_retire(&old) : -1;
}

/* Have the kernel report once that fd is ready for kind. */
static int
watch_once(hl_loop *loop, int fd, int kind)
{
    if (watch_reserve(loop, fd) < 0) {
        return -1;
    }
    int error = hl_poller_arm(&loop->poller, fd, kind);
    return error < 0 ? hl_error_set(error) : 0;
}

int
hl_watch_arm(hl_loop *loop, int fd, int kind, PyObject *object, hl_run run)
{
    int error;
    watch_retired old = {0};
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    error = watch_once(loop, fd, kind);
    if (error == 0) {
        watch_put(loop, fd, kind, object, run, &old);
    }
    Py_END_CRITICAL_SECTION();
    return error == 0 ? watch_retire(&old) : -1;
}

/* What watches fd for kind: borrowed, or NULL. */
static PyObject *
watch_at(hl_loop *loop, int fd, int kind)
{
    return fd >= 0 && (size_t)fd < loop->watch_count ? *watch_place(loop, fd, kind)
                                                     : NULL;
}

bool
hl_watch_holds(hl_loop *loop, int fd, int kind, const PyObject *object)
{
    bool holds;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    holds = watch_at(loop, fd, kind) == object;
    Py_END_CRITICAL_SECTION();
    return holds;
}

/* Empty the place of what watches fd for kind.  Returns 0 or -errno. */
static int
watch_take(hl_loop *loop, int fd, int kind, watch_retired *old)
{
    int error = 0;
    PyObject **place = watch_place(loop, fd, kind);
    old->watcher = *place;
    old->run = *watch_run(loop, fd, kind);
    *place = NULL;
    int interest = hl_poller_interest(&loop->poller, fd);
    if (interest & kind) {
        interest &= ~kind;
        error = hl_poller_watch(&loop->poller, fd, interest);
    }
    else {
        hl_poller_disarm(&loop->poller, fd, kind);
    }
    if (interest == 0) {
        old->file = loop->watches[fd].file;
        loop->watches[fd].file = NULL;
    }
    return error;
}

/* What hl_watch_remove returns for what watch_take has done. */
static int
watch_taken(const watch_retired *old, int error)
{
    bool was_watched = old->watcher != NULL;
    if (watch_retire(old) < 0) {
        return -1;
    }
    return error < 0 ? hl_error_set(error) : was_watched;
}

int
hl_watch_remove(hl_loop *loop, int fd, int kind)
{
    int error = 0;
    watch_retired old = {0};
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    if (watch_at(loop, fd, kind) != NULL) {
        error = watch_take(loop, fd, kind, &old);
    }
    Py_END_CRITICAL_SECTION();
    return watch_taken(&old, error);
}

int
hl_watch_remove_own(hl_loop *loop, int fd, int kind, const PyObject *object)
{
    int error = 0;
    watch_retired old = {0};
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    if (watch_at(loop, fd, kind) == object) {
        error = watch_take(loop, fd, kind, &old);
    }
    Py_END_CRITICAL_SECTION();
    return watch_taken(&old, error);
}

/* -- who owns a descriptor ----------------------------------------------------------------- */

/* What stands in the table for an open transport.  Without a GIL a transport may die in
 * another thread while it is looked up, so that the table has a weak reference there. */
static int
watch_note_transport(hl_watch *watch, PyObject *transport)
{
#if HL_FREE_THREADED
    PyObject *reference = NULL;
    if (transport != NULL) {
        reference = PyWeakref_NewRef(transport, NULL);
        if (reference == NULL) {
            return -1;
        }
    }
    Py_XSETREF(watch->transport_reference, reference);
#endif
    watch->transport = transport;
    return 0;
}

static PyObject *
watch_transport(const hl_watch *watch)
{
#if HL_FREE_THREADED
    PyObject *transport = NULL;
    if (watch->transport != NULL) {
        (void)PyWeakref_GetRef(watch->transport_reference, &transport);
    }
    return transport;
#else
    return Py_XNewRef(watch->transport);
#endif
}

int
hl_watch_set_transport(hl_loop *loop, int fd, PyObject *transport)
{
    int error = 0;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    if (transport != NULL || (size_t)fd < loop->watch_count) {
        error = watch_reserve(loop, fd);
        if (error == 0) {
            error = watch_note_transport(&loop->watches[fd], transport);
        }
    }
    Py_END_CRITICAL_SECTION();
    return error;
}

void
hl_watch_forget_transport(hl_loop *loop, int fd, const PyObject *transport)
{
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    if ((size_t)fd < loop->watch_count && loop->watches[fd].transport == transport) {
        (void)watch_note_transport(&loop->watches[fd], NULL);
    }
    Py_END_CRITICAL_SECTION();
}

PyObject *
hl_watch_transport(hl_loop *loop, int fd)
{
    PyObject *transport = NULL;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    if (fd >= 0 && (size_t)fd < loop->watch_count) {
        transport = watch_transport(&loop->watches[fd]);
    }
    Py_END_CRITICAL_SECTION();
    return transport;
}

/* -- the table as a whole ------------------------------------------------------------------ */

static int
watch_find_lock_held(const hl_loop *loop, PyObject *file)
{
    for (size_t fd = 0; fd < loop->watch_count; fd++) {
        if (loop->watches[fd].file == file) {
            return (int)fd;
        }
    }
    return -1;
}

int
hl_watch_find(hl_loop *loop, PyObject *file)
{
    int fd;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    fd = watch_find_lock_held(loop, file);
    Py_END_CRITICAL_SECTION();
    return fd;
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
        watch_retired old = {0};
        int error = watch_take(loop, fd, kind, &old);
        return watch_taken(&old, error) < 0 ? -1 : 0;
    }
    return hl_loop_push(loop, hl_handle_run, Py_NewRef(handle), NULL);
}

static int
watch_push_event(hl_loop *loop, const hl_poll_event *event)
{
    int ready = hl_poller_accept(&loop->poller, event);
    if ((size_t)event->fd >= loop->watch_count) {
        return 0;
    }
    if ((ready & HL_POLL_READ) && watch_push(loop, event->fd, HL_POLL_READ) < 0) {
        return -1;
    }
    return (ready & HL_POLL_WRITE) ? watch_push(loop, event->fd, HL_POLL_WRITE) : 0;
}

int
hl_watch_dispatch(hl_loop *loop, const hl_poll_event *events, int count)
{
    if (count == 0) {
        return 0;
    }
    int error = 0;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    for (int i = 0; error == 0 && i < count; i++) {
        error = watch_push_event(loop, &events[i]);
    }
    Py_END_CRITICAL_SECTION();
    return error;
}

static PyObject *
watch_list_lock_held(const hl_loop *loop)
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

PyObject *
hl_watch_list(hl_loop *loop)
{
    PyObject *list;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    list = watch_list_lock_held(loop);
    Py_END_CRITICAL_SECTION();
    return list;
}

void
hl_watch_clear(hl_loop *loop)
{
    hl_watch *watches;
    size_t count;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    watches = loop->watches;
    count = loop->watch_count;
    loop->watches = NULL;
    loop->watch_count = 0;
    Py_END_CRITICAL_SECTION();
    for (size_t fd = 0; fd < count; fd++) {
        Py_XDECREF(watches[fd].reader);
        Py_XDECREF(watches[fd].writer);
        Py_XDECREF(watches[fd].file);
        (void)watch_note_transport(&watches[fd], NULL);
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
#if HL_FREE_THREADED
        Py_VISIT(loop->watches[fd].transport_reference);
#endif
    }
    return 0;
}
