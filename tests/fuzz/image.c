/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * image.c: making, damaging and mending the store. See image.h.
 *
 * What is in it: keys 0 to 3 are ready; of these, 0 is held and pinned, 1 held. 4 is being filled; 5 is filled by two
 * writers, of which one is done; 6 was removed while it was held; 7 and 8 are missing. One block has no key. Of the
 * requests, whose ids are their numbers, 0 is open and has room for two blocks and a hold, 1 is complete, 2 waits in
 * line, 3 is closed. All holds are the first client's, and the image is taken while it is attached: so whoever attaches
 * finds a dead client. One process is enough for that, since it is the lock that says who lives, not the segment.
 */
#include "config.h"

#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "layout.h"
#include "target.h"

#define FILES (1 + IMAGE_PLANES)

static char dir[128];
static char names[FILES][256], kept[FILES][256]; /* its files, and second names of them */
static int file;
static unsigned char *now, *whole; /* the segment's bytes: mapped; and as they should be */
static struct kvs_geometry g;
static kvshm_owner *owner;

/* ---- Input ----------------------------------------------------------------------------------------------- */

uint8_t image_take(struct image_input *input)
{
	if (!input->left)
		return 0;
	input->left--;
	return *input->next++;
}

uint16_t image_take_two(struct image_input *input)
{
	uint8_t low = image_take(input);

	return (uint16_t)(low | image_take(input) << 8);
}

/* ---- Making ---------------------------------------------------------------------------------------------- */

const char *image_dir(void)
{
	return dir;
}

size_t image_key(unsigned number, uint8_t key[KVSHM_KEY_MAX])
{
	size_t length = number % 2 ? 60 : 4;

	memset(key, 'a' + (int)(number % 16), length);
	return length;
}

static void remove_all(void)
{
	for (unsigned i = 0; i < FILES; i++) {
		(void)unlink(names[i]);
		(void)unlink(kept[i]);
	}
	(void)rmdir(dir);
}

static struct kvshm_handle begin(kvshm_store *store, unsigned number, bool shared)
{
	struct kvshm_handle handle;
	enum kvshm_outcome outcome;
	uint8_t key[KVSHM_KEY_MAX];
	size_t length = image_key(number, key);

	if (shared)
		target_must(kvshm_get_or_fill_shared(store, key, length, &outcome, &handle) == 0);
	else
		target_must(kvshm_get_or_fill(store, key, length, &outcome, &handle) == 0);
	target_must(outcome == KVSHM_FILL);
	return handle;
}

static void fill(kvshm_store *store)
{
	struct kvshm_handle handle, held[4], part;
	struct kvshm_ticket ticket;
	uint8_t key[KVSHM_KEY_MAX];
	size_t length;

	for (unsigned i = 0; i < 4; i++) {
		held[i] = begin(store, i, false);
		target_must(kvshm_publish(store, &held[i], NULL) == 0);
	}
	target_must(kvshm_pin(store, &held[0], &handle) == 0);
	target_must(kvshm_release(store, &held[2]) == 0);
	target_must(kvshm_release(store, &held[3]) == 0);
	(void)begin(store, 4, false);
	handle = begin(store, 5, true);
	target_must(kvshm_get_ticket(store, &handle, &ticket) == 0);
	for (unsigned plane = 0; plane < IMAGE_PLANES; plane++)
		target_must(kvshm_join(store, &ticket, plane, &part) == 0);
	target_must(kvshm_publish(store, &part, NULL) == 0);
	handle = begin(store, 6, false);
	target_must(kvshm_publish(store, &handle, NULL) == 0);
	length = image_key(6, key);
	target_must(kvshm_remove(store, key, length) == 0);
	target_must(kvshm_alloc(store, &handle) == 0);
}

static void match(kvshm_store *store, const struct kvshm_request *request, unsigned number)
{
	uint8_t bytes[KVSHM_KEY_MAX];
	struct kvshm_key key = {.bytes = bytes, .length = image_key(number, bytes)};
	struct kvshm_handle lent;
	enum kvshm_next next;
	size_t ready;

	target_must(kvshm_request_match(store, request, &key, 1, &lent, &ready, &next) == 0 && ready == 1);
}

