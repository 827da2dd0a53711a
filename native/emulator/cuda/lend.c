/* The process's side of custom storage (CUDA 13.4): it lends its memory to the caller of the checkpoint, who copies and
 * then completes. Runs on the restore thread while every other thread may be stopped: no malloc, no lock.
 *
 * What NVIDIA's documentation says of it is done as it says; what it leaves open is told in docs/emulated-driver.md. */
#include <string.h>
#include <unistd.h>

#include "internal.h"

static uint32_t state(void) {
	return atomic_load(&hs.slot->state);
}

static void become(uint32_t next) {
	atomic_store(&hs.slot->state, next);
}

/* Whether the caller retains the primary contexts of all devices that this process uses. */
static bool reachable(uint32_t devices, const int visible[HS_MAX_DEVICES]) {
	for (const struct hs_ctx *ctx = hs.contexts; ctx; ctx = ctx->next)
		if (!(devices & 1u << visible[ctx->ordinal]))
			return false;
	for (const struct hs_mem *mem = hs.mems; mem; mem = mem->next)
		if (!(devices & 1u << visible[mem->ordinal]))
			return false;
	return true;
}

static _Atomic uint64_t *places(int device) {
	return (_Atomic uint64_t *)((char *)hs.node.shared + hs.node.shared->device[device].places);
}

static void forget_places(void) {
	for (int ordinal = 0; ordinal < hs.count; ordinal++) {
		int device = hs_device_of(ordinal);
		for (uint32_t g = 0; g < hs.node.shared->device[device].granules; g++)
			if (atomic_load(&places(device)[g]) >> 32 == (uint64_t)hs.node.own_slot + 1)
				atomic_store(&places(device)[g], 0);
		hs.slot->lent[device] = 0;
	}
}

/* Numbers the granules of each device, the oldest memory first; the list has the newest first. */
static void lend(void) {
	uint32_t left[HS_MAX_DEVICES] = {0};
	forget_places();
	for (const struct hs_mem *mem = hs.mems; mem; mem = mem->next) {
		int device = hs_device_of(mem->ordinal);
		if (mem->imported)
			continue;
		if (!left[device] && mem->wanted) /* the last of it: the range ends with what was asked for */
			hs.slot->lent[device] = (mem->wanted + HS_UNIT - 1) / HS_UNIT * HS_UNIT - mem->count * HS_GRANULE;
		left[device] += mem->count;
	}
	for (int device = 0; device < HS_MAX_DEVICES; device++)
		hs.slot->lent[device] += left[device] * HS_GRANULE;
	for (const struct hs_mem *mem = hs.mems; mem; mem = mem->next) {
		int device = hs_device_of(mem->ordinal);
		if (mem->imported)
			continue;
		left[device] -= mem->count;
		for (uint32_t i = 0; i < mem->count; i++)
			atomic_store(&places(device)[mem->ids[i]], HS_PLACE(hs.node.own_slot, left[device] + i));
	}
}

int hs_do_lend_out(uint32_t devices) {
	if (state() != CU_PROCESS_STATE_LOCKED)
		return CUDA_ERROR_ILLEGAL_STATE;
	if (atomic_load(&hs.slot->flags) & HS_SLOT_MANAGED)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!reachable(devices, hs.visible))
		return CUDA_ERROR_INVALID_CONTEXT;
	hs_wait_for_ranks(CU_PROCESS_STATE_RUNNING);
	hs_die_if_told("checkpoint");
	for (size_t i = 0; i < hs.range_count; i++)
		hs_range_hide(&hs.ranges[i]);
	lend();
	become(CU_PROCESS_STATE_CHECKPOINTING);
	return CUDA_SUCCESS;
}

/* What is not written comes back as rubbish: also zeros are the caller's to bring. */
static bool litter(void) {
	static char rubbish[1 << 16];
	memset(rubbish, 0xa5, sizeof rubbish);
	for (const struct hs_mem *mem = hs.mems; mem; mem = mem->next)
		for (uint32_t i = 0; i < mem->count && !mem->imported; i++)
			for (uint64_t at = 0; at < HS_GRANULE; at += sizeof rubbish)
				if (pwrite(hs.node.device[hs_device_of(mem->ordinal)], rubbish, sizeof rubbish,
					   (off_t)(mem->ids[i] * HS_GRANULE + at)) != (ssize_t)sizeof rubbish)
					return false;
	return true;
}

static bool any_lost(void) {
	for (const struct hs_mem *mem = hs.mems; mem; mem = mem->next)
		if (mem->lost)
			return true;
	return false;
}

int hs_do_lend_in(uint32_t devices, const struct hs_pair *pairs, uint32_t count) {
	if (state() != CU_PROCESS_STATE_CHECKPOINTED)
		return CUDA_ERROR_ILLEGAL_STATE;
	if (atomic_load(&hs.slot->flags) & HS_SLOT_LOST)
		return CUDA_ERROR_OPERATING_SYSTEM;
	if (!hs.elsewhere)
		return CUDA_ERROR_INVALID_VALUE; /* assumed: its memory is in the process itself */
	int visible[HS_MAX_DEVICES];
	CUresult result = hs_remap(pairs, count, visible);
	if (result != CUDA_SUCCESS)
		return result;
	if (!reachable(devices, visible))
		return CUDA_ERROR_INVALID_CONTEXT;
	if (any_lost())
		return hs_lose(CUDA_ERROR_NOT_SUPPORTED);
	hs_die_if_told("restore");
	memcpy(hs.visible, visible, sizeof visible);
	if (hs_fault_take(&hs.node, HS_FAULT_OOM_RESTORE, "restore", NULL) || (!hs.kept && !hs_take_all()))
		return hs_lose(CUDA_ERROR_OUT_OF_MEMORY);
	if (!litter())
		return hs_lose(CUDA_ERROR_OPERATING_SYSTEM);
	hs.kept = false;
	lend();
	become(CU_PROCESS_STATE_RESTORING);
	return CUDA_SUCCESS;
}

static int come_back(void) {
	char *first = hs.range_count ? (char *)(hs.ranges[0].at + hs.delta) : NULL;
	for (size_t i = 0; i < hs.range_count; i++)
		if (hs_range_show(&hs.ranges[i]) != CUDA_SUCCESS)
			return hs_lose(CUDA_ERROR_OPERATING_SYSTEM);
	if (first && hs_fault_take(&hs.node, HS_FAULT_CORRUPT, "restore", NULL))
		first[0] ^= 1;
	hs.elsewhere = false;
	become(CU_PROCESS_STATE_LOCKED);
	return CUDA_SUCCESS;
}

int hs_do_complete(void) {
	if (state() != CU_PROCESS_STATE_CHECKPOINTING && state() != CU_PROCESS_STATE_RESTORING)
		return CUDA_ERROR_ILLEGAL_STATE;
	hs_die_if_told("complete");
	forget_places();
	if (state() == CU_PROCESS_STATE_RESTORING)
		return come_back();
	hs.kept = hs_fault_take(&hs.node, HS_FAULT_KEEP_MEMORY, "checkpoint", NULL);
	if (!hs.kept)
		hs_give_all();
	hs.elsewhere = true;
	become(CU_PROCESS_STATE_CHECKPOINTED);
	return CUDA_SUCCESS;
}
