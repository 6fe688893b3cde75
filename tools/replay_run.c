/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_run.c: the parent of the engines. It forks them, kills one of them from time to time, starts another in its
 * place, and ends when none is left. It never attaches the store, so an engine inherits nothing of it; and an engine
 * dies with it.
 *
 * All that happens arrives at one place, sigtimedwait(): the end of a child, a signal from the user, or the time of the
 * next thing to do. The engines inherit the blocked signals: a Ctrl-C in the terminal is the parent's to answer.
 */
#include "config.h"

#include "replay_board.h"
#include "replay_random.h"
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)
#define NEVER UINT64_MAX
#define PROGRESS_EVERY (SECOND / 4)
#define PATIENCE (2 * SECOND) /* with engines that do not end when a user has ended the replay */

struct run {
	struct replay_job *job;
	struct replay_result *result;
	pid_t *pids;		/* 0: no engine at this place */
	uint32_t alive;
	uint32_t last_victim;
	uint64_t random;
	uint64_t started;	/* these are times in ns, or NEVER */
	uint64_t stop_at;
	uint64_t next_kill;
	uint64_t next_progress;
	uint64_t out_of_patience;
	bool good;
};

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static void stop(struct run *run)
{
	atomic_store(&run->job->board->stop, true);
	run->stop_at = NEVER;
	run->next_kill = NEVER;
}

static bool work_is_left(const struct run *run)
{
	const struct replay_board *board = run->job->board;

	return !atomic_load(&board->stop) &&
	       (run->job->duration || atomic_load(&board->next) < run->job->trace.request_count);
}

/* ---- Engines begin and end ------------------------------------------------------------------------------- */

static void start_engine(struct run *run, uint32_t number)
{
	uint64_t seed = replay_random(&run->random);
	pid_t parent = getpid();
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(EXIT_FAILURE); /* it died before the line above */
		_exit(replay_engine(run->job, number, seed));
	}
	if (pid < 0) {
		tool_say("an engine can't be started: %s; use a smaller --procs", strerror(errno));
		run->good = false;
		stop(run);
		return;
	}
	run->pids[number] = pid;
	run->alive++;
}

/* A SIGKILL may be our own, or that of someone who tries what happens: both are a kill. */
static void engine_ended(struct run *run, uint32_t number, int status)
{
	struct replay_place *place = &run->job->board->places[number];
	bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;

	if (killed) {
		run->result->killed++;
		run->result->killed_filling += atomic_load(&place->fills) > 0;
		run->result->killed_holding += atomic_load(&place->holds) > 0;
	} else if (WIFSIGNALED(status)) {
		tool_say("engine %" PRIu32 " (pid %d) was ended by signal %d (%s)", number, run->pids[number],
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
		run->good = false;
	} else if (WEXITSTATUS(status)) {
		run->good = false; /* it has said why */
	}
	atomic_store(&place->fills, 0);
	atomic_store(&place->holds, 0);
	run->pids[number] = 0;
	run->alive--;
	if (!run->good)
		stop(run);
	else if (killed && work_is_left(run))
		start_engine(run, number);
}

static void reap(struct run *run)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (uint32_t i = 0; i < run->job->procs; i++)
			if (run->pids[i] == pid) {
				engine_ended(run, i, status);
				break;
			}
}

/* ---- What the clock brings ------------------------------------------------------------------------------- */

/* Kills the engine whose turn it is, if any is alive. */
static void kill_one(struct run *run)
{
	uint32_t procs = run->job->procs;

	for (uint32_t i = 1; i <= procs; i++) {
		uint32_t number = (run->last_victim + i) % procs;

		if (run->pids[number]) {
			kill(run->pids[number], SIGKILL);
			run->last_victim = number;
			return;
		}
	}
}

static void kill_all(struct run *run)
{
	for (uint32_t i = 0; i < run->job->procs; i++)
		if (run->pids[i])
			kill(run->pids[i], SIGKILL);
}

static struct replay_tally sum_up(const struct replay_job *job)
{
	struct replay_tally sum = { 0 };

