/* Modules, functions, launches. */
#include <stdlib.h>

#include "internal.h"

struct CUmod_st {
	char unused;
};

static CUresult load(CUmodule *module, const void *image) {
	struct hs_ctx *ctx;
	CUresult result = module && image ? hs_current_ok(&ctx) : CUDA_ERROR_INVALID_VALUE;
	if (result != CUDA_SUCCESS)
		return result;
	*module = calloc(1, sizeof **module);
	return *module ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuModuleLoadData(CUmodule *module, const void *image) {
	HS_CALL(load(module, image));
}

static CUresult unload(CUmodule module) {
	if (!module)
		return CUDA_ERROR_INVALID_VALUE;
	free(module);
	return CUDA_SUCCESS;
}

CUresult cuModuleUnload(CUmodule module) {
	HS_CALL(unload(module));
}

static CUresult get_function(CUfunction *function, CUmodule module, const char *name) {
	if (!function || !module || !name)
		return CUDA_ERROR_INVALID_VALUE;
	hs_kernel kernel = hs_kernel_find(name);
	if (!kernel)
		return CUDA_ERROR_NOT_FOUND;
	*function = (CUfunction)kernel;
	return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
	HS_CALL(get_function(function, module, name));
}

static CUresult launch(CUfunction function, unsigned int threads, CUstream stream, void **params, void **extra) {
	struct hs_work work = {.kernel = (hs_kernel)function};
	if (!function)
		return CUDA_ERROR_INVALID_HANDLE;
	if (threads == 0 || !params || extra)
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned i = 0; i < hs_kernel_params(work.kernel); i++)
		work.params[i] = *(uint64_t *)params[i];
	return hs_stream_work(stream, &work);
}

CUresult cuLaunchKernel(CUfunction function, unsigned int gridX, unsigned int gridY, unsigned int gridZ,
			unsigned int blockX, unsigned int blockY, unsigned int blockZ, unsigned int sharedBytes,
			CUstream stream, void **params, void **extra) {
	(void)sharedBytes;
	bool all = gridX && gridY && gridZ && blockX && blockY && blockZ;
	HS_CALL(launch(function, all, stream, params, extra));
}
