/* Export and import of memory by file descriptor.
 *
 * The descriptor is an open file description of the control file that holds a read lock on the share's byte and whose
 * offset says which share. Every holder has such a lock, so the kernel counts them, whoever dies. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

#define OFFSET_MARK ((int64_t)1 << 41)

/* Makes the memory a share: from now on its granules belong to whoever holds it. */
static CUresult become_share(struct hs_mem *mem) {
	struct hs_shared *shared = hs.node.shared;
	int chosen = -1;
	if (!hs_alloc_lock(&hs.node, true))
		return CUDA_ERROR_OPERATING_SYSTEM;
	for (int i = 0; i < HS_MAX_SHARES && chosen < 0; i++)
		if (!atomic_load(&shared->share[i].used) && hs_share_hold(mem, i) == 0)
			chosen = i;
	if (chosen >= 0) {
		struct hs_share *share = &shared->share[chosen];
		share->device = (uint32_t)hs_device_of(mem->ordinal);
		share->granules = mem->count;
		atomic_store(&share->holder, (uint32_t)hs.node.own_slot + 1);
		atomic_store(&share->used, 1);
		hs_granules_set_owner(&hs.node, (int)share->device, mem->ids, mem->count, HS_OWNER_SHARE(chosen));
	}
	hs_alloc_unlock(&hs.node);
	return chosen >= 0 ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult export_locked(int *fd, struct hs_mem *mem) {
	if (!mem || !hs_mem_valid(mem) || mem->handles <= 0 || !mem->exportable || mem->imported)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = mem->share < 0 ? become_share(mem) : CUDA_SUCCESS;
	if (result != CUDA_SUCCESS)
		return result;
	int out = hs_node_reopen_control(&hs.node);
	if (out < 0)
		return CUDA_ERROR_OPERATING_SYSTEM;
	if (hs_lock_byte(out, HS_BYTE_SHARE(mem->share), F_RDLCK, false) != 0 ||
	    lseek(out, OFFSET_MARK + mem->share, SEEK_SET) < 0) {
		close(out);
		return CUDA_ERROR_OPERATING_SYSTEM;
	}
	*fd = out;
	return CUDA_SUCCESS;
}

static CUresult export_memory(int *fd, CUmemGenericAllocationHandle handle, CUmemAllocationHandleType type,
			      unsigned long long flags) {
	if (!fd || flags || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&hs.lock);
	CUresult result = export_locked(fd, (struct hs_mem *)(uintptr_t)handle);
	pthread_mutex_unlock(&hs.lock);
	return result;
}

CUresult cuMemExportToShareableHandle(void *os_handle, CUmemGenericAllocationHandle handle,
				      CUmemAllocationHandleType type, unsigned long long flags) {
	HS_CALL(export_memory(os_handle, handle, type, flags));
}

/* The share that a descriptor stands for, or -1. */
static int share_of(int fd) {
	struct stat theirs, ours;
	if (fstat(fd, &theirs) != 0 || fstat(hs.node.control, &ours) != 0 || theirs.st_dev != ours.st_dev ||
	    theirs.st_ino != ours.st_ino)
		return -1;
	int64_t share = lseek(fd, 0, SEEK_CUR) - OFFSET_MARK;
	if (share < 0 || share >= HS_MAX_SHARES || !atomic_load(&hs.node.shared->share[share].used))
		return -1;
	return (int)share;
}

static int ordinal_of(int device) {
	for (int i = 0; i < hs.count; i++)
		if (hs_device_of(i) == device)
			return i;
	return -1;
}

static CUresult import_locked(CUmemGenericAllocationHandle *handle, int fd) {
	int share = share_of(fd);
	if (share < 0)
		return CUDA_ERROR_INVALID_VALUE;
	const struct hs_share *record = &hs.node.shared->share[share];
	int ordinal = ordinal_of((int)record->device);
	if (ordinal < 0)
		return CUDA_ERROR_INVALID_DEVICE;
	struct hs_mem *mem = calloc(1, sizeof *mem);
	uint32_t *ids = calloc(record->granules, sizeof *ids);
	if (!mem || !ids || hs_share_hold(mem, share) != 0) {
		free(mem);
		free(ids);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	mem->ids = ids;
	mem->count = hs_granules_of(&hs.node, (int)record->device, HS_OWNER_SHARE(share), ids, record->granules);
	mem->ordinal = ordinal;
	mem->handles = 1;
	mem->imported = mem->exportable = true;
	mem->next = hs.mems;
	hs.mems = mem;
	*handle = (CUmemGenericAllocationHandle)(uintptr_t)mem;
	return CUDA_SUCCESS;
}

static CUresult import_memory(CUmemGenericAllocationHandle *handle, void *os_handle, CUmemAllocationHandleType type) {
	if (!handle || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&hs.lock);
	CUresult result = import_locked(handle, (int)(intptr_t)os_handle);
	pthread_mutex_unlock(&hs.lock);
	return result;
}

CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *os_handle,
					CUmemAllocationHandleType type) {
	HS_CALL(import_memory(handle, os_handle, type));
}

/* The older way by a handle of 64 bytes is not offered, as in a container without a shared IPC namespace. */
CUresult cuIpcGetMemHandle(CUipcMemHandle *handle, CUdeviceptr ptr) {
	(void)handle, (void)ptr;
	HS_CALL(CUDA_ERROR_NOT_SUPPORTED);
}

CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *ptr, CUipcMemHandle handle, unsigned int flags) {
	(void)ptr, (void)handle, (void)flags;
	HS_CALL(CUDA_ERROR_NOT_SUPPORTED);
}

CUresult cuIpcCloseMemHandle(CUdeviceptr ptr) {
	(void)ptr;
	HS_CALL(CUDA_ERROR_INVALID_VALUE);
}
