/* Waiting on words that may lie in memory shared with other processes. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

void hs_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns) {
	struct timespec t = {.tv_sec = (time_t)(timeout_ns / 1000000000ull),
			     .tv_nsec = (long)(timeout_ns % 1000000000ull)};
	syscall(SYS_futex, word, FUTEX_WAIT, value, timeout_ns ? &t : NULL, NULL, 0);
}

void hs_futex_wake(_Atomic uint32_t *word) {
	syscall(SYS_futex, word, FUTEX_WAKE, 0x7fffffff, NULL, NULL, 0);
}
