/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stat_fields.c: what kvshm-stat shows, each value declared once, in the order in which it is shown. To show another
 * member of a struct of kvshm.h, add it to its table here and to kvshm-stat(1). Counters and histograms need nothing:
 * the library names them.
 */
#include "config.h"

#include "stat.h"

#define FIELDS(fields) { fields, sizeof(fields) / sizeof((fields)[0]) }
#define MEMBER(type, member) .offset = offsetof(struct type, member), .size = sizeof(((struct type *)0)->member)

static const struct stat_metric hidden = { .name = NULL };
static const struct stat_metric store_state = { "store_state", "state", "what the store is: see kvshm-stat(1)" };
static const struct stat_metric blocks_by_state = { "blocks", "state", "blocks in this state" };
static const struct stat_metric blocks_held = { .name = "blocks_held" };
static const struct stat_metric blocks_pinned = { .name = "blocks_pinned" };
static const struct stat_metric blocks_cleared = { .name = "blocks_cleared" };
static const struct stat_metric blocks_evictable = { .name = "blocks_evictable" };
static const struct stat_metric requests_by_state = { "requests", "state", "requests in this state" };
static const struct stat_metric requests_waiting = { .name = "requests_waiting" };
static const struct stat_metric maps_plane = { .name = "client_maps_plane" };
static const struct stat_metric key_max = { .name = "store_key_max_bytes" };

#define INFO(member, what, ...) .kind = (what), MEMBER(stat_store, info.member), __VA_ARGS__

static const struct stat_field store_fields[] = {
	{ "name", "the store's name", INFO(name, STAT_TEXT, .needs = STAT_NAME, .metric = &hidden) },
	{ "label", "the label that its engines agree on", INFO(label, STAT_TEXT, .when = STAT_ASKED) },
	{ "state", "live, dead (no owner lives), destroyed, unlinked; other-layout, truncated, unreadable",
	  MEMBER(stat_store, state), STAT_TEXT, STAT_SHOWN, STAT_NAME, &store_state },
	{ "blocks", "blocks in all", INFO(geometry.blocks, STAT_NUMBER) },
	{ "block_size", "bytes of a block in each plane", INFO(geometry.block_size, STAT_BYTES) },
	{ "planes", "planes of a block", INFO(geometry.planes, STAT_NUMBER) },
	{ "memory", "which memory the planes have: host, or cuda (of GPUs)",
	  MEMBER(stat_store, memory), STAT_TEXT, STAT_ASKED, STAT_ALL, NULL },
	{ "export", "how processes come by GPU memory: fd or ipc",
	  MEMBER(stat_store, gpu_export), STAT_MAYBE, STAT_ASKED, STAT_ALL, NULL },
	{ "retain", "keep (a cache) or drop (a transfer buffer)",
	  INFO(geometry.retain, STAT_RETAIN, .when = STAT_ASKED) },
	{ "key_max", "bytes of the longest key", INFO(geometry.key_max, STAT_NUMBER, .when = STAT_ASKED,
						       .metric = &key_max) },
	{ "clients_max", "client slots", INFO(geometry.clients, STAT_NUMBER, .when = STAT_ASKED) },
	{ "clients_alive", "client slots of the living",
	  INFO(clients_alive, STAT_NUMBER, .needs = STAT_HEAD) },
	{ "clients_dead", "client slots of the dead that wait for recovery",
	  INFO(clients_dead, STAT_NUMBER, .when = STAT_ASKED) },
	{ "incarnation", "others for every store ever made",
	  INFO(geometry.incarnation, STAT_HEX, .when = STAT_ASKED) },
	{ "owner_pid", "process of the owner, as it sees itself", INFO(owner_pid, STAT_PID) },
	{ "owner_alive", "whether the owner lives", INFO(owner_alive, STAT_YESNO, .needs = STAT_HEAD) },
	{ "destroyed", "whether the store was destroyed", INFO(destroyed, STAT_YESNO, .when = STAT_ASKED) },
	{ "unlinked", "whether the segment's file has lost its name",
	  INFO(unlinked, STAT_YESNO, .when = STAT_ASKED) },
	{ "created", "when it was made", INFO(created, STAT_TIME, .when = STAT_ASKED) },
	{ "maker", "version of the library that made it",
	  INFO(maker, STAT_TEXT, .when = STAT_ASKED, .needs = STAT_HEAD) },
	{ "layout", "layout of its segment", INFO(layout, STAT_ID, .when = STAT_ASKED, .needs = STAT_HEAD) },
	{ "segment_size", "bytes of its segment",
	  INFO(segment_size, STAT_BYTES, .when = STAT_ASKED, .needs = STAT_HEAD) },
	{ "fence", "whether its readers use fences, not membarrier(2)", INFO(fence, STAT_YESNO, .when = STAT_ASKED) },
	{ "clears", "how often it was cleared",
	  INFO(clears, STAT_COUNTER, .when = STAT_ASKED, .metric = &hidden) }, /* a counter has it as well */
	{ "epoch", "epoch of its grace periods", INFO(epoch, STAT_NUMBER, .when = STAT_ASKED) },
	{ "readers", "reader slots, for threads", INFO(readers, STAT_NUMBER, .when = STAT_ASKED) },
	{ "readers_used", "of these, taken by threads now", INFO(readers_used, STAT_NUMBER, .when = STAT_ASKED) },
	{ "readers_stalling", "of these, in a section since an earlier epoch: they stall grace periods",
	  INFO(readers_stalling, STAT_NUMBER, .when = STAT_ASKED) },
	{ "slowest_reader", "reader slot in the oldest section",
	  INFO(slowest_reader, STAT_SLOT, .when = STAT_ASKED, .metric = &hidden) },
	{ "slowest_client", "client slot that it belongs to",
	  INFO(slowest_client, STAT_SLOT, .when = STAT_ASKED, .metric = &hidden) },
	{ "slowest_epoch", "epoch that its section began at",
	  INFO(slowest_epoch, STAT_NUMBER, .when = STAT_ASKED, .metric = &hidden) },
};

