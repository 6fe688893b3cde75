/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * fill.c: the calls of a fill, and of the parts of a shared one: publish, give up, wait. Contracts in kvshm.h.
 */
#include "config.h"

#include <string.h>

#include "clear.h"
#include "part.h"
#include "recover.h"
#include "request.h"
#include "wait.h"

/* Ends a hold and its handle. */
static void end(const struct kvs_actor *actor, struct kvshm_handle *handle)
{
	(void)kvs_hold_release(actor, handle->block, handle->life, KVS_ENTRY_REF, KVS_ENTRY_REFS);
	*handle = kvl_no_hold;
}

static int no_fill(void)
{
	return kvs_routine(EBADF, "the handle is no fill or part of this client's: it was published already, or is "
				  "another's");
}

static int no_key(const struct kvs_actor *actor, const struct kvshm_handle *handle)
{
	if (!kvs_table_owns(actor, handle->block))
		return no_fill();
	return kvs_routine(EINVAL, "the block has no key yet: publish it under one (kvshm_publish_as)");
}

static int meta_of_part(void)
{
	return kvs_fault(EINVAL, "meta was given with a part of a fill: its filler says what the block is");
}

static int canceled(const struct kvs_actor *actor, struct kvshm_handle *handle)
{
	end(actor, handle);
	return kvs_routine(ECANCELED, "the key was removed, or the store cleared, while it was filled; or another part "
				      "of the fill failed");
}

/* ---- The filler's part ----------------------------------------------------------------------------------- */

/* Writes what is said of a block. A copy of the handle that is published at the same time by another thread is that
 * program's own fault, and touches its own block only. */
void kvl_describe(const struct kvs_map *map, uint32_t block, const struct kvshm_meta *meta)
{
	struct kvs_block_info *info = &map->infos[block];

	info->length = meta ? meta->length : map->g.block_size;
	if (!meta)
		return;
	atomic_store_explicit(&info->depth, meta->depth, memory_order_relaxed);
	memcpy(info->opaque, meta->opaque, sizeof(info->opaque));
}

int kvl_check_meta(const struct kvs_map *map, const struct kvshm_meta *meta)
{
	if (!meta || meta->length <= map->g.block_size)
		return 0;
	return kvs_fault(EINVAL, "a length of %llu bytes: a block of this store has %llu",
			 (unsigned long long)meta->length, (unsigned long long)map->g.block_size);
}

int kvl_publish_fill(const struct kvs_actor *actor, struct kvshm_handle *handle, const struct kvshm_meta *meta)
{
	int rc = kvl_check_meta(actor->map, meta);

	if (rc)
		return rc;
	rc = kvs_table_own_fill(actor, handle->block);
	if (rc == 0) {
		kvl_describe(actor->map, handle->block, meta);
		kvs_enter(actor);
		rc = kvs_table_end_part(actor, handle->block, KVS_PART_FILLER);
		kvs_leave(actor);
	}
	if (rc == -ECANCELED)
		return canceled(actor, handle);
	if (rc)
		return no_fill();
	handle->kind = KVSHM_REF;
	return 0;
}

int kvl_give_up_fill(const struct kvs_actor *actor, struct kvshm_handle *handle)
{
	int rc;

	kvs_enter(actor);
	rc = kvs_table_give_up(actor, handle->block);
	kvs_leave(actor);
	if (rc == -EBADF)
		return no_fill();
	end(actor, handle); /* a removal of the key may have been first: it comes to the same */
	return 0;
}

/* ---- A plane's part -------------------------------------------------------------------------------------- */

bool kvl_is_part(const struct kvs_actor *actor, const struct kvshm_handle *handle)
{
	return handle->plane < actor->map->g.planes &&
	       kvs_hold_counts(actor, handle->block, handle->life) & KVS_ENTRY_WRITERS &&
	       !kvs_part_ended(actor->map, handle->block, kvs_part_plane(handle->plane));
}

bool kvl_is_written(const struct kvs_actor *actor, const struct kvshm_handle *handle)
{
	switch (handle->kind) {
	case KVSHM_WRITER:
		return kvs_table_own_fill(actor, handle->block) != -EBADF;
	case KVSHM_PART:
		return kvl_is_part(actor, handle);
	case KVSHM_OWNED:
		return kvs_table_owns(actor, handle->block);
	default:
		return false;
	}
}

/* The part has ended: its writer is one no more, and keeps the ref. */
static void end_part(const struct kvs_actor *actor, struct kvshm_handle *handle)
{
	(void)kvs_hold_sub(&actor->row[handle->block], handle->life, KVS_ENTRY_WRITER, KVS_ENTRY_WRITERS);
	handle->kind = KVSHM_REF;
	handle->plane = 0;
}

