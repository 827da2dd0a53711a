/* Memory leaves for the store, comes back, or is made the process's own. The agent's thread does it, behind the gate. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "interposer.h"

static bool away;   /* everything is unmapped */
static atomic_bool no_more; /* something may use memory that the gate does not see */
static bool broken; /* some of it is, for good: the gate stays closed, as a call would touch what is not there */

static void fail(struct hs_store_failed *failed, int result, const char *what) {
	if (failed->result)
		return; /* the first cause counts */
	const char *name = NULL;
	if (result > 0)
		REAL(cuGetErrorName)((CUresult)result, &name);
	failed->result = result;
	snprintf(failed->text, sizeof failed->text, "%s: %s", what, result > 0 ? (name ? name : "?") : strerror(-result));
}

/* Of what a process has, what it has exported itself stays with the driver. */
static bool moves(const struct hsi_mapping *mapping) {
	return mapping->memory && !mapping->memory->shared;
}

static struct hsi_memory *first_moving(struct hsi_memory *memory) {
	while (memory && memory->shared)
		memory = memory->next;
	return memory;
}
#define EACH_MOVING(memory) \
	struct hsi_memory *memory = first_moving(hsi_memories); memory; memory = first_moving(memory->next)

void hsi_count(uint64_t *blocks, uint64_t *bytes, uint64_t *lent_bytes) {
	*blocks = *bytes = *lent_bytes = 0;
	pthread_mutex_lock(&hsi_lock);
	for (EACH_MOVING(memory))
		for (unsigned i = 0; i < memory->count; i++) {
			*blocks += 1;
			*bytes += memory->piece[i].bytes;
			*lent_bytes += memory->piece[i].lent ? memory->piece[i].bytes : 0;
		}
	pthread_mutex_unlock(&hsi_lock);
}

static CUresult map_all(size_t count) {
	CUresult first = CUDA_SUCCESS;
	for (size_t i = 0; i < count; i++) {
		CUresult result = moves(&hsi_mappings[i]) ? hsi_map(&hsi_mappings[i]) : CUDA_SUCCESS;
		first = first ? first : result;
	}
	return first;
}

/* Closes the gate, when no graph is being captured, and waits for the devices. */
static bool quiet(uint64_t timeout_ns, struct hs_store_done *done, struct hs_store_failed *failed) {
	uint64_t begun = hsi_now_ns();
	if (!hsi_captures_hold(timeout_ns)) {
		fail(failed, -EBUSY, "the engine captures a graph, which waiting for it now would spoil");
		return false;
	}
	uint64_t spent = hsi_now_ns() - begun;
	bool closed = hsi_gate_close(timeout_ns > spent ? timeout_ns - spent : 0);
	hsi_captures_release(); /* the gate holds them up now */
	if (!closed) {
		fail(failed, -ETIMEDOUT, "calls of the engine did not end");
		return false;
	}
	done->gate_ns = hsi_now_ns() - begun;
	begun = hsi_now_ns();
	int result = hsi_contexts_sync(timeout_ns > done->gate_ns ? timeout_ns - done->gate_ns : 0);
	done->device_ns = hsi_now_ns() - begun;
	if (result == -ETIMEDOUT)
		fail(failed, result, "the device's work did not end");
	else if (result)
		fail(failed, result, "waiting for the device");
	if (failed->result) {
		hsi_gate_open();
		return false;
	}
	pthread_mutex_lock(&hsi_lock);
	hsi_alloc_idle();
	pthread_mutex_unlock(&hsi_lock);
	return true;
}

struct batch {
	struct hs_store_blocks blocks;
	struct hs_store_block block[HS_STORE_BATCH];
};

static bool send_batch(int fd, struct batch *batch, int *fds, unsigned *fd_count) {
	size_t bytes = sizeof batch->blocks + batch->blocks.count * sizeof *batch->block;
	bool sent = !batch->blocks.count || hsi_send(fd, batch, bytes, fds, *fd_count);
	for (unsigned i = 0; i < *fd_count; i++)
		close(fds[i]);
	batch->blocks.count = *fd_count = 0;
	return sent;
}

