/* One wrapper a call of cuda.h that must pass the gate, made of wrappers.inc, and the table of all that stand in front of
 * the driver. Types are the ABI's: this file includes no CUDA header, so that one build serves every driver. */
#include <pthread.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"

#define NOT_FOUND 500 /* CUDA_ERROR_NOT_FOUND */
#define EXPORT __attribute__((visibility("default")))

struct abi_location {
	int type, id;
};
struct abi_ipc {
	char reserved[64];
};

#define HEADER(version) const int hsi_header_version = version;
#define PASS(name)
#define OWN(name) EXPORT int name();
#define GATE(name, declared, given)                                                    \
	EXPORT int name declared;                                                      \
	int name declared {                                                            \
		static void *at;                                                       \
		void *real = __atomic_load_n(&at, __ATOMIC_ACQUIRE);                   \
		if (!real) {                                                           \
			real = hsi_driver(#name);                                      \
			if (!real)                                                     \
				return NOT_FOUND;                                      \
			__atomic_store_n(&at, real, __ATOMIC_RELEASE);                 \
		}                                                                      \
		hsi_enter();                                                           \
		int result = ((int(*) declared)real)given;                             \
		hsi_leave();                                                           \
		return result;                                                         \
	}
#include "wrappers.inc"
#undef OWN
#undef GATE
#undef HEADER

#define HEADER(version)
#define OWN(name) {#name, (void *)name},
#define GATE(name, declared, given) {#name, (void *)name},
static const struct hsi_call calls[] = {
#include "wrappers.inc"
};
#define COUNT (sizeof calls / sizeof *calls)

#undef OWN
#undef GATE
#undef PASS
#define OWN(name) #name,
#define GATE(name, declared, given) #name,
#define PASS(name) #name,
static const char *const names[] = {
#include "wrappers.inc"
};

static int by_text(const void *key, const void *one) {
	return strcmp(key, *(const char *const *)one);
}

bool hsi_call_known(const char *name) {
	static const char *const ends[] = {"", "_v2", "_v3", "_v4", "_ptsz", "_ptds", "_v2_ptsz", "_v2_ptds"};
	char whole[128];
	for (unsigned i = 0; i < sizeof ends / sizeof *ends; i++) {
		snprintf(whole, sizeof whole, "%s%s", name, ends[i]);
		if (bsearch(whole, names, sizeof names / sizeof *names, sizeof *names, by_text))
			return true;
	}
	return false;
}

static int by_name(const void *key, const void *one) {
	return strcmp(key, ((const struct hsi_call *)one)->name);
}

const struct hsi_call *hsi_call_named(const char *name) { /* generate.py has sorted them as strcmp does */
	return bsearch(name, calls, COUNT, sizeof *calls, by_name);
}

struct address {
	void *real, *ours;
};
static struct address addresses[COUNT];
static unsigned address_count;

static int by_address(const void *a, const void *b) {
	uintptr_t left = (uintptr_t)((const struct address *)a)->real, right = (uintptr_t)((const struct address *)b)->real;
	return left < right ? -1 : left > right;
}

static void find_addresses(void) {
	for (unsigned i = 0; i < COUNT; i++) {
		void *real = hsi_driver(calls[i].name);
		if (real)
			addresses[address_count++] = (struct address){real, calls[i].ours};
	}
	qsort(addresses, address_count, sizeof *addresses, by_address);
}

void *hsi_call_for(void *real) {
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, find_addresses);
	struct address key = {real, NULL};
	struct address *found = bsearch(&key, addresses, address_count, sizeof *addresses, by_address);
	return found ? found->ours : NULL;
}
