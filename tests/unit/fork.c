/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * fork: a child of fork() or clone() has no store, and does not keep its parent alive.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct kvshm_handle held;
static kvshm_store *inherited;
static kvshm_owner *inherited_owner;

/* What every call with the parent's store must say in a child, and none may touch the mapping, which is not there. */
static void every_call_is_refused(void)
{
	unit_all_calls(inherited, &held, -ECHILD);
	ck_rc(kvshm_detach(inherited), -ECHILD);
	ck_rc(kvshm_owner_recover(inherited_owner, NULL), -ECHILD);
	ck_rc(kvshm_disown(inherited_owner), -ECHILD);
	ck_rc(kvshm_destroy(inherited_owner), -ECHILD);
}

static void refused_in_child(void *arg)
{
	(void)arg;
	every_call_is_refused();
}

static kvshm_store *parent(void)
{
	kvshm_store *store = unit_store(16);

	held = unit_fill(store, 1, 0);
	inherited = store;
	inherited_owner = unit_owner;
	return store;
}

START_TEST(after_fork_every_call_is_ECHILD_and_changes_nothing)
{
	kvshm_store *store;
	struct child child;

	if (!unit_fork_wipes("after_fork_every_call_is_ECHILD_and_changes_nothing"))
		return;
	store = parent();
	unit_child(&child, refused_in_child, NULL);
	unit_join(&child);
	unit_verify(store, &held, 1);
	ck_assert_uint_eq(unit_refs(store, &held), 1);
	ck_rc(kvshm_release(store, &held), 0);
}
END_TEST

START_TEST(after_a_raw_clone_every_call_is_ECHILD_too)
{
	kvshm_store *store;
	int status;
	long pid;

	if (!unit_fork_wipes("after_a_raw_clone_every_call_is_ECHILD_too"))
		return;
	store = parent();
	pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		every_call_is_refused();
		_exit(0);
	}
	ck_assert_int_eq(waitpid((pid_t)pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	unit_verify(store, &held, 1);
	ck_rc(kvshm_release(store, &held), 0);
}
END_TEST

static void attach_for_itself(void *arg)
{
	struct kvshm_handle ref;
	kvshm_store *store;

	(void)arg;
	ck_rc(kvshm_get(inherited, "x", 1, &ref), -ECHILD);
	store = unit_attach();
	ck_rc(unit_get(store, 1, &ref), 0);
	unit_verify(store, &ref, 1);
	unit_put(store, 2);
	ck_rc(kvshm_get(inherited, "x", 1, &ref), -ECHILD);
	ck_rc(kvshm_detach(store), 0);
}

START_TEST(a_child_attaches_for_itself)
{
	kvshm_store *store;
	struct child child;

	if (!unit_fork_wipes("a_child_attaches_for_itself"))
		return;
	store = parent();
	unit_child(&child, attach_for_itself, NULL);
	unit_join(&child);
	ck_assert(unit_has(store, 2));
	ck_assert_uint_eq(unit_refs(store, &held), 1);
}
END_TEST

/* The middle process: attaches, has a child of its own, and is killed. */
static void hold_and_fork(void *arg)
{
	kvshm_store *store = unit_attach();
	pid_t *grandchild = arg;
	struct kvshm_handle ref;
	pid_t pid;

	ck_rc(unit_get(store, 1, &ref), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		unit_wait_for_death(); /* it runs now: what fork() does in a child has been done */
	*grandchild = pid;
	unit_wait_for_death();
}

START_TEST(D1_a_parents_death_is_seen_while_its_child_lives)
{
	pid_t *grandchild = mmap(NULL, sizeof(*grandchild), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct child child;
	unsigned recovered;
	kvshm_store *store;

	ck_assert(grandchild != MAP_FAILED);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1)) { /* it becomes this process's child */
		unit_skip("D1_a_parents_death_is_seen_while_its_child_lives",
			  "this kernel, or what emulates it, has no PR_SET_CHILD_SUBREAPER");
		return;
	}
	store = parent();
	unit_child(&child, hold_and_fork, grandchild);
	unit_await(&child);
	unit_await(&child); /* both of them */
	ck_assert_uint_eq(unit_refs(store, &held), 2);
	unit_kill(&child);
	ck_rc(kvshm_recover(store, &recovered), 0);
	ck_assert_uint_eq(recovered, 1);
	ck_assert_uint_eq(unit_refs(store, &held), 1);
	ck_assert_int_eq(waitpid(*grandchild, NULL, WNOHANG), 0); /* it lived all the time */
	ck_assert_int_eq(kill(*grandchild, SIGKILL), 0);
	ck_assert_int_eq(waitpid(*grandchild, NULL, 0), *grandchild);
}
END_TEST

START_TEST(stores_attached_before_and_after_a_fork_do_not_mix)
{
	kvshm_store *store, *second;
	struct child child;

	if (!unit_fork_wipes("stores_attached_before_and_after_a_fork_do_not_mix"))
		return;
	store = parent();
	for (int i = 0; i < 5; i++) {
		unit_child(&child, attach_for_itself, NULL);
		second = unit_attach();
		ck_assert(unit_has(second, 1));
		unit_join(&child);
		ck_rc(unit_remove(store, 2), 0);
		unit_detach(second);
	}
	ck_assert_uint_eq(unit_refs(store, &held), 1);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		after_fork_every_call_is_ECHILD_and_changes_nothing,
		after_a_raw_clone_every_call_is_ECHILD_too,
		a_child_attaches_for_itself,
		D1_a_parents_death_is_seen_while_its_child_lives,
		stores_attached_before_and_after_a_fork_do_not_mix,
	};

	return unit_run("fork", tests, sizeof(tests) / sizeof(tests[0]));
}
