/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * ops.h: what the crash programs let a victim do: one kind of call after another, on a store of keys that the load's
 * writer and verifier know. A victim says how far it is, so that it can be struck inside of a call.
 */
#ifndef OPS_H
#define OPS_H

#include "../torture/load.h"

#define OPS_BLOCKS 24U
#define OPS_KEYS 64U		 /* more than there are blocks */
#define OPS_AWAITED OPS_KEYS	 /* a key that only the survivor fills */
#define OPS_FRESH (OPS_KEYS + 1) /* one that only the survivor asks for; others follow */
#define OPS_SHARED (OPS_KEYS + 100) /* one that the survivor fills together with the victim; others follow */
#define OPS_SHARES 6U
#define OPS_GIVEN 4U
#define OPS_WRITING 3000 /* ns: real blocks are larger, and deaths in a fill more frequent */

/* A fill that the survivor began, and whose planes the victim writes. */
struct ops_share {
	struct load_hold hold; /* the filler's */
	struct kvshm_ticket ticket;
	_Atomic uint32_t tried, done; /* planes that the victim began with, and that it has published */
	_Atomic bool failed;	      /* it has given one up */
};

/* A block that the survivor holds, and whose ticket the victim has. */
struct ops_given {
	struct load_hold hold;
	struct kvshm_ticket ticket;
};

/* Shared with the victim. */
struct ops_stage {
	struct load_books books;
	_Atomic uint64_t rounds;   /* it has begun so many */
	_Atomic uint64_t round_ns; /* the last one took so long */
	struct ops_share share[OPS_SHARES];
	struct ops_given given[OPS_GIVEN];
	unsigned shares, givens; /* how many there are */
	struct kvshm_request request; /* of the survivor's, complete, with keys 0 to OPS_GIVEN - 1 */
	bool lent;		      /* there is one */
	_Atomic bool asked;	      /* the victim asks for its end */
};

struct ops_victim {
	const char *name; /* of the store */
	const struct ops_kind *kind;
	struct ops_stage *stage;
	struct load_worker work;
};

struct ops_kind {
	const char *name;
	void (*round)(struct ops_victim *victim);
	bool attaches; /* by itself */
	bool awaits;   /* OPS_AWAITED, which the survivor is to fill */
	bool gives;    /* the survivor is to give out tickets, and to hold their blocks */
	bool shares;   /* the survivor is to begin shared fills */
	bool lends;    /* the survivor is to have a request that is complete */
	bool clears;   /* no key that was there is found afterwards */
};

extern const struct ops_kind ops_kinds[];
extern const unsigned ops_count;

/* A child's body: rounds of its kind, until it is killed or the stage's books say stop. */
void ops_run(void *arg);

/* Starts a victim on an empty stage, and returns when it is inside its first rounds. random: for its choices. */
pid_t ops_start(struct ops_victim *victim, uint64_t random);

/* Burns a random time in which the victim gets about two rounds further at most. */
void ops_aim(const struct ops_stage *stage, uint64_t *random);

/* The calls on a numbered key. */
int ops_ask(struct load_worker *worker, unsigned key, enum kvshm_outcome *outcome, struct load_hold *hold);
int ops_ask_shared(struct load_worker *worker, unsigned key, enum kvshm_outcome *outcome, struct load_hold *hold);
int ops_get(struct load_worker *worker, unsigned key, struct load_hold *hold);
unsigned ops_any(struct load_worker *worker);

/* Ends a hold of any kind. */
void ops_let_go(struct load_worker *worker, struct load_hold *hold);

/* Writes and publishes a fill. False if the key was removed, or the store cleared, meanwhile. */
bool ops_publish(struct load_worker *worker, struct load_hold *hold);

/* A key, held by the worker; filled by it if it is missing. False if there is no room, another is filling it, or it was
 * removed meanwhile. */
bool ops_take(struct load_worker *worker, unsigned key, struct load_hold *hold);

/* Has every key that has room. */
void ops_prefill(struct load_worker *worker);

/* Takes a few refs, a pin, a fill, a shared one with a part, and a block without a key, and keeps them. */
void ops_hold_things(struct load_worker *worker);

/* Every key is whole, or absent: nothing is being filled. Returns how many there are. */
unsigned ops_look_at_keys(struct load_worker *worker);

/* The survivor uses the store for a key that it alone asks for: was there room? */
bool ops_use(struct load_worker *worker);

/* The store is whole: every block can be filled in every plane, and read. By a client of its own. */
void ops_use_all(const char *name, struct load_books *books);

/* ---- ops_shared.c: what the survivor and the victim do together ---- */

/* The survivor begins what a victim of the kind needs; and ends it when the victim is dead or gone: a fill that the
 * victim wrote a part of is whole in every plane, or cancelled (R27), and not cancelled without a reason, if nobody
 * else may have removed it (alone). */
void ops_set_out(struct load_worker *worker, struct ops_stage *stage, const struct ops_kind *kind);
void ops_clear_away(struct load_worker *worker, struct ops_stage *stage, bool alone);

/* The victim holds one of the blocks whose tickets it was given. */
void ops_hold_given(struct load_worker *worker, struct ops_stage *stage);

/* The victim writes a plane of one of the fills that were begun for it; nothing if there is none left. */
void ops_write_share(struct load_worker *worker, struct ops_stage *stage);

/* Fills a block in parts, all of them one's own, in any order; or gives up one of them. */
void ops_fill_shared(struct load_worker *worker, struct load_hold *hold);

/* ---- ops_requests.c ---- */

/* The victim's rounds: a request's whole life; room; and claims of the request that the survivor lends. */
void ops_round_request(struct ops_victim *victim);
void ops_round_room(struct ops_victim *victim);
void ops_round_claim(struct ops_victim *victim);

/* The survivor lends one, and ends it. */
void ops_lend(struct load_worker *worker, struct ops_stage *stage);
void ops_take_back(struct load_worker *worker, struct ops_stage *stage);

/* No request of the victim's is open any more: the survivor opens their ids. */
void ops_use_requests(struct load_worker *worker);

#endif
