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

#include "kvshm.h"
#include "replay_trace.h"

struct replay_board;

struct replay_job {
	const char *store;
	const char *dir;
	struct replay_trace trace;
	struct kvshm_geometry geometry;
	struct replay_board *board; /* shared by parent and engines */
	uint32_t procs;
	uint32_t in_flight;
	uint64_t kill_every; /* ns; 0: no kills */
	uint64_t duration;   /* ns; 0: once through the trace */
};

/* What engines count. */
struct replay_tally {
	uint64_t requests; /* that have ended */
	uint64_t block_refs; /* ids of these */
	uint64_t hits;	   /* of these ids: the key was there, or being filled, when it was first asked for */
	uint64_t filled;
	uint64_t waited;
	uint64_t given_up;
};

struct replay_result {
	struct replay_tally tally;
	uint64_t evicted;
	uint64_t killed;
	uint64_t killed_filling;
	uint64_t killed_holding;
	uint64_t corrupt;
	uint64_t leaked;
	double seconds;
	int interrupted; /* the signal that ended the replay early, or 0 */
};

/* Runs the engines until all have ended. The caller has blocked SIGCHLD, SIGINT, SIGTERM and SIGHUP. False, with a
 * message: an engine failed. */
bool replay_run(struct replay_job *job, struct replay_result *result);

/* An engine's whole life, in a process of its own. Returns its exit status. */
int replay_engine(const struct replay_job *job, unsigned number, uint64_t seed);

/* Looks for what has leaked, in a fresh process, once everyone has ended and the dead are recovered. False, with a
 * message: it could not be done. */
bool replay_inspect(const struct replay_job *job, uint64_t *leaked);

/* Prints the result. False, with a message: it did not get to where it should. */
bool replay_print(const struct replay_result *result, bool json);

#endif /* REPLAY_H */
