/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * inquest.c: see inquest.h.
 */
#include "config.h"

#include "inquest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "clear.h"
#include "client.h"
#include "part.h"
#include "recover.h"
#include "requests.h"
#include "room.h"
#include "segment.h"

#define BLOCKS 64U /* at most */

struct hearing {
	const struct inquest *asked;
	struct image_store *store;
	const struct image *at_death;
	struct load_books *books;
	struct load_worker work; /* of who comes after the death */
	uint32_t slot; /* its own */
	bool held[BLOCKS];  /* by the living */
	bool maybe[BLOCKS]; /* by one who stands in a section: it may be about to undo that */
	unsigned held_count;
	char *why;
};

static bool __attribute__((format(printf, 2, 3))) no(const struct hearing *h, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(h->why, 256, format, args);
	va_end(args);
	return false;
}

static bool is_living(const struct hearing *h, uint32_t slot)
{
	return h->asked->living >> slot & 1;
}

/* ---- The dead --------------------------------------------------------------------------------------------- */

static bool nobody_is_dead(const struct hearing *h)
{
	const struct kvs_map *map = &h->store->map;

	for (uint32_t i = 0; i < map->g.clients; i++)
		if (kvs_client_has_row(map, i) && i != h->slot && !is_living(h, i))
			return no(h, "client %u is dead, and has not been recovered", i);
	for (uint32_t slot = 0; slot < map->g.clients; slot++)
		for (uint32_t i = 0; i < map->g.blocks && !is_living(h, slot); i++)
			if (kvs_row(map, slot)[i] & KVS_ENTRY_COUNTS)
				return no(h, "slot %u is nobody's, and its row has a count for block %u", slot, i);
			else if (kvs_row_pins(map, kvs_row(map, slot))[i])
				return no(h, "slot %u is nobody's, and its row has a note for block %u", slot, i);
	for (uint32_t i = 0; i < map->g.readers; i++) {
		uint32_t owner = atomic_load(&map->readers[i].owner);

		if (owner && owner != h->slot + 1 && (owner & KVS_READER_RECOVERER || !is_living(h, owner - 1)))
			return no(h, "reader slot %u has owner %#x", i, owner);
	}
	return true;
}

/* ---- The living ------------------------------------------------------------------------------------------- */

static bool in_section(const struct hearing *h, uint32_t slot)
{
	const struct kvs_map *map = &h->store->map;

	for (uint32_t i = 0; i < map->g.readers; i++)
		if (atomic_load(&map->readers[i].owner) == slot + 1 && atomic_load(&map->readers[i].epoch))
			return true;
	return false;
}

/* Their rows are what they were, and the blocks that they hold are in the same life. */
static bool living_have_theirs(struct hearing *h)
{
	const struct kvs_map *map = &h->store->map;
	const struct kvs_geometry *g = &map->g;

	memset(h->held, 0, sizeof(h->held));
	memset(h->maybe, 0, sizeof(h->maybe));
	for (uint32_t slot = 0; slot < g->clients; slot++)
		for (uint32_t i = 0; i < g->blocks && is_living(h, slot); i++) {
			uint64_t was = image_entry(h->at_death, g, slot, i);
			uint64_t life = image_life(h->at_death, g, i);

			if (atomic_load(&kvs_row(map, slot)[i]) != was)
				return no(h, "the entry of living client %u for block %u is not what it was", slot, i);
			if (!kvs_entry_counts(was, life))
				continue;
			if (in_section(h, slot)) {
				h->maybe[i] = true;
				continue;
			}
			h->held[i] = true;
			if (atomic_load(&map->blocks[i].life) != life)
				return no(h, "block %u, which living client %u holds, has begun another life", i, slot);
		}
	return true;
}

/* ---- Requests --------------------------------------------------------------------------------------------- */

/* A dead one's request is closed, as every request of nobody that was open ever; one that was not is gone. A living
 * one's is as it was. */
