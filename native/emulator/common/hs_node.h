/* One process's view of an emulated node: the shared file mapped, its locks, the devices' files, granules and faults.
 * Used by both libraries. Nothing here calls malloc: service threads run while other threads are stopped anywhere. */
#ifndef HS_NODE_H
#define HS_NODE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "hs_shared.h"

struct hs_node {
	struct hs_shared *shared;
	char directory[256];
	int control;			/* open nvidiactl */
	int device[HS_MAX_DEVICES];	/* open nvidiaN, -1 where this process has none */
	int own_slot;			/* index, -1 = none */
	pthread_mutex_t alloc;		/* the threads' part of the allocation lock */
};

/* node.c */
int hs_node_open(struct hs_node *node); /* 0, or -ENODEV: no emulated node here, -EPROTO: made by another version */
void hs_node_close(struct hs_node *node);
int hs_node_reopen_control(const struct hs_node *node); /* a new file description, for locks of its own; or -1 */
int hs_lock_byte(int fd, int64_t byte, short type, bool wait); /* type F_RDLCK, F_WRLCK, F_UNLCK; 0 or -errno */
bool hs_byte_locked(int fd, int64_t byte);			/* by another description than fd's */
bool hs_slot_alive(const struct hs_node *node, int slot);
bool hs_share_alive(const struct hs_node *node, int share);
uint64_t hs_now_ns(void);
void hs_sleep_ns(uint64_t ns);

/* granule.c */
bool hs_alloc_lock(struct hs_node *node, bool wait);
void hs_alloc_unlock(struct hs_node *node);
int hs_granules_take(struct hs_node *node, int device, uint32_t count, uint16_t owner, uint32_t *ids);
void hs_granules_give(struct hs_node *node, int device, const uint32_t *ids, uint32_t count);
void hs_granules_set_owner(struct hs_node *node, int device, const uint32_t *ids, uint32_t count, uint16_t owner);
uint32_t hs_granules_of(const struct hs_node *node, int device, uint16_t owner, uint32_t *ids, uint32_t max);
void hs_reclaim(struct hs_node *node, bool wait); /* frees what dead processes and unheld shares own */

/* usage.c */
struct hs_usage {
	uint64_t used;		      /* bytes, what was released late included */
	uint32_t slot[HS_MAX_SLOTS]; /* granules held by each living process */
};
void hs_usage_read(const struct hs_node *node, int device, struct hs_usage *usage); /* takes no lock */
void hs_usage_release_late(struct hs_node *node, int device, uint64_t bytes, uint64_t ns);

/* process.c: identity across pid namespaces, by the caller's /proc */
struct hs_identity {
	uint64_t pid_ns; /* 0: may not be looked at */
	int32_t pid;
	uint64_t start;
};
int hs_identity_read(int pid, struct hs_identity *identity); /* 0, -ESRCH, -ECHILD: a zombie */
int hs_slot_find(const struct hs_node *node, const struct hs_identity *identity); /* slot index or -1 */
int hs_thread_find(const struct hs_node *node, int pid, int slot, int inner_tid);  /* caller's tid or -1 */
int hs_slot_pid(const struct hs_node *node, int slot);				 /* caller's pid or -1 */

/* fault.c */
bool hs_fault_take(struct hs_node *node, enum hs_fault_kind kind, const char *op, int64_t *value);
void hs_fault_hang(struct hs_node *node, const char *op); /* returns when no such fault is armed (any more) */

#endif
