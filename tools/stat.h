/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stat.h: how kvshm-stat is put together. What is shown is declared once, in the tables of stat_fields.c, with a line
 * of help each; --columns (stat_columns.c) chooses of them. stat_show.c and stat_lines.c take a store's values, and
 * give them one by one to a sink: stat_text.c makes a page of them, stat_json.c a document, stat_prometheus.c an
 * exposition. A value has one name in all of them.
 */
#ifndef KVSHM_STAT_H
#define KVSHM_STAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvshm.h"

/* ---- Values ---------------------------------------------------------------------------------------------- */

enum stat_kind {
	STAT_NUMBER,
	STAT_COUNTER, /* a number that only grows */
	STAT_RATE,    /* per second; a double */
	STAT_BYTES,
	STAT_SECONDS, /* a duration; kept in ns, shown in seconds */
	STAT_TIME,    /* seconds since 1970 */
	STAT_YESNO,
	/* What names something, and is no quantity: */
	STAT_ID,
	STAT_SLOT, /* KVSHM_NO_SLOT: none */
	STAT_PID,
	STAT_HEX,
	STAT_TEXT,
	/* Others: */
	STAT_RETAIN,	/* an enum kvshm_retain; sinks get its name as STAT_TEXT */
	STAT_MAYBE,	/* text that may be empty; sinks get it as STAT_TEXT, NULL where it is */
	STAT_HISTOGRAM, /* a struct kvshm_histogram */
	STAT_NONE,	/* there is no such value here; what fields have no value of get it too */
};

/* How a value is called in Prometheus, where that is not its section's prefix and its name. */
struct stat_metric {
	const char *name; /* NULL: it is not shown there */
	const char *by;	  /* a label, for one family of several values: its value is this one's name, or its text */
	const char *help;
};

struct stat_value {
	const char *name;
	const char *help;
	enum stat_kind kind;
	const struct stat_metric *metric; /* NULL: as usual */
	uint64_t number;
	double real;			  /* of STAT_RATE */
	const char *text;		  /* of STAT_TEXT; NULL: there is none, where others have one */
	const struct kvshm_histogram *histogram;
};

/* ---- Sinks ----------------------------------------------------------------------------------------------- */

enum stat_shape {
	STAT_FIELDS,	/* one value for each name */
	STAT_EXPLAINED, /* the same, with their help */
	STAT_ROWS,	/* rows of the same names */
	STAT_LINES,	/* the same, but each is shown as soon as it is there */
};

/* Where values go. A section is opened, gets its values, and is closed; sections do not nest. */
struct stat_sink {
	void (*open)(struct stat_sink *sink, const char *section, enum stat_shape shape);
	void (*row)(struct stat_sink *sink); /* before the values of each row */
	void (*value)(struct stat_sink *sink, const struct stat_value *value);
	void (*end_row)(struct stat_sink *sink);
	void (*close)(struct stat_sink *sink);
	void (*remark)(struct stat_sink *sink, const char *text); /* between sections: what someone should know */
	bool (*finish)(struct stat_sink *sink); /* all is said; frees the sink. False, with a message: it failed */
	const char *store; /* that the next sections are of */
};

/* New sinks, which print on stdout; NULL without memory. */
struct stat_sink *stat_text_new(void);
struct stat_sink *stat_json_new(void);
struct stat_sink *stat_prometheus_new(void);

/* ---- Fields, tables and columns -------------------------------------------------------------------------- */

/* When a row shows a field. */
enum stat_default {
	STAT_SHOWN,
	STAT_LISTED, /* with --list only */
	STAT_ASKED,  /* if --columns names it */
};

/* How much must be known of a store to tell a field. */
enum stat_known {
	STAT_ALL,
	STAT_HEAD, /* what any version can be asked */
	STAT_NAME, /* nothing */
};

/* A member of a struct. */
struct stat_field {
	const char *name;
	const char *help;
	size_t offset, size;
	enum stat_kind kind;
	enum stat_default when;
	enum stat_known needs;
	const struct stat_metric *metric;
};

