/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * counters: each counts what it says, once, and outlasts who counted.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <string.h>

struct wanted {
	enum kvs_counter counter;
	uint64_t value;
};

static void counted(const kvshm_store *store, const struct wanted *wanted, size_t count)
{
	for (size_t i = 0; i < count; i++)
		ck_assert_msg(unit_counter(store, wanted[i].counter) == wanted[i].value, "counter %d is %llu, not %llu",
			      (int)wanted[i].counter, (unsigned long long)unit_counter(store, wanted[i].counter),
			      (unsigned long long)wanted[i].value);
}
#define COUNTED(store, ...)                                  \
	counted(store, (const struct wanted[]){__VA_ARGS__}, \
		sizeof((const struct wanted[]){__VA_ARGS__}) / sizeof(struct wanted))

START_TEST(lookups_and_fills_are_counted_once_each)
{
	kvshm_store *store = unit_store(16), *other = unit_attach();
	struct kvshm_handle fill, ref;
	enum kvshm_outcome outcome;

	ck_rc(unit_get(store, 1, &ref), -ENOENT);     /* a miss */
	fill = unit_begin(store, 1);		      /* a miss */
	ck_rc(unit_get(other, 1, &ref), -EAGAIN);     /* a dedup */
	ck_rc(unit_ask(other, 1, &outcome, &ref), 0); /* a dedup */
	COUNTED(store, {KVS_COUNT_misses, 2}, {KVS_COUNT_dedups, 2}, {KVS_COUNT_fills, 0}, {KVS_COUNT_hits, 0});
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_rc(unit_get(other, 1, &ref), 0);	      /* a hit */
	ck_rc(unit_ask(store, 1, &outcome, &ref), 0); /* a hit */
	COUNTED(store, {KVS_COUNT_misses, 2}, {KVS_COUNT_dedups, 2}, {KVS_COUNT_fills, 1}, {KVS_COUNT_hits, 2},
		{KVS_COUNT_fill_races, 0}, {KVS_COUNT_give_ups, 0}, {KVS_COUNT_evictions, 0}, {KVS_COUNT_frees, 0},
		{KVS_COUNT_removals, 0}, {KVS_COUNT_no_room, 0}, {KVS_COUNT_nonsense, 0});
}
END_TEST

START_TEST(ends_are_counted_once_each)
{
	kvshm_store *store = unit_store(2);
	struct kvshm_handle fill;

	fill = unit_begin(store, 1);
	ck_rc(kvshm_give_up(store, &fill), 0);
	fill = unit_begin(store, 1);
	ck_rc(unit_remove(store, 1), 0);
	ck_rc(kvshm_publish(store, &fill, NULL), -ECANCELED);
	COUNTED(store, {KVS_COUNT_give_ups, 2}, {KVS_COUNT_removals, 1}, {KVS_COUNT_fills, 0});
	for (uint64_t i = 0; i < 5; i++)
		unit_put(store, 10 + i);
	COUNTED(store, {KVS_COUNT_fills, 5}, {KVS_COUNT_evictions, 3}, {KVS_COUNT_frees, 0});
	ck_assert_uint_ge(unit_counter(store, KVS_COUNT_grace_periods) + unit_counter(store, KVS_COUNT_quiet_looks), 1);
}
END_TEST

START_TEST(a_failed_match_of_a_missing_key_counts_a_miss_and_its_prefix_as_hits)
{
	kvshm_store *store = unit_store(16);
	uint8_t bytes[3][UNIT_KEY];
	struct kvshm_key keys[3];
	struct kvshm_handle refs[3];
	enum kvshm_next next;
	size_t ready;

	for (unsigned i = 0; i < 3; i++) {
		unit_key(i, bytes[i]);
		keys[i] = (struct kvshm_key){bytes[i], UNIT_KEY};
		if (i < 2)
			(void)unit_fill(store, i, i);
	}
	ck_rc(kvshm_match(store, keys, 3, refs, &ready, &next), 0);
	COUNTED(store, {KVS_COUNT_hits, 2}, {KVS_COUNT_misses, 3});
}
END_TEST

static void count_and_die(void *arg)
{
	kvshm_store *store = unit_attach();

	(void)arg;
	for (uint64_t i = 0; i < 5; i++)
		unit_put(store, i);
	unit_wait_for_death();
}

START_TEST(counters_outlast_the_clients_and_threads_that_counted)
{
	kvshm_store *store = unit_store(16), *other = unit_attach();
	struct child child;

	unit_child(&child, count_and_die, NULL);
	unit_await(&child);
	unit_kill(&child);
	ck_rc(kvshm_recover(store, NULL), 0);
	for (uint64_t i = 0; i < 5; i++)
		ck_assert(unit_has(other, i));
	unit_detach(other);
	other = unit_attach();
	ck_assert(unit_has(other, 1)); /* goes on counting in the reader slot of the one before */
	COUNTED(store, {KVS_COUNT_fills, 5}, {KVS_COUNT_hits, 6}, {KVS_COUNT_recoveries, 1});
}
END_TEST

static unsigned seen;

static int look_at_one(const struct kvshm_counter *counter, void *arg)
{
	ck_assert_uint_gt(strlen(counter->name), 0);
	ck_assert_uint_gt(strlen(counter->help), 10);
	ck_assert_uint_eq(counter->value, unit_counter(arg, (enum kvs_counter)seen));
	seen++;
	return 0;
}

static int stop_at_third(const struct kvshm_counter *counter, void *arg)
{
	(void)counter;
	return ++*(int *)arg == 3 ? 42 : 0;
}

START_TEST(a_view_shows_every_counter_with_its_name_and_sum)
{
	kvshm_store *store = unit_store(4), *other = unit_attach();
	kvshm_view *view;
	int called = 0;

	for (uint64_t i = 0; i < 20; i++)
		unit_put(i % 2 ? store : other, i);
	ck_rc(kvshm_view_open(unit_name(), NULL, &view), 0);
	ck_rc(kvshm_view_counters(view, look_at_one, store), 0);
	ck_assert_uint_eq(seen, KVS_COUNTERS);
	ck_assert_int_eq(kvshm_view_counters(view, stop_at_third, &called), 42);
	ck_assert_int_eq(called, 3);
	kvshm_view_close(view);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		lookups_and_fills_are_counted_once_each,
		ends_are_counted_once_each,
		a_failed_match_of_a_missing_key_counts_a_miss_and_its_prefix_as_hits,
		counters_outlast_the_clients_and_threads_that_counted,
		a_view_shows_every_counter_with_its_name_and_sum,
	};

	return unit_run("counters", tests, sizeof(tests) / sizeof(tests[0]));
}
