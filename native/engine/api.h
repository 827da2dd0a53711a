/* The OpenAI API on top of the engine: routes, requests, answers. */
#ifndef HS_ENGINE_API_H
#define HS_ENGINE_API_H

#include <time.h>

#include "engine.h"
#include "http.h"
#include "json.h"
#include "options.h"

struct api {
	const struct options *options;
	struct engine *engine;
	time_t started;
};

/* One request on its way to an answer. Handlers return false when the connection is no longer usable. */
struct exchange {
	const struct api *api;
	struct http_connection *connection;
	struct http_request *request;
	const struct json *root; /* of the body, for POST */
};

bool api_handle(const struct api *api, struct http_connection *connection, struct http_request *request);

/* An answer for what http_read refused. */
void api_refuse(struct http_connection *connection, struct http_request *request, const struct http_problem *problem);

/* An error in OpenAI's shape; `param` and `code` may be NULL. Returns what http_answer does. */
bool api_error(struct exchange *exchange, int status, const char *param, const char *code, const char *format, ...)
	__attribute__((format(printf, 5, 6)));
bool api_json(struct exchange *exchange, const struct buffer *body);

/* The engine is loading, has failed or is ending. */
bool api_not_ready(struct exchange *exchange);

/* The model that the body names, or NULL after having answered an error (then *usable is the connection's state). */
const char *api_model(struct exchange *exchange, bool *usable);

/* "chatcmpl-5f..." : a new one each time. */
void api_new_id(struct buffer *out, const char *prefix);

/* The handlers of the POST routes. */
bool api_chat(struct exchange *exchange);
bool api_completions(struct exchange *exchange);
bool api_embeddings(struct exchange *exchange);

/* Waits for news of a job, or for the client's leaving. False: it left. */
bool api_wait(struct exchange *exchange, struct job *job);

#endif
