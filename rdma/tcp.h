/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * tcp.h: what the files of links over TCP share. A link is one connection; a write is a message (DATA) with its bytes
 * behind it, which the receiving side puts where a window of its own says, and nowhere else.
 *
 * Acknowledgements: TCP tells a program what the other machine's kernel has, not what has been read there and put in
 * its place. So each header tells how many messages (all but CREDIT, and DATA with all its bytes) its sender has taken
 * in since its last header; who has nothing else to send sends a CREDIT. sent() follows from that. At most
 * KVR_TCP_MESSAGES messages and KVR_TCP_WRITES writes are not acknowledged: what is more is refused (-EAGAIN), by the
 * sender of it to its user, and by the receiver, who ends the link.
 *
 * GPU memory: neither the processor nor the kernel's sockets can read or write it. So what is written from there, and
 * into windows there, goes by way of a stage: host memory of the link's, which it is copied out of and into by the
 * driver (kvg_attached_read() and kvg_attached_write(), which return when that is done). It has a stage for each
 * direction, of KVR_TCP_STAGE bytes, from the first such write on.
 */
#ifndef KVR_TCP_H
#define KVR_TCP_H

#include "message.h"
#include "transport.h"

#define KVR_TCP_MESSAGES 64
#define KVR_TCP_WRITES 64
#define KVR_TCP_ENTRIES (KVR_TCP_MESSAGES + KVR_TCP_WRITES)
#define KVR_DATA_SIZE (KVR_HEADER_SIZE + 20) /* of a DATA, without what follows */
#define KVR_WRITE_MAX (UINT64_C(1) << 30)
#define KVR_TCP_STAGE (UINT64_C(1) << 20)

/* ---- Windows: tcp_windows.c */

struct kvr_tcp_window {
	struct kvr_window window; /* first: users have its address */
	char *memory;
	const struct kvr_part *gpu; /* it is in this part, of GPU memory; else NULL */
	struct kvr_tcp_window *next;
};

struct kvr_tcp_windows {
	struct kvr_tcp_window **buckets; /* by the low bits of rkey */
	uint32_t size, count;
	uint64_t used; /* how many rkeys were given */
	uint8_t secret[16];
};

int kvr_tcp_windows_open(struct kvr_tcp_windows *windows);
void kvr_tcp_windows_close(struct kvr_tcp_windows *windows);
/* With an rkey that nobody can guess, and that this link never had. -ENOMEM. */
int kvr_tcp_windows_add(struct kvr_tcp_windows *windows, void *memory, uint64_t length, void *user,
			struct kvr_tcp_window **window);
void kvr_tcp_windows_remove(struct kvr_tcp_windows *windows, struct kvr_tcp_window *window);
/* The window that all these bytes are in; else -EACCES. */
int kvr_tcp_windows_find(const struct kvr_tcp_windows *windows, const struct kvr_data *data,
			 struct kvr_tcp_window **window);

/* ---- What goes out: tcp_out.c */

struct kvr_tcp_entry {
	uint8_t *bytes;	     /* the message */
	const uint8_t *from; /* of a write, what follows */
	const struct kvr_part *gpu; /* from is in this part, of GPU memory; else NULL */
	uint64_t length, cookie;
	uint32_t size;
	bool stamped; /* its header has its credits: it is as it goes out */
	uint8_t data[KVR_DATA_SIZE]; /* a write's message */
};

/* Entries from acked to next were sent, those up to end are to be. All three only grow. */
struct kvr_tcp_out {
	struct kvr_tcp_entry *entries;
	uint8_t (*slots)[KVR_MESSAGE_MAX];
	uint64_t acked, next, end;
	uint64_t done;	    /* bytes of next that were sent */
	uint64_t posted;    /* messages, ever: which slot is next */
	uint32_t messages, writes; /* not acknowledged */
	uint32_t owed;	    /* messages that were taken in, and not acknowledged to the other side */
	uint32_t credit_left; /* bytes of the CREDIT that are to be sent */
	uint8_t credit[KVR_HEADER_SIZE];
	uint8_t *stage;			       /* NULL: nothing has come from GPU memory yet */
	uint64_t staged_of, staged_at, staged; /* it has so many bytes of that entry, from that place of its write on */
	bool starved; /* something was refused: room() is wanted */
	int error;    /* nothing can be sent any more */
	char why[160]; /* likewise, if there is more to say than the error */
};

