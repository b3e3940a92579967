/* A client that loads an echo server and checks every byte that comes back.
 *
 * One process, one thread, epoll.  After a warm-up it opens a measuring window, and at both ends
 * of it reads its own CPU clock and the server's (of all threads, kernel and user).  It prints one
 * JSON object.  The address is HOST:PORT or, with a slash, the path of a unix socket.
 */
#include "load.h"

#include "pin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "channel.h"

/* Latencies are counted in buckets of 1/32 of a power of two: at most 3 % wide. */
enum { FINE_BITS = 5, BUCKETS = 64 << FINE_BITS };
enum { DISTINCT_BYTES = 1024 * 1024, DISTINCT_MOST = 256, DISTINCT_LEAST = 4 };
enum { SOURCES = 100 };
enum { PATIENCE = 10 }; /* windows that one may be late */

load_options options = {
    .connections = 1,
    .size = 1024,
    .in_flight = 1,
    .warmup_ns = 250 * 1000000ull,
    .window_ns = 1000 * 1000000ull,
};
char *load_received;

static char *messages; /* owned; distinct_messages times options.size bytes */
static int distinct_messages;

static struct {
    enum { WARMING_UP, OPEN, CLOSED } state;
    uint64_t due_ns; /* when the state changes */
    uint64_t opened_ns, closed_ns;
    uint64_t server_ns,
        client_ns;     /* CPU time; at the opening, then within the window */
    uint64_t messages; /* within the window */
    uint64_t all_messages;
    uint64_t lost;
    uint64_t latencies[BUCKETS];
} window;

void
load_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static uint64_t
read_clock(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time) < 0) {
        load_fail("a clock cannot be read (is the server gone?): %s", strerror(errno));
    }
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t
load_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

static uint64_t
server_clock(void)
{
    clockid_t clock;
    if (options.server_pid == 0) {
        return 0;
    }
    if (clock_getcpuclockid(options.server_pid, &clock) != 0) {
        load_fail("process %d has no CPU clock: is the server gone?",
                  options.server_pid);
    }
    return read_clock(clock);
}

static void
make_messages(void)
{
    size_t fitting = DISTINCT_BYTES / options.size;
    distinct_messages = fitting > DISTINCT_MOST    ? DISTINCT_MOST
                        : fitting < DISTINCT_LEAST ? DISTINCT_LEAST
                                                   : (int)fitting;
    messages = malloc((size_t)distinct_messages * options.size);
    load_received = malloc(LOAD_BUFFER);
    if (messages == NULL || load_received == NULL) {
        load_fail("out of memory");
    }
    uint32_t random = 2463534242u;
    for (size_t i = 0; i < (size_t)distinct_messages * options.size; i++) {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        bool ends_line = options.lines && i % options.size == options.size - 1;
        messages[i] = ends_line ? '\n' : (char)(' ' + (random >> 8) % 95);
    }
}

const char *
load_message(int connection, uint64_t number)
{
    uint64_t which = ((uint64_t)connection * 7 + number) % (uint64_t)distinct_messages;
    return messages + which * options.size;
}

void
load_check(int connection, uint64_t number, size_t offset, const char *bytes,
           size_t length)
{
    const char *expected = load_message(connection, number) + offset;
    if (memcmp(bytes, expected, length) == 0) {
        return;
    }
    size_t at = 0;
    while (bytes[at] == expected[at]) {
        at++;
    }
    load_fail(
        "wrong echo: byte %zu of message %llu of connection %d is 0x%02x, not 0x%02x",
        offset + at,
        (unsigned long long)number,
        connection,
        (unsigned char)bytes[at],
        (unsigned char)expected[at]);
}

static int
bucket_of(uint64_t latency_ns)
{
    uint64_t rest = latency_ns | (1u << FINE_BITS);
    int shift = 63 - __builtin_clzll(rest) - FINE_BITS;
    return (shift << FINE_BITS) + (int)(rest >> shift);
}

/* The middle of a bucket. */
static double
bucket_us(int bucket)
{
    int shift = (bucket >> FINE_BITS) - 1;
    double fine = (bucket & ((1 << FINE_BITS) - 1)) + (1 << FINE_BITS) + 0.5;
    return fine * (double)(1ull << shift) / 1000;
}

static double
latency_us(double share)
{
    uint64_t seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        seen += window.latencies[i];
        if ((double)seen >= share * (double)window.messages && seen > 0) {
            return bucket_us(i);
        }
    }
    return 0;
}

void
load_record(uint64_t sent_ns)
{
    window.all_messages++;
    if (window.state == OPEN) {
        window.messages++;
        window.latencies[bucket_of(load_now() - sent_ns)]++;
    }
}

void
load_count_lost(void)
{
    window.lost++;
}

/* Whether the server has worked since the state changed: more messages have come back than were
 * on their way then.  On a busy machine it may take longer than is planned, but not for ever. */
static bool
server_has_worked(uint64_t messages, uint64_t now)
{
    uint64_t on_their_way = (uint64_t)options.connections * (uint64_t)options.in_flight;
    return messages > on_their_way ||
           now > window.due_ns + PATIENCE * options.window_ns;
}

bool
load_goes_on(void)
{
    if (options.messages > 0 && window.all_messages >= options.messages) {
        return false;
    }
    uint64_t now = load_now();
    if (now < window.due_ns || options.messages > 0) {
        return true;
    }
    if (!server_has_worked(window.state == OPEN ? window.messages : window.all_messages,
                           now)) {
        return true;
    }
    if (window.state == WARMING_UP) {
        window.state = OPEN;
        window.server_ns = server_clock();
        window.client_ns = read_clock(CLOCK_PROCESS_CPUTIME_ID);
        window.opened_ns = load_now();
        window.due_ns = window.opened_ns + options.window_ns;
        return true;
    }
    if (window.messages == 0) {
        load_fail("no message came back within the window");
    }
    window.server_ns = server_clock() - window.server_ns;
    window.client_ns = read_clock(CLOCK_PROCESS_CPUTIME_ID) - window.client_ns;
    window.closed_ns = load_now();
    window.state = CLOSED;
    return false;
}

