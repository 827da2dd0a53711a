/* The command line. */
#ifndef HS_ENGINE_OPTIONS_H
#define HS_ENGINE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "shard.h"

#define ENGINE_VERSION "0.1.0"
#define MODELS_MAX 64

struct options {
	const char *models[MODELS_MAX];
	int nmodels;
	const char *host;
	int port;
	uint64_t weights_bytes, kv_bytes, hold_bytes; /* hold_bytes: 0 = serve */
	uint64_t seed;
	double tokens_per_second; /* of each answer; 0 = as fast as it goes */
	int devices[SHARD_MAX];
	int ndevices;
	int processes;
	int threads;
	int64_t max_context; /* tokens; 0 = 4096, or what fits */
	double grace_seconds;
	/* of a rank that another process started */
	int rank, rank_socket;
	uint64_t communicator;
};

/* Ends the process: 0 after --help and --version, 2 on a mistake. */
void options_parse(struct options *options, int argc, char **argv);

/* How weights and KV cache are cut: `specs` has room for SHARD_MAX. Returns the number of shards. */
int options_shards(const struct options *options, struct shard_spec *specs);

/* The rank that holds a shard. */
int options_rank_of(const struct options *options, int shard);

#endif