/* Behind all fills: one waits in line, so that no others may fill. */
static void open_requests(kvshm_store *store)
{
	struct kvshm_request request[IMAGE_REQUESTS];

	for (unsigned i = 0; i < IMAGE_REQUESTS; i++) {
		uint8_t id = (uint8_t)i;

		target_must(kvshm_request_open(store, &id, sizeof(id), 1, 1, &request[i]) == 0);
	}
	target_must(kvshm_request_reserve(store, &request[0], 2, 0) == 0);
	match(store, &request[0], 0);
	match(store, &request[1], 1);
	target_must(kvshm_request_complete(store, &request[1], 0) == 0);
	target_must(kvshm_request_queue(store, &request[2], IMAGE_BLOCKS, UINT64_MAX) == -EINPROGRESS);
	target_must(kvshm_request_end(store, &request[3]) == 0);
}

static void name_files(void)
{
	for (unsigned i = 0; i < FILES; i++) {
		if (i == 0)
			(void)snprintf(names[i], sizeof(names[i]), "%s/kvshm." IMAGE_NAME, dir);
		else
			(void)snprintf(names[i], sizeof(names[i]), "%s/kvshm." IMAGE_NAME ".p%u", dir, i - 1);
		(void)snprintf(kept[i], sizeof(kept[i]), "%s/kept.%u", dir, i);
	}
}

