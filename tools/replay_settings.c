/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_settings.c: the command line of kvshm-replay: its options, and which of them go together.
 */
#include "config.h"

#include "replay_settings.h"
#include "tool.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

enum {
	PROCESSES_MAX = KVSHM_CLIENTS_MAX - 1, /* one client is for the inspection */
	IN_FLIGHT_MAX = 4096,
	GENERATE_MAX = 1000000,
	TIME_MAX = 1000000000, /* s, ms: what a deadline can hold by far */
};

const char *const replay_retains[] = { [KVSHM_KEEP] = "keep", [KVSHM_DROP] = "drop", NULL };
const char *const replay_exports[] = { [KVSHM_EXPORT_FD] = "fd", [KVSHM_EXPORT_IPC] = "ipc", NULL };

bool replay_settings_gpu(const struct replay_settings *settings)
{
	return settings->pool && strcmp(settings->pool, "host") != 0;
}

static uint64_t planes_of(const struct replay_settings *settings)
{
	uint64_t gpus = 1;

	if (settings->planes || !replay_settings_gpu(settings))
		return settings->planes ? settings->planes : 1;
	for (const char *c = settings->pool; *c; c++)
		gpus += *c == ',';
	return gpus < KVSHM_PLANES_MAX ? gpus : KVSHM_PLANES_MAX;
}

uint64_t replay_settings_processes(const struct replay_settings *settings)
{
	return settings->procs * (settings->tickets ? 2 + planes_of(settings) : 2);
}

uint64_t replay_settings_requests(const struct replay_settings *settings)
{
	return settings->procs * settings->in_flight;
}

/* What is sent elsewhere goes through no store here, and over one connection. */
static void judge_remote(const struct replay_settings *settings)
{
	const struct {
		const char *option;
		bool said;
	} of_stores[] = {
		{ "store", settings->store },
		{ "capacity", settings->capacity },
		{ "planes", settings->planes },
		{ "pool", settings->pool },
		{ "export", settings->gpu_export >= 0 },
		{ "retain", settings->retain >= 0 },
		{ "procs", settings->procs > 1 },
		{ "tickets", settings->tickets },
		{ "claim-timeout", settings->claim_timeout },
		{ "kill-every", settings->kill_every },
	};

	for (size_t i = 0; i < sizeof(of_stores) / sizeof(*of_stores); i++) {
		if (of_stores[i].said)
			tool_bad_use("--%s does not go with --remote: leave one out", of_stores[i].option);
	}
}

