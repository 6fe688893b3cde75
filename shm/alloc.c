/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * alloc.c: the search for a free block. See alloc.h.
 *
 * Where nothing is idle any more the store is under pressure: from then on blocks are evicted a little ahead of need,
 * so that they wait out their grace period while others are used. Never before: a store whose keys fit keeps them all.
 */
#include "config.h"

#include "alloc.h"

#include <errno.h>

#include "epoch.h"
#include "evict.h"
#include "fault.h"
#include "recover.h"
#include "room.h"

#define TRIES 100 /* at making room that others take */
#define REAP 64	  /* blocks freed by one look */
#define LOOKS 64  /* at one epoch, before a reader in a section is taken for a stopped one */

static uint64_t hint_bit(uint32_t block)
{
	return UINT64_C(1) << (block % 64);
}

/* Relaxed, as all that search() does with hints: who loses one to another costs a block that the next sweep finds. */
void kvs_alloc_hint(const struct kvs_map *map, uint32_t block)
{
	_Atomic uint64_t *hint = &map->hints[block / 64];

	if (!(atomic_load_explicit(hint, memory_order_relaxed) & hint_bit(block)))
		atomic_fetch_or_explicit(hint, hint_bit(block), memory_order_relaxed);
}

void kvs_alloc_idle_of_many(const struct kvs_map *map, uint32_t block)
{
	/* [hint: idle] Behind the word. Set whatever it is: who drops the hint at this moment looks at the word
	 * afterwards. */
	atomic_fetch_or_explicit(&map->hints[block / 64], hint_bit(block), memory_order_seq_cst);
	atomic_fetch_add_explicit(&map->head->idle, 1, memory_order_relaxed);
}

void kvs_alloc_idle(const struct kvs_map *map, uint32_t block)
{
	kvs_alloc_idle_of_many(map, block);
	kvs_room_tell(map);
}

/* A hint that led to nothing goes, unless the block became idle in between. */
static void drop_hint(const struct kvs_map *map, uint32_t number)
{
	enum kvs_state state;

	/* [hint: drop] */
	atomic_fetch_and_explicit(&map->hints[number / 64], ~hint_bit(number), memory_order_seq_cst);
	/* [hint: drop] */
	state = kvs_word_state(atomic_load_explicit(&kvs_block(map, number)->word, memory_order_seq_cst));
	if (state == KVS_FREE || state == KVS_LIMBO)
		kvs_alloc_hint(map, number);
}

enum claim { CLAIMED, WAITING, USELESS };

/* Who takes a block: a client for itself, or for a place in the line for room. In one step, so that nobody has a block
 * for longer than the place has its time. */
struct taker {
	const struct kvs_actor *actor;
	enum kvs_state state; /* OWNED or ROOM */
	uint32_t owner;
	uint32_t want; /* blocks that it needs, this one included */
};

/* Takes a block whose word is FREE, from exactly that word. [reuse: claim] */
static bool own(const struct taker *taker, uint32_t number, uint64_t word)
{
	struct kvs_map *map = taker->actor->map;

	if (!atomic_compare_exchange_strong_explicit(&kvs_block(map, number)->word, &word,
						     kvs_word_next(word, taker->state, taker->owner),
						     memory_order_seq_cst, memory_order_relaxed))
		return false;
	drop_hint(map, number);
	atomic_fetch_sub_explicit(&map->head->idle, 1, memory_order_relaxed);
	return true;
}

/* Takes one block if it is free, or in LIMBO for long enough. [reuse: claim] Acquire: what its last readers and its
 * remover did comes before what its new owner does. The epoch comes behind the word: one from before it would make the
 * word look very old. (tests/model/epochs.pml, tests/model/block_life.pml, tests/model/line.pml) */
static enum claim claim(const struct taker *taker, uint32_t number)
{
	struct kvs_map *map = taker->actor->map;
	struct kvs_block *block = kvs_block(map, number);
	uint64_t word = atomic_load_explicit(&block->word, memory_order_acquire);

	if (kvs_word_state(word) == KVS_LIMBO) {
		uint64_t freed = kvs_word_next(word, KVS_FREE, 0);

		/* [grace: claim] */
		if (!kvs_word_aged(word, atomic_load_explicit(&map->head->epoch, memory_order_seq_cst)))
			return WAITING;
		if (!atomic_compare_exchange_strong_explicit(&block->word, &word, freed, memory_order_seq_cst,
							     memory_order_relaxed))
			return USELESS;
		word = freed;
	}
	return kvs_word_state(word) == KVS_FREE && own(taker, number, word) ? CLAIMED : USELESS;
}

