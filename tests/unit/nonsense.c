/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * nonsense: wild bytes in the segment lead to an error code and a counter, never to a crash, an access outside of the
 * mapping, or an endless loop (F1). libcheck ends a test that does not end.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "index.h"
#include "part.h"

static kvshm_store *damaged_store(uint32_t blocks)
{
	kvshm_store *store = unit_store(blocks);

	for (uint64_t i = 0; i < blocks; i++)
		unit_put(store, i);
	unit_damaged();
	return store;
}

/* What a call may say of a damaged store. */
static void is_an_answer(int rc, const char *call)
{
	static const int allowed[] = {0,       -ENOENT,     -EAGAIN,    -EUCLEAN,   -ENOSPC, -ECANCELED, -EOVERFLOW,
				      -EALREADY, -ETIMEDOUT, -EBADF,     -EMFILE,    -EUSERS, -ESTALE,    -EBUSY,
				      -EOPNOTSUPP};
	bool known = false;

	for (unsigned i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		known |= rc == allowed[i];
	ck_assert_msg(known, "%s: %d: %s", call, rc, kvshm_error());
}
#define ANSWERS(call) is_an_answer(call, #call)

/* A block without a key, its key, and its end. */
static void own_and_publish(kvshm_store *store, uint64_t number)
{
	enum kvshm_published published;
	struct kvshm_handle owned;
	int rc = kvshm_alloc(store, &owned);

	is_an_answer(rc, "alloc");
	if (rc)
		return;
	rc = number % 2 ? unit_publish_as(store, &owned, number, &published) : -EAGAIN;
	is_an_answer(rc, "publish_as");
	if (rc == 0)
		ANSWERS(kvshm_release(store, &owned));
	else if (owned.kind)
		ANSWERS(kvshm_give_up(store, &owned));
}

/* A shared fill, by ticket. */
static void fill_shared(kvshm_store *store, uint64_t number)
{
	struct kvshm_handle handle, part, ref;
	enum kvshm_outcome outcome;
	struct kvshm_ticket ticket;
	uint8_t key[UNIT_KEY];
	int rc;

	unit_key(number, key);
	rc = kvshm_get_or_fill_shared(store, key, sizeof(key), &outcome, &handle);
	is_an_answer(rc, "get_or_fill_shared");
	if (rc)
		return;
	if (kvshm_get_ticket(store, &handle, &ticket) == 0) {
		rc = kvshm_hold(store, &ticket, &outcome, &ref);
		is_an_answer(rc, "hold");
		if (rc == 0)
			ANSWERS(kvshm_wait(store, &ref, 0));
		if (rc == 0 && ref.kind)
			ANSWERS(kvshm_release(store, &ref));
		rc = kvshm_join(store, &ticket, 0, &part);
		is_an_answer(rc, "join");
		if (rc == 0)
			ANSWERS(number % 3 ? kvshm_publish(store, &part, NULL) : kvshm_give_up(store, &part));
		if (rc == 0 && part.kind == KVSHM_REF)
			ANSWERS(kvshm_release(store, &part));
	}
	if (handle.kind == KVSHM_WRITER)
		ANSWERS(kvshm_publish(store, &handle, NULL));
	if (handle.kind == KVSHM_WRITER)
		ANSWERS(kvshm_give_up(store, &handle));
	else if (handle.kind == KVSHM_REF)
		ANSWERS(kvshm_release(store, &handle));
}

/* Many keys at once: windows, and batches. */
static void ask_for_many(kvshm_store *store)
{
	uint8_t bytes[40][UNIT_KEY];
	struct kvshm_key keys[40];
	struct kvshm_handle refs[40];
	enum kvshm_outcome outcomes[40];
	struct kvshm_meta metas[40];
	enum kvshm_next next;
	int results[40];
	size_t ready;
	int rc;

	for (uint64_t i = 0; i < 40; i++) {
		unit_key(i, bytes[i]);
		keys[i] = (struct kvshm_key){bytes[i], UNIT_KEY};
	}
	rc = kvshm_match_window(store, keys, 40, 3, refs, &ready, &next);
	is_an_answer(rc, "match_window");
	if (rc == 0) {
		ck_assert_uint_le(ready, 40);
		ANSWERS(kvshm_release_batch(store, refs, ready, results));
	}
	ANSWERS(kvshm_touch_batch(store, keys, 40, results));
	ANSWERS(kvshm_get_or_fill_batch(store, keys, 40, outcomes, refs, results));
	for (unsigned i = 0; i < 40; i++)
		is_an_answer(results[i], "an item of get_or_fill_batch");
	ANSWERS(kvshm_get_meta_batch(store, refs, 40, metas, results));
	ANSWERS(kvshm_wait_batch(store, refs, 40, 0, results));
	ANSWERS(kvshm_publish_batch(store, refs, NULL, 40, results));
	for (unsigned i = 0; i < 40; i++)
		is_an_answer(results[i], "an item of publish_batch");
	ANSWERS(kvshm_release_batch(store, refs, 40, results));
	ANSWERS(kvshm_give_up_batch(store, refs, 40, results));
}

/* The calls that came later, on some keys; whatever they say, they return. */
static void make_more_calls(kvshm_store *store, uint64_t keys)
{
	for (uint64_t i = 0; i < keys; i++) {
		own_and_publish(store, i);
		fill_shared(store, i);
	}
	ask_for_many(store);
	ANSWERS(kvshm_clear(store));
}

/* All calls on some keys; whatever they say, they return. */
static void make_calls(kvshm_store *store, uint64_t keys)
{
	for (uint64_t i = 0; i < keys; i++) {
		struct kvshm_handle handle = {.kind = KVSHM_NONE}, pin;
		enum kvshm_outcome outcome;
		struct kvshm_meta meta;
		int rc[8] = {0};

		rc[0] = unit_ask(store, i, &outcome, &handle);
		if (rc[0] == 0) {
			void *address;

			if (kvshm_address(store, &handle, 0, &address) == 0)
				memset(address, 1, store->map.g.block_size);
			rc[1] = outcome == KVSHM_FILL ? kvshm_publish(store, &handle, NULL) : 0;
			rc[2] = outcome == KVSHM_PENDING ? kvshm_wait(store, &handle, 0) : 0;
			rc[3] = kvshm_get_meta(store, &handle, &meta);
			rc[4] = kvshm_pin(store, &handle, &pin);
			rc[5] = rc[4] == 0 ? kvshm_unpin(store, &pin) : 0;
			rc[6] = handle.kind == KVSHM_WRITER ? kvshm_give_up(store, &handle)
							    : kvshm_release(store, &handle);
		}
		rc[7] = i % 3 ? 0 : unit_remove(store, i);
		for (unsigned n = 0; n < 8; n++)
			is_an_answer(rc[n], "a call");
	}
	make_more_calls(store, keys / 4);
}

static _Atomic uint32_t *bucket_of(kvshm_store *store, uint64_t number)
{
	uint8_t key[UNIT_KEY];

	unit_key(number, key);
	return kvs_index_bucket(&store->map, kvs_index_hash(&store->map, key, UNIT_KEY));
}

START_TEST(F1_a_cycle_in_a_chain_is_EUCLEAN_and_counted)
{
	kvshm_store *store = damaged_store(16);
	struct kvshm_handle ref;
	enum kvshm_outcome outcome;

	atomic_store(bucket_of(store, 777), kvs_link_to(3));
	atomic_store(&kvs_block(&store->map, 3)->next, kvs_link_to(5));
	atomic_store(&kvs_block(&store->map, 5)->next, kvs_link_to(3));
	ck_rc(unit_get(store, 777, &ref), -EUCLEAN);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "kvshm-check"));
	ck_rc(unit_ask(store, 777, &outcome, &ref), -EUCLEAN);
	ck_rc(unit_remove(store, 777), -EUCLEAN);
	ck_assert_uint_ge(unit_counter(store, KVS_COUNT_nonsense), 3);
	make_calls(store, 50);
}
END_TEST

