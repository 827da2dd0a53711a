/* The gate that a lock closes: application calls wait before it, calls inside it are waited for. */
#include <signal.h>

#include "internal.h"

CUresult hs_enter_pass(const char *function) {
	if (atomic_load(&hs.state) != HS_READY)
		return CUDA_ERROR_NOT_INITIALIZED;
	int64_t result;
	hs_fault_hang(&hs.node, function);
	return hs_fault_take(&hs.node, HS_FAULT_RESULT, function, &result) ? (CUresult)result : CUDA_SUCCESS;
}

/* Seen on an H200: threads that wait for a checkpointed device get SIGSEGV. Hence freeze before checkpoint. */
CUresult hs_enter_wait(const char *function) {
	CUresult result = hs_enter_pass(function);
	uint32_t state = atomic_load(&hs.slot->state);
	if (result == CUDA_SUCCESS && (state == CU_PROCESS_STATE_CHECKPOINTED || state >= CU_PROCESS_STATE_CHECKPOINTING))
		raise(SIGSEGV);
	return result;
}

CUresult hs_enter(const char *function) {
	CUresult result = hs_enter_pass(function);
	if (result != CUDA_SUCCESS)
		return result;
	for (;;) {
		while (atomic_load(&hs.closed))
			hs_futex_wait(&hs.closed, 1, 0);
		atomic_fetch_add(&hs.inflight, 1);
		if (!atomic_load(&hs.closed))
			return CUDA_SUCCESS;
		hs_leave(); /* closed in between: let the lock have it */
	}
}

void hs_leave(void) {
	if (atomic_fetch_sub(&hs.inflight, 1) == 1 && atomic_load(&hs.closed))
		hs_futex_wake(&hs.inflight);
}

/* Work in flight is a call that has not returned or a kernel that still runs. */
bool hs_gate_close(uint64_t timeout_ns) {
	uint64_t end = hs_now_ns() + timeout_ns;
	atomic_store(&hs.closed, 1);
	for (;;) {
		uint32_t inside = atomic_load(&hs.inflight);
		uint64_t now = hs_now_ns(), busy = atomic_load(&hs.busy_until);
		if (inside == 0 && busy <= now)
			return true;
		if (timeout_ns && now >= end) {
			hs_gate_open();
			return false;
		}
		uint64_t wait = inside ? 20000000 : busy - now;
		if (timeout_ns && wait > end - now)
			wait = end - now;
		if (inside)
			hs_futex_wait(&hs.inflight, inside, wait);
		else
			hs_sleep_ns(wait);
	}
}

void hs_gate_open(void) {
	atomic_store(&hs.closed, 0);
	hs_futex_wake(&hs.closed);
}

void hs_wait_idle(void) {
	for (uint64_t now; (now = hs_now_ns()) < atomic_load(&hs.busy_until);)
		hs_sleep_ns(atomic_load(&hs.busy_until) - now);
}
