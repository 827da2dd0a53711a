/* Device memory into the process's own anonymous memory, and back. Runs on the restore thread while every other thread
 * may be stopped: no malloc, no lock. Bytes go by pread and pwrite of the device's file, so memory that is created but
 * mapped nowhere is moved as well. */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

/* What faults do to a copy: how slow it is, and whether the process dies in it. */
struct journey {
	const char *op;
	uint64_t total, done, started;
	int64_t bytes_per_second; /* 0 = as fast as it goes */
	int64_t die_percent;	  /* -1 = never */
};

static void journey_step(struct journey *j, uint64_t bytes) {
	j->done += bytes;
	if (j->die_percent >= 0 && j->done * 100 >= j->total * (uint64_t)j->die_percent) {
		kill(getpid(), SIGKILL);
		hs_sleep_ns(~0ull >> 1);
	}
	if (j->bytes_per_second > 0) {
		uint64_t due = (uint64_t)((double)j->done / (double)j->bytes_per_second * 1e9);
		uint64_t passed = hs_now_ns() - j->started;
		if (due > passed)
			hs_sleep_ns(due - passed);
	}
}

static bool moves(const struct hs_mem *mem) {
	return !mem->imported;
}

static struct journey journey_begin(const char *op) {
	struct journey j = {.op = op, .started = hs_now_ns(), .die_percent = -1};
	for (const struct hs_mem *mem = hs.mems; mem; mem = mem->next)
		j.total += moves(mem) ? mem->count * HS_GRANULE : 0;
	hs_fault_take(&hs.node, HS_FAULT_SLOW_COPY, op, &j.bytes_per_second);
	hs_fault_take(&hs.node, HS_FAULT_DIE, op, &j.die_percent);
	if (j.die_percent == 0)
		journey_step(&j, 0);
	return j;
}

void hs_die_if_told(const char *op) {
	int64_t percent;
	if (hs_fault_take(&hs.node, HS_FAULT_DIE, op, &percent)) {
		kill(getpid(), SIGKILL);
		hs_sleep_ns(~0ull >> 1);
	}
}

static bool move_granule(int fd, uint32_t id, char *host, bool out) {
	for (uint64_t done = 0; done < HS_GRANULE;) {
		off_t at = (off_t)(id * HS_GRANULE + done);
		ssize_t moved = out ? pread(fd, host + done, HS_GRANULE - done, at)
				    : pwrite(fd, host + done, HS_GRANULE - done, at);
		if (moved <= 0)
			return false;
		done += (uint64_t)moved;
	}
	return true;
}

static bool reserve_host(void) {
	for (struct hs_mem *mem = hs.mems; mem; mem = mem->next) {
		if (!moves(mem) || mem->saved)
			continue;
		void *at = mmap(NULL, mem->count * HS_GRANULE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
				0);
		if (at == MAP_FAILED)
			return false;
		mem->saved = at;
	}
	return true;
}

static void free_host(void) {
	for (struct hs_mem *mem = hs.mems; mem; mem = mem->next) {
		if (mem->saved)
			munmap(mem->saved, mem->count * HS_GRANULE);
		mem->saved = NULL;
	}
}

/* Exported memory stays on the device for as long as others hold it; what is imported is not ours to save. */
static void let_go_of_share(struct hs_mem *mem) {
	close(mem->share_fd);
	mem->share = mem->share_fd = -1;
	hs_reclaim(&hs.node, true);
}

static bool save_one(struct hs_mem *mem, struct journey *j) {
	int device = hs_device_of(mem->ordinal);
	for (uint32_t i = 0; i < mem->count; i++) {
		if (!move_granule(hs.node.device[device], mem->ids[i], (char *)mem->saved + i * HS_GRANULE, true))
			return false;
		if (mem->share < 0) /* at once, so that the bytes never stand in memory twice */
			hs_granules_give(&hs.node, device, &mem->ids[i], 1);
		journey_step(j, HS_GRANULE);
	}
	if (mem->share >= 0)
		let_go_of_share(mem);
	return true;
}

