/* The thread that speaks with the store, from the first context of the process to its end. hs_store.h has the words. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "interposer.h"

#define ROOM (sizeof(struct hs_store_blocks) + HS_STORE_BATCH * sizeof(struct hs_store_block))

static struct sockaddr_un address = {.sun_family = AF_UNIX};
static atomic_bool active, started;
static uint64_t token[2];
static pthread_mutex_t line_lock = PTHREAD_MUTEX_INITIALIZER;
static int line = -1; /* the connection, for what other threads say; under line_lock */
static atomic_int connected = -1; /* the same from the first to the last moment that it is open, for a child after fork */
#define KEPT_WITHIN_MS 15000
static struct hs_store_failed failure; /* of the blocks that came since the last RESUME */

bool hsi_active(void) {
	return atomic_load_explicit(&active, memory_order_relaxed);
}

void hsi_say(const char *text, const char *why) {
	static _Atomic(const char *) said[8]; /* each text once */
	unsigned i = 0;
	while (i < 8 && said[i] && said[i] != text)
		i++;
	if (i < 8 && atomic_exchange(&said[i], text) != text)
		fprintf(stderr, "hotseat interposer: %s%s%s\n", text, why ? ": " : "", why ? why : "");
}

/* The variable is read now: some programs clean their environment. */
__attribute__((constructor)) static void prepare(void) {
	const char *path = getenv("HOTSEAT_STORE");
	if (!path || !*path)
		return;
	if (strlen(path) >= sizeof address.sun_path) {
		hsi_say("HOTSEAT_STORE is too long for a socket; everything is left to the driver", path);
		return;
	}
	strcpy(address.sun_path, path);
	atomic_store(&active, true);
}

bool hsi_send(int fd, const void *message, size_t bytes, const int *fds, unsigned count) {
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(HS_STORE_BATCH * sizeof(int))];
	} control;
	struct iovec part = {.iov_base = (void *)message, .iov_len = bytes};
	struct msghdr to = {.msg_iov = &part, .msg_iovlen = 1};
	if (count) {
		memset(&control, 0, sizeof control);
		to.msg_control = control.room;
		to.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *header = CMSG_FIRSTHDR(&to);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(header), fds, count * sizeof(int));
	}
	ssize_t sent;
	do
		sent = sendmsg(fd, &to, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent == (ssize_t)bytes;
}

/* Bytes of the next message, 0 at the end of the connection. */
static size_t receive(int fd, void *message, int *fds, unsigned *count) {
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(HS_STORE_BATCH * sizeof(int))];
	} control;
	struct iovec part = {.iov_base = message, .iov_len = ROOM};
	struct msghdr from = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
	ssize_t got;
	do
		got = recvmsg(fd, &from, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	*count = 0;
	for (struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&from) : NULL; header; header = CMSG_NXTHDR(&from, header))
		if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
			*count = (unsigned)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(fds, CMSG_DATA(header), *count * sizeof(int));
		}
	return got > 0 ? (size_t)got : 0;
}

static bool hello(int fd) {
	struct hs_store_hello hello = {.head = {HS_STORE_VERSION, HS_STORE_HELLO, 0}, .pid = (uint32_t)getpid()};
	struct hs_store_welcome welcome;
	char room[ROOM];
	int fds[HS_STORE_BATCH];
	unsigned count;
	hello.state = hsi_away() ? HS_STORE_STATE_YIELDED : HS_STORE_STATE_RUNNING;
	memcpy(hello.token, token, sizeof token);
	hsi_count(&hello.blocks, &hello.bytes, &hello.lent_bytes);
	if (!hsi_send(fd, &hello, sizeof hello, NULL, 0) || receive(fd, room, fds, &count) < sizeof welcome)
		return false;
	memcpy(&welcome, room, sizeof welcome);
	if (welcome.head.version != HS_STORE_VERSION || welcome.head.type != HS_STORE_WELCOME)
		return false;
	memcpy(token, welcome.token, sizeof token);
	return true;
}

bool hsi_kept(int fd, uint64_t request, uint64_t batches) {
	char room[ROOM];
	int fds[HS_STORE_BATCH];
	unsigned count;
	struct hs_store_head head;
	uint64_t until = hsi_now_ns() + KEPT_WITHIN_MS * 1000000ull;
	while (batches) {
		struct pollfd waited = {.fd = fd, .events = POLLIN};
		uint64_t now = hsi_now_ns();
		int ready = now < until ? poll(&waited, 1, (int)((until - now) / 1000000) + 1) : 0;
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0 || receive(fd, room, fds, &count) < sizeof head)
			return false;
		memcpy(&head, room, sizeof head);
		for (unsigned i = 0; i < count; i++)
			close(fds[i]);
		if (head.version != HS_STORE_VERSION || head.type != HS_STORE_KEPT || head.request != request)
			return false;
		batches--;
	}
	return true;
}

void hsi_freed(uint64_t id) {
	struct hs_store_freed freed = {.head = {HS_STORE_VERSION, HS_STORE_FREED, 0}, .id = id};
	pthread_mutex_lock(&line_lock);
	if (line >= 0) /* never waits: what is not said now is found out at the next YIELD */
		send(line, &freed, sizeof freed, MSG_NOSIGNAL | MSG_DONTWAIT);
	pthread_mutex_unlock(&line_lock);
}

static void set_line(int fd) {
	pthread_mutex_lock(&line_lock);
	line = fd;
	if (fd >= 0 && !hsi_active()) /* it was left to the driver meanwhile */
		shutdown(fd, SHUT_RDWR);
	pthread_mutex_unlock(&line_lock);
}

