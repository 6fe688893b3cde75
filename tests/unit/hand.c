/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * hand.c: see hand.h.
 */
#include "config.h"

#include "hand.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "peer.h"
#include "url.h"

kvshm_peer *hand_peer;

struct kept {
	struct kept *next;
	size_t size;
	uint8_t bytes[];
};

static struct {
	pthread_mutex_t lock;
	pthread_t thread;
	struct kvr_loop loop;
	struct kvr_memory *memory;
	struct kvr_port *port;
	struct kvr_link *link;
	struct kvr_endpoint endpoint;
	struct kept *first, **last, *taken;
	struct kvr_window *windows[HAND_PLANES];
	uint8_t *bytes[HAND_PLANES];
	int stop;
	bool greeted, down;
	unsigned writes;
} hand = {.lock = PTHREAD_MUTEX_INITIALIZER};

int __real_kvr_peer_write(struct kvr_peer *peer, const struct kvr_write *write, uint32_t tag);
int __wrap_kvr_peer_write(struct kvr_peer *peer, const struct kvr_write *write, uint32_t tag);

int __wrap_kvr_peer_write(struct kvr_peer *peer, const struct kvr_write *write, uint32_t tag)
{
	hand.writes++;
	return __real_kvr_peer_write(peer, write, tag);
}

unsigned hand_writes(void)
{
	unsigned writes = hand.writes;

	hand.writes = 0;
	return writes;
}

/* ---- The thread: greets, answers PINGs, keeps the rest */

static void post(const struct kvr_out *out)
{
	struct kvr_out copy = *out;

	ck_rc(kvr_tcp.send(hand.link, copy.bytes, copy.size, 0), 0);
}

static void say_hello(void)
{
	struct kvr_hello hello = {
		.version = KVR_VERSION,
		.flags = KVR_HAS_STORE,
		.incarnation = 1,
		.block_size = HAND_BLOCK,
		.blocks = HAND_BLOCKS,
		.planes = HAND_PLANES,
		.key_max = 64,
		.timeout = 10000,
		.pid = (uint32_t)getpid(),
	};
	struct kvr_out out;

	kvr_write_hello(&out, &hello);
	post(&out);
}

static void expose(void)
{
	for (unsigned i = 0; i < HAND_PLANES; i++)
		ck_rc(kvr_tcp.expose(hand.link, hand.bytes[i], HAND_BLOCKS * HAND_BLOCK, NULL, &hand.windows[i]), 0);
}

static void keep(const uint8_t *bytes, size_t size)
{
	struct kept *kept = malloc(sizeof(*kept) + size);

	kept->next = NULL;
	kept->size = size;
	memcpy(kept->bytes, bytes, size);
	*hand.last = kept;
	hand.last = &kept->next;
}

static void on_message(void *arg, const uint8_t *bytes, size_t size)
{
	const uint8_t proof[KVR_PROOF_SIZE] = {0};
	struct kvr_message message;
	struct kvr_out out;

	(void)arg;
	ck_rc(kvr_read(bytes, size, &message), 0);
	if (message.type == KVR_HELLO) {
		say_hello();
		kvr_write_proof(&out, proof);
		post(&out);
	} else if (message.type == KVR_PROOF) {
		expose();
		hand.greeted = true;
	} else if (message.type == KVR_PING) {
		kvr_write_ping(&out, KVR_PONG, message.time);
		post(&out);
	} else if (message.type != KVR_PONG) {
		keep(bytes, size);
	}
}

static void nothing(void *arg)
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
	(void)arg;
	(void)reason;
	hand.down = true;
}

static const struct kvr_link_user user = {
	.up = nothing, .message = on_message, .room = nothing, .sent = on_sent, .withdrawn = on_withdrawn,
	.down = on_down,
};

static bool on_accept(void *arg, struct kvr_link *link, const struct kvr_link_user **link_user, void **link_arg)
{
	if (hand.link)
		return false;
	hand.link = link;
	*link_user = &user;
	*link_arg = arg;
	return true;
}

static void on_failed(void *arg, int reason)
{
	(void)arg;
	ck_abort_msg("the port failed: %d", reason);
}

static const struct kvr_port_user port_user = {.accept = on_accept, .failed = on_failed};

