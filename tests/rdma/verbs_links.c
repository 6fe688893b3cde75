/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_links.c: links over a real RDMA device: messages, writes, sent(), room, and how links end.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ends.h"

#define MANY 10000

static uint64_t next_random(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return *state >> 33;
}

/* Sends what is left, as far as the link takes it. */
static void push(struct end *end, uint64_t *next, uint64_t last, uint64_t *seed)
{
	while (*next <= last) {
		uint64_t before = *seed;
		size_t size = 16 + next_random(seed) % (next_random(seed) % 8 ? 200 : KVR_MESSAGE_MAX - 16);
		int rc = ends_send(end, *next, size, *next % 100 ? 0 : *next);

		if (rc) {
			ends_rc(rc, -EAGAIN);
			*seed = before;
			return;
		}
		++*next;
	}
}

START_TEST(tens_of_thousands_of_messages_arrive_in_order_both_ways)
{
	uint64_t seed = 7, next_a = 1, next_b = 1, end;

	printf("seed %llu\n", (unsigned long long)seed);
	ends_connect();
	end = ends_deadline();
	while (ends_a.received < MANY || ends_b.received < MANY) {
		push(&ends_a, &next_a, MANY, &seed);
		push(&ends_b, &next_b, MANY, &seed);
		ends_run(end, "messages", __LINE__);
	}
	ends_until(ends_a.sent == MANY && ends_b.sent == MANY);
	ck_assert(!ends_a.mixed_up && !ends_b.mixed_up);
	ck_assert_uint_gt(ends_a.rooms, 0);
	ck_assert_uint_eq(ends_info(&ends_a).retries, 0);
	ends_close();
}
END_TEST

/* One way only, so that credits come back by messages of their own. */
START_TEST(messages_of_one_side_only_never_run_dry)
{
	uint64_t seed = 9, next = 1, end;

	ends_connect();
	end = ends_deadline();
	while (ends_b.received < MANY / 4) {
		push(&ends_a, &next, MANY / 4, &seed);
		ends_run(end, "messages", __LINE__);
	}
	ck_assert(!ends_b.mixed_up);
	ends_close();
}
END_TEST

static void check_bytes(struct end *end, uint64_t number)
{
	for (size_t i = 0; i < 65536; i++)
		if ((uint8_t)end->plane[number * 65536 + i] != (uint8_t)(number + i))
			ck_abort_msg("write %llu has not arrived when its message has", (unsigned long long)number);
}

START_TEST(E1_a_message_says_that_the_writes_before_it_are_placed)
{
	struct kvr_window *window;

	ends_connect();
	ends_b.on_message = check_bytes;
	window = ends_expose(&ends_b, 0, ENDS_PLANE);
	for (uint64_t n = 1; n <= 100; n++) {
		for (size_t i = 0; i < 65536; i++)
			ends_a.plane[n * 65536 + i] = (char)(n + i);
		for (size_t at = 0; at < 65536; at += 16384)
			ends_rc(ends_write(&ends_a, n * 65536 + at, window, n * 65536 + at, 16384), 0);
		ends_rc(ends_send(&ends_a, n, 64, n), 0);
		ends_until(ends_a.sent == n);
	}
	ends_until(ends_b.received == 100);
	ends_close();
}
END_TEST

/* Its source is changed as soon as that is allowed. */
START_TEST(a_source_may_be_changed_once_sent_was_called)
{
	struct kvr_window *window;

	ends_connect();
	window = ends_expose(&ends_b, 0, 1 << 20);
	for (uint64_t n = 1; n <= 20; n++) {
		memset(ends_a.plane, (int)n, 1 << 20);
		ends_rc(ends_write(&ends_a, 0, window, 0, 1 << 20), 0);
		ends_rc(ends_send(&ends_a, n, 64, n), 0);
		ends_until(ends_a.sent == n);
		memset(ends_a.plane, 255, 1 << 20);
		ends_until(ends_b.received == n);
		ends_is_all(ends_b.plane, 1 << 20, (int)n);
	}
	ends_close();
}
END_TEST

START_TEST(an_abort_goes_where_other_messages_are_refused)
{
	uint64_t n = 1;
	int rc;

	ends_connect();
	while (!(rc = ends_send(&ends_a, n, 64, 0)))
		n++;
	ends_rc(rc, -EAGAIN);
	ends_rc(ends_send_type(&ends_a, KVR_ABORT, n, 64, 0), 0);
	ends_until(ends_b.received == n && ends_a.rooms);
	ends_rc(ends_send(&ends_a, n + 1, 64, 0), 0);
	ends_until(ends_b.received == n + 1);
	ck_assert(!ends_b.mixed_up);
	ends_close();
}
END_TEST

START_TEST(writes_are_refused_when_the_queue_is_full_and_messages_are_not)
{
	struct kvr_window *window;
	unsigned count = 0;
	int rc;

	ends_connect();
	window = ends_expose(&ends_b, 0, ENDS_PLANE);
	while (!(rc = ends_write(&ends_a, 0, window, 0, 65536)))
		count++;
	ends_rc(rc, -EAGAIN);
	ck_assert_uint_ge(count, 100);
	ends_rc(ends_send(&ends_a, 1, 64, 1), 0);
	ends_until(ends_a.sent == 1 && ends_a.rooms);
	ends_rc(ends_write(&ends_a, 0, window, 0, 65536), 0);
	ends_close();
}
END_TEST

