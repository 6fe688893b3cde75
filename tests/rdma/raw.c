/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * raw.c: see raw.h.
 */
#include "config.h"

#include "raw.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "fault.h"
#include "url.h"

#define RAWS 4U
/* What is written from: a block that honest writes have, and twice three that malicious ones have. */
#define LENGTH (7U * RAW_BLOCK)
#define MALICIOUS (3U * RAW_BLOCK)

kvshm_store *raw_store;
static const char *url, *name;
static struct kvr_endpoint endpoint;
static const struct kvr_transport *transport;
static struct raw *raws[RAWS];
static struct {
	struct kvshm_handle ref;
	uint32_t order;
} own[RAW_BLOCKS]; /* the test's, at their blocks */
static uint8_t *planes[RAW_PLANES];

struct raw_message {
	struct raw_message *next;
	size_t size;
	uint8_t bytes[];
};

void raw_expect(int rc, int wanted, const char *call, int line)
{
	if (rc != wanted)
		ck_abort_msg("line %d: %s gives %d, not %d: %s", line, call, rc, wanted, rc ? kvs_fault_text() : "");
}

uint64_t raw_now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void raw_turn(void)
{
	for (unsigned i = 0; i < RAWS; i++)
		if (raws[i])
			(void)kvr_loop_run(&raws[i]->loop, raw_now() + 200000);
}

/* ---- The links ------------------------------------------------------------------------------------------------- */

static int send_out(struct raw *raw, const struct kvr_out *out)
{
	struct kvr_out copy = *out;

	return transport->send(raw->link, copy.bytes, copy.size, 0);
}

static void say(struct raw *raw, const struct kvr_out *out)
{
	int rc;

	raw_until((rc = send_out(raw, out)) != -EAGAIN);
	raw_rc(rc, 0);
}

static void on_up(void *arg)
{
	struct raw *raw = arg;

	raw->up = true;
}

static void keep(struct raw *raw, const uint8_t *bytes, size_t size)
{
	struct raw_message *kept = malloc(sizeof(*kept) + size);

	ck_assert_ptr_nonnull(kept);
	kept->next = NULL;
	kept->size = size;
	memcpy(kept->bytes, bytes, size);
	*raw->last = kept;
	raw->last = &kept->next;
}

static void on_message(void *arg, const uint8_t *bytes, size_t size)
{
	struct raw *raw = arg;
	struct kvr_message message;
	struct kvr_out out;

	raw_rc(kvr_read(bytes, size, &message), 0);
	if (message.type == KVR_PONG) {
		raw->ponged = message.time;
	} else if (message.type == KVR_PING) {
		kvr_write_ping(&out, KVR_PONG, message.time);
		(void)send_out(raw, &out);
	} else {
		keep(raw, bytes, size);
	}
}

static void on_room(void *arg)
{
	(void)arg;
}

static void on_sent(void *arg, uint64_t cookie)
{
	(void)arg;
	(void)cookie;
}

static void on_withdrawn(void *arg, struct kvr_window *window)
{
	(void)arg;
	(void)window;
}

static void on_down(void *arg, int reason)
{
	struct raw *raw = arg;

	raw->down = true;
	raw->reason = reason;
	(void)snprintf(raw->text, sizeof(raw->text), "%s", kvs_fault_text());
}

static const struct kvr_link_user user = {
	.up = on_up,
	.message = on_message,
	.room = on_room,
	.sent = on_sent,
	.withdrawn = on_withdrawn,
	.down = on_down,
};

static void open_memory(struct raw *raw)
{
	raw->bytes = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(raw->bytes, MAP_FAILED);
	memset(raw->bytes + RAW_BLOCK, 0xdd, MALICIOUS);
	memset(raw->bytes + RAW_BLOCK + MALICIOUS, 0xee, MALICIOUS);
	raw_rc(kvr_memory_open(&raw->memory), 0);
	raw_rc(kvr_memory_add(raw->memory, raw->bytes, LENGTH, false), 0);
}

