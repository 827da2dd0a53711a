/* Processes to freeze. `victim MODE FILE [N]`: FILE is mapped shared and holds 64-bit counters.
 * Counter 0 is set to 1 once the mode is in place; what the others count stands with each mode. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNTERS 4096
static _Atomic uint64_t *counters;
static char **arguments;

static void die(const char *what) { perror(what); exit(1); }

static void start_thread(void *(*body)(void *), void *argument)
{
	pthread_attr_t attributes;
	pthread_t thread;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 32768);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attributes, body, argument)) die("pthread_create");
}

static _Noreturn void *spin(void *counter) { for (;;) (*(_Atomic uint64_t *)counter)++; }
static _Noreturn void *doze(void *counter) { for (;;) { (*(_Atomic uint64_t *)counter)++; usleep(2000); } }
static _Noreturn void *sleeper(void *unused) { (void)unused; for (;;) pause(); }
static void *nothing(void *unused) { return unused; }
static _Noreturn void *breed(void *counter)
{
	for (;;) {
		pthread_t thread;
		if (!pthread_create(&thread, NULL, nothing, NULL)) pthread_join(thread, NULL);
		(*(_Atomic uint64_t *)counter)++;
	}
}
static _Noreturn void *driver(void *unused)
{
	(void)unused;
	for (;;) {
		usleep(500);
		pthread_t thread;
		if (!counters[4] || pthread_create(&thread, NULL, nothing, NULL)) continue;
		pthread_join(thread, NULL);
		counters[2]++;
	}
}
static void *exec_soon(void *unused)
{
	(void)unused;
	usleep(1000 + rand() % 3000);
	execv("/proc/self/exe", arguments);
	die("execv");
	return NULL;
}

static volatile int *forbidden;
static void *fault(void *unused)
{
	while (!counters[1]) usleep(1000);
	counters[3] = *forbidden; /* the handler below makes it good */
	counters[2]++;
	return unused;
}
static void mend(int number, siginfo_t *info, void *context)
{
	(void)context;
	counters[number]++;
	if (info->si_code > 0) mprotect((void *)forbidden, 4096, PROT_READ);
}
static void count_signal(int number, siginfo_t *info, void *context)
{
	(void)context;
	counters[number]++;
	counters[128 + number] = info->si_pid;
}

int main(int argc, char **argv)
{
	if (argc < 3) return 2;
	const char *mode = argv[1];
	long n = argc > 3 ? atol(argv[3]) : 1;
	arguments = argv;
	int fd = open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0 || ftruncate(fd, COUNTERS * sizeof *counters)) die(argv[2]);
	counters = mmap(NULL, COUNTERS * sizeof *counters, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (counters == MAP_FAILED) die("mmap");

	if (!strcmp(mode, "spin")) { /* counters 1..n: iterations of each thread without a system call */
		for (long i = 1; i < n; i++) start_thread(spin, (void *)&counters[1 + i]);
		counters[0] = 1;
		spin((void *)&counters[1]);
	} else if (!strcmp(mode, "doze")) { /* counters 1..n: iterations of each thread, asleep most of the time */
		for (long i = 1; i < n; i++) start_thread(doze, (void *)&counters[1 + i]);
		counters[0] = 1;
		doze((void *)&counters[1]);
	} else if (!strcmp(mode, "sleep")) { /* n threads in pause(2) */
		for (long i = 1; i < n; i++) start_thread(sleeper, NULL);
		counters[0] = 1;
		sleeper(NULL);
	} else if (!strcmp(mode, "storm")) { /* counter 1: forks, 2: work of children, 3: threads; n breeders of each kind */
		for (long i = 0; i < n; i++) start_thread(breed, (void *)&counters[3]);
		for (long i = 1; i < n; i++) if (!fork()) break;
		counters[0] = 1;
		for (;;) {
			pid_t child = fork();
			if (child < 0) die("fork");
			if (!child) { for (int i = 0; i < 1000; i++) counters[2]++; _exit(0); }
			counters[1]++;
			waitpid(child, NULL, 0);
		}
	} else if (!strcmp(mode, "zombie")) { /* n zombie children; then as doze */
		for (long i = 0; i < n; i++) if (!fork()) _exit(3);
		usleep(50000);
		counters[0] = 1;
		doze((void *)&counters[1]);
	} else if (!strcmp(mode, "headless")) { /* the first thread ends, another goes on: counter 1 */
		start_thread(doze, (void *)&counters[1]);
		counters[0] = 1;
		pthread_exit(NULL);
	} else if (!strcmp(mode, "vfork")) { /* uninterruptible sleep: counter 2 is the child's pid */
		counters[0] = 1;
		if (!vfork()) { counters[2] = getpid(); for (;;) pause(); }
	} else if (!strcmp(mode, "spawn")) { /* counter 1: vfork and exec of a program that ends at once */
		counters[0] = 1;
		for (;;) {
			pid_t child = vfork();
			if (!child) { execl("/bin/true", "true", NULL); _exit(1); }
			counters[1]++;
			waitpid(child, NULL, 0);
		}
	} else if (!strcmp(mode, "exec")) { /* n threads, one of which runs the program anew: counter 1 counts its starts */
		counters[1]++;
		srand(getpid() + counters[1]);
		for (long i = 1; i < n; i++) start_thread(sleeper, NULL);
		start_thread(exec_soon, NULL);
		counters[0] = 1;
		sleeper(NULL);
	} else if (!strcmp(mode, "signals")) { /* counters[S], [128+S]: times signal S was handled, its sender; 1..: doze at 1 */
		struct sigaction action = {.sa_sigaction = count_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
		int handled[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGRTMIN, SIGCONT, SIGSEGV};
		for (size_t i = 0; i < sizeof handled / sizeof *handled; i++) sigaction(handled[i], &action, NULL);
		for (long i = 1; i < n; i++) start_thread(doze, (void *)&counters[300 + i]);
		counters[0] = 1;
		doze((void *)&counters[300]);
	} else if (!strcmp(mode, "fault")) { /* once counter 1 is set a thread reads a forbidden page, then sets 2; [11]: SIGSEGVs */
		struct sigaction action = {.sa_sigaction = mend, .sa_flags = SA_SIGINFO | SA_RESTART};
		sigaction(SIGSEGV, &action, NULL);
		forbidden = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		start_thread(fault, NULL);
		counters[0] = 1;
		sleeper(NULL);
	} else if (!strcmp(mode, "trace")) { /* traces the process of which n is the pid */
		if (ptrace(PTRACE_SEIZE, (pid_t)n, NULL, NULL)) die("PTRACE_SEIZE");
		counters[0] = 1;
		for (;;) pause();
	} else if (!strcmp(mode, "clone")) { /* counter 1: work; 2: threads that a driver's thread makes once 4 is set */
		start_thread(driver, NULL);
		counters[0] = 1;
		doze((void *)&counters[1]);
	} else {
		fprintf(stderr, "unknown mode %s\n", mode);
		return 2;
	}
	return 0;
}
