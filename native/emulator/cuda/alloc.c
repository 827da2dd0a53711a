/* cuMemAlloc and friends: large allocations own their granules, small ones share a granule of their context. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define UNITS (HS_GRANULE / HS_UNIT)
#define INNER 0xffffu /* a unit inside an allocation that begins before it */

struct hs_slab {
	struct hs_ctx *ctx;
	uint32_t taken;
	uint16_t units[UNITS]; /* 0 free, n = an allocation of n units begins here */
	uint32_t bytes[UNITS]; /* as asked for */
};

static CUresult add_range(int ordinal, struct hs_ctx *ctx, uint64_t wanted, enum hs_range_kind kind, struct hs_range **out) {
	struct hs_mem *mem;
	uint64_t at, bytes = hs_round_up(wanted);
	CUresult result = hs_mem_create(ordinal, bytes, ctx, &mem);
	if (result != CUDA_SUCCESS)
		return result;
	result = hs_arena_reserve(bytes, HS_GRANULE, 0, &at);
	if (result == CUDA_SUCCESS) {
		mem->maps = 1;
		mem->wanted = wanted;
		*out = hs_range_add((struct hs_range){.at = at, .bytes = bytes, .wanted = wanted, .mem = mem,
						      .kind = kind, .access = CU_MEM_ACCESS_FLAGS_PROT_READWRITE});
		if (*out && hs_range_show(*out) == CUDA_SUCCESS)
			return CUDA_SUCCESS;
		if (*out) {
			hs_range_hide(*out);
			hs_range_remove(*out);
		}
		hs_arena_release(at, bytes);
		result = CUDA_ERROR_OUT_OF_MEMORY;
	}
	mem->maps = 0;
	hs_mem_drop(mem);
	return result;
}

static void drop_range(struct hs_range *range) {
	struct hs_mem *mem = range->mem;
	hs_range_hide(range);
	hs_arena_release(range->at, range->bytes);
	free(range->slab);
	hs_range_remove(range);
	if (mem->pool)
		hs_pool_unref(mem->pool);
	mem->maps--;
	hs_mem_drop(mem);
}

static bool slab_take(struct hs_range *range, uint64_t bytes, uint64_t *at) {
	struct hs_slab *slab = range->slab;
	uint32_t need = (uint32_t)((bytes + HS_UNIT - 1) / HS_UNIT);
	for (uint32_t i = 0, run = 0; i < UNITS; i++) {
		run = slab->units[i] ? 0 : run + 1;
		if (run < need)
			continue;
		uint32_t first = i + 1 - need;
		memset(&slab->units[first], 0xff, need * sizeof slab->units[0]);
		slab->units[first] = (uint16_t)need;
		slab->bytes[first] = (uint32_t)bytes;
		slab->taken += need;
		*at = range->at + first * HS_UNIT;
		return true;
	}
	return false;
}

static CUresult alloc_small(struct hs_ctx *ctx, uint64_t bytes, uint64_t *at) {
	for (size_t i = 0; i < hs.range_count; i++)
		if (hs.ranges[i].kind == HS_RANGE_SLAB && hs.ranges[i].slab->ctx == ctx &&
		    slab_take(&hs.ranges[i], bytes, at))
			return CUDA_SUCCESS;
	struct hs_slab *slab = calloc(1, sizeof *slab);
	struct hs_range *range;
	CUresult result = slab ? add_range(ctx->ordinal, ctx, HS_GRANULE, HS_RANGE_SLAB, &range) : CUDA_ERROR_OUT_OF_MEMORY;
	if (result != CUDA_SUCCESS) {
		free(slab);
		return result;
	}
	slab->ctx = ctx;
	range->slab = slab;
	return slab_take(range, bytes, at) ? CUDA_SUCCESS : CUDA_ERROR_UNKNOWN;
}

bool hs_slab_extent(const struct hs_range *range, uint64_t address, uint64_t *at, uint64_t *bytes) {
	const struct hs_slab *slab = range->slab;
	uint32_t unit = (uint32_t)((address - range->at) / HS_UNIT);
	while (unit > 0 && slab->units[unit] == INNER)
		unit--;
	*at = range->at + unit * HS_UNIT;
	*bytes = slab->bytes[unit];
	return slab->units[unit] != 0 && address < *at + slab->units[unit] * HS_UNIT;
}

static CUresult alloc(CUdeviceptr *ptr, size_t bytes) {
	struct hs_ctx *ctx;
	CUresult result = ptr && bytes ? hs_current_ok(&ctx) : CUDA_ERROR_INVALID_VALUE;
	if (result != CUDA_SUCCESS)
		return result;
	uint64_t at = 0;
	pthread_mutex_lock(&hs.lock);
	if (bytes >= HS_GRANULE / 2) {
		struct hs_range *range;
		result = add_range(ctx->ordinal, ctx, bytes, HS_RANGE_ALLOC, &range);
		if (result == CUDA_SUCCESS)
			at = range->at;
	} else {
		result = alloc_small(ctx, bytes, &at);
	}
	pthread_mutex_unlock(&hs.lock);
	if (result == CUDA_SUCCESS)
		*ptr = at;
	return result;
}

