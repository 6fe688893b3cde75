/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stat_remarks.c: what someone who looks at a store should know, and what to do about it.
 */
#include "config.h"

#include "stat.h"
#include "tool.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

__attribute__((format(printf, 2, 3))) static void remark(struct stat_sink *sink, const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	tool_printable(text);
	sink->remark(sink, text);
}

/* No process owns a store in GPU memory. Does that memory live? */
static void on_gpu_memory(struct stat_sink *sink, const struct kvshm_store_info *info)
{
	if (info->gpu_export == KVSHM_EXPORT_IPC)
		remark(sink,
		       "no living process owns the store, and its GPU memory has gone with its owner (--export ipc): "
		       "its clients get -ESTALE; 'kvshmd --store %s --replace-dead' makes a new one",
		       info->name);
	else if (info->clients_alive)
		remark(sink,
		       "no living process owns the store: its clients, who have its GPU memory, go on; nobody else can "
		       "attach until 'kvshmd --store %s --adopt' (in its --dir) has got it from them",
		       info->name);
	else
		remark(sink,
		       "no living process owns the store, and its GPU memory has gone with its last client: 'kvshmd "
		       "--store %s --replace-dead' makes a new one",
		       info->name);
}

static void on_owner(struct stat_sink *sink, const struct kvshm_store_info *info)
{
	if (info->destroyed)
		remark(sink, "the store was destroyed: its clients get -ESTALE, and should attach its successor");
	else if (info->unlinked)
		remark(sink, "the segment's file has lost its name (logind's RemoveIPC does that): nobody can attach");
	else if (!info->owner_alive && info->memory == KVSHM_MEMORY_CUDA)
		on_gpu_memory(sink, info);
	else if (!info->owner_alive)
		remark(sink,
		       "no living process owns the store: 'kvshmd --store %s --adopt' goes on with it (in its --dir)",
		       info->name);
}

static void on_room(struct stat_sink *sink, const struct kvshm_usage *usage, const struct stat_work *work)
{
	if (usage->unknown)
		remark(sink, "blocks of no state that there is: %" PRIu64 "; someone wrote into the segment: "
			     "kvshm-check says more", usage->unknown);
	if (work->waiting)
		remark(sink, "requests that wait in line for room: %" PRIu64 "; meanwhile fills that have no room "
			     "reserved are refused: --requests shows who has it", work->waiting);
	if (usage->free || usage->evictable)
		return;
	if (usage->grace)
		remark(sink, "no room now; blocks that are free once a grace period has passed: %" PRIu64,
		       usage->grace);
	else
		remark(sink, "no room: every block is held, reserved or being filled");
}

/* Who stalls grace periods, by the slowest reader: it is what one can continue or end. */
static void on_slowest(struct stat_sink *sink, const struct kvshm_store_info *info,
		       const struct kvshm_client_info *client)
{
	uint64_t behind = info->epoch - info->slowest_epoch;
	const char *advice;

	if (info->slowest_client == KVSHM_NO_SLOT || client->slot != info->slowest_client || !client->pid) {
		remark(sink, "the slowest is reader slot %" PRIu32 ", since epoch %" PRIu64 ", %" PRIu64 " behind: no "
			     "client has it; kvshm-check says more", info->slowest_reader, info->slowest_epoch, behind);
		return;
	}
	if (client->alive)
		advice = "if it stays, that process was stopped in a call: continue it (kill -CONT), or end it";
	else
		advice = "that client is dead, and its recovery ends this";
	remark(sink, "the slowest is reader slot %" PRIu32 " of client %" PRIu32 " (process %" PRId32 ", %s), since "
		     "epoch %" PRIu64 ", %" PRIu64 " behind: %s", info->slowest_reader, client->slot, client->pid,
	       client->name, info->slowest_epoch, behind, advice);
}

static void on_readers(struct stat_sink *sink, const struct kvshm_store_info *info,
		       const struct kvshm_client_info *client)
{
	if (!info->readers_stalling)
		return;
	remark(sink, "reader slots in a section since an earlier epoch: %" PRIu32 "; while they stay there, "
		     "blocks in grace can't be used again", info->readers_stalling);
	if (info->slowest_reader != KVSHM_NO_SLOT)
		on_slowest(sink, info, client);
}

/* The number of a process of another pid namespace is another's here: nothing is to be killed by that. */
static void on_pending(struct stat_sink *sink, const struct stat_notable *clients)
{
	if (clients->pending)
		remark(sink, "dead clients whose devices may still reach their blocks: %u, such as client %" PRIu32
			     " (process %" PRId32 ", %s): these blocks wait until someone sees that the process has "
			     "ended: end it (kill -KILL)",
		       clients->pending, clients->pended.slot, clients->pended.pid, clients->pended.name);
	if (clients->elsewhere)
		remark(sink, "dead clients whose devices may still reach their blocks, of other pid namespaces: %u, "
			     "such as client %" PRIu32 " (%s, process %" PRId32 " there): their end is not seen from "
			     "here, and these blocks wait until one attaches from that namespace, or the store is "
			     "replaced; engines must share the pid namespace of kvshmd (hostPID, --pid host)",
		       clients->elsewhere, clients->distant.slot, clients->distant.name, clients->distant.pid);
}

/* Why the dead have not been recovered. */
static void on_clients(struct stat_sink *sink, const struct kvshm_store_info *info,
		       const struct stat_notable *clients)
{
	if (clients->waiting)
		remark(sink, "dead clients that wait for recovery: %u; nobody has looked since they died: %s",
		       clients->waiting, info->owner_alive ? "kvshmd does so every 50 ms, unless it was stopped"
							   : "any attach does, and kvshmd --adopt");
	on_pending(sink, clients);
	if (clients->recovered.recovering)
		remark(sink, "a process is at the recovery of client %" PRIu32 " (process %" PRId32 ", %s): if it "
			     "stays so, that process was stopped at it, and the slot is free once it goes on or ends",
		       clients->recovered.slot, clients->recovered.pid, clients->recovered.name);
}

void stat_remark_on_store(struct stat_sink *sink, const struct kvshm_store_info *info,
			  const struct kvshm_usage *usage, const struct stat_work *work,
			  const struct stat_notable *clients)
{
	on_owner(sink, info);
	on_room(sink, usage, work);
	on_readers(sink, info, &clients->slowest);
	on_clients(sink, info, clients);
}

void stat_remark_on_head(struct stat_sink *sink, const char *dir, const struct kvshm_head_info *info)
{
	const char *where = tool_dir(dir);

	if (info->owner_alive || info->clients_alive)
		remark(sink, "processes that have it: %s%" PRIu32 " clients; they go on as they are, and nobody can "
			     "join them with this version", info->owner_alive ? "its owner, and " : "",
		       info->clients_alive);
	else
		remark(sink, "no process has it: %s/kvshm.%s and %s/kvshm.%s.p* can be removed", where, info->name,
		       where, info->name);
}
