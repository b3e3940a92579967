/* The connections of a server: what stands in the place of asyncio's WeakSet in
 * Server._clients (3.13 and later).
 *
 * Native transports are linked through fields of their own and not referred to: a transport
 * that dies takes itself out.  A WeakSet costs some 150 bytes and a microsecond for each.
 * Others, which only Python code could add, are in a WeakSet beside the list; without a GIL
 * all are. */
#ifndef HL_IO_CLIENT_SET_H
#define HL_IO_CLIENT_SET_H

#include "io/transport.h"

int hl_client_set_type_init(PyObject *module, hl_state *state);

/* Take transport out of the set it is in, if any. */
void hl_client_set_forget(hl_transport *transport);

#endif
