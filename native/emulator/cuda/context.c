/* Contexts: each costs some device memory; each thread has a stack of them. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define DEPTH 64
static __thread struct hs_ctx *stack[DEPTH];
static __thread int depth;

struct hs_ctx *hs_current(void) {
	return depth ? stack[depth - 1] : NULL;
}

static bool alive(const struct hs_ctx *ctx) {
	for (const struct hs_ctx *c = hs.contexts; c; c = c->next)
		if (c == ctx)
			return true;
	return false;
}

CUresult hs_current_ok(struct hs_ctx **ctx) {
	*ctx = hs_current();
	if (!*ctx)
		return CUDA_ERROR_INVALID_CONTEXT;
	pthread_mutex_lock(&hs.lock);
	bool there = alive(*ctx);
	pthread_mutex_unlock(&hs.lock);
	return there ? (CUresult)atomic_load(&(*ctx)->error) : CUDA_ERROR_CONTEXT_IS_DESTROYED;
}

static CUresult create(int ordinal, unsigned int flags, struct hs_ctx **out) {
	if (hs_handler_start() != 0)
		return CUDA_ERROR_OPERATING_SYSTEM;
	uint32_t count = (uint32_t)((hs.node.shared->context_bytes + HS_GRANULE - 1) / HS_GRANULE);
	struct hs_ctx *ctx = calloc(1, sizeof *ctx);
	uint32_t *ids = calloc(count + 1, sizeof *ids);
	if (!ctx || !ids || hs_granules_take(&hs.node, hs_device_of(ordinal), count,
					     HS_OWNER_SLOT(hs.node.own_slot), ids) != 0) {
		free(ctx);
		free(ids);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	ctx->ordinal = ordinal;
	ctx->flags = flags;
	ctx->overhead = ids;
	ctx->overhead_count = count;
	ctx->next = hs.contexts;
	hs.contexts = ctx;
	*out = ctx;
	return CUDA_SUCCESS;
}

static void destroy(struct hs_ctx *ctx) {
	for (struct hs_ctx **at = &hs.contexts; *at; at = &(*at)->next)
		if (*at == ctx) {
			*at = ctx->next;
			break;
		}
	hs_alloc_drop_context(ctx);
	hs_granules_give(&hs.node, hs_device_of(ctx->ordinal), ctx->overhead, ctx->overhead_count);
	free(ctx->overhead);
	free(ctx); /* other threads' stacks may still name it: alive() tells, by address, as the driver does */
}

