/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * room: processes that together hold a handful of blocks fill a full cache, key after key. There is always something to
 * evict: nobody is ever told that every block is held. (Room that waits for a grace period, while a reader is
 * preempted in its section, may be said, and is counted.) Prints how often each was.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base.h"

#define PROCESSES 4
#define MS 700 /* of each phase */

struct phase {
	const char *name;
	uint64_t number, end;
	uint64_t enough; /* fills, which the phase lasts for: together they fill the store several times */
};

static void fill_keys(void *arg)
{
	const struct phase *phase = arg;
	uint64_t key = phase->number << 48, fills = 0;
	kvshm_store *store;

	base_expect(kvshm_attach(phase->name, NULL, &store), 0);
	while (base_now() < phase->end || fills < phase->enough) {
		struct kvshm_handle handle;
		enum kvshm_outcome outcome;
		int rc;

		key++;
		rc = kvshm_get_or_fill(store, &key, sizeof(key), &outcome, &handle);
		if (rc == -ENOSPC)
			continue;
		base_expect(rc, 0);
		base_check(outcome == KVSHM_FILL);
		base_expect(kvshm_publish(store, &handle, NULL), 0);
		base_expect(kvshm_release(store, &handle), 0);
		fills++;
	}
	base_expect(kvshm_detach(store), 0);
}

static void run(unsigned blocks)
{
	struct kvshm_create_options options;
	struct phase phases[PROCESSES];
	pid_t pids[PROCESSES];
	kvshm_owner *owner;
	const char *name;
	uint64_t none, grace;
	char what[32];

	kvshm_create_defaults(&options);
	options.block_size = KVSHM_BLOCK_UNIT;
	options.size = blocks * options.block_size;
	(void)snprintf(what, sizeof(what), "room-%u", blocks);
	name = base_store(what);
	for (unsigned i = 0; i < PROCESSES; i++)
		phases[i] = (struct phase){name, i + 1, base_phase(MS), blocks};
	base_expect(kvshm_create(name, &options, &owner), 0);
	for (unsigned i = 0; i < PROCESSES; i++)
		pids[i] = base_fork(fill_keys, &phases[i]);
	for (unsigned i = 0; i < PROCESSES; i++)
		base_check(base_reap(pids[i]) == 0);
	none = base_counter(name, "no_room");
	grace = base_counter(name, "no_room_grace");
	(void)printf("%u blocks: %llu fills, no room %llu times, of these for a grace period %llu\n", blocks,
		     (unsigned long long)base_counter(name, "fills"), (unsigned long long)none,
		     (unsigned long long)grace);
	base_check(base_counter(name, "fills") >= PROCESSES * (uint64_t)blocks); /* it was full most of the time */
	base_check(none == grace);
	base_judge(name, blocks);
	base_expect(kvshm_destroy(owner), 0);
}

int main(void)
{
	base_begin();
	run(16);
	run(64);
	run(1000);
	return base_pass();
}
