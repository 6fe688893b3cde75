/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * deeds_list.c: every operation of the library that changes a store, each in all its outcomes; those on requests are in
 * deeds_requests.c. See deeds.h.
 */
#include "config.h"

#include "deeds_inner.h"

#include <errno.h>

#define N 3U /* items of a batch */

/* What a call is given beside what the victim has: a key, or a ticket, by number. */
static int get(struct deeds_victim *v, unsigned number)
{
	struct kvshm_key key = deeds_key(number);

	return kvshm_get(v->work.store, key.bytes, key.length, &v->handles[0]);
}

static int get_or_fill(struct deeds_victim *v, unsigned number, enum kvshm_outcome expected)
{
	struct kvshm_key key = deeds_key(number);
	enum kvshm_outcome outcome = expected;
	int rc = kvshm_get_or_fill(v->work.store, key.bytes, key.length, &outcome, &v->handles[0]);

	return rc == 0 && outcome != expected ? -EPROTO : rc;
}

static int publish(struct deeds_victim *v)
{
	return kvshm_publish(v->work.store, &v->holds[v->count - 1].handle, &v->metas[(v->count - 1) % DEEDS_HANDLES]);
}

static int publish_part(struct deeds_victim *v)
{
	return kvshm_publish(v->work.store, &v->holds[v->count - 1].handle, NULL);
}

static int give_up(struct deeds_victim *v)
{
	return kvshm_give_up(v->work.store, &v->holds[v->count - 1].handle);
}

static int release(struct deeds_victim *v)
{
	return kvshm_release(v->work.store, &v->holds[v->count - 1].handle);
}

static int publish_as(struct deeds_victim *v, unsigned number, enum kvshm_published expected)
{
	struct kvshm_key key = deeds_key(number);
	enum kvshm_published published = expected;
	int rc = kvshm_publish_as(v->work.store, &v->holds[0].handle, key.bytes, key.length, &v->metas[0], &published);

	return rc == 0 && published != expected ? -EPROTO : rc;
}

static int hold(struct deeds_victim *v, enum deeds_ticket ticket, enum kvshm_outcome expected)
{
	enum kvshm_outcome outcome = expected;
	int rc = kvshm_hold(v->work.store, &v->stage->tickets[ticket], &outcome, &v->handles[0]);

	return rc == 0 && outcome != expected ? -EPROTO : rc;
}

static int remove_key(struct deeds_victim *v, unsigned number)
{
	struct kvshm_key key = deeds_key(number);

	return kvshm_remove(v->work.store, key.bytes, key.length);
}

/* ---- Keys ------------------------------------------------------------------------------------------------- */

static int act_get_ready(struct deeds_victim *v) { return get(v, 0); }
static int act_get_missing(struct deeds_victim *v) { return get(v, 8); }
static int act_get_pending(struct deeds_victim *v) { return get(v, 2); }
static int act_get_unheld(struct deeds_victim *v) { return get(v, 5); }

static int act_ask_ready(struct deeds_victim *v) { return get_or_fill(v, 0, KVSHM_READY); }
static int act_ask_pending(struct deeds_victim *v) { return get_or_fill(v, 2, KVSHM_PENDING); }
static int act_ask_missing(struct deeds_victim *v) { return get_or_fill(v, 8, KVSHM_FILL); }

static void prepare_full(struct deeds_victim *v)
{
	deeds_make_full(v, false);
	for (unsigned key = 5; key < DEEDS_FULL; key++)
		deeds_about(v, key);
}

static void prepare_full_of_holds(struct deeds_victim *v)
{
	for (unsigned key = 5; key < 8 && v->deed->where == DEEDS_KEEP; key++)
		deeds_take(v, key);
	deeds_make_full(v, true);
}

static int act_ask_shared(struct deeds_victim *v)
{
	struct kvshm_key key = deeds_key(8);
	enum kvshm_outcome outcome;

	return kvshm_get_or_fill_shared(v->work.store, key.bytes, key.length, &outcome, &v->handles[0]);
}

static int act_touch(struct deeds_victim *v)
{
	struct kvshm_key key = deeds_key(1);

	return kvshm_touch(v->work.store, key.bytes, key.length);
}

