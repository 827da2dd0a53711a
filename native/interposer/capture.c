/* Streams that are being captured. While one is, nobody may wait for its context: that would end the capture, and with it what the
 * engine does. So what has to wait is left until none is going, and new ones are held up meanwhile, for there may never be a moment
 * without one otherwise. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "interposer.h"

#define TO_GRAPH (CUstream stream, CUgraph graph, const void *dependencies, const void *edges, size_t count, CUstreamCaptureMode mode)

CUresult cuStreamBeginCapture(CUstream stream);
CUresult cuStreamBeginCapture_ptsz(CUstream stream);
CUresult cuStreamBeginCapture_v2_ptsz(CUstream stream, CUstreamCaptureMode mode);
CUresult cuStreamBeginCaptureToGraph_ptsz TO_GRAPH;
CUresult cuStreamIsCapturing_ptsz(CUstream stream, CUstreamCaptureStatus *status);
CUresult cuStreamEndCapture_ptsz(CUstream stream, CUgraph *graph);
CUresult cuStreamDestroy(CUstream stream);

#define PER_THREAD ((CUstream)2) /* CU_STREAM_PER_THREAD: one of each thread */

struct capture {
	struct capture *next;
	CUstream stream;
	CUcontext context;
	pthread_t thread;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct capture *captures;
static unsigned beginning; /* calls that may add to them */
static unsigned waiting;   /* calls that wait for a context */
static bool held;
static _Atomic unsigned changes;

static void changed(void) {
	atomic_fetch_add(&changes, 1);
	syscall(SYS_futex, &changes, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

/* Under lock, which is let go meanwhile. No condition variable: a thread that is cancelled in one keeps the lock. */
static void wait_for_change(const struct timespec *timeout) {
	unsigned seen = atomic_load(&changes);
	pthread_mutex_unlock(&lock);
	syscall(SYS_futex, &changes, FUTEX_WAIT_PRIVATE, seen, timeout, NULL, 0);
	pthread_mutex_lock(&lock);
}

static bool captures_already(void) {
	for (struct capture *one = captures; one; one = one->next)
		if (pthread_equal(one->thread, pthread_self()))
			return true;
	return false;
}

/* Inside the gate. */
void hsi_capture_begins(void) {
	pthread_mutex_lock(&lock);
	while ((held && !captures_already()) || waiting) {
		bool outside = held; /* who closes the gate must not find us inside */
		if (outside)
			hsi_leave();
		wait_for_change(NULL);
		if (outside) {
			pthread_mutex_unlock(&lock);
			hsi_enter();
			pthread_mutex_lock(&lock);
		}
	}
	beginning++;
	pthread_mutex_unlock(&lock);
}

CUresult hsi_capture_begun(CUstream stream, CUresult result) {
	struct capture *one = result == CUDA_SUCCESS ? calloc(1, sizeof *one) : NULL;
	CUcontext context = NULL;
	if (!stream) /* what begins on the legacy stream fails, so it is the thread's */
		stream = PER_THREAD;
	if (one)
		REAL(cuCtxGetCurrent)(&context);
	pthread_mutex_lock(&lock);
	beginning--;
	if (one) {
		*one = (struct capture){captures, stream, context, pthread_self()};
		captures = one;
	}
	changed();
	pthread_mutex_unlock(&lock);
	return result;
}

/* Those of a stream, or of a context. */
static void forget(CUstream stream, CUcontext context) {
	bool per_thread = stream == PER_THREAD;
	pthread_mutex_lock(&lock);
	for (struct capture **at = &captures; *at;) {
		struct capture *one = *at;
		bool is = context ? one->context == context
				  : one->stream == stream && (!per_thread || pthread_equal(one->thread, pthread_self()));
		if (!is) {
			at = &one->next;
			continue;
		}
		*at = one->next;
		free(one);
	}
	changed();
	pthread_mutex_unlock(&lock);
}

void hsi_captures_ended(CUcontext context) {
	forget(NULL, context);
}

/* One that has failed is going on, unless the driver says otherwise. */
static CUresult ended(CUstream stream, bool ptsz, CUresult result) {
	CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
	__typeof__(&cuStreamIsCapturing) ask = ptsz ? REAL(cuStreamIsCapturing_ptsz) : REAL(cuStreamIsCapturing);
	if (result != CUDA_SUCCESS && ask)
		ask(stream, &status);
	if (status == CU_STREAM_CAPTURE_STATUS_NONE) {
		forget(ptsz && !stream ? PER_THREAD : stream, NULL);
		hsi_alloc_late(false);
	}
	return result;
}

#define BEGINS(name, declared, given)                               \
	static CUresult name##_held declared {                      \
		__typeof__(&name) real = REAL_OR_RETURN(name);      \
		if (!hsi_active())                                  \
			return real given;                          \
		hsi_capture_begins();                               \
		return hsi_capture_begun(stream, real given);       \
	}                                                           \
	HS_API CUresult name declared {                             \
		GATED(name##_held given);                           \
	}
BEGINS(cuStreamBeginCapture, (CUstream stream), (stream))
BEGINS(cuStreamBeginCapture_ptsz, (CUstream stream), (stream))
BEGINS(cuStreamBeginCapture_v2, (CUstream stream, CUstreamCaptureMode mode), (stream, mode))
BEGINS(cuStreamBeginCapture_v2_ptsz, (CUstream stream, CUstreamCaptureMode mode), (stream, mode))
BEGINS(cuStreamBeginCaptureToGraph, TO_GRAPH, (stream, graph, dependencies, edges, count, mode))
BEGINS(cuStreamBeginCaptureToGraph_ptsz, TO_GRAPH, (stream, graph, dependencies, edges, count, mode))

HS_API CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) {
	GATED(ended(stream, false, REAL_OR_RETURN(cuStreamEndCapture)(stream, graph)));
}

HS_API CUresult cuStreamEndCapture_ptsz(CUstream stream, CUgraph *graph) {
	GATED(ended(stream, true, REAL_OR_RETURN(cuStreamEndCapture_ptsz)(stream, graph)));
}

/* With it ends its capture. Before: the driver may give its handle to the next. */
#define DESTROYS(name)                                        \
	static CUresult name##_and_forget(CUstream stream) {  \
		__typeof__(&name) real = REAL_OR_RETURN(name); \
		forget(stream, NULL);                         \
		return real(stream);                          \
	}                                                     \
	HS_API CUresult name(CUstream stream) {               \
		GATED(name##_and_forget(stream));             \
	}
DESTROYS(cuStreamDestroy)
DESTROYS(cuStreamDestroy_v2)

bool hsi_captures_going(void) {
	pthread_mutex_lock(&lock);
	bool going = captures || beginning;
	pthread_mutex_unlock(&lock);
	return going;
}

bool hsi_wait_begins(void) {
	pthread_mutex_lock(&lock);
	bool may = !captures && !beginning;
	if (may)
		waiting++;
	pthread_mutex_unlock(&lock);
	return may;
}

void hsi_wait_ends(void) {
	pthread_mutex_lock(&lock);
	waiting--;
	changed();
	pthread_mutex_unlock(&lock);
}

bool hsi_captures_hold(uint64_t timeout_ns) {
	uint64_t end = hsi_now_ns() + timeout_ns, now;
	pthread_mutex_lock(&lock);
	held = true;
	while ((captures || beginning) && (now = hsi_now_ns()) < end) {
		struct timespec left = {.tv_sec = (time_t)((end - now) / 1000000000), .tv_nsec = (long)((end - now) % 1000000000)};
		wait_for_change(&left);
	}
	bool none = !captures && !beginning;
	pthread_mutex_unlock(&lock);
	if (!none)
		hsi_captures_release();
	return none;
}

void hsi_captures_release(void) {
	pthread_mutex_lock(&lock);
	held = false;
	changed();
	pthread_mutex_unlock(&lock);
}

void hsi_captures_forked(void) {
	pthread_mutex_init(&lock, NULL);
	captures = NULL;
	beginning = waiting = 0;
	held = false;
}
