/* Feeds the engine's parsers with damaged input. Built by test_demo_engine_fuzz.py with the address and undefined
 * behaviour sanitizers: fuzz_parsers SEED COUNT. With clang the same file is a libFuzzer target (-DLIBFUZZER). */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http.h"
#include "http_fields.h"
#include "json.h"
#include "mix.h"
#include "vocabulary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void feed_json(const char *text, size_t length) {
	char problem[128];
	struct json_document *document = json_parse(text, length, problem, sizeof problem);

	if (document != NULL) {
		const struct json *model = json_get(json_root(document), "model");
		struct tokens tokens = {0};
		struct buffer out = {0};
		int64_t number;
		if (model != NULL && model->type == JSON_STRING) {
			json_write_string(&out, model->string, model->length);
			tokens_add_text(&tokens, model->string, model->length);
			struct json_document *again = json_parse(out.data, out.length, problem, sizeof problem);
			if (again == NULL || json_root(again)->length != model->length ||
			    memcmp(json_root(again)->string, model->string, model->length) != 0)
				abort(); /* what we write, we must read as the same */
			json_free(again);
		}
		json_integer(json_root(document), -5, 5, &number);
		buffer_free(&out);
		tokens_free(&tokens);
		json_free(document);
	}
}

static void feed_http(const char *text, size_t length) {
	struct http_connection connection = {.stop_event = -1};
	struct http_request *request = malloc(sizeof *request);
	struct http_problem problem = {0};
	int pair[2];

	if (request == NULL || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
		abort();
	connection.socket = pair[0];
	if (send(pair[1], text, length, MSG_DONTWAIT) < 0 && length > 0)
		abort();
	shutdown(pair[1], SHUT_WR);
	while (http_read(&connection, request, &problem) == HTTP_OK) {
		if (memchr(request->path, 0, sizeof request->path) == NULL)
			abort();
		buffer_free(&request->body);
	}
	buffer_free(&request->body);
	if (problem.status != 0 && strcmp(http_reason(problem.status), "Unknown") == 0)
		abort();
	http_close(&connection);
	close(pair[1]);
	free(request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static int ready;
	/* a copy without slack, so that reading one byte too far is seen */
	char *copy = malloc(size ? size : 1);

	if (!ready++)
		vocabulary_init();
	if (size > 60000 || copy == NULL) {
		free(copy);
		return 0;
	}
	memcpy(copy, data, size);
	feed_json(copy, size);
	feed_http(copy, size);
	free(copy);
	return 0;
}

#ifndef LIBFUZZER
static const char *const corpus[] = {
	"{\"model\": \"d\\u00e9mo \\ud83d\\ude00\", \"messages\": [{\"role\": \"user\", \"content\": \"hi there\"}], \"n\": 1}",
	"{\"model\": \"x\", \"a\": [1, -2.5e+3, true, false, null, {}, [], \"\\\\ \\n\\\"\"], \"stop\": [\"a\", \"b\"]}",
	"GET /v1/models/%41b?x=1 HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, close\r\n\r\n",
	"POST http://h/v1/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\n\r\n{\"model\": 3}GET / HTTP/1.0\r\n\r\n",
	"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n4;a=b\r\nabcd\r\n"
	"1f\r\n0123456789012345678901234567890\r\n0\r\nT: x\r\n\r\nHEAD /health HTTP/1.1\r\nHost: h\r\n\r\n",
};

static uint64_t state;

static uint64_t chance(uint64_t below) {
	return hs_mix64(state += HS_GOLDEN) % below;
}

int main(int argc, char **argv) {
	static const char *const pieces[] = {"\r\n", "\r\n\r\n", "Content-Length: 9\r\n", "chunked", "\\u", "\\ud800", "\"",
					     "[[[[[[[[", "{\"a\":", "\xf0\x9f\x98\x80", "\xc3", "0\r\n\r\n", "1e999", "-"};
	static char input[65536];

	if (argc != 3)
		return 2;
	state = strtoull(argv[1], NULL, 10);
	for (unsigned long count = strtoul(argv[2], NULL, 10); count > 0; count--) {
		const char *seed = corpus[chance(sizeof corpus / sizeof *corpus)];
		size_t length = strlen(seed);
		memcpy(input, seed, length);
		for (uint64_t changes = chance(6); changes > 0 && length > 0; changes--) {
			size_t at = chance(length);
			const char *piece = pieces[chance(sizeof pieces / sizeof *pieces)];
			switch (chance(5)) {
			case 0: input[at] = (char)chance(256); break;
			case 1: input[at] ^= (char)(1 << chance(8)); break;
			case 2: length = at; break;
			case 3: /* a piece goes in */
				memmove(input + at + strlen(piece), input + at, length - at);
				memcpy(input + at, piece, strlen(piece));
				length += strlen(piece);
				break;
			default: /* the rest once more */
				memmove(input + length, input + at, length - at);
				length += length - at;
			}
		}
		LLVMFuzzerTestOneInput((const uint8_t *)input, length);
	}
	return 0;
}
#endif