static int act_match(struct deeds_victim *v)
{
	struct kvshm_key keys[N] = { deeds_key(0), deeds_key(1), deeds_key(2) };
	enum kvshm_next next;
	size_t ready;

	return kvshm_match(v->work.store, keys, N, v->handles, &ready, &next);
}

static int act_window(struct deeds_victim *v)
{
	struct kvshm_key keys[N] = { deeds_key(8), deeds_key(0), deeds_key(1) };
	enum kvshm_next next;
	size_t ready;

	return kvshm_match_window(v->work.store, keys, N, 2, v->handles, &ready, &next);
}

static void prepare_remove(struct deeds_victim *v)
{
	for (unsigned key = 0; key < 6; key++)
		deeds_about(v, key);
}

static int act_remove_held(struct deeds_victim *v) { return remove_key(v, 0); }
static int act_remove_pending(struct deeds_victim *v) { return remove_key(v, 2); }
static int act_remove_shared(struct deeds_victim *v) { return remove_key(v, 3); }
static int act_remove_unheld(struct deeds_victim *v) { return remove_key(v, 5); }
static int act_remove_missing(struct deeds_victim *v) { return remove_key(v, 8); }

static void prepare_clear(struct deeds_victim *v)
{
	for (unsigned key = 0; key < 8; key++)
		deeds_about(v, key);
}

static int act_clear(struct deeds_victim *v) { return kvshm_clear(v->work.store); }

/* ---- Fills ------------------------------------------------------------------------------------------------ */

static void prepare_fill(struct deeds_victim *v) { deeds_write(v, 8); }

static void prepare_removed_fill(struct deeds_victim *v)
{
	deeds_write(v, 8);
	deeds_remove(v, 8);
}

/* All parts of a shared fill but the last one, which is a plane's, or the filler's. */
static void prepare_parts(struct deeds_victim *v, bool filler_last)
{
	struct load_hold *part;
	struct kvshm_ticket ticket;

	deeds_begin(v, 8, true);
	base_expect(kvshm_get_ticket(v->work.store, &v->holds[0].handle, &ticket), 0);
	for (unsigned plane = 0; plane < DEEDS_PLANES; plane++) {
		part = &v->holds[v->count++];
		part->key = 8;
		base_expect(kvshm_join(v->work.store, &ticket, plane, &part->handle), 0);
		load_write_plane(&v->work, part, plane);
		if (filler_last || plane < DEEDS_PLANES - 1)
			base_expect(kvshm_publish(v->work.store, &part->handle, NULL), 0);
	}
	load_describe(&v->holds[0], &v->metas[0]);
	if (!filler_last)
		base_expect(kvshm_publish(v->work.store, &v->holds[0].handle, &v->metas[0]), 0);
}

static void prepare_last_part(struct deeds_victim *v) { prepare_parts(v, false); }

static void prepare_filler_last(struct deeds_victim *v)
{
	prepare_parts(v, true);
	v->count = 1;
}

static void prepare_join(struct deeds_victim *v) { deeds_about(v, 3); }
static void prepare_part(struct deeds_victim *v) { deeds_join(v); }

static int act_join(struct deeds_victim *v)
{
	return kvshm_join(v->work.store, &v->stage->tickets[TICKET_SHARED], 1, &v->handles[0]);
}

static int act_join_taken(struct deeds_victim *v)
{
	return kvshm_join(v->work.store, &v->stage->tickets[TICKET_SHARED], 0, &v->handles[0]);
}

static void prepare_wait(struct deeds_victim *v)
{
	base_expect(get_or_fill(v, 2, KVSHM_PENDING), 0);
}

static void prepare_wait_for_the_dead(struct deeds_victim *v)
{
	(void)deeds_die(v->name, v->stage);
	base_expect(get_or_fill(v, 11, KVSHM_PENDING), 0);
}

static void prepare_wait_ready(struct deeds_victim *v)
{
	base_expect(get_or_fill(v, 0, KVSHM_READY), 0);
}

static int act_wait(struct deeds_victim *v) { return kvshm_wait(v->work.store, &v->handles[0], 0); }

static int act_wait_long(struct deeds_victim *v)
{
	return kvshm_wait(v->work.store, &v->handles[0], base_now() + 10 * BASE_SECOND);
}

