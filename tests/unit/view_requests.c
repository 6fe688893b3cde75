/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * view_requests: what is told of requests and of pins: whose they are, how old, and what they hold (R18).
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <string.h>

#include "hold.h"
#include "inspect.h"
#include "requests.h"
#include "room.h"
#include "wait.h"

enum { BLOCKS = 16, MANY = 16 };
#define MS UINT64_C(1000000)

static kvshm_view *look(void)
{
	kvshm_view *view;

	ck_rc(kvshm_view_open(unit_name(), NULL, &view), 0);
	return view;
}

static struct kvshm_request_info requests[MANY];
static unsigned request_count;

static int keep_request(const struct kvshm_request_info *request, void *arg)
{
	(void)arg;
	ck_assert_uint_lt(request_count, MANY);
	requests[request_count++] = *request;
	return 0;
}

static void see_requests(void)
{
	kvshm_view *view = look();

	request_count = 0;
	ck_rc(kvshm_view_requests(view, keep_request, NULL), 0);
	kvshm_view_close(view);
}

static struct kvshm_pin_info pins[MANY];
static unsigned pin_count;

static int keep_pins(const struct kvshm_pin_info *some, void *arg)
{
	(void)arg;
	ck_assert_uint_lt(pin_count, MANY);
	pins[pin_count++] = *some;
	return 0;
}

static void see_pins(void)
{
	kvshm_view *view = look();

	pin_count = 0;
	ck_rc(kvshm_view_pins(view, keep_pins, NULL), 0);
	kvshm_view_close(view);
}

static struct kvshm_request begin(kvshm_store *store, const char *id, uint32_t attempt, uint32_t blocks)
{
	struct kvshm_request request;

	ck_rc(kvshm_request_open(store, id, strlen(id), attempt, blocks, &request), 0);
	return request;
}

/* A request's own fill of a key, published; its lent handle. */
static struct kvshm_handle fill(kvshm_store *store, const struct kvshm_request *request, uint64_t number)
{
	struct kvshm_handle handle;
	enum kvshm_outcome outcome;
	uint8_t key[UNIT_KEY];

	unit_key(number, key);
	ck_rc(kvshm_request_get_or_fill(store, request, key, sizeof(key), &outcome, &handle), 0);
	ck_assert_int_eq(outcome, KVSHM_FILL);
	unit_write(store, &handle, number);
	ck_rc(kvshm_publish(store, &handle, NULL), 0);
	return handle;
}

/* The clock goes on by some microseconds, at least. */
static uint64_t later(void)
{
	uint64_t now = kvs_now();

	while (kvs_now() < now + 10 * KVS_NOTE_UNIT) {
	}
	return kvs_now();
}

static _Atomic uint64_t *note_of(kvshm_store *store, uint32_t block)
{
	return &kvs_row_pins(&store->map, store->row)[block];
}

/* ---- Requests ---- */

START_TEST(requests_are_shown_with_id_owner_age_and_what_they_hold)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request first = begin(store, "first", 3, 2), second;
	uint64_t opened = later(), looked;
	const struct kvshm_request_info *info = &requests[0];

	second = begin(other, "second", 1, 5);
	(void)fill(store, &first, 1);
	ck_rc(kvshm_request_reserve(other, &second, 4, 0), 0);
	(void)fill(other, &second, 2);
	looked = kvs_now();
	see_requests();
	ck_assert_uint_eq(request_count, 2);
	ck_assert(info->request.slot == first.slot && info->request.number == first.number);
	ck_assert(info->state == KVSHM_REQUEST_OPEN && !info->completed && info->attempt == 3);
	ck_assert(info->owner == store->slot && info->owner_alive);
	ck_assert(info->expected == 2 && info->held == 1 && info->fills == 0 && info->room == 0);
	ck_assert_uint_eq(info->id_length, 5);
	ck_assert_mem_eq(info->id, "first", 5);
	ck_assert_uint_ge(info->age, looked - opened);
	ck_assert(info->held_age && info->held_age < info->age);
	info = &requests[1];
	ck_assert_mem_eq(info->id, "second", 6);
	ck_assert(info->owner == other->slot && info->expected == 5 && info->held == 1 && info->room == 3);
	ck_assert_uint_le(info->age, requests[0].age);
}
END_TEST

