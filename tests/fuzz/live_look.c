/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * live_look.c: processes that look at a damaged store: by the calls of a view, and by running kvshm-stat, in all its
 * forms, and kvshm-check. What they show is within what the geometry allows; a JSON document that is printed is whole,
 * and no text commands a terminal; and the tools end with the statuses of their pages.
 */
#include "config.h"

#include "live.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Views ------------------------------------------------------------------------------------------------ */

static int see_block(const struct kvshm_block_info *block, void *arg)
{
	(void)arg;
	base_check(block->block < LIVE_BLOCKS_MAX && block->key_length <= KVSHM_KEY_MAX && *block->state);
	base_check(block->owner < KVSHM_CLIENTS_MAX || block->owner == KVSHM_NO_SLOT);
	return 0;
}

static int see_client(const struct kvshm_client_info *client, void *arg)
{
	(void)arg;
	base_check(client->slot < KVSHM_CLIENTS_MAX && strlen(client->name) <= KVSHM_CLIENT_NAME_MAX);
	return 0;
}

void live_see_request(const struct kvshm_request_info *request)
{
	base_check(request->request.slot < KVSHM_REQUESTS_MAX && request->id_length <= KVSHM_REQUEST_ID_MAX);
	base_check(request->state >= KVSHM_REQUEST_OPENING && request->state <= KVSHM_REQUEST_CLOSED);
	base_check(request->owner < KVSHM_CLIENTS_MAX || request->owner == KVSHM_NO_SLOT);
	base_check(request->ahead < KVSHM_REQUESTS_MAX);
}

static int see_request(const struct kvshm_request_info *request, void *arg)
{
	(void)arg;
	live_see_request(request);
	return 0;
}

static int see_pins(const struct kvshm_pin_info *pins, void *arg)
{
	(void)arg;
	base_check(pins->client < KVSHM_CLIENTS_MAX && strlen(pins->name) <= KVSHM_CLIENT_NAME_MAX);
	base_check(pins->block < LIVE_BLOCKS_MAX || pins->block == KVSHM_BLOCKS_MAX);
	base_check(pins->id_length <= KVSHM_REQUEST_ID_MAX);
	return 0;
}

static int see_peer(const struct kvshm_peer_view *peer, void *arg)
{
	(void)arg;
	base_check(peer->client < KVSHM_CLIENTS_MAX && strlen(peer->node) < sizeof(peer->node));
	return 0;
}

static int see_plane(const struct kvshm_plane_view *plane, void *arg)
{
	(void)arg;
	base_check(plane->plane < KVSHM_PLANES_MAX && plane->mapped <= KVSHM_CLIENTS_MAX);
	base_check(strlen(plane->gpu) < KVSHM_GPU_SIZE);
	return 0;
}

static int see_counter(const struct kvshm_counter *counter, void *arg)
{
	(void)arg;
	return !counter->name;
}

static int see_histogram(const struct kvshm_histogram *histogram, void *arg)
{
	(void)arg;
	return !histogram->name;
}

static void see_finding(const char *finding, void *arg)
{
	(void)arg;
	base_check(*finding && !strchr(finding, '\n'));
}

static int see_name(const char *name, void *arg)
{
	(void)arg;
	base_check(strlen(name) <= KVSHM_NAME_MAX);
	return 0;
}

static void see_all(struct live_process *p, kvshm_view *view)
{
	struct kvshm_check_result result;
	struct kvshm_store_info info;
	struct kvshm_usage usage;

	live_begin(p, LIVE_view_store);
	if (live_end(p, LIVE_view_store, kvshm_view_store(view, &info)) == 0) {
		base_check(strlen(info.label) <= KVSHM_LABEL_MAX && strlen(info.maker) < sizeof(info.maker));
		base_check(info.slowest_client < KVSHM_CLIENTS_MAX || info.slowest_client == KVSHM_NO_SLOT);
	}
	live_begin(p, LIVE_view_usage);
	if (live_end(p, LIVE_view_usage, kvshm_view_usage(view, &usage)) == 0)
		base_check(usage.free + usage.owned + usage.room + usage.filling + usage.ready + usage.removing +
				   usage.doomed + usage.grace + usage.unknown <= LIVE_BLOCKS_MAX);
	live_begin(p, LIVE_view_clients);
	(void)live_end(p, LIVE_view_clients, kvshm_view_clients(view, see_client, NULL));
	live_begin(p, LIVE_view_planes);
	(void)live_end(p, LIVE_view_planes, kvshm_view_planes(view, see_plane, NULL));
	live_begin(p, LIVE_view_counters);
	(void)live_end(p, LIVE_view_counters, kvshm_view_counters(view, see_counter, NULL));
	live_begin(p, LIVE_view_histograms);
	(void)live_end(p, LIVE_view_histograms, kvshm_view_histograms(view, see_histogram, NULL));
	live_begin(p, LIVE_view_blocks);
	(void)live_end(p, LIVE_view_blocks, kvshm_view_blocks(view, see_block, NULL));
	live_begin(p, LIVE_view_requests);
	(void)live_end(p, LIVE_view_requests, kvshm_view_requests(view, see_request, NULL));
	live_begin(p, LIVE_view_pins);
	(void)live_end(p, LIVE_view_pins, kvshm_view_pins(view, see_pins, NULL));
	live_begin(p, LIVE_view_peers);
	(void)live_end(p, LIVE_view_peers, kvshm_view_peers(view, see_peer, NULL));
	live_begin(p, LIVE_view_check);
	(void)live_end(p, LIVE_view_check, kvshm_view_check(view, see_finding, NULL, &result));
}

