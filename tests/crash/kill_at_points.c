/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * kill_at_points.c: a client is killed at random moments of each kind of call, recovery included, and the one that
 * survives recovers it in one of the ways of R19: its next attach, a failed allocation, a wait, a call, the owner's
 * call. One such look is enough. Then (D1, D2, R19, R20) nothing of the dead one is left, every key is whole or
 * absent, every block is accounted for, and the store takes work at once. What is measured is the time from the kill
 * until all is back: below a second.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>

#include "ops.h"

#define CORPSES 2

enum way { WAY_ATTACH, WAY_ALLOCATION, WAY_WAIT, WAY_CALL, WAY_OWNER, WAYS };

static const char *const way_names[WAYS] = { "attach", "failed allocation", "wait", "call", "owner's call" };

struct run {
	const char *name;
	kvshm_owner *owner;
	struct ops_stage *stage;
	struct load_worker work;     /* the survivor's */
	struct load_hold awaited;
	struct load_hold held[OPS_BLOCKS / 2]; /* what keeps keys in a drop store while the victim works */
	unsigned held_count;
	struct base_histogram *back; /* for each way */
	uint64_t kills;
	bool drop;
};

/* ---- Recovery --------------------------------------------------------------------------------------------- */

/* Takes every block of the store: those of the dead one must come back for that. */
static void recover_by_allocation(struct run *r)
{
	struct load_hold holds[OPS_BLOCKS];
	enum kvshm_outcome outcome;

	for (unsigned i = 0; i < OPS_BLOCKS; i++) {
		unsigned char bytes[KVSHM_KEY_MAX];
		size_t length = load_key(OPS_FRESH + 2 + i, bytes);

		base_expect(kvshm_get_or_fill(r->work.store, bytes, length, &outcome, &holds[i].handle), 0);
		base_check(outcome == KVSHM_FILL);
	}
	for (unsigned i = 0; i < OPS_BLOCKS; i++)
		base_expect(kvshm_give_up(r->work.store, &holds[i].handle), 0);
}

/* Waits for a key that the dead one was filling; false if there is none, or it was whole, so that nobody looked at the
 * dead one. */
static bool recover_by_wait(struct run *r)
{
	for (unsigned key = 0; key < OPS_KEYS; key++) {
		unsigned char bytes[KVSHM_KEY_MAX];
		size_t length = load_key(key, bytes);
		enum kvshm_outcome outcome;
		struct kvshm_handle handle;
		int rc = kvshm_get(r->work.store, bytes, length, &handle);

		if (rc == 0)
			base_expect(kvshm_release(r->work.store, &handle), 0);
		if (rc != -EAGAIN)
			continue;
		base_expect(kvshm_get_or_fill(r->work.store, bytes, length, &outcome, &handle), 0);
		base_check(outcome == KVSHM_PENDING);
		rc = kvshm_wait(r->work.store, &handle, base_now() + BASE_SECOND);
		if (rc == 0) {
			base_expect(kvshm_release(r->work.store, &handle), 0);
			return false;
		}
		base_expect(rc, -ECANCELED);
		base_check(handle.kind == KVSHM_NONE);
		return true;
	}
	return false;
}

static enum way recover(struct run *r, enum way way)
{
	kvshm_store *second;

	switch (way) {
	case WAY_ATTACH:
		base_expect(kvshm_attach(r->name, NULL, &second), 0);
		base_expect(kvshm_detach(second), 0);
		return way;
	case WAY_ALLOCATION:
		recover_by_allocation(r);
		return way;
	case WAY_OWNER:
		base_expect(kvshm_owner_recover(r->owner, NULL), 0);
		return way;
	case WAY_WAIT:
		if (recover_by_wait(r))
			return way;
		break;
	case WAY_CALL:
	case WAYS:
		break;
	}
	base_expect(kvshm_recover(r->work.store, NULL), 0);
	return WAY_CALL;
}

