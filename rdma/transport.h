/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * transport.h: what the layers above know of RDMA and TCP: links that carry messages in order, and writes into the
 * windows that the other side has opened. One small table of functions for each; nobody above asks which it is.
 *
 * Guarantees:
 * - Messages and writes of one link arrive in the order in which they were posted: a message that arrives says that all
 *   writes before it have been placed (E1). In GPU memory what a device has placed is seen behind a flush only
 *   (`dma`), which is the user's to do.
 * - The other side can write into exposed windows only, and into none once withdrawn() has been called for it, or
 *   down() for its link (E2, E3). Where a device has no windows (KVR_LINK_NO_WINDOWS), only down() says so.
 * - No function of a user is called from within a call of the user's: all come from kvr_loop_run().
 * - Whoever detects an error tells it (kvs_fault()): user functions with a reason are called right behind that, so that
 *   kvs_fault_text() still is its text.
 */
#ifndef KVR_TRANSPORT_H
#define KVR_TRANSPORT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "loop.h"

#define KVR_MESSAGE_MAX 8192 /* bytes of the longest message, with its header */

struct kvg_attached;
struct kvr_link;
struct kvr_port;
struct kvr_memory;

/* What a message's header has for the link that carries it; see message.h. */

/* A part of this process's memory that the peer of one link may write into. The transport's, until withdrawn. */
struct kvr_window {
	uint64_t address; /* of its first byte, as the other side names it */
	uint64_t length;
	uint32_t rkey;
	void *user; /* of who exposed it */
};

struct kvr_write {
	const void *from;    /* in memory that was added (kvr_memory_add()) */
	uint64_t to, length; /* inside a window of the other side; up to 1 GiB */
	uint32_t rkey;
};

/* Who is told of a link. arg is what was given with it. */
struct kvr_link_user {
	void (*up)(void *arg); /* messages may be sent; first, once, of links that were made by connect() */
	void (*message)(void *arg, const uint8_t *bytes, size_t size); /* whole; valid during the call */
	void (*heard)(void *arg); /* bytes of a write have come, where that can be seen; NULL: it is all the same */
	void (*room)(void *arg); /* what was refused with -EAGAIN may go now */
	/* A message that was sent with a cookie, and all writes before it, have arrived over there: their sources may
	 * be changed. In order. */
	void (*sent)(void *arg, uint64_t cookie);
	void (*withdrawn)(void *arg, struct kvr_window *window); /* nothing lands in it any more; it is freed behind */
	/* The last call: the link is lost, nothing that the other side sends lands any more, and no source is read any
	 * more. All windows are gone. It is still to be closed, which may be done later. reason:
	 * -ECONNRESET, -ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH, -EACCES (the other side wrote where it
	 * may not, or we did), -ENETDOWN, -EPROTO, ... */
	void (*down)(void *arg, int reason);
};

/* Who is told of links that arrive. May refuse one (false): it is closed then. Sets the link's user. */
struct kvr_port_user {
	bool (*accept)(void *arg, struct kvr_link *link, const struct kvr_link_user **user, void **user_arg);
	void (*failed)(void *arg, int reason); /* the port is lost: device or address went away; still to be closed */
};

#define KVR_TEXT 64

enum { KVR_LINK_NO_WINDOWS = 1 };

/* What people are told of a link. */
struct kvr_link_info {
	char device[KVR_TEXT];	/* such as "mlx5_0 port 1 gid 3"; of TCP "" */
	char local[KVR_TEXT], remote[KVR_TEXT]; /* addresses with ports */
	unsigned flags;
	uint64_t bytes_sent, bytes_received; /* of writes and messages; received of RDMA: of messages, and what windows
					      * had at their withdrawal is the user's to count */
	uint64_t windows_exposed, windows_withdrawn, windows_retired; /* retired: before their keys were used up */
	uint64_t retries; /* as far as the transport is told: receiver not ready, retransmissions */
};

/* What a link or port is to use. */
struct kvr_link_options {
	const char *device;	/* NULL: the one that the route, or the address, has */
	uint32_t device_port;	/* 0: any active one */
	int32_t gid_index;	/* -1: the address's */
	int32_t traffic_class;	/* -1: the system's */
	int32_t numa_node;	/* of the memory; -1: any: of several devices that would do the nearest is taken */
	uint64_t timeout;	/* ns that connecting may take, and that the other side may be silent */
};