START_TEST(a_request_without_a_name_is_shown_without_one)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = begin(store, "abc", 1, 1);

	ck_rc(kvshm_request_end(store, &request), 0);
	ck_rc(kvshm_request_open(store, NULL, 0, 0, 1, &request), 0);
	(void)fill(store, &request, 1);
	see_requests();
	ck_assert_uint_eq(request_count, 2);
	ck_assert(requests[1].request.slot == request.slot && requests[1].state == KVSHM_REQUEST_OPEN);
	ck_assert(requests[1].id_length == 0 && requests[1].attempt == 0 && requests[1].held == 1);
	see_pins();
	ck_assert(pin_count == 1 && pins[0].block == KVSHM_BLOCKS_MAX && pins[0].pins == 1 && pins[0].id_length == 0);
}
END_TEST

START_TEST(the_oldest_come_first_whatever_their_slots)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request first = begin(store, "first", 1, 1), second = begin(store, "second", 1, 1);

	(void)fill(store, &first, 1);
	(void)fill(store, &second, 2);
	store->map.requests[second.slot].opened -= 1000 * MS;
	store->map.requests[second.slot].held_since -= 1000 * MS;
	see_requests();
	ck_assert(request_count == 2 && requests[0].request.slot == second.slot);
	see_pins();
	ck_assert(pin_count == 2 && pins[0].id_length == 6 && pins[1].id_length == 5);
}
END_TEST

/* Both are told by the same hand; only the age goes on. */
START_TEST(an_attached_process_is_told_the_same_as_a_view)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = begin(store, "abc", 7, 1);
	struct kvshm_request_info info;

	(void)fill(store, &request, 1);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	ck_rc(kvshm_request_get_info(other, &request, &info), 0);
	see_requests();
	ck_assert_uint_eq(request_count, 1);
	ck_assert(info.state == KVSHM_REQUEST_COMPLETE && info.completed && info.owner_alive);
	ck_assert_uint_le(info.age, requests[0].age);
	info.age = requests[0].age;
	info.held_age = requests[0].held_age;
	ck_assert_mem_eq(&info, &requests[0], sizeof(info));
	ck_rc(kvshm_request_get_info(other, &request, NULL), -EINVAL);
	ck_rc(kvshm_request_get_info(other, NULL, &info), -EINVAL);
	request.number++;
	ck_rc(kvshm_request_get_info(other, &request, &info), -EBADF);
}
END_TEST

START_TEST(a_closed_request_is_remembered_and_has_nothing)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = begin(store, "abc", 1, 1);
	struct kvshm_request_info info;

	(void)fill(store, &request, 1);
	ck_rc(kvshm_request_end(store, &request), 0);
	store->map.requests[request.slot].held = 9; /* as a dead owner leaves it */
	ck_rc(kvshm_request_get_info(store, &request, &info), 0);
	ck_assert(info.state == KVSHM_REQUEST_CLOSED && !info.completed && !info.owner_alive);
	ck_assert(info.held == 0 && info.held_age == 0 && info.fills == 0 && info.room == 0);
	see_requests();
	ck_assert(request_count == 1 && requests[0].state == KVSHM_REQUEST_CLOSED && requests[0].held == 0);
	ck_assert_mem_eq(requests[0].id, "abc", 3);
}
END_TEST

