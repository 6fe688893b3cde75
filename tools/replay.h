/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay.h: what a replay is told, and what it finds. The parent process reads the trace and forks the engines; it
 * never attaches the store itself, so that no engine inherits anything of it, and looks at it with a view only.
 */
#ifndef REPLAY_H
#define REPLAY_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "kvshm.h"
#include "replay_mail.h"
#include "replay_trace.h"

#define REPLAY_MS UINT64_C(1000000) /* ns */

enum { REPLAY_GENERATE_SEED = 1, REPLAY_ABORT_SEED = 1 };

struct replay_board;

struct replay_job {
	const char *store;
	const char *dir;
	struct replay_trace trace;
	struct kvshm_geometry geometry;
	enum kvshm_memory memory;   /* of the planes */
	const char *run;	    /* differs from that of every other replay: requests' ids begin with it */
	struct replay_board *board; /* shared by parent and engines */
	struct replay_mail mail;    /* the pair of engine e and its member m (from 1) is replay_pair(job, e, m) */
	bool tickets;		    /* an engine is a scheduler, and a worker for each plane */
	uint32_t procs;
	uint32_t in_flight;
	uint32_t abort;		/* of 100 requests, so many are aborted */
	uint64_t claim_timeout; /* ns; 0: none */
	uint64_t kill_every;	/* ns; 0: no kills */
	uint64_t duration;	/* ns; 0: once through the trace */
};

/* Processes of an engine, and of all. Process n is of engine n / replay_team(job). Member 0 of each is the one that
 * takes requests (with tickets the scheduler); then come the workers of its planes, if it has any, from 1; the last is
 * its decoder. */
static inline uint32_t replay_team(const struct replay_job *job)
{
	return job->tickets ? 2 + job->geometry.planes : 2;
}

static inline size_t replay_pair(const struct replay_job *job, uint32_t engine, uint32_t member)
{
	return (size_t)engine * (replay_team(job) - 1) + member - 1;
}

static inline uint32_t replay_processes(const struct replay_job *job)
{
	return job->procs * replay_team(job);
}

/* How many blocks of a request of so many ids to take at a time. One that is longer than the store can't be held
 * whole. */
static inline size_t replay_piece_length(const struct replay_job *job, size_t ids)
{
	size_t share = job->geometry.blocks / job->procs;

	if (ids <= job->geometry.blocks)
		return ids;
	return share ? share : 1;
}

/* The time of CLOCK_MONOTONIC in ns. */
static inline uint64_t replay_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000 * REPLAY_MS + (uint64_t)time.tv_nsec;
}

/* What engines count. */
struct replay_tally {
	uint64_t requests; /* of the trace, that have been read whole by a decoder, and have ended */
	uint64_t block_refs; /* ids of these */
	uint64_t hits;	   /* of these ids: the key was there, or being filled, when it was first asked for */
	uint64_t filled;
	uint64_t waited;
	uint64_t given_up;
	/* of requests in the store: */
	uint64_t completed;
	uint64_t claimed;
	uint64_t aborted_by_owner;
	uint64_t aborted_by_other;
	uint64_t rooms_waited; /* reservations that had to wait in line */
	uint64_t rooms_timed_out;
	uint64_t room_wait;	/* ns, of all that waited */
	uint64_t room_wait_max; /* ns, of one */
	/* with tickets: */
	uint64_t held;	   /* by workers, by ticket */
	uint64_t joined;   /* planes of fills that workers wrote */
	uint64_t asked_again;
};

struct replay_result {
	struct replay_tally tally;
	uint64_t evicted;
	uint64_t unclaimed;
	uint64_t killed;
	uint64_t killed_filling;
	uint64_t killed_holding;
	uint64_t killed_scheduler;
	uint64_t killed_worker;
	uint64_t killed_decoder;
	uint64_t missed_at_worker;
	uint64_t missed_at_decoder;
	uint64_t corrupt;
	uint64_t leaked;
	double seconds;
	int interrupted; /* the signal that ended the replay early, or 0 */
};

/* Runs the engines until all have ended. The caller has blocked SIGCHLD, SIGINT, SIGTERM and SIGHUP. False, with a
 * message: an engine failed. */
bool replay_run(struct replay_job *job, struct replay_result *result);

/* The whole life of an engine without workers, in a process of its own. Returns its exit status. */
int replay_engine(const struct replay_job *job, uint32_t number, uint64_t seed);

/* The same for an engine's scheduler and for the worker of a plane. life differs for each process that is started at
 * the place, and grows; it is never 0. */
int replay_scheduler(const struct replay_job *job, uint32_t engine, uint32_t life, uint64_t seed);
int replay_worker(const struct replay_job *job, uint32_t engine, unsigned plane, uint32_t life, uint64_t seed);

/* The same for the process that claims an engine's requests. */
int replay_decoder(const struct replay_job *job, uint32_t engine, uint64_t seed);

/* Looks for what has leaked, in a fresh process, once everyone has ended and the dead are recovered. False, with a
 * message: it could not be done. */
bool replay_inspect(const struct replay_job *job, uint64_t *leaked);

/* What is said of a result: a count, or a fraction with so many decimals. */
struct replay_value {
	const char *name;
	const char *remark; /* for people */
	uint64_t count;
	double fraction;
	int decimals;
};

/* Prints values, as a table or as a JSON object. False, with a message: it did not get to where it should. */
bool replay_print_values(const struct replay_value *values, unsigned count, bool json);

/* Prints the result. False, with a message: it did not get to where it should. */
bool replay_print(const struct replay_job *job, const struct replay_result *result, bool json);

#endif /* REPLAY_H */
