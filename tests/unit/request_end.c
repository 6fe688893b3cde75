/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * request_end: a request ends once, whoever asks for it, from wherever and however often, and all that it had goes with
 * it: nothing more, and nothing less (R03, R04, R10). What others hold of it, by claims or by requests of their own,
 * stays.
 */
#include "config.h"

#include "request_scene.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCKS 16U

/* A request with room, two keys that it filled, one that another is filling (held by `other`'s ref), and one that was
 * there: with `fills` also a fill under way. */
struct full {
	struct kvshm_request request;
	struct kvshm_handle pending, fill;
};

static struct full make_full(kvshm_store *store, kvshm_store *other, uint64_t id, bool fills)
{
	struct full full = {.request = scene_open(store, id, 4)};

	unit_put(other, 4);
	ck_rc(kvshm_request_reserve(store, &full.request, 6, 0), 0);
	(void)scene_fill(store, &full.request, 1);
	(void)scene_fill(store, &full.request, 2);
	full.pending = unit_begin(other, 3);
	(void)scene_pending(store, &full.request, 3);
	(void)scene_ready(store, &full.request, 4);
	if (fills)
		full.fill = scene_begin(store, &full.request, 5);
	return full;
}

START_TEST(R03_every_hold_of_a_request_ends_when_it_ends)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct full full = make_full(store, other, 1, true);

	ck_assert_uint_eq(scene_pins(store), 4);
	scene_end(store, &full.request);
	ck_assert_uint_eq(scene_pins(store), 0);
	ck_assert_uint_eq(scene_refs(store), 1); /* the other's fill */
	ck_assert_uint_eq(unit_count(store, KVS_ROOM), 0);
	ck_assert(!unit_has(other, 5)); /* its fill was given up */
	ck_rc(kvshm_give_up(store, &full.fill), -EBADF);
	ck_rc(kvshm_give_up(other, &full.pending), 0);
	scene_nothing_left(store);
}
END_TEST

START_TEST(R03_on_the_consumer_as_on_the_producer)
{
	kvshm_store *producer = scene_store(BLOCKS, KVSHM_DROP, 8), *consumer = unit_attach();
	struct kvshm_request sends = scene_open(producer, 1, 3), receives = scene_open(consumer, 2, 3);
	struct kvshm_handle lent[3], refs[3];
	enum kvshm_next next;
	int results[3];

	for (uint64_t i = 0; i < 3; i++)
		(void)scene_fill(producer, &sends, i);
	ck_rc(kvshm_request_complete(producer, &sends, 0), 0);
	ck_rc(kvshm_request_claim(consumer, &sends, scene_keys(0, 3), 3, refs, results), 0);
	ck_assert_uint_eq(scene_match(consumer, &receives, 0, 3, lent, &next), 3);
	ck_rc(kvshm_release_batch(consumer, refs, 3, results), 0);
	scene_end(producer, &sends);
	ck_assert_uint_eq(scene_pins(producer), 3);
	for (uint64_t i = 0; i < 3; i++)
		unit_verify(consumer, &lent[i], i);
	ck_rc(kvshm_request_complete(consumer, &receives, 0), 0);
	scene_end(consumer, &receives);
	scene_nothing_left(producer);
}
END_TEST

START_TEST(R04_an_end_that_is_asked_for_again_changes_nothing)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 1), same = scene_open(store, 2, 1);
	struct kvshm_handle lent = scene_fill(store, &request, 1);

	(void)scene_ready(store, &same, 1); /* the same client's hold of the same block */
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	scene_end(store, &request);
	for (int i = 0; i < 3; i++) {
		ck_rc(kvshm_request_end(store, &request), -EALREADY);
		ck_rc(kvshm_request_end(other, &request), -EALREADY);
		ck_assert_uint_eq(unit_pins(store, &lent), 1);
		ck_assert_uint_eq(scene_refs(store), 0);
		ck_assert_int_eq(scene_state(store, &request), KVS_REQUEST_CLOSED);
	}
	ck_rc(kvshm_request_release(store, &request, &lent, 1), -ECANCELED);
	ck_rc(kvshm_request_unreserve(store, &request), -ECANCELED);
	ck_rc(kvshm_request_complete(store, &request, 0), -ECANCELED);
	ck_assert_uint_eq(unit_pins(store, &lent), 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_requests_aborted), 0);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_ends_asked), 0);
	scene_end(store, &same);
	scene_nothing_left(store);
}
END_TEST

