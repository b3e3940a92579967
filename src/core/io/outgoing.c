/* The functions of outgoing.h. */
#include "io/outgoing.h"

int
hl_outgoing_open_view(hl_outgoing *piece, PyObject *object)
{
    piece->object = object;
    piece->view.obj = NULL;
    if (PyObject_GetBuffer(object, &piece->view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    piece->data = piece->view.buf;
    piece->length = (size_t)piece->view.len;
    return 0;
}

PyObject *
hl_outgoing_keep(const hl_outgoing *piece, size_t start, const char **data)
{
    if (piece->view.obj == NULL) {
        *data = piece->data + start;
        return Py_NewRef(piece->object);
    }
    PyObject *copy = PyBytes_FromStringAndSize(piece->data + start,
                                               (Py_ssize_t)(piece->length - start));
    *data = copy != NULL ? PyBytes_AS_STRING(copy) : NULL;
    return copy;
}
