#include <string.h>

#include "answer.h"

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

static const char *finish_reason(const struct writing *writing) {
	return writing->answer.stopped ? "stop" : "length";
}

/* One event. `text` NULL and `last`: the one that ends the choice. */
static bool send_piece(struct writing *writing, const char *text, size_t length, bool first, bool last) {
	const struct generation *generation = writing->generation;
	struct buffer out = {0};

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
	return answer_send(writing, &out);
}

static bool piece(struct writing *writing, const char *text, size_t length) {
	return send_piece(writing, text, length, false, false);
}

static bool begin(struct writing *writing) {
	return !writing->generation->chat || send_piece(writing, "", 0, true, false);
}

static bool end(struct writing *writing) {
	struct buffer out = {0};

	if (!send_piece(writing, "", 0, false, true))
		return false;

	if (writing->generation->include_usage) {
		buffer_text(&out, "data: ");
		write_head(&out, writing->generation,
			   writing->generation->chat ? "chat.completion.chunk" : "text_completion");
		buffer_text(&out, ",\"choices\":[],\"usage\":");
		write_usage(&out, writing);
		buffer_text(&out, "}\n\n");
	}
	buffer_text(&out, "data: [DONE]\n\n");
	return answer_send(writing, &out);
}

static bool whole(struct writing *writing, const char *text, size_t length) {
	const struct generation *generation = writing->generation;
	struct buffer out = {0};
	bool usable;

	write_head(&out, generation, generation->chat ? "chat.completion" : "text_completion");
	buffer_text(&out, generation->chat
				  ? ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
				  : ",\"choices\":[{\"index\":0,\"text\":");
	json_write_string(&out, text, length);
	buffer_printf(&out, "%s,\"logprobs\":null,\"finish_reason\":\"%s\"}],\"usage\":",
		      generation->chat ? ",\"refusal\":null}" : "", finish_reason(writing));
	write_usage(&out, writing);
	buffer_text(&out, "}");
	usable = api_json(writing->exchange, &out);
	buffer_free(&out);
	return usable;
}

static bool broken(struct writing *writing, const char *why) {
	struct buffer out = {0};

	buffer_text(&out, "data: ");
	api_write_error(&out, DIALECT_OPENAI, 500, NULL, "engine_ended", why);
	buffer_text(&out, "\n\n");
	return answer_send(writing, &out);
}

const struct answer_form answer_openai = {NULL, "text/event-stream", begin, piece, end, whole, broken};
