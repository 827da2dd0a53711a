#include <string.h>

#include "generation.h"

#define DEFAULT_TOKENS 64

bool generation_read_number(struct exchange *exchange, const struct json *object, const char *name, double low,
			    double high, bool whole, bool *usable) {
	const struct json *value = json_get(object, name);

	if (value == NULL || (value->type == JSON_NUMBER && value->number >= low && value->number <= high &&
			      (!whole || value->number == (double)(long long)value->number)))
		return true;
	*usable = api_error(exchange, 400, name, NULL, "\"%s\" must be a %snumber from %g to %g", name,
			    whole ? "whole " : "", low, high);
	return false;
}

/* Sampling parameters are accepted where they make sense and change nothing: the answer is always the likeliest. */
static bool check_numbers(struct exchange *exchange, bool *usable) {
	static const struct {
		const char *name;
		double low, high;
		bool whole;
	} known[] = {{"temperature", 0, 2, false},
		     {"top_p", 0, 1, false},
		     {"presence_penalty", -2, 2, false},
		     {"frequency_penalty", -2, 2, false},
		     {"seed", -9.2e18, 9.2e18, true},
		     {"n", 1, 1, true},
		     {"best_of", 1, 1, true}};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (!generation_read_number(exchange, exchange->root, known[i].name, known[i].low, known[i].high,
					    known[i].whole, usable))
			return false;
	return true;
}

bool generation_read_stops(struct exchange *exchange, const struct json *object, const char *name,
			   struct generation *generation, bool *usable) {
	const struct json *stop = json_get(object, name);
	const struct json *at = stop != NULL && stop->type == JSON_ARRAY ? stop->first : stop;

	for (; at != NULL; at = at->next) {
		if (at->type != JSON_STRING || at->length == 0 || at->length > STOP_LENGTH_MAX ||
		    generation->nstops == STOPS_MAX) {
			*usable = api_error(exchange, 400, name, NULL,
					    "\"%s\" must be up to %d strings of 1 to %d bytes", name, STOPS_MAX,
					    STOP_LENGTH_MAX);
			return false;
		}
		generation->stops[generation->nstops] = at->string;
		generation->stop_lengths[generation->nstops++] = at->length;
		if (at == stop)
			break;
	}
	return true;
}

static bool read_wanted(struct exchange *exchange, struct generation *generation, bool *usable) {
	const char *name = "max_completion_tokens";
	const struct json *value = json_get(exchange->root, name);
	int64_t wanted;

	if (value == NULL)
		value = json_get(exchange->root, name = "max_tokens");
	generation->wanted = WANTED_DEFAULT; /* the default, or less if there is no room for it */
	if (value == NULL)
		return true;
	/* a completion of nothing is how one asks for the prompt's echo */
	if (!json_integer(value, generation->chat ? 1 : 0, INT32_MAX, &wanted)) {
		*usable = api_error(exchange, 400, name, NULL, "\"%s\" must be a whole number, at least %d", name,
				    generation->chat);
		return false;
	}
	generation->wanted = (size_t)wanted;
	return true;
}

bool generation_read(struct exchange *exchange, struct generation *generation, bool *usable) {
	const struct json *options = json_get(exchange->root, "stream_options");
	const struct json *logprobs = json_get(exchange->root, "logprobs");

	generation->created = time(NULL);
	generation->model = api_model(exchange, usable);
	if (generation->model == NULL || !check_numbers(exchange, usable) ||
	    !api_read_bool(exchange, exchange->root, "stream", &generation->stream, usable) ||
	    (!generation->chat && !api_read_bool(exchange, exchange->root, "echo", &generation->echo, usable)) ||
	    !generation_read_stops(exchange, exchange->root, "stop", generation, usable) || !read_wanted(exchange, generation, usable))
		return false;
	if (logprobs != NULL && (logprobs->type != JSON_BOOL || logprobs->truth)) {
		*usable = api_error(exchange, 400, "logprobs", NULL, "there are no log probabilities here");
		return false;
	}
	if (options != NULL) {
		if (options->type != JSON_OBJECT || !generation->stream) {
			*usable = api_error(exchange, 400, "stream_options", NULL,
					    "\"stream_options\" must be an object and goes with \"stream\": true");
			return false;
		}
		if (!api_read_bool(exchange, options, "include_usage", &generation->include_usage, usable))
			return false;
	}
	return true;
}

bool generation_fit(struct exchange *exchange, struct generation *generation, bool *usable) {
	size_t most = (size_t)exchange->api->options->max_context;
	bool by_default = generation->wanted == WANTED_DEFAULT;
	size_t wanted = by_default ? 1 : generation->wanted;

	generation->prompt_length = generation->prompt.length;
	if (generation->prompt_length + wanted > most) {
		*usable = api_error(exchange, 400, generation->chat ? "messages" : "prompt", "context_length_exceeded",
				    "the prompt has %zu tokens and %zu are to be made, but the context holds %zu",
				    generation->prompt_length, wanted, most);
		return false;
	}
	if (by_default)
		generation->wanted = most - generation->prompt_length < DEFAULT_TOKENS
					     ? most - generation->prompt_length
					     : DEFAULT_TOKENS;
	return true;
}

void generation_free(struct generation *generation) {
	tokens_free(&generation->prompt);
	buffer_free(&generation->id);
}
