/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * listener: the calls of who listens: what they refuse, and say of it; whom they let in; and that a child of fork() has
 * no part in it.
 */
#include "config.h"

#include "far.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "peers.h"
#include "url.h"

#define BLOCKS 8U

static const char *const loopback = "tcp://127.0.0.1:0";

START_TEST(without_a_secret_it_listens_where_no_other_machine_can_connect)
{
	static const char *const open_places[] = {"tcp://0.0.0.0:0", "tcp://[::]:0"};
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_net_options options;
	kvshm_listener *listener = NULL;

	kvshm_net_defaults(&options);
	for (int i = 0; i < 2; i++) {
		ck_rc(kvshm_listen(store, open_places[i], NULL, &listener), -EACCES);
		ck_assert_ptr_nonnull(strstr(kvshm_error(), "--key-file"));
		ck_rc(kvshm_listen(store, open_places[i], &options, &listener), -EACCES);
	}
	ck_assert_ptr_null(listener);
	options.secret = "sixteen bytes...";
	options.secret_length = 15;
	ck_rc(kvshm_listen(store, open_places[0], &options, &listener), -EINVAL);
	options.secret_length = 16;
	ck_rc(kvshm_listen(store, open_places[0], &options, &listener), 0);
	ck_rc(kvshm_listener_close(listener), 0);
	options.secret = NULL;
	options.open = 1;
	ck_rc(kvshm_listen(store, open_places[0], &options, &listener), 0);
	ck_rc(kvshm_listener_close(listener), 0);
	ck_rc(kvshm_listen(store, loopback, NULL, &listener), 0);
	ck_rc(kvshm_listener_close(listener), 0);
}
END_TEST

START_TEST(what_it_can_not_do_is_refused_and_leaves_nothing)
{
	kvshm_store *store = unit_store(BLOCKS);
	kvshm_listener *listener = NULL, *other;
	struct kvshm_net_options options;
	char url[80];
	int fd;

	kvshm_net_defaults(&options);
	ck_rc(kvshm_listen(NULL, loopback, NULL, &listener), -EINVAL);
	ck_rc(kvshm_listen(store, NULL, NULL, &listener), -EINVAL);
	ck_rc(kvshm_listen(store, loopback, NULL, NULL), -EINVAL);
	ck_rc(kvshm_listen(store, "tcp://", NULL, &listener), -EINVAL);
	options.timeout = 1;
	ck_rc(kvshm_listen(store, loopback, &options, &listener), -EINVAL);
	ck_rc(kvshm_listener_close(NULL), -EINVAL);
	ck_rc(kvshm_listener_work(NULL, 0), -EINVAL);
	ck_rc(kvshm_listener_fd(NULL, &fd), -EINVAL);
	ck_rc(kvshm_listener_url(NULL, url, sizeof(url)), -EINVAL);
	ck_rc(kvshm_listen(store, loopback, NULL, &listener), 0);
	ck_rc(kvshm_listener_fd(listener, NULL), -EINVAL);
	ck_rc(kvshm_listener_url(listener, NULL, sizeof(url)), -EINVAL);
	ck_rc(kvshm_listener_url(listener, url, 20), -EINVAL);
	ck_rc(kvshm_listener_url(listener, url, sizeof(url)), 0);
	ck_rc(kvshm_listen(store, url, NULL, &other), -EADDRINUSE);
	while (kvshm_listener_work(listener, 0) == 0)
		;
	ck_rc(kvshm_listener_work(listener, 0), -ETIMEDOUT);
	ck_rc(kvshm_listener_close(listener), 0);
	ck_rc(kvshm_listen(store, url, NULL, &listener), 0); /* its port is free again */
	ck_rc(kvshm_listener_close(listener), 0);
}
END_TEST

