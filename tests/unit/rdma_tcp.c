/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * rdma_tcp: links over TCP between two ends that do as they should: messages and writes in their order, large ones too,
 * acknowledgements, room, and the end of a link in every state.
 */
#include "config.h"

#include "rdma_scene.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bytes.h"
#include "wait.h"

#define MIB (UINT64_C(1) << 20)
#define MESSAGES 64 /* that are not acknowledged, at most; as many writes */

/* Writes of many sizes, each followed by a message that says which it was: what the message says is in its place when
 * it comes. */
#define WRITES 2000
#define STRIDE (SCENE_BYTES / WRITES / 64 * 64)

static uint64_t size_of(uint64_t i)
{
	return i % 7 == 0 ? STRIDE : 1 + i * 2654435761U % (STRIDE - 1);
}

static void fill(struct scene_end *end)
{
	for (uint64_t i = 0; i < SCENE_BYTES / 8; i++)
		kvr_put64(end->bytes + 8 * i, i * UINT64_C(0x9e3779b97f4a7c15));
}

static void look_at_write(struct scene_end *end, const uint8_t *bytes, size_t size)
{
	const struct scene_end *other = end - 1;
	uint64_t i = end->last_time;

	(void)bytes;
	(void)size;
	ck_assert_uint_eq(i, end->messages - 1);
	ck_assert_mem_eq(end->bytes + i * STRIDE, other->bytes + i * STRIDE, size_of(i));
}

START_TEST(E1_a_message_says_that_the_writes_before_it_are_in_their_place)
{
	struct scene *scene = scene_link();
	struct scene_end *from = &scene->ends[0], *to = &scene->ends[1];
	struct kvr_window *window = scene_expose(to, 0, SCENE_BYTES);
	uint64_t next = 0;
	bool written = false;

	fill(from);
	to->on_message = look_at_write;
	while (next < WRITES) {
		int rc = 0;

		if (!written)
			rc = scene_write(from, next * STRIDE, window->address + next * STRIDE, size_of(next),
					 window->rkey);
		written = rc == 0;
		if (rc == 0)
			rc = scene_send(from, next, 0);
		if (rc == 0) {
			written = false;
			next++;
		} else {
			unsigned rooms = from->rooms;

			ck_rc(rc, -EAGAIN);
			scene_until(scene, from->rooms > rooms);
		}
	}
	scene_until(scene, to->messages == WRITES);
	scene_close(scene);
}
END_TEST

START_TEST(one_large_write_arrives_whole)
{
	struct scene *scene = scene_link();
	struct kvr_window *window = scene_expose(&scene->ends[1], 0, SCENE_BYTES);
	struct kvr_link_info info;

	fill(&scene->ends[0]);
	ck_rc(scene_write(&scene->ends[0], 0, window->address, SCENE_BYTES, window->rkey), 0);
	ck_rc(scene_send(&scene->ends[0], 1, 7), 0);
	scene_until(scene, scene->ends[0].sents);
	ck_assert_uint_eq(scene->ends[1].messages, 1);
	ck_assert_mem_eq(scene->ends[1].bytes, scene->ends[0].bytes, SCENE_BYTES);
	kvr_tcp.describe(scene->ends[0].link, &info);
	ck_assert_uint_eq(info.bytes_sent, SCENE_BYTES + 28 + 16);
	kvr_tcp.describe(scene->ends[1].link, &info);
	ck_assert_uint_eq(info.bytes_received, SCENE_BYTES + 28 + 16);
	ck_assert_uint_eq(info.windows_exposed, 1);
	scene_close(scene);
}
END_TEST

START_TEST(both_ends_write_at_once)
{
	struct scene *scene = scene_link();
	struct kvr_window *windows[2];

	for (int i = 0; i < 2; i++) {
		windows[i] = scene_expose(&scene->ends[i], SCENE_BYTES / 2, SCENE_BYTES / 2);
		memset(scene->ends[i].bytes, 'a' + i, SCENE_BYTES / 2);
	}
	for (int i = 0; i < 2; i++) {
		ck_rc(scene_write(&scene->ends[i], 0, windows[!i]->address, SCENE_BYTES / 2, windows[!i]->rkey), 0);
		ck_rc(scene_send(&scene->ends[i], 1, 1), 0);
	}
	scene_until(scene, scene->ends[0].sents && scene->ends[1].sents);
	for (int i = 0; i < 2; i++)
		ck_assert_mem_eq(scene->ends[i].bytes + SCENE_BYTES / 2, scene->ends[!i].bytes, SCENE_BYTES / 2);
	scene_close(scene);
}
END_TEST