static bool request_is_right(const struct hearing *h, uint32_t i)
{
	const struct kvs_map *map = &h->store->map;
	uint64_t was = image_request(h->at_death, &map->g, i), is = atomic_load(&map->requests[i].word);
	enum kvs_request_state closed = kvs_request_state(was) < KVS_REQUEST_OPEN ? KVS_REQUEST_NONE
										  : KVS_REQUEST_CLOSED;

	if (!kvs_request_live(was) || is_living(h, kvs_word_owner(was)))
		return is == was || no(h, "request %u was in state %d, and is in state %d", i, kvs_request_state(was),
				       kvs_request_state(is));
	return (kvs_request_state(is) == closed && kvs_request_number(is) == kvs_request_number(was)) ||
	       no(h, "request %u of dead client %u was in state %d, and is in state %d", i, kvs_word_owner(was),
		  kvs_request_state(was), kvs_request_state(is));
}

static bool is_of_living(const struct hearing *h, uint32_t request)
{
	uint64_t word = atomic_load(&h->store->map.requests[request].word);

	return kvs_request_live(word) && is_living(h, kvs_word_owner(word));
}

/* The living keep their places in the line, for as long as they have time. */
static bool place_is_right(const struct hearing *h, uint32_t i)
{
	const struct kvs_map *map = &h->store->map;
	uint64_t was = image_place(h->at_death, &map->g, i), is = kvs_room_place(map, i);

	if (kvs_place_state(is) != KVS_PLACE_NONE && !is_of_living(h, i))
		return no(h, "place %u is nobody's, and in state %d", i, kvs_place_state(is));
	if (is == was || !is_of_living(h, i))
		return true;
	return (kvs_place_state(was) == KVS_PLACE_WAITING && kvs_place_state(is) == KVS_PLACE_EXPIRED) ||
	       no(h, "place %u of a living client was in state %d, and is in state %d", i, kvs_place_state(was),
		  kvs_place_state(is));
}

static bool requests_are_right(const struct hearing *h)
{
	for (uint32_t i = 0; i < h->store->map.g.requests; i++)
		if (!request_is_right(h, i) || !place_is_right(h, i))
			return false;
	return true;
}

static bool has_place(const struct hearing *h, uint32_t request)
{
	enum kvs_place_state state = kvs_place_state(kvs_room_place(&h->store->map, request));

	return is_of_living(h, request) && (state == KVS_PLACE_WAITING || state == KVS_PLACE_GRANTED);
}

/* ---- Blocks ----------------------------------------------------------------------------------------------- */

/* Is a word one of a room that a living client has? */
static bool is_room_of_living(const struct hearing *h, uint64_t word)
{
	uint32_t request = kvs_word_owner(word);

	return kvs_word_state(word) == KVS_ROOM && request < h->store->map.g.requests && is_of_living(h, request) &&
	       kvs_place_state(image_place(h->at_death, &h->store->map.g, request)) == KVS_PLACE_GRANTED;
}

/* A block that a living client holds is there for it; one that is its own stays so; any other is to be had. */
static bool block_is_accounted_for(const struct hearing *h, uint32_t i)
{
	const struct kvs_map *map = &h->store->map;
	uint64_t was = image_word(h->at_death, &map->g, i), is = atomic_load(&map->blocks[i].word);
	enum kvs_state state = kvs_word_state(is);

	if (kvs_word_state(was) == KVS_OWNED && is_living(h, kvs_word_owner(was)))
		return is == was || no(h, "block %u of living client %u is in state %d", i, kvs_word_owner(was), state);
	if (is_room_of_living(h, was))
		return is == was || no(h, "block %u of a living client's room is in state %d", i, state);
	switch (state) {
	case KVS_ROOM:
		return has_place(h, kvs_word_owner(is)) || h->asked->crowded || no(h, "block %u is nobody's room", i);
	case KVS_FREE:
	case KVS_LIMBO:
		return !h->held[i] || no(h, "block %u is held, and in state %d", i, state);
	case KVS_READY:
		if (h->held[i] || h->maybe[i] || h->asked->crowded)
			return true;
		return !(map->g.drop || kvs_block_cleared(map, i)) || no(h, "block %u is ready, and nobody's", i);
	case KVS_FILLING:
		if (!is_living(h, kvs_word_owner(is)))
			return no(h, "block %u is being filled by the dead", i);
		return h->asked->crowded || !kvs_part_failed(map, i) || no(h, "block %u can't become whole", i);
	case KVS_DOOMED:
		return h->held[i] || h->asked->crowded || no(h, "block %u is doomed, and nobody's", i);
	case KVS_REM_READY:
	case KVS_REM_DOOMED:
		return is_living(h, kvs_word_owner(is)) || no(h, "block %u is being removed by nobody", i);
	default:
		return no(h, "block %u is in state %d of client %u", i, state, kvs_word_owner(is));
	}
}