START_TEST(F1_a_link_to_no_block_is_EUCLEAN_and_counted)
{
	static const uint32_t wild[] = {16, 17, 1U << 29, (UINT32_MAX >> 1) - 1};
	kvshm_store *store = damaged_store(16);
	struct kvshm_handle ref;

	for (unsigned i = 0; i < sizeof(wild) / sizeof(wild[0]); i++) {
		atomic_store(bucket_of(store, 777), kvs_link_to(wild[i]));
		ck_rc(unit_get(store, 777, &ref), -EUCLEAN);
		ck_assert_uint_eq(unit_counter(store, KVS_COUNT_nonsense), i + 1);
	}
	make_calls(store, 50);
}
END_TEST

START_TEST(F1_a_failed_search_leaves_no_block_behind)
{
	kvshm_store *store = unit_store(16);
	enum kvshm_outcome outcome;
	struct kvshm_handle handle;
	_Atomic uint32_t *bucket = bucket_of(store, 777);

	atomic_store(bucket, kvs_link_to(1U << 29));
	for (int i = 0; i < 100; i++)
		ck_rc(unit_ask(store, 777, &outcome, &handle), -EUCLEAN);
	atomic_store(bucket, KVS_LINK_END);
	for (uint64_t i = 0; i < 16; i++)
		(void)unit_fill(store, i, 0);
}
END_TEST