START_TEST(sent_comes_when_the_other_end_has_taken_it_in_and_not_before)
{
	struct scene *scene = scene_link();
	struct scene_end *from = &scene->ends[0];

	for (uint64_t i = 1; i <= 10; i++) {
		ck_rc(scene_send(from, i, i % 3 ? i : 0), 0);
		scene_run(scene, 0);
	}
	ck_assert_uint_eq(from->sents, 0); /* the kernel has all of it, the other end nothing */
	scene_run(scene, 1);
	ck_assert_uint_eq(from->sents, 0); /* not from within anything but its own loop */
	scene_until(scene, scene->ends[1].messages == 10);
	scene_until(scene, from->sents == 7);
	for (unsigned i = 0, cookie = 1; i < 7; i++, cookie++) {
		cookie += cookie % 3 == 0;
		ck_assert_uint_eq(from->cookies[i], cookie);
	}
	scene_close(scene);
}
END_TEST

START_TEST(what_is_posted_is_bounded_and_messages_have_room_of_their_own)
{
	struct scene *scene = scene_link();
	struct scene_end *from = &scene->ends[0];
	struct kvr_window *window = scene_expose(&scene->ends[1], 0, SCENE_BYTES);

	for (unsigned i = 0; i < MESSAGES; i++)
		ck_rc(scene_write(from, 0, window->address, 4096, window->rkey), 0);
	ck_rc(scene_write(from, 0, window->address, 4096, window->rkey), -EAGAIN);
	for (unsigned i = 0; i < MESSAGES; i++)
		ck_rc(scene_send(from, i, 0), 0);
	ck_rc(scene_send(from, 0, 0), -EAGAIN);
	scene_run(scene, 0);
	ck_rc(scene_send(from, 0, 0), -EAGAIN); /* sent, but not taken in */
	ck_assert_uint_eq(from->rooms, 0);
	scene_until(scene, from->rooms && scene->ends[1].messages == MESSAGES);
	ck_rc(scene_send(from, 0, 1), 0);
	ck_rc(scene_write(from, 0, window->address, 4096, window->rkey), 0);
	scene_until(scene, from->sents);
	from->rooms = 0;
	ck_rc(scene_send(from, 0, 1), 0);
	scene_until(scene, from->sents == 2);
	ck_assert_uint_eq(from->rooms, 0); /* nothing was refused */
	scene_close(scene);
}
END_TEST

START_TEST(withdrawn_comes_from_the_loop_once_for_each_window)
{
	struct scene *scene = scene_link();
	struct scene_end *end = &scene->ends[1];
	struct kvr_window *one = scene_expose(end, 0, 4096), *other = scene_expose(end, 4096, 4096);
	struct kvr_link_info info;

	kvr_tcp.withdraw(end->link, one);
	kvr_tcp.withdraw(end->link, other);
	ck_assert_uint_eq(end->withdrawals, 0);
	scene_until(scene, end->withdrawals == 2);
	ck_assert_ptr_eq(end->withdrawn, other);
	kvr_tcp.describe(end->link, &info);
	ck_assert_uint_eq(info.windows_withdrawn, 2);
	scene_close(scene);
}
END_TEST

static void send_on_withdrawn(struct scene_end *end)
{
	ck_rc(scene_send(end, 5, 0), 0);
}

START_TEST(what_is_posted_in_withdrawn_leaves)
{
	struct scene *scene = scene_link();

	scene->ends[1].on_withdrawn = send_on_withdrawn;
	scene_run(scene, -1);
	kvr_tcp.withdraw(scene->ends[1].link, scene_expose(&scene->ends[1], 0, 4096));
	scene_until(scene, scene->ends[0].last_time == 5);
	scene_close(scene);
}
END_TEST

static int compare(const void *a, const void *b)
{
	uint32_t one = *(const uint32_t *)a, other = *(const uint32_t *)b;

	return one < other ? -1 : one > other;
}