/* Goes round the hints once, from where the last search ended. *waiting: how many idle blocks were met whose grace
 * period is not over. If that is all there is, the number of idle blocks, which deaths leave wrong, is set right. Hints
 * are relaxed. */
static bool search(const struct taker *taker, uint32_t *found, int64_t *waiting)
{
	struct kvs_map *map = taker->actor->map;
	uint64_t words = (map->g.blocks + UINT64_C(63)) / 64;
	uint64_t from = atomic_load_explicit(&map->head->free_hand, memory_order_relaxed) % words;

	*waiting = 0;
	for (uint64_t i = 0; i < words; i++) {
		uint64_t at = from + i < words ? from + i : from + i - words;
		uint64_t bits = atomic_load_explicit(&map->hints[at], memory_order_relaxed);

		for (; bits; bits &= bits - 1) {
			uint32_t number = (uint32_t)(at * 64 + (unsigned)__builtin_ctzll(bits));
			enum claim result;

			if (number >= map->g.blocks)
				break;
			result = claim(taker, number);
			if (result == WAITING) {
				++*waiting;
				continue;
			}
			if (result == USELESS) {
				drop_hint(map, number);
				continue;
			}
			if (i)
				atomic_store_explicit(&map->head->free_hand, at, memory_order_relaxed);
			*found = number;
			return true;
		}
	}
	atomic_store_explicit(&map->head->idle, *waiting, memory_order_relaxed);
	return false;
}

/* How many blocks are kept idle under pressure: enough to share the cost of a grace period among some fills, and so few
 * that they are not missed. Simulated against exact LRU on 53 shapes of traces, one block in 512 cost up to 0.013 of
 * the hit rate, where the working set just fits: a quarter of that share is kept. */
static int64_t reserve(const struct kvs_map *map)
{
	uint32_t share = map->g.blocks / 2048;

	return share > 64 ? 64 : share;
}

/* A word that was seen in LIMBO. */
struct waiting {
	uint32_t block;
	uint64_t word;
};

/* Notes some blocks that wait for their grace period, from where the last search ended. Hints are relaxed. */
static unsigned note_waiting(const struct kvs_map *map, struct waiting seen[REAP])
{
	uint64_t words = (map->g.blocks + UINT64_C(63)) / 64;
	uint64_t from = atomic_load_explicit(&map->head->free_hand, memory_order_relaxed) % words;
	unsigned count = 0;

	for (uint64_t i = 0; i < words && count < REAP; i++) {
		uint64_t at = from + i < words ? from + i : from + i - words;
		uint64_t bits = atomic_load_explicit(&map->hints[at], memory_order_relaxed);

		for (; bits && count < REAP; bits &= bits - 1) {
			struct kvs_block *block;

			seen[count].block = (uint32_t)(at * 64 + (unsigned)__builtin_ctzll(bits));
			block = kvs_resolve(map, seen[count].block);
			if (!block)
				break;
			/* [section: look] comes later, behind the barrier: who enters then finds it gone. */
			seen[count].word = atomic_load_explicit(&block->word, memory_order_seq_cst);
			count += kvs_word_state(seen[count].word) == KVS_LIMBO;
		}
	}
	return count;
}

/* Frees blocks that wait for their grace period, if all readers are seen outside of their sections after the blocks
 * were noted; and takes one of them at once (found may be NULL), before others find it free. (Proof:
 * tests/model/quiet_look.pml.) The CAS is from the word that was noted, so that it covers no later turn of the same
 * block. */
static bool reap(const struct taker *taker, uint32_t *found)
{
	const struct kvs_actor *actor = taker->actor;
	struct waiting seen[REAP];
	unsigned count = note_waiting(actor->map, seen);
	bool took = false;

	if (!count || !kvs_epoch_quiet(actor))
		return false;
	while (count--) {
		uint64_t freed = kvs_word_next(seen[count].word, KVS_FREE, 0);

		/* [reuse: claim] */
		if (!atomic_compare_exchange_strong_explicit(&kvs_block(actor->map, seen[count].block)->word,
							     &seen[count].word, freed, memory_order_seq_cst,
							     memory_order_relaxed))
			continue;
		if (found && !took && own(taker, seen[count].block, freed)) {
			*found = seen[count].block;
			took = true;
		}
	}
	return took;
}

/* Advances the epoch until what is idle now is old enough, looking again while readers come and go, but never waiting
 * for one. */
