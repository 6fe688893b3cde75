/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * hold.c: taking a hold, ending it, and looking whether anyone has one. See hold.h.
 */
#include "config.h"

#include "hold.h"

#include "client.h"
#include "remove.h"

enum kvs_taken kvs_hold_take_other(const struct kvs_actor *actor, uint32_t number, bool fills, uint64_t life)
{
	struct kvs_block *block = kvs_block(actor->map, number);
	enum kvs_taken taken = KVS_GONE;

	for (;;) {
		uint64_t word = atomic_load_explicit(&block->word, memory_order_seq_cst); /* [hold-vs-remove] */
		enum kvs_state state = kvs_word_state(word);

		if (state == KVS_READY)
			return KVS_TAKEN;
		if (state == KVS_FILLING && fills)
			return KVS_TAKEN_FILLING;
		if (state == KVS_FILLING)
			taken = KVS_NOT_READY;
		if (state != KVS_REM_READY)
			break;
		/* Someone is looking whether anyone holds it, and we do. Whether this succeeds or not: look again. */
		(void)atomic_compare_exchange_strong_explicit(&block->word, &word, kvs_word_next(word, KVS_READY, 0),
							      memory_order_seq_cst, memory_order_relaxed);
	}
	(void)kvs_hold_release_inside(actor, number, life, KVS_ENTRY_REF, KVS_ENTRY_REFS);
	return taken;
}

int kvs_hold_release_inside(const struct kvs_actor *actor, uint32_t block, uint64_t life, uint64_t unit, uint64_t field)
{
	int rc = kvs_hold_sub(&actor->row[block], life, unit, field);

	if (rc == 0 && kvs_hold_must_look(actor->map, block))
		kvs_remove_try(actor, block, KVS_REMOVE_LAST);
	return rc;
}

int kvs_hold_release(const struct kvs_actor *actor, uint32_t block, uint64_t life, uint64_t unit, uint64_t field)
{
	int rc = kvs_hold_sub(&actor->row[block], life, unit, field);

	if (rc == 0 && kvs_hold_must_look(actor->map, block)) {
		kvs_enter(actor);
		kvs_remove_try(actor, block, KVS_REMOVE_LAST);
		kvs_leave(actor);
	}
	return rc;
}

static bool client_holds(const struct kvs_map *map, uint32_t slot, uint32_t block, uint64_t life)
{
	uint64_t entry;

	if (!kvs_client_has_row(map, slot))
		return false;
	entry = atomic_load_explicit(&kvs_row(map, slot)[block], memory_order_seq_cst); /* [hold-vs-remove] */
	return kvs_entry_counts(entry, life) != 0;
}

bool kvs_hold_any(const struct kvs_map *map, uint32_t block, uint64_t life)
{
	uint64_t bits = atomic_load_explicit(&kvs_block(map, block)->holders, memory_order_seq_cst); /* [holders] */

	for (; bits; bits &= bits - 1)
		for (uint32_t slot = (uint32_t)__builtin_ctzll(bits); slot < map->g.clients; slot += 64)
			if (client_holds(map, slot, block, life))
				return true;
	return false;
}
