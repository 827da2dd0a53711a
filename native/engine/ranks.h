/* The processes of one engine. Rank 0 serves and leads; each rank holds its shards; every step goes to all of them. */
#ifndef HS_ENGINE_RANKS_H
#define HS_ENGINE_RANKS_H

#include <sys/types.h>

#include "options.h"
#include "shard.h"

struct ranks; /* of rank 0 */

/* Starts the other ranks. Call it before the first thread and before any CUDA call. Ends the process on failure. */
struct ranks *ranks_start(const struct options *options, char **argv);

/* True for the pid of one of the others. Any thread. */
bool ranks_has(const struct ranks *ranks, pid_t pid);

/* Opens this rank's shards, joins the communicator and waits until the others have done the same. Like all that
 * follows: from the thread that owns CUDA; 0, or -1 with a sentence in `problem`. */
int ranks_open(struct ranks *ranks, char *problem, size_t problem_size);
int ranks_step(struct ranks *ranks, const struct entry_write *writes, int nwrites, const struct block_digest *digests,
	       int ndigests, struct step_sums *sums, char *problem, size_t problem_size);

/* Tells the others to end, frees the device memory and waits for them. */
void ranks_close(struct ranks *ranks);

/* What a rank other than 0 does until rank 0 closes its socket. Returns the exit code. */
int ranks_serve(const struct options *options);

#endif
