/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * far.c: see far.h.
 */
#include "config.h"

#include "far.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "room.h"
#include "tcp.h"
#include "url.h"
#include "wait.h"

#define FARS 8U

struct far_message {
	struct far_message *next;
	size_t size;
	uint8_t bytes[];
};

kvshm_listener *far_listener;
static struct far *fars[FARS];
static struct kvr_endpoint endpoint;
static _Atomic uint64_t later;

uint64_t __real_kvs_now(void);
uint64_t __wrap_kvs_now(void);

uint64_t __wrap_kvs_now(void)
{
	return __real_kvs_now() + atomic_load(&later);
}

void far_later(uint64_t ms)
{
	atomic_fetch_add(&later, ms * 1000000);
}

/* ---- The listener ---------------------------------------------------------------------------------------------- */

void far_listen(kvshm_store *store, const struct kvshm_net_options *options)
{
	const struct kvr_transport *transport;
	char url[KVR_URL_SIZE];

	ck_rc(kvshm_listen(store, "tcp://127.0.0.1:0", options, &far_listener), 0);
	ck_rc(kvshm_listener_url(far_listener, url, sizeof(url)), 0);
	ck_rc(kvr_url_read(url, &transport, &endpoint), 0);
	ck_assert_ptr_eq(transport, &kvr_tcp);
}

kvshm_store *far_store(uint32_t blocks)
{
	struct kvshm_net_options options;
	kvshm_store *store = unit_store(blocks);

	kvshm_net_defaults(&options);
	options.claim_timeout = 0;
	far_listen(store, &options);
	return store;
}

bool far_turn(uint64_t until)
{
	int rc = kvshm_listener_work(far_listener, kvs_now() + 1000000);

	ck_assert_msg(rc == 0 || rc == -ETIMEDOUT, "%s", kvshm_error());
	for (unsigned i = 0; i < FARS; i++)
		if (fars[i])
			(void)kvr_loop_run(&fars[i]->loop, 0);
	return kvs_now() < until;
}

/* ---- Its links ------------------------------------------------------------------------------------------------- */

static void on_up(void *arg)
{
	struct far *far = arg;

	far->up = true;
}

static void on_message(void *arg, const uint8_t *bytes, size_t size)
{
	struct far *far = arg;
	struct kvr_message message;
	struct far_message *kept;
	struct kvr_out out;

	ck_rc(kvr_read(bytes, size, &message), 0);
	if (far->deaf)
		far->link->out.owed = 0;
	if (message.type == KVR_PING && far->mute) {
		return;
	} else if (message.type == KVR_PING) {
		kvr_write_ping(&out, KVR_PONG, message.time);
		far_say(far, &out);
	} else if (message.type == KVR_PONG) {
		far->ponged = message.time;
	} else {
		kept = malloc(sizeof(*kept) + size);
		ck_assert_ptr_nonnull(kept);
		kept->next = NULL;
		kept->size = size;
		memcpy(kept->bytes, bytes, size);
		*far->last = kept;
		far->last = &kept->next;
	}
}

static void on_nothing(void *arg)
{
	(void)arg;
}

static void on_sent(void *arg, uint64_t cookie)
{
	(void)arg;
	(void)cookie;
}

static void on_withdrawn(void *arg, struct kvr_window *window)
{
	(void)arg;
	(void)window;
}

static void on_down(void *arg, int reason)
{
	struct far *far = arg;

	far->down = true;
	far->reason = reason;
}

static const struct kvr_link_user user = {
	.up = on_up,
	.message = on_message,
	.room = on_nothing,
	.sent = on_sent,
	.withdrawn = on_withdrawn,
	.down = on_down,
};

static void greet(struct far *far)
{
	const uint8_t proof[KVR_PROOF_SIZE] = {0};
	const struct kvr_hello hello = {.version = KVR_VERSION, .timeout = 60000};
	struct kvr_out out;

	kvr_write_hello(&out, &hello);
	far_say(far, &out);
	(void)far_take(far, KVR_HELLO);
	kvr_write_proof(&out, proof);
	far_say(far, &out);
	(void)far_take(far, KVR_PROOF);
}

struct far *far_connect(void)
{
	const struct kvr_link_options options = {
		.gid_index = -1, .traffic_class = -1, .numa_node = -1, .timeout = UINT64_C(60000000000)
	};
	struct far *far = calloc(1, sizeof(*far));
	unsigned i = 0;

