/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * target_attach: any bytes in a segment that is viewed, checked, attached and worked on, adopted, or removed: all calls
 * come back with 0 or an error, touch nothing outside of the segment's sections and of the planes, and leave nothing
 * behind in this process.
 *
 * Input: a byte that says what is done (enum step), then what is done to the image (see image.h).
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "image.h"
#include "leaks.h"
#include "target.h"

enum step {
	STEP_VIEW = 1,
	STEP_ATTACH = 2,
	STEP_ADOPT = 4,
	STEP_UNLINK = 8,
	STEP_CLEAR = 16,
	STEP_CUT = 32,
	STEP_RESHAPE = 64,
	STEP_HEAD = 128, /* the bytes are the head's; else they are patches */
};

/* ---- Views ----------------------------------------------------------------------------------------------- */

static int see_block(const struct kvshm_block_info *block, void *arg)
{
	(void)arg;
	target_must(block->key_length <= KVSHM_KEY_MAX && *block->state);
	target_must(block->owner < KVSHM_CLIENTS_MAX || block->owner == KVSHM_NO_SLOT);
	return 0;
}

static int see_client(const struct kvshm_client_info *client, void *arg)
{
	(void)arg;
	target_must(client->slot < KVSHM_CLIENTS_MAX && strlen(client->name) < sizeof(client->name));
	return 0;
}

static void see_one(const struct kvshm_request_info *request)
{
	target_must(request->id_length <= KVSHM_REQUEST_ID_MAX && request->ahead < KVSHM_REQUESTS_MAX);
	target_must(request->owner < KVSHM_CLIENTS_MAX || request->owner == KVSHM_NO_SLOT);
	target_must(request->state >= KVSHM_REQUEST_OPENING && request->state <= KVSHM_REQUEST_CLOSED);
}

static int see_request(const struct kvshm_request_info *request, void *arg)
{
	(void)arg;
	see_one(request);
	return 0;
}

static int see_pins(const struct kvshm_pin_info *pins, void *arg)
{
	(void)arg;
	target_must(pins->client < KVSHM_CLIENTS_MAX && strlen(pins->name) < sizeof(pins->name));
	target_must(pins->id_length <= KVSHM_REQUEST_ID_MAX && pins->block <= KVSHM_BLOCKS_MAX);
	return 0;
}

static int see_peer(const struct kvshm_peer_view *peer, void *arg)
{
	(void)arg;
	target_must(peer->client < KVSHM_CLIENTS_MAX && strlen(peer->node) < sizeof(peer->node));
	return 0;
}

static int see_counter(const struct kvshm_counter *counter, void *arg)
{
	(void)arg;
	target_must(*counter->name);
	return 0;
}

static int see_histogram(const struct kvshm_histogram *histogram, void *arg)
{
	(void)arg;
	target_must(*histogram->name);
	return 0;
}

static void see_finding(const char *finding, void *arg)
{
	(void)arg;
	target_must(*finding);
}

static void see_head(void)
{
	struct kvshm_head_info head;

	if (kvshm_view_head(IMAGE_NAME, image_dir(), &head) == 0)
		target_must(strlen(head.maker) < sizeof(head.maker) && !strcmp(head.name, IMAGE_NAME));
}

static int see_plane(const struct kvshm_plane_view *plane, void *arg)
{
	(void)arg;
	target_must(plane->plane < KVSHM_PLANES_MAX && strlen(plane->gpu) < KVSHM_GPU_SIZE);
	return 0;
}

static void view(void)
{
	struct kvshm_check_result result;
	struct kvshm_store_info info;
	struct kvshm_usage usage;
	kvshm_view *view;

	see_head();
	if (kvshm_view_open(IMAGE_NAME, image_dir(), &view))
		return;
	if (kvshm_view_store(view, &info) == 0)
		target_must(strlen(info.label) < sizeof(info.label) && strlen(info.maker) < sizeof(info.maker));
	(void)kvshm_view_usage(view, &usage);
	target_must(kvshm_view_clients(view, see_client, NULL) <= 0);
	target_must(kvshm_view_planes(view, see_plane, NULL) <= 0);
	target_must(kvshm_view_counters(view, see_counter, NULL) <= 0);
	target_must(kvshm_view_histograms(view, see_histogram, NULL) <= 0);
	target_must(kvshm_view_blocks(view, see_block, NULL) <= 0);
	target_must(kvshm_view_requests(view, see_request, NULL) <= 0);
	target_must(kvshm_view_pins(view, see_pins, NULL) <= 0);
	target_must(kvshm_view_peers(view, see_peer, NULL) <= 0);
	(void)kvshm_view_check(view, see_finding, NULL, &result);
	kvshm_view_close(view);
}

/* ---- Calls ----------------------------------------------------------------------------------------------- */

