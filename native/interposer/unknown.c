/* Calls that a driver newer than our header hands out. Their types are not known, their names and the ABI are.
 *
 * Most give a device work or look at something: they pass the gate like others, by a function that hands on whatever lies where
 * arguments lie. Those that name or make memory may mean handles that we have put names of our own for, or bring memory of
 * another process that a checkpoint would lose: with an engine that asks for one before it has memory, everything is left to the driver;
 * one that comes later is refused when it is called. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "interposer.h"

#if defined(__x86_64__)
#define REGISTERS(X) X(0) X(1) X(2) X(3) X(4) X(5)
#elif defined(__aarch64__)
#define REGISTERS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#else
#error "how does this machine pass arguments?"
#endif
#define FLOATS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define STACK(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

/* Numbers, floats and what lies on the stack are counted apart, so this is every argument of any call; the last one is nobody's.
 * What of the stack is no argument is the caller's frame: read, and not used. */
#define R_TYPE(n) long,
#define F_TYPE(n) double,
#define R_PARAM(n) long r##n,
#define F_PARAM(n) double f##n,
#define S_PARAM(n) long s##n,
#define R_GIVEN(n) r##n,
#define F_GIVEN(n) f##n,
#define S_GIVEN(n) s##n,
typedef long (*any)(REGISTERS(R_TYPE) FLOATS(F_TYPE) STACK(R_TYPE) long);

#define MOST 64
static struct {
	void *real;
	char *name;
	bool refused;
	bool captures; /* its first argument, a stream */
} calls[MOST];
static unsigned count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static long refuse(unsigned number) {
	hsi_say("a call that is newer than this interposer is refused, as it may name memory that can move; start this engine without the "
		"interposer, or update hotseat", calls[number].name);
	return CUDA_ERROR_NOT_SUPPORTED;
}

#define THUNK(n)                                                                                          \
	static long thunk_##n(REGISTERS(R_PARAM) FLOATS(F_PARAM) STACK(S_PARAM) long last) {              \
		if (calls[n].refused)                                                                     \
			return refuse(n);                                                                 \
		hsi_enter();                                                                              \
		if (calls[n].captures)                                                                    \
			hsi_capture_begins();                                                             \
		long result = ((any)calls[n].real)(REGISTERS(R_GIVEN) FLOATS(F_GIVEN) STACK(S_GIVEN) last); \
		if (calls[n].captures)                                                                    \
			hsi_capture_begun((CUstream)(uintptr_t)r0, (CUresult)result);                     \
		hsi_leave();                                                                              \
		return result;                                                                            \
	}
#define EIGHT(X, n) X(n##0) X(n##1) X(n##2) X(n##3) X(n##4) X(n##5) X(n##6) X(n##7)
#define ALL(X) EIGHT(X, 00) EIGHT(X, 01) EIGHT(X, 02) EIGHT(X, 03) EIGHT(X, 04) EIGHT(X, 05) EIGHT(X, 06) EIGHT(X, 07) /* octal */
ALL(THUNK)
#define ADDRESS(n) (void *)thunk_##n,
static void *const thunks[MOST] = {ALL(ADDRESS)};

static bool begins(const char *name, const char *with) {
	return strncmp(name, with, strlen(with)) == 0;
}

/* May mean a handle or an address range of ours, or memory of others. */
static bool names_memory(const char *name) {
	static const char *const work[] = {"cuMemcpy", "cuMemset", "cuMemPrefetch", "cuMemAdvise", "cuMemDiscard", "cuMemBatch"};
	for (unsigned i = 0; i < sizeof work / sizeof *work; i++)
		if (begins(name, work[i]))
			return false;
	return begins(name, "cuMem") || begins(name, "cuIpc") || begins(name, "cuMulticast") || strstr(name, "Import") ||
	       strstr(name, "Export");
}

static bool has_memory(void) {
	pthread_mutex_lock(&hsi_lock);
	bool has = hsi_memories != NULL;
	pthread_mutex_unlock(&hsi_lock);
	return has;
}

void *hsi_unknown(const char *name, void *real) {
	bool memory = names_memory(name);
	void *given = real;
	if (memory && !has_memory()) {
		hsi_leave_all("this engine asks for a call that is newer than this interposer; everything is left to the driver", name);
		return real;
	}
	pthread_mutex_lock(&lock);
	unsigned number = 0;
	while (number < count && calls[number].real != real)
		number++;
	if (number == count && count < MOST) {
		calls[number].name = strdup(name);
		calls[number].real = real;
		calls[number].refused = memory;
		calls[number].captures = begins(name, "cuStreamBegin"); /* cuStreamBeginRecaptureToGraph */
		count++;
	}
	if (number < MOST)
		given = thunks[number];
	pthread_mutex_unlock(&lock);
	if (given == real) {
		hsi_say("too many calls that are newer than this interposer; it gives no memory away any more", name);
		hsi_give_no_more();
	}
	return given;
}