static uint64_t address_of(const struct hsi_memory *memory, unsigned piece) {
	for (size_t i = 0; i < hsi_mapping_count; i++)
		if (hsi_mappings[i].memory == memory && piece * memory->step < hsi_mappings[i].bytes)
			return hsi_mappings[i].at + piece * memory->step;
	return 0; /* it is mapped nowhere now */
}

static void send_blocks(int fd, uint64_t request, struct hs_store_done *done, struct hs_store_failed *failed) {
	static struct batch batch;
	int fds[HS_STORE_BATCH];
	unsigned fd_count = 0;
	batch.blocks = (struct hs_store_blocks){.head = {HS_STORE_VERSION, HS_STORE_BLOCKS, request}};
	for (EACH_MOVING(memory))
		for (unsigned i = 0; i < memory->count && !failed->result; i++) {
			const struct hsi_piece *piece = &memory->piece[i];
			struct hs_store_block *block = &batch.block[batch.blocks.count];
			*block = (struct hs_store_block){
				.id = piece->id, .address = address_of(memory, i), .bytes = piece->bytes, .lent = piece->lent};
			CUresult result = REAL(cuDeviceGetUuid)((CUuuid *)block->device_uuid, memory->prop.location.id);
			if (result == CUDA_SUCCESS && !piece->lent) {
				result = REAL(cuMemExportToShareableHandle)(&fds[fd_count], piece->real,
									    CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
				if (result == CUDA_SUCCESS) /* a program that is started meanwhile must not keep the memory */
					fcntl(fds[fd_count++], F_SETFD, FD_CLOEXEC);
			}
			if (result != CUDA_SUCCESS) {
				fail(failed, result, "exporting memory");
				break;
			}
			done->blocks++;
			done->bytes += piece->bytes;
			if (++batch.blocks.count == HS_STORE_BATCH && !send_batch(fd, &batch, fds, &fd_count))
				fail(failed, -EPIPE, "the store does not listen");
		}
	if (failed->result)
		batch.blocks.count = 0;
	if (!send_batch(fd, &batch, fds, &fd_count))
		fail(failed, -EPIPE, "the store does not listen");
}

static void unmap_all(struct hs_store_failed *failed) {
	for (size_t i = 0; i < hsi_mapping_count; i++) {
		CUresult result = moves(&hsi_mappings[i]) ? hsi_unmap(&hsi_mappings[i]) : CUDA_SUCCESS;
		if (result != CUDA_SUCCESS) {
			fail(failed, result, "unmapping memory");
			if (map_all(i) != CUDA_SUCCESS)
				broken = true;
			return;
		}
	}
	for (EACH_MOVING(memory))
		for (unsigned i = 0; i < memory->count; i++) {
			REAL(cuMemRelease)(memory->piece[i].real);
			memory->piece[i].here = false;
		}
	away = true;
}

void hsi_yield(int fd, const struct hs_store_yield *asked, struct hs_store_done *done, struct hs_store_failed *failed) {
	if (away || broken) {
		fail(failed, -EALREADY, "its memory is away already");
		return;
	}
	if (atomic_load(&no_more)) {
		fail(failed, CUDA_ERROR_NOT_SUPPORTED, "the engine uses calls that are newer than the interposer");
		return;
	}
	if (!quiet(asked->timeout_ms * 1000000ull, done, failed))
		return;
	pthread_mutex_lock(&hsi_lock);
	uint64_t begun = hsi_now_ns();
	if (hsi_imports())
		fail(failed, CUDA_ERROR_NOT_SUPPORTED, "the engine holds memory of another process, with which none can be restored");
	if (!failed->result)
		send_blocks(fd, asked->head.request, done, failed);
	/* Until they outlive the store's death too, this process is the only one that surely has them. */
	if (!failed->result && !hsi_kept(fd, asked->head.request, (done->blocks + HS_STORE_BATCH - 1) / HS_STORE_BATCH))
		fail(failed, -EPIPE, "the store has not said that it keeps the blocks");
	if (!failed->result)
		unmap_all(failed);
	done->map_ns = hsi_now_ns() - begun;
	pthread_mutex_unlock(&hsi_lock);
	if (failed->result && !broken)
		hsi_gate_open();
}

/* What an interrupted or failed RESUME has brought. While any of it is held a checkpoint would lose the process, and the next
 * RESUME brings everything anew. */
void hsi_let_go(void) {
	pthread_mutex_lock(&hsi_lock);
	for (EACH_MOVING(memory))
		for (unsigned i = 0; away && i < memory->count; i++)
			if (memory->piece[i].here) {
				REAL(cuMemRelease)(memory->piece[i].real);
				memory->piece[i].here = false;
			}
	pthread_mutex_unlock(&hsi_lock);
}

void hsi_take_back(const struct hs_store_block *block, int fd, struct hs_store_failed *failed) {
	pthread_mutex_lock(&hsi_lock);
	struct hsi_piece *piece = NULL;
	for (EACH_MOVING(memory))
		for (unsigned i = 0; !piece && i < memory->count; i++)
			if (memory->piece[i].id == block->id)
				piece = &memory->piece[i];
	if (!away || !piece || piece->bytes != block->bytes) {
		fail(failed, -EINVAL, "a block that was not given");
	} else if (!piece->here) {
		CUresult result = REAL(cuMemImportFromShareableHandle)(&piece->real, (void *)(intptr_t)fd,
								       CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
		if (result == CUDA_SUCCESS)
			piece->here = piece->lent = true;
		else
			fail(failed, result, "importing memory");
	}
	pthread_mutex_unlock(&hsi_lock);
}

void hsi_resume(struct hs_store_done *done, struct hs_store_failed *failed) {
	pthread_mutex_lock(&hsi_lock);
	uint64_t begun = hsi_now_ns();
	for (EACH_MOVING(memory))
		for (unsigned i = 0; away && i < memory->count; i++) {
			if (!memory->piece[i].here)
				fail(failed, -ENODATA, "a block is missing");
			done->blocks++;
			done->bytes += memory->piece[i].bytes;
		}
	for (size_t i = 0; away && !failed->result && i < hsi_mapping_count; i++) {
		CUresult result = moves(&hsi_mappings[i]) ? hsi_map(&hsi_mappings[i]) : CUDA_SUCCESS;
		if (result != CUDA_SUCCESS) {
			fail(failed, result, "mapping memory");
			for (size_t k = 0; k < i; k++) /* so that it can be tried again as a whole */
				if (moves(&hsi_mappings[k]))
					hsi_unmap(&hsi_mappings[k]);
		}
	}
	done->map_ns = hsi_now_ns() - begun;
	if (!failed->result)
		away = false;
	pthread_mutex_unlock(&hsi_lock);
	if (!failed->result)
		hsi_gate_open();
}

/* `real` at addresses of its own, for a copy; `hide` ends it. */
static CUresult show(CUdeviceptr *at, CUmemGenericAllocationHandle real, const struct hsi_memory *memory,
		     uint64_t bytes) {
	CUmemAccessDesc access = {.location = memory->prop.location, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
	CUresult result = REAL(cuMemAddressReserve)(at, bytes, HS_STORE_GRANULE, 0, 0);
	if (result != CUDA_SUCCESS)
		return result;
	result = REAL(cuMemMap)(*at, bytes, 0, real, 0);
	if (result == CUDA_SUCCESS) {
		result = REAL(cuMemSetAccess)(*at, bytes, &access, 1);
		if (result != CUDA_SUCCESS)
			REAL(cuMemUnmap)(*at, bytes);
	}
	if (result != CUDA_SUCCESS)
		REAL(cuMemAddressFree)(*at, bytes);
	return result;
}

static void hide(CUdeviceptr at, uint64_t bytes) {
	REAL(cuMemUnmap)(at, bytes);
	REAL(cuMemAddressFree)(at, bytes);
}

/* The bytes of one piece that is mapped at `at` into a new one of its process. */
static CUresult copy_piece(uint64_t at, const struct hsi_memory *memory, const struct hsi_piece *piece,
			   CUmemGenericAllocationHandle *real) {
	CUdeviceptr scratch;
	CUresult result = REAL(cuMemCreate)(real, piece->bytes, &memory->prop, 0);
	if (result != CUDA_SUCCESS)
		return result;
	result = show(&scratch, *real, memory, piece->bytes);
	if (result == CUDA_SUCCESS) {
		result = REAL(cuMemcpyDtoD_v2)(scratch, at, piece->bytes);
		if (result == CUDA_SUCCESS)
			result = REAL(cuCtxSynchronize)();
		hide(scratch, piece->bytes);
	}
	if (result != CUDA_SUCCESS)
		REAL(cuMemRelease)(*real);
	return result;
}

/* All mappings of `memory`, off and on again around the change of one of its pieces. */
static CUresult exchange(struct hsi_memory *memory, struct hsi_piece *piece, CUmemGenericAllocationHandle real) {
	CUmemGenericAllocationHandle old = piece->real;
	CUresult result = CUDA_SUCCESS;
	for (size_t i = 0; i < hsi_mapping_count; i++)
		if (hsi_mappings[i].memory == memory)
			hsi_unmap(&hsi_mappings[i]);
	piece->real = real;
	piece->lent = false;
	for (size_t i = 0; i < hsi_mapping_count; i++)
		if (hsi_mappings[i].memory == memory) {
			CUresult mapped = hsi_map(&hsi_mappings[i]);
			result = result ? result : mapped;
		}
	REAL(cuMemRelease)(old);
	if (result != CUDA_SUCCESS)
		broken = true;
	return result;
}

static CUresult localise(struct hsi_memory *memory, unsigned index) {
	struct hsi_piece *piece = &memory->piece[index];
	CUmemGenericAllocationHandle real;
	CUcontext before;
	CUdeviceptr at = address_of(memory, index), scratch = 0;
	CUresult result = hsi_context_on(memory->prop.location.id);
	if (result != CUDA_SUCCESS)
		return result;
	if (!at) { /* mapped nowhere: for the copy only */
		result = show(&scratch, piece->real, memory, piece->bytes);
		at = scratch;
	}
	if (result == CUDA_SUCCESS) {
		result = copy_piece(at, memory, piece, &real);
		if (scratch)
			hide(scratch, piece->bytes);
	}
	if (result == CUDA_SUCCESS)
		result = exchange(memory, piece, real);
	REAL(cuCtxPopCurrent_v2)(&before);
	return result;
}

void hsi_localise(struct hs_store_done *done, struct hs_store_failed *failed) {
	if (away || broken) {
		fail(failed, -EBUSY, "its memory is away");
		return;
	}
	if (!quiet(60ull * 1000000000ull, done, failed))
		return;
	pthread_mutex_lock(&hsi_lock);
	uint64_t begun = hsi_now_ns();
	for (EACH_MOVING(memory))
		for (unsigned i = 0; i < memory->count && !failed->result; i++)
			if (memory->piece[i].lent) {
				CUresult result = localise(memory, i);
				if (result != CUDA_SUCCESS)
					fail(failed, result, "copying memory");
				done->blocks++;
				done->bytes += memory->piece[i].bytes;
			}
	done->map_ns = hsi_now_ns() - begun;
	pthread_mutex_unlock(&hsi_lock);
	if (!broken)
		hsi_gate_open();
}

void hsi_give_no_more(void) {
	atomic_store(&no_more, true);
}

bool hsi_away(void) {
	return away;
}

void hsi_move_forked(void) {
	away = false;
}
