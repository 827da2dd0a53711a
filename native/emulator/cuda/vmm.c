/* Virtual memory management: reserve, create, map, set access, and back. */
#include <string.h>

#include "internal.h"

static CUresult reserve(CUdeviceptr *ptr, size_t bytes, size_t alignment, CUdeviceptr addr, unsigned long long flags) {
	if (!ptr || !bytes || bytes % HS_GRANULE || flags || (alignment & (alignment - 1)))
		return CUDA_ERROR_INVALID_VALUE;
	uint64_t at = 0;
	pthread_mutex_lock(&hs.lock);
	CUresult result = hs_arena_reserve(bytes, alignment, addr, &at);
	pthread_mutex_unlock(&hs.lock);
	if (result == CUDA_SUCCESS)
		*ptr = at;
	return result;
}

CUresult cuMemAddressReserve(CUdeviceptr *ptr, size_t bytes, size_t alignment, CUdeviceptr addr,
			     unsigned long long flags) {
	HS_PASS(reserve(ptr, bytes, alignment, addr, flags));
}

static bool nothing_mapped(uint64_t at, uint64_t bytes) {
	for (size_t i = 0; i < hs.range_count; i++)
		if (hs.ranges[i].at < at + bytes && at < hs.ranges[i].at + hs.ranges[i].bytes)
			return false;
	return true;
}

