/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * truncated: a store whose files were cut while it is in use. Views read, and say so; calls that enter the kernel look,
 * and return -EUCLEAN; a client that was told so can detach, and an owner end, without touching what is gone. (What
 * touches it all the same gets SIGBUS: kvshm(7).)
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CUTS 16U

/* Where the sections begin, and some bytes of each; the head's frozen part stays, else it is no segment any more. */
static unsigned cuts_of(const struct kvs_geometry *g, uint64_t cuts[CUTS])
{
	const uint64_t all[CUTS] = {KVS_FROZEN, 4096 - 1, g->clients_at, g->readers_at + 1, g->requests_at, g->ids_at,
				    g->places_at + 1, g->peers_at + 1, g->hints_at, g->buckets_at, g->blocks_at,
				    g->tails_at, g->infos_at, g->rows_at, g->rows_at + g->row_size, g->size - 1};

	memcpy(cuts, all, sizeof(all));
	return CUTS;
}

static void *read_file(uint64_t size)
{
	int file = open(unit_path(-1), O_RDONLY | O_CLOEXEC);
	void *bytes = malloc(size);

	ck_assert_ptr_nonnull(bytes);
	ck_assert_int_eq(pread(file, bytes, size, 0), (ssize_t)size);
	(void)close(file);
	return bytes;
}

static void cut(uint64_t size)
{
	ck_assert_int_eq(truncate(unit_path(-1), (off_t)size), 0);
}

static void mend(const void *bytes, uint64_t size)
{
	int file = open(unit_path(-1), O_WRONLY | O_CLOEXEC);

	ck_assert_int_eq(pwrite(file, bytes, size, 0), (ssize_t)size);
	(void)close(file);
}

static int pass_block(const struct kvshm_block_info *block, void *arg)
{
	(void)block;
	(void)arg;
	return 0;
}

static int pass_plane(const struct kvshm_plane_view *plane, void *arg)
{
	(void)plane;
	(void)arg;
	return 0;
}

static int pass_client(const struct kvshm_client_info *client, void *arg)
{
	(void)client;
	(void)arg;
	return 0;
}

static int pass_counter(const struct kvshm_counter *counter, void *arg)
{
	(void)counter;
	(void)arg;
	return 0;
}

static int pass_request(const struct kvshm_request_info *request, void *arg)
{
	(void)request;
	(void)arg;
	return 0;
}

static int pass_pins(const struct kvshm_pin_info *pins, void *arg)
{
	(void)pins;
	(void)arg;
	return 0;
}

static int pass_peer(const struct kvshm_peer_view *peer, void *arg)
{
	(void)peer;
	(void)arg;
	return 0;
}

static void look(kvshm_view *view, bool readers_left, bool requests_left, bool peers_left, bool row_left)
{
	struct kvshm_check_result result;
	struct kvshm_store_info info;
	struct kvshm_usage usage;

	ck_rc(kvshm_view_store(view, &info), -EPROTO);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "truncated"));
	ck_rc(kvshm_view_usage(view, &usage), -EPROTO);
	ck_rc(kvshm_view_blocks(view, pass_block, NULL), -EPROTO);
	ck_rc(kvshm_view_check(view, NULL, NULL, &result), -EPROTO);
	ck_rc(kvshm_view_counters(view, pass_counter, NULL), readers_left ? 0 : -EPROTO);
	ck_rc(kvshm_view_requests(view, pass_request, NULL), requests_left ? 0 : -EPROTO);
	ck_rc(kvshm_view_peers(view, pass_peer, NULL), peers_left ? 0 : -EPROTO);
	ck_rc(kvshm_view_pins(view, pass_pins, NULL), row_left ? 0 : -EPROTO);
	(void)kvshm_view_clients(view, pass_client, NULL); /* of no row that is gone: it may do */
	(void)kvshm_view_planes(view, pass_plane, NULL);   /* likewise, of clients */
}

