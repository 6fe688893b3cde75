/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_run.c: the parent of the engines' processes. It forks them, kills one of them from time to time, starts
 * another in its place, and ends when none is left. It never attaches the store, so a process inherits nothing of it;
 * and all die with it.
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
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)
#define NEVER UINT64_MAX
#define PROGRESS_EVERY (SECOND / 4)
#define NICENESS 5 /* of the others: hundreds of them must not keep the parent from killing in time */
#define PATIENCE (2 * SECOND) /* with engines that do not end when a user has ended the replay */

/* What is at a place of the board. */
struct child {
	pid_t pid;	/* 0: no process */
	uint32_t lives; /* processes started here so far */
	bool doomed;	/* it was sent SIGKILL */
};

struct run {
	struct replay_job *job;
	struct replay_result *result;
	struct child *children;	/* replay_processes(job) */
	uint32_t alive;
	uint32_t last_victim;
	uint64_t random;
	uint64_t started;	/* these are times in ns, or NEVER */
	uint64_t stop_at;
	uint64_t next_kill;
	uint64_t next_progress;
	uint64_t out_of_patience;
	bool good;
	bool abandoned;		/* nobody is started any more */
};

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

static bool is_scheduler(const struct run *run, uint32_t number)
{
	return number % replay_team(run->job) == 0;
}

/* The one that takes requests, of a process's engine. */
static struct child *scheduler_of(const struct run *run, uint32_t number)
{
	return &run->children[number - number % replay_team(run->job)];
}

static bool is_decoder(const struct run *run, uint32_t number)
{
	return number % replay_team(run->job) == replay_team(run->job) - 1;
}

/* Tells the other processes of an engine, and the one that takes requests if it is still there, that there is nothing
 * more to do. */
static void hang_up(const struct run *run, uint32_t engine)
{
	replay_mail_hang_up(&run->job->mail, replay_pair(run->job, engine, 1), replay_team(run->job) - 1);
}

/* Nobody need do anything more for the result: there will be none. */
static void fail(struct run *run)
{
	run->good = false;
	run->abandoned = true;
	stop(run);
	for (uint32_t engine = 0; engine < run->job->procs; engine++)
		hang_up(run, engine);
}

/* ---- Processes begin and end ----------------------------------------------------------------------------- */

/* The life of a process, in the process. */
static int live(const struct run *run, uint32_t number, uint64_t seed)
{
	const struct replay_job *job = run->job;
	uint32_t team = replay_team(job), life = run->children[number].lives;

	if (is_decoder(run, number))
		return replay_decoder(job, number / team, seed);
	if (!job->tickets)
		return replay_engine(job, number / team, seed);
	if (is_scheduler(run, number))
		return replay_scheduler(job, number / team, life, seed);
	return replay_worker(job, number / team, number % team - 1, life, seed);
}

static void start(struct run *run, uint32_t number)
{
	struct child *child = &run->children[number];
	uint64_t seed = replay_random(&run->random);
	pid_t parent = getpid();

	child->lives++;
	child->doomed = false;
	child->pid = fork();
	if (!child->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(EXIT_FAILURE); /* it died before the line above */
		(void)setpriority(PRIO_PROCESS, 0, NICENESS);
		_exit(live(run, number, seed));
	}
	if (child->pid < 0) {
		tool_say("an engine can't be started: %s; use a smaller --procs", strerror(errno));
		child->pid = 0;
		fail(run);
		return;
	}
	run->alive++;
}

static void count_kill(struct run *run, uint32_t number)
{
	const struct replay_place *place = &run->job->board->places[number];

	run->result->killed++;
	run->result->killed_filling += atomic_load(&place->fills) > 0;
	run->result->killed_holding += atomic_load(&place->holds) > 0;
	run->result->killed_scheduler += is_scheduler(run, number);
	run->result->killed_worker += !is_scheduler(run, number) && !is_decoder(run, number);
	run->result->killed_decoder += is_decoder(run, number);
}

/* Is another process to go on where one was killed? Others are missed as long as the one is there that takes requests.
 * With tickets, what an engine has begun is always brought to its end: a scheduler is missed by its workers. */
static bool is_missed(const struct run *run, uint32_t number)
{
	if (run->abandoned)
		return false;
	if (!is_scheduler(run, number))
		return scheduler_of(run, number)->pid;
	return run->job->tickets || work_is_left(run);
}

/* A SIGKILL may be our own, or that of someone who tries what happens: both are a kill. */
static void ended(struct run *run, uint32_t number, int status)
{
	struct replay_place *place = &run->job->board->places[number];
	struct child *child = &run->children[number];
	bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;

	if (killed) {
		count_kill(run, number);
	} else if (WIFSIGNALED(status)) {
		tool_say("engine %" PRIu32 " (pid %d) was ended by signal %d (%s)", number / replay_team(run->job),
			 child->pid, WTERMSIG(status), strsignal(WTERMSIG(status)));
		fail(run);
	} else if (WEXITSTATUS(status)) {
		fail(run); /* it has said why */
	}
	atomic_store(&place->fills, 0);
	atomic_store(&place->holds, 0);
	child->pid = 0;
	run->alive--;
	if (killed && is_missed(run, number))
		start(run, number);
	else if (is_scheduler(run, number) || run->abandoned)
		hang_up(run, number / replay_team(run->job));
}

