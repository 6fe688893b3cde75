/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_windows.c: what a peer can write over RDMA, and until when (E2, E3): a window is withdrawn, left, used with a
 * key of before; keys do not come round. The peer is malicious: it writes what it was not granted.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ends.h"

#define SIZE ((size_t)65536)

/* Both sides say what was: the writer is told that it was refused, and the other one hears, too. */
static void refused(void)
{
	ends_until(ends_a.downs && ends_b.downs);
	ends_rc(ends_a.reason, -EACCES);
	ck_assert_ptr_nonnull(strstr(ends_a.text, "refused"));
	ck_assert(ends_b.reason == -EACCES || ends_b.reason == -ECONNRESET);
	fprintf(stderr, "the other side: %d: %s\n", ends_b.reason, ends_b.text);
}

static void withdraw(struct kvr_window *window)
{
	unsigned before = ends_b.withdrawn;

	ends_withdraw(&ends_b, window);
	ends_until(ends_b.withdrawn > before || ends_b.downs);
}

START_TEST(E2_a_write_behind_the_withdrawal_is_refused_and_changes_nothing)
{
	struct kvr_window *window, kept;

	ends_connect();
	window = ends_expose(&ends_b, 0, SIZE);
	kept = *window;
	memset(ends_a.plane, 1, SIZE);
	ends_rc(ends_write(&ends_a, 0, &kept, 0, SIZE), 0);
	ends_rc(ends_send(&ends_a, 1, 64, 1), 0);
	ends_until(ends_b.received == 1);
	withdraw(window);
	ends_is_all(ends_b.plane, SIZE, 1);
	memset(ends_a.plane, 2, SIZE);
	ends_rc(ends_write(&ends_a, 0, &kept, 0, SIZE), 0);
	refused();
	ends_is_all(ends_b.plane, SIZE, 1);
	ends_close();
}
END_TEST

/* The block has another owner as soon as withdrawn() has been called; the writer never stops. */
START_TEST(E2_nothing_lands_behind_withdrawn_while_the_writer_goes_on)
{
	struct kvr_window *window, kept;
	uint64_t end;

	ends_connect();
	window = ends_expose(&ends_b, 0, 4 << 20);
	kept = *window;
	memset(ends_a.plane, 1, 4 << 20);
	for (unsigned i = 0; i < 20; i++)
		(void)ends_write(&ends_a, 0, &kept, 0, 4 << 20);
	end = ends_deadline();
	while (ends_b.plane[100] != 1)
		ends_run(end, "the first byte", __LINE__);
	ends_withdraw(&ends_b, window);
	while (!ends_b.withdrawn && !ends_b.downs)
		ends_run(end, "withdrawn", __LINE__);
	memset(ends_b.plane, 3, 4 << 20);
	for (unsigned i = 0; i < 100 && !ends_a.downs; i++) {
		(void)ends_write(&ends_a, 0, &kept, 0, 4 << 20);
		ends_run(end, "more", __LINE__);
		ends_is_all(ends_b.plane, 4 << 20, 3);
	}
	ends_until(ends_a.downs);
	ends_is_all(ends_b.plane, 4 << 20, 3);
	ends_close();
}
END_TEST

static void write_outside(uint64_t offset_back, uint64_t at, size_t size)
{
	struct kvr_window *window;

	ends_connect();
	window = ends_expose(&ends_b, SIZE, SIZE);
	memset(ends_a.plane, 1, 3 * SIZE);
	ends_rc(ends_write_to(&ends_a, 0, window->address - offset_back + at, window->rkey, size), 0);
	ends_rc(ends_send(&ends_a, 1, 64, 1), 0);
	ends_until((ends_a.downs && ends_b.downs) || ends_b.received);
	ends_is_all(ends_b.plane, 3 * SIZE, 0);
	refused();
	ends_close();
}

START_TEST(E3_a_write_that_begins_before_its_window_is_refused)
{
	write_outside(1, 0, 100);
}
END_TEST

START_TEST(E3_a_write_that_goes_on_behind_its_window_is_refused)
{
	write_outside(0, SIZE - 99, 100);
}
END_TEST

START_TEST(E3_a_write_far_from_its_window_is_refused)
{
	write_outside(0, SIZE, SIZE);
}
END_TEST

START_TEST(E3_a_key_of_before_is_refused)
{
	struct kvr_window *window, kept;

	ends_connect();
	window = ends_expose(&ends_b, 0, SIZE);
	kept = *window;
	withdraw(window);
	window = ends_expose(&ends_b, 0, SIZE);
	ck_assert_uint_ne(window->rkey, kept.rkey);
	memset(ends_a.plane, 1, SIZE);
	ends_rc(ends_write(&ends_a, 0, &kept, 0, SIZE), 0);
	refused();
	ends_is_all(ends_b.plane, SIZE, 0);
	ends_close();
}
END_TEST

