/* Copying and setting. All of it happens in the call, after the kernels launched before it, unless its stream is being captured. */
#include <string.h>

#include "internal.h"

static void *side(CUdeviceptr ptr, size_t bytes, bool device, bool write) {
	if (hs_in_arena(ptr))
		return hs_device_bytes(ptr, bytes, write);
	return !device || hs_host_known((void *)ptr) ? (void *)ptr : NULL;
}

/* Either side may be a host pointer; where the call says "device" it must be one that the driver knows. */
static CUresult move(const struct hs_work *work) {
	if (work->count == 0)
		return CUDA_SUCCESS;
	void *to = side(work->dst, work->count, work->dst_device, true);
	const void *from = side(work->src, work->count, work->src_device, false);
	if (!to || !from)
		return CUDA_ERROR_INVALID_VALUE;
	hs_wait_idle();
	memmove(to, from, work->count);
	return CUDA_SUCCESS;
}

static CUresult set(const struct hs_work *work) {
	if (work->count == 0)
		return CUDA_SUCCESS;
	if (work->dst % work->width || work->count > SIZE_MAX / work->width)
		return CUDA_ERROR_INVALID_VALUE;
	void *to = hs_device_bytes(work->dst, work->count * work->width, true);
	if (!to)
		return CUDA_ERROR_INVALID_VALUE;
	hs_wait_idle();
	if (work->width == 1)
		memset(to, (int)work->value, work->count);
	else
		for (size_t i = 0; i < work->count; i++)
			((unsigned int *)to)[i] = work->value;
	return CUDA_SUCCESS;
}

/* An error in a kernel stays with its context, as on the device. */
static CUresult kernel(const struct hs_work *work, struct hs_ctx *ctx) {
	void *params[HS_KERNEL_PARAMS];
	for (unsigned i = 0; i < HS_KERNEL_PARAMS; i++)
		params[i] = (void *)&work->params[i];
	CUresult result = work->kernel(params);
	if (result != CUDA_SUCCESS)
		atomic_store(&ctx->error, (int)result);
	return CUDA_SUCCESS;
}

CUresult hs_stream_work(CUstream stream, const struct hs_work *work) {
	struct hs_ctx *ctx;
	CUresult result = hs_current_ok(&ctx);
	if (result != CUDA_SUCCESS || hs_captured(stream, work, &result))
		return result;
	return work->kernel ? kernel(work, ctx) : work->width ? set(work) : move(work);
}

/* In the legacy stream, and waited for. */
static CUresult at_once(const struct hs_work *work) {
	struct hs_ctx *ctx;
	CUresult result = hs_current_ok(&ctx);
	if (result == CUDA_SUCCESS)
		result = hs_capture_waits_for_stream(NULL);
	return result == CUDA_SUCCESS ? hs_stream_work(NULL, work) : result;
}

#define COPY(to, from, size, to_device, from_device)                                                          \
	&(struct hs_work){.dst = (CUdeviceptr)(to), .src = (CUdeviceptr)(from), .count = (size), .dst_device = (to_device), \
			  .src_device = (from_device)}
#define SET(to, what, number, bytes) &(struct hs_work){.dst = (to), .value = (what), .count = (number), .width = (bytes)}

CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t bytes) {
	HS_CALL(at_once(COPY(dst, src, bytes, false, false)));
}

CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream) {
	HS_CALL(hs_stream_work(stream, COPY(dst, src, bytes, false, false)));
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr dst, const void *src, size_t bytes) {
	HS_CALL(at_once(COPY(dst, src, bytes, true, false)));
}

CUresult cuMemcpyDtoH_v2(void *dst, CUdeviceptr src, size_t bytes) {
	HS_CALL(at_once(COPY(dst, src, bytes, false, true)));
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr dst, CUdeviceptr src, size_t bytes) {
	HS_CALL(at_once(COPY(dst, src, bytes, true, true)));
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void *src, size_t bytes, CUstream stream) {
	HS_CALL(hs_stream_work(stream, COPY(dst, src, bytes, true, false)));
}

CUresult cuMemcpyDtoHAsync_v2(void *dst, CUdeviceptr src, size_t bytes, CUstream stream) {
	HS_CALL(hs_stream_work(stream, COPY(dst, src, bytes, false, true)));
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream) {
	HS_CALL(hs_stream_work(stream, COPY(dst, src, bytes, true, true)));
}

CUresult cuMemsetD8_v2(CUdeviceptr dst, unsigned char value, size_t count) {
	HS_CALL(at_once(SET(dst, value, count, 1)));
}

CUresult cuMemsetD32_v2(CUdeviceptr dst, unsigned int value, size_t count) {
	HS_CALL(at_once(SET(dst, value, count, 4)));
}

CUresult cuMemsetD8Async(CUdeviceptr dst, unsigned char value, size_t count, CUstream stream) {
	HS_CALL(hs_stream_work(stream, SET(dst, value, count, 1)));
}

CUresult cuMemsetD32Async(CUdeviceptr dst, unsigned int value, size_t count, CUstream stream) {
	HS_CALL(hs_stream_work(stream, SET(dst, value, count, 4)));
}
