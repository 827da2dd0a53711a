#include "cuda_api.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

/* dlsym gives a void pointer; ISO C has no conversion from it to a function pointer, POSIX promises the copy works. */
static int find(void *library, const char *name, void *slot, size_t slot_size) {
	void *symbol = dlsym(library, name);

	memcpy(slot, &symbol, slot_size);
	return symbol != NULL;
}

int cuda_api_load(struct cuda_api *api, char *problem, size_t problem_size) {
	void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);

	memset(api, 0, sizeof *api);
	if (library == NULL) {
		const char *why = dlerror();
		snprintf(problem, problem_size, "cannot load the CUDA driver library: %s", why ? why : "libcuda.so.1");
		return -1;
	}
#define FIND(member, name)                                                                                             \
	if (!find(library, #name, &api->member, sizeof api->member)) {                                                 \
		snprintf(problem, problem_size, "libcuda.so.1 lacks %s: a CUDA driver of 12 or newer is needed",       \
			 #name);                                                                                       \
		return -1;                                                                                             \
	}
	CUDA_API_CALLS(FIND)
#undef FIND
	find(library, "cuEmuCommJoin", &api->EmuCommJoin, sizeof api->EmuCommJoin);
	return 0;
}

const char *cuda_result_name(const struct cuda_api *api, CUresult result) {
	const char *name = NULL;

	return api->GetErrorName(result, &name) == CUDA_SUCCESS && name != NULL ? name : "an unknown CUresult";
}
