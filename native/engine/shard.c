#include "shard.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mix.h"
#include "seeds.h"

static const char kernels_ptx[] =
#include "kernels_ptx.inc"
	;

#define THREADS_PER_BLOCK 256
#define BLOCKS_PER_MULTIPROCESSOR 8

struct shard {
	int index; /* in the engine */
	struct shard_spec spec;
	CUdevice device;
	CUcontext context;
	CUfunction fill, digest;
	unsigned max_grid;
	CUdeviceptr weights, kv, sums;
};

struct shards {
	struct cuda_api api;
	int count;
	struct shard shard[SHARD_MAX];
};

static int fail(char *problem, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

static int fail(char *problem, size_t size, const char *format, ...) {
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(problem, size, format, arguments);
	va_end(arguments);
	return -1;
}

/* Runs a driver call; on failure returns from the caller with a sentence that names call, device and result. */
#define TRY(shards, device, call)                                                                                      \
	do {                                                                                                           \
		CUresult result_ = (shards)->api.call;                                                                 \
		if (result_ != 0)                                                                                      \
			return fail(problem, problem_size, "device %d: cu%.*s: %s", device, (int)strcspn(#call, "("),  \
				    #call, cuda_result_name(&(shards)->api, result_));                                 \
	} while (0)

static unsigned grid_for(const struct shard *shard, uint64_t threads) {
	uint64_t blocks = (threads + THREADS_PER_BLOCK - 1) / THREADS_PER_BLOCK;

	return blocks < 1 ? 1 : blocks > shard->max_grid ? shard->max_grid : (unsigned)blocks;
}

static CUresult launch_fill(struct shards *all, struct shard *shard, CUdeviceptr data, uint64_t words, uint64_t first,
			    uint64_t seed) {
	void *parameters[] = {&data, &words, &first, &seed};

	return all->api.LaunchKernel(shard->fill, grid_for(shard, words), 1, 1, THREADS_PER_BLOCK, 1, 1, 0, NULL,
				     parameters, NULL);
}

static CUresult launch_digest(struct shards *all, struct shard *shard, CUdeviceptr data, uint64_t words, uint64_t first,
			      CUdeviceptr out) {
	void *parameters[] = {&data, &words, &first, &out};

	return all->api.LaunchKernel(shard->digest, grid_for(shard, words / 2), 1, 1, THREADS_PER_BLOCK, 1, 1, 0, NULL,
				     parameters, NULL);
}

static int shard_load(struct shards *all, struct shard *shard, char *problem, size_t problem_size) {
	int ordinal = shard->spec.device, multiprocessors = 1;
	CUmodule module;

	TRY(all, ordinal, DeviceGet(&shard->device, ordinal));
	TRY(all, ordinal, DevicePrimaryCtxRetain(&shard->context, shard->device));
	TRY(all, ordinal, CtxSetCurrent(shard->context));
	TRY(all, ordinal,
	    DeviceGetAttribute(&multiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, shard->device));
	shard->max_grid = (unsigned)(multiprocessors > 0 ? multiprocessors : 1) * BLOCKS_PER_MULTIPROCESSOR;
	TRY(all, ordinal, ModuleLoadData(&module, kernels_ptx));
	TRY(all, ordinal, ModuleGetFunction(&shard->fill, module, "hotseat_fill"));
	TRY(all, ordinal, ModuleGetFunction(&shard->digest, module, "hotseat_digest"));
	return 0;
}

static int shard_fill(struct shards *all, struct shard *shard, uint64_t seed, char *problem, size_t problem_size) {
	const struct shard_spec *spec = &shard->spec;

	TRY(all, spec->device, CtxSetCurrent(shard->context));
	TRY(all, spec->device, MemAlloc(&shard->weights, spec->weights_words * 8));
	TRY(all, spec->device, MemAlloc(&shard->kv, spec->kv_words * 8));
	TRY(all, spec->device, MemAlloc(&shard->sums, (2 + STEP_MAX_BLOCKS) * 8));
	TRY(all, spec->device, MemsetD8(shard->sums, 0, (2 + STEP_MAX_BLOCKS) * 8));
	CUresult result =
		launch_fill(all, shard, shard->weights, spec->weights_words, spec->weights_first, weights_seed(seed));
	if (result == CUDA_SUCCESS)
		result = launch_fill(all, shard, shard->kv, spec->kv_words, spec->kv_first, kv_seed(seed));
	if (result != CUDA_SUCCESS)
		return fail(problem, problem_size, "device %d: cuLaunchKernel(hotseat_fill): %s", spec->device,
			    cuda_result_name(&all->api, result));
	TRY(all, spec->device, CtxSynchronize());
	return 0;
}

static struct shards *shards_init(char *problem, size_t problem_size) {
	struct shards *all = calloc(1, sizeof *all);
	CUresult result;

	if (all == NULL) {
		fail(problem, problem_size, "out of memory");
		return NULL;
	}
	if (cuda_api_load(&all->api, problem, problem_size) != 0) {
		free(all);
		return NULL;
	}
	result = all->api.Init(0);
	if (result != CUDA_SUCCESS) {
		fail(problem, problem_size, "cuInit: %s", cuda_result_name(&all->api, result));
		free(all);
		return NULL;
	}
	return all;
}

struct shards *shards_open(const struct shard_spec *specs, const int *indexes, int count, uint64_t seed, char *problem,
			   size_t problem_size) {
	struct shards *all = shards_init(problem, problem_size);

	if (all == NULL)
		return NULL;
	for (int i = 0; i < count; i++) {
		struct shard *shard = &all->shard[i];
		shard->spec = specs[i];
		shard->index = indexes[i];
		all->count = i + 1;
		if (shard_load(all, shard, problem, problem_size) != 0 ||
		    shard_fill(all, shard, seed, problem, problem_size) != 0) {
			shards_close(all);
			return NULL;
		}
	}
	return all;
}

int shards_join(struct shards *all, uint64_t id, int nranks, char *problem, size_t problem_size) {
	if (all->api.EmuCommJoin != NULL && nranks > 1) {
		TRY(all, all->shard[0].spec.device, CtxSetCurrent(all->shard[0].context));
		TRY(all, all->shard[0].spec.device, EmuCommJoin(id, nranks));
	}
	return 0;
}

/* Starts everything on one device; the launches return before the kernels have run. */
static int shard_launch(struct shards *all, struct shard *shard, const struct entry_write *writes, int nwrites,
			const struct block_digest *digests, int ndigests, char *problem, size_t problem_size) {
	const struct shard_spec *spec = &shard->spec;
	CUresult result = CUDA_SUCCESS;

	TRY(all, spec->device, CtxSetCurrent(shard->context));
	TRY(all, spec->device, MemsetD8(shard->sums, 0, (2 + STEP_MAX_BLOCKS) * 8));
	for (int i = 0; i < nwrites && result == CUDA_SUCCESS; i++)
		if ((int)writes[i].shard == shard->index)
			result =
				launch_fill(all, shard, shard->kv + writes[i].word * 8, ENTRY_WORDS, 0, writes[i].seed);
	if (result == CUDA_SUCCESS)
		result = launch_digest(all, shard, shard->weights, spec->weights_words, spec->weights_first,
				       shard->sums);
	if (result == CUDA_SUCCESS)
		result = launch_digest(all, shard, shard->kv, spec->kv_words, spec->kv_first, shard->sums + 8);
	for (int i = 0; i < ndigests && result == CUDA_SUCCESS; i++)
		if ((int)digests[i].shard == shard->index)
			result = launch_digest(all, shard, shard->kv + digests[i].word * 8, digests[i].words,
					       digests[i].first_index, shard->sums + (2 + digests[i].index) * 8);
	if (result != CUDA_SUCCESS)
		return fail(problem, problem_size, "device %d: cuLaunchKernel: %s", spec->device,
			    cuda_result_name(&all->api, result));
	return 0;
}

int shards_step(struct shards *all, const struct entry_write *writes, int nwrites, const struct block_digest *digests,
		int ndigests, struct step_sums *sums, char *problem, size_t problem_size) {
	static uint64_t host[2 + STEP_MAX_BLOCKS]; /* one thread owns CUDA */

	for (int i = 0; i < all->count; i++)
		if (shard_launch(all, &all->shard[i], writes, nwrites, digests, ndigests, problem, problem_size) != 0)
			return -1;
	for (int i = 0; i < all->count; i++) {
		struct shard *shard = &all->shard[i];
		TRY(all, shard->spec.device, CtxSetCurrent(shard->context));
		TRY(all, shard->spec.device, MemcpyDtoH(host, shard->sums, sizeof host));
		sums->weights += host[0];
		sums->kv += host[1];
		for (int k = 0; k < ndigests; k++)
			if ((int)digests[k].shard == shard->index)
				sums->blocks[digests[k].index] += host[2 + digests[k].index];
	}
	return 0;
}

void shards_close(struct shards *all) {
	for (int i = 0; i < all->count; i++) {
		struct shard *shard = &all->shard[i];
		if (shard->context == NULL || all->api.CtxSetCurrent(shard->context) != 0)
			continue;
		if (shard->sums)
			all->api.MemFree(shard->sums);
		if (shard->kv)
			all->api.MemFree(shard->kv);
		if (shard->weights)
			all->api.MemFree(shard->weights);
		all->api.DevicePrimaryCtxRelease(shard->device);
	}
	free(all);
}

int shards_hold(const int *devices, int count, uint64_t bytes, uint64_t seed, char *problem, size_t problem_size) {
	struct shards *all = shards_init(problem, problem_size);

	if (all == NULL)
		return -1;
	for (int i = 0; i < count; i++) {
		struct shard *shard = &all->shard[i];
		CUdeviceptr pointer;
		shard->spec.device = devices[i];
		if (shard_load(all, shard, problem, problem_size) != 0)
			return -1;
		TRY(all, devices[i], MemAlloc(&pointer, bytes));
		CUresult result = launch_fill(all, shard, pointer, bytes / 8, 0, weights_seed(seed));
		if (result != CUDA_SUCCESS)
			return fail(problem, problem_size, "device %d: cuLaunchKernel(hotseat_fill): %s", devices[i],
				    cuda_result_name(&all->api, result));
		TRY(all, devices[i], CtxSynchronize());
	}
	return 0; /* the memory is held until the process ends */
}
