/* NVML's answers that never change on an emulated device. */
#include <stdio.h>
#include <string.h>

#include "nvml_internal.h"

static nvmlReturn_t zero(nvmlDevice_t handle, unsigned int *first, unsigned int *second) {
	int device;
	if (!first || !second)
		return NVML_ERROR_INVALID_ARGUMENT;
	*first = *second = 0;
	return hs_nvml_device(handle, &device);
}

/* There are no cores to be busy. */
nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t handle, nvmlUtilization_t *utilization) {
	return utilization ? zero(handle, &utilization->gpu, &utilization->memory) : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t handle, unsigned int *current, unsigned int *pending) {
	return zero(handle, current, pending);
}

nvmlReturn_t nvmlDeviceGetComputeMode(nvmlDevice_t handle, unsigned int *mode) {
	return zero(handle, mode, mode);
}

nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t handle, unsigned int *mode) {
	nvmlReturn_t result = zero(handle, mode, mode);
	if (result == NVML_SUCCESS)
		*mode = 1;
	return result;
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t handle, int *major, int *minor) {
	int device;
	nvmlReturn_t result = major && minor ? hs_nvml_device(handle, &device) : NVML_ERROR_INVALID_ARGUMENT;
	if (result == NVML_SUCCESS) {
		*major = 9;
		*minor = 0;
	}
	return result;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t handle, nvmlPciInfo_t *pci) {
	int device;
	nvmlReturn_t result = pci ? hs_nvml_device(handle, &device) : NVML_ERROR_INVALID_ARGUMENT;
	if (result != NVML_SUCCESS)
		return result;
	memset(pci, 0, sizeof *pci);
	pci->bus = (unsigned int)device + 1;
	snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "0000:%02x:00.0", pci->bus & 0xff);
	snprintf(pci->busId, sizeof pci->busId, "00000000:%02X:00.0", pci->bus & 0xff);
	return NVML_SUCCESS;
}
