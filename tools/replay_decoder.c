/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_decoder.c: the decoder of an engine: a process that waits for the engine's requests, claims each as soon as it
 * is complete, compares all bytes by its own refs, asks for the request's end, and lets go. So do the two sides of a
 * transfer from prefill to decode. Of half of the requests it asks for the end before it reads anything: then its refs
 * alone keep the blocks. Those that are to be aborted from this side it ends without being their owner.
 *
 * What it waits for, it waits for in the store, for WAIT_SLICE at a time: in between it looks whether anything is due.
 */
#include "config.h"

#include "replay_client.h"
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	WAIT_SLICE = 2,	  /* ms */
	CLAIM_BATCH = 16, /* keys that are claimed at a time */
	MISSES_SAID = 5,  /* of all decoders */
};

/* What there is for a place of the engine's. */
struct seat {
	struct replay_handover *handover;
	uint64_t word; /* of the handover, as it was last seen or made; 0: nothing is known of it */
	struct kvshm_request request;
	struct dealt dealt;
	size_t first, count;
	struct kvshm_handle *refs;
	size_t room, held;
	bool ended; /* its end was asked for */
};

struct decoder {
	struct client client;
	struct seat *seats; /* of job->in_flight */
	struct seat *next;  /* the one whose request is waited for */
};

/* ---- The place on the board ------------------------------------------------------------------------------ */

static bool is_mine(const struct seat *seat, uint64_t word)
{
	return seat->word && seat->word / HANDOVER_TURN == word / HANDOVER_TURN;
}

/* Moves the place on, if the engine has not; the engine is told. */
static bool move(struct decoder *decoder, struct seat *seat, enum handover_state state)
{
	if (!handover_move(seat->handover, &seat->word, state)) {
		seat->word = 0;
		return false;
	}
	client_ring(&decoder->client);
	return true;
}

/* Reads what the place says. [handover] relaxed: acquired with the word. What belongs to another turn is never used:
 * the next step is a compare-and-swap from this word. */
static int read_place(struct decoder *decoder, struct seat *seat, uint64_t word)
{
	struct client *client = &decoder->client;
	uint64_t number = atomic_load_explicit(&seat->handover->number, memory_order_relaxed);
	char id[KVSHM_REQUEST_ID_MAX];
	int rc;

	seat->dealt = client_request(client->job, number);
	seat->first = atomic_load_explicit(&seat->handover->first, memory_order_relaxed);
	seat->count = atomic_load_explicit(&seat->handover->count, memory_order_relaxed);
	seat->ended = false;
	seat->word = word;
	rc = kvshm_request_find(client->store, id, client_request_id(client->job, number, seat->first, id),
				&seat->request);
	if (rc != -ENOENT)
		return rc ? client_fail(client, "a request can't be found", rc) : 0;
	(void)move(decoder, seat, HANDOVER_GONE); /* it ended so long ago that it is not remembered */
	return 0;
}

/* ---- Claims ---------------------------------------------------------------------------------------------- */

static int let_go(struct decoder *decoder, struct seat *seat)
{
	size_t held = seat->held;

	seat->held = 0;
	return client_let_go(&decoder->client, seat->refs, held);
}

/* Asks for the request's end. */
static int ask_for_end(struct decoder *decoder, struct seat *seat, bool *first)
{
	int rc = kvshm_request_end(decoder->client.store, &seat->request);

	*first = !rc;
	seat->ended = true;
	return rc && rc != -EALREADY ? client_fail(&decoder->client, "a request's end can't be asked for", rc) : 0;
}

static int abort_it(struct decoder *decoder, struct seat *seat)
{
	bool first;
	int rc = ask_for_end(decoder, seat, &first);

	if (!rc)
		decoder->client.tally.aborted_by_other += first;
	return rc;
}

static void say_missed(struct decoder *decoder, const struct seat *seat, size_t position, int error)
{
	if (atomic_fetch_add(&decoder->client.job->board->unclaimable, 1) < MISSES_SAID)
		tool_say("request %" PRIu64 " is complete, but its block %zu can't be claimed (%d)", seat->dealt.number,
			 position, error);
}