/* Fields of one struct. */
struct stat_part {
	const struct stat_field *fields;
	size_t count;
};

/* What the rows of a section are made of. */
enum { STAT_PARTS_MAX = 2 };
struct stat_table {
	const char *section;
	const char *option; /* that shows it, for --help */
	struct stat_part parts[STAT_PARTS_MAX];
};

/* The structs that the tables' parts are of: the library's, and what follows from them. */
struct stat_store {
	struct kvshm_store_info info;
	char state[16];
	char memory[8], gpu_export[8]; /* as words; no export: host memory */
};

struct stat_head {
	struct kvshm_head_info info;
	char state[16];
};

struct stat_client {
	char store[KVSHM_NAME_MAX + 1];
	struct kvshm_client_info info;
	uint64_t age;					/* ns */
	char planes[3 * KVSHM_PLANES_MAX]; /* of GPU memory, that it has mapped */
};

/* A plane; and one that a client has mapped. */
struct stat_plane {
	struct kvshm_plane_view info;
	char memory[8];
};

struct stat_mapping {
	struct kvshm_client_info info;
	uint32_t plane;
	uint32_t mapped;
};

struct stat_block {
	char store[KVSHM_NAME_MAX + 1];
	struct kvshm_block_info info;
	char state[16];
	char claimed[9], written[9]; /* hexadecimal digits */
	char key[2 * KVSHM_KEY_MAX + 1];
	char opaque[2 * KVSHM_OPAQUE_SIZE + 1];
};

#define STAT_ID_SIZE (2 * KVSHM_REQUEST_ID_MAX + 3) /* a request's id as text */

struct stat_request_row {
	char store[KVSHM_NAME_MAX + 1];
	struct kvshm_request_info info;
	char state[16];
	char id[STAT_ID_SIZE];
};

struct stat_pins_row {
	char store[KVSHM_NAME_MAX + 1];
	struct kvshm_pin_info info;
	uint32_t block, attempt; /* as the library's, or KVSHM_NO_SLOT: of no one block; of no request */
	char id[STAT_ID_SIZE];
};

struct stat_peer_row {
	char of[KVSHM_NAME_MAX + 1]; /* the store; the other side's is one of the members */
	struct kvshm_peer_view info;
	char direction[4];
	uint64_t age; /* ns */
};

struct stat_work { /* of all requests and pins */
	uint64_t opening, open, complete, ending, aborted, closed; /* requests in that state */
	uint64_t waiting;					   /* of these, in the line for room */
	uint64_t oldest_request, oldest_pin;			   /* ns; of what is not closed; 0: there is none */
};

struct stat_summary { /* of a histogram */
	char name[32];
	struct kvshm_histogram histogram;
	uint64_t count, mean, p50, p90, p99; /* ns */
};

extern const struct stat_part stat_store_part, stat_usage_part, stat_work_part, stat_head_part;
extern const struct stat_table stat_stores, stat_clients, stat_blocks, stat_requests, stat_pins, stat_peers,
	stat_histograms, stat_planes, stat_mappings;

/* The columns of a table's rows, in the order in which they are shown. */
enum { STAT_COLUMNS_MAX = 96 };
struct stat_columns {
	size_t count;
	struct {
		const struct stat_field *field;
		size_t part;
	} of[STAT_COLUMNS_MAX];
};

/* Those that text names, with commas between; NULL: the table's own. Ends the program where a name is unknown. */
void stat_columns_choose(const struct stat_table *table, const char *text, bool list, struct stat_columns *columns);

/* All that one store's rows can show. */
void stat_columns_all(const struct stat_table *table, struct stat_columns *columns);

/* Is anything of a part chosen? Of a struct's member in it? */
bool stat_columns_use(const struct stat_columns *columns, size_t part);
bool stat_columns_use_member(const struct stat_columns *columns, size_t offset, size_t size);

/* Shows a row. from: a struct for each of the table's parts; NULL: nothing is known of that part. */
void stat_row(struct stat_sink *sink, const struct stat_columns *columns, const void *const *from,
	      enum stat_known known);

