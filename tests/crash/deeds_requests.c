/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * deeds_requests.c: every operation of the library on requests, room and descriptors for event loops, each in all its
 * outcomes. See deeds.h.
 *
 * Some need another process in the middle of its own call, or one that stands still: there the segment is made to look
 * like that (meet_rival(), be_overdue()).
 */
#include "config.h"

#include "deeds_inner.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "alloc.h"
#include "internal.h"
#include "requests.h"
#include "room.h"

#define N 3U	  /* items of a batch */
#define SOME 2U	  /* blocks of a room */
#define ROUNDS 20U /* so many requests use every slot once */

static uint64_t later(void)
{
	return base_now() + 10 * BASE_SECOND;
}

/* ---- Opening ---------------------------------------------------------------------------------------------- */

static int open_id(struct deeds_victim *v, const char *id, uint32_t attempt)
{
	return kvshm_request_open(v->work.store, id, strlen(id), attempt, SOME, &v->request);
}

static void prepare_open(struct deeds_victim *v) { base_expect(open_id(v, DEEDS_VICTIM, 1), 0); }

/* Every slot has had a request. */
static void prepare_tombstones(struct deeds_victim *v)
{
	for (uint32_t i = 1; i <= ROUNDS; i++) {
		base_expect(open_id(v, "tombstone", i), 0);
		base_expect(kvshm_request_end(v->work.store, &v->request), 0);
	}
}

/* Two are the survivor's. */
static void open_many(struct deeds_victim *v, unsigned count)
{
	char id[] = "many?";

	for (id[4] = 'a'; count--; id[4]++)
		base_expect(open_id(v, id, 1), 0);
}

static void prepare_all_open(struct deeds_victim *v) { open_many(v, DEEDS_REQUESTS - 2); }

static void prepare_all_open_of_the_dead(struct deeds_victim *v)
{
	(void)deeds_die(v->name, v->stage);
	open_many(v, DEEDS_REQUESTS - 3);
}

/* A slot is given to one who is in the middle of opening an id. */
static void meet_rival(struct deeds_victim *v, uint32_t slot, uint32_t owner)
{
	const struct kvs_map *map = &v->work.store->map;
	struct kvs_request *request = &map->requests[slot];
	uint64_t word = atomic_load(&request->word), id[KVS_REQUEST_ID_WORDS] = {0};

	base_check(!kvs_request_live(word));
	memcpy(id, DEEDS_RIVAL, strlen(DEEDS_RIVAL));
	for (unsigned i = 0; i < KVS_REQUEST_ID_WORDS; i++)
		atomic_store(&request->id[i], id[i]);
	atomic_store(&request->id_length, (uint32_t)strlen(DEEDS_RIVAL));
	atomic_store(&request->attempt, 1);
	atomic_store(&map->ids[slot], kvs_request_hash(map, (const uint8_t *)DEEDS_RIVAL, sizeof(DEEDS_RIVAL) - 1));
	atomic_store(&request->word, (uint64_t)owner << KVS_OWNER_SHIFT |
					     (kvs_request_number(word) + 1) << KVS_REQUEST_NUMBER_SHIFT |
					     KVS_REQUEST_OPENING);
}

/* The survivor's first request was closed, and so its slot is the lowest; the last one is not used yet. */
static void prepare_lower_rival(struct deeds_victim *v) { meet_rival(v, 0, 0); }
static void prepare_higher_rival(struct deeds_victim *v) { meet_rival(v, DEEDS_REQUESTS - 1, 0); }

static void prepare_dead_rival(struct deeds_victim *v)
{
	meet_rival(v, 0, deeds_die(v->name, v->stage));
}

static int act_open(struct deeds_victim *v) { return open_id(v, DEEDS_VICTIM, 1); }
static int act_open_rival(struct deeds_victim *v) { return open_id(v, DEEDS_RIVAL, 1); }
static int act_open_open(struct deeds_victim *v) { return open_id(v, DEEDS_OPEN, 2); }
static int act_open_closed(struct deeds_victim *v) { return open_id(v, DEEDS_CLOSED, 1); }
static int act_open_again(struct deeds_victim *v) { return open_id(v, DEEDS_CLOSED, 2); }
static int act_open_dead(struct deeds_victim *v) { return open_id(v, DEEDS_CORPSE, 2); }

