/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * request_open: a request is opened once, whoever asks for its id and whenever; late attempts are refused, and nothing
 * of a dead owner's is in the way. The linker puts this file's functions in front of three that an open calls on its
 * way, so that another client's open, or its end, comes exactly there.
 */
#include "config.h"

#include "request_scene.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SLOTS 8U

static void expect_text(const char *says)
{
	ck_assert_msg(strstr(kvshm_error(), says), "no '%s' in: %s", says, kvshm_error());
}

START_TEST(an_open_request_is_found_by_its_id_in_every_process)
{
	kvshm_store *store = unit_store(8), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 5), found;
	uint64_t missing = 2;

	found = scene_find(other, 1);
	ck_assert_uint_eq(found.slot, request.slot);
	ck_assert_uint_eq(found.number, request.number);
	ck_assert_uint_eq(found.store, request.store);
	ck_rc(kvshm_request_find(other, &missing, sizeof(missing), &found), -ENOENT);
	ck_assert_uint_eq(found.number, request.number); /* untouched */
	ck_assert_uint_eq(atomic_load(&store->map.requests[request.slot].expected), 5);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_requests), 1);
}
END_TEST

START_TEST(ids_are_bytes_of_any_value_and_of_1_to_128)
{
	static const uint8_t zeros[KVSHM_REQUEST_ID_MAX + 1];
	kvshm_store *store = scene_store(8, KVSHM_KEEP, 2 * KVSHM_REQUEST_ID_MAX);
	struct kvshm_request requests[KVSHM_REQUEST_ID_MAX], differs, found;
	uint8_t last[KVSHM_REQUEST_ID_MAX] = {[KVSHM_REQUEST_ID_MAX - 1] = 1};

	for (size_t i = 0; i < KVSHM_REQUEST_ID_MAX; i++)
		ck_rc(kvshm_request_open(store, zeros, i + 1, 0, 0, &requests[i]), 0);
	ck_rc(kvshm_request_open(store, last, sizeof(last), 0, 0, &differs), 0); /* in its last byte */
	ck_rc(kvshm_request_find(store, last, sizeof(last), &found), 0);
	ck_assert_uint_eq(found.slot, differs.slot);
	for (size_t i = 0; i < KVSHM_REQUEST_ID_MAX; i++) {
		ck_rc(kvshm_request_find(store, zeros, i + 1, &found), 0);
		ck_assert_uint_eq(found.slot, requests[i].slot);
		ck_rc(kvshm_request_open(store, zeros, i + 1, 1, 0, &found), -EEXIST);
	}
}
END_TEST

START_TEST(ids_that_are_none_and_calls_without_a_place_for_the_result_are_refused)
{
	kvshm_store *store = unit_store(8);
	uint8_t id[KVSHM_REQUEST_ID_MAX + 1] = {1};
	struct kvshm_request request = {.slot = 77};

	ck_rc(kvshm_request_open(store, id, 0, 0, 0, &request), -EINVAL);
	expect_text("0 bytes");
	ck_rc(kvshm_request_open(store, id, sizeof(id), 0, 0, &request), -EINVAL);
	expect_text("129 bytes");
	ck_rc(kvshm_request_open(store, NULL, 8, 0, 0, &request), -EINVAL);
	expect_text("no id");
	ck_rc(kvshm_request_open(store, id, 8, 0, 0, NULL), -EINVAL);
	ck_rc(kvshm_request_find(store, id, 0, &request), -EINVAL);
	ck_rc(kvshm_request_find(store, id, sizeof(id), &request), -EINVAL);
	ck_rc(kvshm_request_find(store, NULL, 8, &request), -EINVAL);
	ck_rc(kvshm_request_find(store, id, 8, NULL), -EINVAL);
	ck_assert_uint_eq(request.slot, 77);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_requests), 0);
	for (uint32_t i = 0; i < store->map.g.requests; i++)
		ck_assert_uint_eq(kvs_request_word(&store->map, i), 0);
}
END_TEST

