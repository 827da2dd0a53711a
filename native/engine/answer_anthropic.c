#include <string.h>

#include "answer.h"

/* https://docs.anthropic.com/en/api/messages-streaming */

static void write_text(struct buffer *out, const char *text) {
	json_write_string(out, text, strlen(text));
}

static void write_stop(struct buffer *out, const struct writing *writing) {
	const struct generation *generation = writing->generation;

	buffer_printf(out, "\"stop_reason\":\"%s\",\"stop_sequence\":",
		      writing->answer.stopped ? "stop_sequence" : "max_tokens");
	if (writing->answer.stopped)
		json_write_string(out, generation->stops[writing->answer.stop],
				  generation->stop_lengths[writing->answer.stop]);
	else
		buffer_text(out, "null");
}

/* The message up to its content. */
static void write_head(struct buffer *out, const struct writing *writing) {
	buffer_printf(out, "{\"id\":\"%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":",
		      writing->generation->id.data);
	write_text(out, writing->generation->model);
}

static void write_usage(struct buffer *out, const struct writing *writing) {
	buffer_printf(out,
		      "{\"input_tokens\":%zu,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":%zu,"
		      "\"output_tokens\":%zu}",
		      writing->generation->prompt_length - writing->cached, writing->cached, writing->tokens);
}

static bool begin(struct writing *writing) {
	struct buffer out = {0};

	buffer_text(&out, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":");
	write_head(&out, writing);
	buffer_text(&out, ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":");
	write_usage(&out, writing);
	buffer_text(&out, "}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
			  "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n");
	return answer_send(writing, &out);
}

static bool piece(struct writing *writing, const char *text, size_t length) {
	struct buffer out = {0};

	buffer_text(&out, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
			  "\"delta\":{\"type\":\"text_delta\",\"text\":");
	json_write_string(&out, text, length);
	buffer_text(&out, "}}\n\n");
	return answer_send(writing, &out);
}

static bool end(struct writing *writing) {
	struct buffer out = {0};

	buffer_text(&out, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
			  "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{");
	write_stop(&out, writing);
	buffer_text(&out, "},\"usage\":");
	write_usage(&out, writing);
	buffer_text(&out, "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
	return answer_send(writing, &out);
}

static bool whole(struct writing *writing, const char *text, size_t length) {
	struct buffer out = {0};
	bool usable;

	write_head(&out, writing);
	buffer_text(&out, ",\"content\":[{\"type\":\"text\",\"text\":");
	json_write_string(&out, text, length);
	buffer_text(&out, "}],");
	write_stop(&out, writing);
	buffer_text(&out, ",\"usage\":");
	write_usage(&out, writing);
	buffer_text(&out, "}");
	usable = api_json(writing->exchange, &out);
	buffer_free(&out);
	return usable;
}

static bool broken(struct writing *writing, const char *why) {
	struct buffer out = {0};

	buffer_text(&out, "event: error\ndata: ");
	api_write_error(&out, DIALECT_ANTHROPIC, 500, NULL, NULL, why);
	buffer_text(&out, "\n\n");
	return answer_send(writing, &out);
}

const struct answer_form answer_anthropic = {"msg", "text/event-stream", begin, piece, end, whole, broken};
