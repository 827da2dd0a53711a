/* Text to tokens and back. Pure.
 *
 * A token is a byte (0-255), a known word without or with a space before it, or a mark of the chat template. A run of
 * letters that is a known word becomes one token; all else goes byte by byte. So the text of an answer, sent back as
 * part of the next prompt, gives the same tokens again, and the prefix cache fits. */
#ifndef HS_ENGINE_VOCABULARY_H
#define HS_ENGINE_VOCABULARY_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"

struct tokens {
	uint32_t *ids;
	size_t length, capacity;
};

enum mark { MARK_BEGIN, MARK_SYSTEM, MARK_USER, MARK_ASSISTANT, MARK_TOOL, MARK_END, MARK_COUNT };

void vocabulary_init(void); /* once, before anything else here */
uint32_t vocabulary_size(void);

void tokens_add(struct tokens *tokens, uint32_t token);
void tokens_add_mark(struct tokens *tokens, enum mark mark);
void tokens_add_text(struct tokens *tokens, const char *text, size_t length);
void tokens_free(struct tokens *tokens);

/* The text of one token; a mark has none. */
void token_text(uint32_t token, struct buffer *buffer);

/* The token that `choice` (64 well-mixed bits) picks after `previous`: a word, now and then a full stop or a comma. */
uint32_t token_choose(uint64_t choice, uint32_t previous);

#endif
