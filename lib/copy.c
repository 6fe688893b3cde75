/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * copy.c: many pieces of blocks, copied on a GPU's stream. Contracts in kvshm.h. Guarantees: all pieces are looked at
 * before the first is put on the stream: what is refused has copied nothing.
 */
#include "config.h"

#include <stdlib.h>

#include "attached.h"
#include "internal.h"
#include "streams.h"

static int not_written(void)
{
	return kvs_routine(EBADF, "a block is not this client's to write, or not in this plane: only its filler, the "
				  "writer of that plane's part, or who has it without a key may");
}

static int check_piece(const struct kvs_actor *actor, unsigned plane, const struct kvshm_piece *piece, bool in)
{
	const uint64_t size = actor->map->g.block_size;
	struct kvs_block *block;
	int rc = kvl_held(actor, piece->held, &block);

	if (rc)
		return rc;
	if (in &&
	    !(kvl_is_written(actor, piece->held) && (piece->held->kind != KVSHM_PART || piece->held->plane == plane)))
		return not_written();
	if (piece->offset > size || piece->length > size - piece->offset)
		return kvs_fault(EINVAL, "%llu bytes at %llu: a block of this store has %llu",
				 (unsigned long long)piece->length, (unsigned long long)piece->offset,
				 (unsigned long long)size);
	if (piece->length && !piece->memory)
		return kvs_routine(EINVAL, "a piece has no memory (NULL)");
	return 0;
}

static int check(kvshm_store *store, unsigned plane, const struct kvshm_piece *pieces, size_t count, bool in)
{
	struct kvs_actor actor;
	int rc = kvl_begin(store, &actor);

	if (rc)
		return rc;
	if (count && !pieces)
		return kvs_routine(EINVAL, "no pieces were given (NULL)");
	if (plane >= store->map.g.planes)
		return kvl_no_plane(store, plane);
	if (store->map.files.memory == KVS_MEMORY_HOST && !kvg_attached_is_registered(store->gpu, plane))
		return kvs_fault(ENOTSUP,
				 "plane %u is host memory that no GPU can reach: register it "
				 "(kvshm_register_plane)",
				 plane);
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = check_piece(&actor, plane, &pieces[i], in);
	return rc;
}

/* They were checked. */
static void place(const kvshm_store *store, char *base, const struct kvshm_piece *pieces, size_t count, bool in,
		  struct kvg_piece *placed)
{
	for (size_t i = 0; i < count; i++) {
		const struct kvshm_piece *piece = &pieces[i];
		uint64_t at = (uintptr_t)base + piece->held->block * store->map.g.block_size + piece->offset;
		uint64_t memory = (uintptr_t)piece->memory;

		placed[i] = (struct kvg_piece){in ? at : memory, in ? memory : at, piece->length};
	}
}

static int copy(kvshm_store *store, void *stream, unsigned plane, const struct kvshm_piece *pieces, size_t count,
		bool in)
{
	struct kvg_piece *placed;
	char *base = NULL;
	int rc = check(store, plane, pieces, count, in);

	if (rc == 0 && count)
		rc = kvl_plane(store, plane, &base);
	if (rc || !count)
		return rc;
	placed = count < SIZE_MAX / 2 / sizeof(*placed) ? malloc(count * sizeof(*placed)) : NULL;
	if (!placed)
		return kvs_fault(ENOMEM, "no memory for a list of %zu pieces", count);
	place(store, base, pieces, count, in, placed);
	rc = kvg_streams_copy(store->gpu, plane, stream, placed, count, in);
	free(placed);
	return rc;
}

int kvshm_copy_in(kvshm_store *store, void *stream, unsigned plane, const struct kvshm_piece *pieces, size_t count)
{
	return copy(store, stream, plane, pieces, count, true);
}

int kvshm_copy_out(kvshm_store *store, void *stream, unsigned plane, const struct kvshm_piece *pieces, size_t count)
{
	return copy(store, stream, plane, pieces, count, false);
}
