/* Waiting for file descriptors, with a deadline counted in time that this process was running.
 *
 * A parked engine stands still for minutes, and its clients' bytes wait in the sockets. Were a deadline read off the
 * clock, the engine would hang up on all of them in the moment it runs again. So a wait is cut into slices of a second
 * and no slice counts for more than it was meant to last. */
#ifndef HS_ENGINE_PATIENCE_H
#define HS_ENGINE_PATIENCE_H

#include <poll.h>
#include <stdint.h>

struct patience {
	int64_t left_ms;
};

static inline struct patience patience_of(double seconds) {
	return (struct patience){.left_ms = (int64_t)(seconds * 1000)};
}

/* poll(2) until something is ready (> 0), patience has run out (0), or an error (-1). EINTR is not one. */
int patience_poll(struct patience *patience, struct pollfd *files, nfds_t count);

/* The same for one file. */
int patience_wait(struct patience *patience, int file, short events);

/* CLOCK_MONOTONIC */
int64_t now_us(void);
int64_t now_ms(void);

#endif