static int act_open_nameless(struct deeds_victim *v)
{
	return kvshm_request_open(v->work.store, NULL, 0, 0, SOME, &v->request);
}

/* Every slot that is closed has had a name, but one. */
static void prepare_nameless(struct deeds_victim *v)
{
	prepare_tombstones(v);
	base_expect(act_open_nameless(v), 0);
	base_expect(kvshm_request_end(v->work.store, &v->request), 0);
}

static int find(struct deeds_victim *v, const char *id)
{
	return kvshm_request_find(v->work.store, id, strlen(id), &v->request);
}

static int act_find(struct deeds_victim *v) { return find(v, DEEDS_COMPLETE); }
static int act_find_nothing(struct deeds_victim *v) { return find(v, "nobody's"); }

/* ---- Room ------------------------------------------------------------------------------------------------- */

static void fill_up(struct deeds_victim *v, bool hold)
{
	for (unsigned key = 5; key < 8 && hold && v->deed->where == DEEDS_KEEP; key++)
		deeds_take(v, key);
	deeds_make_full(v, hold);
	for (unsigned key = 5; key < DEEDS_FULL && !hold; key++)
		deeds_about(v, key);
}

static void prepare_open_full(struct deeds_victim *v)
{
	prepare_open(v);
	fill_up(v, false);
}

static void prepare_open_held(struct deeds_victim *v)
{
	prepare_open(v);
	fill_up(v, true);
}

static void prepare_room(struct deeds_victim *v)
{
	prepare_open(v);
	base_expect(kvshm_request_reserve(v->work.store, &v->request, SOME, later()), 0);
}

static void prepare_in_line(struct deeds_victim *v)
{
	prepare_open_held(v);
	base_expect(kvshm_request_queue(v->work.store, &v->request, SOME, later()), -EINPROGRESS);
}

static void let_some_go(struct deeds_victim *v)
{
	for (unsigned i = 0; i < SOME; i++)
		base_expect(kvshm_release(v->work.store, &v->holds[--v->count].handle), 0);
}

/* In line, and there would be room by now. */
static void prepare_in_line_with_room(struct deeds_victim *v)
{
	prepare_in_line(v);
	let_some_go(v);
}

static void prepare_overdue(struct deeds_victim *v)
{
	uint64_t end = base_now() + 11 * BASE_MS; /* the least that a place has, and a little */

	prepare_open_held(v);
	base_expect(kvshm_request_queue(v->work.store, &v->request, SOME, 0), -EINPROGRESS);
	while (base_now() < end)
		(void)sched_yield();
}

static void prepare_behind_the_dead(struct deeds_victim *v)
{
	deeds_die_in_line(v->name, v->stage);
	prepare_open(v);
}

/* The survivor's complete request stands in the line, whose owner is stopped: it has a block, and its time is over. */
static void be_overdue(struct deeds_victim *v)
{
	const struct kvs_map *map = &v->work.store->map;
	uint32_t slot = v->stage->requests[REQUEST_COMPLETE].slot, block;
	struct kvs_actor actor;

	prepare_open(v);
	base_expect(kvl_begin(v->work.store, &actor), 0);
	atomic_store(&map->requests[slot].deadline, 1);
	base_expect(kvs_alloc_room(&actor, slot, 1, true, &block), 0);
	atomic_store(&map->places[slot], (atomic_fetch_add(&map->head->line_next, 1) + 1) * KVS_PLACE_ONE |
						 KVS_PLACE_WAITING);
	atomic_store(&map->head->line, 1);
}

static int reserve(struct deeds_victim *v, uint32_t blocks, uint64_t deadline)
{
	return kvshm_request_reserve(v->work.store, &v->request, blocks, deadline);
}

