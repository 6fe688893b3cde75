/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * owner: one owner for a name: who is told what, who may take over, and what becomes of those who are attached.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int create_again(int replace_dead, kvshm_owner **owner)
{
	struct kvshm_create_options options = unit_options(16);

	options.replace_dead = replace_dead;
	return kvshm_create(unit_name(), &options, owner);
}

/* A child that owns the store, with one key in it. */
static void own(void *arg)
{
	struct kvshm_create_options options = unit_options(16);

	(void)arg;
	unit_put(unit_make(&options), 1);
	unit_wait_for_death();
}

static void dead_owners_store(void)
{
	struct child child;

	unit_child(&child, own, NULL);
	unit_await(&child);
	unit_kill(&child);
}

START_TEST(a_second_store_of_a_name_with_a_living_owner_is_EEXIST)
{
	kvshm_store *store = unit_store(16);
	kvshm_owner *owner;

	unit_put(store, 1);
	ck_rc(create_again(0, &owner), -EEXIST);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), unit_name()));
	ck_rc(create_again(1, &owner), -EEXIST); /* replace_dead replaces no living one */
	ck_rc(kvshm_adopt(unit_name(), NULL, &owner), -EEXIST);
	ck_assert(unit_has(store, 1));
	ck_assert(unit_has(unit_attach(), 1));
}
END_TEST

START_TEST(R30_a_store_without_an_owner_is_EOWNERDEAD_and_stays)
{
	kvshm_owner *owner;

	dead_owners_store();
	ck_rc(create_again(0, &owner), -EOWNERDEAD);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "--adopt"));
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "--replace-dead"));
	ck_assert(unit_has(unit_attach(), 1)); /* it goes on without an owner */
	ck_rc(kvshm_adopt(unit_name(), NULL, &unit_owner), 0);
}
END_TEST

START_TEST(an_adopted_store_keeps_its_keys_and_its_clients)
{
	kvshm_owner *owner;
	kvshm_store *store;

	dead_owners_store();
	store = unit_attach();
	ck_rc(kvshm_adopt(unit_name(), NULL, &unit_owner), 0);
	ck_rc(kvshm_adopt(unit_name(), NULL, &owner), -EEXIST);
	ck_assert(unit_has(store, 1));
	unit_put(store, 2);
	ck_assert(unit_has(unit_attach(), 2));
}
END_TEST

START_TEST(a_disowned_store_stays_and_can_be_adopted)
{
	kvshm_store *store = unit_store(16);

	unit_put(store, 1);
	ck_rc(kvshm_disown(unit_owner), 0);
	ck_assert(unit_has(store, 1));
	ck_rc(kvshm_adopt(unit_name(), NULL, &unit_owner), 0);
	ck_assert(unit_has(store, 1));
}
END_TEST

START_TEST(what_is_not_there_cannot_be_adopted_or_attached)
{
	kvshm_owner *owner;
	kvshm_store *store;

	ck_rc(kvshm_adopt(unit_name(), NULL, &owner), -ENOENT);
	ck_rc(kvshm_attach(unit_name(), NULL, &store), -ENOENT);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), unit_name()));
}
END_TEST

START_TEST(R30_a_dead_owners_store_is_replaced_and_its_clients_get_ESTALE)
{
	struct kvshm_geometry geometry;
	struct kvshm_handle ref;
	kvshm_store *old, *new;

	dead_owners_store();
	old = unit_attach();
	ck_rc(unit_get(old, 1, &ref), 0);
	ck_rc(create_again(1, &unit_owner), 0);
	ck_rc(unit_get(old, 1, &ref), -ESTALE);
	ck_rc(kvshm_release(old, &ref), -ESTALE);
	ck_rc(kvshm_get_geometry(old, &geometry), -ESTALE);
	new = unit_attach();
	ck_assert(!unit_has(new, 1));
	unit_put(new, 2);
	unit_detach(old); /* its own memory, not the new one's */
	ck_assert(unit_has(new, 2));
}
END_TEST

