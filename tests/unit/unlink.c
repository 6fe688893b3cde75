/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * unlink: taking away stores that nobody has, whatever has become of them (R30), and none that somebody has. The same
 * dead stores are replaced by a new one, too.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lock.h"
#include "users.h"

#define PLANES 2

static struct kvshm_create_options the_options(int replace_dead)
{
	struct kvshm_create_options options = unit_options(16);

	options.planes = PLANES;
	options.replace_dead = replace_dead;
	return options;
}

/* Makes a store and leaves it without an owner. */
static void leave_dead(void)
{
	struct kvshm_create_options options = the_options(0);
	kvshm_owner *owner;

	ck_rc(kvshm_create(unit_name(), &options, &owner), 0);
	ck_rc(kvshm_disown(owner), 0);
}

static bool is_there(int plane)
{
	struct stat st;

	return lstat(unit_path(plane), &st) == 0;
}

static void nothing_is_there(void)
{
	for (int plane = -1; plane < PLANES; plane++)
		ck_assert_msg(!is_there(plane), "%s is still there", unit_path(plane));
}

static void everything_is_there(void)
{
	for (int plane = -1; plane < PLANES; plane++)
		ck_assert_msg(is_there(plane), "%s is gone", unit_path(plane));
}

static void overwrite(off_t at, const void *bytes, size_t size)
{
	int file = open(unit_path(-1), O_RDWR | O_CLOEXEC);

	ck_assert_int_eq(pwrite(file, bytes, size, at), (ssize_t)size);
	(void)close(file);
}

/* What may have become of a dead store. */
enum fate {
	UNTOUCHED,
	OLDER_LAYOUT,
	NEWER_LAYOUT,
	OTHER_BUILD,
	OTHER_BOOT,
	DESTROYED,
	NONSENSE,
	WILD_PLANES,
	PLANE_MISSING,
	PLANES_MISSING,
	SHORTER,
	HEAD_ONLY,
	FROZEN_ONLY,
	MAGIC_ONLY,
	LESS_THAN_MAGIC,
	EMPTY,
	FATES,
};

/* The fates that are a number of the head. */
static const struct {
	off_t at;
	uint32_t value;
} numbers[FATES] = {
	[OLDER_LAYOUT] = {offsetof(struct kvs_head, layout), KVS_LAYOUT - 1},
	[NEWER_LAYOUT] = {offsetof(struct kvs_head, layout), KVS_LAYOUT + 1},
	[OTHER_BUILD] = {offsetof(struct kvs_head, fingerprint), 0x7fffffff},
	[OTHER_BOOT] = {offsetof(struct kvs_head, boot_id), 0x7fffffff},
	[DESTROYED] = {offsetof(struct kvs_head, state), KVS_STORE_DESTROYED},
	[NONSENSE] = {offsetof(struct kvs_head, geometry.blocks), 0x7fffffff},
	[WILD_PLANES] = {offsetof(struct kvs_head, geometry.planes), 0x7fffffff},
};

/* The fates that are a size. */
static const off_t sizes[FATES] = {
	[SHORTER] = 100000, [HEAD_ONLY] = 4096, [FROZEN_ONLY] = 64, [MAGIC_ONLY] = 8, [LESS_THAN_MAGIC] = 5,
};

static void change(enum fate fate)
{
	if (numbers[fate].at)
		overwrite(numbers[fate].at, &numbers[fate].value, sizeof(numbers[fate].value));
	if (sizes[fate] || fate == EMPTY)
		ck_assert_int_eq(truncate(unit_path(-1), sizes[fate]), 0);
	if (fate == PLANES_MISSING)
		ck_assert_int_eq(unlink(unit_path(0)), 0);
	if (fate == PLANE_MISSING || fate == PLANES_MISSING)
		ck_assert_int_eq(unlink(unit_path(1)), 0);
}

START_TEST(R30_a_dead_store_is_unlinked_whatever_has_become_of_it)
{
	for (enum fate fate = UNTOUCHED; fate < FATES; fate++) {
		leave_dead();
		change(fate);
		if (kvshm_unlink(unit_name(), NULL))
			ck_abort_msg("fate %d: %s", (int)fate, kvshm_error());
		nothing_is_there();
		ck_rc(kvshm_unlink(unit_name(), NULL), -ENOENT);
	}
}
END_TEST

START_TEST(R30_a_dead_store_is_replaced_whatever_has_become_of_it)
{
	struct kvshm_create_options options = the_options(1);

	for (enum fate fate = UNTOUCHED; fate < FATES; fate++) {
		kvshm_store *store;

		leave_dead();
		change(fate);
		if (kvshm_create(unit_name(), &options, &unit_owner))
			ck_abort_msg("fate %d: %s", (int)fate, kvshm_error());
		everything_is_there();
		store = unit_attach();
		unit_put(store, 1);
		unit_detach(store);
		ck_rc(kvshm_destroy(unit_owner), 0);
		nothing_is_there();
	}
	unit_owner = NULL;
}
END_TEST

