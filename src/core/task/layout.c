/* Is CPython's struct what layout.h says?  Asked of stock objects at import.
 *
 * hotloop._support.probe() makes stock futures and a stock task in known states and says
 * what each field must hold; here every field is read at the offset that the mirror has.
 * From 3.14 on the thread state's fields are found as well: what asyncio's own functions
 * store is searched behind the public part of the struct. */
#include "task/layout.h"

#include <stddef.h>
#include <string.h>

typedef enum { FIELD_POINTER, FIELD_INT, FIELD_CHAR, FIELD_BIT } field_kind;

typedef struct {
    const char *name;
    field_kind kind;
    size_t offset;
    unsigned char mask; /* of FIELD_BIT, in the byte at offset */
} field;

#define POINTER_FIELD(name) {#name, FIELD_POINTER, offsetof(hl_task, name), 0}
#define INT_FIELD(name) {#name, FIELD_INT, offsetof(hl_task, name), 0}
#define CHAR_FIELD(name) {#name, FIELD_CHAR, offsetof(hl_task, name), 0}

static const field fields[] = {
    POINTER_FIELD(loop),       POINTER_FIELD(callback0),
    POINTER_FIELD(context0),   POINTER_FIELD(callbacks),
    POINTER_FIELD(exception),  POINTER_FIELD(exception_tb),
    POINTER_FIELD(result),     POINTER_FIELD(source_tb),
    POINTER_FIELD(cancel_msg), POINTER_FIELD(cancelled_exc),
    POINTER_FIELD(fut_waiter), POINTER_FIELD(coro),
    POINTER_FIELD(name),       POINTER_FIELD(context),
    INT_FIELD(state),          INT_FIELD(num_cancels),
#if HL_LAYOUT == 311
    INT_FIELD(log_tb),         INT_FIELD(blocking),
    INT_FIELD(must_cancel),    INT_FIELD(log_destroy_pending),
#elif HL_LAYOUT != 313
    POINTER_FIELD(awaited_by),
    CHAR_FIELD(is_task),
    CHAR_FIELD(awaited_by_is_set),
#endif
};

#if HL_LAYOUT != 311
/* Where the compiler put a bit field: the byte that setting it changes. */
static field
locate_bit(const char *name, const hl_task *with_bit_set)
{
    const unsigned char *bytes = (const unsigned char *)with_bit_set;
    size_t offset = 0;
    while (bytes[offset] == 0) {
        offset++;
    }
    return (field){name, FIELD_BIT, offset, bytes[offset]};
}

static bool
find_bit_field(const char *name, field *found)
{
    hl_task task;
    memset(&task, 0, sizeof(task));
    if (strcmp(name, "log_tb") == 0) {
        task.log_tb = 1;
    }
    else if (strcmp(name, "blocking") == 0) {
        task.blocking = 1;
    }
    else if (strcmp(name, "must_cancel") == 0) {
        task.must_cancel = 1;
    }
    else if (strcmp(name, "log_destroy_pending") == 0) {
        task.log_destroy_pending = 1;
    }
    else {
        return false;
    }
    *found = locate_bit(name, &task);
    return true;
}
#endif

static bool
find_field(const char *name, field *found)
{
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strcmp(fields[i].name, name) == 0) {
            *found = fields[i];
            return true;
        }
    }
#if HL_LAYOUT != 311
    return find_bit_field(name, found);
#else
    return false;
#endif
}

/* Debug builds can be told to expect one field a pointer further, to test the fallback. */
static size_t
shift_of(const char *name)
{
#ifdef HL_DEBUG
    const char *shifted = getenv("HOTLOOP_TEST_LAYOUT_SHIFT");
    return shifted != NULL && strcmp(shifted, name) == 0 ? sizeof(PyObject *) : 0;
#else
    (void)name;
    return 0;
#endif
}

static bool
field_holds(const field *expected, PyObject *object, PyObject *value)
{
    size_t offset = expected->offset + shift_of(expected->name);
    const char *place = (const char *)object + offset;
    size_t width = expected->kind == FIELD_POINTER ? sizeof(PyObject *)
                   : expected->kind == FIELD_INT   ? sizeof(int)
                                                   : sizeof(char);
    if (offset + width > (size_t)Py_TYPE(object)->tp_basicsize) {
        return false; /* no such field in this object: nothing to read there */
    }
    long number = PyLong_Check(value) ? PyLong_AsLong(value) : 0;
    switch (expected->kind) {
    case FIELD_POINTER:
        return *(PyObject *const *)place == (value == Py_None ? NULL : value);
    case FIELD_INT:
        return *(const int *)place == (int)number;
    case FIELD_CHAR:
        return *place == (char)number;
    default:
        return ((*place & expected->mask) != 0) == (number != 0);
    }
}

/* Remember the first problem.  Returns 0, or -1 with MemoryError. */
static int
report_problem(hl_state *state, const char *what)
{
    Py_XSETREF(state->layout_problem, PyUnicode_FromString(what));
    return state->layout_problem != NULL ? 0 : -1;
}