void live_view(void *arg)
{
	struct live_process *p = arg;
	uint32_t round;

	live_explain_signals(p);
	while (live_round(p, &round)) {
		struct kvshm_head_info head;
		kvshm_view *view;
		int rc;

		live_begin(p, LIVE_view_head);
		(void)live_end(p, LIVE_view_head, kvshm_view_head(p->stage->name, NULL, &head));
		live_begin(p, LIVE_view_open);
		rc = live_end(p, LIVE_view_open, kvshm_view_open(p->stage->name, NULL, &view));
		for (unsigned i = 0; rc == 0 && i < 4; i++)
			see_all(p, view);
		if (rc == 0)
			kvshm_view_close(view);
		if (base_below(&p->random, 16) == 0) {
			live_begin(p, LIVE_list);
			(void)live_end(p, LIVE_list, kvshm_list(NULL, see_name, NULL));
		}
		base_rest(rc ? BASE_MS : 100000);
	}
}

/* ---- The tools -------------------------------------------------------------------------------------------- */

#define WORDS 4

static const struct form {
	const char *tool, *words[WORDS];
	bool json;
} forms[] = {
	{ "kvshm-stat", { NULL }, false },
	{ "kvshm-check", { NULL }, false },
	{ "kvshm-stat", { "--json" }, true },
	{ "kvshm-stat", { "--prometheus" }, false },
	{ "kvshm-stat", { "--blocks", "--json" }, true },
	{ "kvshm-check", { NULL }, false },
	{ "kvshm-stat", { "--clients", "--json" }, true },
	{ "kvshm-stat", { "--requests", "--json" }, true },
	{ "kvshm-stat", { "--pins", "--json" }, true },
	{ "kvshm-stat", { "--blocks" }, false },
	{ "kvshm-stat", { "--requests" }, false },
	{ "kvshm-stat", { "--pins" }, false },
	{ "kvshm-stat", { "--peers", "--json" }, true },
	{ "kvshm-stat", { "--clients" }, false },
	{ "kvshm-stat", { "0.001", "3" }, false },
};

/* Runs it with its outputs into files. Returns its exit status. */
static int run(const struct live_process *p, const struct form *form, int out, int err)
{
	char *argv[WORDS + 4] = { (char *)form->tool, (char *)"--store", p->stage->name };
	pid_t pid;
	int status;

	for (unsigned i = 0; i < WORDS && form->words[i]; i++)
		argv[3 + i] = (char *)form->words[i];
	pid = live_start_tool(argv, out, err);
	while (waitpid(pid, &status, 0) != pid)
		base_check(errno == EINTR);
	if (!WIFEXITED(status))
		base_fail("%s %s ended with status %#x", form->tool, form->words[0] ? form->words[0] : "",
			  (unsigned)status);
	return WEXITSTATUS(status);
}

static void check_document(int file, const struct form *form)
{
	json_error_t error;
	json_t *document;

	if (lseek(file, 0, SEEK_END) == 0)
		return; /* nothing could be shown, not even the head */
	base_check(lseek(file, 0, SEEK_SET) == 0);
	document = json_loadfd(file, 0, &error);
	if (!document)
		base_fail("%s %s: no JSON: line %d: %s", form->tool, form->words[0], error.line, error.text);
	json_decref(document);
}

/* 1 and 2 are told of as errors are: as if they were -EUCLEAN and -EPROTO. */
static void run_one(struct live_process *p, const struct form *form)
{
	bool check = strcmp(form->tool, "kvshm-check") == 0;
	enum live_call call = check ? LIVE_kvshm_check : LIVE_kvshm_stat;
	int out = memfd_create("output", MFD_CLOEXEC), err = memfd_create("messages", MFD_CLOEXEC);
	int status;

	base_check(out >= 0 && err >= 0);
	live_begin(p, call);
	status = run(p, form, out, err);
	if (status > (check ? 2 : 1))
		base_fail("%s ended with status %d", form->tool, status);
	(void)live_end(p, call, status == 0 ? 0 : status == 1 ? -EUCLEAN : -EPROTO);
	live_check_text(out, form->tool);
	live_check_text(err, form->tool);
	if (form->json)
		check_document(out, form);
	(void)close(out);
	(void)close(err);
}

void live_run_tools(void *arg)
{
	struct live_process *p = arg;
	unsigned next = 0;
	uint32_t round;

	while (live_round(p, &round)) {
		run_one(p, &forms[next++ % (sizeof(forms) / sizeof(forms[0]))]);
		base_rest(5 * BASE_MS);
	}
}
