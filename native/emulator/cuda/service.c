/* The two threads that cuInit starts in every process: the restore thread, and the event handler that serves locks.
 *
 * They call no malloc, no stdio and take no lock that an application thread could hold while it is stopped. A request
 * whose caller died meanwhile is carried out all the same: it had been sent. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

static int answer(struct hs_box *box) {
	static const char *const names[] = {"", "state", "lock", "checkpoint", "restore", "unlock"};
	const char *name = names[box->op % 6];
	int64_t result;
	hs_fault_hang(&hs.node, name);
	if (hs_fault_take(&hs.node, HS_FAULT_RESULT, name, &result))
		return (int)result;
	switch (box->op) {
	case HS_OP_STATE:
		box->value = atomic_load(&hs.slot->state);
		return CUDA_SUCCESS;
	case HS_OP_LOCK:
		return hs_do_lock(box->timeout_ms);
	case HS_OP_CHECKPOINT:
		return hs_do_checkpoint();
	case HS_OP_RESTORE:
		return hs_do_restore(box->pair, box->pairs);
	case HS_OP_UNLOCK:
		return hs_do_unlock();
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

static _Noreturn void serve(struct hs_box *box) {
	for (;;) {
		uint32_t status = atomic_load(&box->status);
		if (status != HS_BOX_POSTED) {
			hs_futex_wait(&box->status, status, 0);
			continue;
		}
		atomic_store(&box->status, HS_BOX_BUSY);
		box->result = answer(box);
		atomic_store(&box->status, HS_BOX_DONE);
		hs_futex_wake(&box->status);
	}
}

static void *restore_thread(void *arg) {
	prctl(PR_SET_NAME, "cuda-restore");
	hs.slot->restore_tid = (int32_t)syscall(SYS_gettid);
	pthread_barrier_wait(arg);
	serve(&hs.slot->box[HS_BOX_RESTORE]);
}

static void *handler_thread(void *arg) {
	prctl(PR_SET_NAME, "cuda-EvtHandlr");
	hs.slot->handler_tid = (int32_t)syscall(SYS_gettid);
	pthread_barrier_wait(arg);
	serve(&hs.slot->box[HS_BOX_HANDLER]);
}

int hs_service_start(void) {
	static pthread_barrier_t started;
	pthread_t thread;
	sigset_t all, before;
	pthread_barrier_init(&started, NULL, 3);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the application's */
	int error = pthread_create(&thread, NULL, restore_thread, &started);
	if (!error) {
		pthread_detach(thread);
		error = pthread_create(&thread, NULL, handler_thread, &started);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		return -1;
	pthread_detach(thread);
	pthread_barrier_wait(&started);
	return 0;
}
