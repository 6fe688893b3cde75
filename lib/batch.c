/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * batch.c: the calls for many items. Contracts in kvshm.h.
 *
 * Guarantees: R24: each item has the result that its single call would have given, and no item touches another. What a
 * group of items will need is fetched from memory together, before the first of them is done: a lookup in a large store
 * waits for memory, and so all of them wait once.
 */
#include "config.h"

#include <string.h>

#include "keys.h"

/* All that any batch has; each uses its part. */
struct batch {
	kvshm_store *store;
	size_t count;
	const struct kvshm_key *keys;
	const struct kvshm_ticket *tickets;
	const struct kvshm_handle *held; /* to look at */
	struct kvshm_handle *handles;	 /* to change */
	struct kvshm_handle *taken;	 /* to set */
	const struct kvshm_meta *metas;
	struct kvshm_meta *metas_out;
	enum kvshm_outcome *outcomes;
	enum kvshm_published *published;
	struct kvshm_ticket *tickets_out;
	void **addresses;
	int *results;
	uint64_t deadline;
	unsigned plane;
	bool shared;
};

static int check(const struct batch *b, struct kvs_actor *actor, bool arrays)
{
	int rc = kvl_begin(b->store, actor);

	if (rc == 0 && b->count && (!arrays || !b->results))
		rc = kvs_routine(EINVAL, "an array of a batch is missing (NULL)");
	return rc;
}

/* ---- By keys --------------------------------------------------------------------------------------------- */

typedef int key_fn(const struct kvs_actor *actor, const struct batch *b, size_t i, uint64_t hash);

static int one_get(const struct kvs_actor *actor, const struct batch *b, size_t i, uint64_t hash)
{
	return kvl_get(actor, &b->keys[i], hash, &b->taken[i]);
}

static int one_get_or_fill(const struct kvs_actor *actor, const struct batch *b, size_t i, uint64_t hash)
{
	return kvl_get_or_fill(actor, &b->keys[i], hash, b->shared, &b->outcomes[i], &b->taken[i]);
}

static int one_remove(const struct kvs_actor *actor, const struct batch *b, size_t i, uint64_t hash)
{
	return kvl_remove(actor, &b->keys[i], hash);
}

static int one_touch(const struct kvs_actor *actor, const struct batch *b, size_t i, uint64_t hash)
{
	return kvl_touch(actor, &b->keys[i], hash);
}

KVS_HOT int by_keys(const struct batch *b, bool arrays, key_fn *one)
{
	uint64_t hashes[KVL_GROUP];
	struct kvs_actor actor;
	int rc = check(b, &actor, arrays && b->keys);

	if (rc)
		return rc;
	for (size_t first = 0, n; first < b->count; first += n) {
		n = kvl_fetch_keys(&actor, b->keys + first, b->count - first, hashes);
		for (size_t i = first; i < first + n; i++) {
			rc = kvl_check(b->store); /* it may be destroyed meanwhile */
			if (rc == 0)
				rc = kvl_check_key(actor.map, b->keys[i].bytes, b->keys[i].length, b);
			if (rc == 0)
				rc = one(&actor, b, i, hashes[i - first]);
			if (rc && b->taken)
				b->taken[i] = kvl_no_hold;
			b->results[i] = rc;
		}
	}
	return 0;
}

int kvshm_get_batch(kvshm_store *store, const struct kvshm_key *keys, size_t count, struct kvshm_handle *refs,
		    int *results)
{
	const struct batch b = {.store = store, .count = count, .keys = keys, .taken = refs, .results = results};

	return by_keys(&b, refs, one_get);
}

int kvshm_get_or_fill_batch(kvshm_store *store, const struct kvshm_key *keys, size_t count,
			    enum kvshm_outcome *outcomes, struct kvshm_handle *handles, int *results)
{
	const struct batch b = {.store = store, .count = count, .keys = keys, .outcomes = outcomes, .taken = handles,
				.results = results};

	return by_keys(&b, outcomes && handles, one_get_or_fill);
}

