/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * rdma_message: what is written is what is read, of every type of message; and what is cut, too long or out of bounds
 * is refused (F2). The bytes of one message of each kind stand here, so that two versions of kvshm agree on them.
 */
#include "config.h"

#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#include "../fuzz/messages.h"
#include "bytes.h"

#define ROUNDS 200

static struct kvr_out out;
static struct kvr_message message;

static int read_out(void)
{
	return kvr_read(out.bytes, out.size, &message);
}

static struct kvr_text of(const char *text)
{
	return (struct kvr_text){ .bytes = (const uint8_t *)text, .length = (uint32_t)strlen(text) };
}

#define ck_text(text, string)                                                  \
	do {                                                                   \
		ck_assert_uint_eq((text).length, strlen(string));              \
		ck_assert_mem_eq((text).bytes, string, strlen(string));        \
	} while (0)

START_TEST(every_message_comes_back)
{
	uint64_t stream = 1;
	struct kvr_out again;

	for (int type = KVR_HELLO; type <= KVR_DENIED; type++)
		for (int i = 0; i < ROUNDS; i++) {
			messages_make(&stream, (enum kvr_type)type, &out);
			ck_rc(read_out(), 0);
			ck_assert_int_eq(message.type, type);
			messages_rewrite(&message, &again);
			ck_assert_uint_eq(again.size, out.size);
			ck_assert_mem_eq(again.bytes, out.bytes, out.size);
		}
}
END_TEST

/* The message that is cut lies in memory of its own size: a sanitizer sees who reads on. */
static void expect_refused(const uint8_t *bytes, size_t size, uint32_t says)
{
	uint8_t *copy = malloc(size ? size : 1);

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, bytes, size);
	if (size >= 4)
		kvr_put32(copy, says);
	ck_rc(kvr_read(copy, size, &message), -EPROTO);
	ck_assert_int_ne(*kvshm_error(), 0);
	free(copy);
}

START_TEST(every_message_that_is_cut_or_too_long_is_refused)
{
	uint64_t stream = 2;

	for (int type = KVR_HELLO; type <= KVR_DENIED; type++)
		for (int i = 0; i < 10; i++) {
			do
				messages_make(&stream, (enum kvr_type)type, &out);
			while (out.size > 1000); /* each of its bytes counts */
			for (uint32_t size = 0; size < out.size; size++) {
				expect_refused(out.bytes, size, out.size);
				expect_refused(out.bytes, size, size);
			}
			out.bytes[out.size] = 0;
			expect_refused(out.bytes, out.size + 1, out.size);
			expect_refused(out.bytes, out.size + 1, out.size + 1);
		}
}
END_TEST

START_TEST(a_header_that_is_none_is_refused)
{
	uint8_t header[KVR_HEADER_SIZE] = { 0 };
	enum kvr_type type = KVR_DATA;
	uint32_t size = 7;

	for (uint32_t kind = 0; kind <= UINT16_MAX; kind++) {
		kvr_put32(header, KVR_HEADER_SIZE);
		kvr_put16(header + 4, kind);
		if (kind < KVR_HELLO || kind > KVR_DENIED) {
			ck_rc(kvr_read_header(header, &size, &type), -EPROTO);
			ck_assert_uint_eq(size, 7);
			ck_assert_int_eq(type, KVR_DATA);
		}
	}
	kvr_put16(header + 4, KVR_PING);
	kvr_put32(header, KVR_HEADER_SIZE - 1);
	ck_rc(kvr_read_header(header, &size, &type), -EPROTO);
	kvr_put32(header, KVR_MESSAGE_MAX + 1);
	ck_rc(kvr_read_header(header, &size, &type), -EPROTO);
	kvr_put32(header, KVR_MESSAGE_MAX);
	ck_rc(kvr_read_header(header, &size, &type), 0);
	ck_assert_uint_eq(size, KVR_MESSAGE_MAX);
	ck_assert_int_eq(type, KVR_PING);
}
END_TEST

/* Is it good with the number at that place, or not? */
static void expect_bound(uint32_t at, unsigned width, uint64_t good, uint64_t bad)
{
	uint8_t number[8], before[8];

	memcpy(before, out.bytes + at, width);
	kvr_put64(number, good);
	memcpy(out.bytes + at, number, width);
	ck_rc(read_out(), 0);
	kvr_put64(number, bad);
	memcpy(out.bytes + at, number, width);
	ck_rc(read_out(), -EPROTO);
	memcpy(out.bytes + at, before, width);
}

/* Results are 0 or errors: at that place of the message that is in out. */
static void expect_result(uint32_t at)
{
	expect_bound(at, 4, (uint32_t)-4095, (uint32_t)-4096);
	expect_bound(at, 4, 0, 1);
	expect_bound(at, 4, (uint32_t)-1, INT32_MAX);
}

