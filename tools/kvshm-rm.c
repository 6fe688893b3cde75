/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * kvshm-rm: removes stores that nobody has, of any version of kvshm: those that are named, or all dead ones, as a job's
 * epilog wants it. What somebody has is refused, or with --dead passed over. Prints a line for each that it removed.
 */
#include "config.h"

#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { IN_USE = 2 }; /* exit status: a store that was named is in use */

static int told(const char *name, int result)
{
	if (result)
		tool_say("%s", kvshm_error());
	else
		printf("removed %s\n", name);
	return result;
}

/* The exit status of them all: a failure outdoes a store that is in use. */
static int remove_named(char **names, const char *dir)
{
	int status = EXIT_SUCCESS;

	for (; *names; names++) {
		int rc = told(*names, kvshm_unlink(*names, dir));

		if (rc == -EBUSY && status == EXIT_SUCCESS)
			status = IN_USE;
		else if (rc && rc != -EBUSY)
			status = EXIT_FAILURE;
	}
	return status;
}

static int tell_dead(const char *name, int result, void *arg)
{
	int *status = arg;

	if (told(name, result))
		*status = EXIT_FAILURE;
	return 0;
}

static int remove_dead(const char *dir)
{
	int status = EXIT_SUCCESS;

	if (!kvshm_unlink_dead(dir, tell_dead, &status))
		return status;
	tool_say("%s", kvshm_error());
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	bool dead = false;
	const char *dir;
	const struct tool_option options[] = {
		{ .name = "dead", .kind = TOOL_FLAG, .to.flag = &dead,
		  .help = "remove all stores that nobody has, and what makers who died have left" },
		{ .name = NULL },
	};
	const struct tool_program program = {
		.name = "kvshm-rm",
		.summary = "Removes kvshm stores that nobody has",
		.operands = "NAME... | --dead",
		.options = options,
	};
	int first = tool_options(&program, argc, argv, &dir);
	int status;

	if (dead && first < argc)
		tool_bad_use("--dead finds the stores itself: leave '%s' out, or --dead", argv[first]);
	if (!dead && first == argc)
		tool_bad_use("NAME is missing: the stores to remove, or --dead for all that nobody has");
	kvshm_set_log(tool_log, NULL);
	status = dead ? remove_dead(dir) : remove_named(argv + first, dir);
	return tool_flush() ? status : EXIT_FAILURE;
}
