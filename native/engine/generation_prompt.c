#include <string.h>

#include "generation.h"

/* The chat template: a mark for the role, the text, a mark for the end; last the mark of the assistant, whose turn it
 * is. An answer that comes back in the next request stands where it was made, so its KV entries fit. */

bool generation_add_content(struct exchange *exchange, struct tokens *tokens, const struct json *content,
			    bool *usable) {
	if (content == NULL) /* an assistant's message with tool calls has none */
		return true;
	if (content->type == JSON_STRING) {
		tokens_add_text(tokens, content->string, content->length);
		return true;
	}
	for (const struct json *part = content->type == JSON_ARRAY ? content->first : content; part != NULL;
	     part = part->next) {
		const struct json *type = json_get(part, "type"), *text = json_get(part, "text");
		if (type == NULL || type->type != JSON_STRING || strcmp(type->string, "text") != 0 || text == NULL ||
		    text->type != JSON_STRING) {
			*usable = api_error(exchange, 400, "messages", NULL,
					    "a message's \"content\" must be a string or a list of text parts");
			return false;
		}
		tokens_add_text(tokens, text->string, text->length);
	}
	return true;
}

static bool role_mark(const struct json *role, const char *const *allowed, enum mark *mark) {
	static const struct {
		const char *name;
		enum mark mark;
	} roles[] = {{"system", MARK_SYSTEM},       {"developer", MARK_SYSTEM}, {"user", MARK_USER},
		     {"assistant", MARK_ASSISTANT}, {"tool", MARK_TOOL},        {"function", MARK_TOOL}};

	for (; role != NULL && role->type == JSON_STRING && *allowed != NULL; allowed++) {
		if (strcmp(role->string, *allowed) != 0)
			continue;
		for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
			if (strcmp(*allowed, roles[i].name) == 0)
				*mark = roles[i].mark;
		return true;
	}
	return false;
}

static bool bad_role(struct exchange *exchange, const char *const *roles, bool *usable) {
	struct buffer names = {0};

	for (int i = 0; roles[i] != NULL; i++)
		buffer_printf(&names, "%s%s", i == 0 ? "" : roles[i + 1] == NULL ? " or " : ", ", roles[i]);
	*usable = api_error(exchange, 400, "messages", NULL, "a message's \"role\" must be %s", names.data);
	buffer_free(&names);
	return false;
}

bool generation_add_message(struct exchange *exchange, struct generation *generation, const struct json *message,
			    const char *const *roles, bool *usable) {
	enum mark mark;

	if (!role_mark(json_get(message, "role"), roles, &mark))
		return bad_role(exchange, roles, usable);
	tokens_add_mark(&generation->prompt, mark);
	if (!generation_add_content(exchange, &generation->prompt, json_get(message, "content"), usable))
		return false;
	tokens_add_mark(&generation->prompt, MARK_END);
	return true;
}

bool generation_read_messages(struct exchange *exchange, struct generation *generation, bool *usable) {
	static const char *const roles[] = {"system", "developer", "user", "assistant", "tool", "function", NULL};
	const struct json *messages = json_get(exchange->root, "messages");

	if (messages == NULL || messages->type != JSON_ARRAY || messages->length == 0) {
		*usable = api_error(exchange, 400, "messages", NULL,
				    "\"messages\" must be a list with at least one message");
		return false;
	}
	tokens_add_mark(&generation->prompt, MARK_BEGIN);
	for (const struct json *message = messages->first; message != NULL; message = message->next)
		if (!generation_add_message(exchange, generation, message, roles, usable))
			return false;
	tokens_add_mark(&generation->prompt, MARK_ASSISTANT);
	return true;
}

bool generation_read_prompt(struct exchange *exchange, struct generation *generation, bool *usable) {
	const struct json *prompt = json_get(exchange->root, "prompt");

	tokens_add_mark(&generation->prompt, MARK_BEGIN);
	/* a list of one prompt is that prompt */
	if (prompt != NULL && prompt->type == JSON_ARRAY && prompt->length == 1 && prompt->first->type != JSON_NUMBER)
		prompt = prompt->first;
	if (prompt == NULL)
		return true;
	if (prompt->type == JSON_STRING) {
		tokens_add_text(&generation->prompt, prompt->string, prompt->length);
		return true;
	}
	for (const struct json *item = prompt->type == JSON_ARRAY ? prompt->first : prompt; item != NULL;
	     item = item->next) {
		int64_t token;
		if (prompt->type != JSON_ARRAY || !json_integer(item, 0, vocabulary_size() - 1, &token)) {
			*usable = api_error(exchange, 400, "prompt", NULL,
					    "\"prompt\" must be one string, or one list of tokens from 0 to %u",
					    vocabulary_size() - 1);
			return false;
		}
		tokens_add(&generation->prompt, (uint32_t)token);
	}
	return true;
}
