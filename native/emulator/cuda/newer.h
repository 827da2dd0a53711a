/* Calls of a driver to come, in no header: for what stands in front of a driver and must cope with them. */
#ifndef HS_NEWER_H
#define HS_NEWER_H

#include "hs_cuda.h"

HS_API CUresult cuMemcpyTeleport(CUdeviceptr dst, CUdeviceptr src, size_t bytes, float half, CUipcMemHandle by_value, int three,
				 int four, double third, int five, int six, int seven, unsigned long long sum);
HS_API CUresult cuMemTeleport(CUdeviceptr *ptr);

/* This one there is, in CUDA after 13.0. */
HS_API CUresult cuStreamBeginRecaptureToGraph(CUstream stream, CUstreamCaptureMode mode, CUgraph graph, void *callback, void *data);

#endif
