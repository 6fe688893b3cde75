/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * kvshm-replay: replays a trace of LLM requests as several engine processes do, kills some of them if asked to, and
 * proves that every byte that was read was the right one and that nothing was lost.
 */
#include "config.h"

#include "replay.h"
#include "replay_bytes.h"
#include "replay_owner.h"
#include "replay_remote.h"
#include "replay_settings.h"
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MS UINT64_C(1000000)

enum { STATUS_FOUND = 2 }; /* something was corrupt, has leaked or was missed */

/* ---- The trace ------------------------------------------------------------------------------------------- */

static bool get_trace(const struct replay_settings *settings, struct replay_trace *trace)
{
	if (settings->abort)
		tool_say("aborting %" PRIu64 " of 100 requests with seed %d", settings->abort, REPLAY_ABORT_SEED);
	if (settings->trace)
		return replay_trace_read(trace, settings->trace);
	tool_say("generating %" PRIu64 " requests with seed %d", settings->generate, REPLAY_GENERATE_SEED);
	replay_trace_generate(trace, settings->generate, REPLAY_GENERATE_SEED);
	return true;
}

/* ---- The store ------------------------------------------------------------------------------------------- */

/* Its owner: this process, or, of GPU memory, another. */
struct owned {
	kvshm_owner *here;
	struct replay_owner there;
};

/* A store of our process number that has no living owner is one that an earlier process could not clear away. */
static bool make_store(const struct replay_settings *settings, const char *name, struct owned *owned)
{
	struct kvshm_create_options options;

	kvshm_create_defaults(&options);
	options.dir = settings->dir;
	options.label = "kvshm-replay";
	options.block_size = settings->block_size ? settings->block_size : 4096;
	if (settings->planes)
		options.planes = (uint32_t)settings->planes;
	if (settings->retain >= 0)
		options.retain = (enum kvshm_retain)settings->retain;
	options.replace_dead = 1;
	if (replay_settings_requests(settings) > options.requests)
		options.requests = (uint32_t)replay_settings_requests(settings);
	if (replay_settings_processes(settings) >= options.clients)
		options.clients = (uint32_t)replay_settings_processes(settings) + 1; /* one for the inspection */
	if (__builtin_mul_overflow(settings->capacity, options.block_size, &options.size)) {
		tool_say("--capacity %" PRIu64 " and --block-size %" PRIu64 " make more than 2^64 bytes: use less",
			 settings->capacity, settings->block_size);
		return false;
	}
	options.pool = settings->pool;
	if (settings->gpu_export >= 0)
		options.gpu_export = (enum kvshm_export)settings->gpu_export;
	if (replay_settings_gpu(settings))
		return replay_owner_start(name, &options, &owned->there);
	if (kvshm_create(name, &options, &owned->here)) {
		tool_say("%s", kvshm_error());
		return false;
	}
	return true;
}

static bool destroy_store(const struct owned *owned)
{
	if (owned->here && kvshm_destroy(owned->here)) {
		tool_say("%s", kvshm_error());
		return false;
	}
	return !owned->there.pid || replay_owner_end(&owned->there);
}

/* What the store counts of all its clients. */
struct counters {
	uint64_t evictions, unclaimed;
};

static int take_counter(const struct kvshm_counter *counter, void *arg)
{
	struct counters *counters = arg;

	if (!strcmp(counter->name, "evictions"))
		counters->evictions = counter->value;
	else if (!strcmp(counter->name, "requests_unclaimed"))
		counters->unclaimed = counter->value;
	return 0;
}

static bool look_at_store(struct replay_job *job, struct counters *counters)
{
	struct kvshm_store_info info;
	kvshm_view *view;
	int rc = kvshm_view_open(job->store, job->dir, &view);

	if (!rc) {
		rc = kvshm_view_store(view, &info);
		if (!rc)
			rc = kvshm_view_counters(view, take_counter, counters);
		kvshm_view_close(view);
	}
	if (rc) {
		tool_say("%s", kvshm_error());
		return false;
	}
	job->geometry = info.geometry;
	job->memory = info.memory;
	return true;
}

static bool agrees(const char *option, uint64_t said, uint64_t found, const char *store)
{
	if (!said || said == found)
		return true;
	tool_say("--%s %" PRIu64 ": store '%s' has %" PRIu64 "; leave the option out, or name another store", option,
		 said, store, found);
	return false;
}

