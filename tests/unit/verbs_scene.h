/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_scene.h: both ends of a link (tests/rdma/ends.h) over the fake devices (verbs_fake.h).
 */
#ifndef VERBS_SCENE_H
#define VERBS_SCENE_H

#include "fixture.h"

#include "../rdma/ends.h"
#include "verbs.h"
#include "verbs_fake.h"

#define SCENE_PLANE ((size_t)1 << 18)

extern char scene_log[1024]; /* what the program's log was told last */

/* New devices, and nothing else; options as they are by default. */
void scene_begin(void);
/* The same, a port, and a link that is up: ends that go down are closed at once. */
void scene_connect(void);
/* An end's link is closed, if it has one; what it was told is forgotten. */
void scene_renew(struct end *end);
/* All is closed. Nothing may be left. */
void scene_end(void);
struct ibv_qp *scene_qp(const struct end *end);
/* A block is written from a to b, and told of: the link does what it should. */
void scene_works(void);
/* Does it tell of what was made to fail? By its error; of what has none by memory, or the completion queue. */
bool scene_says(const char *text);

#endif
