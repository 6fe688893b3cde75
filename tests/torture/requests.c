/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * requests: many more requests than a transfer buffer has room for.
 *
 * crowd 64 requests of 40 blocks at once in a drop store of 100 blocks: eight processes with eight each, in threads
 * that
 *          wait, or in an event loop; other processes claim them, compare their bytes and end them. Requests are
 *          aborted by their owners and by others, and processes are killed, all the time. All requests end, none waits
 *          for room beyond its deadline, and nothing is leaked. (R11, R12)
 * greedy The same requests without room reserved: each takes block by block, and holds what it has. Not one of them is
 *          complete at its deadline.
 */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base.h"

#define BLOCKS 100U
#define PROCESSES 8U
#define EACH 8U /* requests at once in a process */
#define SLOTS (PROCESSES * EACH)
#define NEED 40U    /* blocks of a request */
#define SHARED 20U  /* of these, keys that it shares with its neighbours */
#define CLAIMERS 2U
#define MS 2500
#define KILL_MS 40

/* What the processes tell each other; the store knows nothing of it. */
struct board {
	const char *name;
	uint64_t end; /* when no new request is begun */
	_Atomic int claimers_stop;
	_Atomic uint64_t next;		     /* the next request's number */
	_Atomic uint64_t to_claim[SLOTS];    /* complete requests, for who claims them: number + 1 */
	_Atomic uint64_t live[SLOTS];	     /* the request that each slot works at: number + 1 */
	_Atomic uint64_t completed, claimed, aborted, ended_by_others, unclaimed, late;
	_Atomic uint64_t room_sum; /* ns */
	struct base_histogram room;
};
static struct board *board;

struct key {
	uint64_t group, number;
};

/* The keys of a request: some are its neighbours' too, so that they are filled once and held by several. */
static void keys_of(uint64_t number, struct key keys[NEED], struct kvshm_key names[NEED])
{
	for (unsigned i = 0; i < NEED; i++) {
		keys[i] = (struct key){i < SHARED ? number / 4 : UINT64_C(1) << 40 | number, i};
		names[i] = (struct kvshm_key){&keys[i], sizeof(keys[i])};
	}
}

static uint64_t word_of(const struct key *key, unsigned at)
{
	return (key->group * UINT64_C(0x9e3779b97f4a7c15) + key->number * 1000 + at) | 1;
}

static void write_bytes(kvshm_store *store, const struct kvshm_handle *held, const struct key *key)
{
	void *address;
	uint64_t *words;

	base_expect(kvshm_address(store, held, 0, &address), 0);
	words = address;
	for (unsigned i = 0; i < KVSHM_BLOCK_UNIT / sizeof(*words); i++)
		words[i] = word_of(key, i);
}

static void compare_bytes(kvshm_store *store, const struct kvshm_handle *held, const struct key *key)
{
	void *address;
	const uint64_t *words;

	base_expect(kvshm_address(store, held, 0, &address), 0);
	words = address;
	for (unsigned i = 0; i < KVSHM_BLOCK_UNIT / sizeof(*words); i++)
		base_check(words[i] == word_of(key, i));
}

/* ---- One request, step by step ------------------------------------------------------------------------------- */

enum stage { IDLE, QUEUED, FILLING, OFFERED };

struct work {
	kvshm_store *store;
	uint64_t random, number, since;
	unsigned slot; /* of the board */
	enum stage stage;
	struct kvshm_request request;
	struct key keys[NEED];
	struct kvshm_key names[NEED];
};

/* The owner gives up here, once in a while. */
static bool abort_now(struct work *w)
{
	if (base_below(&w->random, 25))
		return false;
	if (kvshm_request_end(w->store, &w->request) == 0)
		board->aborted++;
	return true;
}

static void begin(struct work *w)
{
	w->number = board->next++;
	keys_of(w->number, w->keys, w->names);
	base_expect(kvshm_request_open(w->store, &w->number, sizeof(w->number), 0, NEED, &w->request), 0);
	board->live[w->slot] = w->number + 1;
	w->since = base_now();
}

/* Fills what is missing. 0, or why the request is over: its end was asked for; or a key's filler died, and what it had
 * reserved for that is used up, and it begins anew. */
static int fill(struct work *w)
{
	enum kvshm_outcome outcomes[NEED];
	struct kvshm_handle handles[NEED];
	int results[NEED];
	int rc = kvshm_request_get_or_fill_batch(w->store, &w->request, w->names, NEED, outcomes, handles, results);

	if (rc)
		return rc;
	for (unsigned i = 0; i < NEED; i++) {
		if (results[i]) {
			base_check(results[i] == -ENOSPC);
			rc = -ENOSPC;
		} else if (outcomes[i] == KVSHM_FILL) {
			int done;

			write_bytes(w->store, &handles[i], &w->keys[i]);
			done = kvshm_publish(w->store, &handles[i], NULL);
			base_check(done == 0 || done == -ECANCELED);
		}
	}
	return rc;
}

