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

/* ---- Steps ------------------------------------------------------------------------------------------------ */

int ops_ask(struct load_worker *w, unsigned key, enum kvshm_outcome *outcome, struct load_hold *hold)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(key, bytes);

	*hold = (struct load_hold){ .key = key };
	return kvshm_get_or_fill(w->store, bytes, length, outcome, &hold->handle);
}

int ops_ask_shared(struct load_worker *w, unsigned key, enum kvshm_outcome *outcome, struct load_hold *hold)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(key, bytes);

	*hold = (struct load_hold){ .key = key };
	return kvshm_get_or_fill_shared(w->store, bytes, length, outcome, &hold->handle);
}

int ops_get(struct load_worker *w, unsigned key, struct load_hold *hold)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(key, bytes);

	*hold = (struct load_hold){ .key = key };
	return kvshm_get(w->store, bytes, length, &hold->handle);
}

unsigned ops_any(struct load_worker *w)
{
	return base_below(&w->random, OPS_KEYS);
}

void ops_let_go(struct load_worker *w, struct load_hold *hold)
{
	if (hold->handle.kind >= KVSHM_WRITER)
		base_expect(kvshm_give_up(w->store, &hold->handle), 0);
	else if (hold->handle.kind == KVSHM_PIN)
		base_expect(kvshm_unpin(w->store, &hold->handle), 0);
	else
		base_expect(kvshm_release(w->store, &hold->handle), 0);
}

bool ops_publish(struct load_worker *w, struct load_hold *hold)
{
	struct kvshm_meta meta;
	int rc;

	load_write(w, hold, &meta);
	base_burn(OPS_WRITING);
	rc = kvshm_publish(w->store, &hold->handle, &meta);
	if (rc != -ECANCELED)
		base_expect(rc, 0);
	return rc == 0;
}

bool ops_take(struct load_worker *w, unsigned key, struct load_hold *hold)
{
	enum kvshm_outcome outcome;
	int rc = ops_ask(w, key, &outcome, hold);

	if (rc == -ENOSPC)
		return false;
	base_expect(rc, 0);
	if (outcome == KVSHM_PENDING) {
		ops_let_go(w, hold);
		return false;
	}
	if (outcome == KVSHM_FILL && !ops_publish(w, hold))
		return false;
	load_verify(w, hold);
	return true;
}

void ops_prefill(struct load_worker *w)
{
	struct load_hold hold;

	for (unsigned key = 0; key < OPS_BLOCKS - 2; key++)
		if (ops_take(w, key, &hold))
			ops_let_go(w, &hold);
}

void ops_hold_things(struct load_worker *w)
{
	struct kvshm_ticket ticket;
	enum kvshm_outcome outcome;
	struct kvshm_handle pin, part, owned;
	struct load_hold hold;
	int rc;

	for (unsigned i = 0; i < 3; i++)
		if (ops_take(w, ops_any(w), &hold)) {
			base_expect(kvshm_pin(w->store, &hold.handle, &pin), 0);
			if (i == 0)
				ops_let_go(w, &hold); /* the pin stays */
		}
	(void)ops_ask(w, ops_any(w), &outcome, &hold);
	(void)kvshm_alloc(w->store, &owned);
	if (ops_ask_shared(w, ops_any(w), &outcome, &hold) || outcome != KVSHM_FILL)
		return;
	base_expect(kvshm_get_ticket(w->store, &hold.handle, &ticket), 0);
	rc = kvshm_join(w->store, &ticket, 0, &part);
	base_check(rc == 0 || rc == -ECANCELED); /* others may remove the key, or clear the store */
}

unsigned ops_look_at_keys(struct load_worker *w)
{
	unsigned found = 0;

	for (unsigned key = 0; key < OPS_KEYS; key++) {
		struct load_hold hold;
		int rc = ops_get(w, key, &hold);

		if (rc == -ENOENT)
			continue;
		base_expect(rc, 0);
		load_verify(w, &hold);
		ops_let_go(w, &hold);
		found++;
	}
	return found;
}

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
		ops_let_go(w, &hold);
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
