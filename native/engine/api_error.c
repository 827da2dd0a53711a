#include "api.h"

#include <stdio.h>
#include <string.h>

static const char *openai_type(int status) {
	return status == 404 ? "not_found_error" : status < 500 ? "invalid_request_error" : "server_error";
}

static const char *anthropic_type(int status) {
	switch (status) {
	case 404: return "not_found_error";
	case 413: return "request_too_large";
	case 503: return "overloaded_error";
	default: return status < 500 ? "invalid_request_error" : "api_error";
	}
}

static void write_or_null(struct buffer *out, const char *text) {
	if (text != NULL)
		json_write_string(out, text, strlen(text));
	else
		buffer_text(out, "null");
}

void api_write_error(struct buffer *out, enum dialect dialect, int status, const char *param, const char *code,
		     const char *message) {
	if (dialect == DIALECT_ANTHROPIC)
		buffer_printf(out, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", anthropic_type(status));
	else
		buffer_text(out, dialect == DIALECT_OLLAMA ? "{\"error\":" : "{\"error\":{\"message\":");
	json_write_string(out, message, strlen(message));
	if (dialect == DIALECT_OPENAI) {
		buffer_printf(out, ",\"type\":\"%s\",\"param\":", openai_type(status));
		write_or_null(out, param);
		buffer_text(out, ",\"code\":");
		write_or_null(out, code);
	}
	buffer_text(out, dialect == DIALECT_OLLAMA ? "}" : "}}");
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
	api_write_error(&out, exchange->dialect, status, param, code, message);
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