/* Every call with a request, which is refused. */
static void all_refuse(kvshm_store *store, const struct kvshm_request *request, int wanted, int wanted_end)
{
	struct kvshm_handle handle = {.kind = 77};
	const struct kvshm_key *key = scene_keys(1, 1);
	struct kvshm_request_info info;
	enum kvshm_outcome outcome;
	enum kvshm_next next;
	uint32_t pending = 77;
	size_t ready;
	int result = 77;

	ck_rc(kvshm_request_reserve(store, request, 1, 0), wanted);
	ck_rc(kvshm_request_queue(store, request, 1, 0), wanted);
	ck_rc(kvshm_request_wait_room(store, request, 0), wanted);
	ck_rc(kvshm_request_unreserve(store, request), wanted);
	ck_rc(kvshm_request_match(store, request, key, 1, &handle, &ready, &next), wanted);
	ck_rc(kvshm_request_get_or_fill(store, request, key->bytes, key->length, &outcome, &handle), wanted);
	ck_rc(kvshm_request_get_or_fill_shared(store, request, key->bytes, key->length, &outcome, &handle), wanted);
	ck_rc(kvshm_request_get_or_fill_batch(store, request, key, 1, &outcome, &handle, &result), wanted);
	ck_rc(kvshm_request_get_or_fill_shared_batch(store, request, key, 1, &outcome, &handle, &result), wanted);
	ck_rc(kvshm_request_release(store, request, &handle, 1), wanted);
	ck_rc(kvshm_request_keep(store, request, &handle, 1), wanted);
	ck_rc(kvshm_request_complete(store, request, 0), wanted);
	ck_rc(kvshm_request_settle(store, request, &pending), wanted);
	ck_assert_uint_eq(pending, 77);
	if (wanted != -EPERM) {
		ck_rc(kvshm_request_wait(store, request, 0), wanted);
		ck_rc(kvshm_request_claim(store, request, key, 1, &handle, &result), wanted);
		ck_rc(kvshm_request_end(store, request), wanted_end);
	}
	if (wanted == -EINVAL || wanted == -EBADF)
		ck_rc(kvshm_request_get_info(store, request, &info), wanted);
	ck_assert_uint_eq(handle.kind, 77);
	ck_assert_int_eq(result, 77);
	ck_assert_uint_eq(scene_idle(store), store->map.g.blocks);
}

START_TEST(what_is_no_request_is_refused_by_every_call)
{
	kvshm_store *store = unit_store(8);
	struct kvshm_request request = scene_open(store, 1, 0), no_slot = request, huge = request, unused = request,
			     later = request, zero = request, elsewhere = request;

	no_slot.slot = SLOTS;
	huge.slot = UINT32_MAX;
	unused.slot = (request.slot + 1) % SLOTS;
	later.number++;
	zero.number = 0;
	elsewhere.store++; /* of a store that had the same slot and number */
	all_refuse(store, NULL, -EINVAL, -EINVAL);
	all_refuse(store, &no_slot, -EBADF, -EBADF);
	all_refuse(store, &huge, -EBADF, -EBADF);
	all_refuse(store, &unused, -EBADF, -EBADF);
	all_refuse(store, &later, -EBADF, -EBADF);
	all_refuse(store, &zero, -EBADF, -EBADF);
	all_refuse(store, &elsewhere, -EBADF, -EBADF);
	ck_assert_int_eq(scene_state(store, &request), KVS_REQUEST_OPEN);
	scene_end(store, &request);
}
END_TEST

START_TEST(what_is_its_owners_is_refused_to_others)
{
	kvshm_store *store = unit_store(8), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);

	all_refuse(other, &request, -EPERM, 0);
	expect_text("client 0");
	ck_assert_int_eq(scene_state(store, &request), KVS_REQUEST_OPEN);
}
END_TEST

