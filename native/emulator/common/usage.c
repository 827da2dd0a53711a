/* How much of a device is used and by whom: what NVML and cuMemGetInfo report. Reads only, takes no lock. */
#include <string.h>

#include "hs_node.h"

void hs_usage_read(const struct hs_node *node, int device, struct hs_usage *usage) {
	const struct hs_shared *s = node->shared;
	const struct hs_device *d = &s->device[device];
	const _Atomic uint16_t *owner = (const _Atomic uint16_t *)((const char *)s + d->owners);
	memset(usage, 0, sizeof *usage);
	signed char slot_alive[HS_MAX_SLOTS] = {0}, share_alive[HS_MAX_SHARES] = {0}; /* 0 = not asked yet */
	for (uint32_t g = 0; g < d->granules; g++) {
		uint16_t o = atomic_load_explicit(&owner[g], memory_order_relaxed);
		if (!o)
			continue;
		int slot = HS_IS_SHARE(o) ? -1 : o - 1;
		if (HS_IS_SHARE(o)) {
			int share = (o & 0x7fff) % HS_MAX_SHARES;
			if (!share_alive[share])
				share_alive[share] = hs_share_alive(node, share) ? 1 : -1;
			if (share_alive[share] < 0)
				continue;
			slot = (int)atomic_load(&s->share[share].holder) - 1;
		}
		bool alive = false;
		if (slot >= 0 && slot < HS_MAX_SLOTS) {
			if (!slot_alive[slot])
				slot_alive[slot] = hs_slot_alive(node, slot) ? 1 : -1;
			alive = slot_alive[slot] > 0;
		}
		if (alive)
			usage->slot[slot]++;
		if (alive || HS_IS_SHARE(o))
			usage->used += HS_GRANULE;
	}
	uint64_t now = hs_now_ns();
	for (int i = 0; i < HS_MAX_LATE; i++)
		if (atomic_load(&d->late[i].until_ns) > now)
			usage->used += atomic_load(&d->late[i].bytes);
	if (usage->used > d->bytes)
		usage->used = d->bytes;
}

void hs_usage_release_late(struct hs_node *node, int device, uint64_t bytes, uint64_t ns) {
	uint64_t now = hs_now_ns();
	for (int i = 0; i < HS_MAX_LATE; i++) {
		struct hs_late *late = &node->shared->device[device].late[i];
		uint64_t until = atomic_load(&late->until_ns);
		if (until <= now && atomic_compare_exchange_strong(&late->until_ns, &until, now + ns)) {
			atomic_store(&late->bytes, bytes);
			return;
		}
	}
}
