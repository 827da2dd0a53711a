/* Devices that reach each other's memory. The driver's peer access is for cuMemAlloc's own memory and says nothing of mappable
 * memory, so what stands for the former is given the same access, and has it again each time that it is mapped. */
#include "interposer.h"

#define DEVICES 64

static uint64_t reach[DEVICES]; /* by the device whose memory it is: a bit a device that reaches it */

static bool known(CUdevice device) {
	return device >= 0 && device < DEVICES;
}

static CUmemAccessDesc access_from(CUdevice device, CUmemAccess_flags flags) {
	return (CUmemAccessDesc){.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device}, .flags = flags};
}

void hsi_peers_add(struct hsi_mapping *mapping, CUdevice owner) {
	for (CUdevice from = 0; known(owner) && from < DEVICES; from++)
		if (reach[owner] >> from & 1 && mapping->access_count < HSI_ACCESS_MAX)
			mapping->access[mapping->access_count++] = access_from(from, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
}

/* Under hsi_lock. */
static CUresult let_reach(CUdevice owner, CUdevice from, bool may) {
	CUmemAccessDesc desc = access_from(from, may ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : CU_MEM_ACCESS_FLAGS_PROT_NONE);
	CUresult result = CUDA_SUCCESS;
	if (!known(owner) || !known(from) || owner == from)
		return result;
	for (size_t i = 0; i < hsi_mapping_count && result == CUDA_SUCCESS; i++) {
		struct hsi_mapping *mapping = &hsi_mappings[i];
		if (!mapping->alloc || mapping->memory->prop.location.id != owner)
			continue;
		result = REAL(cuMemSetAccess)(mapping->at, mapping->bytes, &desc, 1);
		if (result == CUDA_SUCCESS)
			hsi_remember_access(mapping, &desc);
	}
	if (result == CUDA_SUCCESS)
		reach[owner] = may ? reach[owner] | 1ull << from : reach[owner] & ~(1ull << from);
	return result;
}

static CUresult device_of(CUcontext context, CUdevice *device) {
	CUcontext before;
	CUresult result = REAL(cuCtxPushCurrent_v2)(context);
	if (result == CUDA_SUCCESS) {
		result = REAL(cuCtxGetDevice)(device);
		REAL(cuCtxPopCurrent_v2)(&before);
	}
	return result;
}

static CUresult peer_access(CUcontext peer, bool may) {
	CUdevice owner, from;
	CUresult result = device_of(peer, &owner);
	if (result == CUDA_SUCCESS)
		result = REAL(cuCtxGetDevice)(&from);
	if (result != CUDA_SUCCESS)
		return result;
	pthread_mutex_lock(&hsi_lock);
	result = let_reach(owner, from, may);
	pthread_mutex_unlock(&hsi_lock);
	return result;
}

static CUresult enable(CUcontext peer, unsigned int flags) {
	CUresult result = REAL_OR_RETURN(cuCtxEnablePeerAccess)(peer, flags);
	if (result == CUDA_SUCCESS && hsi_active() && (result = peer_access(peer, true)) != CUDA_SUCCESS)
		REAL(cuCtxDisablePeerAccess)(peer);
	return result;
}

CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned int flags) {
	GATED(enable(peer, flags));
}

static CUresult disable(CUcontext peer) {
	CUresult result = REAL_OR_RETURN(cuCtxDisablePeerAccess)(peer);
	return result == CUDA_SUCCESS && hsi_active() ? peer_access(peer, false) : result;
}

CUresult cuCtxDisablePeerAccess(CUcontext peer) {
	GATED(disable(peer));
}

/* Stream-ordered memory is its pool's, and reached as that says. Ours is in no pool: who may reach one of a device may reach what stands
 * for all of its pools. Nothing is taken back. */
static CUresult pool_access(CUmemoryPool pool, const CUmemAccessDesc *desc, size_t count) {
	CUdevice owner;
	CUresult result = REAL_OR_RETURN(cuMemPoolSetAccess)(pool, desc, count);
	if (result != CUDA_SUCCESS || !hsi_active() || !hsi_pool_plain(pool, &owner))
		return result;
	pthread_mutex_lock(&hsi_lock);
	for (size_t i = 0; i < count; i++)
		if (desc[i].location.type == CU_MEM_LOCATION_TYPE_DEVICE && desc[i].flags != CU_MEM_ACCESS_FLAGS_PROT_NONE)
			let_reach(owner, desc[i].location.id, true);
	pthread_mutex_unlock(&hsi_lock);
	return result;
}

HS_API CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *desc, size_t count) {
	GATED(pool_access(pool, desc, count));
}

void hsi_peers_forked(void) {
	for (int i = 0; i < DEVICES; i++)
		reach[i] = 0;
}