START_TEST(places_in_the_line_are_shown_in_their_order)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request has = begin(store, "has", 1, 1), first = begin(store, "first", 1, 1),
			     second = begin(store, "second", 1, 1);
	struct kvshm_request_info info;

	ck_rc(kvshm_request_reserve(store, &has, BLOCKS - 2, 0), 0);
	ck_rc(kvshm_request_queue(store, &second, 4, UINT64_MAX), -EINPROGRESS);
	ck_rc(kvshm_request_queue(store, &first, 3, UINT64_MAX), -EINPROGRESS);
	ck_rc(kvshm_request_get_info(store, &first, &info), 0);
	ck_assert(info.wanted == 3 && info.ahead == 1);
	see_requests();
	ck_assert(requests[0].room == BLOCKS - 2 && requests[0].wanted == 0 && requests[0].ahead == 0);
	ck_assert(requests[1].wanted == 3 && requests[1].ahead == 1);
	ck_assert(requests[2].wanted == 4 && requests[2].ahead == 0);
	ck_rc(kvshm_request_unreserve(store, &second), 0);
	see_requests();
	ck_assert(requests[1].wanted == 3 && requests[1].ahead == 0 && requests[2].wanted == 0);
}
END_TEST

static void pin_and_die(void *arg)
{
	kvshm_store *store = unit_attach();
	struct kvshm_request request = begin(store, "dead", 1, 1);
	struct kvshm_handle ref, pin;

	(void)arg;
	(void)fill(store, &request, 1);
	ck_rc(unit_get(store, 1, &ref), 0);
	ck_rc(kvshm_pin(store, &ref, &pin), 0);
	unit_wait_for_death();
}

START_TEST(what_the_dead_had_is_no_pin_and_their_requests_say_so)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct child child;

	unit_child(&child, pin_and_die, NULL);
	unit_await(&child);
	see_requests();
	ck_assert(request_count == 1 && requests[0].owner_alive);
	see_pins();
	ck_assert_uint_eq(pin_count, 2);
	unit_kill(&child);
	see_requests();
	ck_assert(request_count == 1 && !requests[0].owner_alive && requests[0].owner == 1);
	see_pins();
	ck_assert_uint_eq(pin_count, 0);
	ck_rc(kvshm_recover(store, NULL), 0);
	see_requests();
	ck_assert(request_count == 1 && requests[0].state == KVSHM_REQUEST_CLOSED);
}
END_TEST

START_TEST(F1_nonsense_is_passed_over_or_becomes_nothing)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = begin(store, "abc", 1, 1);
	struct kvs_request *slot = &store->map.requests[request.slot];
	struct kvshm_request_info info;
	uint64_t word = slot->word;

	unit_damaged();
	(void)fill(store, &request, 1);
	slot->held_since = slot->opened = UINT64_MAX;
	slot->id_length = KVS_REQUEST_ID_SIZE + 1;
	slot->held = UINT32_MAX;
	store->map.places[request.slot] = UINT64_MAX;
	see_requests();
	ck_assert(request_count == 1 && requests[0].age == 0 && requests[0].held_age == 0);
	ck_assert_uint_eq(requests[0].id_length, 0);
	see_pins();
	ck_assert(pin_count == 1 && pins[0].age == 0 && pins[0].id_length == 0);
	slot->word = word | UINT64_C(0xfff) << KVS_OWNER_SHIFT;
	slot->id_length = 3;
	see_requests();
	ck_assert(requests[0].owner == KVSHM_NO_SLOT && !requests[0].owner_alive);
	ck_rc(kvshm_request_get_info(store, &request, &info), -EUCLEAN);
	see_pins();
	ck_assert_uint_eq(pin_count, 0);
	slot->word = kvs_request_next(slot->word, KVS_REQUEST_CLOSED);
	ck_rc(kvshm_request_get_info(store, &request, &info), 0);
	ck_assert(info.owner == KVSHM_NO_SLOT && !info.owner_alive);
	slot->word = word | 15; /* of no state */
	see_requests();
	ck_assert_uint_eq(request_count, 0);
}
END_TEST

/* ---- Slots that change while they are read ---- */

int __real_kvs_inspect_read(const struct kvs_view *view, uint64_t at, void *to, size_t size);
int __wrap_kvs_inspect_read(const struct kvs_view *view, uint64_t at, void *to, size_t size);

static struct kvs_request *changing;
static uint64_t changes_at;
static int changes;

