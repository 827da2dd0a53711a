/* The arena of device addresses: what is reserved, what is mapped where. All of it under hs.lock. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"

CUresult hs_arena_create(void) {
	uint64_t total = 0;
	for (uint32_t i = 0; i < hs.node.shared->device_count; i++)
		total += hs.node.shared->device[i].bytes;
	/* Address space is plenty; halve it where a limit on it stands in the way. */
	for (uint64_t bytes = hs_round_up(total * 16 + (16ull << 30)); bytes >= total * 2; bytes /= 2) {
		bytes = hs_round_up(bytes);
		void *at = mmap(NULL, 2 * bytes + HS_GRANULE, PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (at == MAP_FAILED)
			continue;
		hs.arena = hs_round_up((uint64_t)at);
		hs.arena_bytes = hs.delta = bytes;
		madvise((void *)(hs.arena + hs.delta), bytes, MADV_DONTFORK);
		return CUDA_SUCCESS;
	}
	return CUDA_ERROR_OUT_OF_MEMORY;
}

/* Room for one more record in a sorted array, opened at `index`. */
static void *open_at(void **array, size_t *count, size_t *room, size_t size, size_t index) {
	if (*count == *room) {
		size_t more = *room ? *room * 2 : 64;
		void *bigger = realloc(*array, more * size);
		if (!bigger)
			return NULL;
		*array = bigger;
		*room = more;
	}
	char *at = (char *)*array + index * size;
	memmove(at + size, at, (*count - index) * size);
	++*count;
	return at;
}

static CUresult reserve_at(uint64_t at, uint64_t bytes, size_t index) {
	struct hs_reservation *slot = open_at((void **)&hs.reservations, &hs.reservation_count, &hs.reservation_room,
					      sizeof *slot, index);
	if (!slot)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*slot = (struct hs_reservation){at, bytes};
	return CUDA_SUCCESS;
}

static uint64_t align(uint64_t value, uint64_t alignment) {
	return (value + alignment - 1) / alignment * alignment;
}

/* First fit; `wish` (0 = none) is honoured where it is free, and is only a hint, as in the driver. */
CUresult hs_arena_reserve(uint64_t bytes, uint64_t alignment, uint64_t wish, uint64_t *at) {
	uint64_t end = hs.arena + hs.arena_bytes;
	if (alignment < HS_GRANULE)
		alignment = HS_GRANULE;
	for (int honour = wish != 0; honour >= 0; honour--) {
		uint64_t from = honour ? wish : align(hs.arena, alignment);
		if (honour && (wish % HS_GRANULE || wish < hs.arena || wish >= end))
			continue;
		for (size_t i = 0; i <= hs.reservation_count; i++) {
			uint64_t gap_end = i < hs.reservation_count ? hs.reservations[i].at : end;
			if (from <= gap_end && bytes <= gap_end - from) {
				*at = from;
				return reserve_at(from, bytes, i);
			}
			if (i == hs.reservation_count)
				break;
			uint64_t next = hs.reservations[i].at + hs.reservations[i].bytes;
			if (honour && next > wish && gap_end < wish + bytes)
				break; /* the wish is taken */
			if (!honour)
				from = align(next, alignment);
		}
	}
	return CUDA_ERROR_OUT_OF_MEMORY;
}

static struct hs_reservation *reservation_of(uint64_t at) {
	for (size_t low = 0, high = hs.reservation_count; low < high;) {
		size_t middle = (low + high) / 2;
		struct hs_reservation *r = &hs.reservations[middle];
		if (at < r->at)
			high = middle;
		else if (at >= r->at + r->bytes)
			low = middle + 1;
		else
			return r;
	}
	return NULL;
}

bool hs_arena_reserved(uint64_t at, uint64_t bytes) {
	struct hs_reservation *r = reservation_of(at);
	return r && bytes <= r->at + r->bytes - at;
}

bool hs_arena_release(uint64_t at, uint64_t bytes) {
	struct hs_reservation *r = reservation_of(at);
	if (!r || r->at != at || r->bytes != bytes)
		return false;
	memmove(r, r + 1, (size_t)(hs.reservations + hs.reservation_count - (r + 1)) * sizeof *r);
	hs.reservation_count--;
	return true;
}

struct hs_range *hs_range_at(uint64_t address) {
	for (size_t low = 0, high = hs.range_count; low < high;) {
		size_t middle = (low + high) / 2;
		struct hs_range *r = &hs.ranges[middle];
		if (address < r->at)
			high = middle;
		else if (address >= r->at + r->bytes)
			low = middle + 1;
		else
			return r;
	}
	return NULL;
}

struct hs_range *hs_range_add(struct hs_range range) {
	size_t index = hs.range_count;
	while (index > 0 && hs.ranges[index - 1].at > range.at)
		index--;
	struct hs_range *slot =
		open_at((void **)&hs.ranges, &hs.range_count, &hs.range_room, sizeof *slot, index);
	if (slot)
		*slot = range;
	return slot;
}

void hs_range_remove(struct hs_range *range) {
	memmove(range, range + 1, (size_t)(hs.ranges + hs.range_count - (range + 1)) * sizeof *range);
	hs.range_count--;
}

CUresult hs_range_show(const struct hs_range *range) {
	const struct hs_mem *mem = range->mem;
	uint32_t first = (uint32_t)(range->offset / HS_GRANULE), count = (uint32_t)(range->bytes / HS_GRANULE);
	int fd = hs.node.device[hs_device_of(mem->ordinal)];
	char *at = (char *)(range->at + hs.delta);
	for (uint32_t i = 0, run; i < count; i += run) {
		const uint32_t *ids = mem->ids + first;
		for (run = 1; i + run < count && ids[i + run] == ids[i] + run;)
			run++;
		char *here = at + i * HS_GRANULE;
		if (mmap(here, run * HS_GRANULE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
			 (off_t)(ids[i] * HS_GRANULE)) == MAP_FAILED)
			return CUDA_ERROR_MAP_FAILED;
		madvise(here, run * HS_GRANULE, MADV_DONTFORK);
	}
	return CUDA_SUCCESS;
}

void hs_range_hide(const struct hs_range *range) {
	void *at = (void *)(range->at + hs.delta);
	mmap(at, range->bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	madvise(at, range->bytes, MADV_DONTFORK);
}