static void age(const struct kvs_actor *actor)
{
	for (int i = 0; i < KVS_GRACE; i++) {
		int looks = LOOKS;

		while (!kvs_epoch_advance(actor))
			if (--looks == 0)
				return;
	}
}

/* Ends the grace period of what is idle in the cheaper way, or else in the longer one, and takes a block. */
static bool search_aged(const struct taker *taker, uint32_t *found, int64_t *waiting)
{
	if (reap(taker, found) || search(taker, found, waiting))
		return true;
	if (!*waiting)
		return false;
	age(taker->actor);
	return search(taker, found, waiting);
}

/* Under pressure: evicts and ages in turn, a little at every fill's cost once in a while, so that the next search finds
 * something; and at once what else the taker needs, since each eviction looks at many blocks. */
static void keep_reserve(const struct taker *taker)
{
	const struct kvs_actor *actor = taker->actor;
	struct kvs_head *head = actor->map->head;
	int64_t want = reserve(actor->map), more = taker->want - 1;
	int64_t idle = atomic_load_explicit(&head->idle, memory_order_relaxed);

	if (!atomic_load_explicit(&head->pressure, memory_order_relaxed) || idle >= want + more)
		return;
	if (more > idle)
		want += idle > 0 ? more - idle : more;
	(void)kvs_evict(actor, (unsigned)want);
	(void)reap(taker, NULL);
}

/* Makes room and takes a block. Others may take what was made: as long as there is something to evict, it goes on, but
 * not for ever. Where what is idle waits for a reader that stands still, more of it would help nobody. */
static bool make_room(const struct taker *taker, uint32_t *block, int64_t *waiting)
{
	const struct kvs_actor *actor = taker->actor;

	for (int tries = 0; tries < TRIES; tries++) {
		bool evict = *waiting == 0;
		unsigned tried = evict ? kvs_evict(actor, (unsigned)reserve(actor->map) + taker->want) : 0;

		/* Also where there was nothing to evict: lost hints have been mended on the way. */
		if (search_aged(taker, block, waiting))
			return true;
		if (*waiting || (evict && !tried))
			return false;
	}
	return false;
}

/* Takes a block, whatever it costs; *waiting: how many would be there but for their grace period. */
static bool alloc(const struct taker *taker, uint32_t *block, int64_t *waiting)
{
	struct kvs_map *map = taker->actor->map;

	if (search(taker, block, waiting)) {
		keep_reserve(taker);
		return true;
	}
	if (!map->g.drop && !*waiting)
		atomic_store_explicit(&map->head->pressure, 1, memory_order_relaxed);
	if (make_room(taker, block, waiting))
		return true;
	/* What dead clients held may be what is missing, whoever gives it back. */
	(void)kvs_recover_dead(map);
	return make_room(taker, block, waiting);
}

int kvs_alloc_room(const struct kvs_actor *actor, uint32_t place, uint32_t want, bool thorough, uint32_t *block)
{
	const struct taker taker = {.actor = actor, .state = KVS_ROOM, .owner = place, .want = want};
	int64_t waiting;

	if (thorough)
		return alloc(&taker, block, &waiting) ? 0 : -ENOSPC;
	return search(&taker, block, &waiting) || (waiting && reap(&taker, block)) ? 0 : -ENOSPC;
}

/* Room is being gathered: by those who live? Those who do not are recovered; one whose recovery is not finished yet may
 * have left the line, too. */
static bool refused(const struct kvs_actor *actor)
{
	while (kvs_room_refused(actor))
		if (kvs_recover_dead(actor->map) <= 0)
			return kvs_room_refused(actor);
	return false;
}

int kvs_alloc(const struct kvs_actor *actor, uint32_t *block)
{
	const struct taker taker = {.actor = actor, .state = KVS_OWNED, .owner = actor->self, .want = 1};
	int64_t waiting;

	if (refused(actor)) {
		kvs_count(actor, KVS_COUNT_no_room);
		kvs_count(actor, KVS_COUNT_no_room_line);
		return kvs_routine(ENOSPC, "no room: requests wait in line for it, and this fill has none reserved; "
					   "reserve it (kvshm_request_reserve), or ask again");
	}
	if (alloc(&taker, block, &waiting))
		return 0;
	kvs_count(actor, KVS_COUNT_no_room);
	if (!waiting)
		return kvs_routine(ENOSPC, "no room: every block is held, being filled, or reserved; release some, or "
					   "make the store larger");
	kvs_count(actor, KVS_COUNT_no_room_grace);
	return kvs_routine(ENOSPC, "no room yet: what is free waits for a grace period, which a reader stalls (see "
				   "kvshm-stat); ask again");
}