/* Takes the request on by one step. True: it is at its end. */
static bool step(struct work *w, int rc)
{
	if (rc == -ETIMEDOUT)
		base_fail("a request waited for its room up to its deadline");
	if (rc == -ECANCELED || rc == -ENOSPC) {
		board->late += rc == -ENOSPC;
		(void)kvshm_request_end(w->store, &w->request);
		return true;
	}
	base_expect(rc, 0);
	return abort_now(w);
}

/* Its room has come: fills it and completes it. True: it is at its end. */
static bool fill_and_offer(struct work *w)
{
	int rc;

	board->room_sum += base_now() - w->since;
	base_histogram_add(&board->room, base_now() - w->since);
	do {
		if (step(w, fill(w)))
			return true;
		rc = kvshm_request_complete(w->store, &w->request, base_now() + 20 * BASE_SECOND);
	} while (rc == -EAGAIN); /* another's fill was given up */
	if (step(w, rc))
		return true;
	board->completed++;
	w->since = base_now();
	board->to_claim[w->slot] = w->number + 1;
	w->stage = OFFERED;
	return false;
}

/* Has it been claimed and ended? Who should claim it may have been killed. */
static bool is_over(struct work *w)
{
	int rc = kvshm_request_complete(w->store, &w->request, 0);

	if (rc == -ECANCELED)
		return true;
	base_expect(rc, 0);
	if (base_now() - w->since < BASE_SECOND / 2)
		return false;
	if (kvshm_request_end(w->store, &w->request) == 0)
		board->unclaimed++;
	return true;
}

static void wait_for_events(kvshm_store *store, int fd)
{
	struct pollfd event = {.fd = fd, .events = POLLIN};

	(void)poll(&event, 1, 20);
	base_expect(kvshm_poll_clear(store), 0);
}

static uint64_t room_deadline(void)
{
	return base_now() + 60 * BASE_SECOND;
}

/* ---- Owners -------------------------------------------------------------------------------------------------- */

/* A thread with one request at a time, which waits where there is something to wait for. */
static void *one_by_one(void *arg)
{
	struct work *w = arg;
	int fd;

	base_expect(kvshm_poll_fd(w->store, &fd), 0);
	while (base_now() < board->end) {
		begin(w);
		if (abort_now(w))
			continue;
		if (step(w, kvshm_request_reserve(w->store, &w->request, NEED, room_deadline())) || fill_and_offer(w))
			continue;
		while (!is_over(w))
			wait_for_events(w->store, fd);
	}
	return NULL;
}

/* One turn of an event loop for one request. */
static void turn(struct work *w)
{
	bool over = false;
	int rc = 0;

	switch (w->stage) {
	case IDLE:
		if (base_now() >= board->end)
			return;
		begin(w);
		rc = kvshm_request_queue(w->store, &w->request, NEED, room_deadline());
		w->stage = rc == -EINPROGRESS ? QUEUED : FILLING;
		over = rc == -EINPROGRESS ? abort_now(w) : step(w, rc);
		break;
	case QUEUED:
		rc = kvshm_request_wait_room(w->store, &w->request, 0);
		if (rc == -EINPROGRESS)
			return;
		w->stage = FILLING;
		over = step(w, rc);
		break;
	case FILLING:
		over = fill_and_offer(w);
		break;
	case OFFERED:
		over = is_over(w);
		break;
	}
	if (over)
		w->stage = IDLE;
}

static void event_loop(struct work *works)
{
	int fd;

	base_expect(kvshm_poll_fd(works->store, &fd), 0);
	for (bool busy = true; busy;) {
		busy = false;
		for (unsigned i = 0; i < EACH; i++) {
			turn(&works[i]);
			busy |= works[i].stage != IDLE || base_now() < board->end;
		}
		wait_for_events(works->store, fd);
	}
}

struct place {
	unsigned process;
	uint64_t stream;
};

static void own(void *arg)
{
	const struct place *place = arg;
	struct work works[EACH];
	pthread_t threads[EACH];
	kvshm_store *store;

	base_expect(kvshm_attach(board->name, NULL, &store), 0);
	memset(works, 0, sizeof(works));
	for (unsigned i = 0; i < EACH; i++) {
		works[i].store = store;
		works[i].slot = place->process * EACH + i;
		works[i].random = base_stream(place->stream * EACH + i);
	}
	if (place->process % 2) {
		event_loop(works);
	} else {
		for (unsigned i = 0; i < EACH; i++)
			base_check(pthread_create(&threads[i], NULL, one_by_one, &works[i]) == 0);
		for (unsigned i = 0; i < EACH; i++)
			base_check(pthread_join(threads[i], NULL) == 0);
	}
	base_expect(kvshm_detach(store), 0);
}

