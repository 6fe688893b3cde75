/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * example.c: the program of README.md, word for word (tests/cli/readme_programs_run.sh): an engine that computes a
 * block once for all engines of the machine.
 */
#include <err.h>
#include <errno.h>
#include <kvshm.h>
#include <stdio.h>
#include <string.h>

static void must(int rc)
{
	if (rc)
		errx(1, "%s", kvshm_error());
}

int main(int argc, char **argv)
{
	struct kvshm_meta meta = {.length = 20, .depth = 0};
	struct kvshm_handle block;
	enum kvshm_outcome outcome;
	kvshm_store *store;
	void *bytes;
	int rc;

	must(kvshm_attach(argc > 1 ? argv[1] : "example", NULL, &store));
	do {
		must(kvshm_get_or_fill(store, "a-prefix", 8, &outcome, &block));
		rc = outcome == KVSHM_PENDING ? kvshm_wait(store, &block, UINT64_MAX) : 0;
	} while (rc == -ECANCELED); /* its filler gave up or died: ask again */
	must(rc);
	must(kvshm_address(store, &block, 0, &bytes));
	if (outcome == KVSHM_FILL) {
		memcpy(bytes, "its keys and values", meta.length);
		must(kvshm_publish(store, &block, &meta));
	}
	printf("%s: %s\n", outcome == KVSHM_FILL ? "computed" : "found", (const char *)bytes);
	must(kvshm_release(store, &block));
	must(kvshm_detach(store));
	return 0;
}
