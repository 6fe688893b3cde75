/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * share: clients get the planes' descriptors from the owner, whatever becomes of it, of them, and of the names.
 */
#include "config.h"

#include "share_scene.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kept.h"
#include "segment.h"
#include "segment_parts.h"

#define MANY 24

static int fetch(const struct scene *client, int fds[KVS_PLANES_MAX], uint64_t time)
{
	return kvg_share_fetch_for(kvs_files_dir(client->dir), unit_name(), &client->map, fds, time);
}

static const char *path_of(enum kvs_socket which)
{
	static char path[KVS_PATH_SIZE];

	ck_rc(kvs_files_socket(path, "/dev/shm", unit_name(), which), 0);
	return path;
}

/* The dead store goes. */
static void take_away(void)
{
	ck_rc(kvs_segment_unlink(unit_name(), NULL), 0);
}

START_TEST(a_client_gets_the_planes_of_another_process)
{
	int fds[KVS_PLANES_MAX];
	struct scene client;
	struct child owner;

	scene_owner(&owner, NULL);
	scene_attach(&client, NULL);
	ck_rc(kvg_share_fetch("/dev/shm", unit_name(), &client.map, fds), 0);
	for (int i = 0; i < SCENE_PLANES; i++)
		ck_assert_int_eq(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
	unit_kill(&owner);
	scene_check(fds); /* they keep what they are of */
	scene_detach(&client);
	take_away();
}
END_TEST

START_TEST(a_client_in_the_owners_own_process_waits_for_nobody)
{
	struct scene owner, client;
	int fds[KVS_PLANES_MAX];
	unsigned count;

	scene_make(&owner, NULL);
	scene_share(&owner);
	scene_attach(&client, NULL);
	count = scene_count_fds();
	ck_rc(fetch(&client, fds, 0), 0);
	scene_check(fds);
	for (unsigned more = 0; more < SCENE_PLANES; more++) {
		scene_limit_fds(more);
		ck_rc(fetch(&client, fds, 0), -EMFILE);
		scene_unlimit_fds();
		ck_assert_uint_eq(scene_count_fds(), count);
	}
	scene_detach(&client);
	scene_destroy(&owner);
}
END_TEST

static pthread_barrier_t *barrier;

static void fetch_some(void *arg)
{
	struct scene client;
	int fds[KVS_PLANES_MAX];

	scene_attach(&client, arg);
	(void)pthread_barrier_wait(barrier);
	for (int i = 0; i < 8; i++) {
		ck_rc(fetch(&client, fds, SCENE_HOUR), 0);
		scene_check(fds);
	}
	scene_detach(&client);
}

START_TEST(many_get_them_at_once)
{
	struct child owner, children[MANY];

	barrier = unit_shared_barrier(MANY);
	scene_owner(&owner, NULL);
	for (int i = 0; i < MANY; i++)
		unit_child(&children[i], fetch_some, NULL);
	for (int i = 0; i < MANY; i++)
		unit_join(&children[i]);
	unit_kill(&owner);
	take_away();
}
END_TEST

START_TEST(an_owner_that_stands_still_is_ETIMEDOUT)
{
	int fds[KVS_PLANES_MAX];
	struct scene client;
	struct child owner;
	char pid[32];

	scene_owner(&owner, NULL);
	scene_attach(&client, NULL);
	unit_stop(&owner);
	ck_rc(fetch(&client, fds, SCENE_SHORT), -ETIMEDOUT);
	(void)snprintf(pid, sizeof(pid), "process %d", (int)owner.pid);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), pid));
	ck_assert_int_eq(kill(owner.pid, SIGCONT), 0);
	ck_rc(fetch(&client, fds, SCENE_HOUR), 0);
	scene_check(fds);
	unit_kill(&owner);
	scene_detach(&client);
	take_away();
}
END_TEST