START_TEST(its_descriptor_is_readable_when_there_is_something_to_do)
{
	kvshm_store *store = far_store(BLOCKS);
	const uint64_t one = 1;
	struct far *far = far_connect();
	int fd;

	ck_rc(kvshm_listener_fd(far_listener, &fd), 0);
	far_begin(far, 1, &one, 1, 100);
	far_commit(far, 1, 0, 1, KVR_WHOLE);
	/* Nobody but who is told by the descriptor works from here on. */
	while (far->first == NULL) {
		struct pollfd ready = {.fd = fd, .events = POLLIN};

		(void)kvr_loop_run(&far->loop, 0);
		if (far->first)
			break;
		ck_assert_int_ge(poll(&ready, 1, 10), 0);
		if (ready.revents)
			(void)kvshm_listener_work(far_listener, 0);
	}
	far_ended(far, KVR_DONE, 1, 0);
	far_claim(store, 1, 0, 0);
	far_end(store);
}
END_TEST

START_TEST(a_child_of_fork_has_no_part_in_it)
{
	const uint64_t one = 1;
	kvshm_store *store;
	struct far *far;
	int status, fd;
	pid_t child;
	char url[80];

	if (!unit_fork_wipes("a_child_of_fork_has_no_part_in_it"))
		return;
	store = far_store(BLOCKS);
	far = far_connect();
	far_begin(far, 1, &one, 1, 100);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		bool good = kvshm_listener_work(far_listener, 0) == -ECHILD &&
			    kvshm_listener_fd(far_listener, &fd) == -ECHILD &&
			    kvshm_listener_url(far_listener, url, sizeof(url)) == -ECHILD &&
			    kvshm_listener_close(far_listener) == -ECHILD;

		_exit(good ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	far_finish(far, 1, 1, 100);
	far_claim(store, 1, 100, 1);
	far_end(store);
}
END_TEST

static int count_shown(const struct kvshm_peer_view *peer, void *arg)
{
	(void)peer;
	++*(unsigned *)arg;
	return 0;
}

static unsigned shown(void)
{
	unsigned count = 0;
	kvshm_view *view;

	ck_rc(kvshm_view_open(unit_name(), NULL, &view), 0);
	ck_rc(kvshm_view_peers(view, count_shown, &count), 0);
	kvshm_view_close(view);
	return count;
}

START_TEST(a_connection_for_which_the_table_has_no_place_goes_on_uncounted)
{
	const struct kvs_peer_about about = {.transport = "tcp", .device = "", .local = "", .remote = "", .node = "",
					     .store = ""};
	kvshm_store *store = far_store(BLOCKS);
	const uint64_t one = 1, two = 2;
	struct far *far;
	uint32_t peer;

	for (uint32_t i = 0; i < KVS_PEERS; i++)
		ck_rc(kvs_peer_take(&store->map, store->slot, &about, &peer), 0);
	far = far_connect();
	far_begin(far, 1, &one, 2, 100);
	far_finish(far, 1, 2, 100);
	far_claim(store, 1, 100, 2);
	far_cut(far);
	ck_assert_uint_eq(shown(), KVS_PEERS); /* it took nobody's place, and gave none back */
	kvs_peer_give_back(&store->map, 77);
	far = far_connect();
	far_idle(far);
	ck_assert_uint_eq(shown(), KVS_PEERS);
	ck_rc(kvs_peer_take(&store->map, store->slot, &about, &peer), -ENFILE);
	far_begin(far, 1, &two, 1, 200);
	far_finish(far, 1, 1, 200);
	ck_assert_uint_eq(atomic_load(&store->map.peers[77].counters[KVS_PEER_commits]), 1);
	far_claim(store, 2, 200, 1);
	far_end(store);
}
END_TEST

/* ---- Who does not say who he is ---------------------------------------------------------------------------------- */

/* A connection that says nothing; the listener has taken it. */
static int connect_silently(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct kvr_peer *before = far_node()->peers;
	const struct kvr_transport *transport;
	struct kvr_endpoint at;
	char url[80];

	ck_assert_int_ge(fd, 0);
	ck_rc(kvshm_listener_url(far_listener, url, sizeof(url)), 0);
	ck_rc(kvr_url_read(url, &transport, &at), 0);
	ck_assert_int_eq(connect(fd, &at.any, at.length), 0);
	far_until(far_node()->peers != before);
	return fd;
}

static bool is_closed(int fd)
{
	struct pollfd end = {.fd = fd, .events = POLLRDHUP};

	return poll(&end, 1, 0) == 1;
}

START_TEST(F2_so_many_may_be_connected_and_say_nothing)
{
	kvshm_store *store = far_store(BLOCKS);
	struct far *far = far_connect();
	int fds[KVR_STRANGERS_MAX + 1];

	for (unsigned i = 0; i < KVR_STRANGERS_MAX; i++)
		fds[i] = connect_silently();
	far_idle(far);
	ck_assert(!is_closed(fds[0]));
	fds[KVR_STRANGERS_MAX] = connect_silently();
	far_until(is_closed(fds[0]));
	(void)far_connect(); /* who does gets in */
	far_until(is_closed(fds[1]));
	far_silent(far);
	for (unsigned i = 0; i <= KVR_STRANGERS_MAX; i++) {
		ck_assert_int_eq(is_closed(fds[i]), i < 2);
		(void)close(fds[i]);
	}
	far_end(store);
}
END_TEST

START_TEST(F2_who_is_connected_has_so_much_time_to_say_who_he_is)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_net_options options;
	struct far *far;
	int fd;

	kvshm_net_defaults(&options);
	options.timeout = UINT64_C(60000000000);
	far_listen(store, &options);
	far = far_connect();
	fd = connect_silently();
	far_later(9000);
	far_idle(far);
	ck_assert(!is_closed(fd));
	far_later(2000);
	far_until(is_closed(fd) || far_node()->peers->reason);
	ck_assert_ptr_nonnull(strstr(far_node()->peers->text, "proved"));
	far_silent(far);
	(void)close(fd);
	far_end(store);
}
END_TEST

