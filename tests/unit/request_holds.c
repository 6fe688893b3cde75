/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * request_holds: what a request holds: each block once, however often it is asked for; lent, and so not to be released;
 * shared with other requests, of which each has its own hold. And fills, which are the request's once they are
 * published (R01, R02, R05 to R07, R15).
 */
#include "config.h"

#include "request_scene.h"

#include <errno.h>
#include <string.h>

#include "table.h"

#define BLOCKS 16U

/* Everything that can have its room has it several times over. */
static void thrash(kvshm_store *store)
{
	for (uint64_t i = 0; i < UINT64_C(10) * BLOCKS; i++)
		unit_put(store, 100000 + i);
}

START_TEST(R01_asking_again_gives_the_same_holds_and_not_more)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle first[4], again[4];
	enum kvshm_next next;

	for (uint64_t i = 0; i < 4; i++)
		unit_put(other, i);
	ck_assert_uint_eq(scene_match(store, &request, 0, 4, first, &next), 4);
	ck_assert_int_eq(next, KVSHM_NEXT_NONE);
	for (int round = 0; round < 3; round++) {
		ck_assert_uint_eq(scene_match(store, &request, 0, 4, again, &next), 4);
		for (uint64_t i = 0; i < 4; i++) {
			struct kvshm_handle asked = scene_ready(store, &request, i);

			ck_assert(again[i].block == first[i].block && again[i].life == first[i].life);
			ck_assert(asked.block == first[i].block && asked.kind == KVSHM_LENT);
			ck_assert_uint_eq(unit_pins(store, &first[i]), 1);
		}
	}
	ck_assert_uint_eq(scene_pins(store), 4);
	ck_assert_uint_eq(scene_refs(store), 0);
	ck_assert_uint_eq(atomic_load(&store->map.requests[request.slot].held), 4);
	scene_end(store, &request);
	scene_nothing_left(store);
}
END_TEST

START_TEST(a_match_asked_again_counts_nothing)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle held = scene_fill(store, &request, 1), lent;
	enum kvshm_next next;
	/* There is no place for another count, of either kind. */
	uint64_t entry = atomic_fetch_or(&store->row[held.block], KVS_ENTRY_PINS | KVS_ENTRY_REFS);

	ck_assert_uint_eq(scene_match(store, &request, 1, 1, &lent, &next), 1);
	ck_assert(lent.block == held.block && lent.life == held.life);
	ck_assert_uint_eq(atomic_exchange(&store->row[held.block], entry),
			  entry | KVS_ENTRY_PINS | KVS_ENTRY_REFS);
	scene_end(store, &request);
	scene_nothing_left(store);
}
END_TEST

START_TEST(C2_a_match_asked_again_does_not_find_what_was_removed)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle first[3], again[3];
	_Atomic uint64_t *word;
	uint8_t key[UNIT_KEY];
	enum kvshm_next next;

	for (uint64_t i = 0; i < 3; i++)
		unit_put(other, i);
	ck_assert_uint_eq(scene_match(store, &request, 0, 3, first, &next), 3);
	unit_key(1, key);
	ck_rc(kvshm_remove(other, key, sizeof(key)), 0);
	ck_assert_uint_eq(scene_match(store, &request, 0, 3, again, &next), 1);
	ck_assert_int_eq(next, KVSHM_NEXT_MISSING);
	unit_put(other, 1);
	ck_assert_uint_eq(scene_match(store, &request, 0, 3, again, &next), 3);
	ck_assert_uint_ne(again[1].block, first[1].block);
	ck_assert_uint_eq(again[2].block, first[2].block);
	ck_assert_uint_eq(unit_pins(store, &first[1]), 1); /* the old bytes are the request's still */
	ck_assert_uint_eq(scene_pins(store), 4);
	/* And by one who died before it took the key out of the index. */
	word = &kvs_block(&store->map, first[0].block)->word;
	atomic_store(word, kvs_word_next(atomic_load(word), KVS_DOOMED, 0));
	ck_assert_uint_eq(scene_match(store, &request, 0, 3, again, &next), 0);
	ck_assert_int_eq(next, KVSHM_NEXT_MISSING);
	scene_end(store, &request);
	scene_nothing_left(store);
}
END_TEST

START_TEST(R28_a_match_asked_again_does_not_find_what_was_cleared)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle held = scene_fill(store, &request, 1), lent;
	enum kvshm_next next;

	/* The one step of who clears, who dies before it has taken the key away. */
	atomic_fetch_add(&store->map.head->floor, KVS_CLEARS_ONE);
	ck_assert_uint_eq(scene_match(store, &request, 1, 1, &lent, &next), 0);
	ck_assert_int_eq(next, KVSHM_NEXT_MISSING);
	ck_assert_uint_eq(unit_pins(store, &held), 1);
}
END_TEST