/* Whether all processes can be attached, and all requests open, at once. */
static bool has_slots(const struct replay_job *job)
{
	uint32_t clients = job->geometry.clients, requests = job->geometry.requests;
	uint64_t in_flight = (uint64_t)job->procs * job->in_flight;

	if (replay_processes(job) > clients) {
		tool_say("--procs %" PRIu32 "%s are %" PRIu32 " processes: the store takes %" PRIu32
			 " clients; use a smaller --procs", job->procs,
			 job->tickets ? " with --tickets and the store's planes" : "", replay_processes(job), clients);
		return false;
	}
	if (in_flight > requests)
		tool_say("--procs %" PRIu32 " with --in-flight %" PRIu32 " are %" PRIu64 " requests: the store takes %"
			 PRIu32 "; use a smaller --in-flight", job->procs, job->in_flight, in_flight, requests);
	return in_flight <= requests;
}

/* Whether a store that was named is what the command line says of it, and takes our keys. */
static bool store_fits(const struct replay_settings *settings, const struct kvshm_geometry *geometry)
{
	const char *store = settings->store;

	if (settings->retain >= 0 && settings->retain != (int)geometry->retain) {
		tool_say("--retain %s: store '%s' has %s; leave the option out, or name another store",
			 replay_retains[settings->retain], store, replay_retains[geometry->retain]);
		return false;
	}
	if (geometry->key_max < REPLAY_KEY_SIZE) {
		tool_say("store '%s' takes keys of up to %" PRIu32 " bytes: a replay needs one that takes %d", store,
			 geometry->key_max, REPLAY_KEY_SIZE);
		return false;
	}
	return agrees("capacity", settings->capacity, geometry->blocks, store) &&
	       agrees("block-size", settings->block_size, geometry->block_size, store) &&
	       agrees("planes", settings->planes, geometry->planes, store);
}

/* ---- The replay ------------------------------------------------------------------------------------------ */

/* Returns the exit status. The store is there. */
static int replay(const struct replay_settings *settings, struct replay_job *job)
{
	struct replay_result result = { 0 };
	struct counters before = { 0 }, after = { 0 };

	if (!look_at_store(job, &before) || (settings->store && !store_fits(settings, &job->geometry)))
		return EXIT_FAILURE;
	if (!has_slots(job))
		return EXIT_FAILURE;
	if (!replay_run(job, &result) || !replay_inspect(job, &result.leaked) || !look_at_store(job, &after))
		return EXIT_FAILURE;
	result.evicted = after.evictions - before.evictions;
	result.unclaimed = after.unclaimed - before.unclaimed;
	if (!replay_print(job, &result, settings->json))
		return EXIT_FAILURE;
	if (result.corrupt || result.leaked || result.missed_at_worker || result.missed_at_decoder)
		return STATUS_FOUND;
	return result.interrupted ? 128 + result.interrupted : EXIT_SUCCESS;
}

/* From here on these signals wait for replay_run(), so that nothing stays behind when a user ends the replay. */
static void hold_signals(void)
{
	static const int held[] = { SIGCHLD, SIGINT, SIGTERM, SIGHUP };
	sigset_t signals;

	(void)signal(SIGPIPE, SIG_IGN); /* a reader who has gone is found when the output is flushed */
	sigemptyset(&signals);
	for (size_t i = 0; i < sizeof(held) / sizeof(*held); i++)
		sigaddset(&signals, held[i]);
	sigprocmask(SIG_BLOCK, &signals, NULL);
}

int main(int argc, char **argv)
{
	struct replay_settings settings;
	struct replay_job job = { 0 };
	struct owned owned = { .here = NULL };
	struct timespec now;
	char own_name[32];
	int status = EXIT_FAILURE;

	replay_settings_read(argc, argv, &settings);
	/* The time too: in other pid namespaces, on the same files, the pid may be the same. */
	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(own_name, sizeof(own_name), "replay-%d-%05ld", (int)getpid(), now.tv_nsec / 10000);
	job.store = settings.store ? settings.store : own_name;
	job.dir = settings.dir;
	job.run = own_name;
	job.abort = (uint32_t)settings.abort;
	job.claim_timeout = settings.claim_timeout * 1000 * MS;
	job.procs = (uint32_t)settings.procs;
	job.tickets = settings.tickets;
	job.in_flight = (uint32_t)settings.in_flight;
	job.kill_every = settings.kill_every * MS;
	job.duration = settings.seconds * 1000 * MS;
	if (get_trace(&settings, &job.trace)) {
		hold_signals();
		if (settings.remote)
			status = replay_remote(&job, settings.remote, &settings.net, settings.block_size,
					       settings.json);
		else if (settings.store || make_store(&settings, own_name, &owned))
			status = replay(&settings, &job);
		if (!destroy_store(&owned))
			status = EXIT_FAILURE;
	}
	replay_trace_free(&job.trace);
	return status;
}
