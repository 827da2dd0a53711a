#define _GNU_SOURCE /* POLLRDHUP */

#include "api.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mix.h"
#include "patience.h"

#define NEWS_SECONDS 3600.0 /* a job may stand in the queue for long, but not for ever */

static const char *error_type(int status) {
	return status == 404 ? "not_found_error" : status < 500 ? "invalid_request_error" : "server_error";
}

static void write_error(struct buffer *out, int status, const char *param, const char *code, const char *message) {
	buffer_text(out, "{\"error\":{\"message\":");
	json_write_string(out, message, strlen(message));
	buffer_printf(out, ",\"type\":\"%s\",\"param\":", error_type(status));
	if (param != NULL)
		json_write_string(out, param, strlen(param));
	else
		buffer_text(out, "null");
	buffer_text(out, ",\"code\":");
	if (code != NULL)
		json_write_string(out, code, strlen(code));
	else
		buffer_text(out, "null");
	buffer_text(out, "}}");
}

bool api_error(struct exchange *exchange, int status, const char *param, const char *code, const char *format, ...) {
	struct buffer out = {0};
	char message[1024];
	va_list arguments;
	bool usable;

	va_start(arguments, format);
	vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);
	message[utf8_valid_prefix(message, strlen(message))] =
		0; /* cut in a character, or a path that never was UTF-8 */
	write_error(&out, status, param, code, message);
	usable = http_answer(exchange->connection, exchange->request, status, "application/json",
			     status == 503 ? "Retry-After: 1\r\n" : "", out.data, out.length);
	buffer_free(&out);
	return usable;
}

void api_refuse(struct http_connection *connection, struct http_request *request, const struct http_problem *problem) {
	struct exchange exchange = {.connection = connection, .request = request};

	request->keep_alive = false;
	api_error(&exchange, problem->status, NULL, NULL, "%s", problem->text);
}

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
	const struct options *options = exchange->api->options;
	const struct json *model = json_get(exchange->root, "model");

	if (model == NULL || model->type != JSON_STRING) {
		*usable = api_error(exchange, 400, "model", NULL, "\"model\" must be a string");
		return NULL;
	}
	for (int i = 0; i < options->nmodels; i++)
		if (strlen(options->models[i]) == model->length &&
		    memcmp(options->models[i], model->string, model->length) == 0)
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
	} routes[] = {
		{"/health", false, false, health},
		{"/v1/models", false, false, models},
		{"/v1/models/", true, false, models},
		{"/v1/chat/completions", false, true, api_chat},
		{"/v1/completions", false, true, api_completions},
		{"/v1/embeddings", false, true, api_embeddings},
	};
	struct exchange exchange = {.api = api, .connection = connection, .request = request};

	for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
		if (routes[i].prefix ? strncmp(request->path, routes[i].path, strlen(routes[i].path)) != 0
				     : strcmp(request->path, routes[i].path) != 0)
			continue;
		bool get = strcmp(request->method, "GET") == 0 || request->head_only;
		if (routes[i].post ? strcmp(request->method, "POST") == 0 : get)
			return routes[i].post ? with_body(&exchange, routes[i].handler) : routes[i].handler(&exchange);
		struct buffer out = {0};
		write_error(&out, 405, NULL, NULL, "this path does not take this method");
		bool usable =
			http_answer(connection, request, 405, "application/json",
				    routes[i].post ? "Allow: POST\r\n" : "Allow: GET, HEAD\r\n", out.data, out.length);
		buffer_free(&out);
		return usable;
	}
	return api_error(&exchange, 404, NULL, NULL, "there is nothing at %.512s", request->path);
}