START_TEST(R04_aborted_and_then_finished_comes_to_one_end)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct full full = make_full(store, other, 1, false);
	struct kvshm_request same = scene_open(store, 2, 0);

	(void)scene_ready(store, &same, 1);
	ck_rc(kvshm_request_end(other, &full.request), 0);
	ck_rc(kvshm_request_end(other, &full.request), -EALREADY);
	ck_assert_int_eq(scene_state(store, &full.request), KVS_REQUEST_ENDING);
	ck_assert_uint_eq(scene_pins(store), 5); /* the owner has let go of nothing */
	ck_rc(kvshm_request_end(store, &full.request), -EALREADY);
	ck_assert_int_eq(scene_state(store, &full.request), KVS_REQUEST_CLOSED);
	ck_assert_uint_eq(scene_pins(store), 1);
	ck_rc(kvshm_request_end(store, &full.request), -EALREADY);
	ck_rc(kvshm_request_end(other, &full.request), -EALREADY);
	ck_assert_uint_eq(scene_pins(store), 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_requests_aborted), 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_ends_asked), 1);
	ck_rc(kvshm_give_up(other, &full.pending), 0);
}
END_TEST

START_TEST(an_owner_that_is_asked_lets_go_in_its_next_call)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();

	for (uint64_t id = 1; id <= 3; id++) {
		struct full full = make_full(store, other, id, false);
		enum kvshm_outcome outcome;
		struct kvshm_handle handle;

		ck_rc(kvshm_request_end(other, &full.request), 0);
		if (id == 1)
			ck_rc(scene_ask(store, &full.request, 6, &outcome, &handle), -ECANCELED);
		else if (id == 2)
			ck_rc(kvshm_request_complete(store, &full.request, UINT64_MAX), -ECANCELED);
		else
			ck_rc(kvshm_request_wait_room(store, &full.request, UINT64_MAX), -ECANCELED);
		ck_assert_ptr_nonnull(strstr(kvshm_error(), "asked for by another"));
		ck_assert_int_eq(scene_state(store, &full.request), KVS_REQUEST_CLOSED);
		ck_rc(kvshm_give_up(other, &full.pending), 0);
		scene_nothing_left(store);
		ck_rc(kvshm_clear(store), 0); /* for the next one */
	}
}
END_TEST

START_TEST(R23_a_fill_under_way_stays_its_writers_when_another_asks_for_the_end)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();

	for (uint64_t id = 1; id <= 2; id++) {
		struct full full = make_full(store, other, id, true);

		ck_rc(kvshm_request_end(other, &full.request), 0);
		ck_rc(kvshm_request_unreserve(store, &full.request), -ECANCELED);
		ck_assert_uint_eq(scene_pins(store), 0);
		ck_assert_uint_eq(unit_count(store, KVS_ROOM), 0);
		ck_assert_int_eq(unit_state(store, full.fill.block), KVS_FILLING);
		ck_assert_int_eq(scene_state(store, &full.request), KVS_REQUEST_ENDING);
		unit_write(store, &full.fill, 5);
		if (id == 1)
			ck_rc(kvshm_publish(store, &full.fill, NULL), -ECANCELED);
		else
			ck_rc(kvshm_give_up(store, &full.fill), 0);
		ck_assert_uint_eq(full.fill.kind, KVSHM_NONE);
		ck_assert_int_eq(scene_state(store, &full.request), KVS_REQUEST_CLOSED);
		ck_assert(!unit_has(other, 5));
		ck_rc(kvshm_give_up(other, &full.pending), 0);
		scene_nothing_left(store);
		ck_rc(kvshm_clear(store), 0); /* for the next one */
	}
}
END_TEST

START_TEST(R23_the_first_call_after_another_asked_may_be_the_publish)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct full full = make_full(store, other, 1, true);

	ck_rc(kvshm_request_end(other, &full.request), 0);
	unit_write(store, &full.fill, 5);
	ck_rc(kvshm_publish(store, &full.fill, NULL), -ECANCELED);
	ck_assert_int_eq(scene_state(store, &full.request), KVS_REQUEST_CLOSED);
	ck_assert(!unit_has(other, 5));
	ck_rc(kvshm_give_up(other, &full.pending), 0);
	scene_nothing_left(store);
}
END_TEST