static bool answer(int fd, uint32_t type, uint64_t request, struct hs_store_done *done,
		   struct hs_store_failed *failed) {
	uint64_t lent;
	if (failed->result) {
		failed->head = (struct hs_store_head){HS_STORE_VERSION, HS_STORE_FAILED, request};
		hsi_count(&failed->blocks, &failed->bytes, &lent);
		if (type == HS_STORE_LOCALISED)
			failed->bytes = lent;
		return hsi_send(fd, failed, sizeof *failed, NULL, 0);
	}
	done->head = (struct hs_store_head){HS_STORE_VERSION, type, request};
	return hsi_send(fd, done, sizeof *done, NULL, 0);
}

static void take_back(const void *message, size_t bytes, const int *fds, unsigned count) {
	const struct hs_store_blocks *blocks = message;
	bool whole = bytes >= sizeof *blocks && blocks->count <= HS_STORE_BATCH && blocks->count == count &&
		     bytes >= sizeof *blocks + blocks->count * sizeof *blocks->block;
	if (!whole && !failure.result) {
		failure.result = -EPROTO;
		strcpy(failure.text, "blocks that cannot be read");
	}
	for (unsigned i = 0; i < count; i++)
		if (whole)
			hsi_take_back(&blocks->block[i], fds[i], &failure);
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
}

/* One message of the store; false: the connection is of no more use. */
static bool serve(int fd) {
	_Alignas(8) char message[ROOM];
	int fds[HS_STORE_BATCH];
	unsigned count;
	struct hs_store_head head;
	struct hs_store_done done = {.blocks = 0};
	struct hs_store_failed failed = {.result = 0};
	size_t bytes = receive(fd, message, fds, &count);
	if (bytes < sizeof head)
		return false;
	memcpy(&head, message, sizeof head);
	if (head.version != HS_STORE_VERSION)
		return false;
	switch (head.type) {
	case HS_STORE_YIELD:
		if (bytes < sizeof(struct hs_store_yield))
			return false;
		memset(&failure, 0, sizeof failure);
		hsi_yield(fd, (const struct hs_store_yield *)(const void *)message, &done, &failed);
		return answer(fd, HS_STORE_YIELDED, head.request, &done, &failed);
	case HS_STORE_BLOCKS:
		take_back(message, bytes, fds, count);
		return true;
	case HS_STORE_RESUME:
		failed = failure;
		memset(&failure, 0, sizeof failure);
		if (!failed.result)
			hsi_resume(&done, &failed);
		if (failed.result)
			hsi_let_go();
		return answer(fd, HS_STORE_RESUMED, head.request, &done, &failed);
	case HS_STORE_LOCALISE:
		hsi_localise(&done, &failed);
		return answer(fd, HS_STORE_LOCALISED, head.request, &done, &failed);
	case HS_STORE_KEPT: /* of blocks that were waited for in vain */
		return true;
	default:
		return false;
	}
}

void hsi_leave_all(const char *text, const char *why) {
	hsi_say(text, why);
	pthread_mutex_lock(&line_lock);
	atomic_store(&active, false);
	if (line >= 0)
		shutdown(line, SHUT_RDWR);
	pthread_mutex_unlock(&line_lock);
}

static void *run(void *unused) {
	(void)unused;
	while (hsi_active()) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		atomic_store(&connected, fd);
		if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0) {
			if (hello(fd)) {
				set_line(fd);
				while (serve(fd))
					;
				set_line(-1);
			}
			hsi_let_go();
			memset(&failure, 0, sizeof failure);
		} else {
			hsi_say("no store answers; until one does, the driver alone moves this process's memory", address.sun_path);
		}
		atomic_store(&connected, -1);
		if (fd >= 0)
			close(fd);
		if (hsi_active())
			nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
	}
	return NULL;
}

/* The child has no agent, and no memory on a device: a context of its own begins anew. */
static void forked(void) {
	hsi_gate_forked();
	hsi_memory_forked();
	hsi_imports_forked();
	hsi_peers_forked();
	hsi_move_forked();
	hsi_contexts_forked();
	hsi_captures_forked();
	hsi_late_forked();
	hsi_pools_forked();
	memset(token, 0, sizeof token);
	pthread_mutex_init(&line_lock, NULL);
	line = -1;
	int parents = atomic_exchange(&connected, -1); /* it stays open for as long as anybody has it */
	if (parents >= 0)
		close(parents);
	atomic_store(&started, false);
}

typedef CUresult (*attribute_fn)(int *, CUdevice_attribute, CUdevice);

static bool can_move(CUdevice device) {
	int has_vmm = 0, has_fd = 0;
	attribute_fn ask = REAL(cuDeviceGetAttribute);
	return ask && REAL(cuMemCreate) && REAL(cuMemExportToShareableHandle) && REAL(cuMemImportFromShareableHandle) &&
	       ask(&has_vmm, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, device) == CUDA_SUCCESS && has_vmm &&
	       ask(&has_fd, CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED, device) == CUDA_SUCCESS && has_fd;
}

void hsi_agent_start(CUdevice device) {
	static atomic_bool prepared;
	if (!hsi_active() || atomic_exchange(&started, true))
		return;
	if (!can_move(device)) {
		hsi_say("this driver's memory cannot be handed over; everything is left to the driver", NULL);
		atomic_store(&active, false);
		return;
	}
	if (!atomic_exchange(&prepared, true))
		pthread_atfork(NULL, NULL, forked);
	pthread_t thread;
	sigset_t all, before;
	sigfillset(&all); /* the engine's signals are for its own threads */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&thread, NULL, run, NULL) == 0) {
		pthread_setname_np(thread, "hotseat");
		pthread_detach(thread);
	} else {
		hsi_say("no thread for it; everything is left to the driver", strerror(errno));
		atomic_store(&active, false);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}
