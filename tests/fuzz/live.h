/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * live.h: processes that work on a store, or look at it, while its segment is damaged: worker.h (all calls),
 * live_look.c (views, and the tools themselves). What each is doing stands in memory that is no part of the segment: so
 * the main process (live_segment.c) sees a call that does not come back, and which one it was that a process died in.
 */
#ifndef LIVE_H
#define LIVE_H

#include "../torture/base.h"

#define LIVE_WORKERS 4U
#define LIVE_LOOKERS 2U /* views, and tools */
#define LIVE_PROCESSES (LIVE_WORKERS + LIVE_LOOKERS)
#define LIVE_BLOCKS_MAX 256U
#define LIVE_KEYS 200U
#define LIVE_TICKETS 16U
#define LIVE_SHARED 4U /* of these, for shared fills */
#define LIVE_REQUESTS 8U
#define LIVE_ERRNOS 140U

/* Every call of kvshm.h that does something with a store, and the tools; those up to LIVE_counted are made with an
 * attached store, so that what they find damaged is counted there. */
#define LIVE_ALL_CALLS(X) \
	X(get) X(get_or_fill) X(get_or_fill_shared) X(publish) X(give_up) X(wait) X(release) X(pin) X(unpin) \
	X(let_go) X(remove) X(touch) X(clear) X(match) X(match_window) X(get_meta) X(address) X(read) X(write) \
	X(alloc) X(publish_as) X(get_ticket) X(hold) X(join) X(get_geometry) X(get_plane_info) X(get_owner_info) \
	X(register_plane) X(recover) X(publish_on) X(give_up_on) X(release_on) X(copy_in) X(copy_out) X(get_batch) \
	X(get_or_fill_batch) X(get_or_fill_shared_batch) X(remove_batch) X(touch_batch) X(publish_batch) \
	X(publish_as_batch) X(give_up_batch) X(wait_batch) X(release_batch) X(pin_batch) X(unpin_batch) \
	X(get_meta_batch) X(address_batch) X(alloc_batch) X(get_ticket_batch) X(hold_batch) X(join_batch) \
	X(request_open) X(request_find) X(request_reserve) X(request_queue) X(request_wait_room) \
	X(request_unreserve) X(request_match) X(request_pin) X(request_get_or_fill) X(request_get_or_fill_shared) \
	X(request_get_or_fill_batch) X(request_get_or_fill_shared_batch) X(request_release) X(request_keep) \
	X(request_complete) X(request_settle) X(request_wait) X(request_claim) X(request_end) X(request_tend) \
	X(request_end_on) X(request_get_info) X(poll_fd) X(poll_clear) X(counted) X(attach) X(detach) X(view_open) \
	X(view_store) \
	X(view_usage) X(view_clients) X(view_planes) \
	X(view_counters) X(view_histograms) X(view_blocks) X(view_requests) X(view_pins) X(view_peers) X(view_check) \
	X(view_head) \
	X(list) X(kvshm_stat) X(kvshm_check)

enum live_call {
	LIVE_none,
#define LIVE_ENUM(name) LIVE_##name,
	LIVE_ALL_CALLS(LIVE_ENUM)
#undef LIVE_ENUM
	LIVE_CALLS
};

extern const char *const live_names[LIVE_CALLS];

/* Those that look for a GPU's driver; also because of a damaged head, which may have them look for its memory. */
static inline bool live_is_of_gpus(enum live_call call)
{
	if ((call >= LIVE_publish_on && call <= LIVE_copy_out) || call == LIVE_request_end_on)
		return true;
	return call == LIVE_attach || call == LIVE_address || call == LIVE_address_batch || call == LIVE_read ||
	       call == LIVE_write || call == LIVE_get_plane_info || call == LIVE_register_plane;
}

/* Those that are about requests, or wait for room. */
static inline bool live_is_of_requests(enum live_call call)
{
	return call >= LIVE_request_open && call < LIVE_counted;
}

/* What one process is at; written by it only. */
struct live_note {
	_Atomic uint32_t call; /* enum live_call that it is in */
	_Atomic uint64_t begun; /* how many calls */
	_Atomic bool idle;
	_Atomic uint64_t detected; /* -EUCLEAN, of calls and of items of batches, of those that are counted */
	_Atomic uint64_t result[LIVE_CALLS][LIVE_ERRNOS];
};

struct live_stage {
	char name[KVSHM_NAME_MAX + 1]; /* of the store */
	_Atomic uint32_t round;	       /* 0: let go of the store */
	_Atomic bool stop;
	struct kvshm_ticket tickets[LIVE_TICKETS]; /* written by all at the same time: torn ones are tickets, too */
	struct kvshm_request requests[LIVE_REQUESTS]; /* likewise */
	struct live_note note[LIVE_PROCESSES];
};

struct live_process {
	struct live_stage *stage;
	struct live_note *note;
	uint64_t random;
	unsigned number;
};

/* Children's bodies; arg is a struct live_process. */
void live_work(void *arg);
void live_view(void *arg);
void live_run_tools(void *arg);

/* What is told of a request must be within what there is. */
void live_see_request(const struct kvshm_request_info *request);

/* Runs one of the tools, which dies with this process; where its outputs go. */
pid_t live_start_tool(char *const argv[], int out, int err);

/* What a tool has printed can't command a terminal, whatever the segment says. */
void live_check_text(int file, const char *tool);

/* Around each call; live_end() returns the result, and fails the test if it is none that the call may have. */
void live_begin(struct live_process *p, enum live_call call);
int live_end(struct live_process *p, enum live_call call, int rc);
/* One more result of the batch that has just ended. */
void live_item(struct live_process *p, enum live_call call, int rc);

/* Waits for the next round, and returns its number; false when there is none any more. */
bool live_round(struct live_process *p, uint32_t *round);

/* A process that dies by a signal of its own doing says first which call it was in, and where it looked. */
void live_explain_signals(struct live_process *p);

#endif
