#define _GNU_SOURCE /* pthread_clockjoin_np */

#include "engine_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "buffer.h"
#include "patience.h"
#include "vocabulary.h"

#define DRIVER_SECONDS 10 /* for a driver call under way when all else has ended */

static void finish(struct engine *engine, struct job *job, enum job_state state) /* with the mutex */
{
	job->state = state;
	engine->unfinished--;
	engine_tell(job->event);
	job_unreference(job);
}

static void fail(struct engine *engine, const char *problem) /* with the mutex */
{
	engine->state = ENGINE_FAILED;
	if (problem != engine->problem)
		snprintf(engine->problem, sizeof engine->problem, "%s", problem);
	while (engine->nrunning > 0)
		finish(engine, engine->running[--engine->nrunning].job, JOB_FAILED);
	while (engine->first != NULL) {
		struct job *job = engine->first;
		engine->first = job->next;
		finish(engine, job, JOB_FAILED);
	}
	engine_tell(engine->event);
}

/* Drops what was cancelled, starts what fits, in order of arrival. With the mutex. */
static void admit(struct engine *engine) {
	for (int i = 0; i < engine->nrunning;) {
		struct sequence *sequence = &engine->running[i];
		if (!sequence->job->cancel && !engine->cancel_all) {
			i++;
			continue;
		}
		sequence_end(sequence, engine->blocks);
		finish(engine, sequence->job, JOB_CANCELLED);
		*sequence = engine->running[--engine->nrunning];
	}
	while (engine->first != NULL) {
		struct job *job = engine->first;
		bool cancelled = job->cancel || engine->cancel_all;
		if (!cancelled &&
		    (engine->nrunning == RUNNING_MAX ||
		     !sequence_begin(&engine->running[engine->nrunning], job, engine->blocks, engine->options->seed)))
			break;
		engine->first = job->next;
		if (cancelled) {
			finish(engine, job, JOB_CANCELLED);
			continue;
		}
		job->state = JOB_RUNNING;
		engine->nrunning++;
	}
}

/* Hands out this step's tokens. With the mutex. Returns how many there were. */
static int hand_out(struct engine *engine) {
	int tokens = 0;

	for (int i = 0; i < engine->nrunning;) {
		struct sequence *sequence = &engine->running[i];
		struct job *job = sequence->job;
		if (sequence->chose) {
			uint32_t previous = job->made_length > 0 ? job->made[job->made_length - 1]
								 : job->prompt[job->prompt_length - 1];
			job->choice = sequence->choice;
			job->made[job->made_length++] = token_choose(sequence->choice, previous);
			tokens++;
			if (job->made_length == job->wanted) {
				sequence_end(sequence, engine->blocks);
				finish(engine, job, JOB_DONE);
				*sequence = engine->running[--engine->nrunning];
				continue;
			}
			engine_tell(job->event);
		}
		i++;
	}
	return tokens;
}

/* Waits for something to do. With the mutex. False when it is time to end. */
static bool wait_for_work(struct engine *engine) {
	for (;;) {
		int64_t wait_us = engine->next_step_us - now_us();
		admit(engine);
		if (engine->ending && engine->unfinished == 0)
			return false;
		if (engine->nrunning == 0) {
			pthread_cond_wait(&engine->wake, &engine->mutex);
		} else if (wait_us <= 0) {
			return true;
		} else {
			struct timespec until = {.tv_sec = engine->next_step_us / 1000000,
						 .tv_nsec = engine->next_step_us % 1000000 * 1000};
			pthread_cond_timedwait(&engine->wake, &engine->mutex, &until);
		}
	}
}

static void serve(struct engine *engine) /* with the mutex */
{
	char problem[320];

	while (wait_for_work(engine)) {
		int64_t started = now_us();
		pthread_mutex_unlock(&engine->mutex);
		int result = sequences_step(engine->running, engine->nrunning, engine->blocks, engine->ranks,
					    engine->kv_start, problem, sizeof problem);
		pthread_mutex_lock(&engine->mutex);
		if (result != 0) {
			fail(engine, problem);
			return;
		}
		int tokens = hand_out(engine);
		if (engine->options->tokens_per_second > 0 && tokens > 0)
			engine->next_step_us = started + (int64_t)(1e6 / engine->options->tokens_per_second);
	}
}

static bool open_all(struct engine *engine, char *problem, size_t problem_size) {
	static struct step_sums sums;
	struct shard_spec specs[SHARD_MAX];
	int count = options_shards(engine->options, specs);

	if (ranks_open(engine->ranks, problem, problem_size) != 0 ||
	    ranks_step(engine->ranks, NULL, 0, NULL, 0, &sums, problem, problem_size) != 0)
		return false;
	engine->kv_start = sums.kv;
	engine->blocks = blocks_new(specs, count, engine->options->seed);
	return true;
}

static void *engine_thread(void *argument) {
	struct engine *engine = argument;
	char problem[320];
	bool opened = open_all(engine, problem, sizeof problem);

	pthread_mutex_lock(&engine->mutex);
	if (!opened) {
		fail(engine, problem);
	} else {
		engine->state = ENGINE_READY;
		engine_tell(engine->event);
		serve(engine);
	}
	pthread_mutex_unlock(&engine->mutex);
	ranks_close(engine->ranks);
	return NULL;
}

struct engine *engine_start(const struct options *options, struct ranks *ranks) {
	struct engine *engine = must_alloc(sizeof *engine);
	pthread_condattr_t attributes;

	engine->options = options;
	engine->ranks = ranks;
	engine->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&engine->mutex, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&engine->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	if (engine->event < 0 || pthread_create(&engine->thread, NULL, engine_thread, engine) != 0) {
		perror("hotseat-demo-engine: cannot start the engine thread");
		exit(1);
	}
	pthread_setname_np(engine->thread, "cuda");
	return engine;
}

void engine_stop(struct engine *engine, double grace_seconds) {
	struct timespec until;

	pthread_mutex_lock(&engine->mutex);
	engine->ending = true;
	pthread_cond_signal(&engine->wake);
	pthread_mutex_unlock(&engine->mutex);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)grace_seconds;
	if (pthread_clockjoin_np(engine->thread, NULL, CLOCK_MONOTONIC, &until) == 0)
		return;
	pthread_mutex_lock(&engine->mutex);
	engine->cancel_all = true;
	pthread_cond_signal(&engine->wake);
	pthread_mutex_unlock(&engine->mutex);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += DRIVER_SECONDS;
	if (pthread_clockjoin_np(engine->thread, NULL, CLOCK_MONOTONIC, &until) != 0) {
		fputs("hotseat-demo-engine: the driver does not return; ending without it\n", stderr);
		_exit(1);
	}
}
