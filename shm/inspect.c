/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * inspect.c: reading a segment by pread(2). See inspect.h. Relaxed: what was read are copies, that nobody writes.
 */
#include "config.h"

#include "inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "fault.h"
#include "lock.h"
#include "process.h"
#include "segment.h"

int kvs_inspect_open(const char *name, const char *dir, struct kvs_view *view)
{
	int rc = kvs_segment_open_file(name, dir, O_RDONLY, &view->file, view->path);

	if (rc)
		return rc;
	rc = kvs_inspect_refresh(view);
	if (rc)
		kvs_inspect_close(view);
	return rc;
}

void kvs_inspect_close(struct kvs_view *view)
{
	(void)close(view->file);
}

void *kvs_inspect_memory(size_t size)
{
	const size_t unit = _Alignof(struct kvs_reader);

	return aligned_alloc(unit, size ? (size + unit - 1) / unit * unit : unit);
}

int kvs_inspect_refresh(struct kvs_view *view)
{
	int rc = kvs_segment_read_head(view->file, view->path, &view->head);

	if (rc == 0)
		view->g = view->head.geometry;
	return rc;
}

int kvs_inspect_read(const struct kvs_view *view, uint64_t at, void *to, size_t size)
{
	char *next = to;

	while (size) {
		ssize_t got = pread(view->file, next, size, (off_t)at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return kvs_fault(errno, "cannot read %s: %s", view->path, strerror(errno));
		if (got == 0)
			return kvs_fault(EPROTO, "%s is truncated: it ends at byte %llu", view->path,
					 (unsigned long long)at);
		next += got;
		at += (uint64_t)got;
		size -= (size_t)got;
	}
	return 0;
}

static void fill_slot(const struct kvs_view *view, uint32_t slot, const struct kvs_client *client,
		      struct kvs_slot_view *to)
{
	memset(to, 0, sizeof(*to));
	to->word = atomic_load_explicit(&client->word, memory_order_relaxed);
	to->live = kvs_slot_state(to->word) == KVS_SLOT_LIVE;
	to->alive = to->live && kvs_lock_alive(view->file, slot) == 1;
	to->recovering = to->live && !to->alive && kvs_lock_recovering(view->file, slot) == 1;
	to->dma = atomic_load_explicit(&client->dma, memory_order_relaxed);
	to->waits = to->live && !to->alive && to->dma == KVS_DMA_WAITS;
	to->elsewhere = kvs_process_is_elsewhere(atomic_load_explicit(&client->home, memory_order_relaxed));
	to->planes = atomic_load_explicit(&client->planes, memory_order_relaxed);
	to->pid = atomic_load_explicit(&client->pid, memory_order_relaxed);
	to->attached = atomic_load_explicit(&client->attached, memory_order_relaxed);
	memcpy(to->name, client->name, sizeof(to->name));
	to->name[sizeof(to->name) - 1] = '\0';
}

int kvs_inspect_slots(const struct kvs_view *view, struct kvs_slot_view **slots)
{
	struct kvs_slot_view *all = calloc(view->g.clients, sizeof(*all));
	int rc = 0;

	if (!all)
		return kvs_fault(ENOMEM, "no memory");
	for (uint32_t i = 0; rc == 0 && i < view->g.clients; i++) {
		struct kvs_client client;

		rc = kvs_inspect_read(view, view->g.clients_at + i * sizeof(client), &client, sizeof(client));
		if (rc == 0)
			fill_slot(view, i, &client, &all[i]);
	}
	if (rc) {
		free(all);
		return rc;
	}
	*slots = all;
	return 0;
}

/* ---- Blocks ---------------------------------------------------------------------------------------------- */

static uint64_t word_of(const struct kvs_chunk *chunk, uint32_t i)
{
	return atomic_load_explicit(&chunk->blocks[i].word, memory_order_relaxed);
}

static uint64_t life_of(const struct kvs_chunk *chunk, uint32_t i)
{
	return atomic_load_explicit(&chunk->blocks[i].life, memory_order_relaxed);
}

static int add_row(const struct kvs_view *view, struct kvs_chunk *chunk, uint32_t slot, struct kvs_slot_view *to)
{
	int rc = kvs_inspect_read(view, view->g.rows_at + slot * view->g.row_size + chunk->first * UINT64_C(8),
				  chunk->entries, chunk->count * sizeof(chunk->entries[0]));

	for (uint32_t i = 0; rc == 0 && i < chunk->count; i++) {
		uint64_t counts = kvs_entry_counts(chunk->entries[i], life_of(chunk, i));
		unsigned refs = kvs_entry_refs(counts), pins = kvs_entry_pins(counts);

		to->parts += kvs_entry_writers(counts);
		if (!refs && !pins)
			continue;
		to->refs += refs;
		to->pins += pins;
		to->blocks++;
		chunk->counts[i] += (uint64_t)refs << 32 | pins;
	}
	return rc;
}

/* What clients have by their number in the words. */
static void add_owners(const struct kvs_view *view, const struct kvs_chunk *chunk, struct kvs_slot_view *slots)
{
	for (uint32_t i = 0; i < chunk->count; i++) {
		uint64_t word = word_of(chunk, i);
		unsigned owner = kvs_word_owner(word);

		if (owner >= view->g.clients)
			continue;
		slots[owner].fills += kvs_word_state(word) == KVS_FILLING;
		slots[owner].owned += kvs_word_state(word) == KVS_OWNED;
	}
}

static int read_chunk(const struct kvs_view *view, struct kvs_chunk *chunk, struct kvs_slot_view *slots)
{
	int rc = kvs_inspect_read(view, view->g.blocks_at + chunk->first * sizeof(struct kvs_block), chunk->blocks,
				  chunk->count * sizeof(struct kvs_block));

	memset(chunk->counts, 0, sizeof(chunk->counts));
	for (uint32_t slot = 0; rc == 0 && slot < view->g.clients; slot++)
		if (slots[slot].live)
			rc = add_row(view, chunk, slot, &slots[slot]);
	if (rc == 0)
		add_owners(view, chunk, slots);
	return rc;
}

int kvs_inspect_walk(const struct kvs_view *view, struct kvs_slot_view *slots,
		     int (*fn)(const struct kvs_chunk *chunk, void *arg), void *arg)
{
	struct kvs_chunk *chunk = kvs_inspect_memory(sizeof(*chunk));
	int rc = 0;

	if (!chunk)
		return kvs_fault(ENOMEM, "no memory");
	for (uint32_t first = 0; rc == 0 && first < view->g.blocks; first += KVS_INSPECT_CHUNK) {
		uint32_t left = view->g.blocks - first;

		chunk->first = first;
		chunk->count = left < KVS_INSPECT_CHUNK ? left : KVS_INSPECT_CHUNK;
		rc = read_chunk(view, chunk, slots);
		if (rc == 0)
			rc = fn(chunk, arg);
	}
	free(chunk);
	return rc;
}

bool kvs_inspect_cleared(const struct kvs_view *view, uint64_t word, uint64_t life)
{
	enum kvs_state state = kvs_word_state(word);

	return (state == KVS_FILLING || state == KVS_READY || state == KVS_REM_READY) &&
	       life < atomic_load_explicit(&view->head.floor, memory_order_relaxed);
}

struct survey_walk {
	const struct kvs_view *view;
	struct kvs_survey *survey;
};

static int add_blocks(const struct kvs_chunk *chunk, void *arg)
{
	struct survey_walk *walk = arg;
	struct kvs_survey *survey = walk->survey;

	for (uint32_t i = 0; i < chunk->count; i++) {
		uint64_t word = word_of(chunk, i);
		enum kvs_state state = kvs_word_state(word);

		if (!kvs_state_exists(state))
			survey->unknown++;
		else
			survey->states[state]++;
		survey->refs += chunk->counts[i] >> 32;
		survey->pins += (uint32_t)chunk->counts[i];
		survey->held += chunk->counts[i] != 0;
		survey->pinned += (uint32_t)chunk->counts[i] != 0;
		survey->cleared += kvs_inspect_cleared(walk->view, word, life_of(chunk, i));
		survey->evictable += state == KVS_READY && chunk->counts[i] == 0;
	}
	return 0;
}

int kvs_inspect_survey(const struct kvs_view *view, struct kvs_slot_view *slots, struct kvs_survey *survey)
{
	struct survey_walk walk = {.view = view, .survey = survey};

	memset(survey, 0, sizeof(*survey));
	return kvs_inspect_walk(view, slots, add_blocks, &walk);
}

/* ---- Readers --------------------------------------------------------------------------------------------- */

#define READERS_CHUNK 64U

static void add_reader(const struct kvs_view *view, uint32_t slot, const struct kvs_reader *reader,
		       struct kvs_readers_view *to)
{
	uint64_t at = atomic_load_explicit(&reader->epoch, memory_order_relaxed);
	uint32_t owner = atomic_load_explicit(&reader->owner, memory_order_relaxed);

	for (unsigned c = 0; c < KVS_COUNTERS; c++)
		to->counters[c] += atomic_load_explicit(&reader->counters[c], memory_order_relaxed);
	for (unsigned h = 0; h < KVS_HISTOGRAMS; h++)
		for (unsigned c = 0; c < KVS_HISTOGRAM_CELLS; c++)
			to->times[h][c] += atomic_load_explicit(&reader->times[h][c], memory_order_relaxed);
	to->used += owner != 0;
	to->stalling += at != 0 && at < atomic_load_explicit(&view->head.epoch, memory_order_relaxed);
	if (at == 0 || (to->slowest != KVS_NONE && at >= to->slowest_epoch))
		return;
	owner &= ~KVS_READER_RECOVERER;
	to->slowest = slot;
	to->slowest_client = owner && owner <= view->g.clients ? owner - 1 : KVS_NONE;
	to->slowest_epoch = at;
}

int kvs_inspect_readers(const struct kvs_view *view, struct kvs_readers_view *readers)
{
	struct kvs_reader *some = kvs_inspect_memory(READERS_CHUNK * sizeof(*some));
	int rc = 0;

	if (!some)
		return kvs_fault(ENOMEM, "no memory");
	memset(readers, 0, sizeof(*readers));
	readers->slowest = readers->slowest_client = KVS_NONE;
	for (uint32_t first = 0; rc == 0 && first < view->g.readers; first += READERS_CHUNK) {
		uint32_t left = view->g.readers - first, count = left < READERS_CHUNK ? left : READERS_CHUNK;

		rc = kvs_inspect_read(view, view->g.readers_at + first * sizeof(*some), some, count * sizeof(*some));
		for (uint32_t i = 0; rc == 0 && i < count; i++)
			add_reader(view, first + i, &some[i], readers);
	}
	free(some);
	return rc;
}
