/* CPU twins of the kernels that hotseat's own programs launch, found by name; the module's image is not looked at. */
#include <string.h>

#include "internal.h"

struct kernel {
	const char *name;
	hs_kernel run;
	unsigned params; /* each of 8 bytes */
};

static uint64_t mix64(uint64_t x) { /* splitmix64's finalizer */
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ull;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

#define STEP 0x9e3779b97f4a7c15ull
#define PARAM(type, index) (*(type *)params[index])

/* (const uint64_t *data, uint64_t nwords, uint64_t first_index, uint64_t *out) */
static CUresult digest(void **params) {
	uint64_t words = PARAM(uint64_t, 1), first = PARAM(uint64_t, 2), sum = 0;
	const uint64_t *data = hs_kernel_bytes(PARAM(CUdeviceptr, 0), words * 8, false);
	_Atomic uint64_t *out = hs_kernel_bytes(PARAM(CUdeviceptr, 3), 8, true);
	if (!data || !out || words > SIZE_MAX / 8)
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	hs_wait_idle();
	for (uint64_t i = 0; i < words; i++)
		sum += mix64(data[i] ^ ((first + i + 1) * STEP));
	atomic_fetch_add(out, sum);
	return CUDA_SUCCESS;
}

/* (uint64_t *data, uint64_t nwords, uint64_t first_index, uint64_t seed) */
static CUresult fill(void **params) {
	uint64_t words = PARAM(uint64_t, 1), first = PARAM(uint64_t, 2), seed = PARAM(uint64_t, 3);
	uint64_t *data = hs_kernel_bytes(PARAM(CUdeviceptr, 0), words * 8, true);
	if (!data || words > SIZE_MAX / 8)
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	hs_wait_idle();
	for (uint64_t i = 0; i < words; i++)
		data[i] = mix64(seed ^ ((first + i + 1) * STEP));
	return CUDA_SUCCESS;
}

/* (uint64_t milliseconds): keeps the device busy that long; the call returns at once. */
static CUresult spin(void **params) {
	uint64_t now = hs_now_ns(), ns = PARAM(uint64_t, 0) * 1000000ull;
	uint64_t busy = atomic_load(&hs.busy_until);
	while (!atomic_compare_exchange_weak(&hs.busy_until, &busy, (busy > now ? busy : now) + ns))
		;
	return CUDA_SUCCESS;
}

static uint64_t again(uint64_t x) {
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	return x ^ (x >> 32);
}

/* (const uint64_t *data, uint64_t words, uint64_t chunks, uint64_t key, uint64_t *out); see native/store/chunks.cu */
static CUresult chunks(void **params) {
	uint64_t words = PARAM(uint64_t, 1), count = PARAM(uint64_t, 2), key = PARAM(uint64_t, 3);
	if (!words || !count || words > SIZE_MAX / 8 / count)
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	const uint64_t *data = hs_kernel_bytes(PARAM(CUdeviceptr, 0), count * words * 8, false);
	uint64_t *out = hs_kernel_bytes(PARAM(CUdeviceptr, 4), count * 24, true);
	if (!data || !out)
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	hs_wait_idle();
	for (uint64_t chunk = 0; chunk < count; chunk++) {
		uint64_t first = 0, second = 0, any = 0;
		for (uint64_t i = 0; i < words; i++) {
			uint64_t word = data[chunk * words + i], mixed = mix64(word ^ mix64(key + (i + 1) * STEP));
			first += mixed;
			second += again(mixed);
			any |= word;
		}
		out[3 * chunk] = first;
		out[3 * chunk + 1] = second;
		out[3 * chunk + 2] = any;
	}
	return CUDA_SUCCESS;
}

static const struct kernel kernels[] = {
	{"hotseat_digest", digest, 4},
	{"hotseat_chunks", chunks, 5},
	{"hotseat_fill", fill, 4},
	{"hotseat_spin", spin, 1},
};

hs_kernel hs_kernel_find(const char *name) {
	for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
		if (strcmp(kernels[i].name, name) == 0)
			return kernels[i].run;
	return NULL;
}

unsigned hs_kernel_params(hs_kernel kernel) {
	for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
		if (kernels[i].run == kernel)
			return kernels[i].params;
	return 0;
}
