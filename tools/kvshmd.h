/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * kvshmd.h: what the command line of kvshmd asks for.
 */
#ifndef KVSHM_KVSHMD_H
#define KVSHM_KVSHMD_H

#include <stdbool.h>
#include <stdint.h>

#include "kvshm.h"
#include "net_options.h"

/* What the command line said; what it did not say is 0, NULL or -1, which no option accepts. */
struct settings {
	const char *store, *dir, *label, *group_name, *pool;
	uint64_t size, block_size, planes, key_max, clients, requests, mode;
	uint64_t numa, populate; /* UINT64_MAX if not said */
	uint64_t pin_timeout;	 /* in seconds; 0: never */
	int64_t group;
	int retain, gpu_export;
	bool fence, hugepages, adopt, replace_dead;
	const char *listen;	/* the URL; NULL: it does not */
	uint64_t claim_timeout, fill_timeout; /* seconds; 0: for ever; UINT64_MAX: not said */
	bool insecure_listen;
	struct net_settings net;
};

/* Reads the command line; ends the program for --help, --version and bad use. */
void settings_read(int argc, char **argv, struct settings *settings);

/* The options of a new store. */
void settings_apply(const struct settings *settings, struct kvshm_create_options *options);

/* An adopted store is what it is: what the command line asks for beside that must be the same. False, with a message:
 * it is not. */
bool settings_same(const struct settings *settings, kvshm_view *view);

#endif /* KVSHM_KVSHMD_H */
