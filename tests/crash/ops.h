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

/* Shared with the victim. */
struct ops_stage {
	struct load_books books;
	_Atomic uint64_t rounds;   /* it has begun so many */
	_Atomic uint64_t round_ns; /* the last one took so long */
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
};

extern const struct ops_kind ops_kinds[];
extern const unsigned ops_count;

/* A child's body: rounds of its kind, until it is killed or the stage's books say stop. */
void ops_run(void *arg);

/* Starts a victim on an empty stage, and returns when it is inside its first rounds. random: for its choices. */
pid_t ops_start(struct ops_victim *victim, uint64_t random);

/* Burns a random time in which the victim gets about two rounds further at most. */
void ops_aim(const struct ops_stage *stage, uint64_t *random);

/* A key, held by the worker; filled by it if it is missing. False if there is no room, another is filling it, or it was
 * removed meanwhile. */
bool ops_take(struct load_worker *worker, unsigned key, struct load_hold *hold);

/* Has every key that has room. */
void ops_prefill(struct load_worker *worker);

/* Takes a few refs, a pin and a fill, and keeps them. */
void ops_hold_things(struct load_worker *worker);

/* Every key is whole, or absent: nothing is being filled. */
void ops_look_at_keys(struct load_worker *worker);

/* The survivor uses the store for a key that it alone asks for: was there room? */
bool ops_use(struct load_worker *worker);

/* The store is whole: every block can be filled in every plane, and read. By a client of its own. */
void ops_use_all(const char *name, struct load_books *books);

#endif
