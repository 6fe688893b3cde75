/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * fault.c: the text of a thread's last error, and the log callback. Guarantees: a text is never torn by another
 * thread; nothing is printed; the callback is called without a lock that other calls wait for.
 */
#include "config.h"

#include "fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_SIZE 1024 /* two labels and a sentence fit */

static _Thread_local char buffer[TEXT_SIZE];
static _Thread_local const char *last = "";

static void (*log_fn)(int, const char *, void *);
static void *log_arg;

/* Lines that are put off. */
struct kvs_log_lines {
	struct kvs_log_lines *next;
	int level;
	char text[];
};

static _Thread_local struct kvs_log_lines *lines;
static _Thread_local unsigned put_off;

int kvs_fault_keep(int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(buffer, sizeof(buffer), format, args);
	va_end(args);
	last = buffer;
	return error;
}

int kvs_fault_keep_constant(int error, const char *text)
{
	last = text;
	return error;
}

const char *kvs_fault_text(void)
{
	return last;
}

void kvs_log_set(void (*fn)(int, const char *, void *), void *arg)
{
	log_arg = arg;
	log_fn = fn;
}

static void tell(int level, const char *text)
{
	if (log_fn)
		log_fn(level, text, log_arg);
}

/* Without memory it is lost. */
static void keep(int level, const char *text)
{
	size_t size = strlen(text) + 1;
	struct kvs_log_lines *line = malloc(sizeof(*line) + size), **at = &lines;

	if (!line)
		return;
	line->next = NULL;
	line->level = level;
	memcpy(line->text, text, size);
	while (*at)
		at = &(*at)->next;
	*at = line;
}

void kvs_log_put_off(void)
{
	put_off++;
}

void kvs_log_tell(struct kvs_log_lines *told)
{
	while (told) {
		struct kvs_log_lines *line = told;

		told = line->next;
		tell(line->level, line->text);
		free(line);
	}
}

void kvs_log_go_on(void)
{
	struct kvs_log_lines *now = lines;

	if (--put_off)
		return;
	lines = NULL;
	kvs_log_tell(now);
}

void kvs_log_hand_over(struct kvs_log_lines **to)
{
	while (*to)
		to = &(*to)->next;
	*to = lines;
	lines = NULL;
	put_off--;
}

void kvs_log(int level, const char *format, ...)
{
	char line[TEXT_SIZE];
	va_list args;

	if (!log_fn)
		return;
	va_start(args, format);
	(void)vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (put_off)
		keep(level, line);
	else
		tell(level, line);
}