/* Before a single slot is read again, it is another request's. */
int __wrap_kvs_inspect_read(const struct kvs_view *view, uint64_t at, void *to, size_t size)
{
	if (at == changes_at && size == sizeof(*changing) && changes-- > 0) {
		atomic_fetch_add(&changing->word, UINT64_C(1) << KVS_REQUEST_NUMBER_SHIFT);
		atomic_fetch_add(&changing->id[0], 1);
	}
	return __real_kvs_inspect_read(view, at, to, size);
}

static void change(kvshm_store *store, const struct kvshm_request *request, int times)
{
	changing = &store->map.requests[request->slot];
	changes_at = store->map.g.requests_at + request->slot * sizeof(*changing);
	changes = times;
}

START_TEST(a_slot_that_others_take_is_read_again_and_at_last_passed_over)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = begin(store, "abc", 1, 1), other = begin(store, "other", 1, 1);

	unit_damaged();
	change(store, &other, 3);
	see_requests();
	ck_assert_uint_eq(request_count, 2);
	ck_assert_uint_eq(requests[1].request.number, other.number + 3);
	ck_assert_mem_eq(requests[1].id, "rther", 5);
	change(store, &other, 1000000);
	see_requests();
	ck_assert(request_count == 1 && requests[0].request.slot == request.slot);
}
END_TEST

/* ---- Pins ---- */

START_TEST(R18_a_pin_has_an_owner_a_request_and_an_age)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(other, 1, 0), pin[3];
	struct kvshm_request request;
	uint64_t pinned, looked;

	for (int i = 0; i < 3; i++)
		ck_rc(kvshm_pin(other, &ref, &pin[i]), 0);
	pinned = later();
	request = begin(store, "abc", 2, 2);
	(void)fill(store, &request, 2);
	(void)fill(store, &request, 3);
	looked = kvs_now();
	see_pins();
	ck_assert_uint_eq(pin_count, 2);
	ck_assert(pins[0].client == other->slot && pins[0].pins == 3 && pins[0].id_length == 0);
	ck_assert_uint_eq(pins[0].block, ref.block);
	ck_assert_uint_ge(pins[0].age, looked - pinned);
	ck_assert(pins[1].client == store->slot && pins[1].pins == 2 && pins[1].attempt == 2);
	ck_assert_uint_eq(pins[1].block, KVSHM_BLOCKS_MAX);
	ck_assert(pins[1].id_length == 3 && memcmp(pins[1].id, "abc", 3) == 0);
	ck_assert(pins[1].age && pins[1].age < pins[0].age);
	ck_rc(kvshm_request_end(store, &request), 0);
	for (int i = 0; i < 3; i++)
		ck_rc(kvshm_unpin(other, &pin[i]), 0);
	see_pins();
	ck_assert_uint_eq(pin_count, 0);
}
END_TEST

START_TEST(R18_pins_that_overlap_age_only_with_the_one_that_stays)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle ref = unit_fill(store, 1, 0), first, stays, last;
	_Atomic uint64_t *note = note_of(store, ref.block);
	uint64_t since, before;

	ck_rc(kvshm_pin(store, &ref, &first), 0);
	since = kvs_note_since(*note);
	(void)later();
	ck_rc(kvshm_pin(store, &ref, &stays), 0);
	ck_assert_uint_eq(kvs_note_since(*note), since);
	before = later();
	ck_rc(kvshm_unpin(store, &first), 0);
	/* Of the one that is left is known only that it is there now. */
	since = kvs_note_since(*note);
	ck_assert_uint_ge(since, before / KVS_NOTE_UNIT * KVS_NOTE_UNIT);
	for (int i = 0; i < 3; i++) {
		(void)later();
		ck_rc(kvshm_pin(store, &ref, &last), 0);
		(void)later();
		ck_rc(kvshm_unpin(store, &last), 0);
		ck_assert_uint_eq(kvs_note_since(*note), since);
		ck_assert_uint_eq(kvs_note_pins(*note), 1);
	}
	ck_rc(kvshm_unpin(store, &stays), 0);
	ck_assert_uint_eq(*note, 0);
}
END_TEST