static CUresult address_free(CUdeviceptr ptr, size_t bytes) {
	pthread_mutex_lock(&hs.lock);
	bool done = nothing_mapped(ptr, bytes) && hs_arena_release(ptr, bytes);
	pthread_mutex_unlock(&hs.lock);
	return done ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemAddressFree(CUdeviceptr ptr, size_t bytes) {
	HS_PASS(address_free(ptr, bytes));
}

static CUresult check_prop(const CUmemAllocationProp *prop) {
	if (!prop || prop->type != CU_MEM_ALLOCATION_TYPE_PINNED ||
	    prop->location.type != CU_MEM_LOCATION_TYPE_DEVICE || prop->win32HandleMetaData)
		return CUDA_ERROR_INVALID_VALUE;
	if (prop->requestedHandleTypes & ~(unsigned)CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
		return CUDA_ERROR_NOT_SUPPORTED;
	return hs_ordinal_ok(prop->location.id) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

static CUresult create(CUmemGenericAllocationHandle *handle, size_t bytes, const CUmemAllocationProp *prop,
		       unsigned long long flags) {
	if (!handle || !bytes || bytes % HS_GRANULE || flags)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = check_prop(prop);
	if (result != CUDA_SUCCESS)
		return result;
	struct hs_mem *mem;
	pthread_mutex_lock(&hs.lock);
	result = hs_mem_create(prop->location.id, bytes, NULL, &mem);
	if (result == CUDA_SUCCESS) {
		mem->handles = 1;
		mem->exportable = prop->requestedHandleTypes != CU_MEM_HANDLE_TYPE_NONE;
		*handle = (CUmemGenericAllocationHandle)(uintptr_t)mem;
	}
	pthread_mutex_unlock(&hs.lock);
	return result;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes, const CUmemAllocationProp *prop,
		     unsigned long long flags) {
	HS_CALL(create(handle, bytes, prop, flags));
}

/* Calls `work` under the lock if the handle is one of ours and is still held. */
static CUresult with_handle(CUmemGenericAllocationHandle handle, CUresult (*work)(struct hs_mem *, void *), void *arg) {
	struct hs_mem *mem = (struct hs_mem *)(uintptr_t)handle;
	pthread_mutex_lock(&hs.lock);
	CUresult result = mem && hs_mem_valid(mem) && mem->handles > 0 ? work(mem, arg) : CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_unlock(&hs.lock);
	return result;
}

static CUresult release(struct hs_mem *mem, void *unused) {
	(void)unused;
	mem->handles--;
	hs_mem_drop(mem);
	return CUDA_SUCCESS;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
	HS_CALL(with_handle(handle, release, NULL));
}

static CUresult map(struct hs_mem *mem, void *arg) {
	struct hs_range range = *(struct hs_range *)arg;
	range.mem = mem;
	if (range.offset > mem->count * HS_GRANULE || range.bytes > mem->count * HS_GRANULE - range.offset)
		return CUDA_ERROR_INVALID_VALUE;
	if (!hs_arena_reserved(range.at, range.bytes) || !nothing_mapped(range.at, range.bytes))
		return CUDA_ERROR_INVALID_VALUE;
	struct hs_range *added = hs_range_add(range);
	if (!added)
		return CUDA_ERROR_OUT_OF_MEMORY;
	CUresult result = hs_range_show(added);
	if (result != CUDA_SUCCESS) {
		hs_range_hide(added);
		hs_range_remove(added);
		return result;
	}
	mem->maps++;
	return CUDA_SUCCESS;
}

CUresult cuMemMap(CUdeviceptr ptr, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
		  unsigned long long flags) {
	struct hs_range range = {.at = ptr, .bytes = bytes, .wanted = bytes, .offset = offset, .kind = HS_RANGE_VMM};
	bool ok = bytes && bytes % HS_GRANULE == 0 && offset % HS_GRANULE == 0 && ptr % HS_GRANULE == 0 && !flags;
	HS_CALL(ok ? with_handle(handle, map, &range) : CUDA_ERROR_INVALID_VALUE);
}

/* The range must consist of whole mappings, without gaps. */
static bool whole_mappings(uint64_t ptr, uint64_t bytes) {
	for (uint64_t at = ptr; at < ptr + bytes;) {
		const struct hs_range *range = hs_range_at(at);
		if (!range || range->kind != HS_RANGE_VMM || range->at != at || range->bytes > ptr + bytes - at)
			return false;
		at += range->bytes;
	}
	return bytes > 0;
}

static CUresult unmap(CUdeviceptr ptr, size_t bytes) {
	hs_wait_idle();
	pthread_mutex_lock(&hs.lock);
	bool empty = hs_arena_reserved(ptr, bytes) && nothing_mapped(ptr, bytes); /* which is no error */
	bool ok = empty || whole_mappings(ptr, bytes);
	for (uint64_t at = ptr; ok && !empty && at < ptr + bytes;) {
		struct hs_range *range = hs_range_at(at);
		struct hs_mem *mem = range->mem;
		at += range->bytes;
		hs_range_hide(range);
		hs_range_remove(range);
		mem->maps--;
		hs_mem_drop(mem);
	}
	pthread_mutex_unlock(&hs.lock);
	return ok ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemUnmap(CUdeviceptr ptr, size_t bytes) {
	HS_CALL(unmap(ptr, bytes));
}

static CUresult set_access(CUdeviceptr ptr, size_t bytes, const CUmemAccessDesc *desc, size_t count) {
	if (!desc || !count)
		return CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < count; i++)
		if (desc[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE || !hs_ordinal_ok(desc[i].location.id))
			return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&hs.lock);
	bool ok = whole_mappings(ptr, bytes);
	for (uint64_t at = ptr; ok && at < ptr + bytes;) {
		struct hs_range *range = hs_range_at(at);
		at += range->bytes;
		for (size_t i = 0; i < count; i++)
			if (desc[i].location.id == range->mem->ordinal)
				range->access = desc[i].flags;
			else
				range->others[desc[i].location.id] = (unsigned char)desc[i].flags;
	}
	pthread_mutex_unlock(&hs.lock);
	return ok ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemSetAccess(CUdeviceptr ptr, size_t bytes, const CUmemAccessDesc *desc, size_t count) {
	HS_CALL(set_access(ptr, bytes, desc, count));
}

static CUresult get_access(unsigned long long *flags, const CUmemLocation *location, CUdeviceptr ptr) {
	if (!flags || !location)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&hs.lock);
	const struct hs_range *range = hs_range_at(ptr);
	if (range)
		*flags = location->id == range->mem->ordinal ? range->access : range->others[location->id % HS_MAX_DEVICES];
	pthread_mutex_unlock(&hs.lock);
	return range ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemGetAccess(unsigned long long *flags, const CUmemLocation *location, CUdeviceptr ptr) {
	HS_PASS(get_access(flags, location, ptr));
}

static CUresult granularity(size_t *bytes, const CUmemAllocationProp *prop) {
	CUresult result = bytes ? check_prop(prop) : CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		*bytes = HS_GRANULE;
	return result;
}

CUresult cuMemGetAllocationGranularity(size_t *bytes, const CUmemAllocationProp *prop,
				       CUmemAllocationGranularity_flags option) {
	(void)option;
	HS_PASS(granularity(bytes, prop));
}

static CUresult properties(struct hs_mem *mem, void *out) {
	CUmemAllocationProp *prop = out;
	if (!prop)
		return CUDA_ERROR_INVALID_VALUE;
	memset(prop, 0, sizeof *prop);
	prop->type = CU_MEM_ALLOCATION_TYPE_PINNED;
	prop->location.type = CU_MEM_LOCATION_TYPE_DEVICE;
	prop->location.id = mem->ordinal;
	if (mem->exportable)
		prop->requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
	return CUDA_SUCCESS;
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *prop, CUmemGenericAllocationHandle handle) {
	HS_PASS(with_handle(handle, properties, prop));
}

static CUresult retain(CUmemGenericAllocationHandle *handle, void *addr) {
	if (!handle)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&hs.lock);
	struct hs_range *range = hs_range_at((uint64_t)addr);
	bool ok = range && range->kind == HS_RANGE_VMM;
	if (ok) {
		range->mem->handles++;
		*handle = (CUmemGenericAllocationHandle)(uintptr_t)range->mem;
	}
	pthread_mutex_unlock(&hs.lock);
	return ok ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *addr) {
	HS_CALL(retain(handle, addr));
}
