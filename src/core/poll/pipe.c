/* The calls of pipe.h. */
#include "poll/pipe.h"

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

enum { VECTOR_LIMIT = 64 };

ssize_t
hl_pipe_read(int fd, void *buffer, size_t length)
{
    ssize_t count;
    do {
        count = read(fd, buffer, length);
    } while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

ssize_t
hl_pipe_write(int fd, const void *data, size_t length)
{
    ssize_t count;
    do {
        count = write(fd, data, length);
    } while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

ssize_t
hl_pipe_write_spans(int fd, const hl_spans *spans)
{
    struct iovec vector[VECTOR_LIMIT];
    int used = (int)hl_spans_describe(spans, vector, VECTOR_LIMIT);
    ssize_t count;
    do {
        count = writev(fd, vector, used);
    } while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}
