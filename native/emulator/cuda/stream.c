/* Streams and events. Work is done in the call that asks for it, so they only carry what callers look at: whether the
 * kernels that take time have ended, and when an event was recorded. */
#include <stdlib.h>

#include "internal.h"

struct CUstream_st {
	unsigned int flags;
	int ordinal;
};
struct CUevent_st {
	uint64_t at; /* when the work before it ends; 0 = never recorded */
};

static CUresult with_context(void) {
	struct hs_ctx *ctx;
	return hs_current_ok(&ctx);
}

CUstream hs_stream_make(int ordinal) {
	CUstream stream = calloc(1, sizeof *stream);
	if (stream)
		stream->ordinal = ordinal;
	return stream;
}

static CUresult stream_create(CUstream *stream, unsigned int flags) {
	CUresult result = stream && flags <= 1 ? with_context() : CUDA_ERROR_INVALID_VALUE;
	if (result != CUDA_SUCCESS)
		return result;
	*stream = hs_stream_make(hs_current()->ordinal);
	if (!*stream)
		return CUDA_ERROR_OUT_OF_MEMORY;
	(*stream)->flags = flags;
	return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream *stream, unsigned int flags) {
	HS_CALL(stream_create(stream, flags));
}

CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned int flags, int priority) {
	(void)priority;
	HS_CALL(stream_create(stream, flags));
}

static CUresult stream_destroy(CUstream stream) {
	if (!stream)
		return CUDA_ERROR_INVALID_HANDLE;
	free(stream);
	return CUDA_SUCCESS;
}

CUresult cuStreamDestroy_v2(CUstream stream) {
	HS_CALL(stream_destroy(stream));
}

static CUresult stream_device(CUstream stream, CUdevice *dev) {
	struct hs_ctx *ctx;
	CUresult result = !dev ? CUDA_ERROR_INVALID_VALUE : stream ? CUDA_SUCCESS : hs_current_ok(&ctx);
	if (result == CUDA_SUCCESS)
		*dev = stream ? stream->ordinal : ctx->ordinal;
	return result;
}

CUresult cuStreamGetDevice(CUstream stream, CUdevice *dev) {
	HS_PASS(stream_device(stream, dev));
}

static CUresult wait(void) {
	CUresult result = with_context();
	if (result == CUDA_SUCCESS)
		hs_wait_idle();
	return result == CUDA_SUCCESS ? with_context() : result;
}

CUresult cuStreamSynchronize(CUstream stream) {
	(void)stream;
	HS_WAIT(wait());
}

static CUresult ended(uint64_t at) {
	CUresult result = with_context();
	if (result != CUDA_SUCCESS)
		return result;
	return at <= hs_now_ns() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult cuStreamQuery(CUstream stream) {
	(void)stream;
	HS_WAIT(ended(atomic_load(&hs.busy_until)));
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int flags) {
	(void)stream;
	(void)flags;
	HS_CALL(event ? with_context() : CUDA_ERROR_INVALID_HANDLE);
}

static CUresult host_func(CUhostFn fn, void *data) {
	CUresult result = fn ? with_context() : CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS) {
		hs_wait_idle();
		fn(data);
	}
	return result;
}

CUresult cuLaunchHostFunc(CUstream stream, CUhostFn fn, void *userData) {
	(void)stream;
	HS_CALL(host_func(fn, userData));
}

static CUresult event_create(CUevent *event) {
	CUresult result = event ? with_context() : CUDA_ERROR_INVALID_VALUE;
	if (result != CUDA_SUCCESS)
		return result;
	*event = calloc(1, sizeof **event);
	return *event ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuEventCreate(CUevent *event, unsigned int flags) {
	(void)flags;
	HS_CALL(event_create(event));
}

static CUresult event_destroy(CUevent event) {
	if (!event)
		return CUDA_ERROR_INVALID_HANDLE;
	free(event);
	return CUDA_SUCCESS;
}

CUresult cuEventDestroy_v2(CUevent event) {
	HS_CALL(event_destroy(event));
}

static CUresult event_record(CUevent event) {
	CUresult result = event ? with_context() : CUDA_ERROR_INVALID_HANDLE;
	if (result == CUDA_SUCCESS) {
		uint64_t now = hs_now_ns(), busy = atomic_load(&hs.busy_until);
		event->at = busy > now ? busy : now;
	}
	return result;
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
	(void)stream;
	HS_CALL(event_record(event));
}

static CUresult event_synchronize(CUevent event) {
	if (!event)
		return CUDA_ERROR_INVALID_HANDLE;
	for (uint64_t now; (now = hs_now_ns()) < event->at;)
		hs_sleep_ns(event->at - now);
	return with_context();
}

CUresult cuEventSynchronize(CUevent event) {
	HS_WAIT(event_synchronize(event));
}

CUresult cuEventQuery(CUevent event) {
	HS_WAIT(event ? ended(event->at) : CUDA_ERROR_INVALID_HANDLE);
}

static CUresult event_elapsed(float *milliseconds, CUevent start, CUevent end) {
	if (!milliseconds)
		return CUDA_ERROR_INVALID_VALUE;
	if (!start || !end || !start->at || !end->at)
		return CUDA_ERROR_INVALID_HANDLE;
	uint64_t now = hs_now_ns();
	if (start->at > now || end->at > now)
		return CUDA_ERROR_NOT_READY;
	*milliseconds = (float)((double)((int64_t)(end->at - start->at)) / 1e6);
	return CUDA_SUCCESS;
}

CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end) {
	HS_PASS(event_elapsed(milliseconds, start, end));
}
