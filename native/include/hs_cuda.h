/* The part of the CUDA driver API that hotseat uses: values, struct layouts and names of CUDA 13.0's ABI, written anew
 * for this project so that it builds without a CUDA toolkit. Functions stand under their exported (versioned) names.
 * The emulated driver implements exactly these; the demo engine finds them in libcuda.so.1 at run time with dlsym. */
#ifndef HS_CUDA_H
#define HS_CUDA_H

#include <stddef.h>
#include <stdint.h>

#ifdef HS_CUDA_IMPLEMENTATION
#define HS_API __attribute__((visibility("default")))
#else
#define HS_API
#endif

#define CUDA_VERSION 13000

typedef enum {
	CUDA_SUCCESS = 0,
	CUDA_ERROR_INVALID_VALUE = 1,
	CUDA_ERROR_OUT_OF_MEMORY = 2,
	CUDA_ERROR_NOT_INITIALIZED = 3,
	CUDA_ERROR_DEINITIALIZED = 4,
	CUDA_ERROR_STUB_LIBRARY = 34,
	CUDA_ERROR_DEVICE_UNAVAILABLE = 46,
	CUDA_ERROR_NO_DEVICE = 100,
	CUDA_ERROR_INVALID_DEVICE = 101,
	CUDA_ERROR_INVALID_IMAGE = 200,
	CUDA_ERROR_INVALID_CONTEXT = 201,
	CUDA_ERROR_MAP_FAILED = 205,
	CUDA_ERROR_UNMAP_FAILED = 206,
	CUDA_ERROR_ALREADY_MAPPED = 208,
	CUDA_ERROR_NO_BINARY_FOR_GPU = 209,
	CUDA_ERROR_NOT_MAPPED = 211,
	CUDA_ERROR_CONTEXT_ALREADY_IN_USE = 216,
	CUDA_ERROR_PEER_ACCESS_UNSUPPORTED = 217,
	CUDA_ERROR_INVALID_PTX = 218,
	CUDA_ERROR_FILE_NOT_FOUND = 301,
	CUDA_ERROR_OPERATING_SYSTEM = 304,
	CUDA_ERROR_INVALID_HANDLE = 400,
	CUDA_ERROR_ILLEGAL_STATE = 401,
	CUDA_ERROR_NOT_FOUND = 500,
	CUDA_ERROR_NOT_READY = 600,
	CUDA_ERROR_ILLEGAL_ADDRESS = 700,
	CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED = 704,
	CUDA_ERROR_PEER_ACCESS_NOT_ENABLED = 705,
	CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE = 708,
	CUDA_ERROR_CONTEXT_IS_DESTROYED = 709,
	CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED = 712,
	CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED = 713,
	CUDA_ERROR_LAUNCH_FAILED = 719,
	CUDA_ERROR_NOT_PERMITTED = 800,
	CUDA_ERROR_NOT_SUPPORTED = 801,
	CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803,
	CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900,
	CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901,
	CUDA_ERROR_STREAM_CAPTURE_MERGE = 902,
	CUDA_ERROR_STREAM_CAPTURE_UNMATCHED = 903,
	CUDA_ERROR_STREAM_CAPTURE_IMPLICIT = 906,
	CUDA_ERROR_CAPTURED_EVENT = 907,
	CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD = 908,
	CUDA_ERROR_TIMEOUT = 909,
	CUDA_ERROR_UNKNOWN = 999
} CUresult;

typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef unsigned long long CUmemGenericAllocationHandle;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;
typedef void (*CUhostFn)(void *userData);

typedef struct CUuuid_st {
	char bytes[16];
} CUuuid;

