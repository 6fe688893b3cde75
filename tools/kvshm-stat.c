/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * kvshm-stat: shows a store, or which stores there are. It only reads: it needs no client slot, changes nothing, and
 * works on a store whose owner is dead. What it shows of a store at work is a moving picture.
 */
#include "config.h"

#include "stat.h"
#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct settings {
	const char *store;
	const char *dir;
	bool list;
	bool clients;
	bool json;
};

static void read_settings(int argc, char **argv, struct settings *settings)
{
	const struct tool_option options[] = {
		{ .name = "store", .argument = "NAME", .kind = TOOL_TEXT, .to.text = &settings->store,
		  .help = "show this store; may be left out where there is only one" },
		{ .name = "list", .kind = TOOL_FLAG, .to.flag = &settings->list,
		  .help = "show which stores there are, a line each" },
		{ .name = "clients", .kind = TOOL_FLAG, .to.flag = &settings->clients,
		  .help = "show only the clients; with --list, those of every store" },
		{ .name = "json", .kind = TOOL_FLAG, .to.flag = &settings->json,
		  .help = "print a JSON document instead of a page" },
		{ .name = NULL },
	};
	const struct tool_program program = {
		.name = "kvshm-stat",
		.summary = "Shows a kvshm store: geometry, blocks, holds, counters and clients",
		.options = options,
	};

	tool_options(&program, argc, argv, &settings->dir);
	if (settings->store && settings->list)
		tool_bad_use("--store shows one store and --list all of them: leave one out");
}

/* ---- Which stores there are ------------------------------------------------------------------------------ */

struct names {
	char (*name)[KVSHM_NAME_MAX + 1];
	size_t count;
};

static int add_name(const char *name, void *arg)
{
	struct names *names = arg;
	void *grown = realloc(names->name, (names->count + 1) * sizeof(*names->name));

	if (!grown)
		return -ENOMEM;
	names->name = grown;
	snprintf(names->name[names->count++], sizeof(*names->name), "%s", name);
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(a, b);
}

static bool find_names(const struct settings *settings, struct names *names)
{
	int rc = kvshm_list(settings->dir, add_name, names);

	if (rc) {
		tool_say("%s", rc == -ENOMEM ? strerror(ENOMEM) : kvshm_error());
		return false;
	}
	if (names->count)
		qsort(names->name, names->count, sizeof(*names->name), compare_names);
	return true;
}

/* The one store of the directory; NULL, with a message: there is none, or there are several. */
static const char *only_name(const struct settings *settings, struct names *names)
{
	if (names->count == 1)
		return names->name[0];
	if (!names->count) {
		tool_say("no store in %s: kvshmd makes one; --dir looks elsewhere", tool_dir(settings->dir));
		return NULL;
	}
	tool_say("%zu stores in %s, say which with --store:", names->count, tool_dir(settings->dir));
	for (size_t i = 0; i < names->count; i++)
		tool_say("  %s", names->name[i]);
	return NULL;
}

/* ---- Showing --------------------------------------------------------------------------------------------- */

/* Into a section of rows that is open. A store that has gone since it was listed is no fault. */
static bool show_row(const struct settings *settings, const char *name, struct stat_sink *sink)
{
	kvshm_view *view;
	int rc = kvshm_view_open(name, settings->dir, &view);

	if (rc == -ENOENT)
		return true;
	if (!rc) {
		rc = settings->clients ? stat_show_clients(view, name, sink) : stat_show_summary(view, sink);
		if (rc)
			tool_say("%s", kvshm_error());
		kvshm_view_close(view);
	} else {
		tool_say("%s", kvshm_error());
	}
	return !rc;
}

static bool show_all(const struct settings *settings, const struct names *names, struct stat_sink *sink)
{
	bool good = true;

	sink->open(sink, settings->clients ? "clients" : "stores", STAT_ROWS);
	for (size_t i = 0; i < names->count; i++)
		good = show_row(settings, names->name[i], sink) && good;
	sink->close(sink);
	return good;
}

static bool show_one(const struct settings *settings, const char *name, struct stat_sink *sink)
{
	kvshm_view *view;
	int rc = kvshm_view_open(name, settings->dir, &view);

	if (rc) {
		tool_say("%s", kvshm_error());
		return false;
	}
	if (settings->clients) {
		sink->open(sink, "clients", STAT_ROWS);
		rc = stat_show_clients(view, NULL, sink);
		sink->close(sink);
	} else {
		rc = stat_show_store(view, sink);
	}
	if (rc)
		tool_say("%s", kvshm_error());
	kvshm_view_close(view);
	return !rc;
}

int main(int argc, char **argv)
{
	struct settings settings = { 0 };
	struct names names = { 0 };
	struct stat_sink *sink;
	bool good = true;

	read_settings(argc, argv, &settings);
	if (!settings.store) {
		good = find_names(&settings, &names);
		if (good && !settings.list)
			good = (settings.store = only_name(&settings, &names));
	}
	if (!good)
		goto free_names;
	sink = settings.json ? stat_json_new() : stat_text_new();
	if (!sink) {
		tool_say("%s", strerror(ENOMEM));
		good = false;
		goto free_names;
	}
	good = settings.store ? show_one(&settings, settings.store, sink) : show_all(&settings, &names, sink);
	good = sink->finish(sink) && good;
free_names:
	free(names.name);
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