	for (uint32_t i = 0; i < job->procs; i++) {
		struct replay_tally tally = replay_tally_load(&job->board->places[i]);

		sum.requests += tally.requests;
		sum.block_refs += tally.block_refs;
		sum.hits += tally.hits;
		sum.filled += tally.filled;
		sum.waited += tally.waited;
		sum.given_up += tally.given_up;
	}
	return sum;
}

static void show_progress(const struct run *run, uint64_t time)
{
	struct replay_tally sum = sum_up(run->job);

	fprintf(stderr, "\r%.1f s: %" PRIu64 " requests, hit rate %.4f, %" PRIu64 " killed\033[K",
		(double)(time - run->started) / (double)SECOND, sum.requests,
		sum.block_refs ? (double)sum.hits / (double)sum.block_refs : 0.0, run->result->killed);
}

static void clear_progress(void)
{
	fputs("\r\033[K", stderr);
}

/* Moves a periodic time on to the next one that is still to come. */
static void move_on(uint64_t *next, uint64_t period, uint64_t time)
{
	*next += period;
	if (*next <= time)
		*next = time + period;
}

static void do_what_is_due(struct run *run)
{
	uint64_t time = now();

	if (time >= run->stop_at)
		stop(run);
	if (time >= run->next_kill) {
		kill_one(run);
		move_on(&run->next_kill, run->job->kill_every, time);
	}
	if (time >= run->next_progress) {
		show_progress(run, time);
		move_on(&run->next_progress, PROGRESS_EVERY, time);
	}
	if (time >= run->out_of_patience) {
		kill_all(run);
		run->out_of_patience = NEVER;
	}
}

/* ---- The whole run --------------------------------------------------------------------------------------- */

/* Waits until a signal arrives or something is due. Returns the signal, or 0. */
static int next_event(const struct run *run)
{
	const uint64_t due[] = { run->stop_at, run->next_kill, run->next_progress, run->out_of_patience };
	struct timespec pause = { .tv_sec = 3600 };
	uint64_t time = now(), next = NEVER;
	sigset_t signals;
	int number;

	for (size_t i = 0; i < sizeof(due) / sizeof(*due); i++)
		next = due[i] < next ? due[i] : next;
	if (next != NEVER) {
		uint64_t left = next > time ? next - time : 0;

		pause = (struct timespec){ (time_t)(left / SECOND), (long)(left % SECOND) };
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	number = sigtimedwait(&signals, NULL, &pause);
	return number > 0 ? number : 0;
}

static void loop(struct run *run)
{
	while (run->alive) {
		int number = next_event(run);

		reap(run);
		if (number && number != SIGCHLD) {
			stop(run);
			run->out_of_patience = run->result->interrupted ? 0 : now() + PATIENCE;
			run->result->interrupted = number;
		}
		do_what_is_due(run);
	}
}

static bool make_board(struct replay_job *job, size_t size)
{
	void *board = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (board == MAP_FAILED)
		return false;
	job->board = board; /* all its words begin as zero */
	return true;
}

bool replay_run(struct replay_job *job, struct replay_result *result)
{
	size_t size = sizeof(struct replay_board) + job->procs * sizeof(struct replay_place);
	uint64_t started = now();
	struct run run = {
		.job = job, .result = result, .pids = calloc(job->procs, sizeof(pid_t)), .good = true,
		.started = started,
		.random = started,
		.stop_at = job->duration ? started + job->duration : NEVER,
		.next_kill = job->kill_every ? started + job->kill_every : NEVER,
		.next_progress = isatty(STDERR_FILENO) ? started + PROGRESS_EVERY : NEVER,
		.out_of_patience = NEVER,
	};

	if (!run.pids || !make_board(job, size)) {
		tool_say("no memory for %" PRIu32 " engines", job->procs);
		free(run.pids);
		return false;
	}
	for (uint32_t i = 0; i < job->procs && run.good; i++)
		start_engine(&run, i);
	loop(&run);
	if (run.next_progress != NEVER)
		clear_progress();
	result->seconds = (double)(now() - started) / (double)SECOND;
	result->tally = sum_up(job);
	result->corrupt = atomic_load(&job->board->corrupt);
	munmap(job->board, size);
	job->board = NULL;
	free(run.pids);
	return run.good;
}
