/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_fake.h: two RDMA devices that are not there: the functions of libibverbs and librdmacm that rdma/ calls, as a
 * test program defines them. Links between two queue pairs of this process really carry messages and writes, by
 * memcpy(), and windows are checked; all that can fail fails when a test wants it to.
 *
 * Guarantees: what a real device would refuse, or wait for without an end (an object that is in use is destroyed, an
 * event was never acknowledged, a queue overflows), ends the test.
 */
#ifndef VERBS_FAKE_H
#define VERBS_FAKE_H

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>
#include <stdbool.h>

#define FAKE_DEVICES 2 /* fake0 is 10.77.0.1 and fd00:77::1, fake1 is 10.77.0.2 and fd00:77::2: each has one port */

/* How a call that returns an error says so: providers differ. */
enum fake_style { FAKE_ERRNO, FAKE_NEGATIVE, FAKE_MINUS_ONE };

extern struct fake {
	unsigned objects; /* that have been made, and are there */
	unsigned calls;	  /* that could have failed */
	unsigned posts;	  /* calls of ibv_post_send() that did not */
	unsigned fail_at; /* the number of the one that does; 0: none */
	int error;
	enum fake_style style;
	const char *failed; /* its name, once it has */
	bool down[FAKE_DEVICES], gone[FAKE_DEVICES];
	bool no_windows, iwarp, no_inline, wide_windows;
	uint32_t queue_max, completions_max;
	bool kept[FAKE_DEVICES]; /* librdmacm has it open, if only for itself */
	bool deaf;		 /* nobody answers who connects */
	bool says_no_fatal;	 /* a device that is removed: only librdmacm tells of it */
	uint8_t traffic_class;
	/* Where these bytes of GPU memory can be read and written; NULL: they are none. (NULL: there is no GPU.) */
	void *(*gpu)(const void *at, size_t bytes);
	void (*wrote)(void);  /* a device has written to somebody's memory; NULL: nobody asks */
	bool peer_memory;     /* it can be registered by its address */
	bool no_dma_bufs;     /* dma-bufs can't be */
	bool dma_buf_windows; /* windows can be over them */
	unsigned dma_bufs;    /* regions that are there, of dma-bufs */
} fake;

void fake_begin(void);
/* Is this call, one that can fail, to fail? errno is set then. */
bool fake_fails(const char *call);
/* The same, of those that return their error; 0: it is not to. */
int fake_error(const char *call);
/* Nothing is to fail any more. What was to has, or not. */
void fake_calm(void);

struct ibv_device *fake_device(unsigned number);
/* Asynchronous events of whoever has opened the device. */
void fake_async(unsigned device, enum ibv_event_type type, struct ibv_qp *qp);
/* As a queue pair does that has failed: an entry with that status, and the queue pair is in error. */
void fake_ends(struct ibv_qp *qp, enum ibv_wc_status status);
/* librdmacm tells the owner of a connection something. */
void fake_tell(struct rdma_cm_id *id, enum rdma_cm_event_type type, int status);
/* A device goes: everyone who has it hears of that, and it is in no list any more. */
void fake_remove(unsigned device);
void fake_restore(unsigned device);

/* Between the two parts: */
struct fake_qp *fake_find_qp(uint32_t number);
void fake_cm_remove(unsigned device);
unsigned fake_number(const struct ibv_context *context);
struct ibv_context *fake_cm_context(unsigned device);
void fake_address(unsigned device, int family, struct sockaddr *address);
void fake_must(bool is, const char *what);
void *fake_make(size_t size); /* zeroed */
int fake_descriptor(void);
void fake_signal(int fd);
bool fake_take_signal(int fd);

#endif
