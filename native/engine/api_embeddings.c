#include <math.h>
#include <string.h>

#include "api.h"
#include "mix.h"
#include "vocabulary.h"

#define DIMENSIONS_DEFAULT 64
#define DIMENSIONS_MAX 4096
#define INPUTS_MAX 2048

enum style { STYLE_OPENAI, STYLE_OLLAMA, STYLE_OLLAMA_ONE };

struct embedding {
	enum style style;
	const char *model;
	size_t dimensions;
	bool base64;
	size_t tokens; /* used by all inputs */
	struct buffer out;
	int count;
};

/* A direction drawn from what the engine computed over weights, KV cache and input; of length 1. */
static void vector_of(uint64_t choice, float *vector, size_t dimensions) {
	double sum = 0;

	for (size_t i = 0; i < dimensions; i++) {
		vector[i] = (float)((double)(int64_t)hs_fill_word(choice, i) / 9223372036854775808.0);
		sum += (double)vector[i] * vector[i];
	}
	for (size_t i = 0; i < dimensions; i++)
		vector[i] = (float)(vector[i] / sqrt(sum));
}

static void write_base64(struct buffer *out, const unsigned char *data, size_t length) {
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < length; i += 3) {
		uint32_t group = (uint32_t)data[i] << 16 | (i + 1 < length ? (uint32_t)data[i + 1] << 8 : 0) |
				 (i + 2 < length ? data[i + 2] : 0);
		char text[4] = {alphabet[group >> 18], alphabet[group >> 12 & 63], alphabet[group >> 6 & 63],
				alphabet[group & 63]};
		if (i + 2 >= length)
			text[3] = '=';
		if (i + 1 >= length)
			text[2] = '=';
		buffer_add(out, text, 4);
	}
}

static void write_vector(struct embedding *embedding, uint64_t choice) {
	float vector[DIMENSIONS_MAX];
	struct buffer *out = &embedding->out;

	vector_of(choice, vector, embedding->dimensions);
	buffer_text(out, embedding->count ? "," : "");
	if (embedding->style == STYLE_OPENAI)
		buffer_printf(out, "{\"object\":\"embedding\",\"index\":%d,\"embedding\":", embedding->count);
	embedding->count++;
	if (embedding->base64) { /* little-endian floats, as OpenAI's; so is every machine with such a GPU */
		buffer_text(out, "\"");
		write_base64(out, (const unsigned char *)vector, embedding->dimensions * sizeof *vector);
		buffer_text(out, "\"}");
		return;
	}
	for (size_t i = 0; i < embedding->dimensions; i++)
		buffer_printf(out, "%c%.9g", i ? ',' : '[', (double)vector[i]);
	buffer_text(out, embedding->style == STYLE_OPENAI ? "]}" : "]");
}

/* Runs one input through the engine. False when done with: an error was answered, or the client left. */
static bool embed(struct exchange *exchange, struct embedding *embedding, struct tokens *tokens, bool *usable) {
	struct engine *engine = exchange->api->engine;
	size_t length = tokens->length;
	struct job_news news;
	uint32_t token;

	if (length < 2 || length >= (size_t)exchange->api->options->max_context) {
		*usable = api_error(exchange, 400, "input", NULL, "an input must have 1 to %lld tokens",
				    (long long)exchange->api->options->max_context - 2);
		return false;
	}
	struct job *job = engine_submit(engine, tokens->ids, length, 1);
	*tokens = (struct tokens){0};
	if (job == NULL) {
		*usable = api_not_ready(exchange);
		return false;
	}
	while ((news = job_look(engine, job, 0, &token, 1)).state == JOB_QUEUED || news.state == JOB_RUNNING) {
		if (!api_wait(exchange, job)) {
			job_drop(engine, job);
			*usable = false;
			return false;
		}
	}
	job_drop(engine, job);
	if (news.state != JOB_DONE) {
		*usable = api_not_ready(exchange);
		return false;
	}
	embedding->tokens += length;
	write_vector(embedding, news.choice);
	return true;
}

static bool bad_input(struct exchange *exchange, bool *usable) {
	*usable =
		api_error(exchange, 400, "input", NULL,
			  "\"input\" must be a string, a list of tokens, or a list of up to %d of either", INPUTS_MAX);
	return false;
}

