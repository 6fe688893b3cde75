/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * wait: the second asker waits, until a deadline, and is woken by whatever ends the fill (R07, D3, D4).
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "wait.h"

START_TEST(R17_deadline_0_looks_once)
{
	kvshm_store *store = unit_store(16), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1), ref = unit_pending(other, 1);

	ck_rc(kvshm_wait(other, &ref, 0), -ETIMEDOUT);
	ck_assert_uint_eq(ref.kind, KVSHM_REF); /* the hold stays */
	ck_assert_uint_eq(unit_refs(store, &ref), 2);
	unit_write(store, &fill, 1);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_rc(kvshm_wait(other, &ref, 0), 0);
	unit_verify(other, &ref, 1);
}
END_TEST

START_TEST(R17_a_past_deadline_looks_once)
{
	kvshm_store *store = unit_store(16);
	struct kvshm_handle fill = unit_begin(store, 1), ref = unit_pending(store, 1);

	ck_rc(kvshm_wait(store, &ref, 1), -ETIMEDOUT);
	ck_rc(kvshm_wait(store, &ref, kvs_now() - 1), -ETIMEDOUT);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_rc(kvshm_wait(store, &ref, 1), 0);
}
END_TEST

START_TEST(R17_a_future_deadline_is_reached_and_not_before)
{
	kvshm_store *store = unit_store(16);
	uint64_t deadlines[] = {1, 5, 25}; /* less and more than a slice, in ms */

	(void)unit_begin(store, 1);
	for (unsigned i = 0; i < 3; i++) {
		struct kvshm_handle ref = unit_pending(store, 1);
		uint64_t deadline = unit_in_ms(deadlines[i]), soon = unit_in_ms(UNIT_SOON);

		ck_rc(kvshm_wait(store, &ref, deadline), -ETIMEDOUT);
		ck_assert_uint_ge(kvs_now(), deadline);
		ck_assert_uint_lt(kvs_now(), soon);
		ck_rc(kvshm_release(store, &ref), 0);
	}
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_wait_timeouts), 3);
	/* On a busy machine any of them may have been over when it began. */
	ck_assert_uint_le(unit_counter(store, KVS_COUNT_waits), 3);
}
END_TEST

START_TEST(a_wait_for_what_is_ready_returns_at_once)
{
	kvshm_store *store = unit_store(16);
	struct kvshm_handle ref = unit_fill(store, 1, 0);

	ck_rc(kvshm_wait(store, &ref, UINT64_MAX), 0);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_waits), 0);
	ck_assert_uint_eq(ref.kind, KVSHM_REF);
}
END_TEST

/* What another client does, while this one waits. */
static void fill_and(void *arg)
{
	kvshm_store *store = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1);
	void (*end)(kvshm_store *, struct kvshm_handle *) = *(void (**)(kvshm_store *, struct kvshm_handle *))arg;

	unit_write(store, &fill, 1);
	unit_tell_parent();
	unit_await_parent();
	end(store, &fill);
	ck_rc(kvshm_detach(store), 0);
}

static void by_publish(kvshm_store *store, struct kvshm_handle *fill)
{
	ck_rc(kvshm_publish(store, fill, NULL), 0);
}

static void by_give_up(kvshm_store *store, struct kvshm_handle *fill)
{
	ck_rc(kvshm_give_up(store, fill), 0);
}

static void by_remove(kvshm_store *store, struct kvshm_handle *fill)
{
	ck_rc(unit_remove(store, 1), 0);
	ck_rc(kvshm_publish(store, fill, NULL), -ECANCELED);
}

static void by_detach(kvshm_store *store, struct kvshm_handle *fill)
{
	(void)store;
	(void)fill;
}

static void by_exit(kvshm_store *store, struct kvshm_handle *fill)
{
	(void)store;
	(void)fill;
	_exit(0);
}

static void wait_that_ends(void (*end)(kvshm_store *, struct kvshm_handle *), int wanted)
{
	kvshm_store *store = unit_store(16);
	struct kvshm_handle ref, copy;
	struct child child;

	unit_child(&child, fill_and, &end);
	unit_await(&child);
	copy = ref = unit_pending(store, 1);
	ck_rc(kvshm_wait(store, &ref, 0), -ETIMEDOUT);
	unit_tell(&child);
	ck_rc(kvshm_wait(store, &ref, UINT64_MAX), wanted);
	if (wanted == 0) {
		unit_verify(store, &ref, 1);
	} else {
		ck_assert_uint_eq(ref.kind, KVSHM_NONE);
		ck_rc(kvshm_release(store, &copy), -EBADF); /* it has let go of its hold */
		unit_put(store, 1);			    /* asks again, and fills it itself */
	}
	ck_assert(unit_has(store, 1));
	unit_join(&child);
	ck_rc(kvshm_recover(store, NULL), 0);
}

START_TEST(R07_second_asker_waits_and_reads_when_it_is_published)
{
	wait_that_ends(by_publish, 0);
}
END_TEST

