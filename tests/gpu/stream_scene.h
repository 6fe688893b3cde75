/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stream_scene.h: what tests of streams share: an engine with a context and a stream of GPU 0, which it holds and lets
 * go, and what is left in the end.
 */
#ifndef STREAM_SCENE_H
#define STREAM_SCENE_H

#include "fixture.h"
#include "standin.h"

#define ck_cu(call) ck_assert_int_eq((call), KVG_SUCCESS)

extern kvg_context engine_context;
extern kvg_stream engine_stream;

/* GPU 0's primary context is current, and has a stream. */
void engine_begin(void);
/* All that is on the stream is done; it, and the context, go, and nothing of the driver's is left. The store is
 * detached before. */
void engine_end(void);
/* Waits for the stream, held or not. */
void engine_finish(void);

/* The key is being filled, for all that others know. */
void engine_is_pending(kvshm_store *store, uint64_t number);

/* Detaches in another thread, which comes to wait for a stream; and lets the stream go on; returns when it is
 * detached. In between, meanwhile(store) is called, if there is one. */
void engine_detach_waits(kvshm_store *store, void (*meanwhile)(void));

#endif