START_TEST(R04_a_pin_of_a_requests_is_not_ended_by_an_old_handle)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = begin(store, "abc", 1, 1);
	struct kvshm_handle lent = fill(store, &request, 1), ref, pin, old;

	ck_rc(unit_get(store, 1, &ref), 0);
	ck_rc(kvshm_pin(store, &ref, &pin), 0);
	old = pin;
	ck_assert_uint_eq(unit_pins(store, &lent), 2);
	ck_rc(kvshm_unpin(store, &pin), 0);
	ck_rc(kvshm_unpin(store, &old), -EBADF);
	ck_assert_uint_eq(unit_pins(store, &lent), 1);
	ck_rc(kvshm_request_end(store, &request), 0);
	ck_assert_uint_eq(unit_pins(store, &ref), 0);
}
END_TEST

START_TEST(batches_of_pins_leave_the_same_notes)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle refs[2] = {unit_fill(store, 1, 0), unit_fill(store, 2, 0)}, some[2];
	int results[2];

	ck_rc(kvshm_pin_batch(store, refs, 2, some, results), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_uint_eq(kvs_note_pins(*note_of(store, refs[i].block)), 1);
	ck_rc(kvshm_unpin_batch(store, some, 2, results), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_uint_eq(*note_of(store, refs[i].block), 0);
}
END_TEST

START_TEST(who_leaves_leaves_no_note)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(other, 1, 0), pin;
	_Atomic uint64_t *note = &kvs_row_pins(&store->map, kvs_row(&store->map, other->slot))[ref.block];

	ck_rc(kvshm_pin(other, &ref, &pin), 0);
	ck_assert_uint_eq(kvs_note_pins(*note), 1);
	unit_detach(other);
	ck_assert_uint_eq(*note, 0);
}
END_TEST

static int stop_request(const struct kvshm_request_info *request, void *arg)
{
	(void)request;
	return ++*(int *)arg;
}

static int stop_pins(const struct kvshm_pin_info *some, void *arg)
{
	(void)some;
	return ++*(int *)arg;
}

START_TEST(a_walk_ends_where_its_reader_says_so)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request first = begin(store, "first", 1, 1), second = begin(store, "second", 1, 1);
	kvshm_view *view = look();
	int calls = 0;

	(void)fill(store, &first, 1);
	(void)fill(store, &second, 2);
	ck_assert_int_eq(kvshm_view_requests(view, stop_request, &calls), 1);
	ck_assert_int_eq(kvshm_view_pins(view, stop_pins, &calls), 2);
	ck_rc(kvshm_view_requests(view, NULL, NULL), -EINVAL);
	ck_rc(kvshm_view_requests(NULL, keep_request, NULL), -EINVAL);
	ck_rc(kvshm_view_pins(view, NULL, NULL), -EINVAL);
	ck_rc(kvshm_view_pins(NULL, keep_pins, NULL), -EINVAL);
	kvshm_view_close(view);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		requests_are_shown_with_id_owner_age_and_what_they_hold,
		a_request_without_a_name_is_shown_without_one,
		the_oldest_come_first_whatever_their_slots,
		an_attached_process_is_told_the_same_as_a_view,
		a_closed_request_is_remembered_and_has_nothing,
		places_in_the_line_are_shown_in_their_order,
		what_the_dead_had_is_no_pin_and_their_requests_say_so,
		F1_nonsense_is_passed_over_or_becomes_nothing,
		a_slot_that_others_take_is_read_again_and_at_last_passed_over,
		R18_a_pin_has_an_owner_a_request_and_an_age,
		R18_pins_that_overlap_age_only_with_the_one_that_stays,
		R04_a_pin_of_a_requests_is_not_ended_by_an_old_handle,
		batches_of_pins_leave_the_same_notes,
		who_leaves_leaves_no_note,
		a_walk_ends_where_its_reader_says_so,
	};

	return unit_run("view_requests", tests, sizeof(tests) / sizeof(tests[0]));
}
