/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * real.c: see real.h.
 */
#include "config.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "real.h"
#include "real_kernels.h"

/* Of a real GPU: what other processes come and go with, and what a driver keeps of those that ended. */
#define TOLERANCE ((size_t)64 << 20)

/* ---- A GPU --------------------------------------------------------------------------------------------------- */

void real_cu_at(const char *file, int line, const char *what, kvg_result result)
{
	const struct kvg_driver *driver = kvg_driver_loaded();
	const char *text = NULL;

	if (result == KVG_SUCCESS)
		return;
	if (driver)
		(void)driver->error_string(result, &text);
	base_fail("%s:%d: %s: %d (%s)", file, line, what, result, text ? text : "?");
}

static void find(void *library, const char *name, void *function)
{
	void *symbol = dlsym(library, name);

	if (!symbol)
		base_fail("the driver has no %s", name);
	memcpy(function, &symbol, sizeof(symbol));
}

static void *library_of_the_driver(void)
{
	void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);

	if (!library)
		base_fail("libcuda.so.1 is not loaded: %s", dlerror());
	return library;
}

static void find_more(struct real_driver *more)
{
	void *library = library_of_the_driver();

#define FIND(member, name, parameters) find(library, name, &more->member);
	REAL_FUNCTIONS(FIND)
#undef FIND
}

static void load_kernels(struct real_gpu *gpu)
{
	const struct kvg_driver *driver = gpu->driver;

	real_cu(driver->module_load(&gpu->module, real_ptx));
	real_cu(driver->module_function(&gpu->fill, gpu->module, "test_fill"));
	real_cu(driver->module_function(&gpu->check, gpu->module, "test_check"));
	real_cu(driver->module_function(&gpu->spin, gpu->module, "test_spin"));
}

void real_gpu_open(struct real_gpu *gpu, bool own)
{
	static const uint32_t zero;

	base_expect(kvg_driver(&gpu->driver), 0);
	find_more(&gpu->more);
	gpu->own = own;
	real_cu(gpu->driver->device_get(&gpu->device, 0));
	if (own) {
		real_cu(gpu->more.context_create(&gpu->context, 0, gpu->device));
	} else {
		real_cu(gpu->driver->primary_retain(&gpu->context, gpu->device));
		real_cu(gpu->driver->context_push(gpu->context));
	}
	real_cu(gpu->driver->stream_create(&gpu->stream, KVG_STREAM_NON_BLOCKING));
	load_kernels(gpu);
	real_cu(gpu->driver->memory_alloc(&gpu->wrong, sizeof(zero)));
	real_cu(gpu->driver->copy_on(gpu->wrong, (uintptr_t)&zero, sizeof(zero), gpu->stream));
}

void real_gpu_close(struct real_gpu *gpu)
{
	kvg_context popped;

	real_wait(gpu);
	real_cu(gpu->driver->memory_free(gpu->wrong));
	real_cu(gpu->driver->module_unload(gpu->module));
	real_cu(gpu->driver->stream_destroy(gpu->stream));
	if (gpu->own) {
		real_cu(gpu->more.context_destroy(gpu->context));
		return;
	}
	real_cu(gpu->driver->context_pop(&popped));
	real_cu(gpu->driver->primary_release(gpu->device));
}

#define THREADS 256U

static void launch(const struct real_gpu *gpu, kvg_function function, size_t bytes, void **parameters)
{
	size_t wanted = (bytes / sizeof(uint32_t) + THREADS - 1) / THREADS;
	unsigned grid = wanted < 1 ? 1 : wanted > 64 ? 64 : (unsigned)wanted;

	real_cu(gpu->driver->launch(function, grid, 1, 1, THREADS, 1, 1, 0, gpu->stream, parameters, NULL));
}

void real_fill(const struct real_gpu *gpu, kvg_pointer at, size_t bytes, uint32_t value)
{
	uint64_t size = bytes;

	launch(gpu, gpu->fill, bytes, (void *[]){&at, &size, &value});
}

