/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stat_lines.c: kvshm-stat INTERVAL [COUNT]: a line each interval. Counters are shown as rates per second since the
 * line before (the first line: since the store was made), usage as it is, times as means of those that ended in
 * between.
 *
 * The lines keep to a grid of absolute times, so that they don't drift; one that can't be met is left out. SIGINT and
 * SIGTERM end it between two lines.
 */
#include "config.h"

#include "stat.h"
#include "tool.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <time.h>

enum { COUNTERS_MAX = 48, HISTOGRAMS_MAX = 8, NAME_MAX_BYTES = 40 };
static const uint64_t second = 1000000000;

/* What is read each time. */
struct sample {
	uint64_t at; /* CLOCK_MONOTONIC, ns */
	uint64_t counters[COUNTERS_MAX];
	struct {
		uint64_t count, sum;
	} times[HISTOGRAMS_MAX];
	size_t counter, histogram; /* the next one of a walk */
};

/* What is shown: the struct of the table's fields. */
struct line {
	uint64_t time; /* seconds since 1970 */
	struct kvshm_store_info info;
	struct kvshm_usage usage;
	double hit_rate;
	double rates[COUNTERS_MAX];
	uint64_t means[HISTOGRAMS_MAX]; /* ns */
};

/* ---- The table ------------------------------------------------------------------------------------------- */

static struct stat_field fields[STAT_COLUMNS_MAX];
static size_t field_count;
static char mean_names[HISTOGRAMS_MAX][NAME_MAX_BYTES];
static size_t counter_count, histogram_count;
static size_t hits, misses, dedups; /* which counters these are */

static struct stat_field *add(const char *name, const char *help, size_t offset, size_t size, enum stat_kind kind)
{
	assert(field_count < STAT_COLUMNS_MAX);
	fields[field_count] = (struct stat_field){
		.name = name, .help = help, .offset = offset, .size = size, .kind = kind, .when = STAT_ASKED,
	};
	return &fields[field_count++];
}

#define LINE(member) offsetof(struct line, member), sizeof(((struct line *)0)->member)

static int add_counter(const struct kvshm_counter *counter, void *arg)
{
	size_t number = counter_count++;

	(void)arg;
	assert(number < COUNTERS_MAX);
	add(counter->name, counter->help, offsetof(struct line, rates) + number * sizeof(double), sizeof(double),
	    STAT_RATE);
	if (!strcmp(counter->name, "hits"))
		hits = number;
	else if (!strcmp(counter->name, "misses"))
		misses = number;
	else if (!strcmp(counter->name, "dedups"))
		dedups = number;
	return 0;
}

static int add_histogram(const struct kvshm_histogram *histogram, void *arg)
{
	size_t number = histogram_count++;

	(void)arg;
	assert(number < HISTOGRAMS_MAX);
	snprintf(mean_names[number], sizeof(mean_names[number]), "%s_mean", histogram->name);
	add(mean_names[number], histogram->help, offsetof(struct line, means) + number * sizeof(uint64_t),
	    sizeof(uint64_t), STAT_SECONDS);
	return 0;
}

static void add_usage(void)
{
	for (size_t i = 0; i < stat_usage_part.count; i++) {
		const struct stat_field *from = &stat_usage_part.fields[i];

		add(from->name, from->help, offsetof(struct line, usage) + from->offset, from->size, from->kind);
	}
}

static void show(const char *name)
{
	for (size_t i = 0; i < field_count; i++)
		if (!strcmp(fields[i].name, name))
			fields[i].when = STAT_SHOWN;
}

const struct stat_table *stat_lines_table(void)
{
	static const char *const shown[] = { "clients", "free", "ready", "held", "hits", "misses", "hit_rate", "fills",
					     "evictions", "no_room" };
	static struct stat_table table = { .section = "lines", .option = "INTERVAL, counters per second" };

	if (field_count)
		return &table;
	add("time", "when it was looked", LINE(time), STAT_TIME);
	add("clients", "clients that live", LINE(info.clients_alive), STAT_NUMBER);
	add("clients_dead", "clients that are dead and wait for recovery", LINE(info.clients_dead), STAT_NUMBER);
	add("readers_stalling", "reader slots that stall grace periods", LINE(info.readers_stalling), STAT_NUMBER);
	add_usage();
	(void)kvshm_view_counters(NULL, add_counter, NULL);
	add("hit_rate", "part of the lookups that found a key, ready or being filled", LINE(hit_rate), STAT_RATE);
	(void)kvshm_view_histograms(NULL, add_histogram, NULL);
	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
		show(shown[i]);
	table.parts[0] = (struct stat_part){ fields, field_count };
	return &table;
}

/* ---- A line ---------------------------------------------------------------------------------------------- */

static uint64_t now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * second + (uint64_t)time.tv_nsec;
}

