/* A fast engine for the benchmark: engine PORT SECONDS RATE TOKENS
 *
 * A body with "stream":true is answered with TOKENS server-sent events, RATE of them a second over all streams that
 * are open, each with the time (CLOCK_MONOTONIC, ns) at which it was written. Any other body gets a fixed small answer.
 * SIGUSR1: from now on it asks for what is ready again and again; SIGUSR2: it sleeps until something is, as at first.
 * It ends by itself after SECONDS. */
#include "wire.h"
#include <sched.h>
#include <sys/timerfd.h>

enum { MOST = 4096, ROOM = 65536 };

struct connection {
    int fd;
    size_t length;
    int left; /* events still to be written; -1: not a stream */
    char buffer[ROOM];
};

static struct connection *all[MOST]; /* by descriptor */
static int streams[MOST], stream_count, turn, tokens;
static volatile sig_atomic_t polls;

static const char ANSWER[] =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 179\r\n\r\n"
    "{\"id\":\"c-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":"
    "{\"role\":\"assistant\",\"content\":\"Hello there, how are you?\"},\"finish_reason\":\"stop\"}]}";
static const char STREAM[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
static const char DONE[] = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";

static void forget(struct connection *c) {
    for (int i = 0; i < stream_count; i++)
        if (streams[i] == c->fd) streams[i--] = streams[--stream_count];
    all[c->fd] = NULL;
    close(c->fd);
    free(c);
}

static int put(struct connection *c, const char *data, size_t size) {
    return write(c->fd, data, size) == (ssize_t)size ? 0 : -1;
}

/* One event to the stream whose turn it is. */
static void token(void) {
    if (turn >= stream_count) turn = 0;
    struct connection *c = all[streams[turn]];
    char event[160], chunk[192];
    int size = snprintf(event, sizeof event, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word \"}}],\"t\":%lld}\n\n", (long long)now_ns());
    size = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n", size, event);
    if (put(c, chunk, (size_t)size) < 0) {
        forget(c);
        return;
    }
    if (--c->left == 0) {
        put(c, DONE, sizeof DONE - 1);
        c->left = -1;
        streams[turn] = streams[--stream_count];
    } else
        turn++;
}

static void serve(struct connection *c) {
    ssize_t got = read(c->fd, c->buffer + c->length, ROOM - c->length);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN) return;
        forget(c);
        return;
    }
    c->length += (size_t)got;
    size_t head;
    while ((head = head_end(c->buffer, c->length))) {
        long body = content_length(c->buffer, head);
        size_t whole = head + (size_t)(body < 0 ? 0 : body);
        if (c->length < whole) return;
        int stream = memmem(c->buffer + head, whole - head, "\"stream\":true", 13) != NULL;
        if (stream ? put(c, STREAM, sizeof STREAM - 1) : put(c, ANSWER, sizeof ANSWER - 1)) {
            forget(c);
            return;
        }
        if (stream && stream_count < MOST) {
            c->left = tokens;
            streams[stream_count++] = c->fd;
        }
        memmove(c->buffer, c->buffer + whole, c->length - whole);
        c->length -= whole;
    }
}

static void choose(int number) { polls = number == SIGUSR1; }

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, choose);
    signal(SIGUSR2, choose);
    alarm((unsigned)atoi(argv[2]));
    long rate = atol(argv[3]);
    tokens = atoi(argv[4]);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 1024) < 0) die("listen");
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), poller = epoll_create1(EPOLL_CLOEXEC);
    struct itimerspec each = {.it_interval.tv_nsec = 1000000, .it_value.tv_nsec = 1000000};
    timerfd_settime(timer, 0, &each, NULL);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    event.data.fd = timer;
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event);
    int64_t began = 0, written = 0;
    for (;;) {
        int count = epoll_wait(poller, ready, 256, polls ? 0 : -1);
        if (!count) sched_yield();
        for (int i = 0; i < count; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) {
                int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (client < 0 || client >= MOST) continue;
                without_delay(client);
                all[client] = calloc(1, sizeof *all[client]);
                all[client]->fd = client;
                all[client]->left = -1;
                event.data.fd = client;
                epoll_ctl(poller, EPOLL_CTL_ADD, client, &event);
            } else if (fd == timer) {
                uint64_t ticks;
                if (read(timer, &ticks, sizeof ticks) < 0) continue;
                if (!stream_count) {
                    began = 0;
                    continue;
                }
                if (!began) began = now_ns(), written = 0;
                int64_t due = (now_ns() - began) * rate / 1000000000LL;
                if (due - written > rate / 10) written = due - rate / 10; /* it was not run for a while: no flood */
                for (; written < due && stream_count; written++) token();
            } else if (all[fd])
                serve(all[fd]);
        }
    }
}