/* The victim, or several of no kind, are dead since then: gets all back, and looks whether that is so. */
static void bury(struct run *r, const struct ops_kind *kind, uint64_t died)
{
	enum way way = recover(r, (enum way)base_below(&r->work.random, WAYS));
	const char *name = kind ? kind->name : "recover";
	unsigned found;
	char why[256];

	r->kills++;
	/* A dead one that had nothing is no reason for an allocation to fail; who waits looks at its filler only. */
	if ((way == WAY_ALLOCATION || (way == WAY_WAIT && !kind)) && !base_at_rest(r->name, OPS_BLOCKS, why))
		base_expect(kvshm_recover(r->work.store, NULL), 0);
	if (!base_at_rest(r->name, OPS_BLOCKS, why))
		base_fail("killed in %s, recovered by %s: %s", name, way_names[way], why);
	base_histogram_add(&r->back[way], base_now() - died);
	found = ops_look_at_keys(&r->work);
	if (kind && kind->clears)
		base_check(found == 0);
	if (!ops_use(&r->work))
		base_fail("killed in %s, recovered by %s: no room afterwards: %s", name, way_names[way], kvshm_error());
	ops_use_requests(&r->work);
	load_check(&r->stage->books);
}

/* ---- Deaths ----------------------------------------------------------------------------------------------- */

/* Keys are there while the victim works; one is being filled where it waits. */
static void set_out(struct run *r, const struct ops_kind *kind)
{
	enum kvshm_outcome outcome;

	ops_prefill(&r->work);
	for (r->held_count = 0; r->drop && r->held_count < OPS_BLOCKS / 2; r->held_count++)
		base_check(ops_take(&r->work, r->held_count, &r->held[r->held_count]));
	if (kind)
		ops_set_out(&r->work, r->stage, kind);
	if (kind && kind->awaits) {
		unsigned char bytes[KVSHM_KEY_MAX];
		size_t length = load_key(OPS_AWAITED, bytes);

		base_expect(kvshm_get_or_fill(r->work.store, bytes, length, &outcome, &r->awaited.handle), 0);
		base_check(outcome == KVSHM_FILL);
	}
}

static void clear_away(struct run *r, const struct ops_kind *kind)
{
	ops_clear_away(&r->work, r->stage, true);
	if (kind && kind->awaits)
		base_expect(kvshm_give_up(r->work.store, &r->awaited.handle), 0);
	while (r->held_count)
		base_expect(kvshm_release(r->work.store, &r->held[--r->held_count].handle), 0);
}

static void kill_in(struct run *r, const struct ops_kind *kind)
{
	struct ops_victim victim = { .name = r->name, .kind = kind, .stage = r->stage };
	uint64_t died;
	pid_t pid;

	set_out(r, kind);
	pid = ops_start(&victim, base_random(&r->work.random));
	ops_aim(r->stage, &r->work.random);
	died = base_now();
	base_signal(pid, SIGKILL);
	base_check(base_reap(pid) == SIGKILL);
	clear_away(r, kind);
	bury(r, kind, died);
}

/* One of those whom the recoverer is to recover. */
static void be_corpse(void *arg)
{
	struct ops_victim *v = arg;

	v->work.books = &v->stage->books;
	base_expect(kvshm_attach(v->name, NULL, &v->work.store), 0);
	ops_hold_things(&v->work);
	atomic_fetch_add(&v->stage->rounds, 1);
	while (!atomic_load(&v->stage->books.stop))
		(void)sched_yield();
}

static void be_recoverer(void *arg)
{
	struct ops_victim *v = arg;
	uint64_t begin;

	base_expect(kvshm_attach(v->name, NULL, &v->work.store), 0);
	atomic_fetch_add(&v->stage->rounds, 1);
	while (!atomic_load(&v->stage->books.stop))
		;
	begin = base_now();
	base_expect(kvshm_recover(v->work.store, NULL), 0);
	atomic_store(&v->stage->round_ns, base_now() - begin);
	for (;;)
		(void)sched_yield();
}

