/* Pinned host memory, and managed memory: it works, and makes the process one that cannot be checkpointed. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>

#include "internal.h"

struct block {
	struct block *next;
	void *at;
	size_t bytes;
	bool ours;
};
static struct block *blocks; /* under hs.lock */

static struct block **find(const void *p) {
	for (struct block **at = &blocks; *at; at = &(*at)->next)
		if ((const char *)p >= (char *)(*at)->at && (const char *)p < (char *)(*at)->at + (*at)->bytes)
			return at;
	return NULL;
}

static CUresult keep(void *at, size_t bytes, bool ours) {
	struct block *block = malloc(sizeof *block);
	if (!block)
		return CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_lock(&hs.lock);
	*block = (struct block){blocks, at, bytes, ours};
	blocks = block;
	pthread_mutex_unlock(&hs.lock);
	return CUDA_SUCCESS;
}

CUresult hs_host_alloc(void **p, size_t bytes) {
	struct hs_ctx *ctx;
	CUresult result = p && bytes ? hs_current_ok(&ctx) : CUDA_ERROR_INVALID_VALUE;
	if (result != CUDA_SUCCESS)
		return result;
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return CUDA_ERROR_OUT_OF_MEMORY;
	result = keep(at, bytes, true);
	if (result != CUDA_SUCCESS)
		munmap(at, bytes);
	else
		*p = at;
	return result;
}

static CUresult alloc_now(void **p, size_t bytes, unsigned int flags) {
	CUresult result = flags > 7 ? CUDA_ERROR_INVALID_VALUE : hs_capture_unsafe();
	return result == CUDA_SUCCESS ? hs_host_alloc(p, bytes) : result;
}

CUresult cuMemHostAlloc(void **p, size_t bytes, unsigned int flags) {
	HS_CALL(alloc_now(p, bytes, flags));
}

CUresult cuMemAllocHost_v2(void **p, size_t bytes) {
	HS_CALL(alloc_now(p, bytes, 0));
}

static CUresult drop(void *p, bool ours, CUresult unknown) {
	pthread_mutex_lock(&hs.lock);
	struct block **at = find(p), *block = at ? *at : NULL;
	bool ok = block && block->at == p && block->ours == ours;
	if (ok)
		*at = block->next;
	pthread_mutex_unlock(&hs.lock);
	if (!ok)
		return unknown;
	if (ours)
		munmap(p, block->bytes);
	free(block);
	return CUDA_SUCCESS;
}

static CUresult free_now(void *p) {
	CUresult result = p ? hs_capture_unsafe() : CUDA_SUCCESS;
	return p && result == CUDA_SUCCESS ? drop(p, true, CUDA_ERROR_INVALID_VALUE) : result;
}

CUresult cuMemFreeHost(void *p) {
	HS_CALL(free_now(p));
}

bool hs_host_known(const void *p) {
	pthread_mutex_lock(&hs.lock);
	bool known = find(p) != NULL;
	pthread_mutex_unlock(&hs.lock);
	return known;
}

CUresult hs_host_free(void *p) {
	return drop(p, true, CUDA_ERROR_INVALID_VALUE);
}

static CUresult enlist(void *p, size_t bytes) {
	struct hs_ctx *ctx;
	CUresult result = p && bytes ? hs_current_ok(&ctx) : CUDA_ERROR_INVALID_VALUE;
	if (result != CUDA_SUCCESS)
		return result;
	return hs_host_known(p) ? CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED : keep(p, bytes, false);
}

CUresult cuMemHostRegister_v2(void *p, size_t bytes, unsigned int flags) {
	(void)flags;
	HS_CALL(enlist(p, bytes));
}

CUresult cuMemHostUnregister(void *p) {
	HS_CALL(drop(p, false, CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED));
}

static CUresult device_pointer(CUdeviceptr *ptr, void *p, unsigned int flags) {
	if (!ptr || flags || !hs_host_known(p))
		return CUDA_ERROR_INVALID_VALUE;
	*ptr = (CUdeviceptr)p; /* unified addressing */
	return CUDA_SUCCESS;
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *ptr, void *p, unsigned int flags) {
	HS_PASS(device_pointer(ptr, p, flags));
}

static CUresult managed(CUdeviceptr *ptr, size_t bytes, unsigned int flags) {
	if (!ptr || (flags != CU_MEM_ATTACH_GLOBAL && flags != 2))
		return CUDA_ERROR_INVALID_VALUE;
	void *at = NULL;
	CUresult result = hs_host_alloc(&at, bytes);
	if (result == CUDA_SUCCESS) {
		atomic_fetch_or(&hs.slot->flags, HS_SLOT_MANAGED);
		*ptr = (CUdeviceptr)at;
	}
	return result;
}

CUresult cuMemAllocManaged(CUdeviceptr *ptr, size_t bytes, unsigned int flags) {
	HS_CALL(managed(ptr, bytes, flags));
}