/* ---- Holds ------------------------------------------------------------------------------------------------ */

static void prepare_ref(struct deeds_victim *v) { deeds_take(v, 0); }
static void prepare_own_ref(struct deeds_victim *v) { deeds_fill(v, 8); }

static void prepare_own_doomed(struct deeds_victim *v)
{
	deeds_fill(v, 8);
	deeds_remove(v, 8);
}

static void prepare_pin(struct deeds_victim *v)
{
	deeds_take(v, 0);
	base_expect(kvshm_pin(v->work.store, &v->holds[0].handle, &v->handles[0]), 0);
}

static void prepare_last_pin(struct deeds_victim *v)
{
	deeds_fill(v, 8);
	base_expect(kvshm_pin(v->work.store, &v->holds[0].handle, &v->handles[0]), 0);
	base_expect(kvshm_release(v->work.store, &v->holds[0].handle), 0);
}

static int act_pin(struct deeds_victim *v)
{
	return kvshm_pin(v->work.store, &v->holds[0].handle, &v->handles[0]);
}

static int act_unpin(struct deeds_victim *v) { return kvshm_unpin(v->work.store, &v->handles[0]); }

static int act_ticket(struct deeds_victim *v)
{
	return kvshm_get_ticket(v->work.store, &v->holds[0].handle, &v->tickets[0]);
}

static int act_hold_ready(struct deeds_victim *v) { return hold(v, TICKET_READY, KVSHM_READY); }
static int act_hold_shared(struct deeds_victim *v) { return hold(v, TICKET_SHARED, KVSHM_PENDING); }
static int act_hold_doomed(struct deeds_victim *v) { return hold(v, TICKET_DOOMED, KVSHM_READY); }
static int act_hold_stale(struct deeds_victim *v) { return hold(v, TICKET_STALE, KVSHM_READY); }

static int act_meta(struct deeds_victim *v)
{
	return kvshm_get_meta(v->work.store, &v->holds[0].handle, &v->metas[0]);
}

/* ---- Blocks whose key comes later ------------------------------------------------------------------------- */

static int act_alloc(struct deeds_victim *v) { return kvshm_alloc(v->work.store, &v->handles[0]); }

static void prepare_owned(struct deeds_victim *v) { deeds_alloc(v, 8); }

static void prepare_owned_of_ready(struct deeds_victim *v)
{
	deeds_alloc(v, 0);
	v->stage->may_change = 0;
}

static void prepare_owned_of_pending(struct deeds_victim *v)
{
	deeds_alloc(v, 2);
	v->stage->may_change = 0;
}

static int act_publish_as(struct deeds_victim *v) { return publish_as(v, 8, KVSHM_PUBLISHED); }
static int act_duplicate(struct deeds_victim *v) { return publish_as(v, 0, KVSHM_DUPLICATE); }
static int act_duplicate_pending(struct deeds_victim *v) { return publish_as(v, 2, KVSHM_DUPLICATE_PENDING); }

/* ---- Clients ---------------------------------------------------------------------------------------------- */

static int act_attach(struct deeds_victim *v) { return kvshm_attach(v->name, NULL, &v->work.store); }
static int act_detach(struct deeds_victim *v) { return kvshm_detach(v->work.store); }
static int act_recover(struct deeds_victim *v) { return kvshm_recover(v->work.store, NULL); }

static void prepare_everything(struct deeds_victim *v)
{
	deeds_take(v, 0);
	base_expect(kvshm_pin(v->work.store, &v->holds[0].handle, &v->handles[0]), 0);
	deeds_alloc(v, 30);
	deeds_fill(v, 8);
	deeds_remove(v, 8);
	deeds_fill(v, 9);
	deeds_write(v, 10);
	deeds_join(v);
}

/* What prepare_everything() has, in one call. */
static int act_let_go(struct deeds_victim *v)
{
	struct kvshm_handle handles[DEEDS_BLOCKS];
	unsigned count = v->count;

	for (unsigned i = 0; i < count; i++)
		handles[i] = v->holds[i].handle;
	handles[count++] = v->handles[0];
	return kvshm_let_go(v->work.store, handles, count);
}

static void prepare_corpse(struct deeds_victim *v) { (void)deeds_die(v->name, v->stage); }

