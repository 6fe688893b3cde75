/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * poll: the descriptor for event loops. Whatever may change what a call returns makes it readable at once; and so does,
 * a slice later, each call that said "not yet", since the dead tell nobody. The linker puts this file's functions in
 * front of the two that it is made of: without a timer, what is readable was told; without an inotify instance it was
 * not.
 */
#include "config.h"

#include "request_scene.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define BLOCKS 8U

int __real_timerfd_settime(int fd, int flags, const struct itimerspec *time, struct itimerspec *old);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *time, struct itimerspec *old);
int __real_inotify_init1(int flags);
int __wrap_inotify_init1(int flags);

static bool no_timer, no_inotify, forks;
static void fork_while_it_is_made(void);

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *time, struct itimerspec *old)
{
	return no_timer ? 0 : __real_timerfd_settime(fd, flags, time, old);
}

int __wrap_inotify_init1(int flags)
{
	if (forks)
		fork_while_it_is_made();
	if (!no_inotify)
		return __real_inotify_init1(flags);
	errno = EMFILE;
	return -1;
}

static bool readable(int fd, int timeout)
{
	struct pollfd one = {.fd = fd, .events = POLLIN};

	return poll(&one, 1, timeout) == 1 && one.revents == POLLIN;
}

static void silent(int fd)
{
	ck_assert_msg(!readable(fd, 0), "readable, and there is nothing");
}

/* It is told, by the time that no test takes. */
static void told(int fd)
{
	ck_assert_msg(readable(fd, 30000), "nobody told it");
}

static int descriptor(kvshm_store *store)
{
	int fd = -1;

	ck_rc(kvshm_poll_fd(store, &fd), 0);
	ck_assert_int_ge(fd, 0);
	return fd;
}

static void clear(kvshm_store *store, int fd)
{
	ck_rc(kvshm_poll_clear(store), 0);
	silent(fd);
}

/* A client that listens, without a timer; another; and what they share. */
struct loop {
	kvshm_store *store, *other;
	int fd;
	struct kvshm_request request; /* the first one's, of id 1 and one block */
};

static struct loop make_loop(void)
{
	struct loop loop;

	no_timer = true;
	loop.store = scene_store(BLOCKS, KVSHM_DROP, 8);
	loop.other = unit_attach();
	loop.request = scene_open(loop.store, 1, 1);
	loop.fd = descriptor(loop.store);
	clear(loop.store, loop.fd);
	return loop;
}

START_TEST(it_is_readable_when_a_block_is_published)
{
	struct loop loop = make_loop();
	struct kvshm_handle fill = unit_begin(loop.other, 1), ref = unit_pending(loop.store, 1);

	ck_rc(kvshm_wait(loop.store, &ref, 0), -ETIMEDOUT);
	clear(loop.store, loop.fd);
	ck_rc(kvshm_publish(loop.other, &fill, NULL), 0);
	told(loop.fd);
	clear(loop.store, loop.fd);
	ck_rc(kvshm_wait(loop.store, &ref, 0), 0);
	ck_rc(kvshm_release(loop.store, &ref), 0);
}
END_TEST

START_TEST(it_is_readable_when_a_fill_is_given_up_or_its_key_removed)
{
	struct loop loop = make_loop();

	for (int i = 0; i < 2; i++) {
		struct kvshm_handle fill = unit_begin(loop.other, 1);

		(void)scene_pending(loop.store, &loop.request, 1);
		ck_rc(kvshm_request_complete(loop.store, &loop.request, 0), -ETIMEDOUT);
		clear(loop.store, loop.fd);
		if (i == 1)
			ck_rc(unit_remove(loop.other, 1), 0);
		else
			ck_rc(kvshm_give_up(loop.other, &fill), 0);
		told(loop.fd);
		ck_rc(kvshm_request_complete(loop.store, &loop.request, 0), -EAGAIN);
		if (i == 1)
			ck_rc(kvshm_give_up(loop.other, &fill), 0);
		ck_rc(kvshm_poll_clear(loop.store), 0);
	}
}
END_TEST

START_TEST(it_is_readable_when_a_fill_of_its_own_client_ends)
{
	struct loop loop = make_loop();
	struct kvshm_handle fill = unit_begin(loop.store, 1); /* by another thread, say */

	(void)scene_pending(loop.store, &loop.request, 1);
	ck_rc(kvshm_request_complete(loop.store, &loop.request, 0), -ETIMEDOUT);
	ck_rc(kvshm_publish(loop.store, &fill, NULL), 0);
	told(loop.fd);
	ck_rc(kvshm_request_complete(loop.store, &loop.request, 0), 0);
}
END_TEST

