/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * request_wait.c: waiting until a request is complete: its owner for the blocks that others fill, everyone else for its
 * word; claims; and the owner's looks at what is not ready yet. Contracts in kvshm.h. Guarantees: D4: nothing is waited
 * for beyond the deadline, and who dies meanwhile is seen within a slice of 10 ms. (tests/model/request_end.pml)
 */
#include "config.h"

#include "recover.h"
#include "request.h"

/* ---- The owner ----------------------------------------------------------------------------------------------- */

int kvl_request_judge_hold(const struct kvs_actor *actor, struct kvl_request *own, struct kvl_hold *hold,
			   uint64_t *word)
{
	int rc;

	/* [wake: wait] [publish: read] */
	*word = atomic_load_explicit(&kvs_block(actor->map, hold->block)->word, memory_order_seq_cst);
	rc = kvl_judge_wait(actor, hold->block, *word);
	if (rc == -ECANCELED)
		kvl_request_drop_hold(actor, own, hold);
	else if (rc == 0)
		kvl_request_see_ready(actor, own, hold);
	return rc;
}

/* All blocks of a request: 0: they are ready. -ECANCELED: one or more have failed. -EAGAIN: not yet; block and word are
 * of the first that is waited for. (All, since one that has failed is told of at once, and not when those before it are
 * ready; but none where all have been seen ready.) */
static int judge(const struct kvs_actor *actor, struct kvl_request *own, uint32_t *block, uint64_t *word)
{
	uint32_t places = own->unready ? own->size : 0;
	int result = 0;

	for (uint32_t i = 0; i < places; i++) {
		struct kvl_hold *hold = &own->holds[i];
		uint64_t seen;
		int rc;

		if (!kvl_hold_is_held(hold) || hold->ready)
			continue;
		rc = kvl_request_judge_hold(actor, own, hold, &seen);
		if (rc == -EAGAIN && result == 0) {
			*block = hold->block;
			*word = seen;
		}
		if (rc && result != -ECANCELED)
			result = rc;
	}
	return result;
}

/* An end that was asked for since the call began comes first: from there nothing leads back. */
static int say_complete(const struct kvs_actor *actor, struct kvl_request *own)
{
	const struct kvs_map *map = actor->map;
	struct kvs_request *told = &map->requests[own->slot];
	uint64_t word = kvs_request_word(map, own->slot);

	kvl_request_give_room_back(actor, own);
	/* Relaxed: the word releases it. */
	atomic_store_explicit(&told->completed, kvs_now(), memory_order_relaxed);
	kvl_request_tell(own);
	if (kvs_request_over(word) || !kvs_request_move(map, own->slot, &word, KVS_REQUEST_COMPLETE)) {
		kvl_request_let_go(actor, own, false);
		return kvl_request_ended(word);
	}
	kvs_count(actor, KVS_COUNT_requests_completed);
	return 0;
}

static bool is_complete(const struct kvl_request *own)
{
	return kvs_request_state(kvs_request_word(&own->store->map, own->slot)) == KVS_REQUEST_COMPLETE;
}

/* Can it be complete at all as it is? Relaxed: written by this client. */
static int check_whole(const struct kvl_request *own)
{
	const struct kvs_request *told = &own->store->map.requests[own->slot];
	uint32_t expected = atomic_load_explicit(&told->expected, memory_order_relaxed);

	if (own->fills)
		return kvs_fault(EBUSY, "%u of the request's fills are under way: publish them, or give them up",
				 own->fills);
	if (own->held < expected)
		return kvs_fault(EINPROGRESS,
				 "the request holds %u of the %u blocks that it was opened with: hold or "
				 "fill the others",
				 own->held, expected);
	return 0;
}

static int a_key_failed(void)
{
	return kvs_routine(EAGAIN, "a block that the request waited for was given up, or its filler died, or its key "
				   "was removed: ask for the keys again");
}

/* One look: 0, -EAGAIN with block and word to wait for, *over for what ends the waiting. */
static int look(kvshm_store *store, const struct kvshm_request *request, uint32_t *block, uint64_t *word, bool *over)
{
	struct kvl_request *own;
	struct kvs_actor actor;
	int rc = kvl_request_begin(store, request, &actor, &own);

	*over = true;
	if (rc)
		return rc;
	if (!is_complete(own)) {
		rc = check_whole(own);
		if (rc == 0) {
			rc = judge(&actor, own, block, word);
			*over = rc != -EAGAIN;
		}
		if (rc == -ECANCELED)
			rc = a_key_failed();
		if (rc)
			kvl_request_tell(own);
		else
			rc = say_complete(&actor, own); /* which may close it: its slot may be another's then */
	}
	kvl_request_leave(own);
	return rc;
}

int kvl_request_expect_held(kvshm_store *store, const struct kvshm_request *request)
{
	struct kvl_request *own;
	struct kvs_actor actor;
	int rc = kvl_request_begin(store, request, &actor, &own);

	if (rc)
		return rc;
	/* Relaxed: written by this client. */
	atomic_store_explicit(&store->map.requests[own->slot].expected, own->held, memory_order_relaxed);
	kvl_request_leave(own);
	return 0;
}

