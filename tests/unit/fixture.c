/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * fixture.c: the store of a test, and its end. See fixture.h; the other processes are in children.c.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client.h"
#include "epoch.h"
#include "hold.h"
#include "wait.h"

#define STORES_MAX 64

kvshm_owner *unit_owner;
static kvshm_store *stores[STORES_MAX];
static bool damaged;
static pid_t process; /* that these belong to: a child of fork() has none of them */
static struct kvs_map memory;

void unit_expect(int rc, int wanted, const char *call, int line)
{
	if (rc != wanted)
		ck_abort_msg("line %d: %s is %d (%s), not %d (%s): %s", line, call, rc, strerror(abs(rc)), wanted,
			     strerror(abs(wanted)), kvshm_error());
}

void unit_skip(const char *test, const char *reason)
{
	printf("SKIP %s: %s\n", test, reason);
	(void)fflush(stdout);
}

const char *unit_name(void)
{
	static char name[KVSHM_NAME_MAX + 1];
	const char *prefix = getenv("KVSHM_TEST_PREFIX");

	if (process != getpid() && !*name) {
		process = getpid();
		if (prefix)
			(void)snprintf(name, sizeof(name), "%s%d", prefix, (int)process);
		else
			(void)snprintf(name, sizeof(name), "unit-%d-", (int)process);
	}
	return name;
}

const char *unit_path(int plane)
{
	static char path[256];

	if (plane < 0)
		(void)snprintf(path, sizeof(path), "/dev/shm/kvshm.%s", unit_name());
	else
		(void)snprintf(path, sizeof(path), "/dev/shm/kvshm.%s.p%d", unit_name(), plane);
	return path;
}

struct kvshm_create_options unit_options(uint32_t blocks)
{
	struct kvshm_create_options options;

	kvshm_create_defaults(&options);
	options.block_size = 4096;
	options.size = blocks * options.block_size;
	options.clients = 8;
	options.requests = 8;
	return options;
}

kvshm_store *unit_make(const struct kvshm_create_options *options)
{
	ck_rc(kvshm_create(unit_name(), options, &unit_owner), 0);
	return unit_attach();
}

kvshm_store *unit_store(uint32_t blocks)
{
	struct kvshm_create_options options = unit_options(blocks);

	return unit_make(&options);
}

kvshm_store *unit_planes(uint32_t planes)
{
	struct kvshm_create_options options = unit_options(8);

	options.planes = planes;
	options.block_size = 512;
	options.size = UINT64_C(8) * 512;
	return unit_make(&options);
}

kvshm_store *unit_attach(void)
{
	unsigned i = 0;

	if (process != getpid()) {
		memset(stores, 0, sizeof(stores));
		unit_owner = NULL;
		process = getpid();
	}
	while (i < STORES_MAX && stores[i])
		i++;
	ck_assert_uint_lt(i, STORES_MAX);
	ck_rc(kvshm_attach(unit_name(), NULL, &stores[i]), 0);
	return stores[i];
}

void unit_detach(kvshm_store *store)
{
	for (unsigned i = 0; i < STORES_MAX; i++)
		if (stores[i] == store)
			stores[i] = NULL;
	ck_rc(kvshm_detach(store), 0);
}

void unit_damaged(void)
{
	damaged = true;
}

static void show_finding(const char *finding, void *arg)
{
	(void)arg;
	printf("# unsound: %s\n", finding);
	(void)fflush(stdout);
}

void unit_sound(void)
{
	struct kvshm_check_result result;
	kvshm_view *view;

	ck_rc(kvshm_view_open(unit_name(), NULL, &view), 0);
	ck_rc(kvshm_view_check(view, show_finding, NULL, &result), 0);
	kvshm_view_close(view);
	ck_assert_uint_eq(result.unsound, 0);
	ck_assert_uint_eq(result.pending, 0);
	ck_assert_uint_eq(result.leaked, 0);
}

static void end(void)
{
	for (unsigned i = 0; i < STORES_MAX; i++)
		if (stores[i])
			unit_detach(stores[i]);
	if (unit_owner) {
		if (!damaged)
			unit_sound();
		ck_rc(kvshm_destroy(unit_owner), 0);
	}
	if (memory.head)
		kvs_map_close(&memory);
}

