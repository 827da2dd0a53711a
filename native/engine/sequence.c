#include "sequence.h"

#include <stdlib.h>

#include "buffer.h"
#include "seeds.h"

/* What one step asks of the devices. Engine thread only, and too big for its stack. */
static struct plan {
	struct entry_write writes[STEP_MAX_ENTRIES];
	struct block_digest digests[STEP_MAX_BLOCKS];
	struct touched {
		struct sequence *sequence;
		size_t ordinal;
		uint32_t entries;
		uint64_t state;
	} touched[STEP_MAX_BLOCKS]; /* beside digests */
	int nwrites, ndigests;
	struct step_sums sums;
} plan;

bool sequence_begin(struct sequence *sequence, struct job *job, struct blocks *blocks, uint64_t seed) {
	size_t entries = job->prompt_length + job->wanted - 1; /* the last token is never written */
	size_t most = (job->prompt_length - 1) / BLOCK_TOKENS; /* at least one token of the prompt is computed */

	*sequence = (struct sequence){.job = job, .state = sequence_seed(seed)};
	sequence->nblocks = (entries + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
	sequence->blocks = must_alloc(sequence->nblocks * sizeof *sequence->blocks);
	size_t have = 0;
	while (have < most) {
		uint64_t state = sequence->state;
		for (size_t i = 0; i < BLOCK_TOKENS; i++)
			state = sequence_next(state, job->prompt[have * BLOCK_TOKENS + i]);
		uint32_t block = blocks_find(blocks, state);
		if (block == NO_BLOCK)
			break;
		sequence->blocks[have++] = block;
		sequence->full_sum += blocks_digest(blocks, block);
		sequence->state = state;
	}
	sequence->written = job->cached = have * BLOCK_TOKENS;
	if (blocks_available(blocks) < sequence->nblocks - have) {
		sequence->nblocks = have;
		sequence_end(sequence, blocks);
		return false;
	}
	for (; have < sequence->nblocks; have++)
		sequence->blocks[have] = blocks_take(blocks);
	return true;
}

void sequence_end(struct sequence *sequence, struct blocks *blocks) {
	/* from the end, so that the start of a prompt, which others may share, is forgotten last */
	while (sequence->nblocks > 0)
		blocks_release(blocks, sequence->blocks[--sequence->nblocks]);
	free(sequence->blocks);
	sequence->blocks = NULL;
}

static size_t length_of(const struct sequence *sequence) {
	return sequence->job->prompt_length + sequence->job->made_length;
}

static uint32_t token_at(const struct sequence *sequence, size_t position) {
	const struct job *job = sequence->job;

	return position < job->prompt_length ? job->prompt[position] : job->made[position - job->prompt_length];
}

static void plan_writes(struct sequence *sequence, struct blocks *blocks, int most) {
	for (; most > 0 && sequence->written < length_of(sequence); most--) {
		size_t ordinal = sequence->written / BLOCK_TOKENS;
		uint32_t position = (uint32_t)(sequence->written % BLOCK_TOKENS), block = sequence->blocks[ordinal];
		struct touched *touched = plan.ndigests > 0 ? &plan.touched[plan.ndigests - 1] : NULL;

		sequence->state = sequence_next(sequence->state, token_at(sequence, sequence->written));
		plan.writes[plan.nwrites++] = blocks_write(blocks, block, position, sequence->state);
		sequence->written++;
		if (touched == NULL || touched->sequence != sequence || touched->ordinal != ordinal)
			touched = &plan.touched[plan.ndigests++];
		*touched = (struct touched){sequence, ordinal, position + 1, sequence->state};
		int index = (int)(touched - plan.touched);
		plan.digests[index] = blocks_plan_digest(blocks, block, position + 1, ordinal, (uint32_t)index);
	}
}

static void use_results(struct blocks *blocks) {
	for (int i = 0; i < plan.ndigests; i++) {
		const struct touched *touched = &plan.touched[i];
		struct sequence *sequence = touched->sequence;
		if (touched->entries == BLOCK_TOKENS) {
			blocks_publish(blocks, sequence->blocks[touched->ordinal], touched->state, plan.sums.blocks[i]);
			sequence->full_sum += plan.sums.blocks[i];
			sequence->part_sum = 0;
		} else {
			sequence->part_sum = plan.sums.blocks[i];
		}
	}
}

int sequences_step(struct sequence *sequences, int count, struct blocks *blocks, struct ranks *ranks, uint64_t kv_start,
		   char *problem, size_t problem_size) {
	plan.nwrites = plan.ndigests = 0;
	for (int i = 0; i < count; i++) { /* answers first: a long prompt must not hold them up */
		sequences[i].chose = false;
		if (sequences[i].job->made_length > 0)
			plan_writes(&sequences[i], blocks, 1);
	}
	for (int i = 0; i < count; i++)
		if (sequences[i].job->made_length == 0)
			plan_writes(&sequences[i], blocks, STEP_MAX_ENTRIES - plan.nwrites);

	if (ranks_step(ranks, plan.writes, plan.nwrites, plan.digests, plan.ndigests, &plan.sums, problem,
		       problem_size) != 0)
		return -1;
	use_results(blocks);

	/* Zero, as long as every byte of the cache is what was once written there: whoever wrote it, wherever it lies. */
	uint64_t stray = plan.sums.kv - kv_start - blocks_expected_change(blocks);
	for (int i = 0; i < count; i++) {
		struct sequence *sequence = &sequences[i];
		sequence->chose = sequence->written == length_of(sequence);
		sequence->choice = hs_mix64(hs_mix64(plan.sums.weights) +
					    hs_mix64(sequence->full_sum + sequence->part_sum) + stray * HS_GOLDEN);
	}
	return 0;
}
