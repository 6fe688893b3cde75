/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_result.c: what is left when everyone has ended, seen with other eyes than the replay's own, and the result for
 * people and for programs.
 */
#include "config.h"

#include "replay.h"
#include "tool.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	FINDINGS_SAID = 20,
	LOOKS = 100,	/* at what dead clients have left: so often ... */
	LOOK_EVERY = 10 /* ... every so many ms, until it is gone */
};

/* ---- Inspection ------------------------------------------------------------------------------------------ */

static void say_finding(const char *finding, void *arg)
{
	unsigned *said = arg;

	if ((*said)++ < FINDINGS_SAID)
		tool_say("%s", finding);
}

/* Recovers the dead, which attaching and detaching also shows to work on what the replay has left. */
static int recover(const struct replay_job *job)
{
	const struct kvshm_attach_options options = { .dir = job->dir, .name = "replay-inspection" };
	kvshm *store;
	int rc = kvshm_attach(job->store, &options, &store);
	int detached;

	if (rc)
		return rc;
	rc = kvshm_recover(store, NULL);
	detached = kvshm_detach(store);
	return rc ? rc : detached;
}

static int check(const struct replay_job *job, bool aloud, struct kvshm_check_result *found)
{
	unsigned said = 0;
	kvshm_view *view;
	int rc = kvshm_view_open(job->store, job->dir, &view);

	if (rc)
		return rc;
	rc = kvshm_view_check(view, aloud ? say_finding : NULL, &said, found);
	kvshm_view_close(view);
	if (said > FINDINGS_SAID)
		tool_say("and %u more", said - FINDINGS_SAID);
	return rc;
}

/* What dead clients have left is no leak as long as recovery will take it; what stays for a second is. */
static int inspect(const struct replay_job *job, uint64_t *leaked)
{
	const struct timespec pause = { .tv_nsec = LOOK_EVERY * 1000000L };
	struct kvshm_check_result found;
	int rc;

	for (unsigned look = 1;; look++) {
		rc = recover(job);
		if (!rc)
			rc = check(job, false, &found);
		if (rc || !found.pending || look == LOOKS)
			break;
		nanosleep(&pause, NULL);
	}
	if (!rc && (found.leaked || found.unsound || found.pending))
		rc = check(job, true, &found); /* the same once more, with words */
	if (!rc)
		*leaked = found.leaked + found.unsound + found.pending;
	return rc;
}

bool replay_inspect(const struct replay_job *job, uint64_t *leaked)
{
	uint64_t *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = -1;
	pid_t pid = -1;

	if (shared != MAP_FAILED)
		pid = fork();
	if (!pid) {
		int rc = inspect(job, shared);

		if (rc)
			tool_say("the store can't be inspected: %s", kvshm_error());
		_exit(rc ? EXIT_FAILURE : EXIT_SUCCESS);
	}
	if (pid < 0)
		tool_say("no process to inspect the store with");
	else if (waitpid(pid, &status, 0) == pid && WIFSIGNALED(status))
		tool_say("the store can't be inspected: the process that did it was ended by signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	if (shared != MAP_FAILED) {
		*leaked = *shared;
		munmap(shared, sizeof(*shared));
	}
	return !status;
}

/* ---- Output ---------------------------------------------------------------------------------------------- */

/* A value is a count, or a fraction with so many decimals. */
struct value {
	const char *name;
	const char *remark; /* for people */
	uint64_t count;
	double fraction;
	int decimals;
};

enum { VALUES = 20, TICKET_VALUES = 6 };

/* Lists what there is to say, first what there always is. Returns how many these are. */
static unsigned list_values(const struct replay_job *job, const struct replay_result *result,
			    struct value values[static VALUES])
{
	const struct replay_tally *tally = &result->tally;
	double rate = tally->block_refs ? (double)tally->hits / (double)tally->block_refs : 0.0;
	const struct value list[VALUES] = {
		{ "requests", "that have ended", tally->requests, 0, 0 },
		{ "block_refs", "blocks of these requests", tally->block_refs, 0, 0 },
		{ "hits", "blocks that were there or being filled", tally->hits, 0, 0 },
		{ "hit_rate", "hits / block_refs", 0, rate, 6 },
		{ "filled", "blocks written and published", tally->filled, 0, 0 },
		{ "evicted", "blocks taken back for their room", result->evicted, 0, 0 },
		{ "waited", "waits for another engine's fill", tally->waited, 0, 0 },
		{ "given_up", "fills given up for want of room", tally->given_up, 0, 0 },
		{ "killed", job->tickets ? "processes killed" : "engines killed", result->killed, 0, 0 },
		{ "killed_filling", "of these, in the middle of a fill", result->killed_filling, 0, 0 },
		{ "killed_holding", "of these, with blocks held", result->killed_holding, 0, 0 },
		{ "corrupt", "blocks with bytes that are not their key's", result->corrupt, 0, 0 },
		{ "leaked", "blocks and holds that nobody has, at the end", result->leaked, 0, 0 },
		{ "seconds", "from the first engine's start to the last one's end", 0, result->seconds, 3 },
		{ "killed_scheduler", "of the killed ones, schedulers", result->killed_scheduler, 0, 0 },
		{ "killed_worker", "of the killed ones, workers", result->killed_worker, 0, 0 },
		{ "held_by_ticket", "holds that workers took by ticket", tally->held, 0, 0 },
		{ "joined", "planes of fills that workers wrote", tally->joined, 0, 0 },
		{ "asked_again", "fills that came to nothing, and were asked for again", tally->asked_again, 0, 0 },
		{ "missed_at_worker", "hits of a scheduler that a worker could not hold", result->missed_at_worker, 0,
		  0 },
	};

	memcpy(values, list, sizeof(list));
	return job->tickets ? VALUES : VALUES - TICKET_VALUES;
}

static void print_text(const struct value *values, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (values[i].decimals)
			printf("%-16s %12.*f", values[i].name, values[i].decimals, values[i].fraction);
		else
			printf("%-16s %12" PRIu64, values[i].name, values[i].count);
		printf("  %s\n", values[i].remark);
	}
}

static bool print_json(const struct value *values, unsigned count)
{
	json_t *object = json_object();
	bool good = object;

	for (unsigned i = 0; good && i < count; i++)
		good = !json_object_set_new(object, values[i].name,
					    values[i].decimals ? json_real(values[i].fraction) :
								 json_integer((json_int_t)values[i].count));
	if (!good)
		tool_say("no memory for the result");
	else if (json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) || putchar('\n') == EOF)
		good = false; /* tool_flush() says why */
	json_decref(object);
	return good;
}

bool replay_print(const struct replay_job *job, const struct replay_result *result, bool json)
{
	struct value values[VALUES];
	unsigned count = list_values(job, result, values);
	bool good = true;

	if (json)
		good = print_json(values, count);
	else
		print_text(values, count);
	return tool_flush() && good;
}