static bool blocks_are_accounted_for(struct hearing *h)
{
	h->held_count = 0;
	for (uint32_t i = 0; i < h->store->map.g.blocks; i++) {
		if (!block_is_accounted_for(h, i))
			return false;
		h->held_count += h->held[i];
	}
	return true;
}

static void keep_finding(const char *finding, void *arg)
{
	(void)snprintf(arg, 256, "unsound: %s", finding);
}

static bool checker_is_content(struct hearing *h)
{
	struct kvshm_check_result result;
	kvshm_view *view;
	int rc = kvshm_view_open(h->store->name, NULL, &view);

	if (rc)
		return no(h, "view: %d: %s", rc, kvshm_error());
	(void)snprintf(h->why, 256, "the checker counts something, and says nothing");
	rc = kvshm_view_check(view, keep_finding, h->why, &result);
	kvshm_view_close(view);
	if (rc)
		return no(h, "check: %d: %s", rc, kvshm_error());
	if (result.unsound || result.leaked)
		return false;
	return !result.pending || h->asked->crowded || no(h, "%" PRIu64 " things wait for recovery", result.pending);
}

/* ---- Keys ------------------------------------------------------------------------------------------------- */

enum seen { ABSENT, PENDING, FOUND, WRONG };

static enum seen look_at_key(struct hearing *h, unsigned key)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(key, bytes);
	struct load_hold hold = { .key = key };
	int rc = kvshm_get(h->work.store, bytes, length, &hold.handle);

	if (rc == -ENOENT)
		return ABSENT;
	if (rc == -EAGAIN)
		return PENDING;
	if (rc) {
		(void)no(h, "get of key %u: %d: %s", key, rc, kvshm_error());
		return WRONG;
	}
	load_verify(&h->work, &hold);
	rc = kvshm_release(h->work.store, &hold.handle);
	if (rc) {
		(void)no(h, "release of key %u: %d: %s", key, rc, kvshm_error());
		return WRONG;
	}
	if (h->books->torn || h->books->foreign || h->books->wrong) {
		(void)no(h, "key %u is found, and its bytes are not what was published", key);
		return WRONG;
	}
	return FOUND;
}

static bool keys_are_whole_or_absent(struct hearing *h)
{
	const struct inquest *q = h->asked;
	unsigned kept = 0, gone = 0;

	for (unsigned key = 0; key < INQUEST_KEYS; key++) {
		static const char *const names[] = { "absent", "being filled", "found" };
		enum seen seen = look_at_key(h, key);
		enum seen wanted = q->found >> key & 1 ? FOUND : q->pending >> key & 1 ? PENDING : ABSENT;

		if (seen == WRONG)
			return false;
		if (wanted != ABSENT && q->may_change >> key & 1) {
			kept += seen == wanted;
			gone += seen == ABSENT;
		} else if (seen != wanted && !(q->may_change >> key & 1)) {
			return no(h, "key %u is %s, and should be %s", key, names[seen], names[wanted]);
		}
	}
	return !(q->one_step && kept && gone) || no(h, "%u keys are left, and %u gone, of one step", kept, gone);
}

void inquest_keys(struct image_store *store, uint64_t *found, uint64_t *pending)
{
	struct load_books books = { .planes = store->map.g.planes, .kills = true, .brief = true };
	char why[256];
	struct hearing h = { .store = store, .books = &books, .why = why,
			     .work = { .books = &books, .random = 1, .id = 77 } };

	*found = *pending = 0;
	base_expect(kvshm_attach(store->name, NULL, &h.work.store), 0);
	for (unsigned key = 0; key < INQUEST_KEYS; key++) {
		enum seen seen = look_at_key(&h, key);

		if (seen == WRONG)
			base_fail("before any death: %s", why);
		*found |= (uint64_t)(seen == FOUND) << key;
		*pending |= (uint64_t)(seen == PENDING) << key;
	}
	base_expect(kvshm_detach(h.work.store), 0);
}

