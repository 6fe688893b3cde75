/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * share_ask: who adopts a store gets the planes' descriptors from its clients, whichever of them live, stand still, die
 * or bring something else; and every call of a client's sees what it must.
 */
#include "config.h"

#include "share_scene.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attached.h"
#include "kept.h"
#include "segment.h"
#include "wait.h"

#define ANSWERERS 2

static int ask(const struct scene *adopter, int fds[KVS_PLANES_MAX], uint64_t time)
{
	struct kvs_files_access access = scene_access(adopter);

	return kvg_share_ask_for(kvs_files_dir(adopter->dir), unit_name(), &adopter->map, &access, fds, time);
}

static bool asked(const struct kvs_map *map)
{
	return atomic_load(&map->head->state) & KVS_STORE_ASKS;
}

static void await_asked(const struct kvs_map *map)
{
	while (!asked(map))
		(void)sched_yield();
}

/* What is left when somebody has asked, and is through. */
static void check_end(const struct scene *adopter, unsigned asks)
{
	ck_assert(!asked(&adopter->map));
	ck_assert_uint_eq(atomic_load(&adopter->map.head->asks), asks);
	ck_assert(!scene_socket_is_there(NULL, KVS_SOCKET_ASKS));
}

/* A client as it is attached, with the planes that it got from the owner. */
static struct kvg_attached attached;

static void attach(struct scene *client)
{
	scene_attach(client, NULL);
	attached = (struct kvg_attached){.map = &client->map, .slot = client->slot, .dir = (char *)"/dev/shm"};
	(void)snprintf(attached.name, sizeof(attached.name), "%s", unit_name());
	ck_rc(kvg_share_fetch_for("/dev/shm", unit_name(), &client->map, attached.fds, SCENE_HOUR), 0);
}

/* What a call begins with. */
static int call(void)
{
	return kvg_attached_look(&attached, atomic_load(&attached.map->head->state));
}

/* A client that makes a call when its parent says so, and goes on to wait. */
static void call_when_told(void *unused)
{
	struct scene client;

	(void)unused;
	attach(&client);
	unit_tell_parent();
	for (;;) {
		unit_await_parent();
		ck_rc(call(), 0);
		unit_tell_parent();
	}
}

/* One that makes calls without end. */
static void call_always(void *unused)
{
	struct scene client;

	(void)unused;
	attach(&client);
	unit_tell_parent();
	for (;;) {
		ck_rc(call(), 0);
		(void)sched_yield();
	}
}

/* A store whose owner is dead, with so many clients, in the hands of who adopts it. */
static void adopt(struct scene *adopter, struct child *clients, unsigned count, void (*fn)(void *))
{
	struct child owner;

	scene_owner(&owner, NULL);
	for (unsigned i = 0; i < count; i++) {
		unit_child(&clients[i], fn, NULL);
		unit_await(&clients[i]);
	}
	unit_kill(&owner);
	scene_adopt(adopter, NULL);
}

static void one_call(const struct child *client)
{
	unit_tell(client);
	unit_await(client);
}

static void fetch_as_others_do(void *unused)
{
	struct scene client;

	(void)unused;
	attach(&client);
	scene_check(attached.fds);
	scene_detach(&client);
	unit_tell_parent();
}

START_TEST(a_client_that_makes_a_call_brings_them)
{
	struct child client, next;
	struct scene adopter;

	adopt(&adopter, &client, 1, call_always);
	ck_rc(ask(&adopter, adopter.fds, SCENE_HOUR), 0);
	check_end(&adopter, 1);
	unit_kill(&client);
	scene_share(&adopter); /* and new ones get them as before */
	unit_child(&next, fetch_as_others_do, NULL);
	scene_serve(&adopter, &next);
	unit_join(&next);
	scene_check(adopter.fds);
	memset(adopter.fds, 0, sizeof(adopter.fds));
	scene_destroy(&adopter);
}
END_TEST

START_TEST(several_clients_may_bring_them_at_once)
{
	struct child clients[ANSWERERS];
	int fds[KVS_PLANES_MAX];
	struct scene adopter;
	unsigned count;

	adopt(&adopter, clients, ANSWERERS, call_always);
	count = scene_count_fds();
	for (unsigned i = 1; i <= 20; i++) {
		ck_rc(ask(&adopter, fds, SCENE_HOUR), 0);
		check_end(&adopter, i);
		scene_check(fds);
		ck_assert_uint_eq(scene_count_fds(), count);
	}
	for (unsigned i = 0; i < ANSWERERS; i++)
		unit_kill(&clients[i]);
	scene_destroy(&adopter);
}
END_TEST