/* Check one (field, object, value) of the probe.  Returns 1 if it holds, 0, or -1. */
static int
check_expectation(hl_state *state, PyObject *expectation)
{
    const char *name;
    PyObject *object, *value;
    field expected;
    if (!PyArg_ParseTuple(expectation, "sOO", &name, &object, &value)) {
        return -1;
    }
    if (find_field(name, &expected) && field_holds(&expected, object, value)) {
        return 1;
    }
    return report_problem(state, name) < 0 ? -1 : 0;
}

static int
check_size(hl_state *state, const PyTypeObject *type, size_t size, const char *name)
{
    if (type->tp_basicsize == (Py_ssize_t)(size + shift_of(name))) {
        return 1;
    }
    return report_problem(state, name) < 0 ? -1 : 0;
}

/* Dict and weak references are fields up to 3.12, which the type itself tells. */
static int
check_type_offsets(hl_state *state, const PyTypeObject *type)
{
#if HL_LAYOUT == 311
    if (type->tp_dictoffset !=
        (Py_ssize_t)(offsetof(hl_future, dict) + shift_of("dict"))) {
        return report_problem(state, "dict") < 0 ? -1 : 0;
    }
    if (type->tp_weaklistoffset !=
        (Py_ssize_t)(offsetof(hl_future, weakrefs) + shift_of("weakreflist"))) {
        return report_problem(state, "weakreflist") < 0 ? -1 : 0;
    }
#endif
    return 1;
}

#if HL_TASKS_IN_THREAD_STATE

/* How far behind the public struct the private fields are looked for. */
enum { SEARCHED_WORDS = 64 };

static Py_ssize_t
find_in_thread_state(PyObject *wanted, Py_ssize_t start)
{
    const char *thread = (const char *)PyThreadState_Get();
    Py_ssize_t end =
        (Py_ssize_t)(sizeof(PyThreadState) + SEARCHED_WORDS * sizeof(void *));
    for (Py_ssize_t at = start; at < end; at += (Py_ssize_t)sizeof(void *)) {
        if (*(PyObject *const *)(thread + at) == wanted) {
            return at;
        }
    }
    return -1;
}

/* `mark` is the running loop and the current task of this thread now, and `task` a stock
 * task just created here, so the last of the thread's list. */
static int
locate_thread_fields(hl_state *state, PyObject *mark, PyObject *task)
{
    Py_ssize_t loop_at = find_in_thread_state(mark, (Py_ssize_t)sizeof(PyThreadState));
    Py_ssize_t task_at =
        loop_at < 0 ? -1
                    : find_in_thread_state(task, loop_at + (Py_ssize_t)sizeof(void *));
    if (task_at < 0) {
        return report_problem(state, "running task of the thread") < 0 ? -1 : 0;
    }
    const hl_list_node *node =
        (hl_list_node *)((char *)task + offsetof(hl_task, node) + shift_of("node"));
    if (node->next == NULL || node->next->previous != node ||
        node->previous->next != node) {
        return report_problem(state, "node") < 0 ? -1 : 0;
    }
    Py_ssize_t list_at = (const char *)node->next - (const char *)PyThreadState_Get();
    if (list_at <= 0 ||
        list_at > task_at + SEARCHED_WORDS * (Py_ssize_t)sizeof(void *)) {
        return report_problem(state, "task list of the thread") < 0 ? -1 : 0;
    }
    state->running_task_offset = task_at;
    state->task_list_offset = list_at;
    return 1;
}

#else

static int
locate_thread_fields(hl_state *state, PyObject *mark, PyObject *task)
{
    return 1;
}

#endif

PyObject *
hl_layout_check(hl_state *state, PyObject *arguments)
{
    PyObject *expectations, *mark, *task;
    if (!PyArg_ParseTuple(
            arguments, "O!OO", &PyList_Type, &expectations, &mark, &task)) {
        return NULL;
    }
    int holds = 1;
    for (Py_ssize_t i = 0; holds > 0 && i < PyList_GET_SIZE(expectations); i++) {
        holds = check_expectation(state, PyList_GET_ITEM(expectations, i));
    }
    if (holds > 0) {
        holds = locate_thread_fields(state, mark, task);
    }
    return holds < 0 ? NULL : PyBool_FromLong(holds);
}

int
hl_layout_verify(PyObject *module, hl_state *state)
{
    state->is_native = false;
#if HL_LAYOUT == 0
    return report_problem(state, "this version of Python is not known yet");
#else
    int holds =
        check_size(state, state->StockFutureType, sizeof(hl_future), "future_size");
    if (holds > 0) {
        holds = check_size(state, state->StockTaskType, sizeof(hl_task), "task_size");
    }
    if (holds > 0) {
        holds = check_type_offsets(state, state->StockFutureType);
    }
    if (holds <= 0) {
        return holds;
    }
    PyObject *check = PyObject_GetAttrString(module, "_check_layout");
    PyObject *answer =
        check != NULL ? PyObject_CallMethod(state->support, "probe", "O", check) : NULL;
    Py_XDECREF(check);
    if (answer == NULL) {
        return -1;
    }
    state->is_native = answer == Py_True;
    Py_DECREF(answer);
    return 0;
#endif
}
