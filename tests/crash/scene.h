/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * scene.h: a deed that is about to be done: a new store, the survivor with one of everything, and the victim, who
 * stands before the deed's first instruction. And copies of stores, for what would be if it died there.
 */
#ifndef SCENE_H
#define SCENE_H

#include "deeds.h"
#include "inquest.h"

struct scene {
	const char *name; /* of the store */
	const struct deed *deed;
	bool drop;
	struct deeds_stage *stage;
	struct deeds_survivor survivor;
	struct deeds_victim victim;
	kvshm_owner *owner;
	struct image_store store;
	struct inquest asked; /* what must be true after a death */
};

/* A place for images: a store of its own, whose owner lives. */
struct scene_copy {
	struct image_store store;
	kvshm_owner *owner;
};

/* Is there such a deed in a store of that kind? */
bool scene_has(const struct deed *deed, bool drop);

/* name: of all of its stores, one after the other. */
void scene_new(struct scene *scene, const char *name, bool drop);

void scene_begin(struct scene *scene, const struct deed *deed);

/* What keys the store has when the victim dies before it begins: asked is complete from then on, for this deed. */
void scene_look(struct scene *scene, struct scene_copy *copy, struct image *image);

/* The victim is dead: the survivor lets go of what it has, with the right answers, and the store goes. */
void scene_end(struct scene *scene);

void scene_copy_new(struct scene_copy *copy, const char *name, bool drop);
void scene_copy_end(struct scene_copy *copy);

#endif
