/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * wishes.c: what this process wants of a peer, until the peer's OPEN has come and its request is complete, or has
 * ended. Guarantees: nothing comes under it that was not wished for (F2). kvr_sender_wish_ended() is called once for
 * each wish that was taken; behind it the wish is gone.
 */
#include "config.h"

#include "inbound.h"

#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "index.h"
#include "internal.h"

struct kvr_wished *kvr_wish_find(struct kvr_source *source, uint32_t want)
{
	struct kvr_wished *wished = source ? source->wishes : NULL;

	while (wished && wished->wish.want != want)
		wished = wished->next;
	return wished;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static struct kvr_wished *new_wished(const struct kvs_map *map, const struct kvr_wish *wish)
{
	struct kvr_wished *wished = calloc(1, sizeof(*wished) + wish->count * sizeof(wished->hashes[0]));

	if (!wished)
		return NULL;
	for (size_t i = 0; i < wish->count; i++)
		if (wish->keys[i].length <= map->g.key_max)
			wished->hashes[wished->count++] =
				kvs_index_hash(map, wish->keys[i].bytes, wish->keys[i].length);
	qsort(wished->hashes, wished->count, sizeof(wished->hashes[0]), compare);
	wished->wish = *wish;
	wished->wish.keys = NULL;
	return wished;
}

bool kvr_wish_has(const struct kvr_wished *wished, struct kvr_text key)
{
	const struct kvs_map *map = &wished->source->receiver->store->map;
	uint64_t hash = kvs_index_hash(map, key.bytes, key.length);

	return bsearch(&hash, wished->hashes, wished->count, sizeof(hash), compare) != NULL;
}

int kvr_receiver_wish(struct kvr_peer *peer, const struct kvr_wish *wish)
{
	struct kvr_wished *wished;
	struct kvr_source *source;
	int rc = kvr_source_of(peer, &source);

	if (rc)
		return rc;
	if (wish->id_length > KVSHM_REQUEST_ID_MAX)
		return kvs_fault(EINVAL, "an id of %zu bytes: a request's has 1 to %d", wish->id_length,
				 KVSHM_REQUEST_ID_MAX);
	if (wish->want == 0 || kvr_wish_find(source, wish->want))
		return kvs_fault(EEXIST, "want %u is under way already", wish->want);
	wished = new_wished(&source->receiver->store->map, wish);
	if (!wished)
		return kvs_fault(ENOMEM, "no memory for what is wanted");
	wished->source = source;
	if (wish->id_length)
		memcpy(wished->id, wish->id, wish->id_length);
	wished->wish.id = wished->id;
	wished->next = source->wishes;
	source->wishes = wished;
	return 0;
}

void kvr_wish_end(struct kvr_wished *wished, int result)
{
	struct kvr_peer *peer = wished->source->peer;
	struct kvr_wished **at = &wished->source->wishes;
	void *user = wished->wish.user;

	while (*at != wished)
		at = &(*at)->next;
	*at = wished->next;
	if (wished->inbound)
		wished->inbound->wished = NULL;
	free(wished);
	kvr_sender_wish_ended(peer, user, result);
}

void kvr_receiver_wish_empty(struct kvr_peer *peer, uint32_t want)
{
	struct kvr_wished *wished = kvr_wish_find(peer->source, want);
	const struct kvr_open open = {.want = want};
	struct kvr_inbound *inbound;
	int rc;

	if (!wished || wished->inbound)
		return;
	rc = kvr_inbound_open(wished->source->receiver, &open, wished, &inbound);
	if (rc) {
		kvr_wish_end(wished, rc);
		return;
	}
	kvr_sender_wish_opened(peer, wished->wish.user, &inbound->request);
	kvr_inbound_look(inbound);
}

void kvr_receiver_wish_abort(struct kvr_peer *peer, uint32_t want)
{
	struct kvr_wished *wished = kvr_wish_find(peer->source, want);

	if (wished && wished->inbound) {
		struct kvr_inbound *inbound = wished->inbound;

		kvr_inbound_abort(inbound, -ECANCELED, "it is not wanted any more");
		kvr_inbound_look(inbound);
	} else if (wished) {
		kvr_wish_end(wished, -ECANCELED);
	}
}
