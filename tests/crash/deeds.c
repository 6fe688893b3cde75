/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * deeds.c: those who take part in a deed: the survivor, the victim, and one who died before. See deeds.h.
 */
#include "config.h"

#include "deeds_inner.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

/* ---- Steps ------------------------------------------------------------------------------------------------ */

struct kvshm_key deeds_key(unsigned number)
{
	static unsigned char bytes[KVSHM_KEY_MAX * 32];
	unsigned char *at = bytes + (size_t)(number % 32) * KVSHM_KEY_MAX;

	return (struct kvshm_key){ at, load_key(number, at) };
}

/* A fill of a key that is missing. */
static struct load_hold begin_fill(struct load_worker *w, unsigned number, bool shared)
{
	struct kvshm_key key = deeds_key(number);
	struct load_hold hold = { .key = number };
	enum kvshm_outcome outcome;

	base_expect(shared ? kvshm_get_or_fill_shared(w->store, key.bytes, key.length, &outcome, &hold.handle)
			   : kvshm_get_or_fill(w->store, key.bytes, key.length, &outcome, &hold.handle), 0);
	base_check(outcome == KVSHM_FILL);
	return hold;
}

static struct load_hold fill(struct load_worker *w, unsigned number)
{
	struct load_hold hold = begin_fill(w, number, false);
	struct kvshm_meta meta;

	load_write(w, &hold, &meta);
	base_expect(kvshm_publish(w->store, &hold.handle, &meta), 0);
	return hold;
}

static void let_go(struct load_worker *w, struct load_hold *hold)
{
	base_expect(kvshm_release(w->store, &hold->handle), 0);
}

static void remove_key(struct load_worker *w, unsigned number)
{
	struct kvshm_key key = deeds_key(number);

	base_expect(kvshm_remove(w->store, key.bytes, key.length), 0);
}

static struct kvshm_request open_request(struct load_worker *w, const char *id, uint32_t blocks)
{
	struct kvshm_request request;

	base_expect(kvshm_request_open(w->store, id, strlen(id), 1, blocks, &request), 0);
	return request;
}

static void match(struct load_worker *w, const struct kvshm_request *request, unsigned number)
{
	struct kvshm_key key = deeds_key(number);
	struct kvshm_handle lent;
	enum kvshm_next next;
	size_t ready;

	base_expect(kvshm_request_match(w->store, request, &key, 1, &lent, &ready, &next), 0);
	base_check(ready == 1);
}

const struct deed *deeds_one(unsigned number)
{
	if (number < deeds_of_keys_count)
		return &deeds_of_keys[number];
	number -= deeds_of_keys_count;
	return number < deeds_of_requests_count ? &deeds_of_requests[number] : NULL;
}

/* ---- The survivor ----------------------------------------------------------------------------------------- */

static void take_one_of_everything(struct deeds_survivor *s, struct deeds_stage *stage)
{
	struct load_worker *w = &s->work;
	struct load_hold brief;

	s->ref = fill(w, 0);
	base_expect(kvshm_get_ticket(w->store, &s->ref.handle, &stage->tickets[TICKET_READY]), 0);
	s->pin = brief = fill(w, 1);
	base_expect(kvshm_pin(w->store, &brief.handle, &s->pin.handle), 0);
	let_go(w, &brief);
	s->fill = begin_fill(w, 2, false);
	s->shared = s->part = begin_fill(w, 3, true);
	base_expect(kvshm_get_ticket(w->store, &s->shared.handle, &stage->tickets[TICKET_SHARED]), 0);
	base_expect(kvshm_join(w->store, &stage->tickets[TICKET_SHARED], 0, &s->part.handle), 0);
	s->doomed = fill(w, 4);
	base_expect(kvshm_get_ticket(w->store, &s->doomed.handle, &stage->tickets[TICKET_DOOMED]), 0);
	remove_key(w, 4);
	s->owned = (struct load_hold){ .key = 30 };
	base_expect(kvshm_alloc(w->store, &s->owned.handle), 0);
}

static void open_requests(struct load_worker *w, struct deeds_stage *stage)
{
	struct kvshm_request *requests = stage->requests;

	requests[REQUEST_CLOSED] = open_request(w, DEEDS_CLOSED, 0);
	base_expect(kvshm_request_end(w->store, &requests[REQUEST_CLOSED]), 0);
	requests[REQUEST_OPEN] = open_request(w, DEEDS_OPEN, 2);
	match(w, &requests[REQUEST_OPEN], 1);
	base_expect(kvshm_request_reserve(w->store, &requests[REQUEST_OPEN], 1, base_now() + BASE_SECOND), 0);
	requests[REQUEST_COMPLETE] = open_request(w, DEEDS_COMPLETE, 1);
	match(w, &requests[REQUEST_COMPLETE], 0);
	base_expect(kvshm_request_complete(w->store, &requests[REQUEST_COMPLETE], 0), 0);
}

