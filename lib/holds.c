/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * holds.c: the calls on held blocks: release, pin, unpin, let go, what was published, the bytes. Contracts in kvshm.h.
 */
#include "config.h"

#include <string.h>

#include "hold.h"
#include "internal.h"
#include "part.h"
#include "wait.h"

int kvl_refuse_release(const struct kvshm_handle *handle, enum kvshm_kind kind)
{
	if (!handle)
		return kvs_routine(EINVAL, "no handle was given (NULL)");
	if (handle->kind == KVSHM_LENT)
		return kvs_routine(EBUSY, "the hold is a request's: it ends with it, or by kvshm_request_release()");
	if (handle->kind >= KVSHM_WRITER && handle->kind <= KVSHM_PART && kind == KVSHM_REF)
		return kvs_routine(EBUSY, "the handle is a fill, a part or a block without a key of this client's: "
					  "publish it or give it up");
	if (handle->kind != (uint32_t)kind)
		return kvs_routine(EBADF, kind == KVSHM_PIN ? "the handle is no pin" : "the handle is no ref");
	return kvs_routine(EBADF,
			   "this client does not hold that block in that life: the handle was released already, or "
			   "never given out");
}

/* The hold has been taken away, and the block may have to be removed. Where that can't be done (no reader slot is left,
 * or the store was destroyed just now), the hold has ended all the same, and the next sweep removes the block. */
static void look(kvshm_store *store, uint32_t block, uint64_t life)
{
	struct kvs_actor actor;

	if (kvl_begin(store, &actor))
		return;
	kvs_enter(&actor);
	kvs_hold_look(&actor, block, life);
	kvs_leave(&actor);
}

/* A fill of which the last hold ends is given up (kvs_hold_look()), which no sweep does for a living client: so it must
 * be possible before the hold is taken away. Relaxed: who holds its own fill has seen the word FILLING, or later. */
static int can_look(kvshm_store *store, uint32_t block)
{
	uint64_t word = atomic_load_explicit(&kvs_block(&store->map, block)->word, memory_order_relaxed);
	struct kvs_reader *reader;

	return __builtin_expect(kvs_word_state(word) == KVS_FILLING, 0) ? kvl_reader(store, &reader) : 0;
}

/* A hold whose time is measured has ended. */
static void measure(kvshm_store *store, uint64_t since)
{
	struct kvs_reader *reader;

	if (kvl_reader(store, &reader) == 0)
		kvs_time(reader, KVS_TIME_hold, kvs_now() - since);
}

KVS_HOT int release(kvshm_store *store, struct kvshm_handle *handle, enum kvshm_kind kind, uint64_t unit,
		    uint64_t field)
{
	int rc = kvl_check(store);
	uint64_t life, since;
	uint32_t block;

	if (rc)
		return rc;
	if (__builtin_expect(!handle || handle->kind != (uint32_t)kind || handle->block >= store->map.g.blocks, 0))
		return kvl_refuse_release(handle, kind);
	block = handle->block;
	life = handle->life;
	since = handle->since;
	rc = can_look(store, block);
	if (__builtin_expect(rc, 0))
		return rc;
	rc = kind == KVSHM_PIN ? kvs_hold_unpin(&store->map, store->row, block, life, since)
			       : kvs_hold_sub(&store->row[block], life, unit, field);
	if (__builtin_expect(rc, 0))
		return kvl_refuse_release(handle, kind);
	*handle = kvl_no_hold;
	if (__builtin_expect(kvs_hold_must_look(&store->map, block), 0))
		look(store, block, life);
	if (__builtin_expect(since != 0, 0))
		measure(store, since);
	return 0;
}

int kvshm_release(kvshm_store *store, struct kvshm_handle *ref)
{
	return release(store, ref, KVSHM_REF, KVS_ENTRY_REF, KVS_ENTRY_REFS);
}

int kvshm_unpin(kvshm_store *store, struct kvshm_handle *pin)
{
	return release(store, pin, KVSHM_PIN, KVS_ENTRY_PIN, KVS_ENTRY_PINS);
}

