/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_owner.c: see replay_owner.h.
 */
#include "config.h"

#include "replay_owner.h"
#include "tool.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOOK_EVERY = 50 }; /* ms, for dead engines, as kvshmd does */

/* Serves until the replay has closed its end, or is no more: then all of its processes are, and have closed theirs. */
static int serve(kvshm_owner *owner, int end)
{
	struct pollfd wanted[] = { { end, POLLIN, 0 }, { -1, POLLIN, 0 } };
	int rc = kvshm_owner_fd(owner, &wanted[1].fd);

	while (!rc && !wanted[0].revents) {
		(void)poll(wanted, 2, LOOK_EVERY);
		rc = kvshm_owner_recover(owner, NULL);
	}
	if (rc)
		tool_say("%s", kvshm_error());
	return rc;
}

/* The whole life of the owner, in its process. Returns its exit status. */
static int own(const char *name, const struct kvshm_create_options *options, int ready, int end)
{
	kvshm_owner *owner;
	int rc = kvshm_create(name, options, &owner);

	if (rc) {
		tool_say("%s", kvshm_error());
		return EXIT_FAILURE;
	}
	if (write(ready, "", 1) == 1)
		rc = serve(owner, end);
	if (kvshm_destroy(owner)) {
		tool_say("%s", kvshm_error());
		rc = -EIO;
	}
	return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Closes what the other process has of two pipes, and goes on as that one or this. */
static bool begin(const char *name, const struct kvshm_create_options *options, struct replay_owner *owner,
		  const int ready[2], const int end[2])
{
	char told;

	owner->pid = fork();
	if (owner->pid < 0)
		tool_say("no process for the store's owner: %s", strerror(errno));
	if (!owner->pid) {
		(void)close(ready[0]);
		(void)close(end[1]);
		_exit(own(name, options, ready[1], end[0]));
	}
	(void)close(ready[1]);
	(void)close(end[0]);
	owner->end = end[1];
	return owner->pid > 0 && read(ready[0], &told, 1) == 1; /* its death is the end of the file */
}

bool replay_owner_start(const char *name, const struct kvshm_create_options *options, struct replay_owner *owner)
{
	int ready[2], end[2];
	bool good;

	if (pipe(ready) || pipe(end)) {
		tool_say("no pipe to the store's owner: %s", strerror(errno));
		return false;
	}
	good = begin(name, options, owner, ready, end);
	(void)close(ready[0]);
	if (!good) {
		(void)close(owner->end);
		if (owner->pid > 0)
			(void)waitpid(owner->pid, NULL, 0);
		owner->pid = 0;
	}
	return good;
}

bool replay_owner_end(const struct replay_owner *owner)
{
	int status = -1;

	(void)close(owner->end);
	if (waitpid(owner->pid, &status, 0) != owner->pid || WIFSIGNALED(status)) {
		tool_say("the store's owner was killed: kvshm-rm --dead removes the store");
		return false;
	}
	return !status;
}
