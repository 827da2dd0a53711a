/* The interposer's parts. See docs/store.md for the whole picture and native/include/hs_store.h for what it says.
 *
 * Every call of the driver that gives a device work or touches its memory passes the gate. Memory from 2 MiB up is
 * mappable memory at addresses that never change, in pieces of HSI_PIECE bytes that can go to the store
 * and back. */
#ifndef HSI_INTERPOSER_H
#define HSI_INTERPOSER_H

#define HS_CUDA_IMPLEMENTATION
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "calls.h"
#include "hs_cuda.h"
#include "hs_store.h"

#define REAL(name)                                                             \
	({                                                                     \
		static void *at_;                                              \
		void *found_ = __atomic_load_n(&at_, __ATOMIC_ACQUIRE);        \
		if (!found_) {                                                 \
			found_ = hsi_driver(#name);                            \
			__atomic_store_n(&at_, found_, __ATOMIC_RELEASE);      \
		}                                                              \
		(__typeof__(&name))found_;                                     \
	})
/* The same for a call that an older driver may lack. */
#define REAL_OR_RETURN(name)                                \
	({                                                  \
		__typeof__(&name) real_ = REAL(name);       \
		if (!real_)                                 \
			return CUDA_ERROR_NOT_FOUND;        \
		real_;                                      \
	})

/* gate.c; to enter and leave stands in calls.h */
bool hsi_gate_close(uint64_t timeout_ns); /* until every call in flight has ended; false: not by then, and open again */
void hsi_gate_open(void);
void hsi_gate_forked(void);
#define GATED(expression)                        \
	do {                                     \
		hsi_enter();                     \
		CUresult result_ = (expression); \
		hsi_leave();                     \
		return result_;                  \
	} while (0)

/* context.c */
struct hsi_context {
	struct hsi_context *next;
	CUcontext context;
	CUdevice device;
	int refs;
};
void hsi_contexts_forked(void);
int hsi_contexts_sync(uint64_t timeout_ns); /* waits until no context has work; CUresult, -ETIMEDOUT, or -errno */
CUresult hsi_context_sync(CUcontext context);
CUresult hsi_context_on(CUdevice device); /* makes one of the device current; cuCtxPopCurrent ends that */

/* capture.c */
bool hsi_captures_hold(uint64_t timeout_ns); /* until none is going, and lets none begin; false: one goes on, and others may begin */
void hsi_captures_release(void);
bool hsi_captures_going(void);
void hsi_capture_begins(void); /* inside the gate; a call that captures a stream follows, and then: */
CUresult hsi_capture_begun(CUstream stream, CUresult result);
bool hsi_wait_begins(void); /* the caller may wait for a context, until `hsi_wait_ends`; false: one is going */
void hsi_wait_ends(void);
void hsi_captures_ended(CUcontext context); /* it has been destroyed */
void hsi_captures_forked(void);

/* memory.c, under hsi_lock */
#define HSI_ACCESS_MAX 8
struct hsi_piece {
	uint64_t id, bytes;
	CUmemGenericAllocationHandle real;
	bool lent; /* imported: the store's */
	bool here; /* `real` is held */
};
/* The store begins with the first pieces while it prepares the next. */
#define HSI_PIECE (1ull << 30)

struct hsi_memory {
	struct hsi_memory *next;
	CUmemAllocationProp prop;
	CUmemAllocationHandleType asked; /* as the engine knows it; `prop` has what we need */
	uint64_t bytes;
	uint64_t step; /* bytes of each piece but the last */
	int handles, maps; /* who refers to it */
	bool shared;	   /* exported by the engine: it stays with the driver from then on */
	unsigned count;
	struct hsi_piece piece[];
};
struct hsi_mapping {
	uint64_t at, bytes;
	uint64_t wanted;	    /* bytes as asked of cuMemAlloc */
	struct hsi_memory *memory; /* NULL: `import` is mapped there */
	CUmemGenericAllocationHandle import;
	bool alloc; /* of cuMemAlloc: its addresses are ours too */
	bool freed; /* by the engine: nobody knows it any more, and it is to be released when the device is surely done with it */
	CUevent after; /* which is when this has come; NULL: when its context has no work */
	CUcontext context; /* of cuMemAlloc: it ends with it */
	unsigned access_count;
	CUmemAccessDesc access[HSI_ACCESS_MAX];
};
extern pthread_mutex_t hsi_lock;
extern struct hsi_memory *hsi_memories;
extern struct hsi_mapping *hsi_mappings; /* sorted by address */
extern size_t hsi_mapping_count;
CUresult hsi_memory_create(struct hsi_memory **memory, uint64_t bytes, const CUmemAllocationProp *prop);
void hsi_memory_drop(struct hsi_memory *memory); /* frees it once nobody refers to it */
struct hsi_memory *hsi_memory_of(CUmemGenericAllocationHandle handle);
struct hsi_mapping *hsi_mapping_at(uint64_t address);
struct hsi_mapping *hsi_mapping_add(struct hsi_mapping mapping); /* NULL: no host memory */
void hsi_mapping_remove(struct hsi_mapping *mapping);
CUresult hsi_map(const struct hsi_mapping *mapping);
CUresult hsi_unmap(const struct hsi_mapping *mapping);
uint64_t hsi_round(uint64_t bytes);
bool hsi_fits(CUdevice device, uint64_t bytes);
void hsi_alloc_ended(CUcontext context); /* alloc.c: frees what cuMemAlloc gave in a context that has been destroyed */
CUresult hsi_take_away(struct hsi_mapping *found, bool context_lives);
void hsi_memory_forked(void);

/* late.c */
CUresult hsi_free_late(CUdeviceptr ptr); /* as a capture is going */
CUresult hsi_free_in_order(CUdeviceptr ptr, CUstream stream, bool ptsz);
bool hsi_alloc_late(bool wait); /* releases what has been freed, unless a capture is going; whether there was any */
void hsi_alloc_idle(void); /* the same when no device has work, under hsi_lock */
void hsi_late_gone(struct hsi_mapping *mapping, bool context_lives);
void hsi_late_forked(void);

/* pools.c */
bool hsi_pool_plain(CUmemoryPool pool, CUdevice *device); /* nothing but memory of that device */
bool hsi_stream_pool(CUstream stream, CUmemoryPool *pool);
CUcontext hsi_stream_context(CUstream stream);
void hsi_pools_forked(void);

/* peers.c, under hsi_lock */
void hsi_peers_add(struct hsi_mapping *mapping, CUdevice owner); /* the access of those that reach memory of `owner` */
void hsi_peers_forked(void);
void hsi_remember_access(struct hsi_mapping *mapping, const CUmemAccessDesc *desc); /* vmm.c */

/* imports.c, under hsi_lock: memory of other processes, which the engine maps itself. None may live at a checkpoint. */
void hsi_import_add(CUmemGenericAllocationHandle handle);
bool hsi_import_known(CUmemGenericAllocationHandle handle);
void hsi_import_refer(CUmemGenericAllocationHandle handle, int count);
unsigned hsi_imports(void);
void hsi_imports_forked(void);

/* move.c, by the agent only. `failed->result` is 0 if it went well. */
void hsi_yield(int fd, const struct hs_store_yield *asked, struct hs_store_done *done, struct hs_store_failed *failed);
void hsi_take_back(const struct hs_store_block *block, int fd, struct hs_store_failed *failed);
void hsi_let_go(void); /* the connection is lost */
void hsi_resume(struct hs_store_done *done, struct hs_store_failed *failed);
void hsi_localise(struct hs_store_done *done, struct hs_store_failed *failed);
void hsi_count(uint64_t *blocks, uint64_t *bytes, uint64_t *lent_bytes);
bool hsi_away(void);
void hsi_give_no_more(void); /* every YIELD is refused from now on */
void hsi_move_forked(void);
uint64_t hsi_now_ns(void); /* CLOCK_MONOTONIC */

/* unknown.c */
void *hsi_unknown(const char *name, void *real); /* what stands in front of a call that the header does not have */

/* agent.c */
void hsi_leave_all(const char *text, const char *why); /* to the driver; only while nothing has moved */
bool hsi_active(void); /* there is a store to speak to, and a driver whose memory can move */
bool hsi_kept(int fd, uint64_t request, uint64_t batches); /* waits until the store says so of each; false: it does not */
void hsi_freed(uint64_t id); /* a lent block, released; may be called by any thread */
void hsi_agent_start(CUdevice device); /* with the first context; later calls do nothing */
void hsi_say(const char *text, const char *why); /* on the engine's stderr, each text once */
bool hsi_send(int fd, const void *message, size_t bytes, const int *fds, unsigned count);

#endif
