/* HTTP/1.1 (RFC 9112) as a server speaks it: one connection, one request at a time. Knows nothing of the API. */
#ifndef HS_ENGINE_HTTP_H
#define HS_ENGINE_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "buffer.h"

#define HTTP_MAX_HEAD 32768 /* request line and header fields */
#define HTTP_MAX_FIELDS 100
#define HTTP_MAX_TARGET 4096
#define HTTP_MAX_BODY (8 << 20)
#define HTTP_IDLE_SECONDS 75.0        /* between requests */
#define HTTP_HEAD_SECONDS 15.0        /* for all of a head, from its first byte */
#define HTTP_BODY_SECONDS 30.0        /* for each part of a body ... */
#define HTTP_BODY_TOTAL_SECONDS 120.0 /* ... and for all of it */
#define HTTP_SEND_SECONDS 60.0        /* without a byte taken by the client */

struct http_connection {
	int socket;
	struct buffer in; /* received and not yet used */
	int stop_event;   /* readable once the server wants idle connections to end; -1 if there is none */
};

struct http_request {
	char method[16];
	char path[HTTP_MAX_TARGET]; /* without the query */
	bool head_only;             /* HEAD: answer without a body */
	bool keep_alive;
	bool old; /* HTTP/1.0: no chunks */
	struct buffer body;
};

enum http_outcome {
	HTTP_OK,
	HTTP_GONE,   /* the client left, or idled too long: say nothing */
	HTTP_REFUSED /* answer `status` with `problem`, then close */
};

struct http_problem {
	int status;
	const char *text;
};

/* Reads the next request. The caller frees request->body in every case. */
enum http_outcome http_read(struct http_connection *connection, struct http_request *request,
			    struct http_problem *problem);

/* All writers return false when the client is gone or takes nothing for HTTP_SEND_SECONDS. */
bool http_send(struct http_connection *connection, const void *data, size_t length);

/* A whole answer. `extra` is further header lines ("Allow: GET\r\n") or "". */
bool http_answer(struct http_connection *connection, const struct http_request *request, int status,
		 const char *content_type, const char *extra, const void *body, size_t length);

/* An answer in pieces: chunks, or for HTTP/1.0 until the connection closes. */
bool http_stream_begin(struct http_connection *connection, struct http_request *request, const char *content_type);
bool http_stream_piece(struct http_connection *connection, const struct http_request *request, const void *data,
		       size_t length);
bool http_stream_end(struct http_connection *connection, const struct http_request *request);

/* Closes so that the client can still read the last answer, even if it is still sending. */
void http_close(struct http_connection *connection);

const char *http_reason(int status);

#endif