void real_check(const struct real_gpu *gpu, kvg_pointer at, size_t bytes, uint32_t value)
{
	uint64_t size = bytes;
	kvg_pointer wrong = gpu->wrong;

	launch(gpu, gpu->check, bytes, (void *[]){&at, &size, &value, &wrong});
}

void real_spin(const struct real_gpu *gpu, kvg_pointer at, size_t bytes, uint32_t value, uint64_t ns)
{
	uint64_t size = bytes;

	launch(gpu, gpu->spin, bytes, (void *[]){&at, &size, &value, &ns});
}

void real_wait(const struct real_gpu *gpu)
{
	real_cu(gpu->driver->stream_synchronize(gpu->stream));
}

void real_expect_right(const struct real_gpu *gpu, const char *what)
{
	uint32_t wrong;

	real_cu(gpu->driver->copy_on((uintptr_t)&wrong, gpu->wrong, sizeof(wrong), gpu->stream));
	real_wait(gpu);
	if (wrong)
		base_fail("%s: %u words are not what was written", what, wrong);
}

/* ---- The machine --------------------------------------------------------------------------------------------- */

struct probe {
	int rc;
	char why[512];
	struct real_machine machine;
	size_t available;
};

static void look_for_a_gpu(void *arg)
{
	struct probe *probe = arg;
	struct real_machine *machine = &probe->machine;
	const struct kvg_driver *driver;
	kvg_device device;
	char name[64];

	probe->rc = kvg_driver(&driver);
	if (probe->rc) {
		(void)snprintf(probe->why, sizeof(probe->why), "%s", kvshm_error());
		return;
	}
	real_cu(driver->device_get(&device, 0));
	real_cu(driver->device_name(name, (int)sizeof(name), device));
	(void)snprintf(machine->device, sizeof(machine->device), "%s", name);
	(void)snprintf(machine->driver, sizeof(machine->driver), "CUDA %d.%d", driver->version / 1000,
		       driver->version % 1000 / 10);
	machine->standin = dlsym(library_of_the_driver(), "standin_bytes_used") != NULL;
}

/* The kernel's module says which driver it is. */
static void read_driver(char *text, size_t size)
{
	FILE *file = fopen("/sys/module/nvidia/version", "re");
	char version[32];

	if (!file)
		return;
	if (fscanf(file, "%31s", version) == 1) {
		size_t length = strlen(text);

		(void)snprintf(text + length, size - length, ", %s", version);
	}
	(void)fclose(file);
}

void real_begin(struct real_machine *machine)
{
	struct probe *probe;

	base_begin();
	probe = base_shared(sizeof(*probe));
	base_check(base_reap(base_fork(look_for_a_gpu, probe)) == 0);
	if (probe->rc)
		base_skip("no GPU here (%s)", probe->why);
	*machine = probe->machine;
	if (!machine->standin)
		read_driver(machine->driver, sizeof(machine->driver));
	(void)printf("%s, %s\n", machine->device, machine->driver);
}

static void ask_for_available(void *arg)
{
	struct probe *probe = arg;
	struct real_gpu gpu;
	size_t total;

	real_gpu_open(&gpu, false);
	real_cu(gpu.more.memory_info(&probe->available, &total));
	real_gpu_close(&gpu);
}

size_t real_available(void)
{
	struct probe *probe = base_shared(sizeof(*probe));

	base_check(base_reap(base_fork(ask_for_available, probe)) == 0);
	return probe->available;
}

void real_expect_available(const struct real_machine *machine, size_t before)
{
	size_t tolerance = machine->standin ? 0 : TOLERANCE;
	uint64_t end = base_now() + BASE_NEVER;
	size_t available = real_available();

	while (available + tolerance < before && base_now() < end)
		available = real_available();
	(void)printf("bytes that the GPU has left: %zu before, %zu after\n", before, available);
	if (available + tolerance < before)
		base_fail("%zu bytes of the GPU have not come back", before - available);
}

