/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * kvshm-check: proves from a store's segment alone that every invariant holds, and lists what does not, a line each.
 * Its exit status is the answer: scripts need not read the text.
 */
#include "config.h"

#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	SOUND = 0,
	UNSOUND = 1,
	NOT_CHECKED = 2,
};

static void print_finding(const char *finding, void *arg)
{
	(void)arg;
	puts(finding);
}

static bool is_sound(const struct kvshm_check_result *result)
{
	return !result->unsound && !result->leaked;
}

static void print_summary(const char *name, const struct kvshm_check_result *result)
{
	printf("%s: %s: %" PRIu64 " unsound, %" PRIu64 " leaked, %" PRIu64 " pending (dead clients' work, for the next "
	       "recovery); %s\n", name, is_sound(result) ? "sound" : "not sound", result->unsound, result->leaked,
	       result->pending, result->quiescent ? "no client was alive: everything could be judged"
						  : "at work: what work in progress can explain was passed over");
}

static int check(const char *name, const char *dir)
{
	struct kvshm_check_result result;
	kvshm_view *view;
	int rc;

	rc = kvshm_view_open(name, dir, &view);
	if (rc) {
		tool_say("%s", kvshm_error());
		return rc == -EINVAL ? TOOL_BAD_USE : NOT_CHECKED;
	}
	rc = kvshm_view_check(view, print_finding, NULL, &result);
	if (rc)
		tool_say("%s", kvshm_error());
	else
		print_summary(name, &result);
	kvshm_view_close(view);
	if (rc || !tool_flush())
		return NOT_CHECKED;
	return is_sound(&result) ? SOUND : UNSOUND;
}

int main(int argc, char **argv)
{
	const char *name = NULL, *dir;
	const struct tool_option options[] = {
		{ .name = "store", .argument = "NAME", .kind = TOOL_TEXT, .to.text = &name, .required = true,
		  .help = "the store to check (required)" },
		{ .name = NULL },
	};
	const struct tool_program program = {
		.name = "kvshm-check",
		.summary = "Proves from a kvshm store's segment alone that it is sound, or lists what is not",
		.options = options,
	};

	tool_options(&program, argc, argv, &dir);
	return check(name, dir);
}