void replay_settings_read(int argc, char **argv, struct replay_settings *to)
{
	const struct tool_option options[] = {
		{ .name = "store", .argument = "NAME", .kind = TOOL_TEXT, .to.text = &to->store,
		  .help = "replay through this store; unless told, through one of its own" },
		{ .name = "capacity", .argument = "BLOCKS", .kind = TOOL_NUMBER, .to.number = &to->capacity, .min = 1,
		  .max = KVSHM_BLOCKS_MAX, .help = "blocks of its own store" },
		{ .name = "block-size", .argument = "BYTES", .kind = TOOL_SIZE, .to.number = &to->block_size, .min = 1,
		  .help = "size of its own store's blocks in each plane; 4K unless told" },
		{ .name = "planes", .argument = "N", .kind = TOOL_NUMBER, .to.number = &to->planes, .min = 1,
		  .max = KVSHM_PLANES_MAX, .help = "planes of its own store; 1 unless told" },
		{ .name = "pool", .argument = "host|GPU,...", .kind = TOOL_TEXT, .to.text = &to->pool,
		  .help = "GPUs with a plane of its own store on each, cuda:N or a UUID; host unless told" },
		{ .name = "export", .argument = "fd|ipc", .kind = TOOL_CHOICE, .to.choice = &to->gpu_export,
		  .choices = replay_exports, .help = "how its processes come by GPU memory; fd unless told" },
		{ .name = "retain", .argument = "keep|drop", .kind = TOOL_CHOICE, .to.choice = &to->retain,
		  .choices = replay_retains,
		  .help = "what the last release does in its own store; keep unless told" },
		{ .name = "procs", .argument = "N", .kind = TOOL_NUMBER, .to.number = &to->procs, .min = 1,
		  .max = PROCESSES_MAX, .help = "engines; 1 unless told" },
		{ .name = "in-flight", .argument = "N", .kind = TOOL_NUMBER, .to.number = &to->in_flight, .min = 1,
		  .max = IN_FLIGHT_MAX, .help = "requests that each engine has in flight; 1 unless told" },
		{ .name = "tickets", .kind = TOOL_FLAG, .to.flag = &to->tickets,
		  .help = "make each engine's process a scheduler, with a worker process for each plane" },
		{ .name = "abort", .argument = "PERCENT", .kind = TOOL_NUMBER, .to.number = &to->abort, .min = 0,
		  .max = 100,
		  .help = "abort so many of 100 requests, at any point, from either side; none unless told" },
		{ .name = "claim-timeout", .argument = "SECONDS", .kind = TOOL_NUMBER, .to.number = &to->claim_timeout,
		  .min = 1, .max = TIME_MAX,
		  .help = "close complete requests that nobody claims for so long; never unless told" },
		{ .name = "kill-every", .argument = "MS", .kind = TOOL_NUMBER, .to.number = &to->kill_every, .min = 1,
		  .max = TIME_MAX, .help = "kill a process of an engine so often, and start another in its place" },
		{ .name = "seconds", .argument = "S", .kind = TOOL_NUMBER, .to.number = &to->seconds, .min = 1,
		  .max = TIME_MAX,
		  .help = "go round the trace, with new keys each time, for so long; once unless told" },
		{ .name = "generate", .argument = "N", .kind = TOOL_NUMBER, .to.number = &to->generate, .min = 1,
		  .max = GENERATE_MAX, .help = "make a multi-turn workload of N requests instead of reading a trace" },
		{ .name = "remote", .argument = "URL", .kind = TOOL_TEXT, .to.text = &to->remote,
		  .help = "send to the store that listens at URL, [rdma|tcp]://ADDR[:PORT], instead of a store here" },
		NET_OPTIONS(&to->net),
		{ .name = "json", .kind = TOOL_FLAG, .to.flag = &to->json, .help = "print the result as JSON" },
		{ .name = NULL },
	};
	const struct tool_program program = {
		.name = "kvshm-replay",
		.summary = "Replays a trace of LLM requests (JSON lines with hash_ids; - for standard input) through a "
			   "store",
		.operands = "TRACE",
		.options = options,
	};
	uint64_t processes;
	int operand;

	*to = (struct replay_settings){ .procs = 1, .in_flight = 1, .retain = -1, .gpu_export = -1,
					.net = NET_SETTINGS };
	operand = tool_options(&program, argc, argv, &to->dir);
	processes = replay_settings_processes(to);
	to->trace = argv[operand];
	if (to->trace && to->generate)
		tool_bad_use("there is a trace, '%s', and --generate: leave one out", to->trace);
	if (!to->trace && !to->generate)
		tool_bad_use("no trace: name one, - for standard input, or use --generate");
	if (to->trace && operand + 1 < argc)
		tool_bad_use("nothing was expected at '%s': one trace at a time", argv[operand + 1]);
	if (to->remote) {
		judge_remote(to);
		return;
	}
	if (to->store && (to->pool || to->gpu_export >= 0))
		tool_bad_use("--%s is for a store of its own: leave it or --store out", to->pool ? "pool" : "export");
	if (to->gpu_export >= 0 && !replay_settings_gpu(to))
		tool_bad_use("--export is of GPU memory: add --pool cuda:N, or leave it out");
	if (net_options_given(&to->net))
		tool_bad_use("--%s is for another node's store: add --remote URL, or leave it out",
			     net_options_given(&to->net));
	if (!to->store && processes > PROCESSES_MAX)
		tool_bad_use("--procs %" PRIu64 "%s are %" PRIu64 " processes: the most is %d", to->procs,
			     to->tickets ? " with --tickets and its --planes" : "", processes, PROCESSES_MAX);
	if (!to->store && replay_settings_requests(to) > KVSHM_REQUESTS_MAX)
		tool_bad_use("--procs %" PRIu64 " with --in-flight %" PRIu64 " are %" PRIu64 " requests"
			     ": the most is %d",
			     to->procs, to->in_flight, replay_settings_requests(to), KVSHM_REQUESTS_MAX);
	if (!to->store && !to->capacity)
		tool_bad_use("--capacity BLOCKS is missing, or --store NAME");
}
