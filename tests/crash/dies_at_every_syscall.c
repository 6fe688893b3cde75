/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * dies_at_every_syscall.c: R30 without chance: a process that makes (and populates), destroys, adopts, replaces or
 * unlinks a store is killed before its first system call, its second, and so on to its last. Whatever is there then,
 * the next one replaces it with a whole store, or unlinks it, at once, and nothing stays.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "layout.h"
#include "ops.h"

#define PLANES 3U

struct scene {
	const char *name;
	struct ops_stage *stage;
	const struct deed *deed;
};

/* What the victim does. */
struct deed {
	const char *what;
	bool wants_dead_store; /* another made one before, and disowned it */
	bool of_another_layout;
	bool wants_own_store; /* the victim made one before it is watched */
	void (*act)(const struct scene *scene, kvshm_owner *own);
};

static int make(const struct scene *scene, int replace_dead, kvshm_owner **owner)
{
	struct kvshm_create_options options;

	load_options(&options, OPS_BLOCKS, PLANES, KVSHM_KEEP);
	options.clients = 8;
	options.requests = 8;
	options.replace_dead = replace_dead;
	options.populate = 2;
	return kvshm_create(scene->name, &options, owner);
}

static void act_make(const struct scene *scene, kvshm_owner *own)
{
	base_expect(make(scene, 0, &own), 0);
}

static void act_destroy(const struct scene *scene, kvshm_owner *own)
{
	(void)scene;
	base_expect(kvshm_destroy(own), 0);
}

static void act_adopt(const struct scene *scene, kvshm_owner *own)
{
	base_expect(kvshm_adopt(scene->name, NULL, &own), 0);
}

static void act_replace(const struct scene *scene, kvshm_owner *own)
{
	base_expect(make(scene, 1, &own), 0);
}

static void act_unlink(const struct scene *scene, kvshm_owner *own)
{
	(void)own;
	base_expect(kvshm_unlink(scene->name, NULL), 0);
}

static const struct deed deeds[] = {
	{ .what = "making", .act = act_make },
	{ .what = "destroying", .act = act_destroy, .wants_own_store = true },
	{ .what = "adopting", .act = act_adopt, .wants_dead_store = true },
	{ .what = "replacing", .act = act_replace, .wants_dead_store = true },
	{ .what = "replacing another layout's", .act = act_replace, .wants_dead_store = true,
	  .of_another_layout = true },
	{ .what = "unlinking", .act = act_unlink, .wants_dead_store = true },
	{ .what = "unlinking another layout's", .act = act_unlink, .wants_dead_store = true,
	  .of_another_layout = true },
};

static void leave_dead_store(const struct scene *scene)
{
	const uint32_t layout = KVS_LAYOUT + 1;
	char path[256];
	kvshm_owner *owner;
	int file;

	base_expect(make(scene, 0, &owner), 0);
	base_expect(kvshm_disown(owner), 0);
	if (!scene->deed->of_another_layout)
		return;
	(void)snprintf(path, sizeof(path), "/dev/shm/kvshm.%s", scene->name);
	file = open(path, O_RDWR | O_CLOEXEC);
	base_check(pwrite(file, &layout, sizeof(layout), offsetof(struct kvs_head, layout)) == sizeof(layout));
	(void)close(file);
}

static void victim(void *arg)
{
	const struct scene *scene = arg;
	kvshm_owner *own = NULL;

	if (scene->deed->wants_own_store)
		base_expect(make(scene, 0, &own), 0);
	base_check(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
	(void)raise(SIGSTOP);
	scene->deed->act(scene, own);
	(void)raise(SIGUSR1); /* done; what it has now it keeps until it is killed */
}

/* Lets the victim get to its system call of that number, from 0, and kills it there. False: it came to its end
 * before. */
static bool kill_before(struct scene *scene, uint64_t number)
{
	pid_t pid = base_fork(victim, scene);
	uint64_t stops = 0;
	int status;

	for (;;) {
		base_check(waitpid(pid, &status, 0) == pid);
		base_check(WIFSTOPPED(status));
		if (WSTOPSIG(status) == SIGUSR1)
			break;
		/* Each call stops it twice, as it begins and as it ends. The first stop is its own. */
		if (WSTOPSIG(status) == SIGTRAP && stops++ == 2 * number)
			break;
		base_check(ptrace(PTRACE_SYSCALL, pid, NULL, NULL) == 0);
	}
	base_signal(pid, SIGKILL);
	base_check(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
	return stops == 2 * number + 1;
}

static void judge(const struct scene *scene, bool by_unlinking)
{
	unsigned files = base_files(scene->name);
	kvshm_owner *owner;

	if (by_unlinking) {
		base_expect(kvshm_unlink(scene->name, NULL), files ? 0 : -ENOENT);
	} else {
		base_expect(make(scene, 1, &owner), 0);
		ops_use_all(scene->name, &scene->stage->books);
		base_expect(kvshm_destroy(owner), 0);
	}
	base_check(base_files(scene->name) == 0);
}

/* What is left is replaced and unlinked by turns; in long runs both after every call. */
static void run(struct scene *scene)
{
	const uint64_t turns = base_long() ? 2 : 1;
	uint64_t number = 0, left[PLANES + 2] = { 0 };
	bool killed = true;

	for (; killed; number++)
		for (uint64_t turn = 0; turn < turns; turn++) {
			if (scene->deed->wants_dead_store)
				leave_dead_store(scene);
			killed = kill_before(scene, number);
			left[base_files(scene->name)]++;
			judge(scene, (number + turn) % 2);
		}
	(void)printf("%s: killed at %" PRIu64 " system calls; it left", scene->deed->what, number - 1);
	for (unsigned i = 0; i < PLANES + 2; i++)
		(void)printf(" %u files %" PRIu64 " times%s", i, left[i], i <= PLANES ? "," : "\n");
}

/* Emulators have no ptrace. */
static void try_to_trace(void *arg)
{
	(void)arg;
	_exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) ? 1 : 0);
}

int main(void)
{
	struct ops_stage *stage = base_shared(sizeof(*stage));
	struct scene scene = { .stage = stage };
	int status = 0;
	pid_t pid;

	base_begin();
	scene.name = base_store("syscalls");
	stage->books.planes = PLANES;
	stage->books.keys = OPS_KEYS;
	stage->books.kills = true; /* the books know nothing of a new store under the old name */
	pid = base_fork(try_to_trace, NULL);
	if (waitpid(pid, &status, 0) != pid || status)
		base_skip("ptrace(2) is not possible here");
	for (unsigned i = 0; i < sizeof(deeds) / sizeof(deeds[0]); i++) {
		scene.deed = &deeds[i];
		run(&scene);
	}
	return base_pass();
}
