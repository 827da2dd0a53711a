/* Three APIs on top of the engine (OpenAI's, Anthropic's Messages, Ollama's): routes, requests, answers. */
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

enum dialect { DIALECT_OPENAI, DIALECT_ANTHROPIC, DIALECT_OLLAMA };

/* One request on its way to an answer. Handlers return false when the connection is no longer usable. */
struct exchange {
	const struct api *api;
	struct http_connection *connection;
	struct http_request *request;
	const struct json *root; /* of the body, for POST */
	enum dialect dialect;    /* of its path: the shape of errors */
};

bool api_handle(const struct api *api, struct http_connection *connection, struct http_request *request);

/* An answer for what http_read refused. */
void api_refuse(struct http_connection *connection, struct http_request *request, const struct http_problem *problem);

/* An error in the shape of the request's API; `param` and `code` are OpenAI's and may be NULL. Returns what http_answer
 * does. */
bool api_error(struct exchange *exchange, int status, const char *param, const char *code, const char *format, ...)
	__attribute__((format(printf, 5, 6)));
bool api_json(struct exchange *exchange, const struct buffer *body);

/* Writes the same into `out`. */
void api_write_error(struct buffer *out, enum dialect dialect, int status, const char *param, const char *code,
		     const char *message);

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
bool api_messages(struct exchange *exchange);
bool api_count_tokens(struct exchange *exchange);
bool api_ollama_chat(struct exchange *exchange);
bool api_ollama_generate(struct exchange *exchange);
bool api_ollama_embed(struct exchange *exchange);
bool api_ollama_embeddings(struct exchange *exchange);

/* Reads a member that may be missing (then `result` stays as it is). False after having answered an error. */
bool api_read_bool(struct exchange *exchange, const struct json *object, const char *name, bool *result, bool *usable);

/* Waits for news of a job, or for the client's leaving. False: it left. */
bool api_wait(struct exchange *exchange, struct job *job);

#endif