START_TEST(E3_the_key_of_another_links_window_is_refused)
{
	struct kvr_window *window, kept;
	struct end *first = &ends_b;

	ends_connect();
	window = ends_expose(first, 0, SIZE);
	kept = *window;
	ends_until(!ends_a.downs);
	/* the same process connects once more, and writes by the first link's key */
	{
		struct end writer = {.memory = ends_a.memory, .plane = ends_a.plane}, other = ends_b;
		struct kvr_link *link_a = ends_a.link;

		ends_b.link = NULL;
		ends_rc(ends_begin(&writer, &ends_at), 0);
		ends_until(writer.ups && ends_b.link);
		memset(ends_a.plane, 1, SIZE);
		ends_rc(ends_write(&writer, 0, &kept, 0, SIZE), 0);
		ends_until(writer.downs && ends_b.downs);
		ends_rc(writer.reason, -EACCES);
		ends_is_all(ends_b.plane, SIZE, 0);
		ends_end(&writer);
		ends_end(&ends_b);
		ends_a.link = link_a;
		ends_b = other;
	}
	ends_close();
}
END_TEST

static int compare(const void *one, const void *other)
{
	uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;

	return a < b ? -1 : a > b;
}

/* 600 times, one after the other: the 8 bits of a key would have gone round twice. */
START_TEST(E3_keys_do_not_come_round)
{
	enum { TIMES = 600 };
	static uint32_t keys[TIMES];
	struct kvr_link_info info;

	ends_connect();
	ends_tell(&ends_b);
	for (unsigned i = 0; i < TIMES; i++) {
		struct kvr_window *window = ends_expose_quietly(&ends_b, 0, SIZE);

		keys[i] = window->rkey;
		withdraw(window);
	}
	info = ends_info(&ends_b);
	ck_assert_uint_eq(info.windows_exposed, TIMES);
	ck_assert_uint_eq(info.windows_withdrawn, TIMES);
	ck_assert_uint_eq(info.windows_retired, 2);
	qsort(keys, TIMES, sizeof(keys[0]), compare);
	for (unsigned i = 1; i < TIMES; i++)
		ck_assert_uint_ne(keys[i], keys[i - 1]);
	ends_close();
}
END_TEST

/* More than the send queue has room for at once. */
START_TEST(thousands_of_windows_come_and_go_at_once)
{
	enum { COUNT = 3000 };
	static struct kvr_window *windows[COUNT];

	ends_connect();
	for (unsigned i = 0; i < COUNT; i++)
		windows[i] = ends_expose_quietly(&ends_b, (i % 256) * SIZE, SIZE);
	ends_tell(&ends_b);
	memset(ends_a.plane, 1, SIZE);
	ends_rc(ends_write(&ends_a, 0, windows[COUNT - 1], 0, SIZE), 0);
	ends_rc(ends_send(&ends_a, 1, 64, 1), 0);
	ends_until(ends_b.received);
	ends_is_all(ends_b.plane + (COUNT - 1) % 256 * SIZE, SIZE, 1);
	for (unsigned i = 0; i < COUNT; i++)
		ends_withdraw(&ends_b, windows[i]);
	ends_until(ends_b.withdrawn == COUNT);
	ends_must_send(&ends_a, 2);
	ends_until(ends_b.received == 2);
	ends_close();
}
END_TEST

/* Its windows go with the link; new ones are to be had on the next. */
START_TEST(windows_of_a_link_that_is_closed_are_gone)
{
	ends_connect();
	for (unsigned i = 0; i < 100; i++)
		(void)ends_expose_quietly(&ends_b, 0, SIZE);
	ends_tell(&ends_b);
	ends_end(&ends_a);
	ends_until(ends_b.downs);
	ck_assert_uint_eq(ends_b.withdrawn, 0);
	ends_close();
}
END_TEST

START_TEST(windows_are_over_what_was_added_for_it)
{
	ends_connect();
	ends_tell(&ends_b);
	ends_rc(ends_try_to_expose(&ends_b, ENDS_PLANE - 10, 11), -EFAULT);
	ends_close();
}
END_TEST

int main(int argc, char **argv)
{
	const TTest *const tests[] = {
		E2_a_write_behind_the_withdrawal_is_refused_and_changes_nothing,
		E2_nothing_lands_behind_withdrawn_while_the_writer_goes_on,
		E3_a_write_that_begins_before_its_window_is_refused,
		E3_a_write_that_goes_on_behind_its_window_is_refused,
		E3_a_write_far_from_its_window_is_refused,
		E3_a_key_of_before_is_refused,
		E3_the_key_of_another_links_window_is_refused,
		E3_keys_do_not_come_round,
		thousands_of_windows_come_and_go_at_once,
		windows_of_a_link_that_is_closed_are_gone,
		windows_are_over_what_was_added_for_it,
	};

	return ends_main("verbs_windows", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
