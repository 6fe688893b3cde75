/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * room.c: what a reservation costs that nobody is in the way of, against as many units of a process-shared semaphore,
 * taken one by one with sem_timedwait(3) and given back with sem_post(3): which has no order of arrival, gives a part
 * of what was asked for, and loses what a dead process has. One process; rounds interleaved; prints the medians of the
 * rounds' ratios.
 *
 *   room [ROUNDS]
 */
#include "config.h"

#include "bench.h"

#include <semaphore.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

#define BLOCKS 4096U
#define TIMES 20000U /* in a round */
#define FULL_TIMES 2000U
#define MINUTE UINT64_C(60000000000)

struct room {
	kvshm_store *store;
	sem_t *semaphore;
	uint32_t blocks;   /* of one reservation */
	uint64_t number;   /* of the last request, which is its id */
	uint64_t deadline; /* of all that is reserved in a round */
	uint64_t key;	   /* the last that was filled */
};

static uint64_t in_a_minute(void)
{
	return (uint64_t)(bench_now() * 1e9) + MINUTE;
}

static double take_units(void *arg)
{
	struct room *room = arg;
	struct timespec deadline;
	double start;

	(void)clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += 60;
	start = bench_now();
	for (unsigned i = 0; i < TIMES; i++) {
		for (uint32_t unit = 0; unit < room->blocks; unit++)
			if (sem_timedwait(room->semaphore, &deadline))
				bench_die("the semaphore has no unit");
		for (uint32_t unit = 0; unit < room->blocks; unit++)
			(void)sem_post(room->semaphore);
	}
	return (bench_now() - start) / TIMES;
}

static struct kvshm_request open_one(struct room *room)
{
	struct kvshm_request request;

	room->number++;
	if (kvshm_request_open(room->store, &room->number, sizeof(room->number), 0, 0, &request))
		bench_die("no request");
	return request;
}

static void reserve(struct room *room, const struct kvshm_request *request)
{
	if (kvshm_request_reserve(room->store, request, room->blocks, room->deadline))
		bench_die("no room");
}

static double reserve_and_unreserve(void *arg)
{
	struct room *room = arg;
	struct kvshm_request request = open_one(room);
	double start;

	room->deadline = in_a_minute();
	start = bench_now();
	for (unsigned i = 0; i < TIMES; i++) {
		reserve(room, &request);
		if (kvshm_request_unreserve(room->store, &request))
			bench_die("the room can't be given back");
	}
	start = bench_now() - start;
	if (kvshm_request_end(room->store, &request))
		bench_die("the request has no end");
	return start / TIMES;
}

/* A whole life: what a request costs that reserves what it needs, beside its keys. */
static double open_reserve_and_end(void *arg)
{
	struct room *room = arg;
	double start;

	room->deadline = in_a_minute();
	start = bench_now();
	for (unsigned i = 0; i < TIMES; i++) {
		struct kvshm_request request = open_one(room);

		reserve(room, &request);
		if (kvshm_request_end(room->store, &request))
			bench_die("the request has no end");
	}
	return (bench_now() - start) / TIMES;
}

/* Of that, what comes after the opening. */
static double reserve_and_end(void *arg)
{
	struct room *room = arg;
	double spent = 0;

	room->deadline = in_a_minute();
	for (unsigned i = 0; i < TIMES; i++) {
		struct kvshm_request request = open_one(room);
		double start = bench_now();

		reserve(room, &request);
		if (kvshm_request_end(room->store, &request))
			bench_die("the request has no end");
		spent += bench_now() - start;
	}
	return spent / TIMES;
}

/* Fills as many new keys as there is room for, each of which stays when its request ends. */
static void fill_room(struct room *room, const struct kvshm_request *request, uint32_t blocks)
{
	for (uint32_t i = 0; i < blocks; i++) {
		struct kvshm_handle block;
		enum kvshm_outcome outcome;

		room->key++;
		if (kvshm_request_get_or_fill(room->store, request, &room->key, sizeof(room->key), &outcome, &block) ||
		    outcome != KVSHM_FILL || kvshm_publish(room->store, &block, NULL))
			bench_die("no fill");
	}
}

/* What a cache has to do that is full, as it mostly is: as many blocks are evicted. */
static double reserve_in_full_store(void *arg)
{
	struct room *room = arg;
	double spent = 0;

	room->deadline = in_a_minute();
	for (unsigned i = 0; i < FULL_TIMES; i++) {
		struct kvshm_request request = open_one(room);
		double start = bench_now();

		reserve(room, &request);
		spent += bench_now() - start;
		fill_room(room, &request, room->blocks);
		if (kvshm_request_end(room->store, &request))
			bench_die("the request has no end");
	}
	return spent / FULL_TIMES;
}

static void fill_store(struct room *room)
{
	struct kvshm_request request = open_one(room);

	fill_room(room, &request, BLOCKS);
	if (kvshm_request_end(room->store, &request))
		bench_die("the request has no end");
}

static const struct bench_side in_empty_store[] = {
	{"reserve, unreserve", reserve_and_unreserve},
	{"reserve, end", reserve_and_end},
	{"open, reserve, end", open_reserve_and_end},
	{NULL, NULL},
};
static const struct bench_side in_full_store[] = {{"reserve, evicting", reserve_in_full_store}, {NULL, NULL}};

static void compare(unsigned rounds, struct room *room, const struct bench_side *sides)
{
	const struct bench_side units = {"that many units of a semaphore", take_units};

	for (size_t i = 0; i < 3; i++) {
		char what[32];

		room->blocks = (const uint32_t[]){1, 8, 40}[i];
		(void)snprintf(what, sizeof(what), "%u block%s", room->blocks, room->blocks == 1 ? "" : "s");
		for (const struct bench_side *side = sides; side->run; side++)
			bench_compare(rounds, room, what, &units, side);
	}
}

int main(int argc, char **argv)
{
	unsigned rounds = bench_rounds(argc, argv);
	struct room room = {.number = 0};
	char name[KVSHM_NAME_MAX + 1];
	kvshm_owner *owner = bench_make_store(BLOCKS, name);

	room.semaphore = mmap(NULL, sizeof(*room.semaphore), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (room.semaphore == MAP_FAILED || sem_init(room.semaphore, 1, BLOCKS))
		bench_die("no semaphore");
	if (kvshm_attach(name, NULL, &room.store))
		bench_die("cannot attach the store");
	compare(rounds, &room, in_empty_store);
	fill_store(&room);
	compare(rounds, &room, in_full_store);
	(void)kvshm_detach(room.store);
	(void)kvshm_destroy(owner);
	return 0;
}
