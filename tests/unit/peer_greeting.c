/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * How two nodes come to know each other, over TCP on this machine: secrets, versions, labels and sizes; and what ends a
 * connection before that: silence, and messages that do not belong there. Both sides are in this process, and take
 * turns.
 */
#include "config.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fixture.h"
#include "options.h"
#include "peer.h"
#include "url.h"
#include "wait.h"

#define BLOCKS 8U
#define SECRET "a secret of both sides"

/* The side that listens. */
static struct kvr_node here;
static struct kvr_port *port;
static struct kvr_endpoint place;
/* The side that connects. */
static struct kvr_node there;
static struct kvr_peer *peer;

static struct kvshm_net_options options_of(const char *secret)
{
	struct kvshm_net_options options;

	kvshm_net_defaults(&options);
	options.secret = secret;
	options.secret_length = secret ? strlen(secret) : 0;
	return options;
}

static void work(struct kvr_node *node, uint64_t deadline)
{
	(void)pthread_mutex_lock(&node->lock);
	(void)kvr_node_work(node, deadline);
	(void)pthread_mutex_unlock(&node->lock);
}

static bool accept_link(void *arg, struct kvr_link *link, const struct kvr_link_user **user, void **user_arg)
{
	return kvr_peer_accept(arg, &kvr_tcp, link, user, user_arg);
}

static void failed(void *arg, int reason)
{
	(void)arg;
	ck_abort_msg("the port is lost: %d", reason);
}

static const struct kvr_port_user port_user = {.accept = accept_link, .failed = failed};

static void listen_here(kvshm_store *store, const struct kvshm_net_options *options)
{
	const struct kvr_transport *transport;
	struct kvr_link_options link;

	kvr_link_options_of(options, store, &link);
	ck_rc(kvr_url_read("tcp://127.0.0.1:0", &transport, &place), 0);
	ck_rc(kvr_node_open(&here, store, options), 0);
	ck_rc(kvr_tcp.listen(&here.loop, &place, &link, here.memory, &port_user, &here, &port), 0);
}

static void connect_there(kvshm_store *store, const struct kvshm_net_options *options)
{
	struct kvr_link_options link;

	kvr_link_options_of(options, store, &link);
	ck_rc(kvr_node_open(&there, store, options), 0);
	ck_rc(kvr_peer_connect(&there, &kvr_tcp, &place, &link, &peer), 0);
}

/* Both go on until the connecting side's connection is in that state. */
static void go_on_until(enum kvr_peer_state state)
{
	uint64_t deadline = unit_in_ms(10000);

	while (peer->state != state && kvs_now() < deadline) {
		work(&here, 0);
		work(&there, kvs_now() + 1000000);
	}
	ck_assert_int_eq(peer->state, state);
}

static void end(void)
{
	kvr_node_close(&there);
	kvr_tcp.close_port(port);
	kvr_node_close(&here);
}

/* Lines of the log, and the last of them. */
static unsigned lines;
static char last_line[512];

static void keep_line(enum kvshm_log_level level, const char *text, void *arg)
{
	(void)level;
	(void)arg;
	lines++;
	(void)snprintf(last_line, sizeof(last_line), "%s", text);
}

static void must_say(const char *words)
{
	ck_assert_msg(strstr(peer->text, words), "'%s' is not in '%s'", words, peer->text);
}

START_TEST(nodes_with_one_secret_know_each_others_stores)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_net_options options = options_of(SECRET);

	listen_here(store, &options);
	connect_there(other, &options);
	go_on_until(KVR_PEER_UP);
	ck_assert(peer->has_store && peer->geometry.blocks == BLOCKS);
	ck_assert_str_eq(peer->store, unit_name());
	end();
}
END_TEST

START_TEST(nodes_without_a_secret_know_each_other)
{
	struct kvshm_net_options options = options_of(NULL);

	listen_here(unit_store(BLOCKS), &options);
	connect_there(NULL, &options);
	go_on_until(KVR_PEER_UP);
	ck_assert(peer->has_store && here.peers && !here.peers->has_store);
	end();
}
END_TEST

static const struct {
	const char *here, *there, *words;
} secrets[] = {
	{SECRET, "another, as long as it", "another secret"},
	{SECRET, NULL, "has a secret, and this side has none"},
	{NULL, SECRET, "has no secret, and this side has one"},
};

