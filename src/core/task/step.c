/* One step of a task, and the callables that stand for it (see step.h).
 *
 * In a step user code may do anything: cancel the task, finish it, await it from within,
 * drop the last reference to it.  The caller (queue entry or callable) holds the task. */
#include "task/step.h"

#include "py/types.h"
#include "sched/current.h"
#include "sched/handle.h"
#include "task/future.h"

static int task_step(hl_state *state, hl_task *task, PyObject *exception);

/* -- awaited-by, for call graphs (3.14) ---------------------------------------------------- */

#if HL_LAYOUT != 311 && HL_LAYOUT != 313

static inline bool
has_awaited_by(const hl_state *state, PyObject *object)
{
    return PyObject_TypeCheck(object, state->StockFutureType);
}

/* Note that task awaits awaited: a single one as it is, several as a set. */
static int
awaited_by_add(const hl_state *state, PyObject *awaited, PyObject *task)
{
    if (!has_awaited_by(state, awaited)) {
        return 0;
    }
    hl_future *future = (hl_future *)awaited;
    if (future->awaited_by == NULL) {
        future->awaited_by = Py_NewRef(task);
        return 0;
    }
    if (!future->awaited_by_is_set) {
        PyObject *set = PySet_New(NULL);
        if (set == NULL || PySet_Add(set, future->awaited_by) < 0) {
            Py_XDECREF(set);
            return -1;
        }
        Py_SETREF(future->awaited_by, set);
        future->awaited_by_is_set = 1;
    }
    return PySet_Add(future->awaited_by, task);
}

static int
awaited_by_discard(const hl_state *state, PyObject *awaited, PyObject *task)
{
    if (!has_awaited_by(state, awaited)) {
        return 0;
    }
    hl_future *future = (hl_future *)awaited;
    if (future->awaited_by == task) {
        Py_CLEAR(future->awaited_by);
        return 0;
    }
    if (future->awaited_by_is_set) {
        return PySet_Discard(future->awaited_by, task) < 0 ? -1 : 0;
    }
    return 0;
}

#else

static inline int
awaited_by_add(const hl_state *state, PyObject *awaited, PyObject *task)
{
    return 0;
}

static inline int
awaited_by_discard(const hl_state *state, PyObject *awaited, PyObject *task)
{
    return 0;
}

#endif

/* -- outcomes: what the coroutine answered --------------------------------------------------- */

static int
outcome_returned(hl_state *state, hl_task *task, PyObject *result)
{
    int error;
    if (task->must_cancel) {
        /* Cancelled right before it returned. */
        task->must_cancel = 0;
        PyObject *message = Py_XNewRef(task->cancel_msg);
        error = hl_future_cancel_lock_held(state, (hl_future *)task, message);
        Py_XDECREF(message);
    }
    else {
        error = hl_future_set_result_lock_held(state, (hl_future *)task, result);
    }
    return error < 0 ? -1 : 0;
}

/* The raised exception becomes the task's. */
static int
outcome_raised(hl_state *state, hl_task *task)
{
    PyObject *exception = PyErr_GetRaisedException();
    if (PyErr_GivenExceptionMatches(exception, state->CancelledError)) {
        /* Kept: awaiting the task raises this very exception. */
        Py_XSETREF(task->cancelled_exc, exception);
        return hl_future_cancel_lock_held(state, (hl_future *)task, NULL) < 0 ? -1 : 0;
    }
    if (hl_future_set_exception_lock_held(state, (hl_future *)task, exception) < 0) {
        Py_DECREF(exception);
        return -1;
    }
    if (PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt) ||
        PyErr_GivenExceptionMatches(exception, PyExc_SystemExit)) {
        PyErr_SetRaisedException(exception); /* leaves the loop as well */
        return -1;
    }
    Py_DECREF(exception);
    return 0;
}