#define USAGE(member, text, ...) { .name = #member, .help = (text), MEMBER(kvshm_usage, member), .when = STAT_ASKED, \
				   __VA_ARGS__ }

static const struct stat_field usage_fields[] = {
	USAGE(free, "blocks that are nobody's", .metric = &blocks_by_state),
	USAGE(owned, "blocks taken, without a key yet", .metric = &blocks_by_state),
	USAGE(room, "blocks reserved by requests", .metric = &blocks_by_state),
	USAGE(filling, "blocks being filled", .metric = &blocks_by_state),
	USAGE(ready, "blocks that can be read", .metric = &blocks_by_state),
	USAGE(removing, "blocks of which someone looks whether anyone holds them", .metric = &blocks_by_state),
	USAGE(doomed, "blocks removed, and still held", .metric = &blocks_by_state),
	USAGE(grace, "blocks that are free once a grace period has passed", .metric = &blocks_by_state),
	USAGE(unknown, "blocks of no state that there is: see kvshm-check(1)", .metric = &blocks_by_state),
	USAGE(held, "blocks with a ref or a pin", .metric = &blocks_held),
	USAGE(pinned, "blocks with a pin", .metric = &blocks_pinned),
	USAGE(cleared, "blocks filling or ready from before the last clearing", .metric = &blocks_cleared),
	USAGE(evictable, "blocks ready and held by nobody", .metric = &blocks_evictable),
	USAGE(refs, "refs of all clients"),
	USAGE(pins, "pins of all clients"),
};

