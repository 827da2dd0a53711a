/* Which contexts there are: before memory leaves, the work of each of them must have ended. */
#include <stdlib.h>

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

/* `context` NULL: the primary context of the device. `all`: however often it was retained. */
static void forget(CUcontext context, bool all) {
	pthread_mutex_lock(&lock);
	for (struct hsi_context **at = &contexts; *at; at = &(*at)->next)
		if ((*at)->context == context) {
			struct hsi_context *one = *at;
			if (--one->refs <= 0 || all) {
				*at = one->next;
				free(one);
			}
			break;
		}
	pthread_mutex_unlock(&lock);
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
	if (dev >= 0 && dev < 64 && primary[dev])
		forget(primary[dev], all); /* before: a context that is gone cannot be waited for */
	return all ? REAL(cuDevicePrimaryCtxReset_v2)(dev) : REAL(cuDevicePrimaryCtxRelease_v2)(dev);
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
	return REAL(cuCtxDestroy_v2)(ctx);
}

CUresult cuCtxDestroy_v2(CUcontext ctx) {
	GATED(destroy(ctx));
}

CUresult hsi_contexts_sync(void) {
	CUresult result = CUDA_SUCCESS;
	pthread_mutex_lock(&lock);
	for (struct hsi_context *one = contexts; one && result == CUDA_SUCCESS; one = one->next) {
		CUcontext before;
		result = REAL(cuCtxPushCurrent_v2)(one->context);
		if (result == CUDA_SUCCESS) {
			result = REAL(cuCtxSynchronize)();
			REAL(cuCtxPopCurrent_v2)(&before);
		}
	}
	pthread_mutex_unlock(&lock);
	return result;
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
}
