/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs.h: what the files of the RDMA transport share: devices, links, and the work requests of a link.
 *
 * Who calls what: everything runs in the thread that runs the loop. A link's user is called between kvr_link_enter()
 * and kvr_link_leave() only; it may close the link there, so whoever calls it looks at `closed` before it goes on. The
 * structure itself is freed by the outermost kvr_link_leave().
 */
#ifndef KVR_VERBS_H
#define KVR_VERBS_H

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include "memory.h"
#include "message.h"

/* Part of the protocol: each side posts so many buffers for messages before the link is up, and has as many credits. */
#define KVR_VERBS_CREDITS 64
/* Of these the last may be used for KVR_CREDIT only, the one before by what ends things only. */
#define KVR_VERBS_KEPT_FOR_CREDIT 1
#define KVR_VERBS_KEPT_FOR_ENDS 1

#define KVR_VERBS_SLOTS 64	/* messages of ours that are on their way, with their bytes */
#define KVR_VERBS_WRITES 256	/* writes in the send queue */
#define KVR_VERBS_WINDOW_OPS 64 /* binds and invalidations in the send queue; more wait */
#define KVR_VERBS_SIGNAL_EVERY 16
#define KVR_VERBS_CHAIN 32   /* requests that are given to the device at once */
#define KVR_VERBS_LONG 65536 /* bytes of a write that waits for no other */
#define KVR_VERBS_INLINE 192
#define KVR_VERBS_BINDS_MAX 254 /* of one window: its key has 8 bits */

/* ---- Devices ---- */

/* One that is in use, by links of one loop and of one kvr_memory. Its context is its own: not librdmacm's, so that its
 * events are its own, too. */
struct kvr_device {
	struct kvr_registrar registrar;
	struct kvr_loop *loop;
	struct kvr_memory *memory;
	struct ibv_context *context;
	struct ibv_pd *pd;
	struct kvr_watch watch; /* of its events */
	struct kvr_call closing;
	bool lost; /* no link uses it from now on; it is closed when those that do are gone */
	struct kvr_link *links;
	struct kvr_verbs_window *free, **free_end; /* the one that was used longest ago first */
	bool has_windows, is_iwarp;
	bool wide_windows; /* they let in what is inside of their memory region, not inside of themselves */
	bool region_keys;  /* some of what is exposed is reached by its region's own key: no window can be over it */
	bool binds_again;  /* with what it sends once more it does the bindings once more that were posted behind it */
	uint32_t queue_max, completions_max;
};

/* The device that id has, ready for links: all of memory is registered with it. */
int kvr_device_get(struct kvr_loop *loop, struct kvr_memory *memory, const struct rdma_cm_id *id,
		   struct kvr_device **device);
void kvr_device_link(struct kvr_device *device, struct kvr_link *link);
void kvr_device_unlink(struct kvr_link *link);
void kvr_device_look(struct kvr_device *device); /* at what it has to tell */
void kvr_device_is_lost(struct kvr_device *device);
/* Behind the end of an id that was told of its device's removal: librdmacm keeps a context of each device, which holds
 * up the removal of some. */
void kvr_device_let_go(void);
/* What a child of fork() must not have of devices: called with forks kept off (kvs_kept_begin()). */
void kvr_device_hide(const struct ibv_context *context);

/* verbs_choice.c: where a link is to come from (*from->length 0: the route says), by the options, and whether the
 * device that came of it is the one that is wanted. */
int kvr_choice_address(const struct kvr_endpoint *to, bool listens, const struct kvr_link_options *options,
		       struct kvr_endpoint *from);
int kvr_choice_check(const struct rdma_cm_id *id, const struct kvr_link_options *options);

/* ---- Memory ---- */

/* Some memory, as a device has it. */
struct kvr_region {
	struct ibv_mr *mr;
	bool windows; /* they may be over it */
	bool dma_buf; /* it is a plane of GPU memory, by a dma-buf */
};

int kvr_key_add(struct kvr_registrar *registrar, struct kvr_part *part);
void kvr_key_remove(struct kvr_registrar *registrar, struct kvr_part *part);
/* What the part is registered as with this device. */
const struct kvr_region *kvr_key_find(const struct kvr_part *part, const struct kvr_device *device);
/* What a window over these bytes of it is to be over. NULL, with a text: it can't be registered. */
struct ibv_mr *kvr_key_under(const struct kvr_part *part, struct kvr_device *device, void *address, uint64_t length);
/* Tells why a device can't do what pins memory: "cannot ... with DEVICE". The text names the limit, if that may be it.
 */