/* ---- Work ------------------------------------------------------------------------------------------------- */

static bool takes_a_fill(struct hearing *h)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(INQUEST_FRESH, bytes);
	struct load_hold hold = { .key = INQUEST_FRESH };
	enum kvshm_outcome outcome;
	struct kvshm_meta meta;
	int rc = kvshm_get_or_fill(h->work.store, bytes, length, &outcome, &hold.handle);

	if (rc || outcome != KVSHM_FILL)
		return no(h, "a fresh key: %d, outcome %d: %s", rc, rc ? -1 : (int)outcome, kvshm_error());
	load_write(&h->work, &hold, &meta);
	rc = kvshm_publish(h->work.store, &hold.handle, &meta);
	if (rc)
		return no(h, "publishing a fresh key: %d: %s", rc, kvshm_error());
	load_verify(&h->work, &hold);
	rc = kvshm_remove(h->work.store, bytes, length);
	if (rc == 0)
		rc = kvshm_release(h->work.store, &hold.handle);
	if (rc || h->books->torn || h->books->foreign || h->books->wrong)
		return no(h, "a fresh key is not what was published: %d", rc);
	return true;
}

/* A block that is not to be had, when all that can be are taken, is the living's; or, if some of them stand in the
 * middle of a call, in their hands, or in a grace period that they stall. */
static bool is_rightly_kept(const struct hearing *h, uint32_t i)
{
	enum kvs_state state = kvs_word_state(atomic_load(&h->store->map.blocks[i].word));

	if (h->held[i] || h->maybe[i] || state == KVS_ROOM)
		return true;
	return h->asked->crowded && state != KVS_FREE;
}

/* Some of those who stand in the middle of a call may be in line. They hold up others until their deadline. */
static bool line_is_over(const struct hearing *h, uint64_t since)
{
	const struct kvs_map *map = &h->store->map;

	for (uint32_t i = 0; i < map->g.requests; i++)
		if (kvs_place_state(kvs_room_place(map, i)) == KVS_PLACE_WAITING && base_now() < since + BASE_SECOND)
			return false;
	return true;
}

static int alloc(struct hearing *h, struct kvshm_handle *owned)
{
	uint64_t since = base_now();
	int rc;

	do
		rc = kvshm_alloc(h->work.store, owned);
	while (rc == -ENOSPC && !line_is_over(h, since));
	return rc;
}

/* Every block that the living do not hold can be had: none is lost. */
static bool all_blocks_can_be_had(struct hearing *h, unsigned *all)
{
	struct kvshm_handle owned[BLOCKS];
	bool had[BLOCKS] = { false };
	unsigned blocks = h->store->map.g.blocks, count = 0;
	int rc = 0;

	for (; count < blocks; count++) {
		rc = alloc(h, &owned[count]);
		if (rc)
			break;
		had[owned[count].block] = true;
	}
	if (rc && rc != -ENOSPC)
		return no(h, "taking all blocks: %d: %s", rc, kvshm_error());
	for (uint32_t i = 0; i < blocks; i++)
		if (had[i] ? h->held[i] : !is_rightly_kept(h, i))
			return no(h, "%u blocks can be had; block %u is %s", count, i,
				  had[i] ? "among them, and held" : "not, and not held");
	*all = count;
	while (count--)
		if (kvshm_give_up(h->work.store, &owned[count]))
			return no(h, "giving a block back: %s", kvshm_error());
	return true;
}

