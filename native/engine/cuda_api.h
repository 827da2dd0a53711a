/* The few driver calls that the engine needs, found by name in libcuda.so.1 at run time: the real one or the emulated
 * one. So the same program runs with either, and builds with neither. */
#ifndef HS_ENGINE_CUDA_API_H
#define HS_ENGINE_CUDA_API_H

#include <hs_cuda.h>

/* X(member, exported name) */
#define CUDA_API_CALLS(X)                                                                                              \
	X(Init, cuInit)                                                                                                \
	X(DeviceGet, cuDeviceGet)                                                                                      \
	X(DeviceGetAttribute, cuDeviceGetAttribute)                                                                    \
	X(DevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain)                                                            \
	X(DevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2)                                                       \
	X(CtxSetCurrent, cuCtxSetCurrent)                                                                              \
	X(CtxSynchronize, cuCtxSynchronize)                                                                            \
	X(ModuleLoadData, cuModuleLoadData)                                                                            \
	X(ModuleGetFunction, cuModuleGetFunction)                                                                      \
	X(MemAlloc, cuMemAlloc_v2)                                                                                     \
	X(MemFree, cuMemFree_v2)                                                                                       \
	X(MemsetD8, cuMemsetD8_v2)                                                                                     \
	X(MemcpyDtoH, cuMemcpyDtoH_v2)                                                                                 \
	X(LaunchKernel, cuLaunchKernel)                                                                                \
	X(GetErrorName, cuGetErrorName)

struct cuda_api {
#define CUDA_API_MEMBER(member, name) __typeof__(&name) member;
	CUDA_API_CALLS(CUDA_API_MEMBER)
#undef CUDA_API_MEMBER
	/* Only the emulated driver exports it: ranks that share a communicator, as NCCL's do. NULL elsewhere. */
	__typeof__(&cuEmuCommJoin) EmuCommJoin;
};

/* Loads libcuda.so.1. Returns 0, or -1 with a sentence in `problem`. */
int cuda_api_load(struct cuda_api *api, char *problem, size_t problem_size);

/* "CUDA_ERROR_OUT_OF_MEMORY", or "an unknown CUresult" where the driver knows no name. */
const char *cuda_result_name(const struct cuda_api *api, CUresult result);

#endif
