/* What the two servers in C share: the listening socket, what to answer, how to say "ready".
 *
 * The command line is KIND ADDRESS [CPU]: KIND is echo, turns, http or datagram; ADDRESS is a path
 * for a unix socket, or anything without a slash for a free port of 127.0.0.1.  The first line of
 * the output is the address, as JSON.
 */
#ifndef SERVER_H
#define SERVER_H

#include <stdbool.h>
#include <stddef.h>

enum { SERVER_BUFFER = 256 * 1024 };

typedef struct {
    enum { SERVE_ECHO, SERVE_TURNS, SERVE_HTTP, SERVE_DATAGRAM } kind;
    int fd; /* bound; listening unless it is for datagrams */
    bool is_local;
} server_setup;

/* Read the command line, pin the process and make the socket. */
server_setup server_set_up(int argc, char **argv);

/* Print the address; clients may come from here on. */
void server_say_ready(const server_setup *setup);

/* How many HTTP requests end within these bytes; state is 0 at first and kept by connection. */
int server_count_requests(const char *bytes, size_t length, int *state);

/* Fill buffer with answers to so many requests; return the length. */
size_t server_answer(char *buffer, size_t size, int requests);

/* End the program with what errno says. */
_Noreturn void server_fail(const char *what);

#endif