static void kill_recoverer(struct run *r)
{
	struct ops_victim victim = { .name = r->name, .stage = r->stage };
	pid_t corpses[CORPSES], recoverer;
	uint64_t died;

	set_out(r, NULL);
	atomic_store(&r->stage->books.stop, false);
	atomic_store(&r->stage->rounds, 0);
	recoverer = base_fork(be_recoverer, &victim);
	for (unsigned i = 0; i < CORPSES; i++) {
		victim.work.random = base_random(&r->work.random);
		victim.work.id = i + 1;
		corpses[i] = base_fork(be_corpse, &victim);
	}
	while (atomic_load(&r->stage->rounds) < CORPSES + 1)
		(void)sched_yield();
	died = base_now();
	for (unsigned i = 0; i < CORPSES; i++) {
		base_signal(corpses[i], SIGKILL);
		base_check(base_reap(corpses[i]) == SIGKILL);
	}
	atomic_store(&r->stage->books.stop, true); /* the recoverer's sign */
	ops_aim(r->stage, &r->work.random);
	base_signal(recoverer, SIGKILL);
	base_check(base_reap(recoverer) == SIGKILL);
	clear_away(r, NULL);
	bury(r, NULL, died);
}

/* ---- Runs ------------------------------------------------------------------------------------------------- */

static void try(enum kvshm_retain retain, const char *what)
{
	struct kvshm_create_options options;
	struct run r = {
		.name = base_store(what), .stage = base_shared(sizeof(*r.stage)), .drop = retain == KVSHM_DROP
	};
	uint64_t end = base_phase(2400);

	r.back = base_shared(WAYS * sizeof(*r.back));
	r.stage->books.planes = 2;
	r.stage->books.kills = true;
	r.work = (struct load_worker){ .books = &r.stage->books, .random = base_stream(retain), .id = 1 };
	load_options(&options, OPS_BLOCKS, 2, retain);
	options.clients = 8;
	options.requests = 8;
	base_expect(kvshm_create(r.name, &options, &r.owner), 0);
	base_expect(kvshm_attach(r.name, NULL, &r.work.store), 0);
	while (base_now() < end) {
		for (unsigned i = 0; i < ops_count; i++)
			kill_in(&r, &ops_kinds[i]);
		kill_recoverer(&r);
	}
	base_judge(r.name, OPS_BLOCKS);
	(void)printf("%s: %" PRIu64 " kills in %u kinds of calls; %" PRIu64 " recoveries, of these %" PRIu64
		     " fills and %" PRIu64 " held blocks\n", what, r.kills, ops_count + 1,
		     base_counter(r.name, "recoveries"), base_counter(r.name, "recovered_fills"),
		     base_counter(r.name, "recovered_holds"));
	(void)printf("    %" PRIu64 " requests, %" PRIu64 " aborted; %" PRIu64 " rooms, %" PRIu64 " too late; %" PRIu64
		     " claims\n", base_counter(r.name, "requests"), base_counter(r.name, "requests_aborted"),
		     base_counter(r.name, "rooms"), base_counter(r.name, "rooms_timed_out"),
		     base_counter(r.name, "claims"));
	for (unsigned i = 0; i < WAYS; i++) {
		char text[64];

		(void)snprintf(text, sizeof(text), "from the kill until all was back, by %s", way_names[i]);
		base_histogram_judge(&r.back[i], text);
	}
	base_check(base_counter(r.name, "recovered_fills") > 0 && base_counter(r.name, "recovered_holds") > 0);
	base_expect(kvshm_detach(r.work.store), 0);
	base_expect(kvshm_destroy(r.owner), 0);
	base_check(base_files(r.name) == 0);
}

int main(void)
{
	base_begin();
	try(KVSHM_KEEP, "keep");
	try(KVSHM_DROP, "drop");
	return base_pass();
}
