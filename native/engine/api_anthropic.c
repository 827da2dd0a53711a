#include <string.h>

#include "answer.h"

/* Anthropic's Messages API. The prompt is the one that OpenAI's chat makes of the same words, and so is the text. */

static bool read_prompt(struct exchange *exchange, struct generation *generation, bool *usable) {
	static const char *const roles[] = {"user", "assistant", NULL};
	const struct json *system = json_get(exchange->root, "system");
	const struct json *messages = json_get(exchange->root, "messages");

	if (messages == NULL || messages->type != JSON_ARRAY || messages->length == 0) {
		*usable = api_error(exchange, 400, NULL, NULL, "messages: at least one message is required");
		return false;
	}
	tokens_add_mark(&generation->prompt, MARK_BEGIN);
	if (system != NULL) {
		tokens_add_mark(&generation->prompt, MARK_SYSTEM);
		if (!generation_add_content(exchange, &generation->prompt, system, usable))
			return false;
		tokens_add_mark(&generation->prompt, MARK_END);
	}
	for (const struct json *message = messages->first; message != NULL; message = message->next)
		if (!generation_add_message(exchange, generation, message, roles, usable))
			return false;
	tokens_add_mark(&generation->prompt, MARK_ASSISTANT);
	return true;
}

static bool read_request(struct exchange *exchange, struct generation *generation, bool *usable) {
	int64_t wanted;

	generation->created = time(NULL);
	generation->model = api_model(exchange, usable);
	if (generation->model == NULL ||
	    !generation_read_number(exchange, exchange->root, "temperature", 0, 1, false, usable) ||
	    !generation_read_number(exchange, exchange->root, "top_p", 0, 1, false, usable) ||
	    !api_read_bool(exchange, exchange->root, "stream", &generation->stream, usable) ||
	    !generation_read_stops(exchange, exchange->root, "stop_sequences", generation, usable))
		return false;
	if (!json_integer(json_get(exchange->root, "max_tokens"), 1, INT32_MAX, &wanted)) {
		*usable = api_error(exchange, 400, NULL, NULL,
				    "max_tokens: required, a whole number that is at least 1");
		return false;
	}
	generation->wanted = (size_t)wanted;
	return true;
}

bool api_messages(struct exchange *exchange) {
	struct generation generation = {.form = &answer_anthropic, .chat = true};
	bool usable = true;

	if (read_request(exchange, &generation, &usable) && read_prompt(exchange, &generation, &usable) &&
	    generation_fit(exchange, &generation, &usable))
		usable = generation_answer(exchange, &generation);
	generation_free(&generation);
	return usable;
}

bool api_count_tokens(struct exchange *exchange) {
	struct generation generation = {.form = &answer_anthropic, .chat = true};
	struct buffer out = {0};
	bool usable = true;

	if (api_model(exchange, &usable) != NULL && read_prompt(exchange, &generation, &usable)) {
		buffer_printf(&out, "{\"input_tokens\":%zu}", generation.prompt.length);
		usable = api_json(exchange, &out);
		buffer_free(&out);
	}
	generation_free(&generation);
	return usable;
}