START_TEST(without_a_client_it_is_ESTALE_at_once)
{
	struct scene adopter;
	unsigned count;

	adopt(&adopter, NULL, 0, NULL);
	count = scene_count_fds();
	ck_rc(ask(&adopter, adopter.fds, SCENE_HOUR), -ESTALE);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "--replace-dead"));
	check_end(&adopter, 1);
	ck_assert_uint_eq(scene_count_fds(), count);
	scene_destroy(&adopter);
}
END_TEST

START_TEST(clients_that_make_no_call_are_ETIMEDOUT)
{
	struct scene adopter;
	struct child client;
	unsigned count;

	adopt(&adopter, &client, 1, call_when_told);
	count = scene_count_fds();
	ck_rc(ask(&adopter, adopter.fds, SCENE_SHORT), -ETIMEDOUT);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "make a call"));
	check_end(&adopter, 1);
	ck_assert_uint_eq(scene_count_fds(), count);
	unit_kill(&client);
	ck_rc(ask(&adopter, adopter.fds, SCENE_HOUR), -ESTALE); /* the last one has died */
	scene_destroy(&adopter);
}
END_TEST

static void adopt_and_ask(void *unused)
{
	struct scene adopter;

	(void)unused;
	scene_adopt(&adopter, NULL);
	(void)ask(&adopter, adopter.fds, SCENE_HOUR);
	_exit(0);
}

/* It leaves its name and the bit. What a client finds there is nobody; the next one asks anew. */
START_TEST(an_adopter_that_dies_while_it_asks_is_followed_by_another)
{
	struct child owner, clients[2], first;
	struct scene adopter;
	struct scene here;

	scene_owner(&owner, NULL);
	unit_child(&clients[0], call_when_told, NULL);
	unit_await(&clients[0]);
	attach(&here);
	unit_kill(&owner);
	unit_child(&first, adopt_and_ask, NULL);
	await_asked(&here.map);
	unit_kill(&first);
	ck_assert(scene_socket_is_there(NULL, KVS_SOCKET_ASKS));
	ck_assert(asked(&here.map));
	one_call(&clients[0]);
	ck_rc(call(), 0);
	ck_assert_uint_eq(atomic_load(&attached.answered), 1); /* nobody is there, so this number is done with */

	unit_child(&clients[1], adopt_and_ask, NULL);
	while (atomic_load(&here.map.head->asks) != 2)
		(void)sched_yield();
	await_asked(&here.map); /* by the new one: the bit that was left went before */
	one_call(&clients[0]);
	unit_join(&clients[1]);
	scene_adopt(&adopter, NULL);
	check_end(&adopter, 2);
	unit_kill(&clients[0]);
	scene_check(attached.fds);
	scene_detach(&here);
	scene_destroy(&adopter);
}
END_TEST

/* The adopter stands still meanwhile; when it looks, no client lives any more. */
START_TEST(what_a_client_has_sent_before_it_died_counts)
{
	struct child owner, client, adopter;
	struct kvs_map map;

	scene_owner(&owner, NULL);
	unit_child(&client, call_when_told, NULL);
	unit_await(&client);
	unit_kill(&owner);
	ck_rc(kvs_segment_open(unit_name(), NULL, NULL, &map), 0);
	unit_child(&adopter, adopt_and_ask, NULL);
	await_asked(&map);
	unit_stop(&adopter);
	one_call(&client);
	unit_kill(&client);
	ck_assert_int_eq(kill(adopter.pid, SIGCONT), 0);
	unit_join(&adopter);
	kvs_map_close(&map);
	ck_rc(kvs_segment_unlink(unit_name(), NULL), 0);
}
END_TEST

static void adopt_and_get(void *unused)
{
	struct scene adopter;
	unsigned count;

	(void)unused;
	scene_adopt(&adopter, NULL);
	count = scene_count_fds();
	ck_rc(ask(&adopter, adopter.fds, SCENE_HOUR), 0);
	ck_assert_uint_eq(scene_count_fds(), count + SCENE_PLANES);
	scene_check(adopter.fds);
}

/* Sends anything, with so many descriptors. */
static void bring(const struct kvg_place *place, const struct kvs_map *map, const void *bytes, size_t size,
		  unsigned count)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * 64)];
		struct cmsghdr align;
	} control = {.bytes = {0}};
	struct iovec part = {.iov_base = (void *)bytes, .iov_len = size};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	int fd;

	ck_rc(kvg_connect(place, map, &fd), 0);
	if (count) {
		struct cmsghdr *rights = &control.align;
		int fds[64] = {0};

		header.msg_control = control.bytes;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
		for (unsigned i = 0; i < count; i++)
			fds[i] = STDERR_FILENO;
		memcpy(CMSG_DATA(rights), fds, sizeof(int) * count);
	}
	ck_assert_int_eq(sendmsg(fd, &header, MSG_NOSIGNAL), (ssize_t)size);
	kvs_kept_close(fd);
}