	ck_assert_ptr_nonnull(far);
	while (fars[i])
		ck_assert_uint_lt(++i, FARS);
	fars[i] = far;
	far->last = &far->first;
	far->bytes = calloc(1, KVSHM_BLOCK_UNIT * UINT64_C(8));
	ck_rc(kvr_loop_open(&far->loop, on_nothing, NULL), 0);
	ck_rc(kvr_memory_open(&far->memory), 0);
	ck_rc(kvr_memory_add(far->memory, far->bytes, KVSHM_BLOCK_UNIT * UINT64_C(8), false), 0);
	ck_rc(kvr_tcp.connect(&far->loop, &endpoint, &options, far->memory, &user, far, &far->link), 0);
	far_until(far->up);
	greet(far);
	return far;
}

static void drop(struct far *far)
{
	struct far_message *message;
	unsigned i = 0;

	kvr_tcp.close(far->link);
	kvr_memory_close(far->memory);
	kvr_loop_close(&far->loop);
	while ((message = far->first) != NULL) {
		far->first = message->next;
		free(message);
	}
	free(far->taken);
	free(far->bytes);
	while (fars[i] != far)
		i++;
	fars[i] = NULL;
	free(far);
}

/* How many connections the listener has: its own idea of it. */
static unsigned count_sources(void)
{
	const struct kvr_node *node = far_node();
	unsigned count = 0;

	for (const struct kvr_peer *peer = node->peers; peer; peer = peer->next)
		count++;
	return count;
}

void far_cut(struct far *far)
{
	unsigned before = count_sources();

	drop(far);
	far_until(count_sources() < before);
}

void far_lost(struct far *far, int reason)
{
	if (reason)
		ck_assert_int_eq(far_take(far, KVR_BYE)->bye.result, reason);
	far_until(far->down);
	ck_assert_ptr_null(far->first);
	drop(far);
}

void far_idle(struct far *far)
{
	static uint64_t time;
	struct kvr_out out;

	for (unsigned i = 0; i < 3; i++) {
		kvr_write_ping(&out, KVR_PING, ++time);
		far_say(far, &out);
		far_until(far->ponged == time);
	}
}

/* ---- What it says ---------------------------------------------------------------------------------------------- */

void far_say(struct far *far, const struct kvr_out *out)
{
	uint8_t bytes[KVR_MESSAGE_MAX];
	uint64_t until = unit_in_ms(UNIT_SOON);
	int rc;

	memcpy(bytes, out->bytes, out->size);
	do
		rc = kvr_tcp.send(far->link, bytes, out->size, 0);
	while (rc == -EAGAIN && far_turn(until));
	ck_rc(rc, 0);
}

struct kvr_open far_open_of(uint32_t transfer, const uint64_t *id, uint32_t blocks)
{
	struct kvr_open open = {.transfer = transfer, .blocks = blocks, .planes = 1, .room = 60000};

	open.planes = far_node()->receiver->all_planes;
	if (id)
		open.id = (struct kvr_text){.bytes = (const uint8_t *)id, .length = sizeof(*id)};
	return open;
}

void far_open(struct far *far, uint32_t transfer, const uint64_t *id, uint32_t blocks)
{
	const struct kvr_open open = far_open_of(transfer, id, blocks);
	struct kvr_out out;

	kvr_write_open(&out, &open);
	far_say(far, &out);
}

struct kvr_offer far_offer_of(uint32_t position, uint64_t key)
{
	static uint8_t bytes[UNIT_KEY], opaque[KVSHM_OPAQUE_SIZE];

	unit_key(key, bytes);
	memset(opaque, (int)key, sizeof(opaque));
	return (struct kvr_offer){
		.position = position,
		.depth = (uint32_t)key,
		.length = far_node()->receiver->geometry.block_size,
		.opaque = opaque,
		.key = {.bytes = bytes, .length = UNIT_KEY},
	};
}

void far_offer(struct far *far, uint32_t transfer, uint32_t first, uint64_t first_key, uint32_t count)
{
	struct kvr_out out;

	kvr_begin_offers(&out, transfer);
	for (uint32_t i = 0; i < count; i++) {
		const struct kvr_offer offer = far_offer_of(first + i, first_key + i);

		if (kvr_add_offer(&out, &offer))
			continue;
		far_say(far, &out);
		kvr_begin_offers(&out, transfer);
		ck_assert(kvr_add_offer(&out, &offer));
	}
	far_say(far, &out);
}

