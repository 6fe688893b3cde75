/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * keys.c: the calls on one key: get, get-or-fill, remove, touch; and clearing all of them. Contracts in kvshm.h.
 */
#include "config.h"

#include "clear.h"
#include "keys.h"

int kvl_refuse_key(const struct kvs_map *map, const void *key, size_t length, const void *result)
{
	if (!result)
		return kvs_fault(EINVAL, "no place for the result was given (NULL)");
	if (!key)
		return kvs_fault(EINVAL, "no key was given (NULL)");
	return kvs_fault(EINVAL, "a key of %zu bytes: this store takes 1 to %u (kvshmd --key-max)", length,
			 map->g.key_max);
}

static int too_many(void)
{
	return kvs_routine(EMFILE, "this client has 65,535 refs of that block: release some");
}

static int being_filled(struct kvs_reader *reader)
{
	kvs_count_many(reader, KVS_COUNT_dedups, 1);
	return kvs_routine(EAGAIN, "the key is being filled: ask again, or wait for it (get-or-fill)");
}

static int no_such_key(void)
{
	return kvs_routine(ENOENT, "there is no such key");
}

int kvl_judge_miss(struct kvs_reader *reader, int taken)
{
	switch (taken) {
	case KVS_NOT_READY:
		return being_filled(reader);
	case KVS_GONE:
		kvs_count_many(reader, KVS_COUNT_misses, 1);
		return no_such_key();
	case KVS_TAKEN_FULL:
		return too_many();
	default:
		return taken;
	}
}

/* ---- One key whose hash is known ------------------------------------------------------------------------- */

/* The lengths that engines use (SHA-256; hash and group) get code of their own, with hash and comparison unrolled. */
KVS_HOT int get(const struct kvs_actor *actor, const void *key, size_t length, struct kvshm_handle *ref)
{
	switch (length) {
	case 32:
		return kvl_get_of_length(actor, key, 32, kvs_index_hash(actor->map, key, 32), ref);
	case 36:
		return kvl_get_of_length(actor, key, 36, kvs_index_hash(actor->map, key, 36), ref);
	default:
		return kvl_get_of_length(actor, key, length, kvs_index_hash(actor->map, key, length), ref);
	}
}

int kvl_get(const struct kvs_actor *actor, const struct kvshm_key *key, uint64_t hash, struct kvshm_handle *ref)
{
	if (key->length == 32)
		return kvl_get_of_length(actor, key->bytes, 32, hash, ref);
	return kvl_get_of_length(actor, key->bytes, key->length, hash, ref);
}

int kvl_begin_fill(const struct kvs_actor *actor, const struct kvshm_key *key, uint64_t hash, bool shared,
		   struct kvs_found *found)
{
	int rc, again;

	kvs_count(actor, KVS_COUNT_misses);
	rc = kvs_table_fill(actor, key->bytes, key->length, hash, shared, found);
	if (rc != -ENOSPC)
		return rc;
	/* It may have come while we searched for room. */
	again = kvs_table_get(actor, key->bytes, key->length, hash, true, found);
	return again == KVS_GONE ? rc : again;
}

int kvl_get_or_fill(const struct kvs_actor *actor, const struct kvshm_key *key, uint64_t hash, bool shared,
		    enum kvshm_outcome *outcome, struct kvshm_handle *handle)
{
	struct kvs_found found = {.block = KVS_NONE};
	int rc = kvs_table_get(actor, key->bytes, key->length, hash, true, &found);

	if (rc == KVS_GONE) {
		rc = kvl_begin_fill(actor, key, hash, shared, &found);
		if (rc == KVS_GONE) {
			*outcome = KVSHM_FILL;
			*handle = kvl_handle(found.block, found.life, KVSHM_WRITER);
			return 0;
		}
	}
	return kvl_judge_taken(actor, rc, &found, outcome, handle);
}

int kvl_judge_taken(const struct kvs_actor *actor, int taken, const struct kvs_found *found,
		    enum kvshm_outcome *outcome, struct kvshm_handle *handle)
{
	switch (taken) {
	case KVS_TAKEN:
		*outcome = KVSHM_READY;
		*handle = kvl_hit(actor, found);
		return 0;
	case KVS_TAKEN_FILLING:
		kvs_count(actor, KVS_COUNT_dedups);
		*outcome = KVSHM_PENDING;
		*handle = kvl_handle(found->block, found->life, KVSHM_REF);
		return 0;
	case KVS_TAKEN_FULL:
		return too_many();
	default:
		return taken;
	}
}

int kvl_remove(const struct kvs_actor *actor, const struct kvshm_key *key, uint64_t hash)
{
	struct kvs_found found = {.block = KVS_NONE};
	int rc = kvs_table_get(actor, key->bytes, key->length, hash, true, &found);

	if (rc == KVS_GONE)
		return no_such_key();
	if (rc == KVS_TAKEN_FULL)
		return too_many();
	if (rc < 0)
		return rc;
	kvs_enter(actor);
	if (kvs_table_doom(actor, found.block))
		kvs_count(actor, KVS_COUNT_removals);
	(void)kvs_hold_release_inside(actor, found.block, found.life, KVS_ENTRY_REF, KVS_ENTRY_REFS);
	kvs_leave(actor);
	return 0;
}

