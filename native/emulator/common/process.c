/* Who is who across pid namespaces, read from the caller's /proc. Used by callers only, never by service threads. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hs_node.h"

static ssize_t slurp(const char *path, char *text, size_t size) {
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t got = read(fd, text, size - 1);
	int error = errno;
	close(fd);
	if (got < 0)
		return -error;
	text[got] = 0;
	return got;
}

/* The last number of the NSpid line: the id in the innermost namespace. */
static int inner_id(const char *status_path) {
	char text[4096];
	if (slurp(status_path, text, sizeof text) <= 0)
		return -1;
	const char *line = strstr(text, "\nNSpid:");
	if (!line)
		return -1;
	int id = -1;
	char *end = (char *)line + 7;
	for (;;) {
		while (*end == '\t' || *end == ' ')
			end++;
		if (*end < '0' || *end > '9')
			return id;
		id = (int)strtol(end, &end, 10);
	}
}

int hs_identity_read(int pid, struct hs_identity *identity) {
	char path[64], text[1024];
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	if (slurp(path, text, sizeof text) <= 0)
		return -ESRCH;
	const char *field = strrchr(text, ')'); /* the name may hold anything, so count from its end */
	if (!field)
		return -ESRCH;
	if (field[1] == ' ' && (field[2] == 'Z' || field[2] == 'X'))
		return -ECHILD;
	for (int i = 2; i < 22 && field; i++)
		field = strchr(field + 1, ' ');
	if (!field)
		return -ESRCH;
	identity->start = strtoull(field, NULL, 10);
	snprintf(path, sizeof path, "/proc/%d/status", pid);
	identity->pid = inner_id(path);
	if (identity->pid < 0)
		return -ESRCH;
	struct stat st;
	snprintf(path, sizeof path, "/proc/%d/ns/pid", pid);
	errno = 0;
	if (stat(path, &st) != 0 && errno != EACCES && errno != EPERM)
		return -ESRCH;
	identity->pid_ns = errno ? 0 : st.st_ino;
	return 0;
}

/* Where the namespace may not be looked at, the inner pid and the start time must do. */
static bool same_process(const struct hs_identity *identity, const struct hs_slot *slot) {
	return identity->pid == slot->pid && identity->start == slot->start &&
	       (identity->pid_ns == slot->pid_ns || identity->pid_ns == 0);
}

int hs_slot_find(const struct hs_node *node, const struct hs_identity *identity) {
	for (int i = 0; i < HS_MAX_SLOTS; i++) {
		const struct hs_slot *slot = &node->shared->slot[i];
		if (atomic_load(&slot->used) == 1 && same_process(identity, slot) && hs_slot_alive(node, i))
			return i;
	}
	return -1;
}

static bool in_our_namespace(const struct hs_slot *slot) {
	struct stat st;
	return stat("/proc/self/ns/pid", &st) == 0 && st.st_ino == slot->pid_ns;
}

int hs_thread_find(const struct hs_node *node, int pid, int slot, int inner_tid) {
	if (in_our_namespace(&node->shared->slot[slot]))
		return inner_tid;
	char path[96];
	snprintf(path, sizeof path, "/proc/%d/task", pid);
	DIR *tasks = opendir(path);
	if (!tasks)
		return -1;
	int found = -1;
	for (struct dirent *entry; found < 0 && (entry = readdir(tasks));) {
		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		snprintf(path, sizeof path, "/proc/%d/task/%.16s/status", pid, entry->d_name);
		if (inner_id(path) == inner_tid)
			found = atoi(entry->d_name);
	}
	closedir(tasks);
	return found;
}

static bool is_slot(int pid, const struct hs_slot *slot) {
	struct hs_identity id;
	return hs_identity_read(pid, &id) == 0 && same_process(&id, slot);
}

int hs_slot_pid(const struct hs_node *node, int slot_index) {
	static _Atomic int remembered[HS_MAX_SLOTS]; /* a full walk of /proc for every reading would be slow */
	const struct hs_slot *slot = &node->shared->slot[slot_index];
	int pid = in_our_namespace(slot) ? slot->pid : atomic_load(&remembered[slot_index]);
	if (pid > 0 && is_slot(pid, slot))
		return pid;
	DIR *proc = opendir("/proc");
	if (!proc)
		return -1;
	int found = -1;
	for (struct dirent *entry; found < 0 && (entry = readdir(proc));) {
		pid = atoi(entry->d_name);
		if (pid > 0 && is_slot(pid, slot))
			found = pid;
	}
	closedir(proc);
	if (found > 0)
		atomic_store(&remembered[slot_index], found);
	return found;
}
