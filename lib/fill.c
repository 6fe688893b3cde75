/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * fill.c: the calls of a fill: publish, give up, wait. Contracts in kvshm.h.
 */
#include "config.h"

#include <string.h>

#include "internal.h"
#include "recover.h"
#include "table.h"
#include "wait.h"

/* Ends a hold and its handle. */
static void end(const struct kvs_actor *actor, struct kvshm_handle *handle)
{
	(void)kvs_hold_release(actor, handle->block, handle->life, KVS_ENTRY_REF, KVS_ENTRY_REFS);
	*handle = kvl_handle(0, 0, KVSHM_NONE);
}

/* The beginning of the calls on one's own fill. */
static int begin_fill(kvshm *store, struct kvs_actor *actor, const struct kvshm_handle *handle,
		      struct kvs_block **block)
{
	int rc = kvl_begin(store, actor);

	if (rc == 0)
		rc = kvl_held(actor, handle, block);
	if (rc == 0 && handle->kind != KVSHM_WRITER)
		rc = kvs_routine(EBADF, "the handle is a ref or a pin, not a fill of this client's");
	return rc;
}

static int end_fill(const struct kvs_actor *actor, struct kvshm_handle *handle)
{
	end(actor, handle);
	kvs_count(actor, KVS_COUNT_give_ups);
	return 0;
}

/* Writes what is said of a block. A copy of the handle that is published at the same time by another thread is that
 * program's own fault, and touches its own block only. */
static void describe(const struct kvs_map *map, uint32_t block, const struct kvshm_meta *meta)
{
	struct kvs_block_info *info = &map->infos[block];

	info->length = meta ? meta->length : map->g.block_size;
	if (!meta)
		return;
	atomic_store_explicit(&info->depth, meta->depth, memory_order_relaxed);
	memcpy(info->opaque, meta->opaque, sizeof(info->opaque));
}

int kvshm_publish(kvshm *store, struct kvshm_handle *handle, const struct kvshm_meta *meta)
{
	struct kvs_actor actor;
	struct kvs_block *block;
	int rc = begin_fill(store, &actor, handle, &block);

	if (rc)
		return rc;
	if (meta && meta->length > store->map.g.block_size)
		return kvs_fault(EINVAL, "a length of %llu bytes: a block of this store has %llu",
				 (unsigned long long)meta->length, (unsigned long long)store->map.g.block_size);
	rc = kvs_table_own_fill(&actor, handle->block);
	if (rc == 0) {
		describe(&store->map, handle->block, meta);
		rc = kvs_table_publish(&actor, handle->block);
	}
	if (rc == -ECANCELED) {
		(void)end_fill(&actor, handle);
		return kvs_routine(ECANCELED, "the key was removed while it was filled");
	}
	if (rc)
		return kvs_routine(
			EBADF,
			"the block is not being filled by this client: it was published already, or is another's fill");
	handle->kind = KVSHM_REF;
	kvs_count(&actor, KVS_COUNT_fills);
	return 0;
}

int kvshm_give_up(kvshm *store, struct kvshm_handle *handle)
{
	struct kvs_actor actor;
	struct kvs_block *block;
	int rc = begin_fill(store, &actor, handle, &block);

	if (rc)
		return rc;
	kvs_enter(&actor);
	rc = kvs_table_give_up(&actor, handle->block);
	kvs_leave(&actor);
	if (rc == -EBADF)
		return kvs_routine(
			EBADF,
			"the block is not being filled by this client: it was published already, or is another's fill");
	return end_fill(&actor, handle); /* a removal of the key may have been first: it comes to the same */
}

/* What the word of a held block says to one who waits for it. */
static int judge_wait(uint64_t word)
{
	switch (kvs_word_state(word)) {
	case KVS_FILLING:
		return -EAGAIN;
	case KVS_READY:
	case KVS_REM_READY:
		return 0;
	default:
		return -ECANCELED;
	}
}

/* Is there a reason not to wait any longer: is the store destroyed, the filler dead? A dead one is recovered. */
static int look_around(kvshm *store, uint64_t word)
{
	int rc = kvl_check(store);

	if (rc == 0)
		rc = kvs_recover_slot(&store->map, kvs_word_owner(word));
	return rc < 0 ? rc : 0;
}

/* Sleeps while the block is being filled: 0, -ECANCELED, -ETIMEDOUT, or what every call may return. The next look
 * around does not move with what wakes the thread: signals may do that all the time. */
static int sleep_while_filling(kvshm *store, struct kvs_actor *actor, struct kvs_block *block, uint64_t deadline)
{
	uint64_t next_look = 0;
	int rc = 0;

	while (rc == 0) {
		uint64_t word = atomic_load_explicit(&block->word, memory_order_seq_cst); /* [publish] */
		uint64_t now;

		rc = judge_wait(word);
		if (rc != -EAGAIN)
			return rc;
		now = kvs_now();
		if (deadline <= now) {
			kvs_count(actor, KVS_COUNT_wait_timeouts);
			return kvs_routine(ETIMEDOUT, "the key is still being filled at the deadline; the hold stays");
		}
		if (!next_look) {
			kvs_count(actor, KVS_COUNT_waits);
			next_look = now + KVS_WAIT_SLICE;
		}
		kvs_wait_word(block, word, deadline < next_look ? deadline : next_look);
		rc = 0;
		if (kvs_now() >= next_look) {
			rc = look_around(store, word);
			next_look = kvs_now() + KVS_WAIT_SLICE;
		}
	}
	return rc;
}

int kvshm_wait(kvshm *store, struct kvshm_handle *ref, uint64_t deadline)
{
	struct kvs_actor actor;
	struct kvs_block *block;
	int rc = kvl_begin(store, &actor);

	if (rc == 0)
		rc = kvl_held(&actor, ref, &block);
	if (rc)
		return rc;
	if (ref->kind != KVSHM_REF)
		return kvs_routine(EBADF, "only a ref can be waited for, not a pin or a fill of one's own");
	rc = sleep_while_filling(store, &actor, block, deadline);
	if (rc != -ECANCELED)
		return rc;
	end(&actor, ref);
	return kvs_routine(ECANCELED, "the fill was given up, its filler died, or the key was removed: ask again");
}