START_TEST(other_secrets_are_refused_and_both_sides_say_why)
{
	struct kvshm_net_options options = options_of(secrets[_i].here);

	listen_here(unit_store(BLOCKS), &options);
	options = options_of(secrets[_i].there);
	connect_there(NULL, &options);
	go_on_until(KVR_PEER_DOWN);
	ck_assert_int_eq(peer->reason, -EACCES);
	must_say(secrets[_i].words);
	must_say("127.0.0.1:");
	while (here.peers)
		work(&here, unit_in_ms(10000));
	end();
}
END_TEST

/* ---- A side that says what it likes ---- */

static struct kvr_link *hand;
static char said[KVR_REASON];
static int32_t bye;
static bool up, down;

static void hand_up(void *arg)
{
	(void)arg;
	up = true;
}

static void hand_message(void *arg, const uint8_t *bytes, size_t size)
{
	struct kvr_message message;

	(void)arg;
	ck_rc(kvr_read(bytes, size, &message), 0);
	if (message.type != KVR_BYE)
		return;
	bye = message.bye.result;
	(void)snprintf(said, sizeof(said), "%.*s", (int)message.bye.text.length,
		       (const char *)message.bye.text.bytes);
}

static void hand_room(void *arg)
{
	(void)arg;
}

static void hand_sent(void *arg, uint64_t cookie)
{
	(void)arg;
	(void)cookie;
}

static void hand_withdrawn(void *arg, struct kvr_window *window)
{
	(void)arg;
	(void)window;
}

static void hand_down(void *arg, int reason)
{
	(void)arg;
	(void)reason;
	down = true;
}

static const struct kvr_link_user hand_user = {.up = hand_up,
					       .message = hand_message,
					       .room = hand_room,
					       .sent = hand_sent,
					       .withdrawn = hand_withdrawn,
					       .down = hand_down};

static void hand_connect(void)
{
	struct kvshm_net_options options = options_of(NULL);
	struct kvr_link_options link;

	kvr_link_options_of(&options, NULL, &link);
	up = down = false;
	bye = 0;
	said[0] = 0;
	ck_rc(kvr_node_open(&there, NULL, &options), 0);
	ck_rc(kvr_tcp.connect(&there.loop, &place, &link, there.memory, &hand_user, NULL, &hand), 0);
	while (!up) {
		work(&here, 0);
		work(&there, kvs_now() + 1000000);
	}
}

/* Sends it, and goes on until the other side has ended the connection. */
static void hand_say(struct kvr_out *out)
{
	uint64_t deadline = unit_in_ms(10000);

	if (out)
		ck_rc(kvr_tcp.send(hand, out->bytes, out->size, 0), 0);
	while (!down && kvs_now() < deadline) {
		work(&here, 0);
		work(&there, kvs_now() + 1000000);
	}
	ck_assert(down);
	ck_assert_ptr_null(here.peers);
	kvr_tcp.close(hand);
}

static struct kvr_text text(const char *bytes)
{
	return (struct kvr_text){.bytes = (const uint8_t *)bytes, .length = (uint32_t)strlen(bytes)};
}

static struct kvr_hello good_hello(const kvshm_store *store)
{
	const struct kvs_geometry *g = &store->map.g;

	return (struct kvr_hello){.version = KVR_VERSION,
				  .flags = KVR_HAS_STORE,
				  .incarnation = 1,
				  .block_size = g->block_size,
				  .blocks = g->blocks,
				  .planes = g->planes,
				  .key_max = g->key_max,
				  .timeout = 10000,
				  .pid = 1,
				  .label = text(""),
				  .store = text("other"),
				  .node = text("elsewhere")};
}

static void spoil(struct kvr_hello *hello, int how)
{
	switch (how) {
	case 0:
		hello->version++;
		break;
	case 1:
		hello->label = text("another model");
		break;
	case 2:
		hello->block_size *= 2;
		break;
	case 3:
		hello->planes++;
		break;
	case 4:
		hello->blocks = 0;
		break;
	case 5:
		hello->key_max = KVSHM_KEY_MAX + 1;
		break;
	default:
		hello->block_size++;
	}
}

