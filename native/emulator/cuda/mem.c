/* Physical memory of a device, and its life beyond one process once it is exported. All of it under hs.lock. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

uint64_t hs_round_up(uint64_t bytes) {
	return (bytes + HS_GRANULE - 1) / HS_GRANULE * HS_GRANULE;
}

CUresult hs_mem_create(int ordinal, uint64_t bytes, struct hs_ctx *ctx, struct hs_mem **out) {
	if (bytes > hs.node.shared->device[hs_device_of(ordinal)].bytes)
		return CUDA_ERROR_OUT_OF_MEMORY;
	uint32_t count = (uint32_t)(hs_round_up(bytes) / HS_GRANULE);
	struct hs_mem *mem = calloc(1, sizeof *mem);
	uint32_t *ids = calloc(count, sizeof *ids);
	if (!mem || !ids ||
	    hs_granules_take(&hs.node, hs_device_of(ordinal), count, HS_OWNER_SLOT(hs.node.own_slot), ids) != 0) {
		free(mem);
		free(ids);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	*mem = (struct hs_mem){.next = hs.mems, .ctx = ctx, .ordinal = ordinal, .count = count, .ids = ids,
			       .share = -1, .share_fd = -1};
	hs.mems = mem;
	*out = mem;
	return CUDA_SUCCESS;
}

void hs_mem_drop(struct hs_mem *mem) {
	if (mem->handles > 0 || mem->maps > 0)
		return;
	for (struct hs_mem **at = &hs.mems; *at; at = &(*at)->next)
		if (*at == mem) {
			*at = mem->next;
			break;
		}
	if (mem->share_fd >= 0) {
		close(mem->share_fd); /* our hold; the last holder's end frees the granules */
		hs_reclaim(&hs.node, true);
	} else if (!mem->borrowed) {
		hs_granules_give(&hs.node, hs_device_of(mem->ordinal), mem->ids, mem->count);
	}
	free(mem->ids);
	free(mem);
}

bool hs_mem_valid(const struct hs_mem *mem) {
	for (const struct hs_mem *m = hs.mems; m; m = m->next)
		if (m == mem)
			return true;
	return false;
}

int hs_share_hold(struct hs_mem *mem, int share) {
	int fd = hs_node_reopen_control(&hs.node);
	if (fd < 0)
		return -1;
	if (hs_lock_byte(fd, HS_BYTE_SHARE(share), F_RDLCK, false) != 0) {
		close(fd);
		return -1;
	}
	mem->share = share;
	mem->share_fd = fd;
	return 0;
}
