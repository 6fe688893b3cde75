/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_mail.c: letters, by sockets that keep their bounds. A letter is as long as its items need.
 */
#include "config.h"

#include "replay_mail.h"
#include "tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { OTHER_FILES = 64 }; /* descriptors that a process needs besides */

static size_t size_of(uint64_t items)
{
	return offsetof(struct letter, items) + items * sizeof(struct letter_item);
}

/* Allows as many descriptors as are needed, if that may be. */
static void allow_files(size_t pairs)
{
	rlim_t wanted = 2 * pairs + OTHER_FILES;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

bool replay_mail_open(struct replay_mail *mail, size_t count)
{
	int error = ENOMEM;

	allow_files(count);
	*mail = (struct replay_mail){ .pairs = calloc(count, sizeof(*mail->pairs)) };
	while (mail->pairs && mail->count < count) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, mail->pairs[mail->count])) {
			error = errno;
			break;
		}
		mail->count++;
	}
	if (mail->count == count)
		return true;
	tool_say("no sockets for %zu processes: %s; use a smaller --procs, or allow more open files (ulimit -n)", count,
		 strerror(error));
	replay_mail_close(mail);
	return false;
}

void replay_mail_close(struct replay_mail *mail)
{
	for (size_t i = 0; i < mail->count; i++) {
		close(mail->pairs[i][MAIL_SCHEDULER]);
		close(mail->pairs[i][MAIL_WORKER]);
	}
	free(mail->pairs);
	*mail = (struct replay_mail){ 0 };
}

void replay_mail_hang_up(const struct replay_mail *mail, size_t first, size_t count)
{
	for (size_t i = first; i < first + count; i++)
		shutdown(mail->pairs[i][MAIL_SCHEDULER], SHUT_RDWR);
}

int replay_mail_send(int end, const struct letter *letter)
{
	size_t size = size_of(letter->count);
	ssize_t sent = send(end, letter, size, MSG_NOSIGNAL);

	if (sent == (ssize_t)size)
		return 0;
	if (sent < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ENOMEM))
		return -EAGAIN;
	return -EPIPE;
}

int replay_mail_receive(int end, struct letter *letter)
{
	ssize_t size = recv(end, letter, sizeof(*letter), 0);

	if (size < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : -EPIPE;
	return size ? 0 : -EPIPE;
}
