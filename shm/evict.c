/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * evict.c: coarse LRU by generations. See evict.h.
 *
 * A generation is the time in which a 64th of the store is filled. A block is stamped with the present one, 8 bits,
 * when it is let go of; the stamps of one request's blocks are equal, since they are let go of together. A hand walks
 * the blocks in windows; of each window the oldest go, and of equally old ones the deepest.
 *
 * Why not CLOCK with 2-bit frequencies, as first designed: simulated on the Mooncake conversation trace and 53
 * generated shapes, CLOCK alone evicts prefixes before suffixes (array order is fill order) and falls behind exact LRU
 * by up to 0.09 of the hit rate where recency decides; with a window sorted by depth it falls behind by 0.01 to 0.09 on
 * the trace itself. Generations stay within 0.002 of LRU on both, but for what the idle reserve costs (see
 * alloc.c).
 *
 * A contiguous window would meet the young end of the array too early: the hand goes from chunk to chunk in an order
 * that spreads each window over the whole array. Only fills tick, so a store that only hits never wraps its stamps
 * around; and the hand draws very old stamps along.
 *
 * What is relaxed here are these hints, and looks at what remove.c looks at again.
 */
#include "config.h"

#include "evict.h"

#include "alloc.h"
#include "clear.h"
#include "epoch.h"
#include "hold.h"
#include "remove.h"
#include "room.h"

#define GENERATIONS 64U /* in the time of filling the whole store */
#define AGE_MAX 160U	/* older stamps are drawn along; a whole store filled at once adds 64: 160 + 64 < 256 */
#define CHUNK 64U
#define WINDOW 1024U /* ready blocks looked at, at least, before the oldest goes */
#define BATCH 128U

struct victim {
	uint32_t age;
	uint32_t depth;
	uint32_t block;
};

/* The oldest of a window, as a heap: the youngest of them on top, first to be replaced. */
struct victims {
	struct victim of[BATCH];
	unsigned count, want;
};

void kvs_evict_tick(const struct kvs_map *map)
{
	uint64_t each = map->g.blocks / GENERATIONS ? map->g.blocks / GENERATIONS : 1;
	uint64_t ticks = atomic_fetch_add_explicit(&map->head->ticks, 1, memory_order_relaxed) + 1;

	if (ticks % each == 0)
		atomic_store_explicit(&map->head->generation, (uint8_t)(ticks / each), memory_order_relaxed);
}

static bool goes_before(const struct victim *a, const struct victim *b)
{
	if (a->age != b->age)
		return a->age > b->age;
	if (a->depth != b->depth)
		return a->depth > b->depth;
	return a->block < b->block;
}

static void sift_down(struct victims *v)
{
	unsigned at = 0;

	for (;;) {
		unsigned last = at, left = 2 * at + 1;
		struct victim held_over;

		if (left < v->count && goes_before(&v->of[last], &v->of[left]))
			last = left;
		if (left + 1 < v->count && goes_before(&v->of[last], &v->of[left + 1]))
			last = left + 1;
		if (last == at)
			return;
		held_over = v->of[at];
		v->of[at] = v->of[last];
		v->of[last] = held_over;
		at = last;
	}
}

static void sift_up(struct victims *v)
{
	for (unsigned at = v->count - 1; at && goes_before(&v->of[(at - 1) / 2], &v->of[at]); at = (at - 1) / 2) {
		struct victim held_over = v->of[at];

		v->of[at] = v->of[(at - 1) / 2];
		v->of[(at - 1) / 2] = held_over;
	}
}

/* Would the candidate be among the chosen? */
static bool wanted(const struct victims *v, const struct victim *candidate)
{
	return v->count < v->want || (v->count && goes_before(candidate, &v->of[0]));
}

static void choose(struct victims *v, const struct victim *candidate)
{
	if (v->count < v->want) {
		v->of[v->count++] = *candidate;
		sift_up(v);
	} else {
		v->of[0] = *candidate;
		sift_down(v);
	}
}

/* The youngest of the chosen, off the heap. */
static struct victim take(struct victims *v)
{
	struct victim top = v->of[0];

	v->of[0] = v->of[--v->count];
	sift_down(v);
	return top;
}

/* The age of a block in generations. */
static uint32_t age_of(const struct kvs_map *map, struct kvs_block *block)
{
	uint8_t now = atomic_load_explicit(&map->head->generation, memory_order_relaxed);
	uint8_t age = (uint8_t)(now - atomic_load_explicit(&block->stamp, memory_order_relaxed));

	if (age > AGE_MAX) {
		age = AGE_MAX;
		atomic_store_explicit(&block->stamp, (uint8_t)(now - AGE_MAX), memory_order_relaxed);
	}
	return age;
}

