/* Streams and events. Work is done in the call that asks for it, so they only carry what callers look at: whether the
 * kernels that take time have ended, when an event was recorded, and in which capture both take part. */
#include <stdlib.h>

#include "internal.h"

#define NON_BLOCKING 1u

struct CUstream_st {
	struct CUstream_st *next;
	unsigned int flags;
	struct hs_ctx *ctx;
	int ordinal; /* the context may have gone */
	struct hs_capture *capture;
};
struct CUevent_st {
	struct CUevent_st *next;
	uint64_t at; /* when the work before it ends; 0 = never recorded */
	struct hs_capture *capture;
};

static CUstream streams; /* under hs.lock */
static CUevent events;

static CUresult with_context(void) {
	struct hs_ctx *ctx;
	return hs_current_ok(&ctx);
}

/* Under hs.lock. */
CUstream hs_stream_make(struct hs_ctx *ctx) {
	CUstream stream = ctx ? calloc(1, sizeof *stream) : NULL;
	if (stream) {
		*stream = (struct CUstream_st){.next = streams, .ctx = ctx, .ordinal = ctx->ordinal};
		streams = stream;
	}
	return stream;
}

struct hs_ctx *hs_stream_context(CUstream stream) {
	return stream->ctx;
}

bool hs_stream_blocks(CUstream stream) {
	return !(stream->flags & NON_BLOCKING);
}

struct hs_capture **hs_stream_capture(CUstream stream) {
	return &stream->capture;
}

void hs_streams_leave(const struct hs_capture *capture) {
	for (CUstream one = streams; one; one = one->next)
		if (one->capture == capture)
			one->capture = NULL;
	for (CUevent one = events; one; one = one->next)
		if (one->capture == capture)
			one->capture = NULL;
}

static CUresult stream_create(CUstream *stream, unsigned int flags) {
	CUresult result = stream && flags <= 1 ? with_context() : CUDA_ERROR_INVALID_VALUE;
	if (result != CUDA_SUCCESS)
		return result;
	pthread_mutex_lock(&hs.lock);
	*stream = hs_stream_make(hs_current());
	if (*stream)
		(*stream)->flags = flags;
	pthread_mutex_unlock(&hs.lock);
	return *stream ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
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
	pthread_mutex_lock(&hs.lock);
	hs_stream_end(stream);
	pthread_mutex_unlock(&hs.lock);
	return CUDA_SUCCESS;
}

void hs_stream_end(CUstream stream) {
	hs_capture_stream_ends(stream);
	for (CUstream *at = &streams; *at; at = &(*at)->next)
		if (*at == stream) {
			*at = stream->next;
			break;
		}
	free(stream);
}

CUresult cuStreamDestroy_v2(CUstream stream) {
	HS_CALL(stream_destroy(stream));
}

CUresult hs_stream_device(CUstream stream, CUdevice *dev) {
	struct hs_ctx *ctx;
	CUresult result = !dev ? CUDA_ERROR_INVALID_VALUE : stream ? CUDA_SUCCESS : hs_current_ok(&ctx);
	if (result == CUDA_SUCCESS)
		*dev = stream ? stream->ordinal : ctx->ordinal;
	return result;
}

CUresult cuStreamGetDevice(CUstream stream, CUdevice *dev) {
	HS_PASS(hs_stream_device(stream, dev));
}

static CUresult wait(CUstream stream) {
	CUresult result = with_context();
	if (result == CUDA_SUCCESS)
		result = hs_capture_waits_for_stream(stream);
	if (result == CUDA_SUCCESS)
		hs_wait_idle();
	return result == CUDA_SUCCESS ? with_context() : result;
}

CUresult cuStreamSynchronize(CUstream stream) {
	HS_WAIT(wait(stream));
}

