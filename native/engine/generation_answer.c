#include <string.h>
#include <time.h>

#include "answer.h"

double answer_clock(void) {
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

bool answer_send(struct writing *writing, struct buffer *out) {
	bool sent = http_stream_piece(writing->exchange->connection, writing->exchange->request, out->data, out->length);

	buffer_free(out);
	return sent;
}

/* The tokens of a prompt as text; bytes that make no character become U+FFFD. */
static void write_prompt_text(struct buffer *out, const uint32_t *prompt, size_t length) {
	struct buffer raw = {0};

	for (size_t i = 0; i < length; i++)
		token_text(prompt[i], &raw);
	for (size_t at = 0; at < raw.length;) {
		size_t valid = utf8_valid_prefix(raw.data + at, raw.length - at);
		buffer_add(out, raw.data + at, valid);
		at += valid;
		if (at < raw.length) {
			buffer_text(out, "\xEF\xBF\xBD");
			at++;
		}
	}
	buffer_free(&raw);
}

/* The stream begins with the first token, so that a failure before it is still an HTTP error. */
static bool begin_stream(struct writing *writing, const struct buffer *echo) {
	const struct answer_form *form = writing->generation->form;

	writing->begun = true;
	return http_stream_begin(writing->exchange->connection, writing->exchange->request, form->stream_type) &&
	       form->begin(writing) && (echo->length == 0 || form->piece(writing, echo->data, echo->length));
}

static bool end_stream(struct writing *writing) {
	return writing->generation->form->end(writing) &&
	       http_stream_end(writing->exchange->connection, writing->exchange->request);
}

static bool send_whole(struct writing *writing, const struct buffer *echo) {
	struct buffer text = {0};
	bool usable;

	buffer_add(&text, echo->data, echo->length);
	buffer_add(&text, writing->answer.text.data, writing->answer.text.length);
	usable = writing->generation->form->whole(writing, text.length ? text.data : "", text.length);
	buffer_free(&text);
	return usable;
}

/* Takes what the engine has made. False when the client is gone. */
static bool take_tokens(struct writing *writing, const uint32_t *tokens, size_t count, const struct buffer *echo) {
	struct answer_text *answer = &writing->answer;

	if (count > 0 && writing->generation->stream && !writing->begun && !begin_stream(writing, echo))
		return false;
	for (size_t i = 0; i < count && !answer->stopped; i++) {
		size_t free_to_go = answer_add(answer, writing->generation, tokens[i]);
		writing->tokens++;
		if (i + 1 == count && writing->tokens == writing->generation->wanted)
			free_to_go = answer->text.length -
				     answer->sent; /* nothing follows that could complete a stop sequence */
		if (writing->generation->stream && free_to_go > 0 &&
		    !writing->generation->form->piece(writing, answer->text.data + answer->sent, free_to_go))
			return false;
		answer->sent += free_to_go;
	}
	return true;
}

/* Ended by a failure or a shutdown. */
static bool broken(struct writing *writing) {
	if (!writing->begun)
		return api_not_ready(writing->exchange);
	writing->generation->form->broken(writing, "the engine ended before the answer did");
	return false; /* and no proper end of the body: nobody may take this for a whole answer */
}

static bool run(struct writing *writing, const struct buffer *echo) {
	struct exchange *exchange = writing->exchange;
	struct generation *generation = writing->generation;
	struct engine *engine = exchange->api->engine;
	uint32_t *prompt = generation->prompt.ids;
	uint32_t tokens[64];
	bool usable = true;
	struct job *job;

	generation->prompt.ids = NULL; /* now the job's */
	job = engine_submit(engine, prompt, generation->prompt_length, generation->wanted);
	if (job == NULL)
		return api_not_ready(exchange);
	for (;;) {
		struct job_news news = job_look(engine, job, writing->tokens, tokens, 64);
		writing->cached = news.cached;
		if (writing->tokens == 0 && news.tokens > 0)
			writing->first_made = answer_clock();
		usable = take_tokens(writing, tokens, news.tokens, echo);
		if (!usable || writing->answer.stopped || news.state == JOB_DONE)
			break;
		if (news.state == JOB_FAILED || news.state == JOB_CANCELLED) {
			job_drop(engine, job);
			return broken(writing);
		}
		if (!api_wait(exchange, job)) {
			usable = false;
			break;
		}
	}
	job_drop(engine, job);
	if (!usable)
		return false;
	return generation->stream ? end_stream(writing) : send_whole(writing, echo);
}

bool generation_answer(struct exchange *exchange, struct generation *generation) {
	struct writing writing = {.exchange = exchange, .generation = generation, .arrived = answer_clock()};
	struct buffer echo = {0};
	bool usable;

	api_new_id(&generation->id, generation->form->id_prefix  ? generation->form->id_prefix
				    : generation->chat ? "chatcmpl"
						       : "cmpl");
	if (generation->echo)
		write_prompt_text(&echo, generation->prompt.ids, generation->prompt_length);
	if (generation->wanted > 0)
		usable = run(&writing, &echo);
	else if (generation->stream)
		usable = begin_stream(&writing, &echo) && end_stream(&writing);
	else
		usable = send_whole(&writing, &echo);
	buffer_free(&writing.answer.text);
	buffer_free(&echo);
	return usable;
}

static bool generate(struct exchange *exchange, bool chat) {
	struct generation generation = {.form = &answer_openai, .chat = chat};
	bool usable = true;

	if (generation_read(exchange, &generation, &usable) &&
	    (chat ? generation_read_messages : generation_read_prompt)(exchange, &generation, &usable) &&
	    generation_fit(exchange, &generation, &usable))
		usable = generation_answer(exchange, &generation);
	generation_free(&generation);
	return usable;
}

bool api_chat(struct exchange *exchange) {
	return generate(exchange, true);
}

bool api_completions(struct exchange *exchange) {
	return generate(exchange, false);
}