static CUresult primary_retain(CUcontext *out, CUdevice dev) {
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	if (!hs_ordinal_ok(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&hs.lock);
	CUresult result = CUDA_SUCCESS;
	if (!hs.primary[dev])
		result = create(dev, 0, &hs.primary[dev]);
	if (result == CUDA_SUCCESS) {
		hs.primary[dev]->primary = true;
		hs.primary[dev]->refs++;
		*out = (CUcontext)hs.primary[dev];
	}
	pthread_mutex_unlock(&hs.lock);
	return result;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *ctx, CUdevice dev) {
	if (hs_ordinal_ok(dev) && hs.primary[dev])
		HS_PASS(primary_retain(ctx, dev)); /* only counts */
	HS_CALL(primary_retain(ctx, dev));
}

static CUresult primary_release(CUdevice dev, bool reset) {
	if (!hs_ordinal_ok(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	hs_wait_idle();
	pthread_mutex_lock(&hs.lock);
	struct hs_ctx *ctx = hs.primary[dev];
	CUresult result = ctx || reset ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
	if (ctx && (reset || --ctx->refs == 0)) {
		destroy(ctx);
		hs.primary[dev] = NULL;
	}
	pthread_mutex_unlock(&hs.lock);
	return result;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev) {
	HS_CALL(primary_release(dev, false));
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev) {
	HS_CALL(primary_release(dev, true));
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags) {
	(void)flags; /* they choose how to wait for a device; nothing here waits on one */
	HS_PASS(hs_ordinal_ok(dev) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE);
}

static CUresult primary_state(CUdevice dev, unsigned int *flags, int *active) {
	if (!flags || !active)
		return CUDA_ERROR_INVALID_VALUE;
	if (!hs_ordinal_ok(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	*active = hs.primary[dev] != NULL;
	*flags = 0;
	return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active) {
	HS_PASS(primary_state(dev, flags, active));
}

static CUresult push(struct hs_ctx *ctx) {
	pthread_mutex_lock(&hs.lock);
	bool there = alive(ctx);
	pthread_mutex_unlock(&hs.lock);
	if (!there || depth == DEPTH)
		return CUDA_ERROR_INVALID_CONTEXT;
	stack[depth++] = ctx;
	return CUDA_SUCCESS;
}

static CUresult ctx_create(CUcontext *out, unsigned int flags, CUdevice dev) {
	if (!out)
		return CUDA_ERROR_INVALID_VALUE;
	if (!hs_ordinal_ok(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	struct hs_ctx *ctx = NULL;
	pthread_mutex_lock(&hs.lock);
	CUresult result = create(dev, flags, &ctx);
	pthread_mutex_unlock(&hs.lock);
	if (result != CUDA_SUCCESS)
		return result;
	*out = (CUcontext)ctx;
	return push(ctx);
}

CUresult cuCtxCreate_v2(CUcontext *ctx, unsigned int flags, CUdevice dev) {
	HS_CALL(ctx_create(ctx, flags, dev));
}

CUresult cuCtxCreate_v4(CUcontext *ctx, void *params, unsigned int flags, CUdevice dev) {
	HS_CALL(params ? CUDA_ERROR_NOT_SUPPORTED : ctx_create(ctx, flags, dev));
}

static CUresult ctx_destroy(struct hs_ctx *ctx) {
	hs_wait_idle();
	pthread_mutex_lock(&hs.lock);
	bool there = ctx && alive(ctx) && !ctx->primary;
	if (there)
		destroy(ctx);
	pthread_mutex_unlock(&hs.lock);
	if (!there)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (hs_current() == ctx)
		depth--;
	return CUDA_SUCCESS;
}

CUresult cuCtxDestroy_v2(CUcontext ctx) {
	HS_CALL(ctx_destroy((struct hs_ctx *)ctx));
}

CUresult cuCtxPushCurrent_v2(CUcontext ctx) {
	HS_PASS(push((struct hs_ctx *)ctx));
}

static CUresult pop(CUcontext *ctx) {
	if (!depth)
		return CUDA_ERROR_INVALID_CONTEXT;
	depth--;
	if (ctx)
		*ctx = (CUcontext)stack[depth];
	return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent_v2(CUcontext *ctx) {
	HS_PASS(pop(ctx));
}

static CUresult set_current(struct hs_ctx *ctx) {
	if (depth)
		depth--;
	return ctx ? push(ctx) : CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext ctx) {
	HS_PASS(set_current((struct hs_ctx *)ctx));
}

static CUresult get_current(CUcontext *ctx) {
	if (!ctx)
		return CUDA_ERROR_INVALID_VALUE;
	*ctx = (CUcontext)hs_current();
	return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *ctx) {
	HS_PASS(get_current(ctx));
}

static CUresult get_number(int *number, int (*read)(const struct hs_ctx *)) {
	struct hs_ctx *ctx;
	CUresult result = number ? hs_current_ok(&ctx) : CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		*number = read(ctx);
	return result;
}

static int read_ordinal(const struct hs_ctx *ctx) {
	return ctx->ordinal;
}

static int read_flags(const struct hs_ctx *ctx) {
	return (int)ctx->flags;
}

CUresult cuCtxGetDevice(CUdevice *dev) {
	HS_PASS(get_number(dev, read_ordinal));
}

CUresult cuCtxGetFlags(unsigned int *flags) {
	HS_PASS(get_number((int *)flags, read_flags));
}

CUresult cuCtxGetApiVersion(CUcontext ctx, unsigned int *version) {
	(void)ctx;
	if (version)
		*version = 3020;
	HS_PASS(version ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

static CUresult synchronize(void) {
	struct hs_ctx *ctx;
	CUresult result = hs_current_ok(&ctx);
	if (result == CUDA_SUCCESS)
		result = hs_capture_waits_for_context(ctx);
	if (result == CUDA_SUCCESS)
		hs_wait_idle();
	return result;
}

CUresult cuCtxSynchronize(void) {
	HS_WAIT(synchronize());
}

static CUresult peer_access(struct hs_ctx *peer, bool enable) {
	struct hs_ctx *ctx;
	CUresult result = hs_current_ok(&ctx);
	if (result != CUDA_SUCCESS)
		return result;
	pthread_mutex_lock(&hs.lock);
	uint32_t bit = alive(peer) ? 1u << peer->ordinal : 0;
	if (!bit)
		result = CUDA_ERROR_INVALID_CONTEXT;
	else if (peer->ordinal == ctx->ordinal)
		result = CUDA_ERROR_INVALID_DEVICE;
	else if (enable)
		result = ctx->peers & bit ? CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED : CUDA_SUCCESS;
	else
		result = ctx->peers & bit ? CUDA_SUCCESS : CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
	if (result == CUDA_SUCCESS)
		ctx->peers ^= bit;
	pthread_mutex_unlock(&hs.lock);
	return result;
}

CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned int flags) {
	HS_CALL(flags ? CUDA_ERROR_INVALID_VALUE : peer_access((struct hs_ctx *)peer, true));
}

CUresult cuCtxDisablePeerAccess(CUcontext peer) {
	HS_CALL(peer_access((struct hs_ctx *)peer, false));
}
