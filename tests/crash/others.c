/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * others.c: see others.h. They fill and remove keys 5 to 11, and read all; they open the same two requests, and end
 * each other's.
 */
#include "config.h"

#include "others.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "deeds_inner.h"

#define N 3U

static unsigned any_of_theirs(struct load_worker *w)
{
	return 5 + base_below(&w->random, 7);
}

static void let_go(struct load_worker *w, struct kvshm_handle *handle)
{
	base_expect(handle->kind == KVSHM_PIN ? kvshm_unpin(w->store, handle) : kvshm_release(w->store, handle), 0);
}

static void read_key(struct load_worker *w)
{
	struct load_hold hold = { .key = base_below(&w->random, DEEDS_FULL) };
	struct kvshm_key key = deeds_key(hold.key);
	struct kvshm_handle pin;

	if (kvshm_get(w->store, key.bytes, key.length, &hold.handle))
		return;
	load_verify(w, &hold);
	base_expect(kvshm_pin(w->store, &hold.handle, &pin), 0);
	let_go(w, &hold.handle);
	let_go(w, &pin);
}

static void publish(struct load_worker *w, struct load_hold *hold)
{
	struct kvshm_meta meta;
	int rc;

	load_write(w, hold, &meta);
	rc = kvshm_publish(w->store, &hold->handle, &meta);
	base_check(rc == 0 || rc == -ECANCELED);
	if (rc == 0) {
		load_verify(w, hold);
		let_go(w, &hold->handle);
	}
}

static void ask(struct load_worker *w)
{
	struct load_hold hold = { .key = any_of_theirs(w) };
	struct kvshm_key key = deeds_key(hold.key);
	enum kvshm_outcome outcome;
	int rc = kvshm_get_or_fill(w->store, key.bytes, key.length, &outcome, &hold.handle);

	if (rc == -ENOSPC)
		return;
	base_expect(rc, 0);
	if (outcome == KVSHM_FILL && base_below(&w->random, 4) == 0) {
		base_expect(kvshm_give_up(w->store, &hold.handle), 0);
	} else if (outcome == KVSHM_FILL) {
		publish(w, &hold);
	} else {
		rc = kvshm_wait(w->store, &hold.handle, 0);
		if (rc == 0)
			load_verify(w, &hold);
		if (rc != -ECANCELED)
			let_go(w, &hold.handle);
	}
}

static void own(struct load_worker *w)
{
	struct load_hold hold = { .key = any_of_theirs(w) };
	struct kvshm_key key = deeds_key(hold.key);
	enum kvshm_published published;
	struct kvshm_meta meta;
	int rc;

	if (kvshm_alloc(w->store, &hold.handle))
		return;
	load_write(w, &hold, &meta);
	rc = kvshm_publish_as(w->store, &hold.handle, key.bytes, key.length, &meta, &published);
	base_check(rc == 0 || rc == -ECANCELED);
	if (rc == 0)
		let_go(w, &hold.handle);
}

static void remove_key(struct load_worker *w)
{
	struct kvshm_key key = deeds_key(any_of_theirs(w));
	int rc = kvshm_remove(w->store, key.bytes, key.length);

	base_check(rc == 0 || rc == -ENOENT);
}

static void hold_by_ticket(struct load_worker *w, const struct others *o)
{
	enum kvshm_outcome outcome;
	struct kvshm_handle ref;

	if (kvshm_hold(w->store, &o->tickets[base_below(&w->random, TICKETS)], &outcome, &ref) == 0)
		let_go(w, &ref);
}

static void match(struct load_worker *w)
{
	unsigned first = base_below(&w->random, DEEDS_FULL - N);
	struct kvshm_key keys[N];
	struct kvshm_handle refs[N];
	enum kvshm_next next;
	size_t ready;

	for (unsigned i = 0; i < N; i++)
		keys[i] = deeds_key(first + i);
	base_expect(kvshm_match(w->store, keys, N, refs, &ready, &next), 0);
	for (size_t i = 0; i < ready; i++)
		let_go(w, &refs[i]);
}

/* ---- Requests --------------------------------------------------------------------------------------------- */

/* A call of a request's owner: others may have asked for its end. */
static bool goes_on(int rc, int or, int or_else)
{
	base_check(rc == 0 || rc == -ECANCELED || rc == or || rc == or_else);
	return rc == 0;
}

static void fill_for(struct load_worker *w, const struct kvshm_request *request)
{
	struct load_hold hold = { .key = any_of_theirs(w) };
	struct kvshm_key key = deeds_key(hold.key);
	enum kvshm_outcome outcome;
	struct kvshm_meta meta;
	int rc = kvshm_request_get_or_fill(w->store, request, key.bytes, key.length, &outcome, &hold.handle);

	if (!goes_on(rc, -ENOSPC, 0) || outcome != KVSHM_FILL)
		return;
	if (base_below(&w->random, 4) == 0) {
		base_expect(kvshm_give_up(w->store, &hold.handle), 0);
		return;
	}
	load_write(w, &hold, &meta);
	if (goes_on(kvshm_publish(w->store, &hold.handle, &meta), 0, 0))
		load_verify(w, &hold);
}

static void match_for(struct load_worker *w, const struct kvshm_request *request)
{
	struct load_hold hold = { .key = base_below(&w->random, DEEDS_FULL) };
	struct kvshm_key key = deeds_key(hold.key);
	enum kvshm_next next;
	size_t ready;

	if (!goes_on(kvshm_request_match(w->store, request, &key, 1, &hold.handle, &ready, &next), 0, 0) || !ready)
		return;
	load_verify(w, &hold);
	if (base_below(&w->random, 2))
		(void)goes_on(kvshm_request_release(w->store, request, &hold.handle, 1), 0, 0);
}

