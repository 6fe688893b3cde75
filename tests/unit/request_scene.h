/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * request_scene.h: what the tests of requests share: requests whose ids are numbers, what they hold, and threads that
 * sleep in a call of the library.
 *
 * Wakes are proved by the order of events, never by time: while scene_endless is set, a thread that sleeps in the
 * library does so without slices, until it is woken, or for a minute, which no test takes. The linker puts this file's
 * functions in front of the ones that sleep.
 */
#ifndef REQUEST_SCENE_H
#define REQUEST_SCENE_H

#include "fixture.h"

#include "requests.h"
#include "room.h"
#include "wait.h"

/* A store of so many small blocks and eight clients, and a client. */
kvshm_store *scene_store(uint32_t blocks, enum kvshm_retain retain, uint32_t requests);

/* ---- Requests whose ids are numbers ---- */

int scene_try_open(kvshm_store *store, uint64_t id, uint32_t attempt, uint32_t blocks, struct kvshm_request *request);
/* Opens the first attempt. */
struct kvshm_request scene_open(kvshm_store *store, uint64_t id, uint32_t blocks);
/* In another process, or client. */
struct kvshm_request scene_find(kvshm_store *store, uint64_t id);
enum kvs_request_state scene_state(const kvshm_store *store, const struct kvshm_request *request);
/* Ends it, as the first. */
void scene_end(kvshm_store *store, const struct kvshm_request *request);

/* ---- What they hold ---- */

int scene_ask(kvshm_store *store, const struct kvshm_request *request, uint64_t number, enum kvshm_outcome *outcome,
	      struct kvshm_handle *handle);
/* Asks for a key that must be ours to fill; that another is filling; that is there. */
struct kvshm_handle scene_begin(kvshm_store *store, const struct kvshm_request *request, uint64_t number);
struct kvshm_handle scene_pending(kvshm_store *store, const struct kvshm_request *request, uint64_t number);
struct kvshm_handle scene_ready(kvshm_store *store, const struct kvshm_request *request, uint64_t number);
/* Fills a key of its own; the lent handle. */
struct kvshm_handle scene_fill(kvshm_store *store, const struct kvshm_request *request, uint64_t number);
void scene_publish(kvshm_store *store, struct kvshm_handle *fill, uint64_t number);
/* Matches the keys first to first + count - 1: how many are ready. */
size_t scene_match(kvshm_store *store, const struct kvshm_request *request, uint64_t first, size_t count,
		   struct kvshm_handle *lent, enum kvshm_next *next);
/* A batch of keys: first to first + count - 1. Valid until the next call. */
const struct kvshm_key *scene_keys(uint64_t first, size_t count);

/* Refs and pins of all clients on all blocks, and the blocks that are nobody's. */
unsigned scene_refs(const kvshm_store *store);
unsigned scene_pins(const kvshm_store *store);
unsigned scene_idle(const kvshm_store *store);
/* Nothing is held, filled or reserved; in a drop store every block is idle. */
void scene_nothing_left(const kvshm_store *store);

/* ---- Threads that sleep ---- */

extern _Atomic bool scene_endless;

/* A thread that makes one call with a request, and its result. */
struct sleeper {
	kvshm_store *store;
	struct kvshm_request request;
	int rc;
	uint32_t blocks;
	pthread_t thread;
};
void scene_sleep(struct sleeper *sleeper, void *(*call)(void *sleeper));
/* Calls with an endless deadline, of the sleeper that arg is: complete, wait, wait_room; and reserve, of `blocks`. */
void *scene_complete(void *arg);
void *scene_wait(void *arg);
void *scene_wait_room(void *arg);
void *scene_reserve(void *arg);
/* Does a thread of this process stand still in the kernel? */
bool scene_stands(pid_t thread);
/* Returns when so many threads sleep in the library: they stand still in the kernel. */
void scene_asleep(unsigned threads);
/* Waits for its end: it was woken, and says so. */
void scene_woken(struct sleeper *sleeper, int wanted);

#endif