int kvl_touch(const struct kvs_actor *actor, const struct kvshm_key *key, uint64_t hash)
{
	int rc;

	kvs_enter(actor);
	rc = kvs_table_touch(actor, key->bytes, key->length, hash);
	kvs_leave(actor);
	if (rc == KVS_GONE)
		return no_such_key();
	if (rc == KVS_NOT_READY)
		return kvs_routine(EAGAIN, "the key is being filled");
	if (rc == KVS_TAKEN)
		kvs_count(actor, KVS_COUNT_touches);
	return rc < 0 ? rc : 0;
}

static inline bool is_key(const struct kvs_map *map, const struct kvshm_key *key)
{
	return key->bytes && key->length - 1 < map->g.key_max;
}

size_t kvl_fetch_keys(const struct kvs_actor *actor, const struct kvshm_key *keys, size_t count,
		      uint64_t hashes[KVL_GROUP])
{
	const struct kvs_map *map = actor->map;
	size_t n = count < KVL_GROUP ? count : KVL_GROUP;

	for (size_t i = 0; i < n; i++)
		__builtin_prefetch(keys[i].bytes);
	for (size_t i = 0; i < n; i++) {
		hashes[i] = 0;
		if (!is_key(map, &keys[i]))
			continue;
		hashes[i] = keys[i].length == 32 ? kvs_index_hash(map, keys[i].bytes, 32)
						 : kvs_index_hash(map, keys[i].bytes, keys[i].length);
		kvs_index_fetch_bucket(map, hashes[i]);
	}
	for (size_t i = 0; i < n; i++)
		kvs_index_fetch_block(actor, hashes[i]);
	kvs_enter(actor);
	for (size_t i = 0; i < n; i++)
		if (is_key(map, &keys[i]))
			kvs_index_fetch_second(actor, keys[i].bytes, (uint32_t)keys[i].length, hashes[i]);
	kvs_leave(actor);
	return n;
}

/* ---- The calls ------------------------------------------------------------------------------------------- */

int kvshm_get(kvshm_store *store, const void *key, size_t key_length, struct kvshm_handle *ref)
{
	struct kvs_actor actor;
	int rc = kvl_begin(store, &actor);

	if (rc == 0)
		rc = kvl_check_key(&store->map, key, key_length, ref);
	return rc ? rc : get(&actor, key, key_length, ref);
}

/* How the other calls on one key begin. */
static int begin(kvshm_store *store, struct kvs_actor *actor, const struct kvshm_key *key, const void *result,
		 uint64_t *hash)
{
	int rc = kvl_begin(store, actor);

	if (rc == 0)
		rc = kvl_check_key(&store->map, key->bytes, key->length, result);
	if (rc == 0)
		*hash = kvs_index_hash(&store->map, key->bytes, key->length);
	return rc;
}

static int get_or_fill(kvshm_store *store, const struct kvshm_key *key, bool shared, enum kvshm_outcome *outcome,
		       struct kvshm_handle *handle)
{
	struct kvs_actor actor;
	uint64_t hash;
	int rc = begin(store, &actor, key, outcome ? handle : NULL, &hash);

	return rc ? rc : kvl_get_or_fill(&actor, key, hash, shared, outcome, handle);
}

int kvshm_get_or_fill(kvshm_store *store, const void *key, size_t key_length, enum kvshm_outcome *outcome,
		      struct kvshm_handle *handle)
{
	return get_or_fill(store, &(struct kvshm_key){key, key_length}, false, outcome, handle);
}

int kvshm_get_or_fill_shared(kvshm_store *store, const void *key, size_t key_length, enum kvshm_outcome *outcome,
			     struct kvshm_handle *handle)
{
	return get_or_fill(store, &(struct kvshm_key){key, key_length}, true, outcome, handle);
}

int kvshm_remove(kvshm_store *store, const void *key, size_t key_length)
{
	const struct kvshm_key name = {key, key_length};
	struct kvs_actor actor;
	uint64_t hash;
	int rc = begin(store, &actor, &name, store, &hash);

	return rc ? rc : kvl_remove(&actor, &name, hash);
}

int kvshm_touch(kvshm_store *store, const void *key, size_t key_length)
{
	const struct kvshm_key name = {key, key_length};
	struct kvs_actor actor;
	uint64_t hash;
	int rc = begin(store, &actor, &name, store, &hash);

	return rc ? rc : kvl_touch(&actor, &name, hash);
}

int kvshm_clear(kvshm_store *store)
{
	struct kvs_actor actor;
	int rc = kvl_begin(store, &actor);

	return rc ? rc : kvs_clear(&actor);
}
