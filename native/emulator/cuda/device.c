/* Devices and what can be asked about them. */
#include <stdio.h>
#include <string.h>

#include "internal.h"

bool hs_ordinal_ok(int ordinal) {
	return ordinal >= 0 && ordinal < hs.count;
}

int hs_device_of(int ordinal) {
	return hs.visible[ordinal];
}

static const struct hs_device *shared_device(int ordinal) {
	return &hs.node.shared->device[hs_device_of(ordinal)];
}

static CUresult get(CUdevice *device, int ordinal) {
	if (!device)
		return CUDA_ERROR_INVALID_VALUE;
	if (!hs_ordinal_ok(ordinal))
		return CUDA_ERROR_INVALID_DEVICE;
	*device = ordinal;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
	HS_PASS(get(device, ordinal));
}

static CUresult get_count(int *count) {
	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	*count = hs.count;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count) {
	HS_PASS(get_count(count));
}

static CUresult get_name(char *name, int len, CUdevice dev) {
	if (!name || len <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	if (!hs_ordinal_ok(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	snprintf(name, (size_t)len, "%s", shared_device(dev)->name);
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int len, CUdevice dev) {
	HS_PASS(get_name(name, len, dev));
}

static CUresult get_uuid(CUuuid *uuid, CUdevice dev) {
	if (!uuid)
		return CUDA_ERROR_INVALID_VALUE;
	if (!hs_ordinal_ok(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	memcpy(uuid->bytes, shared_device(dev)->uuid, sizeof uuid->bytes);
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice dev) {
	HS_PASS(get_uuid(uuid, dev));
}

CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice dev) {
	HS_PASS(get_uuid(uuid, dev));
}

static CUresult total_mem(size_t *bytes, CUdevice dev) {
	if (!bytes)
		return CUDA_ERROR_INVALID_VALUE;
	if (!hs_ordinal_ok(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	*bytes = shared_device(dev)->bytes;
	return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev) {
	HS_PASS(total_mem(bytes, dev));
}

/* An H200's answers, so that callers which choose by capability take the same way. What is not listed is 0. */
static const struct {
	CUdevice_attribute name;
	int value;
} attributes[] = {
	{CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024},
	{CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, 1024},
	{CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, 1024},
	{CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, 64},
	{CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, 2147483647},
	{CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 65535},
	{CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, 65535},
	{CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 49152},
	{CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY, 65536},
	{CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32},
	{CU_DEVICE_ATTRIBUTE_MAX_PITCH, 2147483647},
	{CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, 65536},
	{CU_DEVICE_ATTRIBUTE_CLOCK_RATE, 1980000},
	{CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT, 512},
	{CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 132},
	{CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY, 1},
	{CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS, 1},
	{CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, 2048},
	{CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, 3},
	{CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1},
	{CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 9},
	{CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0},
	{CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED, 1},
	{CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY, 1},
	{CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS, 1},
	{CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED, 1},
	{CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 1},
	{CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED, 1},
};

static CUresult get_attribute(int *value, CUdevice_attribute attribute, CUdevice dev) {
	if (!value || attribute <= 0 || attribute > 200)
		return CUDA_ERROR_INVALID_VALUE;
	if (!hs_ordinal_ok(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	*value = attribute == CU_DEVICE_ATTRIBUTE_PCI_BUS_ID ? hs_device_of(dev) + 1 : 0;
	for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
		if (attributes[i].name == attribute)
			*value = attributes[i].value;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice dev) {
	HS_PASS(get_attribute(value, attribute, dev));
}

static CUresult get_pci(char *text, int len, CUdevice dev) {
	if (!text || len <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	if (!hs_ordinal_ok(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	snprintf(text, (size_t)len, "0000:%02x:00.0", hs_device_of(dev) + 1);
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char *text, int len, CUdevice dev) {
	HS_PASS(get_pci(text, len, dev));
}

static CUresult capability(int *major, int *minor, CUdevice dev) {
	CUresult result = get_attribute(major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, dev);
	return result ? result : get_attribute(minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, dev);
}

CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice dev) {
	HS_PASS(capability(major, minor, dev));
}

static CUresult can_access_peer(int *can, CUdevice dev, CUdevice peer) {
	if (!can)
		return CUDA_ERROR_INVALID_VALUE;
	if (!hs_ordinal_ok(dev) || !hs_ordinal_ok(peer))
		return CUDA_ERROR_INVALID_DEVICE;
	*can = dev != peer;
	return CUDA_SUCCESS;
}

CUresult cuDeviceCanAccessPeer(int *can, CUdevice dev, CUdevice peer) {
	HS_PASS(can_access_peer(can, dev, peer));
}