START_TEST(it_is_readable_when_room_may_have_come)
{
	struct loop loop = make_loop();
	struct kvshm_handle held = unit_fill(loop.other, 1, 0);
	struct kvshm_request has = scene_open(loop.other, 2, 0);

	ck_rc(kvshm_request_reserve(loop.other, &has, 2, 0), 0);
	ck_rc(kvshm_request_queue(loop.store, &loop.request, BLOCKS, UINT64_MAX), -EINPROGRESS);
	clear(loop.store, loop.fd);
	ck_rc(kvshm_request_unreserve(loop.other, &has), 0);
	told(loop.fd);
	ck_rc(kvshm_poll_clear(loop.store), 0);
	ck_rc(kvshm_request_wait_room(loop.store, &loop.request, 0), -EINPROGRESS);
	clear(loop.store, loop.fd);
	ck_rc(kvshm_release(loop.other, &held), 0);
	told(loop.fd);
	ck_rc(kvshm_request_wait_room(loop.store, &loop.request, 0), 0);
}
END_TEST

START_TEST(it_is_readable_when_its_place_is_the_first_of_the_line)
{
	struct loop loop = make_loop();
	struct kvshm_handle held = unit_fill(loop.other, 1, 0);
	struct kvshm_request first = scene_open(loop.other, 2, 0);

	ck_rc(kvshm_request_queue(loop.other, &first, BLOCKS, UINT64_MAX), -EINPROGRESS);
	ck_rc(kvshm_request_queue(loop.store, &loop.request, 1, UINT64_MAX), -EINPROGRESS);
	clear(loop.store, loop.fd);
	scene_end(loop.other, &first);
	told(loop.fd);
	ck_rc(kvshm_request_wait_room(loop.store, &loop.request, 0), 0);
	ck_rc(kvshm_release(loop.other, &held), 0);
}
END_TEST

START_TEST(R16_it_is_readable_when_a_request_is_complete_also_one_of_zero_blocks)
{
	struct loop loop = make_loop();
	struct kvshm_request request = scene_open(loop.other, 2, 0);

	clear(loop.store, loop.fd); /* the opening was told, too */
	ck_rc(kvshm_request_wait(loop.store, &request, 0), -ETIMEDOUT);
	silent(loop.fd);
	ck_rc(kvshm_request_complete(loop.other, &request, 0), 0);
	told(loop.fd);
	clear(loop.store, loop.fd);
	ck_rc(kvshm_request_wait(loop.store, &request, 0), 0);
	scene_end(loop.other, &request);
	told(loop.fd);
	ck_rc(kvshm_request_wait(loop.store, &request, 0), -ECANCELED);
}
END_TEST

static void end_id_1(void *arg)
{
	kvshm_store *store = unit_attach();
	struct kvshm_request request = scene_find(store, 1);

	(void)arg;
	ck_rc(kvshm_request_end(store, &request), 0);
	ck_rc(kvshm_detach(store), 0);
}

START_TEST(R10_it_is_readable_when_another_process_asks_for_an_end)
{
	struct loop loop = make_loop();
	struct child child;
	unsigned ended = 0;

	(void)scene_fill(loop.store, &loop.request, 1);
	clear(loop.store, loop.fd);
	unit_child(&child, end_id_1, NULL);
	told(loop.fd);
	unit_join(&child);
	ck_rc(kvshm_poll_clear(loop.store), 0);
	ck_rc(kvshm_request_tend(loop.store, 0, &ended), 0);
	ck_assert_uint_eq(ended, 1);
	scene_nothing_left(loop.store);
}
END_TEST

START_TEST(it_is_told_again_by_who_asks_behind_one_that_died_before_it_told)
{
	struct loop loop = make_loop();
	_Atomic uint64_t *word = &loop.store->map.requests[loop.request.slot].word;

	atomic_store(word, kvs_request_next(atomic_load(word), KVS_REQUEST_ENDING)); /* and no more */
	silent(loop.fd);
	ck_rc(kvshm_request_end(loop.other, &loop.request), -EALREADY);
	told(loop.fd);
}
END_TEST

/* ---- The timer --------------------------------------------------------------------------------------------- */