START_TEST(R10_aborting_releases_the_deduplicated_keys_too)
{
	kvshm_store *store = scene_store(BLOCKS, KVSHM_DROP, 8), *other = unit_attach();
	struct kvshm_request theirs = scene_open(other, 1, 2), request = scene_open(store, 2, 3);
	struct kvshm_handle fill;

	(void)scene_fill(other, &theirs, 1);
	fill = scene_begin(other, &theirs, 2);
	(void)scene_ready(store, &request, 1);
	(void)scene_pending(store, &request, 2); /* before the answer, so to say */
	(void)scene_fill(store, &request, 3);
	scene_end(store, &request);
	ck_assert_uint_eq(scene_pins(store), 1); /* theirs */
	scene_publish(other, &fill, 2);		 /* and their fill goes on */
	ck_rc(kvshm_request_complete(other, &theirs, 0), 0);
	scene_end(other, &theirs);
	scene_nothing_left(store);
}
END_TEST

/* ---- Many at once ------------------------------------------------------------------------------------------ */

#define ENDERS 4U
#define ROUNDS 200U

struct enders {
	kvshm_store *store;
	pthread_barrier_t *barrier;
	_Atomic uint32_t slot;
	_Atomic uint64_t number;
	_Atomic unsigned first[ROUNDS]; /* how many were told that they ended it */
};

static void end_many(kvshm_store *store, struct enders *enders)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct kvshm_request request = {.store = (uint32_t)store->map.g.incarnation};
		int rc;

		(void)pthread_barrier_wait(enders->barrier);
		request.slot = atomic_load(&enders->slot);
		request.number = atomic_load(&enders->number);
		rc = kvshm_request_end(store, &request);
		if (rc == 0)
			atomic_fetch_add(&enders->first[i], 1);
		else
			ck_rc(rc, -EALREADY);
		(void)pthread_barrier_wait(enders->barrier);
	}
}

static void *end_in_thread(void *arg)
{
	struct enders *enders = arg;

	end_many(enders->store, enders);
	return NULL;
}

static void end_in_process(void *arg)
{
	kvshm_store *store = unit_attach();

	end_many(store, arg);
	ck_rc(kvshm_detach(store), 0);
}

/* Each round a request with holds and room of it is ended by threads of its owner, and by other processes, at once. */
static void ended_at_once(unsigned threads, unsigned processes)
{
	struct enders *enders = unit_shared(sizeof(*enders));
	struct child children[ENDERS];
	struct kvshm_request request, keeps;
	pthread_t ids[ENDERS];
	struct kvshm_handle lent;

	enders->store = scene_store(BLOCKS, KVSHM_KEEP, 8);
	enders->barrier = unit_shared_barrier(threads + processes + 1);
	for (unsigned i = 0; i < processes; i++)
		unit_child(&children[i], end_in_process, enders);
	for (unsigned i = 0; i < threads; i++)
		ck_assert_int_eq(pthread_create(&ids[i], NULL, end_in_thread, enders), 0);
	keeps = scene_open(enders->store, 1000, 0);
	lent = scene_fill(enders->store, &keeps, 1);
	for (unsigned i = 0; i < ROUNDS; i++) {
		request = scene_open(enders->store, i, 0);
		ck_rc(kvshm_request_reserve(enders->store, &request, 3, 0), 0);
		(void)scene_ready(enders->store, &request, 1);
		(void)scene_fill(enders->store, &request, 2 + i);
		atomic_store(&enders->slot, request.slot);
		atomic_store(&enders->number, request.number);
		(void)pthread_barrier_wait(enders->barrier);
		(void)pthread_barrier_wait(enders->barrier);
		ck_rc(kvshm_request_tend(enders->store, 0, NULL), 0);
		ck_assert_uint_eq(atomic_load(&enders->first[i]), 1);
		ck_assert_int_eq(scene_state(enders->store, &request), KVS_REQUEST_CLOSED);
		ck_assert_uint_eq(unit_pins(enders->store, &lent), 1);
		ck_assert_uint_eq(scene_pins(enders->store), 1);
		ck_assert_uint_eq(unit_count(enders->store, KVS_ROOM), 0);
	}
	for (unsigned i = 0; i < threads; i++)
		ck_assert_int_eq(pthread_join(ids[i], NULL), 0);
	for (unsigned i = 0; i < processes; i++)
		unit_join(&children[i]);
	scene_end(enders->store, &keeps);
	scene_nothing_left(enders->store);
}