/* Where it is. */
struct kvr_endpoint {
	union { /* AF_INET, AF_INET6, with the port */
		struct sockaddr_storage address;
		struct sockaddr any;
		struct sockaddr_in four;
		struct sockaddr_in6 six;
	};
	socklen_t length;
};

struct kvr_transport {
	const char *name; /* as in URLs: "tcp", "rdma" */
	bool dma;	  /* devices read and write the memory, and may go on when this process is dead */
	/* endpoint's port 0: any that is free; *endpoint is what it became. */
	int (*listen)(struct kvr_loop *loop, struct kvr_endpoint *endpoint, const struct kvr_link_options *options,
		      struct kvr_memory *memory, const struct kvr_port_user *user, void *arg, struct kvr_port **port);
	void (*close_port)(struct kvr_port *port); /* its links go on */
	/* Returns at once; up() or down() follow. */
	int (*connect)(struct kvr_loop *loop, const struct kvr_endpoint *endpoint,
		       const struct kvr_link_options *options, struct kvr_memory *memory,
		       const struct kvr_link_user *user, void *arg, struct kvr_link **link);
	/* Both are posted, in order, or refused: -EAGAIN (no room: wait for room()), -ENOTCONN (it is down: down() has
	 * been called, or will be). send copies; its message has been built by message.h, and the link writes its
	 * credits into the header. cookie 0: sent() is not wanted. Messages have room of their own that writes do not
	 * take. write: -EFAULT: from is in no memory that was added. It may be kept, to be given to the device together
	 * with others, until the next message or flush(). */
	int (*send)(struct kvr_link *link, uint8_t *bytes, size_t size, uint64_t cookie);
	int (*write)(struct kvr_link *link, const struct kvr_write *write);
	void (*flush)(struct kvr_link *link); /* NULL: nothing is kept */
	/* Opens a window over memory that was added with `exposed`. Whoever gets rkey in a message that is sent behind
	 * may write. -ENOMEM: the device has no more windows. */
	int (*expose)(struct kvr_link *link, void *address, uint64_t length, void *user, struct kvr_window **window);
	/* withdrawn() follows, but for a link that is down or goes down. */
	void (*withdraw)(struct kvr_link *link, struct kvr_window *window);
	/* Behind it nothing of the other side lands any more, nothing is read any more, and no function of the user is
	 * called. What was sent and has not left may be lost: who cares waits for sent(). */
	void (*close)(struct kvr_link *link);
	void (*describe)(const struct kvr_link *link, struct kvr_link_info *info);
};

extern const struct kvr_transport kvr_tcp;
extern const struct kvr_transport kvr_verbs; /* where kvshm is built with RDMA; else its calls are -EOPNOTSUPP */
bool kvr_verbs_found(void); /* Is there a device with an active port? */

/* ---- Memory ----
 *
 * Parts of this process's memory: planes, and what engines register. It is registered once with each device that a link
 * uses, and stays so until it is removed or closed, whatever links come and go. Used by one thread at a time; must
 * outlive links and ports that were given it. */
int kvr_memory_open(struct kvr_memory **memory);
void kvr_memory_close(struct kvr_memory *memory);

/* exposed: windows may be opened over it; else it is only read, by writes. Devices that are in use get it at once: so
 * it fails here, not at a write: -ENOMEM (the text names the locked-memory limit, if that is it), -EFAULT (nothing is
 * mapped there), -EEXIST (it overlaps another part). */
int kvr_memory_add(struct kvr_memory *memory, void *base, uint64_t size, bool exposed);
/* The same of a plane of GPU memory, as it is mapped; it is exposed. -EOPNOTSUPP: a device can't reach it. */
int kvr_memory_add_gpu(struct kvr_memory *memory, void *base, uint64_t size, struct kvg_attached *gpu, uint32_t plane);
/* No write or window may still be using it.  -ENOENT. */
int kvr_memory_remove(struct kvr_memory *memory, void *base);

/* The part that has all these bytes; NULL: none. */
struct kvr_part {
	char *base;
	uint64_t size;
	bool exposed;
	struct kvg_attached *gpu; /* whose plane it is; NULL: it is host memory, and base can be read */
	uint32_t plane;
	void *keys; /* of the transport that registers: kvr_memory_keys */
	struct kvr_part *next;
};
const struct kvr_part *kvr_memory_find(const struct kvr_memory *memory, const void *from, uint64_t length);

#endif
