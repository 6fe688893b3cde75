/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * view_blocks: what views tell of single blocks, of times, of the slowest reader and of pending recoveries: what an
 * operator looks for when something does not go on.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "epoch.h"
#include "lock.h"
#include "wait.h"

enum { BLOCKS = 16 };

static kvshm_view *look(void)
{
	kvshm_view *view;

	ck_rc(kvshm_view_open(unit_name(), NULL, &view), 0);
	return view;
}

static struct kvshm_block_info blocks[BLOCKS];
static unsigned block_count;

static int keep_block(const struct kvshm_block_info *block, void *arg)
{
	(void)arg;
	ck_assert_uint_lt(block_count, BLOCKS);
	ck_assert(block_count == 0 || blocks[block_count - 1].block < block->block);
	blocks[block_count++] = *block;
	return 0;
}

static void see_blocks(void)
{
	kvshm_view *view = look();

	block_count = 0;
	ck_rc(kvshm_view_blocks(view, keep_block, NULL), 0);
	kvshm_view_close(view);
}

/* What was seen of one block, by its number. */
static const struct kvshm_block_info *seen(uint32_t block)
{
	for (unsigned i = 0; i < block_count; i++)
		if (blocks[i].block == block)
			return &blocks[i];
	ck_abort_msg("block %u was not shown", block);
}

START_TEST(blocks_are_shown_with_key_state_holds_and_what_was_published)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_meta meta = {.length = 100, .depth = 7, .opaque = "an engine's"};
	struct kvshm_handle ready = unit_begin(store, 1), pin, filling, doomed;
	const struct kvshm_block_info *info;
	uint8_t key[UNIT_KEY];

	see_blocks();
	ck_assert_uint_eq(block_count, 1); /* free ones are not shown */
	ck_rc(kvshm_publish(store, &ready, &meta), 0);
	ck_rc(kvshm_pin(store, &ready, &pin), 0);
	filling = unit_begin(store, 2);
	doomed = unit_fill(store, 3, 0);
	ck_rc(unit_remove(store, 3), 0);
	unit_put(store, 4);
	ck_rc(unit_remove(store, 4), 0);
	see_blocks();
	ck_assert_uint_eq(block_count, 4);
	info = seen(ready.block);
	unit_key(1, key);
	ck_assert_str_eq(info->state, "ready");
	ck_assert_uint_eq(info->key_length, UNIT_KEY);
	ck_assert_mem_eq(info->key, key, UNIT_KEY);
	ck_assert_uint_eq(info->life, ready.life);
	ck_assert(info->length == 100 && info->depth == 7 && info->refs == 1 && info->pins == 1 && !info->cleared);
	ck_assert_mem_eq(info->opaque, meta.opaque, sizeof(meta.opaque));
	ck_assert_uint_eq(info->owner, KVSHM_NO_SLOT);
	info = seen(filling.block);
	ck_assert_str_eq(info->state, "filling");
	ck_assert(info->owner == store->slot && info->refs == 1 && info->pins == 0);
	ck_assert_str_eq(seen(doomed.block)->state, "doomed");
	ck_assert_uint_eq(seen(doomed.block)->key_length, UNIT_KEY);
	for (unsigned i = 0; i < block_count; i++)
		if (strcmp(blocks[i].state, "grace") == 0)
			ck_assert(blocks[i].key_length == 0 && blocks[i].refs == 0 && blocks[i].age == 0);
}
END_TEST

START_TEST(a_long_key_is_shown_whole)
{
	struct kvshm_create_options options = unit_options(BLOCKS);
	struct kvshm_handle handle;
	enum kvshm_outcome outcome;
	uint8_t key[KVSHM_KEY_MAX];
	kvshm_store *store;

	options.key_max = KVSHM_KEY_MAX;
	store = unit_make(&options);
	for (unsigned i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)i;
	ck_rc(kvshm_get_or_fill(store, key, sizeof(key), &outcome, &handle), 0);
	see_blocks();
	ck_assert_uint_eq(seen(handle.block)->key_length, sizeof(key));
	ck_assert_mem_eq(seen(handle.block)->key, key, sizeof(key));
}
END_TEST

