/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * push.c: transfers that offer, write and commit blocks of the store by themselves: kvshm_send(), and the answer to a
 * WANT. Guarantees: each block is held until it has arrived over there, or need not be sent, or the transfer has ended
 * (B1): so what is read is what was published. What a block's key and length are is read while it is held.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "index.h"
#include "internal.h"
#include "transfer.h"

#define SHARE (UINT64_C(1) << 20) /* bytes of a plane that are committed together */

struct kvr_push {
	kvshm_store *store;
	size_t count;
	uint64_t *lengths; /* bytes that each block has */
	struct kvshm_handle refs[];
};

/* ---- What is offered */

/* Relaxed: the key is not changed while the block is held, which it has been since its word was seen READY. */
static int read_key(const struct kvs_map *map, uint32_t number, uint8_t key[KVSHM_KEY_MAX], size_t *length)
{
	const struct kvs_block *block = kvs_block(map, number);
	size_t all = atomic_load_explicit(&block->key_length, memory_order_relaxed);
	size_t head = all < KVS_KEY_HEAD ? all : KVS_KEY_HEAD;

	if (!all || all > map->g.key_max)
		return kvs_fault(EUCLEAN, "block %u has a key of %zu bytes: see kvshm-check", number, all);
	memcpy(key, block->key, head);
	if (all > head)
		memcpy(key + head, kvs_key_tail(map, number), all - head);
	*length = all;
	return 0;
}

static int offer_one(const struct kvr_push *push, size_t i, uint8_t *key, struct kvshm_offer *offer)
{
	int rc = kvshm_get_meta(push->store, &push->refs[i], &offer->meta);

	if (rc == 0)
		rc = read_key(&push->store->map, push->refs[i].block, key, &offer->key.length);
	offer->key.bytes = key;
	push->lengths[i] = offer->meta.length;
	return rc;
}

#define OFFERED_AT_ONCE 64

static int offer_all(struct kvshm_transfer *t)
{
	uint8_t keys[OFFERED_AT_ONCE][KVSHM_KEY_MAX];
	struct kvshm_offer offers[OFFERED_AT_ONCE];
	int rc = 0;

	for (size_t done = 0; done < t->push->count && rc == 0;) {
		size_t count = 0;

		for (; count < OFFERED_AT_ONCE && done + count < t->push->count && rc == 0; count++)
			rc = offer_one(t->push, done + count, keys[count], &offers[count]);
		if (rc == 0)
			rc = kvr_transfer_offer(t, (uint32_t)done, offers, count);
		done += count;
	}
	return rc;
}

/* ---- What is written */

/* Plane by plane: blocks that lie behind each other on both sides go in one write. */
static int write_plane(struct kvshm_transfer *t, unsigned plane, const uint32_t *positions, size_t count)
{
	const uint64_t size = t->push->store->map.g.block_size;
	const char *base = t->peer->node->planes[plane];
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++) {
		const struct kvshm_handle *ref = &t->push->refs[positions[i]];
		uint64_t length = t->push->lengths[positions[i]];

		if (length)
			rc = kvr_transfer_write(t, positions[i], plane, 0, base + ref->block * size, length);
	}
	return rc;
}

static int push_some(struct kvshm_transfer *t, const uint32_t *positions, size_t count)
{
	int rc = 0;

	for (unsigned plane = 0; plane < KVSHM_PLANES_MAX && rc == 0; plane++)
		if (t->planes & (UINT32_C(1) << plane))
			rc = write_plane(t, plane, positions, count);
	return rc ? rc : kvr_transfer_commit(t, positions, count, KVR_WHOLE);
}

/* So many at once that the other side, which sees no writes, hears of a slow link now and then; it publishes the blocks
 * of one of its windows when the last of these is committed. */
int kvr_push_granted(struct kvshm_transfer *t, const uint32_t *positions, size_t count)
{
	size_t most = SHARE < t->peer->geometry.block_size ? 1 : SHARE / t->peer->geometry.block_size;
	int rc = 0;

	for (size_t first = 0; first < count && rc == 0; first += most)
		rc = push_some(t, positions + first, count - first < most ? count - first : most);
	return rc == -ENOTCONN ? 0 : rc; /* that ends it anyway */
}

/* ---- What is held */

void kvr_push_release(struct kvr_push *push, uint32_t position)
{
	(void)kvshm_let_go(push->store, &push->refs[position], 1); /* of a store that was destroyed nothing is held */
}

void kvr_push_free(struct kvr_push *push)
{
	(void)kvshm_let_go(push->store, push->refs, push->count);
	free(push->lengths);
	free(push);
}

static int make_push(kvshm_store *store, const struct kvshm_handle *refs, size_t count, struct kvr_push **made)
{
	struct kvr_push *push = malloc(sizeof(*push) + count * sizeof(*refs));

	if (push)
		push->lengths = malloc((count ? count : 1) * sizeof(*push->lengths));
	if (!push || !push->lengths) {
		free(push);
		return kvs_fault(ENOMEM, "no memory for a transfer of %zu blocks", count);
	}
	push->store = store;
	push->count = count;
	if (count)
		memcpy(push->refs, refs, count * sizeof(*refs));
	*made = push;
	return 0;
}

static uint32_t all_planes(const struct kvr_peer *peer)
{
	return UINT32_MAX >> (KVSHM_PLANES_MAX - peer->geometry.planes);
}

int kvr_push_start(struct kvr_peer *peer, const struct kvr_push_options *options, struct kvshm_handle *refs,
		   size_t count, struct kvshm_transfer **transfer)
{
	struct kvshm_transfer *t;
	struct kvr_push *push;
	int rc = make_push(peer->node->store, refs, count, &push);

	if (rc) {
		(void)kvshm_let_go(peer->node->store, refs, count);
		return rc;
	}
	rc = kvr_transfer_make(peer, options->owner, (uint32_t)count,
			       options->open.planes ? options->open.planes : all_planes(peer), &t);
	if (rc) {
		kvr_push_free(push);
		return rc;
	}
	t->push = push;
	t->user = options->user;
	rc = offer_all(t);
	if (rc == 0)
		rc = kvr_transfer_send_open(t, &options->open);
	if (rc)
		kvr_transfer_free(t);
	else if (transfer)
		*transfer = t;
	return rc;
}