/* Readable though nothing has happened: a slice after a call said "not yet". */
static void looks_again(kvshm_store *store, int fd)
{
	told(fd);
	clear(store, fd);
}

START_TEST(it_is_readable_a_slice_after_each_call_that_said_not_yet)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 1), line = scene_open(store, 2, 0);
	int fd = descriptor(store), result;
	struct kvshm_handle ref;
	uint32_t pending;

	looks_again(store, fd); /* what was waited for before it was made */
	(void)unit_begin(other, 1);
	ref = unit_pending(store, 1);
	(void)scene_pending(store, &request, 1);
	clear(store, fd);
	ck_rc(kvshm_wait(store, &ref, 0), -ETIMEDOUT);
	looks_again(store, fd);
	ck_rc(kvshm_wait_batch(store, &ref, 1, 0, &result), 0);
	ck_rc(result, -ETIMEDOUT);
	looks_again(store, fd);
	ck_rc(kvshm_request_complete(store, &request, 0), -ETIMEDOUT);
	looks_again(store, fd);
	ck_rc(kvshm_request_settle(store, &request, &pending), 0);
	looks_again(store, fd);
	ck_rc(kvshm_request_wait(store, &request, 0), -ETIMEDOUT);
	looks_again(store, fd);
	ck_rc(kvshm_request_queue(store, &line, BLOCKS, UINT64_MAX), -EINPROGRESS);
	looks_again(store, fd);
	ck_rc(kvshm_request_wait_room(store, &line, 0), -EINPROGRESS);
	looks_again(store, fd);
	scene_end(store, &line);
}
END_TEST

/* A thread that looks all the time, and never clears, keeps nothing from another one that sleeps on it. */
START_TEST(calls_that_say_not_yet_put_off_nothing_that_another_was_told)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	uint64_t soon = unit_in_ms(UNIT_SOON);
	int fd = descriptor(store);
	struct kvshm_handle ref;

	(void)unit_begin(other, 1);
	ref = unit_pending(store, 1);
	told(fd);
	ck_rc(kvshm_wait(store, &ref, 0), -ETIMEDOUT);
	ck_assert_msg(readable(fd, 0), "what was told has been taken back");
	clear(store, fd);
	do {
		ck_rc(kvshm_wait(store, &ref, 0), -ETIMEDOUT);
		ck_assert_msg(kvs_now() < soon, "put off for ever");
	} while (!readable(fd, 0));
}
END_TEST

static void fill_and_wait_for_death(void *arg)
{
	kvshm_store *store = unit_attach();

	(void)arg;
	(void)unit_begin(store, 1);
	unit_wait_for_death();
}

/* The loop of an engine that never blocks in a call. */
static int loop_until_told(kvshm_store *store, int fd, const struct kvshm_request *request)
{
	int rc;

	do {
		told(fd);
		ck_rc(kvshm_poll_clear(store), 0);
		rc = kvshm_request_complete(store, request, 0);
	} while (rc == -ETIMEDOUT);
	return rc;
}

static void sees_the_death_of_a_filler(void)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = scene_open(store, 1, 1);
	int fd = descriptor(store);
	struct child child;

	unit_child(&child, fill_and_wait_for_death, NULL);
	unit_await(&child);
	(void)scene_pending(store, &request, 1);
	ck_rc(kvshm_request_complete(store, &request, 0), -ETIMEDOUT);
	unit_kill(&child);
	ck_rc(loop_until_told(store, fd, &request), -EAGAIN);
	ck_rc(kvshm_recover(store, NULL), 0);
}

START_TEST(D3_a_loop_that_never_blocks_sees_that_a_filler_is_dead)
{
	sees_the_death_of_a_filler();
}
END_TEST

START_TEST(D3_without_an_inotify_instance_too)
{
	no_inotify = true;
	sees_the_death_of_a_filler();
}
END_TEST

START_TEST(without_an_inotify_instance_it_is_readable_every_slice)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);
	unsigned ended = 0;
	int fd;

	no_inotify = true;
	fd = descriptor(store);
	ck_assert_uint_eq(atomic_load(&store->map.head->listening), 0); /* nobody is to tell it */
	for (int i = 0; i < 3; i++) {
		told(fd);
		ck_rc(kvshm_poll_clear(store), 0);
	}
	ck_rc(kvshm_request_end(other, &request), 0); /* an owner that has asked for nothing sees it */
	told(fd);
	ck_rc(kvshm_request_tend(store, 0, &ended), 0);
	ck_assert_uint_eq(ended, 1);
}
END_TEST

