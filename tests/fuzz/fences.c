/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * fences: what is between the sections of a segment is out of bounds for AddressSanitizer, as long as it is mapped: so
 * who reads or writes beyond the end of a section is seen, though the mapping goes on. The linker puts this file's
 * functions in front of those that map and unmap (--wrap). Without AddressSanitizer they do nothing more.
 */
#include "config.h"

#include "map.h"

int __real_kvs_map_open(struct kvs_map *map, int file, const struct kvs_geometry *geometry);
int __wrap_kvs_map_open(struct kvs_map *map, int file, const struct kvs_geometry *geometry);
void __real_kvs_map_close(struct kvs_map *map);
void __wrap_kvs_map_close(struct kvs_map *map);

/* AddressSanitizer's; NULL without it. */
void __asan_poison_memory_region(const volatile void *at, size_t size) __attribute__((weak));
void __asan_unpoison_memory_region(const volatile void *at, size_t size) __attribute__((weak));

static void fence_from_to(const struct kvs_map *map, uint64_t from, uint64_t to)
{
	if (to > from)
		__asan_poison_memory_region((const char *)map->head + from, to - from);
}

static void fence(const struct kvs_map *map)
{
	const struct kvs_geometry *g = &map->g;
	const uint64_t blocks = g->blocks;

	fence_from_to(map, sizeof(struct kvs_head), g->clients_at);
	fence_from_to(map, g->clients_at + g->clients * sizeof(struct kvs_client), g->readers_at);
	fence_from_to(map, g->readers_at + g->readers * sizeof(struct kvs_reader), g->requests_at);
	fence_from_to(map, g->requests_at + g->requests * sizeof(struct kvs_request), g->ids_at);
	fence_from_to(map, g->ids_at + g->requests * sizeof(uint64_t), g->places_at);
	fence_from_to(map, g->places_at + g->requests * sizeof(uint64_t), g->peers_at);
	fence_from_to(map, g->peers_at + KVS_PEERS * sizeof(struct kvs_peer), g->hints_at);
	fence_from_to(map, g->hints_at + (blocks + 63) / 64 * 8, g->buckets_at);
	fence_from_to(map, g->buckets_at + g->buckets * sizeof(uint32_t), g->blocks_at);
	fence_from_to(map, g->blocks_at + blocks * sizeof(struct kvs_block), g->tails_at);
	fence_from_to(map, g->tails_at + blocks * g->tail, g->infos_at);
	fence_from_to(map, g->infos_at + blocks * sizeof(struct kvs_block_info), g->rows_at);
	for (uint32_t i = 0; i < g->clients; i++)
		fence_from_to(map, g->rows_at + i * g->row_size + 2 * blocks * sizeof(uint64_t),
			      g->rows_at + (i + 1) * g->row_size);
}

int __wrap_kvs_map_open(struct kvs_map *map, int file, const struct kvs_geometry *geometry)
{
	int rc = __real_kvs_map_open(map, file, geometry);

	if (rc == 0 && __asan_poison_memory_region)
		fence(map);
	return rc;
}

void __wrap_kvs_map_close(struct kvs_map *map)
{
	if (__asan_unpoison_memory_region)
		__asan_unpoison_memory_region(map->head, map->g.size);
	__real_kvs_map_close(map);
}
