/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * rdma_tcp_hostile: links over TCP whose other end does what it may not: writes outside of its windows (E2, E3, R23),
 * breaks off in the middle, sends what is no message, or never listens. The link ends, and nothing else.
 */
#include "config.h"

#include "rdma_scene.h"

#include <string.h>
#include <unistd.h>

#include "bytes.h"

#define AT UINT64_C(4096)     /* where the window is in its end's memory, */
#define LENGTH UINT64_C(8192) /* and how long */
#define BEFORE 0x11 /* what is there before */
#define AFTER 0x22  /* what the other side writes */

struct bad_write {
	int64_t to; /* from the window's address */
	uint64_t length;
	uint32_t key; /* added to the window's */
};

/* A link with one window, and what is to be written. */
static struct scene *scene_with_window(struct kvr_window **window)
{
	struct scene *scene = scene_link();

	memset(scene->ends[0].bytes, AFTER, 4 * AT);
	memset(scene->ends[1].bytes, BEFORE, 4 * AT);
	*window = scene_expose(&scene->ends[1], AT, LENGTH);
	return scene;
}

static void expect_bytes(const struct scene *scene, uint64_t from, uint64_t to, uint8_t wanted)
{
	for (uint64_t i = from; i < to; i++)
		ck_assert_uint_eq(scene->ends[1].bytes[i], wanted);
}

/* Both ends are told the same: a write that is not allowed. */
static void expect_denied(struct scene *scene)
{
	scene_until(scene, scene->ends[0].downs && scene->ends[1].downs);
	ck_assert_int_eq(scene->ends[1].reason, -EACCES);
	ck_assert_int_eq(scene->ends[0].reason, -EACCES);
	ck_assert_ptr_nonnull(strstr(scene->ends[1].text, "the other side wrote"));
	ck_assert_ptr_nonnull(strstr(scene->ends[0].text, "refused"));
	ck_assert_uint_eq(scene->ends[1].messages, 0);
}

START_TEST(E2_a_write_outside_of_its_window_changes_nothing_and_ends_the_link)
{
	static const struct bad_write writes[] = {
		{ -1, 1, 0 },
		{ -1, LENGTH, 0 },
		{ -1, LENGTH + 2, 0 },
		{ LENGTH, 1, 0 },
		{ LENGTH - 1, 2, 0 },
		{ 1, LENGTH, 0 },
		{ 0, LENGTH + 1, 0 },
		{ 0, 1, 1 },
		{ 0, 1, UINT32_C(1) << 31 },
		{ LENGTH + 1, 0, 0 },
		{ INT64_MIN, 16, 0 },
	};

	for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
		const struct bad_write *bad = &writes[i];
		struct kvr_window *window;
		struct scene *scene = scene_with_window(&window);

		ck_rc(scene_write(&scene->ends[0], 0, window->address + (uint64_t)bad->to, bad->length,
				  window->rkey + bad->key), 0);
		ck_rc(scene_send(&scene->ends[0], 1, 1), 0);
		expect_denied(scene);
		expect_bytes(scene, 0, 4 * AT, BEFORE);
		ck_assert_uint_eq(scene->ends[0].sents, 0);
		scene_close(scene);
	}
}
END_TEST

START_TEST(a_write_to_the_last_byte_of_its_window_is_allowed)
{
	struct kvr_window *window;
	struct scene *scene = scene_with_window(&window);

	ck_rc(scene_write(&scene->ends[0], 0, window->address, LENGTH, window->rkey), 0);
	ck_rc(scene_write(&scene->ends[0], 0, window->address + LENGTH, 0, window->rkey), 0);
	ck_rc(scene_send(&scene->ends[0], 1, 1), 0);
	scene_until(scene, scene->ends[0].sents);
	expect_bytes(scene, 0, AT, BEFORE);
	expect_bytes(scene, AT, AT + LENGTH, AFTER);
	expect_bytes(scene, AT + LENGTH, 4 * AT, BEFORE);
	scene_close(scene);
}
END_TEST

START_TEST(E3_a_write_behind_the_withdrawal_changes_nothing_and_ends_the_link)
{
	struct kvr_window *window;
	struct scene *scene = scene_with_window(&window);
	uint64_t address = window->address;
	uint32_t key = window->rkey;

	ck_rc(scene_write(&scene->ends[0], 0, address, LENGTH, key), 0);
	scene_run(scene, 0); /* it is in the socket, */
	kvr_tcp.withdraw(scene->ends[1].link, window); /* and not read yet */
	expect_denied(scene);
	expect_bytes(scene, 0, 4 * AT, BEFORE);
	scene_close(scene);
}
END_TEST

