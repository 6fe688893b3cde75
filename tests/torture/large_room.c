/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * large_room: a room as large as the store gets its turn among a stream of small ones, and of fills that have none
 * reserved: nobody who came later is served before it. One that is larger fails at once. (R13)
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>

#include "base.h"

#define BLOCKS 100U
#define HOARD 30U /* blocks that the fills hold */

struct board {
	const char *name;
	_Atomic unsigned round; /* the large one of that round is in line, */
	_Atomic unsigned over;	/* and has had its room */
	_Atomic int stop;
	_Atomic uint64_t small, fills, refused;
};
static struct board *board;

struct place {
	uint64_t stream;
};

static uint64_t room_deadline(void)
{
	return base_now() + 20 * BASE_SECOND;
}

/* One small room. Whoever came behind the large one gets its room behind it: which has all blocks while it lasts. */
static void reserve_small(kvshm_store *store, uint64_t *random, uint64_t id)
{
	struct kvshm_request request;
	unsigned before;

	base_expect(kvshm_request_open(store, &id, sizeof(id), 0, 0, &request), 0);
	before = board->round;
	base_expect(kvshm_request_reserve(store, &request, 1 + base_below(random, 5), room_deadline()), 0);
	if (board->over < before)
		base_fail("a small room that came later was granted before the large one");
	board->small++;
	base_expect(kvshm_request_end(store, &request), 0);
}

static void small(void *arg)
{
	const struct place *place = arg;
	uint64_t random = base_stream(place->stream), id = place->stream << 32;
	kvshm_store *store;

	base_expect(kvshm_attach(board->name, NULL, &store), 0);
	while (!board->stop)
		reserve_small(store, &random, id++);
	base_expect(kvshm_detach(store), 0);
}

/* Fills without any room reserved, and holds the last of them: what it lets go of it would have again at once. */
static void fill_without_room(void *arg)
{
	const struct place *place = arg;
	uint64_t key = place->stream << 32;
	struct kvshm_handle held[HOARD] = {{.kind = KVSHM_NONE}};
	kvshm_store *store;

	base_expect(kvshm_attach(board->name, NULL, &store), 0);
	for (unsigned at = 0; !board->stop; at = (at + 1) % HOARD) {
		enum kvshm_outcome outcome;
		int rc;

		if (held[at].kind == KVSHM_REF)
			base_expect(kvshm_release(store, &held[at]), 0);
		rc = kvshm_get_or_fill(store, &key, sizeof(key), &outcome, &held[at]);
		key++;
		if (rc == -ENOSPC) {
			board->refused++;
			continue;
		}
		base_expect(rc, 0);
		board->fills++;
		base_expect(kvshm_publish(store, &held[at], NULL), 0);
	}
	base_expect(kvshm_detach(store), 0);
}

/* One large room, through its turn. */
static void reserve_large(kvshm_store *store, unsigned round)
{
	struct kvshm_request request;
	uint64_t id = round;
	int rc;

	base_expect(kvshm_request_open(store, &id, sizeof(id), 0, 0, &request), 0);
	base_expect(kvshm_request_reserve(store, &request, BLOCKS + 1, room_deadline()), -E2BIG);
	rc = kvshm_request_queue(store, &request, BLOCKS, room_deadline());
	board->round = round;
	if (rc == -EINPROGRESS)
		rc = kvshm_request_wait_room(store, &request, UINT64_MAX);
	base_expect(rc, 0);
	board->over = round;
	base_expect(kvshm_request_end(store, &request), 0);
}

#define SMALL 4U
#define ROUNDS 20U

static kvshm_owner *make_store(void)
{
	struct kvshm_create_options options;
	kvshm_owner *owner;

	kvshm_create_defaults(&options);
	options.block_size = KVSHM_BLOCK_UNIT;
	options.size = BLOCKS * options.block_size;
	options.retain = KVSHM_DROP;
	board = base_shared(sizeof(*board));
	board->name = base_store("large");
	base_expect(kvshm_create(board->name, &options, &owner), 0);
	return owner;
}

int main(void)
{
	kvshm_owner *owner;
	struct place places[SMALL + 1];
	pid_t pids[SMALL + 1];
	kvshm_store *store;

	base_begin();
	owner = make_store();
	for (unsigned i = 0; i <= SMALL; i++) {
		places[i] = (struct place){i + 1000};
		pids[i] = base_fork(i < SMALL ? small : fill_without_room, &places[i]);
	}
	base_expect(kvshm_attach(board->name, NULL, &store), 0);
	for (unsigned round = 1; round <= ROUNDS; round++) {
		uint64_t before = board->small;

		/* So that there is a stream of them; and so that a fill was refused before the last round: the process
		 * that fills may come late. */
		while (board->small < before + 20 || (round == ROUNDS && !board->refused))
			base_rest(BASE_MS / 10);
		reserve_large(store, round);
	}
	board->stop = 1;
	for (unsigned i = 0; i <= SMALL; i++)
		base_check(base_reap(pids[i]) == 0);
	base_expect(kvshm_detach(store), 0);
	(void)printf("| %u rooms as large as the store, among %llu of 1 to 5 blocks and %llu fills (%llu refused)\n",
		     ROUNDS, (unsigned long long)board->small, (unsigned long long)board->fills,
		     (unsigned long long)board->refused);
	base_check(board->refused > 0);
	base_judge(board->name, BLOCKS);
	base_expect(kvshm_destroy(owner), 0);
	return base_pass();
}

