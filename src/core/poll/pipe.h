/* The system calls of pipes and character devices, as socket.h has those of sockets. */
#ifndef HL_POLL_PIPE_H
#define HL_POLL_PIPE_H

#include "base/spans.h"

#include <sys/types.h>

/* Read at most length bytes; 0 at the end.  Returns the count or -errno. */
ssize_t hl_pipe_read(int fd, void *buffer, size_t length);

/* Write; up to PIPE_BUF bytes stay together.  Returns the count or -errno. */
ssize_t hl_pipe_write(int fd, const void *data, size_t length);

/* Write from the front of spans (not empty) by one system call. */
ssize_t hl_pipe_write_spans(int fd, const hl_spans *spans);

#endif
