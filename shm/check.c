/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * check.c: takes looks at a segment, and tells what they agree on. See check.h, and check_look.h for what makes a
 * finding; the invariants themselves are in check_clients.c, check_blocks.c,
 * check_chains.c and check_requests.c.
 */
#include "config.h"

#include "check_look.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fault.h"

#define LOOKS 10
#define APART 1000000L /* ns: a thread that was at something when it lost its processor may have it again */

static const struct {
	const char *text;
	bool lost;
} kinds[KVS_FINDINGS] = {
#define KVS_FINDING(name, lost, text) {text, lost},
#include "findings.def"
#undef KVS_FINDING
};

/* ---- Findings -------------------------------------------------------------------------------------------- */

static void note(struct kvs_look *look, const struct kvs_finding *finding)
{
	struct kvs_findings *found = &look->found;
	struct kvs_finding *more;

	if (found->count == found->room) {
		size_t room = found->room ? 2 * found->room : 64;

		more = realloc(found->of, room * sizeof(*more));
		if (!more) {
			look->error = kvs_fault(ENOMEM, "no memory");
			return;
		}
		found->of = more;
		found->room = room;
	}
	found->of[found->count++] = *finding;
}

void kvs_look_find(struct kvs_look *look, enum kvs_finding_kind kind, uint32_t number, uint32_t other, uint64_t word)
{
	const struct kvs_finding finding = {.kind = kind, .number = number, .other = other, .word = word};

	note(look, &finding);
}

void kvs_look_find_unless(struct kvs_look *look, bool busy, enum kvs_finding_kind kind, uint32_t number, uint32_t other,
			  uint64_t word)
{
	const struct kvs_finding finding = {
		.kind = kind, .number = number, .other = other, .excused = look->first || busy, .word = word};

	note(look, &finding);
}

