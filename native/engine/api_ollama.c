#include <string.h>

#include "answer.h"

/* Ollama's API. `options` has what OpenAI has at the top; a request without a prompt asks only that the model be there. */

static bool read_request(struct exchange *exchange, struct generation *generation, bool *usable) {
	const struct json *options = json_get(exchange->root, "options");
	const struct json *predict;
	int64_t wanted;

	generation->created = time(NULL);
	generation->stream = true;
	generation->wanted = WANTED_DEFAULT;
	generation->model = api_model(exchange, usable);
	if (generation->model == NULL || !api_read_bool(exchange, exchange->root, "stream", &generation->stream, usable))
		return false;
	if (options == NULL)
		return true;
	if (options->type != JSON_OBJECT) {
		*usable = api_error(exchange, 400, NULL, NULL, "options must be an object");
		return false;
	}
	if (!generation_read_number(exchange, options, "temperature", 0, 2, false, usable) ||
	    !generation_read_stops(exchange, options, "stop", generation, usable))
		return false;
	predict = json_get(options, "num_predict");
	if (predict == NULL || (json_integer(predict, -2, -1, &wanted)))
		return true; /* as much as the model likes */
	if (!json_integer(predict, 1, INT32_MAX, &wanted)) {
		*usable = api_error(exchange, 400, NULL, NULL, "num_predict must be -2, -1, or at least 1");
		return false;
	}
	generation->wanted = (size_t)wanted;
	return true;
}

/* A prompt of one message, or none: then there is nothing to make. */
static bool read_prompt(struct exchange *exchange, struct generation *generation, bool *usable) {
	const struct json *system = json_get(exchange->root, "system");
	const struct json *prompt = json_get(exchange->root, "prompt");

	if (prompt == NULL || (prompt->type == JSON_STRING && prompt->length == 0)) {
		generation->wanted = 0;
		return true;
	}
	if (prompt->type != JSON_STRING || (system != NULL && system->type != JSON_STRING)) {
		*usable = api_error(exchange, 400, NULL, NULL, "prompt and system must be strings");
		return false;
	}
	tokens_add_mark(&generation->prompt, MARK_BEGIN);
	if (system != NULL && system->length > 0) {
		tokens_add_mark(&generation->prompt, MARK_SYSTEM);
		tokens_add_text(&generation->prompt, system->string, system->length);
		tokens_add_mark(&generation->prompt, MARK_END);
	}
	tokens_add_mark(&generation->prompt, MARK_USER);
	tokens_add_text(&generation->prompt, prompt->string, prompt->length);
	tokens_add_mark(&generation->prompt, MARK_END);
	tokens_add_mark(&generation->prompt, MARK_ASSISTANT);
	return true;
}

static bool read_messages(struct exchange *exchange, struct generation *generation, bool *usable) {
	const struct json *messages = json_get(exchange->root, "messages");

	if (messages != NULL && !(messages->type == JSON_ARRAY && messages->length == 0))
		return generation_read_messages(exchange, generation, usable);
	generation->wanted = 0;
	return true;
}

static bool generate(struct exchange *exchange, bool chat) {
	struct generation generation = {.form = &answer_ollama, .chat = chat};
	bool usable = true;

	if (read_request(exchange, &generation, &usable) &&
	    (chat ? read_messages : read_prompt)(exchange, &generation, &usable) &&
	    generation_fit(exchange, &generation, &usable))
		usable = generation_answer(exchange, &generation);
	generation_free(&generation);
	return usable;
}

bool api_ollama_chat(struct exchange *exchange) {
	return generate(exchange, true);
}

bool api_ollama_generate(struct exchange *exchange) {
	return generate(exchange, false);
}