/* Claims some blocks. -ECANCELED: the request has ended. */
static int claim_some(struct decoder *decoder, struct seat *seat, size_t count)
{
	struct client *client = &decoder->client;
	uint8_t bytes[CLAIM_BATCH][REPLAY_KEY_SIZE];
	struct kvshm_key keys[CLAIM_BATCH];
	int results[CLAIM_BATCH];
	int rc;

	for (size_t i = 0; i < count; i++) {
		replay_key(seat->dealt.ids[seat->first + seat->held + i], seat->dealt.round, bytes[i]);
		keys[i] = (struct kvshm_key){ bytes[i], REPLAY_KEY_SIZE };
	}
	rc = kvshm_request_claim(client->store, &seat->request, keys, count, seat->refs + seat->held, results);
	if (rc)
		return rc == -ECANCELED ? rc : client_fail(client, "a request can't be claimed", rc);
	for (size_t i = 0; i < count; i++) {
		client->holds += !results[i];
		if (results[i])
			say_missed(decoder, seat, seat->first + seat->held + i, results[i]);
	}
	client_show_holds(client);
	seat->held += count;
	return 0;
}

static int make_room(struct decoder *decoder, struct seat *seat)
{
	void *grown;

	if (seat->room >= seat->count)
		return 0;
	grown = reallocarray(seat->refs, seat->count, sizeof(*seat->refs));
	if (!grown)
		return client_fail_memory(&decoder->client);
	seat->refs = grown;
	seat->room = seat->count;
	return 0;
}

/* Claims all blocks; after the first of them the request may be aborted from this side. */
static int claim_all(struct decoder *decoder, struct seat *seat, bool aborting)
{
	int rc = make_room(decoder, seat);

	if (rc)
		return rc;
	do {
		size_t left = seat->count - seat->held;

		rc = claim_some(decoder, seat, left < CLAIM_BATCH ? left : CLAIM_BATCH);
		if (!rc && aborting)
			rc = abort_it(decoder, seat);
		aborting = false;
	} while (!rc && seat->held < seat->count);
	return rc;
}

static int read_all(struct decoder *decoder, const struct seat *seat)
{
	uint8_t key[REPLAY_KEY_SIZE];
	int rc = 0;

	for (size_t i = 0; !rc && i < seat->held; i++) {
		if (seat->refs[i].kind == KVSHM_NONE)
			continue;
		replay_key(seat->dealt.ids[seat->first + i], seat->dealt.round, key);
		rc = client_check_block(&decoder->client, &seat->refs[i], key);
	}
	return rc;
}

/* ---- A request ------------------------------------------------------------------------------------------- */

/* It ended in another way than it should. */
static int leave(struct decoder *decoder, struct seat *seat)
{
	int rc = let_go(decoder, seat);

	(void)move(decoder, seat, HANDOVER_GONE);
	return rc;
}

/* The request is complete, and the place taken. */
static int decode(struct decoder *decoder, struct seat *seat, enum handover_wish wish)
{
	struct client *client = &decoder->client;
	bool first;
	int rc = claim_all(decoder, seat, wish == WISH_ABORT_CLAIMED);

	if (rc == -ECANCELED || (!rc && seat->ended)) {
		rc = read_all(decoder, seat); /* what it has, it has */
		return rc ? rc : leave(decoder, seat);
	}
	if (rc)
		return rc;
	client->tally.claimed++;
	if (seat->dealt.number % 2)
		rc = ask_for_end(decoder, seat, &first);
	return rc ? rc : read_all(decoder, seat);
}

/* The request is due. */
static int finish(struct decoder *decoder, struct seat *seat)
{
	bool first;
	int rc = seat->ended ? 0 : ask_for_end(decoder, seat, &first);

	if (!rc)
		rc = let_go(decoder, seat);
	(void)move(decoder, seat, HANDOVER_DONE);
	return rc;
}

/* Somebody else was at it, who is dead now; so are that one's refs. */
static int inherit(struct decoder *decoder, struct seat *seat, uint64_t word)
{
	bool first;
	int rc = read_place(decoder, seat, word);

	if (!rc && handover_state(seat->word) == HANDOVER_TAKEN)
		rc = ask_for_end(decoder, seat, &first);
	return rc ? rc : leave(decoder, seat);
}