void deeds_survive(struct deeds_survivor *s, const char *name, struct deeds_stage *stage, bool drop)
{
	struct load_hold brief;

	s->work = (struct load_worker){ .books = &stage->books, .random = 1, .id = 1 };
	base_expect(kvshm_attach(name, NULL, &s->work.store), 0);
	brief = fill(&s->work, 4);
	base_expect(kvshm_get_ticket(s->work.store, &brief.handle, &stage->tickets[TICKET_STALE]), 0);
	remove_key(&s->work, 4);
	let_go(&s->work, &brief);
	take_one_of_everything(s, stage);
	open_requests(&s->work, stage);
	for (unsigned key = 5; key < 8 && !drop; key++) {
		brief = fill(&s->work, key);
		let_go(&s->work, &brief);
	}
}

/* The end of a fill, or of a part, that others may have cancelled if its key is among theirs. */
static void end_fill(struct deeds_survivor *s, const struct deeds_stage *stage, struct load_hold *hold, int rc)
{
	base_check(rc == 0 || (rc == -ECANCELED && stage->may_change >> hold->key & 1));
	if (rc == 0)
		let_go(&s->work, hold);
}

/* The end of a request, which others may have asked for if the deed was about that. */
static void end_request(struct deeds_survivor *s, const struct deeds_stage *stage, enum deeds_request which)
{
	int rc = kvshm_request_end(s->work.store, &stage->requests[which]);

	base_check(rc == 0 || (rc == -EALREADY && stage->may_end));
}

void deeds_let_go(struct deeds_survivor *s, const struct deeds_stage *stage)
{
	kvshm_store *store = s->work.store;
	struct kvshm_meta meta;

	load_verify(&s->work, &s->ref);
	load_verify(&s->work, &s->pin);
	load_verify(&s->work, &s->doomed);
	let_go(&s->work, &s->ref);
	base_expect(kvshm_unpin(store, &s->pin.handle), 0);
	let_go(&s->work, &s->doomed);
	load_write(&s->work, &s->fill, &meta);
	end_fill(s, stage, &s->fill, kvshm_publish(store, &s->fill.handle, &meta));
	load_write_plane(&s->work, &s->part, 0);
	end_fill(s, stage, &s->part, kvshm_publish(store, &s->part.handle, NULL));
	base_expect(kvshm_give_up(store, &s->shared.handle), 0);
	load_write(&s->work, &s->owned, &meta);
	base_expect(kvshm_give_up(store, &s->owned.handle), 0);
	end_request(s, stage, REQUEST_OPEN);
	end_request(s, stage, REQUEST_COMPLETE);
	base_expect(kvshm_request_end(store, &stage->requests[REQUEST_CLOSED]), -EALREADY);
	base_expect(kvshm_detach(store), 0);
	load_check(&stage->books);
}

/* ---- The victim ------------------------------------------------------------------------------------------- */

void deeds_take(struct deeds_victim *v, unsigned number)
{
	struct kvshm_key key = deeds_key(number);
	struct load_hold *hold = &v->holds[v->count++];

	hold->key = number;
	base_expect(kvshm_get(v->work.store, key.bytes, key.length, &hold->handle), 0);
}

void deeds_about(struct deeds_victim *v, unsigned number)
{
	v->stage->may_change |= UINT64_C(1) << number;
}

void deeds_begin(struct deeds_victim *v, unsigned number, bool shared)
{
	v->holds[v->count++] = begin_fill(&v->work, number, shared);
	deeds_about(v, number);
}

void deeds_write(struct deeds_victim *v, unsigned number)
{
	deeds_begin(v, number, false);
	load_write(&v->work, &v->holds[v->count - 1], &v->metas[(v->count - 1) % DEEDS_HANDLES]);
}

void deeds_fill(struct deeds_victim *v, unsigned number)
{
	v->holds[v->count++] = fill(&v->work, number);
	deeds_about(v, number);
}

void deeds_remove(struct deeds_victim *v, unsigned number)
{
	remove_key(&v->work, number);
}