static int act_reserve(struct deeds_victim *v) { return reserve(v, SOME, later()); }
static int act_reserve_now(struct deeds_victim *v) { return reserve(v, SOME, 0); }
static int act_reserve_soon(struct deeds_victim *v) { return reserve(v, SOME, base_now() + BASE_MS); }
static int act_reserve_too_much(struct deeds_victim *v) { return reserve(v, DEEDS_BLOCKS + 1, later()); }

static int act_queue(struct deeds_victim *v)
{
	return kvshm_request_queue(v->work.store, &v->request, SOME, later());
}

static int act_wait_room(struct deeds_victim *v)
{
	return kvshm_request_wait_room(v->work.store, &v->request, 0);
}

static int act_unreserve(struct deeds_victim *v) { return kvshm_request_unreserve(v->work.store, &v->request); }

/* What others do meets the line. */
static int act_plain_fill(struct deeds_victim *v)
{
	struct kvshm_key key = deeds_key(8);
	enum kvshm_outcome outcome;

	return kvshm_get_or_fill(v->work.store, key.bytes, key.length, &outcome, &v->handles[0]);
}

static int act_release_ref(struct deeds_victim *v)
{
	return kvshm_release(v->work.store, &v->holds[v->count - 1].handle);
}

/* ---- Holds ------------------------------------------------------------------------------------------------ */

static void make_keys(struct kvshm_key keys[N], unsigned first, unsigned second, unsigned third)
{
	keys[0] = deeds_key(first);
	keys[1] = deeds_key(second);
	keys[2] = deeds_key(third);
}

static int act_match(struct deeds_victim *v)
{
	enum kvshm_next next;
	struct kvshm_key keys[N];
	size_t ready;

	make_keys(keys, 0, 1, 2);
	return kvshm_request_match(v->work.store, &v->request, keys, N, v->handles, &ready, &next);
}

static void prepare_matched(struct deeds_victim *v)
{
	prepare_open(v);
	base_expect(act_match(v), 0);
}

/* Of two that are ready, and one that is being filled. */
static void prepare_refs(struct deeds_victim *v)
{
	struct kvshm_key key = deeds_key(2);
	enum kvshm_outcome outcome;

	deeds_take(v, 0);
	deeds_take(v, 1);
	base_expect(kvshm_get_or_fill(v->work.store, key.bytes, key.length, &outcome, &v->handles[2]), 0);
	v->handles[0] = v->holds[0].handle;
	v->handles[1] = v->holds[1].handle;
}

static void prepare_pin(struct deeds_victim *v)
{
	prepare_room(v);
	prepare_refs(v);
}

static int act_pin(struct deeds_victim *v)
{
	struct kvshm_handle lent[N];
	int results[N], rc = kvshm_request_pin(v->work.store, &v->request, v->handles, N, lent, results);

	return rc ? rc : results[0] || results[1] || results[2] ? -EPROTO : 0;
}

static void prepare_pinned(struct deeds_victim *v)
{
	prepare_pin(v);
	base_expect(act_pin(v), 0);
}

static int ask(struct deeds_victim *v, unsigned number, bool shared, enum kvshm_outcome expected)
{
	struct kvshm_key key = deeds_key(number);
	enum kvshm_outcome outcome = expected;
	int rc = shared ? kvshm_request_get_or_fill_shared(v->work.store, &v->request, key.bytes, key.length, &outcome,
							   &v->handles[0])
			: kvshm_request_get_or_fill(v->work.store, &v->request, key.bytes, key.length, &outcome,
						    &v->handles[0]);

	return rc == 0 && outcome != expected ? -EPROTO : rc;
}

static int act_ask_ready(struct deeds_victim *v) { return ask(v, 0, false, KVSHM_READY); }
static int act_ask_pending(struct deeds_victim *v) { return ask(v, 2, false, KVSHM_PENDING); }
static int act_ask_missing(struct deeds_victim *v) { return ask(v, 8, false, KVSHM_FILL); }
static int act_ask_shared(struct deeds_victim *v) { return ask(v, 8, true, KVSHM_FILL); }

