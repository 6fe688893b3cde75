/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * modules.c: modules, of which the stand-in reads the names of the kernels only: PTX, which is text; and launches of
 * those that it knows (kernels.c).
 */
#include "config.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "inner.h"

enum { ENTRIES = 16, NAME = 128, THREADS = 1024, SHARED = 48 << 10 };

struct CUfunc_st {
	struct CUmod_st *module;
	char name[NAME];
};

struct CUmod_st {
	struct CUmod_st *next;
	kvg_context context;
	unsigned count;
	struct CUfunc_st functions[ENTRIES];
};

static struct CUmod_st *modules;

static struct CUmod_st **place_of(kvg_module module)
{
	struct CUmod_st **place;

	for (place = &modules; *place && *place != module; place = &(*place)->next)
		;
	return place;
}

unsigned si_modules_count(void)
{
	const struct CUmod_st *module;
	unsigned count = 0;

	for (module = modules; module; module = module->next)
		count++;
	return count;
}

unsigned si_modules_abandon(kvg_context context)
{
	struct CUmod_st **place, *module;
	unsigned count = 0;

	for (place = &modules; (module = *place);) {
		if (module->context != context) {
			place = &module->next;
			continue;
		}
		*place = module->next;
		free(module);
		count++;
	}
	return count;
}

/* Blanks and comments to the end of the line. */
static const char *skip(const char *text)
{
	for (;;) {
		text += strspn(text, " \t\r\n");
		if (text[0] != '/' || text[1] != '/')
			return text;
		text += strcspn(text, "\n");
	}
}

/* The words behind each .entry. */
static bool read_entries(struct CUmod_st *module, const char *text)
{
	if (strncmp(skip(text), ".version", 8) != 0)
		return false;
	while ((text = strstr(text, ".entry"))) {
		struct CUfunc_st *function = &module->functions[module->count];

		if (module->count == ENTRIES)
			si_die("a module has more than %d kernels", ENTRIES);
		text += strlen(".entry");
		if (sscanf(text, " %127[A-Za-z0-9_$]", function->name) != 1)
			return false;
		function->module = module;
		module->count++;
	}
	return true;
}

SI_PUBLIC kvg_result cu_module_load(kvg_module *result, const void *image)
{
	kvg_result failure = si_enter(SI_module_load);
	struct CUmod_st *module;
	kvg_context context;

	if (failure != KVG_SUCCESS)
		return failure;
	failure = si_current(&context);
	if (failure != KVG_SUCCESS)
		return si_leave(failure);
	module = calloc(1, sizeof(*module));
	if (!module)
		return si_leave(KVG_OUT_OF_MEMORY);
	if (!read_entries(module, image)) {
		free(module);
		return si_leave(KVG_INVALID_PTX);
	}
	module->context = context;
	module->next = modules;
	modules = module;
	*result = module;
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_module_unload(kvg_module module)
{
	kvg_result result = si_enter(SI_module_unload);
	struct CUmod_st **place;
	kvg_context context;

	if (result != KVG_SUCCESS)
		return result;
	result = si_current(&context);
	place = place_of(module);
	if (result == KVG_SUCCESS && (!*place || module->context != context))
		result = KVG_INVALID_HANDLE;
	if (result != KVG_SUCCESS)
		return si_leave(result);
	*place = module->next;
	free(module);
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_module_function(kvg_function *function, kvg_module module, const char *name)
{
	kvg_result result = si_enter(SI_module_function);
	unsigned i;

	if (result != KVG_SUCCESS)
		return result;
	if (!*place_of(module))
		return si_leave(KVG_INVALID_HANDLE);
	for (i = 0; i < module->count && strcmp(module->functions[i].name, name) != 0; i++)
		;
	if (i == module->count)
		return si_leave(KVG_NOT_FOUND);
	*function = &module->functions[i];
	return si_leave(KVG_SUCCESS);
}

struct launch {
	const struct si_kernel *kernel;
	uint64_t parameters[sizeof(((struct si_kernel *)0)->sizes) / sizeof(size_t)];
};

static unsigned last_blocks;

static kvg_result run_kernel(struct CUstream_st *stream, void *argument)
{
	const struct launch *launch = argument;

	return launch->kernel->run(stream, launch->parameters);
}

static bool is_function(kvg_function function)
{
	const struct CUmod_st *module;

	for (module = modules; module; module = module->next)
		if (function >= module->functions && function < module->functions + module->count)
			return true;
	return false;
}

SI_PUBLIC kvg_result cu_launch(kvg_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
			       unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
			       kvg_stream handle, void **parameters, void **extra)
{
	unsigned long long threads = (unsigned long long)block_x * block_y * block_z;
	kvg_result result = si_enter(SI_launch);
	struct launch launch = {.kernel = NULL};
	struct CUstream_st *stream;
	unsigned i;

	if (result != KVG_SUCCESS)
		return result;
	result = si_stream_of(handle, &stream);
	if (result == KVG_SUCCESS && (!is_function(function) || function->module->context != si_stream_context(stream)))
		result = KVG_INVALID_HANDLE;
	if (result == KVG_SUCCESS &&
	    (!grid_x || !grid_y || !grid_z || grid_x > INT32_MAX || grid_y > UINT16_MAX || grid_z > UINT16_MAX ||
	     !threads || threads > THREADS || shared_bytes > SHARED || extra))
		result = KVG_INVALID_VALUE;
	if (result == KVG_SUCCESS)
		result = si_capture_refuses(stream, "cuLaunchKernel()");
	if (result != KVG_SUCCESS)
		return si_leave(result);
	last_blocks = grid_x * grid_y * grid_z;
	launch.kernel = si_kernel(function->name);
	for (i = 0; i < launch.kernel->parameters; i++)
		memcpy(&launch.parameters[i], parameters[i], launch.kernel->sizes[i]);
	return si_leave(si_stream_push(stream, run_kernel, &launch, sizeof(launch), true));
}

SI_PUBLIC unsigned standin_blocks(void)
{
	unsigned blocks;

	pthread_mutex_lock(&si_lock);
	blocks = last_blocks;
	pthread_mutex_unlock(&si_lock);
	return blocks;
}