START_TEST(R01_asking_again_for_what_is_being_filled_gives_the_same_hold)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle theirs = unit_begin(other, 1), own = scene_begin(store, &request, 2);

	for (int i = 0; i < 3; i++) {
		(void)scene_pending(store, &request, 1);
		(void)scene_pending(store, &request, 2); /* its own: told so */
	}
	ck_assert_uint_eq(scene_pins(store), 1);
	ck_assert_uint_eq(scene_refs(store), 2); /* the two writers' */
	scene_publish(store, &own, 2);
	unit_write(other, &theirs, 1);
	ck_rc(kvshm_publish(other, &theirs, NULL), 0);
	for (int i = 0; i < 3; i++) {
		(void)scene_ready(store, &request, 1);
		(void)scene_ready(store, &request, 2);
	}
	ck_assert_uint_eq(scene_pins(store), 2);
	scene_end(store, &request);
	ck_assert_uint_eq(scene_pins(store), 0);
}
END_TEST

#define REQUESTS 10000U
#define AT_ONCE 4U
#define PREFIX 8U
#define OWN 4U

static void shares_a_prefix(kvshm_store *store, struct kvshm_request *request, uint64_t id)
{
	struct kvshm_handle lent[PREFIX];
	enum kvshm_next next;
	size_t ready;

	*request = scene_open(store, id, PREFIX + OWN);
	ready = scene_match(store, request, 0, PREFIX, lent, &next);
	for (uint64_t i = ready; i < PREFIX; i++)
		(void)scene_fill(store, request, i);
	ck_assert(id < AT_ONCE || ready == PREFIX);
	ck_assert_uint_eq(scene_match(store, request, 0, PREFIX, lent, &next), PREFIX); /* and asks again */
	for (uint64_t i = 0; i < OWN; i++)
		(void)scene_fill(store, request, 1000 + id * OWN + i);
	ck_rc(kvshm_request_complete(store, request, 0), 0);
}

static void many_share_a_prefix(enum kvshm_retain retain)
{
	struct kvshm_create_options options = unit_options(64);
	struct kvshm_request requests[AT_ONCE];
	kvshm_store *stores[2];

	options.retain = retain;
	options.block_size = 512;
	options.size = UINT64_C(64) * 512;
	stores[0] = unit_make(&options);
	stores[1] = unit_attach();
	for (uint64_t id = 0; id < REQUESTS + AT_ONCE; id++) {
		if (id >= AT_ONCE)
			scene_end(stores[id % 2], &requests[id % AT_ONCE]);
		if (id < REQUESTS)
			shares_a_prefix(stores[id % 2], &requests[id % AT_ONCE], id);
	}
	scene_nothing_left(stores[0]);
}

START_TEST(R01_10000_requests_that_share_a_prefix_run_through_a_store_of_64_blocks)
{
	many_share_a_prefix(KVSHM_KEEP);
}
END_TEST

START_TEST(R01_10000_requests_that_share_a_prefix_run_through_a_drop_store_of_64_blocks)
{
	many_share_a_prefix(KVSHM_DROP);
}
END_TEST

static void first_request_ends(kvshm_store *store, kvshm_store *other)
{
	struct kvshm_request first = scene_open(store, 1, 1), second = scene_open(other, 2, 1);
	struct kvshm_handle promised;

	(void)scene_fill(store, &first, 1);
	promised = scene_ready(other, &second, 1);
	scene_end(store, &first);
	thrash(store);
	unit_verify(other, &promised, 1);
	ck_rc(kvshm_request_complete(other, &second, 0), 0);
	scene_end(other, &second);
	scene_nothing_left(store);
}

START_TEST(R02_a_deduplicated_key_is_held_for_the_request_that_was_told)
{
	kvshm_store *store = scene_store(BLOCKS, KVSHM_DROP, 8);

	first_request_ends(store, unit_attach());
}
END_TEST

START_TEST(R02_also_where_both_requests_are_one_clients)
{
	kvshm_store *store = scene_store(BLOCKS, KVSHM_DROP, 8);

	first_request_ends(store, store);
}
END_TEST

START_TEST(R02_a_key_that_was_promised_while_it_was_filled_is_held)
{
	kvshm_store *store = scene_store(BLOCKS, KVSHM_DROP, 8), *other = unit_attach();
	struct kvshm_request first = scene_open(store, 1, 1), second = scene_open(other, 2, 1);
	struct kvshm_handle fill = scene_begin(store, &first, 1), promised = scene_pending(other, &second, 1);

	scene_publish(store, &fill, 1);
	scene_end(store, &first);
	thrash(store);
	ck_rc(kvshm_request_complete(other, &second, 0), 0);
	unit_verify(other, &promised, 1);
	scene_end(other, &second);
	ck_assert_uint_eq(scene_idle(store), BLOCKS);
}
END_TEST

START_TEST(R05_publishing_twice_changes_nothing_of_what_is_there)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 1);
	struct kvshm_handle fill = scene_begin(store, &request, 1), copy = fill, owned;
	const struct kvshm_meta meta = {.length = 7, .depth = 9};
	enum kvshm_published published;
	struct kvshm_meta told;

	scene_publish(store, &fill, 1);
	ck_rc(kvshm_publish(store, &copy, &meta), -EBADF);
	ck_rc(kvshm_give_up(store, &copy), -EBADF);
	owned = unit_own(other, 1);
	ck_rc(unit_publish_as(other, &owned, 1, &published), 0);
	ck_assert_int_eq(published, KVSHM_DUPLICATE);
	ck_assert_uint_eq(owned.block, fill.block);
	ck_rc(kvshm_get_meta(store, &fill, &told), 0);
	ck_assert_uint_eq(told.length, store->map.g.block_size);
	unit_verify(store, &fill, 1);
	ck_assert_uint_eq(scene_idle(store), BLOCKS - 1); /* the second's block went back */
	ck_assert_uint_eq(unit_pins(store, &fill), 1);
}
END_TEST