int unit_run(const char *name, const TTest *const tests[], size_t count)
{
	const struct unit_loop none = {NULL, 0};

	return unit_run_loops(name, tests, count, &none);
}

int unit_run_loops(const char *name, const TTest *const tests[], size_t count, const struct unit_loop *loops)
{
	Suite *suite = suite_create(name);
	TCase *tcase = tcase_create(name);
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, NULL, end);
	for (size_t i = 0; i < count; i++)
		tcase_add_test(tcase, tests[i]);
	for (; loops->test; loops++)
		tcase_add_loop_test(tcase, loops->test, 0, loops->cases);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

void unit_key(uint64_t number, uint8_t key[UNIT_KEY])
{
	memset(key, 0xa5, UNIT_KEY);
	memcpy(key + UNIT_KEY - sizeof(number), &number, sizeof(number));
}

int unit_get(kvshm_store *store, uint64_t number, struct kvshm_handle *ref)
{
	uint8_t key[UNIT_KEY];

	unit_key(number, key);
	return kvshm_get(store, key, sizeof(key), ref);
}

int unit_ask(kvshm_store *store, uint64_t number, enum kvshm_outcome *outcome, struct kvshm_handle *handle)
{
	uint8_t key[UNIT_KEY];

	unit_key(number, key);
	return kvshm_get_or_fill(store, key, sizeof(key), outcome, handle);
}

int unit_remove(kvshm_store *store, uint64_t number)
{
	uint8_t key[UNIT_KEY];

	unit_key(number, key);
	return kvshm_remove(store, key, sizeof(key));
}

struct kvshm_handle unit_begin(kvshm_store *store, uint64_t number)
{
	struct kvshm_handle handle;
	enum kvshm_outcome outcome;

	ck_rc(unit_ask(store, number, &outcome, &handle), 0);
	ck_assert_int_eq(outcome, KVSHM_FILL);
	ck_assert_uint_eq(handle.kind, KVSHM_WRITER);
	return handle;
}

struct kvshm_handle unit_begin_shared(kvshm_store *store, uint64_t number)
{
	struct kvshm_handle handle;
	enum kvshm_outcome outcome;
	uint8_t key[UNIT_KEY];

	unit_key(number, key);
	ck_rc(kvshm_get_or_fill_shared(store, key, sizeof(key), &outcome, &handle), 0);
	ck_assert_int_eq(outcome, KVSHM_FILL);
	ck_assert_uint_eq(handle.kind, KVSHM_WRITER);
	return handle;
}

struct kvshm_handle unit_pending(kvshm_store *store, uint64_t number)
{
	enum kvshm_outcome outcome;
	struct kvshm_handle ref;

	ck_rc(unit_ask(store, number, &outcome, &ref), 0);
	ck_assert_int_eq(outcome, KVSHM_PENDING);
	ck_assert_uint_eq(ref.kind, KVSHM_REF);
	return ref;
}

struct kvshm_handle unit_own(kvshm_store *store, uint64_t number)
{
	struct kvshm_handle owned;

	ck_rc(kvshm_alloc(store, &owned), 0);
	ck_assert_uint_eq(owned.kind, KVSHM_OWNED);
	unit_write(store, &owned, number);
	return owned;
}

int unit_publish_as(kvshm_store *store, struct kvshm_handle *owned, uint64_t number, enum kvshm_published *published)
{
	uint8_t key[UNIT_KEY];

	unit_key(number, key);
	return kvshm_publish_as(store, owned, key, sizeof(key), NULL, published);
}

struct kvshm_ticket unit_ticket(kvshm_store *store, const struct kvshm_handle *held)
{
	struct kvshm_ticket ticket;

	ck_rc(kvshm_get_ticket(store, held, &ticket), 0);
	return ticket;
}

struct kvshm_handle unit_hold(kvshm_store *store, const struct kvshm_ticket *ticket)
{
	enum kvshm_outcome outcome;
	struct kvshm_handle ref;