static void live_on(void *arg)
{
	(void)arg;
	unit_wait_for_death();
}

/* Else the other side would hear of no end, and nobody else could listen there, for as long as the child lives. */
START_TEST(a_child_of_fork_keeps_no_connection_and_no_port)
{
	kvshm_store *store = far_store(BLOCKS);
	struct far *far = far_connect(), *other = far_connect();
	struct child child;
	char url[80];

	unit_child(&child, live_on, NULL);
	unit_await(&child);
	far_cut(far);
	ck_rc(kvshm_listener_url(far_listener, url, sizeof(url)), 0);
	ck_rc(kvshm_listener_close(far_listener), 0);
	ck_rc(kvshm_listen(store, url, NULL, &far_listener), 0);
	far_lost(other, -ESHUTDOWN);
	unit_kill(&child);
	far_end(store);
}
END_TEST

START_TEST(a_store_can_have_several_listeners)
{
	kvshm_store *store = far_store(BLOCKS);
	kvshm_listener *other;

	ck_rc(kvshm_listen(store, loopback, NULL, &other), 0);
	ck_rc(kvshm_listener_close(other), 0);
	far_end(store);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		without_a_secret_it_listens_where_no_other_machine_can_connect,
		what_it_can_not_do_is_refused_and_leaves_nothing,
		its_descriptor_is_readable_when_there_is_something_to_do,
		a_child_of_fork_has_no_part_in_it,
		a_connection_for_which_the_table_has_no_place_goes_on_uncounted,
		F2_so_many_may_be_connected_and_say_nothing,
		F2_who_is_connected_has_so_much_time_to_say_who_he_is,
		a_child_of_fork_keeps_no_connection_and_no_port,
		a_store_can_have_several_listeners,
	};

	return unit_run("listener", tests, sizeof(tests) / sizeof(tests[0]));
}