/* Fills a key between two steps of another's get-or-fill: it was missing, and a block was taken for it. */
static kvshm_store *filler;
static struct kvshm_handle *begun; /* NULL: it publishes, too */
void __real_kvs_table_begin(const struct kvs_actor *actor, bool shared, struct kvs_found *mine);
void __wrap_kvs_table_begin(const struct kvs_actor *actor, bool shared, struct kvs_found *mine);

void __wrap_kvs_table_begin(const struct kvs_actor *actor, bool shared, struct kvs_found *mine)
{
	kvshm_store *other = filler;

	filler = NULL;
	if (other && begun)
		*begun = unit_begin(other, 1);
	else if (other)
		unit_put(other, 1);
	__real_kvs_table_begin(actor, shared, mine);
}

START_TEST(R05_of_two_that_fill_at_once_the_seconds_block_goes_back_and_its_room_is_one_less)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 2);
	struct kvshm_handle lent;

	ck_rc(kvshm_request_reserve(store, &request, 2, 0), 0);
	filler = other;
	lent = scene_ready(store, &request, 1);
	ck_assert_ptr_null(filler);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_fill_races), 1);
	ck_assert_uint_eq(unit_pins(store, &lent), 1);
	unit_verify(store, &lent, 1);
	ck_assert_uint_eq(unit_count(store, KVS_ROOM), 1); /* for the other key */
	(void)scene_fill(store, &request, 2);
	ck_assert_uint_eq(unit_count(store, KVS_ROOM), 0);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	scene_end(store, &request);
	scene_nothing_left(store);
}
END_TEST

START_TEST(R06_the_end_of_one_that_was_late_with_a_fill_leaves_the_others_fill)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 1);
	struct kvshm_handle fill = {.kind = KVSHM_NONE};

	ck_rc(kvshm_request_reserve(store, &request, 1, 0), 0);
	filler = other;
	begun = &fill;
	(void)scene_pending(store, &request, 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_fill_races), 1);
	scene_end(store, &request);
	ck_rc(kvshm_publish(other, &fill, NULL), 0);
	ck_assert(unit_has(store, 1));
}
END_TEST

/* The same where no block is to be had by then. */
int __real_kvs_alloc(const struct kvs_actor *actor, uint32_t *block);
int __wrap_kvs_alloc(const struct kvs_actor *actor, uint32_t *block);
static kvshm_store *takes_the_last;

int __wrap_kvs_alloc(const struct kvs_actor *actor, uint32_t *block)
{
	kvshm_store *other = takes_the_last;

	if (!other)
		return __real_kvs_alloc(actor, block);
	takes_the_last = NULL;
	unit_put(other, 1);
	return -ENOSPC;
}

START_TEST(a_key_that_came_while_there_was_no_room_for_it_is_found)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 1);
	struct kvshm_handle lent;

	takes_the_last = other;
	lent = scene_ready(store, &request, 1);
	unit_verify(store, &lent, 1);
}
END_TEST

START_TEST(R06_what_one_request_lets_go_of_stays_readable_for_another)
{
	kvshm_store *store = scene_store(BLOCKS, KVSHM_DROP, 8), *other = unit_attach();
	struct kvshm_request first = scene_open(store, 1, 0), second = scene_open(other, 2, 0),
			     third = scene_open(store, 3, 0);
	struct kvshm_handle one = scene_fill(store, &first, 1), two = scene_ready(other, &second, 1),
			    three = scene_ready(store, &third, 1), copy = one;

	ck_rc(kvshm_request_release(store, &first, &one, 1), 0);
	ck_assert_uint_eq(one.kind, KVSHM_NONE);
	ck_rc(kvshm_request_release(store, &first, &copy, 1), 0); /* no hold of its any more */
	thrash(store);
	unit_verify(other, &two, 1);
	unit_verify(store, &three, 1);
	ck_assert_uint_eq(unit_pins(store, &two), 2);
	scene_end(store, &third);
	unit_verify(other, &two, 1);
	ck_rc(kvshm_request_release(other, &second, &two, 1), 0);
	ck_assert_uint_eq(scene_idle(store), BLOCKS);
}
END_TEST

START_TEST(R07_a_key_whose_fill_is_under_way_is_not_given_out_as_present)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request first = scene_open(store, 1, 1), second = scene_open(other, 2, 1);
	struct kvshm_handle fill = scene_begin(store, &first, 2), lent[2], ref;
	enum kvshm_next next;

	unit_put(store, 1);
	ck_assert_uint_eq(scene_match(other, &second, 1, 2, lent, &next), 1);
	ck_assert_int_eq(next, KVSHM_NEXT_FILLING);
	ck_rc(unit_get(other, 2, &ref), -EAGAIN);
	lent[1] = scene_pending(other, &second, 2);
	ck_rc(kvshm_get_meta(other, &lent[1], &(struct kvshm_meta){0}), -EAGAIN);
	ck_rc(kvshm_request_complete(other, &second, 0), -ETIMEDOUT);
	ck_rc(kvshm_give_up(store, &fill), 0);
	ck_rc(kvshm_request_complete(other, &second, 0), -EAGAIN);
	(void)scene_fill(other, &second, 2); /* asks again, and fills it itself */
	ck_rc(kvshm_request_complete(other, &second, 0), 0);
	ck_assert_uint_eq(scene_match(store, &first, 2, 1, lent, &next), 1);
}
END_TEST

