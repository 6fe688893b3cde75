/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stat.h: how kvshm-stat is put together. What is shown is declared once, in the tables of stat_fields.c; it goes,
 * value by value, to a sink: stat_text.c makes a page of it, stat_json.c a document. A value has one name in both.
 */
#ifndef KVSHM_STAT_H
#define KVSHM_STAT_H

#include <stdbool.h>
#include <stdint.h>

#include "kvshm.h"

enum stat_kind {
	STAT_NUMBER,
	STAT_BYTES,
	STAT_HEX,  /* an identity, not a quantity */
	STAT_PID,
	STAT_TIME, /* seconds since 1970 */
	STAT_YESNO,
	STAT_TEXT,
	STAT_RETAIN, /* an enum kvshm_retain; sinks get its name as STAT_TEXT */
};

struct stat_value {
	const char *name;
	const char *help; /* NULL: the name says it */
	enum stat_kind kind;
	uint64_t number;
	const char *text; /* of STAT_TEXT */
};

enum stat_shape {
	STAT_FIELDS, /* one value for each name */
	STAT_ROWS,   /* rows of the same names */
};

/* Where values go. A section is opened, gets its values, and is closed; sections do not nest. */
struct stat_sink {
	void (*open)(struct stat_sink *sink, const char *section, enum stat_shape shape);
	void (*row)(struct stat_sink *sink); /* before the values of each row */
	void (*value)(struct stat_sink *sink, const struct stat_value *value);
	void (*close)(struct stat_sink *sink);
	void (*remark)(struct stat_sink *sink, const char *text); /* between sections: what someone should know */
	bool (*finish)(struct stat_sink *sink); /* all is said; frees the sink. False, with a message: it failed */
};

/* New sinks, which print on stdout; NULL without memory. */
struct stat_sink *stat_text_new(void);
struct stat_sink *stat_json_new(void);

/* A whole store: sections store, usage, counters, clients, and the remarks. */
int stat_show_store(kvshm_view *view, struct stat_sink *sink);

/* The rows of a store's clients, into a section that is open. store: shown as a value of each row; NULL: not. */
int stat_show_clients(kvshm_view *view, const char *store, struct stat_sink *sink);

/* One row that tells a store from others, into a section that is open. */
int stat_show_summary(kvshm_view *view, struct stat_sink *sink);

#endif /* KVSHM_STAT_H */
