/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * peers: the table of connections: whose an entry is, what a view tells of it, and that nothing is left of the dead
 * (D1).
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <string.h>

#include "client.h"
#include "peers.h"

static const struct kvs_peer_about about = {
	.outgoing = true,
	.transport = "tcp",
	.device = "",
	.local = "127.0.0.1:1",
	.remote = "127.0.0.1:7471",
	.node = "a node whose name is much longer than the sixty-three bytes that there are for names of nodes",
	.store = "theirs",
};

static uint32_t take(const kvshm_store *store)
{
	uint32_t peer;

	ck_rc(kvs_peer_take(&store->map, store->slot, &about, &peer), 0);
	return peer;
}

struct seen {
	unsigned count;
	struct kvshm_peer_view last;
};

static int see(const struct kvshm_peer_view *peer, void *arg)
{
	struct seen *seen = arg;

	seen->count++;
	seen->last = *peer;
	return 0;
}

static struct seen look(void)
{
	struct seen seen = {0};
	kvshm_view *view;

	ck_rc(kvshm_view_open(unit_name(), NULL, &view), 0);
	ck_rc(kvshm_view_peers(view, see, &seen), 0);
	kvshm_view_close(view);
	return seen;
}

START_TEST(a_view_tells_what_a_connection_is_and_has_counted)
{
	kvshm_store *store = unit_store(16), *other = unit_attach();
	uint32_t peer = take(other);
	struct seen seen;

	kvs_peer_add(&store->map, peer, KVS_PEER_requests, 3);
	kvs_peer_add(&store->map, peer, KVS_PEER_requests, 4);
	kvs_peer_add(&store->map, peer, KVS_PEER_sent_refused, 1);
	kvs_peer_round_trip(&store->map, peer, 10);
	kvs_peer_round_trip(&store->map, peer, 20);
	seen = look();
	ck_assert_uint_eq(seen.count, 1);
	ck_assert(seen.last.peer == peer && seen.last.client == other->slot && seen.last.alive && seen.last.outgoing);
	ck_assert_str_eq(seen.last.transport, "tcp");
	ck_assert_str_eq(seen.last.device, "");
	ck_assert_str_eq(seen.last.remote, about.remote);
	ck_assert_str_eq(seen.last.local, about.local);
	ck_assert_str_eq(seen.last.store, about.store);
	ck_assert_uint_eq(strlen(seen.last.node), 63);
	ck_assert(strncmp(seen.last.node, about.node, 63) == 0);
	ck_assert(seen.last.requests == 7 && seen.last.sent_refused == 1 && seen.last.blocks == 0);
	ck_assert(seen.last.round_trip == 20 && seen.last.round_trip_mean == 15 && seen.last.round_trips == 2);
	ck_assert_int_gt(seen.last.since, 0);
	kvs_peer_give_back(&store->map, peer);
	ck_assert_uint_eq(look().count, 0);
}
END_TEST

START_TEST(a_new_connection_begins_at_0)
{
	kvshm_store *store = unit_store(16);
	uint32_t peer = take(store);
	struct seen seen;

	kvs_peer_add(&store->map, peer, KVS_PEER_retries, 5);
	kvs_peer_round_trip(&store->map, peer, 10);
	kvs_peer_give_back(&store->map, peer);
	ck_assert_uint_eq(take(store), peer);
	seen = look();
	ck_assert(seen.last.retries == 0 && seen.last.round_trip == 0 && seen.last.round_trip_mean == 0);
	kvs_peer_give_back(&store->map, peer);
}
END_TEST

START_TEST(who_finds_no_entry_is_told)
{
	kvshm_store *store = unit_store(16);
	uint32_t peer;

	for (uint32_t i = 0; i < KVS_PEERS; i++)
		ck_assert_uint_eq(take(store), i);
	ck_rc(kvs_peer_take(&store->map, store->slot, &about, &peer), -ENFILE);
	ck_assert_uint_eq(look().count, KVS_PEERS);
	kvs_peer_give_back(&store->map, 77);
	ck_assert_uint_eq(take(store), 77);
}
END_TEST

START_TEST(D1_who_detaches_leaves_none)
{
	kvshm_store *store = unit_store(16), *other = unit_attach();

	(void)take(store);
	(void)take(other);
	(void)take(other);
	unit_detach(other);
	ck_assert_uint_eq(look().count, 1);
	ck_assert_uint_eq(look().last.client, store->slot);
}
END_TEST

static void connect_and_wait(void *arg)
{
	kvshm_store *store = unit_attach();

	if (arg)
		ck_rc(kvs_client_set_dma(&store->map, store->slot), 0);
	(void)take(store);
	(void)take(store);
	unit_wait_for_death();
}

START_TEST(D1_recovery_leaves_none_of_the_dead)
{
	kvshm_store *store = unit_store(16);
	struct child child;

	(void)take(store);
	for (int dma = 0; dma < 2; dma++) {
		unit_child(&child, connect_and_wait, dma ? &dma : NULL);
		unit_await(&child);
		ck_assert_uint_eq(look().count, 3);
		unit_kill(&child);
		ck_assert(look().count == 3 && !look().last.alive);
		ck_rc(kvshm_recover(store, NULL), 0);
		ck_assert_uint_eq(look().count, 1);
	}
}
END_TEST

START_TEST(F1_entries_that_make_no_sense_are_passed_over)
{
	kvshm_store *store = unit_store(16);
	struct kvs_peer *entries = store->map.peers;
	uint32_t peer = take(store);

	unit_damaged();
	memset(entries[peer].node, 'x', sizeof(entries[peer].node));
	atomic_store(&entries[5].word, 3);
	atomic_store(&entries[6].word, UINT64_MAX);
	atomic_store(&entries[7].word, UINT64_C(4095) << 4 | KVS_PEER_USED);
	ck_assert_uint_eq(look().count, 1);
	ck_assert_uint_eq(strlen(look().last.node), 63);
}
END_TEST

static int stop(const struct kvshm_peer_view *peer, void *arg)
{
	(void)peer;
	++*(unsigned *)arg;
	return 9;
}

START_TEST(a_walk_ends_where_it_is_told_to)
{
	kvshm_store *store = unit_store(16);
	unsigned count = 0;
	kvshm_view *view;

	(void)take(store);
	(void)take(store);
	ck_rc(kvshm_view_open(unit_name(), NULL, &view), 0);
	ck_assert_int_eq(kvshm_view_peers(view, stop, &count), 9);
	ck_assert_uint_eq(count, 1);
	ck_rc(kvshm_view_peers(view, NULL, NULL), -EINVAL);
	ck_rc(kvshm_view_peers(NULL, stop, &count), -EINVAL);
	kvshm_view_close(view);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_view_tells_what_a_connection_is_and_has_counted,
		a_new_connection_begins_at_0,
		who_finds_no_entry_is_told,
		a_walk_ends_where_it_is_told_to,
		D1_who_detaches_leaves_none,
		D1_recovery_leaves_none_of_the_dead,
		F1_entries_that_make_no_sense_are_passed_over,
	};

	return unit_run("peers", tests, sizeof(tests) / sizeof(tests[0]));
}
