// resolve prints the first IPv4 address of each name in its arguments, by the
// resolver of the C library it was built with.
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>

int main(int argc, char **argv) {
	for (int i = 1; i < argc; i++) {
		struct addrinfo want = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
		int err = getaddrinfo(argv[i], NULL, &want, &found);
		if (err) {
			printf("%s: %s\n", argv[i], gai_strerror(err));
			return 1;
		}
		char text[INET_ADDRSTRLEN];
		inet_ntop(AF_INET, &((struct sockaddr_in *)found->ai_addr)->sin_addr, text, sizeof text);
		printf("%s\n", text);
		freeaddrinfo(found);
	}
}