static int order(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int compare(const void *one, const void *two)
{
	const struct kvs_finding *a = one, *b = two;
	int by = order(a->kind, b->kind);

	if (!by)
		by = order(a->number, b->number);
	if (!by)
		by = order(a->other, b->other);
	return by ? by : order(a->word, b->word);
}

/* Keeps of the first what the second has too; both are sorted. */
static void keep_common(struct kvs_findings *first, const struct kvs_findings *second)
{
	size_t kept = 0, j = 0;

	for (size_t i = 0; i < first->count; i++) {
		while (j < second->count && compare(&second->of[j], &first->of[i]) < 0)
			j++;
		if (j == second->count || compare(&second->of[j], &first->of[i]) != 0)
			continue;
		first->of[kept] = first->of[i];
		first->of[kept++].excused &= second->of[j].excused;
	}
	first->count = kept;
}

static void drop_excused(struct kvs_findings *found)
{
	size_t kept = 0;

	for (size_t i = 0; i < found->count; i++)
		if (!found->of[i].excused)
			found->of[kept++] = found->of[i];
	found->count = kept;
}

/* ---- A look ---------------------------------------------------------------------------------------------- */

static void *memory(struct kvs_look *look, size_t size)
{
	void *at = kvs_inspect_memory(size);

	if (!at)
		look->error = kvs_fault(ENOMEM, "no memory");
	return at;
}

static void *zeros(struct kvs_look *look, size_t size)
{
	void *at = memory(look, size);

	return at ? memset(at, 0, size) : NULL;
}

static void *get(struct kvs_look *look, uint64_t at, size_t size)
{
	void *to = memory(look, size);

	if (!look->error)
		look->error = kvs_inspect_read(look->view, at, to, size);
	return to;
}

static void get_head(struct kvs_look *look, size_t at, void *to, size_t size)
{
	if (!look->error)
		look->error = kvs_inspect_read(look->view, at, to, size);
}

static void read_all(struct kvs_look *look)
{
	const struct kvs_geometry *g = look->g;

	look->error = kvs_inspect_slots(look->view, &look->slots);
	for (uint32_t i = 0; i < g->clients && !look->error; i++) {
		look->any_live |= look->slots[i].live;
		look->any_alive |= look->slots[i].alive;
	}
	look->readers = get(look, g->readers_at, g->readers * sizeof(*look->readers));
	look->places = get(look, g->places_at, g->requests * sizeof(*look->places));
	look->requests = get(look, g->requests_at, g->requests * sizeof(*look->requests));
	look->peers = get(look, g->peers_at, KVS_PEERS * sizeof(*look->peers));
	look->ids = get(look, g->ids_at, g->requests * sizeof(*look->ids));
	look->blocks = get(look, g->blocks_at, g->blocks * sizeof(*look->blocks));
	look->buckets = get(look, g->buckets_at, g->buckets * sizeof(*look->buckets));
	look->tails = get(look, g->tails_at, (size_t)g->blocks * g->tail);
	look->infos = get(look, g->infos_at, g->blocks * sizeof(*look->infos));
	look->row = memory(look, g->blocks * sizeof(*look->row));
	look->notes = memory(look, g->blocks * sizeof(*look->notes));
	look->writers = zeros(look, g->blocks * sizeof(*look->writers));
	look->linked = zeros(look, g->blocks * sizeof(*look->linked));
	look->busy = zeros(look, g->clients * sizeof(*look->busy));
	get_head(look, offsetof(struct kvs_head, floor), &look->floor, sizeof(look->floor));
	get_head(look, offsetof(struct kvs_head, epoch), &look->epoch, sizeof(look->epoch));
	get_head(look, offsetof(struct kvs_head, readers_top), &look->readers_top, sizeof(look->readers_top));
	get_head(look, offsetof(struct kvs_head, line_next), &look->line_next, sizeof(look->line_next));
	get_head(look, offsetof(struct kvs_head, state), &look->state, sizeof(look->state));
}

static void free_all(struct kvs_look *look)
{
	free(look->slots);
	free(look->readers);
	free(look->blocks);
	free(look->buckets);
	free(look->tails);
	free(look->infos);
	free(look->places);
	free(look->requests);
	free(look->peers);
	free(look->ids);
	free(look->row);
	free(look->notes);
	free(look->writers);
	free(look->linked);
	free(look->busy);
}

/* Takes one look; its findings are the caller's. */
static int take_look(const struct kvs_view *view, struct kvs_look *look, bool first)
{
	memset(look, 0, sizeof(*look));
	look->view = view;
	look->g = &view->g;
	look->first = first;
	read_all(look);
	if (!look->error) {
		kvs_check_head(look);
		kvs_check_peers(look);
		kvs_check_readers(look);
		kvs_check_rows(look);
	}
	if (!look->error) {
		kvs_check_blocks(look);
		kvs_check_chains(look);
		kvs_check_requests(look);
	}
	free_all(look);
	if (look->found.count)
		qsort(look->found.of, look->found.count, sizeof(struct kvs_finding), compare);
	return look->error;
}

/* ---- Telling --------------------------------------------------------------------------------------------- */

static const char *const states[1 << KVS_STATE_BITS] = {
	[KVS_FREE] = "FREE",
	[KVS_OWNED] = "OWNED",
	[KVS_ROOM] = "ROOM",
	[KVS_FILLING] = "FILLING",
	[KVS_READY] = "READY",
	[KVS_REM_READY] = "REMOVING from READY",
	[KVS_DOOMED] = "DOOMED",
	[KVS_REM_DOOMED] = "REMOVING from DOOMED",
	[KVS_LIMBO] = "LIMBO",
	[KVS_STATES] = "state 9",
	"state 10",
	"state 11",
	"state 12",
	"state 13",
	"state 14",
	"state 15",
};

/* Puts values in place of the names in a text, which are all of its capital letters. */
static void fill_in(const char *text, const struct kvs_finding *f, char *line, size_t size)
{
	char number[16], other[16], word[24];
	const struct {
		const char *name, *value;
	} values[] = {
		{"N", number},
		{"M", other},
		{"WORD", word},
		{"STATE", states[kvs_word_state(f->word)]},
		{"FIELD", kvs_look_fields[f->number % KVS_LOOK_FIELDS]},
	};
	size_t at = 0;

	(void)snprintf(number, sizeof(number), "%" PRIu32, f->number);
	(void)snprintf(other, sizeof(other), "%" PRIu32, f->other);
	(void)snprintf(word, sizeof(word), "%#" PRIx64, f->word);
	while (*text && at < size - 1) {
		size_t length = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");

		for (size_t i = 0; length && i < sizeof(values) / sizeof(values[0]); i++)
			if (strlen(values[i].name) == length && strncmp(text, values[i].name, length) == 0)
				at += (size_t)snprintf(line + at, size - at, "%s", values[i].value);
		text += length;
		length = strcspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
		if (at < size)
			at += (size_t)snprintf(line + at, size - at, "%.*s", (int)length, text);
		text += length;
	}
}

/* Takes looks until nothing is left, or all of them agree on what is. */
static int look_on(const struct kvs_view *view, struct kvs_look *first)
{
	const struct timespec apart = {.tv_nsec = APART};
	int rc = take_look(view, first, true);

	for (int i = 1; rc == 0 && first->found.count && i < LOOKS; i++) {
		struct kvs_look again;

		(void)nanosleep(&apart, NULL);
		rc = take_look(view, &again, false);
		if (rc == 0)
			keep_common(&first->found, &again.found);
		free(again.found.of);
	}
	drop_excused(&first->found);
	return rc;
}

int kvs_check(struct kvs_view *view, void (*fn)(enum kvs_finding_kind kind, const char *text, void *arg), void *arg,
	      struct kvs_check_result *result)
{
	struct kvs_look look;
	int rc = look_on(view, &look);

	if (rc == 0)
		*result = (struct kvs_check_result){
			.unsound = look.found.count, .pending = look.pending, .quiescent = !look.any_alive};
	for (size_t i = 0; rc == 0 && i < look.found.count; i++) {
		const struct kvs_finding *f = &look.found.of[i];
		char line[256];

		result->leaked += kinds[f->kind].lost;
		fill_in(kinds[f->kind].text, f, line, sizeof(line));
		if (fn)
			fn(f->kind, line, arg);
	}
	free(look.found.of);
	return rc;
}
