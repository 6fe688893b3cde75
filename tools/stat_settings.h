/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stat_settings.h: what the command line of kvshm-stat asks for.
 */
#ifndef STAT_SETTINGS_H
#define STAT_SETTINGS_H

#include "stat.h"

/* What is not said is 0, NULL or false. */
struct stat_settings {
	const char *store;
	const char *dir;
	const char *columns_text;
	bool list, clients, blocks, requests, pins, peers, json, prometheus;
	uint64_t interval; /* ns; 0: not line by line */
	uint64_t count;	   /* of lines; 0: no end */
	const struct stat_table *table; /* of the rows; NULL: a page */
	struct stat_columns columns;
};

/* Reads the command line; ends the program for --help, --version and bad use. */
void stat_settings_read(int argc, char **argv, struct stat_settings *settings);

#endif /* STAT_SETTINGS_H */
