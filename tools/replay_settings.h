/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_settings.h: what the command line of kvshm-replay asks for.
 */
#ifndef REPLAY_SETTINGS_H
#define REPLAY_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "net_options.h"

/* What was asked for. 0, NULL or -1: not said. */
struct replay_settings {
	const char *store, *dir, *trace, *remote, *pool;
	struct net_settings net; /* of the connection to remote */
	uint64_t capacity, block_size, planes;
	uint64_t procs, in_flight, abort, claim_timeout, kill_every, seconds, generate;
	int retain, gpu_export;
	bool tickets, json;
};

/* The words of --retain, by enum kvshm_retain. */
extern const char *const replay_retains[];

/* The words of --export, by enum kvshm_export. Does --pool ask for GPU memory? */
extern const char *const replay_exports[];
bool replay_settings_gpu(const struct replay_settings *settings);

/* How many processes an own store is for, and requests. Unless told, it has one plane, or one on each GPU of its
 * pool. */
uint64_t replay_settings_processes(const struct replay_settings *settings);
uint64_t replay_settings_requests(const struct replay_settings *settings);

/* Reads the command line; ends the program for --help, --version and bad use. */
void replay_settings_read(int argc, char **argv, struct replay_settings *to);

#endif /* REPLAY_SETTINGS_H */