START_TEST(B1_what_a_request_holds_is_not_reused)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle filled = scene_fill(store, &request, 1), matched;
	enum kvshm_next next;

	unit_put(other, 2);
	ck_assert_uint_eq(scene_match(store, &request, 2, 1, &matched, &next), 1);
	thrash(other);
	unit_verify(store, &filled, 1);
	unit_verify(store, &matched, 2);
	scene_end(store, &request);
	thrash(other);
	ck_assert(!unit_has(other, 1) && !unit_has(other, 2));
}
END_TEST

START_TEST(a_lent_handle_is_used_like_any_and_ended_by_its_request_only)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle lent = scene_fill(store, &request, 1), copy = lent, pin, ref;
	struct kvshm_ticket ticket;
	enum kvshm_published published;

	ck_rc(kvshm_release(store, &copy), -EBUSY);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "kvshm_request_release"));
	ck_rc(kvshm_unpin(store, &copy), -EBUSY);
	ck_rc(kvshm_publish(store, &copy, NULL), -EBADF);
	ck_rc(kvshm_give_up(store, &copy), -EBADF);
	ck_rc(unit_publish_as(store, &copy, 2, &published), -EBADF);
	ck_assert(copy.kind == KVSHM_LENT && copy.block == lent.block && copy.life == lent.life);
	ck_assert_uint_eq(unit_pins(store, &lent), 1);
	ticket = unit_ticket(store, &lent);
	ref = unit_hold(other, &ticket);
	ck_rc(kvshm_pin(store, &lent, &pin), 0);
	ck_assert_uint_eq(unit_pins(store, &lent), 2);
	scene_end(store, &request);
	unit_verify(store, &pin, 1); /* a hold of its own */
	ck_rc(kvshm_unpin(store, &pin), 0);
	ck_rc(kvshm_get_ticket(store, &lent, &ticket), -EBADF);
	unit_verify(other, &ref, 1);
}
END_TEST

START_TEST(a_request_lets_go_of_its_own_lent_handles_and_of_no_others)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = scene_open(store, 1, 0), other = scene_open(store, 2, 0);
	struct kvshm_handle handles[5], kept, copy;

	handles[0] = scene_fill(store, &request, 1);
	handles[1] = unit_fill(store, 2, 0);	      /* a ref */
	handles[2] = scene_fill(store, &other, 3);    /* another request's */
	kept = scene_ready(store, &request, 3);	      /* of a block that this one has, too */
	handles[3] = scene_begin(store, &request, 4); /* a fill */
	handles[4] = (struct kvshm_handle){.kind = KVSHM_NONE};
	copy = handles[0];
	ck_rc(kvshm_request_release(store, &request, handles, 5), 0);
	ck_assert_uint_eq(handles[0].kind, KVSHM_NONE);
	handles[0] = copy; /* of a hold that has ended; as one of another store's would be */
	ck_rc(kvshm_request_release(store, &request, handles, 5), 0);
	ck_assert_mem_eq(&handles[0], &copy, sizeof(copy));
	ck_assert_uint_eq(handles[1].kind, KVSHM_REF);
	ck_assert_uint_eq(handles[2].kind, KVSHM_LENT);
	ck_assert_uint_eq(handles[3].kind, KVSHM_WRITER);
	ck_assert_uint_eq(unit_pins(store, &kept), 2);
	ck_assert_uint_eq(scene_pins(store), 2);
	ck_rc(kvshm_request_release(store, &request, NULL, 1), -EINVAL);
	ck_rc(kvshm_request_release(store, &request, NULL, 0), 0);
	scene_publish(store, &handles[3], 4);
}
END_TEST

START_TEST(keep_lets_go_of_all_holds_of_the_request_but_these)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = scene_open(store, 1, 0), other = scene_open(store, 2, 0);
	struct kvshm_handle lent[4], stale, mixed[4];
	enum kvshm_next next;

	for (uint64_t i = 0; i < 4; i++)
		unit_put(store, i);
	ck_assert_uint_eq(scene_match(store, &request, 0, 4, lent, &next), 4);
	(void)scene_ready(store, &other, 3);
	stale = lent[3];
	stale.life -= 2;
	mixed[0] = lent[0];
	mixed[1] = (struct kvshm_handle){.kind = KVSHM_NONE};
	mixed[2] = lent[2];
	mixed[3] = stale;
	ck_rc(kvshm_request_keep(store, &request, mixed, 4), 0);
	ck_assert_uint_eq(scene_pins(store), 3);
	ck_assert_uint_eq(unit_pins(store, &lent[0]), 1);
	ck_assert_uint_eq(unit_pins(store, &lent[1]), 0);
	ck_assert_uint_eq(unit_pins(store, &lent[2]), 1);
	ck_assert_uint_eq(unit_pins(store, &lent[3]), 1); /* the other's */
	ck_rc(kvshm_wait(store, &lent[1], 0), -EBADF);
	ck_rc(kvshm_request_keep(store, &request, lent + 2, 1), 0); /* what was kept before is not kept for ever */
	ck_assert_uint_eq(scene_pins(store), 2);
	ck_rc(kvshm_request_keep(store, &request, NULL, 1), -EINVAL);
	ck_assert_uint_eq(scene_pins(store), 2);
	ck_rc(kvshm_request_keep(store, &request, NULL, 0), 0);
	ck_assert_uint_eq(scene_pins(store), 1);
	ck_assert_uint_eq(scene_match(store, &request, 0, 4, lent, &next), 4); /* it may ask again */
	ck_assert_uint_eq(scene_pins(store), 5);
	scene_end(store, &request);
	scene_end(store, &other);
	scene_nothing_left(store);
}
END_TEST

