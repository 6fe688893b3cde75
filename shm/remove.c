/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * remove.c: the way of a block out: READY -> REMOVING from READY -> DOOMED -> (unlinked) -> REMOVING from DOOMED ->
 * LIMBO. See remove.h, and shm/README.md for what a death at each step leaves: always a word from which any process
 * that passes goes on.
 */
#include "config.h"

#include "remove.h"

#include "alloc.h"
#include "hold.h"
#include "index.h"
#include "wait.h"

/* Moves the word on, from exactly what it was; *word is the new one then. */
static bool step(struct kvs_block *block, uint64_t *word, enum kvs_state state, uint64_t owner)
{
	uint64_t next = kvs_word_next(*word, state, owner);

	/* [hold-vs-remove] and, for LIMBO, [reuse]: all that was done with the block comes before it is free. */
	if (!atomic_compare_exchange_strong_explicit(&block->word, word, next, memory_order_seq_cst,
						     memory_order_relaxed))
		return false;
	*word = next;
	return true;
}

static bool held(const struct kvs_actor *actor, uint32_t number)
{
	const struct kvs_block *block = kvs_block(actor->map, number);

	return kvs_hold_any(actor->map, number, atomic_load_explicit(&block->life, memory_order_acquire));
}

/* READY, or a removal from it: hides it if nobody holds it. True if the word is DOOMED and unlinked now. */
static bool hide(const struct kvs_actor *actor, uint32_t number, uint64_t *word)
{
	struct kvs_block *block = kvs_block(actor->map, number);

	if (kvs_word_state(*word) == KVS_REM_READY)
		kvs_count(actor, KVS_COUNT_takeovers);
	if (!step(block, word, KVS_REM_READY, actor->self))
		return false;
	if (held(actor, number)) {
		(void)step(block, word, KVS_READY, 0);
		return false;
	}
	if (!step(block, word, KVS_DOOMED, 0))
		return false;
	kvs_count(actor, actor->map->g.drop ? KVS_COUNT_frees : KVS_COUNT_evictions);
	return kvs_index_unlink(actor->map, number) == 0;
}

/* DOOMED and unlinked, or a removal from there: lets it go if nobody holds it. */
static bool let_go(const struct kvs_actor *actor, uint32_t number, uint64_t *word)
{
	struct kvs_block *block = kvs_block(actor->map, number);
	uint64_t epoch;

	if (!step(block, word, KVS_REM_DOOMED, actor->self))
		return false;
	if (held(actor, number)) {
		(void)step(block, word, KVS_DOOMED, 0);
		return false;
	}
	/* After the unlink and the CAS to REMOVING, in this section: an epoch read before would end the grace period
	 * for readers that could still find the block. */
	epoch = atomic_load_explicit(&actor->map->head->epoch, memory_order_seq_cst);
	if (!step(block, word, KVS_LIMBO, epoch))
		return false;
	kvs_alloc_idle(actor->map, number);
	return true;
}

bool kvs_remove_try(const struct kvs_actor *actor, uint32_t number, enum kvs_remove_why why)
{
	uint64_t word = atomic_load_explicit(&kvs_block(actor->map, number)->word, memory_order_seq_cst);

	switch (kvs_word_state(word)) {
	case KVS_READY:
		if (why != KVS_REMOVE_EVICT && !actor->map->g.drop)
			return false;
		return hide(actor, number, &word) && let_go(actor, number, &word);
	case KVS_REM_READY:
		return hide(actor, number, &word) && let_go(actor, number, &word);
	case KVS_DOOMED:
	case KVS_REM_DOOMED:
		/* Whoever doomed it may have died before it took it out of the index. */
		return kvs_index_unlink(actor->map, number) == 0 && let_go(actor, number, &word);
	default:
		return false;
	}
}

bool kvs_remove_doom(const struct kvs_actor *actor, uint32_t number, uint64_t word)
{
	struct kvs_block *block = kvs_block(actor->map, number);
	bool filling = kvs_word_state(word) == KVS_FILLING;

	if (!step(block, &word, KVS_DOOMED, 0))
		return false;
	(void)kvs_index_unlink(actor->map, number); /* where this finds nonsense, the way to LIMBO finds it again */
	if (filling)
		kvs_wait_wake(block);
	return true;
}
