/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * kvshm-stat: shows a store, once or a line each interval, or which stores there are. It only reads: it needs no
 * client slot, changes nothing, and works on a store whose owner is dead. What it shows of a store at work is a moving
 * picture.
 */
#include "config.h"

#include "stat_settings.h"
#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Which stores there are ------------------------------------------------------------------------------ */

struct found {
	char name[KVSHM_NAME_MAX + 1];
	char *why; /* it can't be viewed; NULL: it could */
};

struct names {
	struct found *of;
	size_t count;
};

static int add_name(const char *name, void *arg)
{
	struct names *names = arg;
	struct found *grown = realloc(names->of, (names->count + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	names->of = grown;
	grown[names->count] = (struct found){ .why = NULL };
	snprintf(grown[names->count++].name, sizeof(grown->name), "%s", name);
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct found *)a)->name, ((const struct found *)b)->name);
}

static bool find_names(const struct stat_settings *settings, struct names *names)
{
	int rc = kvshm_list(settings->dir, add_name, names);

	if (rc) {
		tool_say("%s", rc == -ENOMEM ? strerror(ENOMEM) : kvshm_error());
		return false;
	}
	if (names->count)
		qsort(names->of, names->count, sizeof(*names->of), compare_names);
	return true;
}

static void forget_names(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->of[i].why);
	free(names->of);
}

/* The one store of the directory; NULL, with a message: there is none, or there are several. */
static const char *only_name(const struct stat_settings *settings, struct names *names)
{
	if (names->count == 1)
		return names->of[0].name;
	if (!names->count) {
		tool_say("no store in %s: kvshmd makes one; --dir looks elsewhere", tool_dir(settings->dir));
		return NULL;
	}
	tool_say("%zu stores in %s, say which with --store:", names->count, tool_dir(settings->dir));
	for (size_t i = 0; i < names->count; i++)
		tool_say("  %s", names->of[i].name);
	return NULL;
}

/* ---- Showing --------------------------------------------------------------------------------------------- */

/* The rows of one store, into a section that is open; or the page. */
static int show(const struct stat_settings *settings, kvshm_view *view, const char *name, struct stat_sink *sink)
{
	const struct stat_columns *columns = &settings->columns;
	int rc;

	if (settings->table == &stat_clients)
		return stat_show_clients(view, name, columns, sink);
	if (settings->table == &stat_blocks)
		return stat_show_blocks(view, name, columns, sink);
	if (settings->table == &stat_requests)
		return stat_show_requests(view, name, columns, sink);
	if (settings->table == &stat_pins)
		return stat_show_pins(view, name, columns, sink);
	if (settings->table == &stat_peers)
		return stat_show_peers(view, name, columns, sink);
	if (settings->table == &stat_stores)
		return stat_show_row(view, columns, sink);
	rc = stat_show_store(view, sink);
	if (!rc && settings->prometheus)
		rc = stat_show_mappings(view, name, sink);
	return !rc && settings->prometheus ? stat_show_all_of_peers(view, name, sink) : rc;
}

/* A store that can't be viewed has no rows of its own, but is one of the stores. */
static bool show_unviewed(const struct stat_settings *settings, struct found *found, struct stat_sink *sink)
{
	found->why = strdup(kvshm_error());
	if (found->why)
		tool_printable(found->why); /* it may tell what the segment says */
	if (settings->table == &stat_stores)
		return stat_show_head_row(found->name, settings->dir, &settings->columns, sink);
	if (settings->prometheus)
		return stat_show_head(found->name, settings->dir, sink);
	return false;
}

/* A store that has gone since it was listed is no fault. */
static bool show_found(const struct stat_settings *settings, struct found *found, struct stat_sink *sink)
{
	kvshm_view *view;
	int rc = kvshm_view_open(found->name, settings->dir, &view);
	bool good = true;

	if (rc == -ENOENT)
		return true;
	if (!rc) {
		good = !show(settings, view, found->name, sink);
		kvshm_view_close(view);
	} else {
		good = show_unviewed(settings, found, sink);
	}
	if (!good)
		tool_say("%s", found->why ? found->why : kvshm_error());
	return good;
}

static bool show_all(const struct stat_settings *settings, const struct names *names, struct stat_sink *sink)
{
	bool good = true;

	if (settings->table)
		sink->open(sink, settings->table->section, STAT_ROWS);
	for (size_t i = 0; i < names->count; i++)
		good = show_found(settings, &names->of[i], sink) && good;
	if (!settings->table)
		return good;
	sink->close(sink);
	for (size_t i = 0; settings->table == &stat_stores && i < names->count; i++)
		if (names->of[i].why)
			sink->remark(sink, names->of[i].why);
	return good;
}

static bool show_view(const struct stat_settings *settings, kvshm_view *view, struct stat_sink *sink)
{
	int rc;

	if (settings->interval)
		return stat_show_lines(view, &settings->columns, settings->interval, settings->count, sink);
	if (settings->table)
		sink->open(sink, settings->table->section, STAT_ROWS);
	rc = show(settings, view, settings->store, sink);
	if (settings->table)
		sink->close(sink);
	if (rc)
		tool_say("%s", kvshm_error());
	return !rc;
}

static bool show_one(const struct stat_settings *settings, struct stat_sink *sink)
{
	kvshm_view *view;
	int rc = kvshm_view_open(settings->store, settings->dir, &view);
	bool good;

	if (rc) {
		tool_say("%s", kvshm_error());
		if (!settings->table && rc != -EACCES) /* then not even that can be told */
			(void)stat_show_head(settings->store, settings->dir, sink);
		return false;
	}
	good = show_view(settings, view, sink);
	kvshm_view_close(view);
	return good;
}

static struct stat_sink *new_sink(const struct stat_settings *settings)
{
	struct stat_sink *sink;

	if (settings->prometheus)
		sink = stat_prometheus_new();
	else
		sink = settings->json ? stat_json_new() : stat_text_new();
	if (!sink)
		tool_say("%s", strerror(ENOMEM));
	return sink;
}

int main(int argc, char **argv)
{
	struct stat_settings settings;
	struct names names = { 0 };
	struct stat_sink *sink = NULL;
	bool good = true;

	stat_settings_read(argc, argv, &settings);
	if (!settings.store) {
		good = find_names(&settings, &names);
		if (good && !settings.list)
			good = (settings.store = only_name(&settings, &names));
	}
	if (good)
		good = (sink = new_sink(&settings));
	if (good) {
		good = settings.store ? show_one(&settings, sink) : show_all(&settings, &names, sink);
		good = sink->finish(sink) && good;
	}
	forget_names(&names);
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