START_TEST(after_destroy_every_call_is_ESTALE_but_detach)
{
	kvshm_store *store = unit_store(16), *again;
	struct kvshm_handle ref = unit_fill(store, 1, 0);
	struct stat st;

	ck_rc(kvshm_destroy(unit_owner), 0);
	unit_owner = NULL;
	unit_all_calls(store, &ref, -ESTALE);
	ck_assert_int_eq(stat(unit_path(-1), &st), -1);
	ck_assert_int_eq(stat(unit_path(0), &st), -1);
	ck_rc(kvshm_attach(unit_name(), NULL, &again), -ENOENT);
	unit_detach(store);
}
END_TEST

static void wait_for_ever(void *arg)
{
	kvshm_store *store = unit_attach();
	enum kvshm_outcome outcome;
	struct kvshm_handle ref;

	(void)arg;
	ck_rc(unit_ask(store, 1, &outcome, &ref), 0);
	ck_assert_int_eq(outcome, KVSHM_PENDING);
	unit_tell_parent();
	ck_rc(kvshm_wait(store, &ref, UINT64_MAX), -ESTALE);
	ck_rc(kvshm_detach(store), 0);
}

START_TEST(after_destroy_a_waiter_gets_ESTALE)
{
	kvshm_store *store = unit_store(16);
	struct child child;

	(void)unit_begin(store, 1);
	unit_child(&child, wait_for_ever, NULL);
	unit_await(&child);
	while (unit_counter(store, KVS_COUNT_waits) == 0)
		(void)sched_yield();
	ck_rc(kvshm_destroy(unit_owner), 0);
	unit_owner = NULL;
	unit_join(&child);
}
END_TEST

START_TEST(a_destroyed_stores_name_is_free_at_once)
{
	kvshm_store *old = unit_store(16), *new;

	unit_put(old, 1);
	ck_rc(kvshm_destroy(unit_owner), 0);
	new = unit_store(16);
	ck_assert(!unit_has(new, 1));
	unit_put(new, 2);
	unit_detach(old);
	ck_assert(unit_has(new, 2));
}
END_TEST

START_TEST(destroy_takes_no_names_that_are_anothers_by_now)
{
	kvshm_owner *first;
	struct stat st;

	(void)unit_store(16);
	first = unit_owner;
	/* Somebody has removed the names, and another store has them now. */
	ck_assert_int_eq(unlink(unit_path(0)), 0);
	ck_assert_int_eq(unlink(unit_path(-1)), 0);
	(void)unit_store(16);
	ck_rc(kvshm_destroy(first), 0);
	ck_assert_int_eq(stat(unit_path(-1), &st), 0);
	ck_assert_int_eq(stat(unit_path(0), &st), 0);
	unit_put(unit_attach(), 1);
}
END_TEST

