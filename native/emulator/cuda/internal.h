/* The emulated libcuda's state in one process. See docs/emulated-driver.md for the whole picture.
 *
 * Device pointers lie in an arena that stays inaccessible; the implementation reaches the same bytes `delta` above, so an
 * application that dereferences a device pointer faults as on real hardware, and addresses survive a checkpoint. */
#ifndef HS_INTERNAL_H
#define HS_INTERNAL_H

#define HS_CUDA_IMPLEMENTATION
#include "hs_cuda.h"
#include "hs_node.h"

#define HS_UNIT 512u /* alignment of small allocations, as the driver's */

struct hs_ctx {
	struct hs_ctx *next;
	int ordinal;
	unsigned int flags;
	int refs; /* of a primary context */
	bool primary;
	uint32_t overhead_count; /* granules a context costs */
	uint32_t *overhead;
	_Atomic int error; /* sticky, as after an illegal address */
	uint32_t peers; /* a bit an ordinal: whose cuMemAlloc'd memory its kernels reach */
};

/* Physical memory: whole granules of one device. */
struct hs_mem {
	struct hs_mem *next;
	struct hs_ctx *ctx; /* of cuMemAlloc; NULL for what outlives contexts */
	CUmemoryPool pool;  /* from which it was allocated, or NULL */
	int ordinal;
	uint32_t count;
	uint32_t *ids;
	int handles, maps; /* who refers to it */
	bool exportable, imported, lost;
	bool borrowed; /* another process's, mapped here between its checkpoint and the completion */
	uint64_t wanted; /* bytes as asked for; 0: all of it */
	int share, share_fd; /* -1 = not shared */
	void *saved; /* its bytes while checkpointed */
};

/* What lies at one range of the arena. Ranges never overlap; the array is sorted. */
enum hs_range_kind { HS_RANGE_ALLOC, HS_RANGE_SLAB, HS_RANGE_VMM, HS_RANGE_BORROWED };
struct hs_range {
	uint64_t at, bytes; /* bytes as mapped, whole granules */
	uint64_t wanted;    /* bytes as asked for */
	uint64_t offset;    /* into mem */
	struct hs_mem *mem;
	struct hs_slab *slab;
	enum hs_range_kind kind;
	unsigned int access; /* CUmemAccess_flags, of the memory's own device */
	unsigned char others[HS_MAX_DEVICES]; /* VMM: the same of other devices, by ordinal */
};

struct hs_reservation {
	uint64_t at, bytes;
};

struct hs_process {
	_Atomic int state; /* enum hs_life */
	struct hs_node node;
	struct hs_slot *slot;
	int visible[HS_MAX_DEVICES]; /* ordinal -> device of the node; a restore may change it */
	int count;
	/* the gate: closed by a lock, every application call passes it */
	_Atomic uint32_t closed, inflight;
	/* everything below is guarded by `lock` */
	pthread_mutex_t lock;
	uint64_t arena, arena_bytes, delta;
	struct hs_ctx *contexts;
	struct hs_ctx *primary[HS_MAX_DEVICES];
	struct hs_mem *mems;
	struct hs_range *ranges;
	size_t range_count, range_room;
	struct hs_reservation *reservations;
	size_t reservation_count, reservation_room;
	_Atomic uint64_t busy_until; /* CLOCK_MONOTONIC: when the last kernel that takes time ends */
	bool kept; /* checkpointed under HS_FAULT_KEEP_MEMORY: nothing was moved */
	bool elsewhere; /* checkpointed to custom storage: what it held is not in this process */
};

enum hs_life { HS_FRESH, HS_READY, HS_FORKED };
extern struct hs_process hs;

/* gate.c: every application call goes in and out here */
CUresult hs_enter(const char *function);
CUresult hs_enter_pass(const char *function);
CUresult hs_enter_wait(const char *function);
void hs_leave(void);
bool hs_gate_close(uint64_t timeout_ns); /* 0 = for ever; false: timed out, open again */
void hs_gate_open(void);
void hs_wait_idle(void); /* for the kernels that were launched */
#define HS_CALL(expression)                          \
	do {                                         \
		CUresult result_ = hs_enter(__func__); \
		if (result_ != CUDA_SUCCESS)         \
			return result_;              \
		result_ = (expression);              \
		hs_leave();                          \
		return result_;                      \
	} while (0)

/* For calls that a lock lets through: they look, reserve addresses or wait, and give the device no work. */
#define HS_PASS(expression)                                 \
	do {                                                \
		CUresult result_ = hs_enter_pass(__func__); \
		return result_ ? result_ : (expression);    \
	} while (0)

/* For those of them that look at the device: they end a process that is checkpointed, as the real driver does. */
#define HS_WAIT(expression)                                 \
	do {                                                \
		CUresult result_ = hs_enter_wait(__func__); \
		return result_ ? result_ : (expression);    \
	} while (0)

/* context.c */
struct hs_ctx *hs_current(void); /* the calling thread's, or NULL */
CUresult hs_current_ok(struct hs_ctx **ctx);
bool hs_ordinal_ok(int ordinal);
int hs_device_of(int ordinal); /* index in the node */

/* arena.c (under hs.lock) */
CUresult hs_arena_create(void);
CUresult hs_arena_reserve(uint64_t bytes, uint64_t alignment, uint64_t wish, uint64_t *at);
bool hs_arena_release(uint64_t at, uint64_t bytes);
bool hs_arena_reserved(uint64_t at, uint64_t bytes);
struct hs_range *hs_range_at(uint64_t address);
struct hs_range *hs_range_add(struct hs_range range); /* NULL: no memory */
void hs_range_remove(struct hs_range *range);
CUresult hs_range_show(const struct hs_range *range); /* maps it for the implementation */
void hs_range_hide(const struct hs_range *range);