static void greet(struct raw *raw)
{
	const uint8_t proof[KVR_PROOF_SIZE] = {0};
	const struct kvr_hello hello = {.version = KVR_VERSION, .timeout = 60000};
	struct kvr_out out;

	raw_until(raw->up || raw->down);
	ck_assert_msg(raw->up, "no connection: %s", raw->text);
	kvr_write_hello(&out, &hello);
	say(raw, &out);
	(void)raw_take(raw, KVR_HELLO);
	kvr_write_proof(&out, proof);
	say(raw, &out);
	(void)raw_take(raw, KVR_PROOF);
}

struct raw *raw_connect(void)
{
	const struct kvr_link_options options = {
		.gid_index = -1, .traffic_class = -1, .numa_node = -1, .timeout = UINT64_C(60000000000)};
	struct raw *raw = calloc(1, sizeof(*raw));
	unsigned i = 0;

	ck_assert_ptr_nonnull(raw);
	while (raws[i])
		ck_assert_uint_lt(++i, RAWS);
	raws[i] = raw;
	raw->last = &raw->first;
	raw_rc(kvr_loop_open(&raw->loop, on_room, NULL), 0);
	open_memory(raw);
	raw_rc(transport->connect(&raw->loop, &endpoint, &options, raw->memory, &user, raw, &raw->link), 0);
	greet(raw);
	return raw;
}

static void drop(struct raw *raw)
{
	struct raw_message *message;

	transport->close(raw->link);
	kvr_memory_close(raw->memory);
	kvr_loop_close(&raw->loop);
	(void)munmap(raw->bytes, LENGTH);
	while ((message = raw->first) != NULL) {
		raw->first = message->next;
		free(message);
	}
	free(raw->taken);
	free(raw);
}

/* ---- What they say --------------------------------------------------------------------------------------------- */

struct kvr_message *raw_take(struct raw *raw, enum kvr_type type)
{
	raw_until(raw->first || raw->down);
	ck_assert_msg(raw->first, "no %s comes: %d: %s", kvr_type_name(type), raw->reason, raw->text);
	free(raw->taken);
	raw->taken = raw->first;
	raw->first = raw->taken->next;
	if (!raw->first)
		raw->last = &raw->first;
	raw_rc(kvr_read(raw->taken->bytes, raw->taken->size, &raw->message), 0);
	ck_assert_msg(raw->message.type == type, "%s comes, and not %s", kvr_type_name(raw->message.type),
		      kvr_type_name(type));
	return &raw->message;
}

size_t raw_name(const char *key, char *text, size_t size)
{
	return (size_t)snprintf(text, size, "%s of %d", key, (int)getpid());
}

static struct kvr_text key_of(const char *key)
{
	static char text[64];
	size_t length = raw_name(key, text, sizeof(text));

	return (struct kvr_text){.bytes = (const uint8_t *)text, .length = (uint32_t)length};
}

static void offer(struct raw *raw, uint32_t transfer, const char *key)
{
	static const uint8_t opaque[KVSHM_OPAQUE_SIZE];
	const struct kvr_offer entry = {.length = RAW_BLOCK, .opaque = opaque, .key = key_of(key)};
	struct kvr_out out;

	kvr_begin_offers(&out, transfer);
	ck_assert(kvr_add_offer(&out, &entry));
	say(raw, &out);
}

struct kvr_grant raw_begin(struct raw *raw, uint32_t transfer, const char *id, const char *key)
{
	struct kvr_open open = {.transfer = transfer, .blocks = 1, .planes = 3, .room = 20000};
	struct kvr_message *message;
	struct kvr_grant grant;
	struct kvr_out out;

	if (id)
		open.id = key_of(id);
	kvr_write_open(&out, &open);
	say(raw, &out);
	message = raw_take(raw, KVR_OPENED);
	ck_assert_msg(message->opened.result == 0, "OPENED says %d", message->opened.result);
	offer(raw, transfer, key);
	message = raw_take(raw, KVR_GRANT);
	ck_assert_uint_eq(message->count, 1);
	kvr_next_grant(message, &grant);
	ck_assert_int_eq(grant.kind, KVR_WRITE_IT);
	ck_assert_uint_eq(grant.count, RAW_PLANES);
	return grant;
}

/* What was written before has arrived. */
static void arrive(struct raw *raw)
{
	static uint64_t time;
	struct kvr_out out;

	kvr_write_ping(&out, KVR_PING, ++time);
	say(raw, &out);
	raw_until(raw->ponged == time || raw->down);
	ck_assert_msg(!raw->down, "an honest write: %d: %s", raw->reason, raw->text);
}

