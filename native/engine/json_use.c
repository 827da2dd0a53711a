#include <string.h>

#include "json.h"

const struct json *json_get(const struct json *object, const char *key) {
	const struct json *found = NULL;
	size_t length = strlen(key);

	if (object == NULL || object->type != JSON_OBJECT)
		return NULL;
	for (const struct json *member = object->first; member != NULL; member = member->next)
		if (member->key_length == length && memcmp(member->key, key, length) == 0)
			found = member;
	return found != NULL && found->type != JSON_NULL ? found : NULL;
}

bool json_integer(const struct json *value, int64_t low, int64_t high, int64_t *result) {
	if (value == NULL || value->type != JSON_NUMBER)
		return false;
	/* written so that a NaN, were there one, is refused; beyond 2^53 a double no longer counts in ones */
	if (!(value->number >= -9007199254740992.0 && value->number <= 9007199254740992.0))
		return false;
	*result = (int64_t)value->number;
	return (double)*result == value->number && *result >= low && *result <= high;
}

void json_write_string(struct buffer *buffer, const char *text, size_t length) {
	static const char short_form[] = "\b\f\n\r\t\"\\", letter[] = "bfnrt\"\\";

	buffer_add(buffer, "\"", 1);
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];
		const char *found = c ? strchr(short_form, c) : NULL;
		if (found != NULL)
			buffer_printf(buffer, "\\%c", letter[found - short_form]);
		else if (c < 0x20 || c == 0x7F)
			buffer_printf(buffer, "\\u%04x", c);
		else
			buffer_add(buffer, text + i, 1);
	}
	buffer_add(buffer, "\"", 1);
}

/* How many bytes follow the first one of a character; -1 if it starts none. */
static int bytes_that_follow(unsigned char first) {
	if (first < 0x80)
		return 0;
	if (first >= 0xC2 && first <= 0xDF)
		return 1;
	if (first >= 0xE0 && first <= 0xEF)
		return 2;
	return first >= 0xF0 && first <= 0xF4 ? 3 : -1;
}

/* The second byte rules out overlong forms, surrogates and what lies beyond U+10FFFF (table 3-7 of Unicode). */
static bool second_fits(unsigned char first, unsigned char second) {
	unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
	unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;

	return second >= low && second <= high;
}

size_t utf8_valid_prefix(const char *text, size_t length) {
	const unsigned char *bytes = (const unsigned char *)text;
	size_t i = 0;

	while (i < length) {
		int more = bytes_that_follow(bytes[i]);
		if (more < 0 || (size_t)more >= length - i || (more > 0 && !second_fits(bytes[i], bytes[i + 1])))
			return i;
		for (int k = 2; k <= more; k++)
			if ((bytes[i + (size_t)k] & 0xC0) != 0x80)
				return i;
		i += (size_t)more + 1;
	}
	return i;
}