START_TEST(a_key_comes_once_and_windows_are_found_among_many)
{
	enum { KEYS = 20000, LIVE = 1000 };
	struct scene *scene = scene_link();
	struct scene_end *end = &scene->ends[1];
	static struct kvr_window *windows[LIVE];
	uint32_t *keys = malloc(KEYS * sizeof(*keys));
	unsigned small = 0;

	ck_assert_ptr_nonnull(keys);
	for (unsigned i = 0; i < KEYS; i++) {
		struct kvr_window **at = &windows[i % LIVE];

		if (*at)
			kvr_tcp.withdraw(end->link, *at);
		*at = scene_expose(end, 64 * (uint64_t)(i % LIVE), 64);
		keys[i] = (*at)->rkey;
		small += keys[i] < UINT32_MAX / 2;
	}
	ck_assert_uint_gt(small, KEYS / 3); /* they are not just counted up */
	ck_assert_uint_lt(small, KEYS * 2 / 3);
	qsort(keys, KEYS, sizeof(*keys), compare);
	for (unsigned i = 1; i < KEYS; i++)
		ck_assert_uint_ne(keys[i - 1], keys[i]);
	free(keys);
	memset(scene->ends[0].bytes, 'x', 64);
	for (unsigned i = 0; i < LIVE; i++) {
		scene->ends[0].rooms = 0;
		while (scene_write(&scene->ends[0], 0, windows[i]->address, 64, windows[i]->rkey) == -EAGAIN)
			scene_until(scene, scene->ends[0].rooms);
	}
	ck_rc(scene_send(&scene->ends[0], 0, 1), 0);
	scene_until(scene, scene->ends[0].sents);
	for (unsigned i = 0; i < 64 * LIVE; i++)
		ck_assert_uint_eq(end->bytes[i], 'x');
	scene_close(scene);
}
END_TEST

START_TEST(memory_that_was_not_added_is_neither_read_nor_exposed)
{
	static uint8_t elsewhere[64];
	struct scene *scene = scene_link();
	struct scene_end *end = &scene->ends[0];
	struct kvr_write write = { .from = elsewhere, .length = 64 };
	struct kvr_window *window;

	ck_rc(kvr_tcp.write(end->link, &write), -EFAULT);
	ck_rc(kvr_tcp.expose(end->link, elsewhere, 64, NULL, &window), -EFAULT);
	ck_rc(kvr_memory_add(end->memory, elsewhere, 64, false), 0);
	ck_rc(kvr_tcp.expose(end->link, elsewhere, 64, NULL, &window), -EFAULT);
	ck_rc(kvr_tcp.write(end->link, &write), 0);
	ck_rc(scene_write(end, SCENE_BYTES - 1, 0, 2, 0), -EFAULT);
	write.length = (UINT64_C(1) << 30) + 1;
	ck_rc(kvr_tcp.write(end->link, &write), -EINVAL);
	scene_close(scene);
}
END_TEST

/* ---- Ends */

START_TEST(an_end_that_is_closed_is_told_to_the_other)
{
	struct scene *scene = scene_link();
	struct kvr_window *window = scene_expose(&scene->ends[0], 0, 64);

	(void)scene_expose(&scene->ends[0], 64, 64);
	kvr_tcp.withdraw(scene->ends[0].link, window);
	ck_rc(scene_send(&scene->ends[1], 5, 0), 0);
	kvr_tcp.close(scene->ends[1].link); /* what it has sent still comes */
	scene->ends[1].link = NULL;
	scene_until(scene, scene->ends[0].downs);
	ck_assert_uint_eq(scene->ends[0].last_time, 5);
	ck_assert_int_eq(scene->ends[0].reason, -ECONNRESET);
	ck_rc(scene_send(&scene->ends[0], 1, 0), -ENOTCONN);
	ck_rc(scene_write(&scene->ends[0], 0, 0, 1, 0), -ENOTCONN);
	ck_rc(kvr_tcp.expose(scene->ends[0].link, scene->ends[0].bytes, 64, NULL, &window), -ENOTCONN);
	kvr_tcp.withdraw(scene->ends[0].link, window); /* nothing comes of it */
	scene_run(scene, 0);
	ck_assert_uint_eq(scene->ends[0].downs, 1);
	scene_close(scene);
}
END_TEST

START_TEST(nobody_listens)
{
	struct scene *scene = scene_open();

	kvr_tcp.close_port(scene->port);
	scene->port = NULL;
	scene_connect(scene);
	scene_until(scene, scene->ends[0].downs);
	ck_assert_int_eq(scene->ends[0].reason, -ECONNREFUSED);
	ck_assert_ptr_nonnull(strstr(scene->ends[0].text, "127.0.0.1"));
	ck_assert_uint_eq(scene->ends[0].ups, 0);
	scene_close(scene);
}
END_TEST

