/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * grants.c: what is granted to a sender, and taken back: answers to offers, windows, commits, fences. See inbound.h.
 *
 * Positions of one answer that follow each other, and whose blocks do, share a window for each plane: a window costs a
 * work request to open and one to withdraw, as much as some hundred KiB cost to be written. But none of its blocks can
 * be published before all are committed, and one that is given up waits for the others: so a run ends at RUN_BYTES a
 * plane, where a window's price is a small part, and at RUN_BLOCKS.
 *
 * Guarantees: inbound.h's (tests/model/remote_fence.pml). A run's end is told to the inbound once
 * (kvr_inbound_fenced()), whichever of withdrawn() and the link's end comes first; and never before what devices have
 * written to GPU memory by it is flushed (E1), which is done once for all that a turn of the loop has to tell of.
 */
#include "config.h"

#include "inbound.h"

#include <stdlib.h>

#include "attached.h"
#include "fault.h"
#include "internal.h"

#define RUN_BYTES (UINT64_C(4) << 20)
#define RUN_BLOCKS UINT32_C(256)

/* ---- Runs ------------------------------------------------------------------------------------------------------ */

static void link_run(struct kvr_run **list, struct kvr_run *run)
{
	run->next = *list;
	run->back = list;
	if (run->next)
		run->next->back = &run->next;
	*list = run;
}

static void unlink_run(struct kvr_run *run)
{
	*run->back = run->next;
	if (run->next)
		run->next->back = run->back;
}

/* Nothing lands by it any more: its positions are told. It stays while the transport has windows of it. error: what
 * did land can't be trusted, for that. */
static void settle(struct kvr_incoming *incoming, struct kvr_run *run, int error)
{
	unlink_run(run);
	run->incoming = NULL;
	link_run(&incoming->source->settled, run);
	for (uint32_t i = run->first; i < run->first + run->count; i++) {
		struct kvr_answer *answer = &incoming->answers[i];
		bool whole = answer->committed == incoming->planes && !answer->given_up && !error;

		answer->run = NULL;
		answer->state = KVR_ANSWER_LAST;
		kvr_inbound_fenced(incoming->inbound, i, whole ? incoming->planes : 0,
				   answer->given_up ? -ECANCELED : error);
	}
}

static void free_run(struct kvr_run *run)
{
	unlink_run(run);
	free(run);
}

/* ---- Flushes (E1) ---------------------------------------------------------------------------------------------- */

/* For who has to mend it; senders are told the error. */
static int flush_gpus(const struct kvr_receiver *receiver)
{
	int rc = kvg_attached_flush(receiver->store->gpu);

	if (rc)
		kvs_log(KVS_LOG_WARNING, "blocks that came from other nodes are given up: %s", kvs_fault_text());
	return rc;
}

/* Nothing lands by it any more: it is settled now, or behind the next flush. */
static void land(struct kvr_run *run)
{
	const struct kvr_source *source = run->incoming->source;
	struct kvr_receiver *receiver = source->receiver;

	if (!receiver->in_gpu || !source->peer->transport->dma || !run->windows) {
		settle(run->incoming, run, 0);
	} else if (!run->unflushed) {
		run->unflushed = true;
		run->next_unflushed = receiver->unflushed;
		receiver->unflushed = run;
		kvr_loop_call(&receiver->node->loop, &receiver->flush);
	}
}

/* What lands behind this flush waits for the next one: as does what ends because of what is told here. */
void kvr_grants_flush(struct kvr_call *call)
{
	struct kvr_receiver *receiver = KVR_OWNER(struct kvr_receiver, flush, call);
	struct kvr_run *run = receiver->unflushed, *next;
	int rc = flush_gpus(receiver);

	receiver->unflushed = NULL;
	for (; run; run = next) {
		struct kvr_inbound *inbound = run->incoming->inbound;

		next = run->next_unflushed;
		run->unflushed = false;
		settle(run->incoming, run, rc);
		if (run->withdrawn == run->windows)
			free_run(run);
		kvr_inbound_look(inbound);
	}
}

