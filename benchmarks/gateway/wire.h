/* What engine.c and load.c share: time, sockets, a deadline for the whole program. */
#pragma once
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static inline int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static inline void die(const char *what) {
    perror(what);
    exit(1);
}

static inline void without_delay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* The end of a head in buffer[0..length), or 0. */
static inline size_t head_end(const char *buffer, size_t length) {
    const char *found = memmem(buffer, length, "\r\n\r\n", 4);
    return found ? (size_t)(found - buffer) + 4 : 0;
}

/* Content-Length of a head, or -1. */
static inline long content_length(const char *head, size_t length) {
    static const char name[] = "\r\ncontent-length:";
    for (size_t at = 0; at + sizeof name < length; at++)
        if (head[at] == '\r' && strncasecmp(head + at, name, sizeof name - 1) == 0) return strtol(head + at + sizeof name - 1, NULL, 10);
    return -1;
}
