/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * deeds.h: the operations of the library, each with what it needs before and one call that is watched, on a small
 * store in which a survivor has one of everything. A deed is done by a child that may be stopped, or killed, after any
 * instruction of the call.
 *
 * Keys, by number, in a store that is kept (in one that drops, those that nobody holds are not there):
 *   0 ready, the survivor has a ref    1 ready, it has a pin    2 it is filling it
 *   3 a shared fill of the survivor's; it writes plane 0, and nobody plane 1    4 it holds its last bytes: removed
 *   5, 6, 7 ready    8 to 11 not there, for deeds to fill    12 and more: what makes the store full
 * Beside these the survivor has a block without a key, and requests: one that is open, with key 1 and room for a block;
 * one that is complete, with key 0; and one that is closed.
 */
#ifndef DEEDS_H
#define DEEDS_H

#include "../torture/load.h"
#include "step.h"

#define DEEDS_BLOCKS 16U
#define DEEDS_PLANES 2U
#define DEEDS_CLIENTS 6U
#define DEEDS_REQUESTS 10U
#define DEEDS_HANDLES 4U
#define DEEDS_FULL 12U /* the first of the keys that make the store full */

/* What the survivor gives the victim: tickets, */
enum deeds_ticket { TICKET_READY, TICKET_SHARED, TICKET_DOOMED, TICKET_STALE, TICKETS };

/* and its requests, in the order of their slots. And the ids of all. */
enum deeds_request { REQUEST_CLOSED, REQUEST_OPEN, REQUEST_COMPLETE, REQUESTS };
#define DEEDS_CLOSED "closed"
#define DEEDS_OPEN "open"
#define DEEDS_COMPLETE "complete"
#define DEEDS_VICTIM "victim"
#define DEEDS_CORPSE "corpse"
#define DEEDS_RIVAL "rival"

/* Shared by the test and the victim. */
struct deeds_stage {
	struct load_books books;
	struct step step;
	struct kvshm_ticket tickets[TICKETS];
	struct kvshm_request requests[REQUESTS];
	uint64_t may_change; /* keys that the deed is about */
	bool may_end;	     /* it is about the survivor's requests */
	uint32_t slot;	     /* the victim's, before the deed; KVSHM_NO_SLOT: none */
	uint32_t corpse;     /* the slot of one who died before */
	int rc;		     /* what it came to */
};

struct deeds_victim {
	const char *name; /* of the store */
	const struct deed *deed;
	struct deeds_stage *stage;
	struct load_worker work;
	struct load_hold holds[DEEDS_BLOCKS];
	unsigned count; /* of these */
	struct kvshm_handle handles[DEEDS_HANDLES]; /* what the watched call is given, or gives */
	struct kvshm_meta metas[DEEDS_HANDLES];
	struct kvshm_ticket tickets[DEEDS_HANDLES];
	struct kvshm_request request;
};

enum deeds_where { DEEDS_EVERYWHERE, DEEDS_KEEP, DEEDS_DROP };

struct deed {
	const char *name;
	void (*prepare)(struct deeds_victim *victim); /* NULL: nothing */
	int (*act)(struct deeds_victim *victim);      /* the one call */
	int rc;		/* what it comes to where nobody is in its way */
	enum deeds_where where;
	bool attaches;	/* by itself */
	bool one_step;	/* all of its keys change at once */
	bool any_key;	/* it may take any key away that nobody holds */
};

/* The lists: deeds_list.c, deeds_requests.c; and one after the other of both, from 0: NULL is their end. */
extern const struct deed deeds_of_keys[], deeds_of_requests[];
extern const unsigned deeds_of_keys_count, deeds_of_requests_count;
const struct deed *deeds_one(unsigned number);

/* The survivor. */
struct deeds_survivor {
	struct load_worker work;
	struct load_hold ref, pin, fill, shared, part, doomed, owned;
};

/* Attaches, and takes one of everything. The victim gets its tickets. */
void deeds_survive(struct deeds_survivor *survivor, const char *name, struct deeds_stage *stage, bool drop);

/* Lets go of everything, each with the answer that it must get: what the deed was about may have gone. */
void deeds_let_go(struct deeds_survivor *survivor, const struct deeds_stage *stage);

/* A child's body: prepares, and does the deed, watched. */
void deeds_do(void *victim);

/* A client that takes one of everything, and dies; returns the slot that it had. Its fill is of key 11. */
uint32_t deeds_die(const char *name, struct deeds_stage *stage);

/* One that dies in the line for room, first in it, with all that was idle. */
void deeds_die_in_line(const char *name, struct deeds_stage *stage);

#endif
