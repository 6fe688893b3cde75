/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_scheduler.h: a scheduler from the inside: what it has for each request in flight, and how far each of its
 * blocks is with each worker. replay_scheduler.c writes and reads letters; replay_phases.c takes requests and leads
 * them through their life; replay_items.c does what is to be done for their blocks, and judges what the workers answer.
 */
#ifndef REPLAY_SCHEDULER_H
#define REPLAY_SCHEDULER_H

#include "replay_request.h"

/* What the store said of a block when it was last asked for. */
enum asked {
	ASKED_READY,
	ASKED_PENDING,
	ASKED_FILL,
};

/* A block of a request. It is done when all workers have answered, and it is whole. */
struct item {
	struct kvshm_handle hold; /* the request's */
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
	PHASE_FREE,	/* no request is here, or only in the decoder's hands */
	PHASE_WAITING,	/* a piece of it is to be begun: nothing is held */
	PHASE_LINE,	/* it waits for room; the prefix that was matched is held for a while */
	PHASE_WORKING,	/* the request holds every block of the piece, workers have not answered for all */
	PHASE_HELD,	/* it is complete, and the decoder's to read */
	PHASE_ENDING,	/* nothing is held here, workers or decoder have not all let go; then comes `next` */
};

/* A request in flight. It is worked on in pieces: all of it, but for one that is longer than the store. */
struct request {
	struct stored stored;
	struct dealt dealt;
	struct item *items; /* of the piece */
	uint8_t *answers;   /* enum answer, for each id of the request */
	size_t room;	    /* ids of the longest request that these do for */
	size_t first, count; /* the piece */
	size_t ready;	    /* of it, matched */
	size_t open;	    /* items that are not done */
	size_t unpublished; /* fills whose part the scheduler has still to publish */
	enum phase phase, next;
	bool decoded;	    /* the piece was */
	uint32_t unsent;    /* planes whose worker is to be told of an item, or of the end */
	uint32_t awaited;   /* PHASE_ENDING: planes whose worker has not let go */
	uint32_t attempt;   /* at this piece, and when the first one was begun */
	uint64_t begun;
	uint64_t give_way;  /* PHASE_LINE: when what was matched is let go of */
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
	struct kvshm_handle *holds; /* of a match */
	int line;		  /* what tells of room, once somebody has waited for it; else -1 */
	uint64_t *filling;	  /* the life of each block that this engine began to fill last */
	struct letter letter;
};

/* The request that was taken so many requests ago: the last one has age 1. */
static inline struct request *request_of_age(const struct scheduler *scheduler, uint64_t age)
{
	return &scheduler->requests[(scheduler->taken - age) % scheduler->client.job->in_flight];
}

/* How many of the ring's places have ever been taken. */
static inline uint64_t ages(const struct scheduler *scheduler)
{
	uint64_t in_flight = scheduler->client.job->in_flight;

	return in_flight < scheduler->taken ? in_flight : scheduler->taken;
}

/* Makes the room that a request needs. -ENOMEM, and it was said. */
int items_make_room(struct scheduler *scheduler, struct request *request);

/* Holds the ready prefix of the request's next piece, whose request is open, and asks for room for the rest.
 *   -EINPROGRESS  it is in line      -ECANCELED  the request was aborted
 *   -ETIMEDOUT    there is no room   else: it has said what is wrong */
int items_begin(struct scheduler *scheduler, struct request *request);

/* Goes to the end of the line, without the prefix.   As items_begin() */
int items_give_way(struct scheduler *scheduler, struct request *request);

/* There is room. Holds each block of the piece.   -ECANCELED, -ENOSPC  as above */
int items_ask(struct scheduler *scheduler, struct request *request);

/* Publishes the scheduler's own part of the piece's fills. -ECANCELED: the request was aborted. */
int items_publish(struct scheduler *scheduler, struct request *request);

/* Notes a worker's answer, and judges the block if it is the last one.   -ECANCELED, -ENOSPC  as above */
int items_answer(struct scheduler *scheduler, struct request *request, const struct letter_item *answer,
		 unsigned plane);

/* The request has ended, and holds nothing. */
void items_forget(struct scheduler *scheduler, struct request *request);

/* Looks at all that is in flight, in the store and on the board; begins what can be begun, and ends what is to end. */
int phases_look_at_all(struct scheduler *scheduler);
int phases_advance(struct scheduler *scheduler);

/* What the last step of a request came to (0, -ECANCELED, -ENOSPC, -ETIMEDOUT; other errors are returned): it goes on,
 * is over, or is tried again. */
int phases_went(struct scheduler *scheduler, struct request *request, int rc);

/* Has everybody let go of a request that ends? Then comes its next phase. */
void phases_ended(struct scheduler *scheduler, struct request *request);

/* The oldest request that is to be begun, or that waits in line. */
struct request *phases_starved(const struct scheduler *scheduler);

#endif /* REPLAY_SCHEDULER_H */
