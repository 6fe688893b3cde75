/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stat_prometheus.c: kvshm-stat's exposition for Prometheus (text format 0.0.4). Every sample has the label store;
 * those of clients have slot, pid and name as well, those of planes which they are and whose memory they have, those of
 * connections whose they are and where they lead. Quantities are metrics: kvshm_, the section's prefix, the value's
 * name, its unit (seconds, bytes), and _total if it only grows. What names something are labels: of a row's samples,
 * or else of kvshm_store_info, which is always 1.
 *
 * An exposition has all samples of a family together, also those of several stores: so families are collected, each in
 * a buffer of its own, and printed in the end.
 */
#include "config.h"

#include "stat.h"
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAMILIES_MAX = 192, VALUES_MAX = STAT_COLUMNS_MAX, NAME_SIZE = 80, LABELS_SIZE = 4096 };

struct family {
	char name[NAME_SIZE];
	FILE *samples; /* open_memstream() */
	char *text;
	size_t size;
};

struct prometheus_sink {
	struct stat_sink sink;
	const char *section;
	struct stat_value values[VALUES_MAX]; /* of this row or section: labels may stand behind what they label */
	size_t value_count;
	struct family families[FAMILIES_MAX];
	size_t family_count;
	bool failed;
};

static struct prometheus_sink *of(struct stat_sink *sink)
{
	return (struct prometheus_sink *)(void *)((char *)sink - offsetof(struct prometheus_sink, sink));
}

/* ---- Families -------------------------------------------------------------------------------------------- */

/* HELP: a backslash and a newline are escaped. The library's and our own texts have neither, but who knows. */
static void begin_family(FILE *samples, const char *name, const char *help, const char *type)
{
	fprintf(samples, "# HELP %s ", name);
	for (const char *c = help; *c; c++)
		fputs(*c == '\\' ? "\\\\" : *c == '\n' ? "\\n" : (char[]){ *c, '\0' }, samples);
	fprintf(samples, "\n# TYPE %s %s\n", name, type);
}

/* Where the samples of a family go; it is begun at its first one. NULL without memory. */
static FILE *family(struct prometheus_sink *prometheus, const char *name, const char *help, const char *type)
{
	struct family *new = &prometheus->families[prometheus->family_count];

	for (size_t i = 0; i < prometheus->family_count; i++)
		if (!strcmp(prometheus->families[i].name, name))
			return prometheus->families[i].samples;
	if (prometheus->family_count < FAMILIES_MAX)
		new->samples = open_memstream(&new->text, &new->size);
	if (prometheus->family_count == FAMILIES_MAX || !new->samples) {
		prometheus->failed = true;
		return NULL;
	}
	prometheus->family_count++;
	snprintf(new->name, sizeof(new->name), "%s", name);
	begin_family(new->samples, name, help, type);
	return new->samples;
}

/* ---- Labels ---------------------------------------------------------------------------------------------- */

/* Adds NAME="TEXT" to labels. Bytes beyond ASCII, which must be UTF-8 there, and control characters become '?'. */
static void add_label(char labels[LABELS_SIZE], const char *name, const char *text)
{
	size_t used = strlen(labels);

	used += (size_t)snprintf(labels + used, LABELS_SIZE - used, "%s%s=\"", used ? "," : "", name);
	for (; *text && used + 4 < LABELS_SIZE; text++) {
		if (*text == '"' || *text == '\\')
			labels[used++] = '\\';
		labels[used++] = *text < ' ' || *text > '~' ? '?' : *text;
	}
	labels[used++] = '"';
	labels[used] = '\0';
}

/* Does the value name something? A text with a metric of its own does not. */
static bool is_label(const struct stat_value *value)
{
	switch (value->kind) {
	case STAT_ID:
	case STAT_SLOT:
	case STAT_PID:
	case STAT_HEX:
	case STAT_TEXT:
		return !value->metric;
	default:
		return false;
	}
}

static void value_label(char labels[LABELS_SIZE], const struct stat_value *value)
{
	char text[32];

	if (value->kind == STAT_TEXT) {
		add_label(labels, value->name, value->text ? value->text : ""); /* empty: as if it had no such label */
		return;
	}
	if (value->kind == STAT_HEX)
		snprintf(text, sizeof(text), "%016" PRIx64, value->number);
	else
		snprintf(text, sizeof(text), "%" PRId64, (int64_t)value->number);
	add_label(labels, value->name, text);
}

/* ---- Samples --------------------------------------------------------------------------------------------- */

static const char *prefix(const char *section)
{
	if (!strcmp(section, "store") || !strcmp(section, "head"))
		return "store_";
	if (!strcmp(section, "peers"))
		return "peer_";
	if (!strcmp(section, "planes"))
		return "plane_";
	return !strcmp(section, "clients") ? "client_" : "";
}

static const char *suffix(enum stat_kind kind)
{
	switch (kind) {
	case STAT_COUNTER:
		return "_total";
	case STAT_BYTES:
		return "_bytes";
	case STAT_SECONDS:
		return "_seconds";
	case STAT_TIME:
		return "_timestamp_seconds";
	default:
		return "";
	}
}

static void put_number(FILE *samples, const char *name, const char *labels, const struct stat_value *value)
{
	if (value->kind == STAT_SECONDS)
		fprintf(samples, "%s{%s} %.9g\n", name, labels, (double)value->number / 1e9);
	else if (value->kind == STAT_TEXT)
		fprintf(samples, "%s{%s} 1\n", name, labels);
	else
		fprintf(samples, "%s{%s} %" PRIu64 "\n", name, labels, value->number);
}