/* Throw RuntimeError(message) into the coroutine in the next turn; steals message. */
static int
throw_error_soon(hl_state *state, hl_task *task, PyObject *message)
{
    if (message == NULL) {
        return -1;
    }
    PyObject *error = PyObject_CallOneArg(PyExc_RuntimeError, message);
    Py_DECREF(message);
    if (error == NULL) {
        return -1;
    }
    int failed = hl_task_step_soon(state, task, error);
    Py_DECREF(error);
    return failed;
}

static int
throw_different_loop(hl_state *state, hl_task *task, PyObject *awaited)
{
    return throw_error_soon(
        state,
        task,
        PyUnicode_FromFormat(
            "Task %R got Future %R attached to a different loop", task, awaited));
}

static int
throw_plain_yield(hl_state *state, hl_task *task, PyObject *awaited)
{
    return throw_error_soon(
        state,
        task,
        PyUnicode_FromFormat(
            "yield was used instead of yield from in task %R with %R", task, awaited));
}

/* The task now waits for awaited; a cancellation that came meanwhile goes on to it. */
static int
task_wait_for(hl_state *state, hl_task *task, PyObject *awaited)
{
    Py_XSETREF(task->fut_waiter, Py_NewRef(awaited));
    if (!task->must_cancel) {
        return 0;
    }
    PyObject *message =
        Py_NewRef(task->cancel_msg != NULL ? task->cancel_msg : Py_None);
    PyObject *stack[] = {awaited, message};
    PyObject *answer = PyObject_VectorcallMethod(
        state->str.cancel, stack, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(message);
    int took = answer != NULL ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    if (took > 0) {
        task->must_cancel = 0;
    }
    return took < 0 ? -1 : 0;
}

/* Become the first waiter of a native future without any object in between.  False if the
 * slot is taken or the loop wants real handles. */
static inline bool
wait_directly(hl_state *state, hl_task *task, hl_future *future)
{
    hl_loop *loop = hl_loop_cast(state, task->loop);
    if (loop == NULL || !hl_loop_is_direct(loop) || future->state != HL_PENDING ||
        future->callback0 != NULL || future->callbacks != NULL ||
        !Py_IS_TYPE(task, state->TaskType)) {
        return false;
    }
    future->callback0 = Py_NewRef((PyObject *)task);
    future->context0 = Py_NewRef(task->context);
    return true;
}

static int
wait_by_callback(hl_state *state, hl_task *task, hl_future *future)
{
    PyObject *wakeup = hl_task_wakeup_callable((PyObject *)task);
    if (wakeup == NULL) {
        return -1;
    }
    int error = hl_future_add_callback_lock_held(state, future, wakeup, task->context);
    Py_DECREF(wakeup);
    return error;
}

/* The coroutine yielded a native future. */
static int
outcome_awaits_native(hl_state *state, hl_task *task, PyObject *awaited)
{
    hl_future *future = (hl_future *)awaited;
    if (future->loop != task->loop) {
        return throw_different_loop(state, task, awaited);
    }
    int error = 0;
    bool was_blocking;
    Py_BEGIN_CRITICAL_SECTION(awaited);
    was_blocking = future->blocking;
    if (was_blocking) {
        future->blocking = 0;
        if (!wait_directly(state, task, future)) {
            error = wait_by_callback(state, task, future);
        }
        if (error == 0) {
            error = awaited_by_add(state, awaited, (PyObject *)task);
        }
    }
    Py_END_CRITICAL_SECTION();
    if (!was_blocking) {
        return throw_plain_yield(state, task, awaited);
    }
    return error < 0 ? -1 : task_wait_for(state, task, awaited);
}

/* The loop of any future: get_loop(), or the attribute _loop of old ones.  New, or NULL. */
static PyObject *
foreign_loop(hl_state *state, PyObject *awaited)
{
    PyObject *method;
    if (PyObject_GetOptionalAttr(awaited, state->str.get_loop, &method) < 0) {
        return NULL;
    }
    if (method == NULL) {
        return PyObject_GetAttr(awaited, state->str._loop);
    }
    PyObject *loop = PyObject_CallNoArgs(method);
    Py_DECREF(method);
    return loop;
}

static int
wait_by_protocol(hl_state *state, hl_task *task, PyObject *awaited)
{
    if (awaited_by_add(state, awaited, (PyObject *)task) < 0 ||
        PyObject_SetAttr(awaited, state->str._asyncio_future_blocking, Py_False) < 0) {
        return -1;
    }
    PyObject *wakeup = hl_task_wakeup_callable((PyObject *)task);
    if (wakeup == NULL) {
        return -1;
    }
    PyObject *context = Py_NewRef(task->context);
    PyObject *stack[] = {awaited, wakeup, context};
    PyObject *added = PyObject_VectorcallMethod(state->str.add_done_callback,
                                                stack,
                                                2 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                                state->context_names);
    Py_DECREF(context);
    Py_DECREF(wakeup);
    Py_XDECREF(added);
    return added != NULL ? task_wait_for(state, task, awaited) : -1;
}

/* The coroutine yielded something with _asyncio_future_blocking. */
static int
outcome_awaits_foreign(hl_state *state, hl_task *task, PyObject *awaited,
                       int is_blocking)
{
    PyObject *loop = foreign_loop(state, awaited);
    if (loop == NULL) {
        return -1;
    }
    bool is_same = loop == task->loop;
    Py_DECREF(loop);
    if (!is_same) {
        return throw_different_loop(state, task, awaited);
    }
    if (!is_blocking) {
        return throw_plain_yield(state, task, awaited);
    }
    return wait_by_protocol(state, task, awaited);
}

static int
outcome_yielded_other(hl_state *state, hl_task *task, PyObject *yielded)
{
    PyObject *blocking;
    if (PyObject_GetOptionalAttr(
            yielded, state->str._asyncio_future_blocking, &blocking) < 0) {
        return -1;
    }
    if (blocking != NULL && blocking != Py_None) {
        int is_blocking = PyObject_IsTrue(blocking);
        Py_DECREF(blocking);
        return is_blocking < 0
                   ? -1
                   : outcome_awaits_foreign(state, task, yielded, is_blocking);
    }
    Py_XDECREF(blocking);
    const char *format =
        PyGen_Check(yielded)
            ? "yield was used instead of yield from for generator in task "
              "%R with %R"
            : NULL;
    PyObject *message = format != NULL
                            ? PyUnicode_FromFormat(format, task, yielded)
                            : PyUnicode_FromFormat("Task got bad yield: %R", yielded);
    return throw_error_soon(state, task, message);
}

static inline int
outcome_yielded(hl_state *state, hl_task *task, PyObject *yielded)
{
    if (yielded == Py_None) {
        /* A bare yield: again in the next turn. */
        return hl_task_step_soon(state, task, NULL);
    }
    if (yielded == (PyObject *)task) {
        return throw_error_soon(
            state, task, PyUnicode_FromFormat("Task cannot await on itself: %R", task));
    }
    if (hl_is_native_future(state, yielded)) {
        return outcome_awaits_native(state, task, yielded);
    }
    return outcome_yielded_other(state, task, yielded);
}

/* -- the step ---------------------------------------------------------------------------------- */

/* coro.throw(exception) with the result in the form of PyIter_Send. */
static PySendResult
coro_throw(hl_state *state, PyObject *coro, PyObject *exception, PyObject **result)
{
    *result = PyObject_CallMethodOneArg(coro, state->str.throw, exception);
    if (*result != NULL) {
        return PYGEN_NEXT;
    }
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return PYGEN_ERROR;
    }
    PyObject *stop = PyErr_GetRaisedException();
    *result = Py_NewRef(((PyStopIterationObject *)stop)->value);
    Py_DECREF(stop);
    return PYGEN_RETURN;
}

