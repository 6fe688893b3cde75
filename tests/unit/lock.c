/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * lock: the kernel's locks on bytes of the segment's file, by which everyone sees who lives.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lock.h"

/* Two descriptions of one file. */
static int a, b;

static void open_two(void)
{
	char path[64];

	a = memfd_create("kvshm-unit", MFD_CLOEXEC);
	ck_assert_int_ge(a, 0);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", a);
	b = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(b, 0);
}

START_TEST(a_write_lock_keeps_others_out_of_that_byte_only)
{
	open_two();
	ck_rc(kvs_lock_write(a, 5), 0);
	ck_rc(kvs_lock_write(b, 5), -EAGAIN);
	ck_rc(kvs_lock_read(b, 5), -EAGAIN);
	ck_rc(kvs_lock_write(b, 4), 0);
	ck_rc(kvs_lock_write(b, 6), 0);
	ck_rc(kvs_lock_write(b, KVS_LOCK_OWNER), 0);
	ck_rc(kvs_lock_drop(a, 5), 0);
	ck_rc(kvs_lock_write(b, 5), 0);
}
END_TEST

START_TEST(D2_readers_share_a_byte_and_the_last_of_them_can_have_it_alone)
{
	open_two();
	ck_rc(kvs_lock_read(a, 5), 0);
	ck_rc(kvs_lock_read(b, 5), 0);
	ck_rc(kvs_lock_write(a, 5), -EAGAIN);
	ck_rc(kvs_lock_drop(b, 5), 0);
	ck_rc(kvs_lock_write(a, 5), 0); /* the read lock has become a write lock: a failed attempt had kept it */
	ck_rc(kvs_lock_read(b, 5), -EAGAIN);
}
END_TEST

START_TEST(D2_a_recoverer_is_not_taken_for_a_living_owner)
{
	open_two();
	ck_assert(kvs_lock_alive(b, 5) == 0 && kvs_lock_recovering(b, 5) == 0);
	ck_rc(kvs_lock_write(a, 5), 0);
	ck_assert(kvs_lock_alive(b, 5) == 1 && kvs_lock_recovering(b, 5) == 0);
	ck_assert(kvs_lock_alive(b, 6) == 0 && kvs_lock_recovering(b, 6) == 0);
	ck_rc(kvs_lock_read(a, 5), 0);
	ck_assert(kvs_lock_alive(b, 5) == 0 && kvs_lock_recovering(b, 5) == 1);
}
END_TEST

static void lock_as_child(void *arg)
{
	(void)arg;
	ck_rc(kvs_lock_write(a, 7), 0); /* of the description that it shares with its parent */
	unit_wait_for_death();
}

START_TEST(a_description_that_a_child_shares_keeps_its_lock)
{
	struct child child;

	open_two();
	unit_child(&child, lock_as_child, NULL);
	unit_await(&child);
	unit_kill(&child);
	ck_assert_int_eq(kvs_lock_alive(b, 7), 1); /* hence children of fork() close it */
	(void)close(a);
	ck_assert_int_eq(kvs_lock_alive(b, 7), 0);
}
END_TEST

START_TEST(a_lock_stays_when_another_descriptor_of_the_file_is_closed)
{
	int again;

	open_two();
	ck_rc(kvs_lock_write(b, 3), 0);
	again = dup(b);
	(void)close(again); /* here a POSIX lock would fall */
	ck_rc(kvs_lock_write(a, 3), -EAGAIN);
}
END_TEST

START_TEST(a_bad_descriptor_is_an_error_with_a_text)
{
	ck_rc(kvs_lock_write(-1, 0), -EBADF);
	ck_assert_str_ne(kvs_fault_text(), "");
	ck_rc(kvs_lock_alive(-1, 0), -EBADF);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_write_lock_keeps_others_out_of_that_byte_only,
		D2_readers_share_a_byte_and_the_last_of_them_can_have_it_alone,
		D2_a_recoverer_is_not_taken_for_a_living_owner,
		a_description_that_a_child_shares_keeps_its_lock,
		a_lock_stays_when_another_descriptor_of_the_file_is_closed,
		a_bad_descriptor_is_an_error_with_a_text,
	};

	return unit_run("lock", tests, sizeof(tests) / sizeof(tests[0]));
}
