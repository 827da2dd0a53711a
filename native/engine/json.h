/* JSON (RFC 8259): a strict parser into a tree, and the little that is needed to write it. No I/O. */
#ifndef HS_ENGINE_JSON_H
#define HS_ENGINE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

#define JSON_MAX_DEPTH 64
#define JSON_MAX_VALUES 262144 /* in one document, so that a small body cannot take much memory */

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
	enum json_type type;
	bool truth;
	double number;
	const char *string; /* decoded, UTF-8, ends with 0 (and may contain 0) */
	size_t length;      /* of the string; number of members of an array or object */
	const char *key;    /* of a member of an object */
	size_t key_length;
	struct json *first, *next; /* first member; next sibling */
};

struct json_document; /* owns the tree */

/* NULL where `text` is not one JSON value; then `problem` says what and where. */
struct json_document *json_parse(const char *text, size_t length, char *problem, size_t problem_size);
const struct json *json_root(const struct json_document *document);
void json_free(struct json_document *document);

/* Member of an object; the last one where a key occurs twice; NULL where there is none or it is null. */
const struct json *json_get(const struct json *object, const char *key);

/* True for a number that is a whole one between low and high. */
bool json_integer(const struct json *value, int64_t low, int64_t high, int64_t *result);

/* A string with its quotes; `text` must be UTF-8. */
void json_write_string(struct buffer *buffer, const char *text, size_t length);

/* Length of the longest prefix that is valid UTF-8 (no overlong forms, no surrogates). */
size_t utf8_valid_prefix(const char *text, size_t length);

#endif
