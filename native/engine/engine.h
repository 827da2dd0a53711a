/* The engine proper: one thread that owns CUDA and advances every running answer by one token a step.
 *
 * A job is a prompt and what comes of it. Connection threads submit jobs and read their tokens; the engine thread
 * writes them. All functions here may be called from any thread. */
#ifndef HS_ENGINE_ENGINE_H
#define HS_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "options.h"
#include "ranks.h"

struct engine;

enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_DONE, JOB_FAILED, JOB_CANCELLED };

struct job {
	/* set by whoever makes it */
	uint32_t *prompt;
	size_t prompt_length;
	size_t wanted; /* tokens to make */
	/* readable (POLLIN) when there is news */
	int event;
	/* the engine's; others read them through job_look */
	enum job_state state;
	uint32_t *made;
	size_t made_length, cached; /* cached: prompt tokens that the prefix cache had */
	uint64_t choice;            /* the 64 bits that the last token came from */
	bool cancel;
	int references;
	struct job *next;
};

/* Starts the thread; it opens the ranks. */
struct engine *engine_start(const struct options *options, struct ranks *ranks);

enum engine_state { ENGINE_LOADING, ENGINE_READY, ENGINE_FAILED };

/* `problem` says why, if it has failed. */
enum engine_state engine_state(struct engine *engine, char *problem, size_t problem_size);

/* Readable when the engine becomes ready or fails. */
int engine_event(const struct engine *engine);

/* Takes over `prompt`. NULL if the engine does not take jobs (loading, failed, ending). */
struct job *engine_submit(struct engine *engine, uint32_t *prompt, size_t prompt_length, size_t wanted);

struct job_news {
	enum job_state state; /* JOB_RUNNING until all tokens have been seen */
	size_t tokens;        /* how many were copied */
	size_t cached;
	uint64_t choice;
};

/* Copies up to `most` of its tokens from `from` on. Empties job->event, unless there are still more. */
struct job_news job_look(struct engine *engine, struct job *job, size_t from, uint32_t *tokens, size_t most);

/* Stops it, if it runs, and gives it up. */
void job_drop(struct engine *engine, struct job *job);

/* Takes no new jobs, lets the running ones end for `grace_seconds`, cancels the rest, ends the thread (which closes the
 * ranks). Frees nothing: connection threads may still hold jobs. */
void engine_stop(struct engine *engine, double grace_seconds);

#endif
