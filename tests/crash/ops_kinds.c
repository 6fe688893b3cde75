/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * ops_kinds.c: what a victim does, of each kind. See ops.h.
 */
#include "config.h"

#include "ops.h"

#include <errno.h>

#define N 4U /* keys of a match or a batch */

/* ---- Keys ------------------------------------------------------------------------------------------------- */

static void round_get(struct ops_victim *v)
{
	struct load_hold hold;
	int rc = ops_get(&v->work, ops_any(&v->work), &hold);

	if (rc == -ENOENT || rc == -EAGAIN)
		return;
	base_expect(rc, 0);
	load_verify(&v->work, &hold);
	ops_let_go(&v->work, &hold);
}

static void round_fill(struct ops_victim *v)
{
	struct load_hold hold;

	if (ops_take(&v->work, ops_any(&v->work), &hold))
		ops_let_go(&v->work, &hold);
}

static void round_give_up(struct ops_victim *v)
{
	enum kvshm_outcome outcome;
	struct load_hold hold;
	int rc = ops_ask(&v->work, ops_any(&v->work), &outcome, &hold);

	if (rc == -ENOSPC)
		return;
	base_expect(rc, 0);
	ops_let_go(&v->work, &hold);
}

static void round_wait(struct ops_victim *v)
{
	enum kvshm_outcome outcome;
	struct load_hold hold;
	int rc = ops_ask(&v->work, OPS_AWAITED, &outcome, &hold);

	if (rc == -ENOSPC)
		return;
	base_expect(rc, 0);
	if (outcome == KVSHM_PENDING) {
		rc = kvshm_wait(v->work.store, &hold.handle, base_now() + BASE_MS / 10);
		if (rc == -ECANCELED)
			return;
		base_check(rc == 0 || rc == -ETIMEDOUT);
	}
	ops_let_go(&v->work, &hold);
}

static void round_pin(struct ops_victim *v)
{
	struct load_hold hold, pin;

	if (!ops_take(&v->work, ops_any(&v->work), &hold))
		return;
	pin = hold;
	base_expect(kvshm_pin(v->work.store, &hold.handle, &pin.handle), 0);
	ops_let_go(&v->work, &hold);
	load_verify(&v->work, &pin);
	ops_let_go(&v->work, &pin);
}

static void round_remove(struct ops_victim *v)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	unsigned key = ops_any(&v->work);
	size_t length = load_key(key, bytes);
	struct load_hold hold;
	bool held = ops_take(&v->work, key, &hold);
	int rc = kvshm_remove(v->work.store, bytes, length);

	base_check(rc == 0 || rc == -ENOENT);
	if (held) {
		load_verify(&v->work, &hold); /* the bytes stay until the last hold has ended */
		ops_let_go(&v->work, &hold);
	}
}

/* Keys that follow each other. */
struct keys {
	unsigned number[N];
	unsigned char bytes[N][KVSHM_KEY_MAX];
	struct kvshm_key key[N];
};

static void make_keys(unsigned first, struct keys *keys)
{
	for (unsigned i = 0; i < N; i++) {
		keys->number[i] = (first + i) % OPS_KEYS;
		keys->key[i] = (struct kvshm_key){ keys->bytes[i], load_key(keys->number[i], keys->bytes[i]) };
	}
}

/* Verifies what is held, and lets go of it. */
static void let_go_of_refs(struct load_worker *w, const struct keys *keys, const struct kvshm_handle *refs,
			   size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct load_hold hold = { .handle = refs[i], .key = keys->number[i] };

		if (hold.handle.kind == KVSHM_NONE)
			continue;
		load_verify(w, &hold);
		ops_let_go(w, &hold);
	}
}

static void round_match(struct ops_victim *v)
{
	struct kvshm_handle refs[N];
	struct keys keys;
	enum kvshm_next next;
	size_t ready;

	make_keys(ops_any(&v->work), &keys);
	base_expect(kvshm_match(v->work.store, keys.key, N, refs, &ready, &next), 0);
	let_go_of_refs(&v->work, &keys, refs, ready);
}

static void round_window(struct ops_victim *v)
{
	struct kvshm_handle refs[N];
	struct keys keys;
	enum kvshm_next next;
	size_t ready;

	make_keys(ops_any(&v->work), &keys);
	base_expect(kvshm_match_window(v->work.store, keys.key, N, N / 2, refs, &ready, &next), 0);
	let_go_of_refs(&v->work, &keys, refs, ready);
}

static void round_touch(struct ops_victim *v)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(ops_any(&v->work), bytes);
	int rc = kvshm_touch(v->work.store, bytes, length);

	base_check(rc == 0 || rc == -ENOENT || rc == -EAGAIN);
}

/* Clears are counted, and so must not be too many. */
static void round_clear(struct ops_victim *v)
{
	base_burn(OPS_WRITING);
	base_expect(kvshm_clear(v->work.store), 0);
}