static bool embed_one(struct exchange *exchange, struct embedding *embedding, const struct json *input, bool *usable) {
	struct tokens tokens = {0};
	bool done = false;
	int64_t token;

	tokens_add_mark(&tokens, MARK_BEGIN);
	if (input->type == JSON_STRING) {
		tokens_add_text(&tokens, input->string, input->length);
	} else {
		for (const struct json *item = input->first; item != NULL; item = item->next) {
			if (!json_integer(item, 0, vocabulary_size() - 1, &token)) {
				tokens_free(&tokens);
				return bad_input(exchange, usable);
			}
			tokens_add(&tokens, (uint32_t)token);
		}
	}
	done = embed(exchange, embedding, &tokens, usable);
	tokens_free(&tokens);
	return done;
}

static bool embed_all(struct exchange *exchange, struct embedding *embedding, const struct json *input, bool *usable) {
	if (input == NULL || (input->type != JSON_STRING && (input->type != JSON_ARRAY || input->length == 0)))
		return bad_input(exchange, usable);
	if (input->type == JSON_STRING || input->first->type == JSON_NUMBER)
		return embed_one(exchange, embedding, input, usable);
	if (input->length > INPUTS_MAX)
		return bad_input(exchange, usable);
	for (const struct json *item = input->first; item != NULL; item = item->next) {
		if (item->type != JSON_STRING && item->type != JSON_ARRAY)
			return bad_input(exchange, usable);
		if (!embed_one(exchange, embedding, item, usable))
			return false;
	}
	return true;
}

static bool read_format(struct exchange *exchange, struct embedding *embedding, bool *usable) {
	const struct json *format = json_get(exchange->root, "encoding_format");
	const struct json *dimensions = json_get(exchange->root, "dimensions");
	int64_t wanted = DIMENSIONS_DEFAULT;

	if (format != NULL) {
		embedding->base64 = format->type == JSON_STRING && strcmp(format->string, "base64") == 0;
		if (!embedding->base64 && (format->type != JSON_STRING || strcmp(format->string, "float") != 0)) {
			*usable = api_error(exchange, 400, "encoding_format", NULL,
					    "\"encoding_format\" must be float or base64");
			return false;
		}
	}
	if (dimensions != NULL && !json_integer(dimensions, 1, DIMENSIONS_MAX, &wanted)) {
		*usable = api_error(exchange, 400, "dimensions", NULL,
				    "\"dimensions\" must be a whole number from 1 to %d", DIMENSIONS_MAX);
		return false;
	}
	embedding->dimensions = (size_t)wanted;
	return true;
}

bool api_embeddings(struct exchange *exchange) {
	struct embedding embedding = {0};
	bool usable = true;

	embedding.model = api_model(exchange, &usable);
	if (embedding.model != NULL && read_format(exchange, &embedding, &usable)) {
		buffer_text(&embedding.out, "{\"object\":\"list\",\"data\":[");
		if (embed_all(exchange, &embedding, json_get(exchange->root, "input"), &usable)) {
			buffer_text(&embedding.out, "],\"model\":");
			json_write_string(&embedding.out, embedding.model, strlen(embedding.model));
			buffer_printf(&embedding.out, ",\"usage\":{\"prompt_tokens\":%zu,\"total_tokens\":%zu}}",
				      embedding.tokens, embedding.tokens);
			usable = api_json(exchange, &embedding.out);
		}
	}
	buffer_free(&embedding.out);
	return usable;
}

static bool embed_for_ollama(struct exchange *exchange, enum style style) {
	struct embedding embedding = {.style = style, .dimensions = DIMENSIONS_DEFAULT};
	const char *name = style == STYLE_OLLAMA ? "input" : "prompt";
	const struct json *input = json_get(exchange->root, name);
	bool usable = true;

	embedding.model = api_model(exchange, &usable);
	if (embedding.model != NULL && style == STYLE_OLLAMA_ONE && (input == NULL || input->type != JSON_STRING)) {
		usable = api_error(exchange, 400, NULL, NULL, "prompt must be a string");
	} else if (embedding.model != NULL) {
		buffer_text(&embedding.out, "{\"model\":");
		json_write_string(&embedding.out, embedding.model, strlen(embedding.model));
		buffer_text(&embedding.out, style == STYLE_OLLAMA ? ",\"embeddings\":[" : ",\"embedding\":");
		if (embed_all(exchange, &embedding, input, &usable)) {
			buffer_text(&embedding.out, style == STYLE_OLLAMA ? "]" : "");
			buffer_printf(&embedding.out, ",\"prompt_eval_count\":%zu}", embedding.tokens);
			usable = api_json(exchange, &embedding.out);
		}
	}
	buffer_free(&embedding.out);
	return usable;
}

bool api_ollama_embed(struct exchange *exchange) {
	return embed_for_ollama(exchange, STYLE_OLLAMA);
}

bool api_ollama_embeddings(struct exchange *exchange) {
	return embed_for_ollama(exchange, STYLE_OLLAMA_ONE);
}
