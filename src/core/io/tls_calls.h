/* The functions of the ssl module that run per message.
 *
 * They are called as the methods would be, but without looking them up, and with memory of
 * ours in the place of objects made for the call.  hl_tls.raw says that each object is of the
 * very type that they are made for; if user code takes that away in the middle, which only
 * private names can, they raise RuntimeError.
 * https://docs.python.org/3/library/ssl.html#memory-bio-support */
#ifndef HL_IO_TLS_CALLS_H
#define HL_IO_TLS_CALLS_H

#include "io/tls.h"

/* What encrypting or decrypting came to, besides a number of bytes. */
enum {
    HL_TLS_FAILED = -1, /* with an exception */
    HL_TLS_AGAIN = -2   /* not now: something must be received first */
};

/* outgoing.read(): a bytes object.  Returns new, or NULL. */
PyObject *hl_tls_read_outgoing(hl_tls *tls);

/* incoming.write(data), which copies it.  Returns 0 or -1. */
int hl_tls_write_incoming(hl_tls *tls, const char *data, size_t length);

/* Encrypt an object into `outgoing`.  Returns how many of its bytes were taken, all as a rule,
 * or HL_TLS_*. */
Py_ssize_t hl_tls_encrypt(hl_tls *tls, PyObject *data);

/* Decrypt at most one record into target, and note that it was taken.  Returns the number of
 * bytes, 0 for close_notify, or HL_TLS_*. */
Py_ssize_t hl_tls_decrypt(hl_tls *tls, char *target, size_t room);

/* How many bytes `incoming` holds, as a number object.  Returns new, or NULL. */
PyObject *hl_tls_pending(const hl_tls *tls);

/* object.<name>(argument), with the object held: it could be replaced meanwhile.  NULL stands
 * for None.  Returns new, or NULL. */
PyObject *hl_tls_call_held(PyObject *object, PyObject *name, PyObject *argument);

#endif