/* Asks for all, publishes what was missing, all at once, and lets go of all. */
static void round_batch(struct ops_victim *v)
{
	struct load_worker *w = &v->work;
	enum kvshm_outcome outcomes[N];
	struct kvshm_handle handles[N];
	struct kvshm_meta metas[N] = { { 0 } };
	struct keys keys;
	int results[N], published[N];

	make_keys(ops_any(w), &keys);
	base_expect(kvshm_get_or_fill_batch(w->store, keys.key, N, outcomes, handles, results), 0);
	for (unsigned i = 0; i < N; i++) {
		struct load_hold hold = { .handle = handles[i], .key = keys.number[i] };

		base_check(results[i] == 0 || results[i] == -ENOSPC);
		if (results[i] == 0 && outcomes[i] == KVSHM_FILL)
			load_write(w, &hold, &metas[i]);
	}
	base_burn(OPS_WRITING);
	base_expect(kvshm_publish_batch(w->store, handles, metas, N, published), 0);
	for (unsigned i = 0; i < N; i++)
		if (results[i] == 0 && outcomes[i] == KVSHM_FILL)
			base_check(published[i] == 0 || published[i] == -ECANCELED);
	base_expect(kvshm_wait_batch(w->store, handles, N, 0, results), 0);
	for (unsigned i = 0; i < N; i++)
		if (results[i] == -ETIMEDOUT)
			base_expect(kvshm_release(w->store, &handles[i]), 0);
	let_go_of_refs(w, &keys, handles, N);
}

/* ---- Clients ---------------------------------------------------------------------------------------------- */

static void round_attach(struct ops_victim *v)
{
	base_expect(kvshm_attach(v->name, NULL, &v->work.store), 0);
	base_expect(kvshm_detach(v->work.store), 0);
}

static void round_detach(struct ops_victim *v)
{
	base_expect(kvshm_attach(v->name, NULL, &v->work.store), 0);
	ops_hold_things(&v->work);
	base_expect(kvshm_detach(v->work.store), 0);
}

/* ---- Blocks without a key, tickets, shared fills ---------------------------------------------------------- */

static void round_owned(struct ops_victim *v)
{
	struct load_hold hold = { .key = ops_any(&v->work) };
	enum kvshm_published published;
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(hold.key, bytes);
	struct kvshm_meta meta;
	int rc = kvshm_alloc(v->work.store, &hold.handle);

	if (rc == -ENOSPC)
		return;
	base_expect(rc, 0);
	load_write(&v->work, &hold, &meta);
	base_burn(OPS_WRITING);
	if (base_below(&v->work.random, 4) == 0) {
		ops_let_go(&v->work, &hold);
		return;
	}
	rc = kvshm_publish_as(v->work.store, &hold.handle, bytes, length, &meta, &published);
	if (rc == -ECANCELED)
		return; /* cleared meanwhile */
	base_expect(rc, 0);
	if (published != KVSHM_DUPLICATE_PENDING)
		load_verify(&v->work, &hold);
	ops_let_go(&v->work, &hold);
}

static void round_ticket(struct ops_victim *v)
{
	struct load_worker *w = &v->work;
	struct load_hold hold, again;
	enum kvshm_outcome outcome;
	struct kvshm_ticket ticket;
	int rc;

	ops_hold_given(w, v->stage);
	if (!ops_take(w, ops_any(w), &hold))
		return;
	again = hold;
	base_expect(kvshm_get_ticket(w->store, &hold.handle, &ticket), 0);
	base_expect(kvshm_hold(w->store, &ticket, &outcome, &again.handle), 0);
	base_check(outcome == KVSHM_READY && again.handle.life == hold.handle.life);
	ops_let_go(w, &hold);
	load_verify(w, &again);
	ops_let_go(w, &again);
	rc = kvshm_hold(w->store, &ticket, &outcome, &again.handle); /* nobody holds it, but it may be there */
	base_check(rc == 0 || rc == -ENOENT);
	if (rc == 0)
		ops_let_go(w, &again);
}

static void round_part_filler(struct ops_victim *v)
{
	struct load_worker *w = &v->work;
	enum kvshm_outcome outcome;
	struct load_hold hold;
	int rc = ops_ask_shared(w, ops_any(w), &outcome, &hold);

	if (rc == -ENOSPC)
		return;
	base_expect(rc, 0);
	if (outcome == KVSHM_FILL)
		ops_fill_shared(w, &hold);
	else
		ops_let_go(w, &hold);
}

static void round_part_writer(struct ops_victim *v)
{
	ops_write_share(&v->work, v->stage);
}

const struct ops_kind ops_kinds[] = {
	{ .name = "get", .round = round_get },
	{ .name = "fill", .round = round_fill },
	{ .name = "give-up", .round = round_give_up },
	{ .name = "wait", .round = round_wait, .awaits = true },
	{ .name = "pin", .round = round_pin },
	{ .name = "remove", .round = round_remove },
	{ .name = "match", .round = round_match },
	{ .name = "window", .round = round_window },
	{ .name = "touch", .round = round_touch },
	{ .name = "clear", .round = round_clear, .clears = true },
	{ .name = "batch", .round = round_batch },
	{ .name = "owned", .round = round_owned },
	{ .name = "ticket", .round = round_ticket, .gives = true },
	{ .name = "part-filler", .round = round_part_filler },
	{ .name = "part-writer", .round = round_part_writer, .shares = true },
	{ .name = "request", .round = ops_round_request },
	{ .name = "room", .round = ops_round_room },
	{ .name = "claim", .round = ops_round_claim, .lends = true },
	{ .name = "attach", .round = round_attach, .attaches = true },
	{ .name = "detach", .round = round_detach, .attaches = true },
};
const unsigned ops_count = sizeof(ops_kinds) / sizeof(ops_kinds[0]);