START_TEST(keep_with_a_hold_of_another_request_lets_go_of_nothing)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = scene_open(store, 1, 0), other = scene_open(store, 2, 0);
	struct kvshm_handle mixed[3];

	mixed[0] = scene_fill(store, &request, 1);
	(void)scene_fill(store, &request, 2);
	mixed[1] = (struct kvshm_handle){.kind = KVSHM_NONE};
	mixed[2] = scene_ready(store, &other, 2); /* though of a block that this one has too */
	ck_rc(kvshm_request_keep(store, &request, mixed, 3), -EBADF);
	ck_assert_uint_eq(scene_pins(store), 3);
	ck_rc(kvshm_request_keep(store, &request, mixed, 2), 0);
	ck_assert_uint_eq(scene_pins(store), 2);
	ck_rc(kvshm_request_keep(store, &request, NULL, 0), 0); /* what was given in vain is not kept */
	ck_assert_uint_eq(scene_pins(store), 1);
}
END_TEST

START_TEST(keep_leaves_what_the_request_is_filling_and_not_what_others_are)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle theirs = unit_begin(other, 1), fill = scene_begin(store, &request, 2);
	uint32_t pending;

	(void)scene_pending(store, &request, 1);
	(void)scene_fill(store, &request, 3);
	ck_rc(kvshm_request_keep(store, &request, NULL, 0), 0);
	ck_assert_uint_eq(scene_pins(store), 0);
	ck_rc(kvshm_request_settle(store, &request, &pending), 0);
	ck_assert_uint_eq(pending, 1);
	scene_publish(store, &fill, 2);
	ck_assert_uint_eq(scene_pins(store), 1);
	ck_rc(kvshm_request_keep(store, &request, NULL, 0), 0);
	ck_assert_uint_eq(scene_pins(store), 0);
	scene_end(store, &request);
	ck_rc(kvshm_give_up(other, &theirs), 0);
	scene_nothing_left(store);
}
END_TEST

START_TEST(B2_an_old_lent_handle_ends_no_hold_of_the_blocks_next_life)
{
	kvshm_store *store = scene_store(1, KVSHM_DROP, 8);
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle old = scene_fill(store, &request, 1), copy = old, held;

	ck_rc(kvshm_request_release(store, &request, &old, 1), 0);
	held = scene_fill(store, &request, 2);
	ck_assert(held.block == copy.block && held.life != copy.life);
	ck_rc(kvshm_request_release(store, &request, &copy, 1), 0);
	ck_assert_uint_eq(unit_pins(store, &held), 1);
	unit_verify(store, &held, 2);
}
END_TEST

START_TEST(a_fill_of_a_requests_is_published_or_given_up_like_any)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle fill = scene_begin(store, &request, 1);
	const struct kvshm_meta large = {.length = store->map.g.block_size + 1};

	ck_rc(kvshm_release(store, &fill), -EBUSY);
	ck_rc(kvshm_publish(store, &fill, &large), -EINVAL);
	ck_assert_uint_eq(fill.kind, KVSHM_WRITER); /* stays */
	ck_rc(kvshm_give_up(store, &fill), 0);
	ck_assert_uint_eq(fill.kind, KVSHM_NONE);
	ck_assert(!unit_has(other, 1));
	fill = scene_begin(store, &request, 1);
	ck_rc(unit_remove(other, 1), 0);
	ck_rc(kvshm_publish(store, &fill, NULL), -ECANCELED);
	ck_assert_uint_eq(fill.kind, KVSHM_NONE);
	scene_nothing_left(store);
	(void)scene_fill(store, &request, 1);
	ck_assert(unit_has(other, 1));
	ck_assert_uint_eq(scene_pins(store), 1);
	ck_assert_uint_eq(scene_refs(store), 0);
	ck_rc(kvshm_request_complete(store, &request, 0), 0); /* no fill of its is under way */
}
END_TEST

START_TEST(a_request_keeps_through_a_clear_what_was_ready)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle others = unit_begin(store, 2), lent;

	(void)scene_fill(store, &request, 1);
	(void)scene_pending(store, &request, 2);
	ck_rc(kvshm_publish(store, &others, NULL), 0);
	lent = scene_ready(store, &request, 2); /* asked for again */
	ck_rc(kvshm_clear(store), 0);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	ck_rc(kvshm_get_meta(store, &lent, &(struct kvshm_meta){0}), 0);
	ck_assert_uint_eq(scene_pins(store), 2);
}
END_TEST

