/* The caller's side of the checkpoint calls: find the process, post the request, wait for the answer. The caller need not
 * have called cuInit.
 *
 * Callers take turns by a lock that dies with its holder. What a dead caller left behind is withdrawn if the process has
 * not begun it, and waited for if it has. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#define LOOK_NS 20000000ull /* how often a waiting caller looks whether the process still lives */

/* The node as this caller sees it: the process's own, or one opened for these calls alone. */
struct hs_node *hs_any_node(void) {
	static struct hs_node opened;
	static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;
	if (atomic_load(&hs.state) == HS_READY)
		return &hs.node;
	pthread_mutex_lock(&opening);
	bool there = opened.shared || hs_node_open(&opened) == 0;
	pthread_mutex_unlock(&opening);
	return there ? &opened : NULL;
}

bool hs_has_custom_storage(void) {
	return hs_any_node() && hs_any_node()->shared->flags & HS_CUSTOM_STORAGE;
}

CUresult hs_find(int pid, int *slot) {
	struct hs_identity identity;
	if (!hs_any_node())
		return CUDA_ERROR_NOT_INITIALIZED;
	int error = pid > 0 ? hs_identity_read(pid, &identity) : -ESRCH;
	if (error)
		return error == -ECHILD ? CUDA_ERROR_NOT_INITIALIZED : CUDA_ERROR_OPERATING_SYSTEM;
	*slot = hs_slot_find(hs_any_node(), &identity);
	return *slot < 0 ? CUDA_ERROR_NOT_INITIALIZED : CUDA_SUCCESS;
}

/* Until the box holds no request that is still to be answered; false if the process dies first. */
static bool settled(struct hs_box *box, int slot) {
	for (;;) {
		uint32_t status = atomic_load(&box->status);
		if (status == HS_BOX_IDLE || status == HS_BOX_DONE)
			return true;
		if (!hs_slot_alive(hs_any_node(), slot))
			return false;
		hs_futex_wait(&box->status, status, LOOK_NS);
	}
}

CUresult hs_post(int slot, const struct hs_request *request) {
	struct hs_box *box = &hs_any_node()->shared->slot[slot].box;
	int turn = hs_node_reopen_control(hs_any_node());
	if (turn < 0)
		return CUDA_ERROR_OPERATING_SYSTEM;
	CUresult result = CUDA_ERROR_OPERATING_SYSTEM; /* what a process that dies meanwhile gives */
	bool ours = hs_lock_byte(turn, HS_BYTE_CALL(slot), F_WRLCK, true) == 0;
	uint32_t left_behind = HS_BOX_POSTED;
	if (ours)
		atomic_compare_exchange_strong(&box->status, &left_behind, HS_BOX_IDLE);
	if (ours && settled(box, slot)) {
		box->op = request->op;
		box->timeout_ms = request->timeout_ms;
		box->devices = request->devices;
		box->pairs = request->pair_count;
		memcpy(box->pair, request->pairs, request->pair_count * sizeof *request->pairs);
		atomic_store(&box->status, HS_BOX_POSTED);
		hs_futex_wake(&box->status);
		/* Idle means that the process died and another one has swept its slot. */
		if (settled(box, slot) && atomic_load(&box->status) == HS_BOX_DONE) {
			result = (CUresult)box->result;
			if (request->value)
				*request->value = box->value;
		}
	}
	close(turn);
	return result;
}

CUresult hs_call(int pid, const char *function, struct hs_request request) {
	int slot;
	int64_t forced;
	CUresult result = hs_find(pid, &slot);
	if (result != CUDA_SUCCESS)
		return result;
	hs_fault_hang(hs_any_node(), function);
	if (hs_fault_take(hs_any_node(), HS_FAULT_RESULT, function, &forced))
		return (CUresult)forced;
	static const CUcheckpointGpuPair none[1];
	if (!request.pairs)
		request.pairs = none;
	return hs_post(slot, &request);
}

static bool zeroed(const void *bytes, size_t count) {
	for (size_t i = 0; i < count; i++)
		if (((const char *)bytes)[i])
			return false;
	return true;
}

CUresult cuCheckpointProcessGetRestoreThreadId(int pid, int *tid) {
	int slot;
	CUresult result = tid ? hs_find(pid, &slot) : CUDA_ERROR_INVALID_VALUE;
	if (result != CUDA_SUCCESS)
		return result;
	int found = hs_thread_find(hs_any_node(), pid, slot, hs_any_node()->shared->slot[slot].restore_tid);
	if (found < 0)
		return CUDA_ERROR_OPERATING_SYSTEM;
	*tid = found;
	return CUDA_SUCCESS;
}

CUresult cuCheckpointProcessGetState(int pid, CUprocessState *state) {
	uint32_t value;
	if (!state)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = hs_call(pid, __func__, (struct hs_request){.op = HS_OP_STATE, .value = &value});
	if (result == CUDA_SUCCESS)
		*state = (CUprocessState)value;
	return result;
}

CUresult cuCheckpointProcessLock(int pid, CUcheckpointLockArgs *args) {
	if (args && (args->reserved0 || !zeroed(args->reserved1, sizeof args->reserved1)))
		return CUDA_ERROR_INVALID_VALUE;
	return hs_call(pid, __func__, (struct hs_request){.op = HS_OP_LOCK, .timeout_ms = args ? args->timeoutMs : 0});
}

CUresult cuCheckpointProcessCheckpoint(int pid, CUcheckpointCheckpointArgs *args) {
	if (args && !zeroed(args->reserved, sizeof args->reserved))
		return CUDA_ERROR_INVALID_VALUE;
	if (!args || !args->customStorageInfo_out)
		return hs_call(pid, __func__, (struct hs_request){.op = HS_OP_CHECKPOINT});
	return hs_borrow(pid, __func__, (struct hs_request){.op = HS_OP_LEND_OUT}, args->customStorageInfo_out);
}

CUresult cuCheckpointProcessRestore(int pid, CUcheckpointRestoreArgs *args) {
	struct hs_request request = {.op = HS_OP_RESTORE};
	if (args) {
		if (!zeroed(args->reserved, sizeof args->reserved) || args->padding0 ||
		    args->gpuPairsCount > HS_MAX_DEVICES || (args->gpuPairsCount && !args->gpuPairs))
			return CUDA_ERROR_INVALID_VALUE;
		request.pairs = args->gpuPairs;
		request.pair_count = args->gpuPairsCount;
	}
	if (args && args->customStorageInfo_out) {
		request.op = HS_OP_LEND_IN;
		return hs_borrow(pid, __func__, request, args->customStorageInfo_out);
	}
	return hs_call(pid, __func__, request);
}

CUresult cuCheckpointProcessUnlock(int pid, CUcheckpointUnlockArgs *args) {
	if (args && !zeroed(args->reserved, sizeof args->reserved))
		return CUDA_ERROR_INVALID_VALUE;
	return hs_call(pid, __func__, (struct hs_request){.op = HS_OP_UNLOCK});
}
