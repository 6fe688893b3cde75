/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * load.c: see load.h.
 */
#include "config.h"

#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#define TOLD 5 /* so many violations are told in words */

static const char *const event_names[LOAD_EVENTS] = {
	[LOAD_HIT] = "hits", [LOAD_MISS] = "misses", [LOAD_BUSY] = "being filled", [LOAD_PENDING] = "pending",
	[LOAD_FILL] = "fills", [LOAD_NO_ROOM] = "no room", [LOAD_PUBLISHED] = "published", [LOAD_GAVE_UP] = "given up",
	[LOAD_CANCELED] = "cancelled", [LOAD_WAITED] = "waited", [LOAD_TIMED_OUT] = "timed out",
	[LOAD_ASK_AGAIN] = "asked again", [LOAD_MATCHED] = "matches", [LOAD_PINNED] = "pins",
	[LOAD_REMOVED] = "removed", [LOAD_VERIFIED] = "verified", [LOAD_STALE_HANDLE] = "stale handles refused",
};

static uint64_t add(_Atomic uint64_t *counter)
{
	return atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static void note(struct load_worker *w, enum load_event event)
{
	(void)add(&w->books->event[event]);
}

static void violated(const struct load_worker *w, _Atomic uint64_t *counter, const char *what,
		     const struct load_hold *hold)
{
	if (add(counter) < TOLD)
		(void)printf("VIOLATED: %s: worker %#" PRIx64 ", key %u, block %u, life %" PRIu64 "\n", what, w->id,
			     hold->key, hold->handle.block, hold->handle.life);
}

static void wrong(const struct load_worker *w, const char *what, int rc, unsigned key)
{
	if (add(&w->books->wrong) < TOLD)
		(void)printf("VIOLATED: %s of key %u: %d (%s)\n", what, key, rc, kvshm_error());
}

void load_options(struct kvshm_create_options *options, unsigned blocks, unsigned planes, enum kvshm_retain retain)
{
	kvshm_create_defaults(options);
	options->size = blocks * LOAD_BLOCK_SIZE;
	options->block_size = LOAD_BLOCK_SIZE;
	options->planes = planes;
	options->retain = retain;
}

static uint64_t mix(uint64_t x)
{
	return base_random(&x);
}

size_t load_key(unsigned number, unsigned char key[KVSHM_KEY_MAX])
{
	size_t length = 4 + mix(number) % 61;

	memset(key, (int)(number % 251), length);
	memcpy(key, &number, sizeof(number));
	return length;
}

/* ---- Bytes ------------------------------------------------------------------------------------------------ */

/* NULL if the store was destroyed. */
static uint64_t *plane_of(const struct load_worker *w, const struct kvshm_handle *handle, unsigned plane)
{
	void *address;
	int rc = kvshm_address(w->store, handle, plane, &address);

	if (rc == -ESTALE)
		return NULL;
	base_expect(rc, 0);
	return address;
}

static _Atomic uint64_t *writer_word(uint64_t *words)
{
	return (_Atomic uint64_t *)&words[0];
}

static _Atomic uint64_t *readers_word(uint64_t *words)
{
	return (_Atomic uint64_t *)&words[1];
}

static uint64_t pattern(const struct load_hold *hold, unsigned plane)
{
	return mix(mix(hold->handle.life << 16 | hold->key) + plane);
}

static uint64_t *key_and_life(struct kvshm_meta *meta)
{
	return (uint64_t *)(void *)meta->opaque;
}

/* The word of who writes a block in a life. Lives only go up. */
static uint64_t writer_of(const struct load_worker *w, const struct load_hold *hold)
{
	return hold->handle.life << 16 | (w->id & 0xffff);
}

static void write_plane(struct load_worker *w, const struct load_hold *hold, unsigned plane)
{
	uint64_t *words = plane_of(w, &hold->handle, plane);
	uint64_t before, bytes = pattern(hold, plane);

	if (!words)
		return;
	before = atomic_exchange_explicit(writer_word(words), writer_of(w, hold), memory_order_relaxed);
	if (before >> 16 >= hold->handle.life)
		violated(w, &w->books->two_fillers, "two fillers of one life", hold);
	if (!w->books->kills && atomic_load_explicit(readers_word(words), memory_order_relaxed))
		violated(w, &w->books->among_readers, "a writer among readers", hold);
	for (unsigned i = LOAD_SKIP; i < LOAD_BLOCK_SIZE / sizeof(*words); i++)
		words[i] = bytes + i;
}

void load_write(struct load_worker *w, const struct load_hold *hold, struct kvshm_meta *meta)
{
	for (unsigned plane = 0; plane < w->books->planes; plane++)
		write_plane(w, hold, plane);
	for (unsigned plane = 0; plane < w->books->planes; plane++) {
		uint64_t *words = plane_of(w, &hold->handle, plane);

		if (words && atomic_load_explicit(writer_word(words), memory_order_relaxed) != writer_of(w, hold))
			violated(w, &w->books->among_readers, "another writer in the same block", hold);
	}
	*meta = (struct kvshm_meta){ .length = LOAD_BLOCK_SIZE - hold->handle.life % 500, .depth = hold->key % 16 };
	memcpy(key_and_life(meta), &(uint64_t[]){ hold->key, hold->handle.life }, 2 * sizeof(uint64_t));
}

static void verify_plane(struct load_worker *w, const struct load_hold *hold, unsigned plane)
{
	const uint64_t *words = plane_of(w, &hold->handle, plane);
	uint64_t bytes = pattern(hold, plane);
	unsigned wrong_words = 0;

	if (!words)
		return;
	for (unsigned i = LOAD_SKIP; i < LOAD_BLOCK_SIZE / sizeof(*words); i++)
		wrong_words += words[i] != bytes + i;
	if (wrong_words == LOAD_BLOCK_SIZE / sizeof(*words) - LOAD_SKIP)
		violated(w, &w->books->foreign, "another key's bytes", hold);
	else if (wrong_words)
		violated(w, &w->books->torn, "torn bytes", hold);
}

void load_verify(struct load_worker *w, const struct load_hold *hold)
{
	uint64_t *words = plane_of(w, &hold->handle, 0);
	struct kvshm_meta meta;
	uint64_t others;
	int rc;

	if (!words)
		return;
	others = atomic_fetch_add_explicit(readers_word(words), 1, memory_order_relaxed);
	rc = kvshm_get_meta(w->store, &hold->handle, &meta);
	if (rc && rc != -ESTALE)
		wrong(w, "meta", rc, hold->key);
	else if (rc == 0 &&
		 (memcmp(meta.opaque, &(uint64_t[]){ hold->key, hold->handle.life }, 2 * sizeof(uint64_t)) != 0 ||
		  meta.length != LOAD_BLOCK_SIZE - hold->handle.life % 500 || meta.depth != hold->key % 16))
		violated(w, &w->books->foreign, "another key's length, depth or opaque bytes", hold);
	for (unsigned plane = 0; plane < w->books->planes; plane++) {
		verify_plane(w, hold, plane);
		if (!w->books->brief && base_below(&w->random, 16) == 0)
			(void)sched_yield(); /* others read it too, or try to take it away */
	}
	atomic_fetch_sub_explicit(readers_word(words), 1, memory_order_relaxed);
	(void)add(&w->books->together[others < LOAD_HOLDS ? others : LOAD_HOLDS - 1]);
	note(w, LOAD_VERIFIED);
}

/* ---- Holds ------------------------------------------------------------------------------------------------ */

/* Counts who holds a key ready: while somebody does, nobody can be told to fill it, unless it was removed. */
static void holders_add(struct load_worker *w, unsigned key, int n)
{
	atomic_fetch_add_explicit(&w->books->key[key].holders, n, memory_order_relaxed);
}

/* A handle that was released, perhaps in an earlier life of a block that is held again, is refused and changes nothing.
 * (Unless this client has a hold of its kind on that very life: then it is that one's.) */
static bool try_stale(struct load_worker *w)
{
	struct load_hold stale = w->stale[base_below(&w->random, LOAD_STALE)];
	bool later = w->books->one_thread, pin = stale.handle.kind == KVSHM_PIN;
	int rc;

	for (unsigned i = 0; i < w->count; i++) {
		if (w->holds[i].handle.block != stale.handle.block)
			continue;
		if (w->holds[i].handle.life == stale.handle.life)
			return true;
		later = true;
	}
	if (!later || stale.handle.kind == KVSHM_NONE)
		return true;
	rc = pin ? kvshm_unpin(w->store, &stale.handle) : kvshm_release(w->store, &stale.handle);
	if (rc == -EBADF)
		note(w, LOAD_STALE_HANDLE);
	else if (rc != -ESTALE)
		wrong(w, "release of a released handle", rc, stale.key);
	return rc != -ESTALE;
}

/* Releases a hold that is in no list. */
static bool let_go(struct load_worker *w, struct load_hold *hold)
{
	struct load_hold copy = *hold;
	bool pin = copy.handle.kind == KVSHM_PIN;
	int rc = pin ? kvshm_unpin(w->store, &hold->handle) : kvshm_release(w->store, &hold->handle);

	if (rc == -ESTALE)
		return false;
	if (rc)
		violated(w, &w->books->lost, "a hold was lost", hold);
	w->stale[w->released++ % LOAD_STALE] = copy;
	return true;
}

/* Lets go of one of the holds in the list, after another look at its bytes. */
static bool drop(struct load_worker *w, unsigned at)
{
	struct load_hold hold = w->holds[at];

	if (!w->books->brief)
		load_verify(w, &hold);
	w->holds[at] = w->holds[--w->count];
	holders_add(w, hold.key, -1);
	return let_go(w, &hold);
}

static bool drop_some(struct load_worker *w)
{
	return w->count == 0 || drop(w, base_below(&w->random, w->count));
}

/* Puts a hold of a block that is ready into the list; load_step() has made room in it. */
static void take(struct load_worker *w, const struct kvshm_handle *handle, unsigned key)
{
	holders_add(w, key, 1);
	w->holds[w->count++] = (struct load_hold){ .handle = *handle, .key = key };
}

/* Looks at the bytes of what was taken last, and keeps it for a while, or not. */
static bool look(struct load_worker *w)
{
	load_verify(w, &w->holds[w->count - 1]);
	return (!w->books->brief && base_below(&w->random, 3) == 0) || drop(w, w->count - 1);
}

static bool keep(struct load_worker *w, const struct kvshm_handle *handle, unsigned key)
{
	take(w, handle, key);
	return look(w);
}

/* ---- Calls ------------------------------------------------------------------------------------------------ */

static bool end_fill(struct load_worker *w, struct load_hold *hold, const struct kvshm_meta *meta, bool publish)
{
	int rc;

	atomic_fetch_sub_explicit(&w->books->key[hold->key].fillers, 1, memory_order_relaxed);
	rc = publish ? kvshm_publish(w->store, &hold->handle, meta) : kvshm_give_up(w->store, &hold->handle);
	if (rc == -ESTALE)
		return false;
	if (rc == 0 && publish) {
		note(w, LOAD_PUBLISHED);
		return keep(w, &hold->handle, hold->key);
	}
	if (rc == 0)
		note(w, LOAD_GAVE_UP);
	else if (rc == -ECANCELED && publish && hold->key % 2 == 0)
		note(w, LOAD_CANCELED);
	else if (rc == -EBADF)
		violated(w, &w->books->lost, "a fill was lost", hold);
	else
		wrong(w, publish ? "publish" : "give up", rc, hold->key);
	return true;
}

static bool fill(struct load_worker *w, struct load_hold *hold)
{
	struct load_books *books = w->books;
	int fillers = atomic_fetch_add_explicit(&books->key[hold->key].fillers, 1, memory_order_relaxed);
	struct kvshm_meta meta;

	note(w, LOAD_FILL);
	if (hold->key % 2 && !books->kills) {
		if (fillers)
			violated(w, &books->two_fillers, "two fillers of one key", hold);
		if (atomic_load_explicit(&books->key[hold->key].holders, memory_order_relaxed))
			violated(w, &books->two_fillers, "a fill of a key that is held ready", hold);
	}
	load_write(w, hold, &meta);
	if (!w->books->brief && base_below(&w->random, 4) == 0)
		(void)sched_yield(); /* others meet the fill */
	return end_fill(w, hold, &meta, base_below(&w->random, 8) != 0);
}

static bool pending(struct load_worker *w, struct load_hold *hold)
{
	uint64_t begin = base_now();
	unsigned patience = w->books->brief ? 0 : base_below(&w->random, 4);
	int rc;

	note(w, LOAD_PENDING);
	rc = kvshm_wait(w->store, &hold->handle, patience ? begin + patience * BASE_MS : 0);
	if (rc != -ETIMEDOUT || patience)
		base_histogram_add(&w->books->waits, base_now() - begin);
	switch (rc) {
	case 0:
		note(w, LOAD_WAITED);
		return keep(w, &hold->handle, hold->key);
	case -ECANCELED:
		note(w, LOAD_ASK_AGAIN);
		if (hold->handle.kind != KVSHM_NONE)
			wrong(w, "the handle after a cancelled wait", (int)hold->handle.kind, hold->key);
		return true;
	case -ETIMEDOUT:
		note(w, LOAD_TIMED_OUT);
		return let_go(w, hold);
	case -ESTALE:
		return false;
	default:
		wrong(w, "wait", rc, hold->key);
		return true;
	}
}

static bool get_or_fill(struct load_worker *w, unsigned key)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(key, bytes);
	struct load_hold hold = { .key = key };
	enum kvshm_outcome outcome;
	int rc = kvshm_get_or_fill(w->store, bytes, length, &outcome, &hold.handle);

	if (rc == -ENOSPC) {
		note(w, LOAD_NO_ROOM);
		return drop_some(w);
	}
	if (rc) {
		if (rc != -ESTALE)
			wrong(w, "get or fill", rc, key);
		return rc != -ESTALE;
	}
	switch (outcome) {
	case KVSHM_READY:
		note(w, LOAD_HIT);
		return keep(w, &hold.handle, key);
	case KVSHM_PENDING:
		return pending(w, &hold);
	case KVSHM_FILL:
		return fill(w, &hold);
	}
	wrong(w, "the outcome", (int)outcome, key);
	return true;
}

