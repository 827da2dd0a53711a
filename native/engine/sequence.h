/* A running answer's place in the KV cache, and the step that advances many of them. Engine thread only. */
#ifndef HS_ENGINE_SEQUENCE_H
#define HS_ENGINE_SEQUENCE_H

#include "blocks.h"
#include "engine.h"

#define RUNNING_MAX 256 /* in one step */

struct sequence {
	struct job *job;
	uint64_t state; /* of all entries so far */
	size_t written; /* entries so far */
	uint32_t *blocks;
	size_t nblocks;
	uint64_t full_sum; /* digests of its full blocks, as the device found each when it became full */
	uint64_t part_sum; /* ... of the last, if it is not full, as of this step */
	uint64_t choice;   /* result of this step, if `chose` */
	bool chose;
};

/* Gives the job its blocks, reusing what the prefix cache has of its prompt. False if there are too few now. */
bool sequence_begin(struct sequence *sequence, struct job *job, struct blocks *blocks, uint64_t seed);
void sequence_end(struct sequence *sequence, struct blocks *blocks);

/* One step of all: writes what each has to write (a last token, or a piece of a prompt), has all digests taken, and
 * sets `choice` of those whose prompt is complete. `kv_start` is the digest of the cache as first filled. */
int sequences_step(struct sequence *sequences, int count, struct blocks *blocks, struct ranks *ranks, uint64_t kv_start,
		   char *problem, size_t problem_size);

#endif
