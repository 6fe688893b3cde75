/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * ops.c: see ops.h.
 */
#include "config.h"

#include "ops.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>

#define WRITING 3000 /* ns: real blocks are larger, and deaths in a fill more frequent */

/* ---- Steps ------------------------------------------------------------------------------------------------ */

static int ask(struct load_worker *w, unsigned key, enum kvshm_outcome *outcome, struct load_hold *hold)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(key, bytes);

	hold->key = key;
	return kvshm_get_or_fill(w->store, bytes, length, outcome, &hold->handle);
}

static int get(struct load_worker *w, unsigned key, struct load_hold *hold)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(key, bytes);

	hold->key = key;
	return kvshm_get(w->store, bytes, length, &hold->handle);
}

static unsigned any(struct load_worker *w)
{
	return base_below(&w->random, OPS_KEYS);
}

static void let_go(struct load_worker *w, struct load_hold *hold)
{
	if (hold->handle.kind == KVSHM_WRITER)
		base_expect(kvshm_give_up(w->store, &hold->handle), 0);
	else if (hold->handle.kind == KVSHM_PIN)
		base_expect(kvshm_unpin(w->store, &hold->handle), 0);
	else
		base_expect(kvshm_release(w->store, &hold->handle), 0);
}

/* False if the key was removed meanwhile. */
static bool publish(struct load_worker *w, struct load_hold *hold)
{
	struct kvshm_meta meta;
	int rc;

	load_write(w, hold, &meta);
	base_burn(WRITING);
	rc = kvshm_publish(w->store, &hold->handle, &meta);
	if (rc != -ECANCELED)
		base_expect(rc, 0);
	return rc == 0;
}

bool ops_take(struct load_worker *w, unsigned key, struct load_hold *hold)
{
	enum kvshm_outcome outcome;
	int rc = ask(w, key, &outcome, hold);

	if (rc == -ENOSPC)
		return false;
	base_expect(rc, 0);
	if (outcome == KVSHM_PENDING) {
		let_go(w, hold);
		return false;
	}
	if (outcome == KVSHM_FILL && !publish(w, hold))
		return false;
	load_verify(w, hold);
	return true;
}

void ops_prefill(struct load_worker *w)
{
	struct load_hold hold;

	for (unsigned key = 0; key < OPS_BLOCKS - 2; key++)
		if (ops_take(w, key, &hold))
			let_go(w, &hold);
}

void ops_hold_things(struct load_worker *w)
{
	enum kvshm_outcome outcome;
	struct kvshm_handle pin;
	struct load_hold hold;

	for (unsigned i = 0; i < 3; i++)
		if (ops_take(w, any(w), &hold)) {
			base_expect(kvshm_pin(w->store, &hold.handle, &pin), 0);
			if (i == 0)
				let_go(w, &hold); /* the pin stays */
		}
	(void)ask(w, any(w), &outcome, &hold);
}

void ops_look_at_keys(struct load_worker *w)
{
	for (unsigned key = 0; key < OPS_KEYS; key++) {
		struct load_hold hold;
		int rc = get(w, key, &hold);

		if (rc == -ENOENT)
			continue;
		base_expect(rc, 0);
		load_verify(w, &hold);
		let_go(w, &hold);
	}
}

/* ---- Kinds ------------------------------------------------------------------------------------------------ */

static void round_get(struct ops_victim *v)
{
	struct load_hold hold;
	int rc = get(&v->work, any(&v->work), &hold);

	if (rc == -ENOENT || rc == -EAGAIN)
		return;
	base_expect(rc, 0);
	load_verify(&v->work, &hold);
	let_go(&v->work, &hold);
}

static void round_fill(struct ops_victim *v)
{
	struct load_hold hold;

	if (ops_take(&v->work, any(&v->work), &hold))
		let_go(&v->work, &hold);
}

static void round_give_up(struct ops_victim *v)
{
	enum kvshm_outcome outcome;
	struct load_hold hold;
	int rc = ask(&v->work, any(&v->work), &outcome, &hold);

	if (rc == -ENOSPC)
		return;
	base_expect(rc, 0);
	let_go(&v->work, &hold);
}

static void round_wait(struct ops_victim *v)
{
	enum kvshm_outcome outcome;
	struct load_hold hold;
	int rc = ask(&v->work, OPS_AWAITED, &outcome, &hold);

	if (rc == -ENOSPC)
		return;
	base_expect(rc, 0);
	if (outcome == KVSHM_PENDING) {
		rc = kvshm_wait(v->work.store, &hold.handle, base_now() + BASE_MS / 10);
		if (rc == -ECANCELED)
			return;
		base_check(rc == 0 || rc == -ETIMEDOUT);
	}
	let_go(&v->work, &hold);
}