START_TEST(a_request_takes_its_hold_where_there_are_too_many_pins)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = scene_open(store, 1, 0), other = scene_open(store, 2, 0),
			     third = scene_open(store, 3, 0);
	struct kvshm_handle held = scene_fill(store, &request, 1), pin, lent, matched;
	enum kvshm_next next;

	for (int i = 1; i < 4095; i++)
		ck_rc(kvshm_pin(store, &held, &pin), 0);
	ck_rc(kvshm_pin(store, &held, &pin), -EMFILE);
	lent = scene_ready(store, &other, 1); /* a ref, then */
	ck_assert_uint_eq(unit_refs(store, &lent), 1);
	ck_assert_uint_eq(scene_match(store, &third, 1, 1, &matched, &next), 1);
	ck_assert_uint_eq(unit_refs(store, &lent), 2);
	ck_rc(kvshm_request_release(store, &third, &matched, 1), 0);
	ck_assert_uint_eq(unit_refs(store, &lent), 1);
	ck_rc(kvshm_release(store, &lent), -EBUSY);
	ck_rc(kvshm_request_release(store, &other, &lent, 1), 0);
	ck_assert_uint_eq(unit_refs(store, &held), 0);
	ck_assert_uint_eq(unit_pins(store, &held), 4095);
}
END_TEST

START_TEST(R24_each_key_of_a_batch_has_its_own_result)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 5);
	struct kvshm_key keys[6];
	enum kvshm_outcome outcomes[6];
	struct kvshm_handle handles[6];
	int results[6];

	unit_put(other, 0);
	(void)unit_begin(other, 1);
	memcpy(keys, scene_keys(0, 5), 5 * sizeof(keys[0])); /* ready, pending, missing, bad, missing, the one before */
	keys[3].length = store->map.g.key_max + 1;
	keys[5] = keys[4];
	ck_rc(kvshm_request_get_or_fill_batch(store, &request, keys, 6, outcomes, handles, results), 0);
	for (unsigned i = 0; i < 6; i++)
		ck_assert_int_eq(results[i], i == 3 ? -EINVAL : 0);
	ck_assert_uint_eq(handles[3].kind, KVSHM_NONE);
	ck_assert(outcomes[0] == KVSHM_READY && outcomes[1] == KVSHM_PENDING && outcomes[2] == KVSHM_FILL &&
		  outcomes[4] == KVSHM_FILL && outcomes[5] == KVSHM_PENDING);
	ck_assert_uint_eq(handles[5].block, handles[4].block);
	ck_assert_uint_eq(scene_pins(store), 2);
	ck_rc(kvshm_publish_batch(store, handles, NULL, 6, results), 0);
	for (unsigned i = 0; i < 6; i++)
		ck_assert_int_eq(results[i], i == 2 || i == 4 ? 0 : -EBADF);
	ck_assert_uint_eq(scene_pins(store), 4);
	ck_rc(kvshm_request_get_or_fill_batch(store, &request, NULL, 1, outcomes, handles, results), -EINVAL);
	ck_rc(kvshm_request_get_or_fill_batch(store, &request, keys, 1, NULL, handles, results), -EINVAL);
	ck_rc(kvshm_request_get_or_fill_batch(store, &request, keys, 1, outcomes, handles, NULL), -EINVAL);
	ck_rc(kvshm_request_get_or_fill_batch(store, &request, NULL, 0, NULL, NULL, NULL), 0);
	scene_end(store, &request);
	ck_assert_uint_eq(scene_pins(store), 0);
}
END_TEST

START_TEST(a_large_batch_is_held_whole_and_ends_whole)
{
	kvshm_store *store = unit_store(200);
	struct kvshm_request request = scene_open(store, 1, 200);
	enum kvshm_outcome outcomes[200];
	struct kvshm_handle handles[200];
	int results[200];
	enum kvshm_next next;

	ck_rc(kvshm_request_reserve(store, &request, 200, 0), 0);
	ck_rc(kvshm_request_get_or_fill_batch(store, &request, scene_keys(0, 200), 200, outcomes, handles, results), 0);
	ck_rc(kvshm_publish_batch(store, handles, NULL, 200, results), 0);
	for (unsigned i = 0; i < 200; i++)
		ck_rc(results[i], 0);
	ck_assert_uint_eq(scene_match(store, &request, 0, 200, handles, &next), 200);
	ck_assert_uint_eq(scene_pins(store), 200);
	ck_rc(kvshm_request_release(store, &request, handles + 50, 100), 0);
	ck_assert_uint_eq(scene_pins(store), 100);
	ck_assert_uint_eq(scene_match(store, &request, 0, 200, handles, &next), 200);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	scene_end(store, &request);
	scene_nothing_left(store);
}
END_TEST

