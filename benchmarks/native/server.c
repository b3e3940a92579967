/* The part of the servers in C that has nothing to do with how they wait. */
#include "server.h"

#include "pin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static const char answer[] = "HTTP/1.1 200 OK\r\n"
                             "Content-Type: text/plain\r\n"
                             "Content-Length: 13\r\n"
                             "\r\n"
                             "Hello, world!";

void
server_fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static int
make_socket(const char *path, int type)
{
    union {
        struct sockaddr any;
        struct sockaddr_in inet;
        struct sockaddr_un local;
    } address = {.inet = {.sin_family = AF_INET}};
    socklen_t length = sizeof(address.inet);
    address.inet.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (path != NULL) {
        memset(&address, 0, sizeof(address));
        address.local.sun_family = AF_UNIX;
        strncpy(address.local.sun_path, path, sizeof(address.local.sun_path) - 1);
        length = sizeof(address.local);
    }
    int fd = socket(address.any.sa_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, &address.any, length) < 0 ||
        (type == SOCK_STREAM && listen(fd, 4096) < 0)) {
        server_fail("the socket");
    }
    return fd;
}

server_setup
server_set_up(int argc, char **argv)
{
    server_setup setup = {.kind = SERVE_ECHO};
    if (argc < 3) {
        fputs("usage: KIND ADDRESS [CPU]\n", stderr);
        exit(1);
    }
    if (strcmp(argv[1], "http") == 0) {
        setup.kind = SERVE_HTTP;
    }
    else if (strcmp(argv[1], "turns") == 0) {
        setup.kind = SERVE_TURNS;
    }
    else if (strcmp(argv[1], "datagram") == 0) {
        setup.kind = SERVE_DATAGRAM;
    }
    if (argc > 3) {
        if (!pin_to(atoi(argv[3]))) {
            server_fail("sched_setaffinity");
        }
    }
    setup.is_local = strchr(argv[2], '/') != NULL;
    setup.fd = make_socket(setup.is_local ? argv[2] : NULL,
                           setup.kind == SERVE_DATAGRAM ? SOCK_DGRAM : SOCK_STREAM);
    return setup;
}

void
server_say_ready(const server_setup *setup)
{
    struct sockaddr_un local = {0};
    struct sockaddr_in inet;
    socklen_t length = setup->is_local ? sizeof(local) : sizeof(inet);
    struct sockaddr *address =
        setup->is_local ? (struct sockaddr *)&local : (struct sockaddr *)&inet;
    if (getsockname(setup->fd, address, &length) < 0) {
        server_fail("getsockname");
    }
    if (setup->is_local) {
        printf("\"%s\"\n", local.sun_path);
    }
    else {
        printf("\"127.0.0.1:%d\"\n", ntohs(inet.sin_port));
    }
    fflush(stdout);
}

int
server_count_requests(const char *bytes, size_t length, int *state)
{
    static const char end[] = "\r\n\r\n";
    int requests = 0;
    for (size_t i = 0; i < length; i++) {
        *state = bytes[i] == end[*state] ? *state + 1 : bytes[i] == '\r';
        if (*state == 4) {
            *state = 0;
            requests++;
        }
    }
    return requests;
}

size_t
server_answer(char *buffer, size_t size, int requests)
{
    size_t length = 0;
    while (requests-- > 0 && length + sizeof(answer) <= size) {
        memcpy(buffer + length, answer, sizeof(answer) - 1);
        length += sizeof(answer) - 1;
    }
    return length;
}
