/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * histograms: each time is recorded once, where it ends, in the bucket that it belongs to. Nothing waits for time to
 * pass: the beginnings that are measured from are put back instead.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>

#include "part.h"
#include "wait.h"

/* Far enough from the bounds of its bucket that a slow machine does not leave it: from 2^40 to 2^41 ns. */
#define LONG_AGO (UINT64_C(3) << 39)
#define LONG_AGO_BUCKET 31U

static uint64_t in_bucket(const kvshm_store *store, enum kvs_histogram histogram, unsigned bucket)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < store->map.g.readers; i++)
		total += atomic_load(&store->map.readers[i].times[histogram][bucket]);
	return total;
}

/* The histogram has one time, which is a little more than that. */
static void recorded_once(const kvshm_store *store, enum kvs_histogram histogram)
{
	ck_assert_uint_eq(unit_times(store, histogram), 1);
	ck_assert_uint_eq(in_bucket(store, histogram, LONG_AGO_BUCKET), 1);
	ck_assert_uint_ge(unit_time(store, histogram), LONG_AGO);
	ck_assert_uint_lt(unit_time(store, histogram), LONG_AGO + (UINT64_C(60) << 30));
}

static void begun_long_ago(const kvshm_store *store, const struct kvshm_handle *handle)
{
	_Atomic uint64_t *since = &store->map.infos[handle->block].since;

	ck_assert_uint_le(atomic_load(since), kvs_now());
	ck_assert_uint_gt(atomic_load(since), kvs_now() - (UINT64_C(60) << 30)); /* it was set */
	atomic_store(since, atomic_load(since) - LONG_AGO);
}

START_TEST(each_time_has_one_bucket)
{
	ck_assert_uint_eq(kvs_histogram_bucket(0), 0);
	ck_assert_uint_eq(kvs_histogram_bucket(1023), 0);
	for (unsigned bucket = 1; bucket < KVS_HISTOGRAM_BUCKETS - 1; bucket++) {
		ck_assert_uint_eq(kvs_histogram_bucket(UINT64_C(512) << bucket), bucket);
		ck_assert_uint_eq(kvs_histogram_bucket((UINT64_C(1024) << bucket) - 1), bucket);
	}
	ck_assert_uint_eq(kvs_histogram_bucket(UINT64_C(1024) << 35), 36);
	ck_assert_uint_eq(kvs_histogram_bucket(UINT64_MAX), 36);
	ck_assert_uint_eq(KVSHM_HISTOGRAM_BUCKETS, KVS_HISTOGRAM_BUCKETS);
}
END_TEST

START_TEST(a_fill_is_recorded_when_its_block_is_ready)
{
	kvshm_store *store = unit_store(4);
	struct kvshm_handle fill = unit_begin(store, 1);

	begun_long_ago(store, &fill);
	ck_assert_uint_eq(unit_times(store, KVS_TIME_fill), 0);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	recorded_once(store, KVS_TIME_fill);
}
END_TEST

START_TEST(a_shared_fill_is_recorded_once_by_who_ends_last)
{
	struct kvshm_create_options options = unit_options(4);
	struct kvshm_handle fill, parts[2], waiter;
	struct kvshm_ticket ticket;
	kvshm_store *store, *other;

	options.planes = 2;
	store = unit_make(&options);
	other = unit_attach();
	fill = unit_begin_shared(store, 1);
	begun_long_ago(store, &fill);
	ticket = unit_ticket(store, &fill);
	for (unsigned i = 0; i < 2; i++)
		parts[i] = unit_part(other, &ticket, i);
	waiter = unit_pending(store, 1);
	unit_end_part(other, &parts[0], 1);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_assert_uint_eq(unit_times(store, KVS_TIME_fill), 0);
	(void)kvs_part_end(&store->map, fill.block, kvs_part_plane(1));
	ck_rc(kvshm_wait(store, &waiter, 0), 0); /* by a waiter, for the writer that has stopped */
	recorded_once(store, KVS_TIME_fill);
	ck_rc(kvshm_wait(store, &fill, 0), 0);
	recorded_once(store, KVS_TIME_fill);
}
END_TEST