static void put_histogram(struct prometheus_sink *prometheus, const char *labels, const struct kvshm_histogram *from)
{
	char name[NAME_SIZE];
	uint64_t below = 0;
	FILE *samples;

	snprintf(name, sizeof(name), "kvshm_%s_seconds", from->name);
	samples = family(prometheus, name, from->help, "histogram");
	for (unsigned i = 0; samples && i < KVSHM_HISTOGRAM_BUCKETS; i++) {
		below += from->bucket[i];
		fprintf(samples, "%s_bucket{%s,le=\"", name, labels);
		if (i < KVSHM_HISTOGRAM_BUCKETS - 1)
			fprintf(samples, "%.12g\"} %" PRIu64 "\n", (double)(UINT64_C(1024) << i) / 1e9, below);
		else
			fprintf(samples, "+Inf\"} %" PRIu64 "\n", below);
	}
	if (samples)
		fprintf(samples, "%s_sum{%s} %.9f\n%s_count{%s} %" PRIu64 "\n", name, labels, (double)from->sum / 1e9,
			name, labels, below);
}

static void put_value(struct prometheus_sink *prometheus, const char *row_labels, const struct stat_value *value)
{
	const struct stat_metric *metric = value->metric;
	const char *help = metric && metric->help ? metric->help : value->help;
	char name[NAME_SIZE], labels[LABELS_SIZE];
	FILE *samples;

	snprintf(labels, sizeof(labels), "%s", row_labels);
	if (value->kind == STAT_HISTOGRAM) {
		put_histogram(prometheus, labels, value->histogram);
		return;
	}
	if (metric)
		snprintf(name, sizeof(name), "kvshm_%s", metric->name);
	else
		snprintf(name, sizeof(name), "kvshm_%s%s%s", prefix(prometheus->section), value->name,
			 suffix(value->kind));
	if (metric && metric->by)
		add_label(labels, metric->by, value->kind == STAT_TEXT ? value->text : value->name);
	samples = family(prometheus, name, help, value->kind == STAT_COUNTER ? "counter" : "gauge");
	if (samples)
		put_number(samples, name, labels, value);
}

/* The values of a row, or of a section: of these the names are labels of the info alone. */
static void put_values(struct prometheus_sink *prometheus, bool row)
{
	char labels[LABELS_SIZE] = "", named[LABELS_SIZE];
	bool any = false;

	add_label(labels, "store", prometheus->sink.store);
	snprintf(named, sizeof(named), "%s", labels);
	for (size_t i = 0; i < prometheus->value_count; i++) {
		if (is_label(&prometheus->values[i])) {
			value_label(named, &prometheus->values[i]);
			any = true;
		}
	}
	if (any && !row) {
		FILE *samples = family(prometheus, "kvshm_store_info", "what the store is; always 1", "gauge");

		if (samples)
			fprintf(samples, "kvshm_store_info{%s} 1\n", named);
	}
	for (size_t i = 0; i < prometheus->value_count; i++) {
		const struct stat_value *value = &prometheus->values[i];

		if (value->kind != STAT_NONE && !is_label(value) && (!value->metric || value->metric->name))
			put_value(prometheus, row ? named : labels, value);
	}
	prometheus->value_count = 0;
}

/* ---- The sink -------------------------------------------------------------------------------------------- */

static void prometheus_open(struct stat_sink *sink, const char *section, enum stat_shape shape)
{
	struct prometheus_sink *prometheus = of(sink);

	(void)shape;
	prometheus->section = section;
	prometheus->value_count = 0;
}

static void prometheus_row(struct stat_sink *sink)
{
	of(sink)->value_count = 0;
}

static void prometheus_value(struct stat_sink *sink, const struct stat_value *value)
{
	struct prometheus_sink *prometheus = of(sink);

	if (prometheus->value_count < VALUES_MAX)
		prometheus->values[prometheus->value_count++] = *value;
	else
		prometheus->failed = true;
}

static void prometheus_end_row(struct stat_sink *sink)
{
	put_values(of(sink), true);
}

static void prometheus_close(struct stat_sink *sink)
{
	if (of(sink)->value_count)
		put_values(of(sink), false);
}

/* The exposition is numbers; why they are so is on the page. */
static void prometheus_remark(struct stat_sink *sink, const char *text)
{
	(void)sink;
	(void)text;
}

static bool prometheus_finish(struct stat_sink *sink)
{
	struct prometheus_sink *prometheus = of(sink);
	bool good = !prometheus->failed;

	for (size_t i = 0; i < prometheus->family_count; i++) {
		struct family *family = &prometheus->families[i];

		good = !ferror(family->samples) && good;
		good = !fclose(family->samples) && good;
	}
	if (!good)
		tool_say("no memory for the exposition");
	for (size_t i = 0; i < prometheus->family_count; i++) {
		if (good)
			fputs(prometheus->families[i].text, stdout);
		free(prometheus->families[i].text);
	}
	free(prometheus);
	return tool_flush() && good;
}

struct stat_sink *stat_prometheus_new(void)
{
	struct prometheus_sink *prometheus = calloc(1, sizeof(*prometheus));

	if (!prometheus)
		return NULL;
	prometheus->sink = (struct stat_sink){
		prometheus_open, prometheus_row, prometheus_value, prometheus_end_row, prometheus_close,
		prometheus_remark, prometheus_finish, NULL,
	};
	return &prometheus->sink;
}