static void give_contexts(void) {
	for (struct hs_ctx *ctx = hs.contexts; ctx; ctx = ctx->next)
		hs_granules_give(&hs.node, hs_device_of(ctx->ordinal), ctx->overhead, ctx->overhead_count);
}

CUresult hs_save_all(void) {
	if (!reserve_host()) {
		free_host();
		return CUDA_ERROR_OUT_OF_MEMORY; /* still LOCKED, nothing was touched */
	}
	struct journey j = journey_begin("checkpoint");
	for (size_t i = 0; i < hs.range_count; i++)
		hs_range_hide(&hs.ranges[i]);
	for (struct hs_mem *mem = hs.mems; mem; mem = mem->next) {
		if (moves(mem)) {
			if (!save_one(mem, &j)) {
				atomic_store(&hs.slot->state, CU_PROCESS_STATE_FAILED);
				return CUDA_ERROR_OPERATING_SYSTEM;
			}
		} else {
			mem->lost = true; /* held is enough, it need not be mapped */
			let_go_of_share(mem);
		}
	}
	give_contexts();
	return CUDA_SUCCESS;
}

void hs_give_all(void) {
	for (struct hs_mem *mem = hs.mems; mem; mem = mem->next) {
		mem->lost = !moves(mem);
		if (mem->share >= 0)
			let_go_of_share(mem);
		else if (moves(mem))
			hs_granules_give(&hs.node, hs_device_of(mem->ordinal), mem->ids, mem->count);
	}
	give_contexts();
}

/* Everything or nothing. What was taken before the first refusal is given back. */
bool hs_take_all(void) {
	uint16_t owner = HS_OWNER_SLOT(hs.node.own_slot);
	struct hs_ctx *ctx;
	struct hs_mem *mem = NULL;
	for (ctx = hs.contexts; ctx; ctx = ctx->next)
		if (hs_granules_take(&hs.node, hs_device_of(ctx->ordinal), ctx->overhead_count, owner, ctx->overhead))
			goto refused;
	for (mem = hs.mems; mem; mem = mem->next)
		if (moves(mem) &&
		    hs_granules_take(&hs.node, hs_device_of(mem->ordinal), mem->count, owner, mem->ids) != 0)
			goto refused;
	return true;
refused:
	for (struct hs_mem *m = mem ? hs.mems : NULL; m && m != mem; m = m->next)
		if (moves(m))
			hs_granules_give(&hs.node, hs_device_of(m->ordinal), m->ids, m->count);
	for (struct hs_ctx *c = hs.contexts; c && c != ctx; c = c->next)
		hs_granules_give(&hs.node, hs_device_of(c->ordinal), c->overhead, c->overhead_count);
	return false;
}

CUresult hs_load_all(void) {
	if (!hs_take_all())
		return CUDA_ERROR_OUT_OF_MEMORY;
	struct journey j = journey_begin("restore");
	bool corrupt = hs_fault_take(&hs.node, HS_FAULT_CORRUPT, "restore", NULL);
	for (struct hs_mem *mem = hs.mems; mem; mem = mem->next) {
		if (!moves(mem))
			continue;
		if (corrupt)
			((char *)mem->saved)[0] ^= 1;
		for (uint32_t i = 0; i < mem->count; i++) {
			if (!move_granule(hs.node.device[hs_device_of(mem->ordinal)], mem->ids[i],
					  (char *)mem->saved + i * HS_GRANULE, false))
				return CUDA_ERROR_OPERATING_SYSTEM;
			journey_step(&j, HS_GRANULE);
		}
	}
	for (size_t i = 0; i < hs.range_count; i++)
		if (hs_range_show(&hs.ranges[i]) != CUDA_SUCCESS)
			return CUDA_ERROR_OPERATING_SYSTEM;
	free_host();
	return CUDA_SUCCESS;
}