int kvshm_get_or_fill_shared_batch(kvshm_store *store, const struct kvshm_key *keys, size_t count,
				   enum kvshm_outcome *outcomes, struct kvshm_handle *handles, int *results)
{
	const struct batch b = {.store = store, .count = count, .keys = keys, .outcomes = outcomes, .taken = handles,
				.results = results, .shared = true};

	return by_keys(&b, outcomes && handles, one_get_or_fill);
}

int kvshm_remove_batch(kvshm_store *store, const struct kvshm_key *keys, size_t count, int *results)
{
	const struct batch b = {.store = store, .count = count, .keys = keys, .results = results};

	return by_keys(&b, true, one_remove);
}

int kvshm_touch_batch(kvshm_store *store, const struct kvshm_key *keys, size_t count, int *results)
{
	const struct batch b = {.store = store, .count = count, .keys = keys, .results = results};

	return by_keys(&b, true, one_touch);
}

/* ---- By handles and tickets ------------------------------------------------------------------------------ */

typedef int item_fn(const struct batch *b, size_t i);

/* The block that an item is of. */
static uint32_t block_of(const struct batch *b, size_t i)
{
	uint32_t block = KVS_NONE;

	if (b->handles)
		return b->handles[i].block;
	if (b->held)
		return b->held[i].block;
	if (b->tickets)
		memcpy(&block, b->tickets[i].bytes, sizeof(block)); /* a hint: tickets.c reads it in earnest */
	return block;
}

static void fetch_blocks(const struct kvs_actor *actor, const struct batch *b, size_t first, size_t n)
{
	for (size_t i = first; i < first + n; i++)
		kvs_fetch_block(actor, block_of(b, i));
}

/* Each item is its single call. */
static int by_items(const struct batch *b, bool arrays, item_fn *one)
{
	struct kvs_actor actor;
	int rc = check(b, &actor, arrays);

	if (rc)
		return rc;
	for (size_t first = 0, n; first < b->count; first += n) {
		n = b->count - first < KVL_GROUP ? b->count - first : KVL_GROUP;
		fetch_blocks(&actor, b, first, n);
		for (size_t i = first; i < first + n; i++) {
			rc = one(b, i);
			if (rc && b->taken)
				b->taken[i] = kvl_no_hold;
			b->results[i] = rc;
		}
	}
	return 0;
}

static const struct kvshm_meta *meta_of(const struct batch *b, size_t i)
{
	return b->metas ? &b->metas[i] : NULL;
}

static int one_publish(const struct batch *b, size_t i)
{
	return kvshm_publish(b->store, &b->handles[i], meta_of(b, i));
}

static int one_publish_as(const struct batch *b, size_t i)
{
	return kvshm_publish_as(b->store, &b->handles[i], b->keys[i].bytes, b->keys[i].length, meta_of(b, i),
				&b->published[i]);
}

static int one_give_up(const struct batch *b, size_t i)
{
	return kvshm_give_up(b->store, &b->handles[i]);
}

static int one_wait(const struct batch *b, size_t i)
{
	return kvshm_wait(b->store, &b->handles[i], b->deadline);
}

static int one_release(const struct batch *b, size_t i)
{
	return kvshm_release(b->store, &b->handles[i]);
}

static int one_pin(const struct batch *b, size_t i)
{
	return kvshm_pin(b->store, &b->held[i], &b->taken[i]);
}

static int one_unpin(const struct batch *b, size_t i)
{
	return kvshm_unpin(b->store, &b->handles[i]);
}

static int one_get_meta(const struct batch *b, size_t i)
{
	return kvshm_get_meta(b->store, &b->held[i], &b->metas_out[i]);
}

static int one_address(const struct batch *b, size_t i)
{
	return kvshm_address(b->store, &b->held[i], b->plane, &b->addresses[i]);
}

static int one_alloc(const struct batch *b, size_t i)
{
	return kvshm_alloc(b->store, &b->taken[i]);
}

static int one_ticket(const struct batch *b, size_t i)
{
	return kvshm_get_ticket(b->store, &b->held[i], &b->tickets_out[i]);
}

static int one_hold(const struct batch *b, size_t i)
{
	return kvshm_hold(b->store, &b->tickets[i], &b->outcomes[i], &b->taken[i]);
}