static int publish_part(const struct kvs_actor *actor, struct kvshm_handle *handle, const struct kvshm_meta *meta)
{
	int rc;

	if (meta)
		return meta_of_part();
	if (!kvl_is_part(actor, handle))
		return no_fill();
	kvs_enter(actor);
	rc = kvs_table_end_part(actor, handle->block, kvs_part_plane(handle->plane));
	kvs_leave(actor);
	end_part(actor, handle);
	if (rc)
		return canceled(actor, handle);
	kvs_count(actor, KVS_COUNT_parts);
	return 0;
}

static int give_up_part(const struct kvs_actor *actor, struct kvshm_handle *handle)
{
	if (!kvl_is_part(actor, handle))
		return no_fill();
	kvs_enter(actor);
	kvs_table_fail_part(actor, handle->block);
	kvs_leave(actor);
	end_part(actor, handle);
	end(actor, handle);
	return 0;
}

/* ---- Any handle ------------------------------------------------------------------------------------------ */

int kvl_publish(const struct kvs_actor *actor, kvshm_store *store, struct kvshm_handle *handle,
		const struct kvshm_meta *meta)
{
	if (handle->kind == KVSHM_WRITER && handle->request)
		return kvl_request_publish(actor, store, handle, meta);
	switch (handle->kind) {
	case KVSHM_WRITER:
		return kvl_publish_fill(actor, handle, meta);
	case KVSHM_PART:
		return publish_part(actor, handle, meta);
	case KVSHM_OWNED:
		return no_key(actor, handle);
	default:
		return no_fill();
	}
}

int kvl_give_up(const struct kvs_actor *actor, kvshm_store *store, struct kvshm_handle *handle)
{
	if (handle->kind == KVSHM_WRITER && handle->request)
		return kvl_request_give_up(actor, store, handle);
	switch (handle->kind) {
	case KVSHM_WRITER:
		return kvl_give_up_fill(actor, handle);
	case KVSHM_PART:
		return give_up_part(actor, handle);
	case KVSHM_OWNED:
		return kvl_give_back(actor, handle);
	default:
		return no_fill();
	}
}

int kvl_check_publish(const struct kvs_actor *actor, const struct kvshm_handle *handle, const struct kvshm_meta *meta)
{
	if (handle->kind == KVSHM_OWNED)
		return no_key(actor, handle);
	if (handle->kind == KVSHM_PART && meta)
		return meta_of_part();
	return kvl_is_written(actor, handle) ? kvl_check_meta(actor->map, meta) : no_fill();
}

int kvl_check_give_up(const struct kvs_actor *actor, const struct kvshm_handle *handle)
{
	return kvl_is_written(actor, handle) ? 0 : no_fill();
}

/* ---- The calls ------------------------------------------------------------------------------------------- */

static int begin(kvshm_store *store, struct kvs_actor *actor, const struct kvshm_handle *handle)
{
	struct kvs_block *block;
	int rc = kvl_begin(store, actor);

	return rc ? rc : kvl_held(actor, handle, &block);
}

int kvshm_publish(kvshm_store *store, struct kvshm_handle *handle, const struct kvshm_meta *meta)
{
	struct kvs_actor actor;
	int rc = begin(store, &actor, handle);

	return rc ? rc : kvl_publish(&actor, store, handle, meta);
}

int kvshm_give_up(kvshm_store *store, struct kvshm_handle *handle)
{
	struct kvs_actor actor;
	int rc = begin(store, &actor, handle);

	return rc ? rc : kvl_give_up(&actor, store, handle);
}

/* ---- Waiting --------------------------------------------------------------------------------------------- */

/* Who doomed the fill has died, or was stopped, before it said so to all: this one does. It may have been the filler,
 * which is recovered then like any that a wait finds dead. */
static int doomed_half_way(const struct kvs_actor *actor, uint32_t block, uint64_t word)
{
	kvs_enter(actor);
	kvs_table_fail_part(actor, block);
	kvs_leave(actor);
	if (kvs_word_owner(word) != actor->self)
		(void)kvs_recover_slot(actor->map, kvs_word_owner(word));
	return -ECANCELED;
}

/* What a held block says to one who waits for it. One that was doomed when it was whole already is held like any other
 * whose key was removed: so who waits comes to the same, however late it looks (R26). One who sees all parts whole, and
 * the block not ready yet, does that for the writer that has stopped in between (D4). (tests/model/parts.pml) */
int kvl_judge_wait(const struct kvs_actor *actor, uint32_t block, uint64_t word)
{
	bool whole = kvs_part_whole(actor->map, block);

	if (kvs_block_cleared(actor->map, block))
		return -ECANCELED;
	switch (kvs_word_state(word)) {
	case KVS_FILLING:
		if (whole)
			kvs_table_finish(actor, block);
		else if (kvs_part_failed(actor->map, block))
			return doomed_half_way(actor, block, word);
		return whole ? 0 : -EAGAIN;
	case KVS_READY:
	case KVS_REM_READY:
		return 0;
	default:
		return whole ? 0 : -ECANCELED;
	}
}

