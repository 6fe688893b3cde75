/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * live.c: what the processes of live.h share: notes of what each is at.
 */
#include "config.h"

#include "live.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const live_names[LIVE_CALLS] = {
	[LIVE_none] = "no call",
#define LIVE_NAME(name) [LIVE_##name] = #name,
	LIVE_ALL_CALLS(LIVE_NAME)
#undef LIVE_NAME
};

void live_begin(struct live_process *p, enum live_call call)
{
	atomic_store_explicit(&p->note->call, (uint32_t)call, memory_order_relaxed);
	atomic_fetch_add_explicit(&p->note->begun, 1, memory_order_release);
}

/* What kvshm.h says that calls may return. */
static bool is_an_answer(enum live_call call, int rc)
{
	static const int any[] = { 0, -ENOENT, -EAGAIN, -EUCLEAN, -ENOSPC, -ECANCELED, -EOVERFLOW, -EALREADY,
				   -ETIMEDOUT, -EBADF, -EMFILE, -EUSERS, -ESTALE, -EBUSY, -EOPNOTSUPP };
	static const int of_requests[] = { -EEXIST, -ENFILE, -EINPROGRESS, -EPERM, -E2BIG, -EINVAL };

	for (unsigned i = 0; i < sizeof(any) / sizeof(any[0]); i++)
		if (rc == any[i])
			return true;
	for (unsigned i = 0; i < sizeof(of_requests) / sizeof(of_requests[0]); i++)
		if (rc == of_requests[i] && live_is_of_requests(call))
			return true;
	if (rc == -EPROTO)
		return call > LIVE_counted;
	if (rc == -EINVAL) /* of a block without a key; of bytes beyond a block */
		return call == LIVE_publish || call == LIVE_publish_batch || call == LIVE_publish_on ||
		       call == LIVE_read || call == LIVE_write || call == LIVE_copy_in || call == LIVE_copy_out;
	if (rc == -EOWNERDEAD)
		return call == LIVE_attach;
	return rc == -ENODEV && live_is_of_gpus(call);
}

static void note_result(struct live_process *p, enum live_call call, int rc)
{
	if (!is_an_answer(call, rc))
		base_fail("%s returned %d (%s): %s", live_names[call], rc, strerror(-rc), kvshm_error());
	atomic_fetch_add_explicit(&p->note->result[call][-rc], 1, memory_order_relaxed);
	if (rc == -EUCLEAN && call < LIVE_counted)
		atomic_fetch_add_explicit(&p->note->detected, 1, memory_order_relaxed);
}

int live_end(struct live_process *p, enum live_call call, int rc)
{
	note_result(p, call, rc);
	atomic_store_explicit(&p->note->call, LIVE_none, memory_order_relaxed);
	return rc;
}

void live_item(struct live_process *p, enum live_call call, int rc)
{
	note_result(p, call, rc);
}

bool live_round(struct live_process *p, uint32_t *round)
{
	for (;;) {
		if (atomic_load(&p->stage->stop))
			return false;
		*round = atomic_load(&p->stage->round);
		if (*round) {
			atomic_store(&p->note->idle, false);
			/* Whoever sets the round to 0 and then sees this process idle, is seen here. */
			if (atomic_load(&p->stage->round) == *round)
				return true;
		}
		atomic_store(&p->note->idle, true);
		base_rest(100000);
	}
}

/* ---- Tools ------------------------------------------------------------------------------------------------ */

struct tool {
	char *const *argv;
	int out, err;
};

static void run_tool(void *arg)
{
	const struct tool *tool = arg;
	const char *bin = getenv("KVSHM_BIN");
	char path[4096];

	(void)snprintf(path, sizeof(path), "%s/%s", bin ? bin : "tools", tool->argv[0]);
	if (dup2(tool->out, STDOUT_FILENO) >= 0 && dup2(tool->err, STDERR_FILENO) >= 0)
		(void)execv(path, tool->argv);
	_exit(127);
}

pid_t live_start_tool(char *const argv[], int out, int err)
{
	struct tool tool = { argv, out, err };

	return base_fork(run_tool, &tool);
}

void live_check_text(int file, const char *tool)
{
	unsigned char text[4096];
	off_t at = 0;
	ssize_t got;

	while ((got = pread(file, text, sizeof(text), at)) > 0) {
		for (ssize_t i = 0; i < got; i++)
			if (text[i] < ' ' && text[i] != '\n')
				base_fail("%s printed byte %u: %.*s", tool, text[i], (int)got, text);
		at += got;
	}
}

/* ---- Signals ---------------------------------------------------------------------------------------------- */

static struct live_process *self;

static void explain(int signal, siginfo_t *info, void *context)
{
	char text[256];
	int length = snprintf(text, sizeof(text), "process %u: signal %d in %s, at address %p (code %d)\n",
			      self->number, signal, live_names[atomic_load(&self->note->call)], info->si_addr,
			      info->si_code);

	(void)context;
	if (write(STDOUT_FILENO, text, (size_t)length) < 0)
		_exit(1);
	/* The handler was reset: the signal comes again on return, and ends the process. */
}

void live_explain_signals(struct live_process *p)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL };
	struct sigaction action = { .sa_sigaction = explain, .sa_flags = SA_SIGINFO | (int)SA_RESETHAND }, now;

	self = p;
	for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		/* A sanitizer says more. */
		if (sigaction(signals[i], NULL, &now) == 0 && now.sa_handler == SIG_DFL)
			(void)sigaction(signals[i], &action, NULL);
}
