/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * ends.h: both ends of a link in one process and one loop, for tests of a transport over a real device: what each was
 * told, planes, and messages that carry a number. A test runs in a process of its own (libcheck forks).
 */
#ifndef ENDS_H
#define ENDS_H

#include <check.h>

#include "memory.h"
#include "message.h"

/* Does the call give what is wanted? Else the library's text says more. */
#define ends_rc(call, wanted) ends_expect((call), (wanted), #call, __LINE__)
void ends_expect(int rc, int wanted, const char *call, int line);

#define ENDS_PLANE ((size_t)16 << 20) /* bytes of a plane, unless a test takes less: */
extern size_t ends_plane;
#define ENDS_SOON UINT64_C(30000) /* ms: guests are slow */

struct end {
	struct kvr_memory *memory;
	struct kvr_link *link;
	char *plane; /* exposed */
	unsigned ups, downs, rooms;
	int reason; /* of down() */
	char text[1024];
	uint64_t received; /* messages */
	uint64_t last;	   /* number of the last one */
	bool mixed_up;	   /* one came that was not the next */
	uint64_t sent;	   /* last cookie */
	uint64_t told;	   /* by ends_tell() */
	unsigned withdrawn;
	void (*on_message)(struct end *end, uint64_t number); /* unless NULL */
	bool close_on_message, close_on_down, closed;
};

extern struct kvr_loop ends_loop;
extern struct end ends_a, ends_b; /* a connects to b */
extern struct kvr_port *ends_port;
extern struct kvr_endpoint ends_at;
extern struct kvr_link_options ends_options;

/* Where b listens, and a connects to: ends_main() sets it to the program's argument. */
void ends_use(const char *url);
struct kvr_endpoint ends_where(void);
/* Loop, memory with a plane each; b listens. */
void ends_open(void);
/* The same, but for the port; and the port, or why not. */
void ends_open_both(void);
int ends_listen(void);
/* What a port that is lost says: a test that does not clear ends_port_is_safe fails then. */
extern bool ends_port_is_safe;
extern int ends_port_reason;
extern char ends_port_text[1024];
/* The same, and a link that is up on both sides. */
void ends_connect(void);
/* Another link behind the first one, which is closed on both sides. */
void ends_again(void);
/* The side that connects, alone: the other is in another process. */
void ends_open_one(struct end *end);
void ends_close(void);
int ends_begin(struct end *end, const struct kvr_endpoint *to); /* connects; nothing more */
void ends_end(struct end *end);					/* closes its link */

/* Runs the loop until it is so; the test fails when it does not come about. */
#define ends_until(condition)                                     \
	do {                                                      \
		uint64_t ends_end = ends_deadline();              \
		while (!(condition))                              \
			ends_run(ends_end, #condition, __LINE__); \
	} while (0)
uint64_t ends_deadline(void);
/* The same, but for a millisecond at most: where no link tells of what is waited for. */
void ends_poll(uint64_t deadline, const char *what, int line);
void ends_run(uint64_t deadline, const char *what, int line);

/* A message of that size with a number; -EAGAIN as the link says. */
int ends_send(struct end *end, uint64_t number, size_t size, uint64_t cookie);
int ends_send_type(struct end *end, enum kvr_type type, uint64_t number, size_t size, uint64_t cookie);
void ends_must_send(struct end *end, uint64_t number);
/* The next message of its own; waits until it has arrived. */
void ends_tell(struct end *end);
/* A window over part of an end's plane, behind which the other was told something; a write of the other's bytes into
 * it. */
struct kvr_window *ends_expose_quietly(struct end *end, size_t offset, size_t size); /* nothing is told */
struct kvr_window *ends_expose_at(struct end *end, void *at, size_t size);
int ends_try_to_expose(struct end *end, size_t offset, size_t size);
struct kvr_window *ends_expose(struct end *end, size_t offset, size_t size);
int ends_write(struct end *from, size_t offset, const struct kvr_window *window, size_t at, size_t size);

void ends_withdraw(struct end *end, struct kvr_window *window);
int ends_write_to(struct end *from, size_t offset, uint64_t to, uint32_t rkey, size_t size);
void ends_is_all(const char *bytes, size_t size, int value);
struct kvr_link_info ends_info(const struct end *end);

int ends_main(const char *name, const TTest *const tests[], size_t count, int argc, char **argv);

#endif
