/* The methods of watching.h.
 *
 * asyncio's public methods call self._ensure_fd_no_transport() and self._add_reader() and so
 * on.  Ours do the same at once, and call the methods only if one of them was replaced. */
#include "api/watching.h"

#include "io/descriptor.h"
#include "py/args.h"
#include "sched/handle.h"
#include "sched/watch.h"

/* What differs between readers and writers. */
typedef struct {
    int kind; /* HL_POLL_READ or HL_POLL_WRITE */
    const char *add;
    const char *own_add;
    const char *remove;
    const char *own_remove;
    unsigned add_overrides; /* of what adding calls */
    unsigned remove_overrides;
} side;

static const side readers = {
    .kind = HL_POLL_READ,
    .add = "add_reader",
    .own_add = "_add_reader",
    .remove = "remove_reader",
    .own_remove = "_remove_reader",
    .add_overrides = HL_OVERRIDE_ENSURE_NO_TRANSPORT | HL_OVERRIDE_ADD_READER,
    .remove_overrides = HL_OVERRIDE_ENSURE_NO_TRANSPORT | HL_OVERRIDE_REMOVE_READER,
};

static const side writers = {
    .kind = HL_POLL_WRITE,
    .add = "add_writer",
    .own_add = "_add_writer",
    .remove = "remove_writer",
    .own_remove = "_remove_writer",
    .add_overrides = HL_OVERRIDE_ENSURE_NO_TRANSPORT | HL_OVERRIDE_ADD_WRITER,
    .remove_overrides = HL_OVERRIDE_ENSURE_NO_TRANSPORT | HL_OVERRIDE_REMOVE_WRITER,
};

/* -- arguments --------------------------------------------------------------------------- */

/* The arguments of adding, all borrowed. */
typedef struct {
    PyObject *const *all; /* fd, callback and the callback's arguments */
    Py_ssize_t count;
    PyObject *context; /* NULL: not given */
    PyObject *pair[2]; /* where `all` points to if one was given by its name */
} add_arguments;

static int
parse_add(const hl_state *state, const char *method, bool takes_context,
          PyObject *const *args, Py_ssize_t npos, PyObject *kwnames,
          add_arguments *parsed)
{
    parsed->all = args;
    parsed->count = npos;
    parsed->context = NULL;
    if (kwnames == NULL && npos >= 2) {
        return 0;
    }
    PyObject *const names[] = {
        state->str.fd,
        state->str.callback,
        takes_context ? state->str.context : NULL,
        NULL,
    };
    PyObject *values[3] = {NULL};
    /* Of more than two the last ones are as good as the first ones: only names and numbers
     * are looked at, and the keywords have to follow. */
    Py_ssize_t skipped = npos > 2 ? npos - 2 : 0;
    if (hl_args_parse(
            method, args + skipped, npos - skipped, kwnames, names, 2, 2, values) < 0) {
        return -1;
    }
    if (npos < 2) {
        parsed->pair[0] = values[0];
        parsed->pair[1] = values[1];
        parsed->all = parsed->pair;
        parsed->count = 2;
    }
    parsed->context = values[2] != Py_None ? values[2] : NULL;
    return 0;
}

/* The only argument, called fd.  Borrowed, or NULL with TypeError. */
static PyObject *
parse_fd(const hl_state *state, const char *method, PyObject *const *args,
         Py_ssize_t npos, PyObject *kwnames)
{
    if (kwnames == NULL && npos == 1) {
        return args[0];
    }
    PyObject *const names[] = {state->str.fd, NULL};
    PyObject *file = NULL;
    return hl_args_parse(method, args, npos, kwnames, names, 1, 1, &file) < 0 ? NULL
                                                                              : file;
}

/* 1 if one of the methods (HL_OVERRIDE_*) was replaced, 0 if not, -1 on error. */
static int
is_any_replaced(hl_loop *loop, unsigned methods)
{
    return hl_loop_check_overrides(loop) < 0 ? -1 : hl_loop_replaces(loop, methods);
}

