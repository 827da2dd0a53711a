/* What the engine thread (engine.c) and the calls of other threads (jobs.c) share; nobody else includes this. */
#ifndef HS_ENGINE_ENGINE_PARTS_H
#define HS_ENGINE_ENGINE_PARTS_H

#include <pthread.h>

#include "engine.h"
#include "sequence.h"

struct engine {
	const struct options *options;
	struct ranks *ranks;
	pthread_t thread;
	int event;
	pthread_mutex_t mutex; /* guards all that follows, and the engine's part of every job */
	pthread_cond_t wake;
	enum engine_state state;
	char problem[320];
	bool ending, cancel_all;
	struct job *first, *last; /* queue */
	int unfinished;           /* jobs queued or running */
	/* the engine thread's own */
	struct blocks *blocks;
	uint64_t kv_start;
	struct sequence running[RUNNING_MAX];
	int nrunning;
	int64_t next_step_us;
};

/* Makes an event readable. */
void engine_tell(int event);

/* With the mutex. The last one frees the job. */
void job_unreference(struct job *job);

#endif