START_TEST(the_value_of_an_earlier_request_in_a_slot_touches_no_later_one)
{
	kvshm_store *store = scene_store(8, KVSHM_KEEP, 1), *other = unit_attach();
	struct kvshm_request early = scene_open(store, 1, 0), late;

	scene_end(store, &early);
	all_refuse(store, &early, -ECANCELED, -EALREADY);
	late = scene_open(store, 2, 0);
	ck_assert_uint_eq(late.slot, early.slot);
	all_refuse(store, &early, -ECANCELED, -EALREADY);
	ck_rc(kvshm_request_end(other, &early), -EALREADY);
	ck_rc(kvshm_request_wait(other, &early, 0), -ECANCELED);
	ck_assert_int_eq(scene_state(store, &late), KVS_REQUEST_OPEN);
}
END_TEST

START_TEST(a_second_open_of_an_id_is_told_whose_it_is)
{
	kvshm_store *store = unit_store(8), *other = unit_attach();
	struct kvshm_request request = scene_open(other, 1, 0), second = {.slot = 77};
	char whose[100];

	ck_rc(scene_try_open(store, 1, 0, 0, &second), -EEXIST);
	(void)snprintf(whose, sizeof(whose), "client 1's (process %d, %.31s)", (int)getpid(),
		       program_invocation_short_name);
	expect_text(whose);
	ck_rc(scene_try_open(store, 1, 5, 0, &second), -EEXIST); /* a later attempt, too */
	ck_rc(scene_try_open(other, 1, 5, 0, &second), -EEXIST);
	ck_assert_uint_eq(second.slot, 77);
	ck_assert_int_eq(scene_state(store, &request), KVS_REQUEST_OPEN);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_requests), 1);
}
END_TEST

START_TEST(whose_it_is_is_told_in_one_line)
{
	const struct kvshm_attach_options options = {.name = "a\nb\x1b[c\xc3\xa9"};
	kvshm_store *store = unit_store(8), *other;
	struct kvshm_request request;

	ck_rc(kvshm_attach(unit_name(), &options, &other), 0);
	(void)scene_open(other, 1, 0);
	ck_rc(scene_try_open(store, 1, 0, 0, &request), -EEXIST);
	expect_text(", a?b?[c\xc3\xa9)");
	ck_rc(kvshm_detach(other), 0);
}
END_TEST

/* The owner that goes when a rival is about to look who it is; its slot has the next client then. */
static kvshm_store *owner_goes;

bool __real_kvs_client_read(const struct kvs_map *map, uint32_t slot, int32_t *pid, char name[KVS_CLIENT_NAME_SIZE]);
bool __wrap_kvs_client_read(const struct kvs_map *map, uint32_t slot, int32_t *pid, char name[KVS_CLIENT_NAME_SIZE]);

bool __wrap_kvs_client_read(const struct kvs_map *map, uint32_t slot, int32_t *pid, char name[KVS_CLIENT_NAME_SIZE])
{
	if (owner_goes) {
		unit_detach(owner_goes);
		owner_goes = unit_attach();
		ck_assert_uint_eq(owner_goes->slot, slot);
	}
	return __real_kvs_client_read(map, slot, pid, name);
}

START_TEST(who_has_the_owners_slot_by_now_is_not_told_of)
{
	kvshm_store *store = unit_store(8);
	struct kvshm_request request;

	owner_goes = unit_attach();
	(void)scene_open(owner_goes, 1, 0);
	ck_rc(scene_try_open(store, 1, 0, 0, &request), -EEXIST);
	expect_text("client 1's");
	ck_assert_ptr_null(strstr(kvshm_error(), "process"));
}
END_TEST

START_TEST(a_late_attempt_is_refused_and_a_higher_one_opens)
{
	kvshm_store *store = unit_store(8), *other = unit_attach();
	struct kvshm_request first, second, found;

	ck_rc(scene_try_open(store, 1, 4, 0, &first), 0);
	scene_end(store, &first);
	for (uint32_t attempt = 0; attempt <= 4; attempt++)
		ck_rc(scene_try_open(other, 1, attempt, 0, &second), -EALREADY);
	ck_rc(scene_try_open(other, 1, 5, 0, &second), 0);
	found = scene_find(store, 1);
	ck_assert_uint_eq(found.slot, second.slot);
	ck_rc(kvshm_request_end(other, &second), 0);
	found = scene_find(store, 1); /* of two that are closed the later attempt */
	ck_assert_uint_eq(found.slot, second.slot);
	ck_rc(scene_try_open(store, 1, 5, 0, &first), -EALREADY);
	ck_rc(scene_try_open(store, 1, UINT32_MAX, 0, &first), 0);
}
END_TEST

