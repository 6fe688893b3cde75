/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * image.c: see image.h. An image has the segment up to the rows, and then of each row the blocks' entries and notes.
 */
#include "config.h"

#include "image.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../torture/base.h"
#include "client.h"
#include "lock.h"
#include "segment.h"

void image_open(const char *name, struct image_store *store)
{
	char path[KVS_PATH_SIZE];

	store->name = name;
	base_expect(kvs_segment_open(name, NULL, NULL, &store->map), 0);
	base_expect(kvs_segment_open_file(name, NULL, O_RDWR | O_CLOEXEC, &store->locks, path), 0);
}

void image_close(struct image_store *store)
{
	kvs_lock_close(store->locks);
	kvs_map_close(&store->map);
}

static uint64_t row_bytes(const struct kvs_geometry *g)
{
	return g->blocks * UINT64_C(16); /* an entry, and a note of pins */
}

void image_new(const struct image_store *store, struct image *image)
{
	const struct kvs_geometry *g = &store->map.g;

	image->size = g->rows_at + g->clients * row_bytes(g);
	image->bytes = calloc(1, image->size);
	base_check(image->bytes);
}

void image_free(struct image *image)
{
	free(image->bytes);
}

/* A piece of the segment, and its place in an image. */
struct piece {
	char *segment;
	uint64_t at, size;
};

static struct piece piece_of(const struct image_store *store, uint32_t i)
{
	const struct kvs_geometry *g = &store->map.g;

	if (i == 0)
		return (struct piece){ .segment = (char *)store->map.head, .size = g->rows_at };
	i--;
	return (struct piece){ .segment = store->map.rows + i * g->row_size, .at = g->rows_at + i * row_bytes(g),
			       .size = row_bytes(g) };
}

bool image_take(const struct image_store *store, struct image *image)
{
	bool differs = false;

	for (uint32_t i = 0; i <= store->map.g.clients; i++) {
		struct piece p = piece_of(store, i);

		if (memcmp(image->bytes + p.at, p.segment, p.size) == 0)
			continue;
		memcpy(image->bytes + p.at, p.segment, p.size);
		differs = true;
	}
	return differs;
}

void image_forget(struct image *image)
{
	memset(image->bytes, 0, image->size);
}

void image_put(const struct image *image, const struct image_store *from, struct image_store *to)
{
	struct kvs_head *head = to->map.head;
	struct kvs_plane_files own = head->planes;

	for (uint32_t i = 0; i <= to->map.g.clients; i++) {
		struct piece p = piece_of(to, i);

		memcpy(p.segment, image->bytes + p.at, p.size);
	}
	head->planes = own; /* it has planes of its own */
	/* Who had it open before has a copy of another store's seed: it would look for blocks in the wrong chains. */
	to->map.g = head->geometry;
	for (uint32_t i = 0; i < to->map.g.planes; i++)
		memcpy(to->map.planes[i], from->map.planes[i], to->map.plane_size);
}

void image_let_live(struct image_store *store, uint64_t slots)
{
	for (uint32_t i = 0; i < store->map.g.clients; i++)
		base_expect(slots >> i & 1 ? kvs_lock_write(store->locks, i) : kvs_lock_drop(store->locks, i), 0);
}

struct kvs_client *image_client(struct image *image, const struct kvs_geometry *g, uint32_t slot)
{
	return (struct kvs_client *)(void *)(image->bytes + g->clients_at) + slot;
}

static const struct kvs_block *block_of(const struct image *image, const struct kvs_geometry *g, uint32_t block)
{
	return (const struct kvs_block *)(const void *)(image->bytes + g->blocks_at) + block;
}

uint64_t image_word(const struct image *image, const struct kvs_geometry *g, uint32_t block)
{
	return atomic_load_explicit(&block_of(image, g, block)->word, memory_order_relaxed);
}

uint64_t image_life(const struct image *image, const struct kvs_geometry *g, uint32_t block)
{
	return atomic_load_explicit(&block_of(image, g, block)->life, memory_order_relaxed);
}

uint64_t image_request(const struct image *image, const struct kvs_geometry *g, uint32_t slot)
{
	const struct kvs_request *requests = (const void *)(image->bytes + g->requests_at);

	return atomic_load_explicit(&requests[slot].word, memory_order_relaxed);
}

uint64_t image_place(const struct image *image, const struct kvs_geometry *g, uint32_t slot)
{
	uint64_t place;

	memcpy(&place, image->bytes + g->places_at + slot * sizeof(place), sizeof(place));
	return place;
}

uint64_t image_entry(const struct image *image, const struct kvs_geometry *g, uint32_t slot, uint32_t block)
{
	uint64_t entry;

	memcpy(&entry, image->bytes + g->rows_at + slot * row_bytes(g) + block * sizeof(entry), sizeof(entry));
	return entry;
}
