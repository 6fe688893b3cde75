/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * keys.c: the calls that take keys: get, get-or-fill, match, remove. Contracts in kvshm.h.
 */
#include "config.h"

#include "internal.h"
#include "table.h"

static int refuse_key(const struct kvs_map *map, const void *key, size_t length, const void *result)
{
	if (!result)
		return kvs_fault(EINVAL, "no place for the result was given (NULL)");
	if (!key)
		return kvs_fault(EINVAL, "no key was given (NULL)");
	return kvs_fault(EINVAL, "a key of %zu bytes: this store takes 1 to %u (kvshmd --key-max)", length,
			 map->g.key_max);
}

static inline int check_key(const struct kvs_map *map, const void *key, size_t length, const void *result)
{
	if (__builtin_expect(!key || !result || length - 1 >= map->g.key_max, 0))
		return refuse_key(map, key, length, result);
	return 0;
}

static int too_many(void)
{
	return kvs_routine(EMFILE, "this client has 65,535 refs of that block: release some");
}

/* Says what a lookup came to, and counts it, where it is no hit. */
static int judge_miss(struct kvs_reader *reader, int taken)
{
	switch (taken) {
	case KVS_NOT_READY:
		kvs_count_many(reader, KVS_COUNT_dedups, 1);
		return kvs_routine(EAGAIN, "the key is being filled: ask again, or wait for it (get-or-fill)");
	case KVS_GONE:
		kvs_count_many(reader, KVS_COUNT_misses, 1);
		return kvs_routine(ENOENT, "there is no such key");
	case KVS_TAKEN_FULL:
		return too_many();
	default:
		return taken;
	}
}

/* A lookup of one key that takes only what is ready. */
KVS_HOT int get_of_length(const struct kvs_actor *actor, const void *key, size_t length, struct kvshm_handle *ref)
{
	struct kvs_found found = {.block = KVS_NONE};
	int taken = kvs_table_get(actor, key, length, kvs_index_hash(actor->map, key, length), false, &found);

	if (__builtin_expect(taken != KVS_TAKEN, 0))
		return judge_miss(actor->reader, taken);
	kvs_count(actor, KVS_COUNT_hits);
	*ref = kvl_handle(found.block, found.life, KVSHM_REF);
	return 0;
}

/* The lengths that engines use (SHA-256; hash and group) get code of their own, with hash and comparison unrolled. */
KVS_HOT int get(const struct kvs_actor *actor, const void *key, size_t length, struct kvshm_handle *ref)
{
	switch (length) {
	case 32:
		return get_of_length(actor, key, 32, ref);
	case 36:
		return get_of_length(actor, key, 36, ref);
	default:
		return get_of_length(actor, key, length, ref);
	}
}

int kvshm_get(kvshm *store, const void *key, size_t key_length, struct kvshm_handle *ref)
{
	struct kvs_actor actor;
	int rc = kvl_begin(store, &actor);

	if (rc == 0)
		rc = check_key(&store->map, key, key_length, ref);
	return rc ? rc : get(&actor, key, key_length, ref);
}

int kvshm_get_or_fill(kvshm *store, const void *key, size_t key_length, enum kvshm_outcome *outcome,
		      struct kvshm_handle *handle)
{
	struct kvs_actor actor;
	struct kvs_found found = {.block = KVS_NONE};
	uint64_t hash;
	int rc = kvl_begin(store, &actor);

	if (rc == 0)
		rc = check_key(&store->map, key, key_length, outcome ? handle : NULL);
	if (rc)
		return rc;
	hash = kvs_index_hash(&store->map, key, key_length);
	rc = kvs_table_get(&actor, key, key_length, hash, true, &found);
	if (rc == KVS_GONE) {
		kvs_count(&actor, KVS_COUNT_misses);
		rc = kvs_table_fill(&actor, key, key_length, hash, &found);
		if (rc == -ENOSPC) {
			/* It may have come while we searched for room. */
			int again = kvs_table_get(&actor, key, key_length, hash, true, &found);

			rc = again == KVS_GONE ? rc : again;
		} else if (rc == KVS_GONE) {
			*outcome = KVSHM_FILL;
			*handle = kvl_handle(found.block, found.life, KVSHM_WRITER);
			return 0;
		}
	}
	if (rc < 0)
		return rc;
	if (rc == KVS_TAKEN_FULL)
		return too_many();
	kvs_count(&actor, rc == KVS_TAKEN ? KVS_COUNT_hits : KVS_COUNT_dedups);
	*outcome = rc == KVS_TAKEN ? KVSHM_READY : KVSHM_PENDING;
	*handle = kvl_handle(found.block, found.life, KVSHM_REF);
	return 0;
}

int kvshm_match(kvshm *store, const struct kvshm_key *keys, size_t count, struct kvshm_handle *refs, size_t *ready,
		enum kvshm_next *next)
{
	struct kvs_actor actor;
	size_t done = 0;
	int rc = kvl_begin(store, &actor);

	if (!ready || !next || (count && !keys))
		return kvs_fault(EINVAL, "no keys, or no place for the results, were given (NULL)");
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = check_key(&store->map, keys[i].bytes, keys[i].length, refs);
	if (rc)
		return rc;
	while (done < count && rc == 0) {
		rc = get(&actor, keys[done].bytes, keys[done].length, &refs[done]);
		if (rc == 0)
			done++;
	}
	if (rc && rc != -ENOENT && rc != -EAGAIN) {
		while (done--) {
			(void)kvs_hold_release(&actor, refs[done].block, refs[done].life, KVS_ENTRY_REF,
					       KVS_ENTRY_REFS);
			refs[done] = kvl_handle(0, 0, KVSHM_NONE);
		}
		return rc;
	}
	*ready = done;
	*next = rc == 0 ? KVSHM_NEXT_NONE : rc == -ENOENT ? KVSHM_NEXT_MISSING : KVSHM_NEXT_FILLING;
	return 0;
}

int kvshm_remove(kvshm *store, const void *key, size_t key_length)
{
	struct kvs_actor actor;
	struct kvs_found found = {.block = KVS_NONE};
	int rc = kvl_begin(store, &actor);

	if (rc == 0)
		rc = check_key(&store->map, key, key_length, store);
	if (rc)
		return rc;
	rc = kvs_table_get(&actor, key, key_length, kvs_index_hash(&store->map, key, key_length), true, &found);
	if (rc == KVS_GONE)
		return kvs_routine(ENOENT, "there is no such key");
	if (rc == KVS_TAKEN_FULL)
		return too_many();
	if (rc < 0)
		return rc;
	kvs_enter(&actor);
	kvs_table_remove(&actor, found.block);
	(void)kvs_hold_release_inside(&actor, found.block, found.life, KVS_ENTRY_REF, KVS_ENTRY_REFS);
	kvs_leave(&actor);
	return 0;
}
