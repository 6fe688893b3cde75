/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * scene.c: see scene.h.
 */
#include "config.h"

#include "scene.h"

#include <string.h>

static kvshm_owner *make(const char *name, bool drop)
{
	struct kvshm_create_options options;
	kvshm_owner *owner;

	load_options(&options, DEEDS_BLOCKS, DEEDS_PLANES, drop ? KVSHM_DROP : KVSHM_KEEP);
	options.clients = DEEDS_CLIENTS;
	options.requests = DEEDS_REQUESTS;
	base_expect(kvshm_create(name, &options, &owner), 0);
	return owner;
}

bool scene_has(const struct deed *deed, bool drop)
{
	return deed->where == DEEDS_EVERYWHERE || (deed->where == DEEDS_DROP) == drop;
}

void scene_new(struct scene *s, const char *name, bool drop)
{
	*s = (struct scene){ .name = name, .drop = drop, .stage = base_shared(sizeof(*s->stage)) };
}

void scene_begin(struct scene *s, const struct deed *deed)
{
	s->deed = deed;
	s->owner = make(s->name, s->drop);
	memset(s->stage, 0, sizeof(*s->stage));
	s->stage->books.planes = DEEDS_PLANES;
	s->stage->books.kills = s->stage->books.brief = true;
	deeds_survive(&s->survivor, s->name, s->stage, s->drop);
	image_open(s->name, &s->store);
	s->victim = (struct deeds_victim){ .name = s->name, .deed = deed, .stage = s->stage };
	s->victim.work = (struct load_worker){ .books = &s->stage->books, .random = 2, .id = 2 };
	step_start(&s->stage->step, deeds_do, &s->victim);
	s->asked.living = 1; /* the survivor's slot is the first */
	s->asked.may_change = s->stage->may_change;
	s->asked.one_step = deed->one_step;
}

void scene_look(struct scene *s, struct scene_copy *copy, struct image *image)
{
	(void)image_take(&s->store, image);
	image_let_live(&copy->store, s->asked.living);
	image_put(image, &s->store, &copy->store);
	inquest_keys(&copy->store, &s->asked.found, &s->asked.pending);
}

void scene_end(struct scene *s)
{
	image_close(&s->store);
	deeds_let_go(&s->survivor, s->stage);
	base_expect(kvshm_destroy(s->owner), 0);
}

void scene_copy_new(struct scene_copy *copy, const char *name, bool drop)
{
	copy->owner = make(name, drop);
	image_open(name, &copy->store);
}

void scene_copy_end(struct scene_copy *copy)
{
	image_close(&copy->store);
	base_expect(kvshm_destroy(copy->owner), 0);
}