/* ---- A store and its owner ----------------------------------------------------------------------------------- */

struct real_store *real_store(const char *what, enum kvshm_export gpu_export, uint32_t blocks, uint32_t block_size)
{
	struct real_store *store = base_shared(sizeof(*store));

	*store = (struct real_store){.name = base_store(what),
				     .gpu_export = gpu_export,
				     .blocks = blocks,
				     .planes = 2,
				     .block_size = block_size};
	return store;
}

static void create(const struct real_store *store, kvshm_owner **owner)
{
	struct kvshm_create_options options;

	kvshm_create_defaults(&options);
	options.size = (uint64_t)store->blocks * store->block_size;
	options.block_size = store->block_size;
	options.pool = "cuda:0,cuda:0";
	options.gpu_export = store->gpu_export;
	options.replace_dead = store->replace_dead;
	base_expect(kvshm_create(store->name, &options, owner), 0);
}

static void own(void *arg)
{
	struct real_store *store = arg;
	kvshm_owner *owner;
	struct pollfd asked = {.events = POLLIN};

	if (store->adopt)
		base_expect(kvshm_adopt(store->name, NULL, &owner), 0);
	else
		create(store, &owner);
	base_expect(kvshm_owner_fd(owner, &asked.fd), 0);
	atomic_fetch_add(&store->owned, 1);
	while (!atomic_load(&store->owner_ends)) {
		base_expect(kvshm_owner_recover(owner, NULL), 0);
		(void)poll(&asked, 1, 5);
	}
	base_expect(kvshm_destroy(owner), 0);
}

pid_t real_own(struct real_store *store)
{
	unsigned before = atomic_load(&store->owned);
	pid_t owner = base_fork(own, store);

	while (atomic_load(&store->owned) == before)
		(void)sched_yield();
	return owner;
}

void real_disown(struct real_store *store, pid_t owner)
{
	atomic_store(&store->owner_ends, true);
	base_check(base_reap(owner) == 0);
	base_check(base_files(store->name) == 0);
}

/* ---- An engine ------------------------------------------------------------------------------------------------- */

void real_engine_attach(struct real_engine *engine, const struct real_store *of)
{
	engine->of = of;
	memset(engine->planes, 0, sizeof(engine->planes));
	base_expect(kvshm_attach(of->name, NULL, &engine->store), 0);
}

void real_engine_map(struct real_engine *engine)
{
	for (unsigned plane = 0; plane < engine->of->planes; plane++) {
		struct kvshm_plane_info info;

		base_expect(kvshm_get_plane_info(engine->store, plane, &info), 0);
		base_check(info.memory == KVSHM_MEMORY_CUDA && info.device == engine->gpu.device);
		engine->planes[plane] = (kvg_pointer)(uintptr_t)info.address;
	}
}

void real_engine_detach(struct real_engine *engine)
{
	base_expect(kvshm_detach(engine->store), 0);
}

uint32_t real_value(uint64_t key, unsigned plane)
{
	uint64_t stream = key * KVSHM_PLANES_MAX + plane;

	return (uint32_t)base_random(&stream);
}

/* Both ways to a block lead to the same bytes. */
static kvg_pointer address(const struct real_engine *engine, const struct kvshm_handle *held, unsigned plane)
{
	void *at;

	base_expect(kvshm_address(engine->store, held, plane, &at), 0);
	if (engine->planes[plane])
		base_check((kvg_pointer)(uintptr_t)at ==
			   engine->planes[plane] + (kvg_pointer)held->block * engine->of->block_size);
	return (kvg_pointer)(uintptr_t)at;
}

void real_fill_block(const struct real_engine *engine, const struct kvshm_handle *held, uint64_t key)
{
	for (unsigned plane = 0; plane < engine->of->planes; plane++)
		real_fill(&engine->gpu, address(engine, held, plane), engine->of->block_size, real_value(key, plane));
}