/* What to throw for a pending cancellation instead of exception (borrowed, or NULL).  New
 * reference in *thrown (NULL: nothing to throw).  Returns 0 or -1. */
static int
step_exception(hl_state *state, hl_task *task, PyObject *exception, PyObject **thrown)
{
    *thrown = Py_XNewRef(exception);
    if (!task->must_cancel) {
        return 0;
    }
    if (exception == NULL ||
        !PyErr_GivenExceptionMatches(exception, state->CancelledError)) {
        Py_XSETREF(*thrown, hl_future_make_cancelled_error(state, (hl_future *)task));
        if (*thrown == NULL) {
            return -1;
        }
    }
    task->must_cancel = 0;
    return 0;
}

static int
step_done_already(hl_state *state, hl_task *task, PyObject *exception)
{
    PyErr_Format(state->InvalidStateError,
                 HL_STEP_NAME "(): already done: %R %R",
                 task,
                 exception != NULL ? exception : Py_None);
    return -1;
}

static int
step_forget_waiter(hl_state *state, hl_task *task)
{
    PyObject *waiter = task->fut_waiter;
    if (waiter == NULL) {
        return 0;
    }
    task->fut_waiter = NULL;
    int error = awaited_by_discard(state, waiter, (PyObject *)task);
    Py_DECREF(waiter);
    return error;
}

