/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * writes.c: what a transfer writes, commits and drains. Guarantees: a commit goes behind all writes of its blocks; what
 * continues the write before it, in source, target and key, goes with it as one; only commits and last messages are
 * signalled. What may still be read is known, until a message behind it has arrived.
 */
#include "config.h"

#include <stdlib.h>

#include "counters.h"
#include "fault.h"
#include "transfer.h"

#define MERGED_MAX (UINT64_C(8) << 20) /* one write of more is not faster, and holds up what is behind it */

/* ---- Writes */

static int remember_base(struct kvshm_transfer *t, void *base)
{
	void **bases;

	for (size_t i = t->base_count; i-- > 0;)
		if (t->bases[i] == base)
			return 0;
	bases = realloc(t->bases, (t->base_count + 1) * sizeof(*bases));
	if (!bases)
		return kvs_fault(ENOMEM, "no memory for a write");
	t->bases = bases;
	bases[t->base_count++] = base;
	return 0;
}

bool kvr_transfer_reads(const struct kvshm_transfer *t, const void *base)
{
	for (size_t i = 0; i < t->base_count && t->written; i++)
		if (t->bases[i] == base)
			return true;
	return false;
}

static void see_written(struct kvshm_transfer *t, struct kvr_sending *p)
{
	if (!p->written)
		t->written++;
	p->written = true;
}

static void see_arrived(struct kvshm_transfer *t, struct kvr_sending *p)
{
	if (p->written && --t->written == 0)
		t->base_count = 0;
	p->written = false;
}

int kvr_transfer_flush(struct kvr_peer *peer)
{
	struct kvr_sender *sender = peer->sender;
	struct kvr_write write = sender->write;

	if (!write.length)
		return 0;
	sender->write.length = 0;
	return kvr_peer_write(peer, &write, sender->write_tag);
}

/* Both lie in one registered part, or the NIC could not read them as one. */
static bool continues(const struct kvshm_transfer *t, const struct kvr_write *write, const struct kvr_part *part)
{
	const struct kvr_sender *sender = t->peer->sender;
	const struct kvr_write *before = &sender->write;

	return before->length && sender->write_tag == t->number && before->rkey == write->rkey &&
	       (const char *)before->from + before->length == write->from &&
	       before->to + before->length == write->to && before->length + write->length <= MERGED_MAX &&
	       (const char *)before->from >= part->base;
}

static uint32_t plane_index(const struct kvshm_transfer *t, unsigned plane)
{
	return (uint32_t)__builtin_popcount(t->planes & ((UINT32_C(1) << plane) - 1));
}

int kvr_transfer_write(struct kvshm_transfer *t, uint32_t position, unsigned plane, uint64_t offset, const void *bytes,
		       uint64_t length)
{
	const struct kvr_target *target = &t->targets[(uint64_t)position * t->plane_count + plane_index(t, plane)];
	struct kvr_write write = { .from = bytes, .to = target->address + offset, .length = length,
				   .rkey = target->rkey };
	struct kvr_sender *sender = t->peer->sender;
	const struct kvr_part *part = kvr_memory_find(t->peer->node->memory, bytes, length);
	int rc;

	if (!part)
		return kvs_fault(EFAULT, "the %llu bytes to be written are in no memory that was registered with the "
				 "peer (kvshm_peer_register), and in none of its store's planes",
				 (unsigned long long)length);
	rc = remember_base(t, part->base);
	if (rc)
		return rc;
	t->bytes += length;
	kvr_peer_count(t->peer, KVS_PEER_sent_bytes, length);
	see_written(t, &t->positions[position]);
	if (continues(t, &write, part)) {
		sender->write.length += length;
		return 0;
	}
	rc = kvr_transfer_flush(t->peer);
	sender->write = write;
	sender->write_tag = t->number;
	return rc;
}

/* ---- Commits */

static int send_commits(struct kvshm_transfer *t, const struct kvr_out *out)
{
	return out->count ? kvr_peer_send(t->peer, out, kvr_transfer_cookie(t, t->committed)) : 0;
}

int kvr_transfer_commit(struct kvshm_transfer *t, const uint32_t *positions, size_t count, enum kvr_commit_kind kind)
{
	struct kvr_out out;
	int rc = kvr_transfer_flush(t->peer);

	kvr_begin_commits(&out, t->number);
	for (size_t i = 0; i < count && rc == 0; i++) {
		struct kvr_commit commit = { .position = positions[i], .planes = t->planes, .kind = kind };

		if (!kvr_add_commit(&out, &commit)) {
			rc = send_commits(t, &out);
			kvr_begin_commits(&out, t->number);
			(void)kvr_add_commit(&out, &commit);
		}
		t->positions[positions[i]].given_up = kind == KVR_GIVEN_UP;
		if (kind == KVR_WHOLE)
			kvr_peer_count(t->peer, KVS_PEER_sent_blocks, 1);
		kvr_transfer_move(t, positions[i], KVSHM_SENDING_COMMITTED);
		t->order[t->committed++] = positions[i];
	}
	return rc ? rc : send_commits(t, &out);
}

void kvr_transfer_arrived(struct kvshm_transfer *t, uint32_t commits)
{
	while (t->arrived < commits && t->arrived < t->committed) {
		uint32_t position = t->order[t->arrived++];
		struct kvr_sending *p = &t->positions[position];

		see_arrived(t, p);
		p->result = p->given_up ? -ECANCELED : 0;
		kvr_transfer_move(t, position, p->given_up ? KVSHM_SENDING_REFUSED : KVSHM_SENDING_SENT);
	}
}

/* ---- The last message */

int kvr_transfer_send_last(struct kvshm_transfer *t, enum kvr_type type)
{
	struct kvr_end end = { .transfer = t->number, .result = t->result, .by_sender = true };
	struct kvr_sender *sender = t->peer->sender;
	struct kvr_out out;

	if (sender->write.length && sender->write_tag == t->number)
		sender->write.length = 0;
	kvr_peer_cancel(t->peer, t->number);
	kvr_write_end(&out, type, &end);
	return kvr_peer_send(t->peer, &out, kvr_transfer_cookie(t, KVR_LAST));
}
