/* The inbox of inbox.h. */
#include "sched/inbox.h"

#if HL_FREE_THREADED

static void
inbox_update_count(hl_loop *loop)
{
    __atomic_store_n(&loop->inbox_count, loop->inbox.count, __ATOMIC_SEQ_CST);
}

int
hl_loop_push_foreign(hl_loop *loop, hl_run run, PyObject *owner, PyObject *argument)
{
    hl_mutex_lock(&loop->mutex);
    int error = hl_ready_reserve(&loop->inbox);
    if (error == 0) {
        hl_ready_push(&loop->inbox, run, owner, argument);
        inbox_update_count(loop);
    }
    hl_mutex_unlock(&loop->mutex);
    if (error < 0) {
        Py_DECREF(owner);
        Py_XDECREF(argument);
    }
    return error;
}

int
hl_inbox_drain(hl_loop *loop)
{
    if (hl_inbox_is_empty(loop)) {
        return 0;
    }
    int error = 0;
    hl_mutex_lock(&loop->mutex);
    while (loop->inbox.count > 0 && (error = hl_ready_reserve(&loop->ready)) == 0) {
        hl_ready_entry entry = hl_ready_take(&loop->inbox);
        hl_ready_push(&loop->ready, entry.run, entry.owner, entry.argument);
    }
    inbox_update_count(loop);
    hl_mutex_unlock(&loop->mutex);
    return error;
}

int
hl_inbox_look(hl_loop *loop, hl_ready *copy)
{
    int error = 0;
    hl_mutex_lock(&loop->mutex); /* so nobody becomes the owner meanwhile */
    unsigned long owner = hl_loop_owner(loop);
    if (owner == 0 || owner == hl_thread_ident()) {
        error = hl_ready_copy(&loop->ready, copy);
    }
    if (error == 0) {
        error = hl_ready_copy(&loop->inbox, copy);
    }
    hl_mutex_unlock(&loop->mutex);
    return error;
}

void
hl_inbox_clear(hl_loop *loop)
{
    while (!hl_inbox_is_empty(loop)) {
        hl_mutex_lock(&loop->mutex);
        hl_ready taken = loop->inbox;
        hl_ready_init(&loop->inbox);
        inbox_update_count(loop);
        hl_mutex_unlock(&loop->mutex);
        hl_ready_fini(&taken);
    }
}

void
hl_inbox_fini(hl_loop *loop)
{
    hl_inbox_clear(loop);
    hl_ready_fini(&loop->inbox);
}

int
hl_inbox_traverse(const hl_loop *loop, visitproc visit, void *arg)
{
    /* Without the mutex: the collector has stopped every other thread, none of them inside. */
    return hl_ready_traverse(&loop->inbox, visit, arg);
}

#endif
