/* The other ceiling: a server on libuv, which is what uvloop stands on.
 *
 * Writes are tried at once; what is not taken is queued, and reading stops until it is gone.
 */
#include "server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

typedef union {
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
} stream_handle;

typedef struct {
    stream_handle handle; /* first: a handle is its connection */
    int http_state;       /* of server_count_requests */
} connection;

typedef struct {
    uv_write_t request; /* first */
    char bytes[];
} queued_write;

typedef struct {
    uv_udp_send_t request; /* first */
    char bytes[];
} queued_send;

static server_setup setup;
static char received[SERVER_BUFFER];
static char answers[SERVER_BUFFER];

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer);

static void
check(int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(result));
        exit(1);
    }
}

static void *
allocate(size_t size)
{
    void *memory = malloc(size);
    if (memory == NULL) {
        server_fail("malloc");
    }
    return memory;
}

static void
lend_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)handle, (void)suggested;
    *buffer = uv_buf_init(received, sizeof(received));
}

static void
on_closed(uv_handle_t *handle)
{
    free(handle);
}

static void
close_stream(uv_stream_t *stream)
{
    if (!uv_is_closing((uv_handle_t *)stream)) {
        uv_close((uv_handle_t *)stream, on_closed);
    }
}

static void
on_written(uv_write_t *request, int status)
{
    uv_stream_t *stream = request->handle;
    if (status < 0) {
        close_stream(stream);
    }
    else {
        check(uv_read_start(stream, lend_buffer, on_read), "uv_read_start");
    }
    free(request);
}

static void
send_reply(uv_stream_t *stream, char *bytes, size_t length)
{
    uv_buf_t buffer = uv_buf_init(bytes, (unsigned)length);
    int taken = uv_try_write(stream, &buffer, 1);
    if (taken == UV_EAGAIN) {
        taken = 0;
    }
    else if (taken < 0) {
        close_stream(stream);
        return;
    }
    size_t rest = length - (size_t)taken;
    if (rest > 0) {
        queued_write *queued = allocate(sizeof(*queued) + rest);
        memcpy(queued->bytes, bytes + taken, rest);
        buffer = uv_buf_init(queued->bytes, (unsigned)rest);
        uv_read_stop(stream);
        check(uv_write(&queued->request, stream, &buffer, 1, on_written), "uv_write");
    }
}

static void
on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
    connection *self = (connection *)stream;
    if (length < 0) {
        close_stream(stream);
    }
    else if (length > 0 && setup.kind == SERVE_HTTP) {
        int requests =
            server_count_requests(buffer->base, (size_t)length, &self->http_state);
        size_t answered = server_answer(answers, sizeof(answers), requests);
        if (answered > 0) {
            send_reply(stream, answers, answered);
        }
    }
    else if (length > 0) {
        send_reply(stream, buffer->base, (size_t)length);
    }
}

static void
init_handle(uv_loop_t *loop, stream_handle *handle)
{
    check(setup.is_local ? uv_pipe_init(loop, &handle->pipe, 0)
                         : uv_tcp_init(loop, &handle->tcp),
          "init");
}

static void
on_connection(uv_stream_t *listener, int status)
{
    check(status, "listen");
    connection *self = allocate(sizeof(*self));
    memset(self, 0, sizeof(*self));
    init_handle(listener->loop, &self->handle);
    check(uv_accept(listener, &self->handle.stream), "uv_accept");
    if (!setup.is_local) {
        uv_tcp_nodelay(&self->handle.tcp, 1);
    }
    check(uv_read_start(&self->handle.stream, lend_buffer, on_read), "uv_read_start");
}

static void
on_sent(uv_udp_send_t *request, int status)
{
    (void)status; /* what is lost is sent again by the client */
    free(request);
}

static void
on_datagram(uv_udp_t *handle, ssize_t length, const uv_buf_t *buffer,
            const struct sockaddr *peer, unsigned flags)
{
    (void)flags;
    if (length <= 0 || peer == NULL) {
        return;
    }
    uv_buf_t reply = uv_buf_init(buffer->base, (unsigned)length);
    if (uv_udp_try_send(handle, &reply, 1, peer) == UV_EAGAIN) {
        queued_send *queued = allocate(sizeof(*queued) + (size_t)length);
        memcpy(queued->bytes, buffer->base, (size_t)length);
        reply.base = queued->bytes;
        check(uv_udp_send(&queued->request, handle, &reply, 1, peer, on_sent),
              "uv_udp_send");
    }
}

int
main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    stream_handle listener;
    uv_udp_t datagrams;
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts(uv_version_string());
        return 0;
    }
    setup = server_set_up(argc, argv);
    if (setup.kind == SERVE_DATAGRAM) {
        check(uv_udp_init(loop, &datagrams), "uv_udp_init");
        check(uv_udp_open(&datagrams, setup.fd), "uv_udp_open");
        check(uv_udp_recv_start(&datagrams, lend_buffer, on_datagram),
              "uv_udp_recv_start");
    }
    else {
        init_handle(loop, &listener);
        check(setup.is_local ? uv_pipe_open(&listener.pipe, setup.fd)
                             : uv_tcp_open(&listener.tcp, setup.fd),
              "open");
        check(uv_listen(&listener.stream, 4096, on_connection), "uv_listen");
    }
    server_say_ready(&setup);
    return uv_run(loop, UV_RUN_DEFAULT);
}