START_TEST(what_is_no_segment_is_not_replaced)
{
	static const char text[] =
		"someone's letter, which happens to have this name, and is longer than a frozen head is";
	char now[sizeof(text)];
	kvshm_owner *owner;
	int file = open(unit_path(-1), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

	ck_assert_int_eq(write(file, text, sizeof(text)), sizeof(text));
	ck_rc(create_again(1, &owner), -EPROTO);
	ck_assert_int_eq(pread(file, now, sizeof(now), 0), sizeof(now));
	ck_assert_mem_eq(now, text, sizeof(now));
	ck_assert_int_eq(unlink(unit_path(-1)), 0);
	(void)close(file);
}
END_TEST

START_TEST(a_dead_store_of_nonsense_can_be_replaced_but_not_adopted)
{
	const uint32_t wild = 0x7fffffff;
	kvshm_owner *owner;
	int file;

	dead_owners_store();
	file = open(unit_path(-1), O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(pwrite(file, &wild, 4, offsetof(struct kvs_head, geometry.blocks)), 4);
	(void)close(file);
	ck_rc(kvshm_adopt(unit_name(), NULL, &owner), -EUCLEAN);
	ck_rc(create_again(1, &unit_owner), 0);
	unit_put(unit_attach(), 1);
}
END_TEST

static void *create_one(void *arg)
{
	kvshm_owner *owner;

	(void)pthread_barrier_wait(arg);
	if (create_again(0, &owner))
		return NULL;
	return owner;
}

START_TEST(of_two_makers_of_one_name_one_makes_it)
{
	for (int round = 0; round < 20; round++) {
		pthread_barrier_t barrier;
		pthread_t thread;
		void *one, *two;

		(void)pthread_barrier_init(&barrier, NULL, 2);
		ck_assert_int_eq(pthread_create(&thread, NULL, create_one, &barrier), 0);
		one = create_one(&barrier);
		(void)pthread_join(thread, &two);
		ck_assert_msg(!one || !two, "two stores have one name");
		ck_assert_msg(one || two, "none was made");
		unit_owner = one ? one : two;
		unit_put(unit_attach(), 1);
		ck_rc(kvshm_destroy(unit_owner), 0);
	}
	unit_owner = NULL;
}
END_TEST

START_TEST(a_client_sees_whether_the_owner_lives)
{
	struct kvshm_owner_info info;
	kvshm_store *store;
	struct child child;

	unit_child(&child, own, NULL);
	unit_await(&child);
	store = unit_attach();
	ck_rc(kvshm_get_owner_info(store, &info), 0);
	ck_assert(info.alive && info.pid == child.pid);
	unit_kill(&child);
	ck_rc(kvshm_get_owner_info(store, &info), 0);
	ck_assert(!info.alive && info.pid == child.pid); /* whose it was */
	ck_rc(kvshm_adopt(unit_name(), NULL, &unit_owner), 0);
	ck_rc(kvshm_get_owner_info(store, &info), 0); /* also of an owner in the same process */
	ck_assert(info.alive && info.pid == getpid());
	ck_rc(kvshm_get_owner_info(store, NULL), -EINVAL);
	ck_rc(kvshm_disown(unit_owner), 0);
	unit_owner = NULL;
	ck_rc(kvshm_get_owner_info(store, &info), 0);
	ck_assert(!info.alive);
	unit_detach(store);
	ck_rc(kvshm_unlink(unit_name(), NULL), 0);
}
END_TEST

START_TEST(of_host_memory_nobody_waits_for_the_owner)
{
	int fd = 12345;

	(void)unit_store(8);
	ck_rc(kvshm_owner_fd(unit_owner, &fd), 0);
	ck_assert_int_eq(fd, -1);
	ck_rc(kvshm_owner_fd(unit_owner, NULL), -EINVAL);
}
END_TEST

START_TEST(no_owner_is_EINVAL)
{
	ck_rc(kvshm_destroy(NULL), -EINVAL);
	ck_rc(kvshm_disown(NULL), -EINVAL);
	ck_rc(kvshm_owner_recover(NULL, NULL), -EINVAL);
	ck_rc(kvshm_detach(NULL), -EINVAL);
}
END_TEST

START_TEST(B2_a_handle_of_the_store_before_is_EBADF_in_its_successor)
{
	struct kvshm_create_options options = unit_options(1);
	kvshm_store *store = unit_make(&options);
	struct kvshm_handle old = unit_fill(store, 1, 0), now;

	ck_rc(kvshm_destroy(unit_owner), 0);
	unit_detach(store);
	store = unit_make(&options);
	now = unit_fill(store, 2, 0);
	ck_assert_uint_eq(old.block, now.block); /* the only one, in its first life there and here */
	ck_rc(kvshm_release(store, &old), -EBADF);
	ck_assert_uint_eq(unit_refs(store, &now), 1);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_second_store_of_a_name_with_a_living_owner_is_EEXIST,
		R30_a_store_without_an_owner_is_EOWNERDEAD_and_stays,
		an_adopted_store_keeps_its_keys_and_its_clients,
		a_disowned_store_stays_and_can_be_adopted,
		what_is_not_there_cannot_be_adopted_or_attached,
		R30_a_dead_owners_store_is_replaced_and_its_clients_get_ESTALE,
		after_destroy_every_call_is_ESTALE_but_detach,
		after_destroy_a_waiter_gets_ESTALE,
		a_destroyed_stores_name_is_free_at_once,
		destroy_takes_no_names_that_are_anothers_by_now,
		what_is_no_segment_is_not_replaced,
		a_dead_store_of_nonsense_can_be_replaced_but_not_adopted,
		of_two_makers_of_one_name_one_makes_it,
		a_client_sees_whether_the_owner_lives,
		of_host_memory_nobody_waits_for_the_owner,
		no_owner_is_EINVAL,
		B2_a_handle_of_the_store_before_is_EBADF_in_its_successor,
	};

	return unit_run("owner", tests, sizeof(tests) / sizeof(tests[0]));
}
