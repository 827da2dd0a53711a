#define _GNU_SOURCE /* accept4 */

#include "server.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "patience.h"

#define STACK_BYTES (512 << 10)

struct server {
	const struct api *api;
	int socket, stop_event;
	char address[128];
	pthread_mutex_t mutex;
	pthread_cond_t fewer;
	int connections;
	bool stopping;
};

struct client {
	struct server *server;
	int socket;
};

static void die(const struct api *api, const char *what, const char *why) {
	fprintf(stderr, "hotseat-demo-engine: cannot %s %s:%d: %s\n", what, api->options->host, api->options->port,
		why);
	exit(1);
}

static void name_address(struct server *server) {
	struct sockaddr_storage address;
	socklen_t length = sizeof address;
	char host[64] = "?", port[16] = "?";

	if (getsockname(server->socket, (struct sockaddr *)&address, &length) == 0)
		getnameinfo((struct sockaddr *)&address, length, host, sizeof host, port, sizeof port,
			    NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(server->address, sizeof server->address, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

struct server *server_listen(const struct api *api) {
	struct server *server = must_alloc(sizeof *server);
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found;
	char port[16];
	int on = 1, result;

	snprintf(port, sizeof port, "%d", api->options->port);
	result = getaddrinfo(api->options->host, port, &hints, &found);
	if (result != 0)
		die(api, "find", gai_strerror(result));
	server->api = api;
	server->socket = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (server->socket < 0 || setsockopt(server->socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
	    bind(server->socket, found->ai_addr, found->ai_addrlen) != 0 || listen(server->socket, 1024) != 0)
		die(api, "listen on", strerror(errno));
	freeaddrinfo(found);
	server->stop_event = eventfd(0, EFD_CLOEXEC);
	if (server->stop_event < 0)
		die(api, "listen on", strerror(errno));
	pthread_mutex_init(&server->mutex, NULL);
	pthread_cond_init(&server->fewer, NULL);
	name_address(server);
	return server;
}

int server_socket(const struct server *server) {
	return server->socket;
}

const char *server_address(const struct server *server) {
	return server->address;
}

static bool stopping(struct server *server) {
	pthread_mutex_lock(&server->mutex);
	bool result = server->stopping;
	pthread_mutex_unlock(&server->mutex);
	return result;
}

static void converse(struct server *server, struct http_connection *connection) {
	bool usable = true;

	while (usable && !stopping(server)) {
		struct http_request *request = must_alloc(sizeof *request);
		struct http_problem problem = {0};
		switch (http_read(connection, request, &problem)) {
		case HTTP_OK:
			if (stopping(server))
				request->keep_alive = false;
			usable = api_handle(server->api, connection, request) && request->keep_alive;
			break;
		case HTTP_REFUSED:
			api_refuse(connection, request, &problem);
			usable = false;
			break;
		case HTTP_GONE: usable = false;
		}
		buffer_free(&request->body);
		free(request);
	}
}

static void *client_thread(void *argument) {
	struct client client = *(struct client *)argument;
	struct http_connection connection = {.socket = client.socket, .stop_event = client.server->stop_event};

	free(argument);
	converse(client.server, &connection);
	http_close(&connection);
	pthread_mutex_lock(&client.server->mutex);
	client.server->connections--;
	pthread_cond_signal(&client.server->fewer);
	pthread_mutex_unlock(&client.server->mutex);
	return NULL;
}

/* True if one more connection may be served. */
static bool count_one(struct server *server) {
	bool room;

	pthread_mutex_lock(&server->mutex);
	room = server->connections < CONNECTIONS_MAX;
	server->connections += room;
	pthread_mutex_unlock(&server->mutex);
	return room;
}

void server_accept(struct server *server) {
	static const char full[] = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
				   "Content-Length: 0\r\n\r\n";
	int socket = accept4(server->socket, NULL, NULL, SOCK_CLOEXEC), on = 1;
	pthread_attr_t attributes;
	pthread_t thread;

	if (socket < 0)
		return; /* it has left again, or there are no descriptors now: the main loop comes back */
	setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (!count_one(server)) {
		send(socket, full, strlen(full), MSG_NOSIGNAL | MSG_DONTWAIT);
		close(socket);
		return;
	}
	struct client *client = must_alloc(sizeof *client);
	*client = (struct client){server, socket};
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attributes, client_thread, client) != 0) {
		close(socket);
		free(client);
		pthread_mutex_lock(&server->mutex);
		server->connections--;
		pthread_mutex_unlock(&server->mutex);
	}
	pthread_attr_destroy(&attributes);
}

void server_stop(struct server *server) {
	uint64_t one = 1;

	pthread_mutex_lock(&server->mutex);
	server->stopping = true;
	pthread_mutex_unlock(&server->mutex);
	close(server->socket);
	if (write(server->stop_event, &one, sizeof one) != sizeof one)
		perror("hotseat-demo-engine: eventfd"); /* idle connections then end by their own deadline */
}

void server_wait(struct server *server, double seconds) {
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t)seconds + 1;
	pthread_mutex_lock(&server->mutex);
	while (server->connections > 0 && pthread_cond_timedwait(&server->fewer, &server->mutex, &until) == 0)
		;
	pthread_mutex_unlock(&server->mutex);
}