START_TEST(what_is_not_to_be_replaced_stays_whatever_has_become_of_it)
{
	struct kvshm_create_options options = the_options(0);
	kvshm_owner *owner;

	for (enum fate fate = UNTOUCHED; fate < FATES; fate++) {
		int rc;

		leave_dead();
		change(fate);
		rc = kvshm_create(unit_name(), &options, &owner);
		ck_assert_msg(rc == -EOWNERDEAD || rc == -EPROTO, "fate %d: %d", (int)fate, rc);
		ck_assert_ptr_nonnull(strstr(kvshm_error(), rc == -EOWNERDEAD ? "--replace-dead" : unit_name()));
		ck_assert(is_there(-1));
		ck_rc(kvshm_unlink(unit_name(), NULL), 0);
	}
}
END_TEST

/* This process's pid and name, as texts show them. The name is the kernel's: an emulator's, if one runs this. */
static void this_process(char text[64])
{
	FILE *file = fopen("/proc/self/comm", "re");
	char name[32];

	ck_assert_ptr_nonnull(file);
	ck_assert_ptr_nonnull(fgets(name, sizeof(name), file));
	(void)fclose(file);
	name[strcspn(name, "\n")] = '\0';
	(void)snprintf(text, 64, "process %d (%s)", (int)getpid(), name);
}

/* Somebody has it: nothing may take it, and the text says who that is. */
static void is_refused(const char *who)
{
	char self[64];

	this_process(self);
	ck_rc(kvshm_unlink(unit_name(), NULL), -EBUSY);
	ck_assert_msg(strstr(kvshm_error(), who) && strstr(kvshm_error(), self), "no '%s' and '%s' in: %s", who, self,
		      kvshm_error());
	everything_is_there();
}

START_TEST(R30_a_store_with_a_living_owner_is_never_taken)
{
	for (enum fate fate = UNTOUCHED; fate < FATES; fate++) {
		struct kvshm_create_options options = the_options(1);
		kvshm_owner *owner, *other;

		if (fate == PLANE_MISSING || fate == PLANES_MISSING)
			continue;
		ck_rc(kvshm_create(unit_name(), &options, &owner), 0);
		change(fate);
		is_refused("owner: ");
		ck_rc(kvshm_create(unit_name(), &options, &other), -EEXIST);
		everything_is_there();
		ck_rc(kvshm_disown(owner), 0);
		ck_rc(kvshm_unlink(unit_name(), NULL), 0);
	}
}
END_TEST

START_TEST(R30_a_store_with_a_living_client_is_not_unlinked)
{
	kvshm_store *store;

	leave_dead();
	store = unit_attach();
	is_refused("clients: ");
	unit_put(store, 1);
	unit_detach(store);
	ck_rc(kvshm_unlink(unit_name(), NULL), 0);
	nothing_is_there();
}
END_TEST

/* The library can't tell clients of another version that their store is replaced. */
START_TEST(a_store_of_another_version_that_clients_have_is_neither_replaced_nor_unlinked)
{
	static const enum fate others[] = {OLDER_LAYOUT, NEWER_LAYOUT, OTHER_BUILD};

	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		struct kvshm_create_options options = the_options(1);
		kvshm_owner *owner;
		kvshm_store *store;

		leave_dead();
		store = unit_attach();
		change(others[i]);
		is_refused("clients: ");
		ck_rc(kvshm_create(unit_name(), &options, &owner), -EBUSY);
		ck_assert_ptr_nonnull(strstr(kvshm_error(), "process "));
		everything_is_there();
		unit_put(store, 1);
		unit_detach(store);
		ck_rc(kvshm_unlink(unit_name(), NULL), 0);
	}
}
END_TEST

