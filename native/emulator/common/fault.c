/* Faults on demand: armed from outside in shared memory, taken by the process they are for. */
#include <string.h>

#include "hs_node.h"

static bool meant_for_us(const struct hs_node *node, const struct hs_fault *fault) {
	if (fault->pid == 0)
		return true;
	if (node->own_slot < 0)
		return false;
	const struct hs_slot *slot = &node->shared->slot[node->own_slot];
	return fault->pid == slot->pid && fault->pid_ns == slot->pid_ns;
}

static bool matches(const struct hs_node *node, const struct hs_fault *fault, enum hs_fault_kind kind, const char *op) {
	return atomic_load(&fault->armed) == 1 && fault->kind == (uint32_t)kind &&
	       (fault->op[0] == 0 || op[0] == 0 || strncmp(fault->op, op, sizeof fault->op) == 0) &&
	       meant_for_us(node, fault);
}

/* True if the fault's turn has come: `skip` calls pass first, then it fires `left` times. */
static bool turn(struct hs_fault *fault) {
	if (atomic_load(&fault->skip) > 0 && atomic_fetch_sub(&fault->skip, 1) > 0)
		return false;
	int32_t left = atomic_load(&fault->left);
	if (left >= 0) {
		if (left == 0 || atomic_fetch_sub(&fault->left, 1) <= 0)
			return false;
	}
	atomic_fetch_add(&fault->fired, 1);
	return true;
}

bool hs_fault_take(struct hs_node *node, enum hs_fault_kind kind, const char *op, int64_t *value) {
	for (int i = 0; i < HS_MAX_FAULTS; i++) {
		struct hs_fault *fault = &node->shared->fault[i];
		if (matches(node, fault, kind, op) && turn(fault)) {
			if (value)
				*value = fault->value;
			return true;
		}
	}
	return false;
}

void hs_fault_hang(struct hs_node *node, const char *op) {
	for (int i = 0; i < HS_MAX_FAULTS; i++) {
		struct hs_fault *fault = &node->shared->fault[i];
		if (!matches(node, fault, HS_FAULT_HANG, op) || !turn(fault))
			continue;
		while (matches(node, fault, HS_FAULT_HANG, op)) /* until it is cleared */
			hs_sleep_ns(5000000);
	}
}