START_TEST(R07_second_asker_waits_and_fills_when_filler_gives_up)
{
	wait_that_ends(by_give_up, -ECANCELED);
}
END_TEST

START_TEST(R07_second_asker_waits_and_fills_when_the_key_is_removed)
{
	wait_that_ends(by_remove, -ECANCELED);
}
END_TEST

START_TEST(R07_second_asker_waits_and_fills_when_filler_detaches)
{
	wait_that_ends(by_detach, -ECANCELED);
}
END_TEST

START_TEST(R07_second_asker_waits_and_fills_when_filler_ends)
{
	wait_that_ends(by_exit, -ECANCELED);
}
END_TEST

static void fill_for_ever(void *arg)
{
	kvshm_store *store = unit_attach();

	(void)arg;
	(void)unit_begin(store, 1);
	unit_wait_for_death();
}

START_TEST(R07_second_asker_waits_and_fills_when_filler_dies)
{
	kvshm_store *store = unit_store(16);
	struct kvshm_handle ref;
	struct child child;

	unit_child(&child, fill_for_ever, NULL);
	unit_await(&child);
	ref = unit_pending(store, 1);
	ck_rc(kvshm_wait(store, &ref, unit_in_ms(30)), -ETIMEDOUT); /* it lives, and is not robbed */
	unit_kill(&child);
	ck_rc(kvshm_wait(store, &ref, unit_in_ms(UNIT_SOON)), -ECANCELED); /* R19 */
	unit_put(store, 1);
}
END_TEST

START_TEST(D3_who_waits_in_slices_shorter_than_a_look_sees_that_its_filler_is_dead)
{
	kvshm_store *store = unit_store(8);
	struct kvshm_handle ref;
	struct child filler;
	int rc = -ETIMEDOUT;

	unit_child(&filler, fill_for_ever, NULL);
	unit_await(&filler);
	ref = unit_pending(store, 1);
	unit_kill(&filler);
	/* several: on a busy machine one may be over when it begins */
	for (int slice = 0; rc == -ETIMEDOUT && slice < 10; slice++)
		rc = kvshm_wait(store, &ref, unit_in_ms(1));
	ck_rc(rc, -ECANCELED);
	ck_assert_uint_eq(ref.kind, KVSHM_NONE);
}
END_TEST

static void on_alarm(int signal)
{
	(void)signal;
}

/* A profiler's timer ends every sleep before its slice is over. */
START_TEST(D3_signals_do_not_keep_a_waiter_from_seeing_that_its_filler_is_dead)
{
	const struct itimerval each_ms = {{0, 1000}, {0, 1000}}, off = {{0, 0}, {0, 0}};
	kvshm_store *store = unit_store(16);
	struct kvshm_handle ref;
	struct child child;

	unit_child(&child, fill_for_ever, NULL);
	unit_await(&child);
	ref = unit_pending(store, 1);
	unit_kill(&child);
	ck_assert(signal(SIGALRM, on_alarm) != SIG_ERR);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &each_ms, NULL), 0);
	ck_rc(kvshm_wait(store, &ref, unit_in_ms(UNIT_SOON)), -ECANCELED);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &off, NULL), 0);
}
END_TEST

/* Waiters of several clients; one of them becomes the filler. */
static void wait_and_ask_again(void *arg)
{
	kvshm_store *store = unit_attach();
	struct kvshm_handle ref = unit_pending(store, 1);
	enum kvshm_outcome outcome;

	(void)arg;
	unit_tell_parent();
	ck_rc(kvshm_wait(store, &ref, UINT64_MAX), -ECANCELED);
	ck_rc(unit_ask(store, 1, &outcome, &ref), 0);
	if (outcome == KVSHM_FILL) {
		unit_write(store, &ref, 1);
		ck_rc(kvshm_publish(store, &ref, NULL), 0);
	} else {
		ck_rc(kvshm_wait(store, &ref, UINT64_MAX), 0);
	}
	unit_verify(store, &ref, 1);
	ck_rc(kvshm_detach(store), 0);
}

START_TEST(D3_when_a_filler_dies_all_waiters_ask_again_and_one_of_them_fills)
{
	kvshm_store *store = unit_store(16);
	struct child filler, waiters[4];

	unit_child(&filler, fill_for_ever, NULL);
	unit_await(&filler);
	for (unsigned i = 0; i < 4; i++) {
		unit_child(&waiters[i], wait_and_ask_again, NULL);
		unit_await(&waiters[i]);
	}
	unit_kill(&filler);
	for (unsigned i = 0; i < 4; i++)
		unit_join(&waiters[i]);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_fills), 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_recovered_fills), 1);
	ck_assert(unit_has(store, 1));
}
END_TEST

/* Several sleep on a word without slices: nothing but a wake ends that in time, and it wakes them all. */
#define SLEEPERS 3U
struct sleeper {
	struct kvs_block *block;
	uint64_t word, until;
	_Atomic pid_t id;
	pthread_t thread;
};

