/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * rdma_scene.h: two ends of a link in one process, each with a loop of its own, so that a test decides who gets on; and
 * the bytes that either end may write from and open windows over. What each end was told is kept.
 */
#ifndef RDMA_SCENE_H
#define RDMA_SCENE_H

#include "fixture.h"
#include "message.h"
#include "transport.h"
#include "url.h"

#define SCENE_BYTES (UINT64_C(64) << 20) /* of each end's memory */
#define SCENE_COOKIES 256

struct scene_end {
	struct kvr_loop loop;
	struct kvr_memory *memory;
	uint8_t *bytes; /* registered, exposed */
	struct kvr_link *link;
	unsigned ups, downs, rooms, withdrawals, messages;
	int reason;
	char text[512];
	uint64_t last_time;	 /* of the last message, if it was a PING */
	uint64_t cookies[SCENE_COOKIES];
	unsigned sents;
	struct kvr_window *withdrawn;
	/* What a test wants done in a function of the user's; NULL: nothing. */
	void (*on_message)(struct scene_end *end, const uint8_t *bytes, size_t size);
	void (*on_up)(struct scene_end *end);
	void (*on_sent)(struct scene_end *end);
	void (*on_room)(struct scene_end *end);
	void (*on_withdrawn)(struct scene_end *end);
	void (*on_down)(struct scene_end *end);
};

struct scene {
	struct scene_end ends[2]; /* who connects; who accepts */
	struct kvr_endpoint endpoint;
	struct kvr_port *port;
	bool refuse; /* links that come in */
	unsigned accepted, failures;
};

/* A port at ends[1], and no link yet. There is one scene at a time. */
struct scene *scene_open(void);
/* The same, and a link that is up at both ends. */
struct scene *scene_link(void);
void scene_close(struct scene *at);

struct kvr_link_options scene_options(void);
/* Keeps what an end (the argument) is told. */
const struct kvr_link_user *scene_user(void);
void scene_connect(struct scene *at);
/* A connection to the port that is nothing but a socket; what it says is up to the test. ends[1] takes it. */
int scene_socket(struct scene *at);

/* Runs the loop of an end (-1: of both) until nothing happens any more. What is under way between two sockets may come
 * later, on a busy machine: so this is no proof that something came, but scene_until() is. */
void scene_run(struct scene *at, int end);
/* Runs both until the condition holds, which it has to soon. */
#define scene_until(scene, condition)                                                                           \
	do {                                                                                                    \
		uint64_t scene_end_of_time = unit_in_ms(UNIT_SOON);                                             \
		while (!(condition)) {                                                                          \
			ck_assert_msg(scene_turn(scene, scene_end_of_time), "line %d: %s never came", __LINE__,        \
				      #condition);                                                              \
		}                                                                                               \
	} while (0)
/* Waits until one of the loops has something, and runs it. False: it is past the time. */
bool scene_turn(struct scene *at, uint64_t until);

int scene_send(struct scene_end *end, uint64_t time, uint64_t cookie);
struct kvr_window *scene_expose(struct scene_end *end, uint64_t at, uint64_t length);
int scene_write(struct scene_end *end, uint64_t from, uint64_t to, uint64_t length, uint32_t rkey);

#endif
