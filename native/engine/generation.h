/* A request for text, read and checked; and the text that comes of it. */
#ifndef HS_ENGINE_GENERATION_H
#define HS_ENGINE_GENERATION_H

#include "api.h"
#include "vocabulary.h"

#define STOPS_MAX 4
#define STOP_LENGTH_MAX 256

struct answer_form;

struct generation {
	const struct answer_form *form; /* how the answer is written: answer.h */
	bool chat, stream, include_usage, echo;
	const char *model;
	struct tokens prompt;
	size_t prompt_length; /* `prompt` itself goes to the job */
	size_t wanted;
	const char *stops[STOPS_MAX]; /* in the body's tree */
	size_t stop_lengths[STOPS_MAX];
	int nstops;
	struct buffer id;
	time_t created;
};

/* Reads what OpenAI's chat and completions have in common. False after having answered an error. */
bool generation_read(struct exchange *exchange, struct generation *generation, bool *usable);

/* Parts that all APIs have. `name`: how this one calls it; `object`: where it stands. */
bool generation_read_stops(struct exchange *exchange, const struct json *object, const char *name,
			   struct generation *generation, bool *usable);
bool generation_read_number(struct exchange *exchange, const struct json *object, const char *name, double low,
			    double high, bool whole, bool *usable);
bool generation_add_message(struct exchange *exchange, struct generation *generation, const struct json *message,
			    const char *const *roles, bool *usable);
/* A string, or a list of text parts. */
bool generation_add_content(struct exchange *exchange, struct tokens *tokens, const struct json *content, bool *usable);

/* The prompt's tokens of either kind. */
bool generation_read_messages(struct exchange *exchange, struct generation *generation, bool *usable);
bool generation_read_prompt(struct exchange *exchange, struct generation *generation, bool *usable);

/* Room for prompt and answer; after the prompt is known. */
bool generation_fit(struct exchange *exchange, struct generation *generation, bool *usable);
void generation_free(struct generation *generation);

/* The text of an answer as it grows, with the search for stop sequences. Pure. */
struct answer_text {
	struct buffer text;
	size_t sent;  /* bytes that have left, or may: no stop sequence can begin in them */
	bool stopped; /* a stop sequence was found; text ends before it */
	int stop;     /* which */
};

/* Adds a token's text; returns how many bytes may leave now: all but what could be the start of a stop sequence. */
size_t answer_add(struct answer_text *answer, const struct generation *generation, uint32_t token);

/* Whether an answer of unknown length takes the default. */
#define WANTED_DEFAULT SIZE_MAX

/* Runs the job and answers, streaming or not, in the generation's form. */
bool generation_answer(struct exchange *exchange, struct generation *generation);

#endif
