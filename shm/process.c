/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * process.c: pidfds, and what /proc says. See process.h.
 *
 * A pid namespace that is gone (of a container that was stopped) has no process left; but who looks from outside can't
 * tell it from one that goes on unseen. A process can't learn from within which number it has outside: NSpid in its own
 * /proc begins at its own level. A pidfd, which would outlast the namespace, can't be kept in a segment. And that a
 * process is not to be seen says something only where all are: in the initial namespace, without hidepid, which is not
 * where those run who share a store between containers. So it stays unknown, and what the devices of such a client
 * could reach waits for one who looks from its namespace, or for a new store (kvshm-stat names it). Containers with one
 * pid namespace for all clients of a store are spared that.
 *
 * /proc/thread-self, not /proc/self: the thread that asks may have outlived its group's leader. Which number a process
 * has in /proc is asked of the pidfd's own file there: /proc may be one of another pid namespace.
 */
#include "config.h"

#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault.h"

/* Reads what fits of a short file of the kernel's, as text. */
static bool read_text(const char *path, char *text, size_t size)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (file < 0)
		return false;
	got = read(file, text, size - 1);
	(void)close(file);
	if (got <= 0)
		return false;
	text[got] = '\0';
	return true;
}

/* The 22nd field of a process's stat (proc_pid_stat(5)). The second is its name, in parentheses, which may have any
 * bytes: so it is counted from the last one that closes. It is that of the leader's thread, which began when the
 * process did: in the place of a process's own /proc/self/stat emulators make one up (qemu-user does), which says
 * something else than others read. */
static bool read_started(long pid, uint64_t *started)
{
	char path[64], text[1024], *at;

	(void)snprintf(path, sizeof(path), "/proc/%ld/task/%ld/stat", pid, pid);
	if (pid <= 0 || !read_text(path, text, sizeof(text)))
		return false;
	at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at)
		return false;
	*started = strtoull(at, NULL, 10);
	return *started != 0;
}

static uint64_t inode_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (uint64_t)st.st_ino : 0;
}

/* Kernels before 5.6 have no time namespaces. */
static uint64_t home_now(void)
{
	uint64_t pids = inode_of("/proc/thread-self/ns/pid");

	return pids ? inode_of("/proc/thread-self/ns/time") << 32 | (uint32_t)pids : 0;
}

/* This process's number in /proc, which may be of another pid namespace; 0: it is not said. */
static long own_number(void)
{
	char number[24];
	ssize_t length = readlink("/proc/self", number, sizeof(number) - 1);

	if (length <= 0)
		return 0;
	number[length] = '\0';
	return strtol(number, NULL, 10);
}

/* Does the pidfd mean a process that began then? False also if /proc does not say. */
static bool began_then(int pidfd, uint64_t started, bool *known)
{
	char path[64], text[1024], *line;
	uint64_t found;
	long pid;

	*known = false;
	(void)snprintf(path, sizeof(path), "/proc/thread-self/fdinfo/%d", pidfd);
	if (!read_text(path, text, sizeof(text)))
		return false;
	line = strstr(text, "\nPid:");
	pid = line ? strtol(line + strlen("\nPid:"), NULL, 10) : 0;
	*known = read_started(pid, &found);
	return *known && found == started;
}

/* Where the process of that number goes on, is it the one? Another has its number once it has ended. */
static enum kvs_process_state look_at(int pidfd, uint64_t started)
{
	struct pollfd end = {.fd = pidfd, .events = POLLIN};
	bool known;

	if (poll(&end, 1, 0) == 1)
		return end.revents & POLLIN ? KVS_PROCESS_ENDED : KVS_PROCESS_UNKNOWN;
	if (began_then(pidfd, started, &known))
		return KVS_PROCESS_GOES_ON;
	return known ? KVS_PROCESS_ENDED : KVS_PROCESS_UNKNOWN;
}

/* Can it be looked at, as others will? Else nothing of it could ever be given back: better said before. */
static int check_visible(const struct kvs_process *self)
{
	int pidfd = (int)syscall(SYS_pidfd_open, self->pid, 0), error = errno;
	enum kvs_process_state state;

	if (pidfd < 0)
		return kvs_fault(EOPNOTSUPP, "the end of a process that does DMA could not be seen here: pidfd_open: "
					     "%s: it needs Linux 5.3, and that no sandbox (seccomp) forbids the call",
				 strerror(error));
	state = look_at(pidfd, self->started);
	(void)close(pidfd);
	return state == KVS_PROCESS_GOES_ON ? 0 :
	       kvs_fault(EOPNOTSUPP, "/proc does not say which process a pidfd is of: mount it anew (mount -t proc "
				     "proc /proc)");
}

int kvs_process_self(struct kvs_process *self)
{
	self->pid = (int32_t)getpid();
	self->home = home_now();
	if (!self->home || !read_started(own_number(), &self->started))
		return kvs_fault(EOPNOTSUPP,
				 "/proc does not say when this process began: mount it (mount -t proc proc /proc)");
	return check_visible(self);
}

bool kvs_process_is_elsewhere(uint64_t home)
{
	return home && home != home_now();
}

enum kvs_process_state kvs_process_look(const struct kvs_process *process)
{
	enum kvs_process_state state;
	int pidfd;

	if (process->pid <= 0 || !process->home)
		return KVS_PROCESS_ENDED;
	if (kvs_process_is_elsewhere(process->home))
		return KVS_PROCESS_UNKNOWN;
	pidfd = (int)syscall(SYS_pidfd_open, process->pid, 0);
	if (pidfd < 0) /* EINVAL, ENOENT: a thread of another process has its number by now */
		return errno == ESRCH || errno == EINVAL || errno == ENOENT ? KVS_PROCESS_ENDED : KVS_PROCESS_UNKNOWN;
	state = look_at(pidfd, process->started);
	(void)close(pidfd);
	return state;
}