/* ---- The descriptor ---------------------------------------------------------------------------------------- */

START_TEST(there_is_one_for_each_client_and_it_is_closed_by_detach)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	int fd = descriptor(store), theirs = descriptor(other);
	struct kvs_map *map = &store->map;

	ck_assert_int_eq(descriptor(store), fd);
	ck_assert_int_ne(theirs, fd);
	ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	ck_assert_uint_eq(atomic_load(&map->head->listening), 1);
	unit_detach(other);
	ck_assert_int_eq(fcntl(theirs, F_GETFD), -1);
	ck_assert_uint_eq(atomic_load(&map->head->listening), 1);
	other = unit_attach();
	unit_detach(store);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
	ck_assert_uint_eq(atomic_load(&other->map.head->listening), 0);
}
END_TEST

static unsigned open_files(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void make_one(void *arg)
{
	(void)arg;
	forks = false;
	(void)descriptor(unit_attach());
}

static void fork_while_it_is_made(void)
{
	struct child child;

	unit_child(&child, make_one, NULL);
	unit_join(&child);
}

START_TEST(a_child_that_is_forked_while_one_is_made_makes_one_for_itself)
{
	kvshm_store *store = unit_store(BLOCKS);

	forks = true;
	(void)descriptor(store);
}
END_TEST

static void has_none_of_them(void *arg)
{
	const int *fds = arg;

	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(fcntl(fds[i], F_GETFD), -1);
}

static void has_the_first(void *arg)
{
	const int *fds = arg;

	ck_assert_int_ne(fcntl(fds[0], F_GETFD), -1);
}

START_TEST(a_child_of_fork_keeps_nothing_of_it)
{
	kvshm_store *store = unit_store(BLOCKS);
	int fds[] = {descriptor(store), store->poll.timer, store->poll.watch};
	struct child child;

	unit_child(&child, has_none_of_them, fds);
	unit_join(&child);
	unit_detach(store);
	ck_assert_int_eq(dup2(STDERR_FILENO, fds[0]), fds[0]); /* the program's, from here on */
	(void)unit_attach();
	unit_child(&child, has_the_first, fds);
	unit_join(&child);
}
END_TEST

START_TEST(what_it_is_made_of_goes_with_it)
{
	kvshm_store *store = unit_store(BLOCKS), *other;
	unsigned before = open_files();

	for (int i = 0; i < 3; i++) {
		other = unit_attach();
		no_inotify = i == 1;
		(void)descriptor(other);
		unit_detach(other);
		ck_assert_uint_eq(open_files(), before);
	}
	ck_rc(kvshm_recover(store, NULL), 0);
}
END_TEST

static void listen_and_wait_for_death(void *arg)
{
	kvshm_store *store = unit_attach();

	(void)arg;
	(void)descriptor(store);
	unit_wait_for_death();
}

START_TEST(a_dead_listener_is_told_no_more)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct child child;

	unit_child(&child, listen_and_wait_for_death, NULL);
	unit_await(&child);
	ck_assert_uint_eq(atomic_load(&store->map.head->listening), 1);
	unit_kill(&child);
	ck_rc(kvshm_recover(store, NULL), 0);
	ck_assert_uint_eq(atomic_load(&store->map.head->listening), 0);
}
END_TEST

/* Another comes and goes, again and again; until then, looks whether there was a moment in which nobody is told. */
static _Atomic bool coming_and_going;

static void *come_and_go(void *arg)
{
	kvshm_store *store = arg;

	for (int i = 0; i < 2000000; i++) {
		kvs_wait_listen(&store->map, store->slot);
		kvs_wait_deafen(&store->map, store->slot);
	}
	atomic_store(&coming_and_going, false);
	return NULL;
}

