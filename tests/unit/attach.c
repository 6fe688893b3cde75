/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * attach: what is refused at the door: files that are no segments, other versions, other labels, too many clients.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void refused(int error, const char *says)
{
	kvshm_store *store = NULL;

	ck_rc(kvshm_attach(unit_name(), NULL, &store), error);
	ck_assert_msg(strstr(kvshm_error(), says), "no '%s' in: %s", says, kvshm_error());
	ck_assert_ptr_null(store);
}

/* Changes bytes of the segment's file, looks whether attaching fails as it should, and puts them back. */
static void changed(size_t at, const void *bytes, size_t size, int error, const char *says)
{
	int file = open(unit_path(-1), O_RDWR | O_CLOEXEC);
	char before[64];

	ck_assert_int_ge(file, 0);
	ck_assert_uint_le(size, sizeof(before));
	ck_assert_int_eq(pread(file, before, size, (off_t)at), (ssize_t)size);
	ck_assert_int_eq(pwrite(file, bytes, size, (off_t)at), (ssize_t)size);
	refused(error, says);
	ck_assert_int_eq(pwrite(file, before, size, (off_t)at), (ssize_t)size);
	(void)close(file);
	unit_detach(unit_attach());
}

START_TEST(no_such_store_is_ENOENT_and_names_its_path)
{
	refused(-ENOENT, unit_path(-1));
}
END_TEST

START_TEST(a_store_of_another_layout_is_EPROTO_with_both_versions)
{
	const uint32_t layout = KVS_LAYOUT + 41;
	char has[32], with[32];

	(void)snprintf(has, sizeof(has), "has layout %u", layout);
	(void)snprintf(with, sizeof(with), "with layout %u:", KVS_LAYOUT);
	(void)unit_store(4);
	changed(offsetof(struct kvs_head, layout), &layout, 4, -EPROTO, has);
	changed(offsetof(struct kvs_head, layout), &layout, 4, -EPROTO, with);
	changed(offsetof(struct kvs_head, layout), &layout, 4, -EPROTO, kvshm_version());
}
END_TEST

START_TEST(a_store_of_another_build_is_EPROTO_with_both_fingerprints)
{
	const uint64_t fingerprint = 0x1234567890abcdef;
	char mine[32];

	(void)snprintf(mine, sizeof(mine), "%016llx", (unsigned long long)kvs_layout_fingerprint());
	(void)unit_store(4);
	changed(offsetof(struct kvs_head, fingerprint), &fingerprint, 8, -EPROTO, "1234567890abcdef");
	changed(offsetof(struct kvs_head, fingerprint), &fingerprint, 8, -EPROTO, mine);
}
END_TEST

START_TEST(a_foreign_magic_is_EPROTO)
{
	(void)unit_store(4);
	changed(0, "\177ELF", 4, -EPROTO, "no kvshm segment");
}
END_TEST

START_TEST(a_store_from_before_the_boot_is_EPROTO)
{
	(void)unit_store(4);
	changed(offsetof(struct kvs_head, boot_id), "another boot's id", 16, -EPROTO, "boot");
}
END_TEST

START_TEST(F1_a_geometry_of_nonsense_is_EUCLEAN)
{
	static const size_t at[] = {
		offsetof(struct kvs_geometry, size),	  offsetof(struct kvs_geometry, block_size),
		offsetof(struct kvs_geometry, blocks_at), offsetof(struct kvs_geometry, rows_at),
		offsetof(struct kvs_geometry, row_size),  offsetof(struct kvs_geometry, blocks),
		offsetof(struct kvs_geometry, buckets),	  offsetof(struct kvs_geometry, clients),
		offsetof(struct kvs_geometry, readers),	  offsetof(struct kvs_geometry, planes),
		offsetof(struct kvs_geometry, key_max),	  offsetof(struct kvs_geometry, tails_at),
	};
	static const uint32_t wild[] = {0, 0x7fffffff, 0xffffffff};

	(void)unit_store(4);
	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++)
		for (unsigned n = 0; n < 3; n++)
			changed(offsetof(struct kvs_head, geometry) + at[i], &wild[n], 4, -EUCLEAN, "makes no sense");
}
END_TEST