static int look_at_open(struct decoder *decoder, struct seat *seat, enum handover_wish wish)
{
	struct client *client = &decoder->client;
	int rc = wish == WISH_ABORT ? 0 : kvshm_request_wait(client->store, &seat->request, 0);

	if (rc == -ETIMEDOUT) {
		decoder->next = seat;
		return 0;
	}
	if (rc == -ECANCELED)
		return leave(decoder, seat);
	if (rc)
		return client_fail(client, "a request can't be waited for", rc);
	if (!move(decoder, seat, HANDOVER_TAKEN))
		return 0;
	if (wish != WISH_ABORT && wish != WISH_ABORT_COMPLETE)
		return decode(decoder, seat, wish);
	rc = abort_it(decoder, seat);
	return rc ? rc : leave(decoder, seat);
}

static int look_at_taken(struct decoder *decoder, struct seat *seat, enum handover_wish wish, bool hung_up)
{
	int rc;

	if (wish == WISH_ABORT && !seat->ended) {
		rc = abort_it(decoder, seat);
		return rc ? rc : leave(decoder, seat);
	}
	if (!hung_up && !atomic_load_explicit(&seat->handover->due, memory_order_acquire)) /* [handover] */
		return 0;
	return finish(decoder, seat);
}

static int look_at(struct decoder *decoder, struct seat *seat, bool hung_up)
{
	uint64_t word = handover_look(seat->handover);
	enum handover_wish wish;
	int rc = 0;

	if (handover_state(word) != HANDOVER_OPEN && handover_state(word) != HANDOVER_TAKEN)
		return 0;
	if (handover_state(word) == HANDOVER_TAKEN && !is_mine(seat, word))
		return inherit(decoder, seat, word);
	if (!is_mine(seat, word))
		rc = read_place(decoder, seat, word);
	wish = (enum handover_wish)atomic_load_explicit(&seat->handover->wish, memory_order_acquire); /* [handover] */
	if (!rc && handover_state(seat->word) == HANDOVER_OPEN)
		rc = look_at_open(decoder, seat, wish);
	if (!rc && handover_state(seat->word) == HANDOVER_TAKEN)
		rc = look_at_taken(decoder, seat, wish, hung_up);
	return rc;
}

/* ---- A life ---------------------------------------------------------------------------------------------- */

static int rest(struct decoder *decoder)
{
	struct client *client = &decoder->client;
	int rc;

	if (!decoder->next)
		return client_listen(client, -1, -1);
	rc = kvshm_request_wait(client->store, &decoder->next->request, replay_now() + WAIT_SLICE * REPLAY_MS);
	if (rc && rc != -ETIMEDOUT && rc != -ECANCELED)
		return client_fail(client, "a request can't be waited for", rc);
	return client_listen(client, -1, 0);
}

/* Until the parent has hung up, since the engine is gone: then nothing is open any more, or will not be for long. */
static int work(struct decoder *decoder)
{
	bool hung_up = false;
	int rc = 0;

	while (!rc) {
		decoder->next = NULL;
		for (uint32_t i = 0; !rc && i < decoder->client.job->in_flight; i++)
			rc = look_at(decoder, &decoder->seats[i], hung_up);
		replay_tally_store(decoder->client.place, &decoder->client.tally);
		if (rc || (hung_up && !decoder->next))
			break;
		rc = rest(decoder);
		if (rc == -EPIPE) {
			hung_up = true;
			rc = 0;
		}
	}
	return rc;
}

static int live(struct decoder *decoder, uint32_t engine)
{
	char name[KVSHM_CLIENT_NAME_MAX + 1];
	int rc;

	snprintf(name, sizeof(name), "replay-decoder-%" PRIu32, engine);
	rc = client_attach(&decoder->client, name);
	if (rc)
		return rc == -EINTR ? 0 : rc;
	return client_detach(&decoder->client, work(decoder));
}

int replay_decoder(const struct replay_job *job, uint32_t engine, uint64_t seed)
{
	uint32_t member = replay_team(job) - 1;
	struct decoder decoder = { .seats = calloc(job->in_flight, sizeof(*decoder.seats)) };
	int rc;

	client_begin(&decoder.client, job, engine * replay_team(job) + member, seed);
	decoder.client.bell = job->mail.pairs[replay_pair(job, engine, member)][MAIL_WORKER];
	for (uint32_t i = 0; decoder.seats && i < job->in_flight; i++)
		decoder.seats[i].handover = client_handover(&decoder.client, engine, i);
	rc = decoder.seats ? live(&decoder, engine) : client_fail_memory(&decoder.client);
	for (uint32_t i = 0; decoder.seats && i < job->in_flight; i++)
		free(decoder.seats[i].refs);
	free(decoder.seats);
	return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