/* Connections that nobody takes fill the queue of a socket: the next are not answered. */
START_TEST(who_gets_no_answer_is_told_in_time)
{
	struct scene *scene = scene_open();
	struct kvr_link_options options = scene_options();
	struct kvr_endpoint mute = { .four = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) },
				     .length = sizeof(mute.four) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), others[2];
	struct kvr_link_info info;

	ck_assert_int_eq(bind(fd, &mute.any, mute.length), 0);
	ck_assert_int_eq(listen(fd, 0), 0);
	ck_assert_int_eq(getsockname(fd, &mute.any, &mute.length), 0);
	for (int i = 0; i < 2; i++) {
		others[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		(void)connect(others[i], &mute.any, mute.length);
	}
	options.timeout = 50000000;
	scene->endpoint = mute;
	scene_connect(scene);
	kvr_tcp.describe(scene->ends[0].link, &info);
	kvr_tcp.close(scene->ends[0].link); /* one that is connecting */
	ck_rc(kvr_tcp.connect(&scene->ends[0].loop, &mute, &options, scene->ends[0].memory,
			      scene_user(), &scene->ends[0], &scene->ends[0].link), 0);
	ck_rc(scene_send(&scene->ends[0], 1, 0), -ENOTCONN);
	scene_until(scene, scene->ends[0].downs);
	ck_assert_int_eq(scene->ends[0].reason, -ETIMEDOUT);
	for (int i = 0; i < 2; i++)
		(void)close(others[i]);
	(void)close(fd);
	scene_close(scene);
}
END_TEST

static void close_it(struct scene_end *end)
{
	kvr_tcp.close(end->link);
	end->link = NULL;
}

static void close_on_message(struct scene_end *end, const uint8_t *bytes, size_t size)
{
	close_it(end);
	ck_assert_uint_eq(kvr_get32(bytes), size); /* still there */
}

START_TEST(a_link_may_be_closed_in_each_function_of_its_user)
{
	for (int i = 0; i < 6; i++) {
		struct scene *scene = scene_open();
		struct scene_end *end = &scene->ends[0];

		end->on_up = i == 0 ? close_it : NULL;
		end->on_message = i == 1 ? close_on_message : NULL;
		end->on_sent = i == 2 ? close_it : NULL;
		end->on_room = i == 3 ? close_it : NULL;
		end->on_withdrawn = i == 4 ? close_it : NULL;
		end->on_down = i == 5 ? close_it : NULL;
		scene_connect(scene);
		scene_until(scene, end->ups && scene->ends[1].link);
		if (i == 1)
			ck_rc(scene_send(&scene->ends[1], 1, 0), 0);
		for (int j = 0; i && j <= MESSAGES; j++)
			ck_rc(scene_send(end, 1, 1), j == MESSAGES ? -EAGAIN : 0);
		for (int j = 0; i == 4 && j < 2; j++)
			kvr_tcp.withdraw(end->link, scene_expose(end, 0, 64));
		if (i == 5)
			close_it(&scene->ends[1]);
		scene_until(scene, !end->link);
		ck_assert(i != 2 || end->sents == 1); /* nothing behind it */
		ck_assert_uint_le(end->withdrawals, 1);
		scene_close(scene);
	}
}
END_TEST

static void connect_and_die(void *arg)
{
	struct kvr_endpoint *endpoint = arg;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const uint8_t half[] = { 28, 0, 0, 0, 17 };

	ck_assert_int_eq(connect(fd, &endpoint->any, endpoint->length), 0);
	ck_assert_int_eq(send(fd, half, sizeof(half), 0), sizeof(half));
	unit_wait_for_death();
}

START_TEST(a_peer_that_is_killed_is_lost)
{
	struct scene *scene = scene_open();
	struct child child;

	unit_child(&child, connect_and_die, &scene->endpoint);
	unit_await(&child);
	scene_until(scene, scene->ends[1].link);
	scene_run(scene, 1);
	ck_assert_uint_eq(scene->ends[1].downs, 0);
	unit_kill(&child);
	scene_until(scene, scene->ends[1].downs);
	ck_assert_int_eq(scene->ends[1].reason, -ECONNRESET);
	scene_close(scene);
}
END_TEST

