/* getaddrinfo without a thread, where the answer is known: addresses that are numbers.
 *
 * Only what getaddrinfo(3) answers with exactly one address of the same text is answered
 * here (tests/test_getaddrinfo.py compares): a dotted quad or an IPv6 address without a
 * scope, a port number or None, and a type.  Names, services, odd spellings and wrong
 * arguments are left to socket.getaddrinfo in the executor, and so is everything if that
 * function was replaced, if run_in_executor was on the instance, or in debug mode, which
 * logs how long it took. */
#ifndef HL_IO_NUMERIC_H
#define HL_IO_NUMERIC_H

#include "sched/loop.h"

/* Fetch the constants of the socket module.  Returns 0 or -1. */
int hl_numeric_init(hl_state *state);

/* The list for getaddrinfo(host, port, family, type, proto, flags), which are the six
 * arguments.  New: the list, or None if this is not ours to answer; NULL if an audit hook
 * raised. */
PyObject *hl_numeric_addresses(hl_loop *loop, PyObject *const *arguments);

/* What create_connection() makes of a host and a port that are numbers, without asking
 * getaddrinfo: (family, address).  None for all else.  New, or NULL. */
PyObject *hl_numeric_endpoint(const hl_state *state, PyObject *host, PyObject *port);

#endif