static bool get(struct load_worker *w, unsigned key)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(key, bytes);
	struct kvshm_handle handle;
	int rc = kvshm_get(w->store, bytes, length, &handle);

	switch (rc) {
	case 0:
		note(w, LOAD_HIT);
		return keep(w, &handle, key);
	case -ENOENT:
		note(w, LOAD_MISS);
		return true;
	case -EAGAIN:
		note(w, LOAD_BUSY);
		return true;
	case -ESTALE:
		return false;
	default:
		wrong(w, "get", rc, key);
		return true;
	}
}

#define PREFIX 4U

static bool match(struct load_worker *w, unsigned first)
{
	unsigned char bytes[PREFIX][KVSHM_KEY_MAX];
	struct kvshm_handle refs[PREFIX];
	struct kvshm_key keys[PREFIX];
	enum kvshm_next next;
	bool open = true;
	size_t ready;
	int rc;

	for (unsigned i = 0; i < PREFIX; i++) {
		keys[i].bytes = bytes[i];
		keys[i].length = load_key((first + i) % w->books->keys, bytes[i]);
	}
	rc = kvshm_match(w->store, keys, PREFIX, refs, &ready, &next);
	if (rc) {
		if (rc != -ESTALE)
			wrong(w, "match", rc, first);
		return rc != -ESTALE;
	}
	note(w, LOAD_MATCHED);
	if (ready > PREFIX || (ready == PREFIX) != (next == KVSHM_NEXT_NONE))
		wrong(w, "what a match says is next", (int)next, first);
	for (size_t i = 0; i < ready; i++)
		take(w, &refs[i], (first + (unsigned)i) % w->books->keys);
	for (size_t i = 0; i < ready && open; i++)
		open = drop_some(w);
	return open;
}