/* Those of one source wait for no flush any more. */
static void forget_unflushed(const struct kvr_source *source)
{
	struct kvr_run **at = &source->receiver->unflushed;

	while (*at)
		if ((*at)->incoming->source == source)
			*at = (*at)->next_unflushed;
		else
			at = &(*at)->next_unflushed;
}

/* ---- The ends of runs ------------------------------------------------------------------------------------------ */

/* Takes its windows back. Of a link that is down nothing need be: its end follows. */
static void end_run(struct kvr_run *run)
{
	struct kvr_peer *peer = run->incoming->source->peer;

	if (run->ending || peer->state != KVR_PEER_UP)
		return;
	run->ending = true;
	for (uint32_t i = 0; i < run->windows; i++)
		kvr_peer_withdraw(peer, run->window[i]);
	if (run->windows == 0 || peer->unfenced)
		land(run);
	if (run->windows == 0)
		free_run(run);
}

void kvr_grants_withdrawn(struct kvr_run *run)
{
	if (++run->withdrawn < run->windows)
		return;
	if (run->incoming)
		land(run);
	if (!run->unflushed)
		free_run(run);
}

void kvr_grants_withdraw(struct kvr_incoming *incoming)
{
	struct kvr_run *next;

	for (struct kvr_run *run = incoming->runs; run; run = next) {
		next = run->next;
		end_run(run);
	}
}

static void free_all(struct kvr_run **list)
{
	struct kvr_run *run;

	while ((run = *list) != NULL) {
		*list = run->next;
		free(run);
	}
}

static bool has_runs(const struct kvr_source *source)
{
	const struct kvr_incoming *incoming = source->incomings;

	while (incoming && !incoming->runs)
		incoming = incoming->next;
	return incoming;
}

void kvr_grants_lost(struct kvr_source *source)
{
	const struct kvr_receiver *receiver = source->receiver;
	int rc = 0;

	forget_unflushed(source);
	if (receiver->in_gpu && source->peer->transport->dma && has_runs(source))
		rc = flush_gpus(receiver);
	for (struct kvr_incoming *incoming = source->incomings; incoming; incoming = incoming->next)
		while (incoming->runs)
			settle(incoming, incoming->runs, rc);
	free_all(&source->settled);
}

/* ---- Commits --------------------------------------------------------------------------------------------------- */

static int not_granted(const struct kvr_incoming *incoming, const struct kvr_commit *commit)
{
	return kvs_fault(EPROTO, "a COMMIT of position %u, planes %#x, in transfer %u: it was not granted, or was "
				 "committed before",
			 commit->position, commit->planes, incoming->number);
}

int kvr_grants_commit(struct kvr_incoming *incoming, const struct kvr_commit *commit)
{
	const struct kvr_inbound *inbound = incoming->inbound;
	struct kvr_peer *peer = incoming->source->peer;
	struct kvr_answer *answer;

	if (commit->position >= inbound->blocks)
		return not_granted(incoming, commit);
	answer = &incoming->answers[commit->position];
	if (answer->state != KVR_ANSWER_WRITE || commit->planes == 0 || commit->planes & ~incoming->planes ||
	    commit->planes & answer->committed)
		return not_granted(incoming, commit);
	answer->committed |= commit->planes;
	if (commit->kind == KVR_WHOLE) {
		kvr_peer_count(peer, KVS_PEER_commits, 1);
		kvr_peer_count(peer, KVS_PEER_bytes,
			       inbound->positions[commit->position].offered->meta.length *
				       (unsigned)__builtin_popcount(commit->planes));
	} else {
		answer->given_up = true;
	}
	if (answer->committed != incoming->planes)
		return 0;
	answer->state = KVR_ANSWER_LAST;
	if (--answer->run->left == 0)
		end_run(answer->run);
	return 0;
}

/* ---- Answers --------------------------------------------------------------------------------------------------- */

