/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * target_sizes: any text as a number, a size or a mode of a tool's option: it is refused, or read as this target reads
 * it, which does so in another way; and a size that is written for people is what it was.
 *
 * Input: a byte that says the kind, and the text.
 */
#include "config.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exits.h"
#include "target.h"
#include "tool.h"

#define UNTOUCHED UINT64_C(0x5a5a5a5a5a5a5a5a)

struct asked {
	enum tool_kind kind;
	const char *text;
	uint64_t number;
};

static void read_option(void *arg)
{
	struct asked *asked = arg;
	const struct tool_option options[] = {
		{ .name = "n", .argument = "N", .help = "a number", .kind = asked->kind, .to.number = &asked->number },
		{ .name = NULL },
	};
	const struct tool_program program = { .name = "sizes", .summary = "Reads", .options = options };
	char *argv[] = { (char *)"sizes", (char *)"--n", (char *)asked->text, NULL };
	const char *dir;

	target_must(tool_options(&program, 3, argv, &dir) == 3 && !dir);
}

/* False: it is refused. */
static bool ask(struct asked *asked)
{
	int status;

	optind = 0; /* getopt_long() begins anew */
	asked->number = UNTOUCHED;
	if (exits_catch(read_option, asked, &status))
		return true;
	target_must(status == TOOL_BAD_USE && asked->number == UNTOUCHED);
	return false;
}

/* The value by wide arithmetic, up to 2^64 - 1. False: it is none. */
static bool expected(enum tool_kind kind, const char *text, uint64_t *number)
{
	const char *digits = kind == TOOL_OCTAL ? "01234567" : "0123456789";
	size_t length = strspn(text, digits), rest = strlen(text + length);
	unsigned __int128 sum = 0;

	if (!length || rest > (kind == TOOL_SIZE))
		return false;
	for (size_t i = 0; i < length && sum <= UINT64_MAX; i++)
		sum = sum * strlen(digits) + (unsigned)(text[i] - '0');
	if (rest) {
		const char *units = "KMGT", *unit = strchr(units, text[length]);

		if (!unit || sum > UINT64_MAX)
			return false;
		for (const char *u = units; u <= unit; u++)
			sum *= 1024;
	}
	*number = (uint64_t)sum;
	return sum <= UINT64_MAX;
}

/* "12 bytes" and "12 KiB" are 12 and 12K when an option asks. */
static void must_come_back(uint64_t size)
{
	char text[TOOL_SIZE_TEXT], *space;
	struct asked asked = { .kind = TOOL_SIZE, .text = text };

	target_must(tool_size_text(size, text) == text);
	space = strchr(text, ' ');
	target_must(space);
	if (strcmp(space, " bytes") == 0) {
		*space = '\0';
	} else {
		target_must(strcmp(space + 2, "iB") == 0);
		space[0] = space[1];
		space[1] = '\0';
	}
	target_must(ask(&asked) && asked.number == size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum tool_kind kinds[] = { TOOL_NUMBER, TOOL_SIZE, TOOL_OCTAL };
	struct asked asked = { .kind = TOOL_SIZE };
	uint64_t number = 0;
	char *text;

	if (!size)
		return 0;
	asked.kind = kinds[data[0] % 3];
	asked.text = text = target_text(data + 1, size - 1);
	target_must(ask(&asked) == expected(asked.kind, text, &number));
	target_must(asked.number == UNTOUCHED || asked.number == number);
	if (asked.number != UNTOUCHED)
		must_come_back(number);
	free(text);
	return 0;
}