/* Another's: looks whether it is complete, claims of its keys, ends it. */
static void meddle(struct load_worker *w, const struct kvshm_request *request)
{
	struct kvshm_key key = deeds_key(any_of_theirs(w));
	struct kvshm_handle ref;
	int result, rc;

	rc = kvshm_request_wait(w->store, request, 0);
	base_check(rc == 0 || rc == -ETIMEDOUT || rc == -ECANCELED);
	rc = kvshm_request_claim(w->store, request, &key, 1, &ref, &result);
	base_check(rc == 0 || rc == -ECANCELED);
	if (rc == 0 && result == 0)
		let_go(w, &ref);
	if (base_below(&w->random, 2)) {
		rc = kvshm_request_end(w->store, request);
		base_check(rc == 0 || rc == -EALREADY);
	}
}

/* Attempts go up with the time, whoever makes them. */
static void request(struct load_worker *w)
{
	char id = (char)('0' + base_below(&w->random, 2));
	struct kvshm_request request;
	int rc = kvshm_request_open(w->store, &id, 1, (uint32_t)(base_now() / 1000), 1, &request);

	if (rc == -EEXIST && kvshm_request_find(w->store, &id, 1, &request) == 0) {
		meddle(w, &request);
		return;
	}
	base_check(rc == 0 || rc == -EEXIST || rc == -EALREADY || rc == -ENFILE);
	if (rc)
		return;
	(void)goes_on(kvshm_request_reserve(w->store, &request, 1 + base_below(&w->random, 2), 0), -ETIMEDOUT, 0);
	match_for(w, &request);
	fill_for(w, &request);
	rc = kvshm_request_complete(w->store, &request, 0);
	base_check(rc == 0 || rc == -ECANCELED || rc == -EINPROGRESS || rc == -EAGAIN || rc == -ETIMEDOUT);
	rc = kvshm_request_end(w->store, &request);
	base_check(rc == 0 || rc == -EALREADY);
}

static void do_something(struct load_worker *w, const struct others *o)
{
	switch (base_below(&w->random, 10)) {
	case 0: own(w); break;
	case 1: remove_key(w); break;
	case 2: hold_by_ticket(w, o); break;
	case 3: match(w); break;
	case 4: case 5: read_key(w); break;
	case 6: case 7: request(w); break;
	default: ask(w);
	}
}

static void attach(struct others *o, struct others_note *note, struct load_worker *w)
{
	unsigned number = (unsigned)(note - o->notes);
	struct kvshm_geometry geometry;

	*w = (struct load_worker){ .books = &o->books, .random = o->random + number, .id = 4 + number };
	base_expect(kvshm_attach(o->name, NULL, &w->store), 0);
	base_expect(kvshm_get_geometry(w->store, &geometry), 0);
	atomic_store(&note->slot, geometry.slot);
}

static void call(struct others *o, struct others_note *note, struct load_worker *w)
{
	uint64_t begin = base_now(), ns;

	do_something(w, o);
	ns = base_now() - begin;
	if (ns > atomic_load(&note->slowest))
		atomic_store(&note->slowest, ns);
	atomic_fetch_add(&note->calls, 1);
}

struct one {
	struct others *others;
	struct others_note *note;
};

/* They go where there is a processor, not only where the victim is. */
static void work(void *arg)
{
	const struct one *one = arg;
	struct load_worker w;
	cpu_set_t all;

	memset(&all, 0xff, sizeof(all));
	base_check(sched_setaffinity(0, sizeof(all), &all) == 0);
	attach(one->others, one->note, &w);
	while (!atomic_load(&one->others->stop))
		call(one->others, one->note, &w);
	base_expect(kvshm_detach(w.store), 0);
}

struct others *others_new(void)
{
	return base_shared(sizeof(struct others));
}

void others_start(struct others *o, const char *name, const struct deeds_stage *stage, uint64_t random)
{
	memset(o, 0, sizeof(*o));
	o->books.planes = DEEDS_PLANES;
	o->books.kills = o->books.brief = true;
	o->name = name;
	o->random = random;
	memcpy(o->tickets, stage->tickets, sizeof(o->tickets));
	attach(o, &o->notes[OTHERS], &o->own);
	for (unsigned i = 0; i < OTHERS; i++) {
		struct one one = { o, &o->notes[i] };

		o->pids[i] = base_fork(work, &one);
	}
	for (unsigned i = 0; i < OTHERS; i++)
		while (atomic_load(&o->notes[i].calls) == 0)
			(void)sched_yield();
}

uint64_t others_slots(const struct others *o)
{
	uint64_t slots = 0;

	for (unsigned i = 0; i <= OTHERS; i++)
		slots |= UINT64_C(1) << atomic_load(&o->notes[i].slot);
	return slots;
}

void others_call(struct others *o)
{
	call(o, &o->notes[OTHERS], &o->own);
}

void others_freeze(struct others *o)
{
	int status;

	for (unsigned i = 0; i < OTHERS; i++)
		base_signal(o->pids[i], SIGSTOP);
	for (unsigned i = 0; i < OTHERS; i++)
		if (waitpid(o->pids[i], &status, WUNTRACED) != o->pids[i] || !WIFSTOPPED(status))
			base_fail("one of the others ended with status %#x", (unsigned)status);
}

void others_thaw(struct others *o)
{
	for (unsigned i = 0; i < OTHERS; i++)
		base_signal(o->pids[i], SIGCONT);
}

void others_end(struct others *o)
{
	atomic_store(&o->stop, true);
	for (unsigned i = 0; i < OTHERS; i++)
		base_check(base_reap(o->pids[i]) == 0);
	base_expect(kvshm_detach(o->own.store), 0);
	load_check(&o->books);
}
