/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * request_scene.c: see request_scene.h.
 */
#include "config.h"

#include "request_scene.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KEYS_MAX 256U
#define SLEEPERS_MAX 16U

kvshm_store *scene_store(uint32_t blocks, enum kvshm_retain retain, uint32_t requests)
{
	struct kvshm_create_options options = unit_options(blocks);

	options.retain = retain;
	options.requests = requests;
	return unit_make(&options);
}

/* ---- Requests whose ids are numbers ---------------------------------------------------------------------------- */

int scene_try_open(kvshm_store *store, uint64_t id, uint32_t attempt, uint32_t blocks, struct kvshm_request *request)
{
	return kvshm_request_open(store, &id, sizeof(id), attempt, blocks, request);
}

struct kvshm_request scene_open(kvshm_store *store, uint64_t id, uint32_t blocks)
{
	struct kvshm_request request;

	ck_rc(scene_try_open(store, id, 0, blocks, &request), 0);
	ck_assert_int_eq(scene_state(store, &request), KVS_REQUEST_OPEN);
	return request;
}

struct kvshm_request scene_find(kvshm_store *store, uint64_t id)
{
	struct kvshm_request request;

	ck_rc(kvshm_request_find(store, &id, sizeof(id), &request), 0);
	return request;
}

enum kvs_request_state scene_state(const kvshm_store *store, const struct kvshm_request *request)
{
	uint64_t word = kvs_request_word(&store->map, request->slot);

	ck_assert_uint_eq(kvs_request_number(word), request->number);
	return kvs_request_state(word);
}

void scene_end(kvshm_store *store, const struct kvshm_request *request)
{
	ck_rc(kvshm_request_end(store, request), 0);
	ck_assert_int_eq(scene_state(store, request), KVS_REQUEST_CLOSED);
}

/* ---- What they hold -------------------------------------------------------------------------------------------- */

int scene_ask(kvshm_store *store, const struct kvshm_request *request, uint64_t number, enum kvshm_outcome *outcome,
	      struct kvshm_handle *handle)
{
	uint8_t key[UNIT_KEY];

	unit_key(number, key);
	return kvshm_request_get_or_fill(store, request, key, sizeof(key), outcome, handle);
}

static struct kvshm_handle ask(kvshm_store *store, const struct kvshm_request *request, uint64_t number,
			       enum kvshm_outcome wanted)
{
	struct kvshm_handle handle;
	enum kvshm_outcome outcome;

	ck_rc(scene_ask(store, request, number, &outcome, &handle), 0);
	ck_assert_int_eq(outcome, wanted);
	ck_assert_uint_eq(handle.kind, wanted == KVSHM_FILL ? KVSHM_WRITER : KVSHM_LENT);
	ck_assert_uint_eq(handle.request, request->slot + 1);
	return handle;
}

struct kvshm_handle scene_begin(kvshm_store *store, const struct kvshm_request *request, uint64_t number)
{
	return ask(store, request, number, KVSHM_FILL);
}

struct kvshm_handle scene_pending(kvshm_store *store, const struct kvshm_request *request, uint64_t number)
{
	return ask(store, request, number, KVSHM_PENDING);
}

struct kvshm_handle scene_ready(kvshm_store *store, const struct kvshm_request *request, uint64_t number)
{
	return ask(store, request, number, KVSHM_READY);
}

void scene_publish(kvshm_store *store, struct kvshm_handle *fill, uint64_t number)
{
	unit_write(store, fill, number);
	ck_rc(kvshm_publish(store, fill, NULL), 0);
	ck_assert_uint_eq(fill->kind, KVSHM_LENT);
}

struct kvshm_handle scene_fill(kvshm_store *store, const struct kvshm_request *request, uint64_t number)
{
	struct kvshm_handle handle = scene_begin(store, request, number);

	scene_publish(store, &handle, number);
	return handle;
}

const struct kvshm_key *scene_keys(uint64_t first, size_t count)
{
	static struct kvshm_key keys[KEYS_MAX];
	static uint8_t bytes[KEYS_MAX][UNIT_KEY];

	ck_assert_uint_le(count, KEYS_MAX);
	for (size_t i = 0; i < count; i++) {
		unit_key(first + i, bytes[i]);
		keys[i] = (struct kvshm_key){bytes[i], UNIT_KEY};
	}
	return keys;
}

size_t scene_match(kvshm_store *store, const struct kvshm_request *request, uint64_t first, size_t count,
		   struct kvshm_handle *lent, enum kvshm_next *next)
{
	size_t ready;

	ck_rc(kvshm_request_match(store, request, scene_keys(first, count), count, lent, &ready, next), 0);
	return ready;
}

static unsigned sum(const kvshm_store *store,
		    unsigned (*of)(const kvshm_store *store, const struct kvshm_handle *handle))
{
	unsigned total = 0;

	for (uint32_t i = 0; i < store->map.g.blocks; i++) {
		struct kvshm_handle handle = {.block = i, .life = atomic_load(&kvs_block(&store->map, i)->life)};

		total += of(store, &handle);
	}
	return total;
}

