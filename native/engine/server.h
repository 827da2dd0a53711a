/* Accepts connections; one thread each. */
#ifndef HS_ENGINE_SERVER_H
#define HS_ENGINE_SERVER_H

#include "api.h"

#define CONNECTIONS_MAX 1000

struct server;

/* Binds and listens. Ends the process (exit code 1) if that fails. `api` must outlive the server. */
struct server *server_listen(const struct api *api);
int server_socket(const struct server *server);
/* "127.0.0.1:8000", as bound. */
const char *server_address(const struct server *server);

/* Takes one waiting connection, if there still is one. Never blocks. */
void server_accept(struct server *server);

/* Stops listening; connections end after the answer that they are in. */
void server_stop(struct server *server);

/* Waits until all connections have ended, for some seconds at most. */
void server_wait(struct server *server, double seconds);

#endif
