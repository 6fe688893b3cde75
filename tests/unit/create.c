/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * create: making a store, and everything that keeps one from being made. What fails leaves nothing behind (the end of
 * each test looks).
 */
#include "config.h"

#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lock.h"

/* How many files of this test's store there are. */
static unsigned files(void)
{
	char prefix[128] = "kvshm.";
	DIR *dir = opendir("/dev/shm");
	unsigned count = 0;

	strncat(prefix, unit_name(), sizeof(prefix) - 7);
	ck_assert_ptr_nonnull(dir);
	for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
		count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
	(void)closedir(dir);
	return count;
}

static void refused_as(const char *name, const struct kvshm_create_options *options, int error, const char *says)
{
	kvshm_owner *owner = NULL;

	ck_rc(kvshm_create(name, options, &owner), error);
	ck_assert_msg(strstr(kvshm_error(), says), "no '%s' in: %s", says, kvshm_error());
	ck_assert_ptr_null(owner);
	ck_assert_uint_eq(files(), 0);
}

static void refused(struct kvshm_create_options options, const char *says)
{
	refused_as(unit_name(), &options, -EINVAL, says);
}

START_TEST(options_out_of_range_are_EINVAL_and_the_text_says_which)
{
	char label[258];
#define WITH(field, value, says)                                        \
	do {                                                            \
		struct kvshm_create_options options = unit_options(64); \
		options.field = (value);                                \
		refused(options, says);                                 \
	} while (0)
	WITH(block_size, 0, "block size of 0 bytes");
	WITH(block_size, 100, "multiple of 512");
	WITH(block_size, 4097, "4097");
	WITH(block_size, UINT64_C(1) << 41, "1 TiB");
	WITH(size, 4095, "less than one block");
	WITH(size, 0, "less than one block");
	WITH(size, UINT64_C(4096) << 31, "blocks");
	WITH(planes, 0, "0 planes");
	WITH(planes, 33, "33 planes");
	WITH(key_max, 0, "1 to 256");
	WITH(key_max, 257, "257");
	WITH(clients, 0, "0 clients");
	WITH(clients, 1025, "1025");
	WITH(mode, 01777, "1777");
	WITH(mode, 0400, "mode 400");
	WITH(retain, (enum kvshm_retain)7, "retain 7");
	memset(label, 'x', sizeof(label) - 1);
	label[257] = '\0';
	WITH(label, label, "label of 257");
#undef WITH
	refused_as(unit_name(), NULL, -EINVAL, "no options");
}
END_TEST

START_TEST(a_label_of_255_bytes_and_the_largest_numbers_are_taken)
{
	struct kvshm_create_options options = unit_options(2);
	char label[KVSHM_LABEL_MAX + 1];
	struct kvshm_geometry geometry;

	memset(label, 'x', sizeof(label) - 1);
	label[KVSHM_LABEL_MAX] = '\0';
	options.label = label;
	options.planes = KVSHM_PLANES_MAX;
	options.key_max = KVSHM_KEY_MAX;
	options.clients = KVSHM_CLIENTS_MAX;
	ck_rc(kvshm_get_geometry(unit_make(&options), &geometry), 0);
	ck_assert_uint_eq(geometry.planes, 32);
	ck_assert_uint_eq(geometry.key_max, 256);
	ck_assert_uint_eq(geometry.clients, 1024);
	ck_assert_uint_eq(geometry.blocks, 2);
	ck_assert_uint_eq(files(), 33);
}
END_TEST

START_TEST(names_that_are_none_are_EINVAL)
{
	char name[KVSHM_NAME_MAX + 2];
	const char *const bad[] = {"",	  ".",	  "..",	      ".x",  "a/b", "/", "../x",
				   "a b", "a\nb", "\xc3\xa4", "a:b", "a*",  name};
	struct kvshm_create_options options = unit_options(64);
	kvshm_owner *owner;
	kvshm_store *store;

	memset(name, 'n', sizeof(name) - 1);
	name[KVSHM_NAME_MAX + 1] = '\0';
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		refused_as(bad[i], &options, -EINVAL, "no store's name");
		ck_rc(kvshm_attach(bad[i], NULL, &store), -EINVAL);
		ck_rc(kvshm_adopt(bad[i], NULL, &owner), -EINVAL);
	}
	refused_as(NULL, &options, -EINVAL, "no store's name");
	ck_rc(kvshm_attach(NULL, NULL, &store), -EINVAL);
	ck_rc(kvshm_adopt(NULL, NULL, &owner), -EINVAL);
}
END_TEST

