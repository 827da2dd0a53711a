/* cuInit: find the node, take a process slot, start the service threads; and what fork does to all that. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "internal.h"

struct hs_process hs = {.lock = PTHREAD_MUTEX_INITIALIZER};
static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER;

/* A forked child shares nothing with the driver until it execs. Its copies of our file descriptions must go, for they
 * keep the parent's slot alive. */
static void after_fork(void) {
	if (atomic_load(&hs.state) != HS_READY)
		return;
	atomic_store(&hs.state, HS_FORKED);
	for (struct hs_mem *mem = hs.mems; mem; mem = mem->next)
		if (mem->share_fd >= 0)
			close(mem->share_fd);
	for (int i = 0; i < HS_MAX_DEVICES; i++)
		if (hs.node.device[i] >= 0)
			close(hs.node.device[i]);
	close(hs.node.control);
}

static bool uuid_matches(const uint8_t uuid[16], const char *text) {
	char full[48] = "GPU-";
	for (int i = 0, at = 4; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			full[at++] = '-';
		at += snprintf(full + at, sizeof full - (size_t)at, "%02x", uuid[i]);
	}
	return strncmp(full, text, strlen(text)) == 0;
}

/* CUDA_VISIBLE_DEVICES: indices or UUIDs; the first entry that fits no device ends the list. */
static void choose_devices(void) {
	int present[HS_MAX_DEVICES], found = 0;
	for (uint32_t i = 0; i < hs.node.shared->device_count; i++)
		if (hs.node.device[i] >= 0)
			present[found++] = (int)i;
	const char *wish = getenv("CUDA_VISIBLE_DEVICES");
	hs.count = 0;
	if (!wish) {
		memcpy(hs.visible, present, sizeof present);
		hs.count = found;
		return;
	}
	char text[1024];
	snprintf(text, sizeof text, "%s", wish);
	char *rest = NULL;
	for (char *item = strtok_r(text, ",", &rest); item; item = strtok_r(NULL, ",", &rest)) {
		int chosen = -1;
		char *end;
		long index = strtol(item, &end, 10);
		if (*end == 0 && end != item && index >= 0 && index < found)
			chosen = present[index];
		for (int i = 0; chosen < 0 && i < found && strncmp(item, "GPU-", 4) == 0; i++)
			if (uuid_matches(hs.node.shared->device[present[i]].uuid, item))
				chosen = present[i];
		if (chosen < 0 || hs.count == HS_MAX_DEVICES)
			break;
		hs.visible[hs.count++] = chosen;
	}
}

static CUresult take_slot(void) {
	struct hs_identity self;
	if (hs_identity_read((int)getpid(), &self) != 0)
		return CUDA_ERROR_OPERATING_SYSTEM; /* no /proc of our own pid namespace */
	if (!hs_alloc_lock(&hs.node, true))
		return CUDA_ERROR_OPERATING_SYSTEM;
	int index = -1;
	for (int i = 0; i < HS_MAX_SLOTS && index < 0; i++)
		if (!atomic_load(&hs.node.shared->slot[i].used) &&
		    hs_lock_byte(hs.node.control, HS_BYTE_LIVE(i), F_WRLCK, false) == 0)
			index = i;
	hs_alloc_unlock(&hs.node);
	if (index < 0)
		return CUDA_ERROR_OPERATING_SYSTEM;
	struct hs_slot *slot = &hs.node.shared->slot[index];
	memset((char *)slot + sizeof slot->used, 0, sizeof *slot - sizeof slot->used);
	slot->pid = self.pid;
	slot->pid_ns = self.pid_ns;
	slot->start = self.start;
	prctl(PR_GET_NAME, slot->name);
	hs.node.own_slot = index;
	hs.slot = slot;
	if (hs_service_start() != 0)
		return CUDA_ERROR_OPERATING_SYSTEM;
	atomic_store(&slot->used, 1);
	return CUDA_SUCCESS;
}

static CUresult init_once(void) {
	int error = hs_node_open(&hs.node);
	if (error)
		return error == -EPROTO ? CUDA_ERROR_SYSTEM_DRIVER_MISMATCH : CUDA_ERROR_NO_DEVICE;
	hs_reclaim(&hs.node, true); /* also frees slots of dead processes */
	choose_devices();
	CUresult result = hs.count ? hs_arena_create() : CUDA_ERROR_NO_DEVICE;
	if (result == CUDA_SUCCESS)
		result = take_slot();
	if (result != CUDA_SUCCESS) {
		hs_node_close(&hs.node);
		return result;
	}
	static bool registered;
	if (!registered)
		pthread_atfork(NULL, NULL, after_fork);
	registered = true;
	atomic_store(&hs.state, HS_READY);
	return CUDA_SUCCESS;
}

CUresult cuInit(unsigned int flags) {
	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	if (atomic_load(&hs.state) == HS_FORKED)
		return CUDA_ERROR_NOT_INITIALIZED;
	if (atomic_load(&hs.state) == HS_READY)
		HS_CALL(CUDA_SUCCESS); /* a lock holds up even this */
	pthread_mutex_lock(&init_lock);
	CUresult result = atomic_load(&hs.state) == HS_READY ? CUDA_SUCCESS : init_once();
	pthread_mutex_unlock(&init_lock);
	return result;
}

CUresult cuDriverGetVersion(int *version) {
	if (!version)
		return CUDA_ERROR_INVALID_VALUE;
	*version = hs_has_custom_storage() ? 13040 : CUDA_VERSION;
	return CUDA_SUCCESS;
}
