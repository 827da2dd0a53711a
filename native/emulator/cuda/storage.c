/* The caller's side of custom storage (CUDA 13.4): another process's memory mapped here, one range a device, from the
 * checkpoint or restore until the operation is completed. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "internal.h"

struct CUcheckpointOperation_st {
	struct CUcheckpointOperation_st *next;
	int slot;
	int hold; /* on its granules: they outlive a process that dies meanwhile */
	int32_t pid;
	uint64_t start; /* whom it is done to: a slot may be another process's by the time that it is completed */
	CUcheckpointCustomStorageInfo info;
	CUcheckpointCustomStoragePerDeviceData data[HS_MAX_DEVICES];
};

static struct CUcheckpointOperation_st *operations; /* under hs.lock */

/* As whoever reads another process's memory must be. */
static bool may_trace(int pid) {
	char path[32];
	snprintf(path, sizeof path, "/proc/%d/mem", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static uint32_t retained(void) {
	uint32_t devices = 0;
	pthread_mutex_lock(&hs.lock);
	for (int ordinal = 0; ordinal < hs.count; ordinal++)
		if (hs.primary[ordinal])
			devices |= 1u << hs_device_of(ordinal);
	pthread_mutex_unlock(&hs.lock);
	return devices;
}

/* The granules that a process lends of a device, in their order. */
static uint32_t *lent_granules(int slot, int device, uint32_t count) {
	const struct hs_device *d = &hs.node.shared->device[device];
	const _Atomic uint64_t *places = (const _Atomic uint64_t *)((const char *)hs.node.shared + d->places);
	uint32_t *ids = calloc(count, sizeof *ids);
	for (uint32_t g = 0; ids && g < d->granules; g++) {
		uint64_t place = atomic_load(&places[g]);
		if (place >> 32 == (uint64_t)slot + 1 && (uint32_t)place - 1 < count)
			ids[(uint32_t)place - 1] = g;
	}
	return ids;
}

static CUresult map(int slot, int ordinal, uint64_t bytes, CUcheckpointCustomStoragePerDeviceData *data) {
	uint32_t count = (uint32_t)(hs_round_up(bytes) / HS_GRANULE);
	uint64_t at;
	struct hs_mem *mem = calloc(1, sizeof *mem);
	uint32_t *ids = lent_granules(slot, hs_device_of(ordinal), count);
	if (!mem || !ids || hs_arena_reserve(count * HS_GRANULE, HS_GRANULE, 0, &at) != CUDA_SUCCESS) {
		free(mem);
		free(ids);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	*mem = (struct hs_mem){.next = hs.mems, .ordinal = ordinal, .count = count, .ids = ids, .maps = 1,
			       .imported = true, .borrowed = true, .share = -1, .share_fd = -1};
	hs.mems = mem;
	struct hs_range *range = hs_range_add((struct hs_range){.at = at, .bytes = count * HS_GRANULE, .wanted = bytes,
								.mem = mem, .kind = HS_RANGE_BORROWED,
								.access = CU_MEM_ACCESS_FLAGS_PROT_READWRITE});
	*data = (CUcheckpointCustomStoragePerDeviceData){at, bytes, hs_stream_make(hs.primary[ordinal])};
	return range && data->stream ? hs_range_show(range) : CUDA_ERROR_OUT_OF_MEMORY;
}

static void unmap(struct CUcheckpointOperation_st *operation) {
	for (unsigned int i = 0; i < operation->info.deviceCount; i++) {
		struct hs_range *range = hs_range_at(operation->data[i].devPtr);
		if (range) {
			struct hs_mem *mem = range->mem;
			hs_range_hide(range);
			hs_arena_release(range->at, range->bytes);
			hs_range_remove(range);
			mem->maps--;
			hs_mem_drop(mem);
		}
		if (operation->data[i].stream)
			hs_stream_end(operation->data[i].stream);
	}
}

static CUresult map_all(struct CUcheckpointOperation_st *operation) {
	const struct hs_slot *slot = &hs.node.shared->slot[operation->slot];
	CUresult result = CUDA_SUCCESS;
	pthread_mutex_lock(&hs.lock);
	for (int ordinal = 0; ordinal < hs.count && result == CUDA_SUCCESS; ordinal++) {
		uint64_t bytes = slot->lent[hs_device_of(ordinal)];
		if (bytes)
			result = map(operation->slot, ordinal, bytes, &operation->data[operation->info.deviceCount++]);
	}
	if (result == CUDA_SUCCESS) {
		operation->next = operations;
		operations = operation;
	} else {
		unmap(operation); /* and the process is where it is: nothing leads back */
	}
	pthread_mutex_unlock(&hs.lock);
	return result;
}

static void end(struct CUcheckpointOperation_st *operation) {
	if (operation->hold >= 0)
		close(operation->hold);
	free(operation);
}

static CUresult begin(int pid, const char *function, struct hs_request request, CUcheckpointCustomStorageInfo **out) {
	int slot;
	CUresult result = hs_find(pid, &slot);
	if (result != CUDA_SUCCESS)
		return result;
	if (slot == hs.node.own_slot)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!may_trace(pid))
		return CUDA_ERROR_OPERATING_SYSTEM;
	struct CUcheckpointOperation_st *operation = calloc(1, sizeof *operation);
	if (!operation)
		return CUDA_ERROR_OUT_OF_MEMORY;
	const struct hs_slot *theirs = &hs.node.shared->slot[slot];
	*operation = (struct CUcheckpointOperation_st){
		.slot = slot, .hold = hs_node_reopen_control(&hs.node), .pid = theirs->pid, .start = theirs->start};
	request.devices = retained();
	result = operation->hold >= 0 && hs_lock_byte(operation->hold, HS_BYTE_LENT(slot), F_RDLCK, true) == 0
			 ? hs_call(pid, function, request)
			 : CUDA_ERROR_OPERATING_SYSTEM;
	if (result == CUDA_SUCCESS)
		result = map_all(operation);
	if (result != CUDA_SUCCESS) {
		end(operation);
		return result;
	}
	operation->info.handle = operation;
	operation->info.perDeviceData = operation->data;
	*out = &operation->info;
	return CUDA_SUCCESS;
}

CUresult hs_borrow(int pid, const char *function, struct hs_request request, CUcheckpointCustomStorageInfo **out) {
	if (!hs_has_custom_storage())
		return CUDA_ERROR_INVALID_VALUE; /* to a driver before 13.4 these bytes are reserved */
	if (atomic_load(&hs.state) != HS_READY)
		return CUDA_ERROR_NOT_INITIALIZED;
	return begin(pid, function, request, out);
}

static bool take(struct CUcheckpointOperation_st *operation) {
	pthread_mutex_lock(&hs.lock);
	struct CUcheckpointOperation_st **at = &operations;
	while (*at && *at != operation)
		at = &(*at)->next;
	bool found = operation && *at;
	if (found) {
		*at = operation->next;
		unmap(operation);
	}
	pthread_mutex_unlock(&hs.lock);
	return found;
}

/* The operation ends here whatever the process says: its handle is good for one call. */
static CUresult complete(CUcheckpointOperationHandle handle) {
	if (!hs_has_custom_storage())
		return CUDA_ERROR_NOT_SUPPORTED;
	hs_wait_idle();
	if (!take(handle))
		return CUDA_ERROR_INVALID_VALUE;
	const struct hs_slot *slot = &hs.node.shared->slot[handle->slot];
	struct hs_request request = {.op = HS_OP_COMPLETE};
	static const CUcheckpointGpuPair none[1];
	request.pairs = none;
	bool there = hs_slot_alive(&hs.node, handle->slot) && slot->pid == handle->pid && slot->start == handle->start;
	CUresult result = there ? hs_post(handle->slot, &request) : CUDA_ERROR_OPERATING_SYSTEM;
	end(handle);
	return result;
}

CUresult cuCheckpointOperationComplete(CUcheckpointOperationHandle handle) {
	HS_CALL(complete(handle));
}