START_TEST(an_aborted_attempt_is_remembered_too)
{
	kvshm_store *store = unit_store(8), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 3);

	ck_rc(kvshm_request_end(other, &request), 0);
	ck_assert_int_eq(scene_state(store, &request), KVS_REQUEST_ENDING);
	ck_rc(scene_try_open(other, 1, 1, 0, &request), -EEXIST); /* its owner has not let go */
	ck_rc(kvshm_request_tend(store, 0, NULL), 0);
	ck_rc(scene_try_open(other, 1, 0, 0, &request), -EALREADY);
	ck_rc(scene_try_open(other, 1, 1, 0, &request), 0);
}
END_TEST

START_TEST(a_closed_request_is_remembered_for_a_turn_of_all_slots)
{
	kvshm_store *store = unit_store(8);
	struct kvshm_request request = scene_open(store, 100, 0), again;

	scene_end(store, &request);
	for (uint64_t id = 1; id < SLOTS; id++) {
		struct kvshm_request other = scene_open(store, id, 0);

		ck_assert_uint_ne(other.slot, request.slot);
		scene_end(store, &other);
		ck_rc(scene_try_open(store, 100, 0, 0, &again), -EALREADY);
	}
	again = scene_open(store, SLOTS, 0);
	ck_assert_uint_eq(again.slot, request.slot);
	again = scene_open(store, 100, 0); /* forgotten */
}
END_TEST

/* Whoever opens something claims a slot first: there is its last id still, which is nobody's. */
START_TEST(a_slot_that_is_only_claimed_has_no_id)
{
	kvshm_store *store = unit_store(8), *other = unit_attach();
	struct kvshm_request last = scene_open(other, 1, 0), found;
	_Atomic uint64_t *word = &store->map.requests[last.slot].word;
	uint64_t claimed = kvs_request_next(atomic_load(word), KVS_REQUEST_CLAIMED), id = 1;

	scene_end(other, &last);
	atomic_store(word, claimed + (UINT64_C(1) << KVS_REQUEST_NUMBER_SHIFT));
	ck_rc(kvshm_request_find(store, &id, sizeof(id), &found), -ENOENT);
	found = scene_open(store, 1, 0);
	ck_assert_uint_ne(found.slot, last.slot);
	ck_assert_int_eq(kvs_request_state(atomic_load(word)), KVS_REQUEST_CLAIMED); /* untouched */
	unit_detach(other);
	ck_assert_int_eq(kvs_request_state(atomic_load(word)), KVS_REQUEST_NONE);
}
END_TEST

static struct kvshm_request open_nameless(kvshm_store *store)
{
	struct kvshm_request request;

	ck_rc(kvshm_request_open(store, NULL, 0, 0, 0, &request), 0);
	return request;
}

