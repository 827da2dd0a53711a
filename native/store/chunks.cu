/* What a chunk holds, in 128 bits and a zero test. Twins with the same result: `chunks` in native/emulator/cuda/kernels.c
 * and hotseat.store.digest (numpy). PTX is checked in; regenerate-ptx.sh makes it.
 *
 * Each word goes, with a key of its place, through a bijection (splitmix64's finalizer); the two sums of what comes out,
 * before and after another bijection, are the digest. So one changed word always shows, and more by chance fail to in 1 of
 * 2^128. Keys come from a secret of the store: a workload cannot make a chunk that passes for another's. */
#include <stdint.h>

#define STEP 0x9e3779b97f4a7c15ull

__device__ __forceinline__ uint64_t mix64(uint64_t x) {
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ull;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

__device__ __forceinline__ uint64_t again(uint64_t x) {
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	return x ^ (x >> 32);
}

/* One block of 512 threads for each chunk; `words` is a multiple of 2. out: 3 words a chunk, two of digest, one that is
 * 0 if and only if all of the chunk is. */
extern "C" __global__ void __launch_bounds__(512)
hotseat_chunks(const uint64_t *data, uint64_t words, uint64_t chunks, uint64_t key, uint64_t *out) {
	__shared__ uint64_t part[16][3];
	const ulonglong2 *pairs = (const ulonglong2 *)(data + blockIdx.x * words);
	uint64_t first = 0, second = 0, any = 0;
	if (blockIdx.x >= chunks)
		return;
#pragma unroll 4
	for (uint64_t i = threadIdx.x; i < words / 2; i += blockDim.x) {
		ulonglong2 pair = pairs[i];
		uint64_t a = mix64(pair.x ^ mix64(key + (2 * i + 1) * STEP));
		uint64_t b = mix64(pair.y ^ mix64(key + (2 * i + 2) * STEP));
		first += a + b;
		second += again(a) + again(b);
		any |= pair.x | pair.y;
	}
	for (int lanes = 16; lanes; lanes /= 2) {
		first += __shfl_down_sync(0xffffffffu, first, lanes);
		second += __shfl_down_sync(0xffffffffu, second, lanes);
		any |= __shfl_down_sync(0xffffffffu, any, lanes);
	}
	if (threadIdx.x % 32 == 0) {
		part[threadIdx.x / 32][0] = first;
		part[threadIdx.x / 32][1] = second;
		part[threadIdx.x / 32][2] = any;
	}
	__syncthreads();
	if (threadIdx.x == 0) {
		for (unsigned int warp = 1; warp < blockDim.x / 32; warp++) {
			first += part[warp][0];
			second += part[warp][1];
			any |= part[warp][2];
		}
		out[3 * blockIdx.x] = first;
		out[3 * blockIdx.x + 1] = second;
		out[3 * blockIdx.x + 2] = any;
	}
}