static void flush(struct raw *raw)
{
	if (transport->flush)
		transport->flush(raw->link);
}

void raw_write(struct raw *raw, const struct kvr_grant *grant, int value)
{
	memset(raw->bytes, value, RAW_BLOCK);
	for (uint32_t i = 0; i < grant->count; i++) {
		const struct kvr_write write = {.from = raw->bytes, .to = grant->planes[i].address,
						.length = RAW_BLOCK, .rkey = grant->planes[i].rkey};

		raw_rc(transport->write(raw->link, &write), 0);
	}
	flush(raw);
	arrive(raw);
}

void raw_commit(struct raw *raw, uint32_t transfer)
{
	const struct kvr_commit commit = {.planes = 3, .kind = KVR_WHOLE};
	struct kvr_out out;

	kvr_begin_commits(&out, transfer);
	ck_assert(kvr_add_commit(&out, &commit));
	say(raw, &out);
}

void raw_abort(struct raw *raw, uint32_t transfer)
{
	const struct kvr_end end = {.transfer = transfer, .result = -ECANCELED, .by_sender = true};
	struct kvr_out out;

	kvr_write_end(&out, KVR_ABORT, &end);
	say(raw, &out);
}

void raw_done(struct raw *raw, uint32_t transfer)
{
	const struct kvr_message *message = raw_take(raw, KVR_DONE);

	ck_assert_uint_eq(message->end.transfer, transfer);
	ck_assert_int_eq(message->end.result, 0);
}

void raw_flood(struct raw *raw, uint64_t to, uint32_t rkey, uint64_t length)
{
	struct kvr_write write = {.to = to, .length = length, .rkey = rkey};
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < 8; i++) {
		write.from = raw->bytes + RAW_BLOCK + (raw->malicious % 2 ? MALICIOUS : 0);
		rc = transport->write(raw->link, &write);
		if (rc == 0)
			raw->malicious++;
	}
	flush(raw);
	ck_assert_msg(rc == 0 || rc == -EAGAIN || rc == -ENOTCONN, "a write gives %d: %s", rc, kvs_fault_text());
	raw_turn();
}

void raw_refused(struct raw *raw)
{
	raw_until(raw->down);
	ck_assert_msg(raw->reason == -EACCES, "the link ended with %d: %s", raw->reason, raw->text);
	ck_assert_uint_gt(raw->malicious, 0);
}

/* ---- The store ------------------------------------------------------------------------------------------------- */

const uint8_t *raw_place(uint32_t block, unsigned plane)
{
	return planes[plane] + (size_t)block * RAW_BLOCK;
}

int raw_get(const char *key, struct kvshm_handle *ref)
{
	const struct kvr_text text = key_of(key);

	return kvshm_get(raw_store, text.bytes, text.length, ref);
}

void raw_remove(const char *key)
{
	const struct kvr_text text = key_of(key);

	raw_rc(kvshm_remove(raw_store, text.bytes, text.length), 0);
}

bool raw_fill(const char *key, struct kvshm_handle *fill)
{
	const struct kvr_text text = key_of(key);
	enum kvshm_outcome outcome;
	int rc = kvshm_get_or_fill(raw_store, text.bytes, text.length, &outcome, fill);

	if (rc == -ENOSPC)
		return false;
	raw_rc(rc, 0);
	ck_assert_int_eq(outcome, KVSHM_FILL);
	return true;
}

void raw_set(uint32_t block, int value)
{
	for (unsigned i = 0; i < RAW_PLANES; i++)
		memset(planes[i] + (size_t)block * RAW_BLOCK, value, RAW_BLOCK);
}

void raw_publish(struct kvshm_handle *fill)
{
	const struct kvshm_meta meta = {.length = RAW_BLOCK};

	raw_rc(kvshm_publish(raw_store, fill, &meta), 0);
}

static void is_all(const uint8_t *bytes, int value, uint32_t block, unsigned plane)
{
	size_t i = 0;

	if (bytes[0] == value && memcmp(bytes, bytes + 1, RAW_BLOCK - 1) == 0)
		return;
	while (i + 1 < RAW_BLOCK && bytes[i] == value)
		i++;
	ck_abort_msg("block %u, plane %u, byte %zu is %#x, not %#x", block, plane, i, bytes[i], (unsigned)value);
}

