#define _GNU_SOURCE /* memmem */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "http.h"
#include "http_fields.h"
#include "patience.h"

static enum http_outcome refuse(struct http_problem *problem, int status, const char *text) {
	problem->status = status;
	problem->text = text;
	return HTTP_REFUSED;
}

/* Receives once what is there. 1: more bytes; 0: the client closed or failed; -1: patience ran out; -2: told to stop. */
static int receive(struct http_connection *connection, struct patience *patience, bool idle) {
	struct pollfd files[2] = {{.fd = connection->socket, .events = POLLIN},
				  {.fd = connection->stop_event, .events = POLLIN}};
	ssize_t got;

	buffer_reserve(&connection->in, 16384);
	for (;;) {
		int ready = patience_poll(patience, files, idle && connection->stop_event >= 0 ? 2 : 1);
		if (ready <= 0)
			return ready == 0 ? -1 : 0;
		if (files[0].revents == 0)
			return -2;
		got = recv(connection->socket, connection->in.data + connection->in.length,
			   connection->in.capacity - connection->in.length - 1, MSG_DONTWAIT);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (got <= 0)
			return 0;
		connection->in.length += (size_t)got;
		connection->in.data[connection->in.length] = 0;
		return 1;
	}
}

/* Waits until the whole head is in the buffer; its length without the empty line goes to `length`. */
static enum http_outcome read_head(struct http_connection *connection, size_t *length, struct http_problem *problem) {
	struct patience patience = patience_of(HTTP_IDLE_SECONDS);
	struct buffer *in = &connection->in;
	size_t searched = 0;
	bool begun = false;

	for (;;) {
		/* one empty line before a request is forgiven (RFC 9112, 2.2) */
		if (!begun && in->length >= 2 && memcmp(in->data, "\r\n", 2) == 0)
			buffer_drop_front(in, 2);
		if (in->length > 0 && !begun) {
			begun = true;
			patience = patience_of(HTTP_HEAD_SECONDS);
		}
		if (in->length > searched) {
			size_t from = searched > 3 ? searched - 3 : 0;
			const char *end = memmem(in->data + from, in->length - from, "\r\n\r\n", 4);
			if (end != NULL && (size_t)(end - in->data) <= HTTP_MAX_HEAD) {
				*length = (size_t)(end - in->data) + 2;
				return HTTP_OK;
			}
			searched = in->length;
		}
		if (in->length > HTTP_MAX_HEAD)
			return refuse(problem, 431, "the request's head is too long");
		int got = receive(connection, &patience, !begun);
		if (got == -1 && begun)
			return refuse(problem, 408, "the request's head took too long");
		if (got <= 0)
			return HTTP_GONE;
	}
}

/* Waits until `wanted` bytes are in the buffer. */
static enum http_outcome need(struct http_connection *connection, size_t wanted, struct patience *total,
			      struct http_problem *problem) {
	while (connection->in.length < wanted) {
		struct patience part = patience_of(HTTP_BODY_SECONDS);
		if (total->left_ms < part.left_ms)
			part = *total;
		int64_t before = part.left_ms;
		int got = receive(connection, &part, false);
		total->left_ms -= before - part.left_ms;
		if (got == -1)
			return refuse(problem, 408, "the request's body took too long");
		if (got <= 0)
			return HTTP_GONE;
	}
	return HTTP_OK;
}

/* Waits for a line (of a chunked body) and gives its length without CRLF. */
static enum http_outcome need_line(struct http_connection *connection, size_t *length, struct patience *total,
				   struct http_problem *problem) {
	const size_t longest = 1024;
	size_t have;

	for (have = 1;; have++) {
		enum http_outcome outcome = need(connection, have, total, problem);
		if (outcome != HTTP_OK)
			return outcome;
		if (connection->in.data[have - 1] == '\n')
			break;
		if (have > longest)
			return refuse(problem, 400, "a line of the chunked body is too long");
	}
	if (have < 2 || connection->in.data[have - 2] != '\r')
		return refuse(problem, 400, "a line of the chunked body does not end in CRLF");
	*length = have - 2;
	return HTTP_OK;
}