/* Who can connect can open the segment, too, and do worse there; but an accident must not do this. */
START_TEST(what_is_no_answer_keeps_nobody_from_bringing_one)
{
	struct {
		char magic[8];
		uint64_t incarnation;
		uint32_t planes, reserved;
	} message = {.planes = SCENE_PLANES};
	struct child owner, client, adopter;
	struct kvg_place place;
	struct kvs_map map;
	int silent[40];

	scene_owner(&owner, NULL);
	unit_child(&client, call_when_told, NULL);
	unit_await(&client);
	unit_kill(&owner);
	ck_rc(kvs_segment_open(unit_name(), NULL, NULL, &map), 0);
	memcpy(message.magic, "kvshmfds", sizeof(message.magic));
	message.incarnation = map.g.incarnation;
	unit_child(&adopter, adopt_and_get, NULL);
	await_asked(&map);
	ck_rc(kvg_place_open(&place, "/dev/shm", unit_name(), KVS_SOCKET_ASKS), 0);
	for (unsigned i = 0; i < 40; i++)
		ck_rc(kvg_connect(&place, &map, &silent[i]), 0);
	bring(&place, &map, "", 0, 2);
	bring(&place, &map, "", 0, 0);
	bring(&place, &map, "nonsense", 8, 0);
	bring(&place, &map, &message, sizeof(message) - 1, SCENE_PLANES);
	bring(&place, &map, &message, sizeof(message), 0);
	bring(&place, &map, &message, sizeof(message), SCENE_PLANES - 1);
	bring(&place, &map, &message, sizeof(message), SCENE_PLANES + 1);
	bring(&place, &map, &message, sizeof(message), 64); /* more than it has room for */
	message.planes++;
	bring(&place, &map, &message, sizeof(message), SCENE_PLANES + 1);
	message.planes--;
	message.incarnation++;
	bring(&place, &map, &message, sizeof(message), SCENE_PLANES);
	ck_assert(asked(&map));
	one_call(&client);
	unit_join(&adopter);
	for (unsigned i = 0; i < 40; i++)
		kvs_kept_close(silent[i]);
	kvg_place_close(&place);
	kvs_map_close(&map);
	unit_kill(&client);
	ck_rc(kvs_segment_unlink(unit_name(), NULL), 0);
}
END_TEST

static void connect_and_wait(void *unused)
{
	struct kvg_place place;
	struct scene client;
	int fd;

	(void)unused;
	attach(&client);
	unit_tell_parent();
	await_asked(&client.map);
	ck_rc(kvg_place_open(&place, "/dev/shm", unit_name(), KVS_SOCKET_ASKS), 0);
	ck_rc(kvg_connect(&place, &client.map, &fd), 0);
	unit_wait_for_death();
}

START_TEST(a_client_that_dies_while_it_answers_is_followed_by_another)
{
	struct child owner, clients[2], adopter;
	struct kvs_map map;

	scene_owner(&owner, NULL);
	unit_child(&clients[0], call_when_told, NULL);
	unit_await(&clients[0]);
	unit_child(&clients[1], connect_and_wait, NULL);
	unit_await(&clients[1]);
	unit_kill(&owner);
	ck_rc(kvs_segment_open(unit_name(), NULL, NULL, &map), 0);
	unit_child(&adopter, adopt_and_get, NULL);
	unit_await(&clients[1]);
	unit_kill(&clients[1]);
	one_call(&clients[0]);
	unit_join(&adopter);
	kvs_map_close(&map);
	unit_kill(&clients[0]);
	ck_rc(kvs_segment_unlink(unit_name(), NULL), 0);
}
END_TEST

/* At each place where one is missing. */
START_TEST(an_adopter_with_too_few_descriptors_is_EMFILE_and_has_none)
{
	int fds[KVS_PLANES_MAX];
	struct scene adopter;
	struct child client;
	unsigned count, more = 0;
	int rc;

	adopt(&adopter, &client, 1, call_always);
	count = scene_count_fds();
	for (;; more++) {
		scene_limit_fds(more);
		rc = ask(&adopter, fds, SCENE_HOUR);
		scene_unlimit_fds();
		if (rc == 0)
			break;
		ck_rc(rc, -EMFILE);
		ck_assert_uint_eq(scene_count_fds(), count);
		ck_assert(!asked(&adopter.map));
		ck_assert(!scene_socket_is_there(NULL, KVS_SOCKET_ASKS));
	}
	ck_assert_uint_eq(more, 4 + SCENE_PLANES); /* directory, socket, spare, the client's */
	scene_check(fds);
	unit_kill(&client);
	scene_destroy(&adopter);
}
END_TEST

/* One attempt for each asking, whatever it found: not one for each call. And what it did not get through is tried
 * again. */
