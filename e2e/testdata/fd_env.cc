// A server as tutorials on seamless upgrades have it: its listening socket is
// descriptor FD of its environment, SIGUSR2 stops it accepting, and it lives ten
// more seconds for the requests that it has.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/socket.h>
#include <unistd.h>

static volatile sig_atomic_t stopping = 0;

static void stop(int) { stopping = 1; }

static void answer(int fd) {
	char request[4096];
	size_t have = 0;
	while (have < sizeof request - 1) {
		ssize_t n = read(fd, request + have, sizeof request - 1 - have);
		if (n <= 0) return;
		have += n;
		request[have] = 0;
		if (strstr(request, "\r\n\r\n")) break;
	}
	const char *gen = getenv("GRACEFLEET_GENERATION");
	std::string body = std::string("gen=") + (gen ? gen : "0") + "\n";
	std::string head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n";
	std::string all = head + body;
	if (write(fd, all.data(), all.size()) < 0) perror("write");
}

int main() {
	const char *variable = getenv("FD");
	if (!variable) {
		fprintf(stderr, "FD is not set\n");
		return 1;
	}
	int listener = atoi(variable);
	struct sigaction action = {};
	action.sa_handler = stop;
	sigaction(SIGUSR2, &action, nullptr);
	signal(SIGPIPE, SIG_IGN);
	while (!stopping) {
		int fd = accept(listener, nullptr, nullptr);
		if (fd < 0) {
			if (stopping) break; // the signal interrupted it
			perror("accept");
			return 1;
		}
		answer(fd);
		close(fd);
	}
	close(listener);
	for (unsigned left = 10; left > 0;) left = sleep(left);
	return 0;
}
