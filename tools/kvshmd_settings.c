/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * kvshmd_settings.c: the options of kvshmd, what they make of a new store, and whether an adopted one is so.
 */
#include "config.h"

#include "kvshmd.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

enum {
	POPULATE_MAX = 256, /* the library's limit */
	PIN_TIMEOUT = 300,  /* seconds */
	PIN_TIMEOUT_MAX = 365 * 24 * 3600,
};

static const char *const exports[] = { [KVSHM_EXPORT_FD] = "fd", [KVSHM_EXPORT_IPC] = "ipc", NULL };
static const char *const retains[] = { [KVSHM_KEEP] = "keep", [KVSHM_DROP] = "drop", NULL };

/* The others of other nodes mean nothing without --listen: who gives them has forgotten it. */
static void check_net(const struct settings *settings)
{
	const char *given = net_options_given(&settings->net);

	if (settings->claim_timeout != UINT64_MAX)
		given = "claim-timeout";
	else if (settings->fill_timeout != UINT64_MAX)
		given = "fill-timeout";
	else if (settings->insecure_listen)
		given = "insecure-listen";
	if (given && !settings->listen)
		tool_bad_use("--%s is of a store that other nodes fill: add --listen URL, or leave it out", given);
}

static bool asks_for_gpus(const struct settings *settings)
{
	return settings->pool && strcmp(settings->pool, "host") != 0;
}

static void check_settings(const struct settings *settings)
{
	check_net(settings);
	if (settings->gpu_export >= 0 && !settings->adopt && !asks_for_gpus(settings))
		tool_bad_use("--export is of GPU memory: add --pool cuda:N, or leave it out");
	if (settings->hugepages && asks_for_gpus(settings))
		tool_bad_use("--hugepages is of the host's memory, and --pool asks for GPUs: leave one out");
	if (settings->adopt && settings->replace_dead)
		tool_bad_use("--adopt goes on with the store that is there and --replace-dead makes a new one: "
			     "leave one out");
	if (settings->adopt && settings->populate != UINT64_MAX)
		tool_bad_use("--populate is for a new store, and --adopt goes on with one that is there: leave one "
			     "out");
	if (!settings->adopt && !settings->size)
		tool_bad_use("--size BYTES is missing");
	if (!settings->adopt && !settings->block_size)
		tool_bad_use("--block-size BYTES is missing");
}

/* A group's number, by its name or the number itself. */
static int64_t find_group(const char *name)
{
	const struct group *group = getgrnam(name);
	char *end;
	unsigned long number;

	if (group)
		return group->gr_gid;
	errno = 0;
	number = strtoul(name, &end, 10);
	if (!isdigit((unsigned char)*name) || *end || errno || number >= UINT32_MAX)
		tool_bad_use("--group '%s': there is no such group", name);
	return (int64_t)number;
}

