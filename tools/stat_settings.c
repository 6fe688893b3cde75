/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stat_settings.c: the command line of kvshm-stat: its options, which of them go together, and the table of rows that
 * they ask for.
 */
#include "config.h"

#include "stat_settings.h"
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void print_columns(void)
{
	stat_columns_help(stat_lines_table());
	stat_columns_help(&stat_stores);
	stat_columns_help(&stat_clients);
	stat_columns_help(&stat_blocks);
	stat_columns_help(&stat_requests);
	stat_columns_help(&stat_pins);
	stat_columns_help(&stat_peers);
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

static void judge(const struct stat_settings *settings)
{
	unsigned rows = settings->clients + settings->blocks + settings->requests + settings->pins +
			settings->peers + (settings->interval != 0);

	if (settings->store && settings->list)
		tool_bad_use("--store shows one store and --list all of them: leave one out");
	if (settings->json && settings->prometheus)
		tool_bad_use("--json and --prometheus are two forms of output: leave one out");
	if (rows > 1)
		tool_bad_use("--clients, --blocks, --requests, --pins, --peers and INTERVAL show one thing each: "
			     "leave all but one out");
	if (settings->list && settings->interval)
		tool_bad_use("INTERVAL is for one store, and --list shows all of them: leave one out");
	if (settings->prometheus && (rows || settings->columns_text))
		tool_bad_use("--prometheus shows all there is, once: leave out --clients, --blocks, --requests, "
			     "--pins, --peers, --columns and INTERVAL");
	if (settings->columns_text && !rows && !settings->list)
		tool_bad_use("--columns chooses of rows: say INTERVAL, --clients, --blocks, --requests, --pins, "
			     "--peers or --list as well");
}

static void choose_table(struct stat_settings *settings)
{
	if (settings->interval)
		settings->table = stat_lines_table();
	else if (settings->clients)
		settings->table = &stat_clients;
	else if (settings->blocks)
		settings->table = &stat_blocks;
	else if (settings->requests)
		settings->table = &stat_requests;
	else if (settings->pins)
		settings->table = &stat_pins;
	else if (settings->peers)
		settings->table = &stat_peers;
	else if (settings->list && !settings->prometheus)
		settings->table = &stat_stores;
	if (settings->table)
		stat_columns_choose(settings->table, settings->columns_text, settings->list, &settings->columns);
}

void stat_settings_read(int argc, char **argv, struct stat_settings *settings)
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
		{ .name = "requests", .kind = TOOL_FLAG, .to.flag = &settings->requests,
		  .help = "show only the requests that are not closed, the oldest first; with --list, of every store" },
		{ .name = "pins", .kind = TOOL_FLAG, .to.flag = &settings->pins,
		  .help = "show only the pins of living clients, the oldest first; with --list, of every store" },
		{ .name = "peers", .kind = TOOL_FLAG, .to.flag = &settings->peers,
		  .help = "show only the connections to other nodes; with --list, those of every store" },
		{ .name = "columns", .argument = "NAME,...", .kind = TOOL_TEXT, .to.text = &settings->columns_text,
		  .help = "show these columns of "
			  "INTERVAL, --list, --clients, --blocks, --requests, --pins or --peers" },
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
	int next;

	*settings = (struct stat_settings){ 0 };
	next = tool_options(&program, argc, argv, &settings->dir);
	if (next < argc)
		settings->interval = read_interval(argv[next++]);
	if (next < argc)
		settings->count = read_count(argv[next++]);
	if (next < argc)
		tool_bad_use("nothing was expected at '%s'", argv[next]);
	judge(settings);
	choose_table(settings);
}
