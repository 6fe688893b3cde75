/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_engine.h: an engine without workers, from the inside: its requests in flight, and how far it is with each key
 * of the request that it works on now. replay_engine.c takes requests, finds room for them and ends them;
 * replay_steps.c does the work.
 */
#ifndef REPLAY_ENGINE_H
#define REPLAY_ENGINE_H

#include "replay_request.h"

/* What is to be done next for a key. */
enum step {
	STEP_ASK,
	STEP_FILL,
	STEP_WAIT,
	STEP_READ,
	STEP_DONE,
};

/* A request that is being worked on, or in flight while newer ones are. */
struct request {
	struct stored stored;
	uint32_t held;	  /* blocks, as on the board */
	size_t ids, hits; /* to be counted when the request has ended, */
	bool replayed;	  /* if it got so far */
};

struct engine {
	struct client client;
	struct request *requests; /* a ring of job->in_flight */
	uint64_t taken;		  /* requests that this engine has taken; request n is requests[n % in_flight] */
	/* of the request that is being worked on, by position */
	uint8_t (*keys)[REPLAY_KEY_SIZE];
	struct kvshm_key *names;  /* of keys */
	struct kvshm_handle *handles;
	enum kvshm_outcome *outcomes;
	int *results;
	uint8_t *steps;		  /* enum step */
	uint8_t *answers;	  /* enum answer */
};

/* A piece of a request: all of it, but for one that is longer than the store. */
struct piece {
	struct request *request;
	const struct dealt *dealt;
	size_t first;
	size_t count;
};

/* Matches, reserves, fills, completes and compares the blocks of a piece, whose request is open.
 *   -ETIMEDOUT, -ENOSPC  no room by the deadline    -ECANCELED  the request was aborted
 *   -EINTR  the replay is to stop                   else: it has said what is wrong */
int engine_replay_piece(struct engine *engine, const struct piece *piece);

/* Waits in line until there is room for the request, or until `until`: -EINPROGRESS; else as request_look_for_room().
 * Older requests are brought to their end meanwhile. */
int engine_wait_for_room(struct engine *engine, struct request *request, uint64_t until);

/* Shows so many blocks more as held. */
void engine_holds(struct engine *engine, struct request *request, size_t blocks);

#endif /* REPLAY_ENGINE_H */