void settings_read(int argc, char **argv, struct settings *settings)
{
	const struct tool_option options[] = {
		{ .name = "store", .argument = "NAME", .kind = TOOL_TEXT, .to.text = &settings->store,
		  .required = true, .help = "the store's name: 1 to 64 of A-Z a-z 0-9 . _ - (required)" },
		{ .name = "size", .argument = "BYTES", .kind = TOOL_SIZE, .to.number = &settings->size, .min = 1,
		  .help = "size of each plane, rounded down to whole blocks; required for a new store" },
		{ .name = "block-size", .argument = "BYTES", .kind = TOOL_SIZE, .to.number = &settings->block_size,
		  .min = KVSHM_BLOCK_UNIT,
		  .help = "size of a block in each plane, a multiple of 512; required for a new store" },
		{ .name = "pool", .argument = "host|GPU,...", .kind = TOOL_TEXT, .to.text = &settings->pool,
		  .help = "memory of the planes: the host's, unless told, or a plane on each of these GPUs: cuda:N, or "
			  "a UUID as nvidia-smi -L has it" },
		{ .name = "export", .argument = "fd|ipc", .kind = TOOL_CHOICE, .to.choice = &settings->gpu_export,
		  .choices = exports,
		  .help = "how engines come by GPU memory: by file descriptors, which keep it, or CUDA IPC handles; fd "
			  "unless told" },
		{ .name = "planes", .argument = "N", .kind = TOOL_NUMBER, .to.number = &settings->planes, .min = 1,
		  .max = KVSHM_PLANES_MAX, .help = "planes of the pool; 1 unless told" },
		{ .name = "key-max", .argument = "N", .kind = TOOL_NUMBER, .to.number = &settings->key_max, .min = 1,
		  .max = KVSHM_KEY_MAX, .help = "bytes of the longest key; 64 unless told" },
		{ .name = "label", .argument = "TEXT", .kind = TOOL_TEXT, .to.text = &settings->label,
		  .may_be_empty = true, .help = "what engines must agree on (model, dtype, layout)" },
		{ .name = "retain", .argument = "keep|drop", .kind = TOOL_CHOICE, .to.choice = &settings->retain,
		  .choices = retains,
		  .help = "what the last release does: keep a block until its room is needed, or free it" },
		{ .name = "clients", .argument = "N", .kind = TOOL_NUMBER, .to.number = &settings->clients, .min = 1,
		  .max = KVSHM_CLIENTS_MAX, .help = "processes that can be attached at once; 64 unless told" },
		{ .name = "requests", .argument = "N", .kind = TOOL_NUMBER, .to.number = &settings->requests, .min = 1,
		  .max = KVSHM_REQUESTS_MAX, .help = "requests that can be open at once; 1024 unless told" },
		{ .name = "mode", .argument = "OCTAL", .kind = TOOL_OCTAL, .to.number = &settings->mode, .min = 1,
		  .max = 0777,
		  .help = "permission bits of the store's files; 0600, or 0660 with --group, unless told" },
		{ .name = "group", .argument = "NAME", .kind = TOOL_TEXT, .to.text = &settings->group_name,
		  .help = "group of the store's files, by name or number" },
		{ .name = "hugepages", .kind = TOOL_FLAG, .to.flag = &settings->hugepages,
		  .help = "planes of huge pages of the default size, in a hugetlbfs that is mounted" },
		{ .name = "numa", .argument = "NODE", .kind = TOOL_NUMBER, .to.number = &settings->numa, .max = 1023,
		  .help = "all memory of this NUMA node; any unless told" },
		{ .name = "populate", .argument = "N", .kind = TOOL_NUMBER, .to.number = &settings->populate,
		  .max = POPULATE_MAX,
		  .help = "threads that zero the memory at the start; one for each CPU unless told; 0: none does" },
		{ .name = "pin-timeout", .argument = "SECONDS", .kind = TOOL_NUMBER,
		  .to.number = &settings->pin_timeout, .max = PIN_TIMEOUT_MAX,
		  .help = "the log is told of pins that are held for longer; 300 unless told; 0: never" },
		{ .name = "listen", .argument = "URL", .kind = TOOL_TEXT, .to.text = &settings->listen,
		  .help = "other nodes may fill blocks: [rdma|tcp]://ADDR[:PORT]; port 7471 unless told" },
		NET_OPTIONS(&settings->net),
		{ .name = "claim-timeout", .argument = "SECONDS", .kind = TOOL_NUMBER,
		  .to.number = &settings->claim_timeout, .max = PIN_TIMEOUT_MAX,
		  .help = "how long what has come waits for its engine; 60 unless told; 0: for ever" },
		{ .name = "fill-timeout", .argument = "SECONDS", .kind = TOOL_NUMBER,
		  .to.number = &settings->fill_timeout, .max = PIN_TIMEOUT_MAX,
		  .help = "how long a node may do nothing with the room that it was given; 300 unless told; 0: for "
			  "ever" },
		{ .name = "insecure-listen", .kind = TOOL_FLAG, .to.flag = &settings->insecure_listen,
		  .help = "listen without a key where others can connect, and write: for tests in networks of "
			  "their own" },
		{ .name = "fence", .kind = TOOL_FLAG, .to.flag = &settings->fence,
		  .help = "readers use memory fences instead of membarrier(2): slower, for kernels without it" },
		{ .name = "adopt", .kind = TOOL_FLAG, .to.flag = &settings->adopt,
		  .help = "go on with a store that has no living owner, as it is" },
		{ .name = "replace-dead", .kind = TOOL_FLAG, .to.flag = &settings->replace_dead,
		  .help = "make a new store where there is one without a living owner" },
		{ .name = NULL },
	};
	const struct tool_program program = {
		.name = "kvshmd",
		.summary = "Owns a kvshm store: makes it, recovers its dead clients, destroys it on SIGTERM",
		.options = options,
	};

	*settings = (struct settings){ .retain = -1, .gpu_export = -1, .group = -1,
				       .numa = UINT64_MAX, .populate = UINT64_MAX,
				       .pin_timeout = PIN_TIMEOUT, .claim_timeout = UINT64_MAX,
				       .fill_timeout = UINT64_MAX,
				       .net = NET_SETTINGS };
	tool_options(&program, argc, argv, &settings->dir);
	if (settings->group_name)
		settings->group = find_group(settings->group_name);
	check_settings(settings);
}