void far_offer_one(struct far *far, uint32_t transfer, const struct kvr_offer *offer)
{
	struct kvr_out out;

	kvr_begin_offers(&out, transfer);
	ck_assert(kvr_add_offer(&out, offer));
	far_say(far, &out);
}

/* Its bytes are its own again when they have arrived: one block's are enough. */
void far_write_at(struct far *far, uint64_t to, uint64_t length, uint32_t rkey)
{
	const struct kvr_write write = {.from = far->bytes, .to = to, .length = length, .rkey = rkey};
	uint64_t until = unit_in_ms(UNIT_SOON);
	int rc;

	do
		rc = kvr_tcp.write(far->link, &write);
	while (rc == -EAGAIN && far_turn(until));
	ck_rc(rc, 0);
}

void far_write(struct far *far, const struct kvr_grant *grant, uint64_t key)
{
	uint64_t size = far_node()->receiver->geometry.block_size;

	for (uint32_t i = 0; i < grant->count; i++) {
		unit_bytes(key, grant->planes[i].plane, far->bytes, size);
		far_write_at(far, grant->planes[i].address, size, grant->planes[i].rkey);
		far_idle(far);
	}
}

void far_commit(struct far *far, uint32_t transfer, uint32_t position, uint32_t planes, enum kvr_commit_kind kind)
{
	const struct kvr_commit commit = {.position = position, .planes = planes, .kind = kind};
	struct kvr_out out;

	kvr_begin_commits(&out, transfer);
	ck_assert(kvr_add_commit(&out, &commit));
	far_say(far, &out);
}

static void say_end(struct far *far, enum kvr_type type, uint32_t transfer)
{
	const struct kvr_end end = {.transfer = transfer, .result = type == KVR_ABORT ? -ECANCELED : 0,
				    .by_sender = true};
	struct kvr_out out;

	kvr_write_end(&out, type, &end);
	far_say(far, &out);
}

void far_abort(struct far *far, uint32_t transfer)
{
	say_end(far, KVR_ABORT, transfer);
}

void far_aborted(struct far *far, uint32_t transfer)
{
	say_end(far, KVR_ABORTED, transfer);
}

/* ---- What comes ------------------------------------------------------------------------------------------------ */

struct kvr_message *far_take(struct far *far, enum kvr_type type)
{
	far_until(far->first);
	free(far->taken);
	far->taken = far->first;
	far->first = far->taken->next;
	if (!far->first)
		far->last = &far->first;
	ck_rc(kvr_read(far->taken->bytes, far->taken->size, &far->message), 0);
	ck_assert_msg(far->message.type == type, "%s came, and not %s%.*s", kvr_type_name(far->message.type),
		      kvr_type_name(type),
		      far->message.type == KVR_BYE ? (int)far->message.bye.text.length : 0,
		      far->message.type == KVR_BYE ? (const char *)far->message.bye.text.bytes : "");
	return &far->message;
}

enum kvr_type far_next(struct far *far)
{
	struct kvr_message message;

	far_until(far->first);
	ck_rc(kvr_read(far->first->bytes, far->first->size, &message), 0);
	return message.type;
}

void far_opened(struct far *far, uint32_t transfer, int result)
{
	const struct kvr_message *message = far_take(far, KVR_OPENED);

	ck_assert_uint_eq(message->opened.transfer, transfer);
	ck_assert_msg(message->opened.result == result, "OPENED says %d, not %d: %.*s", message->opened.result, result,
		      (int)message->opened.text.length, (const char *)message->opened.text.bytes);
	ck_assert_int_eq(message->opened.text.length != 0, result != 0);
}

void far_grants(struct far *far, uint32_t transfer, uint32_t count)
{
	uint32_t got = 0;

	ck_assert_uint_le(count, FAR_GRANTS);
	while (got < count) {
		struct kvr_message *message = far_take(far, KVR_GRANT);

		ck_assert_uint_eq(message->transfer, transfer);
		for (uint32_t i = 0; i < message->count; i++) {
			ck_assert_uint_lt(got, count);
			kvr_next_grant(message, &far->grants[got++]);
		}
	}
}

