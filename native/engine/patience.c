#include "patience.h"

#include <errno.h>
#include <time.h>

#define SLICE_MS 1000

int64_t now_us(void) {
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t now_ms(void) {
	return now_us() / 1000;
}

int patience_poll(struct patience *patience, struct pollfd *files, nfds_t count) {
	for (;;) {
		int64_t slice = patience->left_ms < SLICE_MS ? patience->left_ms : SLICE_MS;
		int64_t start = now_ms(), spent;
		int ready;

		if (slice < 0)
			slice = 0;
		ready = poll(files, count, (int)slice);
		if (ready < 0 && errno != EINTR)
			return -1;
		spent = now_ms() - start;
		patience->left_ms -= spent < slice ? spent : slice;
		if (ready > 0)
			return ready;
		if (patience->left_ms <= 0)
			return 0;
	}
}

int patience_wait(struct patience *patience, int file, short events) {
	struct pollfd entry = {.fd = file, .events = events};

	return patience_poll(patience, &entry, 1);
}
