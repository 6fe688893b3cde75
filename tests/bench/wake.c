/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * wake.c: how long after an event in one process another one, which sleeps, has returned from its wait for it; against
 * sem_post(3) and sem_timedwait(3) with a process-shared semaphore between the same two. The events: a block is
 * published, for kvshm_wait() and for a descriptor; a request is complete; room goes from one request to the next in
 * the line. A sample is told only once /proc says that the other sleeps. A round's time is the median of its samples;
 * rounds interleaved; prints the medians of the rounds' ratios.
 *
 *   wake [ROUNDS]
 */
#include "config.h"

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCKS 40U
#define SAMPLES 200U /* in a round */
#define MINUTE UINT64_C(60000000000)

/* One of the two processes. */
struct side {
	struct shared *shared;
	kvshm_store *store;
	struct kvshm_handle block;
	struct kvshm_request request, rest;
	int poll_fd;
};

/* How an event comes about, in order. Those of the waiter are called in the other process. */
struct event {
	const char *name;
	void (*prepare)(struct side *teller);
	void (*get_ready)(struct side *waiter);
	void (*wait)(struct side *waiter);
	void (*tell)(struct side *teller);
	void (*waiter_after)(struct side *waiter);
	void (*teller_after)(struct side *teller);
};

struct shared {
	sem_t next, done;	   /* a sample begins; the waiter is through with it */
	sem_t semaphore;	   /* what is measured against */
	_Atomic uint32_t at;	   /* samples that the waiter is, or was, ready for */
	const struct event *event; /* NULL: no more. An address of both processes */
	uint32_t number;	   /* of the sample: key and id */
	uint32_t blocks;	   /* of a reservation */
	double arrived;
};

static void must(int rc, const char *what)
{
	if (rc)
		bench_die(what);
}

static uint64_t in_a_minute(void)
{
	return (uint64_t)(bench_now() * 1e9) + MINUTE;
}

static void wait_semaphore(sem_t *semaphore)
{
	struct timespec deadline;

	(void)clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += 60;
	while (sem_timedwait(semaphore, &deadline))
		if (errno != EINTR)
			bench_die("the other process does not answer");
}

static void nothing(struct side *side)
{
	(void)side;
}

/* ---- A semaphore --------------------------------------------------------------------------------------------- */

static void take_unit(struct side *waiter)
{
	wait_semaphore(&waiter->shared->semaphore);
}

static void give_unit(struct side *teller)
{
	(void)sem_post(&teller->shared->semaphore);
}

static const struct event semaphore_event = {
	"sem_post to sem_timedwait", nothing, nothing, take_unit, give_unit, nothing, nothing};

/* ---- A block is published ------------------------------------------------------------------------------------ */

static void get(struct side *side, enum kvshm_outcome expected)
{
	const uint32_t *key = &side->shared->number;
	enum kvshm_outcome outcome;

	if (kvshm_get_or_fill(side->store, key, sizeof(*key), &outcome, &side->block) || outcome != expected)
		bench_die("the key is in another state");
}

static void begin_fill(struct side *teller)
{
	get(teller, KVSHM_FILL);
}

static void hold_pending(struct side *waiter)
{
	get(waiter, KVSHM_PENDING);
}

static void wait_for_block(struct side *waiter)
{
	must(kvshm_wait(waiter->store, &waiter->block, in_a_minute()), "the block does not become ready");
}

static void publish(struct side *teller)
{
	must(kvshm_publish(teller->store, &teller->block, NULL), "the block can't be published");
}

static void let_go(struct side *side)
{
	must(kvshm_release(side->store, &side->block), "a ref was lost");
}

static void remove_block(struct side *teller)
{
	let_go(teller);
	must(kvshm_remove(teller->store, &teller->shared->number, sizeof(teller->shared->number)), "a key was lost");
}

static void hold_and_look(struct side *waiter)
{
	if (waiter->poll_fd < 0)
		must(kvshm_poll_fd(waiter->store, &waiter->poll_fd), "no descriptor");
	hold_pending(waiter);
	must(kvshm_poll_clear(waiter->store), "the descriptor can't be cleared");
	if (kvshm_wait(waiter->store, &waiter->block, 0) != -ETIMEDOUT)
		bench_die("the block is ready before its time");
}

