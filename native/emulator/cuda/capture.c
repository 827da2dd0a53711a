/* Stream capture, and the graphs that it makes. What a capture forbids is as cuda.h words it: who waits for a stream or a context in
 * which one is going ends it, and so do "potentially unsafe" calls, as the modes of the capture and of the calling thread say. */
#include <stdlib.h>

#include "internal.h"
#include "newer.h"

struct CUgraph_st {
	struct hs_work *work;
	size_t count, room;
};
struct CUgraphExec_st {
	struct CUgraph_st graph;
};

struct hs_capture {
	struct hs_capture *next;
	CUstream origin;
	CUgraph graph;
	bool given; /* the graph is its caller's */
	bool broken;
	CUstreamCaptureMode mode;
	pthread_t thread;
	struct hs_ctx *ctx;
};

static struct hs_capture *captures; /* under hs.lock, as all of this */
static _Atomic unsigned going;	     /* so that calls need not ask while there is none */
static __thread CUstreamCaptureMode thread_mode;

static bool add(CUgraph graph, const struct hs_work *work) {
	if (graph->count == graph->room) {
		size_t room = graph->room ? graph->room * 2 : 16;
		struct hs_work *larger = realloc(graph->work, room * sizeof *larger);
		if (!larger)
			return false;
		graph->work = larger;
		graph->room = room;
	}
	graph->work[graph->count++] = *work;
	return true;
}

static void graph_free(CUgraph graph) {
	free(graph->work);
	free(graph);
}

static struct hs_capture *begin_locked(CUstream stream, CUgraph given, CUstreamCaptureMode mode) {
	struct hs_capture *capture = calloc(1, sizeof *capture);
	CUgraph graph = given ? given : calloc(1, sizeof *graph);
	if (!capture || !graph) {
		free(capture);
		if (!given)
			free(graph);
		return NULL;
	}
	*capture = (struct hs_capture){.next = captures, .origin = stream, .graph = graph, .given = given, .mode = mode,
				       .thread = pthread_self(), .ctx = hs_stream_context(stream)};
	captures = capture;
	atomic_fetch_add(&going, 1);
	return capture;
}

static CUresult begin(CUstream stream, CUgraph given, CUstreamCaptureMode mode) {
	struct hs_ctx *ctx;
	CUresult result = mode <= CU_STREAM_CAPTURE_MODE_RELAXED ? hs_current_ok(&ctx) : CUDA_ERROR_INVALID_VALUE;
	if (result != CUDA_SUCCESS)
		return result;
	if (!stream) /* the legacy stream */
		return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	pthread_mutex_lock(&hs.lock);
	if (*hs_stream_capture(stream))
		result = CUDA_ERROR_ILLEGAL_STATE;
	else if (!(*hs_stream_capture(stream) = begin_locked(stream, given, mode)))
		result = CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_unlock(&hs.lock);
	return result;
}

CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode) {
	HS_CALL(begin(stream, NULL, mode));
}

CUresult cuStreamBeginCaptureToGraph(CUstream stream, CUgraph graph, const void *dependencies, const void *edges, size_t count,
				     CUstreamCaptureMode mode) {
	(void)dependencies, (void)edges, (void)count; /* nodes run in the order in which they came */
	HS_CALL(graph ? begin(stream, graph, mode) : CUDA_ERROR_INVALID_VALUE);
}

/* The nodes that are there already are replaced; the callback, for those that differ, is not asked. */
CUresult cuStreamBeginRecaptureToGraph(CUstream stream, CUstreamCaptureMode mode, CUgraph graph, void *callback, void *data) {
	(void)callback, (void)data;
	if (graph)
		graph->count = 0;
	HS_CALL(graph ? begin(stream, graph, mode) : CUDA_ERROR_INVALID_VALUE);
}

static void drop_locked(struct hs_capture *capture) {
	for (struct hs_capture **at = &captures; *at; at = &(*at)->next)
		if (*at == capture) {
			*at = capture->next;
			break;
		}
	hs_streams_leave(capture);
	atomic_fetch_sub(&going, 1);
	free(capture);
}

/* The legacy stream takes part in none. */
static struct hs_capture *capture_of(CUstream stream) {
	return stream ? *hs_stream_capture(stream) : NULL;
}

static CUresult end(CUstream stream, CUgraph *graph) {
	struct hs_ctx *ctx;
	CUresult result = graph ? hs_current_ok(&ctx) : CUDA_ERROR_INVALID_VALUE;
	if (result != CUDA_SUCCESS)
		return result;
	pthread_mutex_lock(&hs.lock);
	struct hs_capture *capture = capture_of(stream);
	if (!capture)
		result = CUDA_ERROR_ILLEGAL_STATE;
	else if (capture->origin != stream)
		result = CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
	else if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && !pthread_equal(capture->thread, pthread_self()))
		result = CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
	else {
		*graph = capture->broken ? NULL : capture->graph;
		result = capture->broken ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS;
		if (capture->broken && !capture->given)
			graph_free(capture->graph);
		drop_locked(capture);
	}
	pthread_mutex_unlock(&hs.lock);
	return result;
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) {
	HS_CALL(end(stream, graph));
}

void hs_capture_stream_ends(CUstream stream) {
	struct hs_capture *capture = *hs_stream_capture(stream);
	if (capture && capture->origin == stream) {
		if (!capture->given)
			graph_free(capture->graph);
		drop_locked(capture);
	}
}

/* A stream that does not block takes no part in what the legacy stream waits for. */
static struct hs_capture *implicit(struct hs_ctx *ctx) {
	for (struct hs_capture *one = captures; one; one = one->next)
		if (one->ctx == ctx && hs_stream_blocks(one->origin))
			return one;
	return NULL;
}

