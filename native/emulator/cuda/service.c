/* The driver's threads in a process: the restore thread, started by cuInit, which serves all requests; and the event
 * handler, started with the first context, without which there is no lock (so a process in which only the restore thread
 * runs cannot be locked, as measured on the real driver).
 *
 * They call no malloc, no stdio and take no lock that an application thread could hold while it is stopped. A request
 * that nobody has begun when its caller dies is dropped; one that was begun goes on. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

static int answer(struct hs_box *box) {
	static const char *const names[] = {"",	      "state",	    "lock",    "checkpoint", "restore",
					     "unlock", "checkpoint", "restore", "complete"};
	const char *name = names[box->op % (sizeof names / sizeof *names)];
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
	case HS_OP_LEND_OUT:
		return hs_do_lend_out(box->devices);
	case HS_OP_LEND_IN:
		return hs_do_lend_in(box->devices, box->pair, box->pairs);
	case HS_OP_COMPLETE:
		return hs_do_complete();
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

static _Noreturn void serve(struct hs_box *box) {
	for (;;) {
		uint32_t status = atomic_load(&box->status);
		if (status != HS_BOX_POSTED || !atomic_compare_exchange_strong(&box->status, &status, HS_BOX_BUSY)) {
			hs_futex_wait(&box->status, status, 0);
			continue;
		}
		if (hs_byte_locked(hs.node.control, HS_BYTE_CALL(hs.node.own_slot)))
			box->result = answer(box);
		atomic_store(&box->status, HS_BOX_DONE);
		hs_futex_wake(&box->status);
	}
}

static void *restore_thread(void *arg) {
	prctl(PR_SET_NAME, "cuda-restore");
	hs.slot->restore_tid = (int32_t)syscall(SYS_gettid);
	pthread_barrier_wait(arg);
	serve(&hs.slot->box);
}

static _Atomic uint32_t asked, agreed; /* questions to the event handler, and those it has answered */

static _Noreturn void *handler_thread(void *arg) {
	prctl(PR_SET_NAME, "cuda-EvtHandlr");
	hs.slot->handler_tid = (int32_t)syscall(SYS_gettid);
	pthread_barrier_wait(arg);
	for (uint32_t last = 0;; last = atomic_load(&asked)) {
		hs_futex_wait(&asked, last, 0);
		atomic_store(&agreed, atomic_load(&asked));
		hs_futex_wake(&agreed);
	}
}

void hs_ask_handler(void) {
	if (!hs.slot->handler_tid)
		return; /* no context yet, no handler */
	uint32_t question = atomic_fetch_add(&asked, 1) + 1;
	hs_futex_wake(&asked);
	for (uint32_t seen; (seen = atomic_load(&agreed)) != question;)
		hs_futex_wait(&agreed, seen, 0);
}

static int start(void *(*run)(void *)) {
	pthread_barrier_t started;
	pthread_t thread;
	sigset_t all, before;
	pthread_barrier_init(&started, NULL, 2);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the application's */
	int error = pthread_create(&thread, NULL, run, &started);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!error) {
		pthread_detach(thread);
		pthread_barrier_wait(&started);
	}
	pthread_barrier_destroy(&started);
	return error ? -1 : 0;
}

int hs_service_start(void) {
	return start(restore_thread);
}

int hs_handler_start(void) {
	return hs.slot->handler_tid ? 0 : start(handler_thread);
}
