#include "internal.h"
#include "newer.h"

/* Arguments of every kind, in registers and beside them: one that is lost on the way is found out. */
CUresult cuMemcpyTeleport(CUdeviceptr dst, CUdeviceptr src, size_t bytes, float half, CUipcMemHandle by_value, int three, int four,
			  double third, int five, int six, int seven, unsigned long long sum) {
	bool whole = half == 0.5f && third == 1.0 / 3.0 && three == 3 && four == 4 && five == 5 && six == 6 && seven == 7 &&
		     sum == dst + src + bytes;
	for (size_t i = 0; i < sizeof by_value; i++)
		whole = whole && ((const unsigned char *)&by_value)[i] == i;
	return whole ? cuMemcpyDtoD_v2(dst, src, bytes) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemTeleport(CUdeviceptr *ptr) {
	if (!ptr)
		return CUDA_ERROR_INVALID_VALUE;
	*ptr = 0;
	return CUDA_SUCCESS;
}