/* GRANT messages to one incoming. */
struct grants {
	struct kvr_incoming *to;
	struct kvr_out out;
	bool said; /* why blocks are refused */
};

static void flush(struct grants *grants)
{
	if (grants->out.count)
		(void)kvr_peer_send(grants->to->source->peer, &grants->out, 0); /* else it is lost, which is told */
	kvr_begin_grants(&grants->out, grants->to->number);
}

static void put(struct grants *grants, const struct kvr_grant *grant)
{
	if (kvr_add_grant(&grants->out, grant))
		return;
	flush(grants);
	(void)kvr_add_grant(&grants->out, grant); /* one fits into any */
}

/* The last word on a position without a window. */
static void put_word(struct grants *grants, uint32_t position, enum kvr_grant_kind kind, int result)
{
	const struct kvr_grant grant = {.position = position, .kind = kind, .result = result};

	put(grants, &grant);
	grants->to->answers[position].state = kind == KVR_PENDING ? KVR_ANSWER_PENDING : KVR_ANSWER_LAST;
}

static bool is_owed(const struct kvr_incoming *incoming, uint32_t position)
{
	const struct kvr_answer *answer = &incoming->answers[position];

	return answer->state == KVR_ANSWER_OWED || answer->state == KVR_ANSWER_PENDING;
}

static bool is_to_write(const struct kvr_incoming *incoming, uint32_t position)
{
	const struct kvr_position *at = &incoming->inbound->positions[position];

	return at->state == KVR_POSITION_FILL && at->result == 0 && is_owed(incoming, position);
}

/* How many of these positions one run can have. */
static uint32_t measure(const struct kvr_incoming *incoming, const uint32_t *positions, size_t count)
{
	const struct kvr_position *first = &incoming->inbound->positions[positions[0]];
	uint64_t fit = RUN_BYTES / incoming->inbound->receiver->geometry.block_size;
	uint32_t length = 1, most = fit < 1 ? 1 : fit > RUN_BLOCKS ? RUN_BLOCKS : (uint32_t)fit;

	while (length < most && length < count && positions[length] == positions[0] + length &&
	       is_to_write(incoming, positions[length]) &&
	       first[length].handle.block == first->handle.block + length)
		length++;
	return length;
}

/* The windows of a run, one for each plane. */
static int open_windows(struct kvr_run *run)
{
	const struct kvr_incoming *incoming = run->incoming;
	const struct kvr_receiver *receiver = incoming->inbound->receiver;
	uint64_t size = receiver->geometry.block_size;
	uint64_t at = incoming->inbound->positions[run->first].handle.block * size;
	int rc = 0;

	for (uint32_t plane = 0; rc == 0 && plane < receiver->geometry.planes; plane++) {
		if (!(incoming->planes & UINT32_C(1) << plane))
			continue;
		rc = kvr_peer_expose(incoming->source->peer, receiver->node->planes[plane] + at, run->count * size, run,
				     &run->window[run->windows]);
		if (rc == 0)
			run->windows++;
	}
	return rc;
}

static struct kvr_run *new_run(struct kvr_incoming *incoming, uint32_t first, uint32_t count)
{
	struct kvr_run *run = calloc(1, sizeof(*run) + (unsigned)__builtin_popcount(incoming->planes) *
							       sizeof(struct kvr_window *));

	if (!run)
		return NULL;
	run->incoming = incoming;
	run->first = first;
	run->count = run->left = count;
	link_run(&incoming->runs, run);
	for (uint32_t i = first; i < first + count; i++) {
		incoming->answers[i].run = run;
		incoming->inbound->positions[i].runs++;
	}
	return run;
}

/* The sender is told the error, and no more: the log of who listens, which has to mend it, has its text. Once, of all
 * that is answered together. */
static void say_why(struct grants *grants, int error)
{
	if (grants->said || error == -ENOTCONN) /* a connection that is lost is told of as such */
		return;
	kvs_log(KVS_LOG_WARNING, "blocks that %s offers are refused: %s", grants->to->source->peer->remote,
		kvs_fault_text());
	grants->said = true;
}

