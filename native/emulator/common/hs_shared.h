/* What all processes of an emulated node share: the layout of the file that stands for /dev/nvidiactl.
 *
 * src/hotseat/emulator/layout.py writes and reads the same records; `sizes` in the header lets either side notice that
 * it was built from another version. All fields are naturally aligned, so there is no padding to guess.
 *
 * Liveness and mutual exclusion are open-file-description locks on bytes of this file far beyond its end: the kernel
 * drops them when their process dies, in whichever container, user or pid namespace it was. */
#ifndef HS_SHARED_H
#define HS_SHARED_H

#include <stdatomic.h>
#include <stdint.h>

#define HS_MAGIC 0x45544145534f5448ull /* "HTOSEATE" */
#define HS_VERSION 3
#define HS_MAX_DEVICES 16
#define HS_MAX_SLOTS 512
#define HS_MAX_FAULTS 32
#define HS_MAX_SHARES 1024
#define HS_MAX_LATE 16
#define HS_GRANULE (2ul << 20)
#define HS_KEEP_PAGES 1u /* header flag: never punch holes, the files were filled at creation */
#define HS_CUSTOM_STORAGE 2u /* header flag: a driver of CUDA 13.4, which checkpoints to custom storage */

/* Owner of a granule: 0 nobody, slot index + 1, or a share (memory that was exported). */
#define HS_OWNER_SLOT(index) ((uint16_t)((index) + 1))
#define HS_OWNER_SHARE(index) ((uint16_t)(0x8000u | (index)))
#define HS_IS_SHARE(owner) (((owner) & 0x8000u) != 0)

/* Bytes of the control file that locks are taken on. */
#define HS_BYTE_ALLOC ((int64_t)1 << 40)
#define HS_BYTE_LIVE(slot) (((int64_t)1 << 40) + 0x1000 + (slot))
#define HS_BYTE_CALL(slot) (((int64_t)1 << 40) + 0x2000 + (slot))
#define HS_BYTE_LENT(slot) (((int64_t)1 << 40) + 0x8000 + (slot)) /* its memory is mapped by another process */
#define HS_BYTE_SHARE(share) (((int64_t)1 << 40) + 0x4000 + (share))

struct hs_late { /* memory that NVML goes on showing as used */
	_Atomic uint64_t bytes;
	_Atomic uint64_t until_ns; /* CLOCK_MONOTONIC */
};

struct hs_device {
	uint8_t uuid[16];
	char name[96];
	uint64_t bytes;
	uint32_t granules;
	uint32_t owners; /* offset in this file of uint16_t[granules] */
	uint64_t places; /* the same of uint64_t[granules]: HS_PLACE of those that are lent to a caller of a checkpoint */
	struct hs_late late[HS_MAX_LATE];
};

enum hs_box_status { HS_BOX_IDLE, HS_BOX_POSTED, HS_BOX_BUSY, HS_BOX_DONE };
enum hs_op {
	HS_OP_STATE = 1,
	HS_OP_LOCK,
	HS_OP_CHECKPOINT,
	HS_OP_RESTORE,
	HS_OP_UNLOCK,
	HS_OP_LEND_OUT, /* checkpoint and restore to and from custom storage, and their completion */
	HS_OP_LEND_IN,
	HS_OP_COMPLETE
};

/* Of a granule that a process lends: whose it is, and which of those of its device it is, from 0 up. */
#define HS_PLACE(slot, index) (((uint64_t)(slot) + 1) << 32 | ((uint32_t)(index) + 1))

struct hs_pair {
	uint8_t from[16], to[16];
};

/* The letter box of a process, emptied by its restore thread; callers take turns by HS_BYTE_CALL. */
struct hs_box {
	_Atomic uint32_t status;
	uint32_t op;
	uint32_t timeout_ms;
	int32_t result;
	uint32_t pairs;
	uint32_t value;
	uint32_t devices; /* a bit a device of the node: where the caller retains the primary context */
	uint32_t reserved;
	struct hs_pair pair[HS_MAX_DEVICES];
};

#define HS_SLOT_LOST 1u	   /* a restore failed: final */
#define HS_SLOT_MANAGED 2u /* uses managed memory: cannot be checkpointed */

struct hs_slot {
	_Atomic uint32_t used;
	int32_t pid;	   /* in its own pid namespace */
	uint64_t pid_ns;   /* inode of that namespace */
	uint64_t start;	   /* field 22 of /proc/PID/stat */
	int32_t restore_tid, handler_tid; /* the handler comes with the first context */
	_Atomic uint32_t state; /* CUprocessState */
	_Atomic uint32_t flags;
	_Atomic uint64_t comm_id;
	uint32_t comm_ranks;
	uint32_t reserved;
	char name[16];
	uint64_t lent[HS_MAX_DEVICES]; /* bytes of each device that a caller of a checkpoint may map */
	struct hs_box box;
};

enum hs_fault_kind {
	HS_FAULT_LOCK_TIMEOUT = 1,
	HS_FAULT_HANG,
	HS_FAULT_RESULT,
	HS_FAULT_OOM_RESTORE,
	HS_FAULT_SLOW_COPY,
	HS_FAULT_DIE,
	HS_FAULT_LATE_RELEASE,
	HS_FAULT_KEEP_MEMORY,
	HS_FAULT_CORRUPT
};

struct hs_fault {
	_Atomic uint32_t armed;
	uint32_t kind;
	uint64_t pid_ns;
	int32_t pid; /* 0 = any process */
	_Atomic int32_t skip;
	_Atomic int32_t left; /* times it still fires, negative = until cleared */
	_Atomic uint32_t fired;
	int64_t value;
	char op[48]; /* "" = any */
};

struct hs_share { /* exported memory; lives while anyone holds a read lock on HS_BYTE_SHARE */
	_Atomic uint32_t used;
	uint32_t device;
	uint32_t granules;
	_Atomic uint32_t holder; /* slot index + 1 that it is accounted to */
};

struct hs_shared {
	uint64_t magic;
	uint32_t version;
	uint32_t flags;
	uint64_t file_bytes;
	uint32_t device_count;
	uint32_t device_size, slot_size, fault_size, share_size; /* sizes of the records below */
	uint32_t reserved;
	uint64_t context_bytes; /* device memory that one context costs */
	struct hs_device device[HS_MAX_DEVICES];
	struct hs_fault fault[HS_MAX_FAULTS];
	struct hs_share share[HS_MAX_SHARES];
	struct hs_slot slot[HS_MAX_SLOTS];
	/* then the owners and the places of each device's granules */
};

#endif
