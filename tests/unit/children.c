/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * children.c: the other processes of a test: they tell each other by pipes where they are. See fixture.h. A child ends
 * when its parent does.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int from_parent = -1, to_parent = -1;

static void send_byte(int fd)
{
	ck_assert_int_eq(write(fd, "", 1), 1);
}

/* One byte; false at the end of the pipe. */
static bool receive_byte(int fd)
{
	char byte;
	ssize_t got;

	do
		got = read(fd, &byte, 1);
	while (got < 0 && errno == EINTR);
	return got == 1;
}

void unit_child(struct child *child, void (*fn)(void *arg), void *arg)
{
	int down[2], up[2];

	ck_assert_int_eq(pipe(down), 0);
	ck_assert_int_eq(pipe(up), 0);
	(void)unit_name(); /* the child uses its parent's */
	child->pid = fork();
	ck_assert_int_ge(child->pid, 0);
	if (child->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)close(down[1]);
		(void)close(up[0]);
		from_parent = down[0];
		to_parent = up[1];
		fn(arg);
		_exit(0);
	}
	(void)close(down[0]);
	(void)close(up[1]);
	child->out = down[1];
	child->in = up[0];
}

void unit_await(const struct child *child)
{
	ck_assert_msg(receive_byte(child->in), "the child ended before it told");
}

void unit_tell(const struct child *child)
{
	send_byte(child->out);
}

void unit_await_parent(void)
{
	if (!receive_byte(from_parent))
		_exit(1);
}

void unit_tell_parent(void)
{
	send_byte(to_parent);
}

void unit_wait_for_death(void)
{
	unit_tell_parent();
	for (;;)
		(void)pause();
}

static int end_of(const struct child *child)
{
	int status;

	ck_assert_int_eq(waitpid(child->pid, &status, 0), child->pid);
	(void)close(child->in);
	(void)close(child->out);
	return status;
}

void unit_kill(const struct child *child)
{
	int status;

	ck_assert_int_eq(kill(child->pid, SIGKILL), 0);
	status = end_of(child);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the child ended by itself (%#x)",
		      (unsigned)status);
}

void unit_stop(const struct child *child)
{
	int status;

	ck_assert_int_eq(kill(child->pid, SIGSTOP), 0);
	ck_assert_int_eq(waitpid(child->pid, &status, WUNTRACED), child->pid);
	ck_assert(WIFSTOPPED(status));
}

void unit_join(const struct child *child)
{
	int status = end_of(child);

	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended badly (%#x)", (unsigned)status);
}

bool unit_fork_wipes(const char *test)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	char *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	ck_assert(page != MAP_FAILED);
	ck_assert_int_eq(madvise(page, size, MADV_WIPEONFORK), 0);
	page[0] = 1;
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(page[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	(void)munmap(page, size);
	if (WEXITSTATUS(status) == 0)
		return true;
	unit_skip(test, "this kernel, or what emulates it, takes MADV_WIPEONFORK and does not wipe");
	return false;
}

void *unit_shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert(memory != MAP_FAILED);
	return memory;
}

pthread_barrier_t *unit_shared_barrier(unsigned count)
{
	pthread_barrier_t *barrier = unit_shared(sizeof(*barrier));
	pthread_barrierattr_t attributes;

	ck_assert_int_eq(pthread_barrierattr_init(&attributes), 0);
	ck_assert_int_eq(pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED), 0);
	ck_assert_int_eq(pthread_barrier_init(barrier, &attributes, count), 0);
	(void)pthread_barrierattr_destroy(&attributes);
	return barrier;
}