/* ---- An end that is nothing but a socket */

static void put_bytes(int fd, const void *bytes, size_t size)
{
	ck_assert_int_eq(send(fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
}

static void put_data(int fd, const struct kvr_window *window, uint64_t length)
{
	const struct kvr_data data = { .to = window->address, .length = length, .rkey = window->rkey };
	struct kvr_out out;

	kvr_write_data(&out, &data);
	put_bytes(fd, out.bytes, out.size);
}

static void put_ping(int fd, uint64_t time)
{
	struct kvr_out out;

	kvr_write_ping(&out, KVR_PING, time);
	put_bytes(fd, out.bytes, out.size);
}

START_TEST(E3_what_is_under_way_when_its_window_is_withdrawn_goes_nowhere_and_the_link_goes_on)
{
	static uint8_t bytes[LENGTH];
	struct scene *scene = scene_open();
	struct scene_end *end = &scene->ends[1];
	struct kvr_window *window, *other;
	int fd = scene_socket(scene);

	memset(bytes, AFTER, sizeof(bytes));
	memset(end->bytes, BEFORE, 4 * AT);
	window = scene_expose(end, AT, LENGTH);
	put_data(fd, window, LENGTH);
	put_bytes(fd, bytes, 100);
	scene_until(scene, end->bytes[AT + 99] == AFTER);
	expect_bytes(scene, AT, AT + 100, AFTER);
	memset(end->bytes, BEFORE, 4 * AT);
	kvr_tcp.withdraw(end->link, window);
	put_bytes(fd, bytes, LENGTH - 101);
	scene_until(scene, end->withdrawals == 1);
	put_bytes(fd, bytes, 1);
	put_ping(fd, 7);
	scene_until(scene, end->last_time == 7);
	expect_bytes(scene, 0, 4 * AT, BEFORE);
	other = scene_expose(end, AT, LENGTH); /* the same place again */
	put_data(fd, other, 10);
	put_bytes(fd, bytes, 10);
	put_ping(fd, 8);
	scene_until(scene, end->last_time == 8);
	expect_bytes(scene, AT, AT + 10, AFTER);
	expect_bytes(scene, AT + 10, 4 * AT, BEFORE);
	ck_assert_uint_eq(end->downs, 0);
	(void)close(fd);
	scene_close(scene);
}
END_TEST

START_TEST(a_link_is_closed_in_the_middle_of_a_write)
{
	struct scene *scene = scene_open();
	struct scene_end *end = &scene->ends[1];
	int fd = scene_socket(scene);

	put_data(fd, scene_expose(end, AT, LENGTH), LENGTH);
	put_bytes(fd, "some", 4);
	scene_until(scene, end->bytes[AT + 3] == 'e');
	kvr_tcp.close(end->link);
	end->link = NULL;
	(void)send(fd, "more", 4, MSG_NOSIGNAL);
	scene_run(scene, 1);
	ck_assert_mem_eq(end->bytes + AT, "some\0\0\0\0", 8);
	(void)close(fd);
	scene_close(scene);
}
END_TEST

START_TEST(messages_come_in_any_pieces)
{
	struct scene *scene = scene_open();
	struct scene_end *end = &scene->ends[1];
	struct kvr_window *window;
	struct kvr_out out;
	int fd = scene_socket(scene);

	window = scene_expose(end, AT, LENGTH);
	for (uint64_t time = 1; time <= 3; time++) {
		const struct kvr_data data = { .to = window->address + time, .length = 1, .rkey = window->rkey };

		kvr_write_data(&out, &data);
		for (uint32_t i = 0; i < out.size; i++) {
			put_bytes(fd, out.bytes + i, 1);
			scene_run(scene, 1);
		}
		put_bytes(fd, "x", 1);
		kvr_write_ping(&out, KVR_PING, time);
		for (uint32_t i = 0; i < out.size; i++) {
			scene_run(scene, 1);
			ck_assert_uint_eq(end->last_time, time - 1);
			put_bytes(fd, out.bytes + i, 1);
		}
		scene_until(scene, end->last_time == time);
	}
	ck_assert_mem_eq(end->bytes + AT, "\0xxx", 5);
	(void)close(fd);
	scene_close(scene);
}
END_TEST

START_TEST(who_says_nothing_or_half_a_header_keeps_nobody)
{
	struct scene *scene = scene_open();
	int mute = scene_socket(scene), half;
	struct kvr_link *links[2];

	links[0] = scene->ends[1].link;
	scene->accepted = 0;
	half = scene_socket(scene);
	links[1] = scene->ends[1].link;
	put_bytes(half, "\x10\0\0", 3);
	scene->ends[1].link = NULL;
	scene_connect(scene);
	scene_until(scene, scene->ends[0].ups && scene->ends[1].link);
	ck_rc(scene_send(&scene->ends[0], 9, 1), 0);
	scene_until(scene, scene->ends[0].sents);
	ck_assert_uint_eq(scene->ends[1].last_time, 9);
	for (int i = 0; i < 2; i++)
		kvr_tcp.close(links[i]);
	(void)close(mute);
	(void)close(half);
	scene_close(scene);
}
END_TEST

/* What these bytes are answered with. */
static void expect_end(const void *bytes, size_t size, int reason)
{
	struct scene *scene = scene_open();
	int fd = scene_socket(scene);

	put_bytes(fd, bytes, size);
	scene_until(scene, scene->ends[1].downs);
	ck_assert_int_eq(scene->ends[1].reason, reason);
	ck_assert_uint_eq(scene->ends[1].messages, 0);
	(void)close(fd);
	scene_close(scene);
}

START_TEST(what_is_no_message_ends_the_link)
{
	static const uint8_t credits[] = { 8, 0, 0, 0, KVR_CREDIT, 0, 1, 0 };
	static const uint8_t long_credit[] = { 9, 0, 0, 0, KVR_CREDIT, 0, 0, 0, 0 };
	static const uint8_t denied[] = { 8, 0, 0, 0, KVR_DENIED, 0, 0, 0 };
	static const uint8_t short_data[] = { 27, 0, 0, 0, KVR_DATA, 0, 0, 0, 0, 0, 0, 0, 0, 0,
					      0,  0, 0, 0, 0,	     0, 0, 0, 0, 0, 0, 0, 0 };
	static const uint8_t long_one[] = { 1, 0x20, 0, 0, KVR_PING, 0, 0, 0 };
	static const uint8_t short_one[] = { 7, 0, 0, 0, KVR_PING, 0, 0, 0 };

	expect_end("GET / HTTP/1.1\r\n\r\n", 18, -EPROTO);
	expect_end(credits, sizeof(credits), -EPROTO); /* nothing was sent that it could have taken in */
	expect_end(long_credit, sizeof(long_credit), -EPROTO);
	expect_end(denied, sizeof(denied), -EACCES);
	expect_end(short_data, sizeof(short_data), -EPROTO);
	expect_end(long_one, sizeof(long_one), -EPROTO);
	expect_end(short_one, sizeof(short_one), -EPROTO);
}
END_TEST

/* This end has a write under way, which the other does not read: so nothing can be acknowledged to it. */
START_TEST(who_does_not_wait_for_acknowledgements_is_lost)
{
	struct scene *scene = scene_open();
	struct scene_end *end = &scene->ends[1];
	int fd = scene_socket(scene);

	ck_rc(scene_write(end, 0, 0, SCENE_BYTES, 0), 0);
	scene_run(scene, 1);
	for (uint64_t i = 1; i <= 128; i++)
		put_ping(fd, i);
	scene_until(scene, end->messages == 128);
	scene_run(scene, 1);
	ck_assert_uint_eq(end->downs, 0);
	put_ping(fd, 129);
	scene_until(scene, end->downs);
	ck_assert_int_eq(end->reason, -EPROTO);
	(void)close(fd);
	scene_close(scene);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		E2_a_write_outside_of_its_window_changes_nothing_and_ends_the_link,
		a_write_to_the_last_byte_of_its_window_is_allowed,
		E3_a_write_behind_the_withdrawal_changes_nothing_and_ends_the_link,
		E3_what_is_under_way_when_its_window_is_withdrawn_goes_nowhere_and_the_link_goes_on,
		a_link_is_closed_in_the_middle_of_a_write,
		messages_come_in_any_pieces,
		who_says_nothing_or_half_a_header_keeps_nobody,
		what_is_no_message_ends_the_link,
		who_does_not_wait_for_acknowledgements_is_lost,
	};

	return unit_run("rdma_tcp_hostile", tests, sizeof(tests) / sizeof(tests[0]));
}