static int
call_ensure_fd_no_transport(hl_loop *loop, PyObject *file)
{
    PyObject *result = PyObject_CallMethodOneArg(
        (PyObject *)loop, loop->state->str._ensure_fd_no_transport, file);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* -- adding ------------------------------------------------------------------------------ */

/* The descriptor to watch.  Negative: an exception was raised. */
static int
descriptor_to_add(const hl_state *state, PyObject *file)
{
    PyObject *number = hl_descriptor_number(state, file);
    if (number == NULL) {
        return -1;
    }
    int fd = hl_descriptor_of_number(number);
    if (fd == -2) {
        PyErr_SetString(PyExc_OverflowError,
                        "Python int too large to convert to C int");
    }
    Py_DECREF(number);
    return fd;
}

/* What _add_reader does: a new Handle that stands where fd is watched. */
static PyObject *
add_own(hl_loop *loop, const side *which, const add_arguments *given)
{
    PyObject *file = given->all[0];
    if (hl_loop_check_open(loop) < 0) {
        return NULL;
    }
    int fd = descriptor_to_add(loop->state, file);
    if (fd < 0 || hl_loop_check_open(loop) < 0) { /* fileno() may have closed it */
        return NULL;
    }
    PyObject *handle = hl_handle_new(
        loop, given->all[1], given->all + 2, given->count - 2, given->context);
    if (handle == NULL) {
        return NULL;
    }
    if (hl_watch_add(
            loop, fd, which->kind, handle, PyLong_CheckExact(file) ? NULL : file) < 0) {
        Py_CLEAR(handle);
    }
    return handle;
}

/* The same by the methods of the loop, of which one at least was replaced. */
static PyObject *
add_by_methods(hl_loop *loop, const side *which, const add_arguments *given)
{
    if (call_ensure_fd_no_transport(loop, given->all[0]) < 0) {
        return NULL;
    }
    PyObject *method = PyObject_GetAttrString((PyObject *)loop, which->own_add);
    PyObject *result =
        method != NULL
            ? PyObject_Vectorcall(method, given->all, (size_t)given->count, NULL)
            : NULL;
    Py_XDECREF(method);
    return result;
}

static PyObject *
add(hl_loop *loop, const side *which, PyObject *const *args, Py_ssize_t nargs,
    PyObject *kwnames)
{
    add_arguments given;
    if (parse_add(loop->state, which->add, false, args, nargs, kwnames, &given) < 0) {
        return NULL;
    }
    int is_replaced = is_any_replaced(loop, which->add_overrides);
    PyObject *result = NULL;
    if (is_replaced > 0) {
        result = add_by_methods(loop, which, &given);
    }
    else if (is_replaced == 0 && hl_descriptor_check_free(loop, given.all[0]) == 0) {
        result = add_own(loop, which, &given);
    }
    if (result == NULL) {
        return NULL;
    }
    Py_DECREF(result); /* the table has the handle */
    Py_RETURN_NONE;
}

PyObject *
hl_api_add_reader(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *kwnames)
{
    return add((hl_loop *)self, &readers, args, nargs, kwnames);
}

PyObject *
hl_api_add_writer(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *kwnames)
{
    return add((hl_loop *)self, &writers, args, nargs, kwnames);
}

static PyObject *
own_add(PyObject *self, const side *which, PyObject *const *args, Py_ssize_t nargs,
        PyObject *kwnames)
{
    hl_loop *loop = (hl_loop *)self;
    add_arguments given;
    if (parse_add(loop->state,
                  which->own_add,
                  HL_READERS_TAKE_CONTEXT,
                  args,
                  nargs,
                  kwnames,
                  &given) < 0) {
        return NULL;
    }
    return add_own(loop, which, &given);
}

PyObject *
hl_api_own_add_reader(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kwnames)
{
    return own_add(self, &readers, args, nargs, kwnames);
}

PyObject *
hl_api_own_add_writer(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kwnames)
{
    return own_add(self, &writers, args, nargs, kwnames);
}

/* -- removing ---------------------------------------------------------------------------- */

/* The descriptor that file was registered with: its present one, or, of a file object that
 * has none any more, the one that it had.  -1: an exception was raised.  -2: no number that
 * can be watched. */
static int
descriptor_to_remove(hl_loop *loop, PyObject *file)
{
    PyObject *number = hl_descriptor_number(loop->state, file);
    int fd = number != NULL ? hl_descriptor_of_number(number) : -1;
    Py_XDECREF(number);
    if (fd == -1 && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyObject *error = PyErr_GetRaisedException();
        fd = hl_watch_find(loop, file);
        if (fd < 0) {
            PyErr_SetRaisedException(error);
            return -1;
        }
        Py_DECREF(error);
    }
    return fd;
}

/* What _remove_reader does. */
static PyObject *
remove_own(hl_loop *loop, const side *which, PyObject *file)
{
    if (hl_loop_is_closed(loop)) {
        Py_RETURN_FALSE;
    }
    int fd = descriptor_to_remove(loop, file);
    if (fd == -1) {
        return NULL;
    }
    int was_watched = fd >= 0 ? hl_watch_remove(loop, fd, which->kind) : 0;
    return was_watched < 0 ? NULL : PyBool_FromLong(was_watched);
}

static PyObject *
remove_by_methods(hl_loop *loop, const side *which, PyObject *file)
{
    if (call_ensure_fd_no_transport(loop, file) < 0) {
        return NULL;
    }
    return PyObject_CallMethod((PyObject *)loop, which->own_remove, "(O)", file);
}

static PyObject *
remove_side(hl_loop *loop, const side *which, PyObject *const *args, Py_ssize_t nargs,
            PyObject *kwnames)
{
    PyObject *file = parse_fd(loop->state, which->remove, args, nargs, kwnames);
    int is_replaced =
        file != NULL ? is_any_replaced(loop, which->remove_overrides) : -1;
    if (is_replaced > 0) {
        return remove_by_methods(loop, which, file);
    }
    if (is_replaced < 0 || hl_descriptor_check_free(loop, file) < 0) {
        return NULL;
    }
    return remove_own(loop, which, file);
}

PyObject *
hl_api_remove_reader(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    return remove_side((hl_loop *)self, &readers, args, nargs, kwnames);
}

PyObject *
hl_api_remove_writer(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    return remove_side((hl_loop *)self, &writers, args, nargs, kwnames);
}

static PyObject *
own_remove(PyObject *self, const side *which, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    hl_loop *loop = (hl_loop *)self;
    PyObject *file = parse_fd(loop->state, which->own_remove, args, nargs, kwnames);
    return file != NULL ? remove_own(loop, which, file) : NULL;
}

PyObject *
hl_api_own_remove_reader(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kwnames)
{
    return own_remove(self, &readers, args, nargs, kwnames);
}

PyObject *
hl_api_own_remove_writer(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kwnames)
{
    return own_remove(self, &writers, args, nargs, kwnames);
}

/* -- looking ----------------------------------------------------------------------------- */

PyObject *
hl_api_ensure_fd_no_transport(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *kwnames)
{
    hl_loop *loop = (hl_loop *)self;
    PyObject *file =
        parse_fd(loop->state, "_ensure_fd_no_transport", args, nargs, kwnames);
    if (file == NULL || hl_descriptor_check_free(loop, file) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
hl_api_watched_as(PyObject *self, PyObject *file)
{
    return PyLong_FromLong(hl_watch_find((hl_loop *)self, file));
}

PyObject *
hl_api_watch_list(PyObject *self, PyObject *unused)
{
    return hl_watch_list((hl_loop *)self);
}