int kvr_tcp_out_open(struct kvr_tcp_out *out);
void kvr_tcp_out_close(struct kvr_tcp_out *out);
/* Posts. -EAGAIN. */
int kvr_tcp_out_message(struct kvr_tcp_out *out, const uint8_t *bytes, size_t size, uint64_t cookie);
int kvr_tcp_out_write(struct kvr_tcp_out *out, const struct kvr_write *write, const struct kvr_part *part);
/* Takes one acknowledged entry off. -EPROTO: none was sent that is not. */
int kvr_tcp_out_ack(struct kvr_tcp_out *out, uint64_t *cookie);
/* Is there anything to send? */
bool kvr_tcp_out_pending(const struct kvr_tcp_out *out);
/* Sends what the socket takes, up to a share that lets others have theirs. An error is in out->error. Counts bytes. */
void kvr_tcp_out_flush(struct kvr_tcp_out *out, int fd, uint64_t *bytes);
/* Sends a DENIED, if it fits in at once between two messages: best effort, the link ends whatever comes of it. */
void kvr_tcp_out_deny(struct kvr_tcp_out *out, int fd);

/* ---- What comes in: tcp_in.c */

struct kvr_tcp_in {
	uint8_t bytes[KVR_MESSAGE_MAX];
	uint32_t have, size; /* of the message that is read; size 0: its header is not there yet */
	enum kvr_type type;
	bool data;			/* bytes of a write follow: */
	uint64_t left;			/* so many, */
	char *at;			/* to there, */
	struct kvr_tcp_window *window;	/* of this window; NULL: it was withdrawn, and they go nowhere */
	char *stage;			/* NULL: nothing has gone to GPU memory yet */
	uint64_t staged;		/* bytes before `at` that are here, and not in the window yet */
};

enum kvr_tcp_state {
	KVR_TCP_CONNECTING = 0,
	KVR_TCP_UP,
	KVR_TCP_DOWN,
	KVR_TCP_CLOSED, /* by its user, within a call of the user's; it is freed behind that */
};

struct kvr_link {
	struct kvr_watch watch, timer; /* the socket; when connecting has taken too long: fd -1: no more */
	struct kvr_call tell;	       /* of withdrawn windows */
	struct kvr_loop *loop;
	struct kvr_memory *memory;
	const struct kvr_link_user *user;
	void *arg;
	enum kvr_tcp_state state;
	uint32_t events; /* that are watched */
	bool busy;	 /* within a function that calls the user's */
	struct kvr_endpoint remote;
	struct kvr_tcp_windows windows;
	struct kvr_tcp_window *withdrawn, **last_withdrawn; /* their users are to be told */
	struct kvr_tcp_out out;
	struct kvr_tcp_in in;
	struct kvr_link_info info;
};

/* Reads what is there, up to a share, and calls the user. Behind it the link may be down, or closed. */
void kvr_tcp_receive(struct kvr_link *link);

/* The link is lost: tells the user. The calling thread's error text says why. In tcp.c. */
void kvr_tcp_down(struct kvr_link *link, int reason);

/* A link for a socket, which is the link's from then on, also where it fails. In tcp.c. */
int kvr_tcp_link(struct kvr_loop *loop, int fd, struct kvr_memory *memory, const struct kvr_endpoint *remote,
		 struct kvr_link **link);
/* It is connected: messages may come. */
int kvr_tcp_begin(struct kvr_link *link);
void kvr_tcp_close(struct kvr_link *link);
/* Sockets, which children of fork() do not have (shm/kept.h): they would keep the connection, or the port, when this
 * process has gone. Both are closed by kvs_kept_close(). Errors are negative errnos; those of accept are the kernel's,
 * and have no text. */
int kvr_tcp_socket(int family, int *fd);
int kvr_tcp_accept(int port, struct kvr_endpoint *remote, int *fd);
/* -EINVAL: they ask for a device, its port or its table of addresses, which are RDMA's. */
int kvr_tcp_check_options(const struct kvr_link_options *options);
/* TCP_NODELAY, traffic class, and how long the other side may be silent. */
int kvr_tcp_set_options(int fd, const struct kvr_endpoint *endpoint, const struct kvr_link_options *options);

/* ---- Ports: tcp_port.c */

int kvr_tcp_listen(struct kvr_loop *loop, struct kvr_endpoint *endpoint, const struct kvr_link_options *options,
		   struct kvr_memory *memory, const struct kvr_port_user *user, void *arg, struct kvr_port **port);
void kvr_tcp_close_port(struct kvr_port *port);

#endif
