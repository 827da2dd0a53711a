#include "vocabulary.h"

#include <stdlib.h>
#include <string.h>

static const char *const words[] = {
#include "words.inc"
};

#define WORDS ((uint32_t)(sizeof words / sizeof *words))
#define BARE 256u
#define SPACED (BARE + WORDS)
#define MARKS (SPACED + WORDS)
#define LONGEST_WORD 16
#define TABLE 2048 /* a power of two, several times WORDS */

static uint16_t table[TABLE]; /* word number + 1; 0 is free */

static uint32_t hash(const char *text, size_t length) {
	uint32_t h = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < length; i++)
		h = (h ^ (unsigned char)text[i]) * 16777619u;
	return h;
}

static uint16_t *place_of(const char *text, size_t length) {
	uint32_t at = hash(text, length) % TABLE;

	while (table[at] != 0 &&
	       (strlen(words[table[at] - 1]) != length || memcmp(words[table[at] - 1], text, length) != 0))
		at = (at + 1) % TABLE;
	return &table[at];
}

void vocabulary_init(void) {
	for (uint32_t i = 0; i < WORDS; i++)
		*place_of(words[i], strlen(words[i])) = (uint16_t)(i + 1);
}

uint32_t vocabulary_size(void) {
	return MARKS + MARK_COUNT;
}

void tokens_add(struct tokens *tokens, uint32_t token) {
	if (tokens->length == tokens->capacity) {
		tokens->capacity = tokens->capacity ? tokens->capacity * 2 : 64;
		tokens->ids = must_realloc(tokens->ids, tokens->capacity * sizeof *tokens->ids);
	}
	tokens->ids[tokens->length++] = token;
}

void tokens_add_mark(struct tokens *tokens, enum mark mark) {
	tokens_add(tokens, MARKS + (uint32_t)mark);
}

static bool is_letter(char c) {
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

void tokens_add_text(struct tokens *tokens, const char *text, size_t length) {
	size_t at = 0;

	while (at < length) {
		size_t space = text[at] == ' ' && at + 1 < length && is_letter(text[at + 1]);
		size_t end = at + space;
		while (end < length && is_letter(text[end]))
			end++;
		size_t letters = end - at - space;
		uint16_t word = letters > 0 && letters <= LONGEST_WORD ? *place_of(text + at + space, letters) : 0;
		if (word != 0) {
			tokens_add(tokens, (space ? SPACED : BARE) + word - 1);
			at = end;
			continue;
		}
		if (end == at)
			end = at + 1; /* not a letter: one byte */
		for (; at < end; at++)
			tokens_add(tokens, (unsigned char)text[at]);
	}
}

void tokens_free(struct tokens *tokens) {
	free(tokens->ids);
	memset(tokens, 0, sizeof *tokens);
}

void token_text(uint32_t token, struct buffer *buffer) {
	if (token < BARE) {
		char byte = (char)token;
		buffer_add(buffer, &byte, 1);
	} else if (token < MARKS) {
		if (token >= SPACED)
			buffer_add(buffer, " ", 1);
		buffer_text(buffer, words[(token - BARE) % WORDS]);
	}
}

uint32_t token_choose(uint64_t choice, uint32_t previous) {
	uint32_t word = (uint32_t)((choice & 0xFFFFFFFFu) % WORDS);
	unsigned dice = (unsigned)(choice >> 56);

	if (previous >= BARE && previous < MARKS && dice < 24) /* about one word in eleven */
		return dice < 14 ? '.' : ',';
	if (previous >= MARKS || previous == ' ' || previous == '\n' || previous == '\t')
		return BARE + word;
	return SPACED + word;
}