/* It outlives contexts. */
CUresult hs_pool_alloc(CUdeviceptr *ptr, size_t bytes, CUmemoryPool pool, int ordinal) {
	struct hs_range *range;
	pthread_mutex_lock(&hs.lock);
	CUresult result = add_range(ordinal, NULL, bytes, HS_RANGE_ALLOC, &range);
	if (result == CUDA_SUCCESS) {
		range->mem->pool = pool;
		hs_pool_ref(pool);
		*ptr = range->at;
	}
	pthread_mutex_unlock(&hs.lock);
	return result;
}

static CUresult alloc_now(CUdeviceptr *ptr, size_t bytes) {
	CUresult result = hs_capture_unsafe();
	return result == CUDA_SUCCESS ? alloc(ptr, bytes) : result;
}

CUresult cuMemAlloc_v2(CUdeviceptr *ptr, size_t bytes) {
	HS_CALL(alloc_now(ptr, bytes));
}

static CUresult free_locked(uint64_t ptr) {
	struct hs_range *range = hs_range_at(ptr);
	uint64_t at, bytes;
	if (!range || range->kind == HS_RANGE_VMM || range->kind == HS_RANGE_BORROWED)
		return CUDA_ERROR_INVALID_VALUE;
	if (range->kind == HS_RANGE_SLAB) {
		struct hs_slab *slab = range->slab;
		if (!hs_slab_extent(range, ptr, &at, &bytes) || at != ptr)
			return CUDA_ERROR_INVALID_VALUE;
		uint32_t unit = (uint32_t)((ptr - range->at) / HS_UNIT), count = slab->units[unit];
		memset(&slab->units[unit], 0, count * sizeof slab->units[0]);
		slab->taken -= count;
		if (slab->taken == 0)
			drop_range(range);
		return CUDA_SUCCESS;
	}
	if (range->at != ptr)
		return CUDA_ERROR_INVALID_VALUE;
	drop_range(range);
	return CUDA_SUCCESS;
}

CUresult hs_alloc_free(CUdeviceptr ptr) {
	struct hs_ctx *ctx;
	if (!ptr)
		return CUDA_SUCCESS;
	CUresult result = hs_current_ok(&ctx);
	if (result != CUDA_SUCCESS)
		return result;
	if (!hs_in_arena(ptr))
		return hs_host_free((void *)ptr); /* managed */
	pthread_mutex_lock(&hs.lock);
	result = free_locked(ptr);
	pthread_mutex_unlock(&hs.lock);
	return result;
}

static CUresult free_now(CUdeviceptr ptr) {
	CUresult result = ptr ? hs_capture_unsafe() : CUDA_SUCCESS;
	if (result == CUDA_SUCCESS && ptr)
		hs_wait_idle();
	return result == CUDA_SUCCESS ? hs_alloc_free(ptr) : result;
}

CUresult cuMemFree_v2(CUdeviceptr ptr) {
	HS_CALL(free_now(ptr));
}

void hs_alloc_drop_context(struct hs_ctx *ctx) {
	for (size_t i = hs.range_count; i-- > 0;)
		if (hs.ranges[i].kind != HS_RANGE_VMM && hs.ranges[i].mem->ctx == ctx)
			drop_range(&hs.ranges[i]);
}

static CUresult address_range(CUdeviceptr *base, size_t *bytes, CUdeviceptr ptr) {
	pthread_mutex_lock(&hs.lock);
	struct hs_range *range = hs_range_at(ptr);
	uint64_t at = 0, size = 0;
	bool found = range != NULL;
	if (found && range->kind == HS_RANGE_SLAB)
		found = hs_slab_extent(range, ptr, &at, &size);
	else if (found) {
		at = range->at;
		size = range->wanted;
	}
	pthread_mutex_unlock(&hs.lock);
	if (!found)
		return CUDA_ERROR_INVALID_VALUE;
	if (base)
		*base = at;
	if (bytes)
		*bytes = size;
	return CUDA_SUCCESS;
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *bytes, CUdeviceptr ptr) {
	HS_PASS(address_range(base, bytes, ptr));
}

static CUresult get_info(size_t *free_bytes, size_t *total) {
	struct hs_ctx *ctx;
	if (atomic_load(&hs.slot->state) == CU_PROCESS_STATE_CHECKPOINTED)
		return CUDA_ERROR_OPERATING_SYSTEM; /* a lock lets the call through, but there is no device to ask */
	CUresult result = free_bytes && total ? hs_current_ok(&ctx) : CUDA_ERROR_INVALID_VALUE;
	if (result != CUDA_SUCCESS)
		return result;
	static __thread struct hs_usage usage;
	int device = hs_device_of(ctx->ordinal);
	hs_usage_read(&hs.node, device, &usage);
	*total = hs.node.shared->device[device].bytes;
	*free_bytes = *total - usage.used;
	return CUDA_SUCCESS;
}

CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
	HS_PASS(get_info(free_bytes, total));
}
