/* The gate: a call in flight holds its thread's slot; who closes the gate waits until all slots are empty.
 *
 * To enter costs two plain stores and two loads. The fence that this needs is paid by who closes: membarrier(2) makes
 * every other thread pass one. Kernels without it: a fence in each call. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "interposer.h"

struct slot {
	struct slot *next;
	_Atomic unsigned depth; /* calls within calls: callbacks, and the driver's own */
	atomic_bool taken;
};

static _Atomic(struct slot *) slots;
static _Atomic unsigned closed;
static bool fenced; /* no membarrier: the calls fence */
static pthread_key_t key;
static __thread struct slot *mine __attribute__((tls_model("initial-exec")));

/* Also within a call, by pthread_exit in a callback or by pthread_cancel: then that call is in flight no more, and whoever gets the slot
 * next must not pass as being inside one. */
static void thread_ends(void *slot) {
	mine = NULL;
	atomic_store(&((struct slot *)slot)->depth, 0);
	atomic_store(&((struct slot *)slot)->taken, false);
}

__attribute__((constructor)) static void prepare(void) {
	pthread_key_create(&key, thread_ends);
	fenced = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0;
}

static struct slot *claim(void) {
	struct slot *slot = atomic_load(&slots);
	for (; slot; slot = slot->next) {
		bool taken = false;
		if (atomic_compare_exchange_strong(&slot->taken, &taken, true))
			break;
	}
	if (!slot) {
		slot = calloc(1, sizeof *slot);
		if (!slot)
			abort(); /* a call that the gate does not count could touch memory that has gone */
		atomic_store(&slot->taken, true);
		slot->next = atomic_load(&slots);
		while (!atomic_compare_exchange_weak(&slots, &slot->next, slot))
			;
	}
	pthread_setspecific(key, slot);
	return mine = slot;
}

void hsi_enter(void) {
	struct slot *slot = mine ? mine : claim();
	unsigned depth = atomic_load_explicit(&slot->depth, memory_order_relaxed);
	if (depth) {
		atomic_store_explicit(&slot->depth, depth + 1, memory_order_relaxed);
		return;
	}
	for (;;) {
		atomic_store_explicit(&slot->depth, 1, memory_order_relaxed);
		if (fenced)
			atomic_thread_fence(memory_order_seq_cst);
		else
			atomic_signal_fence(memory_order_seq_cst);
		if (!atomic_load_explicit(&closed, memory_order_acquire))
			return;
		atomic_store_explicit(&slot->depth, 0, memory_order_release);
		syscall(SYS_futex, &closed, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
	}
}

void hsi_leave(void) {
	unsigned depth = atomic_load_explicit(&mine->depth, memory_order_relaxed);
	atomic_store_explicit(&mine->depth, depth - 1, memory_order_release);
}

static bool somebody_inside(void) {
	for (struct slot *slot = atomic_load(&slots); slot; slot = slot->next)
		if (atomic_load_explicit(&slot->depth, memory_order_acquire))
			return true;
	return false;
}

bool hsi_gate_close(uint64_t timeout_ns) {
	uint64_t end = hsi_now_ns() + timeout_ns;
	atomic_store(&closed, 1);
	if (!fenced && syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0) {
		fenced = true; /* forbidden since: the calls fence from the next one on, so that a later try can count on it */
		hsi_gate_open();
		return false;
	}
	while (somebody_inside()) {
		if (hsi_now_ns() >= end) {
			hsi_gate_open();
			return false;
		}
		nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
	}
	return true;
}

void hsi_gate_open(void) {
	atomic_store(&closed, 0);
	syscall(SYS_futex, &closed, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

/* Only the thread that forked lives on, and the gate's closer does not. */
void hsi_gate_forked(void) {
	for (struct slot *slot = atomic_load(&slots); slot; slot = slot->next)
		if (slot != mine) {
			atomic_store(&slot->depth, 0);
			atomic_store(&slot->taken, false);
		}
	atomic_store(&closed, 0);
}

uint64_t hsi_now_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}
