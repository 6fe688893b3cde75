/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * remove.c: the way of a block out: READY -> REMOVING from READY -> DOOMED -> (unlinked) -> REMOVING from DOOMED ->
 * LIMBO. See remove.h, and shm/README.md for what a death at each step leaves: always a word from which any process
 * that passes goes on. (tests/model/block_life.pml, tests/model/stale_ticket.pml,
 * tests/model/recovery_order.pml)
 */
#include "config.h"

#include "remove.h"

#include "alloc.h"
#include "clear.h"
#include "hold.h"
#include "index.h"
#include "part.h"
#include "wait.h"

/* Moves the word on, from exactly what it was. *word is what it is then, in either case. */
static bool step(struct kvs_block *block, uint64_t *word, enum kvs_state state, uint64_t owner)
{
	uint64_t next = kvs_word_next(*word, state, owner);

	/* [hold-vs-remove: remove] For DOOMED [doom-vs-link: doom] and [decided: doom], for LIMBO [reuse: leave]: all
	 * that was done with the block comes before it is free. */
	if (!atomic_compare_exchange_strong_explicit(&block->word, word, next, memory_order_seq_cst,
						     memory_order_seq_cst))
		return false;
	*word = next;
	return true;
}

/* [life: judge] Behind the CAS to REMOVING. */
static bool held(const struct kvs_actor *actor, uint32_t number)
{
	const struct kvs_block *block = kvs_block(actor->map, number);

	return kvs_hold_any(actor->map, number, atomic_load_explicit(&block->life, memory_order_acquire));
}

int kvs_remove_unlink(const struct kvs_actor *actor, uint32_t number)
{
	int rc = kvs_index_unlink(actor->map, number);

	if (rc)
		kvs_count(actor, KVS_COUNT_nonsense);
	return rc;
}

/* What became of an attempt. */
enum attempt {
	LEFT, /* held, or another's now */
	AGAIN, /* another put it back, perhaps for a hold of ours that has ended since: nobody else will look */
	HIDDEN,
	GONE,
};

/* The CAS to REMOVING was lost. Who looks now, in another's name, looks after our hold ended: theirs. */
static enum attempt lost(uint64_t word)
{
	enum kvs_state state = kvs_word_state(word);

	return state == KVS_READY || state == KVS_DOOMED ? AGAIN : LEFT;
}

/* Relaxed: only how old the block is comes from it. */
static void count_hidden(const struct kvs_actor *actor, uint32_t number)
{
	uint64_t since;

	if (actor->map->g.drop || kvs_block_cleared(actor->map, number)) {
		kvs_count(actor, KVS_COUNT_frees);
		return;
	}
	since = atomic_load_explicit(&actor->map->infos[number].since, memory_order_relaxed);
	kvs_count(actor, KVS_COUNT_evictions);
	kvs_time(actor->reader, KVS_TIME_age, kvs_now() - since);
}

/* READY, or a removal from it: hides it if nobody holds it. HIDDEN: the word is DOOMED and unlinked now. */
static enum attempt hide(const struct kvs_actor *actor, uint32_t number, uint64_t *word)
{
	struct kvs_block *block = kvs_block(actor->map, number);
	bool takeover = kvs_word_state(*word) == KVS_REM_READY;

	if (!step(block, word, KVS_REM_READY, actor->self))
		return lost(*word);
	if (takeover)
		kvs_count(actor, KVS_COUNT_takeovers);
	if (held(actor, number)) {
		(void)step(block, word, KVS_READY, 0);
		return LEFT;
	}
	if (!step(block, word, KVS_DOOMED, 0))
		return LEFT;
	count_hidden(actor, number);
	return kvs_remove_unlink(actor, number) ? LEFT : HIDDEN;
}

/* DOOMED and unlinked, or a removal from there: lets it go if nobody holds it. */
static enum attempt let_go(const struct kvs_actor *actor, uint32_t number, uint64_t *word)
{
	struct kvs_block *block = kvs_block(actor->map, number);
	uint64_t epoch;

	if (!step(block, word, KVS_REM_DOOMED, actor->self))
		return lost(*word);
	if (held(actor, number)) {
		(void)step(block, word, KVS_DOOMED, 0);
		return LEFT;
	}
	/* [limbo-epoch: leave] After the unlink and the CAS to REMOVING, in this section: an epoch read before would
	 * end the grace period for readers that could still find the block. (tests/model/epochs.pml) */
	epoch = atomic_load_explicit(&actor->map->head->epoch, memory_order_seq_cst);
	if (!step(block, word, KVS_LIMBO, epoch))
		return LEFT;
	kvs_alloc_idle(actor->map, number);
	return GONE;
}

/* One attempt, from what the word is. [life: judge] Life and key are looked at behind it.
 *
 * Where somebody else's hold is seen before the CAS to REMOVING, there is no need for one: who ends it later finds ours
 * gone, and looks, or the next sweep does. It keeps two who let go of a block that a third holds from moving its word
 * from under each other. A block that is being removed already is taken on in any case: its remover may be dead.
 */
static enum attempt attempt(const struct kvs_actor *actor, uint32_t number, enum kvs_remove_why why)
{
	uint64_t word = atomic_load_explicit(&kvs_block(actor->map, number)->word, memory_order_seq_cst);
	enum attempt result = HIDDEN;

	switch (kvs_word_state(word)) {
	case KVS_READY:
		if (why != KVS_REMOVE_EVICT && !actor->map->g.drop && !kvs_block_cleared(actor->map, number))
			return LEFT;
		if (held(actor, number))
			return LEFT;
		result = hide(actor, number, &word);
		break;
	case KVS_REM_READY:
		result = hide(actor, number, &word);
		break;
	case KVS_DOOMED:
	case KVS_REM_DOOMED:
		/* Whoever doomed it may have died before it took it out of the index. */
		if (kvs_remove_unlink(actor, number))
			return LEFT;
		if (kvs_word_state(word) == KVS_DOOMED && held(actor, number))
			return LEFT;
		break;
	default:
		return LEFT;
	}
	return result == HIDDEN ? let_go(actor, number, &word) : result;
}

bool kvs_remove_try(const struct kvs_actor *actor, uint32_t number, enum kvs_remove_why why)
{
	enum attempt result;

	do
		result = attempt(actor, number, why);
	while (result == AGAIN);
	return result == GONE;
}

bool kvs_remove_doom(const struct kvs_actor *actor, uint32_t number, uint64_t word)
{
	struct kvs_block *block = kvs_block(actor->map, number);
	bool filling = kvs_word_state(word) == KVS_FILLING;

	/* Who dies behind this leaves a fill that is still FILLING, and can't become whole: who waits for it, or
	 * recovers, goes on from here. */
	if (filling)
		kvs_part_fail(actor->map, number);
	if (!step(block, &word, KVS_DOOMED, 0))
		return false;
	(void)kvs_remove_unlink(actor, number); /* where this finds nonsense, the way to LIMBO finds it again */
	if (filling) {
		kvs_wait_wake(&block->word);
		kvs_wait_ring(actor->map);
	}
	return true;
}
