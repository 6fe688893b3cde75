/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * layout.c: computes what lies where from the few numbers that a store is made with, and checks that a geometry read
 * from a segment follows from its own numbers. A geometry that passes keeps every index below its count inside of the
 * mapping (F1).
 */
#include "config.h"

#include "layout.h"

#include <errno.h>
#include <string.h>

_Static_assert(offsetof(struct kvs_head, fingerprint) == KVS_FROZEN, "the frozen part never changes");
_Static_assert(sizeof(struct kvs_head) <= KVS_PAGE, "the head is one page");
_Static_assert(sizeof(struct kvs_block) == KVS_LINE, "a short key shares the line");
_Static_assert(KVS_CLIENTS_MAX < KVS_OWNER_COUNT, "a slot fits into a word's owner");
_Static_assert(KVS_REQUESTS_MAX < KVS_OWNER_COUNT, "a place, too");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "futexes look at the low half of a word, which must be first");
_Static_assert(sizeof(_Atomic uint64_t) == 8 && sizeof(_Atomic uint32_t) == 4, "atomics are their plain sizes");

static uint64_t round_up(uint64_t n, uint64_t unit)
{
	return (n + unit - 1) / unit * unit;
}

static uint32_t power_of_two(uint32_t n)
{
	uint32_t p = 1;

	while (p < n)
		p *= 2;
	return p;
}

/* Lays the sections out behind each other; all counts are in range, so that nothing overflows 64 bits. */
static void place(struct kvs_geometry *g)
{
	g->tail = g->key_max > KVS_KEY_HEAD ? (uint32_t)round_up(g->key_max - KVS_KEY_HEAD, 8) : 0;
	g->clients_at = KVS_PAGE;
	g->readers_at = round_up(g->clients_at + g->clients * sizeof(struct kvs_client), KVS_PAGE);
	g->requests_at = round_up(g->readers_at + g->readers * sizeof(struct kvs_reader), KVS_PAGE);
	g->ids_at = round_up(g->requests_at + g->requests * sizeof(struct kvs_request), KVS_PAGE);
	g->places_at = round_up(g->ids_at + g->requests * UINT64_C(8), KVS_PAGE);
	g->peers_at = round_up(g->places_at + g->requests * UINT64_C(8), KVS_PAGE);
	g->hints_at = round_up(g->peers_at + KVS_PEERS * sizeof(struct kvs_peer), KVS_PAGE);
	g->buckets_at = round_up(g->hints_at + round_up(g->blocks, 64) / 8, KVS_PAGE);
	g->blocks_at = round_up(g->buckets_at + g->buckets * UINT64_C(4), KVS_PAGE);
	g->tails_at = round_up(g->blocks_at + g->blocks * sizeof(struct kvs_block), KVS_PAGE);
	g->infos_at = round_up(g->tails_at + (uint64_t)g->blocks * g->tail, KVS_PAGE);
	g->rows_at = round_up(g->infos_at + g->blocks * sizeof(struct kvs_block_info), KVS_ROW_UNIT);
	g->size = g->rows_at + g->clients * g->row_size;
}

int kvs_layout_make(const struct kvs_shape *shape, struct kvs_geometry *geometry)
{
	struct kvs_geometry g;

	memset(&g, 0, sizeof(g));
	if (shape->block_size == 0 || shape->block_size % KVS_BLOCK_UNIT || shape->block_size > UINT64_C(1) << 40 ||
	    shape->blocks == 0 || shape->blocks > KVS_BLOCKS_MAX || shape->planes == 0 ||
	    shape->planes > KVS_PLANES_MAX || shape->key_max == 0 || shape->key_max > KVS_KEY_MAX ||
	    shape->clients == 0 || shape->clients > KVS_CLIENTS_MAX || shape->requests == 0 ||
	    shape->requests > KVS_REQUESTS_MAX || shape->drop > 1 || shape->fence > 1)
		return -EINVAL;
	if (shape->block_size > (uint64_t)INT64_MAX / shape->blocks / shape->planes)
		return -EINVAL; /* the sizes of planes, and their sum, are file offsets */
	g.block_size = shape->block_size;
	g.blocks = shape->blocks;
	g.buckets = power_of_two(shape->blocks);
	g.clients = shape->clients;
	g.readers = shape->clients * KVS_READERS_PER_CLIENT;
	g.requests = shape->requests;
	g.planes = shape->planes;
	g.key_max = shape->key_max;
	g.drop = shape->drop;
	g.fence = shape->fence;
	g.row_size = round_up(shape->blocks * UINT64_C(16), KVS_ROW_UNIT); /* an entry, and a note */
	place(&g);
	*geometry = g;
	return 0;
}

int kvs_layout_check(const struct kvs_geometry *geometry, uint64_t file_size)
{
	struct kvs_shape shape = {
		.block_size = geometry->block_size,
		.blocks = geometry->blocks,
		.planes = geometry->planes,
		.key_max = geometry->key_max,
		.clients = geometry->clients,
		.requests = geometry->requests,
		.drop = geometry->drop,
		.fence = geometry->fence,
	};
	struct kvs_geometry right;

	if (kvs_layout_make(&shape, &right))
		return -EUCLEAN;
	right.incarnation = geometry->incarnation;
	right.seed = geometry->seed;
	if (memcmp(&right, geometry, sizeof(right)) != 0 || file_size != right.size)
		return -EUCLEAN;
	return 0;
}

uint64_t kvs_layout_plane(const struct kvs_geometry *geometry, uint64_t page)
{
	return round_up(geometry->block_size * geometry->blocks, page ? page : 1);
}

/* FNV-1a (Fowler, Noll, Vo; draft-eastlake-fnv) over what must agree between two builds. */
uint64_t kvs_layout_fingerprint(void)
{
	static const size_t facts[] = {
		sizeof(struct kvs_head),
		offsetof(struct kvs_head, geometry),
		offsetof(struct kvs_head, planes.page),
		offsetof(struct kvs_head, planes.uuid),
		offsetof(struct kvs_head, planes.handle),
		offsetof(struct kvs_head, label),
		offsetof(struct kvs_head, state),
		offsetof(struct kvs_head, free_hand),
		sizeof(struct kvs_geometry),
		sizeof(struct kvs_client),
		offsetof(struct kvs_client, name),
		offsetof(struct kvs_client, dma),
		offsetof(struct kvs_client, planes),
		offsetof(struct kvs_head, line_next),
		sizeof(struct kvs_reader),
		offsetof(struct kvs_reader, counters),
		KVS_COUNTERS,
		KVS_HISTOGRAMS,
		KVS_HISTOGRAM_CELLS,
		sizeof(struct kvs_request),
		offsetof(struct kvs_request, opened),
		sizeof(struct kvs_peer),
		offsetof(struct kvs_peer, counters),
		KVS_PEERS,
		KVS_PEER_COUNTERS,
		sizeof(struct kvs_block),
		offsetof(struct kvs_block, next),
		offsetof(struct kvs_block, key),
		sizeof(struct kvs_block_info),
		KVS_STATES,
		KVS_STEP_BITS,
		KVS_CLEARS_SHIFT,
		KVS_GRACE,
		KVS_READERS_PER_CLIENT,
	};
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++)
		for (unsigned byte = 0; byte < 8; byte++) {
			hash ^= (uint64_t)facts[i] >> (8 * byte) & 0xff;
			hash *= UINT64_C(0x100000001b3);
		}
	return hash;
}
