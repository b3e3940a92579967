/* What is watched: fields of the items of the poller's table, see watch.h. */
#include "sched/watch.h"

#include "py/error.h"
#include "sched/handle.h"

#include <errno.h>

_Static_assert(offsetof(hl_watch, poll) == 0,
               "the poller sees the beginning of an item");

/* What is known of fd; NULL if nothing is. */
static inline hl_watch *
watch_of(const hl_loop *loop, int fd)
{
    return hl_table_at(&loop->poller.items, fd);
}

/* The same, made if need be.  NULL: MemoryError. */
static hl_watch *
watch_need(hl_loop *loop, int fd)
{
    hl_watch *watch = hl_table_need(&loop->poller.items, fd);
    if (watch == NULL) {
        PyErr_NoMemory();
    }
    return watch;
}

static hl_watch_rare *
watch_need_rare(hl_watch *watch)
{
    if (watch->rare == NULL) {
        watch->rare = PyMem_Calloc(1, sizeof(*watch->rare));
        if (watch->rare == NULL) {
            PyErr_NoMemory();
        }
    }
    return watch->rare;
}

/* Free what is not needed any more. */
static void
watch_trim_rare(hl_watch *watch)
{
    const hl_watch_rare *rare = watch->rare;
    if (rare != NULL && rare->writer.object == NULL && rare->file == NULL) {
        PyMem_Free(watch->rare);
        watch->rare = NULL;
    }
}

/* Where the watcher for kind stands; NULL: there is none. */
static inline hl_watcher *
watch_place(hl_watch *watch, int kind)
{
    if (kind == HL_POLL_READ) {
        return &watch->reader;
    }
    return watch->rare != NULL ? &watch->rare->writer : NULL;
}

/* What watches fd for kind: borrowed, or NULL. */
static PyObject *
watch_at(const hl_loop *loop, int fd, int kind)
{
    hl_watch *watch = watch_of(loop, fd);
    const hl_watcher *place = watch != NULL ? watch_place(watch, kind) : NULL;
    return place != NULL ? place->object : NULL;
}

/* What left the table: let go when nothing is locked any more. */
typedef struct {
    hl_watcher watcher; /* a handle is cancelled */
    PyObject *file;     /* owned, or NULL */
} watch_retired;

static int
watch_retire(const watch_retired *retired)
{
    PyObject *object = retired->watcher.object;
    Py_XDECREF(retired->file);
    if (object == NULL) {
        return 0;
    }
    bool is_handle = retired->watcher.run == NULL;
    PyObject *result = is_handle ? PyObject_CallMethod(object, "cancel", NULL) : NULL;
    Py_DECREF(object);
    Py_XDECREF(result);
    return !is_handle || result != NULL ? 0 : -1;
}

/* The item of fd with room for a watcher for kind, and for a file if there is to be one.
 * NULL: MemoryError. */
static hl_watch *
watch_reserve(hl_loop *loop, int fd, int kind, bool has_file)
{
    hl_watch *watch = watch_need(loop, fd);
    if (watch != NULL && (kind == HL_POLL_WRITE || has_file) &&
        watch_need_rare(watch) == NULL) {
        return NULL;
    }
    return watch;
}

/* Put object in its place; run: see hl_watcher. */
static void
watch_put(hl_watch *watch, int kind, PyObject *object, hl_run run, watch_retired *old)
{
    hl_watcher *place = watch_place(watch, kind);
    old->watcher = *place;
    *place = (hl_watcher){Py_NewRef(object), run};
}

/* Have the kernel report that fd is ready for kind: until further notice, or once.  Returns
 * 0 or -1. */
static int
watch_ask(hl_loop *loop, hl_watch *watch, int fd, int kind, bool is_once)
{
    int error = is_once
                    ? hl_poller_arm(&loop->poller, fd, kind)
                    : hl_poller_watch(&loop->poller, fd, watch->poll.interest | kind);
    if (error < 0) {
        watch_trim_rare(watch);
        return hl_error_set(error);
    }
    return 0;
}

/* Note what a handle was registered with (NULL: a number), and forget what was before. */
static void
watch_put_file(hl_watch *watch, PyObject *file, watch_retired *old)
{
    if (watch->rare != NULL) {
        old->file = watch->rare->file;
        watch->rare->file = Py_XNewRef(file);
        watch_trim_rare(watch);
    }
}