START_TEST(F1_a_label_without_an_end_is_read_to_its_size_only)
{
	struct kvshm_attach_options options = {.label = "other"};
	kvshm_store *store;
	int file;

	(void)unit_store(4);
	file = open(unit_path(-1), O_RDWR | O_CLOEXEC);
	for (size_t i = 0; i < KVS_LABEL_SIZE; i++)
		ck_assert_int_eq(pwrite(file, "y", 1, (off_t)(offsetof(struct kvs_head, label) + i)), 1);
	(void)close(file);
	ck_rc(kvshm_attach(unit_name(), &options, &store), -EMEDIUMTYPE);
	ck_assert_uint_lt(strlen(kvshm_error()), 600);
}
END_TEST

START_TEST(a_truncated_segment_is_EPROTO_and_says_how_much_is_left)
{
	static const off_t sizes[] = {0, 1, 63, 64, 500, 4095, 4096, 65536};
	int file = open(unit_path(-1), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	struct kvs_head head = {.magic = KVS_MAGIC, .layout = KVS_LAYOUT, .size = 1 << 20};

	head.fingerprint = kvs_layout_fingerprint();
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char says[32];

		ck_assert_int_eq(pwrite(file, &head, sizeof(head), 0), sizeof(head));
		ck_assert_int_eq(ftruncate(file, sizes[i]), 0);
		(void)snprintf(says, sizeof(says), "%d", (int)sizes[i]);
		refused(-EPROTO, says);
	}
	(void)close(file);
	ck_assert_int_eq(unlink(unit_path(-1)), 0);
}
END_TEST

START_TEST(what_is_no_file_is_EPROTO_and_is_not_waited_for)
{
	ck_assert_int_eq(mkdir(unit_path(-1), 0700), 0);
	refused(-EPROTO, "something else than a file");
	ck_assert_int_eq(rmdir(unit_path(-1)), 0);
	ck_assert_int_eq(mkfifo(unit_path(-1), 0600), 0);
	refused(-EPROTO, "something else than a file");
	ck_assert_int_eq(unlink(unit_path(-1)), 0);
}
END_TEST

START_TEST(a_symbolic_link_is_not_followed)
{
	kvshm_store *store;

	ck_assert_int_eq(symlink("/dev/zero", unit_path(-1)), 0);
	ck_assert_int_lt(kvshm_attach(unit_name(), NULL, &store), 0);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), unit_path(-1)));
	ck_assert_int_eq(unlink(unit_path(-1)), 0);
}
END_TEST

START_TEST(a_plane_that_is_gone_or_anothers_is_an_error)
{
	char aside[300];
	kvshm_store *store;
	int file;

	(void)unit_store(4);
	(void)snprintf(aside, sizeof(aside), "%s.aside", unit_path(0));
	ck_assert_int_eq(rename(unit_path(0), aside), 0);
	ck_rc(kvshm_attach(unit_name(), NULL, &store), -ESTALE);
	file = open(unit_path(0), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	(void)close(file);
	ck_rc(kvshm_attach(unit_name(), NULL, &store), -ESTALE);
	ck_assert_int_eq(rename(aside, unit_path(0)), 0);
	ck_assert_int_eq(truncate(unit_path(0), 4096), 0);
	ck_rc(kvshm_attach(unit_name(), NULL, &store), -EUCLEAN);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "truncated"));
	ck_assert_int_eq(truncate(unit_path(0), (off_t)4 * 4096), 0);
}
END_TEST

START_TEST(R29_another_label_is_refused_with_both_in_the_text)
{
	struct kvshm_create_options options = unit_options(4);
	struct kvshm_attach_options how = {.label = "llama-3-70b bf16 tp8"};
	kvshm_store *store;

	options.label = "llama-3-8b fp8 tp1";
	(void)unit_make(&options); /* label NULL: any */
	ck_rc(kvshm_attach(unit_name(), &how, &store), -EMEDIUMTYPE);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), options.label));
	ck_assert_ptr_nonnull(strstr(kvshm_error(), how.label));
	how.label = "llama-3-8b fp8 tp"; /* a prefix is another */
	ck_rc(kvshm_attach(unit_name(), &how, &store), -EMEDIUMTYPE);
	how.label = "";
	ck_rc(kvshm_attach(unit_name(), &how, &store), -EMEDIUMTYPE);
	how.label = options.label;
	ck_rc(kvshm_attach(unit_name(), &how, &store), 0);
	ck_rc(kvshm_detach(store), 0);
}
END_TEST

