#include "ranks.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "buffer.h"
#include "patience.h"

/* What rank 0 allows the others for one answer, as NCCL's watchdog does. They may stand in a driver call that a
 * checkpoint holds up, so it is long. */
#define ANSWER_SECONDS 600.0

struct request {
	uint32_t nwrites, ndigests; /* that many struct entry_write, then struct block_digest, follow */
};

struct reply {
	int32_t result;
	char problem[252];
	struct step_sums sums;
};

struct ranks {
	const struct options *options;
	int count;
	pid_t pids[SHARD_MAX];
	int sockets[SHARD_MAX];
	uint64_t communicator;
	struct shards *shards;
};

static bool send_all(int socket, const void *data, size_t length) {
	for (const char *at = data; length > 0;) {
		ssize_t sent = send(socket, at, length, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return false;
		at += sent;
		length -= (size_t)sent;
	}
	return true;
}

/* Without patience it waits for ever: only a rank that has nothing to do does. */
static bool receive_all(int socket, void *data, size_t length, struct patience *patience) {
	for (char *at = data; length > 0;) {
		if (patience != NULL && patience_wait(patience, socket, POLLIN) <= 0)
			return false;
		ssize_t got = recv(socket, at, length, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		at += got;
		length -= (size_t)got;
	}
	return true;
}

/* The shards of one rank, opened. */
static struct shards *open_own(const struct options *options, int rank, char *problem, size_t problem_size) {
	struct shard_spec all[SHARD_MAX], own[SHARD_MAX];
	int indexes[SHARD_MAX], count = 0, total = options_shards(options, all);

	for (int i = 0; i < total; i++) {
		if (options_rank_of(options, i) != rank)
			continue;
		own[count] = all[i];
		indexes[count++] = i;
	}
	return shards_open(own, indexes, count, options->seed, problem, problem_size);
}

static void become_rank(const struct ranks *ranks, int rank, int socket, char **argv) {
	char text[64];
	char **arguments;
	int count = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a rank that hangs in the driver would not see its socket close */
	fcntl(socket, F_SETFD, 0);
	snprintf(text, sizeof text, "--rank=%d,%d,%" PRIu64, rank, socket, ranks->communicator);
	while (argv[count] != NULL)
		count++;
	arguments = must_alloc(((size_t)count + 2) * sizeof *arguments);
	memcpy(arguments, argv, (size_t)count * sizeof *arguments);
	arguments[count] = text;
	execv("/proc/self/exe", arguments);
	perror("hotseat-demo-engine: cannot start a rank");
	_exit(1);
}

struct ranks *ranks_start(const struct options *options, char **argv) {
	struct ranks *ranks = must_alloc(sizeof *ranks);

	ranks->options = options;
	ranks->count = options->processes;
	if (getrandom(&ranks->communicator, sizeof ranks->communicator, 0) != sizeof ranks->communicator)
		ranks->communicator = ((uint64_t)getpid() << 32) ^ (uint64_t)now_ms();
	for (int rank = 1; rank < ranks->count; rank++) {
		int pair[2];
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0 || (ranks->pids[rank] = fork()) < 0) {
			perror("hotseat-demo-engine: cannot start a rank");
			exit(1);
		}
		if (ranks->pids[rank] == 0)
			become_rank(ranks, rank, pair[1], argv);
		close(pair[1]);
		ranks->sockets[rank] = pair[0];
	}
	return ranks;
}

bool ranks_has(const struct ranks *ranks, pid_t pid) {
	for (int rank = 1; rank < ranks->count; rank++)
		if (ranks->pids[rank] == pid)
			return true;
	return false;
}

/* Collects one rank's answer. */
static int reply_of(struct ranks *ranks, int rank, struct reply *reply, char *problem, size_t problem_size) {
	struct patience patience = patience_of(ANSWER_SECONDS);

	if (!receive_all(ranks->sockets[rank], reply, sizeof *reply, &patience)) {
		snprintf(problem, problem_size, "rank %d (pid %d) is gone or does not answer", rank,
			 (int)ranks->pids[rank]);
		return -1;
	}
	if (reply->result != 0)
		snprintf(problem, problem_size, "rank %d: %s", rank, reply->problem);
	return reply->result;
}

int ranks_open(struct ranks *ranks, char *problem, size_t problem_size) {
	static struct reply reply;

	ranks->shards = open_own(ranks->options, 0, problem, problem_size);
	if (ranks->shards == NULL ||
	    shards_join(ranks->shards, ranks->communicator, ranks->count, problem, problem_size) != 0)
		return -1;
	for (int rank = 1; rank < ranks->count; rank++)
		if (reply_of(ranks, rank, &reply, problem, problem_size) != 0)
			return -1;
	return 0;
}

int ranks_step(struct ranks *ranks, const struct entry_write *writes, int nwrites, const struct block_digest *digests,
	       int ndigests, struct step_sums *sums, char *problem, size_t problem_size) {
	static struct reply reply;
	struct request request = {(uint32_t)nwrites, (uint32_t)ndigests};

	memset(sums, 0, sizeof *sums);
	for (int rank = 1; rank < ranks->count; rank++) {
		if (!send_all(ranks->sockets[rank], &request, sizeof request) ||
		    !send_all(ranks->sockets[rank], writes, (size_t)nwrites * sizeof *writes) ||
		    !send_all(ranks->sockets[rank], digests, (size_t)ndigests * sizeof *digests)) {
			snprintf(problem, problem_size, "rank %d (pid %d) is gone", rank, (int)ranks->pids[rank]);
			return -1;
		}
	}
	if (shards_step(ranks->shards, writes, nwrites, digests, ndigests, sums, problem, problem_size) != 0)
		return -1;
	for (int rank = 1; rank < ranks->count; rank++) {
		if (reply_of(ranks, rank, &reply, problem, problem_size) != 0)
			return -1;
		sums->weights += reply.sums.weights;
		sums->kv += reply.sums.kv;
		for (int i = 0; i < ndigests; i++)
			sums->blocks[digests[i].index] += reply.sums.blocks[digests[i].index];
	}
	return 0;
}

void ranks_close(struct ranks *ranks) {
	for (int rank = 1; rank < ranks->count; rank++)
		shutdown(ranks->sockets[rank], SHUT_RDWR);
	if (ranks->shards != NULL)
		shards_close(ranks->shards);
	for (int rank = 1; rank < ranks->count; rank++) {
		for (int waited = 0; waitpid(ranks->pids[rank], NULL, WNOHANG) == 0; waited++) {
			if (waited == 500) /* 5 s */
				kill(ranks->pids[rank], SIGKILL);
			usleep(10000);
		}
		close(ranks->sockets[rank]);
	}
	free(ranks);
}

int ranks_serve(const struct options *options) {
	static struct reply reply;
	static struct entry_write writes[STEP_MAX_ENTRIES];
	static struct block_digest digests[STEP_MAX_BLOCKS];
	struct request request;
	struct shards *shards;
	char name[16];

	snprintf(name, sizeof name, "engine-rank-%d", options->rank);
	prctl(PR_SET_NAME, name); /* it was started as /proc/self/exe, and ps would say "exe" */
	/* a Ctrl-C goes to all; rank 0 tells the others when to end */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	shards = open_own(options, options->rank, reply.problem, sizeof reply.problem);
	if (shards == NULL ||
	    shards_join(shards, options->communicator, options->processes, reply.problem, sizeof reply.problem) != 0)
		reply.result = -1;
	while (send_all(options->rank_socket, &reply, sizeof reply) && reply.result == 0) {
		if (!receive_all(options->rank_socket, &request, sizeof request, NULL) ||
		    request.nwrites > STEP_MAX_ENTRIES || request.ndigests > STEP_MAX_BLOCKS ||
		    !receive_all(options->rank_socket, writes, request.nwrites * sizeof *writes, NULL) ||
		    !receive_all(options->rank_socket, digests, request.ndigests * sizeof *digests, NULL))
			break;
		memset(&reply, 0, sizeof reply);
		reply.result = shards_step(shards, writes, (int)request.nwrites, digests, (int)request.ndigests,
					   &reply.sums, reply.problem, sizeof reply.problem);
	}
	if (shards != NULL)
		shards_close(shards);
	return reply.result == 0 ? 0 : 1;
}