START_TEST(F1_states_that_do_not_exist_are_no_hits_and_counted)
{
	kvshm_store *store = damaged_store(16);
	struct kvshm_handle ref = unit_fill(store, 100, 0), again;
	struct kvshm_ticket ticket = unit_ticket(store, &ref);
	enum kvshm_outcome outcome;
	uint64_t met = 0;

	for (unsigned state = KVS_STATES; state < 16; state++) {
		_Atomic uint64_t *word = &kvs_block(&store->map, ref.block)->word;
		uint64_t before = atomic_load(word);

		atomic_store(word, (before & ~UINT64_C(15)) | state);
		ck_rc(unit_get(store, 100, &again), -ENOENT);
		ck_assert_uint_eq(unit_counter(store, KVS_COUNT_nonsense), ++met);
		ck_rc(kvshm_hold(store, &ticket, &outcome, &again), -ENOENT);
		ck_assert_uint_eq(unit_counter(store, KVS_COUNT_nonsense), ++met);
		atomic_store(word, before);
	}
	ck_rc(unit_get(store, 100, &again), 0);
	ck_assert_uint_eq(unit_refs(store, &ref), 2);
}
END_TEST

START_TEST(F1_a_removal_that_meets_a_broken_chain_is_counted)
{
	kvshm_store *store = damaged_store(16);

	atomic_store(bucket_of(store, 5), kvs_link_to(1U << 29));
	ck_rc(kvshm_clear(store), 0); /* which goes by number, and so comes to removing it */
	ck_assert_uint_ge(unit_counter(store, KVS_COUNT_nonsense), 1);
}
END_TEST

START_TEST(F1_a_head_that_names_other_files_leaves_no_plane_behind)
{
	kvshm_store *store = damaged_store(16);

	memset(&store->map.head->planes, 0x55, sizeof(store->map.head->planes));
	ck_rc(kvshm_destroy(unit_owner), 0);
	unit_owner = NULL;
	ck_assert_int_eq(access(unit_path(0), F_OK), -1);
	ck_assert_int_eq(access(unit_path(-1), F_OK), -1);
}
END_TEST

START_TEST(F1_a_fill_of_a_client_that_cannot_exist_is_waited_for_until_the_deadline_only)
{
	kvshm_store *store = damaged_store(16);
	struct kvshm_handle fill = unit_begin(store, 100), ref;
	_Atomic uint64_t *word = &kvs_block(&store->map, fill.block)->word;
	uint32_t slot = 8 + 50 * sizeof(struct kvs_reader) / sizeof(struct kvs_client); /* an unused reader slot */
	enum kvshm_outcome outcome;

	/* Where that client's slot would be, it says that there is one; its row would lie outside of the mapping. */
	atomic_store(&store->map.clients[slot].word, KVS_SLOT_LIVE);
	atomic_store(word, kvs_word_next(atomic_load(word), KVS_FILLING, slot));
	ck_rc(unit_ask(store, 100, &outcome, &ref), 0);
	ck_assert_int_eq(outcome, KVSHM_PENDING);
	ck_rc(kvshm_wait(store, &ref, unit_in_ms(25)), -ETIMEDOUT);
	ck_rc(kvshm_publish(store, &fill, NULL), -EBADF);
	ck_rc(kvshm_recover(store, NULL), 0);
}
END_TEST

START_TEST(F1_a_length_beyond_the_block_is_EUCLEAN)
{
	kvshm_store *store = damaged_store(16);
	struct kvshm_handle ref;
	struct kvshm_meta meta;

	ck_rc(unit_get(store, 1, &ref), 0);
	store->map.infos[ref.block].length = 4097;
	ck_rc(kvshm_get_meta(store, &ref, &meta), -EUCLEAN); /* who believed it would read the next block's bytes */
	store->map.infos[ref.block].length = UINT64_MAX;
	ck_rc(kvshm_get_meta(store, &ref, &meta), -EUCLEAN);
}
END_TEST

