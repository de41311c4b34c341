/* A server that is handed the number of its listening descriptor as argument, and
 * knows nothing else: no signal is handled, connections are served one by one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
	if (argc < 2) {
		fprintf(stderr, "usage: %s DESCRIPTOR\n", argv[0]);
		return 1;
	}
	int listener = atoi(argv[1]);
	const char *gen = getenv("GRACEFLEET_GENERATION");
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		if (fd < 0) {
			perror("accept");
			return 1;
		}
		char request[4096], body[64], all[256];
		size_t have = 0;
		ssize_t n = 0;
		while (have < sizeof request - 1 && (n = read(fd, request + have, sizeof request - 1 - have)) > 0) {
			have += n;
			request[have] = 0;
			if (strstr(request, "\r\n\r\n")) break;
		}
		if (n > 0) {
			int length = snprintf(body, sizeof body, "gen=%s\n", gen ? gen : "0");
			int size = snprintf(all, sizeof all, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", length, body);
			if (write(fd, all, size) < 0) perror("write");
		}
		close(fd);
	}
}