/* A pin of something held; it outlives the ref, or not. */
static bool pin(struct load_worker *w)
{
	struct kvshm_handle handle;
	struct load_hold held;
	int rc;

	if (w->count == 0)
		return true;
	held = w->holds[base_below(&w->random, w->count)];
	rc = kvshm_pin(w->store, &held.handle, &handle);
	if (rc == -ESTALE)
		return false;
	if (rc == -EBADF)
		violated(w, &w->books->lost, "a hold can't be pinned", &held);
	else if (rc)
		wrong(w, "pin", rc, held.key);
	if (rc)
		return true;
	note(w, LOAD_PINNED);
	return keep(w, &handle, held.key);
}

static bool remove_key(struct load_worker *w, unsigned key)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(key, bytes);
	int rc = kvshm_remove(w->store, bytes, length);

	if (rc == 0)
		note(w, LOAD_REMOVED);
	else if (rc != -ENOENT && rc != -ESTALE)
		wrong(w, "remove", rc, key);
	return rc != -ESTALE;
}

bool load_step(struct load_worker *w)
{
	/* Few keys are asked for often, so that workers meet. */
	unsigned a = base_below(&w->random, w->books->keys), b = base_below(&w->random, w->books->keys);
	unsigned key = a < b ? a : b;
	unsigned what = base_below(&w->random, 100);

	while (w->count > LOAD_HOLDS - PREFIX)
		if (!drop_some(w))
			return false;
	if (what < 55)
		return get_or_fill(w, key);
	if (what < 70)
		return get(w, key);
	if (what < 78)
		return match(w, key);
	if (what < 85)
		return pin(w);
	if (what < 93)
		return drop_some(w);
	if (what < 96)
		return try_stale(w);
	return remove_key(w, key & ~1U);
}