static int ask_batch(struct deeds_victim *v, bool shared)
{
	enum kvshm_outcome outcomes[N];
	struct kvshm_key keys[N];
	int results[N], rc;

	make_keys(keys, 0, 2, 8);
	rc = shared ? kvshm_request_get_or_fill_shared_batch(v->work.store, &v->request, keys, N, outcomes, v->handles,
							     results)
		    : kvshm_request_get_or_fill_batch(v->work.store, &v->request, keys, N, outcomes, v->handles,
						      results);
	return rc ? rc : results[0] || results[1] || results[2] ? -EPROTO : 0;
}

static int act_ask_batch(struct deeds_victim *v) { return ask_batch(v, false); }
static int act_ask_shared_batch(struct deeds_victim *v) { return ask_batch(v, true); }

/* A fill of the request's, in its room, that is written. */
static void begin(struct deeds_victim *v)
{
	struct load_hold hold = {.key = 8};

	base_expect(act_ask_missing(v), 0);
	hold.handle = v->handles[0];
	load_write(&v->work, &hold, &v->metas[0]);
	deeds_about(v, 8);
}

static void prepare_filling(struct deeds_victim *v)
{
	prepare_room(v);
	begin(v);
}

static int act_publish(struct deeds_victim *v)
{
	return kvshm_publish(v->work.store, &v->handles[0], &v->metas[0]);
}

static int act_give_up(struct deeds_victim *v) { return kvshm_give_up(v->work.store, &v->handles[0]); }

static int act_let_go(struct deeds_victim *v) { return kvshm_let_go(v->work.store, v->handles, 1); }

static void prepare_filled(struct deeds_victim *v)
{
	prepare_filling(v);
	base_expect(act_publish(v), 0);
}

static int act_release(struct deeds_victim *v)
{
	return kvshm_request_release(v->work.store, &v->request, v->handles, N);
}

/* All but the first go; or all. */
static int keep(struct deeds_victim *v, size_t count)
{
	return kvshm_request_keep(v->work.store, &v->request, v->handles, count);
}

static int act_keep(struct deeds_victim *v) { return keep(v, 1); }
static int act_keep_none(struct deeds_victim *v) { return keep(v, 0); }

/* ---- Complete --------------------------------------------------------------------------------------------- */

static int complete(struct deeds_victim *v, uint64_t deadline)
{
	return kvshm_request_complete(v->work.store, &v->request, deadline);
}

static int act_complete(struct deeds_victim *v) { return complete(v, 0); }
static int act_complete_later(struct deeds_victim *v) { return complete(v, later()); }

static void prepare_complete(struct deeds_victim *v)
{
	prepare_filled(v);
	base_expect(act_match(v), 0);
	base_expect(act_complete(v), 0);
}

/* All that it expects, but not ready. */
static void prepare_pending(struct deeds_victim *v)
{
	prepare_room(v);
	base_expect(act_ask_ready(v), 0);
	base_expect(act_ask_pending(v), 0);
}

static void prepare_pending_of_the_dead(struct deeds_victim *v)
{
	(void)deeds_die(v->name, v->stage);
	prepare_open(v);
	base_expect(act_ask_ready(v), 0);
	base_expect(ask(v, 11, false, KVSHM_PENDING), 0);
}

static void prepare_failed(struct deeds_victim *v)
{
	deeds_about(v, 2);
	prepare_pending(v);
	deeds_remove(v, 2);
}

static void prepare_whole(struct deeds_victim *v)
{
	prepare_filled(v);
	base_expect(act_match(v), 0);
}

static int settle(struct deeds_victim *v, uint32_t expected)
{
	uint32_t pending = UINT32_MAX;
	int rc = kvshm_request_settle(v->work.store, &v->request, &pending);

	return (rc == 0 || rc == -EAGAIN) && pending != expected ? -EPROTO : rc;
}

static int act_settle_none(struct deeds_victim *v) { return settle(v, 0); }
static int act_settle_one(struct deeds_victim *v) { return settle(v, 1); }

/* ---- Others' -------------------------------------------------------------------------------------------- */

static int wait_for(struct deeds_victim *v, enum deeds_request which, uint64_t deadline)
{
	return kvshm_request_wait(v->work.store, &v->stage->requests[which], deadline);
}