int
load_connect(int type, uint64_t source)
{
    int fd = socket(options.address.ss_family, type | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0) {
        load_fail("socket failed: %s", strerror(errno));
    }
    if (options.address.ss_family == AF_INET && type == SOCK_STREAM) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        struct sockaddr_in from = {.sin_family = AF_INET};
        from.sin_addr.s_addr =
            htonl(INADDR_LOOPBACK + 1 + (uint32_t)(source % SOURCES));
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
        if (bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0) {
            load_fail("bind failed: %s", strerror(errno));
        }
    }
    if (connect(fd, (struct sockaddr *)&options.address, options.address_length) < 0) {
        load_fail("connect failed: %s", strerror(errno));
    }
    return fd;
}

static void
parse_address(const char *text)
{
    if (strchr(text, '/') != NULL) {
        struct sockaddr_un *local = (struct sockaddr_un *)&options.address;
        if (strlen(text) >= sizeof(local->sun_path)) {
            load_fail("the path is too long: %s", text);
        }
        local->sun_family = AF_UNIX;
        strcpy(local->sun_path, text);
        options.address_length = sizeof(*local);
        return;
    }
    struct sockaddr_in *remote = (struct sockaddr_in *)&options.address;
    char host[INET_ADDRSTRLEN];
    unsigned port;
    if (sscanf(text, "%15[0-9.]:%u", host, &port) != 2 || port > UINT16_MAX ||
        inet_pton(AF_INET, host, &remote->sin_addr) != 1) {
        load_fail("not an address: %s", text);
    }
    remote->sin_family = AF_INET;
    remote->sin_port = htons((uint16_t)port);
    options.address_length = sizeof(*remote);
}

/* Read the options that are followed by a value; whether name is one of them. */
static bool
parse_value(const char *name, const char *value)
{
    double number = atof(value);
    if (strcmp(name, "--connections") == 0) {
        options.connections = (int)number;
    }
    else if (strcmp(name, "--size") == 0) {
        options.size = (size_t)number;
    }
    else if (strcmp(name, "--in-flight") == 0) {
        options.in_flight = (int)number;
    }
    else if (strcmp(name, "--messages") == 0) {
        options.messages = (uint64_t)number;
    }
    else if (strcmp(name, "--warmup") == 0) {
        options.warmup_ns = (uint64_t)(number * 1e9);
    }
    else if (strcmp(name, "--seconds") == 0) {
        options.window_ns = (uint64_t)(number * 1e9);
    }
    else if (strcmp(name, "--server-pid") == 0) {
        options.server_pid = (int)number;
    }
    else if (strcmp(name, "--cpu") == 0) {
        if (!pin_to((int)number)) {
            load_fail("cannot run on CPU %s: %s", value, strerror(errno));
        }
    }
    else {
        return false;
    }
    return true;
}

static bool
parse_flag(const char *name, bool *datagrams)
{
    if (strcmp(name, "--lines") == 0) {
        options.lines = true;
    }
    else if (strcmp(name, "--churn") == 0) {
        options.churn = true;
    }
    else if (strcmp(name, "--hold") == 0) {
        options.hold = true;
    }
    else if (strcmp(name, "--datagrams") == 0) {
        *datagrams = true;
    }
    else {
        return false;
    }
    return true;
}

/* Connect, say so, and wait for the end of standard input. */
static void
hold_connections(void)
{
    for (int i = 0; i < options.connections; i++) {
        load_connect(SOCK_STREAM, (uint64_t)i);
    }
    puts("connected");
    fflush(stdout);
    while (getchar() != EOF) {
    }
}

static void
print_result(void)
{
    double seconds = (double)(window.closed_ns - window.opened_ns) / 1e9;
    if (options.messages > 0) {
        printf("{\"messages\": %llu}\n", (unsigned long long)window.all_messages);
        return;
    }
    printf(
        "{\"messages\": %llu, \"seconds\": %.6f, \"rate\": %.1f, \"p50_us\": %.2f, "
        "\"p99_us\": %.2f, \"server_cpu_us\": %.4f, \"client_idle\": %.4f, \"lost\": %llu}\n",
        (unsigned long long)window.messages,
        seconds,
        (double)window.messages / seconds,
        latency_us(0.5),
        latency_us(0.99),
        (double)window.server_ns / 1000 / (double)window.messages,
        1 - (double)window.client_ns / 1e9 / seconds,
        (unsigned long long)window.lost);
}

int
main(int argc, char **argv)
{
    bool datagrams = false;
    if (argc < 2) {
        load_fail("usage: load_client ADDRESS [OPTION...]");
    }
    parse_address(argv[1]);
    for (int i = 2; i < argc; i++) {
        if (parse_flag(argv[i], &datagrams)) {
            continue;
        }
        if (i + 1 == argc || !parse_value(argv[i], argv[i + 1])) {
            load_fail("not an option, or one without its value: %s", argv[i]);
        }
        i++;
    }
    if (options.connections < 1 || options.size < 1 || options.in_flight < 1) {
        load_fail("there must be a connection, a byte and a message at least");
    }
    if (options.hold) {
        hold_connections();
        return 0;
    }
    make_messages();
    window.due_ns = load_now() + options.warmup_ns;
    if (datagrams) {
        load_run_datagram();
    }
    else if (options.churn) {
        load_run_churn();
    }
    else {
        load_run_stream();
    }
    print_result();
    return 0;
}
