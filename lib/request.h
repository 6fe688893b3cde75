/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * request.h: what a process keeps of the requests that it owns: the list of their holds, and their room. The segment
 * has the rest (shm/requests.h); and the holds themselves, as counts of this client's, so that nothing here outlasts
 * it.
 *
 * Guarantees: what a request holds ends once, whoever ends it (R04): under its lock, by who finds it open. The lock is
 * of this process alone, is never held while anything is waited for, and by no thread that can die alone. A record
 * stays until detach, so that a late call finds that its request is over.
 */
#ifndef KVSHM_REQUEST_H
#define KVSHM_REQUEST_H

#include <pthread.h>

#include "keys.h"
#include "requests.h"
#include "room.h"

/* One hold of a request: a block is in its list once. */
enum kvl_hold_kind {
	KVL_EMPTY = 0,
	KVL_PIN,  /* counted as a pin */
	KVL_REF,  /* counted as a ref: this client has too many pins of the block */
	KVL_FILL, /* its own fill, under way: counted as a ref, its writer's until it is published or given up */
	KVL_LEFT, /* let go of; stands in for a chain of the table */
};

struct kvl_hold {
	uint64_t life;
	uint32_t block;
	uint8_t kind;
	bool ready;  /* it was seen so: which it stays while it is held */
	bool filled; /* by the request; or its room for it was used up without */
	bool own;    /* it was the request's own fill, which is published */
	bool kept;   /* kvshm_request_keep() was given it: false outside of that call */
};

struct kvl_request {
	pthread_mutex_t lock;
	struct kvshm_store *store;
	uint64_t number; /* of the request that it is for */
	uint32_t slot;
	bool open; /* that one has not been let go of */
	struct kvs_room room;
	uint64_t queued;	/* when it went into the line; 0: it is in none */
	struct kvl_hold *holds; /* a table, by the block's number */
	uint32_t size, used;	/* of the table: places, and those that are not KVL_EMPTY */
	uint32_t held, fills;	/* pins and refs; and fills */
	uint32_t unready;	/* of those held: how many were not seen ready yet */
};

/* This client's record of what it last opened in a slot; NULL: nothing yet. */
static inline struct kvl_request *kvl_request_record(const struct kvshm_store *store, uint32_t slot)
{
	return atomic_load_explicit(&store->requests[slot], memory_order_acquire); /* [record: find] */
}

/* How an owner's call with a request begins: *own is locked, open, and its end was not asked for. Where it was, what
 * can be is let go of, and -ECANCELED returned; -EUCLEAN the same, where the segment says that it is not this client's;
 * else -EPERM, -EBADF. */
int kvl_request_begin(kvshm_store *store, const struct kvshm_request *request, struct kvs_actor *actor,
		      struct kvl_request **own);

/* Its lock. Under it the log waits: else a callback that waits for another thread, as all of Python do for the
 * interpreter lock, would wait for ever for one that waits for this lock. */
void kvl_request_enter(struct kvl_request *own);
void kvl_request_leave(struct kvl_request *own);

/* How any call with one begins, its owner's or not; *word is the request's. */
int kvl_request_look(kvshm_store *store, const struct kvshm_request *request, struct kvs_actor *actor, uint64_t *word);

/* "It has ended", in words: -ECANCELED. */
int kvl_request_ended(uint64_t word);

/* Is a request that this process has open, locked, still so in the segment? 0; -ECANCELED: its end has come, or was
 * asked for; -EUCLEAN: it is not this client's any more, which is counted. */
int kvl_request_judge(const struct kvs_actor *actor, const struct kvl_request *own);

/* Tells people in the segment what the request has now. */
void kvl_request_tell(const struct kvl_request *own);

/* Lets go of a request that is over: of its fills too, or else it is closed when the last of them has ended. Locked. */
void kvl_request_let_go(const struct kvs_actor *actor, struct kvl_request *own, bool fills);

/* Is there a reason not to sleep on: a truncated segment, a destroyed store? Recovers the dead. In request_room.c. */
int kvl_request_look_around(kvshm_store *store);

/* Gives back the room of a request, or its place in the line, locked. In request_room.c. */
void kvl_request_give_room_back(const struct kvs_actor *actor, struct kvl_request *own);

/* Where a block's search in a list begins: a multiplicative hash (Knuth, The Art of Computer Programming 3, 6.4), of
 * which the high bits are taken. */