START_TEST(R04_of_many_threads_of_the_owner_that_end_at_once_one_does)
{
	ended_at_once(ENDERS, 0);
}
END_TEST

START_TEST(R04_of_many_processes_that_end_at_once_one_does)
{
	ended_at_once(0, ENDERS);
}
END_TEST

START_TEST(R04_of_threads_and_processes_that_end_at_once_one_does)
{
	ended_at_once(2, 2);
}
END_TEST

/* A thread that comes to end what another is just ending: behind the word, before anything was let go of. */
struct second {
	struct sleeper end;
	_Atomic pid_t thread;
	_Atomic bool ended;
	unsigned pins; /* that were left when it was told */
};

static struct second *comes_second;
void __real_kvs_wait_wake(_Atomic uint64_t *word);
void __wrap_kvs_wait_wake(_Atomic uint64_t *word);

static void *end_second(void *arg)
{
	struct second *s = arg;

	atomic_store(&s->thread, (pid_t)syscall(SYS_gettid));
	s->end.rc = kvshm_request_end(s->end.store, &s->end.request);
	s->pins = scene_pins(s->end.store);
	atomic_store(&s->ended, true);
	return NULL;
}

void __wrap_kvs_wait_wake(_Atomic uint64_t *word)
{
	struct second *s = comes_second;

	comes_second = NULL;
	if (s)
		ck_assert_int_eq(pthread_create(&s->end.thread, NULL, end_second, s), 0);
	while (s && !atomic_load(&s->ended) && !(atomic_load(&s->thread) && scene_stands(atomic_load(&s->thread))))
		(void)sched_yield();
	__real_kvs_wait_wake(word);
}

START_TEST(R04_a_thread_that_is_told_of_another_threads_end_finds_nothing_held)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct second s = {.end = {.store = store, .request = scene_open(store, 1, 0)}};

	for (uint64_t i = 0; i < 3; i++)
		(void)scene_fill(store, &s.end.request, i);
	comes_second = &s;
	scene_end(store, &s.end.request);
	scene_woken(&s.end, -EALREADY);
	ck_assert_uint_eq(s.pins, 0);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_requests_aborted), 1); /* once */
}
END_TEST

/* ---- Deaths and detach ------------------------------------------------------------------------------------- */

static void own_and_wait_for_death(void *arg)
{
	kvshm_store *store = unit_attach(), *other = unit_attach();

	(void)make_full(store, other, *(const uint64_t *)arg, true);
	unit_wait_for_death();
}

START_TEST(R04_the_end_of_a_dead_owners_request_comes_once)
{
	uint64_t id = 1;
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request dead, own = scene_open(store, 2, 0);
	struct child child;

	unit_child(&child, own_and_wait_for_death, &id);
	unit_await(&child);
	dead = scene_find(store, 1);
	(void)scene_ready(store, &own, 1);
	unit_kill(&child);
	ck_rc(kvshm_recover(store, NULL), 0);
	ck_assert_int_eq(scene_state(store, &dead), KVS_REQUEST_CLOSED);
	ck_assert_uint_eq(scene_pins(store), 1); /* of another, who lives */
	ck_assert_uint_eq(scene_refs(store), 0);
	ck_assert_uint_eq(unit_count(store, KVS_ROOM), 0);
	ck_rc(kvshm_request_end(store, &dead), -EALREADY);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_requests_aborted), 1);
	scene_end(store, &own);
	scene_nothing_left(store);
}
END_TEST

