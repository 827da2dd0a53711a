/* Finding and mapping an emulated node, and the locks that live in its control file. */
#define _GNU_SOURCE
#include "hs_node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

uint64_t hs_now_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

void hs_sleep_ns(uint64_t ns) {
	struct timespec t = {.tv_sec = (time_t)(ns / 1000000000ull), .tv_nsec = (long)(ns % 1000000000ull)};
	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR)
		;
}

int hs_lock_byte(int fd, int64_t byte, short type, bool wait) {
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
	while (fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock) != 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

bool hs_byte_locked(int fd, int64_t byte) {
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool hs_slot_alive(const struct hs_node *node, int slot) {
	return slot == node->own_slot || hs_byte_locked(node->control, HS_BYTE_LIVE(slot));
}

bool hs_share_alive(const struct hs_node *node, int share) {
	return hs_byte_locked(node->control, HS_BYTE_SHARE(share));
}

int hs_node_reopen_control(const struct hs_node *node) {
	char path[300];
	snprintf(path, sizeof path, "%s/nvidiactl", node->directory);
	return open(path, O_RDWR | O_CLOEXEC);
}

/* Sizes of the records must be ours, or Python and C, or two containers, would read each other's fields wrongly. */
static bool same_layout(const struct hs_shared *shared, uint64_t file_bytes) {
	return shared->version == HS_VERSION && shared->device_size == sizeof(struct hs_device) &&
	       shared->slot_size == sizeof(struct hs_slot) && shared->fault_size == sizeof(struct hs_fault) &&
	       shared->share_size == sizeof(struct hs_share) && shared->device_count <= HS_MAX_DEVICES &&
	       shared->file_bytes == file_bytes;
}

int hs_node_open(struct hs_node *node) {
	const char *directory = getenv("HOTSEAT_EMULATOR_DIR");
	memset(node, 0, sizeof *node);
	node->own_slot = -1;
	pthread_mutex_init(&node->alloc, NULL);
	if (!directory || !*directory)
		directory = "/dev";
	if (strlen(directory) >= sizeof node->directory)
		return -ENODEV;
	strcpy(node->directory, directory);
	/* A real driver's nvidiactl is a character device: look before opening, opening it has effects. */
	char path[300];
	struct stat st;
	snprintf(path, sizeof path, "%s/nvidiactl", directory);
	if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || (size_t)st.st_size < sizeof(struct hs_shared))
		return -ENODEV;
	node->control = hs_node_reopen_control(node);
	if (node->control < 0)
		return -ENODEV;
	void *map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, node->control, 0);
	if (map == MAP_FAILED) {
		close(node->control);
		return -ENODEV;
	}
	node->shared = map;
	for (int i = 0; i < HS_MAX_DEVICES; i++)
		node->device[i] = -1;
	if (node->shared->magic != HS_MAGIC || !same_layout(node->shared, (uint64_t)st.st_size)) {
		int error = node->shared->magic == HS_MAGIC ? -EPROTO : -ENODEV;
		munmap(map, (size_t)st.st_size);
		close(node->control);
		node->shared = NULL;
		return error;
	}
	for (uint32_t i = 0; i < node->shared->device_count; i++) {
		snprintf(path, sizeof path, "%s/nvidia%u", directory, i);
		if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
			node->device[i] = open(path, O_RDWR | O_CLOEXEC);
	}
	return 0;
}

void hs_node_close(struct hs_node *node) {
	if (!node->shared)
		return;
	for (int i = 0; i < HS_MAX_DEVICES; i++)
		if (node->device[i] >= 0)
			close(node->device[i]);
	munmap(node->shared, node->shared->file_bytes);
	close(node->control);
	node->shared = NULL;
}
