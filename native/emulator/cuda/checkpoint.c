/* The four transitions of the checkpoint state machine, inside the process they are done to. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

static uint32_t state(void) {
	return atomic_load(&hs.slot->state);
}

static void become(uint32_t next) {
	atomic_store(&hs.slot->state, next);
}

static bool flagged(uint32_t flag) {
	return (atomic_load(&hs.slot->flags) & flag) != 0;
}

int hs_do_lock(uint32_t timeout_ms) {
	if (state() != CU_PROCESS_STATE_RUNNING)
		return CUDA_ERROR_ILLEGAL_STATE;
	if (hs_fault_take(&hs.node, HS_FAULT_LOCK_TIMEOUT, "lock", NULL)) {
		hs_sleep_ns(timeout_ms ? timeout_ms * 1000000ull : ~0ull >> 1);
		return CUDA_ERROR_NOT_READY;
	}
	hs_ask_handler();
	if (!hs_gate_close(timeout_ms * 1000000ull))
		return CUDA_ERROR_NOT_READY;
	become(CU_PROCESS_STATE_LOCKED);
	return CUDA_SUCCESS;
}

/* Waits while another living member of our communicator is in `state_to_wait_out`: ranks taken one at a time hang. */
void hs_wait_for_ranks(uint32_t state_to_wait_out) {
	uint64_t id = atomic_load(&hs.slot->comm_id);
	for (bool waiting = id != 0; waiting; hs_sleep_ns(waiting ? 2000000 : 0)) {
		waiting = false;
		for (int i = 0; i < HS_MAX_SLOTS && !waiting; i++) {
			const struct hs_slot *slot = &hs.node.shared->slot[i];
			waiting = atomic_load(&slot->used) && atomic_load(&slot->comm_id) == id &&
				  atomic_load(&slot->state) == state_to_wait_out && i != hs.node.own_slot &&
				  hs_slot_alive(&hs.node, i);
		}
	}
}

int hs_do_checkpoint(void) {
	if (state() != CU_PROCESS_STATE_LOCKED)
		return CUDA_ERROR_ILLEGAL_STATE;
	if (flagged(HS_SLOT_MANAGED))
		return CUDA_ERROR_NOT_SUPPORTED;
	hs_wait_for_ranks(CU_PROCESS_STATE_RUNNING);
	if (hs_fault_take(&hs.node, HS_FAULT_KEEP_MEMORY, "checkpoint", NULL)) {
		hs.kept = true;
		become(CU_PROCESS_STATE_CHECKPOINTED);
		return CUDA_SUCCESS;
	}
	CUresult result = hs_save_all();
	if (result == CUDA_SUCCESS)
		become(CU_PROCESS_STATE_CHECKPOINTED);
	return result;
}

/* The device each ordinal is to use from now on. Every device that is used must be in the list, if there is one. */
CUresult hs_remap(const struct hs_pair *pairs, uint32_t count, int visible[HS_MAX_DEVICES]) {
	const struct hs_shared *shared = hs.node.shared;
	memcpy(visible, hs.visible, sizeof hs.visible);
	for (int ordinal = 0; count && ordinal < hs.count; ordinal++) {
		const uint8_t *from = shared->device[hs.visible[ordinal]].uuid, *to = NULL;
		for (uint32_t i = 0; i < count; i++)
			if (memcmp(pairs[i].from, from, 16) == 0)
				to = pairs[i].to;
		int device = -1;
		for (uint32_t d = 0; to && d < shared->device_count; d++)
			if (memcmp(shared->device[d].uuid, to, 16) == 0 && hs.node.device[d] >= 0)
				device = (int)d;
		if (device < 0)
			return CUDA_ERROR_INVALID_VALUE;
		visible[ordinal] = device;
	}
	return CUDA_SUCCESS;
}

CUresult hs_lose(CUresult why) {
	atomic_fetch_or(&hs.slot->flags, HS_SLOT_LOST);
	return why;
}

int hs_do_restore(const struct hs_pair *pairs, uint32_t count) {
	if (state() != CU_PROCESS_STATE_CHECKPOINTED)
		return CUDA_ERROR_ILLEGAL_STATE;
	if (flagged(HS_SLOT_LOST))
		return CUDA_ERROR_OPERATING_SYSTEM;
	if (hs.elsewhere)
		return CUDA_ERROR_INVALID_VALUE; /* assumed: there is nothing to bring back */
	int visible[HS_MAX_DEVICES];
	CUresult result = hs_remap(pairs, count, visible);
	if (result != CUDA_SUCCESS)
		return result;
	if (hs.kept) {
		hs.kept = false;
	} else {
		for (const struct hs_mem *mem = hs.mems; mem; mem = mem->next)
			if (mem->lost)
				return hs_lose(CUDA_ERROR_NOT_SUPPORTED);
		memcpy(hs.visible, visible, sizeof visible);
		result = hs_fault_take(&hs.node, HS_FAULT_OOM_RESTORE, "restore", NULL) ? CUDA_ERROR_OUT_OF_MEMORY
											: hs_load_all();
		if (result != CUDA_SUCCESS)
			return hs_lose(result);
	}
	become(CU_PROCESS_STATE_LOCKED);
	return CUDA_SUCCESS;
}

int hs_do_unlock(void) {
	if (state() != CU_PROCESS_STATE_LOCKED)
		return CUDA_ERROR_ILLEGAL_STATE;
	hs_wait_for_ranks(CU_PROCESS_STATE_CHECKPOINTED);
	hs_wait_for_ranks(CU_PROCESS_STATE_RESTORING);
	become(CU_PROCESS_STATE_RUNNING);
	hs_gate_open();
	return CUDA_SUCCESS;
}

static CUresult join(uint64_t id, int nranks) {
	if (!id || nranks < 1)
		return CUDA_ERROR_INVALID_VALUE;
	hs.slot->comm_ranks = (uint32_t)nranks;
	atomic_store(&hs.slot->comm_id, id);
	return CUDA_SUCCESS;
}

CUresult cuEmuCommJoin(uint64_t id, int nranks) {
	HS_CALL(join(id, nranks));
}
