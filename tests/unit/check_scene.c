/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * check_scene.c: the stores that faults are planted in, and what the check says of them. See check_scene.h.
 */
#include "config.h"

#include "check_scene.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "index.h"

#define BLOCKS 16U

/* ---- What is planted, and what is told of it ------------------------------------------------------------- */

static char wanted[1024];

void expect(const char *format, ...)
{
	size_t at = strlen(wanted);
	va_list arguments;

	at += (size_t)snprintf(wanted + at, sizeof(wanted) - at, "\n  ");
	va_start(arguments, format);
	(void)vsnprintf(wanted + at, sizeof(wanted) - at, format, arguments);
	va_end(arguments);
}

const char *const kind_names[KVS_FINDINGS] = {
#define KVS_FINDING(name, lost, text) #name,
#include "findings.def"
#undef KVS_FINDING
};

static const bool kind_lost[KVS_FINDINGS] = {
#define KVS_FINDING(name, lost, text) lost,
#include "findings.def"
#undef KVS_FINDING
};

static void keep(enum kvs_finding_kind kind, const char *text, void *arg)
{
	struct told *told = arg;
	size_t at = strlen(told->lines);

	told->count++;
	told->of[kind]++;
	told->lost += kind_lost[kind];
	(void)snprintf(told->lines + at, sizeof(told->lines) - at, "\n  %s", text);
}

struct kvs_check_result look(struct told *told)
{
	struct kvs_view *view = kvs_inspect_memory(sizeof(*view));
	struct kvs_check_result result;

	memset(told, 0, sizeof(*told));
	ck_rc(kvs_inspect_open(unit_name(), NULL, view), 0);
	ck_rc(kvs_check(view, keep, told, &result), 0);
	kvs_inspect_close(view);
	free(view);
	ck_assert_uint_eq(result.unsound, told->count);
	ck_assert_uint_eq(result.leaked, told->lost);
	return result;
}

void must_be_told(const struct told *told, const char *when)
{
	if (strcmp(told->lines, wanted) != 0)
		ck_abort_msg("%s: told%s\nwanted%s", when, told->lines, wanted);
}

struct kvs_check_result nothing_is_found(const char *when)
{
	struct kvs_check_result result;
	struct told told;

	result = look(&told);
	if (told.count)
		ck_abort_msg("%s: found%s", when, told.lines);
	return result;
}

/* ---- The two stores -------------------------------------------------------------------------------------- */

struct scene scene;

struct kvs_block *block(uint32_t number)
{
	return kvs_block(&scene.map, number);
}

uint64_t word(uint32_t number)
{
	return atomic_load(&block(number)->word);
}

uint64_t life(uint32_t number)
{
	return atomic_load(&block(number)->life);
}

_Atomic uint64_t *entry(uint32_t slot, uint32_t number)
{
	return &kvs_row(&scene.map, slot)[number];
}

void put_state(uint32_t number, unsigned state, uint32_t owner)
{
	atomic_store(&block(number)->word, kvs_word_next(word(number), (enum kvs_state)state, owner));
}

void put_counts(uint32_t slot, uint32_t number, uint64_t counts)
{
	atomic_store(entry(slot, number), life(number) << 32 | counts);
}

uint32_t bucket_of(uint32_t number)
{
	uint32_t length = block(number)->key_length, head = length < KVS_KEY_HEAD ? length : KVS_KEY_HEAD;
	uint8_t key[KVS_KEY_MAX];

	memcpy(key, block(number)->key, head);
	memcpy(key + head, kvs_key_tail(&scene.map, number), length - head);
	return (uint32_t)(kvs_index_hash(&scene.map, key, length) & (scene.map.g.buckets - 1));
}

uint32_t empty_bucket(void)
{
	uint32_t bucket = 0;

	while (scene.map.buckets[bucket])
		bucket++;
	return bucket;
}

void link_first(uint32_t number)
{
	_Atomic uint32_t *bucket = &scene.map.buckets[bucket_of(number)];

	atomic_store(&block(number)->next, atomic_load(bucket));
	atomic_store(bucket, kvs_link_to(number));
}

void cut(uint32_t number)
{
	_Atomic uint32_t *at = &scene.map.buckets[bucket_of(number)];

	while (kvs_link_block(atomic_load(at)) != number)
		at = &block(kvs_link_block(atomic_load(at)))->next;
	atomic_store(at, atomic_load(&block(number)->next));
}

void spoil(uint32_t number, uint8_t *byte)
{
	uint32_t before = bucket_of(number);

	do
		++*byte;
	while (bucket_of(number) == before);
}

void enter(uint32_t reader)
{
	atomic_store(&scene.map.readers[reader].epoch, atomic_load(&scene.map.head->epoch));
}

