/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stat_text.c: kvshm-stat's page. Fields stand two in a line where they are short and need no explanation; rows stand
 * under headings made of their names. Lines are rows without a title, whose heading is repeated on every screenful.
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
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum {
	NAME_WIDTH = 16,
	NUMBER_WIDTH = 10,
	CELL_WIDTH = 8,
	LINE_CELL_WIDTH = 7,
	HALF_LINE = 40, /* two fields in a line of 80 */
	SCREEN = 24,	/* lines, where it is no terminal */
	VALUE_MAX = 1024,
	LINE_MAX_BYTES = 4096,
};

struct text_sink {
	struct stat_sink sink;
	enum stat_shape shape;
	unsigned sections; /* so far */
	unsigned rows;	   /* of this section; of lines, of this screen */
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

/* Three digits or so: 480ns, 12.5us, 3.2ms, 59.9s, 1m05s, 2h05m, 3d04h. */
static void duration_text(uint64_t ns, char text[VALUE_MAX])
{
	static const char *const units[] = { "us", "ms", "s" };
	uint64_t seconds = ns / 1000000000;
	double part = (double)ns;
	unsigned unit = 0;

	if (ns < 1000) {
		snprintf(text, VALUE_MAX, "%" PRIu64 "%s", ns, ns ? "ns" : "");
	} else if (seconds < 60) {
		for (part /= 1000; part >= 1000 && unit < 2; unit++)
			part /= 1000;
		snprintf(text, VALUE_MAX, "%.1f%s", part, units[unit]);
	} else if (seconds < 3600) {
		snprintf(text, VALUE_MAX, "%" PRIu64 "m%02" PRIu64 "s", seconds / 60, seconds % 60);
	} else if (seconds < 86400) {
		snprintf(text, VALUE_MAX, "%" PRIu64 "h%02" PRIu64 "m", seconds / 3600, seconds / 60 % 60);
	} else {
		snprintf(text, VALUE_MAX, "%" PRIu64 "d%02" PRIu64 "h", seconds / 86400, seconds / 3600 % 24);
	}
}

static void value_text(const struct stat_value *value, char text[VALUE_MAX])
{
	char size[TOOL_SIZE_TEXT];

	switch (value->kind) {
	case STAT_NUMBER:
	case STAT_COUNTER:
	case STAT_ID:
	case STAT_SLOT:
		snprintf(text, VALUE_MAX, "%" PRIu64, value->number);
		break;
	case STAT_RATE:
		snprintf(text, VALUE_MAX, value->real > 0 && value->real < 10 ? "%.2f" : "%.0f", value->real);
		break;
	case STAT_SECONDS:
		duration_text(value->number, text);
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
	case STAT_TEXT:
		snprintf(text, VALUE_MAX, "%s", value->text && *value->text ? value->text : "-");
		tool_printable(text);
		break;
	default:
		snprintf(text, VALUE_MAX, "-");
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

	if (page->shape == STAT_EXPLAINED) {
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

static int cell_width(const struct text_sink *page, const struct stat_value *value)
{
	int least = page->shape == STAT_LINES ? LINE_CELL_WIDTH : CELL_WIDTH, width = (int)strlen(value->name);

	if (value->kind == STAT_TEXT)
		return -NAME_WIDTH; /* left-justified */
	if (value->kind == STAT_TIME)
		return (int)strlen("2000-01-01 00:00:00");
	return width < least ? least : width;
}

static void put_cell(struct text_sink *page, const struct stat_value *value, const char *text)
{
	const char *gap = page->shape == STAT_LINES ? *page->line ? " " : "" : "  ";
	int width = cell_width(page, value);

	if (page->rows == 1)
		append(page->heading, "%s%*s", gap, width, value->name);
	append(page->line, "%s%*s", gap, width, text);
}

static void put_line(char *line)
{
	size_t length = strlen(line);

	while (length && line[length - 1] == ' ')
		line[--length] = '\0';
	puts(line);
	*line = '\0';
}

/* How many lines of rows a screen has below its heading. */
static unsigned screen(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || size.ws_row < 3)
		return SCREEN - 1;
	return size.ws_row - 1U;
}

/* ---- The sink -------------------------------------------------------------------------------------------- */

static void text_open(struct stat_sink *sink, const char *section, enum stat_shape shape)
{
	struct text_sink *page = of(sink);

	if (shape != STAT_LINES)
		printf("%s%s:\n", page->sections++ ? "\n" : "", section);
	page->shape = shape;
	page->rows = 0;
	*page->heading = '\0';
}

static void text_row(struct stat_sink *sink)
{
	struct text_sink *page = of(sink);

	if (page->shape == STAT_LINES && page->rows == screen())
		page->rows = 0;
	page->rows++;
}

static void text_value(struct stat_sink *sink, const struct stat_value *value)
{
	struct text_sink *page = of(sink);
	char text[VALUE_MAX];

	if (value->kind == STAT_HISTOGRAM)
		return; /* its quantiles stand before it */
	value_text(value, text);
	if (page->shape == STAT_ROWS || page->shape == STAT_LINES)
		put_cell(page, value, text);
	else
		put_field(page, value, text);
}

static void text_end_row(struct stat_sink *sink)
{
	struct text_sink *page = of(sink);

	if (page->rows == 1)
		put_line(page->heading);
	put_line(page->line);
	if (page->shape == STAT_LINES)
		fflush(stdout);
}

static void text_close(struct stat_sink *sink)
{
	struct text_sink *page = of(sink);

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
		.sink = { text_open, text_row, text_value, text_end_row, text_close, text_remark, text_finish, NULL },
	};
	return &page->sink;
}