/* ---- Claimers ------------------------------------------------------------------------------------------------ */

static void claim(kvshm_store *store, uint64_t number)
{
	struct kvshm_handle refs[NEED];
	struct kvshm_request request;
	struct kvshm_key names[NEED] = {{NULL, 0}};
	struct key keys[NEED];
	int results[NEED] = {0};
	int rc;

	keys_of(number, keys, names);
	rc = kvshm_request_find(store, &number, sizeof(number), &request);
	if (rc == 0)
		rc = kvshm_request_claim(store, &request, names, NEED, refs, results);
	if (rc == -ENOENT || rc == -ECANCELED || rc == -EBADF)
		return; /* it was aborted, and may be forgotten */
	base_expect(rc, 0);
	for (unsigned i = 0; i < NEED; i++) {
		base_expect(results[i], 0); /* all of a complete request are there, while it lasts */
		compare_bytes(store, &refs[i], &keys[i]);
	}
	board->claimed++;
	rc = kvshm_request_end(store, &request);
	base_check(rc == 0 || rc == -EALREADY);
	for (unsigned i = 0; i < NEED; i++)
		compare_bytes(store, &refs[i], &keys[i]); /* held by itself now */
	base_expect(kvshm_release_batch(store, refs, NEED, results), 0);
}

/* Ends a request of anybody's, wherever it is. */
static void meddle(kvshm_store *store, uint64_t number)
{
	struct kvshm_request request;

	if (kvshm_request_find(store, &number, sizeof(number), &request) == 0 &&
	    kvshm_request_end(store, &request) == 0)
		board->ended_by_others++;
}

static void claim_all(void *arg)
{
	const struct place *place = arg;
	uint64_t random = base_stream(place->stream * EACH);
	kvshm_store *store;
	int fd;

	base_expect(kvshm_attach(board->name, NULL, &store), 0);
	base_expect(kvshm_poll_fd(store, &fd), 0);
	while (!board->claimers_stop) {
		for (unsigned i = 0; i < SLOTS; i++) {
			uint64_t number = atomic_exchange(&board->to_claim[i], 0);

			if (number)
				claim(store, number - 1);
		}
		if (base_below(&random, 40) == 0) {
			uint64_t number = board->live[base_below(&random, SLOTS)];

			if (number)
				meddle(store, number - 1);
		}
		wait_for_events(store, fd);
	}
	base_expect(kvshm_detach(store), 0);
}

/* ---- The crowd ----------------------------------------------------------------------------------------------- */

static kvshm_owner *make_store(const char *what)
{
	struct kvshm_create_options options;
	kvshm_owner *owner;

	kvshm_create_defaults(&options);
	options.block_size = KVSHM_BLOCK_UNIT;
	options.size = BLOCKS * options.block_size;
	options.retain = KVSHM_DROP;
	options.requests = 512;
	board = base_shared(sizeof(*board));
	board->name = base_store(what);
	base_expect(kvshm_create(board->name, &options, &owner), 0);
	return owner;
}

static void end_store(kvshm_owner *owner)
{
	struct kvshm_usage usage;

	base_judge(board->name, BLOCKS);
	base_usage(board->name, &usage);
	base_check(usage.room == 0 && usage.held == 0);
	base_expect(kvshm_destroy(owner), 0);
}

/* Kills one process after the other at random moments, and puts another in its place. */
static unsigned kill_until(uint64_t end, struct place places[], pid_t pids[])
{
	uint64_t random = base_stream(1), streams = PROCESSES + CLAIMERS + 1;
	unsigned kills = 0;

	while (base_now() < end) {
		unsigned victim = base_below(&random, PROCESSES + CLAIMERS);

		base_rest(base_below(&random, 2 * KILL_MS) * BASE_MS);
		base_signal(pids[victim], SIGKILL);
		(void)base_reap(pids[victim]);
		places[victim].stream = ++streams;
		pids[victim] = base_fork(victim < PROCESSES ? own : claim_all, &places[victim]);
		kills++;
	}
	return kills;
}

static void print_crowd(unsigned kills)
{
	uint64_t rooms = base_counter(board->name, "rooms"), waited = base_counter(board->name, "rooms_waited");
	double mean = (double)board->room_sum / (double)(board->room.count ? board->room.count : 1);

	(void)printf("| %u blocks, %u requests of %u at once: %llu begun, %llu complete, %llu claimed, %u killed\n",
		     BLOCKS, SLOTS, NEED, (unsigned long long)board->next, (unsigned long long)board->completed,
		     (unsigned long long)board->claimed, kills);
	(void)printf("| ended by their owner %llu, by others %llu, claimed by nobody %llu, begun anew for room %llu\n",
		     (unsigned long long)board->aborted, (unsigned long long)board->ended_by_others,
		     (unsigned long long)board->unclaimed, (unsigned long long)board->late);
	(void)printf("| rooms granted %llu, had to wait %llu, timed out %llu\n", (unsigned long long)rooms,
		     (unsigned long long)waited, (unsigned long long)base_counter(board->name, "rooms_timed_out"));
	(void)printf("| wait for room: mean %.1f ms, longest %.1f ms\n", mean / 1e6, (double)board->room.max / 1e6);
}