START_TEST(the_age_of_a_block_begins_anew_when_it_is_ready)
{
	kvshm_store *store = unit_store(BLOCKS);
	uint64_t before = kvs_now(), begun, filling, ready;
	struct kvshm_handle fill = unit_begin(store, 1);

	begun = kvs_now();
	while (kvs_now() < begun + 3000000) {
	}
	see_blocks();
	filling = seen(fill.block)->age;
	ck_assert_uint_ge(filling, 3000000);
	ck_assert_uint_le(filling, kvs_now() - before);
	before = kvs_now();
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	see_blocks();
	ready = seen(fill.block)->age;
	ck_assert_uint_le(ready, kvs_now() - before);
	store->map.infos[fill.block].since = UINT64_MAX; /* nonsense is no age */
	see_blocks();
	ck_assert_uint_eq(seen(fill.block)->age, 0);
}
END_TEST

static struct kvshm_client_info clients[8];

static int keep_client(const struct kvshm_client_info *client, void *arg)
{
	(void)arg;
	clients[client->slot] = *client;
	return 0;
}

static void see_clients(void)
{
	kvshm_view *view = look();

	memset(clients, 0, sizeof(clients));
	ck_rc(kvshm_view_clients(view, keep_client, NULL), 0);
	kvshm_view_close(view);
}

START_TEST(R27_parts_of_a_shared_fill_are_shown_by_plane_and_by_client)
{
	struct kvshm_create_options options = unit_options(BLOCKS);
	struct kvshm_handle fill, part[2], owned, alone;
	struct kvshm_ticket ticket;
	enum kvshm_outcome outcome;
	uint8_t key[UNIT_KEY];
	kvshm_store *store, *worker;

	options.planes = 3;
	store = unit_make(&options);
	worker = unit_attach();
	unit_key(1, key);
	ck_rc(kvshm_get_or_fill_shared(store, key, sizeof(key), &outcome, &fill), 0);
	ck_rc(kvshm_get_ticket(store, &fill, &ticket), 0);
	ck_rc(kvshm_join(worker, &ticket, 0, &part[0]), 0);
	ck_rc(kvshm_join(worker, &ticket, 2, &part[1]), 0);
	ck_rc(kvshm_alloc(store, &owned), 0);
	ck_rc(kvshm_publish(worker, &part[1], NULL), 0);
	see_blocks();
	ck_assert_uint_eq(seen(fill.block)->claimed, 5);
	ck_assert_uint_eq(seen(fill.block)->written, 4);
	ck_assert_str_eq(seen(owned.block)->state, "owned");
	ck_assert_uint_eq(seen(owned.block)->owner, store->slot);
	ck_assert_uint_eq(seen(owned.block)->key_length, 0);
	see_clients();
	ck_assert(clients[store->slot].fills == 1 && clients[store->slot].owned == 1);
	ck_assert_uint_eq(clients[store->slot].parts, 0);
	ck_assert(clients[worker->slot].fills == 0 && clients[worker->slot].owned == 0);
	ck_assert_uint_eq(clients[worker->slot].parts, 1);
	alone = unit_begin(store, 2); /* one that is not shared: all planes are the filler's */
	see_blocks();
	ck_assert(seen(alone.block)->claimed == 7 && seen(alone.block)->written == 7);
}
END_TEST