void real_check_block(const struct real_engine *engine, const struct kvshm_handle *held, uint64_t key)
{
	for (unsigned plane = 0; plane < engine->of->planes; plane++)
		real_check(&engine->gpu, address(engine, held, plane), engine->of->block_size, real_value(key, plane));
}

struct batch {
	unsigned count;
	struct kvshm_handle handles[REAL_KEYS];
	uint64_t keys[REAL_KEYS];
	int results[REAL_KEYS];
};

static void append(struct batch *batch, const struct kvshm_handle *handle, uint64_t key)
{
	batch->handles[batch->count] = *handle;
	batch->keys[batch->count++] = key;
}

static void expect_all(const struct batch *batch, const char *what)
{
	for (unsigned i = 0; i < batch->count; i++)
		if (batch->results[i])
			base_fail("%s: %d: %s", what, batch->results[i], kvshm_error());
}

/* Returns how many there is no room for: these come first in numbers. */
static unsigned ask(const struct real_engine *engine, uint64_t *numbers, unsigned count, struct batch *fills,
		    struct batch *held)
{
	struct kvshm_key keys[REAL_KEYS] = {0};
	struct kvshm_handle handles[REAL_KEYS];
	enum kvshm_outcome outcomes[REAL_KEYS];
	int results[REAL_KEYS];
	unsigned left = 0;

	for (unsigned i = 0; i < count; i++)
		keys[i] = (struct kvshm_key){&numbers[i], sizeof(numbers[i])};
	base_expect(kvshm_get_or_fill_batch(engine->store, keys, count, outcomes, handles, results), 0);
	for (unsigned i = 0; i < count; i++) {
		if (results[i] == -ENOSPC) {
			numbers[left++] = numbers[i];
			continue;
		}
		base_expect(results[i], 0);
		append(outcomes[i] == KVSHM_FILL ? fills : held, &handles[i], numbers[i]);
	}
	return left;
}

/* Those that came to nothing are put behind the ones that are left already. */
static unsigned wait_for(const struct real_engine *engine, struct batch *held, uint64_t *numbers, unsigned left)
{
	unsigned kept = 0;

	base_expect(kvshm_wait_batch(engine->store, held->handles, held->count, base_now() + BASE_NEVER, held->results),
		    0);
	for (unsigned i = 0; i < held->count; i++) {
		if (held->results[i] == -ECANCELED) {
			numbers[left++] = held->keys[i];
			continue;
		}
		base_expect(held->results[i], 0);
		held->handles[kept] = held->handles[i];
		held->keys[kept++] = held->keys[i];
	}
	held->count = kept;
	return left;
}

unsigned real_use_keys(const struct real_engine *engine, uint64_t *keys, unsigned count, uint64_t *filled,
		       uint64_t *got)
{
	struct batch fills = {0}, held = {0};
	unsigned left = ask(engine, keys, count, &fills, &held);

	for (unsigned i = 0; i < fills.count; i++)
		real_fill_block(engine, &fills.handles[i], fills.keys[i]);
	base_expect(
		kvshm_publish_on(engine->store, engine->gpu.stream, fills.handles, NULL, fills.count, fills.results),
		0);
	expect_all(&fills, "kvshm_publish_on");
	*filled += fills.count;
	left = wait_for(engine, &held, keys, left);
	*got += held.count;
	/* Those of its own are checked by kernels behind those that write them. */
	for (unsigned i = 0; i < fills.count; i++)
		append(&held, &fills.handles[i], fills.keys[i]);
	for (unsigned i = 0; i < held.count; i++)
		real_check_block(engine, &held.handles[i], held.keys[i]);
	base_expect(kvshm_release_on(engine->store, engine->gpu.stream, held.handles, held.count, held.results), 0);
	expect_all(&held, "kvshm_release_on");
	return left;
}
