/* What add_reader, sock_* calls and transports ask of a descriptor before they use it: its
 * number, and whether a transport owns it.
 *
 * Owners are transports of ours, which stand in the table of what is watched, and those made
 * in Python, which the loop's mapping `_transports` knows. */
#ifndef HL_IO_DESCRIPTOR_H
#define HL_IO_DESCRIPTOR_H

#include "sched/loop.h"

/* The number that stands for file: itself if it is one, else int(file.fileno()).  Runs user
 * code.  New, or NULL: ValueError as selectors raise it, or what fileno() raised. */
PyObject *hl_descriptor_number(const hl_state *state, PyObject *file);

/* The number as a descriptor.  Returns -1 with ValueError if it is negative, and -2, without
 * an exception, if it is too large. */
int hl_descriptor_of_number(PyObject *number);

/* True if no transport owns fd.  False may also mean that hl_descriptor_check_free has to
 * look closer. */
bool hl_descriptor_is_free(hl_loop *loop, int fd);

/* Loop._ensure_fd_no_transport.  Returns 0, or -1 with RuntimeError if a transport owns it. */
int hl_descriptor_check_free(hl_loop *loop, PyObject *file);

#endif
