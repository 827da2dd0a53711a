#include <string.h>

#include "json_parser.h"

struct json *json_fail(struct json_parser *p, const char *problem) {
	if (p->problem == NULL)
		p->problem = problem;
	return NULL;
}

bool json_take(struct json_parser *p, char wanted) {
	if (p->at < p->end && *p->at == wanted) {
		p->at++;
		return true;
	}
	return false;
}

static int hex_digit(char c) {
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four hex digits; -1 if they are not. */
static int hex4(struct json_parser *p) {
	int code = 0;

	if (p->end - p->at < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int digit = hex_digit(*p->at++);
		if (digit < 0)
			return -1;
		code = code * 16 + digit;
	}
	return code;
}

static char *put_utf8(char *to, int code) {
	if (code < 0x80) {
		*to++ = (char)code;
	} else if (code < 0x800) {
		*to++ = (char)(0xC0 | code >> 6);
		*to++ = (char)(0x80 | (code & 0x3F));
	} else if (code < 0x10000) {
		*to++ = (char)(0xE0 | code >> 12);
		*to++ = (char)(0x80 | (code >> 6 & 0x3F));
		*to++ = (char)(0x80 | (code & 0x3F));
	} else {
		*to++ = (char)(0xF0 | code >> 18);
		*to++ = (char)(0x80 | (code >> 12 & 0x3F));
		*to++ = (char)(0x80 | (code >> 6 & 0x3F));
		*to++ = (char)(0x80 | (code & 0x3F));
	}
	return to;
}

/* After the backslash. Returns the place after what was written, or NULL. */
static char *escape(struct json_parser *p, char *to) {
	static const char plain[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
	const char *found;
	int code, low;

	if (p->at == p->end)
		return NULL;
	char c = *p->at++;
	if (c != 'u') {
		found = c ? strchr(plain, c) : NULL;
		if (found == NULL)
			return NULL;
		*to++ = means[found - plain];
		return to;
	}
	code = hex4(p);
	if (code >= 0xD800 && code <= 0xDBFF) { /* first half of a surrogate pair */
		if (!json_take(p, '\\') || !json_take(p, 'u'))
			return NULL;
		low = hex4(p);
		if (low < 0xDC00 || low > 0xDFFF)
			return NULL;
		code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
	} else if (code < 0 || (code >= 0xDC00 && code <= 0xDFFF)) {
		return NULL;
	}
	return put_utf8(to, code);
}

/* After the opening quote. Every escape is at least as long as what it stands for, so `strings` has the room. */
bool json_string(struct json_parser *p, const char **text, size_t *length) {
	char *start = p->document->strings + p->document->strings_used, *to = start;

	while (p->at < p->end && *p->at != '"') {
		unsigned char c = (unsigned char)*p->at;
		if (c < 0x20) {
			json_fail(p, "a control character in a string");
			return false;
		}
		if (c == '\\') {
			p->at++;
			to = escape(p, to);
			if (to == NULL) {
				json_fail(p, "a wrong escape in a string");
				return false;
			}
		} else {
			*to++ = *p->at++;
		}
	}
	if (!json_take(p, '"')) {
		json_fail(p, "a string without an end");
		return false;
	}
	*to = 0;
	*text = start;
	*length = (size_t)(to - start);
	p->document->strings_used += *length + 1;
	return true;
}