static int one_join(const struct batch *b, size_t i)
{
	return kvshm_join(b->store, &b->tickets[i], b->plane, &b->taken[i]);
}

int kvshm_publish_batch(kvshm_store *store, struct kvshm_handle *handles, const struct kvshm_meta *metas, size_t count,
			int *results)
{
	const struct batch b = {.store = store, .count = count, .handles = handles, .metas = metas, .results = results};

	return by_items(&b, handles, one_publish);
}

int kvshm_publish_as_batch(kvshm_store *store, struct kvshm_handle *handles, const struct kvshm_key *keys,
			   const struct kvshm_meta *metas, size_t count, enum kvshm_published *published, int *results)
{
	const struct batch b = {.store = store, .count = count, .handles = handles, .keys = keys, .metas = metas,
				.published = published, .results = results};

	return by_items(&b, handles && keys && published, one_publish_as);
}

int kvshm_give_up_batch(kvshm_store *store, struct kvshm_handle *handles, size_t count, int *results)
{
	const struct batch b = {.store = store, .count = count, .handles = handles, .results = results};

	return by_items(&b, handles, one_give_up);
}

int kvshm_wait_batch(kvshm_store *store, struct kvshm_handle *refs, size_t count, uint64_t deadline, int *results)
{
	const struct batch b = {.store = store, .count = count, .handles = refs, .deadline = deadline,
				.results = results};

	return by_items(&b, refs, one_wait);
}

int kvshm_release_batch(kvshm_store *store, struct kvshm_handle *refs, size_t count, int *results)
{
	const struct batch b = {.store = store, .count = count, .handles = refs, .results = results};

	return by_items(&b, refs, one_release);
}

int kvshm_pin_batch(kvshm_store *store, const struct kvshm_handle *held, size_t count, struct kvshm_handle *pins,
		    int *results)
{
	const struct batch b = {.store = store, .count = count, .held = held, .taken = pins, .results = results};

	return by_items(&b, held && pins, one_pin);
}

int kvshm_unpin_batch(kvshm_store *store, struct kvshm_handle *pins, size_t count, int *results)
{
	const struct batch b = {.store = store, .count = count, .handles = pins, .results = results};

	return by_items(&b, pins, one_unpin);
}

int kvshm_get_meta_batch(kvshm_store *store, const struct kvshm_handle *held, size_t count, struct kvshm_meta *metas,
			 int *results)
{
	const struct batch b = {.store = store, .count = count, .held = held, .metas_out = metas, .results = results};

	return by_items(&b, held && metas, one_get_meta);
}

int kvshm_address_batch(kvshm_store *store, const struct kvshm_handle *held, unsigned plane, size_t count,
			void **addresses, int *results)
{
	const struct batch b = {.store = store, .count = count, .held = held, .plane = plane, .addresses = addresses,
				.results = results};

	return by_items(&b, held && addresses, one_address);
}

int kvshm_alloc_batch(kvshm_store *store, size_t count, struct kvshm_handle *owned, int *results)
{
	const struct batch b = {.store = store, .count = count, .taken = owned, .results = results};

	return by_items(&b, owned, one_alloc);
}

int kvshm_get_ticket_batch(kvshm_store *store, const struct kvshm_handle *held, size_t count,
			   struct kvshm_ticket *tickets, int *results)
{
	const struct batch b = {.store = store, .count = count, .held = held, .tickets_out = tickets,
				.results = results};

	return by_items(&b, held && tickets, one_ticket);
}

int kvshm_hold_batch(kvshm_store *store, const struct kvshm_ticket *tickets, size_t count, enum kvshm_outcome *outcomes,
		     struct kvshm_handle *refs, int *results)
{
	const struct batch b = {.store = store, .count = count, .tickets = tickets, .outcomes = outcomes,
				.taken = refs, .results = results};

	return by_items(&b, tickets && outcomes && refs, one_hold);
}

int kvshm_join_batch(kvshm_store *store, const struct kvshm_ticket *tickets, unsigned plane, size_t count,
		     struct kvshm_handle *parts, int *results)
{
	const struct batch b = {.store = store, .count = count, .tickets = tickets, .plane = plane, .taken = parts,
				.results = results};

	return by_items(&b, tickets && parts, one_join);
}