/* ---- Batches ---------------------------------------------------------------------------------------------- */

/* Carried out, and each item came to this. */
static int all(int rc, const int results[N], int first, int second, int third)
{
	return rc ? rc : results[0] == first && results[1] == second && results[2] == third ? 0 : -EPROTO;
}

static int act_get_batch(struct deeds_victim *v)
{
	struct kvshm_key keys[N] = { deeds_key(0), deeds_key(2), deeds_key(8) };
	int results[N];

	return all(kvshm_get_batch(v->work.store, keys, N, v->handles, results), results, 0, -EAGAIN, -ENOENT);
}

static int ask_batch(struct deeds_victim *v, bool shared)
{
	struct kvshm_key keys[N] = { deeds_key(0), deeds_key(2), deeds_key(8) };
	enum kvshm_outcome outcomes[N];
	int results[N];

	return all(shared ? kvshm_get_or_fill_shared_batch(v->work.store, keys, N, outcomes, v->handles, results)
			  : kvshm_get_or_fill_batch(v->work.store, keys, N, outcomes, v->handles, results), results,
		   0, 0, 0);
}

static int act_ask_batch(struct deeds_victim *v) { return ask_batch(v, false); }
static int act_ask_shared_batch(struct deeds_victim *v) { return ask_batch(v, true); }

static int act_remove_batch(struct deeds_victim *v)
{
	struct kvshm_key keys[N] = { deeds_key(0), deeds_key(2), deeds_key(8) };
	int results[N];

	return all(kvshm_remove_batch(v->work.store, keys, N, results), results, 0, 0, -ENOENT);
}

static int act_touch_batch(struct deeds_victim *v)
{
	struct kvshm_key keys[N] = { deeds_key(0), deeds_key(1), deeds_key(2) };
	int results[N];

	return all(kvshm_touch_batch(v->work.store, keys, N, results), results, 0, 0, -EAGAIN);
}

static void hand_over(struct deeds_victim *v)
{
	for (unsigned i = 0; i < N; i++)
		v->handles[i] = v->holds[i].handle;
}

static void prepare_fills(struct deeds_victim *v)
{
	for (unsigned i = 0; i < N; i++)
		deeds_write(v, 8 + i);
	hand_over(v);
}

static void prepare_owneds(struct deeds_victim *v)
{
	for (unsigned i = 0; i < N; i++)
		deeds_alloc(v, 8 + i);
	hand_over(v);
}

static void prepare_refs(struct deeds_victim *v)
{
	deeds_take(v, 0);
	deeds_take(v, 1);
	deeds_fill(v, 8);
	hand_over(v);
}

static void prepare_pins(struct deeds_victim *v)
{
	int results[N];

	prepare_refs(v);
	base_expect(kvshm_pin_batch(v->work.store, v->handles, N, v->handles, results), 0);
	release(v); /* of key 8 the pin is the last hold */
}

static int act_publish_batch(struct deeds_victim *v)
{
	int results[N];

	return all(kvshm_publish_batch(v->work.store, v->handles, v->metas, N, results), results, 0, 0, 0);
}

static int act_publish_as_batch(struct deeds_victim *v)
{
	struct kvshm_key keys[N] = { deeds_key(8), deeds_key(9), deeds_key(10) };
	enum kvshm_published published[N];
	int results[N];

	return all(kvshm_publish_as_batch(v->work.store, v->handles, keys, v->metas, N, published, results), results,
		   0, 0, 0);
}

static int act_give_up_batch(struct deeds_victim *v)
{
	int results[N];

	return all(kvshm_give_up_batch(v->work.store, v->handles, N, results), results, 0, 0, 0);
}

static int act_wait_batch(struct deeds_victim *v)
{
	int results[N];

	return all(kvshm_wait_batch(v->work.store, v->handles, N, 0, results), results, 0, 0, 0);
}

static int act_release_batch(struct deeds_victim *v)
{
	int results[N];

	return all(kvshm_release_batch(v->work.store, v->handles, N, results), results, 0, 0, 0);
}

static int act_pin_batch(struct deeds_victim *v)
{
	struct kvshm_handle refs[N] = { v->handles[0], v->handles[1], v->handles[2] };
	int results[N];

	return all(kvshm_pin_batch(v->work.store, refs, N, v->handles, results), results, 0, 0, 0);
}