/* Maps the segment for damages, and takes the image. */
static void take_image(void)
{
	struct kvs_head head;

	file = open(names[0], O_RDWR | O_CLOEXEC);
	target_must(file >= 0 && pread(file, &head, sizeof(head), 0) == (ssize_t)sizeof(head));
	g = head.geometry;
	now = mmap(NULL, g.size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	whole = malloc(g.size);
	target_must(now != MAP_FAILED && whole);
	memcpy(whole, now, g.size);
}

void image_make(void)
{
	const char *prefix = getenv("KVSHM_TEST_PREFIX");
	struct kvshm_create_options options;
	struct kvshm_attach_options attach = {.dir = dir, .name = "first"};
	kvshm_store *store;

	(void)snprintf(dir, sizeof(dir), "/dev/shm/kvshm.%s-XXXXXX", prefix ? prefix : "fuzz");
	target_must(mkdtemp(dir));
	name_files();
	(void)atexit(remove_all);
	kvshm_create_defaults(&options);
	options.dir = dir;
	options.label = "label";
	options.block_size = IMAGE_BLOCK_SIZE;
	options.size = (uint64_t)IMAGE_BLOCKS * IMAGE_BLOCK_SIZE;
	options.planes = IMAGE_PLANES;
	options.clients = IMAGE_CLIENTS;
	options.requests = IMAGE_REQUESTS;
	options.fence = 1; /* grace periods in one process, without system calls */
	target_must(kvshm_create(IMAGE_NAME, &options, &owner) == 0);
	target_must(kvshm_attach(IMAGE_NAME, &attach, &store) == 0);
	fill(store);
	open_requests(store);
	take_image();
	target_must(kvshm_detach(store) == 0 && kvshm_disown(owner) == 0);
	for (unsigned i = 0; i < FILES; i++)
		target_must(link(names[i], kept[i]) == 0);
	image_restore();
}

/* ---- Mending --------------------------------------------------------------------------------------------- */

void image_restore(void)
{
	target_must(ftruncate(file, (off_t)g.size) == 0);
	memcpy(now, whole, g.rows_at);
	for (uint32_t i = 0; i < g.clients; i++)
		memcpy(now + g.rows_at + i * g.row_size, whole + g.rows_at + i * g.row_size,
		       (uint64_t)g.blocks * 2 * sizeof(uint64_t));
	for (unsigned i = 0; i < FILES; i++)
		if (access(names[i], F_OK))
			target_must(link(kept[i], names[i]) == 0);
}

/* ---- Damages --------------------------------------------------------------------------------------------- */

struct section {
	uint64_t at, size;
};

/* Sections that matter more come more often. */
static struct section section_of(unsigned number)
{
	const uint64_t blocks = g.blocks, fixed = offsetof(struct kvs_head, state);
	const struct section sections[] = {
		{0, fixed},
		{fixed, sizeof(struct kvs_head) - fixed},
		{g.clients_at, g.clients * sizeof(struct kvs_client)},
		{g.readers_at, g.readers * sizeof(struct kvs_reader)},
		{g.readers_at, offsetof(struct kvs_reader, counters)},
		{g.hints_at, (blocks + 63) / 64 * 8},
		{g.buckets_at, g.buckets * sizeof(uint32_t)},
		{g.blocks_at, blocks * sizeof(struct kvs_block)},
		{g.blocks_at, 9 * sizeof(struct kvs_block)}, /* those that are in use */
		{g.tails_at, blocks * g.tail},
		{g.infos_at, blocks * sizeof(struct kvs_block_info)},
		{g.rows_at, blocks * 2 * sizeof(uint64_t)},
		{g.rows_at + g.row_size, blocks * 2 * sizeof(uint64_t)},
		{offsetof(struct kvs_head, line_next), sizeof(struct kvs_head) - offsetof(struct kvs_head, line_next)},
		{g.requests_at, g.requests * sizeof(struct kvs_request)},
		{g.requests_at, g.requests * sizeof(struct kvs_request)},
		{g.ids_at, g.requests * sizeof(uint64_t)},
		{g.places_at, g.requests * sizeof(uint64_t)},
		{g.peers_at, KVS_PEERS * sizeof(struct kvs_peer)},
	};

	return sections[number % (sizeof(sections) / sizeof(sections[0]))];
}

/* Clients that there are, and numbers at the edges. */
static const uint16_t owners[16] = {
	0, 1, 2, IMAGE_CLIENTS, IMAGE_CLIENTS, IMAGE_CLIENTS + 1, 63, 64, 65, 127, 1023, 1024, 1025, 2048, 4094, 4095,
};

enum patch { PATCH_BYTES, PATCH_NUMBER, PATCH_COPY, PATCH_WORD, PATCH_BIT, PATCHES };

static void patch_one(struct image_input *input)
{
	uint8_t what = image_take(input);
	struct section section = section_of(what / PATCHES);
	uint64_t at = image_take_two(input) % section.size, word = at & ~UINT64_C(7);
	unsigned char *to = now + section.at;
	uint32_t number;
	uint64_t wide;

	switch ((enum patch)(what % PATCHES)) {
	case PATCH_BYTES:
		for (unsigned length = 1 + image_take(input) % 16; length && at < section.size; length--)
			to[at++] = image_take(input);
		break;
	case PATCH_NUMBER:
		number = (uint32_t)(int8_t)image_take(input);
		memcpy(to + (at & ~UINT64_C(3)), &number, sizeof(number));
		break;
	case PATCH_COPY:
		memmove(to + word, to + (image_take_two(input) % section.size & ~UINT64_C(7)), 8);
		break;
	case PATCH_WORD: /* as if it were a block's word */
		memcpy(&wide, to + word, sizeof(wide));
		number = image_take(input);
		wide = kvs_word_next(wide, (enum kvs_state)(number % 16), owners[number / 16]);
		memcpy(to + word, &wide, sizeof(wide));
		break;
	default:
		to[at] ^= (unsigned char)(1 << image_take(input) % 8);
		break;
	}
}

void image_patch(struct image_input *input)
{
	while (input->left)
		patch_one(input);
}

void image_head(struct image_input *input)
{
	size_t size = input->left < KVS_PAGE ? input->left : KVS_PAGE;

	if (size)
		memcpy(now, input->next, size);
	input->left = 0;
}

void image_reshape(uint16_t bits)
{
	uint32_t blocks = 1U << bits % 5;
	const struct kvs_shape shape = {
		.block_size = (uint64_t)IMAGE_BLOCKS * IMAGE_BLOCK_SIZE / blocks, /* the planes stay as large */
		.blocks = blocks,
		.planes = 1 + bits / 8 % IMAGE_PLANES,
		.key_max = 1U + bits / 256,
		.clients = 1 + bits / 16 % 4,
		.requests = 1 + bits / 16 % 4,
		.drop = bits / 64 % 2,
		.fence = bits / 128 % 2,
	};
	struct kvs_head *head = (struct kvs_head *)(void *)now;
	struct kvs_geometry other;

	target_must(kvs_layout_make(&shape, &other) == 0);
	other.incarnation = g.incarnation;
	other.seed = g.seed;
	head->geometry = other;
	head->size = other.size;
	target_must(ftruncate(file, (off_t)other.size) == 0);
}

void image_cut(uint16_t bits)
{
	uint64_t pages = bits % 256, bytes = bits / 256;

	target_must(ftruncate(file, (off_t)((pages * KVS_PAGE + bytes) % g.size)) == 0);
}
