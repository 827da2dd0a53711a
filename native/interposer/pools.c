/* Memory pools. What is allocated in a stream's order from a plain pool of a device is ours; what has a pool that can be shared, lies on the
 * host, is limited in size, or is not known, is the driver's. */
#include <stdlib.h>

#include "interposer.h"

CUresult cuStreamGetCtx(CUstream stream, CUcontext *context);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct pool {
	struct pool *next;
	CUmemoryPool pool;
	CUdevice device;
} *pools; /* plain ones that the engine has made */

static bool plain(const CUmemPoolProps *props) {
	return props->allocType == CU_MEM_ALLOCATION_TYPE_PINNED && props->handleTypes == CU_MEM_HANDLE_TYPE_NONE &&
	       props->location.type == CU_MEM_LOCATION_TYPE_DEVICE && !props->maxSize && !props->usage;
}

static CUresult create(CUmemoryPool *pool, const CUmemPoolProps *props) {
	CUresult result = REAL_OR_RETURN(cuMemPoolCreate)(pool, props);
	struct pool *one = result == CUDA_SUCCESS && plain(props) ? malloc(sizeof *one) : NULL;
	if (one) {
		pthread_mutex_lock(&lock);
		*one = (struct pool){pools, *pool, props->location.id};
		pools = one;
		pthread_mutex_unlock(&lock);
	}
	return result;
}

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *props) {
	GATED(create(pool, props));
}

static CUresult destroy(CUmemoryPool pool) {
	__typeof__(&cuMemPoolDestroy) real = REAL_OR_RETURN(cuMemPoolDestroy);
	pthread_mutex_lock(&lock);
	for (struct pool **at = &pools; *at; at = &(*at)->next)
		if ((*at)->pool == pool) {
			struct pool *one = *at;
			*at = one->next;
			free(one);
			break;
		}
	pthread_mutex_unlock(&lock);
	return real(pool);
}

CUresult cuMemPoolDestroy(CUmemoryPool pool) {
	GATED(destroy(pool));
}

bool hsi_pool_plain(CUmemoryPool pool, CUdevice *device) {
	int devices = 0;
	CUmemoryPool standard;
	pthread_mutex_lock(&lock);
	struct pool *one = pools;
	while (one && one->pool != pool)
		one = one->next;
	if (one)
		*device = one->device;
	pthread_mutex_unlock(&lock);
	if (one)
		return true;
	if (!REAL(cuDeviceGetDefaultMemPool) || REAL(cuDeviceGetCount)(&devices) != CUDA_SUCCESS)
		return false;
	for (*device = 0; *device < devices; ++*device)
		if (REAL(cuDeviceGetDefaultMemPool)(&standard, *device) == CUDA_SUCCESS && standard == pool)
			return true;
	return false;
}

CUcontext hsi_stream_context(CUstream stream) {
	CUcontext context = NULL;
	if (!stream || !REAL(cuStreamGetCtx) || REAL(cuStreamGetCtx)(stream, &context) != CUDA_SUCCESS)
		REAL(cuCtxGetCurrent)(&context);
	return context;
}

/* The pool that its device has now. */
bool hsi_stream_pool(CUstream stream, CUmemoryPool *pool) {
	CUcontext before, context = hsi_stream_context(stream);
	CUdevice device;
	if (!REAL(cuDeviceGetMemPool) || REAL(cuCtxPushCurrent_v2)(context) != CUDA_SUCCESS)
		return false;
	CUresult result = REAL(cuCtxGetDevice)(&device);
	REAL(cuCtxPopCurrent_v2)(&before);
	return result == CUDA_SUCCESS && REAL(cuDeviceGetMemPool)(pool, device) == CUDA_SUCCESS;
}

void hsi_pools_forked(void) {
	pthread_mutex_init(&lock, NULL);
	pools = NULL;
}
