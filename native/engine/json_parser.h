/* What the two files of the JSON parser share; nobody else includes this. */
#ifndef HS_ENGINE_JSON_PARSER_H
#define HS_ENGINE_JSON_PARSER_H

#include "json.h"

#define CHUNK 128

struct chunk {
	struct chunk *next;
	size_t used;
	struct json values[CHUNK];
};

struct json_document {
	struct chunk *chunks;
	char *strings; /* all decoded strings, one after the other; never longer than the source */
	size_t strings_used, values;
	struct json *root;
};

struct json_parser {
	struct json_document *document;
	const char *at, *start, *end;
	const char *problem;
};

/* Remembers the first problem. Returns NULL, for the caller to return. */
struct json *json_fail(struct json_parser *p, const char *problem);

/* Steps over one byte if it is `wanted`. */
bool json_take(struct json_parser *p, char wanted);

/* Decodes a string from after its opening quote to after its closing one. */
bool json_string(struct json_parser *p, const char **text, size_t *length);

#endif