typedef enum {
	CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 1,
	CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X = 2,
	CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y = 3,
	CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z = 4,
	CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X = 5,
	CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y = 6,
	CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z = 7,
	CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK = 8,
	CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY = 9,
	CU_DEVICE_ATTRIBUTE_WARP_SIZE = 10,
	CU_DEVICE_ATTRIBUTE_MAX_PITCH = 11,
	CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK = 12,
	CU_DEVICE_ATTRIBUTE_CLOCK_RATE = 13,
	CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT = 14,
	CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
	CU_DEVICE_ATTRIBUTE_INTEGRATED = 18,
	CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY = 19,
	CU_DEVICE_ATTRIBUTE_COMPUTE_MODE = 20,
	CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS = 31,
	CU_DEVICE_ATTRIBUTE_ECC_ENABLED = 32,
	CU_DEVICE_ATTRIBUTE_PCI_BUS_ID = 33,
	CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID = 34,
	CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE = 36,
	CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH = 37,
	CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE = 38,
	CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR = 39,
	CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT = 40,
	CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING = 41,
	CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID = 50,
	CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
	CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
	CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED = 78,
	CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY = 83,
	CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS = 89,
	CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH = 95,
	CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED = 99,
	CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED = 102,
	CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED = 103,
	CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED = 115,
	CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_FABRIC_SUPPORTED = 128,
	CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED = 132,
	CU_DEVICE_ATTRIBUTE_MPS_ENABLED = 133
} CUdevice_attribute;

typedef enum {
	CU_POINTER_ATTRIBUTE_CONTEXT = 1,
	CU_POINTER_ATTRIBUTE_MEMORY_TYPE = 2,
	CU_POINTER_ATTRIBUTE_DEVICE_POINTER = 3,
	CU_POINTER_ATTRIBUTE_HOST_POINTER = 4,
	CU_POINTER_ATTRIBUTE_IS_MANAGED = 8,
	CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL = 9,
	CU_POINTER_ATTRIBUTE_RANGE_START_ADDR = 11,
	CU_POINTER_ATTRIBUTE_RANGE_SIZE = 12
} CUpointer_attribute;

typedef enum { CU_MEMORYTYPE_HOST = 1, CU_MEMORYTYPE_DEVICE = 2 } CUmemorytype;

typedef enum {
	CU_MEM_HANDLE_TYPE_NONE = 0,
	CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR = 1
} CUmemAllocationHandleType;
typedef enum {
	CU_MEM_LOCATION_TYPE_INVALID = 0,
	CU_MEM_LOCATION_TYPE_DEVICE = 1,
	CU_MEM_LOCATION_TYPE_HOST = 2,
	CU_MEM_LOCATION_TYPE_HOST_NUMA = 3,
	CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT = 4
} CUmemLocationType;
typedef enum { CU_MEM_ALLOCATION_TYPE_INVALID = 0, CU_MEM_ALLOCATION_TYPE_PINNED = 1 } CUmemAllocationType;
typedef enum {
	CU_MEM_ALLOC_GRANULARITY_MINIMUM = 0,
	CU_MEM_ALLOC_GRANULARITY_RECOMMENDED = 1
} CUmemAllocationGranularity_flags;
typedef enum {
	CU_MEM_ACCESS_FLAGS_PROT_NONE = 0,
	CU_MEM_ACCESS_FLAGS_PROT_READ = 1,
	CU_MEM_ACCESS_FLAGS_PROT_READWRITE = 3
} CUmemAccess_flags;
#define CU_MEM_ATTACH_GLOBAL 1
#define CU_MEMHOSTALLOC_PORTABLE 1
#define CU_MEMHOSTALLOC_DEVICEMAP 2

typedef struct {
	CUmemLocationType type;
	int id;
} CUmemLocation;

typedef struct {
	CUmemAllocationType type;
	CUmemAllocationHandleType requestedHandleTypes;
	CUmemLocation location;
	void *win32HandleMetaData;
	struct {
		unsigned char compressionType;
		unsigned char gpuDirectRDMACapable;
		unsigned short usage;
		unsigned char reserved[4];
	} allocFlags;
} CUmemAllocationProp;

typedef struct {
	CUmemLocation location;
	CUmemAccess_flags flags;
} CUmemAccessDesc;

typedef struct CUmemPoolHandle_st *CUmemoryPool;
typedef struct {
	CUmemAllocationType allocType;
	CUmemAllocationHandleType handleTypes;
	CUmemLocation location;
	void *win32SecurityAttributes;
	size_t maxSize;
	unsigned short usage;
	unsigned char reserved[54];
} CUmemPoolProps;

typedef enum {
	CU_GET_PROC_ADDRESS_SUCCESS = 0,
	CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND = 1,
	CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT = 2
} CUdriverProcAddressQueryResult;