/* Whether or not its name is still there. */
START_TEST(a_dead_owner_is_EOWNERDEAD_at_once)
{
	int fds[KVS_PLANES_MAX];
	struct scene client;
	struct child owner;
	unsigned count;

	scene_owner(&owner, NULL);
	scene_attach(&client, NULL);
	unit_kill(&owner);
	count = scene_count_fds();
	ck_assert(scene_socket_is_there(NULL, KVS_SOCKET_GIVES));
	ck_rc(fetch(&client, fds, SCENE_HOUR), -EOWNERDEAD);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "--adopt"));
	ck_assert_int_eq(unlink(path_of(KVS_SOCKET_GIVES)), 0);
	ck_rc(fetch(&client, fds, SCENE_HOUR), -EOWNERDEAD);
	ck_assert_uint_eq(scene_count_fds(), count);
	scene_detach(&client);
	take_away();
}
END_TEST

static void find_the_owner_dead(void *arg)
{
	struct scene client;
	int fds[KVS_PLANES_MAX];

	scene_attach(&client, arg);
	unit_tell_parent();
	ck_rc(fetch(&client, fds, SCENE_HOUR), -EOWNERDEAD);
	scene_detach(&client);
}

START_TEST(who_waits_for_an_owner_hears_of_its_death)
{
	struct child owner, client;

	scene_owner(&owner, NULL);
	unit_stop(&owner);
	unit_child(&client, find_the_owner_dead, NULL);
	unit_await(&client);
	unit_kill(&owner);
	unit_join(&client);
	take_away();
}
END_TEST

static void fetch_and_tell(void *arg)
{
	struct scene client;
	int fds[KVS_PLANES_MAX];

	scene_attach(&client, arg);
	unit_tell_parent();
	ck_rc(fetch(&client, fds, SCENE_HOUR), 0);
	scene_check(fds);
	scene_detach(&client);
	unit_tell_parent();
}

START_TEST(who_comes_before_a_new_owner_listens_waits_for_it)
{
	int fds[KVS_PLANES_MAX];
	struct child owner, child;
	struct scene first, adopter;

	scene_owner(&owner, NULL);
	scene_attach(&first, NULL);
	ck_rc(fetch(&first, fds, SCENE_HOUR), 0);
	unit_kill(&owner);
	scene_adopt(&adopter, NULL);
	unit_child(&child, fetch_and_tell, NULL);
	unit_await(&child);
	memcpy(adopter.fds, fds, sizeof(fds));
	scene_share(&adopter); /* at the name that the dead one has left */
	scene_serve(&adopter, &child);
	unit_join(&child);
	scene_detach(&first);
	scene_destroy(&adopter);
}
END_TEST

static void find_it_destroyed(void *arg)
{
	struct scene client;
	int fds[KVS_PLANES_MAX];

	scene_attach(&client, arg);
	unit_tell_parent();
	ck_rc(fetch(&client, fds, SCENE_HOUR), -ESTALE);
	scene_detach(&client);
}

START_TEST(a_store_that_is_destroyed_meanwhile_is_ESTALE)
{
	struct scene owner;
	struct child child;

	scene_make(&owner, NULL);
	unit_child(&child, find_it_destroyed, NULL);
	unit_await(&child);
	scene_destroy(&owner);
	unit_join(&child);
}
END_TEST

START_TEST(the_planes_of_another_store_are_ESTALE)
{
	int fds[KVS_PLANES_MAX];
	struct scene client;
	struct child owner;
	unsigned count;

	scene_owner(&owner, NULL);
	scene_attach(&client, NULL);
	count = scene_count_fds();
	client.map.g.incarnation++;
	ck_rc(fetch(&client, fds, SCENE_HOUR), -ESTALE);
	ck_assert_uint_eq(scene_count_fds(), count);
	client.map.g.incarnation--;
	unit_kill(&owner);
	scene_detach(&client);
	take_away();
}
END_TEST

/* Answers one who comes with something else. */
static void answer_nonsense(void *arg)
{
	int fd = *(const int *)arg, one;

	one = accept(fd, NULL, NULL);
	ck_assert_int_ge(one, 0);
	ck_assert_int_eq(send(one, "nonsense", 8, 0), 8);
}