START_TEST(R28_what_was_cleared_is_counted_and_shown_as_such)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle old = unit_fill(store, 1, 0), fill = unit_begin(store, 2), new;
	struct kvshm_store_info info;
	struct kvshm_usage usage;
	kvshm_view *view = look();

	/* The one step of a clearing, by a process that died after it. */
	atomic_fetch_add(&store->map.head->floor, KVS_CLEARS_ONE);
	new = unit_fill(store, 3, 0);
	ck_rc(kvshm_view_usage(view, &usage), 0);
	ck_assert_uint_eq(usage.cleared, 2);
	ck_assert(usage.ready == 2 && usage.filling == 1);
	ck_rc(kvshm_view_store(view, &info), 0);
	ck_assert_uint_eq(info.clears, 1);
	see_blocks();
	ck_assert(seen(old.block)->cleared && seen(fill.block)->cleared && !seen(new.block)->cleared);
	ck_rc(kvshm_clear(store), 0);
	ck_rc(kvshm_view_usage(view, &usage), 0);
	ck_assert_uint_eq(usage.cleared, 0); /* they are doomed by now */
	ck_assert_uint_eq(usage.doomed, 3);
	kvshm_view_close(view);
}
END_TEST

START_TEST(words_of_no_state_are_told_apart)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_usage usage;
	kvshm_view *view = look();

	unit_damaged();
	atomic_store(&kvs_block(&store->map, 3)->word, KVS_STATES);
	atomic_store(&kvs_block(&store->map, 4)->word, KVS_STATES + 1);
	ck_rc(kvshm_view_usage(view, &usage), 0);
	ck_assert_uint_eq(usage.unknown, 2);
	ck_assert_uint_eq(usage.free + usage.unknown, BLOCKS);
	see_blocks();
	ck_assert_uint_eq(block_count, 2);
	ck_assert_str_eq(blocks[0].state, "unknown");
	ck_assert_str_eq(blocks[1].state, "unknown");
	kvshm_view_close(view);
}
END_TEST

/* ---- Times ---- */

static struct kvshm_histogram times[16];
static unsigned time_count;

static int keep_times(const struct kvshm_histogram *histogram, void *arg)
{
	(void)arg;
	times[time_count++] = *histogram;
	return 0;
}

START_TEST(histograms_are_the_sums_over_all_readers)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvs_reader *readers = store->map.readers;
	kvshm_view *view = look();

	atomic_store(&readers[3].times[KVS_TIME_age][0], 2);
	atomic_store(&readers[100].times[KVS_TIME_age][0], 1);
	atomic_store(&readers[100].times[KVS_TIME_age][36], 4);
	atomic_store(&readers[100].times[KVS_TIME_age][KVS_HISTOGRAM_SUM], 5000);
	ck_rc(kvshm_view_histograms(view, keep_times, NULL), 0);
	ck_assert_uint_eq(time_count, KVS_HISTOGRAMS);
	ck_assert_str_eq(times[KVS_TIME_age].name, "age");
	ck_assert_uint_eq(times[KVS_TIME_age].bucket[0], 3);
	ck_assert_uint_eq(times[KVS_TIME_age].bucket[36], 4);
	ck_assert_uint_eq(times[KVS_TIME_age].count, 7);
	ck_assert_uint_eq(times[KVS_TIME_age].sum, 5000);
	ck_assert_uint_eq(times[KVS_TIME_fill].count, 0);
	kvshm_view_close(view);
}
END_TEST

START_TEST(fills_and_pins_are_timed)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle ref = unit_fill(store, 1, 0), pin;
	kvshm_view *view = look();

	ck_rc(kvshm_pin(store, &ref, &pin), 0);
	ck_rc(kvshm_unpin(store, &pin), 0);
	ck_rc(kvshm_view_histograms(view, keep_times, NULL), 0);
	ck_assert_uint_eq(times[KVS_TIME_fill].count, 1);
	ck_assert_uint_gt(times[KVS_TIME_fill].sum, 0);
	ck_assert_uint_ge(times[KVS_TIME_hold].count, 1);
	kvshm_view_close(view);
}
END_TEST

static int count_names(const struct kvshm_counter *counter, void *arg)
{
	ck_assert_uint_eq(counter->value, 0);
	++*(unsigned *)arg;
	return 0;
}

