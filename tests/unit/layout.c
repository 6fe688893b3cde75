/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * layout: what lies where in the segment. A geometry is believed only if it follows from its own numbers (F1).
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <string.h>

static const struct kvs_shape shapes[] = {
	{.block_size = 512, .blocks = 1, .planes = 1, .key_max = 1, .clients = 1,
	 .requests = 1},
	{.block_size = 512, .blocks = 3, .planes = 2, .key_max = 31, .clients = 2,
	 .requests = 2, .drop = 1},
	{.block_size = 4096, .blocks = 64, .planes = 1, .key_max = 32, .clients = 8,
	 .requests = 64, .fence = 1},
	{.block_size = 1179648, .blocks = 1000, .planes = 8, .key_max = 33, .clients = 64,
	 .requests = 1024},
	{.block_size = 10485760, .blocks = 8191, .planes = 4, .key_max = 64, .clients = 65,
	 .requests = 1023},
	{.block_size = 33554432, .blocks = 1048577, .planes = 32, .key_max = 256, .clients = 1024,
	 .requests = 4095},
	{.block_size = UINT64_C(1) << 27, .blocks = KVS_BLOCKS_MAX, .planes = 32, .key_max = 255, .clients = 1024,
	 .requests = 4095},
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

/* Sections in their order: each begins where the one before has ended, or later, on a line of its own. */
static bool sections_right(const struct kvs_geometry *g)
{
	const struct {
		uint64_t at, size;
	} parts[] = {
		{0, sizeof(struct kvs_head)},
		{g->clients_at, g->clients * sizeof(struct kvs_client)},
		{g->readers_at, g->readers * sizeof(struct kvs_reader)},
		{g->requests_at, g->requests * sizeof(struct kvs_request)},
		{g->ids_at, g->requests * UINT64_C(8)},
		{g->places_at, g->requests * UINT64_C(8)},
		{g->peers_at, KVS_PEERS * sizeof(struct kvs_peer)},
		{g->hints_at, (g->blocks + UINT64_C(63)) / 64 * 8},
		{g->buckets_at, g->buckets * UINT64_C(4)},
		{g->blocks_at, g->blocks * sizeof(struct kvs_block)},
		{g->tails_at, (uint64_t)g->blocks * g->tail},
		{g->infos_at, g->blocks * sizeof(struct kvs_block_info)},
		{g->rows_at, g->clients * g->row_size},
		{g->size, 0},
	};

	bool right = g->rows_at % KVS_ROW_UNIT == 0 && g->row_size % KVS_ROW_UNIT == 0;

	for (unsigned i = 1; i < sizeof(parts) / sizeof(parts[0]); i++)
		right = right && parts[i - 1].at + parts[i - 1].size <= parts[i].at && parts[i].at % KVS_PAGE == 0;
	return right;
}

START_TEST(sections_of_every_shape_lie_apart)
{
	for (unsigned i = 0; i < SHAPES; i++) {
		struct kvs_geometry g;

		ck_assert_int_eq(kvs_layout_make(&shapes[i], &g), 0);
		ck_assert(sections_right(&g));
		ck_assert_uint_ge(g.buckets, g.blocks);
		ck_assert_uint_eq(g.buckets & (g.buckets - 1), 0);
		ck_assert_uint_ge(KVS_KEY_HEAD + g.tail, g.key_max);
		ck_assert_uint_ge(g.row_size, g.blocks * UINT64_C(8));
		ck_assert_uint_eq(g.readers, g.clients * UINT64_C(16));
	}
}
END_TEST

START_TEST(keys_of_32_bytes_share_the_descriptors_one_line)
{
	struct kvs_shape shape = shapes[2];
	struct kvs_geometry g;

	ck_assert_uint_eq(sizeof(struct kvs_block), KVS_LINE);
	ck_assert_int_eq(kvs_layout_make(&shape, &g), 0);
	ck_assert_uint_eq(g.tail, 0);
	shape.key_max = 64;
	ck_assert_int_eq(kvs_layout_make(&shape, &g), 0);
	ck_assert_uint_eq(g.tail, 32);
}
END_TEST

static void refused(struct kvs_shape shape)
{
	struct kvs_geometry g;

	ck_assert_int_eq(kvs_layout_make(&shape, &g), -EINVAL);
}

START_TEST(shapes_out_of_range_are_EINVAL)
{
#define WITH(field, value)                          \
	do {                                        \
		struct kvs_shape shape = shapes[2]; \
		shape.field = (value);              \
		refused(shape);                     \
	} while (0)
	WITH(block_size, 0);
	WITH(block_size, 511);
	WITH(block_size, 513);
	WITH(block_size, (UINT64_C(1) << 40) + 512);
	WITH(blocks, 0);
	WITH(blocks, KVS_BLOCKS_MAX + 1);
	WITH(planes, 0);
	WITH(planes, 33);
	WITH(key_max, 0);
	WITH(key_max, 257);
	WITH(clients, 0);
	WITH(clients, 1025);
	WITH(requests, 0);
	WITH(requests, 4096);
	WITH(drop, 2);
	WITH(fence, 2);
#undef WITH
}
END_TEST

START_TEST(a_made_geometry_passes_for_its_own_file_size_only)
{
	for (unsigned i = 0; i < SHAPES; i++) {
		struct kvs_geometry g;

		ck_assert_int_eq(kvs_layout_make(&shapes[i], &g), 0);
		g.incarnation = 0x1122334455667788;
		g.seed = UINT64_MAX;
		ck_assert_int_eq(kvs_layout_check(&g, g.size), 0);
		ck_assert_int_eq(kvs_layout_check(&g, g.size - 1), -EUCLEAN);
		ck_assert_int_eq(kvs_layout_check(&g, g.size + 1), -EUCLEAN);
		ck_assert_int_eq(kvs_layout_check(&g, 0), -EUCLEAN);
	}
}
END_TEST

START_TEST(F1_any_changed_byte_of_a_geometry_is_EUCLEAN_or_stays_inside_the_file)
{
	for (unsigned shape = 0; shape < SHAPES; shape++) {
		struct kvs_geometry right;

		ck_assert_int_eq(kvs_layout_make(&shapes[shape], &right), 0);
		for (size_t at = 0; at < sizeof(right); at++)
			for (unsigned flip = 1; flip < 256; flip++) {
				struct kvs_geometry g = right;
				int rc;

				((unsigned char *)&g)[at] ^= (unsigned char)flip;
				rc = kvs_layout_check(&g, right.size);
				if (rc == 0) { /* another shape that is right, in a file of the same size */
					ck_assert(sections_right(&g));
					ck_assert_uint_eq(g.size, right.size);
				} else if (rc != -EUCLEAN) {
					ck_abort_msg("byte %zu of shape %u: %d", at, shape, rc);
				}
			}
	}
}
END_TEST

START_TEST(the_frozen_part_is_where_every_version_finds_it)
{
	ck_assert_uint_eq(offsetof(struct kvs_head, magic), 0);
	ck_assert_uint_eq(offsetof(struct kvs_head, layout), 8);
	ck_assert_uint_eq(offsetof(struct kvs_head, size), 16);
	ck_assert_uint_eq(offsetof(struct kvs_head, maker), 24);
	ck_assert_uint_eq(offsetof(struct kvs_head, fingerprint), 64);
	ck_assert_uint_eq(kvs_layout_fingerprint(), kvs_layout_fingerprint());
	ck_assert_uint_ne(kvs_layout_fingerprint(), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		sections_of_every_shape_lie_apart,
		keys_of_32_bytes_share_the_descriptors_one_line,
		shapes_out_of_range_are_EINVAL,
		a_made_geometry_passes_for_its_own_file_size_only,
		F1_any_changed_byte_of_a_geometry_is_EUCLEAN_or_stays_inside_the_file,
		the_frozen_part_is_where_every_version_finds_it,
	};

	return unit_run("layout", tests, sizeof(tests) / sizeof(tests[0]));
}
