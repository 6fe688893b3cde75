/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_worker.c: the worker of one plane of an engine, as a rank of a tensor-parallel engine is. It never looks a key
 * up: what it knows of a block is a ticket, and it touches the bytes of its own plane only. It holds and compares what
 * is ready, writes its part of what its scheduler fills, and waits for what others fill.
 *
 * It waits only when there is no letter, and for MAIL_SLICE at a time: so what it is to write is never behind what it
 * waits for, and engines can't wait for each other in a circle. Some of the blocks it lets go of as soon as they are
 * written or compared, as a worker does that has copied them; the others it holds until their request ends, as one that
 * reads them as long as it decodes.
 */
#include "config.h"

#include "replay_client.h"
#include "replay_random.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	MAIL_SLICE = 2,	  /* ms of a wait for blocks before the next look for letters */
	WAIT_BATCH = 256, /* blocks that are waited for at a time */
};

/* What is held for a request; a place for each position, KVSHM_NONE where nothing is held. */
struct slot {
	struct kvshm_handle *holds;
	size_t count;
};

/* A block that is not ready yet. Its hold is in `refs`, at the same index. */
struct awaited {
	struct letter_item item;
	uint64_t round;
	uint32_t slot;
	uint32_t slices; /* that it was waited for */
};

struct worker {
	struct client client;
	int mail;
	unsigned plane;
	uint32_t life, scheduler;
	struct slot *slots; /* of job->in_flight */
	struct awaited *awaited;
	struct kvshm_handle *refs;
	size_t waits, room;
	struct letter in, out;
};

/* ---- Answers --------------------------------------------------------------------------------------------- */

/* Sends the answer as soon as there is room. -EPIPE: nobody wants it any more. */
static int send_out(struct worker *worker)
{
	struct letter *out = &worker->out;
	int rc;

	out->scheduler = worker->scheduler;
	out->worker = worker->life;
	while ((rc = replay_mail_send(worker->mail, out)) == -EAGAIN) {
		struct pollfd room = { worker->mail, POLLOUT, 0 };

		poll(&room, 1, -1);
	}
	out->count = 0;
	return rc;
}

static int answer_empty(struct worker *worker, enum letter_kind kind, uint32_t slot)
{
	worker->out.kind = kind;
	worker->out.slot = slot;
	return send_out(worker);
}

static int flush(struct worker *worker)
{
	return worker->out.count ? send_out(worker) : 0;
}

/* Answers for an item, in one letter with others of its slot. */
static int answer(struct worker *worker, uint32_t slot, const struct letter_item *item, enum letter_result result)
{
	struct letter *out = &worker->out;
	int rc = 0;

	if (out->slot != slot || out->count == LETTER_ITEMS)
		rc = flush(worker);
	out->kind = LETTER_HOLD;
	out->slot = slot;
	out->items[out->count] = *item;
	out->items[out->count++].result = result;
	return rc;
}

/* ---- Holds ----------------------------------------------------------------------------------------------- */

static void count_holds(struct worker *worker, int holds, int parts)
{
	worker->client.holds += (uint32_t)holds;
	worker->client.fills += (uint32_t)parts;
	client_show_holds(&worker->client);
}

/* Makes room for the positions of a letter, and lets go of what was held there. */
static int clear_places(struct worker *worker, struct slot *slot, const struct letter *letter)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < letter->count; i++) {
		size_t wanted = letter->items[i].position + UINT64_C(1);

		if (wanted > slot->count) {
			struct kvshm_handle *grown = reallocarray(slot->holds, wanted, sizeof(*grown));

			if (!grown)
				return client_fail_memory(&worker->client);
			while (slot->count < wanted)
				grown[slot->count++] = (struct kvshm_handle){ .kind = KVSHM_NONE };
			slot->holds = grown;
		}
		rc = client_let_go_of(&worker->client, &slot->holds[letter->items[i].position]);
	}
	return rc;
}

/* Keeps a hold until its request ends, or lets go of it now. */
static int settle(struct worker *worker, uint32_t slot, uint32_t position, struct kvshm_handle *hold)
{
	if (replay_random(&worker->client.random) & 1)
		return client_let_go_of(&worker->client, hold);
	worker->slots[slot].holds[position] = *hold;
	return 0;
}

/* Ends the waits for a slot. */
static int forget_waits(struct worker *worker, uint32_t slot)
{
	size_t kept = 0;
	int rc = 0;

	for (size_t i = 0; i < worker->waits; i++) {
		if (!rc && worker->awaited[i].slot == slot) {
			rc = client_let_go_of(&worker->client, &worker->refs[i]);
			continue;
		}
		worker->awaited[kept] = worker->awaited[i];
		worker->refs[kept++] = worker->refs[i];
	}
	worker->waits = kept;
	return rc;
}

static int empty_slot(struct worker *worker, uint32_t number)
{
	struct slot *slot = &worker->slots[number];
	int rc = forget_waits(worker, number);

	if (!rc)
		rc = client_let_go(&worker->client, slot->holds, slot->count);
	return rc;
}