START_TEST(while_one_listens_others_that_come_and_go_never_keep_it_from_being_told)
{
	struct loop loop = make_loop();
	pthread_t thread;

	atomic_store(&coming_and_going, true);
	ck_assert_int_eq(pthread_create(&thread, NULL, come_and_go, loop.other), 0);
	while (atomic_load(&coming_and_going))
		ck_assert_uint_eq(atomic_load(&loop.store->map.head->listening), 1);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

START_TEST(who_clears_sets_right_what_a_dead_recoverer_left)
{
	struct loop loop = make_loop();

	atomic_store(&loop.store->map.head->listening, 0);
	ck_rc(kvshm_poll_clear(loop.store), 0);
	ck_rc(kvshm_request_end(loop.other, &loop.request), 0);
	told(loop.fd);
}
END_TEST

START_TEST(without_it_there_is_nothing_to_clear_and_a_place_is_needed)
{
	kvshm_store *store = unit_store(BLOCKS);

	ck_rc(kvshm_poll_clear(store), -EINVAL);
	ck_rc(kvshm_poll_fd(store, NULL), -EINVAL);
	ck_rc(kvshm_poll_clear(store), -EINVAL);
}
END_TEST

/* From which on all are free, and below it none is. */
static int lowest_free(void)
{
	int fd;

	do {
		fd = fcntl(0, F_DUPFD, 0);
		ck_assert_int_ge(fd, 0);
	} while (open_files() != (unsigned)fd + 1);
	(void)close(fd);
	return fd;
}

static void allow_files(int below)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = (rlim_t)below;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

START_TEST(with_no_descriptor_left_there_is_EMFILE_and_nothing_stays_open)
{
	kvshm_store *store = unit_store(BLOCKS);
	int fd = 77, lowest = lowest_free();
	unsigned before = open_files();

	for (int more = 0; more < 2; more++) {
		allow_files(lowest + more);
		ck_rc(kvshm_poll_fd(store, &fd), -EMFILE);
		ck_assert_int_eq(fd, 77);
		ck_assert_uint_eq(open_files(), before);
	}
	allow_files(lowest + 2); /* an inotify instance is one too many: the timer does */
	told(descriptor(store));
	allow_files(lowest + 64);
}
END_TEST

#define THREADS 4U

struct getter {
	kvshm_store *store;
	pthread_barrier_t *barrier;
	int fd;
};

static void *get_descriptor(void *arg)
{
	struct getter *getter = arg;

	(void)pthread_barrier_wait(getter->barrier);
	getter->fd = descriptor(getter->store);
	for (int i = 0; i < 100; i++)
		ck_rc(kvshm_poll_clear(getter->store), 0);
	return NULL;
}

START_TEST(threads_get_the_same_and_clear_it_together)
{
	pthread_barrier_t *barrier = unit_shared_barrier(THREADS);
	struct getter getters[THREADS];
	pthread_t threads[THREADS];
	kvshm_store *store = unit_store(BLOCKS);
	unsigned before = open_files();

	for (unsigned i = 0; i < THREADS; i++) {
		getters[i] = (struct getter){.store = store, .barrier = barrier};
		ck_assert_int_eq(pthread_create(&threads[i], NULL, get_descriptor, &getters[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	for (unsigned i = 1; i < THREADS; i++)
		ck_assert_int_eq(getters[i].fd, getters[0].fd);
	ck_assert_uint_eq(open_files(), before + 3);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		it_is_readable_when_a_block_is_published,
		it_is_readable_when_a_fill_is_given_up_or_its_key_removed,
		it_is_readable_when_a_fill_of_its_own_client_ends,
		it_is_readable_when_room_may_have_come,
		it_is_readable_when_its_place_is_the_first_of_the_line,
		R16_it_is_readable_when_a_request_is_complete_also_one_of_zero_blocks,
		R10_it_is_readable_when_another_process_asks_for_an_end,
		it_is_told_again_by_who_asks_behind_one_that_died_before_it_told,
		it_is_readable_a_slice_after_each_call_that_said_not_yet,
		calls_that_say_not_yet_put_off_nothing_that_another_was_told,
		D3_a_loop_that_never_blocks_sees_that_a_filler_is_dead,
		D3_without_an_inotify_instance_too,
		without_an_inotify_instance_it_is_readable_every_slice,
		there_is_one_for_each_client_and_it_is_closed_by_detach,
		a_child_that_is_forked_while_one_is_made_makes_one_for_itself,
		a_child_of_fork_keeps_nothing_of_it,
		what_it_is_made_of_goes_with_it,
		a_dead_listener_is_told_no_more,
		while_one_listens_others_that_come_and_go_never_keep_it_from_being_told,
		who_clears_sets_right_what_a_dead_recoverer_left,
		without_it_there_is_nothing_to_clear_and_a_place_is_needed,
		with_no_descriptor_left_there_is_EMFILE_and_nothing_stays_open,
		threads_get_the_same_and_clear_it_together,
	};

	return unit_run("poll", tests, sizeof(tests) / sizeof(tests[0]));
}