START_TEST(views_of_a_segment_that_is_cut_at_any_section_say_so)
{
	kvshm_store *store = unit_store(16);
	const struct kvs_geometry g = store->map.g;
	void *bytes = read_file(g.size);
	uint64_t cuts[CUTS];

	for (unsigned i = 0; i < cuts_of(&g, cuts); i++) {
		kvshm_view *view, *late;

		ck_rc(kvshm_view_open(unit_name(), NULL, &view), 0);
		cut(cuts[i]);
		look(view, cuts[i] >= g.requests_at, cuts[i] >= g.peers_at, cuts[i] >= g.hints_at,
		     cuts[i] >= g.rows_at + g.row_size);
		ck_rc(kvshm_view_open(unit_name(), NULL, &late), -EPROTO);
		ck_assert_ptr_nonnull(strstr(kvshm_error(), "truncated"));
		kvshm_view_close(view);
		mend(bytes, g.size);
	}
	free(bytes);
}
END_TEST

START_TEST(an_owner_of_a_segment_that_is_cut_anywhere_goes_on_and_ends)
{
	kvshm_store *store = unit_store(16);
	const struct kvs_geometry g = store->map.g;
	uint64_t cuts[CUTS];

	unit_detach(store);
	for (unsigned i = 0; i < cuts_of(&g, cuts); i++) {
		cut(cuts[CUTS - 1 - i]);
		atomic_store(&unit_owner->next_look, 0); /* as once a second */
		ck_rc(kvshm_owner_recover(unit_owner, NULL), -EUCLEAN);
	}
	cut(0);
	atomic_store(&unit_owner->next_look, 0);
	ck_rc(kvshm_owner_recover(unit_owner, NULL), -EUCLEAN);
	ck_rc(kvshm_destroy(unit_owner), 0);
	unit_owner = NULL;
	ck_assert_int_ne(access(unit_path(-1), F_OK), 0);
	ck_assert_int_ne(access(unit_path(0), F_OK), 0);
}
END_TEST

/* Where the segment is to be cut when a wait goes to sleep. */
static const uint64_t *cut_at;

bool __real_kvs_wait_word(_Atomic uint64_t *word, uint64_t seen, uint64_t until);
bool __wrap_kvs_wait_word(_Atomic uint64_t *word, uint64_t seen, uint64_t until);
bool __real_kvs_wait_count(_Atomic uint32_t *count, uint32_t seen, uint64_t until);
bool __wrap_kvs_wait_count(_Atomic uint32_t *count, uint32_t seen, uint64_t until);

static void cut_once(void)
{
	if (cut_at)
		cut(*cut_at);
	cut_at = NULL;
}

bool __wrap_kvs_wait_word(_Atomic uint64_t *word, uint64_t seen, uint64_t until)
{
	cut_once();
	return __real_kvs_wait_word(word, seen, until);
}

bool __wrap_kvs_wait_count(_Atomic uint32_t *count, uint32_t seen, uint64_t until)
{
	cut_once();
	return __real_kvs_wait_count(count, seen, until);
}

/* The calls that wait: for a key that another fills, in one way or another, or for as much room as the store has. */
static int wait_for_key(kvshm_store *store, const struct kvshm_request *request)
{
	struct kvshm_handle ref = unit_pending(store, 1);

	(void)request;
	return kvshm_wait(store, &ref, UINT64_MAX);
}

static int complete(kvshm_store *store, const struct kvshm_request *request)
{
	enum kvshm_outcome outcome;
	struct kvshm_handle lent;
	uint8_t key[UNIT_KEY];

	unit_key(1, key);
	ck_rc(kvshm_request_get_or_fill(store, request, key, sizeof(key), &outcome, &lent), 0);
	ck_assert_int_eq(outcome, KVSHM_PENDING);
	return kvshm_request_complete(store, request, UINT64_MAX);
}

static int wait_for_request(kvshm_store *store, const struct kvshm_request *request)
{
	return kvshm_request_wait(store, request, UINT64_MAX);
}

static int wait_for_room(kvshm_store *store, const struct kvshm_request *request)
{
	return kvshm_request_reserve(store, request, 16, UINT64_MAX);
}

static int (*const waits[])(kvshm_store *store, const struct kvshm_request *request) = {
	wait_for_key,
	complete,
	wait_for_request,
	wait_for_room,
};
#define WAITS (sizeof(waits) / sizeof(waits[0]))

