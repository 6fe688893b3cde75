/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * target_options: any words as the command line of a tool: it ends with status 0 or TOOL_BAD_USE, or comes back with
 * settings that its options allow. (kvshm-check and kvshm-rm have few options, and no parser but tool_options().)
 *
 * Input: lines. The first is the tool's name, of which the last letters count; each other is a word. One that begins
 * with a capital letter is an option of the tool's table, A the first, and the rest its argument: so most inputs get
 * beyond the names.
 */
#include "config.h"

#include <getopt.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "exits.h"
#include "kvshmd.h"
#include "replay_settings.h"
#include "send_settings.h"
#include "stat_settings.h"
#include "target.h"
#include "tool.h"

enum { WORDS_MAX = 64 };

static struct command {
	int argc;
	char *argv[WORDS_MAX + 1];
} command;

/* ---- What each tool makes of it -------------------------------------------------------------------------- */

static bool within(uint64_t number, uint64_t least, uint64_t most)
{
	return number >= least && number <= most;
}

static void read_kvshmd(void *arg)
{
	struct kvshm_create_options options;
	struct settings settings;

	(void)arg;
	settings_read(command.argc, command.argv, &settings);
	target_must(settings.store && *settings.store);
	target_must(settings.adopt || (settings.size && settings.block_size >= KVSHM_BLOCK_UNIT));
	target_must(!settings.adopt || !settings.replace_dead);
	settings_apply(&settings, &options);
	target_must(within(options.planes, 1, KVSHM_PLANES_MAX));
	target_must(within(options.key_max, 1, KVSHM_KEY_MAX));
	target_must(within(options.clients, 1, KVSHM_CLIENTS_MAX));
	target_must(within(options.requests, 1, KVSHM_REQUESTS_MAX));
	target_must(within(options.mode, 1, 0777));
	target_must(options.populate <= 256);
	target_must(settings.pin_timeout <= UINT64_C(365) * 24 * 3600);
	target_must(options.numa_node >= -1 && options.numa_node <= 1023);
	target_must(options.group >= -1 && options.group < UINT32_MAX);
	target_must(options.retain == KVSHM_KEEP || options.retain == KVSHM_DROP);
}

static void columns_must_be_of(const struct stat_columns *columns, const struct stat_table *table)
{
	target_must(within(columns->count, 1, STAT_COLUMNS_MAX));
	for (size_t i = 0; i < columns->count; i++) {
		const struct stat_part *part = &table->parts[columns->of[i].part];

		target_must(columns->of[i].part < STAT_PARTS_MAX);
		target_must(columns->of[i].field >= part->fields && columns->of[i].field < part->fields + part->count);
	}
}

static void read_stat(void *arg)
{
	struct stat_settings settings;

	(void)arg;
	stat_settings_read(command.argc, command.argv, &settings);
	target_must(!settings.store || !settings.list);
	target_must(!settings.json || !settings.prometheus);
	target_must(!settings.interval || within(settings.interval, 1000000, UINT64_C(86400000000000)));
	target_must(!settings.count || settings.interval);
	target_must(settings.table || !settings.columns_text);
	if (settings.table)
		columns_must_be_of(&settings.columns, settings.table);
}

static void read_replay(void *arg)
{
	struct replay_settings settings;

	(void)arg;
	replay_settings_read(command.argc, command.argv, &settings);
	target_must(!settings.trace != !settings.generate);
	target_must(settings.store || settings.capacity || settings.remote);
	if (!settings.store && !settings.remote) { /* one of its own */
		target_must(within(replay_settings_processes(&settings), 1, KVSHM_CLIENTS_MAX - 1));
		target_must(within(replay_settings_requests(&settings), 1, KVSHM_REQUESTS_MAX));
	}
	target_must(settings.abort <= 100);
	target_must(within(settings.procs, 1, KVSHM_CLIENTS_MAX - 1) && within(settings.in_flight, 1, 4096));
	target_must(settings.planes <= KVSHM_PLANES_MAX && settings.capacity <= KVSHM_BLOCKS_MAX);
	target_must(settings.retain >= -1 && settings.retain <= KVSHM_DROP);
	target_must(settings.gpu_export < 0 || replay_settings_gpu(&settings));
}

