#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

static const char help[] =
	"usage: hotseat-demo-engine [options]\n"
	"\n"
	"An OpenAI-compatible server that needs only libcuda.so.1. Its answers are made-up words, but each of them is a\n"
	"function of every byte of its weights and of its KV cache in device memory. For tests and demonstrations.\n"
	"\n"
	"  --model NAME             a name it answers to (may be repeated; default \"demo\")\n"
	"  --host ADDRESS           where it listens (default 127.0.0.1)\n"
	"  --port PORT              0 = a free one, printed (default 8000)\n"
	"  --weights SIZE           device memory for weights: 64MiB, 4GiB, ... (default 64MiB)\n"
	"  --kv SIZE                device memory for the KV cache; a token takes 512 bytes (default 16MiB)\n"
	"  --seed N                 what the weights are made from (default 1)\n"
	"  --max-context TOKENS     prompt and answer together (default 4096, or less if the KV cache is small)\n"
	"  --tokens-per-second R    rate of each answer; 0 = as fast as it goes (default 0)\n"
	"  --devices 0,1            the devices that weights and KV cache are split over (default 0)\n"
	"  --processes N            rank processes that hold a part each (default 1)\n"
	"  --threads N              further CPU threads that do nothing (default 0)\n"
	"  --grace SECONDS          time for running answers after SIGTERM (default 5)\n"
	"  --hold SIZE              do not serve: only occupy SIZE on each device until SIGTERM\n"
	"  --help, --version\n";

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void die(const char *format, ...) {
	va_list arguments;

	fputs("hotseat-demo-engine: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputs(" (--help lists the options)\n", stderr);
	exit(2);
}

static int64_t whole(const char *option, const char *text, int64_t low, int64_t high) {
	char *end;

	errno = 0;
	long long value = strtoll(text, &end, 10);
	if (errno != 0 || end == text || *end != 0 || value < low || value > high)
		die("--%s takes a whole number from %lld to %lld, not \"%s\"", option, (long long)low, (long long)high,
		    text);
	return value;
}

static double real(const char *option, const char *text) {
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end != 0 || !isfinite(value) || value < 0 || value > 1e9)
		die("--%s takes a number that is not negative, not \"%s\"", option, text);
	return value;
}

static uint64_t size(const char *option, const char *text) {
	static const struct {
		const char *unit;
		double bytes;
	} units[] = {{"", 1},        {"B", 1},          {"KiB", 1024.0},     {"MiB", 1048576.0}, {"GiB", 1073741824.0},
		     {"kB", 1000.0}, {"MB", 1000000.0}, {"GB", 1000000000.0}};
	char *end;
	double value = strtod(text, &end);

	for (size_t i = 0; end != text && i < sizeof units / sizeof *units; i++)
		if (strcmp(end, units[i].unit) == 0 && value > 0 && value * units[i].bytes < 1e15)
			return (uint64_t)(value * units[i].bytes) / 8 * 8;
	die("--%s takes a size as 512MiB or 4GiB, not \"%s\"", option, text);
}

static void device_list(struct options *options, const char *text) {
	char copy[512], *rest = copy, *part;

	if (strlen(text) >= sizeof copy)
		die("--devices is too long");
	strcpy(copy, text);
	options->ndevices = 0;
	while ((part = strsep(&rest, ",")) != NULL) {
		if (options->ndevices == SHARD_MAX)
			die("--devices takes at most %d", SHARD_MAX);
		int device = (int)whole("devices", part, 0, 255);
		for (int i = 0; i < options->ndevices; i++)
			if (options->devices[i] == device)
				die("--devices names %d twice", device);
		options->devices[options->ndevices++] = device;
	}
}

static void add_model(struct options *options, const char *name) {
	size_t length = strlen(name);

	if (options->nmodels == MODELS_MAX)
		die("--model can be given %d times at most", MODELS_MAX);
	if (length == 0 || length > 256 || utf8_valid_prefix(name, length) != length)
		die("--model takes a name of 1 to 256 bytes of UTF-8");
	options->models[options->nmodels++] = name;
}

