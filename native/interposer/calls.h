/* What the wrappers share with the rest. No CUDA header: the wrappers' types are the ABI's, so that one build serves every
 * driver. */
#ifndef HSI_CALLS_H
#define HSI_CALLS_H

#include <stdbool.h>

#include "glibc.h"

/* driver.c: the real driver */
void *hsi_driver(const char *name); /* NULL: it has no such call */

/* wrappers.c: what stands in front of the driver */
struct hsi_call {
	const char *name;
	void *ours;
};
const struct hsi_call *hsi_call_named(const char *name);
extern const int hsi_header_version;	/* as CUDA_VERSION: newer calls are not classified */
bool hsi_call_known(const char *name); /* the header has it, under this name or a version of it */
void *hsi_call_for(void *real); /* ours for the driver's function at that address, or NULL */

/* gate.c */
void hsi_enter(void);
void hsi_leave(void);

#endif