/* The size in front of a chunk; an extension after ';' is passed over. -1 if it is none. */
static long long chunk_size(const char *line, size_t length) {
	long long size = 0;
	size_t i;

	for (i = 0; i < length && line[i] != ';' && line[i] != ' ' && line[i] != '\t'; i++) {
		char c = line[i];
		int digit = c >= '0' && c <= '9'   ? c - '0'
			    : c >= 'a' && c <= 'f' ? c - 'a' + 10
			    : c >= 'A' && c <= 'F' ? c - 'A' + 10
						   : -1;
		if (digit < 0 || i >= 15)
			return -1;
		size = size * 16 + digit;
	}
	return i == 0 ? -1 : size;
}

static enum http_outcome read_chunked(struct http_connection *connection, struct buffer *body,
				      struct http_problem *problem) {
	struct patience total = patience_of(HTTP_BODY_TOTAL_SECONDS);
	struct buffer *in = &connection->in;
	enum http_outcome outcome;
	size_t length;

	for (;;) {
		if ((outcome = need_line(connection, &length, &total, problem)) != HTTP_OK)
			return outcome;
		long long size = chunk_size(in->data, length);
		if (size < 0)
			return refuse(problem, 400, "a chunk without a size");
		if (size > HTTP_MAX_BODY || body->length + (size_t)size > HTTP_MAX_BODY)
			return refuse(problem, 413, "the request's body is too large");
		buffer_drop_front(in, length + 2);
		if (size == 0)
			break;
		if ((outcome = need(connection, (size_t)size + 2, &total, problem)) != HTTP_OK)
			return outcome;
		if (memcmp(in->data + size, "\r\n", 2) != 0)
			return refuse(problem, 400, "a chunk is longer than it says");
		buffer_add(body, in->data, (size_t)size);
		buffer_drop_front(in, (size_t)size + 2);
	}
	for (int fields = 0; fields <= HTTP_MAX_FIELDS; fields++) { /* trailers are read and forgotten */
		if ((outcome = need_line(connection, &length, &total, problem)) != HTTP_OK)
			return outcome;
		buffer_drop_front(in, length + 2);
		if (length == 0)
			return HTTP_OK;
	}
	return refuse(problem, 431, "too many trailers");
}

static enum http_outcome read_body(struct http_connection *connection, const struct http_fields *fields,
				   struct buffer *body, struct http_problem *problem) {
	struct patience total = patience_of(HTTP_BODY_TOTAL_SECONDS);
	enum http_outcome outcome;
	size_t length = (size_t)fields->content_length;

	if (fields->content_length > HTTP_MAX_BODY)
		return refuse(problem, 413, "the request's body is too large");
	if (fields->expect_continue && (fields->chunked || connection->in.length < length))
		if (!http_send(connection, "HTTP/1.1 100 Continue\r\n\r\n", 25))
			return HTTP_GONE;
	if (fields->chunked)
		return read_chunked(connection, body, problem);
	if (fields->content_length <= 0)
		return HTTP_OK;
	if ((outcome = need(connection, length, &total, problem)) != HTTP_OK)
		return outcome;
	buffer_add(body, connection->in.data, length);
	buffer_drop_front(&connection->in, length);
	return HTTP_OK;
}

enum http_outcome http_read(struct http_connection *connection, struct http_request *request,
			    struct http_problem *problem) {
	struct http_fields fields;
	size_t length = 0;
	enum http_outcome outcome;

	memset(request, 0, sizeof *request);
	outcome = read_head(connection, &length, problem);
	if (outcome != HTTP_OK)
		return outcome;
	if (!http_parse_head(connection->in.data, length, request, &fields, problem))
		return HTTP_REFUSED;
	buffer_drop_front(&connection->in, length + 2);
	request->head_only = strcmp(request->method, "HEAD") == 0;
	if (strcmp(request->method, "POST") == 0 && !fields.chunked && fields.content_length < 0)
		return refuse(problem, 411, "a POST needs a Content-Length or a chunked body");
	return read_body(connection, &fields, &request->body, problem);
}