START_TEST(a_block_published_later_is_recorded_from_when_it_was_taken)
{
	kvshm_store *store = unit_store(4);
	struct kvshm_handle owned = unit_own(store, 1);
	enum kvshm_published published;

	begun_long_ago(store, &owned);
	ck_rc(unit_publish_as(store, &owned, 1, &published), 0);
	recorded_once(store, KVS_TIME_fill);
}
END_TEST

START_TEST(a_fill_without_its_bytes_is_not_recorded)
{
	kvshm_store *store = unit_store(4);
	struct kvshm_handle fill = unit_begin(store, 1), owned = unit_own(store, 2);
	enum kvshm_published published;

	ck_rc(kvshm_give_up(store, &fill), 0);
	fill = unit_begin(store, 1);
	ck_rc(unit_remove(store, 1), 0);
	ck_rc(kvshm_publish(store, &fill, NULL), -ECANCELED);
	fill = unit_fill(store, 1, 0); /* this one is */
	ck_rc(unit_publish_as(store, &owned, 1, &published), 0);
	ck_assert_int_eq(published, KVSHM_DUPLICATE);
	ck_assert_uint_eq(unit_times(store, KVS_TIME_fill), 1);
}
END_TEST

START_TEST(a_wait_that_sleeps_is_recorded_and_one_that_does_not_is_not)
{
	kvshm_store *store = unit_store(4), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1), ref = unit_pending(other, 1);
	uint64_t before, begin, slept = 0, times = 0;

	ck_rc(kvshm_wait(other, &ref, 0), -ETIMEDOUT);
	ck_assert_uint_eq(unit_times(store, KVS_TIME_wait), 0);
	/* On a busy machine the time may be over, or nearly so, when the wait begins: then again. */
	for (unsigned tries = 0; slept < 2000000 && tries < 1000; tries++) {
		before = unit_time(store, KVS_TIME_wait);
		begin = kvs_now();
		ck_rc(kvshm_wait(other, &ref, unit_in_ms(3)), -ETIMEDOUT); /* whatever came of it */
		slept = unit_time(store, KVS_TIME_wait) - before;
		ck_assert_uint_le(slept, kvs_now() - begin);
		times = unit_times(store, KVS_TIME_wait);
		ck_assert_uint_eq(times, unit_counter(store, KVS_COUNT_waits));
	}
	ck_assert_uint_ge(slept, 2000000);
	ck_assert_uint_ge(in_bucket(store, KVS_TIME_wait, kvs_histogram_bucket(slept)), 1);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_rc(kvshm_wait(other, &ref, UINT64_MAX), 0);
	ck_assert_uint_eq(unit_times(store, KVS_TIME_wait), times);
}
END_TEST

START_TEST(the_hold_of_every_pin_is_recorded)
{
	kvshm_store *store = unit_store(4), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(store, 1, 0), pins[3], copy;

	for (unsigned i = 0; i < 3; i++)
		ck_rc(kvshm_pin(store, &ref, &pins[i]), 0);
	ck_rc(kvshm_release(store, &ref), 0);
	ck_assert_uint_eq(unit_times(store, KVS_TIME_hold), 0);
	copy = pins[0];
	pins[0].since -= LONG_AGO;
	ck_rc(kvshm_unpin(store, &pins[0]), 0);
	recorded_once(store, KVS_TIME_hold);
	ck_rc(kvshm_unpin(other, &copy), -EBADF); /* what fails is not recorded */
	ck_rc(kvshm_unpin(store, &pins[1]), 0);
	ck_rc(kvshm_unpin(store, &pins[2]), 0);
	ck_assert_uint_eq(unit_times(store, KVS_TIME_hold), 3);
}
END_TEST