typedef enum {
	CU_PROCESS_STATE_RUNNING = 0,
	CU_PROCESS_STATE_LOCKED = 1,
	CU_PROCESS_STATE_CHECKPOINTED = 2,
	CU_PROCESS_STATE_FAILED = 3,
	CU_PROCESS_STATE_CHECKPOINTING = 4, /* CUDA 13.4 */
	CU_PROCESS_STATE_RESTORING = 5
} CUprocessState;

/* Each is 64 bytes; reserved fields must be zero. */
typedef struct {
	unsigned int timeoutMs; /* 0 = wait for ever */
	unsigned int reserved0;
	uint64_t reserved1[7];
} CUcheckpointLockArgs;
/* Custom storage is CUDA 13.4; to a driver before that the pointers to it are reserved bytes. */
typedef struct CUcheckpointOperation_st *CUcheckpointOperationHandle;
typedef struct {
	CUdeviceptr devPtr;
	size_t size;
	CUstream stream;
} CUcheckpointCustomStoragePerDeviceData;
typedef struct {
	CUcheckpointOperationHandle handle;
	CUcheckpointCustomStoragePerDeviceData *perDeviceData;
	unsigned int deviceCount;
} CUcheckpointCustomStorageInfo;
typedef struct {
	CUcheckpointCustomStorageInfo **customStorageInfo_out;
	char reserved[64 - sizeof(CUcheckpointCustomStorageInfo *)];
} CUcheckpointCheckpointArgs;
typedef struct {
	CUuuid oldUuid;
	CUuuid newUuid;
} CUcheckpointGpuPair;
typedef struct {
	CUcheckpointGpuPair *gpuPairs;
	unsigned int gpuPairsCount;
	unsigned int padding0;
	CUcheckpointCustomStorageInfo **customStorageInfo_out;
	char reserved[64 - 2 * sizeof(void *) - 2 * sizeof(unsigned int)];
} CUcheckpointRestoreArgs;
typedef struct {
	uint64_t reserved[8];
} CUcheckpointUnlockArgs;

/* Initialisation, errors, entry points */
HS_API CUresult cuInit(unsigned int flags);
HS_API CUresult cuDriverGetVersion(int *version);
HS_API CUresult cuGetErrorName(CUresult error, const char **name);
HS_API CUresult cuGetErrorString(CUresult error, const char **text);
HS_API CUresult cuGetProcAddress(const char *symbol, void **pfn, int cudaVersion, uint64_t flags);
HS_API CUresult cuGetProcAddress_v2(const char *symbol, void **pfn, int cudaVersion, uint64_t flags,
				    CUdriverProcAddressQueryResult *status);

/* Devices */
HS_API CUresult cuDeviceGet(CUdevice *device, int ordinal);
HS_API CUresult cuDeviceGetCount(int *count);
HS_API CUresult cuDeviceGetName(char *name, int len, CUdevice dev);
HS_API CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice dev);
HS_API CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice dev);
HS_API CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev);
HS_API CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice dev);
HS_API CUresult cuDeviceGetPCIBusId(char *text, int len, CUdevice dev);
HS_API CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice dev);
HS_API CUresult cuDeviceCanAccessPeer(int *can, CUdevice dev, CUdevice peer);

/* Contexts */
HS_API CUresult cuDevicePrimaryCtxRetain(CUcontext *ctx, CUdevice dev);
HS_API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev);
HS_API CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev);
HS_API CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags);
HS_API CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active);
HS_API CUresult cuCtxCreate_v2(CUcontext *ctx, unsigned int flags, CUdevice dev);
HS_API CUresult cuCtxCreate_v4(CUcontext *ctx, void *params, unsigned int flags, CUdevice dev);
HS_API CUresult cuCtxDestroy_v2(CUcontext ctx);
HS_API CUresult cuCtxPushCurrent_v2(CUcontext ctx);
HS_API CUresult cuCtxPopCurrent_v2(CUcontext *ctx);
HS_API CUresult cuCtxSetCurrent(CUcontext ctx);
HS_API CUresult cuCtxGetCurrent(CUcontext *ctx);
HS_API CUresult cuCtxGetDevice(CUdevice *dev);
HS_API CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned int flags);
HS_API CUresult cuCtxDisablePeerAccess(CUcontext peer);
HS_API CUresult cuCtxGetFlags(unsigned int *flags);
HS_API CUresult cuCtxGetApiVersion(CUcontext ctx, unsigned int *version);
HS_API CUresult cuCtxSynchronize(void);