/* Recovers those writers of a block's parts that are dead. The life is relaxed: the caller holds it. */
static int recover_writers(const struct kvs_actor *actor, uint32_t block)
{
	uint64_t life = atomic_load_explicit(&kvs_block(actor->map, block)->life, memory_order_relaxed);
	uint32_t slots[KVS_PLANES_MAX];
	unsigned count;
	int rc = 0;

	kvs_enter(actor);
	count = kvs_hold_writers(actor->map, block, life, slots, KVS_PLANES_MAX);
	kvs_leave(actor);
	for (unsigned i = 0; i < count && rc >= 0; i++)
		if (slots[i] != actor->self)
			rc = kvs_recover_slot(actor->map, slots[i]);
	return rc;
}

/* Is there a reason not to wait any longer: is the segment truncated (which is asked first, since the rest touches it),
 * the store destroyed, the filler or a writer dead? The dead are recovered. */
static int look_around(kvshm_store *store, const struct kvs_actor *actor, uint32_t block, uint64_t word)
{
	int rc = kvs_map_whole(actor->map);

	if (rc == 0)
		rc = kvl_check(store);
	if (rc == 0 && kvs_word_owner(word) != actor->self)
		rc = kvs_recover_slot(actor->map, kvs_word_owner(word));
	if (rc >= 0)
		rc = recover_writers(actor, block);
	return rc < 0 ? rc : 0;
}

static int timed_out(kvshm_store *store, const struct kvs_actor *actor)
{
	kvl_poll_later(store);
	kvs_count(actor, KVS_COUNT_wait_timeouts);
	return kvs_routine(ETIMEDOUT, "the key is still being filled at the deadline; the hold stays");
}

/* Sleeps while the block is being filled: 0, -ECANCELED, -ETIMEDOUT, or what every call may return. The next look
 * around does not move with what wakes the thread: signals may do that all the time. Who has slept up to its deadline
 * looks once more before it goes: so one that waits in short slices sees the dead too. */
static int sleep_while_filling(kvshm_store *store, struct kvs_actor *actor, const struct kvshm_handle *held,
			       uint64_t deadline)
{
	uint32_t number = held->block;
	struct kvs_block *block = kvs_block(actor->map, number);
	uint64_t begin = 0, next_look = 0;
	int rc = 0;

	while (rc == 0) {
		/* [wake: wait] [publish: read] */
		uint64_t word = atomic_load_explicit(&block->word, memory_order_seq_cst);
		uint64_t now;
		bool there;

		rc = kvl_judge_wait(actor, number, word);
		if (rc != -EAGAIN)
			break;
		now = kvs_now();
		if (deadline <= now) {
			rc = timed_out(store, actor);
			break;
		}
		if (!begin) {
			kvs_count(actor, KVS_COUNT_waits);
			begin = now;
			next_look = now + KVS_WAIT_SLICE;
		}
		there = kvs_wait_word(&block->word, word, deadline < next_look ? deadline : next_look);
		rc = 0;
		now = kvs_now();
		if (!there || now >= next_look || now >= deadline) {
			rc = look_around(store, actor, number, word);
			next_look = kvs_now() + KVS_WAIT_SLICE;
			/* Another thread may have ended the request that has lent it. */
			if (rc == 0 && held->kind == KVSHM_LENT && !kvl_request_has(store, held))
				rc = -ECANCELED;
		}
	}
	if (begin && rc != -EUCLEAN) /* else the reader slot may be gone, too */
		kvs_time(actor->reader, KVS_TIME_wait, kvs_now() - begin);
	return rc;
}

int kvshm_wait(kvshm_store *store, struct kvshm_handle *ref, uint64_t deadline)
{
	struct kvs_actor actor;
	int rc = begin(store, &actor, ref);

	if (rc)
		return rc;
	if (ref->kind != KVSHM_REF && (ref->kind != KVSHM_LENT || !kvl_request_has(store, ref)))
		return kvs_routine(EBADF, "only a ref can be waited for, or what a request holds; not a pin, or a fill "
					  "or part of one's own");
	rc = sleep_while_filling(store, &actor, ref, deadline);
	if (rc == 0 && ref->kind == KVSHM_LENT && !kvl_request_has(store, ref))
		rc = -ECANCELED; /* it was another block's readiness */
	if (rc != -ECANCELED)
		return rc;
	if (ref->kind == KVSHM_LENT)
		kvl_request_failed(&actor, store, ref);
	else
		end(&actor, ref);
	return kvs_routine(ECANCELED, "the fill was given up, its filler or a writer died, the key was removed, or the "
				      "store cleared: ask again");
}
