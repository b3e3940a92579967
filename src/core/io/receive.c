/* Receiving into bytes objects of the right size: part of transport.h. */
#include "io/transport.h"

#include "base/memory.h"
#include "sched/cork.h"

/* From this size of the last read on, the next one goes straight into a bytes object: below
 * it copying costs less than the memory that was not needed.  Reading into a fresh 256 KiB
 * object each time costs two page faults a message, more than all the rest. */
enum { COPY_LIMIT = 16 * 1024 };

_Static_assert(HL_READ_BUFFER_SIZE / HL_READ_UNIT <= UINT16_MAX, "fits a read_hint");

Py_ssize_t
hl_transport_receive(hl_transport *transport, hl_receive receive, PyObject **data)
{
    hl_loop *loop = transport->loop;
    int fd = hl_transport_descriptor(transport);
    Py_ssize_t count;
    *data = NULL;
    Py_ssize_t hint = (Py_ssize_t)transport->read_hint * HL_READ_UNIT;
    if (hint < COPY_LIMIT) {
        char *buffer = hl_loop_read_buffer(loop);
        if (buffer == NULL) {
            return HL_NO_MEMORY;
        }
        count = receive(fd, buffer, HL_READ_BUFFER_SIZE);
        if (count <= 0) {
            return count;
        }
        *data = hl_spare_take(&loop->spare, buffer, count);
    }
    else {
        Py_ssize_t room =
            2 * hint < HL_READ_BUFFER_SIZE ? 2 * hint : HL_READ_BUFFER_SIZE;
        *data = PyBytes_FromStringAndSize(NULL, room);
        if (*data == NULL) {
            return HL_NO_MEMORY;
        }
        count = receive(fd, PyBytes_AS_STRING(*data), (size_t)room);
        if (count <= 0) {
            Py_CLEAR(*data);
            return count;
        }
        if (count < room) {
            _PyBytes_Resize(data, count); /* NULL with MemoryError on failure */
        }
    }
    transport->read_hint = (uint16_t)((count + HL_READ_UNIT - 1) / HL_READ_UNIT);
    return *data != NULL ? count : HL_NO_MEMORY;
}