/* Resume the coroutine once and act on the answer.  The task is current and its context
 * entered.  Returns 0, or -1 with an exception for whoever runs the step. */
static int
task_step_lock_held(hl_state *state, hl_task *task, PyObject *exception)
{
    hl_count_step(state);
    if (task->state != HL_PENDING) {
        return step_done_already(state, task, exception);
    }
    PyObject *thrown = NULL, *result = NULL;
    if ((exception != NULL || task->must_cancel) &&
        step_exception(state, task, exception, &thrown) < 0) {
        return -1;
    }
    if (step_forget_waiter(state, task) < 0) {
        Py_XDECREF(thrown);
        return -1;
    }
    PyObject *coro = task->coro;
    if (coro == NULL) {
        Py_XDECREF(thrown);
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Task object");
        return -1;
    }
    PySendResult status;
    if (thrown == NULL) {
        status = PyIter_Send(coro, Py_None, &result);
    }
    else {
        status = coro_throw(state, coro, thrown, &result);
        Py_DECREF(thrown);
    }
    int error;
    if (status == PYGEN_NEXT) {
        error = outcome_yielded(state, task, result);
        Py_DECREF(result);
        return error;
    }
    if (status == PYGEN_RETURN) {
        error = outcome_returned(state, task, result);
        Py_DECREF(result);
        return error;
    }
    return outcome_raised(state, task);
}

int
hl_task_step_now(hl_state *state, hl_task *task, PyObject *exception)
{
    int error;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)task);
    error = task_step_lock_held(state, task, exception);
    Py_END_CRITICAL_SECTION();
    return error;
}

/* -- steps from the ready queue ------------------------------------------------------------------ */

/* Report a failed step as asyncio does: as the exception of the handle that ran it. */
static int
report_failed_step(hl_loop *loop, hl_task *task, PyObject *argument, bool is_wakeup)
{
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
        PyErr_ExceptionMatches(PyExc_SystemExit)) {
        return -1;
    }
    PyObject *exception = PyErr_GetRaisedException();
    PyObject *callable =
        is_wakeup ? hl_task_wakeup_callable((PyObject *)task)
                  : PyObject_CallFunctionObjArgs((PyObject *)loop->state->TaskStepType,
                                                 (PyObject *)task,
                                                 argument,
                                                 NULL);
    PyObject *handle =
        callable != NULL
            ? hl_handle_new(loop, callable, &argument, is_wakeup ? 1 : 0, task->context)
            : NULL;
    Py_XDECREF(callable);
    if (handle == NULL) {
        Py_DECREF(exception);
        return -1;
    }
    PyErr_SetRaisedException(exception);
    int error = hl_handle_report(loop, handle);
    Py_DECREF(handle);
    return error;
}

