/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stopped.c: a client is stopped (SIGSTOP) at random moments of each kind of call. Nobody waits for it (D4): the
 * survivor does every kind of call meanwhile, and each is measured: below a second, most of it the machine's.
 * Only reuse of what is in its grace period may have to wait, which is an answer (-ENOSPC), not a delay. After SIGCONT
 * the stopped one goes on where it was, and at the end everything is as sound as if nothing had been.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "ops.h"

#define STOPS 6 /* of one victim */

struct run {
	const char *name;
	struct ops_stage *victims_stage;
	struct ops_stage *stage; /* the survivor's own */
	struct load_worker work;
	struct base_histogram *calls; /* for each kind of the survivor's */
	uint64_t stops, without_room, in_a_fill;
};

static void stop(pid_t pid)
{
	int status;

	base_signal(pid, SIGSTOP);
	if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
		base_fail("the victim ended with status %#x", (unsigned)status);
}

static void go_on(const struct run *r, pid_t pid)
{
	uint64_t rounds = atomic_load(&r->victims_stage->rounds);
	uint64_t end = base_now() + BASE_NEVER;

	base_signal(pid, SIGCONT);
	while (atomic_load(&r->victims_stage->rounds) == rounds) {
		(void)sched_yield();
		base_check(base_now() < end);
	}
}

/* Each kind of call once, while the other one is stopped. */
static void do_everything(struct run *r)
{
	struct ops_victim me = { .name = r->name, .stage = r->stage };
	char why[256];

	for (unsigned i = 0; i < ops_count; i++) {
		uint64_t begin = base_now();

		me.kind = &ops_kinds[i];
		me.work = r->work;
		me.work.random = base_random(&r->work.random);
		ops_kinds[i].round(&me);
		base_histogram_add(&r->calls[i], base_now() - begin);
	}
	r->without_room += !ops_use(&r->work);
	(void)base_at_rest(r->name, OPS_BLOCKS, why);
	r->in_a_fill += strstr(why, " 1 filling") != NULL;
}

static void stop_in(struct run *r, const struct ops_kind *kind)
{
	struct ops_victim victim = { .name = r->name, .kind = kind, .stage = r->victims_stage };
	char why[256];
	pid_t pid;

	ops_prefill(&r->work);
	ops_set_out(&r->work, r->victims_stage, kind);
	pid = ops_start(&victim, base_random(&r->work.random));
	for (unsigned i = 0; i < STOPS; i++) {
		ops_aim(r->victims_stage, &r->work.random);
		stop(pid);
		r->stops++;
		do_everything(r);
		go_on(r, pid);
	}
	atomic_store(&r->victims_stage->books.stop, true);
	base_check(base_reap(pid) == 0);
	ops_clear_away(&r->work, r->victims_stage, false);
	if (!base_at_rest(r->name, OPS_BLOCKS, why))
		base_fail("stopped in %s: %s", kind->name, why);
	(void)ops_look_at_keys(&r->work);
	load_check(&r->victims_stage->books);
	load_check(&r->stage->books);
}

static struct ops_stage *new_stage(void)
{
	struct ops_stage *stage = base_shared(sizeof(*stage));

	stage->books.planes = 2;
	stage->books.kills = true; /* bytes are looked at while others are stopped at them */
	return stage;
}

static void try(enum kvshm_retain retain, const char *what)
{
	struct kvshm_create_options options;
	struct run r = { .name = base_store(what), .victims_stage = new_stage(), .stage = new_stage() };
	uint64_t end = base_phase(2000);
	kvshm_owner *owner;

	r.calls = base_shared(ops_count * sizeof(*r.calls));
	r.work = (struct load_worker){ .books = &r.stage->books, .random = base_stream(retain), .id = 1 };
	load_options(&options, OPS_BLOCKS, 2, retain);
	options.clients = 8;
	options.requests = 8;
	base_expect(kvshm_create(r.name, &options, &owner), 0);
	base_expect(kvshm_attach(r.name, NULL, &r.work.store), 0);
	while (base_now() < end)
		for (unsigned i = 0; i < ops_count; i++)
			stop_in(&r, &ops_kinds[i]);
	base_judge(r.name, OPS_BLOCKS);
	(void)printf("%s: stopped %" PRIu64 " times, %" PRIu64 " of them with a fill; no room meanwhile %" PRIu64
		     " times\n", what, r.stops, r.in_a_fill, r.without_room);
	(void)printf("    %" PRIu64 " requests, %" PRIu64 " aborted; %" PRIu64 " rooms, %" PRIu64 " too late; %" PRIu64
		     " claims\n", base_counter(r.name, "requests"), base_counter(r.name, "requests_aborted"),
		     base_counter(r.name, "rooms"), base_counter(r.name, "rooms_timed_out"),
		     base_counter(r.name, "claims"));
	for (unsigned i = 0; i < ops_count; i++) {
		char text[64];

		(void)snprintf(text, sizeof(text), "others' %s meanwhile", ops_kinds[i].name);
		base_histogram_judge(&r.calls[i], text);
	}
	base_expect(kvshm_detach(r.work.store), 0);
	base_expect(kvshm_destroy(owner), 0);
	base_check(base_files(r.name) == 0);
}

int main(void)
{
	base_begin();
	try(KVSHM_KEEP, "keep");
	try(KVSHM_DROP, "drop");
	return base_pass();
}
