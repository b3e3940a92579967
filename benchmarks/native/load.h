/* What the parts of the load client share: options, messages, the measuring window.
 *
 * load_client.c owns all of it and runs one of the kinds of load: load_stream.c (messages over
 * connections that stay), load_churn.c (connections of one message) or load_datagram.c.  Any
 * disagreement between what was sent and what came back ends the program by load_fail().
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { LOAD_EVENTS = 256, LOAD_BUFFER = 256 * 1024 };

typedef struct {
    struct sockaddr_storage address; /* of the server */
    socklen_t address_length;
    int connections;
    size_t size;       /* bytes of a message */
    int in_flight;     /* messages of a connection that are on their way at a time */
    bool lines;        /* a message ends in its only newline */
    bool churn;        /* one message for each connection */
    bool hold;         /* connect, then wait for the end of standard input */
    uint64_t messages; /* stop after so many; 0: by time */
    uint64_t warmup_ns;
    uint64_t window_ns;
    int server_pid; /* whose CPU clock is read at both ends of the window; 0: none */
} load_options;

extern load_options options;

/* A buffer of LOAD_BUFFER bytes for whatever was received last. */
extern char *load_received;

/* The message that a connection sends as its number-th; options.size bytes that stay. */
const char *load_message(int connection, uint64_t number);

/* Compare length bytes that came from offset on with that message; fail if they differ. */
void load_check(int connection, uint64_t number, size_t offset, const char *bytes,
                size_t length);

/* Count a message that came back whole; sent_ns is when its sending began. */
void load_record(uint64_t sent_ns);

/* Whether to go on; opens and closes the measuring window.  Called once a turn. */
bool load_goes_on(void);

/* Nanoseconds of the monotonic clock. */
uint64_t load_now(void);

/* A connected socket, made with the call blocking.  With a source, the connection comes from
 * 127.0.0.2 plus a number that follows from it, so that closed connections do not use the ports
 * up. */
int load_connect(int type, uint64_t source);

/* End the program with a line on standard error. */
_Noreturn void load_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The kinds of load; each returns once load_goes_on() said no. */
void load_run_stream(void);
void load_run_churn(void);
void load_run_datagram(void);

/* Count a message that had to be sent again. */
void load_count_lost(void);

#endif