static int take_counter(const struct kvshm_counter *counter, void *arg)
{
	struct sample *sample = arg;

	sample->counters[sample->counter++] = counter->value;
	return 0;
}

static int take_histogram(const struct kvshm_histogram *histogram, void *arg)
{
	struct sample *sample = arg;

	sample->times[sample->histogram].count = histogram->count;
	sample->times[sample->histogram++].sum = histogram->sum;
	return 0;
}

/* Usage walks all blocks, so it is looked at only if it is shown. */
static int take(kvshm_view *view, const struct stat_columns *columns, struct sample *sample, struct line *line)
{
	int rc = kvshm_view_store(view, &line->info);

	*sample = (struct sample){ .at = now() };
	line->time = (uint64_t)time(NULL);
	if (!rc)
		rc = kvshm_view_counters(view, take_counter, sample);
	if (!rc)
		rc = kvshm_view_histograms(view, take_histogram, sample);
	if (!rc && stat_columns_use_member(columns, LINE(usage)))
		rc = kvshm_view_usage(view, &line->usage);
	return rc;
}

/* What has come since the sample before; all of it, if that one is of the store's beginning. Numbers that went back are
 * nonsense in the segment. */
static uint64_t grown(uint64_t before, uint64_t after)
{
	return after > before ? after - before : 0;
}

static void compare(const struct sample *before, const struct sample *after, struct line *line)
{
	double seconds = (double)grown(before->at, after->at) / (double)second;
	double found, looked;

	for (size_t i = 0; i < counter_count; i++)
		line->rates[i] = seconds > 0 ? (double)grown(before->counters[i], after->counters[i]) / seconds : 0;
	for (size_t i = 0; i < histogram_count; i++) {
		uint64_t count = grown(before->times[i].count, after->times[i].count);

		line->means[i] = count ? grown(before->times[i].sum, after->times[i].sum) / count : 0;
	}
	found = line->rates[hits] + line->rates[dedups];
	looked = found + line->rates[misses];
	line->hit_rate = looked > 0 ? found / looked : 0;
}

/* The sample that the first line is compared with: nothing counted, when the store was made. */
static void begin(const struct line *line, const struct sample *first, struct sample *before)
{
	uint64_t made = line->info.created > 0 ? (uint64_t)line->info.created : 0;
	uint64_t age = line->time > made ? (line->time - made) * second : second;

	*before = (struct sample){ .at = first->at > age ? first->at - age : 0 };
}

/* ---- All of them ----------------------------------------------------------------------------------------- */

static volatile sig_atomic_t ended;

static void end(int signal)
{
	(void)signal;
	ended = 1;
}

/* A second signal does what it always does. */
static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = end, .sa_flags = SA_RESETHAND };

	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	(void)signal(SIGPIPE, SIG_IGN); /* a reader who has gone is found when a line is flushed */
}

/* Waits until a time of CLOCK_MONOTONIC, or until a signal: they are let in while it sleeps only. */
static void sleep_until(uint64_t at)
{
	sigset_t ends, before;

	(void)sigemptyset(&ends);
	(void)sigaddset(&ends, SIGINT);
	(void)sigaddset(&ends, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &ends, &before);
	for (uint64_t time = now(); !ended && time < at; time = now()) {
		const struct timespec left = { .tv_sec = (time_t)((at - time) / second),
					       .tv_nsec = (long)((at - time) % second) };

		(void)ppoll(NULL, 0, &left, &before);
	}
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
}

/* Was the last line written? A reader who has gone wants no more, which is a good end; finish() tells all else. */
static bool is_read(void)
{
	if (!ferror(stdout))
		return true;
	if (errno == EPIPE || ended) {
		__fpurge(stdout);
		clearerr(stdout);
	}
	return false;
}

bool stat_show_lines(kvshm_view *view, const struct stat_columns *columns, uint64_t interval, uint64_t count,
		     struct stat_sink *sink)
{
	struct sample before, after;
	struct line line = { .time = 0 };
	const void *from[STAT_PARTS_MAX] = { &line, NULL };
	uint64_t next = now();
	int rc = 0;

	catch_signals();
	sink->open(sink, "lines", STAT_LINES);
	for (uint64_t i = 0; !ended && (!count || i < count); i++) {
		rc = take(view, columns, &after, &line);
		if (rc || line.info.destroyed)
			break;
		if (i == 0)
			begin(&line, &after, &before);
		compare(&before, &after, &line);
		stat_row(sink, columns, from, STAT_ALL);
		before = after;
		if (!is_read() || i + 1 == count)
			break;
		next += interval * (1 + grown(next, now()) / interval);
		sleep_until(next);
	}
	sink->close(sink);
	if (rc)
		tool_say("%s", kvshm_error());
	else if (line.info.destroyed)
		tool_say("the store was destroyed");
	return !rc && !line.info.destroyed;
}
