#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "buffer.h"
#include "engine_parts.h"

void engine_tell(int event) {
	uint64_t one = 1;

	while (write(event, &one, sizeof one) < 0 && errno == EINTR)
		;
}

void job_unreference(struct job *job) {
	if (--job->references > 0)
		return;
	close(job->event);
	free(job->prompt);
	free(job->made);
	free(job);
}

enum engine_state engine_state(struct engine *engine, char *problem, size_t problem_size) {
	pthread_mutex_lock(&engine->mutex);
	enum engine_state state = engine->state;
	if (problem != NULL)
		snprintf(problem, problem_size, "%s", engine->problem);
	pthread_mutex_unlock(&engine->mutex);
	return state;
}

int engine_event(const struct engine *engine) {
	return engine->event;
}

struct job *engine_submit(struct engine *engine, uint32_t *prompt, size_t prompt_length, size_t wanted) {
	struct job *job = must_alloc(sizeof *job);

	*job = (struct job){.prompt = prompt, .prompt_length = prompt_length, .wanted = wanted, .references = 2};
	job->made = must_alloc(wanted * sizeof *job->made);
	job->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_lock(&engine->mutex);
	if (job->event < 0 || engine->state != ENGINE_READY || engine->ending) {
		job->references = 1;
		job_unreference(job);
		job = NULL;
	} else {
		if (engine->first == NULL)
			engine->first = job;
		else
			engine->last->next = job;
		engine->last = job;
		engine->unfinished++;
		pthread_cond_signal(&engine->wake);
	}
	pthread_mutex_unlock(&engine->mutex);
	return job;
}

struct job_news job_look(struct engine *engine, struct job *job, size_t from, uint32_t *tokens, size_t most) {
	struct job_news news;
	uint64_t count;
	ssize_t emptied = read(job->event, &count, sizeof count); /* before the look, so that no news is lost */

	(void)emptied;
	pthread_mutex_lock(&engine->mutex);
	size_t left = job->made_length - from;
	news = (struct job_news){
		.state = job->state, .tokens = left < most ? left : most, .cached = job->cached, .choice = job->choice};
	if (news.tokens > 0)
		memcpy(tokens, job->made + from, news.tokens * sizeof *tokens);
	if (news.tokens < left) {
		news.state = JOB_RUNNING;
		engine_tell(job->event);
	}
	pthread_mutex_unlock(&engine->mutex);
	return news;
}

void job_drop(struct engine *engine, struct job *job) {
	pthread_mutex_lock(&engine->mutex);
	job->cancel = true;
	if (job->state == JOB_QUEUED || job->state == JOB_RUNNING)
		pthread_cond_signal(&engine->wake);
	job_unreference(job);
	pthread_mutex_unlock(&engine->mutex);
}
