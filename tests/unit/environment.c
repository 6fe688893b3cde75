/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * environment: file systems that are full, and permissions that are missing. The small file system is a private mount:
 * the machine's own is never filled.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* Covers /dev/shm, for this test's process only, with a file system of 16 MiB. */
static bool small_file_system(const char *test)
{
	if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	    mount("kvshm-unit", "/dev/shm", "tmpfs", 0, "size=16m,mode=1777") == 0)
		return true;
	unit_skip(test, "a private mount needs root");
	return false;
}

/* Takes all that is left of it. */
static int fill_up(void)
{
	int file = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	off_t at = 0;

	ck_assert_int_ge(file, 0);
	while (fallocate(file, 0, at, 4096) == 0)
		at += 4096;
	ck_assert_int_eq(errno, ENOSPC);
	return file;
}

START_TEST(no_room_for_a_store_in_the_file_system_is_ENOSPC)
{
	struct kvshm_create_options options = unit_options(5000);
	kvshm_owner *owner;
	struct stat st;

	if (!small_file_system("no_room_for_a_store_in_the_file_system_is_ENOSPC"))
		return;
	ck_rc(kvshm_create(unit_name(), &options, &owner), -ENOSPC);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "/dev/shm"));
	ck_assert_int_eq(stat(unit_path(-1), &st), -1);
	ck_assert_int_eq(stat(unit_path(0), &st), -1);
	options = unit_options(1100);
	options.planes = 4; /* each would fit */
	ck_rc(kvshm_create(unit_name(), &options, &owner), -ENOSPC);
	ck_assert_int_eq(stat(unit_path(0), &st), -1);
	options.planes = 1;
	unit_put(unit_make(&options), 1);
}
END_TEST

START_TEST(no_room_for_a_row_is_ENOSPC_at_attach_and_harms_nobody)
{
	struct kvshm_handle ref;
	kvshm_store *store, *more;
	int file;

	if (!small_file_system("no_room_for_a_row_is_ENOSPC_at_attach_and_harms_nobody"))
		return;
	store = unit_store(1000);
	ref = unit_fill(store, 1, 0);
	file = fill_up();
	for (int i = 0; i < 20; i++) { /* more than there are slots: none is lost */
		ck_rc(kvshm_attach(unit_name(), NULL, &more), -ENOSPC);
		ck_assert_ptr_nonnull(strstr(kvshm_error(), "counts"));
	}
	for (uint64_t i = 2; i <= 1000; i++) /* all its memory was reserved: no SIGBUS */
		unit_put(store, i);
	unit_verify(store, &ref, 1);
	(void)close(file);
	ck_assert(unit_has(unit_attach(), 1));
}
END_TEST

static void attach_as_nobody(void *arg)
{
	kvshm_owner *owner;
	kvshm_store *store;

	(void)arg;
	if (geteuid() == 0)
		ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
	ck_rc(kvshm_attach(unit_name(), NULL, &store), -EACCES);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), unit_path(-1)));
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "--mode"));
	ck_rc(kvshm_adopt(unit_name(), NULL, &owner), -EACCES);
}

START_TEST(no_permission_for_a_store_is_EACCES)
{
	struct child child;

	(void)unit_store(4);
	ck_assert_int_eq(chmod(unit_path(-1), geteuid() == 0 ? 0600 : 0), 0);
	unit_child(&child, attach_as_nobody, NULL);
	unit_join(&child);
	ck_assert_int_eq(chmod(unit_path(-1), 0600), 0);
}
END_TEST

static void create_as_nobody(void *arg)
{
	struct kvshm_create_options options = unit_options(4);
	kvshm_owner *owner;

	if (geteuid() == 0)
		ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
	options.dir = arg;
	ck_rc(kvshm_create(unit_name(), &options, &owner), -EACCES);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), options.dir));
}

START_TEST(no_permission_for_a_directory_is_EACCES)
{
	struct child child;
	char dir[300];

	(void)snprintf(dir, sizeof(dir), "%s.dir", unit_path(-1));
	ck_assert_int_eq(mkdir(dir, geteuid() == 0 ? 0755 : 0555), 0);
	unit_child(&child, create_as_nobody, dir);
	unit_join(&child);
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

START_TEST(another_directory_holds_stores_of_its_own)
{
	struct kvshm_create_options options = unit_options(4);
	struct kvshm_attach_options how = {.dir = NULL};
	kvshm_store *here, *there;
	kvshm_owner *owner;
	char dir[300];

	(void)snprintf(dir, sizeof(dir), "%s.dir", unit_path(-1));
	ck_assert_int_eq(mkdir(dir, 0700), 0);
	here = unit_store(4);
	options.dir = how.dir = dir;
	ck_rc(kvshm_create(unit_name(), &options, &owner), 0);
	ck_rc(kvshm_attach(unit_name(), &how, &there), 0);
	unit_put(here, 1);
	ck_assert(!unit_has(there, 1));
	ck_rc(kvshm_detach(there), 0);
	ck_assert_int_eq(setenv("KVSHM_DIR", dir, 1), 0);
	ck_rc(kvshm_attach(unit_name(), NULL, &there), 0);
	ck_assert(!unit_has(there, 1));
	ck_assert_int_eq(unsetenv("KVSHM_DIR"), 0);
	ck_rc(kvshm_detach(there), 0);
	ck_rc(kvshm_destroy(owner), 0);
	ck_assert_int_eq(rmdir(dir), 0); /* empty again */
}
END_TEST

static void attach_without_standard_streams(void *arg)
{
	const kvshm_store *store;

	(void)arg;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		(void)close(fd);
	store = unit_attach();
	if (store->map.fd <= STDERR_FILENO || store->map.probe <= STDERR_FILENO)
		_exit(EXIT_FAILURE);
}

START_TEST(what_a_program_prints_never_goes_into_a_segment)
{
	kvshm_store *store = unit_store(4);
	struct child child;

	unit_child(&child, attach_without_standard_streams, NULL);
	unit_join(&child);
	ck_rc(kvshm_recover(store, NULL), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		no_room_for_a_store_in_the_file_system_is_ENOSPC,
		no_room_for_a_row_is_ENOSPC_at_attach_and_harms_nobody,
		no_permission_for_a_store_is_EACCES,
		no_permission_for_a_directory_is_EACCES,
		another_directory_holds_stores_of_its_own,
		what_a_program_prints_never_goes_into_a_segment,
	};

	return unit_run("environment", tests, sizeof(tests) / sizeof(tests[0]));
}
