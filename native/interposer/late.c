/* Memory that the engine has freed and that the device may not be done with: in a stream's order, or while a graph was captured. It is
 * released as soon as that can be seen, at the engine's next call that allocates, frees, waits or asks how much is free. */
#include <stdatomic.h>

#include "interposer.h"

#define DISABLE_TIMING 2u

CUresult cuEventRecord_ptsz(CUevent event, CUstream stream);
CUresult cuStreamSynchronize_ptsz(CUstream stream);

static atomic_uint count;
static pthread_mutex_t releasing = PTHREAD_MUTEX_INITIALIZER; /* whoever asks for an event has it */

/* Recorded in the stream, or NULL. */
static CUevent event_in(CUstream stream, bool ptsz) {
	CUcontext before;
	CUevent event = NULL;
	if (REAL(cuCtxPushCurrent_v2)(hsi_stream_context(stream)) != CUDA_SUCCESS)
		return NULL;
	if (REAL(cuEventCreate)(&event, DISABLE_TIMING) != CUDA_SUCCESS)
		event = NULL;
	else if ((ptsz ? REAL(cuEventRecord_ptsz) : REAL(cuEventRecord))(event, stream) != CUDA_SUCCESS) {
		REAL(cuEventDestroy_v2)(event);
		event = NULL;
	}
	REAL(cuCtxPopCurrent_v2)(&before);
	return event;
}

static CUresult freed(CUdeviceptr ptr, CUevent after) {
	pthread_mutex_lock(&hsi_lock);
	struct hsi_mapping *found = hsi_mapping_at(ptr);
	bool ours = found && found->alloc && !found->freed && found->at == ptr;
	if (ours) {
		found->freed = true;
		found->after = after;
		atomic_fetch_add(&count, 1);
	}
	pthread_mutex_unlock(&hsi_lock);
	if (!ours && after)
		REAL(cuEventDestroy_v2)(after);
	return ours ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult hsi_free_late(CUdeviceptr ptr) {
	return freed(ptr, NULL);
}

CUresult hsi_free_in_order(CUdeviceptr ptr, CUstream stream, bool ptsz) {
	CUresult result = freed(ptr, event_in(stream, ptsz));
	hsi_alloc_late(false);
	return result;
}

void hsi_late_gone(struct hsi_mapping *mapping, bool context_lives) {
	if (!mapping->freed)
		return;
	atomic_fetch_sub(&count, 1);
	if (mapping->after && context_lives)
		REAL(cuEventDestroy_v2)(mapping->after);
}

/* The first at `from` or above. */
static bool find(uint64_t from, struct hsi_mapping *found) {
	pthread_mutex_lock(&hsi_lock);
	size_t i = 0;
	while (i < hsi_mapping_count && !(hsi_mappings[i].freed && hsi_mappings[i].at >= from))
		i++;
	bool any = i < hsi_mapping_count;
	if (any)
		*found = hsi_mappings[i];
	pthread_mutex_unlock(&hsi_lock);
	return any;
}

static bool done_with(const struct hsi_mapping *one, bool wait) {
	if (!one->after)
		return hsi_context_sync(one->context) == CUDA_SUCCESS;
	return (wait ? REAL(cuEventSynchronize) : REAL(cuEventQuery))(one->after) == CUDA_SUCCESS;
}

bool hsi_alloc_late(bool wait) {
	struct hsi_mapping one = {.at = 0};
	bool any = false;
	if (!atomic_load_explicit(&count, memory_order_relaxed) ||
	    (wait ? pthread_mutex_lock(&releasing) : pthread_mutex_trylock(&releasing)) != 0)
		return false;
	while (find(one.at, &one) && hsi_wait_begins()) {
		bool done = done_with(&one, wait);
		hsi_wait_ends();
		pthread_mutex_lock(&hsi_lock);
		struct hsi_mapping *found = done ? hsi_mapping_at(one.at) : NULL;
		if (found && found->freed && found->at == one.at && found->after == one.after)
			any = hsi_take_away(found, true) == CUDA_SUCCESS || any;
		pthread_mutex_unlock(&hsi_lock);
		one.at += one.bytes;
	}
	pthread_mutex_unlock(&releasing);
	return any;
}

void hsi_late_forked(void) {
	pthread_mutex_init(&releasing, NULL);
	atomic_store(&count, 0);
}

void hsi_alloc_idle(void) {
	for (size_t i = 0; i < hsi_mapping_count;)
		if (!hsi_mappings[i].freed || hsi_take_away(&hsi_mappings[i], true) != CUDA_SUCCESS)
			i++;
}

static CUresult after(CUresult result) {
	if (atomic_load_explicit(&count, memory_order_relaxed)) {
		hsi_enter();
		hsi_alloc_late(false);
		hsi_leave();
	}
	return result;
}

/* Who waits does so outside of the gate. */
CUresult cuStreamSynchronize(CUstream stream) {
	return after(REAL_OR_RETURN(cuStreamSynchronize)(stream));
}

HS_API CUresult cuStreamSynchronize_ptsz(CUstream stream) {
	return after(REAL_OR_RETURN(cuStreamSynchronize_ptsz)(stream));
}

CUresult cuCtxSynchronize(void) {
	return after(REAL_OR_RETURN(cuCtxSynchronize)());
}

CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
	after(CUDA_SUCCESS);
	return REAL_OR_RETURN(cuMemGetInfo_v2)(free_bytes, total);
}