START_TEST(a_client_answers_an_asking_once)
{
	const struct kvs_files_access access = {.mode = 0600, .group = KVS_GROUP_OWN};
	struct kvg_listener listener;
	int fds[KVS_PLANES_MAX];
	struct scene client;
	struct child owner;
	int fd;

	scene_owner(&owner, NULL);
	attach(&client);
	unit_kill(&owner);
	ck_rc(kvg_listen(&listener, "/dev/shm", unit_name(), KVS_SOCKET_ASKS, &client.map, &access), 0);
	atomic_store(&client.map.head->asks, 1);
	ck_rc(call(), 0); /* without the bit */
	ck_rc(kvg_accept(&listener, &fd), -EAGAIN);
	(void)atomic_fetch_or(&client.map.head->state, KVS_STORE_ASKS);
	scene_limit_fds(1);
	ck_rc(call(), 0);
	scene_unlimit_fds();
	ck_assert_uint_eq(atomic_load(&attached.answered), 0);
	for (unsigned asks = 1; asks < 3; asks++) {
		atomic_store(&client.map.head->asks, asks);
		ck_rc(call(), 0);
		ck_rc(call(), 0);
		ck_rc(kvg_accept(&listener, &fd), 0);
		ck_rc(kvg_receive(fd, &client.map, fds), 0);
		scene_check(fds);
		kvs_kept_close(fd);
		ck_rc(kvg_accept(&listener, &fd), -EAGAIN);
	}
	kvg_listen_end(&listener);
	scene_check(attached.fds);
	scene_detach(&client);
	ck_rc(kvs_segment_unlink(unit_name(), NULL), 0);
}
END_TEST

static void own_and_be_watched(void *unused)
{
	struct scene owner;

	(void)unused;
	scene_make(&owner, NULL);
	atomic_store(&owner.map.head->state, KVS_STORE_OPEN | KVS_STORE_WATCHED);
	unit_wait_for_death();
}

/* Of memory that goes with the owner. */
START_TEST(a_call_sees_that_the_owner_is_dead_once_it_looks)
{
	struct scene client;
	struct child owner;
	uint64_t looked;
	int rc;

	unit_child(&owner, own_and_be_watched, NULL);
	unit_await(&owner);
	scene_attach(&client, NULL);
	attached = (struct kvg_attached){.map = &client.map};
	ck_rc(call(), 0);
	looked = atomic_load(&attached.looked);
	ck_assert_uint_ne(looked, 0);
	unit_kill(&owner);
	do {
		ck_assert(atomic_load(&client.map.head->state) == (KVS_STORE_OPEN | KVS_STORE_WATCHED));
		rc = call();
	} while (rc == 0);
	ck_rc(rc, -ESTALE);
	/* Not at each call; and not much later, by the time that it has read itself. */
	ck_assert_uint_ge(atomic_load(&attached.looked) - looked, 50000000);
	ck_assert_uint_eq(atomic_load(&client.map.head->state), KVS_STORE_DESTROYED);
	scene_detach(&client);
	ck_rc(kvs_segment_unlink(unit_name(), NULL), 0);
}
END_TEST

/* Who adopts it has the owner's lock, and so would look like one who lives. */
START_TEST(who_would_adopt_memory_that_is_gone_says_so)
{
	kvshm_owner *adopter;
	struct scene client;
	struct child owner;

	unit_child(&owner, own_and_be_watched, NULL);
	unit_await(&owner);
	scene_attach(&client, NULL);
	client.map.head->planes.export = KVS_EXPORT_IPC;
	unit_kill(&owner);
	ck_rc(kvshm_adopt(unit_name(), NULL, &adopter), -ESTALE);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "--replace-dead"));
	ck_assert_uint_eq(atomic_load(&client.map.head->state), KVS_STORE_DESTROYED);
	scene_detach(&client);
	ck_rc(kvs_segment_unlink(unit_name(), NULL), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_client_that_makes_a_call_brings_them,
		several_clients_may_bring_them_at_once,
		without_a_client_it_is_ESTALE_at_once,
		clients_that_make_no_call_are_ETIMEDOUT,
		an_adopter_that_dies_while_it_asks_is_followed_by_another,
		what_a_client_has_sent_before_it_died_counts,
		what_is_no_answer_keeps_nobody_from_bringing_one,
		a_client_that_dies_while_it_answers_is_followed_by_another,
		an_adopter_with_too_few_descriptors_is_EMFILE_and_has_none,
		a_client_answers_an_asking_once,
		a_call_sees_that_the_owner_is_dead_once_it_looks,
		who_would_adopt_memory_that_is_gone_says_so,
	};

	return unit_run("share_ask", tests, sizeof(tests) / sizeof(tests[0]));
}
