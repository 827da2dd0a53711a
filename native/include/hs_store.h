/* What the interposer (a preloaded library in a container's process) and the store (one process per node) say to each
 * other. src/hotseat/store/wire.py is the same in Python; tests hold the two equal.
 *
 * One AF_UNIX SOCK_SEQPACKET connection per CUDA process, made by the interposer; the socket's path is in the variable
 * HOTSEAT_STORE. The store learns who it is from SO_PEERCRED and never believes what a process says about itself, and
 * no message can name another process's memory: a connection reaches its own process's only.
 *
 * A *block* is one physical allocation (at most HS_STORE_BLOCK_MAX bytes, a multiple of 2 MiB), mapped at one range of
 * addresses that never changes.
 * A *local* block was created by its process; a *lent* one was created by the store and imported by the process.
 * An imported handle cannot be exported again, and a process that is checkpointed while it holds one cannot be restored
 * (FACTS.md): so before each checkpoint the process yields every block, and unmaps and releases it.
 *
 *   interposer                                   store
 *   HELLO                                ->             at the first context, and after each loss of the connection
 *                                        <-  WELCOME
 *                                        <-  YIELD      close the gate, wait for the device, export
 *   BLOCKS (fds of local blocks) ...     ->             all blocks, in batches
 *                                        <-  KEPT       for each BLOCKS: they outlive the store's death now. After the
 *                                                       last one the interposer unmaps and releases; without it,
 *                                                       nothing has changed
 *   YIELDED                              ->             or FAILED: nothing has changed, the gate is open
 *                                        <-  BLOCKS (fds, all lent now or handed back) ...
 *                                        <-  RESUME     import, map at the same addresses, open the gate
 *   RESUMED                              ->             or FAILED: nothing of it is held, the gate stays closed; the
 *                                                       store may send everything again, or tell the truth
 *                                        <-  LOCALISE   make every lent block local, by copies on the device
 *   LOCALISED                            ->             or FAILED with what is still lent
 *   FREED                                ->             at any time while it runs: the engine freed a lent block
 * The store asks one thing at a time. All integers are of the machine (both ends are on one). */
#ifndef HS_STORE_H
#define HS_STORE_H

#include <stdint.h>

#define HS_STORE_VERSION 2u
#define HS_STORE_GRANULE (2ull << 20)
#define HS_STORE_BLOCK_MAX (1ull << 40)
#define HS_STORE_BATCH 64u /* blocks, and descriptors, in one BLOCKS message */

enum hs_store_type {
	HS_STORE_HELLO = 1,
	HS_STORE_WELCOME = 2,
	HS_STORE_YIELD = 3,
	HS_STORE_BLOCKS = 4,
	HS_STORE_YIELDED = 5,
	HS_STORE_RESUME = 6,
	HS_STORE_RESUMED = 7,
	HS_STORE_LOCALISE = 8,
	HS_STORE_LOCALISED = 9,
	HS_STORE_FAILED = 10,
	HS_STORE_KEPT = 11,
	HS_STORE_FREED = 12
};

/* Begins each message. `request` is the store's number of what it asked, repeated in the answers. */
struct hs_store_head {
	uint32_t version;
	uint32_t type; /* enum hs_store_type */
	uint64_t request;
};

#define HS_STORE_STATE_RUNNING 1u /* its blocks are mapped */
#define HS_STORE_STATE_YIELDED 2u /* it waits behind its gate for its blocks */

struct hs_store_hello {
	struct hs_store_head head;
	uint32_t state;
	uint32_t pid;       /* in its own namespace; for people */
	uint64_t token[2];  /* what WELCOME gave before the connection was lost; 0 the first time */
	uint64_t blocks, bytes, lent_bytes; /* now */
};

struct hs_store_welcome {
	struct hs_store_head head;
	uint64_t token[2]; /* of this process for as long as it lives */
};

struct hs_store_yield {
	struct hs_store_head head;
	uint32_t timeout_ms; /* for the gate and the device to become quiet */
	uint32_t unused;
};

/* `id` is the block's name in both directions, chosen by the interposer and never used twice in the life of a process.
 * From the interposer: each local block (`lent` = 0) has a descriptor in the message, in their order; of a lent one the
 * store has the memory already. From the store: each block has a descriptor. */
struct hs_store_block {
	uint64_t id;
	uint64_t address;
	uint64_t bytes;
	char device_uuid[16];
	uint32_t lent;
	uint32_t unused;
};

struct hs_store_blocks {
	struct hs_store_head head;
	uint32_t count; /* at most HS_STORE_BATCH */
	uint32_t unused;
	struct hs_store_block block[];
};

/* Unasked, with request 0, once the process has released it. One that gets lost is found out at the next YIELD. */
struct hs_store_freed {
	struct hs_store_head head;
	uint64_t id;
};

/* YIELDED, RESUMED, LOCALISED. RESUME has `blocks` and `bytes` as what was sent. */
struct hs_store_done {
	struct hs_store_head head;
	uint64_t blocks, bytes;
	uint64_t gate_ns; /* until calls in flight had ended */
	uint64_t device_ns; /* until the devices were quiet */
	uint64_t map_ns; /* export, unmap and release; or import and map; or copy */
};

struct hs_store_failed {
	struct hs_store_head head;
	int32_t result; /* CUresult, or -errno */
	uint32_t unused;
	uint64_t blocks, bytes; /* mapped still */
	char text[160]; /* what failed, for people, with a NUL */
};

#endif
