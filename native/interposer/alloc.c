/* cuMemAlloc and its kin. From 2 MiB up: addresses of our own over memory that can move; below: the driver's. */
#include <stddef.h>
#include <string.h>

#include "interposer.h"

#define PITCH 512u /* bytes to which the driver aligns rows */

CUresult cuStreamIsCapturing_ptsz(CUstream stream, CUstreamCaptureStatus *status);
CUresult cuMemAllocAsync_ptsz(CUdeviceptr *ptr, size_t bytes, CUstream stream);
CUresult cuMemFreeAsync_ptsz(CUdeviceptr ptr, CUstream stream);
CUresult cuMemAllocFromPoolAsync_ptsz(CUdeviceptr *ptr, size_t bytes, CUmemoryPool pool, CUstream stream);
CUresult cuMemAllocPitch_v2(CUdeviceptr *ptr, size_t *pitch, size_t width, size_t height, unsigned int element);
CUresult cuPointerGetAttributes(unsigned int count, CUpointer_attribute *attributes, void **data, CUdeviceptr ptr);

static CUresult map_new(CUdeviceptr *ptr, size_t wanted, CUdevice device, CUcontext context) {
	CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
				    .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device}};
	struct hsi_mapping mapping = {.bytes = hsi_round(wanted), .wanted = wanted, .alloc = true, .context = context, .access_count = 1};
	mapping.access[0] = (CUmemAccessDesc){.location = prop.location, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
	hsi_peers_add(&mapping, device);
	CUdeviceptr at = 0;
	CUresult result = hsi_memory_create(&mapping.memory, mapping.bytes, &prop);
	if (result != CUDA_SUCCESS)
		return result;
	result = REAL(cuMemAddressReserve)(&at, mapping.bytes, HS_STORE_GRANULE, 0, 0);
	mapping.at = at;
	if (result == CUDA_SUCCESS)
		result = hsi_map(&mapping);
	if (result == CUDA_SUCCESS) {
		mapping.memory->maps = 1;
		if (hsi_mapping_add(mapping)) {
			*ptr = at;
			return CUDA_SUCCESS;
		}
		hsi_unmap(&mapping);
		mapping.memory->maps = 0;
		result = CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (at)
		REAL(cuMemAddressFree)(at, mapping.bytes);
	hsi_memory_drop(mapping.memory);
	return result;
}

/* In the current context; or for another, `in`, and `on` any device. NOT_SUPPORTED: this one is the driver's. */
static CUresult allocate(CUdeviceptr *ptr, size_t bytes, CUcontext in, const CUdevice *on) {
	CUdevice device;
	CUcontext context;
	if (!ptr || bytes < HS_STORE_GRANULE || !hsi_active())
		return CUDA_ERROR_NOT_SUPPORTED;
	CUresult result = REAL(cuCtxGetDevice)(&device);
	if (result == CUDA_SUCCESS)
		result = REAL(cuCtxGetCurrent)(&context);
	if (result != CUDA_SUCCESS)
		return result;
	if (on) {
		device = *on;
		context = in;
	}
	if (!hsi_fits(device, bytes))
		return CUDA_ERROR_OUT_OF_MEMORY;
	hsi_agent_start(device); /* a context that was made before we were asked for */
	if (!hsi_active())
		return CUDA_ERROR_NOT_SUPPORTED;
	hsi_alloc_late(false);
	do {
		pthread_mutex_lock(&hsi_lock);
		result = map_new(ptr, bytes, device, context);
		pthread_mutex_unlock(&hsi_lock);
	} while (result == CUDA_ERROR_OUT_OF_MEMORY && hsi_alloc_late(true));
	return result;
}

/* `context`: in which it was allocated, if that is asked. */
static bool is_ours(CUdeviceptr ptr, CUcontext *context) {
	pthread_mutex_lock(&hsi_lock);
	struct hsi_mapping *mapping = hsi_mapping_at(ptr);
	bool ours = mapping && mapping->alloc && !mapping->freed && mapping->at == ptr;
	if (ours && context)
		*context = mapping->context;
	pthread_mutex_unlock(&hsi_lock);
	return ours;
}

CUresult hsi_take_away(struct hsi_mapping *found, bool context_lives) {
	struct hsi_mapping mapping = *found;
	CUresult result = hsi_unmap(&mapping);
	if (result == CUDA_SUCCESS) {
		hsi_late_gone(&mapping, context_lives);
		hsi_mapping_remove(found);
		REAL(cuMemAddressFree)(mapping.at, mapping.bytes);
		mapping.memory->maps--;
		hsi_memory_drop(mapping.memory);
	}
	return result;
}

static CUresult release(CUdeviceptr ptr) {
	pthread_mutex_lock(&hsi_lock);
	struct hsi_mapping *found = hsi_mapping_at(ptr);
	/* If not: freed by another thread meanwhile. */
	CUresult result = found && found->alloc && !found->freed && found->at == ptr ? hsi_take_away(found, true) : CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_unlock(&hsi_lock);
	return result;
}

void hsi_alloc_ended(CUcontext context) {
	pthread_mutex_lock(&hsi_lock);
	for (size_t i = 0; i < hsi_mapping_count;)
		if (!hsi_mappings[i].alloc || hsi_mappings[i].context != context ||
		    hsi_take_away(&hsi_mappings[i], false) != CUDA_SUCCESS)
			i++;
	pthread_mutex_unlock(&hsi_lock);
}

static CUresult alloc(CUdeviceptr *ptr, size_t bytes) {
	CUresult result = allocate(ptr, bytes, NULL, NULL);
	return result == CUDA_ERROR_NOT_SUPPORTED ? REAL(cuMemAlloc_v2)(ptr, bytes) : result;
}

CUresult cuMemAlloc_v2(CUdeviceptr *ptr, size_t bytes) {
	GATED(alloc(ptr, bytes));
}

/* As the driver's, it waits for what the device still does with the memory. */
static CUresult free_now(CUdeviceptr ptr) {
	CUcontext context;
	if (!is_ours(ptr, &context))
		return REAL(cuMemFree_v2)(ptr);
	if (!hsi_wait_begins())
		return hsi_free_late(ptr);
	CUresult result = hsi_context_sync(context);
	hsi_wait_ends();
	return result == CUDA_SUCCESS ? release(ptr) : result;
}

CUresult cuMemFree_v2(CUdeviceptr ptr) {
	GATED(free_now(ptr));
}

static CUresult pitched(CUdeviceptr *ptr, size_t *pitch, size_t width, size_t height, unsigned int element) {
	size_t row = (width + PITCH - 1) / PITCH * PITCH;
	bool sane = pitch && width && height && row >= width && height <= SIZE_MAX / row;
	CUresult result = sane ? allocate(ptr, row * height, NULL, NULL) : CUDA_ERROR_NOT_SUPPORTED;
	if (result == CUDA_ERROR_NOT_SUPPORTED)
		return REAL_OR_RETURN(cuMemAllocPitch_v2)(ptr, pitch, width, height, element);
	if (result == CUDA_SUCCESS)
		*pitch = row;
	return result;
}

HS_API CUresult cuMemAllocPitch_v2(CUdeviceptr *ptr, size_t *pitch, size_t width, size_t height, unsigned int element) {
	GATED(pitched(ptr, pitch, width, height, element));
}

/* Stream-ordered: memory that is there at once is there for the stream. While a graph is captured the call is a node of
 * it, and the graph's memory is the driver's. */
static bool captures(CUstream stream, bool thread_default) {
	CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
	__typeof__(&cuStreamIsCapturing) ask = thread_default ? REAL(cuStreamIsCapturing_ptsz) : REAL(cuStreamIsCapturing);
	return ask && (ask(stream, &status) != CUDA_SUCCESS || status != CU_STREAM_CAPTURE_STATUS_NONE);
}

/* NOT_SUPPORTED: this one is the driver's. */
static CUresult allocate_in(CUdeviceptr *ptr, size_t bytes, CUmemoryPool pool, CUstream stream) {
	CUdevice device;
	if (bytes < HS_STORE_GRANULE || !hsi_active() || !(pool || hsi_stream_pool(stream, &pool)) || !hsi_pool_plain(pool, &device))
		return CUDA_ERROR_NOT_SUPPORTED;
	return allocate(ptr, bytes, hsi_stream_context(stream), &device);
}

#define ORDERED_ALLOC(name, declared, given, pool, ptsz)                                          \
	static CUresult name##_ours declared {                                                    \
		CUresult result = CUDA_ERROR_NOT_SUPPORTED;                                       \
		if (bytes >= HS_STORE_GRANULE && !captures(stream, ptsz))                         \
			result = allocate_in(ptr, bytes, pool, stream);                           \
		return result == CUDA_ERROR_NOT_SUPPORTED ? REAL_OR_RETURN(name) given : result; \
	}                                                                                         \
	HS_API CUresult name declared {                                                           \
		GATED(name##_ours given);                                                         \
	}
ORDERED_ALLOC(cuMemAllocAsync, (CUdeviceptr * ptr, size_t bytes, CUstream stream), (ptr, bytes, stream), NULL, false)
ORDERED_ALLOC(cuMemAllocAsync_ptsz, (CUdeviceptr * ptr, size_t bytes, CUstream stream), (ptr, bytes, stream), NULL, true)
ORDERED_ALLOC(cuMemAllocFromPoolAsync, (CUdeviceptr * ptr, size_t bytes, CUmemoryPool pool, CUstream stream),
	      (ptr, bytes, pool, stream), pool, false)
ORDERED_ALLOC(cuMemAllocFromPoolAsync_ptsz, (CUdeviceptr * ptr, size_t bytes, CUmemoryPool pool, CUstream stream),
	      (ptr, bytes, pool, stream), pool, true)

/* A graph frees only what it has allocated. */
#define ORDERED_FREE(name, ptsz)                                                                    \
	static CUresult name##_ours(CUdeviceptr ptr, CUstream stream) {                             \
		if (!is_ours(ptr, NULL))                                                            \
			return REAL_OR_RETURN(name)(ptr, stream);                                   \
		return captures(stream, ptsz) ? CUDA_ERROR_INVALID_VALUE : hsi_free_in_order(ptr, stream, ptsz); \
	}                                                                                           \
	HS_API CUresult name(CUdeviceptr ptr, CUstream stream) {                                    \
		GATED(name##_ours(ptr, stream));                                                    \
	}
ORDERED_FREE(cuMemFreeAsync, false)
ORDERED_FREE(cuMemFreeAsync_ptsz, true)

/* The driver would tell of one piece. */
static bool range_of(CUdeviceptr ptr, CUdeviceptr *base, size_t *bytes) {
	pthread_mutex_lock(&hsi_lock);
	struct hsi_mapping *mapping = hsi_mapping_at(ptr);
	bool found = mapping && mapping->memory && !mapping->freed;
	if (found) {
		*base = mapping->at;
		*bytes = mapping->alloc ? mapping->wanted : mapping->bytes;
	}
	pthread_mutex_unlock(&hsi_lock);
	return found;
}

static CUresult address_range(CUdeviceptr *base, size_t *bytes, CUdeviceptr ptr) {
	CUdeviceptr found;
	size_t length;
	if (!range_of(ptr, &found, &length))
		return REAL(cuMemGetAddressRange_v2)(base, bytes, ptr);
	if (base)
		*base = found;
	if (bytes)
		*bytes = length;
	return CUDA_SUCCESS;
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *bytes, CUdeviceptr ptr) {
	GATED(address_range(base, bytes, ptr));
}

static void correct(CUpointer_attribute attribute, void *data, CUdeviceptr ptr) {
	CUdeviceptr base;
	size_t bytes;
	if (attribute == CU_POINTER_ATTRIBUTE_RANGE_START_ADDR && range_of(ptr, &base, &bytes))
		*(CUdeviceptr *)data = base;
	if (attribute == CU_POINTER_ATTRIBUTE_RANGE_SIZE && range_of(ptr, &base, &bytes))
		*(size_t *)data = bytes;
}

static CUresult attribute_of(void *data, CUpointer_attribute attribute, CUdeviceptr ptr) {
	CUresult result = REAL(cuPointerGetAttribute)(data, attribute, ptr);
	if (result == CUDA_SUCCESS)
		correct(attribute, data, ptr);
	return result;
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr) {
	GATED(attribute_of(data, attribute, ptr));
}

static CUresult attributes_of(unsigned int count, CUpointer_attribute *attributes, void **data, CUdeviceptr ptr) {
	CUresult result = REAL_OR_RETURN(cuPointerGetAttributes)(count, attributes, data, ptr);
	for (unsigned int i = 0; result == CUDA_SUCCESS && i < count; i++)
		correct(attributes[i], data[i], ptr);
	return result;
}

HS_API CUresult cuPointerGetAttributes(unsigned int count, CUpointer_attribute *attributes, void **data, CUdeviceptr ptr) {
	GATED(attributes_of(count, attributes, data, ptr));
}