static CUresult ended(uint64_t at) {
	CUresult result = with_context();
	if (result != CUDA_SUCCESS)
		return result;
	return at <= hs_now_ns() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

static CUresult query(CUstream stream) {
	CUresult result = with_context();
	if (result == CUDA_SUCCESS)
		result = hs_capture_waits_for_stream(stream);
	return result == CUDA_SUCCESS ? ended(atomic_load(&hs.busy_until)) : result;
}

CUresult cuStreamQuery(CUstream stream) {
	HS_WAIT(query(stream));
}

/* A stream that waits for what is being captured is captured with it. */
static CUresult wait_event(CUstream stream, CUevent event) {
	CUresult result = with_context();
	pthread_mutex_lock(&hs.lock);
	if (result == CUDA_SUCCESS && event->capture && !stream)
		result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
	else if (result == CUDA_SUCCESS && event->capture && stream->capture && stream->capture != event->capture)
		result = CUDA_ERROR_STREAM_CAPTURE_MERGE;
	else if (result == CUDA_SUCCESS && event->capture)
		stream->capture = event->capture;
	pthread_mutex_unlock(&hs.lock);
	return result;
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int flags) {
	(void)flags;
	HS_CALL(event ? wait_event(stream, event) : CUDA_ERROR_INVALID_HANDLE);
}

static CUresult host_func(CUstream stream, CUhostFn fn, void *data) {
	CUresult result = fn ? with_context() : CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS && stream && stream->capture)
		return CUDA_ERROR_NOT_SUPPORTED; /* no such nodes here */
	if (result == CUDA_SUCCESS) {
		hs_wait_idle();
		fn(data);
	}
	return result;
}

CUresult cuLaunchHostFunc(CUstream stream, CUhostFn fn, void *userData) {
	HS_CALL(host_func(stream, fn, userData));
}

static CUresult event_create(CUevent *event) {
	CUresult result = event ? with_context() : CUDA_ERROR_INVALID_VALUE;
	if (result != CUDA_SUCCESS)
		return result;
	pthread_mutex_lock(&hs.lock);
	*event = calloc(1, sizeof **event);
	if (*event) {
		(*event)->next = events;
		events = *event;
	}
	pthread_mutex_unlock(&hs.lock);
	return *event ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuEventCreate(CUevent *event, unsigned int flags) {
	(void)flags;
	HS_CALL(event_create(event));
}

static CUresult event_destroy(CUevent event) {
	if (!event)
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&hs.lock);
	for (CUevent *at = &events; *at; at = &(*at)->next)
		if (*at == event) {
			*at = event->next;
			break;
		}
	pthread_mutex_unlock(&hs.lock);
	free(event);
	return CUDA_SUCCESS;
}

CUresult cuEventDestroy_v2(CUevent event) {
	HS_CALL(event_destroy(event));
}

static CUresult event_record(CUevent event, CUstream stream) {
	CUresult result = event ? with_context() : CUDA_ERROR_INVALID_HANDLE;
	if (result != CUDA_SUCCESS)
		return result;
	bool captured = hs_captured(stream, NULL, &result);
	pthread_mutex_lock(&hs.lock);
	event->capture = captured && stream ? stream->capture : NULL;
	pthread_mutex_unlock(&hs.lock);
	if (!captured) {
		uint64_t now = hs_now_ns(), busy = atomic_load(&hs.busy_until);
		event->at = busy > now ? busy : now;
	}
	return result;
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
	HS_CALL(event_record(event, stream));
}

static CUresult event_may_be_asked(CUevent event) {
	CUresult result = event ? with_context() : CUDA_ERROR_INVALID_HANDLE;
	if (result == CUDA_SUCCESS && event->capture)
		return CUDA_ERROR_CAPTURED_EVENT;
	return result == CUDA_SUCCESS ? hs_capture_unsafe() : result;
}

static CUresult event_synchronize(CUevent event) {
	CUresult result = event_may_be_asked(event);
	if (result != CUDA_SUCCESS)
		return result;
	for (uint64_t now; (now = hs_now_ns()) < event->at;)
		hs_sleep_ns(event->at - now);
	return with_context();
}

CUresult cuEventSynchronize(CUevent event) {
	HS_WAIT(event_synchronize(event));
}

static CUresult event_query(CUevent event) {
	CUresult result = event_may_be_asked(event);
	return result == CUDA_SUCCESS ? ended(event->at) : result;
}

CUresult cuEventQuery(CUevent event) {
	HS_WAIT(event_query(event));
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