START_TEST(R04_an_end_that_was_asked_for_comes_with_the_owners_death)
{
	uint64_t id = 1;
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request dead;
	struct child child;

	unit_child(&child, own_and_wait_for_death, &id);
	unit_await(&child);
	dead = scene_find(store, 1);
	ck_rc(kvshm_request_end(store, &dead), 0);
	ck_assert_int_eq(scene_state(store, &dead), KVS_REQUEST_ENDING);
	unit_kill(&child);
	ck_rc(kvshm_request_end(store, &dead), -EALREADY);
	ck_rc(kvshm_recover(store, NULL), 0);
	ck_assert_int_eq(scene_state(store, &dead), KVS_REQUEST_CLOSED);
	scene_nothing_left(store);
}
END_TEST

START_TEST(detach_ends_all_requests_of_the_client_and_no_others)
{
	kvshm_store *store = unit_store(2 * BLOCKS), *other = unit_attach(), *leaves = unit_attach();
	struct kvshm_request stays = scene_open(store, 10, 0), asked, again;
	struct full full = make_full(leaves, other, 1, true);

	asked = scene_open(leaves, 2, 0);
	(void)scene_fill(leaves, &asked, 20);
	(void)scene_ready(store, &stays, 20);
	ck_rc(kvshm_request_end(other, &asked), 0);
	unit_detach(leaves);
	ck_assert_int_eq(scene_state(store, &full.request), KVS_REQUEST_CLOSED);
	ck_assert_int_eq(scene_state(store, &asked), KVS_REQUEST_CLOSED);
	ck_assert_int_eq(scene_state(store, &stays), KVS_REQUEST_OPEN);
	ck_assert_uint_eq(scene_pins(store), 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_requests_aborted), 2);
	leaves = unit_attach(); /* into the same slot */
	ck_rc(kvshm_request_end(leaves, &full.request), -EALREADY);
	ck_rc(kvshm_request_unreserve(leaves, &full.request), -ECANCELED);
	ck_rc(scene_try_open(leaves, 1, 0, 0, &again), -EALREADY);
	ck_rc(kvshm_give_up(other, &full.pending), 0);
	scene_end(store, &stays);
	scene_nothing_left(store);
}
END_TEST

/* ---- Claims, and what nobody claims ------------------------------------------------------------------------ */

/* A complete request of two keys, 1 and 2. */
static struct kvshm_request complete(kvshm_store *store, uint64_t id)
{
	struct kvshm_request request = scene_open(store, id, 2);

	for (uint64_t key = 1; key <= 2; key++) {
		struct kvshm_handle handle;
		enum kvshm_outcome outcome;

		ck_rc(scene_ask(store, &request, key, &outcome, &handle), 0);
		if (outcome == KVSHM_FILL)
			scene_publish(store, &handle, key);
	}
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	return request;
}

START_TEST(what_was_claimed_stays_when_the_request_ends)
{
	kvshm_store *store = scene_store(BLOCKS, KVSHM_DROP, 8), *receiver = unit_attach();
	struct kvshm_request request = complete(store, 1);
	struct kvshm_handle refs[3];
	int results[3];

	ck_rc(kvshm_request_claim(receiver, &request, scene_keys(1, 3), 3, refs, results), 0);
	ck_assert(results[0] == 0 && results[1] == 0 && results[2] == -ENOENT);
	ck_assert_uint_eq(refs[2].kind, KVSHM_NONE);
	ck_assert_uint_eq(kvs_request_claims(&store->map.requests[request.slot]), 1);
	ck_rc(kvshm_request_end(receiver, &request), 0);
	ck_rc(kvshm_request_tend(store, 0, NULL), 0);
	for (unsigned i = 0; i < 2; i++) {
		unit_verify(receiver, &refs[i], i + 1);
		ck_rc(kvshm_release(receiver, &refs[i]), 0);
	}
	ck_rc(kvshm_request_claim(receiver, &request, scene_keys(1, 2), 2, refs, results), -ECANCELED);
	scene_nothing_left(store);
}
END_TEST

/* The owner lets go just before, or just after, a claim takes its holds. */
static kvshm_store *ends_at_the_claim;
static const struct kvshm_request *ended;
static bool ends_behind;
int __real_kvshm_get_batch(kvshm_store *store, const struct kvshm_key *keys, size_t count, struct kvshm_handle *refs,
			   int *results);
int __wrap_kvshm_get_batch(kvshm_store *store, const struct kvshm_key *keys, size_t count, struct kvshm_handle *refs,
			   int *results);