/* Memory */
HS_API CUresult cuMemGetInfo_v2(size_t *free, size_t *total);
HS_API CUresult cuMemAlloc_v2(CUdeviceptr *ptr, size_t bytes);
HS_API CUresult cuMemFree_v2(CUdeviceptr ptr);
HS_API CUresult cuMemAllocAsync(CUdeviceptr *ptr, size_t bytes, CUstream stream);
HS_API CUresult cuMemAllocFromPoolAsync(CUdeviceptr *ptr, size_t bytes, CUmemoryPool pool, CUstream stream);
HS_API CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *props);
HS_API CUresult cuMemPoolDestroy(CUmemoryPool pool);
HS_API CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *desc, size_t count);
HS_API CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice dev);
HS_API CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice dev);
HS_API CUresult cuDeviceSetMemPool(CUdevice dev, CUmemoryPool pool);
HS_API CUresult cuMemFreeAsync(CUdeviceptr ptr, CUstream stream);
HS_API CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *bytes, CUdeviceptr ptr);
HS_API CUresult cuMemAllocManaged(CUdeviceptr *ptr, size_t bytes, unsigned int flags);
HS_API CUresult cuMemHostAlloc(void **p, size_t bytes, unsigned int flags);
HS_API CUresult cuMemAllocHost_v2(void **p, size_t bytes);
HS_API CUresult cuMemFreeHost(void *p);
HS_API CUresult cuMemHostRegister_v2(void *p, size_t bytes, unsigned int flags);
HS_API CUresult cuMemHostUnregister(void *p);
HS_API CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *ptr, void *p, unsigned int flags);
HS_API CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr);

/* Copy and set */
HS_API CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t bytes);
HS_API CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream);
HS_API CUresult cuMemcpyHtoD_v2(CUdeviceptr dst, const void *src, size_t bytes);
HS_API CUresult cuMemcpyDtoH_v2(void *dst, CUdeviceptr src, size_t bytes);
HS_API CUresult cuMemcpyDtoD_v2(CUdeviceptr dst, CUdeviceptr src, size_t bytes);
HS_API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void *src, size_t bytes, CUstream stream);
HS_API CUresult cuMemcpyDtoHAsync_v2(void *dst, CUdeviceptr src, size_t bytes, CUstream stream);
HS_API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream);
HS_API CUresult cuMemsetD8_v2(CUdeviceptr dst, unsigned char value, size_t count);
HS_API CUresult cuMemsetD32_v2(CUdeviceptr dst, unsigned int value, size_t count);
HS_API CUresult cuMemsetD8Async(CUdeviceptr dst, unsigned char value, size_t count, CUstream stream);
HS_API CUresult cuMemsetD32Async(CUdeviceptr dst, unsigned int value, size_t count, CUstream stream);

/* Virtual memory */
HS_API CUresult cuMemAddressReserve(CUdeviceptr *ptr, size_t bytes, size_t alignment, CUdeviceptr addr,
				    unsigned long long flags);
HS_API CUresult cuMemAddressFree(CUdeviceptr ptr, size_t bytes);
HS_API CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes, const CUmemAllocationProp *prop,
			    unsigned long long flags);
HS_API CUresult cuMemRelease(CUmemGenericAllocationHandle handle);
HS_API CUresult cuMemMap(CUdeviceptr ptr, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
			 unsigned long long flags);
HS_API CUresult cuMemUnmap(CUdeviceptr ptr, size_t bytes);
HS_API CUresult cuMemSetAccess(CUdeviceptr ptr, size_t bytes, const CUmemAccessDesc *desc, size_t count);
HS_API CUresult cuMemGetAccess(unsigned long long *flags, const CUmemLocation *location, CUdeviceptr ptr);
HS_API CUresult cuMemGetAllocationGranularity(size_t *bytes, const CUmemAllocationProp *prop,
					      CUmemAllocationGranularity_flags option);