static const struct {
	int reason;
	const char *words;
} spoiled[] = {
	{-EPROTO, "version 2"},	       {-EMEDIUMTYPE, "'another model'"}, {-EPROTO, "blocks of"}, {-EPROTO, "planes"},
	{-EPROTO, "no such store"}, {-EPROTO, "no such store"},	  {-EPROTO, "no such store"},
};

START_TEST(R29_a_hello_that_does_not_fit_is_refused_and_told_why)
{
	struct kvshm_net_options options = options_of(NULL);
	kvshm_store *store = unit_store(BLOCKS);
	struct kvr_hello hello = good_hello(store);
	struct kvr_out out;

	listen_here(store, &options);
	hand_connect();
	spoil(&hello, _i);
	kvr_write_hello(&out, &hello);
	hand_say(&out);
	ck_assert_int_eq(bye, spoiled[_i].reason);
	ck_assert_msg(strstr(said, spoiled[_i].words), "'%s' is not in '%s'", spoiled[_i].words, said);
	end();
}
END_TEST

START_TEST(nothing_is_looked_at_before_the_greeting)
{
	struct kvshm_net_options options = options_of(NULL);
	const struct kvr_open open = {.transfer = 1, .blocks = 1, .planes = 1, .id = text("early")};
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request;
	struct kvr_out out;

	listen_here(store, &options);
	hand_connect();
	kvr_write_open(&out, &open);
	hand_say(&out);
	ck_assert_int_eq(bye, -EPROTO);
	ck_rc(kvshm_request_find(store, "early", 5, &request), -ENOENT);
	end();
}
END_TEST

START_TEST(R17_a_side_that_says_nothing_is_given_up_in_time)
{
	struct kvshm_net_options options = options_of(NULL);
	uint64_t begin = kvs_now();

	options.timeout = UINT64_C(200000000);
	listen_here(unit_store(BLOCKS), &options);
	hand_connect();
	hand_say(NULL);
	ck_assert_int_eq(bye, -ETIMEDOUT);
	ck_assert_uint_ge(kvs_now() - begin, options.timeout);
	end();
}
END_TEST

START_TEST(sides_that_have_nothing_to_say_stay_connected)
{
	struct kvshm_net_options options = options_of(NULL);
	uint64_t until;

	options.timeout = UINT64_C(300000000);
	listen_here(unit_store(BLOCKS), &options);
	connect_there(NULL, &options);
	go_on_until(KVR_PEER_UP);
	until = kvs_now() + 3 * options.timeout;
	while (kvs_now() < until) {
		work(&here, 0);
		work(&there, kvs_now() + 10000000);
	}
	ck_assert_int_eq(peer->state, KVR_PEER_UP);
	ck_assert_uint_gt(peer->round_trip, 0);
	end();
}
END_TEST

/* How often a loop was to sleep: of the linker's. */
static unsigned sleeps;
int __real_kvr_loop_run(struct kvr_loop *loop, uint64_t deadline);
int __wrap_kvr_loop_run(struct kvr_loop *loop, uint64_t deadline);

int __wrap_kvr_loop_run(struct kvr_loop *loop, uint64_t deadline)
{
	if (deadline)
		sleeps++;
	return __real_kvr_loop_run(loop, deadline);
}

/* Who has connected to a side that says nothing has waited for long enough. */
START_TEST(D4_who_goes_before_the_greeting_waits_for_nobody)
{
	struct kvshm_net_options options = options_of(NULL);

	listen_here(unit_store(BLOCKS), &options);
	connect_there(NULL, &options);
	while (peer->state == KVR_PEER_CONNECTING)
		work(&there, unit_in_ms(10000));
	ck_assert_int_eq(peer->state, KVR_PEER_GREETING);
	end();
	ck_assert_uint_eq(sleeps, 0);
}
END_TEST

