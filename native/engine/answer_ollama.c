#include <string.h>
#include <time.h>

#include "answer.h"

/* Lines of JSON, the last one with "done": true and the counts. https://github.com/ollama/ollama/blob/main/docs/api.md */

static void write_line(struct buffer *out, const struct writing *writing, const char *text, size_t length) {
	struct timespec now;
	struct tm parts;
	char when[32];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &parts);
	strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &parts);
	buffer_text(out, "{\"model\":");
	json_write_string(out, writing->generation->model, strlen(writing->generation->model));
	buffer_printf(out, ",\"created_at\":\"%s.%09ldZ\",", when, now.tv_nsec);
	buffer_text(out, writing->generation->chat ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"response\":");
	json_write_string(out, text, length);
	buffer_text(out, writing->generation->chat ? "}," : ",");
}

static void write_last(struct buffer *out, const struct writing *writing, const char *text, size_t length) {
	double now = answer_clock(), first = writing->tokens > 0 ? writing->first_made : now;

	write_line(out, writing, text, length);
	buffer_printf(out,
		      "\"done\":true,\"done_reason\":\"%s\",\"total_duration\":%.0f,\"load_duration\":0,"
		      "\"prompt_eval_count\":%zu,\"prompt_eval_duration\":%.0f,\"eval_count\":%zu,"
		      "\"eval_duration\":%.0f}\n",
		      writing->generation->wanted == 0 ? "load"
		      : writing->answer.stopped        ? "stop"
						       : "length",
		      1e9 * (now - writing->arrived), writing->generation->prompt_length,
		      1e9 * (first - writing->arrived), writing->tokens, 1e9 * (now - first));
}

static bool begin(struct writing *writing) {
	(void)writing; /* the first piece is the beginning */
	return true;
}

static bool piece(struct writing *writing, const char *text, size_t length) {
	struct buffer out = {0};

	write_line(&out, writing, text, length);
	buffer_text(&out, "\"done\":false}\n");
	return answer_send(writing, &out);
}

static bool end(struct writing *writing) {
	struct buffer out = {0};

	write_last(&out, writing, "", 0);
	return answer_send(writing, &out);
}

static bool whole(struct writing *writing, const char *text, size_t length) {
	struct buffer out = {0};
	bool usable;

	write_last(&out, writing, text, length);
	out.length--; /* an object, not a line */
	usable = api_json(writing->exchange, &out);
	buffer_free(&out);
	return usable;
}

static bool broken(struct writing *writing, const char *why) {
	struct buffer out = {0};

	api_write_error(&out, DIALECT_OLLAMA, 500, NULL, NULL, why);
	buffer_text(&out, "\n");
	return answer_send(writing, &out);
}

const struct answer_form answer_ollama = {"ollama", "application/x-ndjson", begin, piece, end, whole, broken};
