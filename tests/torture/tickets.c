/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * tickets.c: old tickets meet blocks at the moment when these begin their next life. One thread fills block after block
 * of a drop store, which takes free ones in the order of their numbers; others try again and again to hold the next one
 * by the ticket of its last life: threads of the same client, whose counts share an entry with the filler's, and of
 * another. Whatever they come upon, they hold that life or nothing (R26), and the filler loses neither hold nor fill
 * (B1, B2). The load of threads.c seldom meets these few instructions.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "load.h"

#define BLOCKS 64U
#define TAKERS 3U

struct ticket {
	_Atomic uint64_t words[2];
};

struct stage {
	kvshm_store *filler, *other;
	struct ticket tickets[BLOCKS]; /* the last one of each block; torn ones are of no life and no harm */
	_Atomic unsigned next;	       /* block that the filler will probably take */
	_Atomic bool stop;
	_Atomic uint64_t fills, no_room, held, pending, stale, canceled;
};

struct taker {
	struct stage *stage;
	kvshm_store *store;
	pthread_t thread;
	uint64_t random;
};

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static uint64_t *bytes_of(kvshm_store *store, const struct kvshm_handle *held)
{
	void *bytes;

	base_expect(kvshm_address(store, held, 0, &bytes), 0);
	return bytes;
}

static void post(struct stage *s, const struct kvshm_handle *held)
{
	struct kvshm_ticket ticket;
	uint64_t words[2];

	base_expect(kvshm_get_ticket(s->filler, held, &ticket), 0);
	memcpy(words, ticket.bytes, sizeof(words));
	for (unsigned i = 0; i < 2; i++)
		atomic_store_explicit(&s->tickets[held->block].words[i], words[i], memory_order_relaxed);
}

static void fill(struct stage *s, uint64_t number)
{
	enum kvshm_outcome outcome;
	struct kvshm_handle handle;
	unsigned block;
	int rc = kvshm_get_or_fill(s->filler, &number, sizeof(number), &outcome, &handle);

	if (rc == -ENOSPC) {
		count(&s->no_room); /* a taker stands still inside of a call */
		return;
	}
	base_expect(rc, 0);
	base_check(outcome == KVSHM_FILL);
	block = handle.block;
	*bytes_of(s->filler, &handle) = handle.life;
	base_expect(kvshm_publish(s->filler, &handle, NULL), 0);
	post(s, &handle);
	atomic_store_explicit(&s->next, (block + 1) % BLOCKS, memory_order_relaxed);
	base_expect(kvshm_release(s->filler, &handle), 0);
	count(&s->fills);
}

static void take(const struct taker *t, unsigned block)
{
	struct stage *s = t->stage;
	struct kvshm_ticket ticket;
	struct kvshm_handle ref;
	enum kvshm_outcome outcome;
	uint64_t words[2];
	int rc;

	for (unsigned i = 0; i < 2; i++)
		words[i] = atomic_load_explicit(&s->tickets[block].words[i], memory_order_relaxed);
	memcpy(ticket.bytes, words, sizeof(words));
	rc = kvshm_hold(t->store, &ticket, &outcome, &ref);
	if (rc) {
		base_check(rc == -ENOENT || rc == -ECANCELED);
		count(rc == -ENOENT ? &s->stale : &s->canceled);
		return;
	}
	if (outcome == KVSHM_READY && *bytes_of(t->store, &ref) != ref.life)
		base_fail("a hold by the ticket of life %" PRIu64 " of block %u has the bytes of life %" PRIu64,
			  ref.life, ref.block, *bytes_of(t->store, &ref));
	count(outcome == KVSHM_READY ? &s->held : &s->pending);
	base_expect(kvshm_release(t->store, &ref), 0);
}

static void *take_all(void *arg)
{
	struct taker *t = arg;

	while (!atomic_load_explicit(&t->stage->stop, memory_order_relaxed))
		take(t, (atomic_load_explicit(&t->stage->next, memory_order_relaxed) + base_below(&t->random, 2)) %
				BLOCKS);
	return NULL;
}

static void run(struct stage *s)
{
	struct taker takers[TAKERS];
	uint64_t end = base_phase(800);

	for (unsigned i = 0; i < TAKERS; i++) {
		takers[i] = (struct taker){
			.stage = s, .store = i % 2 ? s->other : s->filler, .random = base_stream(i)
		};
		base_check(pthread_create(&takers[i].thread, NULL, take_all, &takers[i]) == 0);
	}
	for (uint64_t number = 1; base_now() < end || !atomic_load(&s->fills) || !atomic_load(&s->stale); number++)
		fill(s, number);
	atomic_store(&s->stop, true);
	for (unsigned i = 0; i < TAKERS; i++)
		base_check(pthread_join(takers[i].thread, NULL) == 0);
}

static void try(int fence, const char *what)
{
	struct kvshm_create_options options;
	const char *name = base_store(what);
	struct stage s = { .next = 0 };
	kvshm_owner *owner;
	int rc;

	load_options(&options, BLOCKS, 1, KVSHM_DROP);
	options.fence = fence;
	rc = kvshm_create(name, &options, &owner);
	if (rc == -EOPNOTSUPP) {
		(void)printf("%s: left out: %s\n", what, kvshm_error());
		return;
	}
	base_expect(rc, 0);
	base_expect(kvshm_attach(name, NULL, &s.filler), 0);
	base_expect(kvshm_attach(name, NULL, &s.other), 0);
	run(&s);
	(void)printf("%s: %" PRIu64 " fills, %" PRIu64 " times no room; by ticket %" PRIu64 " held, %" PRIu64
		     " pending, %" PRIu64 " stale, %" PRIu64 " cancelled\n", what, s.fills, s.no_room, s.held,
		     s.pending, s.stale, s.canceled);
	base_check(s.fills > 0 && s.stale > 0);
	base_judge(name, BLOCKS);
	base_expect(kvshm_detach(s.other), 0);
	base_expect(kvshm_detach(s.filler), 0);
	base_expect(kvshm_destroy(owner), 0);
	base_check(base_files(name) == 0);
}

int main(void)
{
	base_begin();
	try(1, "fence");
	try(0, "membarrier");
	return base_pass();
}