START_TEST(results_and_flags_out_of_bounds_are_refused)
{
	const struct kvr_end end = { .transfer = 1 };
	const struct kvr_wanted wanted = { .want = 1 };

	kvr_write_bye(&out, 0, "");
	expect_result(8);
	kvr_write_opened(&out, 1, 0, "");
	expect_result(12);
	kvr_write_wanted(&out, &wanted);
	expect_result(16);
	for (int type = KVR_ABORT; type <= KVR_DONE; type++) {
		kvr_write_end(&out, (enum kvr_type)type, &end);
		expect_result(16);
		expect_bound(20, 4, 1, 2);
		expect_bound(20, 4, 0, UINT32_MAX);
	}
}
END_TEST

START_TEST(entries_out_of_bounds_are_refused)
{
	struct kvr_grant grant = { .position = 1, .count = 32 };
	struct kvr_commit commit = { .position = 1 };

	kvr_begin_grants(&out, 1);
	ck_assert(kvr_add_grant(&out, &grant));
	expect_result(32);
	expect_bound(36, 2, KVR_REFUSED, KVR_REFUSED + 1);
	expect_bound(38, 2, 32, 33);
	expect_bound(12, 4, 1, 2);
	expect_bound(12, 4, 1, 0);
	kvr_begin_commits(&out, 1);
	ck_assert(kvr_add_commit(&out, &commit));
	expect_bound(24, 4, KVR_GIVEN_UP, KVR_GIVEN_UP + 1);
	expect_bound(12, 4, 1, UINT32_MAX);
}
END_TEST

/* A text whose length stands at `at`, of a message that was written with the longest that may be. */
static void expect_longest(uint32_t at, uint32_t most)
{
	ck_rc(read_out(), 0);
	ck_assert_uint_eq(kvr_get16(out.bytes + at), most);
	kvr_put16(out.bytes + at, most + 1);
	out.bytes[out.size++] = 'x';
	kvr_put32(out.bytes, out.size);
	ck_rc(read_out(), -EPROTO);
}

START_TEST(texts_that_are_too_long_are_cut_when_written_and_refused_when_read)
{
	static char text[1025];
	struct kvr_hello hello = { .version = KVR_VERSION };
	struct kvr_open open = { .transfer = 1 };
	struct kvr_want want = { .want = 1 };

	memset(text, 'x', sizeof(text) - 1);
	hello.label = hello.store = hello.node = of(text);
	for (unsigned i = 0; i < 3; i++) {
		kvr_write_hello(&out, &hello);
		expect_longest(80 + 2 * i, i ? KVR_NAME_MAX : KVR_LABEL_MAX);
	}
	kvr_write_bye(&out, -EIO, text);
	expect_longest(12, KVR_REASON_MAX);
	kvr_write_opened(&out, 1, -EIO, text);
	expect_longest(16, KVR_REASON_MAX);
	open.id = (struct kvr_text){ (const uint8_t *)text, KVSHM_REQUEST_ID_MAX };
	kvr_write_open(&out, &open);
	expect_longest(32, KVSHM_REQUEST_ID_MAX);
	want.id = open.id;
	kvr_begin_want(&out, &want);
	expect_longest(28, KVSHM_REQUEST_ID_MAX);
}
END_TEST

START_TEST(keys_are_neither_empty_nor_too_long)
{
	static uint8_t key[KVSHM_KEY_MAX + 1];
	struct kvr_offer offer = { .opaque = key, .key = { key, KVSHM_KEY_MAX } };
	const struct kvr_want want = { .want = 1 };

	for (uint32_t size = 0; size <= KVSHM_KEY_MAX + 1; size++) {
		int wanted = size == 0 || size > KVSHM_KEY_MAX ? -EPROTO : 0;

		offer.key.length = size;
		kvr_begin_offers(&out, 1);
		ck_assert(kvr_add_offer(&out, &offer));
		ck_rc(read_out(), wanted);
		kvr_begin_want(&out, &want);
		ck_assert(kvr_add_key(&out, offer.key));
		ck_rc(read_out(), wanted);
	}
}
END_TEST

START_TEST(a_batch_takes_entries_until_one_does_not_fit)
{
	static uint8_t key[KVSHM_KEY_MAX];
	struct kvr_offer offer = { .opaque = key, .key = { key, KVSHM_KEY_MAX } };
	uint32_t count = 0;

	kvr_begin_offers(&out, 9);
	while (kvr_add_offer(&out, &offer)) {
		offer.position = ++count;
		ck_rc(read_out(), 0); /* whole behind every entry */
		ck_assert_uint_eq(message.count, count);
	}
	ck_assert_uint_eq(count, (KVR_MESSAGE_MAX - 16) / (16 + KVSHM_OPAQUE_SIZE + 2 + KVSHM_KEY_MAX));
	ck_assert_uint_eq(out.count, count);
	ck_rc(read_out(), 0);
	ck_assert_uint_eq(message.transfer, 9);
	for (uint32_t i = 0; i < count; i++) {
		kvr_next_offer(&message, &offer);
		ck_assert_uint_eq(offer.position, i);
	}
	ck_assert_ptr_eq(message.next, message.behind);
}
END_TEST