const struct kvr_grant *far_grant(struct far *far, uint32_t transfer, uint32_t position, enum kvr_grant_kind kind)
{
	far_grants(far, transfer, 1);
	ck_assert_uint_eq(far->grants[0].position, position);
	ck_assert_int_eq(far->grants[0].kind, kind);
	return &far->grants[0];
}

void far_ended(struct far *far, enum kvr_type type, uint32_t transfer, int result)
{
	const struct kvr_message *message = far_take(far, type);

	ck_assert_uint_eq(message->end.transfer, transfer);
	ck_assert_int_eq(message->end.result, result);
	ck_assert(!message->end.by_sender);
}

void far_silent(struct far *far)
{
	far_idle(far);
	ck_assert_msg(!far->first, "something came");
	ck_assert(!far->down);
}

/* ---- All at once ----------------------------------------------------------------------------------------------- */

void far_begin(struct far *far, uint32_t transfer, const uint64_t *id, uint32_t blocks, uint64_t first_key)
{
	far_open(far, transfer, id, blocks);
	far_opened(far, transfer, 0);
	far_offer(far, transfer, 0, first_key, blocks);
	far_grants(far, transfer, blocks);
	for (uint32_t i = 0; i < blocks; i++) {
		ck_assert_int_eq(far->grants[i].kind, KVR_WRITE_IT);
		ck_assert_uint_eq(far->grants[i].position, i);
	}
}

void far_finish(struct far *far, uint32_t transfer, uint32_t blocks, uint64_t first_key)
{
	uint32_t planes = far_node()->receiver->all_planes;

	for (uint32_t i = 0; i < blocks; i++) {
		far_write(far, &far->grants[i], first_key + i);
		far_commit(far, transfer, i, planes, KVR_WHOLE);
	}
	far_ended(far, KVR_DONE, transfer, 0);
	ck_assert_uint_eq(far->message.end.held, blocks);
}

/* ---- What the store says --------------------------------------------------------------------------------------- */

bool far_has(kvshm_store *store, uint64_t key)
{
	struct kvshm_handle ref;
	int rc = unit_get(store, key, &ref);

	if (rc)
		return false;
	unit_verify(store, &ref, key);
	ck_rc(kvshm_release(store, &ref), 0);
	return true;
}

int far_state(kvshm_store *store, uint64_t id)
{
	struct kvshm_request_info info;
	struct kvshm_request request;

	if (kvshm_request_find(store, &id, sizeof(id), &request))
		return -1;
	ck_rc(kvshm_request_get_info(store, &request, &info), 0);
	return (int)info.state;
}

void far_claim(kvshm_store *store, uint64_t id, uint64_t first_key, uint32_t count)
{
	struct kvshm_request request;

	ck_rc(kvshm_request_find(store, &id, sizeof(id), &request), 0);
	ck_rc(kvshm_request_wait(store, &request, 0), 0);
	for (uint32_t i = 0; i < count; i++) {
		uint8_t bytes[UNIT_KEY];
		const struct kvshm_key key = {bytes, sizeof(bytes)};
		struct kvshm_handle ref;
		int result;

		unit_key(first_key + i, bytes);
		ck_rc(kvshm_request_claim(store, &request, &key, 1, &ref, &result), 0);
		ck_rc(result, 0);
		unit_verify(store, &ref, first_key + i);
		ck_rc(kvshm_release(store, &ref), 0);
	}
	ck_rc(kvshm_request_end(store, &request), 0);
}

void far_nothing_held(kvshm_store *store)
{
	for (uint32_t i = 0; i < store->map.g.blocks; i++) {
		struct kvshm_handle handle = {.block = i, .life = atomic_load(&kvs_block(&store->map, i)->life)};

		ck_assert_uint_eq(unit_refs(store, &handle), 0);
		ck_assert_uint_eq(unit_pins(store, &handle), 0);
	}
	ck_assert_uint_eq(unit_count(store, KVS_FILLING), 0);
	ck_assert_uint_eq(unit_count(store, KVS_ROOM) + unit_count(store, KVS_OWNED), 0);
	for (uint32_t i = 0; i < store->map.g.requests; i++)
		ck_assert_int_eq(kvs_place_state(kvs_room_place(&store->map, i)), KVS_PLACE_NONE);
	unit_sound();
}

void far_end(kvshm_store *store)
{
	for (unsigned i = 0; i < FARS; i++)
		if (fars[i])
			drop(fars[i]);
	ck_rc(kvshm_listener_close(far_listener), 0);
	far_nothing_held(store);
}
