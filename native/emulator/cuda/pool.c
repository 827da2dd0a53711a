/* Memory pools, and what is allocated in a stream's order. Work is done in the call that asks for it, so memory that is freed in a
 * stream's order is free at once. */
#include <stdlib.h>

#include "internal.h"

struct CUmemPoolHandle_st {
	CUmemPoolProps props;
	int refs; /* its owner's, and those of what was allocated from it */
	unsigned char others[HS_MAX_DEVICES]; /* CUmemAccess_flags of devices that it is not on, by ordinal */
};

static struct CUmemPoolHandle_st defaults[HS_MAX_DEVICES];
static CUmemoryPool chosen[HS_MAX_DEVICES]; /* under hs.lock, as what follows */

static CUmemoryPool default_of(int ordinal) {
	struct CUmemPoolHandle_st *pool = &defaults[ordinal];
	pool->props = (CUmemPoolProps){.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
				       .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = ordinal}};
	return pool;
}

static bool is_default(const struct CUmemPoolHandle_st *pool) {
	return pool >= defaults && pool < defaults + HS_MAX_DEVICES;
}

void hs_pool_ref(CUmemoryPool pool) {
	pool->refs++;
}

void hs_pool_unref(CUmemoryPool pool) {
	if (!is_default(pool) && --pool->refs == 0)
		free(pool);
}

unsigned int hs_pool_access(const struct CUmemPoolHandle_st *pool, int ordinal) {
	return pool->others[ordinal];
}

static bool on_host(const CUmemLocation *location) {
	return location->type >= CU_MEM_LOCATION_TYPE_HOST && location->type <= CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT;
}

static CUresult create(CUmemoryPool *pool, const CUmemPoolProps *props) {
	if (!pool || !props || props->allocType != CU_MEM_ALLOCATION_TYPE_PINNED ||
	    props->handleTypes > CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
		return CUDA_ERROR_INVALID_VALUE;
	if (props->location.type == CU_MEM_LOCATION_TYPE_DEVICE ? !hs_ordinal_ok(props->location.id) : !on_host(&props->location))
		return CUDA_ERROR_INVALID_VALUE;
	*pool = calloc(1, sizeof **pool);
	if (!*pool)
		return CUDA_ERROR_OUT_OF_MEMORY;
	(*pool)->props = *props;
	(*pool)->refs = 1;
	return CUDA_SUCCESS;
}

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *props) {
	HS_CALL(create(pool, props));
}

/* What was allocated from it lives on. A device that it was chosen for has its default again. */
static CUresult destroy(CUmemoryPool pool) {
	if (!pool || is_default(pool))
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&hs.lock);
	for (int i = 0; i < HS_MAX_DEVICES; i++)
		if (chosen[i] == pool)
			chosen[i] = NULL;
	hs_pool_unref(pool);
	pthread_mutex_unlock(&hs.lock);
	return CUDA_SUCCESS;
}

CUresult cuMemPoolDestroy(CUmemoryPool pool) {
	HS_CALL(destroy(pool));
}

static CUresult pool_of(CUmemoryPool *pool, CUdevice dev, bool now) {
	if (!pool)
		return CUDA_ERROR_INVALID_VALUE;
	if (!hs_ordinal_ok(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&hs.lock);
	*pool = now && chosen[dev] ? chosen[dev] : default_of(dev);
	pthread_mutex_unlock(&hs.lock);
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice dev) {
	HS_PASS(pool_of(pool, dev, false));
}

CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice dev) {
	HS_PASS(pool_of(pool, dev, true));
}

static CUresult choose(CUdevice dev, CUmemoryPool pool) {
	if (!hs_ordinal_ok(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	if (!pool || pool->props.location.type != CU_MEM_LOCATION_TYPE_DEVICE || pool->props.location.id != dev)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&hs.lock);
	chosen[dev] = pool;
	pthread_mutex_unlock(&hs.lock);
	return CUDA_SUCCESS;
}

CUresult cuDeviceSetMemPool(CUdevice dev, CUmemoryPool pool) {
	HS_CALL(choose(dev, pool));
}

static CUresult set_access(CUmemoryPool pool, const CUmemAccessDesc *desc, size_t count) {
	if (!pool || !desc)
		return CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < count; i++)
		if (desc[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE || !hs_ordinal_ok(desc[i].location.id))
			return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&hs.lock);
	for (size_t i = 0; i < count; i++)
		pool->others[desc[i].location.id] = (unsigned char)desc[i].flags;
	pthread_mutex_unlock(&hs.lock);
	return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *desc, size_t count) {
	HS_CALL(set_access(pool, desc, count));
}

static CUresult alloc(CUdeviceptr *ptr, size_t bytes, CUmemoryPool pool, CUstream stream) {
	struct hs_ctx *ctx;
	CUresult result = ptr && bytes && pool ? hs_current_ok(&ctx) : CUDA_ERROR_INVALID_VALUE;
	if (result != CUDA_SUCCESS)
		return result;
	if (hs_captured(stream, NULL, &result))
		return result == CUDA_SUCCESS ? CUDA_ERROR_NOT_SUPPORTED : result; /* no such nodes here */
	return on_host(&pool->props.location) ? hs_host_alloc((void **)ptr, bytes)
					      : hs_pool_alloc(ptr, bytes, pool, pool->props.location.id);
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *ptr, size_t bytes, CUmemoryPool pool, CUstream stream) {
	HS_CALL(alloc(ptr, bytes, pool, stream));
}

/* From the pool of the stream's device, whatever the current one is. */
static CUresult alloc_from_chosen(CUdeviceptr *ptr, size_t bytes, CUstream stream) {
	struct hs_ctx *ctx;
	CUmemoryPool pool;
	CUdevice dev;
	CUresult result = hs_current_ok(&ctx);
	if (result == CUDA_SUCCESS)
		result = hs_stream_device(stream, &dev);
	if (result == CUDA_SUCCESS)
		result = pool_of(&pool, dev, true);
	return result == CUDA_SUCCESS ? alloc(ptr, bytes, pool, stream) : result;
}

CUresult cuMemAllocAsync(CUdeviceptr *ptr, size_t bytes, CUstream stream) {
	HS_CALL(alloc_from_chosen(ptr, bytes, stream));
}

/* While a graph is captured only its own allocations are freed, of which there are none. */
static CUresult free_async(CUdeviceptr ptr, CUstream stream) {
	CUresult result;
	if (hs_captured(stream, NULL, &result))
		return result == CUDA_SUCCESS ? CUDA_ERROR_INVALID_VALUE : result;
	return hs_alloc_free(ptr);
}

CUresult cuMemFreeAsync(CUdeviceptr ptr, CUstream stream) {
	HS_CALL(free_async(ptr, stream));
}
