/* Physical memory in pieces, and what lies at which address. */
#include <stdlib.h>
#include <string.h>

#include "interposer.h"

pthread_mutex_t hsi_lock = PTHREAD_MUTEX_INITIALIZER;
struct hsi_memory *hsi_memories;
struct hsi_mapping *hsi_mappings;
size_t hsi_mapping_count;
static size_t mapping_room;
static uint64_t last_id;

uint64_t hsi_round(uint64_t bytes) {
	return (bytes + HS_STORE_GRANULE - 1) / HS_STORE_GRANULE * HS_STORE_GRANULE;
}

/* More than a device has is refused as a whole: piece by piece it would first take what others need, and a size near 2^64 would
 * wrap. */
bool hsi_fits(CUdevice device, uint64_t bytes) {
	size_t total;
	return REAL(cuDeviceTotalMem_v2)(&total, device) != CUDA_SUCCESS ? bytes <= HS_STORE_BLOCK_MAX : bytes <= total;
}

static void release_pieces(struct hsi_memory *memory) {
	for (unsigned i = 0; i < memory->count; i++)
		if (memory->piece[i].here)
			REAL(cuMemRelease)(memory->piece[i].real);
}

CUresult hsi_memory_create(struct hsi_memory **out, uint64_t bytes, const CUmemAllocationProp *prop) {
	if (!hsi_fits(prop->location.id, bytes))
		return CUDA_ERROR_OUT_OF_MEMORY;
	/* What may be exported some day must be one allocation: there is one handle to export. */
	uint64_t step = prop->requestedHandleTypes == CU_MEM_HANDLE_TYPE_NONE ? HSI_PIECE : bytes;
	unsigned count = (unsigned)((bytes + step - 1) / step);
	struct hsi_memory *memory = calloc(1, sizeof *memory + count * sizeof *memory->piece);
	if (!memory)
		return CUDA_ERROR_OUT_OF_MEMORY;
	memory->prop = *prop;
	memory->asked = prop->requestedHandleTypes;
	memory->prop.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
	memory->bytes = bytes;
	memory->step = step;
	for (uint64_t at = 0; at < bytes; at += step) {
		struct hsi_piece *piece = &memory->piece[memory->count];
		uint64_t left = bytes - at;
		piece->bytes = left < step ? left : step;
		piece->id = ++last_id;
		CUresult result = REAL(cuMemCreate)(&piece->real, piece->bytes, &memory->prop, 0);
		if (result != CUDA_SUCCESS) {
			release_pieces(memory);
			free(memory);
			return result;
		}
		piece->here = true;
		memory->count++;
	}
	memory->next = hsi_memories;
	hsi_memories = memory;
	*out = memory;
	return CUDA_SUCCESS;
}

void hsi_memory_drop(struct hsi_memory *memory) {
	if (memory->handles > 0 || memory->maps > 0)
		return;
	for (struct hsi_memory **at = &hsi_memories; *at; at = &(*at)->next)
		if (*at == memory) {
			*at = memory->next;
			break;
		}
	release_pieces(memory);
	for (unsigned i = 0; i < memory->count; i++)
		if (memory->piece[i].lent)
			hsi_freed(memory->piece[i].id);
	free(memory);
}

struct hsi_memory *hsi_memory_of(CUmemGenericAllocationHandle handle) {
	for (struct hsi_memory *memory = hsi_memories; memory; memory = memory->next)
		if ((CUmemGenericAllocationHandle)(uintptr_t)memory == handle)
			return memory->handles > 0 ? memory : NULL;
	return NULL;
}

/* The first mapping that ends above `address`. */
static size_t position(uint64_t address) {
	size_t low = 0, high = hsi_mapping_count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (hsi_mappings[middle].at + hsi_mappings[middle].bytes <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct hsi_mapping *hsi_mapping_at(uint64_t address) {
	size_t at = position(address);
	return at < hsi_mapping_count && hsi_mappings[at].at <= address ? &hsi_mappings[at] : NULL;
}

struct hsi_mapping *hsi_mapping_add(struct hsi_mapping mapping) {
	if (hsi_mapping_count == mapping_room) {
		size_t room = mapping_room ? mapping_room * 2 : 256;
		struct hsi_mapping *larger = realloc(hsi_mappings, room * sizeof *larger);
		if (!larger)
			return NULL;
		hsi_mappings = larger;
		mapping_room = room;
	}
	size_t at = position(mapping.at);
	memmove(&hsi_mappings[at + 1], &hsi_mappings[at], (hsi_mapping_count - at) * sizeof *hsi_mappings);
	hsi_mappings[at] = mapping;
	hsi_mapping_count++;
	return &hsi_mappings[at];
}

void hsi_mapping_remove(struct hsi_mapping *mapping) {
	size_t at = (size_t)(mapping - hsi_mappings);
	hsi_mapping_count--;
	memmove(mapping, mapping + 1, (hsi_mapping_count - at) * sizeof *hsi_mappings);
}

/* All of its pieces at their addresses, with the access that it had; or none. */
CUresult hsi_map(const struct hsi_mapping *mapping) {
	const struct hsi_memory *memory = mapping->memory;
	CUresult result = CUDA_SUCCESS;
	uint64_t done = 0;
	for (unsigned i = 0; result == CUDA_SUCCESS && done < mapping->bytes; i++) {
		uint64_t left = mapping->bytes - done, bytes = memory->piece[i].bytes;
		bytes = bytes < left ? bytes : left;
		result = REAL(cuMemMap)(mapping->at + done, bytes, 0, memory->piece[i].real, 0);
		if (result == CUDA_SUCCESS)
			done += bytes;
	}
	if (result == CUDA_SUCCESS && mapping->access_count)
		result = REAL(cuMemSetAccess)(mapping->at, mapping->bytes, mapping->access, mapping->access_count);
	if (result != CUDA_SUCCESS && done)
		REAL(cuMemUnmap)(mapping->at, done);
	return result;
}

CUresult hsi_unmap(const struct hsi_mapping *mapping) {
	return REAL(cuMemUnmap)(mapping->at, mapping->bytes);
}

/* The driver is of no use in a child: what the parent had is not the child's to free. */
void hsi_memory_forked(void) {
	pthread_mutex_init(&hsi_lock, NULL);
	hsi_memories = NULL;
	hsi_mapping_count = 0;
}