START_TEST(a_name_of_64_of_all_that_is_allowed_is_taken)
{
	char name[KVSHM_NAME_MAX + 1];
	struct kvshm_create_options options = unit_options(4);
	kvshm_owner *owner;
	kvshm_store *store;

	memset(name, 'Z', KVSHM_NAME_MAX);
	memcpy(name, unit_name(), strlen(unit_name()));
	memcpy(name + KVSHM_NAME_MAX - 8, "AZaz09._", 8);
	name[KVSHM_NAME_MAX] = '\0';
	ck_rc(kvshm_create(name, &options, &owner), 0);
	ck_rc(kvshm_attach(name, NULL, &store), 0);
	ck_rc(kvshm_detach(store), 0);
	ck_rc(kvshm_destroy(owner), 0);
	ck_assert_uint_eq(files(), 0);
}
END_TEST

START_TEST(no_room_for_a_store_is_ENOSPC_and_leaves_nothing)
{
	struct kvshm_create_options options = unit_options(1);
	kvshm_owner *owner = NULL;
	int rc;

	options.block_size = UINT64_C(1) << 36;
	options.size = UINT64_C(1) << 46; /* more than any machine has */
	rc = kvshm_create(unit_name(), &options, &owner);
	ck_assert_msg(rc == -ENOSPC || rc == -ENOMEM, "%d: %s", rc, kvshm_error());
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "smaller"));
	ck_assert_uint_eq(files(), 0);
	options.planes = 32; /* the sum of the planes overflows 64 bits here */
	options.block_size = UINT64_C(1) << 40;
	options.size = UINT64_C(1) << 59;
	rc = kvshm_create(unit_name(), &options, &owner);
	ck_assert_msg(rc == -ENOSPC || rc == -ENOMEM, "%d: %s", rc, kvshm_error());
	ck_assert_uint_eq(files(), 0);
	ck_assert_ptr_null(owner);
}
END_TEST

START_TEST(a_directory_that_is_not_there_or_no_tmpfs_is_an_error_with_its_name)
{
	struct kvshm_create_options options = unit_options(4);
	kvshm_owner *owner;

	options.dir = "/dev/shm/kvshm-no-such-directory";
	ck_rc(kvshm_create(unit_name(), &options, &owner), -ENOENT);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), options.dir));
	options.dir = "/proc";
	ck_assert_int_lt(kvshm_create(unit_name(), &options, &owner), 0);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "/proc"));
}
END_TEST

