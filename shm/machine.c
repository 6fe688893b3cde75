/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * machine.c: reading /proc and /sys. See machine.h.
 */
#include "config.h"

#include "machine.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reads decimal digits; "max", as cgroups say it, is no number. */
static bool read_number(const char *text, uint64_t *number)
{
	while (*text == ' ' || *text == '\t')
		text++;
	if (!isdigit((unsigned char)*text))
		return false;
	*number = strtoull(text, NULL, 10);
	return true;
}

bool kvs_machine_number(const char *path, uint64_t *number)
{
	FILE *file = fopen(path, "re");
	char line[64];
	bool found;

	if (!file)
		return false;
	found = fgets(line, sizeof(line), file) && read_number(line, number);
	(void)fclose(file);
	return found;
}

/* What follows a word of a line; NULL if it is not there. */
static const char *behind(const char *line, const char *word)
{
	const char *at = strstr(line, word);

	if (!at || (at != line && at[-1] != ' '))
		return NULL;
	at += strlen(word);
	return *at == ':' || *at == ' ' ? at + 1 : NULL;
}

bool kvs_machine_field(const char *path, const char *word, uint64_t *number)
{
	FILE *file = fopen(path, "re");
	bool found = false;
	char line[256];

	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file)) {
		const char *text = behind(line, word);

		found = text && read_number(text, number);
	}
	(void)fclose(file);
	return found;
}

bool kvs_machine_in_list(const char *list, unsigned long number)
{
	while (*list) {
		char *end;
		unsigned long first = strtoul(list, &end, 10), last = first;

		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		if (number >= first && number <= last)
			return true;
		list = *end ? end + 1 : end;
	}
	return false;
}
