/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * send_settings.c: see send_settings.h.
 */
#include "config.h"

#include "send_settings.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

int send_settings_read(int argc, char **argv, struct send_settings *settings)
{
	const struct tool_option options[] = {
		{ .name = "store", .argument = "NAME", .kind = TOOL_TEXT, .to.text = &settings->store,
		  .required = true, .help = "this node's store (required)" },
		{ .name = "to", .argument = "URL", .kind = TOOL_TEXT, .to.text = &settings->to,
		  .help = "send the keys' blocks to who listens there: [rdma|tcp]://ADDR[:PORT]" },
		{ .name = "from", .argument = "URL", .kind = TOOL_TEXT, .to.text = &settings->from,
		  .help = "get them from there, into this node's store" },
		{ .name = "id", .argument = "ID", .kind = TOOL_TEXT, .to.text = &settings->id,
		  .help = "id of the request that they go under; none unless told" },
		{ .name = "attempt", .argument = "N", .kind = TOOL_NUMBER, .to.number = &settings->attempt,
		  .max = UINT32_MAX, .help = "its attempt; 0 unless told" },
		{ .name = "room-timeout", .argument = "MS", .kind = TOOL_NUMBER,
		  .to.number = &settings->room_timeout, .max = 3600000,
		  .help = "how long it may wait for room; 30000 unless told" },
		{ .name = "hex", .kind = TOOL_FLAG, .to.flag = &settings->hex,
		  .help = "the keys are given in hexadecimal" },
		NET_OPTIONS(&settings->net),
		{ .name = NULL },
	};
	const struct tool_program program = {
		.name = "kvshm-send",
		.summary = "Sends blocks of a kvshm store to another node's, or gets them from there",
		.operands = "KEY...",
		.options = options,
	};
	int first;

	*settings = (struct send_settings){ .room_timeout = 30000, .net = NET_SETTINGS };
	first = tool_options(&program, argc, argv, &settings->dir);
	if (!settings->to == !settings->from)
		tool_bad_use("%s", settings->to ? "--to sends and --from gets: leave one out" :
			     "--to URL, or --from URL, is missing");
	if (settings->attempt && !settings->id)
		tool_bad_use("--attempt is of a request that has an --id ID, which is missing");
	if (first == argc)
		tool_bad_use("KEY is missing: the keys of the blocks");
	return first;
}

/* ---- Keys */

static int hex_digit(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10
									       : -1;
}

/* What is no key is told before any memory is taken. Returns how many bytes those in hexadecimal have. */
static size_t judge_keys(char **names, size_t count, bool hex)
{
	size_t bytes = 0;

	for (size_t i = 0; i < count; i++) {
		const char *name = names[i];
		size_t length = strlen(name);

		if (!length)
			tool_bad_use("a key is empty");
		for (size_t j = 0; hex && j < length; j++)
			if (length % 2 || hex_digit(name[j]) < 0)
				tool_bad_use("'%s' is no key in hexadecimal: two digits for each byte", name);
		bytes += length / 2;
	}
	return bytes;
}

/* Writes the bytes of a key; returns what is behind them. */
static unsigned char *read_hex(struct kvshm_key *key, const char *text, unsigned char *bytes)
{
	*key = (struct kvshm_key){ bytes, strlen(text) / 2 };
	for (; *text; text += 2)
		*bytes++ = (unsigned char)((unsigned)hex_digit(text[0]) << 4 | (unsigned)hex_digit(text[1]));
	return bytes;
}

void send_keys_read(char **names, size_t count, bool hex, struct send_keys *keys)
{
	size_t size = judge_keys(names, count, hex);
	unsigned char *bytes;

	*keys = (struct send_keys){ .names = names, .count = count };
	keys->keys = calloc(count, sizeof(*keys->keys));
	keys->refs = calloc(count, sizeof(*keys->refs));
	keys->results = calloc(count, sizeof(*keys->results));
	bytes = keys->bytes = malloc(size + 1);
	if (!keys->keys || !keys->refs || !keys->results || !bytes)
		tool_bad_use("no memory for %zu keys", count);
	for (size_t i = 0; i < count; i++) {
		if (hex)
			bytes = read_hex(&keys->keys[i], names[i], bytes);
		else
			keys->keys[i] = (struct kvshm_key){ names[i], strlen(names[i]) };
	}
}

void send_keys_free(struct send_keys *keys)
{
	free(keys->bytes);
	free(keys->keys);
	free(keys->refs);
	free(keys->results);
}