static void *run(void *arg)
{
	struct pollfd fds[] = {{.fd = hand.loop.epoll, .events = POLLIN}, {.fd = hand.stop, .events = POLLIN}};

	(void)arg;
	for (;;) {
		(void)poll(fds, 2, -1);
		if (fds[1].revents)
			return NULL;
		(void)pthread_mutex_lock(&hand.lock);
		(void)kvr_loop_run(&hand.loop, 0);
		(void)pthread_mutex_unlock(&hand.lock);
	}
}

/* ---- Both ends */

void hand_listen(void)
{
	const struct kvr_link_options options = {.gid_index = -1, .traffic_class = -1, .numa_node = -1,
						 .timeout = UINT64_C(10000000000)};
	const struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	hand.last = &hand.first;
	hand.stop = eventfd(0, EFD_CLOEXEC);
	ck_rc(kvr_loop_open(&hand.loop, NULL, NULL), 0);
	ck_rc(kvr_memory_open(&hand.memory), 0);
	for (unsigned i = 0; i < HAND_PLANES; i++) {
		hand.bytes[i] = calloc(HAND_BLOCKS, HAND_BLOCK);
		ck_rc(kvr_memory_add(hand.memory, hand.bytes[i], HAND_BLOCKS * HAND_BLOCK, true), 0);
	}
	memcpy(&hand.endpoint.address, &address, sizeof(address));
	hand.endpoint.length = sizeof(address);
	ck_rc(kvr_tcp.listen(&hand.loop, &hand.endpoint, &options, hand.memory, &port_user, NULL, &hand.port), 0);
	ck_assert_int_eq(pthread_create(&hand.thread, NULL, run, NULL), 0);
}

static bool greeted(void)
{
	bool yes;

	(void)pthread_mutex_lock(&hand.lock);
	yes = hand.greeted;
	(void)pthread_mutex_unlock(&hand.lock);
	return yes;
}

kvshm_peer *hand_connect(kvshm_store *store)
{
	char url[KVR_URL_SIZE];

	kvr_url_write(&kvr_tcp, &hand.endpoint, url, sizeof(url));
	ck_rc(kvshm_connect(store, url, NULL, unit_in_ms(UNIT_SOON), &hand_peer), 0);
	while (!greeted())
		hand_work();
	return hand_peer;
}

void hand_cut(void)
{
	(void)pthread_mutex_lock(&hand.lock);
	if (hand.link)
		kvr_tcp.close(hand.link);
	hand.link = NULL;
	(void)pthread_mutex_unlock(&hand.lock);
}

void hand_hold(void)
{
	(void)pthread_mutex_lock(&hand.lock);
}

void hand_go_on(void)
{
	(void)pthread_mutex_unlock(&hand.lock);
}

void hand_end(void)
{
	const uint64_t one = 1;

	if (hand_peer)
		ck_rc(kvshm_disconnect(hand_peer), 0);
	hand_peer = NULL;
	ck_assert_int_eq(write(hand.stop, &one, sizeof(one)), sizeof(one));
	ck_assert_int_eq(pthread_join(hand.thread, NULL), 0);
	hand_cut();
	kvr_tcp.close_port(hand.port);
	kvr_memory_close(hand.memory);
	kvr_loop_close(&hand.loop);
	(void)close(hand.stop);
	free(hand.taken);
	while (hand.first) {
		struct kept *kept = hand.first;

		hand.first = kept->next;
		free(kept);
	}
	for (unsigned i = 0; i < HAND_PLANES; i++)
		free(hand.bytes[i]);
}

/* ---- Taking and saying */

static struct kept *take(void)
{
	struct kept *kept;

	(void)pthread_mutex_lock(&hand.lock);
	kept = hand.first;
	if (kept) {
		hand.first = kept->next;
		if (!hand.first)
			hand.last = &hand.first;
	}
	(void)pthread_mutex_unlock(&hand.lock);
	return kept;
}

struct kvr_message *hand_take(enum kvr_type type)
{
	static struct kvr_message message;
	const uint64_t deadline = unit_in_ms(UNIT_SOON);
	struct kept *kept;

	while (!(kept = take())) {
		ck_assert_msg(unit_in_ms(0) < deadline, "no %s has come", kvr_type_name(type));
		hand_work();
	}
	free(hand.taken);
	hand.taken = kept;
	ck_rc(kvr_read(kept->bytes, kept->size, &message), 0);
	ck_assert_msg(message.type == type, "a %s has come, not a %s", kvr_type_name(message.type),
		      kvr_type_name(type));
	return &message;
}