static void poll_for_block(struct side *waiter)
{
	struct pollfd fd = {.fd = waiter->poll_fd, .events = POLLIN};

	do {
		if (poll(&fd, 1, -1) != 1)
			bench_die("poll");
		must(kvshm_poll_clear(waiter->store), "the descriptor can't be cleared");
	} while (kvshm_wait(waiter->store, &waiter->block, 0) == -ETIMEDOUT);
}

/* ---- A request is complete ----------------------------------------------------------------------------------- */

static void open_request(struct side *teller)
{
	must(kvshm_request_open(teller->store, &teller->shared->number, sizeof(teller->shared->number), 0, 0,
				&teller->request),
	     "no request");
}

static void find_request(struct side *waiter)
{
	must(kvshm_request_find(waiter->store, &waiter->shared->number, sizeof(waiter->shared->number),
				&waiter->request),
	     "no request is found");
}

static void wait_for_request(struct side *waiter)
{
	must(kvshm_request_wait(waiter->store, &waiter->request, in_a_minute()), "the request is never complete");
}

static void complete(struct side *teller)
{
	must(kvshm_request_complete(teller->store, &teller->request, 0), "the request can't be complete");
}

static void end_request(struct side *side)
{
	must(kvshm_request_end(side->store, &side->request), "the request has no end");
}

/* ---- Room goes to the next in the line ----------------------------------------------------------------------- */

static struct kvshm_request request_of(struct side *side, const char *whose)
{
	struct kvshm_request request;
	char id[32];

	(void)snprintf(id, sizeof(id), "%s %u", whose, side->shared->number);
	must(kvshm_request_open(side->store, id, strlen(id), 0, 0, &request), "no request");
	return request;
}

/* All room is taken: that which is to go over by one request, the rest by another. */
static void take_all_room(struct side *teller)
{
	uint32_t blocks = teller->shared->blocks;

	teller->request = request_of(teller, "teller");
	teller->rest = request_of(teller, "rest");
	must(kvshm_request_reserve(teller->store, &teller->request, blocks, 0), "no room");
	must(kvshm_request_reserve(teller->store, &teller->rest, BLOCKS - blocks, 0), "no room");
}

static void open_for_room(struct side *waiter)
{
	waiter->request = request_of(waiter, "waiter");
}

static void wait_for_room(struct side *waiter)
{
	must(kvshm_request_reserve(waiter->store, &waiter->request, waiter->shared->blocks, in_a_minute()), "no room");
}

static void give_room(struct side *teller)
{
	must(kvshm_request_unreserve(teller->store, &teller->request), "the room can't be given back");
}

static void end_both(struct side *teller)
{
	end_request(teller);
	must(kvshm_request_end(teller->store, &teller->rest), "the request has no end");
}

/* The last one is last since the waiter listens by a descriptor from then on: then each event tells listeners, too. */
static const struct event events[] = {
	{"publish to kvshm_wait", begin_fill, hold_pending, wait_for_block, publish, let_go, remove_block},
	{"complete to kvshm_request_wait", open_request, find_request, wait_for_request, complete, nothing,
	 end_request},
	{"unreserve to reserve", take_all_room, open_for_room, wait_for_room, give_room, end_request, end_both},
	{"publish to a readable descriptor, and kvshm_wait", begin_fill, hold_and_look, poll_for_block, publish, let_go,
	 remove_block},
};
#define EVENTS (sizeof(events) / sizeof(events[0]))
#define ROOM_EVENT 2U

/* ---- Two processes ------------------------------------------------------------------------------------------- */

static void be_waiter(struct shared *shared, const char *name)
{
	struct side waiter = {.shared = shared, .poll_fd = -1};

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	must(kvshm_attach(name, NULL, &waiter.store), "cannot attach the store");
	for (;;) {
		wait_semaphore(&shared->next);
		if (!shared->event)
			break;
		shared->event->get_ready(&waiter);
		(void)atomic_fetch_add(&shared->at, 1);
		shared->event->wait(&waiter);
		shared->arrived = bench_now();
		shared->event->waiter_after(&waiter);
		(void)sem_post(&shared->done);
	}
	(void)kvshm_detach(waiter.store);
}

