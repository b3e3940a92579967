/* The transport that a program has of a TLS connection: asyncio.sslproto's, whose write()
 * and writelines() are in C. */
#ifndef HL_IO_TLS_TRANSPORT_H
#define HL_IO_TLS_TRANSPORT_H

#include "py/state.h"

int hl_tls_transport_type_init(PyObject *module, hl_state *state);

#endif