/* A message there and one back: what was sent before has come. */
void hand_silent(void)
{
	struct kept *kept;

	hand_work();
	kept = take();
	if (kept) {
		struct kvr_message message;

		ck_rc(kvr_read(kept->bytes, kept->size, &message), 0);
		ck_abort_msg("a %s has come", kvr_type_name(message.type));
	}
}

void hand_say(const struct kvr_out *out)
{
	(void)pthread_mutex_lock(&hand.lock);
	post(out);
	(void)pthread_mutex_unlock(&hand.lock);
}

void hand_gone(int reason)
{
	const struct kvr_message *bye = hand_take(KVR_BYE);

	ck_assert_int_eq(bye->bye.result, reason);
}

struct kvr_grant_plane hand_plane(uint32_t block, uint32_t plane)
{
	return (struct kvr_grant_plane){
		.plane = plane,
		.rkey = hand.windows[plane]->rkey,
		.address = hand.windows[plane]->address + block * HAND_BLOCK,
	};
}

const uint8_t *hand_bytes(uint32_t block, uint32_t plane)
{
	return hand.bytes[plane] + block * HAND_BLOCK;
}

/* ---- What receivers say */

void hand_opened(uint32_t transfer, int result, const char *text)
{
	struct kvr_out out;

	kvr_write_opened(&out, transfer, result, text);
	hand_say(&out);
}

struct kvr_grant hand_write_it(uint32_t position, uint32_t block)
{
	struct kvr_grant grant = {.position = position, .block = block, .life = 1, .count = HAND_PLANES,
				  .kind = KVR_WRITE_IT};

	for (uint32_t i = 0; i < HAND_PLANES; i++)
		grant.planes[i] = hand_plane(block, i);
	return grant;
}

struct kvr_grant hand_answer(uint32_t position, enum kvr_grant_kind kind, int result)
{
	return (struct kvr_grant){.position = position, .kind = kind, .result = result};
}

void hand_grant(uint32_t transfer, const struct kvr_grant *grants, size_t count)
{
	struct kvr_out out;

	kvr_begin_grants(&out, transfer);
	for (size_t i = 0; i < count; i++)
		ck_assert(kvr_add_grant(&out, &grants[i]));
	hand_say(&out);
}

void hand_close(enum kvr_type type, uint32_t transfer, int result)
{
	const struct kvr_end end = {.transfer = transfer, .result = result, .by_sender = false};
	struct kvr_out out;

	kvr_write_end(&out, type, &end);
	hand_say(&out);
}

/* ---- The sender's side */

struct kvshm_event hand_events(size_t count)
{
	struct kvshm_event event = {.position = 0};

	for (size_t i = 0; i < count;) {
		size_t got;

		ck_rc(kvshm_peer_work(hand_peer, unit_in_ms(UNIT_SOON), &event, 1, &got), 0);
		i += got;
	}
	return event;
}

void hand_work(void)
{
	while (kvshm_peer_work(hand_peer, unit_in_ms(1), NULL, 0, NULL) == 0)
		;
}

uint32_t hand_open(kvshm_transfer **transfer, uint32_t blocks)
{
	uint32_t number;

	ck_rc(kvshm_transfer_open(hand_peer, "request", 7, blocks, NULL, transfer), 0);
	number = hand_take(KVR_OPEN)->open.transfer;
	hand_opened(number, 0, "");
	return number;
}

void hand_offer(kvshm_transfer *transfer, uint32_t first, uint32_t count)
{
	for (uint32_t i = first; i < first + count; i++) {
		uint8_t key[UNIT_KEY];
		struct kvshm_offer offer = {.key = {key, sizeof(key)}, .meta = {.length = HAND_BLOCK, .depth = i}};

		unit_key(i, key);
		ck_rc(kvshm_transfer_offer(transfer, i, &offer, 1), 0);
	}
}

struct kvshm_transfer_info hand_look(kvshm_transfer *transfer)
{
	struct kvshm_transfer_info info;

	ck_rc(kvshm_transfer_look(transfer, &info), 0);
	return info;
}