START_TEST(F1_client_words_of_nonsense_do_no_harm)
{
	kvshm_store *store = damaged_store(16), *other;

	for (uint32_t slot = 1; slot < 8; slot++) {
		atomic_store(&store->map.clients[slot].word, UINT64_MAX - slot % 4);
		memset(store->map.clients[slot].name, 'x', sizeof(store->map.clients[slot].name));
	}
	ck_assert_int_ge(kvshm_recover(store, NULL), 0);
	make_calls(store, 50);
	if (kvshm_attach(unit_name(), NULL, &other) == 0)
		ck_rc(kvshm_detach(other), 0);
}
END_TEST

START_TEST(F1_reader_words_of_nonsense_do_no_harm)
{
	kvshm_store *store = damaged_store(16);

	for (uint32_t i = 8; i < store->map.g.readers; i++) {
		atomic_store(&store->map.readers[i].epoch, UINT64_MAX - i);
		atomic_store(&store->map.readers[i].owner, UINT32_MAX - i);
	}
	atomic_store(&store->map.head->readers_top, UINT32_MAX);
	make_calls(store, 50);
	ck_assert_int_ge(kvshm_recover(store, NULL), 0);
}
END_TEST

/* A part of the segment that random bytes are written to, while calls are made. */
struct part {
	uint64_t at, size;
};

static void scribble(kvshm_store *store, const struct part *part, unsigned *seed)
{
	unsigned char *base = (unsigned char *)store->map.head;

	for (int n = 0; n < 8; n++) {
		uint64_t at = part->at + ((uint64_t)rand_r(seed) << 16 ^ (uint64_t)rand_r(seed)) % part->size;

		base[at] = (unsigned char)(rand_r(seed) >> 4);
	}
}

START_TEST(F1_random_bytes_anywhere_end_no_process)
{
	unsigned seed = (unsigned)time(NULL), first = seed;
	kvshm_store *store = damaged_store(64);
	const struct kvs_geometry *g = &store->map.g;
	const struct part parts[] = {
		{offsetof(struct kvs_head, readers_top), sizeof(uint32_t) + sizeof(uint64_t)},
		{offsetof(struct kvs_head, floor), sizeof(uint64_t)},
		{offsetof(struct kvs_head, free_hand), sizeof(struct kvs_head) - offsetof(struct kvs_head, free_hand)},
		{g->clients_at + sizeof(struct kvs_client), (g->clients - 1) * sizeof(struct kvs_client)},
		{g->hints_at, 8},
		{g->buckets_at, g->buckets * UINT64_C(4)},
		{g->blocks_at, g->blocks * sizeof(struct kvs_block)},
		{g->tails_at, g->infos_at - g->tails_at},
		{g->infos_at, g->blocks * sizeof(struct kvs_block_info)},
		{g->rows_at, g->blocks * UINT64_C(8)},
	};

	enum { PARTS = sizeof(parts) / sizeof(parts[0]) };

	printf("# seed %u\n", first);
	for (int round = 0; round < 400; round++) {
		if (parts[round % PARTS].size)
			scribble(store, &parts[round % PARTS], &seed);
		if (round % PARTS == 2) /* else all is cleared from then on, and nothing is found any more */
			atomic_store(&store->map.head->floor, 0);
		make_calls(store, 30);
		if (round % 20 == 0) {
			kvshm_store *other;

			(void)kvshm_recover(store, NULL);
			if (kvshm_attach(unit_name(), NULL, &other) == 0) {
				make_calls(other, 10);
				(void)kvshm_detach(other);
			}
		}
	}
}
END_TEST

static int walk_block(const struct kvshm_block_info *block, void *arg)
{
	ck_assert_uint_le(block->key_length, KVSHM_KEY_MAX);
	ck_assert(block->owner < 8 || block->owner == KVSHM_NO_SLOT);
	ck_assert_uint_gt(strlen(block->state), 0);
	return (int)(block->block >= *(uint32_t *)arg);
}

static int walk_client(const struct kvshm_client_info *client, void *arg)
{
	ck_assert_uint_lt(strlen(client->name), sizeof(client->name));
	return (int)(client->slot >= *(uint32_t *)arg);
}

static int walk_histogram(const struct kvshm_histogram *histogram, void *arg)
{
	(void)arg;
	return histogram->name == NULL;
}

/* All that a view can be asked: whatever it says, it is within what the geometry allows. */
static void look_everywhere(kvshm_view *view)
{
	struct kvshm_store_info info;
	struct kvshm_usage usage;
	uint32_t blocks = 64, clients = 8;

	ck_rc(kvshm_view_blocks(view, walk_block, &blocks), 0);
	ck_rc(kvshm_view_clients(view, walk_client, &clients), 0);
	ck_rc(kvshm_view_histograms(view, walk_histogram, NULL), 0);
	ck_rc(kvshm_view_usage(view, &usage), 0);
	ck_assert_uint_eq(usage.free + usage.owned + usage.room + usage.filling + usage.ready + usage.removing +
				  usage.doomed + usage.grace + usage.unknown, 64);
	ck_rc(kvshm_view_store(view, &info), 0);
	ck_assert(info.slowest_client < 8 || info.slowest_client == KVSHM_NO_SLOT);
	ck_assert(info.slowest_reader < info.readers || info.slowest_reader == KVSHM_NO_SLOT);
}