static CUresult is_capturing(CUstream stream, CUstreamCaptureStatus *status) {
	struct hs_ctx *ctx;
	CUresult result = status ? hs_current_ok(&ctx) : CUDA_ERROR_INVALID_VALUE;
	if (result != CUDA_SUCCESS)
		return result;
	pthread_mutex_lock(&hs.lock);
	struct hs_capture *capture = capture_of(stream);
	*status = !capture ? CU_STREAM_CAPTURE_STATUS_NONE
		  : capture->broken ? CU_STREAM_CAPTURE_STATUS_INVALIDATED : CU_STREAM_CAPTURE_STATUS_ACTIVE;
	if (!stream && implicit(ctx))
		result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
	pthread_mutex_unlock(&hs.lock);
	return result;
}

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status) {
	HS_PASS(is_capturing(stream, status));
}

static CUresult exchange_mode(CUstreamCaptureMode *mode) {
	if (!mode || *mode > CU_STREAM_CAPTURE_MODE_RELAXED)
		return CUDA_ERROR_INVALID_VALUE;
	CUstreamCaptureMode before = thread_mode;
	thread_mode = *mode;
	*mode = before;
	return CUDA_SUCCESS;
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
	HS_PASS(exchange_mode(mode));
}

static bool forbids(const struct hs_capture *one) {
	bool own = pthread_equal(one->thread, pthread_self());
	if (thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED)
		return false;
	if (own)
		return one->mode != CU_STREAM_CAPTURE_MODE_RELAXED;
	return thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL && one->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
}

CUresult hs_capture_unsafe(void) {
	CUresult result = CUDA_SUCCESS;
	if (!atomic_load(&going))
		return result;
	pthread_mutex_lock(&hs.lock);
	for (struct hs_capture *one = captures; one; one = one->next)
		if (forbids(one)) {
			one->broken = true;
			result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
		}
	pthread_mutex_unlock(&hs.lock);
	return result;
}

CUresult hs_capture_waits_for_context(const struct hs_ctx *ctx) {
	CUresult result = CUDA_SUCCESS;
	if (!atomic_load(&going))
		return result;
	pthread_mutex_lock(&hs.lock);
	for (struct hs_capture *one = captures; one; one = one->next)
		if (one->ctx == ctx) {
			one->broken = true;
			result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
		}
	pthread_mutex_unlock(&hs.lock);
	return result;
}

CUresult hs_capture_waits_for_stream(CUstream stream) {
	if (!atomic_load(&going))
		return CUDA_SUCCESS;
	struct hs_ctx *ctx = hs_current();
	CUresult result = CUDA_SUCCESS;
	pthread_mutex_lock(&hs.lock);
	struct hs_capture *capture = stream ? *hs_stream_capture(stream) : implicit(ctx);
	if (capture) {
		capture->broken = true;
		result = stream ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
	}
	pthread_mutex_unlock(&hs.lock);
	return result == CUDA_SUCCESS ? hs_capture_unsafe() : result;
}

bool hs_captured(CUstream stream, const struct hs_work *work, CUresult *result) {
	*result = CUDA_SUCCESS;
	if (!atomic_load(&going))
		return false;
	struct hs_ctx *ctx = hs_current();
	pthread_mutex_lock(&hs.lock);
	struct hs_capture *capture = capture_of(stream), *other = stream ? NULL : implicit(ctx);
	if (other) {
		other->broken = true;
		*result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
	} else if (capture && capture->broken) {
		*result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	} else if (capture && work && !add(capture->graph, work)) {
		*result = CUDA_ERROR_OUT_OF_MEMORY;
	}
	pthread_mutex_unlock(&hs.lock);
	return capture || other;
}

static CUresult graph_create(CUgraph *graph, unsigned int flags) {
	if (!graph || flags)
		return CUDA_ERROR_INVALID_VALUE;
	*graph = calloc(1, sizeof **graph);
	return *graph ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuGraphCreate(CUgraph *graph, unsigned int flags) {
	HS_CALL(graph_create(graph, flags));
}

static CUresult graph_destroy(CUgraph graph) {
	if (!graph)
		return CUDA_ERROR_INVALID_VALUE;
	graph_free(graph);
	return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph graph) {
	HS_CALL(graph_destroy(graph));
}

static CUresult instantiate(CUgraphExec *exec, CUgraph graph) {
	if (!exec || !graph)
		return CUDA_ERROR_INVALID_VALUE;
	*exec = calloc(1, sizeof **exec);
	for (size_t i = 0; *exec && i < graph->count; i++)
		if (!add(&(*exec)->graph, &graph->work[i])) {
			free((*exec)->graph.work);
			free(*exec);
			*exec = NULL;
		}
	return *exec ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags) {
	(void)flags;
	HS_CALL(instantiate(exec, graph));
}

static CUresult exec_destroy(CUgraphExec exec) {
	if (!exec)
		return CUDA_ERROR_INVALID_VALUE;
	free(exec->graph.work);
	free(exec);
	return CUDA_SUCCESS;
}

CUresult cuGraphExecDestroy(CUgraphExec exec) {
	HS_CALL(exec_destroy(exec));
}

static CUresult launch(CUgraphExec exec, CUstream stream) {
	CUresult result = exec ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; result == CUDA_SUCCESS && i < exec->graph.count; i++)
		result = hs_stream_work(stream, &exec->graph.work[i]);
	return result;
}

CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream) {
	HS_CALL(launch(exec, stream));
}