HS_API CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *prop, CUmemGenericAllocationHandle handle);
HS_API CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *addr);
typedef struct {
	char reserved[64];
} CUipcMemHandle;
HS_API CUresult cuIpcGetMemHandle(CUipcMemHandle *handle, CUdeviceptr ptr);
HS_API CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *ptr, CUipcMemHandle handle, unsigned int flags);
HS_API CUresult cuIpcCloseMemHandle(CUdeviceptr ptr);
HS_API CUresult cuMemExportToShareableHandle(void *os_handle, CUmemGenericAllocationHandle handle,
					     CUmemAllocationHandleType type, unsigned long long flags);
HS_API CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *os_handle,
					       CUmemAllocationHandleType type);

/* Streams and events */
HS_API CUresult cuStreamCreate(CUstream *stream, unsigned int flags);
HS_API CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned int flags, int priority);
HS_API CUresult cuStreamDestroy_v2(CUstream stream);
HS_API CUresult cuStreamSynchronize(CUstream stream);
HS_API CUresult cuStreamQuery(CUstream stream);
HS_API CUresult cuStreamGetDevice(CUstream stream, CUdevice *dev);
HS_API CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int flags);
HS_API CUresult cuLaunchHostFunc(CUstream stream, CUhostFn fn, void *userData);
HS_API CUresult cuEventCreate(CUevent *event, unsigned int flags);
HS_API CUresult cuEventDestroy_v2(CUevent event);
HS_API CUresult cuEventRecord(CUevent event, CUstream stream);
HS_API CUresult cuEventSynchronize(CUevent event);
HS_API CUresult cuEventQuery(CUevent event);
HS_API CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end);

/* Stream capture and graphs */
typedef enum {
	CU_STREAM_CAPTURE_MODE_GLOBAL = 0,
	CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1,
	CU_STREAM_CAPTURE_MODE_RELAXED = 2
} CUstreamCaptureMode;
typedef enum {
	CU_STREAM_CAPTURE_STATUS_NONE = 0,
	CU_STREAM_CAPTURE_STATUS_ACTIVE = 1,
	CU_STREAM_CAPTURE_STATUS_INVALIDATED = 2
} CUstreamCaptureStatus;
HS_API CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode);
HS_API CUresult cuStreamBeginCaptureToGraph(CUstream stream, CUgraph graph, const void *dependencies, const void *edges,
					    size_t count, CUstreamCaptureMode mode);
HS_API CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph);
HS_API CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status);
HS_API CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode);
HS_API CUresult cuGraphCreate(CUgraph *graph, unsigned int flags);
HS_API CUresult cuGraphDestroy(CUgraph graph);
HS_API CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags);
HS_API CUresult cuGraphExecDestroy(CUgraphExec exec);
HS_API CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream);

/* Modules and kernels */
HS_API CUresult cuModuleLoadData(CUmodule *module, const void *image);
HS_API CUresult cuModuleUnload(CUmodule module);
HS_API CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name);
HS_API CUresult cuLaunchKernel(CUfunction function, unsigned int gridX, unsigned int gridY, unsigned int gridZ,
			       unsigned int blockX, unsigned int blockY, unsigned int blockZ, unsigned int sharedBytes,
			       CUstream stream, void **params, void **extra);

/* Checkpoint (driver 570+). pid and tid are the caller's view of them. */
HS_API CUresult cuCheckpointProcessGetRestoreThreadId(int pid, int *tid);
HS_API CUresult cuCheckpointProcessGetState(int pid, CUprocessState *state);
HS_API CUresult cuCheckpointProcessLock(int pid, CUcheckpointLockArgs *args);
HS_API CUresult cuCheckpointProcessCheckpoint(int pid, CUcheckpointCheckpointArgs *args);
HS_API CUresult cuCheckpointProcessRestore(int pid, CUcheckpointRestoreArgs *args);
HS_API CUresult cuCheckpointProcessUnlock(int pid, CUcheckpointUnlockArgs *args);
HS_API CUresult cuCheckpointOperationComplete(CUcheckpointOperationHandle handle);

/* Emulated driver only (absent from NVIDIA's library): joins this process to a communicator, as NCCL would. From then on
 * checkpoint waits until every living member is locked, unlock until every living member is restored. */
HS_API CUresult cuEmuCommJoin(uint64_t id, int nranks);

#endif
