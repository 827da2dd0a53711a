#define _GNU_SOURCE /* POLLRDHUP */

#include "api.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mix.h"
#include "patience.h"

#define NEWS_SECONDS 3600.0 /* a job may stand in the queue for long, but not for ever */

bool api_json(struct exchange *exchange, const struct buffer *body) {
	return http_answer(exchange->connection, exchange->request, 200, "application/json", "", body->data,
			   body->length);
}

bool api_not_ready(struct exchange *exchange) {
	char problem[320];

	switch (engine_state(exchange->api->engine, problem, sizeof problem)) {
	case ENGINE_FAILED:
		return api_error(exchange, 500, NULL, "engine_failed", "the engine has failed: %s", problem);
	case ENGINE_LOADING: return api_error(exchange, 503, NULL, "loading", "the engine is loading its weights");
	default: return api_error(exchange, 503, NULL, "ending", "the engine is shutting down");
	}
}

void api_new_id(struct buffer *out, const char *prefix) {
	static atomic_uint_fast64_t counter;
	uint64_t number = atomic_fetch_add(&counter, 1) + ((uint64_t)getpid() << 40) + (uint64_t)time(NULL) * HS_GOLDEN;

	buffer_printf(out, "%s-%016llx", prefix, (unsigned long long)hs_mix64(number));
}

const char *api_model(struct exchange *exchange, bool *usable) {
	static const char latest[] = ":latest";
	const struct options *options = exchange->api->options;
	const struct json *model = json_get(exchange->root, "model");

	if (model == NULL || model->type != JSON_STRING) {
		*usable = api_error(exchange, 400, "model", NULL, "\"model\" must be a string");
		return NULL;
	}
	size_t length = model->length;
	if (exchange->dialect == DIALECT_OLLAMA && length > strlen(latest) &&
	    strcmp(model->string + length - strlen(latest), latest) == 0)
		length -= strlen(latest); /* to Ollama the same name */
	for (int i = 0; i < options->nmodels; i++)
		if (strlen(options->models[i]) == length && memcmp(options->models[i], model->string, length) == 0)
			return options->models[i];
	*usable = api_error(exchange, 404, "model", "model_not_found", "the model \"%.256s\" does not exist",
			    model->string);
	return NULL;
}

bool api_wait(struct exchange *exchange, struct job *job) {
	struct patience patience = patience_of(NEWS_SECONDS);
	struct pollfd files[2] = {{.fd = job->event, .events = POLLIN},
				  {.fd = exchange->connection->socket, .events = POLLRDHUP}};

	return patience_poll(&patience, files, 2) > 0 && files[1].revents == 0;
}

bool api_read_bool(struct exchange *exchange, const struct json *object, const char *name, bool *result, bool *usable) {
	const struct json *value = json_get(object, name);

	if (value == NULL)
		return true;
	if (value->type != JSON_BOOL) {
		*usable = api_error(exchange, 400, name, NULL, "\"%s\" must be true or false", name);
		return false;
	}
	*result = value->truth;
	return true;
}

static bool health(struct exchange *exchange) {
	static const char ready[] = "{\"status\":\"ok\"}";

	if (engine_state(exchange->api->engine, NULL, 0) != ENGINE_READY)
		return api_not_ready(exchange);
	return http_answer(exchange->connection, exchange->request, 200, "application/json", "", ready, strlen(ready));
}

static void write_model(struct buffer *out, const struct api *api, const char *name) {
	buffer_text(out, "{\"id\":");
	json_write_string(out, name, strlen(name));
	buffer_printf(out, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"hotseat\",\"max_model_len\":%lld}",
		      (long long)api->started, (long long)api->options->max_context);
}

