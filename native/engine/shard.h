/* One process's device memory: its shards of the weights and of the KV cache, and what is computed over them.
 *
 * A shard is a contiguous part of both on one device. A process holds one shard or more; all calls here come from the
 * one thread that owns CUDA in this process. */
#ifndef HS_ENGINE_SHARD_H
#define HS_ENGINE_SHARD_H

#include "cuda_api.h"

#define SHARD_MAX 64                     /* shards in an engine */
#define STEP_MAX_ENTRIES 512             /* KV entries written in one step, over all sequences */
#define STEP_MAX_BLOCKS STEP_MAX_ENTRIES /* blocks whose digest one step asks for: those it wrote to */
#define ENTRY_WORDS 64                   /* words that one token leaves in the KV cache: 512 bytes */
#define BLOCK_TOKENS 16                  /* tokens in one block of the KV cache: 8 KiB */
#define BLOCK_WORDS (ENTRY_WORDS * BLOCK_TOKENS)

/* Where a shard lies and what it holds; words are 64 bits. */
struct shard_spec {
	int device;                            /* ordinal */
	uint64_t weights_words, weights_first; /* length, and index of its first word in the whole of the weights */
	uint64_t kv_words, kv_first;
};

/* One entry to write: hotseat_fill of ENTRY_WORDS at `word` of the shard's KV cache. */
struct entry_write {
	uint32_t shard;
	uint32_t reserved;
	uint64_t word;
	uint64_t seed;
};

/* One digest to take: `words` from `word` of the shard's KV cache on, as if they began at index `first_index`. */
struct block_digest {
	uint32_t shard;
	uint32_t index; /* of the sum that it adds to, below STEP_MAX_BLOCKS */
	uint64_t word;
	uint64_t words;
	uint64_t first_index;
};

/* The digests of one step, summed over shards. */
struct step_sums {
	uint64_t weights;
	uint64_t kv;
	uint64_t blocks[STEP_MAX_BLOCKS];
};

struct shards; /* opaque */

/* Initialises CUDA, allocates and fills. `specs` are those of this process, `index` their numbers in the engine.
 * NULL with a sentence in `problem` where anything fails. */
struct shards *shards_open(const struct shard_spec *specs, const int *indexes, int count, uint64_t seed, char *problem,
			   size_t problem_size);

/* Joins the emulated driver's communicator, where there is one. Returns 0 or -1 with `problem`. */
int shards_join(struct shards *shards, uint64_t id, int nranks, char *problem, size_t problem_size);

/* Writes the entries (those of other processes' shards are passed over), then computes all sums anew from device
 * memory and *adds* them to `sums`. Returns 0 or -1 with `problem`. */
int shards_step(struct shards *shards, const struct entry_write *writes, int nwrites,
		const struct block_digest *digests, int ndigests, struct step_sums *sums, char *problem,
		size_t problem_size);

void shards_close(struct shards *shards);

/* Allocates `bytes` on each device and fills them; nothing else. Returns 0 or -1 with `problem`. */
int shards_hold(const int *devices, int count, uint64_t bytes, uint64_t seed, char *problem, size_t problem_size);

#endif