/* Longer than the device's longest message, where that is short. */
START_TEST(a_write_of_any_length_goes)
{
	struct kvr_window *window;

	ends_connect();
	window = ends_expose(&ends_b, 0, ENDS_PLANE);
	for (size_t i = 0; i < ENDS_PLANE; i++)
		ends_a.plane[i] = (char)(i * 2654435761u >> 13);
	ends_rc(ends_write(&ends_a, 0, window, 0, ENDS_PLANE), 0);
	ends_rc(ends_send(&ends_a, 1, 64, 1), 0);
	ends_until(ends_b.received == 1);
	ck_assert(memcmp(ends_a.plane, ends_b.plane, ENDS_PLANE) == 0);
	ends_close();
}
END_TEST

START_TEST(writes_come_from_registered_memory_only)
{
	struct kvr_window *window;

	ends_connect();
	window = ends_expose(&ends_b, 0, 4096);
	ends_rc(ends_write(&ends_a, ENDS_PLANE - 100, window, 0, 200), -EFAULT);
	ends_close();
}
END_TEST

/* ---- Ends ---- */

START_TEST(who_is_closed_upon_is_told_behind_the_last_message)
{
	ends_connect();
	for (uint64_t n = 1; n <= 20; n++)
		ends_rc(ends_send(&ends_a, n, 64, n), 0);
	ends_until(ends_a.sent == 20);
	ends_end(&ends_a);
	ends_until(ends_b.downs);
	ck_assert_uint_eq(ends_b.received, 20);
	ends_rc(ends_b.reason, -ECONNRESET);
	ck_assert_uint_eq(ends_b.downs, 1);
	ends_rc(ends_send(&ends_b, 1, 64, 0), -ENOTCONN);
	ends_close();
}
END_TEST

START_TEST(a_link_may_be_closed_at_any_moment)
{
	ends_plane = 65536; /* which is registered each time */
	for (unsigned steps = 0; steps < 60; steps++) {
		ends_open();
		ends_rc(ends_begin(&ends_a, &ends_at), 0);
		for (unsigned i = 0; i < steps; i++) {
			(void)kvr_loop_run(&ends_loop, 0);
			if (ends_a.ups && steps % 2)
				(void)ends_send(&ends_a, 1 + ends_a.sent, 64, 0);
			(void)usleep(300);
		}
		if (steps % 3 || !ends_b.link)
			ends_end(&ends_a);
		else
			ends_end(&ends_b);
		for (unsigned i = 0; i < 5; i++)
			(void)kvr_loop_run(&ends_loop, 0);
		ends_close();
	}
}
END_TEST

START_TEST(a_link_may_be_closed_by_who_is_told_of_a_message)
{
	ends_connect();
	ends_b.close_on_message = true;
	ends_a.close_on_down = true;
	for (uint64_t n = 1; n <= 10; n++)
		ends_must_send(&ends_a, n);
	ends_until(ends_b.closed && ends_a.closed);
	ck_assert_uint_eq(ends_b.received, 1);
	ends_close();
}
END_TEST

START_TEST(nobody_listens_there)
{
	struct kvr_endpoint nobody;
	void *at = &nobody.address;

	ends_open();
	nobody = ends_at;
	((struct sockaddr_in *)at)->sin_port ^= 0x0101;
	ends_rc(ends_begin(&ends_a, &nobody), 0);
	ends_until(ends_a.downs);
	ends_rc(ends_a.reason, -ECONNREFUSED);
	if (!strstr(ends_a.text, "kvshmd"))
		ck_abort_msg("%s", ends_a.text);
	ends_close();
}
END_TEST

START_TEST(a_second_link_that_is_refused_goes)
{
	struct end second = {.memory = NULL};

	ends_connect();
	second.memory = ends_a.memory;
	ends_rc(ends_begin(&second, &ends_at), 0);
	ends_until(second.downs);
	ends_rc(second.reason, -ECONNREFUSED);
	ends_end(&second);
	ends_must_send(&ends_a, 1);
	ends_until(ends_b.received == 1);
	ends_close();
}
END_TEST

int main(int argc, char **argv)
{
	const TTest *const tests[] = {
		tens_of_thousands_of_messages_arrive_in_order_both_ways,
		messages_of_one_side_only_never_run_dry,
		E1_a_message_says_that_the_writes_before_it_are_placed,
		a_source_may_be_changed_once_sent_was_called,
		an_abort_goes_where_other_messages_are_refused,
		writes_are_refused_when_the_queue_is_full_and_messages_are_not,
		a_write_of_any_length_goes,
		writes_come_from_registered_memory_only,
		who_is_closed_upon_is_told_behind_the_last_message,
		a_link_may_be_closed_at_any_moment,
		a_link_may_be_closed_by_who_is_told_of_a_message,
		nobody_listens_there,
		a_second_link_that_is_refused_goes,
	};

	return ends_main("verbs_links", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