START_TEST(what_else_listens_there_is_EPROTO)
{
	struct kvg_listener listener;
	int fds[KVS_PLANES_MAX];
	struct scene owner;
	struct child child;
	unsigned count;

	scene_make(&owner, NULL);
	ck_rc(kvg_listen(&listener, "/dev/shm", unit_name(), KVS_SOCKET_GIVES, &owner.map,
			 &(struct kvs_files_access){.mode = 0600, .group = KVS_GROUP_OWN}),
	      0);
	kvs_kept_forget(listener.fd); /* the child has it */
	ck_assert_int_eq(fcntl(listener.fd, F_SETFL, 0), 0);
	unit_child(&child, answer_nonsense, &listener.fd);
	count = scene_count_fds();
	ck_rc(fetch(&owner, fds, SCENE_HOUR), -EPROTO);
	ck_assert_uint_eq(scene_count_fds(), count);
	unit_join(&child);
	kvg_listen_end(&listener);
	scene_destroy(&owner);
}
END_TEST

/* Every number of descriptors that is too few. */
START_TEST(too_few_descriptors_are_EMFILE_and_leave_none)
{
	int fds[KVS_PLANES_MAX];
	struct scene client;
	struct child owner;
	unsigned count, more = 0;
	int rc;

	scene_owner(&owner, NULL);
	scene_attach(&client, NULL);
	count = scene_count_fds();
	for (;; more++) {
		scene_limit_fds(more);
		rc = fetch(&client, fds, SCENE_HOUR);
		scene_unlimit_fds();
		if (rc == 0)
			break;
		ck_rc(rc, -EMFILE);
		ck_assert_uint_eq(scene_count_fds(), count);
	}
	ck_assert_uint_eq(more, 2 + SCENE_PLANES); /* the directory, the socket */
	scene_check(fds);
	unit_kill(&owner);
	scene_detach(&client);
	take_away();
}
END_TEST

static void fetch_for_a_while(void *arg)
{
	struct scene client;
	int fds[KVS_PLANES_MAX];

	scene_attach(&client, arg);
	ck_rc(fetch(&client, fds, SCENE_SHORT), -ETIMEDOUT);
	unit_tell_parent();
	unit_await_parent();
	ck_rc(fetch(&client, fds, SCENE_HOUR), 0);
	scene_check(fds);
	scene_detach(&client);
	unit_tell_parent();
}

/* Else whoever polls its descriptor would do nothing else. */
START_TEST(an_owner_without_a_descriptor_left_sends_away_who_waits)
{
	struct pollfd waits = {.events = POLLIN};
	struct child child;
	struct scene owner;

	scene_make(&owner, NULL);
	scene_share(&owner);
	unit_child(&child, fetch_for_a_while, NULL);
	waits.fd = kvg_share_fd(owner.share);
	ck_assert_int_eq(poll(&waits, 1, -1), 1);
	scene_limit_fds(0);
	while (poll(&waits, 1, 0) == 1)
		kvg_share_work(owner.share);
	scene_unlimit_fds();
	unit_await(&child);
	while (poll(&waits, 1, 0) == 1)
		kvg_share_work(owner.share);
	unit_tell(&child);
	scene_serve(&owner, &child);
	unit_join(&child);
	scene_destroy(&owner);
}
END_TEST

START_TEST(clients_that_never_read_keep_nobody_from_it)
{
	int idle[200], fds[KVS_PLANES_MAX];
	struct kvg_place place;
	struct scene client;
	struct child owner;

	scene_owner(&owner, NULL);
	scene_attach(&client, NULL);
	ck_rc(kvg_place_open(&place, "/dev/shm", unit_name(), KVS_SOCKET_GIVES), 0);
	for (unsigned i = 0; i < 200; i++)
		ck_rc(kvg_connect(&place, &client.map, &idle[i]), 0);
	ck_rc(fetch(&client, fds, SCENE_HOUR), 0);
	scene_check(fds);
	for (unsigned i = 0; i < 200; i++) {
		(void)send(idle[i], "?", 1, MSG_NOSIGNAL);
		kvs_kept_close(idle[i]);
	}
	ck_rc(fetch(&client, fds, SCENE_HOUR), 0);
	scene_check(fds);
	kvg_place_close(&place);
	unit_kill(&owner);
	scene_detach(&client);
	take_away();
}
END_TEST

