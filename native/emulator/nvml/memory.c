/* NVML's memory and process lists: who holds how much of a device, with pids as the caller sees them. */
#include <stdlib.h>
#include <string.h>

#include "nvml_internal.h"

/* The emulator's processes that died still have their pages: a query is one of the two moments that give them back. */
static nvmlReturn_t read_usage(nvmlDevice_t handle, int *device, struct hs_usage *usage) {
	nvmlReturn_t result = hs_nvml_device(handle, device);
	if (result != NVML_SUCCESS)
		return result;
	hs_reclaim(hs_nvml_node(), false);
	hs_usage_read(hs_nvml_node(), *device, usage);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t handle, nvmlMemory_t *memory) {
	struct hs_usage usage;
	int device;
	nvmlReturn_t result = memory ? read_usage(handle, &device, &usage) : NVML_ERROR_INVALID_ARGUMENT;
	if (result != NVML_SUCCESS)
		return result;
	memory->total = hs_nvml_node()->shared->device[device].bytes;
	memory->used = usage.used;
	memory->free = memory->total - memory->used;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t handle, nvmlMemory_v2_t *memory) {
	nvmlMemory_t plain;
	if (!memory)
		return NVML_ERROR_INVALID_ARGUMENT;
	if (memory->version != nvmlMemory_v2)
		return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
	nvmlReturn_t result = nvmlDeviceGetMemoryInfo(handle, &plain);
	if (result != NVML_SUCCESS)
		return result;
	memory->total = plain.total;
	memory->used = plain.used;
	memory->free = plain.free;
	memory->reserved = 0;
	return NVML_SUCCESS;
}

/* A process whose pid this caller cannot see (another pid namespace) is left out. */
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t handle, unsigned int *count,
						     nvmlProcessInfo_v2_t *infos) {
	struct hs_usage usage;
	int device;
	nvmlReturn_t result = count ? read_usage(handle, &device, &usage) : NVML_ERROR_INVALID_ARGUMENT;
	if (result != NVML_SUCCESS)
		return result;
	unsigned int found = 0, room = infos ? *count : 0;
	for (int slot = 0; slot < HS_MAX_SLOTS; slot++) {
		int pid = usage.slot[slot] ? hs_slot_pid(hs_nvml_node(), slot) : -1;
		if (pid < 0)
			continue;
		if (found < room)
			infos[found] = (nvmlProcessInfo_v2_t){(unsigned int)pid, usage.slot[slot] * HS_GRANULE, 0xffffffff,
							      0xffffffff};
		found++;
	}
	*count = found;
	return found > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t handle, unsigned int *count,
						     nvmlProcessInfo_v2_t *infos) {
	return nvmlDeviceGetComputeRunningProcesses_v3(handle, count, infos);
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses(nvmlDevice_t handle, unsigned int *count,
						  nvmlProcessInfo_v1_t *infos) {
	nvmlProcessInfo_v2_t full[HS_MAX_SLOTS];
	unsigned int found = HS_MAX_SLOTS;
	nvmlReturn_t result = count ? nvmlDeviceGetComputeRunningProcesses_v3(handle, &found, full)
				    : NVML_ERROR_INVALID_ARGUMENT;
	if (result != NVML_SUCCESS)
		return result;
	unsigned int room = infos ? *count : 0;
	for (unsigned int i = 0; i < found && i < room; i++)
		infos[i] = (nvmlProcessInfo_v1_t){full[i].pid, full[i].usedGpuMemory};
	*count = found;
	return found > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

static nvmlReturn_t nobody(nvmlDevice_t handle, unsigned int *count) {
	int device;
	if (!count)
		return NVML_ERROR_INVALID_ARGUMENT;
	*count = 0;
	return hs_nvml_device(handle, &device);
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses(nvmlDevice_t handle, unsigned int *count,
						   nvmlProcessInfo_v1_t *infos) {
	(void)infos;
	return nobody(handle, count);
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v2(nvmlDevice_t handle, unsigned int *count,
						      nvmlProcessInfo_v2_t *infos) {
	(void)infos;
	return nobody(handle, count);
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t handle, unsigned int *count,
						      nvmlProcessInfo_v2_t *infos) {
	(void)infos;
	return nobody(handle, count);
}
