/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * step.c: see step.h.
 */
#include "config.h"

#include "step.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../torture/base.h"

static void try_to_trace(void *arg)
{
	(void)arg;
	_exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) ? 1 : 0);
}

bool step_possible(void)
{
	int status = 0;
	pid_t pid = base_fork(try_to_trace, NULL);

	return waitpid(pid, &status, 0) == pid && status == 0;
}

/* This process, and the children that it starts from now on. */
static void share_a_processor(void)
{
	int here = sched_getcpu();
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((unsigned)here, &one);
	base_check(here >= 0 && sched_setaffinity(0, sizeof(one), &one) == 0);
}

void step_enter(struct step *step)
{
	base_check(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
	(void)raise(SIGSTOP);
	atomic_store(&step->place, STEP_INSIDE);
}

void step_leave(struct step *step)
{
	atomic_store(&step->place, STEP_AFTER);
	(void)raise(SIGSTOP); /* what it has now it keeps until it is killed, or goes on */
}

/* Waits for the stop that follows a start or a step. */
static void stopped(const struct step *step, int expected)
{
	int status;

	while (waitpid(step->pid, &status, 0) != step->pid)
		base_check(errno == EINTR);
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != expected)
		base_fail("the child came to status %#x after %" PRIu64 " instructions", (unsigned)status, step->count);
}

void step_start(struct step *step, void (*body)(void *), void *arg)
{
	share_a_processor();
	atomic_store(&step->place, STEP_BEFORE);
	step->count = 0;
	step->pid = base_fork(body, arg);
	stopped(step, SIGSTOP);
	base_check(ptrace(PTRACE_SETOPTIONS, step->pid, NULL, PTRACE_O_EXITKILL) == 0);
	while (atomic_load(&step->place) == STEP_BEFORE) {
		base_check(ptrace(PTRACE_SINGLESTEP, step->pid, NULL, NULL) == 0);
		stopped(step, SIGTRAP);
	}
}

bool step_one(struct step *step)
{
	base_check(ptrace(PTRACE_SINGLESTEP, step->pid, NULL, NULL) == 0);
	stopped(step, SIGTRAP);
	if (atomic_load(&step->place) == STEP_AFTER)
		return false;
	step->count++;
	return true;
}

bool step_many(struct step *step, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		if (!step_one(step))
			return false;
	return true;
}

/* The program counter: its place among the registers is the kernel's interface for each machine. */
static uint64_t program_counter(pid_t pid)
{
	struct user_regs_struct registers;
	struct iovec io = { .iov_base = &registers, .iov_len = sizeof(registers) };

	base_check(ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &io) == 0);
#if defined(__x86_64__)
	return registers.rip;
#else
	return registers.pc;
#endif
}

void step_where(const struct step *step, char text[128])
{
	uint64_t at = program_counter(step->pid);
	const char *file = "nowhere";
	Dl_info info;

	/* A child of fork() has everything where its parent has it. */
	if (dladdr((const void *)(uintptr_t)at, &info)) { // NOLINT(performance-no-int-to-ptr)
		at -= (uint64_t)(uintptr_t)info.dli_fbase;
		file = strrchr(info.dli_fname, '/');
		file = file ? file + 1 : info.dli_fname;
	}
	(void)snprintf(text, 128, "%s %#" PRIx64, file, at);
}

void step_kill(struct step *step)
{
	int status;

	base_signal(step->pid, SIGKILL);
	base_check(waitpid(step->pid, &status, 0) == step->pid && WIFSIGNALED(status));
}

void step_finish(struct step *step)
{
	base_check(ptrace(PTRACE_CONT, step->pid, NULL, NULL) == 0);
	stopped(step, SIGSTOP);
}