START_TEST(files_get_the_mode_that_was_asked_for_whatever_the_umask)
{
	struct kvshm_create_options options = unit_options(4);
	struct stat st;
	mode_t before = umask(077);

	options.mode = 0666;
	(void)unit_make(&options);
	(void)umask(before);
	ck_assert_int_eq(stat(unit_path(-1), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0666);
	ck_assert_int_eq(stat(unit_path(0), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0666);
}
END_TEST

START_TEST(all_memory_is_reserved_at_creation_but_the_rows)
{
	struct kvshm_create_options options = unit_options(1000);
	struct stat st;
	kvshm_store *store = unit_make(&options);

	ck_assert_int_eq(stat(unit_path(0), &st), 0);
	ck_assert_uint_ge((uint64_t)st.st_blocks * 512, UINT64_C(1000) * 4096);
	ck_assert_int_eq(stat(unit_path(-1), &st), 0);
	ck_assert_uint_ge((uint64_t)st.st_blocks * 512, store->map.g.rows_at);
	ck_assert_uint_lt((uint64_t)st.st_blocks * 512, store->map.g.rows_at + 2 * store->map.g.row_size);
}
END_TEST

static char log_text[512];
static unsigned log_lines;

static void keep_log(enum kvshm_log_level level, const char *text, void *arg)
{
	ck_assert_ptr_eq(arg, log_text);
	ck_assert_int_eq(level, KVSHM_LOG_NOTICE);
	(void)strncpy(log_text, text, sizeof(log_text) - 1);
	log_lines++;
}

START_TEST(R14_a_size_is_rounded_down_to_whole_blocks_and_the_log_says_so)
{
	struct kvshm_create_options options = unit_options(10);
	struct kvshm_geometry geometry;

	kvshm_set_log(keep_log, log_text);
	options.size += 4095;
	ck_rc(kvshm_get_geometry(unit_make(&options), &geometry), 0);
	ck_assert_uint_eq(geometry.blocks, 10);
	ck_assert_uint_eq(log_lines, 1);
	ck_assert_ptr_nonnull(strstr(log_text, "45055"));
	ck_assert_ptr_nonnull(strstr(log_text, "10 blocks of 4096"));
	ck_assert_ptr_nonnull(strstr(log_text, "4095 bytes"));
	kvshm_set_log(NULL, NULL);
}
END_TEST

START_TEST(R14_a_size_of_whole_blocks_is_taken_as_it_is_in_silence)
{
	struct kvshm_create_options options = unit_options(10);
	struct kvshm_geometry geometry;

	kvshm_set_log(keep_log, log_text);
	ck_rc(kvshm_get_geometry(unit_make(&options), &geometry), 0);
	ck_assert_uint_eq(geometry.blocks, 10);
	ck_assert_uint_eq(log_lines, 0);
	kvshm_set_log(NULL, NULL);
}
END_TEST

START_TEST(R14_less_than_one_block_is_a_clear_error)
{
	struct kvshm_create_options options = unit_options(1);

	options.block_size = 1179648;
	options.size = 1179647;
	refused(options, "1179647 bytes is less than one block of 1179648");
}
END_TEST

START_TEST(every_incarnation_differs)
{
	struct kvshm_geometry one, two;
	kvshm_store *store = unit_store(4);

	ck_rc(kvshm_get_geometry(store, &one), 0);
	unit_detach(store);
	ck_rc(kvshm_destroy(unit_owner), 0);
	ck_rc(kvshm_get_geometry(unit_store(4), &two), 0);
	ck_assert_uint_ne(one.incarnation, two.incarnation);
}
END_TEST

/* A plane as its maker shows it, before the segment has its name. */
static int lone_plane(void)
{
	int file = open(unit_path(0), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

	ck_assert_int_ge(file, 0);
	ck_assert_int_eq(ftruncate(file, 16384), 0);
	return file;
}

START_TEST(planes_that_a_dead_maker_left_are_cleared_away)
{
	(void)close(lone_plane());
	(void)unit_store(4);
}
END_TEST

START_TEST(planes_of_a_maker_who_is_at_work_are_left_alone)
{
	struct kvshm_create_options options = unit_options(4);
	int file = lone_plane();
	kvshm_owner *owner;

	ck_rc(kvs_lock_write(file, 0), 0); /* as a maker does, until its segment is there */
	ck_rc(kvshm_create(unit_name(), &options, &owner), -EEXIST);
	ck_assert_uint_eq(files(), 1);
	(void)close(file);
	(void)unit_make(&options);
}
END_TEST

START_TEST(a_store_whose_name_is_that_of_a_plane_is_left_alone)
{
	struct kvshm_create_options options = unit_options(4);
	char name[KVSHM_NAME_MAX + 1];
	kvshm_owner *plane_like, *owner;
	kvshm_store *store;

	(void)snprintf(name, sizeof(name), "%s.p0", unit_name());
	ck_rc(kvshm_create(name, &options, &plane_like), 0);
	ck_rc(kvshm_create(unit_name(), &options, &owner), -EEXIST);
	ck_rc(kvshm_attach(name, NULL, &store), 0);
	unit_put(store, 1);
	ck_rc(kvshm_detach(store), 0);
	ck_rc(kvshm_destroy(plane_like), 0);
	(void)unit_make(&options);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		options_out_of_range_are_EINVAL_and_the_text_says_which,
		a_label_of_255_bytes_and_the_largest_numbers_are_taken,
		names_that_are_none_are_EINVAL,
		a_name_of_64_of_all_that_is_allowed_is_taken,
		no_room_for_a_store_is_ENOSPC_and_leaves_nothing,
		a_directory_that_is_not_there_or_no_tmpfs_is_an_error_with_its_name,
		files_get_the_mode_that_was_asked_for_whatever_the_umask,
		all_memory_is_reserved_at_creation_but_the_rows,
		R14_a_size_is_rounded_down_to_whole_blocks_and_the_log_says_so,
		R14_a_size_of_whole_blocks_is_taken_as_it_is_in_silence,
		R14_less_than_one_block_is_a_clear_error,
		every_incarnation_differs,
		planes_that_a_dead_maker_left_are_cleared_away,
		planes_of_a_maker_who_is_at_work_are_left_alone,
		a_store_whose_name_is_that_of_a_plane_is_left_alone,
	};

	return unit_run("create", tests, sizeof(tests) / sizeof(tests[0]));
}
