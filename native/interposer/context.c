/* Which contexts there are: before memory leaves, the work of each of them must have ended. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "interposer.h"

CUresult cuCtxCreate_v3(CUcontext *ctx, void *params, int count, unsigned int flags, CUdevice dev);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hsi_context *contexts;

static void keep(CUcontext context, CUdevice device) {
	pthread_mutex_lock(&lock);
	struct hsi_context *one = contexts;
	while (one && one->context != context)
		one = one->next;
	if (!one && (one = calloc(1, sizeof *one))) {
		*one = (struct hsi_context){.next = contexts, .context = context, .device = device};
		contexts = one;
	}
	if (one)
		one->refs++;
	pthread_mutex_unlock(&lock);
	hsi_agent_start(device);
}

/* `all`: however often it was retained. True: nobody refers to it any more. */
static bool forget(CUcontext context, bool all) {
	bool last = false;
	pthread_mutex_lock(&lock);
	for (struct hsi_context **at = &contexts; *at; at = &(*at)->next)
		if ((*at)->context == context) {
			struct hsi_context *one = *at;
			if (--one->refs <= 0 || all) {
				*at = one->next;
				free(one);
				last = true;
			}
			break;
		}
	pthread_mutex_unlock(&lock);
	return last;
}

static CUcontext primary[64];

static CUresult retain(CUcontext *ctx, CUdevice dev) {
	CUresult result = REAL(cuDevicePrimaryCtxRetain)(ctx, dev);
	if (result == CUDA_SUCCESS) {
		if (dev >= 0 && dev < 64)
			primary[dev] = *ctx;
		keep(*ctx, dev);
	}
	return result;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *ctx, CUdevice dev) {
	GATED(retain(ctx, dev));
}

static CUresult let_go(CUdevice dev, bool all) {
	CUcontext context = dev >= 0 && dev < 64 ? primary[dev] : NULL;
	bool last = context && forget(context, all); /* before: a context that is gone cannot be waited for */
	CUresult result = all ? REAL(cuDevicePrimaryCtxReset_v2)(dev) : REAL(cuDevicePrimaryCtxRelease_v2)(dev);
	if (last) {
		hsi_captures_ended(context);
		hsi_alloc_ended(context);
	}
	return result;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev) {
	GATED(let_go(dev, false));
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev) {
	GATED(let_go(dev, true));
}

static CUresult kept(CUresult result, CUcontext *ctx, CUdevice dev) {
	if (result == CUDA_SUCCESS)
		keep(*ctx, dev);
	return result;
}

CUresult cuCtxCreate_v2(CUcontext *ctx, unsigned int flags, CUdevice dev) {
	GATED(kept(REAL_OR_RETURN(cuCtxCreate_v2)(ctx, flags, dev), ctx, dev));
}

HS_API CUresult cuCtxCreate_v3(CUcontext *ctx, void *params, int count, unsigned int flags, CUdevice dev) {
	GATED(kept(REAL_OR_RETURN(cuCtxCreate_v3)(ctx, params, count, flags, dev), ctx, dev));
}

CUresult cuCtxCreate_v4(CUcontext *ctx, void *params, unsigned int flags, CUdevice dev) {
	GATED(kept(REAL_OR_RETURN(cuCtxCreate_v4)(ctx, params, flags, dev), ctx, dev));
}

static CUresult destroy(CUcontext ctx) {
	forget(ctx, true);
	CUresult result = REAL(cuCtxDestroy_v2)(ctx);
	if (result == CUDA_SUCCESS) {
		hsi_captures_ended(ctx);
		hsi_alloc_ended(ctx);
	}
	return result;
}

CUresult cuCtxDestroy_v2(CUcontext ctx) {
	GATED(destroy(ctx));
}

CUresult hsi_context_sync(CUcontext context) {
	CUcontext before;
	CUresult result = REAL(cuCtxPushCurrent_v2)(context);
	if (result == CUDA_SUCCESS) {
		result = REAL(cuCtxSynchronize)();
		REAL(cuCtxPopCurrent_v2)(&before);
	}
	return result;
}

/* The driver has no wait with a deadline, so a thread waits that can be left behind. Then the gate is open again, and it must not begin
 * another wait: that would end a capture. */
static _Atomic unsigned waits; /* 1 also for one that was left behind: the next has to outwait it */
static atomic_bool left_behind;
static CUresult waited;

static CUcontext context_number(unsigned number) {
	pthread_mutex_lock(&lock);
	struct hsi_context *one = contexts;
	while (one && number--)
		one = one->next;
	CUcontext found = one ? one->context : NULL;
	pthread_mutex_unlock(&lock);
	return found;
}

static void *wait_for_all(void *unused) {
	(void)unused;
	CUresult result = CUDA_SUCCESS;
	CUcontext context;
	for (unsigned i = 0; result == CUDA_SUCCESS && !atomic_load(&left_behind) && (context = context_number(i)); i++)
		result = hsi_context_sync(context);
	waited = result;
	atomic_store(&waits, 0);
	syscall(SYS_futex, &waits, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	return NULL;
}

static bool outwait(uint64_t end) {
	uint64_t now;
	while (atomic_load(&waits) && (now = hsi_now_ns()) < end) {
		struct timespec left = {.tv_sec = (time_t)((end - now) / 1000000000), .tv_nsec = (long)((end - now) % 1000000000)};
		syscall(SYS_futex, &waits, FUTEX_WAIT_PRIVATE, 1, &left, NULL, 0);
	}
	return !atomic_load(&waits);
}

int hsi_contexts_sync(uint64_t timeout_ns) {
	uint64_t end = hsi_now_ns() + timeout_ns;
	pthread_t thread;
	if (!outwait(end))
		return -ETIMEDOUT;
	atomic_store(&waits, 1);
	atomic_store(&left_behind, false);
	int failed = pthread_create(&thread, NULL, wait_for_all, NULL);
	if (failed) {
		atomic_store(&waits, 0);
		return -failed;
	}
	pthread_detach(thread);
	if (outwait(end))
		return (int)waited;
	atomic_store(&left_behind, true);
	return -ETIMEDOUT;
}

CUresult hsi_context_on(CUdevice device) {
	CUresult result = CUDA_ERROR_INVALID_CONTEXT;
	pthread_mutex_lock(&lock);
	for (struct hsi_context *one = contexts; one && result != CUDA_SUCCESS; one = one->next)
		if (one->device == device)
			result = REAL(cuCtxPushCurrent_v2)(one->context);
	pthread_mutex_unlock(&lock);
	return result;
}

void hsi_contexts_forked(void) {
	pthread_mutex_init(&lock, NULL);
	contexts = NULL;
	atomic_store(&waits, 0);
}