static void reap(struct run *run)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (uint32_t i = 0; i < replay_processes(run->job); i++)
			if (run->children[i].pid == pid) {
				ended(run, i, status);
				break;
			}
}

/* ---- What the clock brings ------------------------------------------------------------------------------- */

/* Kills the process whose turn it is. False: there is none that is not killed already. */
static bool kill_one(struct run *run)
{
	uint32_t count = replay_processes(run->job);

	for (uint32_t i = 1; i <= count; i++) {
		uint32_t number = (run->last_victim + i) % count;
		struct child *child = &run->children[number];

		if (child->pid && !child->doomed) {
			kill(child->pid, SIGKILL);
			child->doomed = true;
			run->last_victim = number;
			return true;
		}
	}
	return false;
}

static void kill_all(struct run *run)
{
	run->abandoned = true;
	while (kill_one(run))
		;
}

static struct replay_tally sum_up(const struct replay_job *job)
{
	struct replay_tally sum = { 0 };

	for (uint32_t i = 0; i < replay_processes(job); i++) {
		struct replay_tally tally = replay_tally_load(&job->board->places[i]);

		sum.requests += tally.requests;
		sum.block_refs += tally.block_refs;
		sum.hits += tally.hits;
		sum.filled += tally.filled;
		sum.waited += tally.waited;
		sum.given_up += tally.given_up;
		sum.completed += tally.completed;
		sum.claimed += tally.claimed;
		sum.aborted_by_owner += tally.aborted_by_owner;
		sum.aborted_by_other += tally.aborted_by_other;
		sum.rooms_waited += tally.rooms_waited;
		sum.rooms_timed_out += tally.rooms_timed_out;
		sum.room_wait += tally.room_wait;
		if (tally.room_wait_max > sum.room_wait_max)
			sum.room_wait_max = tally.room_wait_max;
		sum.held += tally.held;
		sum.joined += tally.joined;
		sum.asked_again += tally.asked_again;
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
	uint64_t time = replay_now();

	if (time >= run->stop_at)
		stop(run);
	while (time >= run->next_kill && kill_one(run))
		run->next_kill += run->job->kill_every;
	if (time >= run->next_kill)
		move_on(&run->next_kill, run->job->kill_every, time);
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
	uint64_t time = replay_now(), next = NEVER;
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
			run->out_of_patience = run->result->interrupted ? 0 : replay_now() + PATIENCE;
			run->result->interrupted = number;
		}
		do_what_is_due(run);
	}
}

/* The places for requests come first: they are aligned so. */
static size_t handovers_size(const struct replay_job *job)
{
	return (size_t)job->procs * job->in_flight * sizeof(struct replay_handover);
}

static bool make_board(struct replay_job *job, size_t size)
{
	void *board = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (board == MAP_FAILED)
		return false;
	job->board = (void *)((char *)board + handovers_size(job)); /* all its words begin as zero */
	job->board->handovers = board;
	return true;
}

bool replay_run(struct replay_job *job, struct replay_result *result)
{
	uint32_t processes = replay_processes(job);
	size_t size = handovers_size(job) + sizeof(struct replay_board) + processes * sizeof(struct replay_place);
	uint64_t started = replay_now();
	struct run run = {
		.job = job, .result = result, .children = calloc(processes, sizeof(struct child)), .good = true,
		.started = started,
		.random = started,
		.stop_at = job->duration ? started + job->duration : NEVER,
		.next_kill = job->kill_every ? started + job->kill_every : NEVER,
		.next_progress = isatty(STDERR_FILENO) ? started + PROGRESS_EVERY : NEVER,
		.out_of_patience = NEVER,
	};

	if (!run.children || !make_board(job, size)) {
		tool_say("no memory for %" PRIu32 " engines", job->procs);
		free(run.children);
		return false;
	}
	run.good = replay_mail_open(&job->mail, replay_pair(job, job->procs, 1));
	for (uint32_t i = 0; i < processes && run.good; i++)
		start(&run, i);
	loop(&run);
	replay_mail_close(&job->mail);
	if (run.next_progress != NEVER)
		clear_progress();
	result->seconds = (double)(replay_now() - started) / (double)SECOND;
	result->tally = sum_up(job);
	result->corrupt = atomic_load(&job->board->corrupt);
	result->missed_at_worker = atomic_load(&job->board->missed);
	result->missed_at_decoder = atomic_load(&job->board->unclaimable);
	munmap(job->board->handovers, size);
	job->board = NULL;
	free(run.children);
	return run.good;
}
