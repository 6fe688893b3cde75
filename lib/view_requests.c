/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * view_requests.c: a store's requests, and who has pinned what for how long. Contracts in kvshm.h.
 *
 * Guarantees: nothing is mapped or written; every number read is checked before it is used (F1). What is told of a
 * request is of one request: its slot is read twice, and again where the two differ. Relaxed: what is looked at are
 * copies.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "request.h"
#include "view.h"

#define TURNS 8 /* of a slot's reading, until it is passed over: others take it as fast as it is read */

/* ---- Requests ------------------------------------------------------------------------------------------------ */

static uint64_t word_of(const struct kvs_request *request)
{
	return atomic_load_explicit(&request->word, memory_order_relaxed);
}

static bool has_request(uint64_t word)
{
	return kvs_request_state(word) > KVS_REQUEST_NONE && kvs_request_state(word) < KVS_REQUEST_STATES;
}

/* Do two copies, the one read behind the other, show one request? An id is written only while the word has another
 * number. */
static bool agree(const struct kvs_request *a, const struct kvs_request *b)
{
	return kvs_request_number(word_of(a)) == kvs_request_number(word_of(b)) &&
	       memcmp((const void *)a->id, (const void *)b->id, sizeof(a->id)) == 0;
}

static int read_again(const struct kvs_view *view, uint32_t slot, struct kvs_request *request)
{
	for (int turn = 0; turn < TURNS && has_request(word_of(request)); turn++) {
		struct kvs_request was = *request;
		int rc = kvs_inspect_read(view, view->g.requests_at + slot * sizeof(*request), request,
					  sizeof(*request));

		if (rc || agree(&was, request))
			return rc;
	}
	/* Relaxed: a copy. */
	atomic_store_explicit(&request->word, KVS_REQUEST_NONE, memory_order_relaxed);
	return 0;
}

int kvl_view_read_requests(const struct kvs_view *view, struct kvl_requests_view *requests)
{
	uint32_t count = view->g.requests;
	int rc;

	requests->all = kvs_inspect_memory(count * sizeof(*requests->all));
	requests->places = kvs_inspect_memory(count * sizeof(*requests->places));
	if (!requests->all || !requests->places)
		rc = kvs_fault(ENOMEM, "no memory");
	else
		rc = kvs_inspect_read(view, view->g.requests_at, requests->all, count * sizeof(*requests->all));
	if (rc == 0)
		rc = kvs_inspect_read(view, view->g.places_at, requests->places, count * sizeof(*requests->places));
	for (uint32_t i = 0; rc == 0 && i < count; i++)
		rc = read_again(view, i, &requests->all[i]);
	if (rc)
		kvl_view_free_requests(requests);
	return rc;
}

void kvl_view_free_requests(struct kvl_requests_view *requests)
{
	free(requests->all);
	free(requests->places);
	*requests = (struct kvl_requests_view){.all = NULL};
}

/* A request, and when it was opened. */
struct aged {
	uint64_t since;
	uint32_t slot;
};

static int by_age(const void *left, const void *right)
{
	const struct aged *a = left, *b = right;

	if (a->since != b->since)
		return a->since < b->since ? -1 : 1;
	return a->slot < b->slot ? -1 : a->slot > b->slot;
}

static uint32_t sort_requests(const struct kvl_requests_view *requests, uint32_t slots, struct aged *order)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < slots; i++)
		if (has_request(word_of(&requests->all[i])))
			order[count++] = (struct aged){
				.since = atomic_load_explicit(&requests->all[i].opened, memory_order_relaxed),
				.slot = i,
			};
	qsort(order, count, sizeof(*order), by_age);
	return count;
}

static void describe_request(const struct kvs_view *view, const struct kvl_requests_view *requests,
			     const struct kvs_slot_view *slots, uint32_t slot, uint64_t now,
			     struct kvshm_request_info *to)
{
	const struct kvl_request_place places = {.all = requests->places,
						 .slot = slot,
						 .requests = view->g.requests,
						 .incarnation = view->g.incarnation,
						 .now = now};

	kvl_request_describe(&requests->all[slot], word_of(&requests->all[slot]), &places, to);
	if (to->owner >= view->g.clients)
		to->owner = KVSHM_NO_SLOT;
	else if (to->state != KVSHM_REQUEST_CLOSED)
		to->owner_alive = slots[to->owner].alive;
}

static int walk_requests(const struct kvs_view *view, const struct kvs_slot_view *slots,
			 int (*fn)(const struct kvshm_request_info *request, void *arg), void *arg)
{
	struct aged *order = calloc(view->g.requests, sizeof(*order));
	struct kvl_requests_view requests;
	uint32_t count;
	int rc;

	if (!order)
		return kvs_fault(ENOMEM, "no memory");
	rc = kvl_view_read_requests(view, &requests);
	if (rc == 0) {
		/* One time for all: who is older has the greater age. */
		uint64_t now = kvs_now();

		count = sort_requests(&requests, view->g.requests, order);
		for (uint32_t i = 0; rc == 0 && i < count; i++) {
			struct kvshm_request_info info;

			describe_request(view, &requests, slots, order[i].slot, now, &info);
			rc = fn(&info, arg);
		}
		kvl_view_free_requests(&requests);
	}
	free(order);
	return rc;
}

int kvshm_view_requests(kvshm_view *view, int (*fn)(const struct kvshm_request_info *request, void *arg), void *arg)
{
	struct kvs_slot_view *slots;
	int rc;

	if (!view || !fn)
		return kvl_no_view();
	rc = kvs_inspect_slots(&view->inner, &slots);
	if (rc)
		return rc;
	rc = walk_requests(&view->inner, slots, fn, arg);
	free(slots);
	return rc;
}