static inline uint32_t kvl_hold_place(uint32_t block, uint32_t size)
{
	return (uint32_t)((block * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (size - 1);
}

/* Finds a block's entry in the list, or NULL. Inline: a match asks for each key. */
static inline struct kvl_hold *kvl_request_find_hold(const struct kvl_request *own, uint32_t block)
{
	if (!own->size)
		return NULL;
	for (uint32_t at = kvl_hold_place(block, own->size);; at = (at + 1) & (own->size - 1)) {
		struct kvl_hold *hold = &own->holds[at];

		if (hold->kind == KVL_EMPTY)
			return NULL;
		if (hold->block == block && hold->kind != KVL_LEFT)
			return hold;
	}
}

/* Makes place in it for that many more (-ENOMEM); adds one, in place that was made. In request_holds.c. */
int kvl_request_make_place(struct kvl_request *own, size_t more);
struct kvl_hold *kvl_request_add_hold(struct kvl_request *own, uint32_t block, uint64_t life, enum kvl_hold_kind kind);

/* The ref that was taken of a block becomes the request's hold: its pin, where there may be one more. */
enum kvl_hold_kind kvl_request_turn(const struct kvs_actor *actor, uint32_t block, uint64_t life);

static inline bool kvl_hold_is_held(const struct kvl_hold *hold)
{
	return hold->kind == KVL_PIN || hold->kind == KVL_REF;
}

/* Looks at a hold that was not seen ready: 0: it is; -EAGAIN: not yet, with its block's word; -ECANCELED: it has
 * failed, and ended. In request_wait.c. */
int kvl_request_judge_hold(const struct kvs_actor *actor, struct kvl_request *own, struct kvl_hold *hold,
			   uint64_t *word);

/* A hold was seen ready: nobody has to fill its block any more. */
void kvl_request_see_ready(const struct kvs_actor *actor, struct kvl_request *own, struct kvl_hold *hold);

/* Ends one hold, and its entry. */
void kvl_request_drop_hold(const struct kvs_actor *actor, struct kvl_request *own, struct kvl_hold *hold);

/* Does its request still have the hold that a handle was lent of? And: what it waited for has failed: the hold ends,
 * and the handle. In request_keys.c. */
bool kvl_request_has(kvshm_store *store, const struct kvshm_handle *lent);
void kvl_request_failed(const struct kvs_actor *actor, kvshm_store *store, struct kvshm_handle *lent);

/* The end of a fill of a request's, instead of that of others. In request_keys.c. */
int kvl_request_publish(const struct kvs_actor *actor, kvshm_store *store, struct kvshm_handle *handle,
			const struct kvshm_meta *meta);
int kvl_request_give_up(const struct kvs_actor *actor, kvshm_store *store, struct kvshm_handle *handle);

/* A fill of a request's is to be published (or given up) when a stream gets there: it is none of the request's any
 * more. *kept is a fill of none, with a hold of its own; and handle what it will be, a pending hold of the request's
 * (or none). Where the request is over, it is as for one that is given up, and -ECANCELED returned. -EBADF, -EMFILE:
 * nothing was changed, and *kept is no hold. In request_keys.c. */
int kvl_request_hand_over(const struct kvs_actor *actor, kvshm_store *store, struct kvshm_handle *handle, bool publish,
			  struct kvshm_handle *kept);

/* kvshm_request_end(), by any actor; and may it be put off? In request.c. */
int kvl_request_end(const struct kvs_actor *actor, kvshm_store *store, const struct kvshm_request *request);
int kvl_request_check_end(const struct kvs_actor *actor, kvshm_store *store, const struct kvshm_request *request);

/* The value that names a request, by its slot and the word that it was seen with. */
static inline struct kvshm_request kvl_request_value(uint64_t incarnation, uint32_t slot, uint64_t word)
{
	return (struct kvshm_request){.number = kvs_request_number(word), .slot = slot, .store = (uint32_t)incarnation};
}

/* Owner: as many blocks make it complete as it holds now: keys that were asked for twice are held once. No fill of its
 * own may be under way. In request_wait.c. */
int kvl_request_expect_held(kvshm_store *store, const struct kvshm_request *request);

/* What a request is, as people are told, from its slot, mapped or copied, and the word that it was seen with; all but
 * whether its owner lives. places: those of all requests; now: when ages are told for. In request_info.c. */
struct kvl_request_place {
	const _Atomic uint64_t *all;
	uint32_t slot, requests;
	uint64_t incarnation; /* of the store */
	uint64_t now;
};
void kvl_request_describe(const struct kvs_request *from, uint64_t word, const struct kvl_request_place *places,
			  struct kvshm_request_info *to);

/* At attach and detach. */
int kvl_requests_make(kvshm_store *store);
void kvl_requests_end(const struct kvs_actor *actor, kvshm_store *store);
void kvl_requests_free(kvshm_store *store);

#endif