static bool held(const struct kvs_actor *actor, uint32_t number)
{
	bool any;

	kvs_enter(actor);
	any = kvs_hold_any(actor->map, number,
			   atomic_load_explicit(&kvs_block(actor->map, number)->life, memory_order_relaxed));
	kvs_leave(actor);
	return any;
}

static bool remove_one(const struct kvs_actor *actor, uint32_t number, enum kvs_remove_why why)
{
	bool idle;

	kvs_enter(actor);
	idle = kvs_remove_try(actor, number, why);
	kvs_leave(actor);
	return idle;
}

/* A block that may be evicted: weighs it. Whether it is held is asked last, since that takes a section, and who is
 * preempted in one holds up the reuse of blocks. */
static void weigh(const struct kvs_actor *actor, uint32_t number, struct victims *v)
{
	struct victim candidate = {
		.age = age_of(actor->map, kvs_block(actor->map, number)),
		.depth = atomic_load_explicit(&actor->map->infos[number].depth, memory_order_relaxed),
		.block = number,
	};

	if (wanted(v, &candidate) && !held(actor, number))
		choose(v, &candidate);
}

/* Looks at one block: heals it, or weighs it if it may be evicted. Returns whether it became idle. */
static bool look(const struct kvs_actor *actor, uint32_t number, struct victims *v, unsigned *eligible)
{
	struct kvs_map *map = actor->map;

	switch (kvs_word_state(atomic_load_explicit(&kvs_block(map, number)->word, memory_order_relaxed))) {
	case KVS_FREE:
	case KVS_LIMBO:
		kvs_alloc_hint(map, number);
		return false;
	case KVS_ROOM:
		kvs_room_heal(actor, number);
		return false;
	case KVS_DOOMED:
	case KVS_REM_DOOMED:
		return !held(actor, number) && remove_one(actor, number, KVS_REMOVE_LAST);
	case KVS_READY:
	case KVS_REM_READY:
		if (map->g.drop || kvs_block_cleared(map, number))
			return !held(actor, number) && remove_one(actor, number, KVS_REMOVE_LAST);
		++*eligible;
		weigh(actor, number, v);
		return false;
	default:
		return false;
	}
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* How far apart chunks that follow each other lie: about the golden section of the whole, and coprime to it, so that
 * every chunk's turn comes (Knuth, The Art of Computer Programming 3, 6.4: such multiples spread evenly). */
static uint64_t stride(uint64_t chunks)
{
	uint64_t step = chunks * 618 / 1000;

	if (step == 0)
		step = 1;
	while (gcd(step, chunks) != 1)
		step++;
	return step;
}

static unsigned look_at_chunk(const struct kvs_actor *actor, uint64_t chunk, struct victims *v, unsigned *eligible)
{
	uint64_t first = chunk * CHUNK, end = first + CHUNK;
	unsigned idle = 0;

	if (end > actor->map->g.blocks)
		end = actor->map->g.blocks;
	for (uint64_t i = first; i < end; i++)
		idle += look(actor, (uint32_t)i, v, eligible);
	return idle;
}

unsigned kvs_evict(const struct kvs_actor *actor, unsigned want)
{
	struct kvs_map *map = actor->map;
	uint64_t chunks = ((uint64_t)map->g.blocks + CHUNK - 1) / CHUNK, step = stride(chunks);
	struct victims v = {.count = 0, .want = want < BATCH ? want : BATCH};
	unsigned window = 64 * v.want > WINDOW ? 64 * v.want : WINDOW;
	unsigned eligible = 0, idle = 0, tried;
	uint64_t turn;

	/* The window is this call's own. What lies behind it is looked at where the window was not enough. */
	turn = atomic_fetch_add_explicit(&map->head->evict_hand, window / CHUNK, memory_order_relaxed);
	for (uint64_t i = 0; i < chunks && idle < want && (eligible < window || v.count < v.want); i++)
		idle += look_at_chunk(actor, (turn + i) % chunks * step % chunks, &v, &eligible);
	while (v.count > want - (idle < want ? idle : want))
		(void)take(&v); /* healing made room already: the youngest stay */
	tried = idle + v.count;
	while (v.count)
		(void)remove_one(actor, take(&v).block, KVS_REMOVE_EVICT);
	return tried;
}