int __wrap_kvshm_get_batch(kvshm_store *store, const struct kvshm_key *keys, size_t count, struct kvshm_handle *refs,
			   int *results)
{
	int rc;

	if (ends_at_the_claim && !ends_behind)
		scene_end(ends_at_the_claim, ended);
	rc = __real_kvshm_get_batch(store, keys, count, refs, results);
	if (ends_at_the_claim && ends_behind)
		scene_end(ends_at_the_claim, ended);
	return rc;
}

static void ends_during_the_claim(bool behind)
{
	kvshm_store *store = scene_store(BLOCKS, KVSHM_DROP, 8), *receiver = unit_attach();
	struct kvshm_request request = complete(store, 1), later = complete(store, 2);
	struct kvshm_handle refs[2];
	int results[2] = {0, 0};

	ends_at_the_claim = store;
	ended = &request;
	ends_behind = behind;
	ck_rc(kvshm_request_claim(receiver, &request, scene_keys(1, 2), 2, refs, results), -ECANCELED);
	ck_assert(refs[0].kind == KVSHM_NONE && refs[1].kind == KVSHM_NONE);
	ck_assert(results[0] == -ECANCELED && results[1] == -ECANCELED);
	ck_assert_uint_eq(scene_refs(store), 0); /* also where another request holds the keys */
	ck_assert_uint_eq(scene_pins(store), 2);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_claims), 0);
	scene_end(store, &later);
	scene_nothing_left(store);
}

START_TEST(a_claim_that_comes_with_the_end_holds_nothing)
{
	ends_during_the_claim(false);
}
END_TEST

START_TEST(a_claim_that_the_end_overtakes_holds_nothing)
{
	ends_during_the_claim(true);
}
END_TEST

/* One that was stopped behind its last look at the request goes on when the slot has another. */
START_TEST(a_claim_that_goes_on_late_is_none_of_the_next_requests)
{
	kvshm_store *store = scene_store(BLOCKS, KVSHM_DROP, 1), *receiver = unit_attach();
	struct kvshm_request first = complete(store, 1), next;
	unsigned count;

	scene_end(store, &first);
	next = complete(store, 2);
	ck_assert_uint_eq(next.slot, first.slot);
	ck_assert(!kvs_request_claim(&receiver->map, first.slot, first.number));
	ck_assert_uint_eq(kvs_request_claims(&store->map.requests[next.slot]), 0);
	ck_rc(kvshm_request_tend(store, 1, &count), 0);
	ck_assert_uint_eq(count, 1);
	scene_nothing_left(store);
}
END_TEST

/* As if it had been complete since the machine is up: at a time that there was, however short that is. */
static void completed_at_boot(const kvshm_store *store, const struct kvshm_request *request)
{
	atomic_store(&store->map.requests[request->slot].completed, 1);
}

START_TEST(what_nobody_claims_in_time_is_ended_by_tending)
{
	kvshm_store *store = unit_store(BLOCKS), *receiver = unit_attach();
	struct kvshm_request open = scene_open(store, 1, 0), claimed = complete(store, 2),
			     unclaimed = complete(store, 3);
	struct kvshm_handle ref;
	unsigned count = 77;
	int result;

	ck_rc(kvshm_request_claim(receiver, &claimed, scene_keys(1, 1), 1, &ref, &result), 0);
	ck_rc(kvshm_request_tend(store, 0, &count), 0); /* 0: for ever */
	ck_assert_uint_eq(count, 0);
	ck_rc(kvshm_request_tend(store, UINT64_C(3600000000000), &count), 0);
	ck_assert_uint_eq(count, 0);
	ck_assert_int_eq(scene_state(store, &unclaimed), KVS_REQUEST_COMPLETE);
	ck_rc(kvshm_request_tend(receiver, 1, &count), 0); /* not its owner */
	ck_assert_uint_eq(count, 0);
	/* And the claim has been just now, compared with that. */
	completed_at_boot(store, &claimed);
	completed_at_boot(store, &unclaimed);
	ck_rc(kvshm_request_tend(store, kvs_now() / 2, &count), 0);
	ck_assert_uint_eq(count, 1);
	ck_assert_int_eq(scene_state(store, &unclaimed), KVS_REQUEST_CLOSED);
	ck_assert_int_eq(scene_state(store, &claimed), KVS_REQUEST_COMPLETE);
	ck_assert_int_eq(scene_state(store, &open), KVS_REQUEST_OPEN);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_requests_unclaimed), 1);
	ck_assert_uint_eq(scene_pins(store), 2);
	ck_rc(kvshm_request_tend(store, 1, &count), 0); /* who has claimed it does not come again */
	ck_assert_uint_eq(count, 1);
	ck_assert_int_eq(scene_state(store, &claimed), KVS_REQUEST_CLOSED);
	ck_rc(kvshm_release(receiver, &ref), 0); /* whose hold is its own */
	ck_rc(kvshm_request_tend(store, 1, NULL), 0);
}
END_TEST