START_TEST(a_request_without_a_name_is_like_no_other_and_ends_by_its_value)
{
	kvshm_store *store = unit_store(8), *other = unit_attach();
	struct kvshm_request request = open_nameless(store), second = open_nameless(store),
			     third = open_nameless(other);
	struct kvshm_handle fill = scene_begin(store, &request, 1), ref;
	struct kvshm_request_info info;
	int result;

	ck_assert(request.slot != second.slot && second.slot != third.slot && third.slot != request.slot);
	ck_rc(kvshm_request_find(other, "", 0, &third), -EINVAL);
	ck_rc(kvshm_request_find(other, NULL, 0, &third), -EINVAL);
	ck_rc(kvshm_request_get_info(other, &request, &info), 0);
	ck_assert(info.state == KVSHM_REQUEST_OPEN && info.id_length == 0 && info.attempt == 0 && info.fills == 1);
	ck_rc(kvshm_request_wait(other, &request, 0), -ETIMEDOUT);
	scene_publish(store, &fill, 1);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	ck_rc(kvshm_request_wait(other, &request, 0), 0);
	ck_rc(kvshm_request_claim(other, &request, scene_keys(1, 1), 1, &ref, &result), 0);
	ck_rc(result, 0);
	ck_rc(kvshm_request_end(other, &request), 0);
	ck_rc(kvshm_request_tend(store, 0, NULL), 0);
	ck_rc(kvshm_release(other, &ref), 0);
	ck_rc(kvshm_request_end(store, &request), -EALREADY);
	ck_rc(kvshm_request_wait(other, &request, 0), -ECANCELED);
	expect_text("after it was complete");
	ck_assert_int_eq(scene_state(store, &second), KVS_REQUEST_OPEN);
	scene_end(store, &second);
	scene_nothing_left(store);
}
END_TEST

START_TEST(a_request_without_a_name_has_no_attempts)
{
	kvshm_store *store = unit_store(8);
	struct kvshm_request request = {.slot = 77};

	ck_rc(kvshm_request_open(store, NULL, 0, 1, 0, &request), -EINVAL);
	expect_text("attempt 1");
	ck_rc(kvshm_request_open(store, NULL, 0, 0, 0, NULL), -EINVAL);
	ck_rc(kvshm_request_open(store, "", 0, 0, 0, &request), -EINVAL); /* an id that somebody has lost */
	expect_text("0 bytes");
	ck_assert_uint_eq(request.slot, 77);
}
END_TEST

/* Their slots go round among themselves: also where all others are remembered, in a store that is never without. */
START_TEST(requests_without_a_name_push_no_closed_one_out_of_memory)
{
	kvshm_store *store = unit_store(8);
	struct kvshm_request lasts = open_nameless(store), request, early = {0};

	for (uint64_t id = 1; id < SLOTS - 1; id++) {
		request = scene_open(store, id, 0);
		scene_end(store, &request);
	}
	for (unsigned i = 0; i < 3 * SLOTS; i++) {
		request = open_nameless(store);
		ck_assert(i == 0 || request.slot == early.slot);
		ck_rc(kvshm_request_wait(store, &early, 0), i ? -ECANCELED : -EBADF);
		early = request;
		scene_end(store, &request);
	}
	for (uint64_t id = 1; id < SLOTS - 1; id++)
		ck_rc(scene_try_open(store, id, 0, 0, &request), -EALREADY);
	request = scene_open(store, 99, 0); /* it has no reason to take one of these either */
	ck_assert_uint_eq(request.slot, early.slot);
	request = open_nameless(store); /* this one has: one of them is forgotten */
	ck_assert_int_eq(scene_state(store, &lasts), KVS_REQUEST_OPEN);
}
END_TEST

START_TEST(with_all_slots_open_there_is_ENFILE_until_one_ends)
{
	kvshm_store *store = unit_store(8), *other = unit_attach();
	struct kvshm_request requests[SLOTS], one = {.slot = 77};

	for (uint64_t id = 0; id < SLOTS; id++)
		requests[id] = scene_open(id % 2 ? store : other, id, 0);
	ck_rc(scene_try_open(store, 100, 0, 0, &one), -ENFILE);
	expect_text("all 8");
	ck_assert_uint_eq(one.slot, 77);
	ck_rc(kvshm_request_end(store, &requests[2]), 0); /* another's: asked for, and not let go of */
	ck_rc(scene_try_open(store, 100, 0, 0, &one), -ENFILE);
	ck_rc(kvshm_request_tend(other, 0, NULL), 0);
	one = scene_open(store, 100, 0);
	ck_assert_uint_eq(one.slot, requests[2].slot);
	ck_rc(scene_try_open(store, 101, 0, 0, &one), -ENFILE);
}
END_TEST