struct wake {
	struct side teller;
	const struct event *event;
	pid_t waiter;
	int waiter_stat; /* its /proc/PID/stat */
};

/* It is ready, and its state is S: behind its ready there is nothing but the wait. */
static void until_it_sleeps(const struct wake *wake, uint32_t number)
{
	while (atomic_load(&wake->teller.shared->at) != number)
		(void)sched_yield();
	for (;;) {
		char stat[512] = "";
		const char *name_end;

		if (pread(wake->waiter_stat, stat, sizeof(stat) - 1, 0) <= 0)
			bench_die("the other process has died");
		name_end = strrchr(stat, ')');
		if (name_end && strncmp(name_end, ") S", 3) == 0)
			return;
		(void)sched_yield();
	}
}

static double sample(struct wake *wake, const struct event *event)
{
	struct shared *shared = wake->teller.shared;
	double told;

	shared->event = event;
	shared->number++;
	event->prepare(&wake->teller);
	(void)sem_post(&shared->next);
	until_it_sleeps(wake, shared->number);
	told = bench_now();
	event->tell(&wake->teller);
	wait_semaphore(&shared->done);
	event->teller_after(&wake->teller);
	return shared->arrived - told;
}

static double run(struct wake *wake, const struct event *event)
{
	double samples[SAMPLES];

	for (unsigned i = 0; i < SAMPLES; i++)
		samples[i] = sample(wake, event);
	return bench_median(samples, SAMPLES);
}

static double run_semaphore(void *arg)
{
	return run(arg, &semaphore_event);
}

static double run_event(void *arg)
{
	struct wake *wake = arg;

	return run(wake, wake->event);
}

static void compare(unsigned rounds, struct wake *wake, const char *what)
{
	bench_compare(rounds, wake, what, &(struct bench_side){semaphore_event.name, run_semaphore},
		      &(struct bench_side){wake->event->name, run_event});
}

static void compare_all(unsigned rounds, struct wake *wake)
{
	for (size_t i = 0; i < EVENTS; i++) {
		wake->event = &events[i];
		if (i != ROOM_EVENT) {
			compare(rounds, wake, "a wake-up");
			continue;
		}
		for (size_t n = 0; n < 3; n++) {
			char what[48];

			wake->teller.shared->blocks = (const uint32_t[]){1, 8, BLOCKS - 1}[n];
			(void)snprintf(what, sizeof(what), "a wake-up with room for %u", wake->teller.shared->blocks);
			compare(rounds, wake, what);
		}
	}
}

static struct shared *make_shared(void)
{
	struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shared == MAP_FAILED || sem_init(&shared->next, 1, 0) || sem_init(&shared->done, 1, 0) ||
	    sem_init(&shared->semaphore, 1, 0))
		bench_die("no semaphores");
	return shared;
}

static void start_waiter(struct wake *wake, const char *name)
{
	char path[64];

	wake->waiter = fork();
	if (wake->waiter < 0)
		bench_die("no process");
	if (wake->waiter == 0) {
		be_waiter(wake->teller.shared, name);
		_exit(0);
	}
	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)wake->waiter);
	wake->waiter_stat = open(path, O_RDONLY | O_CLOEXEC);
	if (wake->waiter_stat < 0)
		bench_die(path);
}

int main(int argc, char **argv)
{
	unsigned rounds = bench_rounds(argc, argv);
	struct wake wake = {.teller.shared = make_shared()};
	char name[KVSHM_NAME_MAX + 1];
	kvshm_owner *owner = bench_make_store(BLOCKS, name);

	start_waiter(&wake, name);
	must(kvshm_attach(name, NULL, &wake.teller.store), "cannot attach the store");
	compare_all(rounds, &wake);
	wake.teller.shared->event = NULL;
	(void)sem_post(&wake.teller.shared->next);
	(void)waitpid(wake.waiter, NULL, 0);
	(void)kvshm_detach(wake.teller.store);
	(void)kvshm_destroy(owner);
	return 0;
}