/* Ends a hold of any kind. One that is not this client's stays: it may be another's, who needs its handle. */
static int let_go(kvshm_store *store, struct kvshm_handle *handle)
{
	switch (handle->kind) {
	case KVSHM_NONE:
	case KVSHM_LENT:
		return 0;
	case KVSHM_REF:
		return kvshm_release(store, handle);
	case KVSHM_PIN:
		return kvshm_unpin(store, handle);
	case KVSHM_WRITER:
	case KVSHM_OWNED:
	case KVSHM_PART:
		return kvshm_give_up(store, handle);
	default:
		return kvs_routine(EBADF, "the handle is of no kind that there is");
	}
}

int kvshm_let_go(kvshm_store *store, struct kvshm_handle *handles, size_t count)
{
	const char *text = NULL;
	int first = kvl_check(store);

	if (first)
		return first;
	if (count && !handles)
		return kvs_routine(EINVAL, "no handles were given (NULL)");
	for (size_t i = 0; i < count; i++) {
		int rc = let_go(store, &handles[i]);

		if (rc && !first) {
			first = rc;
			text = kvs_fault_text();
		}
	}
	return first ? kvs_routine(-first, text) : 0; /* not the text of a later one */
}

/* The beginning of the calls on any held block. */
static int begin_held(kvshm_store *store, struct kvs_actor *actor, const struct kvshm_handle *held,
		      struct kvs_block **block, const void *result)
{
	int rc = kvl_begin(store, actor);

	if (rc == 0 && !result)
		rc = kvl_no_place();
	return rc ? rc : kvl_held(actor, held, block);
}

int kvshm_pin(kvshm_store *store, const struct kvshm_handle *held, struct kvshm_handle *pin)
{
	struct kvs_actor actor;
	struct kvs_block *block;
	uint64_t since;
	int rc = begin_held(store, &actor, held, &block, pin);

	if (rc == 0 && held->kind == KVSHM_OWNED)
		return kvs_routine(EBUSY, "the block has no key yet: publish it first");
	if (rc)
		return rc;
	since = kvs_now();
	rc = kvs_hold_pin(&actor, held->block, held->life, since);
	if (rc == -EMFILE)
		return kvs_routine(EMFILE, "this client has 4,095 pins of that block: end some");
	if (rc)
		return rc;
	*pin = kvl_handle(held->block, held->life, KVSHM_PIN);
	pin->since = since;
	return 0;
}

int kvshm_get_meta(kvshm_store *store, const struct kvshm_handle *held, struct kvshm_meta *meta)
{
	struct kvs_actor actor;
	struct kvs_block *block;
	const struct kvs_block_info *info;
	uint64_t length;
	bool whole = true;
	int rc = begin_held(store, &actor, held, &block, meta);

	if (rc)
		return rc;
	/* [publish: read] */
	switch (kvs_word_state(atomic_load_explicit(&block->word, memory_order_seq_cst))) {
	case KVS_OWNED:
		return kvs_routine(EAGAIN, "the block has no key yet");
	case KVS_FILLING:
		return kvs_routine(EAGAIN, "the block is still being filled: wait for it");
	case KVS_READY:
	case KVS_REM_READY:
		break;
	default: /* its filler may have said what it is, and a part have failed */
		whole = kvs_part_whole(&store->map, held->block);
		break;
	}
	if (!whole) {
		memset(meta, 0, sizeof(*meta));
		return 0;
	}
	info = &store->map.infos[held->block];
	length = info->length;
	if (length > store->map.g.block_size) {
		kvs_count(&actor, KVS_COUNT_nonsense);
		return kvs_fault(EUCLEAN, "block %u has a length of %llu bytes, above the block size: see kvshm-check",
				 held->block, (unsigned long long)length);
	}
	meta->length = length;
	meta->depth = atomic_load_explicit(&info->depth, memory_order_relaxed);
	memcpy(meta->opaque, info->opaque, sizeof(meta->opaque));
	return 0;
}