/* A request gets room for all of them at once, and fills in it. */
static bool takes_a_request(struct hearing *h, unsigned blocks)
{
	kvshm_store *store = h->work.store;
	struct load_hold hold = { .key = INQUEST_FRESH + 2 };
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(hold.key, bytes);
	struct kvshm_request request;
	enum kvshm_outcome outcome;
	struct kvshm_meta meta;
	int rc = kvshm_request_open(store, "inquest", 7, 1, 1, &request);

	if (rc)
		return no(h, "opening a request: %d: %s", rc, kvshm_error());
	rc = kvshm_request_reserve(store, &request, blocks, base_now() + BASE_SECOND);
	if (rc)
		return no(h, "room for %u blocks: %d: %s", blocks, rc, kvshm_error());
	rc = kvshm_request_get_or_fill(store, &request, bytes, length, &outcome, &hold.handle);
	if (rc || outcome != KVSHM_FILL)
		return no(h, "a fill in room: %d, outcome %d: %s", rc, rc ? -1 : (int)outcome, kvshm_error());
	load_write(&h->work, &hold, &meta);
	rc = kvshm_publish(store, &hold.handle, &meta);
	if (rc == 0)
		rc = kvshm_request_complete(store, &request, 0);
	if (rc == 0)
		load_verify(&h->work, &hold);
	if (rc == 0)
		rc = kvshm_remove(store, bytes, length);
	if (rc == 0)
		rc = kvshm_request_end(store, &request);
	return rc == 0 || no(h, "a request's life: %d: %s", rc, kvshm_error());
}

/* The ids of the dead's requests can be opened anew, as another attempt. */
static bool takes_ids(struct hearing *h)
{
	static const char *const ids[] = { "victim", "corpse" };

	for (unsigned i = 0; i < 2; i++) {
		struct kvshm_request request;
		int rc = kvshm_request_open(h->work.store, ids[i], strlen(ids[i]), 9, 0, &request);

		if (rc == 0)
			rc = kvshm_request_end(h->work.store, &request);
		if (rc)
			return no(h, "the next attempt of request %s: %d: %s", ids[i], rc, kvshm_error());
		rc = kvshm_request_open(h->work.store, ids[i], strlen(ids[i]), 9, 0, &request);
		if (rc != -EALREADY)
			return no(h, "the same attempt of request %s once more: %d", ids[i], rc);
	}
	return true;
}

static bool takes_work(struct hearing *h)
{
	bool room = h->held_count < h->store->map.g.blocks && !h->asked->crowded;
	unsigned all = 0;

	return (!room || takes_a_fill(h)) && takes_ids(h) && all_blocks_can_be_had(h, &all) &&
	       (all == 0 || takes_a_request(h, all));
}

/* ---- The inquest ------------------------------------------------------------------------------------------ */

static bool hear(struct hearing *h)
{
	return nobody_is_dead(h) && living_have_theirs(h) && requests_are_right(h) && blocks_are_accounted_for(h) &&
	       checker_is_content(h) && keys_are_whole_or_absent(h) && takes_work(h) && living_have_theirs(h) &&
	       checker_is_content(h);
}

/* As the owner of a store does it. */
static bool recover_from_outside(struct hearing *h)
{
	struct kvs_map map;
	int rc = kvs_segment_open(h->store->name, NULL, NULL, &map);

	if (rc == 0) {
		rc = kvs_recover_dead(&map);
		kvs_map_close(&map);
	}
	if (rc < 0)
		return no(h, "recovery without a slot: %d: %s", rc, kvshm_error());
	h->slot = KVS_NONE - 1;
	return nobody_is_dead(h);
}

bool inquest(const struct inquest *asked, struct image_store *store, const struct image *at_death, char why[256])
{
	struct load_books books = { .planes = store->map.g.planes, .kills = true, .brief = true };
	struct hearing h = { .asked = asked, .store = store, .at_death = at_death, .books = &books, .why = why,
			     .work = { .books = &books, .random = 1, .id = 77 } };
	struct kvshm_geometry geometry;
	bool content;
	int rc;

	base_check(store->map.g.blocks <= BLOCKS);
	if (asked->outside && !recover_from_outside(&h))
		return false;
	rc = kvshm_attach(store->name, NULL, &h.work.store);
	if (rc)
		return no(&h, "attach: %d: %s", rc, kvshm_error());
	base_expect(kvshm_get_geometry(h.work.store, &geometry), 0);
	h.slot = geometry.slot;
	content = hear(&h);
	rc = kvshm_detach(h.work.store);
	return content && (rc == 0 || no(&h, "detach: %d: %s", rc, kvshm_error()));
}