/* Shows all fields of a struct. */
void stat_fields(struct stat_sink *sink, const struct stat_part *part, const void *from, enum stat_known known);

/* Prints the columns of a table, for --help. */
void stat_columns_help(const struct stat_table *table);

/* ---- Showing --------------------------------------------------------------------------------------------- */

/* Each returns 0, or a negative errno with a text from kvshm_error(). */

/* A whole store: sections store, planes, usage, work, counters, histograms, clients, and the remarks. */
int stat_show_store(kvshm_view *view, struct stat_sink *sink);

/* The rows of a store's clients, blocks, requests, pins or connections, or one that tells a store from others, into a
 * section that is open. */
int stat_show_clients(kvshm_view *view, const char *store, const struct stat_columns *columns, struct stat_sink *sink);
int stat_show_blocks(kvshm_view *view, const char *store, const struct stat_columns *columns, struct stat_sink *sink);
int stat_show_requests(kvshm_view *view, const char *store, const struct stat_columns *columns,
		       struct stat_sink *sink);
int stat_show_pins(kvshm_view *view, const char *store, const struct stat_columns *columns, struct stat_sink *sink);
int stat_show_peers(kvshm_view *view, const char *store, const struct stat_columns *columns, struct stat_sink *sink);
int stat_show_row(kvshm_view *view, const struct stat_columns *columns, struct stat_sink *sink);

/* All that can be shown of a store's connections, as a section of its own. */
int stat_show_all_of_peers(kvshm_view *view, const char *store, struct stat_sink *sink);

/* A store's planes, and which client has which of them mapped: a section each. */
int stat_show_planes(kvshm_view *view, struct stat_sink *sink);
int stat_show_mappings(kvshm_view *view, const char *store, struct stat_sink *sink);

/* Which memory planes have; and a mask of planes, as their numbers: 0-3,7. */
const char *stat_memory_text(enum kvshm_memory memory);
void stat_planes_text(uint32_t mask, char *text, size_t size);

/* Counts a store's requests and pins. */
int stat_view_work(kvshm_view *view, struct stat_work *work);

/* Writes bytes as hexadecimal digits, two for each, and ends the text. */
void stat_hex(const uint8_t *bytes, size_t count, char *text);

/* What can be told of a store that can't be viewed: its head, as a section with remarks, or a row of the stores. False:
 * there is no such store, or nothing that is one. */
bool stat_show_head(const char *name, const char *dir, struct stat_sink *sink);
bool stat_show_head_row(const char *name, const char *dir, const struct stat_columns *columns,
			struct stat_sink *sink);

/* A line each interval ns, count of them; 0: until the store or the program is ended. False, with a message, where it
 * ended before that. */
const struct stat_table *stat_lines_table(void);
bool stat_show_lines(kvshm_view *view, const struct stat_columns *columns, uint64_t interval, uint64_t count,
		     struct stat_sink *sink);

/* ---- What someone should know ---------------------------------------------------------------------------- */

/* The clients of a store that remarks are about. */
struct stat_notable {
	unsigned waiting;		    /* dead, and nobody has looked since */
	struct kvshm_client_info recovered; /* one that a recoverer is at; recovering is 0: there is none */
	unsigned pending;		    /* dead, and waiting for the end of their processes */
	struct kvshm_client_info pended;    /* one of these */
	unsigned elsewhere;		    /* likewise, of processes of other pid namespaces than this one */
	struct kvshm_client_info distant;   /* one of these */
	struct kvshm_client_info slowest;   /* whose reader is the slowest; name and pid "" and 0: not known */
};

void stat_remark_on_store(struct stat_sink *sink, const struct kvshm_store_info *info,
			  const struct kvshm_usage *usage, const struct stat_work *work,
			  const struct stat_notable *clients);
void stat_remark_on_head(struct stat_sink *sink, const char *dir, const struct kvshm_head_info *info);

#endif /* KVSHM_STAT_H */