/* Fills a key of that length whose bucket is empty, and lets go of it. */
static uint32_t put_alone(size_t length)
{
	static uint64_t number;
	uint8_t key[64] = {0};
	enum kvshm_outcome outcome;
	struct kvshm_handle handle;
	uint32_t filled;

	do {
		number++;
		memcpy(key, &number, sizeof(number));
	} while (scene.map.buckets[kvs_index_hash(&scene.map, key, length) & (scene.map.g.buckets - 1)]);
	ck_rc(kvshm_get_or_fill(scene.a, key, length, &outcome, &handle), 0);
	ck_assert_int_eq(outcome, KVSHM_FILL);
	filled = handle.block;
	ck_rc(kvshm_publish(scene.a, &handle, NULL), 0);
	ck_rc(kvshm_release(scene.a, &handle), 0);
	return filled;
}

static void make_store(void)
{
	struct kvshm_create_options options = unit_options(BLOCKS);
	struct kvshm_handle handle;

	unit_damaged();
	options.planes = 2;
	scene.a = unit_make(&options);
	scene.map = ((struct kvshm_owner *)unit_owner)->map;
	scene.ready = put_alone(UNIT_KEY);
	scene.second = put_alone(UNIT_KEY);
	scene.tailed = put_alone(UNIT_KEY + 8);
	handle = unit_fill(scene.a, 1000, 0);
	scene.limbo = handle.block;
	ck_rc(unit_remove(scene.a, 1000), 0);
	ck_rc(kvshm_release(scene.a, &handle), 0);
	ck_assert_int_eq(unit_state(scene.a, scene.limbo), KVS_LIMBO);
	scene.unused = BLOCKS - 1;
	ck_assert_uint_eq(life(scene.unused), 0);
}

void store_at_rest(void)
{
	make_store();
	unit_detach(scene.a);
	ck_assert(nothing_is_found("at rest").quiescent);
}

static struct kvshm_request begin_request(kvshm_store *store, const char *id)
{
	struct kvshm_request request;

	ck_rc(kvshm_request_open(store, id, strlen(id), 1, 1, &request), 0);
	return request;
}

static void make_requests(void)
{
	struct kvshm_request request = begin_request(scene.a, "with room");
	struct kvshm_handle lent;
	enum kvshm_outcome outcome;
	uint8_t key[UNIT_KEY];

	scene.with_room = request.slot;
	ck_rc(kvshm_request_reserve(scene.a, &request, 1, 0), 0);
	request = begin_request(scene.b, "holding");
	scene.holding = request.slot;
	unit_key(2000, key);
	ck_rc(kvshm_request_get_or_fill(scene.b, &request, key, sizeof(key), &outcome, &lent), 0);
	ck_assert_int_eq(outcome, KVSHM_READY);
	request = begin_request(scene.a, "closed");
	scene.closed = request.slot;
	ck_rc(kvshm_request_end(scene.a, &request), 0);
}

void live_store(void)
{
	struct kvshm_ticket ticket;
	struct kvshm_handle handle;
	struct kvs_check_result result;

	make_store();
	scene.b = unit_attach();
	ck_assert_uint_eq(scene.a->slot, 0);
	ck_assert_uint_eq(scene.b->slot, 1);
	scene.held = unit_fill(scene.a, 2000, 0).block; /* by a, and by b too */
	ck_rc(unit_get(scene.b, 2000, &handle), 0);
	ck_rc(kvshm_alloc(scene.a, &handle), 0);
	scene.owned = handle.block;
	scene.filling = unit_begin(scene.a, 2001).block;
	handle = unit_begin_shared(scene.a, 2002); /* b writes plane 0; plane 1 has no writer yet */
	scene.shared = handle.block;
	ticket = unit_ticket(scene.a, &handle);
	(void)unit_part(scene.b, &ticket, 0);
	scene.doomed = unit_fill(scene.b, 2003, 0).block;
	ck_rc(unit_remove(scene.b, 2003), 0);
	make_requests();
	result = nothing_is_found("with living clients");
	ck_assert(!result.quiescent && result.pending == 0);
}

/* ---- Mending --------------------------------------------------------------------------------------------- */

static void read_segment(const struct soil *soil, uint64_t *to)
{
	ck_assert_int_eq(pread(soil->file, to, soil->size, 0), (ssize_t)soil->size);
}

struct soil keep_segment(void)
{
	struct soil soil = {.file = open(unit_path(-1), O_RDWR | O_CLOEXEC), .size = scene.map.g.size};

	soil.before = malloc(soil.size);
	soil.now = malloc(soil.size);
	read_segment(&soil, soil.before);
	return soil;
}

void mend(const struct soil *soil)
{
	read_segment(soil, soil->now);
	for (size_t i = 0; i < soil->size / 8; i++)
		if (soil->now[i] != soil->before[i])
			ck_assert_int_eq(pwrite(soil->file, &soil->before[i], 8, (off_t)(i * 8)), 8);
	wanted[0] = '\0';
}

void end_soil(struct soil *soil)
{
	(void)close(soil->file);
	free(soil->before);
	free(soil->now);
}