/* ---- Deaths ------------------------------------------------------------------------------------------------ */

static void open_and_wait_for_death(void *arg)
{
	kvshm_store *store = unit_attach();

	for (uint64_t id = 1; id <= *(const uint64_t *)arg; id++)
		(void)scene_open(store, id, 1);
	unit_wait_for_death();
}

START_TEST(an_id_whose_owner_died_is_in_nobodys_way)
{
	uint64_t count = 1;
	kvshm_store *store = unit_store(8);
	struct kvshm_request request, dead;
	struct child child;

	unit_child(&child, open_and_wait_for_death, &count);
	unit_await(&child);
	dead = scene_find(store, 1);
	ck_rc(scene_try_open(store, 1, 1, 0, &request), -EEXIST); /* it lives */
	unit_kill(&child);
	ck_rc(scene_try_open(store, 1, 1, 0, &request), 0);
	ck_assert_int_eq(scene_state(store, &dead), KVS_REQUEST_CLOSED);
	ck_rc(kvshm_request_wait(store, &dead, 0), -ECANCELED);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_requests_aborted), 1);
}
END_TEST

START_TEST(a_dead_owners_attempt_is_remembered)
{
	uint64_t count = 1;
	kvshm_store *store = unit_store(8);
	struct kvshm_request request;
	struct child child;

	unit_child(&child, open_and_wait_for_death, &count);
	unit_await(&child);
	unit_kill(&child);
	ck_rc(scene_try_open(store, 1, 0, 0, &request), -EALREADY);
}
END_TEST

START_TEST(slots_of_a_dead_owners_are_no_reason_for_ENFILE)
{
	uint64_t count = SLOTS;
	kvshm_store *store = unit_store(8);
	struct child child;

	unit_child(&child, open_and_wait_for_death, &count);
	unit_await(&child);
	unit_kill(&child);
	(void)scene_open(store, 100, 0);
}
END_TEST

START_TEST(F1_a_request_of_no_state_is_in_nobodys_way)
{
	kvshm_store *store = unit_store(8);
	struct kvshm_request request = scene_open(store, 1, 0);

	unit_damaged();
	atomic_fetch_or(&store->map.requests[request.slot].word, 15);
	ck_assert_uint_ne(scene_open(store, 1, 0).slot, request.slot);
}
END_TEST

/* ---- At the same time -------------------------------------------------------------------------------------- */

void __real_kvs_wait_ring(const struct kvs_map *map);
void __wrap_kvs_wait_ring(const struct kvs_map *map);
uint64_t __real_kvs_now(void);
uint64_t __wrap_kvs_now(void);

/* Who opens the id 1 between two steps of another's, and what it is told. */
static kvshm_store *rival;
static enum kvs_request_state rival_comes_at;
static int rival_told;
static struct kvshm_request rivals;

static void let_rival_open(void)
{
	kvshm_store *store = rival;

	rival = NULL;
	rival_told = scene_try_open(store, 1, 0, 0, &rivals);
}

/* Another thread of the opener's ends it as soon as it is open. */
static kvshm_store *ends_at_once;

static void end_it(void)
{
	kvshm_store *store = ends_at_once;
	struct kvshm_request request;

	ends_at_once = NULL;
	request = scene_find(store, 1);
	ck_rc(kvshm_request_end(store, &request), 0);
	ck_rc(kvshm_request_end(store, &request), -EALREADY);
}

static bool one_is(const struct kvs_map *map, enum kvs_request_state state)
{
	for (uint32_t i = 0; i < map->g.requests; i++)
		if (kvs_request_state(kvs_request_word(map, i)) == state)
			return true;
	return false;
}

/* Behind each step of a request's word. */
void __wrap_kvs_wait_ring(const struct kvs_map *map)
{
	if (ends_at_once && one_is(map, KVS_REQUEST_OPEN))
		end_it();
	if (rival && one_is(map, rival_comes_at))
		let_rival_open();
	__real_kvs_wait_ring(map);
}

