/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * owner_pins: an owner's look at pins that are held for long: each is told of once, and none is taken (R18).
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "requests.h"

enum { BLOCKS = 16 };
#define HOUR UINT64_C(3600000000000)

static unsigned lines;
static char text[4096];

static void keep_log(enum kvshm_log_level level, const char *line, void *arg)
{
	(void)arg;
	ck_assert_int_eq(level, KVSHM_LOG_WARNING);
	lines++;
	(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s\n", line);
}

/* What one look tells: so many pins in so many lines, which are in text. */
static void look(uint64_t timeout, unsigned pins, unsigned wanted)
{
	unsigned overdue = 99;

	lines = 0;
	text[0] = '\0';
	kvshm_set_log(keep_log, NULL);
	ck_rc(kvshm_owner_look_at_pins(unit_owner, timeout, &overdue), 0);
	kvshm_set_log(NULL, NULL);
	ck_assert_uint_eq(overdue, pins);
	ck_assert_uint_eq(lines, wanted);
}

static struct kvshm_request begin(kvshm_store *store, const void *id, size_t length, uint64_t key)
{
	struct kvshm_request request;
	struct kvshm_handle handle;
	enum kvshm_outcome outcome;
	uint8_t bytes[UNIT_KEY];

	unit_key(key, bytes);
	ck_rc(kvshm_request_open(store, id, length, id ? 1 : 0, 1, &request), 0);
	ck_rc(kvshm_request_get_or_fill(store, &request, bytes, sizeof(bytes), &outcome, &handle), 0);
	if (outcome == KVSHM_FILL) {
		unit_write(store, &handle, key);
		ck_rc(kvshm_publish(store, &handle, NULL), 0);
	}
	return request;
}

static int add_up(const struct kvshm_counter *counter, void *arg)
{
	if (strcmp(counter->name, "pins_overdue") == 0)
		*(uint64_t *)arg = counter->value;
	return 0;
}

static uint64_t counted(void)
{
	kvshm_view *view;
	uint64_t value = 99;

	ck_rc(kvshm_view_open(unit_name(), NULL, &view), 0);
	ck_rc(kvshm_view_counters(view, add_up, &value), 0);
	kvshm_view_close(view);
	return value;
}

START_TEST(R18_a_living_owners_pin_is_told_of_once_with_owner_request_and_age_and_never_taken)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(other, 1, 0), pin[2];
	struct kvshm_request request = begin(store, "abc", 3, 2);
	char wanted[256];

	ck_rc(kvshm_pin(other, &ref, &pin[0]), 0);
	ck_rc(kvshm_pin(other, &ref, &pin[1]), 0);
	look(HOUR, 0, 0);
	look(0, 3, 2);
	(void)snprintf(wanted, sizeof(wanted), "client %u (process %d, ", store->slot, (int)getpid());
	ck_assert_ptr_nonnull(strstr(text, wanted));
	ck_assert_ptr_nonnull(strstr(text, " has held 1 pin of request 'abc', attempt 1, for 0 s"));
	(void)snprintf(wanted, sizeof(wanted), " has held 2 pins of block %u, of no request, for 0 s", ref.block);
	ck_assert_ptr_nonnull(strstr(text, wanted));
	ck_assert_uint_eq(counted(), 3);
	look(0, 0, 0);
	look(HOUR, 0, 0);
	ck_assert_uint_eq(counted(), 3);
	/* All are still there. */
	ck_assert_uint_eq(unit_pins(other, &ref), 2);
	ck_rc(kvshm_unpin(other, &pin[0]), 0);
	ck_rc(kvshm_unpin(other, &pin[1]), 0);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	ck_rc(kvshm_request_end(store, &request), 0);
}
END_TEST

START_TEST(R18_what_takes_the_place_of_another_is_told_of_anew)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(store, 1, 0), pin;
	struct kvshm_request request;

	for (int i = 0; i < 3; i++) {
		ck_rc(kvshm_pin(store, &ref, &pin), 0);
		look(0, 1, 1);
		look(0, 0, 0);
		ck_rc(kvshm_unpin(store, &pin), 0);
		request = begin(other, &i, sizeof(i), 1);
		look(0, 1, 1);
		look(0, 0, 0);
		ck_rc(kvshm_request_end(other, &request), 0);
	}
	ck_assert_uint_eq(counted(), 6);
}
END_TEST

START_TEST(ids_that_are_no_text_are_told_in_digits_and_none_as_none)
{
	kvshm_store *store = unit_store(BLOCKS);
	uint8_t id[KVSHM_REQUEST_ID_MAX];

	memset(id, 0xa7, sizeof(id));
	(void)begin(store, id, sizeof(id), 1);
	(void)begin(store, "a b", 3, 1);
	(void)begin(store, NULL, 0, 1);
	look(0, 3, 3);
	ck_assert_ptr_nonnull(strstr(text, " request 0xa7a7a7a7"));
	ck_assert_ptr_nonnull(strstr(text, "a7a7, attempt 1"));
	ck_assert_ptr_nonnull(strstr(text, " request 0x612062, attempt 1"));
	ck_assert_ptr_nonnull(strstr(text, " has held 1 pin of a request without a name, for 0 s"));
}
END_TEST

START_TEST(an_owner_that_is_none_or_a_file_that_is_cut_is_an_error)
{
	kvshm_store *store = unit_store(BLOCKS);
	unsigned overdue = 99;

	(void)begin(store, "abc", 3, 1);
	ck_rc(kvshm_owner_look_at_pins(NULL, 0, &overdue), -EINVAL);
	ck_rc(kvshm_owner_look_at_pins(unit_owner, 0, NULL), 0);
	unit_damaged();
	ck_assert_int_eq(truncate(unit_path(-1), (off_t)store->map.g.rows_at), 0);
	ck_rc(kvshm_owner_look_at_pins(unit_owner, 0, &overdue), -EPROTO);
	ck_assert_uint_eq(overdue, 99);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R18_a_living_owners_pin_is_told_of_once_with_owner_request_and_age_and_never_taken,
		R18_what_takes_the_place_of_another_is_told_of_anew,
		ids_that_are_no_text_are_told_in_digits_and_none_as_none,
		an_owner_that_is_none_or_a_file_that_is_cut_is_an_error,
	};

	return unit_run("owner_pins", tests, sizeof(tests) / sizeof(tests[0]));
}
