#include <string.h>

#include "generation.h"

/* What the writing of an answer needs to know. */
struct writing {
	struct exchange *exchange;
	struct generation *generation;
	struct answer_text answer;
	size_t tokens, cached;
	bool begun; /* the stream's head has left */
};

static void write_usage(struct buffer *out, const struct writing *writing) {
	size_t prompt = writing->generation->prompt_length;

	buffer_printf(out,
		      "{\"prompt_tokens\":%zu,\"completion_tokens\":%zu,\"total_tokens\":%zu,"
		      "\"prompt_tokens_details\":{\"cached_tokens\":%zu}}",
		      prompt, writing->tokens, prompt + writing->tokens, writing->cached);
}

static void write_head(struct buffer *out, const struct generation *generation, const char *object) {
	buffer_printf(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", generation->id.data, object,
		      (long long)generation->created);
	json_write_string(out, generation->model, strlen(generation->model));
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

static const char *finish_reason(const struct writing *writing) {
	return writing->answer.stopped ? "stop" : "length";
}

/* One event. `text` NULL and `last`: the one that ends the choice. */
static bool send_piece(struct writing *writing, const char *text, size_t length, bool first, bool last) {
	const struct generation *generation = writing->generation;
	struct buffer out = {0};
	bool sent;

	buffer_text(&out, "data: ");
	write_head(&out, generation, generation->chat ? "chat.completion.chunk" : "text_completion");
	buffer_text(&out, ",\"choices\":[{\"index\":0,");
	if (generation->chat) {
		buffer_printf(&out, "\"delta\":{%s",
			      first  ? "\"role\":\"assistant\",\"content\":"
			      : last ? ""
				     : "\"content\":");
		if (!last)
			json_write_string(&out, text, length);
		buffer_text(&out, "}");
	} else {
		buffer_text(&out, "\"text\":");
		json_write_string(&out, text, length);
	}
	buffer_text(&out, ",\"logprobs\":null,\"finish_reason\":");
	buffer_printf(&out, last ? "\"%s\"}]" : "null}]", finish_reason(writing));
	buffer_text(&out, generation->include_usage ? ",\"usage\":null}\n\n" : "}\n\n");
	sent = http_stream_piece(writing->exchange->connection, writing->exchange->request, out.data, out.length);
	buffer_free(&out);
	return sent;
}

/* The stream begins with the first token, so that a failure before it is still an HTTP error. */
static bool begin_stream(struct writing *writing, const struct buffer *echo) {
	writing->begun = true;
	if (!http_stream_begin(writing->exchange->connection, writing->exchange->request, "text/event-stream"))
		return false;
	if (writing->generation->chat)
		return send_piece(writing, "", 0, true, false);
	return echo->length == 0 || send_piece(writing, echo->data, echo->length, false, false);
}

static bool end_stream(struct writing *writing) {
	struct http_connection *connection = writing->exchange->connection;
	struct buffer out = {0};
	bool sent = send_piece(writing, "", 0, false, true);

	if (writing->generation->include_usage) {
		buffer_text(&out, "data: ");
		write_head(&out, writing->generation,
			   writing->generation->chat ? "chat.completion.chunk" : "text_completion");
		buffer_text(&out, ",\"choices\":[],\"usage\":");
		write_usage(&out, writing);
		buffer_text(&out, "}\n\n");
	}
	buffer_text(&out, "data: [DONE]\n\n");
	sent = sent && http_stream_piece(connection, writing->exchange->request, out.data, out.length) &&
	       http_stream_end(connection, writing->exchange->request);
	buffer_free(&out);
	return sent;
}

static bool send_whole(struct writing *writing, const struct buffer *echo) {
	const struct generation *generation = writing->generation;
	struct buffer out = {0}, text = {0};
	bool usable;

	buffer_add(&text, echo->data, echo->length);
	buffer_add(&text, writing->answer.text.data, writing->answer.text.length);
	write_head(&out, generation, generation->chat ? "chat.completion" : "text_completion");
	buffer_text(&out, generation->chat
				  ? ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
				  : ",\"choices\":[{\"index\":0,\"text\":");
	json_write_string(&out, text.data, text.length);
	buffer_printf(&out, "%s,\"logprobs\":null,\"finish_reason\":\"%s\"}],\"usage\":",
		      generation->chat ? ",\"refusal\":null}" : "", finish_reason(writing));
	write_usage(&out, writing);
	buffer_text(&out, "}");
	usable = api_json(writing->exchange, &out);
	buffer_free(&out);
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
		    !send_piece(writing, answer->text.data + answer->sent, free_to_go, false, false))
			return false;
		answer->sent += free_to_go;
	}
	return true;
}

/* Ended by a failure or a shutdown. */
static bool broken(struct writing *writing) {
	static const char event[] = "data: {\"error\":{\"message\":\"the engine ended before the answer did\","
				    "\"type\":\"server_error\",\"param\":null,\"code\":\"engine_ended\"}}\n\n";

	if (!writing->begun)
		return api_not_ready(writing->exchange);
	http_stream_piece(writing->exchange->connection, writing->exchange->request, event, strlen(event));
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
	struct writing writing = {.exchange = exchange, .generation = generation};
	struct buffer echo = {0};
	bool usable;

	api_new_id(&generation->id, generation->chat ? "chatcmpl" : "cmpl");
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
	struct generation generation = {.chat = chat};
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