/* sun_path has room for 107 characters. */
START_TEST(the_directorys_name_may_be_long)
{
	char dir[600], part[128];
	struct child owner;
	struct scene client;
	int fds[KVS_PLANES_MAX];

	(void)snprintf(dir, sizeof(dir), "/dev/shm/kvshm.%s.d", unit_name());
	ck_assert_int_eq(mkdir(dir, 0700), 0);
	memset(part, 'd', sizeof(part));
	part[0] = '/';
	part[sizeof(part) - 1] = '\0';
	for (int i = 0; i < 3; i++) {
		(void)snprintf(dir + strlen(dir), sizeof(dir) - strlen(dir), "%s", part);
		ck_assert_int_eq(mkdir(dir, 0700), 0);
	}
	scene_owner(&owner, dir);
	scene_attach(&client, dir);
	ck_rc(fetch(&client, fds, SCENE_HOUR), 0);
	scene_check(fds);
	unit_kill(&owner);
	scene_detach(&client);
	ck_rc(kvs_segment_unlink(unit_name(), dir), 0);
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(rmdir(dir), 0); /* nothing is left in it */
		*strrchr(dir, '/') = '\0';
	}
}
END_TEST

/* Whatever the umask is: of mode, group and owner, where root makes or adopts the store of another. */
START_TEST(who_may_open_the_segment_may_connect)
{
	struct scene owner;
	struct stat st;
	mode_t umask_before = umask(0);
	bool root = geteuid() == 0;

	scene_make(&owner, NULL);
	scene_share(&owner);
	ck_assert_int_eq(stat(path_of(KVS_SOCKET_GIVES), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	kvg_share_close(owner.share);
	ck_assert_int_eq(fchmod(owner.map.fd, 0660), 0);
	if (root)
		ck_assert_int_eq(fchown(owner.map.fd, 12345, 12346), 0);
	(void)umask(0777);
	scene_share(&owner);
	ck_assert_int_eq(stat(path_of(KVS_SOCKET_GIVES), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0660);
	ck_assert(!root || (st.st_uid == 12345 && st.st_gid == 12346));
	(void)umask(umask_before);
	scene_destroy(&owner);
}
END_TEST

/* As another user, who may not open the segment: takes the name that the owner has not taken yet. */
static void listen_as_nobody(void *unused)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	(void)unused;
	ck_assert_int_eq(setresgid(65534, 65534, 65534), 0);
	ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
	memcpy(address.sun_path, path_of(KVS_SOCKET_GIVES), strlen(path_of(KVS_SOCKET_GIVES)) + 1);
	ck_assert_int_eq(bind(fd, (const void *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(chmod(address.sun_path, 0777), 0);
	unit_wait_for_death();
}

/* /dev/shm lets any user take a free name. */
START_TEST(who_may_not_open_the_segment_is_no_owner)
{
	int fds[KVS_PLANES_MAX];
	struct scene owner;
	struct child child;
	unsigned count;

	if (geteuid() != 0) {
		unit_skip("who_may_not_open_the_segment_is_no_owner", "it takes another user, which takes root");
		return;
	}
	scene_make(&owner, NULL);
	unit_child(&child, listen_as_nobody, NULL);
	unit_await(&child);
	count = scene_count_fds();
	ck_rc(fetch(&owner, fds, SCENE_HOUR), -EPERM);
	ck_assert_ptr_nonnull(strstr(kvs_fault_text(), "another user listens"));
	ck_assert_uint_eq(scene_count_fds(), count);
	ck_assert_int_eq(fchmod(owner.map.fd, 0660), 0);
	ck_rc(fetch(&owner, fds, SCENE_HOUR), -EPERM);
	ck_assert_int_eq(fchown(owner.map.fd, 0, 65534), 0); /* its group may */
	ck_rc(fetch(&owner, fds, SCENE_SHORT), -ETIMEDOUT);
	unit_kill(&child);
	ck_assert_int_eq(unlink(path_of(KVS_SOCKET_GIVES)), 0);
	scene_destroy(&owner);
}
END_TEST

static void fetch_without_standard_streams(void *arg)
{
	struct scene client;
	int fds[KVS_PLANES_MAX];

	scene_attach(&client, arg);
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		(void)close(fd);
	if (fetch(&client, fds, SCENE_HOUR))
		_exit(1);
	for (int i = 0; i < SCENE_PLANES; i++)
		if (fds[i] <= STDERR_FILENO)
			_exit(2);
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			_exit(3);
	scene_detach(&client);
}

/* It would print into the planes. */
START_TEST(a_program_that_has_closed_its_standard_streams_has_no_plane_there)
{
	struct child owner, client;

	scene_owner(&owner, NULL);
	unit_child(&client, fetch_without_standard_streams, NULL);
	unit_join(&client);
	unit_kill(&owner);
	take_away();
}
END_TEST

static void count_in_a_child(void *arg)
{
	ck_assert_uint_eq(scene_count_fds(), *(const unsigned *)arg + 2); /* its two pipes */
}

START_TEST(a_child_of_fork_has_none_of_them)
{
	unsigned count = scene_count_fds();
	int fds[KVS_PLANES_MAX];
	struct scene owner, client;
	struct child child;
	bool was[64];

	for (int fd = 0; fd < 64; fd++)
		was[fd] = fcntl(fd, F_GETFD) >= 0;
	scene_make(&owner, NULL);
	scene_share(&owner);
	scene_attach(&client, NULL);
	ck_rc(fetch(&client, fds, SCENE_HOUR), 0);
	for (int fd = 0; fd < 64; fd++) /* nor has a program that is started */
		ck_assert(was[fd] || fcntl(fd, F_GETFD) != 0);
	unit_child(&child, count_in_a_child, &count);
	unit_join(&child);
	scene_check(fds);
	scene_detach(&client);
	scene_destroy(&owner);
}
END_TEST

START_TEST(nor_of_those_that_came_from_another_process)
{
	unsigned count = scene_count_fds();
	int fds[KVS_PLANES_MAX];
	struct child owner, child;
	struct scene client;

	scene_owner(&owner, NULL);
	scene_attach(&client, NULL);
	ck_rc(fetch(&client, fds, SCENE_HOUR), 0);
	count += 2; /* the owner's pipes */
	unit_child(&child, count_in_a_child, &count);
	unit_join(&child);
	unit_kill(&owner);
	scene_check(fds);
	scene_detach(&client);
	take_away();
}
END_TEST

static void fetch_from_the_parent(void *arg)
{
	struct scene client;
	int fds[KVS_PLANES_MAX];

	(void)arg;
	scene_attach(&client, NULL);
	ck_rc(fetch(&client, fds, SCENE_HOUR), 0); /* by the socket: what the parent has is not here */
	scene_check(fds);
	scene_detach(&client);
	unit_tell_parent();
}

START_TEST(a_child_of_the_owners_gets_them_as_others_do)
{
	struct scene owner;
	struct child child;

	scene_make(&owner, NULL);
	scene_share(&owner);
	unit_child(&child, fetch_from_the_parent, NULL);
	scene_serve(&owner, &child);
	unit_join(&child);
	scene_destroy(&owner);
}
END_TEST

START_TEST(what_is_no_socket_at_its_name_is_left_alone)
{
	int file = open(path_of(KVS_SOCKET_GIVES), O_CREAT | O_EXCL | O_RDWR, 0600);
	struct kvs_files_access access;
	struct scene owner;
	unsigned count;

	ck_assert_int_ge(file, 0);
	scene_make(&owner, NULL);
	access = scene_access(&owner);
	count = scene_count_fds();
	ck_rc(kvg_share_open("/dev/shm", unit_name(), &owner.map, &access, owner.fds, &owner.share), -EEXIST);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "remove it"));
	ck_assert_uint_eq(scene_count_fds(), count);
	scene_destroy(&owner);
	ck_assert_int_eq(unlink(path_of(KVS_SOCKET_GIVES)), 0);
	(void)close(file);
}
END_TEST

/* At each place where a descriptor is missing. */
START_TEST(an_owner_that_cannot_listen_leaves_nothing)
{
	struct kvs_files_access access;
	struct scene owner;
	unsigned count;

	scene_make(&owner, NULL);
	access = scene_access(&owner);
	count = scene_count_fds();
	for (unsigned more = 0; more < 3; more++) {
		scene_limit_fds(more);
		ck_rc(kvg_share_open("/dev/shm", unit_name(), &owner.map, &access, owner.fds, &owner.share), -EMFILE);
		scene_unlimit_fds();
		ck_assert_uint_eq(scene_count_fds(), count);
		ck_assert(!scene_socket_is_there(NULL, KVS_SOCKET_GIVES));
	}
	access.mode = 0600;
	scene_share(&owner);
	scene_destroy(&owner);
}
END_TEST

static ino_t inode_of(const char *path)
{
	struct stat st;

	return lstat(path, &st) ? 0 : st.st_ino;
}

/* A store that has lost its name, by hand, and whose name is another's now. */
START_TEST(the_sockets_of_another_store_of_the_name_stay)
{
	struct scene lost, next;
	ino_t inode;

	scene_make(&lost, NULL);
	scene_share(&lost);
	ck_assert_int_eq(unlink(unit_path(-1)), 0);
	scene_make(&next, NULL);
	scene_share(&next);
	inode = inode_of(path_of(KVS_SOCKET_GIVES));
	ck_assert_uint_ne(inode, 0);
	kvg_share_close(lost.share);
	lost.share = NULL;
	ck_assert_uint_eq(inode_of(path_of(KVS_SOCKET_GIVES)), inode);
	scene_destroy(&lost);
	ck_assert_uint_eq(inode_of(path_of(KVS_SOCKET_GIVES)), inode);
	scene_destroy(&next);
	ck_assert(!scene_socket_is_there(NULL, KVS_SOCKET_GIVES));
}
END_TEST

static void own_and_die(struct child *owner)
{
	scene_owner(owner, NULL);
	unit_kill(owner);
	ck_assert(scene_socket_is_there(NULL, KVS_SOCKET_GIVES));
}

static int note(const char *name, void *arg)
{
	unsigned *found = arg;

	if (strstr(name, unit_name()))
		*found += strcmp(name, unit_name()) == 0 ? 1 : 100;
	return 0;
}

START_TEST(names_go_with_the_store)
{
	struct child owner;
	struct scene next;
	unsigned found = 0;

	own_and_die(&owner);
	ck_rc(kvshm_list(NULL, note, &found), 0);
	ck_assert_uint_eq(found, 1); /* a socket is no store */
	take_away();
	ck_assert(!scene_socket_is_there(NULL, KVS_SOCKET_GIVES));

	own_and_die(&owner);
	ck_rc(kvs_segment_clear_name(unit_name(), NULL, true), 0); /* --replace-dead */
	ck_assert(!scene_socket_is_there(NULL, KVS_SOCKET_GIVES));

	scene_make(&next, NULL);
	scene_share(&next);
	scene_destroy(&next);
	ck_assert(!scene_socket_is_there(NULL, KVS_SOCKET_GIVES));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_client_gets_the_planes_of_another_process,
		a_client_in_the_owners_own_process_waits_for_nobody,
		many_get_them_at_once,
		an_owner_that_stands_still_is_ETIMEDOUT,
		a_dead_owner_is_EOWNERDEAD_at_once,
		who_waits_for_an_owner_hears_of_its_death,
		who_comes_before_a_new_owner_listens_waits_for_it,
		a_store_that_is_destroyed_meanwhile_is_ESTALE,
		the_planes_of_another_store_are_ESTALE,
		what_else_listens_there_is_EPROTO,
		too_few_descriptors_are_EMFILE_and_leave_none,
		an_owner_without_a_descriptor_left_sends_away_who_waits,
		clients_that_never_read_keep_nobody_from_it,
		the_directorys_name_may_be_long,
		who_may_open_the_segment_may_connect,
		who_may_not_open_the_segment_is_no_owner,
		a_program_that_has_closed_its_standard_streams_has_no_plane_there,
		a_child_of_fork_has_none_of_them,
		nor_of_those_that_came_from_another_process,
		a_child_of_the_owners_gets_them_as_others_do,
		what_is_no_socket_at_its_name_is_left_alone,
		an_owner_that_cannot_listen_leaves_nothing,
		the_sockets_of_another_store_of_the_name_stay,
		names_go_with_the_store,
	};

	return unit_run("share", tests, sizeof(tests) / sizeof(tests[0]));
}
