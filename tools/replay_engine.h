/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_engine.h: an engine without workers, from the inside: what it holds for each request, and how far it is with
 * each key of the request that it replays now. replay_engine.c takes requests and finds room for them; replay_steps.c
 * does the work.
 */
#ifndef REPLAY_ENGINE_H
#define REPLAY_ENGINE_H

#include "replay_client.h"

/* What is to be done next for a key. */
enum step {
	STEP_ASK,
	STEP_FILL,
	STEP_WAIT,
	STEP_READ,
	STEP_DONE,
};

/* A request that is being replayed, or held while newer ones are. */
struct request {
	struct kvshm_handle *handles; /* KVSHM_NONE where nothing is held */
	size_t room;
	size_t count;		      /* of handles */
	size_t ids, hits;	      /* to be counted when the request ends, */
	bool replayed;		      /* if it got so far */
};

struct engine {
	struct client client;
	struct request *requests; /* a ring of job->in_flight */
	uint64_t taken;		  /* requests that this engine has taken; request n is requests[n % in_flight] */
	/* of the request that is being replayed, by position */
	uint8_t (*keys)[REPLAY_KEY_SIZE];
	struct kvshm_key *names;  /* of keys */
	uint8_t *steps;		  /* enum step */
	uint8_t *answers;	  /* enum answer */
};

/* A piece of a request: all of it, but for one that is longer than the store. */
struct piece {
	struct request *request;  /* its handle 0 is for position `first` */
	size_t first;
	size_t count;
};

/* Takes, fills and compares all blocks of a piece. When it fails, the request still holds what it has.
 *   -ENOSPC  no room now     -EINTR  the replay is to stop     else: it has said what is wrong */
int engine_replay_piece(struct engine *engine, const struct piece *piece);

/* Lets go of all that a request holds. Its unfinished fills are given up. */
int engine_let_go(struct engine *engine, struct request *request);

#endif /* REPLAY_ENGINE_H */
