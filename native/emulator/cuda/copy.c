/* Copying and setting. All of it happens in the call, after the kernels launched before it. */
#include <string.h>

#include "internal.h"

static void *side(CUdeviceptr ptr, size_t bytes, bool device, bool write) {
	if (hs_in_arena(ptr))
		return hs_device_bytes(ptr, bytes, write);
	return !device || hs_host_known((void *)ptr) ? (void *)ptr : NULL;
}

/* Either side may be a host pointer; where the call says "device" it must be one that the driver knows. */
static CUresult move(CUdeviceptr dst, CUdeviceptr src, size_t bytes, bool dst_device, bool src_device) {
	struct hs_ctx *ctx;
	CUresult result = hs_current_ok(&ctx);
	if (result != CUDA_SUCCESS || bytes == 0)
		return result;
	void *to = side(dst, bytes, dst_device, true);
	const void *from = side(src, bytes, src_device, false);
	if (!to || !from)
		return CUDA_ERROR_INVALID_VALUE;
	hs_wait_idle();
	memmove(to, from, bytes);
	return CUDA_SUCCESS;
}

CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t bytes) {
	HS_CALL(move(dst, src, bytes, false, false));
}

CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream) {
	(void)stream;
	HS_CALL(move(dst, src, bytes, false, false));
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr dst, const void *src, size_t bytes) {
	HS_CALL(move(dst, (CUdeviceptr)src, bytes, true, false));
}

CUresult cuMemcpyDtoH_v2(void *dst, CUdeviceptr src, size_t bytes) {
	HS_CALL(move((CUdeviceptr)dst, src, bytes, false, true));
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr dst, CUdeviceptr src, size_t bytes) {
	HS_CALL(move(dst, src, bytes, true, true));
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void *src, size_t bytes, CUstream stream) {
	(void)stream;
	HS_CALL(move(dst, (CUdeviceptr)src, bytes, true, false));
}

CUresult cuMemcpyDtoHAsync_v2(void *dst, CUdeviceptr src, size_t bytes, CUstream stream) {
	(void)stream;
	HS_CALL(move((CUdeviceptr)dst, src, bytes, false, true));
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream) {
	(void)stream;
	HS_CALL(move(dst, src, bytes, true, true));
}

static CUresult set(CUdeviceptr dst, unsigned int value, size_t count, size_t width) {
	struct hs_ctx *ctx;
	CUresult result = hs_current_ok(&ctx);
	if (result != CUDA_SUCCESS || count == 0)
		return result;
	if (dst % width || count > SIZE_MAX / width)
		return CUDA_ERROR_INVALID_VALUE;
	void *to = hs_device_bytes(dst, count * width, true);
	if (!to)
		return CUDA_ERROR_INVALID_VALUE;
	hs_wait_idle();
	if (width == 1)
		memset(to, (int)value, count);
	else
		for (size_t i = 0; i < count; i++)
			((unsigned int *)to)[i] = value;
	return CUDA_SUCCESS;
}

CUresult cuMemsetD8_v2(CUdeviceptr dst, unsigned char value, size_t count) {
	HS_CALL(set(dst, value, count, 1));
}

CUresult cuMemsetD32_v2(CUdeviceptr dst, unsigned int value, size_t count) {
	HS_CALL(set(dst, value, count, 4));
}

CUresult cuMemsetD8Async(CUdeviceptr dst, unsigned char value, size_t count, CUstream stream) {
	(void)stream;
	HS_CALL(set(dst, value, count, 1));
}

CUresult cuMemsetD32Async(CUdeviceptr dst, unsigned int value, size_t count, CUstream stream) {
	(void)stream;
	HS_CALL(set(dst, value, count, 4));
}
