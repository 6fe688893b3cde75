/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * kvshm-stat: shows a store, once or a line each interval, or which stores there are. It only reads: it needs no
 * client slot, changes nothing, and works on a store whose owner is dead. What it shows of a store at work is a moving
 * picture.
 */
#include "config.h"

#include "stat.h"
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct settings {
	const char *store;
	const char *dir;
	const char *columns_text;
	bool list, clients, blocks, json, prometheus;
	uint64_t interval; /* ns; 0: not line by line */
	uint64_t count;	   /* of lines; 0: no end */
	const struct stat_table *table; /* of the rows; NULL: a page */
	struct stat_columns columns;
};

/* ---- What is asked --------------------------------------------------------------------------------------- */

static void print_columns(void)
{
	stat_columns_help(stat_lines_table());
	stat_columns_help(&stat_stores);
	stat_columns_help(&stat_clients);
	stat_columns_help(&stat_blocks);
}

/* Seconds, perhaps with a fraction, from a millisecond to a day. */
static uint64_t read_interval(const char *text)
{
	double seconds = strtod(text, NULL);

	if (!*text || text[strspn(text, "0123456789.")] || strchr(text, '.') != strrchr(text, '.'))
		tool_bad_use("INTERVAL '%s': seconds are wanted, such as 1 or 0.5", text);
	if (seconds < 0.001 || seconds > 86400)
		tool_bad_use("INTERVAL %s: the least is 0.001, the most 86400 seconds", text);
	return (uint64_t)(seconds * 1e9);
}

static uint64_t read_count(const char *text)
{
	uint64_t count;

	errno = 0;
	count = strtoull(text, NULL, 10);
	if (!*text || text[strspn(text, "0123456789")])
		tool_bad_use("COUNT '%s': a number of lines is wanted", text);
	if (errno || !count)
		tool_bad_use("COUNT %s: the least is 1, the most %" PRIu64, text, UINT64_MAX);
	return count;
}

static void judge(const struct settings *settings)
{
	unsigned rows = settings->clients + settings->blocks + (settings->interval != 0);

	if (settings->store && settings->list)
		tool_bad_use("--store shows one store and --list all of them: leave one out");
	if (settings->json && settings->prometheus)
		tool_bad_use("--json and --prometheus are two forms of output: leave one out");
	if (rows > 1)
		tool_bad_use("--clients, --blocks and INTERVAL show one thing each: leave all but one out");
	if (settings->list && settings->interval)
		tool_bad_use("INTERVAL is for one store, and --list shows all of them: leave one out");
	if (settings->prometheus && (rows || settings->columns_text))
		tool_bad_use("--prometheus shows all there is, once: leave out --clients, --blocks, --columns and "
			     "INTERVAL");
	if (settings->columns_text && !rows && !settings->list)
		tool_bad_use("--columns chooses of rows: say INTERVAL, --clients, --blocks or --list as well");
}

static void choose_table(struct settings *settings)
{
	if (settings->interval)
		settings->table = stat_lines_table();
	else if (settings->clients)
		settings->table = &stat_clients;
	else if (settings->blocks)
		settings->table = &stat_blocks;
	else if (settings->list && !settings->prometheus)
		settings->table = &stat_stores;
	if (settings->table)
		stat_columns_choose(settings->table, settings->columns_text, settings->list, &settings->columns);
}

static void read_settings(int argc, char **argv, struct settings *settings)
{
	const struct tool_option options[] = {
		{ .name = "store", .argument = "NAME", .kind = TOOL_TEXT, .to.text = &settings->store,
		  .help = "show this store; may be left out where there is only one" },
		{ .name = "list", .kind = TOOL_FLAG, .to.flag = &settings->list,
		  .help = "show which stores there are, a line each" },
		{ .name = "clients", .kind = TOOL_FLAG, .to.flag = &settings->clients,
		  .help = "show only the clients; with --list, those of every store" },
		{ .name = "blocks", .kind = TOOL_FLAG, .to.flag = &settings->blocks,
		  .help = "show only the blocks that are not free; with --list, those of every store" },
		{ .name = "columns", .argument = "NAME,...", .kind = TOOL_TEXT, .to.text = &settings->columns_text,
		  .help = "show these columns of INTERVAL, --list, --clients or --blocks" },
		{ .name = "json", .kind = TOOL_FLAG, .to.flag = &settings->json,
		  .help = "print a JSON document instead of a page; with INTERVAL, one for each line" },
		{ .name = "prometheus", .kind = TOOL_FLAG, .to.flag = &settings->prometheus,
		  .help = "print metrics for Prometheus; with --list, those of every store" },
		{ .name = NULL },
	};
	const struct tool_program program = {
		.name = "kvshm-stat",
		.summary = "Shows a kvshm store, once or a line each INTERVAL seconds, or which stores there are",
		.operands = "[INTERVAL [COUNT]]",
		.options = options,
		.more_help = print_columns,
	};
	int next = tool_options(&program, argc, argv, &settings->dir);

	if (next < argc)
		settings->interval = read_interval(argv[next++]);
	if (next < argc)
		settings->count = read_count(argv[next++]);
	if (next < argc)
		tool_bad_use("nothing was expected at '%s'", argv[next]);
	judge(settings);
	choose_table(settings);
}

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

static bool find_names(const struct settings *settings, struct names *names)
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
static const char *only_name(const struct settings *settings, struct names *names)
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
static int show(const struct settings *settings, kvshm_view *view, const char *name, struct stat_sink *sink)
{
	const struct stat_columns *columns = &settings->columns;

	if (settings->table == &stat_clients)
		return stat_show_clients(view, name, columns, sink);
	if (settings->table == &stat_blocks)
		return stat_show_blocks(view, name, columns, sink);
	if (settings->table == &stat_stores)
		return stat_show_row(view, columns, sink);
	return stat_show_store(view, sink);
}

/* A store that can't be viewed has no rows of its own, but is one of the stores. */
static bool show_unviewed(const struct settings *settings, struct found *found, struct stat_sink *sink)
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
static bool show_found(const struct settings *settings, struct found *found, struct stat_sink *sink)
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

static bool show_all(const struct settings *settings, const struct names *names, struct stat_sink *sink)
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

static bool show_view(const struct settings *settings, kvshm_view *view, struct stat_sink *sink)
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

static bool show_one(const struct settings *settings, struct stat_sink *sink)
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

static struct stat_sink *new_sink(const struct settings *settings)
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
	struct settings settings = { 0 };
	struct names names = { 0 };
	struct stat_sink *sink = NULL;
	bool good = true;

	read_settings(argc, argv, &settings);
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