static int act_wait_complete(struct deeds_victim *v) { return wait_for(v, REQUEST_COMPLETE, 0); }
static int act_wait_open(struct deeds_victim *v) { return wait_for(v, REQUEST_OPEN, 0); }
static int act_wait_closed(struct deeds_victim *v) { return wait_for(v, REQUEST_CLOSED, 0); }

static void prepare_dead_request(struct deeds_victim *v)
{
	(void)deeds_die(v->name, v->stage);
	base_expect(find(v, DEEDS_CORPSE), 0);
}

static int act_wait_for_the_dead(struct deeds_victim *v)
{
	return kvshm_request_wait(v->work.store, &v->request, later());
}

static int claim(struct deeds_victim *v, enum deeds_request which)
{
	struct kvshm_key keys[N];
	int results[N];
	int rc;

	make_keys(keys, 0, 1, 8);
	rc = kvshm_request_claim(v->work.store, &v->stage->requests[which], keys, N, v->handles, results);
	return rc ? rc : results[0] || results[1] || results[2] != -ENOENT ? -EPROTO : 0;
}

static int act_claim(struct deeds_victim *v) { return claim(v, REQUEST_COMPLETE); }
static int act_claim_closed(struct deeds_victim *v) { return claim(v, REQUEST_CLOSED); }

static int act_info(struct deeds_victim *v)
{
	struct kvshm_request_info info;

	return kvshm_request_get_info(v->work.store, &v->stage->requests[REQUEST_OPEN], &info);
}

/* ---- The end ---------------------------------------------------------------------------------------------- */

static int act_end(struct deeds_victim *v) { return kvshm_request_end(v->work.store, &v->request); }

static int end_of(struct deeds_victim *v, enum deeds_request which)
{
	return kvshm_request_end(v->work.store, &v->stage->requests[which]);
}

static void prepare_ask(struct deeds_victim *v) { v->stage->may_end = true; }

static void prepare_asked_before(struct deeds_victim *v)
{
	prepare_ask(v);
	base_expect(end_of(v, REQUEST_OPEN), 0);
}

static int act_ask_end(struct deeds_victim *v) { return end_of(v, REQUEST_OPEN); }
static int act_ask_end_of_complete(struct deeds_victim *v) { return end_of(v, REQUEST_COMPLETE); }
static int act_ask_end_of_closed(struct deeds_victim *v) { return end_of(v, REQUEST_CLOSED); }

/* Another process has asked for the end of the victim's. */
static void be_asked(struct deeds_victim *v)
{
	base_expect(kvs_request_ask(&v->work.store->map, v->request.slot, v->request.number), 0);
}

static void prepare_asked(struct deeds_victim *v)
{
	prepare_whole(v);
	be_asked(v);
}

static void prepare_asked_at_fill(struct deeds_victim *v)
{
	prepare_filling(v);
	be_asked(v);
}

static void prepare_asked_in_line(struct deeds_victim *v)
{
	prepare_in_line(v);
	be_asked(v);
}

static void prepare_everything(struct deeds_victim *v)
{
	prepare_room(v);
	base_expect(act_match(v), 0);
	begin(v);
}

static int tend(struct deeds_victim *v, uint64_t claim_timeout, unsigned expected)
{
	unsigned ended;
	int rc = kvshm_request_tend(v->work.store, claim_timeout, &ended);

	return rc == 0 && ended != expected ? -EPROTO : rc;
}

static int act_tend(struct deeds_victim *v) { return tend(v, 0, 0); }
static int act_tend_asked(struct deeds_victim *v) { return tend(v, 0, 1); }
static int act_tend_unclaimed(struct deeds_victim *v) { return tend(v, 1, 1); }

static int act_detach(struct deeds_victim *v) { return kvshm_detach(v->work.store); }

static void prepare_corpse(struct deeds_victim *v) { (void)deeds_die(v->name, v->stage); }
static void prepare_corpse_in_line(struct deeds_victim *v) { deeds_die_in_line(v->name, v->stage); }

