/* Memory that a program gives a transport to send, and keeping it until it is sent. */
#ifndef HL_IO_OUTGOING_H
#define HL_IO_OUTGOING_H

#include "py/compat.h"

/* The bytes of `object` while it is open. */
typedef struct {
    PyObject *object; /* borrowed: the caller's */
    Py_buffer view;   /* of object; unused (obj NULL) if it is bytes */
    const char *data;
    size_t length;
} hl_outgoing;

/* hl_outgoing_open of an object that is not exactly bytes. */
int hl_outgoing_open_view(hl_outgoing *piece, PyObject *object);

/* Look into object, which supports the buffer protocol.  Returns 0 (then it has to be
 * closed), or -1 with an exception. */
static inline int
hl_outgoing_open(hl_outgoing *piece, PyObject *object)
{
    if (!PyBytes_CheckExact(object)) {
        return hl_outgoing_open_view(piece, object);
    }
    piece->object = object;
    piece->view.obj = NULL;
    piece->data = PyBytes_AS_STRING(object);
    piece->length = (size_t)PyBytes_GET_SIZE(object);
    return 0;
}

/* The program's memory is its own again: as soon as it is not needed any more, and before code of
 * the program runs, which may change its size.  May be closed again. */
static inline void
hl_outgoing_close(hl_outgoing *piece)
{
    if (piece->view.obj != NULL) {
        PyBuffer_Release(&piece->view);
    }
}

/* An owner of the bytes from `start` on, safe from changes by the program: the object if it
 * is bytes, else a copy of it.  *data is where they are.  Returns new, or NULL. */
PyObject *hl_outgoing_keep(const hl_outgoing *piece, size_t start, const char **data);

#endif