static int not_complete(kvshm_store *store, const struct kvs_actor *actor)
{
	kvs_count(actor, KVS_COUNT_wait_timeouts);
	kvl_poll_later(store);
	return kvs_routine(ETIMEDOUT, "the request is not complete at the deadline");
}

int kvshm_request_complete(kvshm_store *store, const struct kvshm_request *request, uint64_t deadline)
{
	uint64_t next_look = 0, word = 0;
	struct kvs_actor actor;
	uint32_t block = 0;
	int rc = kvl_begin(store, &actor);

	if (rc)
		return rc;
	do {
		uint64_t now;
		bool over, there;

		rc = look(store, request, &block, &word, &over);
		if (over)
			return rc;
		now = kvs_now();
		if (now >= deadline)
			return not_complete(store, &actor);
		if (!next_look)
			next_look = now + KVS_WAIT_SLICE;
		there = kvs_wait_word(&kvs_block(&store->map, block)->word, word,
				      deadline < next_look ? deadline : next_look);
		rc = 0;
		now = kvs_now();
		if (!there || now >= next_look || now >= deadline) {
			rc = kvl_request_look_around(store);
			next_look = kvs_now() + KVS_WAIT_SLICE;
		}
	} while (rc == 0);
	return rc;
}

int kvshm_request_settle(kvshm_store *store, const struct kvshm_request *request, uint32_t *pending)
{
	struct kvl_request *own;
	struct kvs_actor actor;
	uint64_t word;
	uint32_t block;
	int rc = pending ? kvl_request_begin(store, request, &actor, &own) : kvl_no_place();

	if (rc)
		return rc;
	rc = judge(&actor, own, &block, &word);
	kvl_request_tell(own);
	*pending = own->fills + own->unready;
	kvl_request_leave(own);
	if (*pending)
		kvl_poll_later(store);
	return rc == -ECANCELED ? a_key_failed() : 0;
}

/* ---- Everyone ------------------------------------------------------------------------------------------------ */

/* Is there a reason not to sleep on? Its owner may be dead. */
static int look_around(kvshm_store *store, uint64_t word)
{
	int rc = kvs_map_whole(&store->map);

	if (rc == 0)
		rc = kvl_check(store);
	if (rc == 0 && kvs_word_owner(word) != store->slot)
		rc = kvs_recover_slot(&store->map, kvs_word_owner(word));
	return rc < 0 ? rc : 0;
}

int kvshm_request_wait(kvshm_store *store, const struct kvshm_request *request, uint64_t deadline)
{
	uint64_t next_look = 0, word;
	struct kvs_actor actor;
	int rc = kvl_request_look(store, request, &actor, &word);

	while (rc == 0) {
		uint64_t now = kvs_now();
		bool there;

		if (kvs_request_over(word))
			return kvl_request_ended(word);
		if (kvs_request_state(word) == KVS_REQUEST_COMPLETE)
			return 0;
		if (now >= deadline)
			return not_complete(store, &actor);
		if (!next_look)
			next_look = now + KVS_WAIT_SLICE;
		there = kvs_wait_word(&store->map.requests[request->slot].word, word,
				      deadline < next_look ? deadline : next_look);
		now = kvs_now();
		if (!there || now >= next_look || now >= deadline) {
			rc = look_around(store, word);
			next_look = kvs_now() + KVS_WAIT_SLICE;
		}
		if (rc == 0)
			rc = kvl_request_look(store, request, &actor, &word);
	}
	return rc;
}

/* It has ended: what was taken for it goes back. */
static void undo(const struct kvs_actor *actor, struct kvshm_handle *refs, size_t count, int *results)
{
	for (size_t i = 0; i < count; i++) {
		if (results[i] == 0)
			(void)kvs_hold_release(actor, refs[i].block, refs[i].life, KVS_ENTRY_REF, KVS_ENTRY_REFS);
		refs[i] = kvl_no_hold;
		results[i] = -ECANCELED;
	}
}

int kvshm_request_claim(kvshm_store *store, const struct kvshm_request *request, const struct kvshm_key *keys,
			size_t count, struct kvshm_handle *refs, int *results)
{
	struct kvs_actor actor;
	uint64_t word;
	int rc = kvl_request_look(store, request, &actor, &word);

	if (rc)
		return rc;
	if (kvs_request_over(word))
		return kvl_request_ended(word);
	rc = kvshm_get_batch(store, keys, count, refs, results);
	if (rc)
		return rc;
	/* Behind the holds: see request.c. */
	word = kvs_request_word(&store->map, request->slot);
	if (kvs_request_number(word) != request->number || kvs_request_over(word) ||
	    !kvs_request_claim(&store->map, request->slot, request->number)) {
		undo(&actor, refs, count, results);
		return kvl_request_ended(word);
	}
	kvs_count(&actor, KVS_COUNT_claims);
	return 0;
}