void raw_is_all(uint32_t block, int value)
{
	for (unsigned i = 0; i < RAW_PLANES; i++)
		is_all(raw_place(block, i), value, block, i);
}

void raw_others_stay(void)
{
	for (uint32_t i = 0; i < RAW_BLOCKS; i++)
		if (own[i].ref.kind == KVSHM_REF)
			raw_is_all(i, (int)i + 1);
}

/* The key of the block that was filled as that one. */
static const char *number(uint32_t order)
{
	static char text[32];

	(void)snprintf(text, sizeof(text), "number %u", order);
	return text;
}

void raw_free(uint32_t block)
{
	raw_rc(kvshm_release(raw_store, &own[block].ref), 0);
	raw_remove(number(own[block].order));
}

static void fill_all(void)
{
	for (uint32_t i = 0; i < RAW_BLOCKS; i++) {
		struct kvshm_handle fill;

		raw_until(raw_fill(number(i), &fill));
		raw_set(fill.block, (int)fill.block + 1);
		raw_publish(&fill);
		own[fill.block].ref = fill;
		own[fill.block].order = i;
	}
}

static void attach(void)
{
	const struct kvshm_attach_options options = {.name = "malicious"};
	struct kvshm_geometry geometry;

	raw_rc(kvshm_attach(name, &options, &raw_store), 0);
	raw_rc(kvshm_get_geometry(raw_store, &geometry), 0);
	ck_assert_uint_eq(geometry.blocks, RAW_BLOCKS);
	ck_assert_uint_eq(geometry.block_size, RAW_BLOCK);
	ck_assert_uint_eq(geometry.planes, RAW_PLANES);
	for (unsigned i = 0; i < RAW_PLANES; i++) {
		struct kvshm_plane_info info;

		raw_rc(kvshm_get_plane_info(raw_store, i, &info), 0);
		planes[i] = info.address;
	}
}

/* ---- The tests ------------------------------------------------------------------------------------------------- */

static void set_up(void)
{
	attach();
	raw_rc(kvr_url_read(url, &transport, &endpoint), 0);
	fill_all();
	raw_free(RAW_FREE);
}

static void show_finding(const char *finding, void *arg)
{
	(void)arg;
	(void)fprintf(stderr, "%s\n", finding);
}

static void is_sound(kvshm_view *view)
{
	struct kvshm_check_result result;

	raw_rc(kvshm_view_check(view, show_finding, NULL, &result), 0);
	ck_assert_uint_eq(result.unsound, 0);
	ck_assert_uint_eq(result.leaked, 0);
}

/* Senders are gone: is anything of theirs held? */
static bool is_over(kvshm_view *view)
{
	struct kvshm_usage usage;

	raw_rc(kvshm_view_usage(view, &usage), 0);
	return usage.filling == 0 && usage.held == 0 && usage.room == 0;
}

static void tear_down(void)
{
	uint64_t end = raw_now() + RAW_SOON * 1000000;
	kvshm_view *view;

	for (unsigned i = 0; i < RAWS; i++)
		if (raws[i])
			drop(raws[i]);
	raw_rc(kvshm_detach(raw_store), 0);
	raw_rc(kvshm_view_open(name, NULL, &view), 0);
	while (!is_over(view)) {
		ck_assert_msg(raw_now() < end, "something is held for ever");
		(void)usleep(1000);
	}
	is_sound(view);
	kvshm_view_close(view);
}

int raw_main(const char *suite_name, const TTest *const tests[], size_t count, int argc, char **argv)
{
	TCase *tcase = tcase_create(suite_name);
	Suite *suite = suite_create(suite_name);
	SRunner *runner;
	int failures;

	if (argc < 3) {
		(void)fprintf(stderr, "usage: %s URL STORE [TEST]\n", argv[0]);
		return 2;
	}
	for (size_t i = 0; i < count; i++) {
		if (argc == 3 || strcmp(argv[3], tests[i]->name) == 0)
			tcase_add_test(tcase, tests[i]);
	}
	url = argv[1];
	name = argv[2];
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_set_timeout(tcase, 60);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_VERBOSE);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures ? 1 : 0;
}
