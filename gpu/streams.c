/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * streams.c: calls and copies on streams. See streams.h.
 */
#include "config.h"

#include "streams.h"

#include "fault.h"

int kvg_streams_call(struct kvg_attached *attached, uint32_t plane, kvg_stream stream, const struct kvg_call *call)
{
	(void)attached;
	(void)plane;
	(void)stream;
	(void)call;
	return kvs_fault(95, "to be done");
}

int kvg_streams_copy(struct kvg_attached *attached, uint32_t plane, kvg_stream stream, const struct kvg_piece *pieces,
		     size_t count)
{
	(void)attached;
	(void)plane;
	(void)stream;
	(void)pieces;
	(void)count;
	return kvs_fault(95, "to be done");
}

void kvg_streams_close(struct kvg_attached *attached, const struct kvg_driver *driver)
{
	(void)attached;
	(void)driver;
}