/* The CPUs that this process may use. */
static uint32_t count_cpus(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		cpus = CPU_COUNT(&set);
	return cpus < 1 ? 1 : cpus > POPULATE_MAX ? POPULATE_MAX : (uint32_t)cpus;
}

void settings_apply(const struct settings *settings, struct kvshm_create_options *options)
{
	kvshm_create_defaults(options);
	options->dir = settings->dir;
	options->label = settings->label;
	options->size = settings->size;
	options->block_size = settings->block_size;
	options->pool = settings->pool;
	if (settings->gpu_export >= 0)
		options->gpu_export = (enum kvshm_export)settings->gpu_export;
	if (settings->planes)
		options->planes = (uint32_t)settings->planes;
	if (settings->key_max)
		options->key_max = (uint32_t)settings->key_max;
	if (settings->clients)
		options->clients = (uint32_t)settings->clients;
	if (settings->requests)
		options->requests = (uint32_t)settings->requests;
	if (settings->retain >= 0)
		options->retain = (enum kvshm_retain)settings->retain;
	options->group = settings->group;
	if (settings->mode)
		options->mode = (uint32_t)settings->mode;
	else if (settings->group >= 0)
		options->mode = 0660;
	if (settings->numa != UINT64_MAX)
		options->numa_node = (int32_t)settings->numa;
	options->populate = settings->populate == UINT64_MAX ? count_cpus() : (uint32_t)settings->populate;
	options->hugepages = settings->hugepages;
	options->fence = settings->fence;
	options->replace_dead = settings->replace_dead;
}

/* ---- Is an adopted store what is asked for? --------------------------------------------------------------- */

/* given NULL: not asked for. */
static bool same_text(const char *option, const char *given, const char *is)
{
	if (!given || !strcmp(given, is))
		return true;
	tool_say("--%s: '%s' is asked for, the store has '%s'; leave the option out, or make a new store with "
		 "--replace-dead", option, given, is);
	return false;
}

static bool same_number(const char *option, bool asked, int64_t given, int64_t is)
{
	char given_text[24], is_text[24];

	snprintf(given_text, sizeof(given_text), "%" PRId64, given);
	snprintf(is_text, sizeof(is_text), "%" PRId64, is);
	return same_text(option, asked ? given_text : NULL, is_text);
}

static bool same_mode(uint64_t given, uint32_t is)
{
	char given_text[24], is_text[24];

	snprintf(given_text, sizeof(given_text), "%04" PRIo64, given);
	snprintf(is_text, sizeof(is_text), "%04" PRIo32, is);
	return same_text("mode", given ? given_text : NULL, is_text);
}