/* ---- Blocks ---------------------------------------------------------------------------------------------- */

/* Compares a ready block's bytes. */
static int read_block(struct worker *worker, uint32_t slot, uint64_t round, const struct letter_item *item,
		      struct kvshm_handle *hold)
{
	uint8_t key[REPLAY_KEY_SIZE];
	bool intact;
	int rc;

	replay_key(item->id, round, key);
	rc = client_check_plane(&worker->client, hold, worker->plane, key, &intact);
	if (!rc)
		rc = settle(worker, slot, item->position, hold);
	return rc ? rc : answer(worker, slot, item, RESULT_READ);
}

static int wait_later(struct worker *worker, const struct letter *letter, const struct letter_item *item,
		      const struct kvshm_handle *hold)
{
	if (worker->waits == worker->room) {
		size_t room = worker->room ? 2 * worker->room : LETTER_ITEMS;
		void *awaited = reallocarray(worker->awaited, room, sizeof(*worker->awaited));
		void *refs;

		if (!awaited)
			return client_fail_memory(&worker->client);
		worker->awaited = awaited;
		refs = reallocarray(worker->refs, room, sizeof(*worker->refs));
		if (!refs)
			return client_fail_memory(&worker->client);
		worker->refs = refs;
		worker->room = room;
	}
	worker->awaited[worker->waits] = (struct awaited){ *item, letter->round, letter->slot, 0 };
	worker->refs[worker->waits++] = *hold;
	return 0;
}

/* What a refused ticket comes to: an answer, or an error. */
static int refused(struct worker *worker, const struct letter *letter, const struct letter_item *item, int error)
{
	switch (error) {
	case -ENOENT:
		return answer(worker, letter->slot, item, RESULT_STALE);
	case -ECANCELED:
		return answer(worker, letter->slot, item, RESULT_CANCELED);
	default:
		return client_fail(&worker->client, "a ticket can't be used", error);
	}
}

/* Holds the blocks of a letter by their tickets. */
static int hold_blocks(struct worker *worker, const struct letter *letter)
{
	struct kvshm_ticket tickets[LETTER_ITEMS];
	enum kvshm_outcome outcomes[LETTER_ITEMS];
	struct kvshm_handle holds[LETTER_ITEMS];
	int results[LETTER_ITEMS];
	int rc;

	for (size_t i = 0; i < letter->count; i++)
		tickets[i] = letter->items[i].ticket;
	rc = kvshm_hold_batch(worker->client.store, tickets, letter->count, outcomes, holds, results);
	if (rc)
		return client_fail(&worker->client, "blocks can't be held by tickets", rc);
	for (size_t i = 0; i < letter->count; i++)
		count_holds(worker, !results[i], 0);
	for (size_t i = 0; !rc && i < letter->count; i++) {
		const struct letter_item *item = &letter->items[i];

		worker->client.tally.held += !results[i];
		if (results[i])
			rc = refused(worker, letter, item, results[i]);
		else if (outcomes[i] == KVSHM_PENDING)
			rc = wait_later(worker, letter, item, &holds[i]);
		else
			rc = read_block(worker, letter->slot, letter->round, item, &holds[i]);
	}
	return rc;
}

/* Writes and publishes the plane's part of a fill. */
static int write_block(struct worker *worker, const struct letter *letter, const struct letter_item *item,
		       struct kvshm_handle *part)
{
	uint8_t key[REPLAY_KEY_SIZE];
	int rc;

	replay_key(item->id, letter->round, key);
	rc = client_write(&worker->client, part, worker->plane, key);
	if (rc)
		return rc;
	rc = kvshm_publish(worker->client.store, part, NULL);
	if (rc && rc != -ECANCELED)
		return client_fail(&worker->client, "a part can't be published", rc);
	count_holds(worker, rc ? -1 : 0, -1);
	if (rc)
		return answer(worker, letter->slot, item, RESULT_CANCELED);
	worker->client.tally.joined++;
	rc = settle(worker, letter->slot, item->position, part);
	return rc ? rc : answer(worker, letter->slot, item, RESULT_WRITTEN);
}

/* Joins the fills of a letter. What has a writer of this plane already was begun by a worker that is dead now: it is
 * held, as what is ready, and comes to what that one has left. */
static int fill_blocks(struct worker *worker, const struct letter *letter)
{
	struct kvshm_ticket tickets[LETTER_ITEMS];
	struct kvshm_handle parts[LETTER_ITEMS];
	struct letter others = *letter;
	int results[LETTER_ITEMS];
	int rc;

	for (size_t i = 0; i < letter->count; i++)
		tickets[i] = letter->items[i].ticket;
	rc = kvshm_join_batch(worker->client.store, tickets, worker->plane, letter->count, parts, results);
	if (rc)
		return client_fail(&worker->client, "fills can't be joined", rc);
	for (size_t i = 0; i < letter->count; i++)
		count_holds(worker, !results[i], !results[i]);
	others.count = 0;
	for (size_t i = 0; !rc && i < letter->count; i++) {
		if (results[i] == -EBUSY || results[i] == -EALREADY)
			others.items[others.count++] = letter->items[i];
		else if (results[i])
			rc = refused(worker, letter, &letter->items[i], results[i]);
		else
			rc = write_block(worker, letter, &letter->items[i], &parts[i]);
	}
	return rc ? rc : hold_blocks(worker, &others);
}