/* The time is asked for when the slot is claimed and has its id, but is not announced. */
uint64_t __wrap_kvs_now(void)
{
	if (rival && rival_comes_at == KVS_REQUEST_CLAIMED)
		let_rival_open();
	return __real_kvs_now();
}

START_TEST(a_request_is_ended_by_its_owner_as_soon_as_it_is_open)
{
	kvshm_store *store = unit_store(8);
	struct kvshm_request request;

	ends_at_once = store;
	ck_rc(scene_try_open(store, 1, 0, 0, &request), 0);
	ck_rc(kvshm_request_complete(store, &request, 0), -ECANCELED);
	ck_assert_int_eq(scene_state(store, &request), KVS_REQUEST_CLOSED);
}
END_TEST

static void opens_meet(enum kvs_request_state at, unsigned skip, int told, int rival_is_told)
{
	kvshm_store *store = unit_store(8), *other = unit_attach();
	struct kvshm_request request, winner;

	/* So that the slots that the two claim are in the order that is wanted. */
	for (unsigned i = 0; i < skip; i++) {
		request = scene_open(store, 100 + i, 0);
		scene_end(store, &request);
	}
	rival_comes_at = at;
	rival = other;
	ck_rc(scene_try_open(store, 1, 0, 0, &request), told);
	ck_assert_int_eq(rival_told, rival_is_told);
	winner = scene_find(store, 1);
	ck_assert_int_eq(scene_state(store, &winner), KVS_REQUEST_OPEN);
	ck_assert_uint_eq(winner.slot, told == 0 ? request.slot : rivals.slot);
	for (uint32_t i = 0; i < SLOTS; i++)
		ck_assert(i == winner.slot || !kvs_request_live(kvs_request_word(&store->map, i)));
}

START_TEST(of_two_that_are_opening_the_lower_slot_wins_who_comes_second_loses)
{
	opens_meet(KVS_REQUEST_OPENING, 0, 0, -EEXIST);
}
END_TEST

START_TEST(of_two_that_are_opening_the_lower_slot_wins_who_comes_second_wins)
{
	opens_meet(KVS_REQUEST_OPENING, SLOTS - 1, -EEXIST, 0);
}
END_TEST

START_TEST(who_has_not_announced_itself_is_passed_over_and_looks_behind_its_announcement)
{
	opens_meet(KVS_REQUEST_CLAIMED, 0, -EEXIST, 0);
}
END_TEST

/* One has looked at all slots, and comes to its last step; another, of a lower slot, has not been seen by it. */
START_TEST(of_two_that_are_opening_the_lower_slot_wins_whatever_the_other_has_seen)
{
	kvshm_store *store = unit_store(8), *other = unit_attach();
	struct kvshm_request request, last;
	_Atomic uint64_t *word;

	for (unsigned i = 0; i < SLOTS - 1; i++) {
		request = scene_open(store, 100 + i, 0);
		scene_end(store, &request);
	}
	last = scene_open(other, 1, 0);
	word = &store->map.requests[last.slot].word;
	atomic_store(word, kvs_request_next(atomic_load(word), KVS_REQUEST_OPENING));
	request = scene_open(store, 1, 0);
	ck_assert_uint_lt(request.slot, last.slot);
	ck_assert_int_eq(kvs_request_state(atomic_load(word)), KVS_REQUEST_NONE);
}
END_TEST

#define OPENERS 4U
#define ROUNDS 300U

/* What those who open at the same time share. */
struct race {
	pthread_barrier_t *barrier;
	_Atomic unsigned winners[ROUNDS];
};

static void open_at_once(kvshm_store *store, struct race *race)
{
	for (uint64_t i = 0; i < ROUNDS; i++) {
		struct kvshm_request request;
		int rc;

		(void)pthread_barrier_wait(race->barrier);
		rc = scene_try_open(store, i, 0, 0, &request);
		(void)pthread_barrier_wait(race->barrier);
		if (rc == 0) {
			atomic_fetch_add(&race->winners[i], 1);
			ck_rc(kvshm_request_end(store, &request), 0);
		} else {
			ck_assert_int_eq(rc, -EEXIST);
		}
	}
}

