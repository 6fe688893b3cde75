/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * load_bytes.c: the bytes of the load: which they are, writing and verifying them. See load.h.
 */
#include "config.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "load_inner.h"

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
	return mix(mix(mix(hold->handle.life) + hold->key) + plane);
}

/* The word of who writes a plane in a life. The number of a block's lives, which is what a life has in its low 40 bits,
 * only goes up. */
#define LIVES ((UINT64_C(1) << 40) - 1)
static uint64_t writer_of(const struct load_worker *w, const struct load_hold *hold)
{
	return (hold->handle.life & LIVES) << 16 | (w->id & 0xffff);
}

void load_write_plane(struct load_worker *w, const struct load_hold *hold, unsigned plane)
{
	uint64_t *words = plane_of(w, &hold->handle, plane);
	uint64_t before, bytes = pattern(hold, plane);

	if (!words)
		return;
	before = atomic_exchange_explicit(writer_word(words), writer_of(w, hold), memory_order_relaxed);
	if (before >> 16 >= (hold->handle.life & LIVES))
		load_violated(w, &w->books->two_fillers, "two fillers of one life", hold);
	if (!w->books->kills && atomic_load_explicit(readers_word(words), memory_order_relaxed))
		load_violated(w, &w->books->among_readers, "a writer among readers", hold);
	for (unsigned i = LOAD_SKIP; i < LOAD_BLOCK_SIZE / sizeof(*words); i++)
		words[i] = bytes + i;
	if (atomic_load_explicit(writer_word(words), memory_order_relaxed) != writer_of(w, hold))
		load_violated(w, &w->books->among_readers, "another writer in the same block", hold);
}

/* What is published beside the bytes: key, life, and the clears that had begun when the fill did. */
struct said {
	uint64_t key, life, stamp;
};
_Static_assert(sizeof(struct said) <= KVSHM_OPAQUE_SIZE, "it is published as opaque bytes");

void load_describe(const struct load_hold *hold, struct kvshm_meta *meta)
{
	const struct said said = { .key = hold->key, .life = hold->handle.life, .stamp = hold->stamp };

	*meta = (struct kvshm_meta){ .length = LOAD_BLOCK_SIZE - hold->handle.life % 500, .depth = hold->key % 16 };
	memcpy(meta->opaque, &said, sizeof(said));
}

void load_write(struct load_worker *w, const struct load_hold *hold, struct kvshm_meta *meta)
{
	for (unsigned plane = 0; plane < w->books->planes; plane++)
		load_write_plane(w, hold, plane);
	for (unsigned plane = 0; plane < w->books->planes; plane++) {
		uint64_t *words = plane_of(w, &hold->handle, plane);

		if (words && atomic_load_explicit(writer_word(words), memory_order_relaxed) != writer_of(w, hold))
			load_violated(w, &w->books->among_readers, "another writer in the same block", hold);
	}
	load_describe(hold, meta);
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
		load_violated(w, &w->books->foreign, "another key's bytes", hold);
	else if (wrong_words)
		load_violated(w, &w->books->torn, "torn bytes", hold);
}

static void verify_meta(struct load_worker *w, const struct load_hold *hold)
{
	struct kvshm_meta meta;
	struct said said;
	int rc = kvshm_get_meta(w->store, &hold->handle, &meta);

	if (rc) {
		if (rc != -ESTALE)
			load_wrong(w, "meta", rc, hold->key);
		return;
	}
	memcpy(&said, meta.opaque, sizeof(said));
	if (said.key != hold->key || said.life != hold->handle.life ||
	    meta.length != LOAD_BLOCK_SIZE - hold->handle.life % 500 || meta.depth != hold->key % 16)
		load_violated(w, &w->books->foreign, "another key's length, depth or opaque bytes", hold);
	else if (said.stamp < hold->done)
		load_violated(w, &w->books->cleared, "a hit from before the last clear", hold);
}

void load_verify(struct load_worker *w, const struct load_hold *hold)
{
	uint64_t *words = plane_of(w, &hold->handle, 0);
	uint64_t others;

	if (!words)
		return;
	others = atomic_fetch_add_explicit(readers_word(words), 1, memory_order_relaxed);
	verify_meta(w, hold);
	for (unsigned plane = 0; plane < w->books->planes; plane++) {
		verify_plane(w, hold, plane);
		if (!w->books->brief && base_below(&w->random, 16) == 0)
			(void)sched_yield(); /* others read it too, or try to take it away */
	}
	atomic_fetch_sub_explicit(readers_word(words), 1, memory_order_relaxed);
	(void)atomic_fetch_add_explicit(&w->books->together[others < LOAD_HOLDS ? others : LOAD_HOLDS - 1], 1,
					memory_order_relaxed);
	load_note(w, LOAD_VERIFIED);
}