START_TEST(a_match_passes_over_keys_that_are_not_asked_for_and_says_why_it_ended)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle lent[4] = {{.kind = 77}, {.kind = 77}, {.kind = 77}, {.kind = 77}};
	struct kvshm_key keys[4];
	enum kvshm_next next;
	size_t ready;

	unit_put(store, 0);
	unit_put(store, 2);
	memcpy(keys, scene_keys(0, 4), sizeof(keys));
	keys[1] = (struct kvshm_key){NULL, 0};
	ck_rc(kvshm_request_match(store, &request, keys, 4, lent, &ready, &next), 0);
	ck_assert_uint_eq(ready, 3);
	ck_assert_int_eq(next, KVSHM_NEXT_MISSING);
	ck_assert_uint_eq(lent[1].kind, KVSHM_NONE);
	ck_assert_uint_eq(scene_pins(store), 2);
	ck_rc(kvshm_request_match(store, &request, NULL, 0, NULL, &ready, &next), 0);
	ck_assert_uint_eq(ready, 0);
	ck_rc(kvshm_request_match(store, &request, NULL, 1, lent, &ready, &next), -EINVAL);
	ck_rc(kvshm_request_match(store, &request, keys, 4, NULL, &ready, &next), -EINVAL);
	ck_rc(kvshm_request_match(store, &request, keys, 4, lent, NULL, &next), -EINVAL);
	ck_rc(kvshm_request_match(store, &request, keys, 4, lent, &ready, NULL), -EINVAL);
}
END_TEST

START_TEST(a_match_leaves_handles_behind_its_end_as_they_are)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle lent[3];
	enum kvshm_next next;

	unit_put(store, 0);
	lent[1] = scene_begin(store, &request, 1);
	lent[2] = scene_begin(store, &request, 2);
	ck_assert_uint_eq(scene_match(store, &request, 0, 3, lent, &next), 1);
	ck_assert_int_eq(next, KVSHM_NEXT_FILLING);
	scene_publish(store, &lent[1], 1);
	scene_publish(store, &lent[2], 2);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	scene_end(store, &request);
	scene_nothing_left(store);
}
END_TEST

static struct kvshm_handle begin_shared(kvshm_store *store, const struct kvshm_request *request, uint64_t number)
{
	struct kvshm_handle handle;
	enum kvshm_outcome outcome;
	int result;

	ck_rc(kvshm_request_get_or_fill_shared_batch(store, request, scene_keys(number, 1), 1, &outcome, &handle,
						     &result),
	      0);
	ck_rc(result, 0);
	ck_assert_int_eq(outcome, KVSHM_FILL);
	return handle;
}

START_TEST(R27_a_shared_fill_of_a_requests_is_whole_when_all_its_planes_are)
{
	kvshm_store *store = unit_planes(2), *worker = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 1);
	struct kvshm_handle fill = begin_shared(store, &request, 1), parts[2];
	struct kvshm_ticket ticket = unit_ticket(store, &fill);

	parts[0] = unit_part(worker, &ticket, 0);
	parts[1] = unit_part(worker, &ticket, 1);
	ck_rc(kvshm_request_complete(store, &request, 0), -EBUSY);
	unit_end_part(worker, &parts[0], 1);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_assert_uint_eq(fill.kind, KVSHM_LENT);
	ck_rc(kvshm_request_complete(store, &request, 0), -ETIMEDOUT);
	unit_end_part(worker, &parts[1], 1);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	unit_verify(store, &fill, 1);
}
END_TEST

START_TEST(R27_a_shared_fill_of_a_requests_of_which_a_part_fails_is_asked_for_again)
{
	kvshm_store *store = unit_planes(1), *worker = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 1);
	struct kvshm_handle fill, part;
	struct kvshm_ticket ticket;

	ck_rc(kvshm_request_reserve(store, &request, 2, 0), 0);
	fill = begin_shared(store, &request, 1);
	ticket = unit_ticket(store, &fill);
	part = unit_part(worker, &ticket, 0);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_rc(kvshm_give_up(worker, &part), 0);
	ck_rc(kvshm_request_complete(store, &request, 0), -EAGAIN);
	ck_assert_uint_eq(scene_pins(store), 0);
	(void)scene_fill(store, &request, 1);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	scene_end(store, &request);
	scene_nothing_left(store);
}
END_TEST

START_TEST(R27_a_shared_fill_of_a_request_that_ends_before_it_is_whole_is_given_up)
{
	kvshm_store *store = unit_planes(2), *worker = unit_attach();
	struct kvshm_request first = scene_open(store, 1, 1), second = scene_open(store, 2, 1);
	struct kvshm_handle fill = begin_shared(store, &first, 1), part;
	struct kvshm_ticket ticket = unit_ticket(store, &fill);

	part = unit_part(worker, &ticket, 0);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	(void)scene_pending(store, &second, 1); /* of the same client, which so holds it on */
	scene_end(store, &first);
	ck_rc(kvshm_request_complete(store, &second, 0), -EAGAIN);
	ck_rc(kvshm_publish(worker, &part, NULL), -ECANCELED);
	(void)scene_fill(store, &second, 1);
	ck_rc(kvshm_request_complete(store, &second, 0), 0);
	scene_end(store, &second);
	scene_nothing_left(store);
}
END_TEST

