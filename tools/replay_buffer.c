/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_buffer.c: the memory that a remote replay's blocks are written from: registered once, and less than what is in
 * flight, so that it fits into what most systems let processes lock. Guarantees: a slot has one block at a time.
 */
#include "config.h"

#include "replay_remote.h"
#include "tool.h"

#include <stdlib.h>
#include <sys/mman.h>

#define BUFFER_MOST (UINT64_C(32) << 20) /* bytes; one block has its place in any case */

bool replay_buffer_make(struct replay_buffer *buffer, const struct replay_job *job)
{
	uint64_t most = (uint64_t)job->in_flight * job->trace.longest;
	uint64_t slots;
	void *bytes;

	buffer->block = job->geometry.block_size * job->geometry.planes;
	slots = BUFFER_MOST / buffer->block;
	if (slots > most)
		slots = most;
	if (!slots)
		slots = 1;
	buffer->size = slots * buffer->block;
	bytes = mmap(NULL, buffer->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	buffer->free = calloc(slots, sizeof(*buffer->free));
	if (bytes == MAP_FAILED || !buffer->free) {
		tool_say("no memory for %ju blocks", (uintmax_t)slots);
		if (bytes != MAP_FAILED)
			munmap(bytes, buffer->size);
		free(buffer->free);
		return false;
	}
	buffer->bytes = bytes;
	for (buffer->free_count = 0; buffer->free_count < slots; buffer->free_count++)
		buffer->free[buffer->free_count] = buffer->free_count;
	return true;
}

void replay_buffer_free(struct replay_buffer *buffer)
{
	munmap(buffer->bytes, buffer->size);
	free(buffer->free);
}
