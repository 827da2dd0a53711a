/* The emulated libnvidia-ml: what each device of the node says about itself. Takes no lock that could block. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "nvml_internal.h"

static struct hs_node node;
static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER;
static int references;

struct hs_node *hs_nvml_node(void) {
	return references > 0 ? &node : NULL;
}

nvmlReturn_t hs_nvml_device(nvmlDevice_t handle, int *device) {
	if (references <= 0)
		return NVML_ERROR_UNINITIALIZED;
	uintptr_t value = (uintptr_t)handle;
	if (value < 1 || value > node.shared->device_count)
		return NVML_ERROR_INVALID_ARGUMENT;
	*device = (int)value - 1;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
	(void)flags;
	pthread_mutex_lock(&init_lock);
	nvmlReturn_t result = NVML_SUCCESS;
	if (references == 0 && hs_node_open(&node) != 0)
		result = NVML_ERROR_DRIVER_NOT_LOADED;
	else
		references++;
	pthread_mutex_unlock(&init_lock);
	return result;
}

nvmlReturn_t nvmlInit_v2(void) {
	return nvmlInitWithFlags(0);
}

nvmlReturn_t nvmlInit(void) {
	return nvmlInitWithFlags(0);
}

nvmlReturn_t nvmlShutdown(void) {
	pthread_mutex_lock(&init_lock);
	nvmlReturn_t result = references > 0 ? NVML_SUCCESS : NVML_ERROR_UNINITIALIZED;
	if (references > 0 && --references == 0)
		hs_node_close(&node);
	pthread_mutex_unlock(&init_lock);
	return result;
}

const char *nvmlErrorString(nvmlReturn_t result) {
	switch (result) {
	case NVML_SUCCESS:
		return "Success";
	case NVML_ERROR_UNINITIALIZED:
		return "Uninitialized";
	case NVML_ERROR_INVALID_ARGUMENT:
		return "Invalid Argument";
	case NVML_ERROR_NOT_SUPPORTED:
		return "Not Supported";
	case NVML_ERROR_NO_PERMISSION:
		return "Insufficient Permissions";
	case NVML_ERROR_NOT_FOUND:
		return "Not Found";
	case NVML_ERROR_INSUFFICIENT_SIZE:
		return "Insufficient Size";
	case NVML_ERROR_DRIVER_NOT_LOADED:
		return "Driver Not Loaded";
	case NVML_ERROR_FUNCTION_NOT_FOUND:
		return "Function Not Found";
	case NVML_ERROR_ARGUMENT_VERSION_MISMATCH:
		return "Argument version mismatch";
	default:
		return "Unknown Error";
	}
}

static nvmlReturn_t text_out(char *out, unsigned int length, const char *text) {
	if (references <= 0)
		return NVML_ERROR_UNINITIALIZED;
	if (!out)
		return NVML_ERROR_INVALID_ARGUMENT;
	if (strlen(text) >= length)
		return NVML_ERROR_INSUFFICIENT_SIZE;
	strcpy(out, text);
	return NVML_SUCCESS;
}

static bool newer(void) {
	const struct hs_node *here = hs_nvml_node();
	return here && here->shared->flags & HS_CUSTOM_STORAGE;
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length) {
	return text_out(version, length, newer() ? "615.0-emulated" : "580.0-emulated");
}

nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned int length) {
	return text_out(version, length, newer() ? "13.615.0-emulated" : "13.580.0-emulated");
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) {
	if (!version)
		return NVML_ERROR_INVALID_ARGUMENT;
	*version = newer() ? 13040 : 13000;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) {
	return nvmlSystemGetCudaDriverVersion_v2(version);
}

nvmlReturn_t nvmlSystemGetProcessName(unsigned int pid, char *name, unsigned int length) {
	char path[64], text[256] = "";
	snprintf(path, sizeof path, "/proc/%u/comm", pid);
	FILE *file = fopen(path, "re");
	if (!file)
		return NVML_ERROR_NOT_FOUND;
	if (fgets(text, sizeof text, file))
		text[strcspn(text, "\n")] = 0;
	fclose(file);
	return text_out(name, length, text);
}

/* Devices whose file this process cannot see do not exist for it; the others are numbered on. */
static int nth_present(unsigned int index) {
	for (uint32_t d = 0; d < node.shared->device_count; d++)
		if (node.device[d] >= 0 && index-- == 0)
			return (int)d;
	return -1;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) {
	if (references <= 0)
		return NVML_ERROR_UNINITIALIZED;
	if (!count)
		return NVML_ERROR_INVALID_ARGUMENT;
	for (*count = 0; nth_present(*count) >= 0;)
		++*count;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCount(unsigned int *count) {
	return nvmlDeviceGetCount_v2(count);
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *handle) {
	if (references <= 0)
		return NVML_ERROR_UNINITIALIZED;
	int device = handle ? nth_present(index) : -1;
	if (device < 0)
		return NVML_ERROR_INVALID_ARGUMENT;
	*handle = (nvmlDevice_t)(uintptr_t)(device + 1);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned int index, nvmlDevice_t *handle) {
	return nvmlDeviceGetHandleByIndex_v2(index, handle);
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t handle, char *uuid, unsigned int length) {
	int device;
	nvmlReturn_t result = hs_nvml_device(handle, &device);
	if (result != NVML_SUCCESS)
		return result;
	char text[48] = "GPU-";
	for (int i = 0, at = 4; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			text[at++] = '-';
		at += snprintf(text + at, sizeof text - (size_t)at, "%02x", node.shared->device[device].uuid[i]);
	}
	return text_out(uuid, length, text);
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *handle) {
	char text[48];
	if (references <= 0)
		return NVML_ERROR_UNINITIALIZED;
	if (!uuid || !handle)
		return NVML_ERROR_INVALID_ARGUMENT;
	for (unsigned int i = 0; nvmlDeviceGetHandleByIndex_v2(i, handle) == NVML_SUCCESS; i++)
		if (nvmlDeviceGetUUID(*handle, text, sizeof text) == NVML_SUCCESS && strcmp(text, uuid) == 0)
			return NVML_SUCCESS;
	return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t handle, char *name, unsigned int length) {
	int device;
	nvmlReturn_t result = hs_nvml_device(handle, &device);
	return result ? result : text_out(name, length, node.shared->device[device].name);
}

nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t handle, unsigned int *minor) {
	int device;
	nvmlReturn_t result = minor ? hs_nvml_device(handle, &device) : NVML_ERROR_INVALID_ARGUMENT;
	if (result == NVML_SUCCESS)
		*minor = (unsigned int)device;
	return result;
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t handle, unsigned int *index) {
	int device;
	nvmlReturn_t result = index ? hs_nvml_device(handle, &device) : NVML_ERROR_INVALID_ARGUMENT;
	if (result == NVML_SUCCESS)
		for (*index = 0; nth_present(*index) != device;)
			++*index;
	return result;
}
