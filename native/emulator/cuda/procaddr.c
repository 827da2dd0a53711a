/* cuGetProcAddress: the table of exports by base name and version. */
#include <string.h>

#include "internal.h"
#include "newer.h"

static const struct {
	const char *name;
	void *function;
	int since;
} exports[] = {
#define X(name, symbol, since) {#name, (void *)symbol, since},
#include "exports.def"
#undef X
};

/* Since its second version the call succeeds also when there is no such function: the pointer is NULL then. */
CUresult cuGetProcAddress_v2(const char *symbol, void **pfn, int cudaVersion, uint64_t flags,
			     CUdriverProcAddressQueryResult *status) {
	if (!symbol || !pfn || flags > 2)
		return CUDA_ERROR_INVALID_VALUE;
	CUdriverProcAddressQueryResult found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
	*pfn = NULL;
	for (size_t i = 0; i < sizeof exports / sizeof *exports; i++) {
		if (strcmp(exports[i].name, symbol) != 0)
			continue;
		if (exports[i].since == 13040 && !hs_has_custom_storage())
			continue; /* this driver is older */
		if (exports[i].since <= cudaVersion) { /* later rows are newer */
			*pfn = exports[i].function;
			found = CU_GET_PROC_ADDRESS_SUCCESS;
		} else if (!*pfn) {
			found = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
		}
	}
	if (status)
		*status = found;
	return CUDA_SUCCESS;
}

CUresult cuGetProcAddress(const char *symbol, void **pfn, int cudaVersion, uint64_t flags) {
	CUresult result = cuGetProcAddress_v2(symbol, pfn, cudaVersion, flags, NULL);
	return result == CUDA_SUCCESS && !*pfn ? CUDA_ERROR_NOT_FOUND : result;
}
