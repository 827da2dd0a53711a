#include "buffer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *memory) {
	if (memory == NULL) {
		fputs("hotseat-demo-engine: out of host memory\n", stderr);
		abort();
	}
	return memory;
}

void *must_alloc(size_t bytes) {
	return checked(calloc(1, bytes ? bytes : 1));
}

void *must_realloc(void *old, size_t bytes) {
	return checked(realloc(old, bytes ? bytes : 1));
}

void buffer_reserve(struct buffer *buffer, size_t more) {
	size_t needed = buffer->length + more + 1;

	if (needed <= buffer->capacity)
		return;
	buffer->capacity = needed < 256 ? 256 : needed + needed / 2;
	buffer->data = must_realloc(buffer->data, buffer->capacity);
}

void buffer_add(struct buffer *buffer, const void *data, size_t length) {
	buffer_reserve(buffer, length);
	if (length)
		memcpy(buffer->data + buffer->length, data, length);
	buffer->length += length;
	buffer->data[buffer->length] = 0;
}

void buffer_text(struct buffer *buffer, const char *text) {
	buffer_add(buffer, text, strlen(text));
}

void buffer_printf(struct buffer *buffer, const char *format, ...) {
	va_list arguments, again;
	int length;

	va_start(arguments, format);
	va_copy(again, arguments);
	length = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	if (length > 0) {
		buffer_reserve(buffer, (size_t)length);
		vsnprintf(buffer->data + buffer->length, (size_t)length + 1, format, again);
		buffer->length += (size_t)length;
	}
	va_end(again);
}

void buffer_drop_front(struct buffer *buffer, size_t length) {
	if (length == 0)
		return;
	buffer->length -= length;
	memmove(buffer->data, buffer->data + length, buffer->length);
	buffer->data[buffer->length] = 0;
}

void buffer_free(struct buffer *buffer) {
	free(buffer->data);
	memset(buffer, 0, sizeof *buffer);
}
