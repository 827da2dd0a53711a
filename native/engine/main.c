/* Starts everything, accepts connections, ends in order. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api.h"
#include "buffer.h"
#include "options.h"
#include "ranks.h"
#include "server.h"
#include "vocabulary.h"

/* Blocks the signals that ask the engine to end, for all threads to come, and gives a descriptor to read them from. */
static int signals(void) {
	sigset_t set;
	int descriptor;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	descriptor = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (descriptor < 0) {
		perror("hotseat-demo-engine: signalfd");
		exit(1);
	}
	return descriptor;
}

/* True when it is time to end. As pid 1 of a container the engine also reaps whoever is left to it. */
static bool read_signals(int descriptor, bool *child_died) {
	struct signalfd_siginfo signal;
	bool end = false;

	while (read(descriptor, &signal, sizeof signal) == sizeof signal) {
		if (signal.ssi_signo == SIGCHLD)
			*child_died = true;
		else
			end = true;
	}
	return end;
}

static void *idle_thread(void *unused) {
	(void)unused;
	for (;;)
		sleep(1);
	return NULL;
}

static void start_idle_threads(int count) {
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 64 << 10);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	for (int i = 0; i < count; i++) {
		if (pthread_create(&thread, &attributes, idle_thread, NULL) != 0) {
			fprintf(stderr, "hotseat-demo-engine: only %d of %d threads could be started\n", i, count);
			exit(1);
		}
	}
	pthread_attr_destroy(&attributes);
}

static int hold(const struct options *options, int signal_file) {
	struct pollfd file = {.fd = signal_file, .events = POLLIN};
	char problem[320];
	bool child_died = false;

	if (shards_hold(options->devices, options->ndevices, options->hold_bytes, options->seed, problem,
			sizeof problem)) {
		fprintf(stderr, "hotseat-demo-engine: %s\n", problem);
		return 1;
	}
	start_idle_threads(options->threads);
	printf("hotseat-demo-engine: holding %llu bytes on each of %d devices\n",
	       (unsigned long long)options->hold_bytes, options->ndevices);
	fflush(stdout);
	while (poll(&file, 1, -1) < 0 || !read_signals(signal_file, &child_died))
		;
	return 0;
}

/* Until a signal or the engine's failure. Returns the exit code. */
static int serve(struct server *server, struct engine *engine, int signal_file, const struct ranks *ranks,
		 const struct options *options) {
	struct pollfd files[3] = {{.fd = server_socket(server), .events = POLLIN},
				  {.fd = signal_file, .events = POLLIN},
				  {.fd = engine_event(engine), .events = POLLIN}};
	char problem[320];
	uint64_t count;
	pid_t lost = 0;

	for (;;) {
		bool child_died = false;
		/* a rank that ends has first told the engine why, if it could: so listen to that for a moment */
		int ready = poll(files, 3, lost ? 1000 : -1);
		if (ready < 0 && errno != EINTR)
			return 1;
		if (ready == 0) {
			fprintf(stderr, "hotseat-demo-engine: the rank with pid %d has ended\n", (int)lost);
			return 1;
		}
		if (files[0].revents != 0)
			server_accept(server);
		if (files[1].revents != 0 && read_signals(signal_file, &child_died))
			return 0;
		while (child_died) {
			pid_t child = waitpid(-1, NULL, WNOHANG);
			if (child <= 0)
				break;
			if (ranks_has(ranks, child)) /* otherwise, as pid 1, an orphan of someone's exec */
				lost = child;
		}
		if (files[2].revents != 0 && read(engine_event(engine), &count, sizeof count) > 0) {
			if (engine_state(engine, problem, sizeof problem) == ENGINE_FAILED) {
				fprintf(stderr, "hotseat-demo-engine: %s\n", problem);
				return 1;
			}
			printf("hotseat-demo-engine: ready, %s is in device memory\n", options->models[0]);
			fflush(stdout);
		}
	}
}

int main(int argc, char **argv) {
	static struct options options;
	static struct api api;
	int signal_file, code;

	options_parse(&options, argc, argv);
	if (options.rank > 0)
		return ranks_serve(&options);
	vocabulary_init();
	signal_file = signals();
	if (options.hold_bytes > 0)
		return hold(&options, signal_file);
	api = (struct api){.options = &options, .started = time(NULL)};
	struct server *server = server_listen(&api);
	struct ranks *ranks = ranks_start(&options, argv);
	api.engine = engine_start(&options, ranks);
	start_idle_threads(options.threads);
	printf("hotseat-demo-engine: listening on http://%s\n", server_address(server));
	fflush(stdout);

	code = serve(server, api.engine, signal_file, ranks, &options);
	server_stop(server);
	engine_stop(api.engine, options.grace_seconds);
	server_wait(server, 2.0);
	return code;
}
