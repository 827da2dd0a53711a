#include <string.h>

#include "generation.h"

/* How many bytes at the end of the text could be the start of a stop sequence. */
static size_t held_back(const struct answer_text *answer, const struct generation *generation) {
	size_t most = 0;

	for (int i = 0; i < generation->nstops; i++) {
		size_t length = generation->stop_lengths[i] - 1;
		if (length > answer->text.length)
			length = answer->text.length;
		for (; length > most; length--)
			if (memcmp(answer->text.data + answer->text.length - length, generation->stops[i], length) == 0)
				most = length;
	}
	return most;
}

static const char *find(const char *text, size_t length, const char *wanted, size_t wanted_length) {
	for (; length >= wanted_length; text++, length--)
		if (*text == *wanted && memcmp(text, wanted, wanted_length) == 0)
			return text;
	return NULL;
}

size_t answer_add(struct answer_text *answer, const struct generation *generation, uint32_t token) {
	size_t end;

	token_text(token, &answer->text);
	end = answer->text.length;
	/* whatever has left cannot be part of a stop sequence: it would have been held back */
	for (int i = 0; i < generation->nstops && answer->text.length > 0; i++) {
		const char *found = find(answer->text.data + answer->sent, answer->text.length - answer->sent,
					 generation->stops[i], generation->stop_lengths[i]);
		if (found != NULL && (size_t)(found - answer->text.data) < end) {
			end = (size_t)(found - answer->text.data);
			answer->stopped = true;
			answer->stop = i;
		}
	}
	if (answer->stopped) {
		answer->text.length = end;
		return end - answer->sent;
	}
	return end - answer->sent - held_back(answer, generation);
}
