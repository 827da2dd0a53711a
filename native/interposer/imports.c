/* Memory of other processes that the engine has imported itself, by handle: while any of it is held, a checkpoint would
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
