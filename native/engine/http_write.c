#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http.h"
#include "patience.h"

#define SERVER "Server: hotseat-demo-engine\r\n"

const char *http_reason(int status) {
	switch (status) {
	case 200: return "OK";
	case 400: return "Bad Request";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 408: return "Request Timeout";
	case 411: return "Length Required";
	case 413: return "Content Too Large";
	case 414: return "URI Too Long";
	case 417: return "Expectation Failed";
	case 431: return "Request Header Fields Too Large";
	case 500: return "Internal Server Error";
	case 501: return "Not Implemented";
	case 503: return "Service Unavailable";
	case 505: return "HTTP Version Not Supported";
	default: return "Unknown";
	}
}

bool http_send(struct http_connection *connection, const void *data, size_t length) {
	const char *at = data;

	while (length > 0) {
		ssize_t sent = send(connection->socket, at, length, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent > 0) {
			at += sent;
			length -= (size_t)sent;
			continue;
		}
		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return false;
		struct patience patience = patience_of(HTTP_SEND_SECONDS);
		if (patience_wait(&patience, connection->socket, POLLOUT) <= 0)
			return false;
	}
	return true;
}

bool http_answer(struct http_connection *connection, const struct http_request *request, int status,
		 const char *content_type, const char *extra, const void *body, size_t length) {
	struct buffer out = {0};
	bool sent;

	buffer_printf(&out, "HTTP/1.1 %d %s\r\n" SERVER "Content-Type: %s\r\nContent-Length: %zu\r\n%s%s\r\n", status,
		      http_reason(status), content_type, length, extra,
		      request->keep_alive ? (request->old ? "Connection: keep-alive\r\n" : "")
					  : "Connection: close\r\n");
	if (!request->head_only)
		buffer_add(&out, body, length);
	sent = http_send(connection, out.data, out.length);
	buffer_free(&out);
	return sent;
}

bool http_stream_begin(struct http_connection *connection, struct http_request *request, const char *content_type) {
	struct buffer out = {0};
	bool sent;

	if (request->old)
		request->keep_alive = false;
	buffer_printf(&out, "HTTP/1.1 200 OK\r\n" SERVER "Content-Type: %s\r\nCache-Control: no-cache\r\n%s%s\r\n",
		      content_type, request->old ? "" : "Transfer-Encoding: chunked\r\n",
		      request->keep_alive ? "" : "Connection: close\r\n");
	sent = http_send(connection, out.data, out.length);
	buffer_free(&out);
	return sent;
}

bool http_stream_piece(struct http_connection *connection, const struct http_request *request, const void *data,
		       size_t length) {
	struct buffer out = {0};
	bool sent;

	if (request->old || length == 0)
		return http_send(connection, data, length);
	buffer_printf(&out, "%zx\r\n", length);
	buffer_add(&out, data, length);
	buffer_text(&out, "\r\n");
	sent = http_send(connection, out.data, out.length);
	buffer_free(&out);
	return sent;
}

bool http_stream_end(struct http_connection *connection, const struct http_request *request) {
	return request->old || http_send(connection, "0\r\n\r\n", 5);
}

void http_close(struct http_connection *connection) {
	/* Closing with unread bytes makes the kernel send a reset, which can overtake the answer. So end our direction
     * first and read on for a moment, but not for as long as the client likes. */
	struct patience patience = patience_of(1.0);
	char waste[4096];
	size_t most = 1 << 20;

	shutdown(connection->socket, SHUT_WR);
	while (most > 0 && patience_wait(&patience, connection->socket, POLLIN) > 0) {
		ssize_t got = recv(connection->socket, waste, sizeof waste, MSG_DONTWAIT);
		if (got <= 0)
			break;
		most -= (size_t)got < most ? (size_t)got : most;
	}
	close(connection->socket);
	buffer_free(&connection->in);
}
