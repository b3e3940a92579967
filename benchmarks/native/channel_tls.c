/* Streams of TLS by OpenSSL; the server's certificate is not looked at. */
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

struct channel {
    int fd;   /* owned */
    SSL *ssl; /* owned */
};

static SSL_CTX *context; /* owned; made by the first channel */

static _Noreturn void
fail_tls(const char *what)
{
    char reason[256];
    ERR_error_string_n(ERR_get_error(), reason, sizeof(reason));
    load_fail("%s failed: %s", what, reason);
}

channel *
channel_open(int fd)
{
    channel *self = malloc(sizeof(*self));
    if (context == NULL) {
        context = SSL_CTX_new(TLS_client_method());
    }
    if (self == NULL || context == NULL) {
        load_fail("cannot set up TLS");
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(
        context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    self->fd = fd;
    self->ssl = SSL_new(context);
    if (self->ssl == NULL || SSL_set_fd(self->ssl, fd) != 1 ||
        SSL_connect(self->ssl) != 1) {
        fail_tls("the handshake");
    }
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        load_fail("cannot set up a connection: %s", strerror(errno));
    }
    return self;
}

/* Whether a call that moved nothing has to be made again later; -1 at the end of the stream. */
static int
wait_or_end(channel *self, int result, const char *what)
{
    switch (SSL_get_error(self->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        return -1;
    default:
        fail_tls(what);
    }
}

size_t
channel_send(channel *self, const char *bytes, size_t length)
{
    size_t sent = 0;
    ERR_clear_error();
    int result = SSL_write_ex(self->ssl, bytes, length, &sent);
    if (result != 1 && wait_or_end(self, result, "SSL_write") < 0) {
        load_fail("the server ended the TLS session");
    }
    return result == 1 ? sent : 0;
}

ssize_t
channel_receive(channel *self, char *bytes, size_t length)
{
    size_t received = 0;
    ERR_clear_error();
    int result = SSL_read_ex(self->ssl, bytes, length, &received);
    return result == 1 ? (ssize_t)received : wait_or_end(self, result, "SSL_read");
}

int
channel_has_more(channel *self)
{
    return SSL_has_pending(self->ssl);
}

int
channel_fd(channel *self)
{
    return self->fd;
}

void
channel_close(channel *self)
{
    SSL_free(self->ssl);
    close(self->fd);
    free(self);
}
