/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stat_text.c: kvshm-stat's page. Fields stand two in a line where they are short and need no explanation; rows stand
 * under headings made of their names.
 */
#include "config.h"

#include "stat.h"
#include "tool.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	NAME_WIDTH = 16,
	NUMBER_WIDTH = 10,
	CELL_WIDTH = 8,
	HALF_LINE = 40, /* two fields in a line of 80 */
	VALUE_MAX = 256,
	LINE_MAX_BYTES = 2048,
};

struct text_sink {
	struct stat_sink sink;
	enum stat_shape shape;
	unsigned sections; /* so far */
	unsigned rows;	   /* of this section */
	unsigned remarks;
	int column;	   /* of fields: how much of the line is used */
	char heading[LINE_MAX_BYTES], line[LINE_MAX_BYTES]; /* of the row that is being made */
};

static struct text_sink *of(struct stat_sink *sink)
{
	return (struct text_sink *)(void *)((char *)sink - offsetof(struct text_sink, sink));
}

static void time_text(uint64_t seconds, char text[VALUE_MAX])
{
	time_t when = (time_t)seconds;
	struct tm local;

	if (!localtime_r(&when, &local) || !strftime(text, VALUE_MAX, "%Y-%m-%d %H:%M:%S", &local))
		snprintf(text, VALUE_MAX, "?");
}

static void value_text(const struct stat_value *value, char text[VALUE_MAX])
{
	char size[TOOL_SIZE_TEXT];

	switch (value->kind) {
	case STAT_NUMBER:
		snprintf(text, VALUE_MAX, "%" PRIu64, value->number);
		break;
	case STAT_BYTES:
		snprintf(text, VALUE_MAX, "%s", tool_size_text(value->number, size));
		break;
	case STAT_HEX:
		snprintf(text, VALUE_MAX, "%016" PRIx64, value->number);
		break;
	case STAT_PID:
		snprintf(text, VALUE_MAX, "%" PRId64, (int64_t)value->number);
		break;
	case STAT_TIME:
		time_text(value->number, text);
		break;
	case STAT_YESNO:
		snprintf(text, VALUE_MAX, "%s", value->number ? "yes" : "no");
		break;
	default:
		snprintf(text, VALUE_MAX, "%s", *value->text ? value->text : "-");
		tool_printable(text);
		break;
	}
}

/* ---- Fields ---------------------------------------------------------------------------------------------- */

static void end_line(struct text_sink *page)
{
	if (page->column)
		putchar('\n');
	page->column = 0;
}

static void put_field(struct text_sink *page, const struct stat_value *value, const char *text)
{
	int width;

	if (value->help) {
		end_line(page);
		printf("  %-*s %*s  %s\n", NAME_WIDTH, value->name, NUMBER_WIDTH, text, value->help);
		return;
	}
	if (strlen(text) > HALF_LINE - NAME_WIDTH - 4)
		end_line(page);
	if (page->column)
		printf("%*s", HALF_LINE - page->column, "");
	width = printf("  %-*s %s", NAME_WIDTH, value->name, text);
	if (page->column || width >= HALF_LINE)
		putchar('\n');
	page->column = page->column || width >= HALF_LINE ? 0 : width;
}

/* ---- Rows ------------------------------------------------------------------------------------------------ */

__attribute__((format(printf, 2, 3))) static void append(char line[LINE_MAX_BYTES], const char *format, ...)
{
	size_t used = strlen(line);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line + used, LINE_MAX_BYTES - used, format, arguments);
	va_end(arguments);
}

static void put_cell(struct text_sink *page, const struct stat_value *value, const char *text)
{
	int width = (int)strlen(value->name);

	if (width < CELL_WIDTH)
		width = CELL_WIDTH;
	if (value->kind == STAT_TEXT)
		width = -NAME_WIDTH; /* left-justified */
	else if (value->kind == STAT_TIME)
		width = (int)strlen("2000-01-01 00:00:00");
	if (page->rows == 1)
		append(page->heading, "  %*s", width, value->name);
	append(page->line, "  %*s", width, text);
}

static void put_line(char *line)
{
	size_t length = strlen(line);

	while (length && line[length - 1] == ' ')
		line[--length] = '\0';
	puts(line);
	*line = '\0';
}

static void end_row(struct text_sink *page)
{
	if (!page->rows)
		return;
	if (page->rows == 1)
		put_line(page->heading);
	put_line(page->line);
}

/* ---- The sink -------------------------------------------------------------------------------------------- */

static void text_open(struct stat_sink *sink, const char *section, enum stat_shape shape)
{
	struct text_sink *page = of(sink);

	printf("%s%s:\n", page->sections++ ? "\n" : "", section);
	page->shape = shape;
	page->rows = 0;
	*page->heading = '\0';
}

static void text_row(struct stat_sink *sink)
{
	struct text_sink *page = of(sink);

	end_row(page);
	page->rows++;
}

static void text_value(struct stat_sink *sink, const struct stat_value *value)
{
	struct text_sink *page = of(sink);
	char text[VALUE_MAX];

	value_text(value, text);
	if (page->shape == STAT_ROWS)
		put_cell(page, value, text);
	else
		put_field(page, value, text);
}

static void text_close(struct stat_sink *sink)
{
	struct text_sink *page = of(sink);

	end_row(page);
	end_line(page);
	if (page->shape == STAT_ROWS && !page->rows)
		printf("  none\n");
}

static void text_remark(struct stat_sink *sink, const char *text)
{
	struct text_sink *page = of(sink);

	printf("%s%s\n", page->remarks++ ? "" : "\n", text);
}

static bool text_finish(struct stat_sink *sink)
{
	free(of(sink));
	return tool_flush();
}

struct stat_sink *stat_text_new(void)
{
	struct text_sink *page = malloc(sizeof(*page));

	if (!page)
		return NULL;
	*page = (struct text_sink){
		.sink = { text_open, text_row, text_value, text_close, text_remark, text_finish },
	};
	return &page->sink;
}