START_TEST(a_connection_that_is_reset_while_much_is_to_be_sent_is_lost)
{
	struct scene *scene = scene_open();
	struct linger now = { .l_onoff = 1 };
	int fd = scene_socket(scene);

	ck_rc(scene_write(&scene->ends[1], 0, 0, SCENE_BYTES, 0), 0);
	scene_run(scene, 1);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	(void)close(fd);
	scene_until(scene, scene->ends[1].downs);
	ck_assert_int_eq(scene->ends[1].reason, -ECONNRESET);
	scene_close(scene);
}
END_TEST

/* ---- Ports */

START_TEST(a_port_may_refuse_and_may_close_while_its_links_go_on)
{
	struct scene *scene = scene_open();

	scene->refuse = true;
	scene_connect(scene);
	scene_until(scene, scene->ends[0].downs);
	ck_assert_int_eq(scene->ends[0].reason, -ECONNRESET);
	ck_assert_uint_eq(scene->accepted, 1);
	close_it(&scene->ends[0]);
	scene->refuse = false;
	scene->ends[0].ups = 0;
	scene_connect(scene);
	scene_until(scene, scene->ends[0].ups && scene->ends[1].link);
	kvr_tcp.close_port(scene->port);
	scene->port = NULL;
	ck_rc(scene_send(&scene->ends[0], 3, 0), 0);
	scene_until(scene, scene->ends[1].last_time == 3);
	scene_close(scene);
}
END_TEST

START_TEST(a_port_that_is_taken_is_told)
{
	struct scene *scene = scene_open();
	struct kvr_link_options options = scene_options();
	struct kvr_endpoint endpoint = scene->endpoint;
	struct kvr_port_user user = { .accept = NULL };
	struct kvr_port *port;

	ck_rc(kvr_tcp.listen(&scene->ends[0].loop, &endpoint, &options, scene->ends[0].memory, &user, NULL, &port),
	      -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "127.0.0.1:"));
	options.device = "mlx5_0";
	ck_rc(kvr_tcp.listen(&scene->ends[0].loop, &endpoint, &options, scene->ends[0].memory, &user, NULL, &port),
	      -EINVAL);
	scene_close(scene);
}
END_TEST

static unsigned told;

static void count_line(enum kvshm_log_level level, const char *text, void *arg)
{
	(void)level;
	(void)arg;
	told += strstr(text, "open files") != NULL;
}

START_TEST(a_port_without_descriptors_says_so_once_and_does_not_spin)
{
	struct scene *scene = scene_open();
	struct rlimit limit, none;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	unsigned turns = 0;
	uint64_t stop;

	kvshm_set_log(count_line, NULL);
	ck_assert_int_eq(connect(fd, &scene->endpoint.any, scene->endpoint.length), 0);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 3; /* all above is taken, or not to be had */
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (stop = unit_in_ms(350); kvs_now() < stop; turns++)
		(void)kvr_loop_run(&scene->ends[1].loop, stop);
	ck_assert_uint_ge(turns, 2); /* it has looked again, */
	ck_assert_uint_le(turns, 12); /* now and then */
	ck_assert_uint_eq(told, 1);
	ck_assert_uint_eq(scene->accepted, 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	scene_until(scene, scene->accepted);
	(void)close(fd);
	scene_until(scene, scene->ends[1].downs);
	kvshm_set_log(NULL, NULL);
	scene_close(scene);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		E1_a_message_says_that_the_writes_before_it_are_in_their_place,
		one_large_write_arrives_whole,
		both_ends_write_at_once,
		sent_comes_when_the_other_end_has_taken_it_in_and_not_before,
		what_is_posted_is_bounded_and_messages_have_room_of_their_own,
		withdrawn_comes_from_the_loop_once_for_each_window,
		what_is_posted_in_withdrawn_leaves,
		a_key_comes_once_and_windows_are_found_among_many,
		memory_that_was_not_added_is_neither_read_nor_exposed,
		an_end_that_is_closed_is_told_to_the_other,
		nobody_listens,
		who_gets_no_answer_is_told_in_time,
		a_link_may_be_closed_in_each_function_of_its_user,
		a_peer_that_is_killed_is_lost,
		a_connection_that_is_reset_while_much_is_to_be_sent_is_lost,
		a_port_may_refuse_and_may_close_while_its_links_go_on,
		a_port_that_is_taken_is_told,
		a_port_without_descriptors_says_so_once_and_does_not_spin,
	};

	return unit_run("rdma_tcp", tests, sizeof(tests) / sizeof(tests[0]));
}
