/* The engine's own use of virtual memory (PyTorch's expandable segments, llama.cpp's pool, vLLM's allocator).
 *
 * A handle that it creates is a name of ours for memory in pieces, so that the pieces can move while the name stays.
 * Memory that is to be shared with other processes, or comes from them, stays with the driver. */
#include <string.h>

#include "interposer.h"

CUresult cuMemMapArrayAsync(void *list, unsigned int count, CUstream stream);
CUresult cuMemMapArrayAsync_ptsz(void *list, unsigned int count, CUstream stream);

static bool movable(const CUmemAllocationProp *prop, size_t bytes, unsigned long long flags) {
	if (!prop || flags || !bytes || bytes % HS_STORE_GRANULE || prop->type != CU_MEM_ALLOCATION_TYPE_PINNED ||
	    prop->location.type != CU_MEM_LOCATION_TYPE_DEVICE || prop->allocFlags.compressionType || prop->allocFlags.usage)
		return false;
	/* PyTorch asks for descriptors in case it should share a segment: one piece can be, and stays here from then on. */
	return prop->requestedHandleTypes == CU_MEM_HANDLE_TYPE_NONE ||
	       (prop->requestedHandleTypes == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR && bytes <= HS_STORE_BLOCK_MAX);
}

static CUresult create(CUmemGenericAllocationHandle *handle, size_t bytes, const CUmemAllocationProp *prop,
		       unsigned long long flags) {
	if (!handle || !hsi_active() || !movable(prop, bytes, flags))
		return REAL(cuMemCreate)(handle, bytes, prop, flags);
	struct hsi_memory *memory;
	pthread_mutex_lock(&hsi_lock);
	CUresult result = hsi_memory_create(&memory, bytes, prop);
	if (result == CUDA_SUCCESS) {
		memory->handles = 1;
		*handle = (CUmemGenericAllocationHandle)(uintptr_t)memory;
	}
	pthread_mutex_unlock(&hsi_lock);
	return result;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes, const CUmemAllocationProp *prop,
		     unsigned long long flags) {
	GATED(create(handle, bytes, prop, flags));
}

static CUresult release(CUmemGenericAllocationHandle handle) {
	pthread_mutex_lock(&hsi_lock);
	struct hsi_memory *memory = hsi_memory_of(handle);
	CUresult result = CUDA_SUCCESS;
	if (memory) {
		memory->handles--;
		hsi_memory_drop(memory);
	} else {
		result = REAL(cuMemRelease)(handle);
		if (result == CUDA_SUCCESS)
			hsi_import_refer(handle, -1);
	}
	pthread_mutex_unlock(&hsi_lock);
	return result;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
	GATED(release(handle));
}

static CUresult map(CUdeviceptr ptr, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
		    unsigned long long flags) {
	pthread_mutex_lock(&hsi_lock);
	struct hsi_memory *memory = hsi_memory_of(handle);
	struct hsi_mapping mapping = {.at = ptr, .bytes = bytes, .wanted = bytes, .memory = memory};
	CUresult result;
	if (!memory) {
		result = REAL(cuMemMap)(ptr, bytes, offset, handle, flags);
		if (result == CUDA_SUCCESS && hsi_import_known(handle)) {
			mapping.import = handle;
			if (hsi_mapping_add(mapping))
				hsi_import_refer(handle, 1);
		}
	} else if (offset || flags || !bytes || bytes > memory->bytes || bytes % HS_STORE_GRANULE) {
		result = CUDA_ERROR_INVALID_VALUE;
	} else {
		result = hsi_map(&mapping);
		if (result == CUDA_SUCCESS && hsi_mapping_add(mapping)) {
			memory->maps++;
		} else if (result == CUDA_SUCCESS) {
			hsi_unmap(&mapping);
			result = CUDA_ERROR_OUT_OF_MEMORY;
		}
	}
	pthread_mutex_unlock(&hsi_lock);
	return result;
}

CUresult cuMemMap(CUdeviceptr ptr, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
		  unsigned long long flags) {
	GATED(map(ptr, bytes, offset, handle, flags));
}

/* May span several mappings, each of them whole. */
static CUresult unmap(CUdeviceptr ptr, size_t bytes) {
	pthread_mutex_lock(&hsi_lock);
	CUresult result = REAL(cuMemUnmap)(ptr, bytes);
	struct hsi_mapping *mapping;
	for (uint64_t at = ptr; result == CUDA_SUCCESS && at < ptr + bytes;) {
		mapping = hsi_mapping_at(at);
		if (!mapping) { /* the driver's own */
			at += HS_STORE_GRANULE;
			continue;
		}
		struct hsi_mapping gone = *mapping;
		at = gone.at + gone.bytes;
		hsi_mapping_remove(mapping);
		if (gone.memory) {
			gone.memory->maps--;
			hsi_memory_drop(gone.memory);
		} else {
			hsi_import_refer(gone.import, -1);
		}
	}
	pthread_mutex_unlock(&hsi_lock);
	return result;
}

CUresult cuMemUnmap(CUdeviceptr ptr, size_t bytes) {
	GATED(unmap(ptr, bytes));
}