/* Takes every block that is left, for keys of their own; and keeps them, or not. */
void deeds_make_full(struct deeds_victim *v, bool hold)
{
	unsigned number = DEEDS_FULL;

	for (;; number++) {
		struct kvshm_key key = deeds_key(number);
		struct load_hold brief = { .key = number };
		struct kvshm_usage usage;
		enum kvshm_outcome outcome;
		struct kvshm_meta meta;

		base_usage(v->name, &usage);
		if (usage.free + usage.grace == 0)
			break;
		base_expect(kvshm_get_or_fill(v->work.store, key.bytes, key.length, &outcome, &brief.handle), 0);
		load_write(&v->work, &brief, &meta);
		base_expect(kvshm_publish(v->work.store, &brief.handle, &meta), 0);
		deeds_about(v, number);
		if (hold)
			v->holds[v->count++] = brief;
		else
			let_go(&v->work, &brief);
	}
	base_check(number <= 24);
}

void deeds_alloc(struct deeds_victim *v, unsigned number)
{
	struct load_hold *hold = &v->holds[v->count++];

	hold->key = number;
	base_expect(kvshm_alloc(v->work.store, &hold->handle), 0);
	load_write(&v->work, hold, &v->metas[(v->count - 1) % DEEDS_HANDLES]);
	deeds_about(v, number);
}

/* Its writer is the victim: whoever recovers the victim dooms the survivor's fill. */
void deeds_join(struct deeds_victim *v)
{
	struct load_hold *hold = &v->holds[v->count++];

	hold->key = 3;
	base_expect(kvshm_join(v->work.store, &v->stage->tickets[TICKET_SHARED], 1, &hold->handle), 0);
	load_write_plane(&v->work, hold, 1);
	deeds_about(v, 3);
}

void deeds_do(void *victim)
{
	struct deeds_victim *v = victim;
	struct kvshm_geometry geometry;

	v->stage->slot = KVSHM_NO_SLOT;
	if (!v->deed->attaches) {
		base_expect(kvshm_attach(v->name, NULL, &v->work.store), 0);
		base_expect(kvshm_get_geometry(v->work.store, &geometry), 0);
		v->stage->slot = geometry.slot;
	}
	if (v->deed->prepare)
		v->deed->prepare(v);
	step_enter(&v->stage->step);
	v->stage->rc = v->deed->act(v);
	step_leave(&v->stage->step);
}

/* ---- One who died before ---------------------------------------------------------------------------------- */

struct corpse {
	const char *name;
	struct deeds_stage *stage;
};

static void attach(const struct corpse *c, struct load_worker *w)
{
	struct kvshm_geometry geometry;

	*w = (struct load_worker){ .books = &c->stage->books, .random = 1, .id = 3 };
	base_expect(kvshm_attach(c->name, NULL, &w->store), 0);
	base_expect(kvshm_get_geometry(w->store, &geometry), 0);
	c->stage->corpse = geometry.slot;
}

static void be_corpse(void *arg)
{
	const struct corpse *c = arg;
	struct kvshm_key key = deeds_key(0);
	struct kvshm_handle ref, pin, owned, part;
	struct kvshm_request request;
	struct load_worker w;

	attach(c, &w);
	base_expect(kvshm_get(w.store, key.bytes, key.length, &ref), 0);
	base_expect(kvshm_pin(w.store, &ref, &pin), 0);
	base_expect(kvshm_alloc(w.store, &owned), 0);
	(void)begin_fill(&w, 11, false);
	base_expect(kvshm_join(w.store, &c->stage->tickets[TICKET_SHARED], 1, &part), 0);
	(void)fill(&w, 10); /* and a ref of it */
	request = open_request(&w, DEEDS_CORPSE, 2);
	match(&w, &request, 10);
	base_expect(kvshm_request_reserve(w.store, &request, 1, base_now() + BASE_SECOND), 0);
	(void)raise(SIGKILL);
}

/* It wants the whole store, of which the survivor has a part. */
static void be_corpse_in_line(void *arg)
{
	const struct corpse *c = arg;
	struct kvshm_request request;
	struct load_worker w;

	attach(c, &w);
	request = open_request(&w, DEEDS_CORPSE, 2);
	match(&w, &request, 0);
	base_expect(kvshm_request_queue(w.store, &request, DEEDS_BLOCKS, base_now() + 100 * BASE_SECOND),
		    -EINPROGRESS);
	(void)raise(SIGKILL);
}

uint32_t deeds_die(const char *name, struct deeds_stage *stage)
{
	struct corpse corpse = { name, stage };

	base_check(base_reap(base_fork(be_corpse, &corpse)) == SIGKILL);
	stage->may_change |= UINT64_C(1) << 3 | UINT64_C(1) << 10;
	return stage->corpse;
}

void deeds_die_in_line(const char *name, struct deeds_stage *stage)
{
	struct corpse corpse = { name, stage };

	base_check(base_reap(base_fork(be_corpse_in_line, &corpse)) == SIGKILL);
}
