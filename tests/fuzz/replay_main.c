/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_main: the main() of a target without libFuzzer: gives it the bytes of each file that is named, and of each
 * file in a directory that is named. Words that begin with '-' are libFuzzer's options, and mean nothing here: so both
 * take one command line.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "target.h"

#pragma weak LLVMFuzzerInitialize

static unsigned inputs;

/* The bytes are in memory of just their size, so that AddressSanitizer sees who reads on. False: it can't be read. */
static bool feed_file(const char *path, size_t size)
{
	uint8_t *data = malloc(size ? size : 1);
	FILE *file = fopen(path, "re");
	bool good = data && file && fread(data, 1, size, file) == size;

	if (file)
		(void)fclose(file);
	if (good)
		(void)LLVMFuzzerTestOneInput(data, size);
	inputs += good;
	free(data);
	return good;
}

static bool feed_files(const char *directory)
{
	struct dirent **entries;
	int count = scandir(directory, &entries, NULL, alphasort);
	bool good = count >= 0;

	for (int i = 0; i < count; i++) {
		char path[4096];
		struct stat st;

		(void)snprintf(path, sizeof(path), "%s/%s", directory, entries[i]->d_name);
		if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
			good = feed_file(path, (size_t)st.st_size) && good;
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	return good;
}

static bool feed(const char *path)
{
	struct stat st;
	bool good = stat(path, &st) == 0;

	if (good)
		good = S_ISDIR(st.st_mode) ? feed_files(path) : feed_file(path, (size_t)st.st_size);
	if (!good)
		fprintf(stderr, "%s: can't be read: %s\n", path, strerror(errno));
	return good;
}

int main(int argc, char **argv)
{
	bool good = true;

	if (LLVMFuzzerInitialize)
		(void)LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++)
		if (argv[i][0] != '-')
			good = feed(argv[i]) && good;
	if (!inputs) {
		(void)LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
		inputs++;
	}
	printf("%u inputs, and no fault\n", inputs);
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