static int
watch_begin_lock_held(hl_loop *loop, int fd, int kind, hl_watcher watcher,
                      PyObject *file, bool is_once, watch_retired *old)
{
    /* Closed by another thread since the caller looked, nobody would empty the table again. */
    if (hl_loop_check_open(loop) < 0) {
        return -1;
    }
    if (!hl_poller_may_watch(&loop->poller, fd)) {
        return hl_error_set(-EBADF);
    }
    hl_watch *watch = watch_reserve(loop, fd, kind, file != NULL);
    if (watch == NULL || watch_ask(loop, watch, fd, kind, is_once) < 0) {
        return -1;
    }
    watch_put(watch, kind, watcher.object, watcher.run, old);
    if (watcher.run == NULL) {
        watch_put_file(watch, file, old);
    }
    return 0;
}

/* What hl_watch_add and the like do; file may be NULL. */
static int
watch_begin(hl_loop *loop, int fd, int kind, hl_watcher watcher, PyObject *file,
            bool is_once)
{
    int error;
    watch_retired old = {0};
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    error = watch_begin_lock_held(loop, fd, kind, watcher, file, is_once, &old);
    Py_END_CRITICAL_SECTION();
    return error == 0 ? watch_retire(&old) : -1;
}

int
hl_watch_add(hl_loop *loop, int fd, int kind, PyObject *handle, PyObject *file)
{
    return watch_begin(loop, fd, kind, (hl_watcher){handle, NULL}, file, false);
}

int
hl_watch_add_native(hl_loop *loop, int fd, int kind, PyObject *object, hl_run run)
{
    return watch_begin(loop, fd, kind, (hl_watcher){object, run}, NULL, false);
}