/* Publish the task, enter its context, step.  Returns 0, or -1 with an exception. */
static inline int
run_step(hl_loop *loop, hl_task *task, PyObject *exception)
{
    PyObject *context = task->context;
    if (context == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Task object");
        return -1;
    }
    Py_INCREF(context);
    int error = PyContext_Enter(context);
    if (error == 0) {
        error = hl_current_set(loop, (PyObject *)task);
        if (error == 0) {
            error = hl_task_step_now(loop->state, task, exception);
        }
        if (PyContext_Exit(context) < 0) {
            error = -1;
        }
    }
    Py_DECREF(context);
    return error;
}

static int
task_step_run(hl_loop *loop, PyObject *owner, PyObject *exception)
{
    hl_task *task = (hl_task *)owner;
    if (run_step(loop, task, exception) == 0) {
        return 0;
    }
    return report_failed_step(loop, task, exception, false);
}

/* What the awaited future raises, or NULL if it has a result: the coroutine's own iterator
 * reads that.  A native future is asked directly.  *exception is new.  Returns 0 or -1. */
static int
awaited_exception(hl_state *state, PyObject *future, PyObject **exception)
{
    PyObject *result;
    *exception = NULL;
    if (hl_is_native_future(state, future)) {
        const hl_future *native = (hl_future *)future;
        if (native->state == HL_FINISHED && native->exception == NULL) {
            return 0;
        }
        Py_BEGIN_CRITICAL_SECTION(future);
        result = hl_future_result_lock_held(state, (hl_future *)future);
        Py_END_CRITICAL_SECTION();
    }
    else {
        result = PyObject_CallMethodNoArgs(future, state->str.result);
    }
    if (result == NULL) {
        *exception = PyErr_GetRaisedException();
    }
    Py_XDECREF(result);
    return 0;
}

int
hl_task_wakeup_run(hl_loop *loop, PyObject *owner, PyObject *future)
{
    hl_task *task = (hl_task *)owner;
    PyObject *exception;
    awaited_exception(loop->state, future, &exception);
    int error = run_step(loop, task, exception);
    Py_XDECREF(exception);
    return error == 0 ? 0 : report_failed_step(loop, task, future, true);
}

int
hl_task_wake_soon(hl_state *state, PyObject *task, PyObject *future)
{
    hl_loop *loop = hl_loop_cast(state, ((hl_task *)task)->loop);
    if (loop != NULL && hl_loop_is_direct(loop)) {
        return hl_loop_push(loop, hl_task_wakeup_run, task, Py_NewRef(future));
    }
    PyObject *wakeup = hl_task_wakeup_callable(task);
    int error = -1;
    if (wakeup != NULL) {
        error = hl_call_soon(
            state, ((hl_task *)task)->loop, wakeup, future, ((hl_task *)task)->context);
        Py_DECREF(wakeup);
    }
    Py_DECREF(task);
    return error;
}

/* -- steps as callables ---------------------------------------------------------------------------- */

/* What call_soon gets on foreign loops and in debug mode. */
typedef struct {
    PyObject_HEAD
    PyObject *task;      /* owned */
    PyObject *exception; /* owned, or NULL */
} hl_task_step;

int
hl_task_step_soon(hl_state *state, hl_task *task, PyObject *exception)
{
    hl_loop *loop = hl_loop_cast(state, task->loop);
    if (loop != NULL && hl_loop_is_direct(loop)) {
        return hl_loop_push(
            loop, task_step_run, Py_NewRef((PyObject *)task), Py_XNewRef(exception));
    }
    PyObject *step = PyObject_CallFunctionObjArgs(
        (PyObject *)state->TaskStepType, (PyObject *)task, exception, NULL);
    if (step == NULL) {
        return -1;
    }
    PyObject *context = Py_NewRef(task->context);
    int error = hl_call_soon(state, task->loop, step, NULL, context);
    Py_DECREF(context);
    Py_DECREF(step);
    return error;
}

