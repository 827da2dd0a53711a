/* The arithmetic that host and device share: splitmix64's finalizer and the two patterns built on it.
 * kernels.cu has the device's copy; src/hotseat/demo/pattern.py has the tests'. All three must agree. */
#ifndef HS_ENGINE_MIX_H
#define HS_ENGINE_MIX_H

#include <stdint.h>

#define HS_GOLDEN 0x9E3779B97F4A7C15ull

static inline uint64_t hs_mix64(uint64_t z) {
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
	return z ^ (z >> 31);
}

/* The word that hotseat_fill writes at `index` (first_index + i). */
static inline uint64_t hs_fill_word(uint64_t seed, uint64_t index) {
	return hs_mix64(seed ^ ((index + 1) * HS_GOLDEN));
}

/* What the word `value` at `index` adds to the sum that hotseat_digest makes. */
static inline uint64_t hs_digest_word(uint64_t value, uint64_t index) {
	return hs_mix64(value ^ ((index + 1) * HS_GOLDEN));
}

#endif