START_TEST(tending_ends_what_was_asked_for_and_counts_it_once)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct full full = make_full(store, other, 1, true);
	struct kvshm_request second = scene_open(store, 2, 0), third = scene_open(store, 3, 0);
	unsigned count = 77;

	ck_rc(kvshm_request_end(other, &full.request), 0);
	ck_rc(kvshm_request_end(other, &second), 0);
	ck_rc(kvshm_request_tend(store, 0, &count), 0);
	ck_assert_uint_eq(count, 1);
	ck_assert_uint_eq(scene_pins(store), 0);
	ck_assert_int_eq(scene_state(store, &second), KVS_REQUEST_CLOSED);
	ck_assert_int_eq(scene_state(store, &full.request), KVS_REQUEST_ENDING); /* a fill is under way */
	ck_assert_int_eq(unit_state(store, full.fill.block), KVS_FILLING);
	ck_rc(kvshm_request_tend(store, 0, &count), 0);
	ck_assert_uint_eq(count, 0);
	ck_rc(kvshm_give_up(store, &full.fill), 0);
	ck_assert_int_eq(scene_state(store, &full.request), KVS_REQUEST_CLOSED);
	ck_assert_int_eq(scene_state(store, &third), KVS_REQUEST_OPEN);
	ck_rc(kvshm_give_up(other, &full.pending), 0);
}
END_TEST

START_TEST(R18_a_living_owners_holds_stay_until_it_ends_them)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = complete(store, 1);

	ck_rc(kvshm_request_end(other, &request), 0); /* asked for, however often */
	for (int i = 0; i < 3; i++) {
		ck_rc(kvshm_request_end(other, &request), -EALREADY);
		ck_rc(kvshm_recover(other, NULL), 0);
		ck_rc(kvshm_owner_recover(unit_owner, NULL), 0);
		ck_assert_uint_eq(scene_pins(store), 2);
	}
	ck_rc(kvshm_request_tend(store, 0, NULL), 0);
	scene_nothing_left(store);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R03_every_hold_of_a_request_ends_when_it_ends,
		R03_on_the_consumer_as_on_the_producer,
		R04_an_end_that_is_asked_for_again_changes_nothing,
		R04_aborted_and_then_finished_comes_to_one_end,
		an_owner_that_is_asked_lets_go_in_its_next_call,
		R23_a_fill_under_way_stays_its_writers_when_another_asks_for_the_end,
		R23_the_first_call_after_another_asked_may_be_the_publish,
		R10_aborting_releases_the_deduplicated_keys_too,
		R04_of_many_threads_of_the_owner_that_end_at_once_one_does,
		R04_of_many_processes_that_end_at_once_one_does,
		R04_of_threads_and_processes_that_end_at_once_one_does,
		R04_a_thread_that_is_told_of_another_threads_end_finds_nothing_held,
		R04_the_end_of_a_dead_owners_request_comes_once,
		R04_an_end_that_was_asked_for_comes_with_the_owners_death,
		detach_ends_all_requests_of_the_client_and_no_others,
		what_was_claimed_stays_when_the_request_ends,
		a_claim_that_comes_with_the_end_holds_nothing,
		a_claim_that_the_end_overtakes_holds_nothing,
		a_claim_that_goes_on_late_is_none_of_the_next_requests,
		what_nobody_claims_in_time_is_ended_by_tending,
		tending_ends_what_was_asked_for_and_counts_it_once,
		R18_a_living_owners_holds_stay_until_it_ends_them,
	};

	return unit_run("request_end", tests, sizeof(tests) / sizeof(tests[0]));
}