START_TEST(what_is_no_segment_is_not_unlinked)
{
	static const char letter[] = "Dear all, this is no segment, and longer than the first 64 bytes of one";
	int file = open(unit_path(-1), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

	ck_assert_int_eq(write(file, letter, sizeof(letter)), sizeof(letter));
	ck_rc(kvshm_unlink(unit_name(), NULL), -EPROTO);
	ck_assert(is_there(-1));
	ck_assert_int_eq(unlink(unit_path(-1)), 0);
	ck_assert_int_eq(symlink("/dev/null", unit_path(-1)), 0);
	ck_rc(kvshm_unlink(unit_name(), NULL), -EPROTO);
	ck_assert_int_eq(unlink(unit_path(-1)), 0);
	ck_rc(kvshm_unlink("no/name", NULL), -EINVAL);
	ck_rc(kvshm_unlink(NULL, NULL), -EINVAL);
	(void)close(file);
}
END_TEST

START_TEST(planes_that_a_dead_maker_left_are_unlinked_but_not_those_of_one_at_work)
{
	int file = open(unit_path(1), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

	ck_assert_int_eq(ftruncate(file, 65536), 0);
	ck_rc(kvs_lock_write(file, 0), 0); /* as a maker does, until its segment is there */
	ck_rc(kvshm_unlink(unit_name(), NULL), -ENOENT);
	ck_assert(is_there(1));
	(void)close(file);
	ck_rc(kvshm_unlink(unit_name(), NULL), 0);
	nothing_is_there();
}
END_TEST

/* An engine's bytes may look like a segment's. */
START_TEST(a_plane_that_looks_like_a_segment_is_not_taken_for_a_store)
{
	char name[KVSHM_NAME_MAX + 1];
	kvshm_store *store;
	struct kvshm_handle handle;
	void *address;

	(void)snprintf(name, sizeof(name), "%s.p0", unit_name());
	store = unit_store(1);
	handle = unit_begin(store, 1);
	ck_rc(kvshm_address(store, &handle, 0, &address), 0);
	memcpy(address, store->map.head, 4096);
	ck_rc(kvshm_unlink(name, NULL), -EPROTO);
	ck_assert(is_there(0));
	unit_detach(store);
	ck_rc(kvshm_disown(unit_owner), 0);
	unit_owner = NULL;
	ck_rc(kvshm_unlink(unit_name(), NULL), 0);
	nothing_is_there();
}
END_TEST

struct race {
	pthread_barrier_t barrier;
	kvshm_store *store;
	int attached;
};

static void *attach_one(void *arg)
{
	struct race *race = arg;

	(void)pthread_barrier_wait(&race->barrier);
	race->attached = kvshm_attach(unit_name(), NULL, &race->store);
	return NULL;
}

START_TEST(a_store_is_unlinked_or_attached_but_never_both)
{
	unsigned unlinked = 0;

	for (unsigned round = 0; round < 400; round++) {
		struct race race = {.attached = 1};
		pthread_t thread;
		int rc;

		leave_dead();
		(void)pthread_barrier_init(&race.barrier, NULL, 2);
		ck_assert_int_eq(pthread_create(&thread, NULL, attach_one, &race), 0);
		(void)pthread_barrier_wait(&race.barrier);
		/* Somewhere in the middle of an attach, which takes some tens of microseconds. */
		for (volatile unsigned spin = 0; spin < round % 40 * 500; spin++)
			;
		rc = kvshm_unlink(unit_name(), NULL);
		(void)pthread_join(thread, NULL);
		unlinked += rc == 0;
		if (rc == 0)
			ck_assert_msg(race.attached == -ENOENT || race.attached == -ESTALE, "attach: %d",
				      race.attached);
		else
			ck_assert_msg(rc == -EBUSY && race.attached == 0, "unlink %d, attach %d", rc, race.attached);
		if (race.attached == 0)
			ck_rc(kvshm_detach(race.store), 0);
		if (rc)
			ck_rc(kvshm_unlink(unit_name(), NULL), 0);
	}
	printf("# unlinked first: %u of 400\n", unlinked);
}
END_TEST

START_TEST(a_line_of_locks_names_the_byte_that_it_begins_at_or_none)
{
	ck_assert_int_eq(kvs_users_locked_byte("lock:\t1: OFDLCK ADVISORY WRITE -1 00:1b:37 1024 1024\n"), 1024);
	ck_assert_int_eq(kvs_users_locked_byte("lock:\t1: POSIX  ADVISORY READ 12 00:1b:37 0 EOF\n"), 0);
	ck_assert_int_eq(kvs_users_locked_byte("lock:\t1: FLOCK -2_"), -1);
	ck_assert_int_eq(kvs_users_locked_byte("lock: "), -1);
	ck_assert_int_eq(kvs_users_locked_byte("pos:\t0 7"), -1);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R30_a_dead_store_is_unlinked_whatever_has_become_of_it,
		R30_a_dead_store_is_replaced_whatever_has_become_of_it,
		what_is_not_to_be_replaced_stays_whatever_has_become_of_it,
		R30_a_store_with_a_living_owner_is_never_taken,
		R30_a_store_with_a_living_client_is_not_unlinked,
		a_store_of_another_version_that_clients_have_is_neither_replaced_nor_unlinked,
		what_is_no_segment_is_not_unlinked,
		planes_that_a_dead_maker_left_are_unlinked_but_not_those_of_one_at_work,
		a_plane_that_looks_like_a_segment_is_not_taken_for_a_store,
		a_store_is_unlinked_or_attached_but_never_both,
		a_line_of_locks_names_the_byte_that_it_begins_at_or_none,
	};

	return unit_run("unlink", tests, sizeof(tests) / sizeof(tests[0]));
}