/* What of it was opened already is withdrawn, and its blocks are given up behind that: nobody was told of them. */
static void refuse_run(struct grants *grants, struct kvr_run *run, int result)
{
	for (uint32_t i = run->first; i < run->first + run->count; i++) {
		grants->to->answers[i].given_up = true;
		put_word(grants, i, KVR_REFUSED, result);
	}
	kvr_peer_count(grants->to->source->peer, KVS_PEER_refused, run->count);
	end_run(run);
}

static void grant_run(struct grants *grants, const struct kvr_run *run)
{
	const struct kvr_incoming *incoming = grants->to;
	uint64_t size = incoming->inbound->receiver->geometry.block_size;
	struct kvr_grant grant = {.kind = KVR_WRITE_IT, .count = run->windows};
	uint32_t planes = incoming->planes;

	for (uint32_t w = 0; w < run->windows; w++, planes &= planes - 1)
		grant.planes[w] = (struct kvr_grant_plane){.plane = (uint32_t)__builtin_ctz(planes),
							   .rkey = run->window[w]->rkey,
							   .address = run->window[w]->address};
	for (uint32_t i = 0; i < run->count; i++) {
		const struct kvr_position *at = &incoming->inbound->positions[run->first + i];

		grant.position = run->first + i;
		grant.block = at->handle.block;
		grant.life = at->handle.life;
		put(grants, &grant);
		incoming->answers[grant.position].state = KVR_ANSWER_WRITE;
		for (uint32_t w = 0; w < run->windows; w++)
			grant.planes[w].address += size;
	}
	kvr_peer_count(incoming->source->peer, KVS_PEER_blocks, run->count);
}

/* Grants the first of these positions, and those that are adjacent; returns how many. */
static uint32_t answer_run(struct grants *grants, const uint32_t *positions, size_t count)
{
	uint32_t length = measure(grants->to, positions, count);
	struct kvr_run *run = new_run(grants->to, positions[0], length);
	int rc;

	if (!run) {
		say_why(grants, kvs_fault(ENOMEM, "no memory for what is granted"));
		put_word(grants, positions[0], KVR_REFUSED, -ENOMEM);
		kvr_inbound_fail(grants->to->inbound, positions[0], -ENOMEM);
		return 1;
	}
	rc = open_windows(run);
	if (rc) {
		say_why(grants, rc);
		refuse_run(grants, run, rc);
	} else {
		grant_run(grants, run);
	}
	return length;
}

static void answer_word(struct grants *grants, uint32_t position)
{
	const struct kvr_position *at = &grants->to->inbound->positions[position];
	struct kvr_peer *peer = grants->to->source->peer;

	if (at->state == KVR_POSITION_HERE) {
		put_word(grants, position, KVR_HERE, 0);
		kvr_peer_count(peer, KVS_PEER_deduplicated, 1);
	} else if (at->state == KVR_POSITION_PENDING) {
		if (grants->to->answers[position].state == KVR_ANSWER_PENDING)
			return;
		put_word(grants, position, KVR_PENDING, 0);
		kvr_peer_count(peer, KVS_PEER_pending, 1);
	} else {
		put_word(grants, position, KVR_REFUSED, at->result);
		kvr_peer_count(peer, KVS_PEER_refused, 1);
	}
}

void kvr_grants_answer(struct kvr_incoming *incoming, const uint32_t *positions, size_t count)
{
	struct grants grants = {.to = incoming};

	if (incoming->state != KVR_INCOMING_OPENED)
		return;
	kvr_begin_grants(&grants.out, incoming->number);
	for (size_t i = 0; i < count;) {
		if (is_to_write(incoming, positions[i])) {
			i += answer_run(&grants, positions + i, count - i);
			continue;
		}
		if (is_owed(incoming, positions[i]))
			answer_word(&grants, positions[i]);
		i++;
	}
	flush(&grants);
}