static int act_recover(struct deeds_victim *v) { return kvshm_recover(v->work.store, NULL); }

/* ---- Event loops ------------------------------------------------------------------------------------------ */

static int act_poll_fd(struct deeds_victim *v)
{
	int fd;

	return kvshm_poll_fd(v->work.store, &fd);
}

static void prepare_poll(struct deeds_victim *v) { base_expect(act_poll_fd(v), 0); }

static void prepare_poll_corpse(struct deeds_victim *v)
{
	prepare_corpse(v);
	prepare_poll(v);
}

static int act_poll_clear(struct deeds_victim *v) { return kvshm_poll_clear(v->work.store); }

/* ---- The list --------------------------------------------------------------------------------------------- */

const struct deed deeds_of_requests[] = {
	{.name = "request-open", .act = act_open},
	{.name = "request-open, over a closed one", .prepare = prepare_tombstones, .act = act_open},
	{.name = "request-open, without a name", .act = act_open_nameless},
	{.name = "request-open, nameless, again", .prepare = prepare_nameless, .act = act_open_nameless},
	{.name = "request-open, the next attempt", .act = act_open_again},
	{.name = "request-open, is open", .act = act_open_open, .rc = -EEXIST},
	{.name = "request-open, was closed", .act = act_open_closed, .rc = -EALREADY},
	{.name = "request-open, the dead one's", .prepare = prepare_corpse, .act = act_open_dead, .where = DEEDS_DROP},
	{.name = "request-open, all are open", .prepare = prepare_all_open, .act = act_open, .rc = -ENFILE},
	{.name = "request-open, one has died", .prepare = prepare_all_open_of_the_dead, .act = act_open,
	 .where = DEEDS_DROP},
	{.name = "request-open, a lower rival", .prepare = prepare_lower_rival, .act = act_open_rival, .rc = -EEXIST},
	{.name = "request-open, a higher rival", .prepare = prepare_higher_rival, .act = act_open_rival},
	{.name = "request-open, a dead rival", .prepare = prepare_dead_rival, .act = act_open_rival,
	 .where = DEEDS_DROP},
	{.name = "request-find", .act = act_find},
	{.name = "request-info", .act = act_info},
	{.name = "request-find, nothing", .act = act_find_nothing, .rc = -ENOENT},
	{.name = "request-reserve", .prepare = prepare_open, .act = act_reserve},
	{.name = "request-reserve, evicting", .prepare = prepare_open_full, .act = act_reserve, .where = DEEDS_KEEP},
	{.name = "request-reserve, has some", .prepare = prepare_room, .act = act_reserve, .rc = -EBUSY},
	{.name = "request-reserve, too much", .prepare = prepare_open, .act = act_reserve_too_much, .rc = -E2BIG},
	{.name = "request-reserve, no room", .prepare = prepare_open_held, .act = act_reserve_now, .rc = -ETIMEDOUT,
	 .where = DEEDS_KEEP},
	{.name = "request-reserve, no room in time", .prepare = prepare_open_held, .act = act_reserve_soon,
	 .rc = -ETIMEDOUT, .where = DEEDS_DROP},
	{.name = "request-reserve, behind the dead", .prepare = prepare_behind_the_dead, .act = act_reserve},
	{.name = "request-reserve, one overdue", .prepare = be_overdue, .act = act_reserve},
	{.name = "request-reserve, is asked", .prepare = prepare_asked, .act = act_reserve, .rc = -ECANCELED},
	{.name = "request-queue", .prepare = prepare_open, .act = act_queue},
	{.name = "request-queue, in line", .prepare = prepare_open_held, .act = act_queue, .rc = -EINPROGRESS,
	 .where = DEEDS_KEEP},
	{.name = "request-queue, in line (drop)", .prepare = prepare_open_held, .act = act_queue, .rc = -EINPROGRESS,
	 .where = DEEDS_DROP},
	{.name = "request-wait-room, has it", .prepare = prepare_room, .act = act_wait_room},
	{.name = "request-wait-room, not yet", .prepare = prepare_in_line, .act = act_wait_room, .rc = -EINPROGRESS,
	 .where = DEEDS_DROP},
	{.name = "request-wait-room, it comes", .prepare = prepare_in_line_with_room, .act = act_wait_room,
	 .where = DEEDS_DROP},
	{.name = "request-wait-room, too late", .prepare = prepare_overdue, .act = act_wait_room, .rc = -ETIMEDOUT,
	 .where = DEEDS_DROP},
	{.name = "request-wait-room, never asked", .prepare = prepare_open, .act = act_wait_room, .rc = -EINVAL},
	{.name = "request-wait-room, is asked", .prepare = prepare_asked_in_line, .act = act_wait_room,
	 .rc = -ECANCELED, .where = DEEDS_DROP},
	{.name = "request-unreserve", .prepare = prepare_room, .act = act_unreserve},
	{.name = "request-unreserve, in line", .prepare = prepare_in_line_with_room, .act = act_unreserve,
	 .where = DEEDS_DROP},
	{.name = "request-unreserve, nothing", .prepare = prepare_open, .act = act_unreserve},
	{.name = "get-or-fill, behind a line", .prepare = prepare_in_line_with_room, .act = act_plain_fill,
	 .rc = -ENOSPC, .where = DEEDS_DROP},
	{.name = "get-or-fill, behind a dead line", .prepare = prepare_corpse_in_line, .act = act_plain_fill,
	 .where = DEEDS_DROP},
	{.name = "get-or-fill, behind one overdue", .prepare = be_overdue, .act = act_plain_fill},
	{.name = "release, to the line", .prepare = prepare_in_line, .act = act_release_ref, .where = DEEDS_DROP},
	{.name = "request-match", .prepare = prepare_open, .act = act_match},
	{.name = "request-match, again", .prepare = prepare_matched, .act = act_match},
	{.name = "request-pin", .prepare = prepare_pin, .act = act_pin},
	{.name = "request-pin, again", .prepare = prepare_pinned, .act = act_pin},
	{.name = "request-get-or-fill, ready", .prepare = prepare_room, .act = act_ask_ready},
	{.name = "request-get-or-fill, pending", .prepare = prepare_room, .act = act_ask_pending},
	{.name = "request-get-or-fill, in room", .prepare = prepare_room, .act = act_ask_missing},
	{.name = "request-get-or-fill, a fill", .prepare = prepare_open, .act = act_ask_missing},
	{.name = "request-get-or-fill, no room", .prepare = prepare_open_held, .act = act_ask_missing, .rc = -ENOSPC,
	 .where = DEEDS_DROP},
	{.name = "request-get-or-fill-shared", .prepare = prepare_room, .act = act_ask_shared},
	{.name = "request-get-or-fill-batch", .prepare = prepare_room, .act = act_ask_batch},
	{.name = "request-g.-o.-f.-shared-batch", .prepare = prepare_room, .act = act_ask_shared_batch},
	{.name = "publish, of a request", .prepare = prepare_filling, .act = act_publish},
	{.name = "publish, of one asked", .prepare = prepare_asked_at_fill, .act = act_publish, .rc = -ECANCELED},
	{.name = "give-up, of a request", .prepare = prepare_filling, .act = act_give_up},
	{.name = "give-up, of one asked", .prepare = prepare_asked_at_fill, .act = act_give_up},
	{.name = "let-go, of a request", .prepare = prepare_filling, .act = act_let_go},
	{.name = "request-release", .prepare = prepare_matched, .act = act_release},
	{.name = "request-release, the last", .prepare = prepare_filled, .act = act_release},
	{.name = "request-keep", .prepare = prepare_matched, .act = act_keep},
	{.name = "request-keep, none", .prepare = prepare_filled, .act = act_keep_none},
	{.name = "request-keep, filling", .prepare = prepare_everything, .act = act_keep_none},
	{.name = "request-keep, is asked", .prepare = prepare_asked, .act = act_keep, .rc = -ECANCELED},
	{.name = "request-complete", .prepare = prepare_whole, .act = act_complete},
	{.name = "request-complete, it is", .prepare = prepare_complete, .act = act_complete},
	{.name = "request-complete, pending", .prepare = prepare_pending, .act = act_complete, .rc = -ETIMEDOUT},
	{.name = "request-complete, of the dead", .prepare = prepare_pending_of_the_dead, .act = act_complete_later,
	 .rc = -EAGAIN, .where = DEEDS_DROP},
	{.name = "request-complete, one failed", .prepare = prepare_failed, .act = act_complete, .rc = -EAGAIN},
	{.name = "request-complete, too few", .prepare = prepare_open, .act = act_complete, .rc = -EINPROGRESS},
	{.name = "request-complete, filling", .prepare = prepare_filling, .act = act_complete, .rc = -EBUSY},
	{.name = "request-complete, is asked", .prepare = prepare_asked, .act = act_complete, .rc = -ECANCELED},
	{.name = "request-settle", .prepare = prepare_whole, .act = act_settle_none},
	{.name = "request-settle, pending", .prepare = prepare_pending, .act = act_settle_one},
	{.name = "request-settle, filling", .prepare = prepare_filling, .act = act_settle_one},
	{.name = "request-settle, one failed", .prepare = prepare_failed, .act = act_settle_none, .rc = -EAGAIN},
	{.name = "request-settle, is asked", .prepare = prepare_asked, .act = act_settle_none, .rc = -ECANCELED},
	{.name = "request-wait, complete", .act = act_wait_complete},
	{.name = "request-wait, open", .act = act_wait_open, .rc = -ETIMEDOUT},
	{.name = "request-wait, closed", .act = act_wait_closed, .rc = -ECANCELED},
	{.name = "request-wait, of the dead", .prepare = prepare_dead_request, .act = act_wait_for_the_dead,
	 .rc = -ECANCELED, .where = DEEDS_DROP},
	{.name = "request-claim", .act = act_claim},
	{.name = "request-claim, closed", .act = act_claim_closed, .rc = -ECANCELED},
	{.name = "request-end, open", .prepare = prepare_everything, .act = act_end},
	{.name = "request-end, complete", .prepare = prepare_complete, .act = act_end},
	{.name = "request-end, in line", .prepare = prepare_in_line, .act = act_end, .where = DEEDS_DROP},
	{.name = "request-end, was asked for", .prepare = prepare_asked, .act = act_end, .rc = -EALREADY},
	{.name = "request-end, another's", .prepare = prepare_ask, .act = act_ask_end},
	{.name = "request-end, another's complete", .prepare = prepare_ask, .act = act_ask_end_of_complete},
	{.name = "request-end, another's again", .prepare = prepare_asked_before, .act = act_ask_end, .rc = -EALREADY},
	{.name = "request-end, another's closed", .act = act_ask_end_of_closed, .rc = -EALREADY},
	{.name = "request-tend", .prepare = prepare_complete, .act = act_tend},
	{.name = "request-tend, one asked", .prepare = prepare_asked, .act = act_tend_asked},
	{.name = "request-tend, one filling", .prepare = prepare_asked_at_fill, .act = act_tend},
	{.name = "request-tend, one unclaimed", .prepare = prepare_complete, .act = act_tend_unclaimed},
	{.name = "detach, with a request", .prepare = prepare_everything, .act = act_detach},
	{.name = "detach, in line", .prepare = prepare_in_line, .act = act_detach, .where = DEEDS_DROP},
	{.name = "recover, one in line", .prepare = prepare_corpse_in_line, .act = act_recover},
	{.name = "poll-fd", .act = act_poll_fd},
	{.name = "poll-fd, again", .prepare = prepare_poll, .act = act_poll_fd},
	{.name = "poll-clear", .prepare = prepare_poll, .act = act_poll_clear},
	{.name = "poll-clear, another is dead", .prepare = prepare_poll_corpse, .act = act_poll_clear,
	 .where = DEEDS_DROP},
	{.name = "detach, with a descriptor", .prepare = prepare_poll, .act = act_detach},
};
const unsigned deeds_of_requests_count = sizeof(deeds_of_requests) / sizeof(deeds_of_requests[0]);