START_TEST(R27_keep_leaves_a_shared_fill_that_others_write_and_lets_go_of_a_whole_one)
{
	kvshm_store *store = unit_planes(1), *worker = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle whole = begin_shared(store, &request, 1), written = begin_shared(store, &request, 2),
			    failed = begin_shared(store, &request, 3), parts[3];
	struct kvshm_handle *const fills[] = {&whole, &written, &failed};

	for (unsigned i = 0; i < 3; i++) {
		struct kvshm_ticket ticket = unit_ticket(store, fills[i]);

		parts[i] = unit_part(worker, &ticket, 0);
		ck_rc(kvshm_publish(store, fills[i], NULL), 0);
	}
	unit_end_part(worker, &parts[0], 1);
	ck_rc(kvshm_give_up(worker, &parts[2]), 0);
	ck_rc(kvshm_request_keep(store, &request, NULL, 0), 0);
	ck_assert_uint_eq(scene_pins(store), 1);
	unit_end_part(worker, &parts[1], 2); /* it was not given up */
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	unit_verify(store, &written, 2);
	ck_rc(unit_get(store, 1, &whole), 0); /* nor was this */
	ck_rc(kvshm_release(store, &whole), 0);
	ck_rc(kvshm_release(worker, &parts[0]), 0);
	ck_rc(kvshm_release(worker, &parts[1]), 0);
	scene_end(store, &request);
	scene_nothing_left(store);
}
END_TEST

START_TEST(R15_a_requests_last_block_that_is_not_full_keeps_its_true_length)
{
	kvshm_store *store = unit_store(BLOCKS), *receiver = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 2);
	struct kvshm_meta last = {.length = 1000, .depth = 1, .opaque = {42}}, none = {.length = 0}, meta;
	struct kvshm_handle fill = scene_begin(store, &request, 1), refs[2];
	int results[2];

	ck_rc(kvshm_publish(store, &fill, &last), 0);
	fill = scene_begin(store, &request, 2);
	ck_rc(kvshm_publish(store, &fill, &none), 0);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	ck_rc(kvshm_request_claim(receiver, &request, scene_keys(1, 2), 2, refs, results), 0);
	ck_rc(kvshm_request_end(store, &request), 0);
	ck_rc(kvshm_get_meta(receiver, &refs[0], &meta), 0);
	ck_assert(meta.length == 1000 && meta.depth == 1 && meta.opaque[0] == 42);
	ck_rc(kvshm_get_meta(receiver, &refs[1], &meta), 0);
	ck_assert_uint_eq(meta.length, 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R01_asking_again_gives_the_same_holds_and_not_more,
		a_match_asked_again_counts_nothing,
		C2_a_match_asked_again_does_not_find_what_was_removed,
		R28_a_match_asked_again_does_not_find_what_was_cleared,
		R01_asking_again_for_what_is_being_filled_gives_the_same_hold,
		R01_10000_requests_that_share_a_prefix_run_through_a_store_of_64_blocks,
		R01_10000_requests_that_share_a_prefix_run_through_a_drop_store_of_64_blocks,
		R02_a_deduplicated_key_is_held_for_the_request_that_was_told,
		R02_also_where_both_requests_are_one_clients,
		R02_a_key_that_was_promised_while_it_was_filled_is_held,
		R05_publishing_twice_changes_nothing_of_what_is_there,
		R05_of_two_that_fill_at_once_the_seconds_block_goes_back_and_its_room_is_one_less,
		R06_the_end_of_one_that_was_late_with_a_fill_leaves_the_others_fill,
		a_key_that_came_while_there_was_no_room_for_it_is_found,
		R06_what_one_request_lets_go_of_stays_readable_for_another,
		R07_a_key_whose_fill_is_under_way_is_not_given_out_as_present,
		B1_what_a_request_holds_is_not_reused,
		a_lent_handle_is_used_like_any_and_ended_by_its_request_only,
		a_request_lets_go_of_its_own_lent_handles_and_of_no_others,
		keep_lets_go_of_all_holds_of_the_request_but_these,
		keep_with_a_hold_of_another_request_lets_go_of_nothing,
		keep_leaves_what_the_request_is_filling_and_not_what_others_are,
		R27_keep_leaves_a_shared_fill_that_others_write_and_lets_go_of_a_whole_one,
		B2_an_old_lent_handle_ends_no_hold_of_the_blocks_next_life,
		a_fill_of_a_requests_is_published_or_given_up_like_any,
		a_request_keeps_through_a_clear_what_was_ready,
		a_request_takes_its_hold_where_there_are_too_many_pins,
		R24_each_key_of_a_batch_has_its_own_result,
		a_large_batch_is_held_whole_and_ends_whole,
		a_match_passes_over_keys_that_are_not_asked_for_and_says_why_it_ended,
		a_match_leaves_handles_behind_its_end_as_they_are,
		R27_a_shared_fill_of_a_requests_is_whole_when_all_its_planes_are,
		R27_a_shared_fill_of_a_requests_of_which_a_part_fails_is_asked_for_again,
		R27_a_shared_fill_of_a_request_that_ends_before_it_is_whole_is_given_up,
		R15_a_requests_last_block_that_is_not_full_keeps_its_true_length,
	};

	return unit_run("request_holds", tests, sizeof(tests) / sizeof(tests[0]));
}