START_TEST(the_hold_of_one_hit_in_64_is_recorded)
{
	kvshm_store *store = unit_store(4);
	struct kvshm_handle ref;

	unit_put(store, 1);
	for (unsigned i = 0; i < 640; i++) {
		ck_rc(unit_get(store, 1, &ref), 0);
		if (i == 64) {
			ck_assert_uint_eq(unit_times(store, KVS_TIME_hold), 1);
			ck_assert_uint_ne(ref.since, 0);
		}
		ck_assert_int_eq(ref.since != 0, i % 64 == 0);
		ck_rc(kvshm_release(store, &ref), 0);
	}
	ck_assert_uint_eq(unit_times(store, KVS_TIME_hold), 10);
	for (unsigned i = 640; i <= 704; i++) {
		ck_rc(unit_get(store, 1, &ref), 0);
		if (i == 704) {
			ck_assert_uint_ne(ref.since, 0);
			ref.since -= LONG_AGO;
		}
		ck_rc(kvshm_release(store, &ref), 0);
	}
	ck_assert_uint_eq(in_bucket(store, KVS_TIME_hold, LONG_AGO_BUCKET), 1);
}
END_TEST

START_TEST(the_age_of_an_evicted_block_is_recorded_from_when_it_was_ready)
{
	kvshm_store *store = unit_store(1);
	struct kvshm_handle ref = unit_begin(store, 1);

	begun_long_ago(store, &ref);
	ck_rc(kvshm_publish(store, &ref, NULL), 0); /* the fill took long; the age begins here */
	begun_long_ago(store, &ref);
	ck_rc(kvshm_release(store, &ref), 0);
	ck_assert_uint_eq(unit_times(store, KVS_TIME_age), 0);
	unit_put(store, 2);
	recorded_once(store, KVS_TIME_age);
}
END_TEST

START_TEST(the_age_of_what_is_not_evicted_is_not_recorded)
{
	struct kvshm_create_options options = unit_options(2);
	kvshm_store *store;

	options.retain = KVSHM_DROP;
	store = unit_make(&options);
	for (uint64_t i = 0; i < 4; i++)
		unit_put(store, i); /* freed by its last release */
	ck_rc(kvshm_clear(store), 0);
	ck_assert_uint_eq(unit_times(store, KVS_TIME_age), 0);
}
END_TEST

START_TEST(a_removed_or_cleared_blocks_age_is_not_recorded)
{
	kvshm_store *store = unit_store(2);

	unit_put(store, 1);
	ck_rc(unit_remove(store, 1), 0);
	unit_put(store, 2);
	ck_rc(kvshm_clear(store), 0);
	ck_assert_uint_eq(unit_times(store, KVS_TIME_age), 0);
}
END_TEST

START_TEST(times_outlast_who_measured_them)
{
	kvshm_store *store = unit_store(4), *other = unit_attach();

	for (uint64_t i = 0; i < 3; i++)
		unit_put(other, i);
	unit_detach(other);
	other = unit_attach();
	unit_put(other, 3);
	ck_assert_uint_eq(unit_times(store, KVS_TIME_fill), 4);
	ck_assert_uint_gt(unit_time(store, KVS_TIME_fill), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		each_time_has_one_bucket,
		a_fill_is_recorded_when_its_block_is_ready,
		a_shared_fill_is_recorded_once_by_who_ends_last,
		a_block_published_later_is_recorded_from_when_it_was_taken,
		a_fill_without_its_bytes_is_not_recorded,
		a_wait_that_sleeps_is_recorded_and_one_that_does_not_is_not,
		the_hold_of_every_pin_is_recorded,
		the_hold_of_one_hit_in_64_is_recorded,
		the_age_of_an_evicted_block_is_recorded_from_when_it_was_ready,
		the_age_of_what_is_not_evicted_is_not_recorded,
		a_removed_or_cleared_blocks_age_is_not_recorded,
		times_outlast_who_measured_them,
	};

	return unit_run("histograms", tests, sizeof(tests) / sizeof(tests[0]));
}