static bool models(struct exchange *exchange) {
	static const char prefix[] = "/v1/models/";
	const struct options *options = exchange->api->options;
	const char *wanted = exchange->request->path;
	struct buffer out = {0};
	bool usable;

	wanted = strncmp(wanted, prefix, strlen(prefix)) == 0 ? wanted + strlen(prefix) : NULL;
	if (wanted == NULL)
		buffer_text(&out, "{\"object\":\"list\",\"data\":[");
	for (int i = 0; i < options->nmodels; i++) {
		if (wanted != NULL && strcmp(wanted, options->models[i]) != 0)
			continue;
		if (wanted == NULL && i > 0)
			buffer_text(&out, ",");
		write_model(&out, exchange->api, options->models[i]);
		if (wanted != NULL)
			break;
	}
	if (wanted == NULL)
		buffer_text(&out, "]}");
	usable = out.length > 0 ? api_json(exchange, &out)
				: api_error(exchange, 404, "model", "model_not_found", "the model does not exist");
	buffer_free(&out);
	return usable;
}

static bool with_body(struct exchange *exchange, bool (*handler)(struct exchange *)) {
	const struct buffer *body = &exchange->request->body;
	char problem[128];
	struct json_document *document;
	bool usable;

	document = json_parse(body->length ? body->data : "", body->length, problem, sizeof problem);
	if (document == NULL)
		return api_error(exchange, 400, NULL, NULL, "the body is not JSON: %s", problem);
	exchange->root = json_root(document);
	if (exchange->root->type != JSON_OBJECT)
		usable = api_error(exchange, 400, NULL, NULL, "the body must be a JSON object");
	else if (engine_state(exchange->api->engine, NULL, 0) != ENGINE_READY)
		usable = api_not_ready(exchange);
	else
		usable = handler(exchange);
	json_free(document);
	return usable;
}

bool api_handle(const struct api *api, struct http_connection *connection, struct http_request *request) {
	static const struct {
		const char *path;
		bool prefix, post;
		bool (*handler)(struct exchange *);
		enum dialect dialect;
	} routes[] = {
		{"/health", false, false, health, DIALECT_OPENAI},
		{"/v1/models", false, false, models, DIALECT_OPENAI},
		{"/v1/models/", true, false, models, DIALECT_OPENAI},
		{"/v1/chat/completions", false, true, api_chat, DIALECT_OPENAI},
		{"/v1/completions", false, true, api_completions, DIALECT_OPENAI},
		{"/v1/embeddings", false, true, api_embeddings, DIALECT_OPENAI},
		{"/v1/messages", false, true, api_messages, DIALECT_ANTHROPIC},
		{"/v1/messages/count_tokens", false, true, api_count_tokens, DIALECT_ANTHROPIC},
		{"/api/chat", false, true, api_ollama_chat, DIALECT_OLLAMA},
		{"/api/generate", false, true, api_ollama_generate, DIALECT_OLLAMA},
		{"/api/embed", false, true, api_ollama_embed, DIALECT_OLLAMA},
		{"/api/embeddings", false, true, api_ollama_embeddings, DIALECT_OLLAMA},
	};
	struct exchange exchange = {.api = api, .connection = connection, .request = request};

	for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
		if (routes[i].prefix ? strncmp(request->path, routes[i].path, strlen(routes[i].path)) != 0
				     : strcmp(request->path, routes[i].path) != 0)
			continue;
		exchange.dialect = routes[i].dialect;
		bool get = strcmp(request->method, "GET") == 0 || request->head_only;
		if (routes[i].post ? strcmp(request->method, "POST") == 0 : get)
			return routes[i].post ? with_body(&exchange, routes[i].handler) : routes[i].handler(&exchange);
		struct buffer out = {0};
		api_write_error(&out, exchange.dialect, 405, NULL, NULL, "this path does not take this method");
		bool usable =
			http_answer(connection, request, 405, "application/json",
				    routes[i].post ? "Allow: POST\r\n" : "Allow: GET, HEAD\r\n", out.data, out.length);
		buffer_free(&out);
		return usable;
	}
	return api_error(&exchange, 404, NULL, NULL, "there is nothing at %.512s", request->path);
}
