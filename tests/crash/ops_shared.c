/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * ops_shared.c: tickets and shared fills of a survivor and its victim. See ops.h.
 */
#include "config.h"

#include "ops.h"

#include <errno.h>

/* ---- The survivor ----------------------------------------------------------------------------------------- */

static void share_out(struct load_worker *w, struct ops_stage *stage)
{
	for (stage->shares = 0; stage->shares < OPS_SHARES; stage->shares++) {
		struct ops_share *share = &stage->share[stage->shares];
		enum kvshm_outcome outcome;

		share->tried = share->done = 0;
		share->failed = false;
		base_expect(ops_ask_shared(w, OPS_SHARED + stage->shares, &outcome, &share->hold), 0);
		base_check(outcome == KVSHM_FILL);
		base_expect(kvshm_get_ticket(w->store, &share->hold.handle, &share->ticket), 0);
	}
}

static void give_out(struct load_worker *w, struct ops_stage *stage)
{
	for (stage->givens = 0; stage->givens < OPS_GIVEN; stage->givens++) {
		struct ops_given *given = &stage->given[stage->givens];

		base_check(ops_take(w, stage->givens, &given->hold));
		base_expect(kvshm_get_ticket(w->store, &given->hold.handle, &given->ticket), 0);
	}
}

void ops_set_out(struct load_worker *w, struct ops_stage *stage, const struct ops_kind *kind)
{
	stage->shares = stage->givens = 0;
	if (kind->shares)
		share_out(w, stage);
	if (kind->gives)
		give_out(w, stage);
	if (kind->lends)
		ops_lend(w, stage);
}

/* Ends a part; what becomes of the fill is told to its filler. */
static void end_part(struct load_worker *w, struct load_hold *part)
{
	int rc;

	load_write_plane(w, part, part->handle.plane);
	base_burn(OPS_WRITING);
	rc = kvshm_publish(w->store, &part->handle, NULL);
	if (rc == 0)
		base_expect(kvshm_release(w->store, &part->handle), 0);
	else
		base_expect(rc, -ECANCELED);
}

/* The planes that the victim did not claim; returns those that it did. */
static uint32_t write_the_rest(struct load_worker *w, struct ops_share *share)
{
	uint32_t claimed = 0;

	for (unsigned plane = 0; plane < w->books->planes; plane++) {
		struct load_hold part = share->hold;
		int rc = kvshm_join(w->store, &share->ticket, plane, &part.handle);

		if (rc == 0)
			end_part(w, &part);
		else if (rc == -EBUSY)
			claimed |= UINT32_C(1) << plane;
		else
			base_expect(rc, -ECANCELED);
	}
	return claimed;
}

/* A plane that the victim was at when it died is a reason for a cancellation; one that it has published is not. */
static void end_share(struct load_worker *w, struct ops_share *share, bool alone)
{
	uint32_t claimed = write_the_rest(w, share);
	bool must_be_whole = alone && !share->failed && share->tried == share->done;
	struct kvshm_meta meta;
	int rc;

	load_describe(&share->hold, &meta);
	rc = kvshm_publish(w->store, &share->hold.handle, &meta);
	if (rc == 0)
		rc = kvshm_wait(w->store, &share->hold.handle, base_now() + BASE_SECOND);
	if (rc == 0) {
		load_verify(w, &share->hold);
		ops_let_go(w, &share->hold);
	} else {
		base_expect(rc, -ECANCELED);
		base_check(!must_be_whole);
	}
	base_check((claimed & ~share->tried) == 0);
}

void ops_clear_away(struct load_worker *w, struct ops_stage *stage, bool alone)
{
	if (stage->lent)
		ops_take_back(w, stage);
	while (stage->shares)
		end_share(w, &stage->share[--stage->shares], alone);
	while (stage->givens) {
		struct load_hold *hold = &stage->given[--stage->givens].hold;

		load_verify(w, hold);
		ops_let_go(w, hold);
	}
}

/* ---- The victim ------------------------------------------------------------------------------------------- */

void ops_hold_given(struct load_worker *w, struct ops_stage *stage)
{
	struct ops_given *given;
	enum kvshm_outcome outcome;
	struct load_hold hold;

	if (!stage->givens)
		return;
	given = &stage->given[base_below(&w->random, stage->givens)];
	hold = given->hold;
	base_expect(kvshm_hold(w->store, &given->ticket, &outcome, &hold.handle), 0);
	base_check(outcome == KVSHM_READY);
	load_verify(w, &hold);
	ops_let_go(w, &hold);
}

/* There are only so many planes: each lasts a while, or the victim would be through before it is struck. A survivor
 * that works meanwhile may clear the store. */
#define AT_A_PLANE 60000 /* ns, at most */
static void write_plane_of(struct load_worker *w, struct ops_share *share, unsigned plane)
{
	struct load_hold part = share->hold;
	int rc;

	atomic_fetch_or(&share->tried, UINT32_C(1) << plane);
	rc = kvshm_join(w->store, &share->ticket, plane, &part.handle);
	if (rc) {
		base_expect(rc, -ECANCELED);
		return;
	}
	base_burn(base_random(&w->random) % AT_A_PLANE);
	if (base_below(&w->random, 8) == 0) {
		atomic_store(&share->failed, true);
		base_expect(kvshm_give_up(w->store, &part.handle), 0);
		return;
	}
	end_part(w, &part);
	atomic_fetch_or(&share->done, UINT32_C(1) << plane);
}

void ops_write_share(struct load_worker *w, struct ops_stage *stage)
{
	for (unsigned i = 0; i < stage->shares; i++)
		for (unsigned plane = 0; plane < w->books->planes; plane++)
			if (!(atomic_load(&stage->share[i].tried) >> plane & 1)) {
				write_plane_of(w, &stage->share[i], plane);
				return;
			}
}

/* Planes, and as the last number what the filler says, in any order, each once. */
void ops_fill_shared(struct load_worker *w, struct load_hold *hold)
{
	unsigned parts = w->books->planes + 1, first = base_below(&w->random, parts);
	bool fails = base_below(&w->random, 8) == 0;
	struct kvshm_ticket ticket;
	struct kvshm_meta meta;
	int rc = 0;

	base_expect(kvshm_get_ticket(w->store, &hold->handle, &ticket), 0);
	load_describe(hold, &meta);
	for (unsigned i = 0; i < parts && hold->handle.kind != KVSHM_NONE; i++) {
		unsigned plane = (first + i) % parts;
		struct load_hold part = *hold;

		if (plane == parts - 1) {
			rc = kvshm_publish(w->store, &hold->handle, &meta);
			base_check(rc == 0 || rc == -ECANCELED);
			continue;
		}
		rc = kvshm_join(w->store, &ticket, plane, &part.handle);
		base_check(rc == 0 || rc == -ECANCELED);
		if (rc == 0 && fails && i == parts / 2)
			base_expect(kvshm_give_up(w->store, &part.handle), 0);
		else if (rc == 0)
			end_part(w, &part);
	}
	if (hold->handle.kind == KVSHM_NONE)
		return;
	rc = kvshm_wait(w->store, &hold->handle, base_now() + BASE_SECOND);
	if (rc) {
		base_expect(rc, -ECANCELED);
		return;
	}
	load_verify(w, hold);
	ops_let_go(w, hold);
}