static void use(kvshm_store *store, struct kvshm_handle *handle, const struct kvshm_geometry *geometry)
{
	struct kvshm_handle pin;
	struct kvshm_meta meta;
	char bytes[8] = {0};
	void *address;

	for (unsigned plane = 0; plane < geometry->planes; plane++)
		if (kvshm_address(store, handle, plane, &address) == 0) {
			memset(address, 1, geometry->block_size);
			(void)kvshm_write(store, handle, plane, geometry->block_size - sizeof(bytes), bytes,
					  sizeof(bytes));
			(void)kvshm_read(store, handle, plane, 1, bytes, sizeof(bytes));
		}
	if (handle->kind == KVSHM_REF)
		(void)kvshm_wait(store, handle, 0);
	if (kvshm_get_meta(store, handle, &meta) == 0)
		target_must(meta.length <= geometry->block_size);
	if (kvshm_pin(store, handle, &pin) == 0)
		(void)kvshm_unpin(store, &pin);
}

static void let_go(kvshm_store *store, struct kvshm_handle *handle)
{
	if (handle->kind == KVSHM_REF)
		(void)kvshm_release(store, handle);
	else if (handle->kind != KVSHM_NONE)
		(void)kvshm_give_up(store, handle);
}

static void by_ticket(kvshm_store *store, const struct kvshm_handle *held, const struct kvshm_geometry *geometry)
{
	struct kvshm_handle part, ref;
	struct kvshm_ticket ticket;
	enum kvshm_outcome outcome;

	if (kvshm_get_ticket(store, held, &ticket))
		return;
	if (kvshm_hold(store, &ticket, &outcome, &ref) == 0) {
		use(store, &ref, geometry);
		let_go(store, &ref);
	}
	if (kvshm_join(store, &ticket, geometry->planes - 1, &part) == 0) {
		(void)kvshm_publish(store, &part, NULL);
		let_go(store, &part);
	}
}

static void ask(kvshm_store *store, unsigned number, const struct kvshm_geometry *geometry)
{
	struct kvshm_handle handle = {.kind = KVSHM_NONE};
	enum kvshm_outcome outcome;
	uint8_t key[KVSHM_KEY_MAX];
	size_t length = image_key(number, key);
	int rc = number % 2 ? kvshm_get_or_fill_shared(store, key, length, &outcome, &handle)
			    : kvshm_get_or_fill(store, key, length, &outcome, &handle);

	target_must(rc <= 0);
	if (rc)
		return;
	use(store, &handle, geometry);
	by_ticket(store, &handle, geometry);
	if (handle.kind == KVSHM_WRITER && number != 7)
		(void)kvshm_publish(store, &handle, NULL);
	let_go(store, &handle);
}

static void own(kvshm_store *store, unsigned number)
{
	struct kvshm_handle handle = {.kind = KVSHM_NONE};
	enum kvshm_published published;
	uint8_t key[KVSHM_KEY_MAX];
	size_t length = image_key(number, key);

	if (kvshm_alloc(store, &handle) == 0)
		(void)kvshm_publish_as(store, &handle, key, length, NULL, &published);
	let_go(store, &handle);
}

static void match(kvshm_store *store)
{
	uint8_t bytes[IMAGE_KEYS][KVSHM_KEY_MAX];
	struct kvshm_handle refs[IMAGE_KEYS];
	struct kvshm_key keys[IMAGE_KEYS];
	enum kvshm_next next;
	size_t ready;

	for (unsigned i = 0; i < IMAGE_KEYS; i++)
		keys[i] = (struct kvshm_key){.bytes = bytes[i], .length = image_key(i, bytes[i])};
	if (kvshm_match(store, keys, IMAGE_KEYS, refs, &ready, &next))
		return;
	target_must(ready <= IMAGE_KEYS);
	for (size_t i = 0; i < ready; i++)
		let_go(store, &refs[i]);
}