START_TEST(without_a_view_the_names_are_told)
{
	unsigned names = 0;

	ck_rc(kvshm_view_counters(NULL, count_names, &names), 0);
	ck_assert_uint_eq(names, KVS_COUNTERS);
	ck_rc(kvshm_view_histograms(NULL, keep_times, NULL), 0);
	ck_assert_uint_eq(time_count, KVS_HISTOGRAMS);
	ck_assert_uint_eq(times[0].count, 0);
	ck_rc(kvshm_view_histograms(NULL, NULL, NULL), -EINVAL);
	ck_rc(kvshm_view_blocks(NULL, keep_block, NULL), -EINVAL);
}
END_TEST

/* ---- What stands still ---- */

START_TEST(the_slowest_reader_is_named_with_its_client_and_epoch)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvs_actor slow = unit_actor_of(other), fast;
	struct kvshm_store_info info;
	kvshm_view *view = look();

	ck_rc(kvshm_view_store(view, &info), 0);
	ck_assert(info.slowest_reader == KVSHM_NO_SLOT && info.slowest_client == KVSHM_NO_SLOT);
	kvs_enter(&slow);
	fast = unit_actor_of(store);
	(void)kvs_epoch_advance(&fast); /* once: the slow one is in the present epoch until then */
	kvs_enter(&fast);
	ck_rc(kvshm_view_store(view, &info), 0);
	ck_assert_uint_eq(info.readers_stalling, 1);
	ck_assert_uint_eq(info.slowest_client, other->slot);
	ck_assert_uint_eq(info.slowest_reader, slow.reader - other->map.readers);
	ck_assert_uint_eq(info.slowest_epoch, info.epoch - 1);
	kvs_leave(&slow);
	ck_rc(kvshm_view_store(view, &info), 0);
	ck_assert_uint_eq(info.readers_stalling, 0);
	ck_assert_uint_eq(info.slowest_client, store->slot);
	kvs_leave(&fast);
	kvshm_view_close(view);
}
END_TEST

static void attach_and_die(void *arg)
{
	(void)arg;
	(void)unit_attach();
	unit_wait_for_death();
}

START_TEST(a_pending_recovery_is_told_from_one_that_someone_is_at)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_store_info info;
	kvshm_view *view = look();
	struct child child;
	int file;

	unit_child(&child, attach_and_die, NULL);
	unit_await(&child);
	see_clients();
	ck_assert(clients[1].alive && !clients[1].recovering);
	unit_kill(&child);
	see_clients();
	ck_assert(!clients[1].alive && !clients[1].recovering);
	ck_rc(kvshm_view_store(view, &info), 0);
	ck_assert(info.clients_alive == 1 && info.clients_dead == 1);
	file = open(unit_path(-1), O_RDWR | O_CLOEXEC); /* as a recoverer that was stopped */
	ck_rc(kvs_lock_read(file, 1), 0);
	ck_rc(kvshm_recover(store, NULL), 0);
	see_clients();
	ck_assert(!clients[1].alive && clients[1].recovering);
	(void)close(file);
	ck_rc(kvshm_recover(store, NULL), 0);
	ck_rc(kvshm_view_store(view, &info), 0);
	ck_assert(info.clients_alive == 1 && info.clients_dead == 0);
	kvshm_view_close(view);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		blocks_are_shown_with_key_state_holds_and_what_was_published,
		a_long_key_is_shown_whole,
		the_age_of_a_block_begins_anew_when_it_is_ready,
		R27_parts_of_a_shared_fill_are_shown_by_plane_and_by_client,
		R28_what_was_cleared_is_counted_and_shown_as_such,
		words_of_no_state_are_told_apart,
		histograms_are_the_sums_over_all_readers,
		fills_and_pins_are_timed,
		without_a_view_the_names_are_told,
		the_slowest_reader_is_named_with_its_client_and_epoch,
		a_pending_recovery_is_told_from_one_that_someone_is_at,
	};

	return unit_run("view_blocks", tests, sizeof(tests) / sizeof(tests[0]));
}
