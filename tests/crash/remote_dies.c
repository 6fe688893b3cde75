/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * remote_dies.c: deaths in the middle of transfers, over TCP. A sender connects to a receiver, sends, offers, writes,
 * commits, gives up, aborts and wants blocks, in ways that all calls on other nodes come in; one of the two, by turns,
 * is killed before its first system call, its second, and so on to its last. The other one sees that, and ends in good
 * order by itself. Whatever there is then in both stores: every block that a key leads to is whole (E1), a request that
 * was complete has all its blocks, and nothing is leaked (R22, D1): the inquests.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "image.h"
#include "inquest.h"

#define BLOCKS 24U
#define PLANES 2U
#define HERE 8U	   /* keys from 0 on that the sender's store has */
#define THERE 3U   /* and the receiver's, from HERE - 1 on: the first of them is in both */
#define FRESH 16U  /* the first of those that are written from memory of the sender's own */
#define KEYS 32U
#define SOME 4U	   /* keys of a transfer */
#define PATIENCE (5 * BASE_SECOND)
#define CLAIM_TIMEOUT (60 * BASE_SECOND)

/* Shared by all three. */
struct stage {
	char url[80];		/* where the receiver listens */
	_Atomic bool listening; /* it does */
	_Atomic bool dead;	/* one was killed */
	_Atomic bool over;	/* the receiver is to end */
	_Atomic uint64_t whole, unfinished; /* transfers that came to their end, and did not */
};

struct scene {
	const char *here, *there; /* the sender's store, and the receiver's */
	struct stage *stage;
	kvshm_owner *owners[2];
	kvshm_store *engines[2]; /* clients of the test's, in their first slots */
	bool drop;		 /* the receiver's store is one that drops */
	uint64_t found, deaths;
	struct base_histogram back;
};

/* ---- Blocks ----------------------------------------------------------------------------------------------- */

static struct kvshm_key key_of(unsigned number)
{
	static char names[KEYS][24];

	(void)snprintf(names[number], sizeof(names[number]), "remote key %u", number);
	return (struct kvshm_key){ names[number], strlen(names[number]) };
}

static uint64_t word_of(unsigned number, unsigned plane, size_t at)
{
	return ((UINT64_C(1) + number) * PLANES + plane) * UINT64_C(0x9e3779b97f4a7c15) + at;
}

static void write_plane(void *bytes, unsigned number, unsigned plane)
{
	uint64_t *words = bytes;

	for (size_t i = 0; i < LOAD_BLOCK_SIZE / sizeof(*words); i++)
		words[i] = word_of(number, plane, i);
}

static struct kvshm_meta meta_of(unsigned number)
{
	struct kvshm_meta meta = { .length = LOAD_BLOCK_SIZE - number, .depth = number };

	memset(meta.opaque, (int)number, sizeof(meta.opaque));
	return meta;
}

/* Bytes behind the length are nobody's matter. */
static void look_at(kvshm_store *store, const struct kvshm_handle *held, unsigned number)
{
	static uint64_t words[LOAD_BLOCK_SIZE / sizeof(uint64_t)];
	struct kvshm_meta meta, expected = meta_of(number);

	base_expect(kvshm_get_meta(store, held, &meta), 0);
	base_check(meta.length == expected.length && meta.depth == expected.depth &&
		   memcmp(meta.opaque, expected.opaque, sizeof(meta.opaque)) == 0);
	for (unsigned plane = 0; plane < PLANES; plane++) {
		void *bytes;

		base_expect(kvshm_address(store, held, plane, &bytes), 0);
		write_plane(words, number, plane);
		if (memcmp(words, bytes, meta.length) != 0)
			base_fail("key %u, plane %u: its bytes are not those that were sent", number, plane);
	}
}

static void put(kvshm_store *store, unsigned number)
{
	const struct kvshm_key key = key_of(number);
	const struct kvshm_meta meta = meta_of(number);
	enum kvshm_outcome outcome;
	struct kvshm_handle fill;
	void *address;

	base_expect(kvshm_get_or_fill(store, key.bytes, key.length, &outcome, &fill), 0);
	base_check(outcome == KVSHM_FILL);
	for (unsigned plane = 0; plane < PLANES; plane++) {
		base_expect(kvshm_address(store, &fill, plane, &address), 0);
		write_plane(address, number, plane);
	}
	base_expect(kvshm_publish(store, &fill, &meta), 0);
	base_expect(kvshm_release(store, &fill), 0);
}