/* A flag can only ask for what it names. */
static bool same_flag(const char *option, bool given, bool is)
{
	return same_text(option, given ? "on" : NULL, is ? "on" : "off");
}

/* A size is a ceiling: any that is rounded down to the store's blocks is the store's. */
static bool same_size(uint64_t given, const struct kvshm_geometry *geometry)
{
	uint64_t is = geometry->blocks * geometry->block_size;

	return given / geometry->block_size == geometry->blocks ||
	       same_number("size", given != 0, (int64_t)given, (int64_t)is);
}

/* What --pool would have said of a store, as far as it can be told: in the words of what it says. */
struct pool_text {
	const char *given; /* what is left of it; NULL: nothing */
	char text[KVSHM_PLANES_MAX * (KVSHM_GPU_SIZE + 1)];
};

/* "cuda:N" is the Nth of the process that has made it, which it need not be of this one: that it is a GPU is all that
 * is known of it. */
static int add_plane(const struct kvshm_plane_view *plane, void *arg)
{
	struct pool_text *pool = arg;
	const char *is = plane->memory == KVSHM_MEMORY_HOST ? "host" : plane->gpu;
	size_t used = strlen(pool->text), length = pool->given ? strcspn(pool->given, ",") : 0;

	if (plane->memory == KVSHM_MEMORY_HOST && plane->plane > 0)
		return 0;
	if (length && plane->memory == KVSHM_MEMORY_CUDA &&
	    (!strncmp(pool->given, "cuda:", 5) || (length == strlen(is) && !strncasecmp(pool->given, is, length))))
		is = pool->given;
	else
		length = strlen(is);
	snprintf(pool->text + used, sizeof(pool->text) - used, "%s%.*s", used ? "," : "", (int)length, is);
	if (pool->given)
		pool->given = strchr(pool->given, ',');
	pool->given += pool->given != NULL;
	return 0;
}

static bool same_pool(const struct settings *settings, kvshm_view *view, const struct kvshm_store_info *info)
{
	const char *export = info->memory == KVSHM_MEMORY_HOST ? "no GPU memory" : exports[info->gpu_export];
	struct pool_text pool = { .given = settings->pool };

	if (kvshm_view_planes(view, add_plane, &pool)) {
		tool_say("%s", kvshm_error());
		return false;
	}
	return same_text("pool", settings->pool, pool.text) &&
	       same_text("export", settings->gpu_export < 0 ? NULL : exports[settings->gpu_export], export);
}

bool settings_same(const struct settings *settings, kvshm_view *view)
{
	const char *retain = settings->retain < 0 ? NULL : retains[settings->retain];
	const struct settings *s = settings;
	struct kvshm_store_info info;
	const struct kvshm_geometry *geometry = &info.geometry;

	if (kvshm_view_store(view, &info)) {
		tool_say("%s", kvshm_error());
		return false;
	}
	return same_pool(s, view, &info) && same_size(s->size, geometry) &&
	       same_number("block-size", s->block_size, (int64_t)s->block_size, (int64_t)geometry->block_size) &&
	       same_number("planes", s->planes, (int64_t)s->planes, geometry->planes) &&
	       same_number("key-max", s->key_max, (int64_t)s->key_max, geometry->key_max) &&
	       same_number("clients", s->clients, (int64_t)s->clients, geometry->clients) &&
	       same_number("requests", s->requests, (int64_t)s->requests, geometry->requests) &&
	       same_number("group", s->group >= 0, s->group, info.group) &&
	       same_number("numa", s->numa != UINT64_MAX, (int64_t)s->numa, info.numa_node) &&
	       same_mode(s->mode, info.mode) &&
	       same_text("label", s->label, info.label) &&
	       same_text("retain", retain, geometry->retain == KVSHM_KEEP ? "keep" : "drop") &&
	       same_flag("hugepages", s->hugepages, info.huge_page) && same_flag("fence", s->fence, info.fence);
}