static void *sleep_on_word(void *arg)
{
	struct sleeper *sleeper = arg;

	atomic_store(&sleeper->id, (pid_t)syscall(SYS_gettid));
	kvs_wait_word(&sleeper->block->word, sleeper->word, sleeper->until);
	return NULL;
}

/* The state of a thread of this process, as the kernel sees it; '?' where it does not say. */
static char state_of(pid_t thread)
{
	char path[64], text[512];
	const char *name_end = NULL;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)thread);
	file = fopen(path, "re");
	if (file && fgets(text, sizeof(text), file))
		name_end = strrchr(text, ')');
	if (file)
		(void)fclose(file);
	return name_end ? name_end[2] : '?';
}

/* Returns when all of them sleep in the kernel. */
static void put_to_sleep(struct sleeper sleepers[SLEEPERS], struct kvs_block *block)
{
	for (unsigned i = 0; i < SLEEPERS; i++) {
		struct sleeper *s = &sleepers[i];

		*s = (struct sleeper){
			.block = block, .word = atomic_load(&block->word), .until = unit_in_ms(UNIT_SOON)
		};
		ck_assert_int_eq(pthread_create(&s->thread, NULL, sleep_on_word, s), 0);
		while (state_of(atomic_load(&s->id)) != 'S')
			(void)sched_yield();
	}
}

static void all_woken(const struct sleeper sleepers[SLEEPERS])
{
	for (unsigned i = 0; i < SLEEPERS; i++)
		(void)pthread_join(sleepers[i].thread, NULL);
	ck_assert_msg(kvs_now() < sleepers[0].until, "somebody was not woken");
}

static void woken_by(void (*end)(kvshm_store *, struct kvshm_handle *))
{
	kvshm_store *store = unit_store(16), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1), ref = unit_pending(other, 1);
	struct sleeper sleepers[SLEEPERS];

	put_to_sleep(sleepers, kvs_block(&store->map, fill.block));
	end(store, &fill);
	all_woken(sleepers);
	(void)kvshm_release(other, &ref);
}

START_TEST(D3_publish_wakes_who_waits)
{
	woken_by(by_publish);
}
END_TEST

START_TEST(D3_give_up_wakes_who_waits)
{
	woken_by(by_give_up);
}
END_TEST

START_TEST(D3_removal_wakes_who_waits)
{
	woken_by(by_remove);
}
END_TEST

static void by_clear(kvshm_store *store, struct kvshm_handle *fill)
{
	ck_rc(kvshm_clear(store), 0);
	ck_rc(kvshm_publish(store, fill, NULL), -ECANCELED);
}

START_TEST(R28_clearing_wakes_who_waits)
{
	woken_by(by_clear);
}
END_TEST

/* The same of a shared fill of one plane, whose filler has said what it is. */
static void woken_by_part(void (*end)(kvshm_store *, struct kvshm_handle *))
{
	kvshm_store *store = unit_store(16), *other = unit_attach();
	struct kvshm_handle fill = unit_begin_shared(store, 1), ref = unit_pending(other, 1), part;
	struct kvshm_ticket ticket = unit_ticket(store, &fill);
	struct sleeper sleepers[SLEEPERS];

	part = unit_part(store, &ticket, 0);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	put_to_sleep(sleepers, kvs_block(&store->map, fill.block));
	end(store, &part);
	all_woken(sleepers);
	(void)kvshm_release(other, &ref);
}

START_TEST(R27_the_last_part_wakes_who_waits)
{
	woken_by_part(by_publish);
}
END_TEST

START_TEST(R27_a_part_that_fails_wakes_who_waits)
{
	woken_by_part(by_give_up);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R17_deadline_0_looks_once,
		R17_a_past_deadline_looks_once,
		R17_a_future_deadline_is_reached_and_not_before,
		a_wait_for_what_is_ready_returns_at_once,
		R07_second_asker_waits_and_reads_when_it_is_published,
		R07_second_asker_waits_and_fills_when_filler_gives_up,
		R07_second_asker_waits_and_fills_when_the_key_is_removed,
		R07_second_asker_waits_and_fills_when_filler_detaches,
		R07_second_asker_waits_and_fills_when_filler_ends,
		R07_second_asker_waits_and_fills_when_filler_dies,
		D3_who_waits_in_slices_shorter_than_a_look_sees_that_its_filler_is_dead,
		D3_signals_do_not_keep_a_waiter_from_seeing_that_its_filler_is_dead,
		D3_when_a_filler_dies_all_waiters_ask_again_and_one_of_them_fills,
		D3_publish_wakes_who_waits,
		D3_give_up_wakes_who_waits,
		D3_removal_wakes_who_waits,
		R28_clearing_wakes_who_waits,
		R27_the_last_part_wakes_who_waits,
		R27_a_part_that_fails_wakes_who_waits,
	};

	return unit_run("wait", tests, sizeof(tests) / sizeof(tests[0]));
}