/* mem.c (under hs.lock) */
CUresult hs_mem_create(int ordinal, uint64_t bytes, struct hs_ctx *ctx, struct hs_mem **mem);
void hs_mem_drop(struct hs_mem *mem); /* frees it once nobody refers to it */
bool hs_mem_valid(const struct hs_mem *mem);
uint64_t hs_round_up(uint64_t bytes);
int hs_share_hold(struct hs_mem *mem, int share); /* 0, or -1 with errno */

/* alloc.c */
void hs_alloc_drop_context(struct hs_ctx *ctx); /* under hs.lock: what was allocated in it */
CUresult hs_alloc_free(CUdeviceptr ptr); /* not under hs.lock */
CUresult hs_pool_alloc(CUdeviceptr *ptr, size_t bytes, CUmemoryPool pool, int ordinal);
bool hs_slab_extent(const struct hs_range *range, uint64_t address, uint64_t *at, uint64_t *bytes);

/* pool.c (under hs.lock) */
void hs_pool_ref(CUmemoryPool pool);
void hs_pool_unref(CUmemoryPool pool);
unsigned int hs_pool_access(const struct CUmemPoolHandle_st *pool, int ordinal); /* CUmemAccess_flags of another device */

/* access.c */
/* Where the implementation finds `bytes` at a device pointer; NULL if any of them is not accessible device memory. */
void *hs_device_bytes(CUdeviceptr ptr, size_t bytes, bool write);
void *hs_kernel_bytes(CUdeviceptr ptr, size_t bytes, bool write); /* the same for a kernel in the current context */
bool hs_in_arena(CUdeviceptr ptr);

/* host.c */
bool hs_host_known(const void *p); /* pinned, registered or managed: valid where a device pointer is asked for */
CUresult hs_host_alloc(void **p, size_t bytes);
CUresult hs_host_free(void *p);

/* service.c */
int hs_service_start(void);
int hs_handler_start(void); /* with the first context; later calls do nothing */
void hs_ask_handler(void);	 /* returns when it has answered, never while it is stopped */

/* checkpoint.c: run by the service threads only */
int hs_do_lock(uint32_t timeout_ms);
int hs_do_checkpoint(void);
int hs_do_restore(const struct hs_pair *pairs, uint32_t count);
int hs_do_unlock(void);

/* save.c: the bytes, out and in; service threads only, no malloc */
CUresult hs_save_all(void);
CUresult hs_load_all(void);
bool hs_take_all(void);
void hs_give_all(void);
void hs_die_if_told(const char *op);

/* lend.c: the same with custom storage, whose owner copies; service threads only, no malloc */
int hs_do_lend_out(uint32_t devices);
int hs_do_lend_in(uint32_t devices, const struct hs_pair *pairs, uint32_t count);
int hs_do_complete(void);
CUresult hs_remap(const struct hs_pair *pairs, uint32_t count, int visible[HS_MAX_DEVICES]);
CUresult hs_lose(CUresult why);
void hs_wait_for_ranks(uint32_t state_to_wait_out);

/* control.c: requests to another process */
struct hs_request {
	enum hs_op op;
	uint32_t timeout_ms, devices;
	const CUcheckpointGpuPair *pairs;
	uint32_t pair_count;
	uint32_t *value;
};
struct hs_node *hs_any_node(void); /* the process's own, or one opened for such calls alone; NULL: there is none */
bool hs_has_custom_storage(void);
CUresult hs_find(int pid, int *slot);
CUresult hs_call(int pid, const char *function, struct hs_request request);
CUresult hs_post(int slot, const struct hs_request *request);

/* storage.c: the caller's side of custom storage */
CUresult hs_borrow(int pid, const char *function, struct hs_request request, CUcheckpointCustomStorageInfo **out);

/* stream.c */
struct hs_capture;
CUstream hs_stream_make(struct hs_ctx *ctx); /* NULL: no memory; under hs.lock, as all of these */
void hs_stream_end(CUstream stream);
struct hs_ctx *hs_stream_context(CUstream stream);
CUresult hs_stream_device(CUstream stream, CUdevice *dev); /* not under hs.lock */
bool hs_stream_blocks(CUstream stream); /* takes part in what the legacy stream waits for */
struct hs_capture **hs_stream_capture(CUstream stream); /* in which it takes part */
void hs_streams_leave(const struct hs_capture *capture); /* it has ended */

/* copy.c: what a stream does, at once or whenever a graph is launched */
#define HS_KERNEL_PARAMS 5
struct hs_work {
	CUdeviceptr dst, src;
	size_t count;
	bool dst_device, src_device;
	unsigned int value;
	size_t width; /* of what is set; 0: it is a copy */
	CUresult (*kernel)(void **params); /* or neither */
	uint64_t params[HS_KERNEL_PARAMS];
};
CUresult hs_stream_work(CUstream stream, const struct hs_work *work);

/* capture.c */
bool hs_captured(CUstream stream, const struct hs_work *work, CUresult *result); /* nothing is to be done now */
/* What captures forbid: SUCCESS, or they are invalidated. */
CUresult hs_capture_unsafe(void);
CUresult hs_capture_waits_for_context(const struct hs_ctx *ctx);
CUresult hs_capture_waits_for_stream(CUstream stream);
void hs_capture_stream_ends(CUstream stream); /* under hs.lock */

/* kernels.c */
typedef CUresult (*hs_kernel)(void **params);
hs_kernel hs_kernel_find(const char *name);
unsigned hs_kernel_params(hs_kernel kernel);

/* futex.c */
void hs_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns);
void hs_futex_wake(_Atomic uint32_t *word);

#endif