START_TEST(a_HELLO_of_another_version_tells_its_version)
{
	struct kvr_hello hello = { .version = KVR_VERSION + 1, .blocks = 5 };

	kvr_write_hello(&out, &hello);
	out.size = KVR_HEADER_SIZE + 2 + 3; /* whatever it has behind that */
	kvr_put32(out.bytes, out.size);
	ck_rc(read_out(), 0);
	ck_assert_uint_eq(message.hello.version, KVR_VERSION + 1);
	ck_assert_uint_eq(message.hello.blocks, 0);
}
END_TEST

START_TEST(the_bytes_are_those_of_the_README)
{
	static const uint8_t open_bytes[] = { 38, 0, 0, 0, 4,	 0,    0,    0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0,  0,
					      0,  4, 0, 0, 0, 0x78, 0x56, 0x34, 0x12, 6, 0, 0, 0,
					      4,  0, 'n', 'a', 'm', 'e' };
	static const uint8_t grant_bytes[] = { 56,   0, 0, 0, 7,    0,	  0,	0, /* header */
					       9,    0, 0, 0, 1,    0,	  0,	0, /* transfer, count */
					       5,    0, 0, 0, 6,    0,	  0,	0, /* position, block */
					       8,    7, 6, 5, 4,    3,	  2,	1, /* life */
					       0xf4, 0xff, 0xff, 0xff, 3, 0, 1, 0, /* result, kind, count */
					       2,    0, 0, 0, 0xd,  0xc, 0xb, 0xa, /* plane, rkey */
					       1,    2, 3, 4, 5,    6,	  7,	8 };
	static const uint8_t data_bytes[] = { 28, 0, 0, 0, 17, 0, 0, 0, 8, 7, 6, 5, 4, 3,
					      2,  1, 0, 0, 1,  0, 0, 0, 0, 0, 3, 0, 0, 0xff };
	const struct kvr_open open = { .transfer = 1, .want = 2, .attempt = 3, .blocks = 4, .planes = 0x12345678,
				       .room = 6, .id = of("name") };
	const struct kvr_grant grant = { .position = 5, .block = 6, .life = 0x0102030405060708, .result = -12,
					 .kind = KVR_REFUSED, .count = 1,
					 .planes = { { 2, 0x0a0b0c0d, 0x0807060504030201 } } };
	const struct kvr_data data = { .to = 0x0102030405060708, .length = 0x10000, .rkey = 0xff000003 };

	kvr_write_open(&out, &open);
	ck_assert_uint_eq(out.size, sizeof(open_bytes));
	ck_assert_mem_eq(out.bytes, open_bytes, sizeof(open_bytes));
	kvr_begin_grants(&out, 9);
	ck_assert(kvr_add_grant(&out, &grant));
	ck_assert_uint_eq(out.size, sizeof(grant_bytes));
	ck_assert_mem_eq(out.bytes, grant_bytes, sizeof(grant_bytes));
	kvr_write_data(&out, &data);
	ck_assert_uint_eq(out.size, sizeof(data_bytes));
	ck_assert_mem_eq(out.bytes, data_bytes, sizeof(data_bytes));
}
END_TEST

START_TEST(a_HELLO_has_all_of_its_sender)
{
	struct kvr_hello hello = { .version = KVR_VERSION, .flags = KVR_HAS_STORE | KVR_HAS_SECRET,
				   .incarnation = UINT64_MAX - 1, .block_size = 1 << 20, .blocks = 1000, .planes = 3,
				   .key_max = 256, .timeout = 5000, .pid = 77, .label = of("llama fp16"),
				   .store = of("store"), .node = of("node-7") };

	memset(hello.nonce, 0xab, sizeof(hello.nonce));
	kvr_write_hello(&out, &hello);
	ck_rc(read_out(), 0);
	ck_assert_uint_eq(message.hello.flags, hello.flags);
	ck_assert_mem_eq(message.hello.nonce, hello.nonce, sizeof(hello.nonce));
	ck_assert_uint_eq(message.hello.incarnation, hello.incarnation);
	ck_assert_uint_eq(message.hello.block_size, hello.block_size);
	ck_assert_uint_eq(message.hello.blocks, hello.blocks);
	ck_assert_uint_eq(message.hello.planes, hello.planes);
	ck_assert_uint_eq(message.hello.key_max, hello.key_max);
	ck_assert_uint_eq(message.hello.timeout, hello.timeout);
	ck_assert_uint_eq(message.hello.pid, hello.pid);
	ck_text(message.hello.label, "llama fp16");
	ck_text(message.hello.store, "store");
	ck_text(message.hello.node, "node-7");
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		every_message_comes_back,
		every_message_that_is_cut_or_too_long_is_refused,
		a_header_that_is_none_is_refused,
		results_and_flags_out_of_bounds_are_refused,
		entries_out_of_bounds_are_refused,
		texts_that_are_too_long_are_cut_when_written_and_refused_when_read,
		keys_are_neither_empty_nor_too_long,
		a_batch_takes_entries_until_one_does_not_fit,
		a_HELLO_of_another_version_tells_its_version,
		the_bytes_are_those_of_the_README,
		a_HELLO_has_all_of_its_sender,
	};

	return unit_run("rdma_message", tests, sizeof(tests) / sizeof(tests[0]));
}
