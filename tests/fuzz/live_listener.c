/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * live_listener: a listener over TCP is sent 100,000 messages, good and damaged, by peers that have come to each state
 * of a connection and of a transfer (F2). It goes on; and when it has closed, the store is sound, and nothing is left
 * in it of what those peers have begun.
 */
#include "config.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../torture/base.h"
#include "bytes.h"
#include "kvshm.h"
#include "messages.h"
#include "url.h"

#define MESSAGES 100000U
#define BLOCKS 64
#define BLOCK_SIZE 4096

/* How far a peer comes as it should. */
enum depth { NOTHING, GREETED, PROVED, OPENED, OFFERED, DEPTHS };

static kvshm_store *store;
static kvshm_listener *listener;
static struct kvr_endpoint endpoint;
static uint64_t stream;
static unsigned sent, peers, ended, by_depth[DEPTHS];
static struct kvr_out out;

static void work(void)
{
	int rc = 0;

	for (unsigned i = 0; i < 64 && rc == 0; i++)
		rc = kvshm_listener_work(listener, 0);
	base_check(rc == 0 || rc == -ETIMEDOUT);
}

/* False: the listener has ended the connection. */
static bool put(int fd, const uint8_t *bytes, size_t size)
{
	uint8_t answers[8192];
	ssize_t got;

	while (size) {
		ssize_t piece = send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (piece < 0 && errno != EAGAIN)
			return false;
		bytes += piece > 0 ? piece : 0;
		size -= piece > 0 ? (size_t)piece : 0;
		work();
		do
			got = recv(fd, answers, sizeof(answers), MSG_DONTWAIT);
		while (got > 0);
		if (got == 0 || errno != EAGAIN)
			return false;
	}
	sent++;
	return true;
}

static bool put_out(int fd)
{
	return put(fd, out.bytes, out.size);
}

static bool put_hello(int fd)
{
	struct kvr_hello hello = { .version = KVR_VERSION, .timeout = 60000 };

	kvr_write_hello(&out, &hello);
	return put_out(fd);
}

static bool put_proof(int fd)
{
	static const uint8_t none[KVR_PROOF_SIZE]; /* nobody has a secret */

	kvr_write_proof(&out, none);
	return put_out(fd);
}

/* Of few ids, so that some join what others have opened, or come too late. */
static bool put_open(int fd)
{
	uint8_t id = (uint8_t)messages_below(&stream, 8);
	struct kvr_open open = { .transfer = 1, .attempt = messages_below(&stream, 4), .planes = 1,
				 .blocks = messages_below(&stream, 5), .id = { &id, 1 } };

	kvr_write_open(&out, &open);
	return put_out(fd);
}

static bool put_offers(int fd)
{
	static const uint8_t opaque[KVSHM_OPAQUE_SIZE];
	uint8_t key = (uint8_t)messages_below(&stream, 16);
	struct kvr_offer offer = { .length = BLOCK_SIZE, .opaque = opaque, .key = { &key, 1 } };

	kvr_begin_offers(&out, 1);
	for (uint32_t i = messages_below(&stream, 4); i > 0; i--, key++, offer.position++)
		(void)kvr_add_offer(&out, &offer);
	return put_out(fd);
}

/* Any message, damaged or not; often of the transfer that is open. */
static bool put_any(int fd)
{
	enum kvr_type type = (enum kvr_type)(KVR_HELLO + messages_below(&stream, KVR_DENIED));
	size_t size;

	messages_make(&stream, type, &out);
	if (type >= KVR_OPEN && type <= KVR_DONE && messages_below(&stream, 4))
		kvr_put32(out.bytes + KVR_HEADER_SIZE, 1 + messages_below(&stream, 2));
	size = out.size;
	if (messages_below(&stream, 2))
		messages_damage(&stream, out.bytes, &size);
	return put(fd, out.bytes, size);
}

static void be_a_peer(void)
{
	static bool (*const steps[DEPTHS])(int fd) = { NULL, put_hello, put_proof, put_open, put_offers };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	enum depth depth = (enum depth)messages_below(&stream, DEPTHS);
	bool going = true;

	base_check(fd >= 0 && connect(fd, &endpoint.any, endpoint.length) == 0);
	base_check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
	work();
	for (int i = GREETED; i <= (int)depth && going; i++)
		going = steps[i](fd);
	while (going && messages_below(&stream, 16))
		going = put_any(fd);
	peers++;
	by_depth[depth]++;
	ended += !going;
	(void)close(fd);
	work();
}

int main(void)
{
	const struct kvr_transport *transport;
	struct kvshm_create_options options;
	struct kvshm_net_options net;
	char url[KVR_URL_SIZE], why[256];
	const char *name;
	kvshm_owner *owner;
	unsigned count;

	base_begin();
	count = base_long() ? 10 * MESSAGES : MESSAGES;
	stream = base_stream(1);
	name = base_store("listener");
	kvshm_create_defaults(&options);
	options.size = (uint64_t)BLOCKS * BLOCK_SIZE;
	options.block_size = BLOCK_SIZE;
	base_expect(kvshm_create(name, &options, &owner), 0);
	base_expect(kvshm_attach(name, NULL, &store), 0);
	kvshm_net_defaults(&net);
	net.claim_timeout = 1000000;
	base_expect(kvshm_listen(store, "tcp://127.0.0.1:0", &net, &listener), 0);
	base_expect(kvshm_listener_url(listener, url, sizeof(url)), 0);
	base_expect(kvr_url_read(url, &transport, &endpoint), 0);
	while (sent < count)
		be_a_peer();
	printf("%u messages of %u peers, of which the listener has ended %u; they came to: nothing %u, HELLO %u, PROOF "
	       "%u, OPEN %u, OFFER %u\n", sent, peers, ended, by_depth[NOTHING], by_depth[GREETED], by_depth[PROVED],
	       by_depth[OPENED], by_depth[OFFERED]);
	base_expect(kvshm_listener_close(listener), 0);
	base_expect(kvshm_detach(store), 0);
	if (!base_at_rest(name, BLOCKS, why))
		base_fail("when the listener has closed: %s", why);
	base_expect(kvshm_destroy(owner), 0);
	return base_pass();
}
