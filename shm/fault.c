/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * fault.c: the text of a thread's last error, and the log callback. Guarantees: a text is never torn by another
 * thread; nothing is printed.
 */
#include "config.h"

#include "fault.h"

#include <stdarg.h>
#include <stdio.h>

#define TEXT_SIZE 1024 /* two labels and a sentence fit */

static _Thread_local char buffer[TEXT_SIZE];
static _Thread_local const char *last = "";

static void (*log_fn)(int, const char *, void *);
static void *log_arg;

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

void kvs_log(int level, const char *format, ...)
{
	char line[TEXT_SIZE];
	va_list args;

	if (!log_fn)
		return;
	va_start(args, format);
	(void)vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	log_fn(level, line, log_arg);
}
