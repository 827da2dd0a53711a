/* A byte buffer that grows. Out of memory ends the process: the engine cannot go on in any sensible way. */
#ifndef HS_ENGINE_BUFFER_H
#define HS_ENGINE_BUFFER_H

#include <stdarg.h>
#include <stddef.h>

struct buffer {
	char *data; /* NULL while empty; otherwise data[length] is 0 */
	size_t length, capacity;
};

void *must_alloc(size_t bytes); /* zeroed */
void *must_realloc(void *old, size_t bytes);

void buffer_reserve(struct buffer *buffer, size_t more); /* room for `more` bytes and the final 0 */
void buffer_add(struct buffer *buffer, const void *data, size_t length);
void buffer_text(struct buffer *buffer, const char *text);
void buffer_printf(struct buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buffer_drop_front(struct buffer *buffer, size_t length);
void buffer_free(struct buffer *buffer);

#endif