unsigned scene_refs(const kvshm_store *store)
{
	return sum(store, unit_refs);
}

unsigned scene_pins(const kvshm_store *store)
{
	return sum(store, unit_pins);
}

unsigned scene_idle(const kvshm_store *store)
{
	return unit_count(store, KVS_FREE) + unit_count(store, KVS_LIMBO);
}

void scene_nothing_left(const kvshm_store *store)
{
	ck_assert_uint_eq(scene_refs(store), 0);
	ck_assert_uint_eq(scene_pins(store), 0);
	ck_assert_uint_eq(scene_idle(store) + (store->map.g.drop ? 0 : unit_count(store, KVS_READY)),
			  store->map.g.blocks);
	for (uint32_t i = 0; i < store->map.g.requests; i++)
		ck_assert_int_eq(kvs_place_state(kvs_room_place(&store->map, i)), KVS_PLACE_NONE);
}

/* ---- Threads that sleep ---------------------------------------------------------------------------------------- */

_Atomic bool scene_endless;
static _Atomic pid_t sleeping[SLEEPERS_MAX]; /* the threads that are in the library's sleep */

bool __real_kvs_wait_word(_Atomic uint64_t *word, uint64_t seen, uint64_t until);
bool __wrap_kvs_wait_word(_Atomic uint64_t *word, uint64_t seen, uint64_t until);
bool __real_kvs_wait_count(_Atomic uint32_t *count, uint32_t seen, uint64_t until);
bool __wrap_kvs_wait_count(_Atomic uint32_t *count, uint32_t seen, uint64_t until);

/* Until when a sleep is to last; and whose it is, from here on until wake(). */
static uint64_t fall_asleep(_Atomic pid_t **self, uint64_t until)
{
	pid_t nobody = 0;
	unsigned i = 0;

	while (!atomic_compare_exchange_strong(&sleeping[i], &nobody, (pid_t)syscall(SYS_gettid))) {
		nobody = 0;
		i = (i + 1) % SLEEPERS_MAX;
	}
	*self = &sleeping[i];
	return atomic_load(&scene_endless) ? unit_in_ms(60000) : until;
}

static void wake(_Atomic pid_t *self, uint64_t until)
{
	atomic_store(self, 0);
	if (atomic_load(&scene_endless) && kvs_now() >= until)
		ck_abort_msg("nobody woke it");
}

bool __wrap_kvs_wait_word(_Atomic uint64_t *word, uint64_t seen, uint64_t until)
{
	_Atomic pid_t *self;
	uint64_t end = fall_asleep(&self, until);
	bool there = __real_kvs_wait_word(word, seen, end);

	wake(self, end);
	return there;
}

bool __wrap_kvs_wait_count(_Atomic uint32_t *count, uint32_t seen, uint64_t until)
{
	_Atomic pid_t *self;
	uint64_t end = fall_asleep(&self, until);
	bool there = __real_kvs_wait_count(count, seen, end);

	wake(self, end);
	return there;
}

bool scene_stands(pid_t thread)
{
	char path[64], text[512];
	const char *name_end = NULL;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)thread);
	file = fopen(path, "re");
	if (file && fgets(text, sizeof(text), file))
		name_end = strrchr(text, ')');
	if (file)
		(void)fclose(file);
	return name_end && name_end[2] == 'S';
}

void scene_asleep(unsigned threads)
{
	unsigned count;

	do {
		(void)sched_yield();
		count = 0;
		for (unsigned i = 0; i < SLEEPERS_MAX; i++) {
			pid_t thread = atomic_load(&sleeping[i]);

			count += thread && scene_stands(thread);
		}
	} while (count < threads);
}

void scene_sleep(struct sleeper *sleeper, void *(*call)(void *sleeper))
{
	ck_assert_int_eq(pthread_create(&sleeper->thread, NULL, call, sleeper), 0);
}

void *scene_complete(void *arg)
{
	struct sleeper *sleeper = arg;

	sleeper->rc = kvshm_request_complete(sleeper->store, &sleeper->request, UINT64_MAX);
	return NULL;
}

void *scene_wait(void *arg)
{
	struct sleeper *sleeper = arg;

	sleeper->rc = kvshm_request_wait(sleeper->store, &sleeper->request, UINT64_MAX);
	return NULL;
}

void *scene_wait_room(void *arg)
{
	struct sleeper *sleeper = arg;

	sleeper->rc = kvshm_request_wait_room(sleeper->store, &sleeper->request, UINT64_MAX);
	return NULL;
}

void *scene_reserve(void *arg)
{
	struct sleeper *sleeper = arg;

	sleeper->rc = kvshm_request_reserve(sleeper->store, &sleeper->request, sleeper->blocks, UINT64_MAX);
	return NULL;
}

void scene_woken(struct sleeper *sleeper, int wanted)
{
	ck_assert_int_eq(pthread_join(sleeper->thread, NULL), 0);
	ck_assert_int_eq(sleeper->rc, wanted);
}
