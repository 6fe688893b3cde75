/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * live_segment.c: any bytes in a segment that is in use lead to an error code and a counter; never to a crash, an
 * access outside of the mapping, or a call that does not come back (F1).
 */
#include "config.h"

#include <stdio.h>

#include "files.h"
#include "mutate.h"

static int one_block(const struct kvshm_block_info *block, void *arg)
{
	(void)arg;
	base_check(block->key_length <= KVSHM_KEY_MAX);
	return 0;
}

int main(void)
{
	struct mutator m = { .counters = true };
	struct kvshm_create_options options;
	char path[KVS_PATH_SIZE];
	kvshm_owner *owner;
	const char *name;

	base_begin();
	name = base_store("live");
	m.random = base_stream(1);
	kvshm_create_defaults(&options);
	options.block_size = 512;
	options.size = 96 * 512;
	options.clients = 8;
	base_expect(kvshm_create(name, &options, &owner), 0);
	base_expect(kvs_files_path(path, kvs_files_dir(NULL), name, -1), 0);
	mutate_open(&m, path);
	for (unsigned i = 0; i < 10000; i++) {
		struct kvshm_check_result result;
		kvshm_view *view;

		mutate(&m);
		if (i % 10 || kvshm_view_open(name, NULL, &view))
			continue;
		(void)kvshm_view_blocks(view, one_block, NULL);
		(void)kvshm_view_check(view, NULL, NULL, &result);
		kvshm_view_close(view);
	}
	mutate_mend_head(&m);
	mutate_close(&m);
	base_expect(kvshm_destroy(owner), 0);
	base_check(base_files(name) == 0);
	return base_pass();
}
