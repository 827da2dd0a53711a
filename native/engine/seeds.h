/* Where every pattern starts: three seeds from the one that the user gives. pattern.py has the same. */
#ifndef HS_ENGINE_SEEDS_H
#define HS_ENGINE_SEEDS_H

#include "mix.h"

static inline uint64_t weights_seed(uint64_t seed) {
	return hs_mix64(seed + 1);
}

static inline uint64_t kv_seed(uint64_t seed) {
	return hs_mix64(seed + 2);
}

/* State of a sequence before its first token. */
static inline uint64_t sequence_seed(uint64_t seed) {
	return hs_mix64(seed + 3);
}

/* ... and after one more: it names the tokens so far and their order, and nothing else. */
static inline uint64_t sequence_next(uint64_t state, uint32_t token) {
	return hs_mix64(state ^ ((uint64_t)(token + 1) * HS_GOLDEN));
}

#endif
