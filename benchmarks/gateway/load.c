/* A client for the benchmark: load PORT SECONDS CONNECTIONS requests|tokens poll|sleep BODY
 *
 * requests: every connection asks again as soon as it has its answer; latency is from request to whole answer.
 * tokens: every connection asks for a stream, again when it ends; latency is from the time in each event to its arrival.
 * poll: it asks for what is ready again and again; sleep: it sleeps until something is.
 * One line of JSON: count, seconds, p50, p99 and max of the latency in microseconds, errors. */
#include "wire.h"
#include <sched.h>

enum { ROOM = 65536, BUCKETS = 400000 }; /* 0.5 us each, 200 ms in all */

struct connection {
    int fd;
    int64_t asked;
    size_t length;
    char buffer[ROOM];
};

static const int64_t SETTLING = 500000000; /* of streams: all of them connect at once, which is not what is measured */
static unsigned histogram[BUCKETS + 1];
static int64_t count, errors, longest;

static void note(int64_t ns) {
    if (ns < 0) ns = 0;
    if (ns > longest) longest = ns;
    histogram[ns / 500 < BUCKETS ? ns / 500 : BUCKETS]++;
    count++;
}

static double percentile(double part) {
    int64_t rank = (int64_t)((double)count * part), seen = 0;
    for (int i = 0; i <= BUCKETS; i++)
        if ((seen += histogram[i]) > rank) return i * 0.5;
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 7) return 2;
    signal(SIGPIPE, SIG_IGN);
    double seconds = atof(argv[2]);
    alarm((unsigned)seconds + 20);
    int connections = atoi(argv[3]), tokens = strcmp(argv[4], "tokens") == 0;
    int wait_ms = strcmp(argv[5], "poll") == 0 ? 0 : 100;
    char request[8192];
    int size = snprintf(request, sizeof request,
                        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: load\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
                        "Authorization: Bearer none\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                        strlen(argv[6]), argv[6]);
    struct connection *all = calloc((size_t)connections, sizeof *all);
    int poller = epoll_create1(EPOLL_CLOEXEC);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < connections; i++) {
        struct connection *c = &all[i];
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
        without_delay(c->fd);
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
        c->asked = now_ns();
        if (write(c->fd, request, (size_t)size) != size) die("write");
    }
    int64_t began = now_ns(), end = began + (int64_t)(seconds * 1e9);
    struct epoll_event ready[256];
    while (now_ns() < end) {
        int found = epoll_wait(poller, ready, 256, wait_ms);
        if (!found) sched_yield();
        for (int i = 0; i < found; i++) {
            struct connection *c = ready[i].data.ptr;
            ssize_t got = read(c->fd, c->buffer + c->length, ROOM - c->length);
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0) {
                errors++;
                epoll_ctl(poller, EPOLL_CTL_DEL, c->fd, NULL);
                continue;
            }
            int64_t now = now_ns();
            c->length += (size_t)got;
            int again = 0;
            if (tokens) {
                char *at = c->buffer, *stop = c->buffer + c->length, *mark;
                while ((mark = memmem(at, (size_t)(stop - at), "\"t\":", 4)) && memchr(mark, '}', (size_t)(stop - mark))) {
                    if (now - began > SETTLING) note(now - strtoll(mark + 4, NULL, 10));
                    at = mark + 4;
                }
                if ((mark = memmem(at, (size_t)(stop - at), "0\r\n\r\n", 5)) && memmem(at, (size_t)(stop - at), "[DONE]", 6)) again = 1, at = stop;
                if (stop - at > 400) at = stop - 400;
                memmove(c->buffer, at, (size_t)(stop - at));
                c->length = (size_t)(stop - at);
            } else {
                size_t head = head_end(c->buffer, c->length);
                if (!head) continue;
                if (memcmp(c->buffer, "HTTP/1.1 200", 12)) errors++;
                long body = content_length(c->buffer, head);
                if (body < 0) {
                    if (!memmem(c->buffer + head - 2, c->length - head + 2, "\r\n0\r\n\r\n", 7)) continue;
                } else if (c->length < head + (size_t)body)
                    continue;
                note(now - c->asked);
                again = 1;
                c->length = 0;
            }
            if (again) {
                c->asked = now_ns();
                if (write(c->fd, request, (size_t)size) != size) errors++;
            }
        }
    }
    double took = (double)(now_ns() - began - (tokens ? SETTLING : 0)) / 1e9;
    printf("{\"count\": %lld, \"seconds\": %.3f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, \"errors\": %lld}\n", (long long)count, took,
           percentile(0.5), percentile(0.99), (double)longest / 1e3, (long long)errors);
}
