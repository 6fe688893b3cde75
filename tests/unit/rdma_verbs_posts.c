/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * rdma_verbs_posts: how often a device is called for what a link is given: for scattered writes of one commit once in
 * KVR_VERBS_CHAIN, and at once where a write is long, or the turn is over; and which waits for what. Over a device that
 * is not there (verbs_fake.h).
 */
#include "config.h"

#include "verbs_scene.h"

#include <string.h>

#define PIECE 512
#define SHORT_WRITES ((size_t)128)

static struct kvr_window *window;

/* b has a window over all of its plane. */
static void begin(void)
{
	scene_begin();
	scene_connect();
	window = ends_expose(&ends_b, 0, SCENE_PLANE);
	ends_tell(&ends_a);
	ends_tell(&ends_b);
	for (size_t i = 0; i < SCENE_PLANE; i++)
		ends_a.plane[i] = (char)(i / PIECE % 251 + 1);
	memset(ends_b.plane, 0, SCENE_PLANE);
	fake.posts = 0;
}

static void end(void)
{
	ends_withdraw(&ends_b, window);
	ends_until(ends_b.withdrawn);
	scene_end();
}

/* Not by ends_write(), which flushes. */
static void write_piece(size_t at, size_t size)
{
	const struct kvr_write write = {
		.from = ends_a.plane + at, .to = window->address + at, .length = size, .rkey = window->rkey};

	ends_rc(kvr_verbs.write(ends_a.link, &write), 0);
}

START_TEST(scattered_writes_go_in_chains_and_the_last_with_the_message_behind)
{
	begin();
	for (size_t i = 0; i < SHORT_WRITES; i++)
		write_piece(2 * i * PIECE, PIECE);
	ck_assert_uint_eq(fake.posts, SHORT_WRITES / KVR_VERBS_CHAIN);
	write_piece(2 * SHORT_WRITES * PIECE, PIECE);
	ck_assert_uint_eq(fake.posts, SHORT_WRITES / KVR_VERBS_CHAIN);
	ends_rc(ends_send(&ends_a, ends_a.told + 1, 64, 7), 0);
	ck_assert_uint_eq(fake.posts, SHORT_WRITES / KVR_VERBS_CHAIN + 1);
	ends_until(ends_a.sent == 7);
	for (size_t i = 0; i <= SHORT_WRITES; i++) {
		ck_assert_mem_eq(ends_b.plane + 2 * i * PIECE, ends_a.plane + 2 * i * PIECE, PIECE);
		ends_is_all(ends_b.plane + (2 * i + 1) * PIECE, PIECE, 0);
	}
	end();
}
END_TEST

START_TEST(a_long_write_goes_at_once_and_takes_along_what_waits)
{
	begin();
	write_piece(0, PIECE);
	ends_is_all(ends_b.plane, PIECE, 0);
	write_piece(2L * PIECE, KVR_VERBS_LONG);
	ck_assert_uint_eq(fake.posts, 1);
	ck_assert_mem_eq(ends_b.plane, ends_a.plane, PIECE);
	ck_assert_mem_eq(ends_b.plane + 2L * PIECE, ends_a.plane + 2L * PIECE, KVR_VERBS_LONG);
	end();
}
END_TEST

START_TEST(what_nothing_follows_goes_when_it_is_flushed)
{
	begin();
	write_piece(0, PIECE);
	kvr_verbs.flush(ends_a.link);
	kvr_verbs.flush(ends_a.link);
	ck_assert_uint_eq(fake.posts, 1);
	ck_assert_mem_eq(ends_b.plane, ends_a.plane, PIECE);
	end();
}
END_TEST

/* It is told from the loop, as all that fails in a call of the user's. */
START_TEST(a_flush_that_fails_ends_the_link)
{
	begin();
	write_piece(0, PIECE);
	fake.error = ENOMEM;
	fake.fail_at = fake.calls + 1;
	kvr_verbs.flush(ends_a.link);
	fake_calm();
	ck_assert_uint_eq(ends_a.downs, 0);
	ends_until(ends_a.downs && ends_b.downs);
	ck_assert_int_eq(ends_a.reason, -ENOMEM);
	ck_assert_ptr_nonnull(strstr(ends_a.text, "takes no more requests"));
	ends_is_all(ends_b.plane, PIECE, 0);
	scene_end();
}
END_TEST

/* A binding that a device would do once more with a message that was lost waits for that one's end; of other devices
 * none does. What comes behind the binding waits with it. */
START_TEST(a_binding_waits_for_messages_where_it_would_be_done_again)
{
	struct kvr_window *second;

	scene_begin();
	fake.wide_windows = _i;
	scene_connect();
	ends_tell(&ends_b);
	fake.posts = 0;
	ends_rc(ends_send(&ends_b, ends_b.told + 1, 64, 0), 0);
	ck_assert_uint_eq(fake.posts, 1);
	ends_rc(kvr_verbs.expose(ends_b.link, ends_b.plane, PIECE, &ends_b, &window), 0);
	ends_rc(kvr_verbs.expose(ends_b.link, ends_b.plane + PIECE, PIECE, &ends_b, &second), 0);
	ends_rc(ends_send(&ends_b, ends_b.told + 2, 64, 9), 0);
	ck_assert_uint_eq(fake.posts, _i ? 1 : 4);
	ends_until(ends_b.sent == 9);
	ck_assert_uint_eq(fake.posts, 4);
	ends_withdraw(&ends_b, window);
	ends_withdraw(&ends_b, second);
	ends_until(ends_b.withdrawn == 2);
	scene_end();
}
END_TEST

/* A send queue that is as short as may be: what fills it is posted, and so told of. */
START_TEST(a_full_queue_has_room_again)
{
	const uint64_t queue = 160;
	struct kvr_write write;
	unsigned rooms;
	int rc = 0;

	scene_begin();
	fake.queue_max = (uint32_t)queue;
	scene_connect();
	window = ends_expose(&ends_b, 0, SCENE_PLANE);
	ends_tell(&ends_a);
	write = (struct kvr_write){.from = ends_a.plane, .to = window->address, .length = 8, .rkey = window->rkey};
	for (unsigned round = 0; round < 20; round++) {
		rooms = ends_a.rooms;
		for (unsigned i = 0; i <= queue && rc == 0; i++)
			rc = kvr_verbs.write(ends_a.link, &write);
		ends_rc(rc, -EAGAIN);
		ends_until(ends_a.rooms > rooms);
		rc = 0;
	}
	end();
}
END_TEST

int main(void)
{
	const struct unit_loop loops[] = {
		{a_binding_waits_for_messages_where_it_would_be_done_again, 2},
		{NULL, 0},
	};
	const TTest *const tests[] = {
		scattered_writes_go_in_chains_and_the_last_with_the_message_behind,
		a_long_write_goes_at_once_and_takes_along_what_waits,
		what_nothing_follows_goes_when_it_is_flushed,
		a_flush_that_fails_ends_the_link,
		a_full_queue_has_room_again,
	};

	return unit_run_loops("rdma_verbs_posts", tests, sizeof(tests) / sizeof(tests[0]), loops);
}
