/* Who owns which 2 MiB of a device. Taking needs the allocation lock, held for microseconds; giving back and reading do
 * not, so a process frozen in the middle can at most delay other takers. */
#define _GNU_SOURCE
#include "hs_node.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static _Atomic uint16_t *owners(const struct hs_node *node, int device) {
	return (_Atomic uint16_t *)((char *)node->shared + node->shared->device[device].owners);
}

bool hs_alloc_lock(struct hs_node *node, bool wait) {
	if (wait)
		pthread_mutex_lock(&node->alloc);
	else if (pthread_mutex_trylock(&node->alloc) != 0)
		return false;
	if (hs_lock_byte(node->control, HS_BYTE_ALLOC, F_WRLCK, wait) == 0)
		return true;
	pthread_mutex_unlock(&node->alloc);
	return false;
}

void hs_alloc_unlock(struct hs_node *node) {
	hs_lock_byte(node->control, HS_BYTE_ALLOC, F_UNLCK, false);
	pthread_mutex_unlock(&node->alloc);
}

/* Gives the pages back to the host, so that a parked process's bytes do not stand in memory twice. */
static void punch(struct hs_node *node, int device, uint32_t first, uint32_t count) {
	if (!(node->shared->flags & HS_KEEP_PAGES) && node->device[device] >= 0)
		(void)!fallocate(node->device[device], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 (off_t)(first * HS_GRANULE), (off_t)(count * HS_GRANULE));
}

void hs_granules_give(struct hs_node *node, int device, const uint32_t *ids, uint32_t count) {
	_Atomic uint16_t *owner = owners(node, device);
	int64_t ms;
	if (count && hs_fault_take(node, HS_FAULT_LATE_RELEASE, "", &ms))
		hs_usage_release_late(node, device, count * HS_GRANULE, (uint64_t)ms * 1000000ull);
	for (uint32_t i = 0, run; i < count; i += run) {
		for (run = 1; i + run < count && ids[i + run] == ids[i] + run;)
			run++;
		punch(node, device, ids[i], run);
		for (uint32_t k = 0; k < run; k++)
			atomic_store(&owner[ids[i] + k], 0);
	}
}

void hs_granules_set_owner(struct hs_node *node, int device, const uint32_t *ids, uint32_t count, uint16_t to) {
	for (uint32_t i = 0; i < count; i++)
		atomic_store(&owners(node, device)[ids[i]], to);
}

uint32_t hs_granules_of(const struct hs_node *node, int device, uint16_t owner, uint32_t *ids, uint32_t max) {
	uint32_t found = 0;
	for (uint32_t g = 0; g < node->shared->device[device].granules && found < max; g++)
		if (atomic_load(&owners(node, device)[g]) == owner)
			ids[found++] = g;
	return found;
}

static void free_owner(struct hs_node *node, int device, uint16_t owner) {
	uint32_t ids[256], found;
	if (node->device[device] < 0)
		return; /* its pages cannot be given back from here: leave it to a process that has the device */
	while ((found = hs_granules_of(node, device, owner, ids, 256)) > 0)
		hs_granules_give(node, device, ids, found);
}

static bool owns_any(const struct hs_node *node, uint16_t owner) {
	uint32_t id;
	for (uint32_t d = 0; d < node->shared->device_count; d++)
		if (hs_granules_of(node, (int)d, owner, &id, 1))
			return true;
	return false;
}

static void reclaim_locked(struct hs_node *node) {
	struct hs_shared *s = node->shared;
	for (int i = 0; i < HS_MAX_SLOTS; i++) {
		if (!atomic_load(&s->slot[i].used) || hs_slot_alive(node, i) ||
		    hs_byte_locked(node->control, HS_BYTE_LENT(i)))
			continue;
		for (uint32_t d = 0; d < s->device_count; d++)
			free_owner(node, (int)d, HS_OWNER_SLOT(i));
		if (!owns_any(node, HS_OWNER_SLOT(i)))
			atomic_store(&s->slot[i].used, 0);
	}
	for (int i = 0; i < HS_MAX_SHARES; i++) {
		if (!atomic_load(&s->share[i].used) || hs_share_alive(node, i))
			continue;
		free_owner(node, (int)s->share[i].device, HS_OWNER_SHARE(i));
		if (!owns_any(node, HS_OWNER_SHARE(i)))
			atomic_store(&s->share[i].used, 0);
	}
}

void hs_reclaim(struct hs_node *node, bool wait) {
	if (!hs_alloc_lock(node, wait))
		return;
	reclaim_locked(node);
	hs_alloc_unlock(node);
}

int hs_granules_take(struct hs_node *node, int device, uint32_t count, uint16_t owner, uint32_t *ids) {
	if (node->device[device] < 0)
		return -ENODEV;
	if (count == 0)
		return 0;
	if (!hs_alloc_lock(node, true))
		return -EIO;
	uint32_t found = hs_granules_of(node, device, 0, ids, count);
	if (found < count) {
		reclaim_locked(node);
		found = hs_granules_of(node, device, 0, ids, count);
	}
	if (found == count)
		hs_granules_set_owner(node, device, ids, count, owner);
	hs_alloc_unlock(node);
	return found == count ? 0 : -ENOMEM;
}
