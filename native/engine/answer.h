/* How the text of an answer is written in each API, whole or as a stream. */
#ifndef HS_ENGINE_ANSWER_H
#define HS_ENGINE_ANSWER_H

#include "generation.h"

/* An answer that is being written. */
struct writing {
	struct exchange *exchange;
	struct generation *generation;
	struct answer_text answer;
	size_t tokens, cached;
	bool begun;                 /* the stream's head has left */
	double arrived, first_made; /* seconds on the monotonic clock */
};

/* All return false when the client is gone. A stream is: begin, pieces, end; or broken, wherever it is. */
struct answer_form {
	const char *id_prefix;
	const char *stream_type;
	bool (*begin)(struct writing *writing);
	bool (*piece)(struct writing *writing, const char *text, size_t length);
	bool (*end)(struct writing *writing);
	bool (*whole)(struct writing *writing, const char *text, size_t length);
	bool (*broken)(struct writing *writing, const char *why);
};

extern const struct answer_form answer_openai, answer_anthropic, answer_ollama;

/* Sends one piece of the stream and frees it. */
bool answer_send(struct writing *writing, struct buffer *out);

double answer_clock(void);

#endif