/* ---- Pins ---------------------------------------------------------------------------------------------------- */

static int add_pins(struct kvl_pins_view *read, const struct kvl_pins *pins)
{
	if (read->count == read->space) {
		size_t space = read->space ? read->space * 2 : 64;
		struct kvl_pins *more = realloc(read->all, space * sizeof(*more));

		if (!more)
			return kvs_fault(ENOMEM, "no memory");
		read->all = more;
		read->space = space;
	}
	read->all[read->count++] = *pins;
	return 0;
}

static int add_request(struct kvl_pins_view *read, const struct kvs_request *request, uint32_t at, uint32_t clients,
		       uint64_t before)
{
	uint64_t word = word_of(request);
	uint32_t owner = kvs_word_owner(word);
	struct kvl_pins pins = {
		.since = atomic_load_explicit(&request->held_since, memory_order_relaxed),
		.number = kvs_request_number(word),
		.client = owner,
		.at = at,
		.pins = atomic_load_explicit(&request->held, memory_order_relaxed),
	};

	/* A request has a number above 0: pins without one are of none. */
	if (!kvs_request_live(word) || kvs_request_state(word) < KVS_REQUEST_OPEN || !pins.number || owner >= clients ||
	    !read->slots[owner].alive || !pins.pins || !pins.since || pins.since > before)
		return 0;
	pins.attached = read->slots[owner].attached;
	return add_pins(read, &pins);
}

/* The notes of one client, in chunks. */
static int add_notes(const struct kvs_view *view, struct kvl_pins_view *read, uint32_t client, uint64_t before)
{
	uint64_t at = view->g.rows_at + client * view->g.row_size + view->g.blocks * UINT64_C(8);
	uint64_t *notes = malloc(KVS_INSPECT_CHUNK * sizeof(*notes));
	int rc = notes ? 0 : kvs_fault(ENOMEM, "no memory");

	for (uint32_t first = 0; rc == 0 && first < view->g.blocks; first += KVS_INSPECT_CHUNK) {
		uint32_t left = view->g.blocks - first, count = left < KVS_INSPECT_CHUNK ? left : KVS_INSPECT_CHUNK;

		rc = kvs_inspect_read(view, at + first * sizeof(*notes), notes, count * sizeof(*notes));
		for (uint32_t i = 0; rc == 0 && i < count; i++)
			if (kvs_note_pins(notes[i]) && kvs_note_since(notes[i]) <= before)
				rc = add_pins(read, &(struct kvl_pins){.since = kvs_note_since(notes[i]),
								       .attached = read->slots[client].attached,
								       .client = client,
								       .at = first + i,
								       .pins = kvs_note_pins(notes[i])});
	}
	free(notes);
	return rc;
}

static int by_since(const void *left, const void *right)
{
	const struct kvl_pins *a = left, *b = right;

	if (a->since != b->since)
		return a->since < b->since ? -1 : 1;
	if (a->client != b->client)
		return a->client < b->client ? -1 : 1;
	return a->at < b->at ? -1 : a->at > b->at;
}

int kvl_view_read_pins(const struct kvs_view *view, uint64_t before, struct kvl_pins_view *read)
{
	int rc;

	*read = (struct kvl_pins_view){.count = 0};
	rc = kvs_inspect_slots(view, &read->slots);
	if (rc == 0)
		rc = kvl_view_read_requests(view, &read->requests);
	for (uint32_t i = 0; rc == 0 && i < view->g.requests; i++)
		rc = add_request(read, &read->requests.all[i], i, view->g.clients, before);
	for (uint32_t i = 0; rc == 0 && i < view->g.clients; i++)
		if (read->slots[i].alive)
			rc = add_notes(view, read, i, before);
	if (rc) {
		kvl_view_free_pins(read);
		return rc;
	}
	if (read->count)
		qsort(read->all, read->count, sizeof(*read->all), by_since);
	return 0;
}

void kvl_view_free_pins(struct kvl_pins_view *read)
{
	kvl_view_free_requests(&read->requests);
	free(read->slots);
	free(read->all);
	*read = (struct kvl_pins_view){.count = 0};
}

void kvl_view_describe_pins(const struct kvl_pins_view *read, const struct kvl_pins *pins, uint64_t now,
			    struct kvshm_pin_info *to)
{
	const struct kvs_slot_view *client = &read->slots[pins->client];

	memset(to, 0, sizeof(*to));
	to->client = pins->client;
	to->pid = client->pid;
	memcpy(to->name, client->name, sizeof(client->name));
	to->pins = pins->pins;
	to->age = pins->since < now ? now - pins->since : 0;
	to->block = pins->at;
	if (pins->number) {
		const struct kvs_request *request = &read->requests.all[pins->at];

		to->block = KVSHM_BLOCKS_MAX;
		to->attempt = atomic_load_explicit(&request->attempt, memory_order_relaxed);
		to->id_length = kvs_request_read_id(request, to->id);
	}
}

int kvshm_view_pins(kvshm_view *view, int (*fn)(const struct kvshm_pin_info *pins, void *arg), void *arg)
{
	struct kvl_pins_view read;
	uint64_t now;
	int rc;

	if (!view || !fn)
		return kvl_no_view();
	rc = kvl_view_read_pins(&view->inner, UINT64_MAX, &read);
	now = kvs_now();
	for (size_t i = 0; rc == 0 && i < read.count; i++) {
		struct kvshm_pin_info info;

		kvl_view_describe_pins(&read, &read.all[i], now, &info);
		rc = fn(&info, arg);
	}
	kvl_view_free_pins(&read);
	return rc;
}