static void check(struct options *options) {
	int shards = options->processes > options->ndevices ? options->processes : options->ndevices;
	int64_t tokens = (int64_t)(options->kv_bytes / 8 / (uint64_t)shards / BLOCK_WORDS) * BLOCK_TOKENS * shards;

	if (options->weights_bytes / 8 < (uint64_t)shards)
		die("--weights is too small for %d parts", shards);
	if (tokens < 2 * BLOCK_TOKENS)
		die("--kv holds only %lld tokens over %d parts; it takes at least %d", (long long)tokens, shards,
		    2 * BLOCK_TOKENS);
	if (options->max_context == 0)
		options->max_context = tokens < 4096 ? tokens : 4096;
	if (options->max_context > tokens)
		die("--max-context is %lld tokens, but --kv holds %lld", (long long)options->max_context,
		    (long long)tokens);
	if (options->nmodels == 0)
		add_model(options, "demo");
}

void options_parse(struct options *options, int argc, char **argv) {
	enum {
		MODEL = 1,
		HOST,
		PORT,
		WEIGHTS,
		KV,
		SEED,
		RATE,
		DEVICES,
		PROCESSES,
		THREADS,
		CONTEXT,
		GRACE,
		HOLD,
		HELP,
		VERSION,
		RANK
	};
	static const struct option known[] = {{"model", 1, NULL, MODEL},
					      {"host", 1, NULL, HOST},
					      {"port", 1, NULL, PORT},
					      {"weights", 1, NULL, WEIGHTS},
					      {"kv", 1, NULL, KV},
					      {"seed", 1, NULL, SEED},
					      {"tokens-per-second", 1, NULL, RATE},
					      {"devices", 1, NULL, DEVICES},
					      {"processes", 1, NULL, PROCESSES},
					      {"threads", 1, NULL, THREADS},
					      {"max-context", 1, NULL, CONTEXT},
					      {"grace", 1, NULL, GRACE},
					      {"hold", 1, NULL, HOLD},
					      {"help", 0, NULL, HELP},
					      {"version", 0, NULL, VERSION},
					      {"rank", 1, NULL, RANK},
					      {NULL, 0, NULL, 0}};
	int option;

	*options = (struct options){.host = "127.0.0.1",
				    .port = 8000,
				    .weights_bytes = 64ull << 20,
				    .kv_bytes = 16ull << 20,
				    .seed = 1,
				    .ndevices = 1,
				    .processes = 1,
				    .grace_seconds = 5.0,
				    .rank_socket = -1};
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case MODEL: add_model(options, optarg); break;
		case HOST: options->host = optarg; break;
		case PORT: options->port = (int)whole("port", optarg, 0, 65535); break;
		case WEIGHTS: options->weights_bytes = size("weights", optarg); break;
		case KV: options->kv_bytes = size("kv", optarg); break;
		case SEED: options->seed = (uint64_t)whole("seed", optarg, 0, INT64_MAX); break;
		case RATE: options->tokens_per_second = real("tokens-per-second", optarg); break;
		case DEVICES: device_list(options, optarg); break;
		case PROCESSES: options->processes = (int)whole("processes", optarg, 1, SHARD_MAX); break;
		case THREADS: options->threads = (int)whole("threads", optarg, 0, 10000); break;
		case CONTEXT: options->max_context = whole("max-context", optarg, 16, INT32_MAX); break;
		case GRACE: options->grace_seconds = real("grace", optarg); break;
		case HOLD: options->hold_bytes = size("hold", optarg); break;
		case RANK: /* internal: number, socket, communicator */
			if (sscanf(optarg, "%d,%d,%" SCNu64, &options->rank, &options->rank_socket,
				   &options->communicator) != 3)
				die("--rank is for the engine itself");
			break;
		case HELP: fputs(help, stdout); exit(0);
		case VERSION: puts("hotseat-demo-engine " ENGINE_VERSION); exit(0);
		default: exit(2);
		}
	}
	if (optind < argc)
		die("there is no argument \"%s\"", argv[optind]);
	check(options);
}

int options_shards(const struct options *options, struct shard_spec *specs) {
	int count = options->processes > options->ndevices ? options->processes : options->ndevices;
	uint64_t weights = options->weights_bytes / 8, kv = options->kv_bytes / 8 / (uint64_t)count;

	for (int i = 0; i < count; i++) {
		uint64_t from = weights * (uint64_t)i / (uint64_t)count,
			 to = weights * (uint64_t)(i + 1) / (uint64_t)count;
		specs[i] = (struct shard_spec){.device = options->devices[i % options->ndevices],
					       .weights_words = to - from,
					       .weights_first = from,
					       .kv_words = kv,
					       .kv_first = kv * (uint64_t)i};
	}
	return count;
}

int options_rank_of(const struct options *options, int shard) {
	return shard % options->processes;
}