START_TEST(F1_a_floor_of_nonsense_makes_no_hits_and_no_endless_loops)
{
	static const uint64_t wild[] = {1, KVS_CLEARS_ONE - 1, KVS_CLEARS_ONE + 12345, UINT64_MAX, UINT64_C(1) << 63};
	kvshm_store *store = damaged_store(16);
	struct kvshm_handle ref;

	for (unsigned i = 0; i < sizeof(wild) / sizeof(wild[0]); i++) {
		atomic_store(&store->map.head->floor, wild[i]);
		if (wild[i] > KVS_CLEARS_ONE)
			ck_rc(unit_get(store, 1, &ref), -ENOENT);
		make_calls(store, 20);
	}
}
END_TEST

START_TEST(F1_parts_of_nonsense_make_no_block_ready_that_is_not)
{
	kvshm_store *store = damaged_store(16);
	struct kvshm_handle fill = unit_begin_shared(store, 100), part, ref;
	struct kvshm_ticket ticket = unit_ticket(store, &fill);
	struct kvs_block_info *info = &store->map.infos[fill.block];

	atomic_store(&info->claimed, UINT32_MAX);
	ck_rc(kvshm_join(store, &ticket, 0, &part), -EBUSY);
	atomic_store(&info->claimed, 0);
	atomic_store(&info->written, ~(KVS_PART_FILLER | KVS_PART_FAILED | 1)); /* planes that there are not */
	ref = unit_pending(store, 100);
	ck_rc(kvshm_wait(store, &ref, 0), -ETIMEDOUT);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_rc(kvshm_wait(store, &ref, 0), -ETIMEDOUT); /* plane 0 is missing yet */
	part = unit_part(store, &ticket, 0);
	unit_end_part(store, &part, 100);
	ck_rc(kvshm_wait(store, &ref, 0), 0);
	make_calls(store, 20);
}
END_TEST

START_TEST(F1_a_view_of_random_bytes_ends_no_process)
{
	unsigned seed = (unsigned)time(NULL);
	kvshm_store *store = damaged_store(64);
	const struct part all = {KVS_PAGE, store->map.g.rows_at + store->map.g.row_size - KVS_PAGE};
	const struct part words = {offsetof(struct kvs_head, readers_top),
				   sizeof(struct kvs_head) - offsetof(struct kvs_head, readers_top)};

	printf("# seed %u\n", seed);
	for (int round = 0; round < 200; round++) {
		struct kvshm_check_result result;
		kvshm_view *view;

		for (int n = 0; n < 50; n++)
			scribble(store, &all, &seed);
		scribble(store, &words, &seed);
		ck_rc(kvshm_view_open(unit_name(), NULL, &view), 0); /* the geometry is whole */
		look_everywhere(view);
		if (kvshm_view_check(view, NULL, NULL, &result) == 0 && round > 10)
			ck_assert_uint_gt(result.unsound, 0);
		kvshm_view_close(view);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		F1_a_cycle_in_a_chain_is_EUCLEAN_and_counted,
		F1_a_link_to_no_block_is_EUCLEAN_and_counted,
		F1_a_failed_search_leaves_no_block_behind,
		F1_states_that_do_not_exist_are_no_hits_and_counted,
		F1_a_removal_that_meets_a_broken_chain_is_counted,
		F1_a_head_that_names_other_files_leaves_no_plane_behind,
		F1_a_fill_of_a_client_that_cannot_exist_is_waited_for_until_the_deadline_only,
		F1_a_length_beyond_the_block_is_EUCLEAN,
		F1_client_words_of_nonsense_do_no_harm,
		F1_reader_words_of_nonsense_do_no_harm,
		F1_random_bytes_anywhere_end_no_process,
		F1_a_floor_of_nonsense_makes_no_hits_and_no_endless_loops,
		F1_parts_of_nonsense_make_no_block_ready_that_is_not,
		F1_a_view_of_random_bytes_ends_no_process,
	};

	return unit_run("nonsense", tests, sizeof(tests) / sizeof(tests[0]));
}
