/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * notified: a service manager's end of sd_notify(3): binds the datagram socket ADDRESS (a path, or @NAME for an
 * abstract one), prints "listening", and then each message on a line of its own, until it is killed.
 */
#include "config.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(int argc, char **argv)
{
	union {
		struct sockaddr any;
		struct sockaddr_un un;
	} address = { .un = { .sun_family = AF_UNIX } };
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	char message[1024];
	ssize_t length;

	if (argc != 2 || strlen(argv[1]) >= sizeof(address.un.sun_path))
		return 1;
	memcpy(address.un.sun_path, argv[1], strlen(argv[1]));
	if (argv[1][0] == '@')
		address.un.sun_path[0] = '\0';
	if (fd < 0 || bind(fd, &address.any, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(argv[1]))))
		return 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("listening");
	while ((length = recv(fd, message, sizeof(message) - 1, 0)) >= 0) {
		message[length] = '\0';
		for (char *end = message; (end = strchr(end, '\n'));)
			*end = ' ';
		puts(message);
	}
	return 1;
}
