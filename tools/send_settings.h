/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * send_settings.h: what the command line of kvshm-send asks for.
 */
#ifndef KVSHM_SEND_SETTINGS_H
#define KVSHM_SEND_SETTINGS_H

#include "net_options.h"

/* One of to and from is there. */
struct send_settings {
	const char *store, *dir, *to, *from, *id;
	uint64_t attempt, room_timeout; /* ms */
	bool hex;
	struct net_settings net;
};

/* What is sent or got, in the order of the command line. */
struct send_keys {
	struct kvshm_key *keys;
	unsigned char *bytes; /* of those that were given in hexadecimal */
	char **names;	      /* as they were given */
	struct kvshm_handle *refs;
	int *results;
	size_t count;
};

/* Reads the command line but for the keys; ends the program for --help, --version and bad use. Returns the index of the
 * first key in argv. */
int send_settings_read(int argc, char **argv, struct send_settings *settings);

/* Reads the keys, likewise. They are to be freed. */
void send_keys_read(char **names, size_t count, bool hex, struct send_keys *keys);
void send_keys_free(struct send_keys *keys);

#endif /* KVSHM_SEND_SETTINGS_H */
