/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_scheduler.h: a scheduler from the inside: what it has for each request in flight, and how far each of its
 * blocks is with each worker. replay_scheduler.c takes requests, writes and reads letters; replay_items.c does what is
 * to be done with the store, and judges what the workers answer.
 */
#ifndef REPLAY_SCHEDULER_H
#define REPLAY_SCHEDULER_H

#include "replay_client.h"

/* What the store said of a block when it was last asked for. */
enum asked {
	ASKED_READY,
	ASKED_PENDING,
	ASKED_FILL,
};

/* A block of a request. It is done when all workers have answered, and it is whole. */
struct item {
	struct kvshm_handle hold; /* the scheduler's own */
	struct kvshm_ticket ticket;
	uint32_t unsent;   /* planes whose worker is still to be told, a bit each */
	uint32_t awaited;  /* planes whose worker has not answered yet, unsent ones too */
	uint8_t asked;	   /* enum asked */
	bool done;
	/* what a worker has answered: */
	bool read;	   /* it was whole */
	bool canceled;	   /* its fill came to nothing */
	bool stale;	   /* the ticket was refused */
};

enum phase {
	PHASE_FREE,	/* no request is here */
	PHASE_WAITING,	/* a piece of it is to be begun, at the time `again`: nothing is held */
	PHASE_WORKING,	/* the scheduler holds every block of the piece, workers have not answered for all */
	PHASE_HELD,	/* all is done */
	PHASE_ENDING,	/* nothing is held here, workers have not all let go; then comes `next` */
};

/* A request in flight. It is worked on in pieces: all of it, but for one that is longer than the store. */
struct request {
	struct dealt dealt;
	struct item *items; /* of the piece */
	uint8_t *answers;   /* enum answer, for each id of the request */
	size_t room;	    /* ids of the longest request that these do for */
	size_t first, count; /* the piece */
	size_t open;	    /* items that are not done */
	size_t unpublished; /* fills whose part the scheduler has still to publish */
	enum phase phase, next;
	uint32_t unsent;    /* planes whose worker is to be told of an item, or of the end */
	uint32_t awaited;   /* PHASE_ENDING: planes whose worker has not let go */
	unsigned tries;	    /* that found no room */
	uint64_t again;
};

struct scheduler {
	struct client client;
	const int (*mail)[2];	  /* the pairs of its workers */
	uint32_t engine, life;
	uint32_t lives[KVSHM_PLANES_MAX]; /* of the workers; 0: has not said HELLO */
	uint32_t all;		  /* a bit for each plane */
	uint32_t unmet;		  /* planes whose worker is to be told of this scheduler */
	uint32_t full;		  /* planes whose socket had no room when last tried */
	struct request *requests; /* a ring of job->in_flight */
	uint64_t taken;		  /* request n is requests[n % in_flight] */
	uint32_t next;		  /* the place of the next one */
	bool no_more;		  /* the trace is dealt, or the replay is to stop */
	int idle;		  /* ms in which nothing was heard or begun */
	uint8_t (*keys)[REPLAY_KEY_SIZE]; /* of the piece that is being asked for */
	struct kvshm_key *names;  /* of keys */
	struct kvshm_handle *holds; /* of the match */
	uint64_t *filling;	  /* the life of each block that this engine began to fill last */
	struct letter letter;
};

/* Makes the room that a request needs. -ENOMEM, and it was said. */
int items_make_room(struct scheduler *scheduler, struct request *request);

/* Holds each block of the request's next piece. -ENOSPC: there is no room now, and nothing is held. Else it has said
 * what is wrong. */
int items_ask(struct scheduler *scheduler, struct request *request);

/* Publishes the scheduler's own part of the piece's fills. */
int items_publish(struct scheduler *scheduler, struct request *request);

/* Notes a worker's answer, and judges the block if it is the last one. -ENOSPC: it was to be asked for again, and there
 * is no room. */
int items_answer(struct scheduler *scheduler, struct request *request, const struct letter_item *answer,
		 unsigned plane);

/* Lets go of all that the scheduler holds for the request. */
int items_let_go(struct scheduler *scheduler, struct request *request);

#endif /* REPLAY_SCHEDULER_H */
