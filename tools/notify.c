/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * notify.c: sd_notify(3)'s protocol. See notify.h.
 */
#include "config.h"

#include "notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "tool.h"

union address {
	struct sockaddr any;
	struct sockaddr_un un;
};

/* Makes the address that NOTIFY_SOCKET means: a path, or with '@' a name in the abstract namespace. 0 or an errno. */
static int make_address(const char *name, union address *address, socklen_t *length)
{
	size_t bytes = strlen(name);

	if ((*name != '/' && *name != '@') || !name[1])
		return EAFNOSUPPORT;
	/* An abstract name is as long as it says; a path keeps its NUL. */
	if (bytes + (*name == '/') > sizeof(address->un.sun_path))
		return ENAMETOOLONG;
	memset(address, 0, sizeof(*address));
	address->un.sun_family = AF_UNIX;
	memcpy(address->un.sun_path, name, bytes);
	if (*name == '@')
		address->un.sun_path[0] = '\0';
	*length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes + (*name == '/'));
	return 0;
}

/* 0 or an errno. */
static int send_state(const char *name, const char *state)
{
	const struct timeval patience = { .tv_sec = 1 };
	union address address;
	socklen_t length = 0;
	int error = make_address(name, &address, &length);
	int fd;

	if (error)
		return error;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) ||
	    sendto(fd, state, strlen(state), MSG_NOSIGNAL, &address.any, length) < 0)
		error = errno;
	close(fd);
	return error;
}

void notify(const char *format, ...)
{
	static bool told;
	const char *name = getenv("NOTIFY_SOCKET");
	char state[512];
	va_list arguments;
	int error;

	if (!name || !*name)
		return;
	va_start(arguments, format);
	vsnprintf(state, sizeof(state), format, arguments);
	va_end(arguments);
	error = send_state(name, state);
	if (error && !told)
		tool_say("can't notify the service manager at NOTIFY_SOCKET=%s: %s", name, strerror(error));
	told = told || error;
}