/* Every key is whole, or absent. */
static uint64_t look_at_all(kvshm_store *store)
{
	uint64_t found = 0;

	for (unsigned number = 0; number < KEYS; number++) {
		const struct kvshm_key key = key_of(number);
		struct kvshm_handle ref;
		int rc = kvshm_get(store, key.bytes, key.length, &ref);

		if (rc == -ENOENT)
			continue;
		base_expect(rc, 0);
		look_at(store, &ref, number);
		base_expect(kvshm_release(store, &ref), 0);
		found |= UINT64_C(1) << number;
	}
	return found;
}

/* ---- The receiver ----------------------------------------------------------------------------------------- */

static void begin(bool traced)
{
	if (!traced)
		return;
	base_check(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
	(void)raise(SIGSTOP);
}

struct actor {
	const struct scene *scene;
	bool traced;
};

static void receive(void *arg)
{
	const struct actor *actor = arg;
	struct stage *stage = actor->scene->stage;
	struct kvshm_net_options options;
	kvshm_listener *listener;
	kvshm_store *store;

	begin(actor->traced);
	base_expect(kvshm_attach(actor->scene->there, NULL, &store), 0);
	kvshm_net_defaults(&options);
	options.claim_timeout = CLAIM_TIMEOUT;
	base_expect(kvshm_listen(store, "tcp://127.0.0.1:0", &options, &listener), 0);
	base_expect(kvshm_listener_url(listener, stage->url, sizeof(stage->url)), 0);
	atomic_store(&stage->listening, true);
	while (!atomic_load(&stage->over)) {
		int rc = kvshm_listener_work(listener, base_now() + BASE_MS);

		base_check(rc == 0 || rc == -ETIMEDOUT);
	}
	base_expect(kvshm_listener_close(listener), 0);
	base_expect(kvshm_detach(store), 0);
}

/* ---- The sender ------------------------------------------------------------------------------------------- */

struct sender {
	struct stage *stage;
	kvshm_store *store;
	kvshm_peer *peer;
	uint64_t memory[SOME][PLANES][LOAD_BLOCK_SIZE / sizeof(uint64_t)];
};

/* False: the receiver is dead, which is seen here, and is the only reason for anything to fail. */
static bool goes_on(const struct sender *s, const char *what, int rc, int or)
{
	if (rc == 0 || rc == or)
		return true;
	if (!atomic_load(&s->stage->dead))
		base_fail("%s: %d: %s", what, rc, kvshm_error());
	return false;
}

static void hold(struct sender *s, unsigned first, unsigned count, struct kvshm_handle *refs)
{
	for (unsigned i = 0; i < count; i++) {
		const struct kvshm_key key = key_of(first + i);

		base_expect(kvshm_get(s->store, key.bytes, key.length, &refs[i]), 0);
	}
}

static bool ends(struct sender *s, const char *what, kvshm_transfer *transfer, int or)
{
	int rc = kvshm_transfer_wait(transfer, base_now() + PATIENCE);

	atomic_fetch_add(rc == 0 || rc == or ? &s->stage->whole : &s->stage->unfinished, 1);
	return goes_on(s, what, rc, or) && goes_on(s, "transfer_close", kvshm_transfer_close(transfer), 0);
}

/* Blocks of its store, under an id that an engine knows; some of them are there. */
static bool send_some(struct sender *s)
{
	struct kvshm_transfer_options options;
	struct kvshm_handle refs[HERE];
	kvshm_transfer *transfer;
	bool good;

	kvshm_transfer_defaults(&options);
	options.attempt = 1;
	hold(s, 0, HERE, refs);
	good = goes_on(s, "send", kvshm_send(s->peer, "victim", 6, &options, refs, HERE, &transfer), 0);
	for (unsigned i = 0; i < HERE; i++)
		base_expect(kvshm_release(s->store, &refs[i]), 0);
	return good && ends(s, "a send's end", transfer, 0);
}

static bool open_one(struct sender *s, const char *id, unsigned first, kvshm_transfer **transfer)
{
	struct kvshm_transfer_options options;
	struct kvshm_offer offers[SOME];

	kvshm_transfer_defaults(&options);
	options.attempt = id ? 1 : 0;
	for (unsigned i = 0; i < SOME; i++)
		offers[i] = (struct kvshm_offer){ .key = key_of(first + i), .meta = meta_of(first + i) };
	return goes_on(s, "transfer_open", kvshm_transfer_open(s->peer, id, id ? strlen(id) : 0, SOME, &options,
							       transfer), 0) &&
	       goes_on(s, "transfer_offer", kvshm_transfer_offer(*transfer, 0, offers, SOME), 0);
}

/* All are granted, since nobody else has them. */
static bool is_granted(struct sender *s, kvshm_transfer *transfer)
{
	struct kvshm_transfer_info info = { 0 };
	struct kvshm_event events[SOME];
	uint64_t deadline = base_now() + PATIENCE;
	size_t count;
	bool good = true;

	while (good && info.granted < SOME) {
		good = goes_on(s, "peer_work", kvshm_peer_work(s->peer, deadline, events, SOME, &count), 0) &&
		       goes_on(s, "transfer_look", kvshm_transfer_look(transfer, &info), 0);
		if (good && info.ended)
			good = goes_on(s, "a transfer that is under way", info.result ? info.result : -EPROTO, 0);
	}
	return good;
}

static bool write_some(struct sender *s, kvshm_transfer *transfer, unsigned first, uint32_t count)
{
	static const uint32_t positions[SOME] = { 0, 1, 2, 3 };

	for (uint32_t i = 0; i < count; i++)
		for (unsigned plane = 0; plane < PLANES; plane++) {
			void *bytes = s->memory[i][plane];

			write_plane(bytes, first + i, plane);
			if (!goes_on(s, "transfer_write", kvshm_transfer_write(transfer, i, plane, 0, bytes,
									       LOAD_BLOCK_SIZE), 0))
				return false;
		}
	return goes_on(s, "transfer_commit", kvshm_transfer_commit(transfer, positions, count), 0);
}

/* From registered memory; one block in the end is given up. */
static bool write_and_give_up(struct sender *s)
{
	const uint32_t last = SOME - 1;
	kvshm_transfer *transfer;

	return open_one(s, "corpse", FRESH, &transfer) && is_granted(s, transfer) &&
	       write_some(s, transfer, FRESH, last) &&
	       goes_on(s, "transfer_give_up", kvshm_transfer_give_up(transfer, &last, 1), 0) &&
	       ends(s, "the end of what was given up", transfer, -ECANCELED);
}

/* A put, and one that is aborted among its writes. */
static bool write_and_abort(struct sender *s)
{
	kvshm_transfer *transfer;

	return open_one(s, NULL, FRESH + SOME, &transfer) && is_granted(s, transfer) &&
	       write_some(s, transfer, FRESH + SOME, SOME) && ends(s, "the end of a put", transfer, 0) &&
	       open_one(s, NULL, FRESH + 2 * SOME, &transfer) && is_granted(s, transfer) &&
	       write_some(s, transfer, FRESH + 2 * SOME, 1) &&
	       goes_on(s, "transfer_abort", kvshm_transfer_abort(transfer), 0) &&
	       ends(s, "the end of an abort", transfer, -ECANCELED);
}

/* What the receiver's store has comes into the sender's. */
static bool want(struct sender *s)
{
	struct kvshm_transfer_info info;
	struct kvshm_handle refs[THERE];
	struct kvshm_key keys[THERE];
	kvshm_transfer *transfer;
	int results[THERE];
	bool good;

	for (unsigned i = 0; i < THERE; i++)
		keys[i] = key_of(HERE - 1 + i);
	good = goes_on(s, "want", kvshm_want(s->peer, "want", 4, NULL, keys, THERE, &transfer), 0) &&
	       goes_on(s, "the end of a want", kvshm_transfer_wait(transfer, base_now() + PATIENCE), 0);
	if (!good || !goes_on(s, "transfer_look", kvshm_transfer_look(transfer, &info), 0))
		return false;
	base_check(info.has_request);
	if (!goes_on(s, "claim", kvshm_request_claim(s->store, &info.request, keys, THERE, refs, results), 0))
		return false;
	for (unsigned i = 0; i < THERE; i++)
		if (results[i] == 0) {
			look_at(s->store, &refs[i], HERE - 1 + i);
			base_expect(kvshm_release(s->store, &refs[i]), 0);
		}
	return goes_on(s, "end", kvshm_request_end(s->store, &info.request), 0);
}

static void send_all(void *arg)
{
	const struct actor *actor = arg;
	struct sender s = { .stage = actor->scene->stage };
	bool good;

	while (!atomic_load(&s.stage->listening) && !atomic_load(&s.stage->dead))
		(void)sched_yield();
	begin(actor->traced);
	base_expect(kvshm_attach(actor->scene->here, NULL, &s.store), 0);
	if (!atomic_load(&s.stage->listening) ||
	    !goes_on(&s, "connect", kvshm_connect(s.store, s.stage->url, NULL, base_now() + PATIENCE, &s.peer), 0)) {
		base_expect(kvshm_detach(s.store), 0);
		return;
	}
	good = goes_on(&s, "register", kvshm_peer_register(s.peer, s.memory, sizeof(s.memory)), 0);
	good = good && send_some(&s) && write_and_give_up(&s) && write_and_abort(&s) && want(&s);
	if (good)
		(void)goes_on(&s, "unregister", kvshm_peer_unregister(s.peer, s.memory), 0);
	base_expect(kvshm_disconnect(s.peer), 0);
	base_expect(kvshm_detach(s.store), 0);
}

/* ---- A death ---------------------------------------------------------------------------------------------- */

static void make(struct scene *scene, unsigned which)
{
	struct kvshm_create_options options;
	bool drop = which && scene->drop;

	load_options(&options, BLOCKS, PLANES, drop ? KVSHM_DROP : KVSHM_KEEP);
	options.clients = 6;
	options.requests = 10;
	base_expect(kvshm_create(which ? scene->there : scene->here, &options, &scene->owners[which]), 0);
	base_expect(kvshm_attach(which ? scene->there : scene->here, NULL, &scene->engines[which]), 0);
	for (unsigned i = 0; i < (which ? THERE : HERE); i++)
		put(scene->engines[which], which ? HERE - 1 + i : i);
}

/* Lets the victim get to its system call of that number, from 0, and kills it there. False: it came to its end before.
 * A receiver is told to end once the other one, the sender, has ended. */
static bool kill_before(struct scene *scene, pid_t victim, pid_t other, bool *reaped, uint64_t number)
{
	struct stage *stage = scene->stage;
	uint64_t stops = 0;
	int status;

	for (;;) {
		base_check(waitpid(victim, &status, 0) == victim);
		if (WIFEXITED(status)) {
			base_check(WEXITSTATUS(status) == 0);
			return false;
		}
		base_check(WIFSTOPPED(status));
		/* Each call stops it twice, as it begins and as it ends. The first stop is its own. */
		if (WSTOPSIG(status) == SIGTRAP && stops++ == 2 * number)
			break;
		if (!*reaped && other && waitpid(other, &status, WNOHANG) == other) {
			base_check(WIFEXITED(status) && WEXITSTATUS(status) == 0);
			*reaped = true;
			atomic_store(&stage->over, true);
		}
		base_check(ptrace(PTRACE_SYSCALL, victim, NULL, NULL) == 0);
	}
	atomic_store(&stage->dead, true);
	base_signal(victim, SIGKILL);
	base_check(waitpid(victim, &status, 0) == victim && WIFSIGNALED(status));
	return true;
}

/* What an engine does with a request of which it knows; one that is complete has all its blocks. */
static void end_request(kvshm_store *store, const char *id)
{
	struct kvshm_handle refs[HERE];
	struct kvshm_request request;
	struct kvshm_key keys[HERE];
	int results[HERE];
	int rc = kvshm_request_find(store, id, strlen(id), &request);

	if (rc == -ENOENT || kvshm_request_wait(store, &request, 0))
		return;
	for (unsigned i = 0; i < HERE; i++)
		keys[i] = key_of(i);
	if (kvshm_request_claim(store, &request, keys, HERE, refs, results))
		return;
	for (unsigned i = 0; i < HERE; i++) {
		base_expect(results[i], 0);
		look_at(store, &refs[i], i);
		base_expect(kvshm_release(store, &refs[i]), 0);
	}
	rc = kvshm_request_end(store, &request);
	base_check(rc == 0 || rc == -EALREADY);
}

/* Nothing is under way any more. By itself: only the dead are recovered. */
static void settle(struct scene *scene, unsigned which)
{
	const char *name = which ? scene->there : scene->here;
	uint64_t deadline = base_now() + BASE_NEVER;
	char why[256];

	while (!base_at_rest(name, BLOCKS, why)) {
		if (base_now() > deadline)
			base_fail("store %s does not come to rest: %s", name, why);
		if (which)
			end_request(scene->engines[which], "victim");
		base_expect(kvshm_recover(scene->engines[which], NULL), 0);
	}
}

static int count_peer(const struct kvshm_peer_view *peer, void *arg)
{
	(void)peer;
	++*(unsigned *)arg;
	return 0;
}

/* All that is left is looked at: by the engine, and by the inquest. */
static void judge(struct scene *scene, unsigned which)
{
	const char *name = which ? scene->there : scene->here;
	struct inquest asked = { .living = 1, .outside = scene->deaths % 2 };
	struct image_store store;
	unsigned peers = 0;
	struct image left;
	kvshm_view *view;
	uint64_t found;
	char why[256];

	found = look_at_all(scene->engines[which]);
	if (which)
		scene->found |= found;
	else
		base_check((found & 0xff) == 0xff); /* its own are there as before */
	base_expect(kvshm_view_open(name, NULL, &view), 0);
	base_expect(kvshm_view_peers(view, count_peer, &peers), 0);
	kvshm_view_close(view);
	base_check(peers == 0);
	image_open(name, &store);
	image_new(&store, &left);
	(void)image_take(&store, &left);
	if (!inquest(&asked, &store, &left, why))
		base_fail("store %s: %s", name, why);
	image_free(&left);
	image_close(&store);
}

static void unmake(struct scene *scene, unsigned which)
{
	base_expect(kvshm_detach(scene->engines[which]), 0);
	base_expect(kvshm_destroy(scene->owners[which]), 0);
}

/* False: the victim came to its end. */
static bool kill_one(struct scene *scene, bool receiver, uint64_t number)
{
	struct stage *stage = scene->stage;
	struct actor actors[2] = { { scene, !receiver }, { scene, receiver } };
	pid_t pids[2];
	bool reaped = false, killed;
	uint64_t died;

	scene->drop = number % 2;
	make(scene, 0);
	make(scene, 1);
	atomic_store(&stage->listening, false);
	atomic_store(&stage->dead, false);
	atomic_store(&stage->over, false);
	pids[1] = base_fork(receive, &actors[1]);
	pids[0] = base_fork(send_all, &actors[0]);
	killed = kill_before(scene, pids[receiver], receiver ? pids[0] : 0, &reaped, number);
	died = base_now();
	if (receiver && !reaped)
		base_check(base_reap(pids[0]) == 0);
	settle(scene, 1);
	settle(scene, 0);
	base_histogram_add(&scene->back, base_now() - died);
	atomic_store(&stage->over, true);
	if (!receiver)
		base_check(base_reap(pids[1]) == 0);
	for (unsigned i = 0; i < 2; i++) {
		judge(scene, i);
		unmake(scene, i);
	}
	scene->deaths += killed;
	return killed;
}

static void run(struct scene *scene, bool receiver)
{
	uint64_t random = base_stream(receiver), number = 0;

	/* In a short run some are left out, others each time. */
	while (kill_one(scene, receiver, number))
		number += base_long() ? 1 : 1 + base_below(&random, 6);
	(void)printf("a %s was killed before each of some of %" PRIu64 " system calls\n",
		     receiver ? "receiver" : "sender", number);
}

static void try_to_trace(void *arg)
{
	(void)arg;
	_exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) ? 1 : 0);
}

int main(void)
{
	struct scene *scene = base_shared(sizeof(*scene));
	int status = 0;
	pid_t pid;

	base_begin();
	pid = base_fork(try_to_trace, NULL);
	if (waitpid(pid, &status, 0) != pid || status)
		base_skip("ptrace(2) is not possible here");
	scene->stage = base_shared(sizeof(*scene->stage));
	scene->here = base_store("here");
	scene->there = base_store("there");
	run(scene, false);
	run(scene, true);
	(void)printf("%" PRIu64 " deaths; transfers that came to their end %" PRIu64 ", and that did not %" PRIu64 "\n",
		     scene->deaths, scene->stage->whole, scene->stage->unfinished);
	base_histogram_judge(&scene->back, "from the death until both stores were at rest");
	base_check(scene->stage->whole && scene->stage->unfinished && scene->found);
	base_check(base_files(scene->here) == 0 && base_files(scene->there) == 0);
	return base_pass();
}
