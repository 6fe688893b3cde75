/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * keys.h: what is done for one key, once its hash is known: shared by the single calls (keys.c), matches (match.c) and
 * batches (batch.c). And how many keys are fetched from memory together.
 */
#ifndef KVSHM_KEYS_H
#define KVSHM_KEYS_H

#include "internal.h"
#include "table.h"
#include "wait.h"

/* Why a key can't be, or has no place for its result: -EINVAL. */
int kvl_refuse_key(const struct kvs_map *map, const void *key, size_t length, const void *result);

static inline int kvl_check_key(const struct kvs_map *map, const void *key, size_t length, const void *result)
{
	if (__builtin_expect(!key || !result || length - 1 >= map->g.key_max, 0))
		return kvl_refuse_key(map, key, length, result);
	return 0;
}

/* A key that is not asked for. */
static inline bool kvl_no_key(const struct kvshm_key *key)
{
	return !key->bytes && !key->length;
}

/* What a lookup came to where it is no hit: counts it, and says so. */
int kvl_judge_miss(struct kvs_reader *reader, int taken);

/* The ref of a hit. Of one in 64 the time is taken (histograms.def: hold): reading the clock for each would cost more
 * than the lookup. */
#define KVL_TIMED_HITS 64
KVS_HOT struct kvshm_handle kvl_hit(const struct kvs_actor *actor, const struct kvs_found *found)
{
	struct kvshm_handle ref = kvl_handle(found->block, found->life, KVSHM_REF);
	uint64_t hits = atomic_load_explicit(&actor->reader->counters[KVS_COUNT_hits], memory_order_relaxed);

	if (__builtin_expect(hits % KVL_TIMED_HITS == 0, 0))
		ref.since = kvs_now();
	kvs_count(actor, KVS_COUNT_hits);
	return ref;
}

/* A lookup of one key that takes only what is ready. */
KVS_HOT int kvl_get_of_length(const struct kvs_actor *actor, const void *key, size_t length, uint64_t hash,
			      struct kvshm_handle *ref)
{
	struct kvs_found found = {.block = KVS_NONE};
	int taken = kvs_table_get(actor, key, length, hash, false, &found);

	if (__builtin_expect(taken != KVS_TAKEN, 0))
		return kvl_judge_miss(actor->reader, taken);
	*ref = kvl_hit(actor, &found);
	return 0;
}

int kvl_get(const struct kvs_actor *actor, const struct kvshm_key *key, uint64_t hash, struct kvshm_handle *ref);
int kvl_get_or_fill(const struct kvs_actor *actor, const struct kvshm_key *key, uint64_t hash, bool shared,
		    enum kvshm_outcome *outcome, struct kvshm_handle *handle);

/* Begins a fill, or finds that the key has come meanwhile: as kvs_table_fill(). */
int kvl_begin_fill(const struct kvs_actor *actor, const struct kvshm_key *key, uint64_t hash, bool shared,
		   struct kvs_found *found);

/* What was found, as a call's result: 0 with a ref, or an error. */
int kvl_judge_taken(const struct kvs_actor *actor, int taken, const struct kvs_found *found,
		    enum kvshm_outcome *outcome, struct kvshm_handle *handle);
int kvl_remove(const struct kvs_actor *actor, const struct kvshm_key *key, uint64_t hash);
int kvl_touch(const struct kvs_actor *actor, const struct kvshm_key *key, uint64_t hash);

/* Fetches what the lookups of the first of count keys will touch, all at the same time; returns how many these are, and
 * their hashes. Keys that can't be are passed over. */
#define KVL_GROUP 32
size_t kvl_fetch_keys(const struct kvs_actor *actor, const struct kvshm_key *keys, size_t count,
		      uint64_t hashes[KVL_GROUP]);

#endif
