/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * calls.c: every call that a client can make with its store, but for detach. See fixture.h.
 */
#include "config.h"

#include "fixture.h"

/* The results that no call that was refused may have touched. */
static struct kvshm_handle handle;
static enum kvshm_outcome outcome;
static enum kvshm_published published;
static enum kvshm_next next;
static struct kvshm_ticket ticket;
static struct kvshm_meta meta;
static struct kvshm_key key;
static struct kvshm_request request = {.slot = 77, .number = 1};
static struct kvshm_request_info info;
static unsigned count = 12345;
static int fd = 12345;
static void *address;
static char part[8];
static size_t ready;
static int result;

static void calls_on_keys(kvshm_store *store, int wanted)
{
	ck_rc(kvshm_get(store, key.bytes, key.length, &handle), wanted);
	ck_rc(kvshm_get_or_fill(store, key.bytes, key.length, &outcome, &handle), wanted);
	ck_rc(kvshm_get_or_fill_shared(store, key.bytes, key.length, &outcome, &handle), wanted);
	ck_rc(kvshm_match(store, &key, 1, &handle, &ready, &next), wanted);
	ck_rc(kvshm_match_window(store, &key, 1, 1, &handle, &ready, &next), wanted);
	ck_rc(kvshm_touch(store, key.bytes, key.length), wanted);
	ck_rc(kvshm_remove(store, key.bytes, key.length), wanted);
}

static void calls_on_holds(kvshm_store *store, const struct kvshm_handle *held, int wanted)
{
	ck_rc(kvshm_publish(store, &handle, NULL), wanted);
	ck_rc(kvshm_publish_as(store, &handle, key.bytes, key.length, NULL, &published), wanted);
	ck_rc(kvshm_give_up(store, &handle), wanted);
	ck_rc(kvshm_wait(store, &handle, 0), wanted);
	ck_rc(kvshm_release(store, &handle), wanted);
	ck_rc(kvshm_pin(store, held, &handle), wanted);
	ck_rc(kvshm_unpin(store, &handle), wanted);
	ck_rc(kvshm_let_go(store, &handle, 1), wanted);
	ck_rc(kvshm_get_meta(store, held, &meta), wanted);
	ck_rc(kvshm_address(store, held, 0, &address), wanted);
	ck_rc(kvshm_read(store, held, 0, 0, part, sizeof(part)), wanted);
	ck_rc(kvshm_write(store, &handle, 0, 0, part, sizeof(part)), wanted);
	ck_rc(kvshm_get_ticket(store, held, &ticket), wanted);
	ck_rc(kvshm_hold(store, &ticket, &outcome, &handle), wanted);
	ck_rc(kvshm_join(store, &ticket, 0, &handle), wanted);
}

static void calls_on_streams(kvshm_store *store, const struct kvshm_handle *held, int wanted)
{
	struct kvshm_piece piece = {.held = held, .memory = part, .length = sizeof(part)};

	ck_rc(kvshm_publish_on(store, NULL, &handle, NULL, 1, &result), wanted);
	ck_rc(kvshm_give_up_on(store, NULL, &handle, 1, &result), wanted);
	ck_rc(kvshm_release_on(store, NULL, &handle, 1, &result), wanted);
	ck_rc(kvshm_request_end_on(store, NULL, &request), wanted);
	ck_rc(kvshm_copy_in(store, NULL, 0, &piece, 1), wanted);
	ck_rc(kvshm_copy_out(store, NULL, 0, &piece, 1), wanted);
}

static void calls_on_many(kvshm_store *store, const struct kvshm_handle *held, int wanted)
{
	ck_rc(kvshm_get_batch(store, &key, 1, &handle, &result), wanted);
	ck_rc(kvshm_get_or_fill_batch(store, &key, 1, &outcome, &handle, &result), wanted);
	ck_rc(kvshm_get_or_fill_shared_batch(store, &key, 1, &outcome, &handle, &result), wanted);
	ck_rc(kvshm_remove_batch(store, &key, 1, &result), wanted);
	ck_rc(kvshm_touch_batch(store, &key, 1, &result), wanted);
	ck_rc(kvshm_publish_batch(store, &handle, NULL, 1, &result), wanted);
	ck_rc(kvshm_publish_as_batch(store, &handle, &key, NULL, 1, &published, &result), wanted);
	ck_rc(kvshm_give_up_batch(store, &handle, 1, &result), wanted);
	ck_rc(kvshm_wait_batch(store, &handle, 1, 0, &result), wanted);
	ck_rc(kvshm_release_batch(store, &handle, 1, &result), wanted);
	ck_rc(kvshm_pin_batch(store, held, 1, &handle, &result), wanted);
	ck_rc(kvshm_unpin_batch(store, &handle, 1, &result), wanted);
	ck_rc(kvshm_get_meta_batch(store, held, 1, &meta, &result), wanted);
	ck_rc(kvshm_address_batch(store, held, 0, 1, &address, &result), wanted);
	ck_rc(kvshm_alloc_batch(store, 1, &handle, &result), wanted);
	ck_rc(kvshm_get_ticket_batch(store, held, 1, &ticket, &result), wanted);
	ck_rc(kvshm_hold_batch(store, &ticket, 1, &outcome, &handle, &result), wanted);
	ck_rc(kvshm_join_batch(store, &ticket, 0, 1, &handle, &result), wanted);
}