/* All calls with one request, of an id that the image has; those that wait do not. */
static void request_one(kvshm_store *store, uint8_t number, const struct kvshm_geometry *geometry)
{
	struct kvshm_handle handle = {.kind = KVSHM_NONE}, ref = {.kind = KVSHM_NONE};
	struct kvshm_request request, found;
	struct kvshm_request_info info;
	enum kvshm_outcome outcome;
	uint8_t bytes[KVSHM_KEY_MAX];
	struct kvshm_key key = {.bytes = bytes, .length = image_key(number, bytes)};
	enum kvshm_next next;
	size_t ready = 0;
	int result;

	if (kvshm_request_find(store, &number, sizeof(number), &found) == 0) {
		if (kvshm_request_get_info(store, &found, &info) == 0)
			see_one(&info);
		(void)kvshm_request_wait(store, &found, 0);
		if (kvshm_request_get_info(store, &found, &info) == 0)
			target_must(info.id_length <= KVSHM_REQUEST_ID_MAX);
		if (kvshm_request_claim(store, &found, &key, 1, &ref, &result) == 0)
			let_go(store, &ref);
		(void)kvshm_request_end(store, &found);
	}
	if (kvshm_request_open(store, &number, sizeof(number), 2, 0, &request))
		return;
	(void)kvshm_request_reserve(store, &request, 1U + number, 0);
	(void)kvshm_request_match(store, &request, &key, 1, &handle, &ready, &next);
	target_must(ready <= 1);
	if (ready)
		use(store, &handle, geometry);
	key.length = image_key(7U + number % 2, bytes);
	if (kvshm_request_get_or_fill(store, &request, bytes, key.length, &outcome, &handle) == 0) {
		use(store, &handle, geometry);
		if (outcome == KVSHM_FILL)
			(void)kvshm_publish(store, &handle, NULL);
	}
	(void)kvshm_request_complete(store, &request, 0);
	(void)kvshm_request_release(store, &request, &handle, 1);
	(void)kvshm_request_queue(store, &request, IMAGE_BLOCKS, 0);
	(void)kvshm_request_wait_room(store, &request, 0);
	(void)kvshm_request_unreserve(store, &request);
	if (number % 2)
		(void)kvshm_request_end(store, &request);
}

static void requests(kvshm_store *store, const struct kvshm_geometry *geometry)
{
	unsigned ended;
	int fd;

	(void)kvshm_poll_fd(store, &fd);
	for (unsigned i = 0; i <= IMAGE_REQUESTS; i++)
		request_one(store, (uint8_t)i, geometry);
	(void)kvshm_poll_clear(store);
	if (kvshm_request_tend(store, 1, &ended) == 0)
		target_must(ended <= IMAGE_REQUESTS);
}

static void planes(kvshm_store *store, const struct kvshm_geometry *geometry)
{
	struct kvshm_plane_info info;

	for (unsigned plane = 0; plane < geometry->planes; plane++)
		if (kvshm_get_plane_info(store, plane, &info) == 0) {
			target_must(info.size == geometry->blocks * geometry->block_size);
			memset(info.address, 1, info.size);
		}
	target_must(kvshm_get_plane_info(store, geometry->planes, &info) < 0);
}

static void work(uint8_t steps)
{
	const struct kvshm_attach_options options = {.dir = image_dir(), .name = "work"};
	struct kvshm_geometry geometry;
	uint8_t key[KVSHM_KEY_MAX];
	kvshm_store *store;
	int rc = kvshm_attach(IMAGE_NAME, &options, &store);

	target_must(rc <= 0);
	if (rc)
		return;
	if (kvshm_get_geometry(store, &geometry) == 0) {
		for (unsigned i = 0; i < IMAGE_KEYS; i++)
			ask(store, i, &geometry);
		planes(store, &geometry);
		match(store);
		own(store, IMAGE_KEYS);
		requests(store, &geometry);
		for (unsigned i = 0; i < IMAGE_KEYS; i += 2)
			(void)kvshm_remove(store, key, image_key(i, key));
		if (steps & STEP_CLEAR)
			(void)kvshm_clear(store);
		own(store, 1);
		(void)kvshm_recover(store, NULL);
	}
	target_must(kvshm_detach(store) == 0);
}

static void adopt(void)
{
	unsigned overdue = 0;
	kvshm_owner *owner;

	if (kvshm_adopt(IMAGE_NAME, image_dir(), &owner))
		return;
	(void)kvshm_owner_look_at_pins(owner, 1, &overdue);
	(void)kvshm_owner_recover(owner, NULL);
	(void)kvshm_owner_look_at_pins(owner, 0, NULL);
	target_must(kvshm_disown(owner) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	image_make();
	return 0;
}

static void take(uint8_t steps)
{
	if (steps & STEP_VIEW)
		view();
	if (steps & STEP_ADOPT)
		adopt();
	if (steps & STEP_ATTACH)
		work(steps);
	if (steps & STEP_UNLINK)
		(void)kvshm_unlink(IMAGE_NAME, image_dir());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image_input input = {.next = data, .left = size};
	struct leaks before = leaks_now(), after;
	uint8_t steps = image_take(&input);
	uint16_t shape = steps & STEP_RESHAPE ? image_take_two(&input) : 0;
	uint16_t cut = steps & STEP_CUT ? image_take_two(&input) : 0;

	if (steps & STEP_HEAD)
		image_head(&input);
	else
		image_patch(&input);
	if (steps & STEP_RESHAPE)
		image_reshape(shape);
	if (steps & STEP_CUT)
		image_cut(cut);
	take(steps);
	image_restore();
	after = leaks_now();
	target_must(after.next == before.next && after.mapped == before.mapped);
	return 0;
}
