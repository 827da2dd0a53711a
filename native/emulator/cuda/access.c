/* From device pointers to bytes: the only place where they are translated, and where wild ones are found out. */
#include "internal.h"

bool hs_in_arena(CUdeviceptr ptr) {
	return ptr >= hs.arena && ptr < hs.arena + hs.arena_bytes;
}

/* What kernels of `ctx` may do with it. NULL: a copy, which the driver makes from wherever it is. */
static unsigned int access_of(const struct hs_range *range, const struct hs_ctx *ctx) {
	if (!ctx || ctx->ordinal == range->mem->ordinal)
		return range->access;
	if (range->mem->pool)
		return hs_pool_access(range->mem->pool, ctx->ordinal);
	if (range->kind == HS_RANGE_VMM) /* peer access of contexts says nothing of it */
		return range->others[ctx->ordinal];
	return ctx->peers & 1u << range->mem->ordinal ? range->access : 0;
}

/* Neighbouring VMM mappings may be crossed, neighbouring allocations may not. */
static bool accessible(uint64_t ptr, uint64_t bytes, bool write, const struct hs_ctx *ctx) {
	unsigned int need = write ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : CU_MEM_ACCESS_FLAGS_PROT_READ;
	uint64_t end = ptr + bytes, at, size;
	for (bool first = true; ptr < end; first = false) {
		const struct hs_range *range = hs_range_at(ptr);
		if (!range || (access_of(range, ctx) & need) != need)
			return false;
		if (range->kind == HS_RANGE_VMM) {
			ptr = range->at + range->bytes;
			continue;
		}
		if (!first)
			return false;
		if (range->kind == HS_RANGE_ALLOC || range->kind == HS_RANGE_BORROWED)
			return end <= range->at + range->wanted;
		return hs_slab_extent(range, ptr, &at, &size) && end <= at + size;
	}
	return true;
}

static void *bytes_of(CUdeviceptr ptr, size_t bytes, bool write, const struct hs_ctx *ctx) {
	if (!hs_in_arena(ptr) || ptr + bytes < ptr)
		return NULL;
	pthread_mutex_lock(&hs.lock);
	bool ok = accessible(ptr, bytes ? bytes : 1, write, ctx);
	pthread_mutex_unlock(&hs.lock);
	return ok ? (void *)(ptr + hs.delta) : NULL;
}

void *hs_device_bytes(CUdeviceptr ptr, size_t bytes, bool write) {
	return bytes_of(ptr, bytes, write, NULL);
}

void *hs_kernel_bytes(CUdeviceptr ptr, size_t bytes, bool write) {
	return bytes_of(ptr, bytes, write, hs_current());
}

static CUresult pointer_attribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr) {
	if (!data)
		return CUDA_ERROR_INVALID_VALUE;
	CUdeviceptr base;
	size_t bytes;
	pthread_mutex_lock(&hs.lock);
	struct hs_range *range = hs_range_at(ptr);
	struct hs_mem *mem = range ? range->mem : NULL;
	pthread_mutex_unlock(&hs.lock);
	if (!mem)
		return CUDA_ERROR_INVALID_VALUE;
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		*(CUcontext *)data = (CUcontext)mem->ctx;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
		*(unsigned int *)data = CU_MEMORYTYPE_DEVICE;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
		*(CUdeviceptr *)data = ptr;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
		*(unsigned int *)data = 0;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		*(int *)data = mem->ordinal;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE: {
		if (range->kind == HS_RANGE_SLAB) {
			if (!hs_slab_extent(range, ptr, (uint64_t *)&base, (uint64_t *)&bytes))
				return CUDA_ERROR_INVALID_VALUE;
		} else {
			base = range->at;
			bytes = range->wanted;
		}
		if (attribute == CU_POINTER_ATTRIBUTE_RANGE_START_ADDR)
			*(CUdeviceptr *)data = base;
		else
			*(size_t *)data = bytes;
		return CUDA_SUCCESS;
	}
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr) {
	HS_PASS(pointer_attribute(data, attribute, ptr));
}
