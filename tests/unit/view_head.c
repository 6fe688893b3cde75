/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * view_head: the head of any version's store can be told, also where nothing else can (R02), and wild bytes in it end
 * no process (F1).
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The first 64 bytes as every version has them: not by our struct, which may change behind them. */
struct frozen {
	char magic[8];
	uint32_t layout, reserved;
	uint64_t size;
	char maker[24], rest[16];
};

static void write_head(const struct frozen *head, off_t file_size)
{
	int file = open(unit_path(-1), O_CREAT | O_RDWR | O_CLOEXEC | O_TRUNC, 0600);

	ck_assert_int_ge(file, 0);
	ck_assert_int_eq(pwrite(file, head, sizeof(*head), 0), (ssize_t)sizeof(*head));
	ck_assert_int_eq(ftruncate(file, file_size), 0);
	(void)close(file);
}

static const struct frozen foreign = {.magic = "kvshm\r\n\032", .layout = 77, .size = 1 << 20, .maker = "9.8.7"};

START_TEST(R02_the_head_of_another_version_is_told)
{
	struct kvshm_head_info info;
	kvshm_view *view;
	kvshm_store *store;

	write_head(&foreign, 1 << 20);
	ck_rc(kvshm_view_head(unit_name(), NULL, &info), 0);
	ck_assert_str_eq(info.name, unit_name());
	ck_assert_str_eq(info.maker, "9.8.7");
	ck_assert(info.layout == 77 && info.layout_known == KVS_LAYOUT);
	ck_assert(info.segment_size == 1 << 20 && info.file_size == 1 << 20);
	ck_assert(info.clients_alive == 0 && !info.owner_alive);
	ck_rc(kvshm_view_open(unit_name(), NULL, &view), -EPROTO);
	ck_assert_msg(strstr(kvshm_error(), "77") && strstr(kvshm_error(), "9.8.7") &&
			      strstr(kvshm_error(), kvshm_version()),
		      "both versions are to be named: %s", kvshm_error());
	ck_rc(kvshm_attach(unit_name(), NULL, &store), -EPROTO);
	ck_assert_int_eq(unlink(unit_path(-1)), 0);
}
END_TEST

START_TEST(R02_who_lives_is_told_by_the_locks_alone)
{
	kvshm_store *store = unit_store(8), *other = unit_attach();
	struct kvshm_head_info info;

	ck_rc(kvshm_view_head(unit_name(), NULL, &info), 0);
	ck_assert_uint_eq(info.layout, info.layout_known);
	ck_assert_uint_eq(info.segment_size, info.file_size);
	ck_assert_str_eq(info.maker, kvshm_version());
	ck_assert_uint_eq(info.clients_alive, 2);
	ck_assert(info.owner_alive);
	unit_detach(other);
	unit_detach(store);
	ck_rc(kvshm_disown(unit_owner), 0);
	unit_owner = NULL;
	ck_rc(kvshm_view_head(unit_name(), NULL, &info), 0);
	ck_assert(info.clients_alive == 0 && !info.owner_alive);
	ck_rc(kvshm_adopt(unit_name(), NULL, &unit_owner), 0);
}
END_TEST

START_TEST(a_truncated_store_has_a_head_as_long_as_it_is_there)
{
	struct kvshm_head_info info = {.layout = 5};

	write_head(&foreign, 64);
	ck_rc(kvshm_view_head(unit_name(), NULL, &info), 0);
	ck_assert(info.file_size == 64 && info.segment_size == 1 << 20);
	write_head(&foreign, 63);
	info.layout = 5;
	ck_rc(kvshm_view_head(unit_name(), NULL, &info), -EPROTO);
	ck_assert_uint_eq(info.layout, 5); /* results are set on success only */
	ck_rc(kvshm_view_head(unit_name(), NULL, NULL), -EINVAL);
	ck_assert_int_eq(unlink(unit_path(-1)), 0);
	ck_rc(kvshm_view_head(unit_name(), NULL, &info), -ENOENT);
	ck_rc(kvshm_view_head("../x", NULL, &info), -EINVAL);
}
END_TEST

START_TEST(F1_random_bytes_in_the_frozen_head_end_no_process)
{
	unsigned seed = (unsigned)time(NULL);
	struct frozen head;

	printf("# seed %u\n", seed);
	for (int round = 0; round < 300; round++) {
		struct kvshm_head_info info;
		kvshm_view *view;
		int rc;

		for (size_t i = sizeof(head.magic); i < sizeof(head); i++)
			((unsigned char *)&head)[i] = (unsigned char)(rand_r(&seed) >> 4);
		memcpy(head.magic, foreign.magic, sizeof(head.magic));
		write_head(&head, rand_r(&seed) % 10000);
		rc = kvshm_view_head(unit_name(), NULL, &info);
		ck_assert(rc == 0 || rc == -EPROTO);
		if (rc == 0)
			ck_assert_uint_lt(strlen(info.maker), sizeof(info.maker));
		ck_rc(kvshm_view_open(unit_name(), NULL, &view), -EPROTO);
	}
	ck_assert_int_eq(unlink(unit_path(-1)), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R02_the_head_of_another_version_is_told,
		R02_who_lives_is_told_by_the_locks_alone,
		a_truncated_store_has_a_head_as_long_as_it_is_there,
		F1_random_bytes_in_the_frozen_head_end_no_process,
	};

	return unit_run("view_head", tests, sizeof(tests) / sizeof(tests[0]));
}
