#include "blocks.h"

#include <stdlib.h>

#include "buffer.h"
#include "seeds.h"

struct block {
	uint32_t users;
	uint32_t older, newer; /* in the list of available ones */
	uint32_t same_hash;    /* next in the hash chain */
	bool published;
	uint64_t state, digest;         /* if published */
	uint64_t written[BLOCK_TOKENS]; /* the seed of each entry; 0 = as filled at the start */
};

struct blocks {
	int nshards;
	struct shard_spec shards[SHARD_MAX];
	uint64_t kv_seed, expected_change;
	uint32_t total, available, oldest, newest, table_mask;
	uint32_t *table;
	struct block *block;
};

static void list_add(struct blocks *all, uint32_t number) {
	struct block *block = &all->block[number];

	block->older = all->newest;
	block->newer = NO_BLOCK;
	if (all->newest != NO_BLOCK)
		all->block[all->newest].newer = number;
	else
		all->oldest = number;
	all->newest = number;
	all->available++;
}

static void list_remove(struct blocks *all, uint32_t number) {
	struct block *block = &all->block[number];

	if (block->older != NO_BLOCK)
		all->block[block->older].newer = block->newer;
	else
		all->oldest = block->newer;
	if (block->newer != NO_BLOCK)
		all->block[block->newer].older = block->older;
	else
		all->newest = block->older;
	all->available--;
}

static uint32_t *table_place(const struct blocks *all, uint64_t state) {
	return &all->table[hs_mix64(state) & all->table_mask];
}

static uint32_t lookup(const struct blocks *all, uint64_t state) {
	uint32_t number = *table_place(all, state);

	while (number != NO_BLOCK && all->block[number].state != state)
		number = all->block[number].same_hash;
	return number;
}

static void unpublish(struct blocks *all, uint32_t number) {
	struct block *block = &all->block[number];
	uint32_t *link = table_place(all, block->state);

	if (!block->published)
		return;
	while (*link != number)
		link = &all->block[*link].same_hash;
	*link = block->same_hash;
	block->published = false;
}

struct blocks *blocks_new(const struct shard_spec *shards, int nshards, uint64_t seed) {
	struct blocks *all = must_alloc(sizeof *all);
	uint64_t per_shard = shards[0].kv_words / BLOCK_WORDS;

	all->nshards = nshards;
	all->kv_seed = kv_seed(seed);
	for (int i = 0; i < nshards; i++) {
		all->shards[i] = shards[i];
		if (shards[i].kv_words / BLOCK_WORDS < per_shard)
			per_shard = shards[i].kv_words / BLOCK_WORDS;
	}
	all->total = (uint32_t)per_shard * (uint32_t)nshards;
	all->oldest = all->newest = NO_BLOCK;
	all->block = must_alloc(all->total * sizeof *all->block);
	all->table_mask = 1;
	while (all->table_mask < all->total)
		all->table_mask = all->table_mask * 2 + 1;
	all->table = must_alloc(((size_t)all->table_mask + 1) * sizeof *all->table);
	for (size_t i = 0; i <= all->table_mask; i++)
		all->table[i] = NO_BLOCK;
	for (uint32_t i = 0; i < all->total; i++)
		list_add(all, i);
	return all;
}

void blocks_free(struct blocks *all) {
	free(all->table);
	free(all->block);
	free(all);
}

uint32_t blocks_total(const struct blocks *all) {
	return all->total;
}

uint32_t blocks_available(const struct blocks *all) {
	return all->available;
}

uint32_t blocks_take(struct blocks *all) {
	uint32_t number = all->oldest;

	if (number == NO_BLOCK)
		return NO_BLOCK;
	list_remove(all, number);
	unpublish(all, number);
	all->block[number].users = 1;
	return number;
}

uint32_t blocks_find(struct blocks *all, uint64_t state) {
	uint32_t number = lookup(all, state);

	if (number == NO_BLOCK)
		return NO_BLOCK;
	if (all->block[number].users++ == 0)
		list_remove(all, number);
	return number;
}

void blocks_release(struct blocks *all, uint32_t number) {
	if (--all->block[number].users == 0)
		list_add(all, number);
}

void blocks_publish(struct blocks *all, uint32_t number, uint64_t state, uint64_t digest) {
	struct block *block = &all->block[number];
	uint32_t *place = table_place(all, state);

	block->digest = digest;
	if (block->published || lookup(all, state) != NO_BLOCK)
		return;
	block->published = true;
	block->state = state;
	block->same_hash = *place;
	*place = number;
}

uint64_t blocks_digest(const struct blocks *all, uint32_t number) {
	return all->block[number].digest;
}

/* Word of the block in its shard's part of the cache. */
static uint64_t first_word(const struct blocks *all, uint32_t number) {
	return (uint64_t)(number / (uint32_t)all->nshards) * BLOCK_WORDS;
}

struct entry_write blocks_write(struct blocks *all, uint32_t number, uint32_t position, uint64_t state) {
	uint32_t shard = number % (uint32_t)all->nshards;
	uint64_t *written = &all->block[number].written[position];
	uint64_t word = first_word(all, number) + (uint64_t)position * ENTRY_WORDS;

	for (uint64_t i = 0; i < ENTRY_WORDS; i++) {
		uint64_t index = all->shards[shard].kv_first + word + i;
		uint64_t before = *written ? hs_fill_word(*written, i) : hs_fill_word(all->kv_seed, index);
		all->expected_change += hs_digest_word(hs_fill_word(state, i), index) - hs_digest_word(before, index);
	}
	*written = state;
	return (struct entry_write){.shard = shard, .word = word, .seed = state};
}

struct block_digest blocks_plan_digest(const struct blocks *all, uint32_t number, uint32_t entries, uint64_t ordinal,
				       uint32_t index) {
	return (struct block_digest){.shard = number % (uint32_t)all->nshards,
				     .index = index,
				     .word = first_word(all, number),
				     .words = (uint64_t)entries * ENTRY_WORDS,
				     .first_index = ordinal * BLOCK_WORDS};
}

uint64_t blocks_expected_change(const struct blocks *all) {
	return all->expected_change;
}