void hsi_remember_access(struct hsi_mapping *mapping, const CUmemAccessDesc *desc) {
	for (unsigned i = 0; i < mapping->access_count; i++)
		if (mapping->access[i].location.id == desc->location.id &&
		    mapping->access[i].location.type == desc->location.type) {
			mapping->access[i] = *desc;
			return;
		}
	if (mapping->access_count < HSI_ACCESS_MAX)
		mapping->access[mapping->access_count++] = *desc;
}

static CUresult set_access(CUdeviceptr ptr, size_t bytes, const CUmemAccessDesc *desc, size_t count) {
	pthread_mutex_lock(&hsi_lock);
	CUresult result = REAL(cuMemSetAccess)(ptr, bytes, desc, count);
	for (size_t i = 0; result == CUDA_SUCCESS && i < hsi_mapping_count; i++) {
		struct hsi_mapping *mapping = &hsi_mappings[i];
		if (mapping->at >= ptr && mapping->at < ptr + bytes)
			for (size_t k = 0; k < count; k++)
				hsi_remember_access(mapping, &desc[k]);
	}
	pthread_mutex_unlock(&hsi_lock);
	return result;
}

CUresult cuMemSetAccess(CUdeviceptr ptr, size_t bytes, const CUmemAccessDesc *desc, size_t count) {
	GATED(set_access(ptr, bytes, desc, count));
}

static CUresult retain(CUmemGenericAllocationHandle *handle, void *addr) {
	pthread_mutex_lock(&hsi_lock);
	struct hsi_mapping *mapping = handle ? hsi_mapping_at((uint64_t)(uintptr_t)addr) : NULL;
	CUresult result = CUDA_SUCCESS;
	if (mapping && mapping->memory && !mapping->freed) {
		mapping->memory->handles++;
		*handle = (CUmemGenericAllocationHandle)(uintptr_t)mapping->memory;
	} else {
		result = REAL(cuMemRetainAllocationHandle)(handle, addr);
		if (result == CUDA_SUCCESS)
			hsi_import_refer(*handle, 1);
	}
	pthread_mutex_unlock(&hsi_lock);
	return result;
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *addr) {
	GATED(retain(handle, addr));
}

static CUresult properties(CUmemAllocationProp *prop, CUmemGenericAllocationHandle handle) {
	pthread_mutex_lock(&hsi_lock);
	struct hsi_memory *memory = prop ? hsi_memory_of(handle) : NULL;
	CUresult result = CUDA_SUCCESS;
	if (memory) {
		*prop = memory->prop;
		prop->requestedHandleTypes = memory->asked;
	} else {
		result = REAL(cuMemGetAllocationPropertiesFromHandle)(prop, handle);
	}
	pthread_mutex_unlock(&hsi_lock);
	return result;
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *prop, CUmemGenericAllocationHandle handle) {
	GATED(properties(prop, handle));
}

static CUresult export(void *os_handle, CUmemGenericAllocationHandle handle, CUmemAllocationHandleType type,
		       unsigned long long flags) {
	pthread_mutex_lock(&hsi_lock);
	struct hsi_memory *memory = hsi_memory_of(handle);
	CUresult result = CUDA_ERROR_INVALID_VALUE; /* made without a handle type, it is refused by the driver too */
	if (!memory) {
		result = REAL(cuMemExportToShareableHandle)(os_handle, handle, type, flags);
	} else if (memory->piece[0].lent) {
		hsi_say("memory that has been swapped once cannot be shared with another process (CUDA cannot export it again)", NULL);
		result = CUDA_ERROR_NOT_SUPPORTED;
	} else if (memory->asked != CU_MEM_HANDLE_TYPE_NONE) {
		result = REAL(cuMemExportToShareableHandle)(os_handle, memory->piece[0].real, type, flags);
		memory->shared = memory->shared || result == CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&hsi_lock);
	return result;
}

CUresult cuMemExportToShareableHandle(void *os_handle, CUmemGenericAllocationHandle handle,
				      CUmemAllocationHandleType type, unsigned long long flags) {
	GATED(export(os_handle, handle, type, flags));
}

static CUresult import(CUmemGenericAllocationHandle *handle, void *os_handle, CUmemAllocationHandleType type) {
	pthread_mutex_lock(&hsi_lock);
	CUresult result = REAL(cuMemImportFromShareableHandle)(handle, os_handle, type);
	if (result == CUDA_SUCCESS)
		hsi_import_add(*handle);
	pthread_mutex_unlock(&hsi_lock);
	return result;
}

CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *os_handle,
					CUmemAllocationHandleType type) {
	GATED(import(handle, os_handle, type));
}

/* Sparse arrays over memory in pieces: not of use to engines, so they are told that there are none. */
HS_API CUresult cuMemMapArrayAsync(void *list, unsigned int count, CUstream stream) {
	if (hsi_active())
		return CUDA_ERROR_NOT_SUPPORTED;
	return REAL_OR_RETURN(cuMemMapArrayAsync)(list, count, stream);
}

HS_API CUresult cuMemMapArrayAsync_ptsz(void *list, unsigned int count, CUstream stream) {
	if (hsi_active())
		return CUDA_ERROR_NOT_SUPPORTED;
	return REAL_OR_RETURN(cuMemMapArrayAsync_ptsz)(list, count, stream);
}