static int act_unpin_batch(struct deeds_victim *v)
{
	int results[N];

	return all(kvshm_unpin_batch(v->work.store, v->handles, N, results), results, 0, 0, 0);
}

static int act_alloc_batch(struct deeds_victim *v)
{
	int results[N];

	return all(kvshm_alloc_batch(v->work.store, N, v->handles, results), results, 0, 0, 0);
}

static int act_ticket_batch(struct deeds_victim *v)
{
	int results[N];

	return all(kvshm_get_ticket_batch(v->work.store, v->handles, N, v->tickets, results), results, 0, 0, 0);
}

static int act_hold_batch(struct deeds_victim *v)
{
	enum kvshm_outcome outcomes[N];
	int results[N];

	return all(kvshm_hold_batch(v->work.store, v->stage->tickets, N, outcomes, v->handles, results), results,
		   0, 0, 0);
}

static int act_join_batch(struct deeds_victim *v)
{
	const struct kvshm_ticket tickets[N] = { v->stage->tickets[TICKET_SHARED], v->stage->tickets[TICKET_READY],
						 v->stage->tickets[TICKET_STALE] };
	int results[N];

	return all(kvshm_join_batch(v->work.store, tickets, 1, N, v->handles, results), results, 0, -EALREADY,
		   -ENOENT);
}

static int act_meta_batch(struct deeds_victim *v)
{
	int results[N];

	return all(kvshm_get_meta_batch(v->work.store, v->handles, N, v->metas, results), results, 0, 0, 0);
}

/* ---- The list --------------------------------------------------------------------------------------------- */