void load_end(struct load_worker *w)
{
	while (w->count)
		if (!drop(w, w->count - 1))
			break;
}

/* What a sum of the books may not show when nobody works any more. */
static void look_at_keys(struct load_books *books)
{
	for (unsigned key = 0; key < books->keys && !books->kills; key++)
		if (books->key[key].fillers || books->key[key].holders)
			base_fail("the test's own books of key %u don't end at zero", key);
}

void load_check(const struct load_books *books)
{
	if (books->torn || books->foreign || books->two_fillers || books->among_readers || books->lost || books->wrong)
		base_fail("an invariant was violated");
}

void load_report(struct load_books *books)
{
	(void)printf("done:");
	for (unsigned i = 0; i < LOAD_EVENTS; i++)
		(void)printf(" %" PRIu64 " %s%s", books->event[i], event_names[i], i + 1 < LOAD_EVENTS ? "," : "\n");
	(void)printf("readers of a block met by one more:");
	for (unsigned i = 0; i < LOAD_HOLDS; i++)
		(void)printf(" %u: %" PRIu64, i, books->together[i]);
	(void)printf("\n");
	base_histogram_print(&books->waits, "waits");
	(void)printf("torn %" PRIu64 ", foreign %" PRIu64 ", two_fillers %" PRIu64 ", among_readers %" PRIu64
		     ", lost %" PRIu64 ", wrong %" PRIu64 "\n", books->torn, books->foreign, books->two_fillers,
		     books->among_readers, books->lost, books->wrong);
	load_check(books);
	if (books->event[LOAD_VERIFIED] == 0 || books->event[LOAD_PUBLISHED] == 0)
		base_fail("nothing was done");
	look_at_keys(books);
}
