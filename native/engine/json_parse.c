#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json_parser.h"

static struct json *value(struct json_parser *p, int depth);

static struct json *new_value(struct json_parser *p, enum json_type type) {
	struct json_document *document = p->document;

	if (++document->values > JSON_MAX_VALUES)
		return json_fail(p, "too many values");
	if (document->chunks == NULL || document->chunks->used == CHUNK) {
		struct chunk *chunk = must_alloc(sizeof *chunk);
		chunk->next = document->chunks;
		document->chunks = chunk;
	}
	struct json *made = &document->chunks->values[document->chunks->used++];
	made->type = type;
	return made;
}

static void skip_space(struct json_parser *p) {
	while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r'))
		p->at++;
}

static bool digits(struct json_parser *p) {
	const char *start = p->at;

	while (p->at < p->end && *p->at >= '0' && *p->at <= '9')
		p->at++;
	return p->at > start;
}

static struct json *number(struct json_parser *p) {
	const char *start = p->at;
	char copy[64];
	struct json *made;

	json_take(p, '-');
	if (!json_take(p, '0') && !digits(p))
		return json_fail(p, "not a JSON value");
	if (json_take(p, '.') && !digits(p))
		return json_fail(p, "a number without digits after the point");
	if (json_take(p, 'e') || json_take(p, 'E')) {
		if (!json_take(p, '+'))
			json_take(p, '-');
		if (!digits(p))
			return json_fail(p, "a number without an exponent");
	}
	if ((size_t)(p->at - start) >= sizeof copy)
		return json_fail(p, "a number that is too long");
	memcpy(copy, start, (size_t)(p->at - start));
	copy[p->at - start] = 0;
	made = new_value(p, JSON_NUMBER);
	if (made != NULL)
		made->number = strtod(copy, NULL);
	return made;
}

static struct json *word(struct json_parser *p, const char *text, enum json_type type, bool truth) {
	size_t length = strlen(text);
	struct json *made;

	if ((size_t)(p->end - p->at) < length || memcmp(p->at, text, length) != 0)
		return json_fail(p, "not a JSON value");
	p->at += length;
	made = new_value(p, type);
	if (made != NULL)
		made->truth = truth;
	return made;
}

/* After the opening bracket or brace. */
static struct json *members(struct json_parser *p, enum json_type type, char close, int depth) {
	struct json *made = new_value(p, type), **last;

	if (made == NULL)
		return NULL;
	last = &made->first;
	skip_space(p);
	if (json_take(p, close))
		return made;
	do {
		const char *key = NULL;
		size_t key_length = 0;
		skip_space(p);
		if (type == JSON_OBJECT) {
			if (!json_take(p, '"'))
				return json_fail(p, "a key must be a string");
			if (!json_string(p, &key, &key_length))
				return NULL;
			skip_space(p);
			if (!json_take(p, ':'))
				return json_fail(p, "a colon is missing");
		}
		struct json *member = value(p, depth + 1);
		if (member == NULL)
			return NULL;
		member->key = key;
		member->key_length = key_length;
		*last = member;
		last = &member->next;
		made->length++;
		skip_space(p);
	} while (json_take(p, ','));
	return json_take(p, close) ? made : json_fail(p, "a comma or a closing bracket is missing");
}

static struct json *value(struct json_parser *p, int depth) {
	struct json *made;

	if (depth > JSON_MAX_DEPTH)
		return json_fail(p, "too deep");
	skip_space(p);
	if (p->at == p->end)
		return json_fail(p, "the text ends too early");
	switch (*p->at) {
	case '{': p->at++; return members(p, JSON_OBJECT, '}', depth);
	case '[': p->at++; return members(p, JSON_ARRAY, ']', depth);
	case '"':
		p->at++;
		made = new_value(p, JSON_STRING);
		return made != NULL && json_string(p, &made->string, &made->length) ? made : NULL;
	case 't': return word(p, "true", JSON_BOOL, true);
	case 'f': return word(p, "false", JSON_BOOL, false);
	case 'n': return word(p, "null", JSON_NULL, false);
	default: return number(p);
	}
}

struct json_document *json_parse(const char *text, size_t length, char *problem, size_t problem_size) {
	struct json_document *document = must_alloc(sizeof *document);
	struct json_parser p = {.document = document, .at = text, .start = text, .end = text + length};
	size_t valid = utf8_valid_prefix(text, length);

	document->strings = must_alloc(length + 1);
	if (valid != length) {
		p.at = text + valid;
		json_fail(&p, "not UTF-8");
	} else {
		document->root = value(&p, 1);
		skip_space(&p);
		if (document->root != NULL && p.at != p.end)
			document->root = json_fail(&p, "something follows the value");
	}
	if (document->root == NULL) {
		snprintf(problem, problem_size, "%s at byte %zu", p.problem, (size_t)(p.at - p.start));
		json_free(document);
		return NULL;
	}
	return document;
}

const struct json *json_root(const struct json_document *document) {
	return document->root;
}

void json_free(struct json_document *document) {
	if (document == NULL)
		return;
	while (document->chunks != NULL) {
		struct chunk *next = document->chunks->next;
		free(document->chunks);
		document->chunks = next;
	}
	free(document->strings);
	free(document);
}
