/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * match.c: the longest prefix of a sequence of keys that is ready, and the same for sliding windows. Contracts in
 * kvshm.h. Guarantees: what is told is held, and a match that fails holds nothing. Keys are fetched from memory in
 * groups.
 */
#include "config.h"

#include "keys.h"

static int check(kvshm_store *store, struct kvs_actor *actor, const struct kvshm_key *keys, size_t count,
		 const struct kvshm_handle *refs)
{
	int rc = kvl_begin(store, actor);

	if (rc == 0 && count && !keys)
		rc = kvs_fault(EINVAL, "no keys were given (NULL)");
	for (size_t i = 0; rc == 0 && i < count; i++)
		if (!kvl_no_key(&keys[i]) || !refs)
			rc = kvl_check_key(&store->map, keys[i].bytes, keys[i].length, refs);
	return rc;
}

/* Takes one key of a sequence; one that is not asked for counts as ready. */
static int take(const struct kvs_actor *actor, const struct kvshm_key *key, uint64_t hash, struct kvshm_handle *ref)
{
	if (!kvl_no_key(key))
		return kvl_get(actor, key, hash, ref);
	*ref = kvl_no_hold;
	return 0;
}

static void let_go(const struct kvs_actor *actor, struct kvshm_handle *refs, size_t count)
{
	while (count--) {
		if (refs[count].kind == KVSHM_REF)
			(void)kvs_hold_release(actor, refs[count].block, refs[count].life, KVS_ENTRY_REF,
					       KVS_ENTRY_REFS);
		refs[count] = kvl_no_hold;
	}
}

static enum kvshm_next next_of(int rc)
{
	if (rc == 0)
		return KVSHM_NEXT_NONE;
	return rc == -ENOENT ? KVSHM_NEXT_MISSING : KVSHM_NEXT_FILLING;
}

static bool is_miss(int rc)
{
	return rc == -ENOENT || rc == -EAGAIN;
}

int kvshm_match(kvshm_store *store, const struct kvshm_key *keys, size_t count, struct kvshm_handle *refs,
		size_t *ready, enum kvshm_next *next)
{
	uint64_t hashes[KVL_GROUP];
	struct kvs_actor actor;
	size_t done = 0, fetched = 0, first = 0;
	int rc = check(store, &actor, keys, count, refs);

	if (rc)
		return rc;
	if (!ready || !next)
		return kvl_no_place();
	while (done < count && rc == 0) {
		if (done == fetched) {
			first = done;
			fetched += kvl_fetch_keys(&actor, keys + done, count - done, hashes);
		}
		rc = take(&actor, &keys[done], hashes[done - first], &refs[done]);
		done += rc == 0;
	}
	if (rc && !is_miss(rc)) {
		let_go(&actor, refs, done);
		return rc;
	}
	*ready = done;
	*next = next_of(rc);
	return 0;
}

/* A search for a window, from the end of the keys to their beginning. refs[at] to refs[at + run - 1] are taken. */
struct search {
	const struct kvs_actor *actor;
	const struct kvshm_key *keys;
	struct kvshm_handle *refs;
	size_t at, run, window;
	enum kvshm_next next; /* what the key behind the run is */
};

/* One key further to the beginning; a miss ends the run, and another begins before it. */
static int step(struct search *s, uint64_t hash)
{
	int rc = take(s->actor, &s->keys[s->at - 1], hash, &s->refs[s->at - 1]);

	if (rc && !is_miss(rc))
		return rc;
	if (rc == 0) {
		s->run++;
	} else {
		let_go(s->actor, s->refs + s->at, s->run);
		s->run = 0;
		s->next = next_of(rc);
	}
	s->at--;
	return 0;
}

static int search(struct search *s)
{
	uint64_t hashes[KVL_GROUP];
	size_t first = s->at; /* of the keys that are fetched */
	int rc = 0;

	while (rc == 0 && s->at && s->run < s->window) {
		if (s->at == first) {
			first -= first < KVL_GROUP ? first : KVL_GROUP;
			(void)kvl_fetch_keys(s->actor, s->keys + first, s->at - first, hashes);
		}
		rc = step(s, hashes[s->at - 1 - first]);
	}
	return rc;
}

int kvshm_match_window(kvshm_store *store, const struct kvshm_key *keys, size_t count, size_t window,
		       struct kvshm_handle *refs, size_t *ready, enum kvshm_next *next)
{
	struct kvs_actor actor;
	struct search s = {.actor = &actor, .keys = keys, .refs = refs, .at = count, .window = window};
	int rc = check(store, &actor, keys, count, refs);

	if (rc == 0 && window == 0)
		rc = kvs_fault(EINVAL, "a window of 0 keys: it must be at least 1");
	if (rc)
		return rc;
	if (!ready || !next)
		return kvl_no_place();
	for (size_t i = 0; i < count; i++)
		refs[i] = kvl_no_hold;
	s.next = KVSHM_NEXT_NONE;
	rc = search(&s);
	if (rc) {
		let_go(&actor, refs + s.at, s.run);
		return rc;
	}
	*ready = s.at + s.run;
	*next = s.next;
	return 0;
}