struct cut_wait {
	uint64_t at;
	int (*wait)(kvshm_store *store, const struct kvshm_request *request);
};

/* Waits in a thread that ends before its client detaches. */
static void *wait_for_it(void *arg)
{
	const struct cut_wait *what = arg;
	struct kvshm_request request;
	kvshm_store *store;

	ck_rc(kvshm_attach(unit_name(), NULL, &store), 0);
	ck_rc(kvshm_request_open(store, "1", 1, 0, 1, &request), 0);
	cut_at = &what->at;
	ck_rc(what->wait(store, &request), -EUCLEAN);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "truncated"));
	return store;
}

static void waiter(void *arg)
{
	pthread_t thread;
	void *store;

	ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_it, arg), 0);
	ck_assert_int_eq(pthread_join(thread, &store), 0);
	ck_rc(kvshm_detach(store), 0);
}

START_TEST(who_waits_when_the_segment_is_cut_is_told_and_can_detach)
{
	kvshm_store *store = unit_store(16);
	const struct kvs_geometry g = store->map.g;
	struct kvshm_handle fill = unit_begin(store, 1);
	void *bytes = read_file(g.size);
	uint64_t cuts[CUTS];

	for (unsigned i = 0; i < cuts_of(&g, cuts) * WAITS; i++) {
		struct cut_wait what = {.at = cuts[i / WAITS], .wait = waits[i % WAITS]};
		struct child child;

		unit_child(&child, waiter, &what);
		unit_join(&child);
		mend(bytes, g.size);
	}
	free(bytes);
	ck_rc(kvshm_give_up(store, &fill), 0);
}
END_TEST

static void see_plane(const char *finding, void *arg)
{
	ck_assert_ptr_nonnull(strstr(finding, "plane 1 "));
	ck_assert_ptr_nonnull(strstr(finding, unit_path(1)));
	++*(unsigned *)arg;
}

static void check_planes(unsigned wrong)
{
	struct kvshm_check_result result;
	unsigned found = 0;
	kvshm_view *view;

	ck_rc(kvshm_view_open(unit_name(), NULL, &view), 0);
	ck_rc(kvshm_view_check(view, see_plane, &found, &result), 0);
	kvshm_view_close(view);
	ck_assert_uint_eq(found, wrong);
	ck_assert_uint_eq(result.unsound, wrong);
	ck_assert_uint_eq(result.leaked, 0);
}

START_TEST(a_check_finds_planes_that_are_cut_replaced_or_gone)
{
	kvshm_store *store = unit_planes(3);
	uint64_t size = store->map.plane_size;
	int file;

	check_planes(0);
	ck_assert_int_eq(truncate(unit_path(1), (off_t)(size - 1)), 0);
	check_planes(1);
	ck_assert_int_eq(truncate(unit_path(1), (off_t)size), 0);
	check_planes(0);
	ck_assert_int_eq(unlink(unit_path(1)), 0);
	check_planes(1);
	file = open(unit_path(1), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	ck_assert_int_eq(ftruncate(file, (off_t)size), 0);
	check_planes(1);
	(void)close(file);
	ck_assert_int_eq(unlink(unit_path(1)), 0);
	unit_damaged();
}
END_TEST

START_TEST(a_destroyed_store_has_no_planes_to_be_missed)
{
	kvshm_view *view;
	struct kvshm_check_result result;

	(void)unit_planes(2);
	ck_rc(kvshm_view_open(unit_name(), NULL, &view), 0);
	ck_rc(kvshm_destroy(unit_owner), 0);
	unit_owner = NULL;
	ck_rc(kvshm_view_check(view, NULL, NULL, &result), 0);
	ck_assert_uint_eq(result.unsound, 0);
	kvshm_view_close(view);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		views_of_a_segment_that_is_cut_at_any_section_say_so,
		an_owner_of_a_segment_that_is_cut_anywhere_goes_on_and_ends,
		who_waits_when_the_segment_is_cut_is_told_and_can_detach,
		a_check_finds_planes_that_are_cut_replaced_or_gone,
		a_destroyed_store_has_no_planes_to_be_missed,
	};

	return unit_run("truncated", tests, sizeof(tests) / sizeof(tests[0]));
}
