/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_inspect.c: what is left when everyone has ended, seen with other eyes than the replay's own: what kvshm-check
 * finds; requests of this replay that are still open; and, if no client is attached any more, room that is reserved.
 */
#include "config.h"

#include "replay.h"
#include "tool.h"

#include <inttypes.h>
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

/* What is looked for with a view. */
struct look {
	const struct replay_job *job;
	bool aloud;
	unsigned said;
	struct kvshm_check_result found;
	uint64_t open, room; /* requests and blocks */
};

static void say_finding(const char *finding, void *arg)
{
	struct look *look = arg;

	if (look->aloud && look->said++ < FINDINGS_SAID)
		tool_say("%s", finding);
}

static int count_open(const struct kvshm_request_info *request, void *arg)
{
	struct look *look = arg;
	size_t length = strlen(look->job->run);
	char finding[128];

	if (request->state == KVSHM_REQUEST_CLOSED || request->id_length <= length ||
	    memcmp(request->id, look->job->run, length) != 0 || request->id[length] != '/')
		return 0;
	look->open++;
	snprintf(finding, sizeof(finding), "request %.*s is open, and nobody has it", (int)request->id_length,
		 (const char *)request->id);
	say_finding(finding, look);
	return 0;
}

static int count_room(kvshm_view *view, struct look *look)
{
	struct kvshm_usage usage;
	char finding[128];
	int rc = kvshm_view_usage(view, &usage);

	if (rc || !usage.room)
		return rc;
	look->room = usage.room;
	snprintf(finding, sizeof(finding), "%" PRIu64 " blocks are reserved, and nobody is attached", usage.room);
	say_finding(finding, look);
	return 0;
}

/* Recovers the dead, which attaching and detaching also shows to work on what the replay has left. */
static int recover(const struct replay_job *job)
{
	const struct kvshm_attach_options options = { .dir = job->dir, .name = "replay-inspection" };
	kvshm_store *store;
	int rc = kvshm_attach(job->store, &options, &store);
	int detached;

	if (rc)
		return rc;
	rc = kvshm_recover(store, NULL);
	detached = kvshm_detach(store);
	return rc ? rc : detached;
}

static int check(struct look *look)
{
	kvshm_view *view;
	int rc = kvshm_view_open(look->job->store, look->job->dir, &view);

	if (rc)
		return rc;
	look->open = look->room = look->said = 0;
	rc = kvshm_view_check(view, say_finding, look, &look->found);
	if (!rc)
		rc = kvshm_view_requests(view, count_open, look);
	if (!rc && look->found.quiescent)
		rc = count_room(view, look);
	kvshm_view_close(view);
	if (look->said > FINDINGS_SAID)
		tool_say("and %u more", look->said - FINDINGS_SAID);
	return rc;
}

/* What dead clients have left is no leak as long as recovery will take it; what stays for a second is. */
static int inspect(const struct replay_job *job, uint64_t *leaked)
{
	const struct timespec pause = { .tv_nsec = LOOK_EVERY * 1000000L };
	struct look look = { .job = job };
	int rc;

	for (unsigned n = 1;; n++) {
		rc = recover(job);
		if (!rc)
			rc = check(&look);
		if (rc || !look.found.pending || n == LOOKS)
			break;
		nanosleep(&pause, NULL);
	}
	*leaked = look.found.leaked + look.found.unsound + look.found.pending + look.open + look.room;
	look.aloud = true;
	return rc || !*leaked ? rc : check(&look); /* the same once more, with words */
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