/* Call asyncio's _enter_task or _leave_task. */
static int
call_with_loop_and_task(PyObject *function, hl_task *task)
{
    PyObject *stack[] = {NULL, task->loop, (PyObject *)task};
    PyObject *result = PyObject_Vectorcall(
        function, stack + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

static int
leave_task(hl_state *state, hl_task *task)
{
    PyObject *exception = PyErr_GetRaisedException();
    int error = call_with_loop_and_task(state->leave_task, task);
    if (exception != NULL) {
        /* The step's own exception is the one to see. */
        PyErr_Clear();
        PyErr_SetRaisedException(exception);
    }
    return error;
}

/* A step under asyncio's own entering and leaving: for loops that are not ours. */
static int
task_step(hl_state *state, hl_task *task, PyObject *exception)
{
    if (task->loop == NULL || task->context == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Task object");
        return -1;
    }
    if (call_with_loop_and_task(state->enter_task, task) < 0) {
        return -1;
    }
    int error = hl_task_step_now(state, task, exception);
    return leave_task(state, task) < 0 ? -1 : error;
}

static PyObject *
task_step_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    hl_task_step *step = (hl_task_step *)self;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0) {
        PyErr_SetString(PyExc_TypeError, "function takes no keyword arguments");
        return NULL;
    }
    if (PyTuple_GET_SIZE(args) != 0) {
        PyErr_SetString(PyExc_TypeError, "function takes no positional arguments");
        return NULL;
    }
    if (task_step(hl_state_of(self), (hl_task *)step->task, step->exception) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
task_step_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *task, *exception = NULL;
    hl_state *state = hl_state_of_type(type);
    if (!PyArg_ParseTuple(args, "O!|O", state->TaskType, &task, &exception)) {
        return NULL;
    }
    hl_task_step *self = (hl_task_step *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->task = Py_NewRef(task);
        self->exception = Py_XNewRef(exception);
    }
    return (PyObject *)self;
}

static int
task_step_clear(PyObject *self)
{
    Py_CLEAR(((hl_task_step *)self)->task);
    Py_CLEAR(((hl_task_step *)self)->exception);
    return 0;
}

static int
task_step_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((hl_task_step *)self)->task);
    Py_VISIT(((hl_task_step *)self)->exception);
    return 0;
}

static void
task_step_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    task_step_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
task_step_get_self(PyObject *self, void *closure)
{
    PyObject *task = ((hl_task_step *)self)->task;
    return Py_NewRef(task != NULL ? task : Py_None);
}

static PyGetSetDef task_step_getset[] = {
    {"__self__", task_step_get_self, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot task_step_slots[] = {
    {Py_tp_new, task_step_new},
    {Py_tp_call, task_step_call},
    {Py_tp_dealloc, task_step_dealloc},
    {Py_tp_traverse, task_step_traverse},
    {Py_tp_clear, task_step_clear},
    {Py_tp_getset, task_step_getset},
    {0, NULL},
};

/* asyncio's name, because it shows in the repr of handles. */
static PyType_Spec task_step_spec = {
    .name = "hotloop.TaskStepMethWrapper",
    .basicsize = sizeof(hl_task_step),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = task_step_slots,
};

int
hl_step_type_init(PyObject *module, hl_state *state)
{
    state->TaskStepType = hl_type_new(module, &task_step_spec, NULL, NULL);
    return state->TaskStepType != NULL ? 0 : -1;
}

static PyObject *
task_wakeup(PyObject *self, PyObject *future)
{
    hl_state *state = hl_state_of(self);
    PyObject *exception;
    awaited_exception(state, future, &exception);
    int error = task_step(state, (hl_task *)self, exception);
    Py_XDECREF(exception);
    if (error < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
hl_task_wakeup_callable(PyObject *task)
{
    static PyMethodDef definition = {"task_wakeup", task_wakeup, METH_O, NULL};
    return PyCFunction_New(&definition, task);
}