int kvr_key_fault(int error, const struct ibv_context *context, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* verbs_gpu.c: a part of GPU memory, whichever way it can be had; and one of its blocks, as the part was (NULL: errno
 * says why). */
int kvr_gpu_register(const struct kvr_device *device, const struct kvr_part *part, struct kvr_region *region);
struct ibv_mr *kvr_gpu_register_block(const struct kvr_device *device, const struct kvr_part *part,
				      const struct kvr_region *region, char *at, uint64_t length);
/* Where libibverbs has no dma-bufs, verbs_dmabuf_none.c: NULL, and errno is EOPNOTSUPP. */
struct ibv_mr *kvr_dmabuf_register(struct ibv_pd *pd, uint64_t offset, char *at, uint64_t length, int fd, int access);

/* ---- Work requests ---- */

enum kvr_op_kind { KVR_OP_SEND, KVR_OP_WRITE, KVR_OP_BIND, KVR_OP_INVALIDATE };

struct kvr_op {
	enum kvr_op_kind kind;
	uint32_t slot, size;		 /* of a message */
	uint64_t cookie;		 /* likewise */
	struct kvr_verbs_window *window; /* of those over windows */
	struct kvr_op *next;		 /* of those that wait */
};

struct kvr_verbs_window {
	struct kvr_window window; /* what the user has */
	struct ibv_mw *mw;	  /* NULL: the device has no windows */
	struct ibv_mr *mr;
	unsigned binds;
	bool withdrawing;
	struct kvr_op bind, invalidate;
	struct kvr_verbs_window *next, **at; /* in a link's list; in a device's only next */
};

/* ---- Links ---- */

enum kvr_link_state {
	KVR_LINK_ADDRESS, /* the route to it is looked for */
	KVR_LINK_ROUTE,
	KVR_LINK_CONNECTING, /* the other side is asked, or was answered */
	KVR_LINK_UP,
	KVR_LINK_DOWN, /* nothing is left but to close it */
};

struct kvr_link {
	struct kvr_loop *loop;
	struct kvr_memory *memory;
	const struct kvr_link_user *user;
	void *arg;
	struct kvr_link_options options;
	enum kvr_link_state state;
	bool accepted; /* else connected */
	unsigned entered;
	bool closed, removed; /* removed: its device was */
	int reason; /* of a failure that down() has yet to tell, with its text; else 0 */
	char text[512];
	struct kvr_call soon;

	struct rdma_event_channel *channel;
	struct rdma_cm_id *id;
	struct kvr_watch events, completions, timer; /* timer: when connecting has taken too long */
	struct ibv_comp_channel *completion_channel;
	struct ibv_cq *cq;
	struct ibv_qp *qp;

	struct kvr_device *device;
	struct kvr_link *next, **at; /* in its list */
	char device_name[KVR_TEXT];
	uint32_t port;
	uint64_t write_max; /* bytes of one work request */
	uint32_t inline_max;
	int gid_index; /* -1: it has none */

	uint8_t *slab; /* receive buffers, then slots */
	struct ibv_mr *slab_mr;

	/* The send queue: ops by their number, modulo its depth. */
	struct kvr_op *queue;
	uint64_t posted, done;
	uint64_t told; /* behind the last message in it */
	uint32_t depth, unsignalled;
	uint32_t writes_max, writes, window_ops; /* in it */
	/* The last of them, which the device does not have yet. */
	struct ibv_send_wr chain[KVR_VERBS_CHAIN];
	struct ibv_sge chain_sges[KVR_VERBS_CHAIN];
	uint32_t chained;
	struct kvr_op slots[KVR_VERBS_SLOTS];
	uint32_t free_slots[KVR_VERBS_SLOTS], slots_free;
	struct kvr_op *waiting, **waiting_end; /* what is to be posted before anything else */
	uint32_t credits, owed;		       /* that we have; that the other side is to get back */
	bool refused_message, refused_write;

	struct kvr_verbs_window *windows;
	struct kvr_verbs_window *withdrawn; /* without a device's help: to be told soon */
	struct kvr_link_info info;	    /* numbers */
};

struct kvr_port {
	struct kvr_loop *loop;
	struct kvr_memory *memory;
	const struct kvr_port_user *user;
	void *arg;
	struct kvr_link_options options;
	struct rdma_event_channel *channel;
	struct rdma_cm_id *id;
	struct kvr_watch events;
	unsigned entered;
	bool closed, removed;
};

/* ---- verbs_link.c: what all links have in common, and their ends ---- */

int kvr_link_make(struct kvr_loop *loop, struct kvr_memory *memory, const struct kvr_link_options *options,
		  struct kvr_link **link);
void kvr_link_enter(struct kvr_link *link);
void kvr_link_leave(struct kvr_link *link);
/* The link is looked at from the loop. */
void kvr_link_soon(struct kvr_link *link);
/* It can't go on. Inside of enter and leave, with a text of kvs_fault(): nothing lands any more, then down() is
 * called. Of a link that is down, or closed, nothing. */
void kvr_link_failed(struct kvr_link *link, int reason);
/* The same from anywhere: down() follows. The first reason stands. Returns -ENOTCONN, with the text. */
int kvr_link_fail_later(struct kvr_link *link, int reason);
/* That reason once more, with its text. */
int kvr_link_reason(const struct kvr_link *link);
/* Requests may be posted. Of a link that is so already, nothing. */
void kvr_link_is_up(struct kvr_link *link);
void kvr_link_close(struct kvr_link *link);
/* "the link to 10.0.0.2:7471", for texts; valid until the next call in this thread. */
const char *kvr_link_name(const struct kvr_link *link);
void kvr_link_address(const struct sockaddr *address, char text[KVR_TEXT]);

/* ---- verbs_connection.c: librdmacm's events, and the states of queue pairs ---- */

/* A channel whose descriptor does not block, and is no child's. */
int kvr_connection_channel(struct rdma_event_channel **channel);
void kvr_connection_close_channel(struct rdma_event_channel *channel);
/* Sets what options say of an id. */
int kvr_connection_options(struct rdma_cm_id *id, const struct kvr_link_options *options);
/* Queue pair and what it needs, of a link that has an id with a device. */
int kvr_connection_prepare(struct kvr_link *link);
/* The queue pair can receive and send. */
int kvr_connection_start(struct kvr_link *link);
struct rdma_conn_param kvr_connection_parameters(const struct kvr_link *link);
void kvr_connection_ready(struct kvr_watch *watch, uint32_t events);
/* Inside of enter and leave: has it been told of the other side's end? */
void kvr_connection_look(struct kvr_link *link);
int kvr_connection_begin(struct kvr_link *link, const struct kvr_endpoint *to);
bool kvr_connection_is_late(const struct kvr_link *link);
void kvr_connection_no_deadline(struct kvr_link *link);
int kvr_connection_deadline(struct kvr_link *link);

/* ---- verbs_port.c ---- */

int kvr_port_listen(struct kvr_loop *loop, struct kvr_endpoint *endpoint, const struct kvr_link_options *options,
		    struct kvr_memory *memory, const struct kvr_port_user *user, void *arg, struct kvr_port **port);
void kvr_port_close(struct kvr_port *port);

/* ---- verbs_qp.c: queue pair, completion queue, and all that is in them ---- */

int kvr_qp_open(struct kvr_link *link);
void kvr_qp_fence(struct kvr_link *link); /* nothing lands any more, nothing is read */
void kvr_qp_close(struct kvr_link *link);
int kvr_qp_receive(struct kvr_link *link); /* posts all buffers */
int kvr_qp_repost(struct kvr_link *link, uint32_t buffer);
uint8_t *kvr_qp_received(const struct kvr_link *link, uint32_t buffer);
uint8_t *kvr_qp_slot(const struct kvr_link *link, uint32_t slot);
/* Posts it, or lets it wait behind what waits. 0, or the link fails. */
int kvr_qp_put(struct kvr_link *link, struct kvr_op *op);
int kvr_qp_post_waiting(struct kvr_link *link);
bool kvr_qp_may_send(const struct kvr_link *link, enum kvr_type type);
int kvr_qp_send(struct kvr_link *link, uint8_t *bytes, size_t size, uint64_t cookie);
int kvr_qp_give_credits(struct kvr_link *link);
int kvr_qp_write(struct kvr_link *link, const struct kvr_write *write, uint32_t key);
int kvr_qp_flush(struct kvr_link *link); /* writes are given to the device now */

/* ---- verbs_completion.c ---- */

void kvr_completion_ready(struct kvr_watch *watch, uint32_t events);
/* Takes what is there, up to a share; *more: there is more. Inside of enter and leave. Negative: the link is to fail.
 */
int kvr_completion_take(struct kvr_link *link, bool *more);

/* ---- verbs_window.c ---- */

int kvr_window_expose(struct kvr_link *link, void *address, uint64_t length, void *user, struct kvr_window **window);
void kvr_window_withdraw(struct kvr_link *link, struct kvr_window *window);
void kvr_window_was_invalidated(struct kvr_link *link, struct kvr_verbs_window *window);
void kvr_window_tell(struct kvr_link *link);	 /* of those without a device's help */
void kvr_window_drop_all(struct kvr_link *link); /* the link is lost */
void kvr_window_free_all(struct kvr_device *device);

static inline const struct sockaddr *kvr_verbs_sockaddr(const struct kvr_endpoint *endpoint)
{
	const void *address = &endpoint->address;

	return address;
}

/* librdmacm takes them without const. */
static inline struct sockaddr *kvr_verbs_address(struct kvr_endpoint *endpoint)
{
	void *address = &endpoint->address;

	return address;
}

/* Providers differ in how they say that a request can't be posted: 0, errno, -errno, or -1 and errno. */
static inline int kvr_verbs_error(int rc)
{
	if (rc == -1 && errno)
		return errno;
	return rc < 0 ? -rc : rc;
}

#endif
