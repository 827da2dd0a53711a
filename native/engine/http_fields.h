/* The head of a request: its first line and its fields. Pure; nobody but http_read.c and the fuzzer needs it. */
#ifndef HS_ENGINE_HTTP_FIELDS_H
#define HS_ENGINE_HTTP_FIELDS_H

#include "http.h"

struct http_fields {
	long long content_length; /* -1: none */
	bool chunked, expect_continue;
};

/* `head` is all lines, each with its CRLF. False with `problem` for anything that is not plainly right: what two
 * servers could read in two ways is how requests are smuggled. */
bool http_parse_head(const char *head, size_t length, struct http_request *request, struct http_fields *fields,
		     struct http_problem *problem);

#endif