static void key_must_be_of(const struct kvshm_key *key, const char *name, bool hex)
{
	const unsigned char *bytes = key->bytes;

	target_must(key->length == strlen(name) / (hex ? 2 : 1) && key->length);
	for (size_t i = 0; i < key->length; i++) {
		char digits[3];

		(void)snprintf(digits, sizeof(digits), "%02x", bytes[i]);
		target_must(hex ? strncasecmp(digits, name + 2 * i, 2) == 0 : bytes[i] == (unsigned char)name[i]);
	}
}

static void read_send(void *arg)
{
	struct send_settings settings;
	struct send_keys keys;
	int first;

	(void)arg;
	first = send_settings_read(command.argc, command.argv, &settings);
	target_must(settings.store && *settings.store);
	target_must(!settings.to != !settings.from);
	target_must(settings.attempt <= UINT32_MAX && (!settings.attempt || settings.id));
	target_must(settings.room_timeout <= 3600000);
	target_must(first > 0 && first < command.argc);
	send_keys_read(command.argv + first, (size_t)(command.argc - first), settings.hex, &keys);
	target_must(keys.count == (size_t)(command.argc - first));
	for (size_t i = 0; i < keys.count; i++)
		key_must_be_of(&keys.keys[i], command.argv[(size_t)first + i], settings.hex);
	send_keys_free(&keys);
}

/* A tool that has no options of its own. */
static void read_none(void *arg)
{
	static const struct tool_option options[] = { { .name = NULL } };
	static const struct tool_program program = { .name = "none", .summary = "Has none", .options = options };
	const char *dir;

	(void)arg;
	target_must(tool_options(&program, command.argc, command.argv, &dir) == command.argc);
	target_must(!dir || *dir);
}

/* ---- The command line ------------------------------------------------------------------------------------ */

static char *expanded; /* the words that are options of the table, one after the other */

static char *expand(const char *word, const struct option *longs, size_t count, char *to)
{
	const struct option *option = &longs[(size_t)(*word - 'A') % count];

	return to + 1 + sprintf(to, "--%s%s%s", option->name, option->has_arg ? "=" : "", word + 1);
}

static void expand_all(const struct option *longs)
{
	size_t count = 0, room = 1;
	char *to;

	while (longs[count].name)
		count++;
	for (int i = 1; i < command.argc; i++)
		room += strlen(command.argv[i]) + 32;
	expanded = to = malloc(room);
	target_must(to && count);
	for (int i = 1; i < command.argc; i++) {
		char *word = to;

		if (*command.argv[i] < 'A' || *command.argv[i] > 'Z')
			continue;
		to = expand(command.argv[i], longs, count, to);
		command.argv[i] = word;
	}
}

/* The linker puts this in front of the function that has the table. */
int __real_getopt_long(int argc, char *const *argv, const char *shorts, const struct option *longs, int *index);
int __wrap_getopt_long(int argc, char *const *argv, const char *shorts, const struct option *longs, int *index);

int __wrap_getopt_long(int argc, char *const *argv, const char *shorts, const struct option *longs, int *index)
{
	if (!expanded)
		expand_all(longs);
	return __real_getopt_long(argc, argv, shorts, longs, index);
}

/* Likewise in front of the function that would ask the machine's directory of groups, perhaps over the network. */
struct group *__wrap_getgrnam(const char *name);

struct group *__wrap_getgrnam(const char *name)
{
	static struct group users = { .gr_name = (char *)"users", .gr_gid = 100 };

	return strcmp(name, users.gr_name) ? NULL : &users;
}

static void split(char *text)
{
	char *next = text;

	for (command.argc = 0; next && command.argc < WORDS_MAX; command.argc++)
		command.argv[command.argc] = strsep(&next, "\n");
	command.argv[command.argc] = NULL;
}

static void (*tool_of(const char *name))(void *arg)
{
	size_t length = strlen(name);

	switch (length ? name[length - 1] : '\0') {
	case 'd':
		return length > 1 && name[length - 2] == 'n' ? read_send : read_kvshmd;
	case 't':
		return read_stat;
	case 'y':
		return read_replay;
	default:
		return read_none;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = target_text(data, size);
	int status;

	split(text);
	optind = 0; /* getopt_long() begins anew */
	if (!exits_catch(tool_of(text), NULL, &status))
		target_must(status == EXIT_SUCCESS || status == TOOL_BAD_USE);
	free(expanded);
	expanded = NULL;
	free(text);
	return 0;
}