	ck_rc(kvshm_hold(store, ticket, &outcome, &ref), 0);
	ck_assert_int_eq(outcome, KVSHM_READY);
	ck_assert_uint_eq(ref.kind, KVSHM_REF);
	return ref;
}

struct kvshm_handle unit_part(kvshm_store *store, const struct kvshm_ticket *ticket, unsigned plane)
{
	struct kvshm_handle part;

	ck_rc(kvshm_join(store, ticket, plane, &part), 0);
	ck_assert_uint_eq(part.kind, KVSHM_PART);
	ck_assert_uint_eq(part.plane, plane);
	return part;
}

void unit_end_part(kvshm_store *store, struct kvshm_handle *part, uint64_t number)
{
	unit_write_plane(store, part, number, part->plane);
	ck_rc(kvshm_publish(store, part, NULL), 0);
	ck_assert_uint_eq(part->kind, KVSHM_REF);
	ck_assert_uint_eq(part->plane, 0);
}

struct kvshm_handle unit_fill(kvshm_store *store, uint64_t number, uint32_t depth)
{
	struct kvshm_meta meta = {.length = store->map.g.block_size, .depth = depth};
	struct kvshm_handle handle = unit_begin(store, number);

	unit_write(store, &handle, number);
	ck_rc(kvshm_publish(store, &handle, &meta), 0);
	ck_assert_uint_eq(handle.kind, KVSHM_REF);
	return handle;
}

void unit_put(kvshm_store *store, uint64_t number)
{
	struct kvshm_handle handle = unit_fill(store, number, 0);

	ck_rc(kvshm_release(store, &handle), 0);
}

bool unit_has(kvshm_store *store, uint64_t number)
{
	struct kvshm_handle handle;
	int rc = unit_get(store, number, &handle);

	if (rc == -ENOENT)
		return false;
	ck_rc(rc, 0);
	ck_rc(kvshm_release(store, &handle), 0);
	return true;
}

/* The byte of a key at a place of a plane: it differs between all three. */
static uint8_t byte_of(uint64_t number, uint64_t plane, uint64_t at)
{
	return (uint8_t)(number * 131 + plane * 17 + at * 7 + (number >> 8) + 1);
}

void unit_bytes(uint64_t number, unsigned plane, uint8_t *bytes, size_t size)
{
	for (size_t at = 0; at < size; at++)
		bytes[at] = byte_of(number, plane, at);
}

/* Bytes in GPU memory are copied: nobody else can touch them. */
static bool in_gpu(const kvshm_store *store)
{
	return store->map.files.memory != KVS_MEMORY_HOST;
}

static uint8_t *buffer(const kvshm_store *store)
{
	uint8_t *bytes = calloc(1, store->map.g.block_size);

	ck_assert_ptr_nonnull(bytes);
	return bytes;
}

static void write_gpu(kvshm_store *store, const struct kvshm_handle *held, uint64_t number, unsigned plane)
{
	uint8_t *bytes = buffer(store);

	unit_bytes(number, plane, bytes, store->map.g.block_size);
	ck_rc(kvshm_write(store, held, plane, 0, bytes, store->map.g.block_size), 0);
	free(bytes);
}

void unit_write_plane(kvshm_store *store, const struct kvshm_handle *held, uint64_t number, unsigned plane)
{
	void *address;

	if (in_gpu(store)) {
		write_gpu(store, held, number, plane);
		return;
	}
	ck_rc(kvshm_address(store, held, plane, &address), 0);
	unit_bytes(number, plane, address, store->map.g.block_size);
}

void unit_write(kvshm_store *store, const struct kvshm_handle *held, uint64_t number)
{
	for (unsigned plane = 0; plane < store->map.g.planes; plane++)
		unit_write_plane(store, held, number, plane);
}

static void verify_plane(const kvshm_store *store, const uint8_t *bytes, uint64_t number, unsigned plane)
{
	for (uint64_t at = 0; at < store->map.g.block_size; at++)
		if (bytes[at] != byte_of(number, plane, at))
			ck_abort_msg("key %llu, plane %u: byte %llu is another's", (unsigned long long)number, plane,
				     (unsigned long long)at);
}

