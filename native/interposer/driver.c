/* How engines get the driver's functions, and how we get them: dlsym, cuGetProcAddress, and by linking. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>

#include "interposer.h"

/* A sanitizer's library calls it before anything of the sanitizer's can be used. */
#define EARLY __attribute__((no_sanitize("address", "undefined")))

typedef void *(*dlsym_fn)(void *, const char *);

/* By the name that every glibc has: it moved from libdl into libc in 2.34. */
static EARLY dlsym_fn libc_dlsym(void) {
	static void *at;
	void *found = __atomic_load_n(&at, __ATOMIC_ACQUIRE);
	if (!found)
		found = dlvsym(RTLD_NEXT, "dlsym", HSI_OLDEST);
	__atomic_store_n(&at, found, __ATOMIC_RELEASE);
	return (dlsym_fn)found;
}

void *hsi_driver(const char *name) {
	static void *library;
	void *handle = __atomic_load_n(&library, __ATOMIC_ACQUIRE);
	if (!handle) {
		handle = dlopen("libcuda.so.1", RTLD_NOW);
		__atomic_store_n(&library, handle, __ATOMIC_RELEASE);
	}
	return handle ? libc_dlsym()(handle, name) : NULL;
}

static void *instead(void *handle, const struct hsi_call *call) {
	void *found = libc_dlsym()(handle, call->name);
	if (!found || !hsi_active())
		return found == call->ours ? hsi_driver(call->name) : found;
	void *real = hsi_driver(call->name);
	if (found == call->ours) /* RTLD_DEFAULT finds us first */
		return real ? found : NULL;
	return found == real ? call->ours : found;
}

/* All but the driver's names are left to libc by a jump, as RTLD_NEXT is answered by who calls. */
EARLY __attribute__((visibility("default"), optimize("O2"))) void *dlsym(void *restrict handle, const char *restrict name) {
	const struct hsi_call *call = name[0] == 'c' && name[1] == 'u' ? hsi_call_named(name) : NULL;
	if (call)
		return instead(handle, call);
	bool may_be_newer = name[0] == 'c' && name[1] == 'u' && name[2] >= 'A' && name[2] <= 'Z' && hsi_active() && !hsi_call_known(name);
	if (!may_be_newer)
		return libc_dlsym()(handle, name);
	void *found = libc_dlsym()(handle, name);
	return found && found == hsi_driver(name) ? hsi_unknown(name, found) : found;
}

/* The driver may give a version of a call under its first name, so its address tells which one it is. */
static void exchange(const char *symbol, void **function, int version, uint64_t flags) {
	if (!function || !*function || !hsi_active())
		return;
	void *ours = hsi_call_for(*function), *old = NULL;
	if (ours) {
		*function = ours;
		return;
	}
	if (version <= hsi_header_version)
		return; /* it only looks */
	if (hsi_call_known(symbol) && REAL(cuGetProcAddress_v2) &&
	    REAL(cuGetProcAddress_v2)(symbol, &old, hsi_header_version, flags, NULL) == CUDA_SUCCESS && old == *function)
		return;
	*function = hsi_unknown(symbol, *function);
}

CUresult cuGetProcAddress_v2(const char *symbol, void **pfn, int cudaVersion, uint64_t flags,
			     CUdriverProcAddressQueryResult *status) {
	CUresult result = REAL_OR_RETURN(cuGetProcAddress_v2)(symbol, pfn, cudaVersion, flags, status);
	if (result == CUDA_SUCCESS)
		exchange(symbol, pfn, cudaVersion, flags);
	return result;
}

CUresult cuGetProcAddress(const char *symbol, void **pfn, int cudaVersion, uint64_t flags) {
	CUresult result = REAL_OR_RETURN(cuGetProcAddress)(symbol, pfn, cudaVersion, flags);
	if (result == CUDA_SUCCESS)
		exchange(symbol, pfn, cudaVersion, flags);
	return result;
}