/* Waits a while for what others fill, and answers for what is ready or will never be. */
static int wait_for_blocks(struct worker *worker)
{
	size_t count = worker->waits < WAIT_BATCH ? worker->waits : WAIT_BATCH, kept = 0;
	int results[WAIT_BATCH];
	int rc = kvshm_wait_batch(worker->client.store, worker->refs, count, replay_now() + MAIL_SLICE * REPLAY_MS,
				  results);

	if (rc)
		return client_fail(&worker->client, "blocks can't be waited for", rc);
	for (size_t i = 0; i < worker->waits; i++) {
		struct awaited *awaited = &worker->awaited[i];
		int result = i < count ? results[i] : -ETIMEDOUT;

		if (rc || result == -ETIMEDOUT) {
			if (!rc && awaited->slices++ == CLIENT_PATIENCE / MAIL_SLICE)
				rc = client_fail_waiting(&worker->client,
							 "half a minute's wait for a block that another fills");
			worker->awaited[kept] = *awaited;
			worker->refs[kept++] = worker->refs[i];
		} else if (!result) {
			rc = read_block(worker, awaited->slot, awaited->round, &awaited->item, &worker->refs[i]);
		} else if (result == -ECANCELED) {
			count_holds(worker, -1, 0);
			rc = answer(worker, awaited->slot, &awaited->item, RESULT_CANCELED);
		} else {
			rc = client_fail(&worker->client, "a block can't be waited for", result);
		}
	}
	worker->waits = kept;
	return rc;
}

/* ---- Letters --------------------------------------------------------------------------------------------- */

/* Another scheduler is there: what the last one wanted is nobody's business now. */
static int meet(struct worker *worker, uint32_t scheduler)
{
	int rc = 0;

	if (scheduler != worker->scheduler)
		for (uint32_t i = 0; !rc && i < worker->client.job->in_flight; i++)
			rc = empty_slot(worker, i);
	worker->scheduler = scheduler;
	return rc ? rc : answer_empty(worker, LETTER_HELLO, 0);
}

static int do_letter(struct worker *worker, const struct letter *letter)
{
	int rc;

	if (letter->kind == LETTER_HELLO)
		return meet(worker, letter->scheduler);
	if (letter->scheduler != worker->scheduler || letter->worker != worker->life)
		return 0;
	if (letter->kind == LETTER_END) {
		rc = empty_slot(worker, letter->slot);
		return rc ? rc : answer_empty(worker, LETTER_END, letter->slot);
	}
	rc = clear_places(worker, &worker->slots[letter->slot], letter);
	if (!rc)
		rc = letter->kind == LETTER_FILL ? fill_blocks(worker, letter) : hold_blocks(worker, letter);
	replay_tally_store(worker->client.place, &worker->client.tally);
	return rc;
}

/* Does what the scheduler wants, until the parent hangs up: -EPIPE. */
static int work(struct worker *worker)
{
	int rc = answer_empty(worker, LETTER_HELLO, 0);

	while (!rc) {
		rc = replay_mail_receive(worker->mail, &worker->in);
		if (!rc) {
			rc = do_letter(worker, &worker->in);
		} else if (rc == -EAGAIN && worker->waits) {
			rc = wait_for_blocks(worker);
		} else if (rc == -EAGAIN) {
			struct pollfd letters = { worker->mail, POLLIN, 0 };

			rc = 0;
			poll(&letters, 1, -1);
		}
		if (!rc)
			rc = flush(worker);
	}
	return rc == -EPIPE ? 0 : rc;
}

static int live(struct worker *worker, uint32_t engine)
{
	char name[KVSHM_CLIENT_NAME_MAX + 1];
	int rc;

	snprintf(name, sizeof(name), "replay-worker-%" PRIu32 "-%u", engine, worker->plane);
	rc = client_attach(&worker->client, name);
	if (rc)
		return rc == -EINTR ? 0 : rc;
	return client_detach(&worker->client, work(worker));
}

int replay_worker(const struct replay_job *job, uint32_t engine, unsigned plane, uint32_t life, uint64_t seed)
{
	static struct worker worker; /* too large for a stack */
	int rc;

	worker.plane = plane;
	worker.life = life;
	worker.mail = job->mail.pairs[replay_pair(job, engine, 1 + plane)][MAIL_WORKER];
	worker.slots = calloc(job->in_flight, sizeof(*worker.slots));
	client_begin(&worker.client, job, engine * replay_team(job) + 1 + plane, seed);
	rc = worker.slots ? live(&worker, engine) : client_fail_memory(&worker.client);
	for (uint32_t i = 0; worker.slots && i < job->in_flight; i++)
		free(worker.slots[i].holds);
	free(worker.slots);
	free(worker.awaited);
	free(worker.refs);
	return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