static void verify_gpu(kvshm_store *store, const struct kvshm_handle *held, uint64_t number, unsigned plane)
{
	uint8_t *bytes = buffer(store);

	ck_rc(kvshm_read(store, held, plane, 0, bytes, store->map.g.block_size), 0);
	verify_plane(store, bytes, number, plane);
	free(bytes);
}

void unit_verify(kvshm_store *store, const struct kvshm_handle *held, uint64_t number)
{
	for (unsigned plane = 0; plane < store->map.g.planes; plane++) {
		void *address;

		if (in_gpu(store)) {
			verify_gpu(store, held, number, plane);
			continue;
		}
		ck_rc(kvshm_address(store, held, plane, &address), 0);
		verify_plane(store, address, number, plane);
	}
}

enum kvs_state unit_state(const kvshm_store *store, uint32_t block)
{
	return kvs_word_state(atomic_load(&kvs_block(&store->map, block)->word));
}

unsigned unit_count(const kvshm_store *store, enum kvs_state state)
{
	unsigned count = 0;

	for (uint32_t i = 0; i < store->map.g.blocks; i++)
		count += unit_state(store, i) == state;
	return count;
}

uint64_t unit_entry(const kvshm_store *store, uint32_t slot, uint32_t block)
{
	return atomic_load(&kvs_row(&store->map, slot)[block]);
}

static uint64_t sum(const kvshm_store *store, const struct kvshm_handle *handle, unsigned (*part)(uint64_t counts))
{
	uint64_t total = 0;

	for (uint32_t slot = 0; slot < store->map.g.clients; slot++)
		if (kvs_client_has_row(&store->map, slot))
			total += part(kvs_entry_counts(unit_entry(store, slot, handle->block), handle->life));
	return total;
}

unsigned unit_refs(const kvshm_store *store, const struct kvshm_handle *handle)
{
	return (unsigned)sum(store, handle, kvs_entry_refs);
}

unsigned unit_pins(const kvshm_store *store, const struct kvshm_handle *handle)
{
	return (unsigned)sum(store, handle, kvs_entry_pins);
}

uint64_t unit_counter(const kvshm_store *store, enum kvs_counter counter)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < store->map.g.readers; i++)
		total += atomic_load(&store->map.readers[i].counters[counter]);
	return total;
}

uint64_t unit_times(const kvshm_store *store, enum kvs_histogram histogram)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < store->map.g.readers; i++)
		for (unsigned bucket = 0; bucket < KVS_HISTOGRAM_BUCKETS; bucket++)
			total += atomic_load(&store->map.readers[i].times[histogram][bucket]);
	return total;
}

uint64_t unit_time(const kvshm_store *store, enum kvs_histogram histogram)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < store->map.g.readers; i++)
		total += atomic_load(&store->map.readers[i].times[histogram][KVS_HISTOGRAM_SUM]);
	return total;
}

uint64_t unit_in_ms(uint64_t ms)
{
	return kvs_now() + ms * 1000000;
}

struct kvs_map *unit_memory(uint32_t blocks)
{
	struct kvs_shape shape = {
		.block_size = 512, .blocks = blocks, .planes = 1, .key_max = 64, .clients = 4, .requests = 4,
		.fence = 1};
	struct kvs_geometry geometry;
	int file = memfd_create("kvshm-unit", MFD_CLOEXEC);

	ck_rc(kvs_layout_make(&shape, &geometry), 0);
	ck_assert_int_eq(ftruncate(file, (off_t)geometry.size), 0);
	ck_rc(kvs_map_open(&memory, file, &geometry), 0);
	(void)close(file);
	atomic_store(&memory.head->epoch, KVS_EPOCH_FIRST);
	return &memory;
}

struct kvs_actor unit_actor(struct kvs_map *map, uint32_t slot)
{
	struct kvs_actor actor = {.map = map, .self = slot, .row = kvs_row(map, slot)};

	ck_rc(kvs_reader_take(map, slot + 1, &actor.reader), 0);
	return actor;
}

struct kvs_actor unit_actor_of(kvshm_store *store)
{
	struct kvs_actor actor = {.map = NULL};

	ck_rc(kvl_begin(store, &actor), 0);
	return actor;
}