int
hl_watch_arm(hl_loop *loop, int fd, int kind, PyObject *object, hl_run run)
{
    return watch_begin(loop, fd, kind, (hl_watcher){object, run}, NULL, true);
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
watch_take(hl_loop *loop, hl_watch *watch, int fd, int kind, watch_retired *old)
{
    int error = 0;
    hl_watcher *place = watch_place(watch, kind);
    old->watcher = *place;
    *place = (hl_watcher){NULL, NULL};
    int interest = watch->poll.interest;
    if (interest & kind) {
        interest &= ~kind;
        error = hl_poller_watch(&loop->poller, fd, interest);
    }
    else {
        hl_poller_disarm(&loop->poller, fd, kind);
    }
    if (interest == 0 && watch->rare != NULL) {
        old->file = watch->rare->file;
        watch->rare->file = NULL;
    }
    watch_trim_rare(watch);
    return error;
}

/* What hl_watch_remove returns for what watch_take has done. */
static int
watch_taken(const watch_retired *old, int error)
{
    bool was_watched = old->watcher.object != NULL;
    if (watch_retire(old) < 0) {
        return -1;
    }
    return error < 0 ? hl_error_set(error) : was_watched;
}

/* Remove what watches fd for kind if it is object; NULL: whatever it is.  Returns what
 * hl_watch_remove does. */
static int
watch_remove(hl_loop *loop, int fd, int kind, const PyObject *object)
{
    int error = 0;
    watch_retired old = {0};
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    const PyObject *present = watch_at(loop, fd, kind);
    if (present != NULL && (object == NULL || present == object)) {
        error = watch_take(loop, watch_of(loop, fd), fd, kind, &old);
    }
    Py_END_CRITICAL_SECTION();
    return watch_taken(&old, error);
}

int
hl_watch_remove(hl_loop *loop, int fd, int kind)
{
    return watch_remove(loop, fd, kind, NULL);
}

int
hl_watch_remove_own(hl_loop *loop, int fd, int kind, const PyObject *object)
{
    return watch_remove(loop, fd, kind, object);
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
    int error = transport != NULL ? -1 : 0; /* of an item that cannot be made */
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    hl_watch *watch = transport != NULL ? watch_need(loop, fd) : watch_of(loop, fd);
    if (watch != NULL) {
        error = watch_note_transport(watch, transport);
    }
    Py_END_CRITICAL_SECTION();
    return error;
}

void
hl_watch_forget_transport(hl_loop *loop, int fd, const PyObject *transport)
{
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    hl_watch *watch = watch_of(loop, fd);
    if (watch != NULL && watch->transport == transport) {
        (void)watch_note_transport(watch, NULL);
    }
    Py_END_CRITICAL_SECTION();
}

PyObject *
hl_watch_transport(hl_loop *loop, int fd)
{
    PyObject *transport = NULL;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    const hl_watch *watch = watch_of(loop, fd);
    if (watch != NULL) {
        transport = watch_transport(watch);
    }
    Py_END_CRITICAL_SECTION();
    return transport;
}

/* -- the table as a whole ------------------------------------------------------------------ */

static int
watch_find_lock_held(const hl_loop *loop, PyObject *file)
{
    const hl_watch *watch;
    for (int fd = -1; (watch = hl_table_next(&loop->poller.items, &fd)) != NULL;) {
        if (watch->rare != NULL && watch->rare->file == file) {
            return fd;
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
watch_push(hl_loop *loop, hl_watch *watch, int fd, int kind)
{
    const hl_watcher *watcher = watch_place(watch, kind);
    if (watcher == NULL || watcher->object == NULL) {
        return 0;
    }
    PyObject *object = watcher->object;
    if (watcher->run != NULL) {
        return hl_loop_push(loop, watcher->run, Py_NewRef(object), NULL);
    }
    if (PyObject_TypeCheck(object, loop->state->HandleType) &&
        hl_handle_is_cancelled((hl_handle *)object)) {
        watch_retired old = {0};
        int error = watch_take(loop, watch, fd, kind, &old);
        return watch_taken(&old, error) < 0 ? -1 : 0;
    }
    return hl_loop_push(loop, hl_handle_run, Py_NewRef(object), NULL);
}

static int
watch_push_event(hl_loop *loop, const hl_poll_event *event)
{
    hl_watch *watch = watch_of(loop, event->fd);
    if (watch == NULL) {
        return 0; /* the poller was closed meanwhile */
    }
    int ready = hl_poller_accept(&loop->poller, &watch->poll, event);
    if ((ready & HL_POLL_READ) &&
        watch_push(loop, watch, event->fd, HL_POLL_READ) < 0) {
        return -1;
    }
    return (ready & HL_POLL_WRITE) ? watch_push(loop, watch, event->fd, HL_POLL_WRITE)
                                   : 0;
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

/* (fd, file, reader or None, writer or None).  New, or NULL. */
static PyObject *
watch_describe(const hl_watch *watch, int fd)
{
    const hl_watch_rare *rare = watch->rare;
    PyObject *reader = watch->reader.object;
    PyObject *writer = rare != NULL ? rare->writer.object : NULL;
    return Py_BuildValue("(iOOO)",
                         fd,
                         rare != NULL && rare->file != NULL ? rare->file : Py_None,
                         reader != NULL ? reader : Py_None,
                         writer != NULL ? writer : Py_None);
}

static bool
watch_is_used(const hl_watch *watch)
{
    return watch->reader.object != NULL ||
           (watch->rare != NULL && watch->rare->writer.object != NULL);
}

static PyObject *
watch_list_lock_held(const hl_loop *loop)
{
    PyObject *list = PyList_New(0);
    const hl_watch *watch;
    for (int fd = -1;
         list != NULL && (watch = hl_table_next(&loop->poller.items, &fd)) != NULL;) {
        if (!watch_is_used(watch)) {
            continue;
        }
        PyObject *item = watch_describe(watch, fd);
        if (item == NULL || PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
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

/* Take what the next item that holds something holds; *fd is where the last one was.  Returns
 * false at the end. */
static bool
watch_strip_next(hl_loop *loop, int *fd, hl_watch *taken)
{
    bool is_found = false;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)loop);
    hl_watch *watch;
    while (!is_found && (watch = hl_table_next(&loop->poller.items, fd)) != NULL) {
        is_found =
            watch_is_used(watch) || watch->transport != NULL || watch->rare != NULL;
        if (is_found) {
            *taken = *watch;
            *watch = (hl_watch){.poll = watch->poll};
        }
    }
    Py_END_CRITICAL_SECTION();
    return is_found;
}

void
hl_watch_clear(hl_loop *loop)
{
    hl_watch taken;
    for (int fd = -1; watch_strip_next(loop, &fd, &taken);) {
        Py_XDECREF(taken.reader.object);
        if (taken.rare != NULL) {
            Py_XDECREF(taken.rare->writer.object);
            Py_XDECREF(taken.rare->file);
            PyMem_Free(taken.rare);
        }
        (void)watch_note_transport(&taken, NULL);
    }
}

int
hl_watch_traverse(const hl_loop *loop, visitproc visit, void *arg)
{
    const hl_watch *watch;
    for (int fd = -1; (watch = hl_table_next(&loop->poller.items, &fd)) != NULL;) {
        Py_VISIT(watch->reader.object);
        if (watch->rare != NULL) {
            Py_VISIT(watch->rare->writer.object);
            Py_VISIT(watch->rare->file);
        }
#if HL_FREE_THREADED
        Py_VISIT(watch->transport_reference);
#endif
    }
    return 0;
}
