#include "http_fields.h"

#include <string.h>
#include <strings.h>

struct text {
	const char *start;
	size_t length;
};

static bool refuse(struct http_problem *problem, int status, const char *text) {
	problem->status = status;
	problem->text = text;
	return false;
}

static bool is_token(char c) {
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool all_tokens(struct text text) {
	for (size_t i = 0; i < text.length; i++)
		if (!is_token(text.start[i]))
			return false;
	return text.length > 0;
}

static bool is(struct text text, const char *wanted) {
	return text.length == strlen(wanted) && strncasecmp(text.start, wanted, text.length) == 0;
}

static struct text trim(struct text text) {
	while (text.length > 0 && (*text.start == ' ' || *text.start == '\t')) {
		text.start++;
		text.length--;
	}
	while (text.length > 0 && (text.start[text.length - 1] == ' ' || text.start[text.length - 1] == '\t'))
		text.length--;
	return text;
}

/* The part of `text` before `separator`; `text` becomes what follows it. */
static struct text cut(struct text *text, char separator) {
	const char *found = memchr(text->start, separator, text->length);
	struct text part = {text->start, found ? (size_t)(found - text->start) : text->length};
	size_t used = part.length + (found != NULL);

	text->start += used;
	text->length -= used;
	return part;
}

static int hex_digit(char c) {
	const char *digits = "0123456789abcdef0123456789ABCDEF", *found = c ? strchr(digits, c) : NULL;

	return found == NULL ? -1 : (int)(found - digits) % 16;
}

/* Copies a path and resolves its %XX; there is room. False for a wrong one, and for a %00. */
static bool decode_path(struct text from, char *to) {
	for (size_t i = 0; i < from.length; i++) {
		int high, low;
		if (from.start[i] != '%') {
			*to++ = from.start[i];
			continue;
		}
		if (i + 2 >= from.length || (high = hex_digit(from.start[i + 1])) < 0 ||
		    (low = hex_digit(from.start[i + 2])) < 0 || high + low == 0)
			return false;
		*to++ = (char)(high * 16 + low);
		i += 2;
	}
	*to = 0;
	return true;
}

static bool first_line(struct text line, struct http_request *request, struct http_problem *problem) {
	struct text method = cut(&line, ' '), target = cut(&line, ' '), version = line;

	if (!all_tokens(method))
		return refuse(problem, 400, "not an HTTP request");
	if (method.length >= sizeof request->method)
		return refuse(problem, 501, "no such method");
	memcpy(request->method, method.start, method.length);
	if (is(version, "HTTP/1.0"))
		request->old = true;
	else if (!is(version, "HTTP/1.1"))
		return refuse(problem, version.length == 8 && strncmp(version.start, "HTTP/", 5) == 0 ? 505 : 400,
			      "HTTP/1.1 is spoken here");
	if (target.length == 0)
		return refuse(problem, 400, "the request has no target");
	for (size_t i = 0; i < target.length; i++)
		if (target.start[i] <= ' ' || target.start[i] == 0x7F) /* also what lies above 0x7F: char is signed */
			return refuse(problem, 400, "a character in the target that must not be there");
	if (strncasecmp(target.start, "http://", target.length < 7 ? target.length : 7) == 0 && target.length > 7) {
		const char *path =
			memchr(target.start + 7, '/', target.length - 7); /* absolute form, as proxies get it */
		if (path == NULL)
			return refuse(problem, 400, "the target has no path");
		target.length -= (size_t)(path - target.start);
		target.start = path;
	}
	target = cut(&target, '?');
	if (target.length >= sizeof request->path)
		return refuse(problem, 414, "the target is too long");
	if (!decode_path(target, request->path))
		return refuse(problem, 400, "a wrong escape in the target");
	return true;
}

static bool content_length(struct text value, struct http_fields *fields, struct http_problem *problem) {
	long long length = 0;

	if (value.length == 0 || value.length > 15)
		return refuse(problem, 400, "a wrong Content-Length");
	for (size_t i = 0; i < value.length; i++) {
		if (value.start[i] < '0' || value.start[i] > '9')
			return refuse(problem, 400, "a wrong Content-Length");
		length = length * 10 + (value.start[i] - '0');
	}
	if (fields->content_length >= 0 && fields->content_length != length)
		return refuse(problem, 400, "two Content-Lengths that differ");
	fields->content_length = length;
	return true;
}

static bool field(struct text name, struct text value, struct http_request *request, struct http_fields *fields,
		  struct http_problem *problem) {
	if (is(name, "Content-Length"))
		return content_length(value, fields, problem);
	if (is(name, "Transfer-Encoding")) {
		if (fields->chunked || !is(value, "chunked"))
			return refuse(problem, 501, "of all transfer encodings only \"chunked\" is known here");
		fields->chunked = true;
	} else if (is(name, "Connection")) {
		while (value.length > 0) {
			struct text option = trim(cut(&value, ','));
			if (is(option, "close"))
				request->keep_alive = false;
			else if (is(option, "keep-alive") && request->old)
				request->keep_alive = true;
		}
	} else if (is(name, "Expect")) {
		if (!is(value, "100-continue"))
			return refuse(problem, 417, "an expectation that cannot be met");
		fields->expect_continue = !request->old;
	}
	return true;
}

bool http_parse_head(const char *head, size_t length, struct http_request *request, struct http_fields *fields,
		     struct http_problem *problem) {
	struct text rest = {head, length};
	int lines = 0, hosts = 0;

	*fields = (struct http_fields){.content_length = -1};
	while (rest.length > 0) {
		struct text line = cut(&rest, '\n');
		if (line.length == 0 || line.start[line.length - 1] != '\r')
			return refuse(problem, 400, "a line that does not end in CRLF");
		line.length--;
		if (memchr(line.start, '\r', line.length) != NULL || memchr(line.start, 0, line.length) != NULL)
			return refuse(problem, 400, "a character in the head that must not be there");
		if (lines++ == 0) {
			if (!first_line(line, request, problem))
				return false;
			request->keep_alive = !request->old;
			continue;
		}
		if (lines > HTTP_MAX_FIELDS + 1)
			return refuse(problem, 431, "too many header fields");
		if (memchr(line.start, ':', line.length) == NULL)
			return refuse(problem, 400, "a header field without a colon");
		struct text name = cut(&line, ':');
		if (!all_tokens(name)) /* also a space before the colon, and a folded line */
			return refuse(problem, 400, "a wrong header field name");
		hosts += is(name, "Host");
		if (!field(name, trim(line), request, fields, problem))
			return false;
	}
	if (hosts > 1 || (hosts == 0 && !request->old))
		return refuse(problem, 400, "exactly one Host is needed");
	if (fields->chunked && (fields->content_length >= 0 || request->old))
		return refuse(problem, 400, "a chunked body beside a Content-Length, or in HTTP/1.0");
	return true;
}
