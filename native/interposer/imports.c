/* Memory of other processes that the engine has imported itself, by handle or by address: while any of it is held, a checkpoint would
 * lose the process (FACTS of the H200: also when it is not mapped). */
#include <stdlib.h>

#include "interposer.h"

static struct import {
	CUmemGenericAllocationHandle handle;
	int refs; /* handles and mappings */
} *imports;
static unsigned count, room;

static struct import *find(CUmemGenericAllocationHandle handle) {
	for (unsigned i = 0; i < count; i++)
		if (imports[i].handle == handle)
			return &imports[i];
	return NULL;
}

void hsi_import_add(CUmemGenericAllocationHandle handle) {
	if (find(handle)) {
		hsi_import_refer(handle, 1);
		return;
	}
	if (count == room) {
		room = room ? room * 2 : 16;
		struct import *larger = realloc(imports, room * sizeof *larger);
		if (!larger)
			abort(); /* one that is not known of would cost the process later */
		imports = larger;
	}
	imports[count++] = (struct import){handle, 1};
}

bool hsi_import_known(CUmemGenericAllocationHandle handle) {
	return find(handle) != NULL;
}

void hsi_import_refer(CUmemGenericAllocationHandle handle, int by) {
	struct import *import = find(handle);
	if (import && (import->refs += by) <= 0)
		*import = imports[--count];
}

unsigned hsi_imports(void) {
	return count;
}

void hsi_imports_forked(void) {
	count = 0;
}

CUresult cuIpcOpenMemHandle(CUdeviceptr *ptr, CUipcMemHandle handle, unsigned int flags);

static CUresult opened(CUresult result, const CUdeviceptr *ptr) {
	if (result == CUDA_SUCCESS) {
		pthread_mutex_lock(&hsi_lock);
		hsi_import_add(*ptr);
		pthread_mutex_unlock(&hsi_lock);
	}
	return result;
}

HS_API CUresult cuIpcOpenMemHandle(CUdeviceptr *ptr, CUipcMemHandle handle, unsigned int flags) {
	GATED(opened(REAL_OR_RETURN(cuIpcOpenMemHandle)(ptr, handle, flags), ptr));
}

CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *ptr, CUipcMemHandle handle, unsigned int flags) {
	GATED(opened(REAL_OR_RETURN(cuIpcOpenMemHandle_v2)(ptr, handle, flags), ptr));
}

static CUresult close_handle(CUdeviceptr ptr) {
	CUresult result = REAL_OR_RETURN(cuIpcCloseMemHandle)(ptr);
	if (result == CUDA_SUCCESS) {
		pthread_mutex_lock(&hsi_lock);
		hsi_import_refer(ptr, -1);
		pthread_mutex_unlock(&hsi_lock);
	}
	return result;
}

CUresult cuIpcCloseMemHandle(CUdeviceptr ptr) {
	GATED(close_handle(ptr));
}

/* The driver has no such handle for mappable memory. */
static CUresult get_handle(CUipcMemHandle *handle, CUdeviceptr ptr) {
	pthread_mutex_lock(&hsi_lock);
	bool ours = hsi_mapping_at(ptr) != NULL;
	pthread_mutex_unlock(&hsi_lock);
	if (!ours)
		return REAL_OR_RETURN(cuIpcGetMemHandle)(handle, ptr);
	hsi_say("memory that can move cannot be shared by cuIpcGetMemHandle; turn that off in this engine, or start it without the interposer", NULL);
	return CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuIpcGetMemHandle(CUipcMemHandle *handle, CUdeviceptr ptr) {
	GATED(get_handle(handle, ptr));
}