#define WORK(member, text, what, ...) \
	{ .name = #member, .help = (text), .kind = (what), MEMBER(stat_work, member), __VA_ARGS__ }

static const struct stat_field work_fields[] = {
	WORK(opening, "requests being opened", STAT_NUMBER, .metric = &requests_by_state),
	WORK(open, "requests that are being filled, or wait", STAT_NUMBER, .metric = &requests_by_state),
	WORK(complete, "requests that have all of their blocks", STAT_NUMBER, .metric = &requests_by_state),
	WORK(ending, "requests whose end was asked for", STAT_NUMBER, .metric = &requests_by_state),
	WORK(aborted, "requests being let go of before they were complete", STAT_NUMBER, .metric = &requests_by_state),
	WORK(closed, "requests that have ended, and are remembered", STAT_NUMBER, .metric = &requests_by_state),
	WORK(waiting, "requests in the line for room", STAT_NUMBER, .metric = &requests_waiting),
	WORK(oldest_request, "age of the oldest request that is not closed", STAT_SECONDS),
	WORK(oldest_pin, "age of the oldest pin", STAT_SECONDS),
};

#define HEAD(member, what) .kind = (what), .needs = STAT_HEAD, MEMBER(stat_head, info.member)

static const struct stat_field head_fields[] = {
	{ "name", "the store's name", MEMBER(stat_head, info.name), STAT_TEXT, STAT_SHOWN, STAT_NAME, &hidden },
	{ "state", "other-layout, truncated or unreadable", MEMBER(stat_head, state), STAT_TEXT, STAT_SHOWN,
	  STAT_NAME, &store_state },
	{ "maker", "version of the library that made it", HEAD(maker, STAT_TEXT) },
	{ "layout", "layout of its segment", HEAD(layout, STAT_ID) },
	{ "layout_known", "layout that this program knows", HEAD(layout_known, STAT_ID) },
	{ "segment_size", "bytes of its segment, as it was made", HEAD(segment_size, STAT_BYTES) },
	{ "file_size", "bytes of the segment's file", HEAD(file_size, STAT_BYTES) },
	{ "clients_alive", "client slots of the living", HEAD(clients_alive, STAT_NUMBER) },
	{ "owner_alive", "whether the owner lives", HEAD(owner_alive, STAT_YESNO) },
};

#define CLIENT(member, what, text, ...) \
	{ .name = #member, .help = (text), .kind = (what), MEMBER(stat_client, info.member), __VA_ARGS__ }

static const struct stat_field client_fields[] = {
	{ "store", "the client's store", MEMBER(stat_client, store), STAT_TEXT, STAT_LISTED, STAT_ALL, NULL },
	CLIENT(slot, STAT_ID, "its slot"),
	CLIENT(pid, STAT_PID, "its process, as it sees itself"),
	CLIENT(alive, STAT_YESNO, "no: dead, and not recovered yet"),
	CLIENT(recovering, STAT_YESNO, "dead, and a process is at its recovery, or was stopped at it"),
	CLIENT(dma, STAT_YESNO, "it moves blocks' bytes by devices", .when = STAT_ASKED),
	CLIENT(waiting, STAT_YESNO, "dead, and its blocks wait until its process has ended, for its devices' sake",
	       .when = STAT_ASKED),
	CLIENT(attached, STAT_TIME, "when it attached"),
	{ "age", "time since it attached", MEMBER(stat_client, age), STAT_SECONDS, STAT_SHOWN, STAT_ALL, NULL },
	CLIENT(refs, STAT_NUMBER, "its refs"),
	CLIENT(pins, STAT_NUMBER, "its pins"),
	CLIENT(blocks, STAT_NUMBER, "blocks with a ref or a pin of its"),
	CLIENT(fills, STAT_NUMBER, "fills that it has begun"),
	CLIENT(parts, STAT_NUMBER, "planes that it writes for fills"),
	CLIENT(owned, STAT_NUMBER, "blocks without a key that it has"),
	{ "planes", "planes of GPU memory that it has mapped", MEMBER(stat_client, planes), STAT_MAYBE, STAT_SHOWN,
	  STAT_ALL, &hidden },
	CLIENT(name, STAT_TEXT, "its name"),
};

#define PLANE(member, what, text, ...) \
	{ .name = #member, .help = (text), .kind = (what), MEMBER(stat_plane, info.member), __VA_ARGS__ }

static const struct stat_field plane_fields[] = {
	PLANE(plane, STAT_ID, "its number"),
	PLANE(size, STAT_BYTES, "bytes of all blocks of a plane"),
	PLANE(mapped, STAT_NUMBER, "clients that have a plane mapped"),
	{ "memory", "host, or cuda (of a GPU)", MEMBER(stat_plane, memory), STAT_TEXT, STAT_SHOWN, STAT_ALL, NULL },
	PLANE(gpu, STAT_MAYBE, "the GPU's UUID"),
};

#define MAPPING(member, what, text) \
	{ .name = #member, .help = (text), .kind = (what), MEMBER(stat_mapping, info.member) }

static const struct stat_field mapping_fields[] = {
	MAPPING(slot, STAT_ID, "the client's slot"),
	MAPPING(pid, STAT_PID, "its process, as it sees itself"),
	MAPPING(name, STAT_TEXT, "its name"),
	{ "plane", "the plane's number", MEMBER(stat_mapping, plane), STAT_ID, STAT_SHOWN, STAT_ALL, NULL },
	{ "mapped", "which plane of GPU memory a client has mapped; always 1", MEMBER(stat_mapping, mapped),
	  STAT_NUMBER, STAT_SHOWN, STAT_ALL, &maps_plane },
};

#define BLOCK(member, what, text, ...) \
	{ .name = #member, .help = (text), .kind = (what), MEMBER(stat_block, info.member), __VA_ARGS__ }
#define BLOCK_TEXT(member, text, ...) \
	{ .name = #member, .help = (text), .kind = STAT_TEXT, MEMBER(stat_block, member), __VA_ARGS__ }

static const struct stat_field block_fields[] = {
	BLOCK_TEXT(store, "the block's store", .when = STAT_LISTED),
	BLOCK(block, STAT_ID, "its number"),
	BLOCK_TEXT(state, "owned, room, filling, ready, removing, doomed or grace; unknown: see kvshm-check(1)"),
	BLOCK(owner, STAT_SLOT, "client slot that owns, fills or removes it"),
	BLOCK(age, STAT_SECONDS, "time since it was taken; once it was ready, since then"),
	BLOCK(refs, STAT_NUMBER, "refs of all clients"),
	BLOCK(pins, STAT_NUMBER, "pins of all clients"),
	BLOCK(depth, STAT_NUMBER, "position in its sequence"),
	BLOCK(length, STAT_NUMBER, "bytes used in each plane"),
	BLOCK(cleared, STAT_YESNO, "from before the last clearing: no key leads to it"),
	BLOCK(life, STAT_NUMBER, "number of its life", .when = STAT_ASKED),
	BLOCK_TEXT(claimed, "planes that have or had a writer: a mask in hexadecimal digits", .when = STAT_ASKED),
	BLOCK_TEXT(written, "planes that are whole: a mask in hexadecimal digits", .when = STAT_ASKED),
	BLOCK_TEXT(opaque, "the engine's own bytes, in hexadecimal digits", .when = STAT_ASKED),
	BLOCK_TEXT(key, "its key, in hexadecimal digits"),
};

#define REQUEST(member, what, text, ...) \
	{ .name = #member, .help = (text), .kind = (what), MEMBER(stat_request_row, info.member), __VA_ARGS__ }
#define REQUEST_TEXT(member, text, ...) \
	{ .name = #member, .help = (text), .kind = STAT_TEXT, MEMBER(stat_request_row, member), __VA_ARGS__ }

static const struct stat_field request_fields[] = {
	REQUEST_TEXT(store, "the request's store", .when = STAT_LISTED),
	REQUEST(age, STAT_SECONDS, "time since it was opened"),
	REQUEST_TEXT(state, "opening, open, complete, ending or aborted"),
	REQUEST(owner, STAT_SLOT, "client slot of its owner"),
	REQUEST(owner_alive, STAT_YESNO, "no: its owner is dead, and not recovered yet", .when = STAT_ASKED),
	REQUEST(expected, STAT_NUMBER, "blocks that it was opened with"),
	REQUEST(held, STAT_NUMBER, "blocks that it holds"),
	REQUEST(held_age, STAT_SECONDS, "time since its oldest hold"),
	REQUEST(fills, STAT_NUMBER, "fills of its own under way"),
	REQUEST(room, STAT_NUMBER, "blocks that it has reserved and not used"),
	REQUEST(wanted, STAT_NUMBER, "blocks that it waits for in the line"),
	REQUEST(ahead, STAT_NUMBER, "requests before it in the line"),
	REQUEST(claims, STAT_NUMBER, "how often it was claimed"),
	REQUEST(completed, STAT_YESNO, "whether it has been complete", .when = STAT_ASKED),
	{ .name = "slot", .help = "its slot", .kind = STAT_ID, MEMBER(stat_request_row, info.request.slot),
	  .when = STAT_ASKED },
	{ .name = "number", .help = "how many requests its slot has had", .kind = STAT_ID,
	  MEMBER(stat_request_row, info.request.number), .when = STAT_ASKED },
	REQUEST(attempt, STAT_ID, "its attempt"),
	{ .name = "id", .help = "its id, or its bytes as 0x and hexadecimal digits where they are no text, or \"-\"",
	  .kind = STAT_MAYBE, MEMBER(stat_request_row, id) },
};

#define PINS(member, what, text) \
	{ .name = #member, .help = (text), .kind = (what), MEMBER(stat_pins_row, info.member) }
#define PINS_OWN(member, what, text, ...) \
	{ .name = #member, .help = (text), .kind = (what), MEMBER(stat_pins_row, member), __VA_ARGS__ }

static const struct stat_field pins_fields[] = {
	PINS_OWN(store, STAT_TEXT, "the pins' store", .when = STAT_LISTED),
	PINS(age, STAT_SECONDS, "time that one of them, at least, has been held"),
	PINS(pins, STAT_NUMBER, "how many they are: of one request, or of a client on one block"),
	PINS(client, STAT_SLOT, "client slot of their owner"),
	PINS(pid, STAT_PID, "its process, as it sees itself"),
	PINS_OWN(block, STAT_SLOT, "the block of pins that are of no request"),
	PINS_OWN(attempt, STAT_SLOT, "attempt of their request"),
	PINS_OWN(id, STAT_MAYBE, "id of their request, or its bytes as 0x and hexadecimal digits"),
	PINS(name, STAT_TEXT, "the client's name"),
};

#define PEER(member, what, text, ...) \
	{ .name = #member, .help = (text), .kind = (what), MEMBER(stat_peer_row, info.member), __VA_ARGS__ }

static const struct stat_field peer_fields[] = {
	{ .name = "store", .help = "the store that it is a connection of", .kind = STAT_TEXT,
	  MEMBER(stat_peer_row, of), .when = STAT_LISTED },
	PEER(peer, STAT_ID, "its entry in the store's table"),
	PEER(client, STAT_SLOT, "client slot whose connection it is"),
	PEER(pid, STAT_PID, "its process, as it sees itself", .when = STAT_ASKED),
	PEER(name, STAT_TEXT, "that client's name"),
	PEER(alive, STAT_YESNO, "no: that client is dead, and not recovered yet", .when = STAT_ASKED),
	{ .name = "direction", .help = "out: made from here; in: by the other side", .kind = STAT_TEXT,
	  MEMBER(stat_peer_row, direction) },
	PEER(transport, STAT_TEXT, "rdma or tcp"),
	PEER(device, STAT_TEXT, "its device, port and address there", .when = STAT_ASKED),
	PEER(local, STAT_TEXT, "address here", .when = STAT_ASKED),
	PEER(remote, STAT_TEXT, "address of the other side"),
	PEER(node, STAT_TEXT, "what the other side calls itself"),
	{ .name = "peer_store", .help = "its store", .kind = STAT_TEXT, MEMBER(stat_peer_row, info.store) },
	PEER(since, STAT_TIME, "when it was made", .when = STAT_ASKED),
	{ .name = "age", .help = "time since then", .kind = STAT_SECONDS, MEMBER(stat_peer_row, age) },
	PEER(round_trip, STAT_SECONDS, "the last round trip that was measured"),
	PEER(round_trip_mean, STAT_SECONDS, "the mean of all", .when = STAT_ASKED),
	PEER(requests, STAT_COUNTER, "requests that the other side opened here, or joined"),
	PEER(blocks, STAT_COUNTER, "blocks here that were granted to the other side to be written"),
	PEER(bytes, STAT_COUNTER, "bytes of blocks that the other side wrote here, and said to be whole"),
	PEER(commits, STAT_COUNTER, "times that the other side said so", .when = STAT_ASKED),
	PEER(deduplicated, STAT_COUNTER, "keys that the other side offered, and that were here"),
	PEER(pending, STAT_COUNTER,
	     "keys that the other side offered, and that another was filling here", .when = STAT_ASKED),
	PEER(refused, STAT_COUNTER, "keys that the other side offered, and that were refused", .when = STAT_ASKED),
	PEER(aborts, STAT_COUNTER, "requests given up before they were complete, by either side"),
	PEER(sent_requests, STAT_COUNTER, "requests that were opened at the other side, or joined"),
	PEER(sent_blocks, STAT_COUNTER, "blocks written to the other side"),
	PEER(sent_bytes, STAT_COUNTER, "their bytes"),
	PEER(sent_deduplicated, STAT_COUNTER,
	     "keys offered to the other side, and there already", .when = STAT_ASKED),
	PEER(sent_refused, STAT_COUNTER, "keys offered to the other side, and refused", .when = STAT_ASKED),
	PEER(sent_wants, STAT_COUNTER, "keys asked of the other side", .when = STAT_ASKED),
	PEER(link_sent, STAT_COUNTER, "bytes that went out, messages included", .when = STAT_ASKED),
	PEER(link_received, STAT_COUNTER,
	     "bytes that came in, messages included; of RDMA without what was written into blocks", .when = STAT_ASKED),
	PEER(windows_bound, STAT_COUNTER, "windows over blocks, opened for the other side", .when = STAT_ASKED),
	PEER(windows_invalidated, STAT_COUNTER, "windows closed again", .when = STAT_ASKED),
	PEER(windows_retired, STAT_COUNTER,
	     "windows that were not used again, before their keys could turn", .when = STAT_ASKED),
	PEER(retries, STAT_COUNTER, "times that the transport had to try again, as far as it tells"),
};

#define SUMMARY(member, what, text) \
	{ .name = #member, .help = (text), .kind = (what), MEMBER(stat_summary, member), .metric = &hidden }

static const struct stat_field histogram_fields[] = {
	SUMMARY(name, STAT_TEXT, "what is measured"),
	SUMMARY(count, STAT_COUNTER, "times measured"),
	SUMMARY(mean, STAT_SECONDS, "their mean"),
	SUMMARY(p50, STAT_SECONDS, "half of them are below this (about: the buckets are powers of two)"),
	SUMMARY(p90, STAT_SECONDS, "so are 90 in 100 below this"),
	SUMMARY(p99, STAT_SECONDS, "so are 99 in 100 below this"),
	{ .name = "buckets", .help = "how many times below which", .kind = STAT_HISTOGRAM,
	  MEMBER(stat_summary, histogram) },
};

const struct stat_part stat_store_part = FIELDS(store_fields);
const struct stat_part stat_usage_part = FIELDS(usage_fields);
const struct stat_part stat_work_part = FIELDS(work_fields);
const struct stat_part stat_head_part = FIELDS(head_fields);

const struct stat_table stat_stores = { "stores", "--list", { FIELDS(store_fields), FIELDS(usage_fields) } };
const struct stat_table stat_clients = { "clients", "--clients", { FIELDS(client_fields) } };
const struct stat_table stat_blocks = { "blocks", "--blocks", { FIELDS(block_fields) } };
const struct stat_table stat_requests = { "requests", "--requests", { FIELDS(request_fields) } };
const struct stat_table stat_peers = { "peers", "--peers", { FIELDS(peer_fields) } };
const struct stat_table stat_pins = { "pins", "--pins", { FIELDS(pins_fields) } };
const struct stat_table stat_planes = { "planes", NULL, { FIELDS(plane_fields) } };
const struct stat_table stat_mappings = { "mappings", NULL, { FIELDS(mapping_fields) } };
const struct stat_table stat_histograms = { "histograms", NULL, { FIELDS(histogram_fields) } };
