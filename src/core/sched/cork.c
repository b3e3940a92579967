/* The corked object of cork.h. */
#include "sched/cork.h"

int
hl_cork_flush(hl_loop *loop)
{
    PyObject *object = hl_cork_object(loop);
    if (object == NULL) {
        return 0;
    }
    /* flush_corked takes the spans before it runs anything that could cork again. */
    loop->corked = NULL;
    int error;
    Py_BEGIN_CRITICAL_SECTION(object);
    error = loop->flush_corked(loop, object);
    Py_END_CRITICAL_SECTION();
    assert(loop->corked != NULL || loop->corked_spans.count == 0);
    Py_DECREF(object);
    return error;
}

int
hl_cork_push(hl_loop *loop, PyObject *object, hl_flush flush, PyObject *owner,
             const char *data, size_t length)
{
    assert(loop->corked == NULL || loop->corked == object);
    if (hl_spans_reserve(&loop->corked_spans) < 0) {
        Py_DECREF(owner);
        PyErr_NoMemory();
        return -1;
    }
    hl_spans_push(&loop->corked_spans, owner, data, length);
    if (loop->corked == NULL) {
        loop->corked = Py_NewRef(object);
        loop->flush_corked = flush;
    }
    return 0;
}

void
hl_cork_drop(hl_loop *loop)
{
    PyObject *owner;
    while ((owner = hl_spans_take_first(&loop->corked_spans)) != NULL) {
        Py_DECREF(owner);
    }
    Py_CLEAR(loop->corked);
}

char *
hl_loop_read_buffer(hl_loop *loop)
{
    if (loop->read_buffer == NULL) {
        loop->read_buffer = PyMem_RawMalloc(HL_READ_BUFFER_SIZE);
        if (loop->read_buffer == NULL) {
            PyErr_NoMemory();
        }
    }
    return loop->read_buffer;
}
