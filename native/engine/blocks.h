/* The KV cache's book-keeping: which block holds what, for whom, and what the device ought to find there. No CUDA.
 *
 * The cache is cut into blocks of BLOCK_TOKENS entries. A sequence owns a chain of blocks; a full block whose sequence
 * has ended stays findable by the tokens that led to it (prefix cache) until it is the longest unused and needed again.
 * Full blocks are shared by any number of sequences. Blocks are dealt out over the shards in turn. */
#ifndef HS_ENGINE_BLOCKS_H
#define HS_ENGINE_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "shard.h"

struct blocks; /* opaque; one thread */

#define NO_BLOCK UINT32_MAX

struct blocks *blocks_new(const struct shard_spec *shards, int nshards, uint64_t seed);
void blocks_free(struct blocks *blocks);

uint32_t blocks_total(const struct blocks *blocks);
uint32_t blocks_available(const struct blocks *blocks); /* unused or merely cached */

/* A block for the caller alone; NO_BLOCK if none is available. Forgets what it cached. */
uint32_t blocks_take(struct blocks *blocks);

/* The cached block whose last entry has the state `state`, now also the caller's; NO_BLOCK if there is none. */
uint32_t blocks_find(struct blocks *blocks, uint64_t state);

/* Gives one back. What is cached in it stays, as the last to be forgotten. */
void blocks_release(struct blocks *blocks, uint32_t block);

/* Makes a full block findable; `digest` is what the device found in it. No effect if another one holds the same. */
void blocks_publish(struct blocks *blocks, uint32_t block, uint64_t state, uint64_t digest);
uint64_t blocks_digest(const struct blocks *blocks, uint32_t block);

/* Plans the write of one entry and takes the change into account in blocks_expected. */
struct entry_write blocks_write(struct blocks *blocks, uint32_t block, uint32_t position, uint64_t state);

/* Plans the digest of the first `entries` of a block as that of the `ordinal`th block of its sequence. */
struct block_digest blocks_plan_digest(const struct blocks *blocks, uint32_t block, uint32_t entries, uint64_t ordinal,
				       uint32_t index);

/* The change of the whole cache's digest that all writes so far ought to have made. */
uint64_t blocks_expected_change(const struct blocks *blocks);

#endif