const struct deed deeds_of_keys[] = {
	{ .name = "attach", .act = act_attach, .attaches = true },
	{ .name = "attach, another is dead", .prepare = prepare_corpse, .act = act_attach, .attaches = true },
	{ .name = "detach", .act = act_detach },
	{ .name = "detach, with everything", .prepare = prepare_everything, .act = act_detach },
	{ .name = "recover", .prepare = prepare_corpse, .act = act_recover },
	{ .name = "recover, nobody is dead", .act = act_recover },
	{ .name = "get, ready", .act = act_get_ready },
	{ .name = "get, ready and not held", .act = act_get_unheld, .where = DEEDS_KEEP },
	{ .name = "get, missing", .act = act_get_missing, .rc = -ENOENT },
	{ .name = "get, pending", .act = act_get_pending, .rc = -EAGAIN },
	{ .name = "get-or-fill, ready", .act = act_ask_ready },
	{ .name = "get-or-fill, pending", .act = act_ask_pending },
	{ .name = "get-or-fill, a fill", .act = act_ask_missing },
	{ .name = "get-or-fill, evicting", .prepare = prepare_full, .act = act_ask_missing, .where = DEEDS_KEEP },
	{ .name = "get-or-fill, no room", .prepare = prepare_full_of_holds, .act = act_ask_missing, .rc = -ENOSPC,
	  .where = DEEDS_KEEP },
	{ .name = "get-or-fill, no room (drop)", .prepare = prepare_full_of_holds, .act = act_ask_missing,
	  .rc = -ENOSPC, .where = DEEDS_DROP },
	{ .name = "get-or-fill-shared, a fill", .act = act_ask_shared },
	{ .name = "publish", .prepare = prepare_fill, .act = publish },
	{ .name = "publish, removed meanwhile", .prepare = prepare_removed_fill, .act = publish, .rc = -ECANCELED },
	{ .name = "publish, the filler last", .prepare = prepare_filler_last, .act = publish },
	{ .name = "publish, the last plane", .prepare = prepare_last_part, .act = publish_part },
	{ .name = "publish, a plane", .prepare = prepare_part, .act = publish_part },
	{ .name = "join", .prepare = prepare_join, .act = act_join },
	{ .name = "join, taken", .prepare = prepare_join, .act = act_join_taken, .rc = -EBUSY },
	{ .name = "give-up", .prepare = prepare_fill, .act = give_up },
	{ .name = "give-up, a plane", .prepare = prepare_part, .act = give_up },
	{ .name = "give-up, without a key", .prepare = prepare_owned, .act = give_up },
	{ .name = "wait, ready", .prepare = prepare_wait_ready, .act = act_wait },
	{ .name = "wait, pending", .prepare = prepare_wait, .act = act_wait, .rc = -ETIMEDOUT },
	{ .name = "wait, for the dead", .prepare = prepare_wait_for_the_dead, .act = act_wait_long, .rc = -ECANCELED },
	{ .name = "release", .prepare = prepare_ref, .act = release },
	{ .name = "release, the last", .prepare = prepare_own_ref, .act = release },
	{ .name = "release, the last of a removed", .prepare = prepare_own_doomed, .act = release },
	{ .name = "pin", .prepare = prepare_ref, .act = act_pin },
	{ .name = "unpin", .prepare = prepare_pin, .act = act_unpin },
	{ .name = "unpin, the last", .prepare = prepare_last_pin, .act = act_unpin },
	{ .name = "let-go", .prepare = prepare_everything, .act = act_let_go },
	{ .name = "ticket", .prepare = prepare_ref, .act = act_ticket },
	{ .name = "hold, ready", .act = act_hold_ready },
	{ .name = "hold, pending", .act = act_hold_shared },
	{ .name = "hold, removed", .act = act_hold_doomed },
	{ .name = "hold, stale", .act = act_hold_stale, .rc = -ENOENT },
	{ .name = "get-meta", .prepare = prepare_ref, .act = act_meta },
	{ .name = "touch", .act = act_touch },
	{ .name = "match", .act = act_match },
	{ .name = "match-window", .act = act_window },
	{ .name = "remove, held", .prepare = prepare_remove, .act = act_remove_held },
	{ .name = "remove, not held", .prepare = prepare_remove, .act = act_remove_unheld, .where = DEEDS_KEEP },
	{ .name = "remove, pending", .prepare = prepare_remove, .act = act_remove_pending },
	{ .name = "remove, a shared fill", .prepare = prepare_remove, .act = act_remove_shared },
	{ .name = "remove, missing", .prepare = prepare_remove, .act = act_remove_missing, .rc = -ENOENT },
	{ .name = "clear", .prepare = prepare_clear, .act = act_clear, .one_step = true },
	{ .name = "alloc", .act = act_alloc },
	{ .name = "alloc, evicting", .prepare = prepare_full, .act = act_alloc, .where = DEEDS_KEEP },
	{ .name = "publish-as", .prepare = prepare_owned, .act = act_publish_as },
	{ .name = "publish-as, duplicate", .prepare = prepare_owned_of_ready, .act = act_duplicate },
	{ .name = "publish-as, of a pending", .prepare = prepare_owned_of_pending, .act = act_duplicate_pending },
	{ .name = "get-batch", .act = act_get_batch },
	{ .name = "get-or-fill-batch", .act = act_ask_batch },
	{ .name = "get-or-fill-shared-batch", .act = act_ask_shared_batch },
	{ .name = "remove-batch", .prepare = prepare_remove, .act = act_remove_batch },
	{ .name = "touch-batch", .act = act_touch_batch },
	{ .name = "publish-batch", .prepare = prepare_fills, .act = act_publish_batch },
	{ .name = "publish-as-batch", .prepare = prepare_owneds, .act = act_publish_as_batch },
	{ .name = "give-up-batch", .prepare = prepare_fills, .act = act_give_up_batch },
	{ .name = "wait-batch", .prepare = prepare_refs, .act = act_wait_batch },
	{ .name = "release-batch", .prepare = prepare_refs, .act = act_release_batch },
	{ .name = "pin-batch", .prepare = prepare_refs, .act = act_pin_batch },
	{ .name = "unpin-batch", .prepare = prepare_pins, .act = act_unpin_batch },
	{ .name = "alloc-batch", .act = act_alloc_batch },
	{ .name = "ticket-batch", .prepare = prepare_refs, .act = act_ticket_batch },
	{ .name = "hold-batch", .act = act_hold_batch },
	{ .name = "join-batch", .prepare = prepare_join, .act = act_join_batch },
	{ .name = "get-meta-batch", .prepare = prepare_refs, .act = act_meta_batch },
};
const unsigned deeds_of_keys_count = sizeof(deeds_of_keys) / sizeof(deeds_of_keys[0]);