static void round_pin(struct ops_victim *v)
{
	struct load_hold hold, pin;

	if (!ops_take(&v->work, any(&v->work), &hold))
		return;
	pin = hold;
	base_expect(kvshm_pin(v->work.store, &hold.handle, &pin.handle), 0);
	let_go(&v->work, &hold);
	load_verify(&v->work, &pin);
	let_go(&v->work, &pin);
}

static void round_remove(struct ops_victim *v)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	unsigned key = any(&v->work);
	size_t length = load_key(key, bytes);
	struct load_hold hold;
	bool held = ops_take(&v->work, key, &hold);
	int rc = kvshm_remove(v->work.store, bytes, length);

	base_check(rc == 0 || rc == -ENOENT);
	if (held) {
		load_verify(&v->work, &hold); /* the bytes stay until the last hold has ended */
		let_go(&v->work, &hold);
	}
}

static void round_match(struct ops_victim *v)
{
	unsigned char bytes[4][KVSHM_KEY_MAX];
	unsigned first = any(&v->work);
	struct kvshm_handle refs[4];
	struct kvshm_key keys[4];
	enum kvshm_next next;
	size_t ready;

	for (unsigned i = 0; i < 4; i++) {
		keys[i].bytes = bytes[i];
		keys[i].length = load_key((first + i) % OPS_KEYS, bytes[i]);
	}
	base_expect(kvshm_match(v->work.store, keys, 4, refs, &ready, &next), 0);
	for (unsigned i = 0; i < ready; i++) {
		struct load_hold hold = { .handle = refs[i], .key = (first + i) % OPS_KEYS };

		load_verify(&v->work, &hold);
		let_go(&v->work, &hold);
	}
}

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

const struct ops_kind ops_kinds[] = {
	{ .name = "get", .round = round_get },
	{ .name = "fill", .round = round_fill },
	{ .name = "give-up", .round = round_give_up },
	{ .name = "wait", .round = round_wait, .awaits = true },
	{ .name = "pin", .round = round_pin },
	{ .name = "remove", .round = round_remove },
	{ .name = "match", .round = round_match },
	{ .name = "attach", .round = round_attach, .attaches = true },
	{ .name = "detach", .round = round_detach, .attaches = true },
};
const unsigned ops_count = sizeof(ops_kinds) / sizeof(ops_kinds[0]);

/* ---- Victims ---------------------------------------------------------------------------------------------- */

void ops_run(void *arg)
{
	struct ops_victim *v = arg;
	struct ops_stage *stage = v->stage;

	v->work.books = &stage->books;
	if (!v->kind->attaches)
		base_expect(kvshm_attach(v->name, NULL, &v->work.store), 0);
	while (!atomic_load(&stage->books.stop)) {
		uint64_t begin = base_now();

		atomic_fetch_add(&stage->rounds, 1);
		v->kind->round(v);
		atomic_store(&stage->round_ns, base_now() - begin);
	}
	if (!v->kind->attaches)
		base_expect(kvshm_detach(v->work.store), 0);
}

pid_t ops_start(struct ops_victim *v, uint64_t random)
{
	pid_t pid;

	atomic_store(&v->stage->rounds, 0);
	atomic_store(&v->stage->books.stop, false);
	v->work.random = random;
	v->work.id = random | 1;
	pid = base_fork(ops_run, v);
	while (atomic_load(&v->stage->rounds) < 3)
		(void)sched_yield();
	return pid;
}

void ops_aim(const struct ops_stage *stage, uint64_t *random)
{
	uint64_t round = atomic_load(&stage->round_ns);

	base_burn(base_random(random) % (2 * round + 1000));
}

/* ---- The survivor's work ---------------------------------------------------------------------------------- */

bool ops_use(struct load_worker *w)
{
	struct load_hold hold;
	bool room = ops_take(w, OPS_FRESH + base_below(&w->random, 2), &hold);

	if (room)
		let_go(w, &hold);
	return room;
}

void ops_use_all(const char *name, struct load_books *books)
{
	struct load_worker w = { .books = books, .random = base_stream(7), .id = 9 };
	struct load_hold holds[OPS_BLOCKS];

	base_expect(kvshm_attach(name, NULL, &w.store), 0);
	for (unsigned i = 0; i < OPS_BLOCKS; i++)
		base_check(ops_take(&w, i, &holds[i]));
	for (unsigned i = 0; i < OPS_BLOCKS; i++) {
		load_verify(&w, &holds[i]);
		base_expect(kvshm_release(w.store, &holds[i].handle), 0);
	}
	base_expect(kvshm_detach(w.store), 0);
	load_check(books);
	base_judge(name, OPS_BLOCKS);
}