static void one_won_each(kvshm_store *store, struct race *race)
{
	for (unsigned i = 0; i < ROUNDS; i++)
		ck_assert_uint_eq(atomic_load(&race->winners[i]), 1);
	for (uint32_t i = 0; i < store->map.g.requests; i++)
		ck_assert(!kvs_request_live(kvs_request_word(&store->map, i)));
}

static void race_of_a_process(void *arg)
{
	kvshm_store *store = unit_attach();

	open_at_once(store, arg);
	ck_rc(kvshm_detach(store), 0);
}

START_TEST(of_many_processes_that_open_an_id_at_the_same_time_one_does)
{
	kvshm_store *store = unit_store(8);
	struct race *race = unit_shared(sizeof(*race));
	struct child children[OPENERS];

	race->barrier = unit_shared_barrier(OPENERS);
	for (unsigned i = 0; i < OPENERS; i++)
		unit_child(&children[i], race_of_a_process, race);
	for (unsigned i = 0; i < OPENERS; i++)
		unit_join(&children[i]);
	one_won_each(store, race);
}
END_TEST

struct opener {
	kvshm_store *store;
	struct race *race;
};

static void *race_of_a_thread(void *arg)
{
	struct opener *opener = arg;

	open_at_once(opener->store, opener->race);
	return NULL;
}

START_TEST(of_many_threads_that_open_an_id_at_the_same_time_one_does)
{
	struct race *race = unit_shared(sizeof(*race));
	struct opener opener = {.store = unit_store(8), .race = race};
	pthread_t threads[OPENERS];

	race->barrier = unit_shared_barrier(OPENERS);
	for (unsigned i = 0; i < OPENERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, race_of_a_thread, &opener), 0);
	for (unsigned i = 0; i < OPENERS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	one_won_each(opener.store, race);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		an_open_request_is_found_by_its_id_in_every_process,
		ids_are_bytes_of_any_value_and_of_1_to_128,
		ids_that_are_none_and_calls_without_a_place_for_the_result_are_refused,
		what_is_no_request_is_refused_by_every_call,
		what_is_its_owners_is_refused_to_others,
		the_value_of_an_earlier_request_in_a_slot_touches_no_later_one,
		a_second_open_of_an_id_is_told_whose_it_is,
		whose_it_is_is_told_in_one_line,
		who_has_the_owners_slot_by_now_is_not_told_of,
		a_late_attempt_is_refused_and_a_higher_one_opens,
		an_aborted_attempt_is_remembered_too,
		a_closed_request_is_remembered_for_a_turn_of_all_slots,
		a_slot_that_is_only_claimed_has_no_id,
		a_request_without_a_name_is_like_no_other_and_ends_by_its_value,
		a_request_without_a_name_has_no_attempts,
		requests_without_a_name_push_no_closed_one_out_of_memory,
		with_all_slots_open_there_is_ENFILE_until_one_ends,
		an_id_whose_owner_died_is_in_nobodys_way,
		a_dead_owners_attempt_is_remembered,
		slots_of_a_dead_owners_are_no_reason_for_ENFILE,
		F1_a_request_of_no_state_is_in_nobodys_way,
		a_request_is_ended_by_its_owner_as_soon_as_it_is_open,
		of_two_that_are_opening_the_lower_slot_wins_who_comes_second_loses,
		of_two_that_are_opening_the_lower_slot_wins_who_comes_second_wins,
		of_two_that_are_opening_the_lower_slot_wins_whatever_the_other_has_seen,
		who_has_not_announced_itself_is_passed_over_and_looks_behind_its_announcement,
		of_many_processes_that_open_an_id_at_the_same_time_one_does,
		of_many_threads_that_open_an_id_at_the_same_time_one_does,
	};

	return unit_run("request_open", tests, sizeof(tests) / sizeof(tests[0]));
}