START_TEST(more_clients_than_slots_are_EUSERS_until_one_detaches)
{
	struct kvshm_create_options options = unit_options(4);
	kvshm_store *store;

	options.clients = 3;
	(void)unit_make(&options);
	store = unit_attach();
	(void)unit_attach();
	refused(-EUSERS, "all 3 client slots");
	unit_detach(store);
	(void)unit_attach();
}
END_TEST

START_TEST(a_clients_long_name_is_cut)
{
	struct kvshm_attach_options how = {.name = "an-engine-with-a-name-of-more-than-31-bytes"};
	kvshm_store *store;

	(void)unit_store(4);
	ck_rc(kvshm_attach(unit_name(), &how, &store), 0);
	ck_assert_str_eq(store->map.clients[store->slot].name, "an-engine-with-a-name-of-more-t");
	ck_assert_int_eq(atomic_load(&store->map.clients[store->slot].pid), getpid());
	ck_rc(kvshm_detach(store), 0);
}
END_TEST

START_TEST(the_geometry_says_what_the_store_is)
{
	struct kvshm_create_options options = unit_options(7);
	struct kvshm_geometry one, two;

	options.planes = 3;
	options.key_max = 36;
	options.retain = KVSHM_DROP;
	ck_rc(kvshm_get_geometry(unit_make(&options), &one), 0);
	ck_rc(kvshm_get_geometry(unit_attach(), &two), 0);
	ck_assert_uint_eq(one.block_size, 4096);
	ck_assert_uint_eq(one.blocks, 7);
	ck_assert_uint_eq(one.planes, 3);
	ck_assert_uint_eq(one.key_max, 36);
	ck_assert_uint_eq(one.clients, 8);
	ck_assert_int_eq(one.retain, KVSHM_DROP);
	ck_assert_uint_eq(one.incarnation, two.incarnation);
	ck_assert_uint_ne(one.slot, two.slot);
}
END_TEST

START_TEST(a_segment_that_is_truncated_under_its_users_is_EUCLEAN_where_the_kernel_is_asked)
{
	kvshm_store *store = unit_store(4);
	uint64_t size = store->map.g.size;

	ck_assert_int_eq(truncate(unit_path(-1), (off_t)(size - 4096)), 0);
	ck_rc(kvshm_recover(store, NULL), -EUCLEAN);
	ck_assert_int_eq(truncate(unit_path(-1), (off_t)size), 0);
	ck_rc(kvshm_recover(store, NULL), 0);
}
END_TEST

START_TEST(a_failed_attach_leaves_neither_descriptor_nor_mapping)
{
	const struct kvshm_attach_options how = {.label = "another"};
	int before, after;
	kvshm_store *store;

	(void)unit_store(4);
	before = dup(0);
	(void)close(before);
	for (int i = 0; i < 1000; i++)
		ck_rc(kvshm_attach(unit_name(), &how, &store), -EMEDIUMTYPE);
	for (int i = 0; i < 300; i++) /* more than a process may have open */
		unit_detach(unit_attach());
	after = dup(0);
	(void)close(after);
	ck_assert_int_eq(before, after);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		no_such_store_is_ENOENT_and_names_its_path,
		a_store_of_another_layout_is_EPROTO_with_both_versions,
		a_store_of_another_build_is_EPROTO_with_both_fingerprints,
		a_foreign_magic_is_EPROTO,
		a_store_from_before_the_boot_is_EPROTO,
		F1_a_geometry_of_nonsense_is_EUCLEAN,
		F1_a_label_without_an_end_is_read_to_its_size_only,
		a_truncated_segment_is_EPROTO_and_says_how_much_is_left,
		what_is_no_file_is_EPROTO_and_is_not_waited_for,
		a_symbolic_link_is_not_followed,
		a_plane_that_is_gone_or_anothers_is_an_error,
		R29_another_label_is_refused_with_both_in_the_text,
		more_clients_than_slots_are_EUSERS_until_one_detaches,
		a_clients_long_name_is_cut,
		the_geometry_says_what_the_store_is,
		a_segment_that_is_truncated_under_its_users_is_EUCLEAN_where_the_kernel_is_asked,
		a_failed_attach_leaves_neither_descriptor_nor_mapping,
	};

	return unit_run("attach", tests, sizeof(tests) / sizeof(tests[0]));
}