START_TEST(who_closes_in_order_is_heard_to)
{
	struct kvshm_net_options options = options_of(NULL);

	listen_here(unit_store(BLOCKS), &options);
	connect_there(NULL, &options);
	go_on_until(KVR_PEER_UP);
	kvshm_set_log(keep_line, NULL);
	kvr_tcp.close_port(port);
	kvr_node_close(&here);
	kvshm_set_log(NULL, NULL);
	ck_assert_msg(lines == 0, "logged: %s", last_line); /* it is no fault */
	while (peer->state != KVR_PEER_DOWN)
		work(&there, unit_in_ms(10000));
	must_say("ended over there");
	kvr_node_close(&there);
}
END_TEST

/* ---- Many that say nothing ---- */

static unsigned count_here(void)
{
	unsigned count = 0;

	for (const struct kvr_peer *at = here.peers; at; at = at->next)
		count++;
	return count;
}

static void work_until_here(unsigned count)
{
	uint64_t deadline = unit_in_ms(UNIT_SOON);

	while (count_here() != count) {
		ck_assert_uint_lt(kvs_now(), deadline);
		work(&here, kvs_now() + 1000000);
	}
}

/* A connection that is nothing but a socket, of another address than all others here. */
static int stranger(void)
{
	struct kvr_endpoint from = {.length = sizeof(from.four)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	from.four = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1)};
	ck_assert_int_eq(bind(fd, &from.any, from.length), 0);
	ck_assert_int_eq(connect(fd, &place.any, place.length), 0);
	return fd;
}

static void strangers_come_and_go(unsigned count)
{
	unsigned before = count_here();

	for (unsigned i = 0; i < count; i++) {
		int fd = stranger();

		work_until_here(before + 1);
		(void)close(fd);
		work_until_here(before);
	}
}

START_TEST(R23_who_has_proved_nothing_does_not_fill_the_log)
{
	struct kvshm_net_options options = options_of(SECRET);

	listen_here(unit_store(BLOCKS), &options);
	kvshm_set_log(keep_line, NULL);
	strangers_come_and_go(5);
	ck_assert_uint_eq(lines, 1);
	ck_assert_ptr_nonnull(strstr(last_line, "127.0.0.2:"));
	connect_there(NULL, &options);
	go_on_until(KVR_PEER_UP);
	while (here.peers->state != KVR_PEER_UP) /* it may be the later one */
		work(&here, unit_in_ms(UNIT_SOON));
	ck_assert_uint_eq(lines, 2);
	ck_assert_msg(strncmp(last_line, "4 more connections", 18) == 0, "'%s'", last_line);
	strangers_come_and_go(2);
	ck_assert_uint_eq(lines, 3);
	end();
	kvshm_set_log(NULL, NULL);
}
END_TEST

START_TEST(R23_who_connects_very_often_keeps_no_other_address_out)
{
	struct kvshm_net_options options = options_of(SECRET);
	int fds[KVR_STRANGERS_MAX + 8];

	listen_here(unit_store(BLOCKS), &options);
	connect_there(NULL, &options);
	work_until_here(1); /* it has not said who it is: its side has had no turn yet */
	for (unsigned i = 0; i < KVR_STRANGERS_MAX + 8; i++) {
		fds[i] = stranger();
		work_until_here(i + 2 < KVR_STRANGERS_MAX ? i + 2 : KVR_STRANGERS_MAX);
	}
	go_on_until(KVR_PEER_UP);
	for (unsigned i = 0; i < KVR_STRANGERS_MAX + 8; i++)
		(void)close(fds[i]);
	end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		nodes_with_one_secret_know_each_others_stores,
		nodes_without_a_secret_know_each_other,
		nothing_is_looked_at_before_the_greeting,
		R17_a_side_that_says_nothing_is_given_up_in_time,
		D4_who_goes_before_the_greeting_waits_for_nobody,
		sides_that_have_nothing_to_say_stay_connected,
		who_closes_in_order_is_heard_to,
		R23_who_has_proved_nothing_does_not_fill_the_log,
		R23_who_connects_very_often_keeps_no_other_address_out,
	};
	const struct unit_loop loops[] = {
		{other_secrets_are_refused_and_both_sides_say_why, sizeof(secrets) / sizeof(secrets[0])},
		{R29_a_hello_that_does_not_fit_is_refused_and_told_why, sizeof(spoiled) / sizeof(spoiled[0])},
		{NULL, 0},
	};

	return unit_run_loops("peer_greeting", tests, sizeof(tests) / sizeof(tests[0]), loops);
}