static void crowd(void)
{
	struct place places[PROCESSES + CLAIMERS];
	pid_t pids[PROCESSES + CLAIMERS];
	kvshm_owner *owner = make_store("crowd");
	unsigned kills;

	board->end = base_phase(MS);
	for (unsigned i = 0; i < PROCESSES + CLAIMERS; i++) {
		places[i] = (struct place){.process = i, .stream = i + 2};
		pids[i] = base_fork(i < PROCESSES ? own : claim_all, &places[i]);
	}
	kills = kill_until(board->end, places, pids);
	for (unsigned i = 0; i < PROCESSES; i++)
		base_check(base_reap(pids[i]) == 0);
	board->claimers_stop = 1;
	for (unsigned i = PROCESSES; i < PROCESSES + CLAIMERS; i++)
		base_check(base_reap(pids[i]) == 0);
	base_expect(kvshm_owner_recover(owner, NULL), 0);
	print_crowd(kills);
	base_check(board->claimed > 0 && board->completed > 0);
	base_check(base_counter(board->name, "rooms_waited") > 0);
	base_expect((int)base_counter(board->name, "rooms_timed_out"), 0);
	end_store(owner);
}

/* ---- Without room -------------------------------------------------------------------------------------------- */

struct greedy {
	pthread_barrier_t barrier;
	uint64_t deadline;
	_Atomic unsigned complete, late;
};
static struct greedy *greedy_board;

/* Takes block after block and holds them, as engines do that reserve nothing. */
static void *take_block_by_block(void *arg)
{
	kvshm_store *store = arg;
	struct kvshm_handle held[NEED];
	struct key keys[NEED];
	struct kvshm_key names[NEED];
	unsigned have = 0;

	keys_of(board->next++ << 8, keys, names); /* none of them shared */
	while (have < NEED && base_now() < greedy_board->deadline) {
		enum kvshm_outcome outcome;
		int rc = kvshm_get_or_fill(store, names[have].bytes, names[have].length, &outcome, &held[have]);

		if (rc == -ENOSPC) {
			base_rest(BASE_MS);
			continue;
		}
		base_expect(rc, 0);
		if (outcome == KVSHM_FILL)
			base_expect(kvshm_publish(store, &held[have], NULL), 0);
		if (++have == 1) /* each has its first before anyone goes on */
			(void)pthread_barrier_wait(&greedy_board->barrier);
	}
	if (have == NEED)
		greedy_board->complete++;
	else
		greedy_board->late++;
	while (have)
		base_expect(kvshm_release(store, &held[--have]), 0);
	return NULL;
}

static void take(void *arg)
{
	pthread_t threads[EACH];
	kvshm_store *store;

	(void)arg;
	base_expect(kvshm_attach(board->name, NULL, &store), 0);
	for (unsigned i = 0; i < EACH; i++)
		base_check(pthread_create(&threads[i], NULL, take_block_by_block, store) == 0);
	for (unsigned i = 0; i < EACH; i++)
		base_check(pthread_join(threads[i], NULL) == 0);
	base_expect(kvshm_detach(store), 0);
}

/* 64 blocks of 100 are taken when all go on: nobody can get 39 more of 36. */
static void greedy(void)
{
	kvshm_owner *owner = make_store("greedy");
	pthread_barrierattr_t shared;
	pid_t pids[PROCESSES];

	greedy_board = base_shared(sizeof(*greedy_board));
	base_check(pthread_barrierattr_init(&shared) == 0);
	base_check(pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED) == 0);
	base_check(pthread_barrier_init(&greedy_board->barrier, &shared, SLOTS) == 0);
	greedy_board->deadline = base_now() + 2 * BASE_SECOND;
	for (unsigned i = 0; i < PROCESSES; i++)
		pids[i] = base_fork(take, NULL);
	for (unsigned i = 0; i < PROCESSES; i++)
		base_check(base_reap(pids[i]) == 0);
	(void)printf("| the same without room reserved: %u of %u complete before their deadline\n",
		     greedy_board->complete, SLOTS);
	base_check(greedy_board->complete == 0 && greedy_board->late == SLOTS);
	end_store(owner);
}

int main(void)
{
	base_begin();
	crowd();
	greedy();
	return base_pass();
}
