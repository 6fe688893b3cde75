/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * planes: where the bytes lie: planes, block sizes, and inaccessible pages on both sides of every mapping.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

START_TEST(A2_every_plane_has_bytes_of_its_own_for_every_key)
{
	struct kvshm_create_options options = unit_options(64);
	struct kvshm_handle refs[64], ref;
	kvshm_store *store, *other;

	options.planes = 5;
	store = unit_make(&options);
	other = unit_attach();
	for (uint64_t i = 0; i < 64; i++)
		refs[i] = unit_fill(store, i, 0);
	for (uint64_t i = 0; i < 64; i++) {
		unit_verify(store, &refs[i], i);
		ck_rc(unit_get(other, i, &ref), 0);
		unit_verify(other, &ref, i); /* through mappings of its own */
	}
}
END_TEST

START_TEST(a_block_lies_at_its_number_times_its_size_in_every_plane)
{
	struct kvshm_create_options options = unit_options(64);
	struct kvshm_handle refs[64];
	kvshm_store *store;

	options.planes = 3;
	store = unit_make(&options);
	for (uint64_t i = 0; i < 64; i++)
		refs[i] = unit_fill(store, i, 0);
	for (unsigned plane = 0; plane < 3; plane++)
		for (unsigned i = 0; i < 64; i++) {
			void *address;

			ck_rc(kvshm_address(store, &refs[i], plane, &address), 0);
			ck_assert_ptr_eq(address, store->map.planes[plane] + refs[i].block * UINT64_C(4096));
		}
}
END_TEST

START_TEST(a_plane_that_is_not_there_is_EINVAL)
{
	static const unsigned planes[] = {3, 4, 32, UINT32_MAX};
	struct kvshm_create_options options = unit_options(4);
	void *address = &options;
	struct kvshm_handle ref;
	kvshm_store *store;

	options.planes = 3;
	store = unit_make(&options);
	ref = unit_fill(store, 1, 0);
	for (unsigned i = 0; i < 4; i++)
		ck_rc(kvshm_address(store, &ref, planes[i], &address), -EINVAL);
	ck_assert_ptr_eq(address, &options);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "3"));
	ck_rc(kvshm_address(store, &ref, 2, &address), 0);
}
END_TEST

/* Of a store whose last page is not full: 12 blocks of 1,536 bytes. */
START_TEST(a_whole_plane_lies_where_plane_info_says)
{
	struct kvshm_create_options options = unit_options(12);
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct kvshm_handle refs[12];
	struct kvshm_plane_info info;
	kvshm_store *store;

	options.planes = 3;
	options.block_size = 1536;
	options.size = 12 * options.block_size;
	store = unit_make(&options);
	for (unsigned i = 0; i < 12; i++)
		refs[i] = unit_fill(store, i, 0);
	for (unsigned plane = 0; plane < 3; plane++) {
		ck_rc(kvshm_get_plane_info(store, plane, &info), 0);
		ck_assert_uint_eq((uintptr_t)info.address % page, 0);
		ck_assert_uint_eq(info.size, 12 * options.block_size);
		ck_assert_uint_eq(info.page_size, page);
		ck_assert_int_eq(info.memory, KVSHM_MEMORY_HOST);
		ck_assert_int_eq(info.device, -1);
		for (unsigned i = 0; i < 12; i++) {
			void *address;

			ck_rc(kvshm_address(store, &refs[i], plane, &address), 0);
			ck_assert_ptr_eq(address, (char *)info.address + refs[i].block * options.block_size);
		}
	}
}
END_TEST

START_TEST(a_plane_stays_mapped_until_detach)
{
	struct kvshm_plane_info info;
	kvshm_store *store = unit_store(4);

	ck_rc(kvshm_get_plane_info(store, 0, &info), 0);
	ck_rc(kvshm_destroy(unit_owner), 0);
	unit_owner = NULL;
	memset(info.address, 1, info.size);
	ck_rc(kvshm_get_plane_info(store, 0, &info), -ESTALE);
}
END_TEST

START_TEST(plane_info_refuses_what_is_no_plane)
{
	static const unsigned planes[] = {3, 4, 32, UINT32_MAX};
	struct kvshm_create_options options = unit_options(4);
	struct kvshm_plane_info info = {.size = 12345};
	kvshm_store *store;

	options.planes = 3;
	store = unit_make(&options);
	for (unsigned i = 0; i < 4; i++) {
		ck_rc(kvshm_get_plane_info(store, planes[i], &info), -EINVAL);
		ck_assert_ptr_nonnull(strstr(kvshm_error(), "this store has 3"));
	}
	ck_assert_uint_eq(info.size, 12345);
	ck_rc(kvshm_get_plane_info(store, 2, NULL), -EINVAL);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "NULL"));
}
END_TEST

static void blocks_of(uint64_t size)
{
	struct kvshm_create_options options = unit_options(4);
	kvshm_store *store, *other;

	options.block_size = size;
	options.size = 4 * size + size - 1;
	store = unit_make(&options);
	other = unit_attach();
	for (uint64_t i = 0; i < 8; i++) {
		struct kvshm_handle ref = unit_fill(store, i, 0), theirs;

		ck_rc(unit_get(other, i, &theirs), 0);
		unit_verify(other, &theirs, i);
		ck_rc(kvshm_release(other, &theirs), 0);
		ck_rc(kvshm_release(store, &ref), 0);
	}
}

START_TEST(blocks_of_512_bytes)
{
	blocks_of(512);
}
END_TEST

START_TEST(blocks_of_1536_bytes)
{
	blocks_of(1536);
}
END_TEST

START_TEST(blocks_of_1179648_bytes)
{
	blocks_of(1179648);
}
END_TEST

START_TEST(blocks_of_10_MiB)
{
	blocks_of(10 << 20);
}
END_TEST

/* Reads one byte in a child, which dies of it or not. */
static void touch(bool plane, bool behind, bool wanted_to_live)
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		const volatile char *at;
		const kvshm_store *store;

		(void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		(void)signal(SIGSEGV, SIG_DFL); /* a sanitizer may have taken it */
		store = unit_attach();
		at = plane ? store->map.planes[0] : (const char *)store->map.head;
		if (behind)
			at += plane ? store->map.g.block_size * store->map.g.blocks : store->map.g.size;
		if (wanted_to_live)
			at -= behind ? 1 : 0;
		else
			at -= behind ? 0 : 1;
		_exit(*at & 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (wanted_to_live)
		ck_assert_msg(status == 0, "the last byte inside can't be read");
	else
		ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "a byte outside could be read (%#x)",
			      (unsigned)status);
}

START_TEST(F1_segment_and_planes_lie_between_guards)
{
	kvshm_store *store = unit_store(4);

	for (int behind = 0; behind < 2; behind++)
		for (int live = 0; live < 2; live++) {
			touch(false, behind, live);
			touch(true, behind, live);
		}
	ck_rc(kvshm_recover(store, NULL), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		A2_every_plane_has_bytes_of_its_own_for_every_key,
		a_block_lies_at_its_number_times_its_size_in_every_plane,
		a_plane_that_is_not_there_is_EINVAL,
		a_whole_plane_lies_where_plane_info_says,
		a_plane_stays_mapped_until_detach,
		plane_info_refuses_what_is_no_plane,
		blocks_of_512_bytes,
		blocks_of_1536_bytes,
		blocks_of_1179648_bytes,
		blocks_of_10_MiB,
		F1_segment_and_planes_lie_between_guards,
	};

	return unit_run("planes", tests, sizeof(tests) / sizeof(tests[0]));
}