static void calls_on_requests(kvshm_store *store, const struct kvshm_handle *held, int wanted)
{
	ck_rc(kvshm_request_open(store, key.bytes, key.length, 0, 0, &request), wanted);
	ck_rc(kvshm_request_find(store, key.bytes, key.length, &request), wanted);
	ck_rc(kvshm_request_reserve(store, &request, 1, 0), wanted);
	ck_rc(kvshm_request_queue(store, &request, 1, 0), wanted);
	ck_rc(kvshm_request_wait_room(store, &request, 0), wanted);
	ck_rc(kvshm_request_unreserve(store, &request), wanted);
	ck_rc(kvshm_request_match(store, &request, &key, 1, &handle, &ready, &next), wanted);
	ck_rc(kvshm_request_pin(store, &request, held, 1, &handle, &result), wanted);
	ck_rc(kvshm_request_get_or_fill(store, &request, key.bytes, key.length, &outcome, &handle), wanted);
	ck_rc(kvshm_request_get_or_fill_shared(store, &request, key.bytes, key.length, &outcome, &handle), wanted);
	ck_rc(kvshm_request_get_or_fill_batch(store, &request, &key, 1, &outcome, &handle, &result), wanted);
	ck_rc(kvshm_request_get_or_fill_shared_batch(store, &request, &key, 1, &outcome, &handle, &result), wanted);
	ck_rc(kvshm_request_release(store, &request, &handle, 1), wanted);
	ck_rc(kvshm_request_keep(store, &request, &handle, 1), wanted);
	ck_rc(kvshm_request_complete(store, &request, 0), wanted);
	ck_rc(kvshm_request_settle(store, &request, &count), wanted);
	ck_rc(kvshm_request_wait(store, &request, 0), wanted);
	ck_rc(kvshm_request_claim(store, &request, &key, 1, &handle, &result), wanted);
	ck_rc(kvshm_request_end(store, &request), wanted);
	ck_rc(kvshm_request_tend(store, 0, &count), wanted);
	ck_rc(kvshm_request_get_info(store, &request, &info), wanted);
	ck_rc(kvshm_poll_fd(store, &fd), wanted);
	ck_rc(kvshm_poll_clear(store), wanted);
	ck_assert(request.slot == 77 && count == 12345 && fd == 12345);
}

void unit_all_calls(kvshm_store *store, const struct kvshm_handle *held, int wanted)
{
	static uint8_t bytes[UNIT_KEY];
	struct kvshm_geometry geometry;
	struct kvshm_plane_info plane;
	struct kvshm_owner_info owner;
	kvshm_listener *listener;
	kvshm_peer *peer;

	unit_key(1, bytes);
	key = (struct kvshm_key){bytes, sizeof(bytes)};
	handle = *held;
	result = 12345;
	ready = 12345;
	calls_on_keys(store, wanted);
	calls_on_holds(store, held, wanted);
	calls_on_many(store, held, wanted);
	calls_on_streams(store, held, wanted);
	calls_on_requests(store, held, wanted);
	ck_rc(kvshm_alloc(store, &handle), wanted);
	ck_rc(kvshm_clear(store), wanted);
	ck_rc(kvshm_recover(store, NULL), wanted);
	ck_rc(kvshm_get_geometry(store, &geometry), wanted);
	ck_rc(kvshm_get_plane_info(store, 0, &plane), wanted);
	ck_rc(kvshm_get_owner_info(store, &owner), wanted);
	ck_rc(kvshm_register_plane(store, 0), wanted);
	ck_rc(kvshm_connect(store, NULL, NULL, 0, &peer), wanted);
	ck_rc(kvshm_listen(store, NULL, NULL, &listener), wanted);
	ck_assert(handle.life == held->life && handle.block == held->block && handle.kind == held->kind);
	ck_assert_int_eq(result, 12345); /* a batch that is refused sets nothing */
	ck_assert_uint_eq(ready, 12345);
}
