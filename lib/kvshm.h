/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * kvshm.h: the public interface of libkvshm, the only public header.
 *
 * A store maps keys (hashes of token prefixes) to fixed-size blocks of memory. Its table, its counts and its
 * states live in one shared-memory segment; every engine process of a node attaches it and calls the functions
 * below directly: there is no server on the way. A process may be killed at any instruction; whoever looks next
 * gives back what it held.
 *
 * Rules that hold for every call, unless it says otherwise:
 *
 * - Return value: 0, or a negative errno. Results come last and are set only on success.
 *   kvshm_error() gives the text of the calling thread's last error: what is wrong and what to do. errno says nothing.
 * - Memory: what a call is given is the caller's, and is read or written during the call only: keys, labels and names
 *   are copied. Handles and tickets are plain values. Only what a comment says must be given back is the library's.
 * - Threads: any thread of any attached process may make any call at any time, but for kvshm_detach(), which must
 *   be the last one on its store, and kvshm_destroy() and kvshm_disown(), either of which must be the last one on its
 *   owner. A hold belongs to the client (one attachment of a process): one thread may take it, and another end it. But
 *   two threads must not use one handle variable at the same time. No call may be made from a signal handler, and none
 *   may be left by longjmp() or by cancelling its thread.
 * - Fork: a child does not inherit its parent's store. Calls with a store or an owner from before fork() fail with
 *   -ECHILD and change nothing; the child attaches for itself. (vfork() and posix_spawn() are fine. exec ends an
 *   attachment as death does. After a raw clone() without CLONE_VM the calls fail the same way, but the child keeps the
 *   parent's descriptors open: until it ends or calls exec, the parent's death is not seen.)
 * - No call waits for another process, dead, stopped or slow, but those with a deadline (kvshm_wait(), and of requests:
 *   reserve, wait_room, complete, wait) until then, and kvshm_attach() as told there.
 * - Deadlines are absolute times of CLOCK_MONOTONIC in nanoseconds; 0 looks once, UINT64_MAX is for ever.
 * - The library never prints, never exits, and installs no signal handlers. It starts no threads, but in kvshm_create()
 *   where that is asked for (populate): these take no signals and have ended when it returns.
 *
 * Errors that every call with a store may return, not repeated below:
 *   -EINVAL     an argument is out of its range (kvshm_error() says which)
 *   -ESTALE     the store was destroyed or replaced; detach, and attach the new one
 *   -ECHILD     the store is from before fork()
 *   -EUSERS     this thread got no reader slot: too many threads of all clients use the store at once
 *   -ENOMEM     no memory, in a thread's first call with a store
 *   -EUCLEAN    nonsense in the segment; nothing was touched outside of the mapping. See kvshm-check(1)
 */
#ifndef KVSHM_H
#define KVSHM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

#define KVSHM_NAME_MAX 64	 /* characters of a store's name: A-Z a-z 0-9 . _ -, not starting with a dot */
#define KVSHM_LABEL_MAX 255	 /* bytes of a label */
#define KVSHM_CLIENT_NAME_MAX 31 /* bytes of a client's name; longer ones are cut */
#define KVSHM_KEY_MAX 256	 /* bytes of a key, at most; a store may set less */
#define KVSHM_OPAQUE_SIZE 32	 /* bytes that an engine may attach to a block */
#define KVSHM_CLIENTS_MAX 1024	 /* processes attached to one store at the same time */
#define KVSHM_PLANES_MAX 32	 /* planes of one store */
#define KVSHM_REQUESTS_MAX 4095	 /* requests that are open in one store at the same time */
#define KVSHM_REQUEST_ID_MAX 128 /* bytes of a request's id */
#define KVSHM_BLOCK_UNIT 512	 /* a block's size is a multiple of this */
#define KVSHM_BLOCKS_MAX (UINT32_C(1) << 30) /* blocks of one store */

/* An attached store, and a store that this process owns. */
typedef struct kvshm_store kvshm_store;
typedef struct kvshm_owner kvshm_owner;

/* ---- What went wrong, and what goes on ------------------------------------------------------------------- */

/* The text of the calling thread's last failed call, in one line without a newline; "" if none failed. It is valid
 * until the thread's next call. Never NULL. */
const char *kvshm_error(void);

/* The library's version, such as "0.2.0". */
const char *kvshm_version(void);

enum kvshm_log_level { KVSHM_LOG_ERROR = 3, KVSHM_LOG_WARNING = 4, KVSHM_LOG_NOTICE = 5, KVSHM_LOG_INFO = 6 };

/* Called with one line, without a newline, for what a program's log should have: recoveries, sizes rounded down. It
 * may be called from any thread that is in a call; it must not call kvshm. It may wait for other threads: no call of
 * theirs waits for the one that it is in. */
typedef void kvshm_log_fn(enum kvshm_log_level level, const char *text, void *arg);

/* Sets the process's log callback; NULL: silence, which is the default. Set it before other threads use kvshm. */
void kvshm_set_log(kvshm_log_fn *fn, void *arg);

/* ---- Owning a store -------------------------------------------------------------------------------------- */

/* What the last release of a key does. */
enum kvshm_retain {
	KVSHM_KEEP = 0, /* a cache: the block stays until its room is needed */
	KVSHM_DROP = 1, /* a transfer buffer: the block is freed at once */
};

/* How engine processes come by the planes of a store in GPU memory. */
enum kvshm_export {
	/* The owner hands out file descriptors at its socket, at attach: also to processes in other pid namespaces. The
	 * memory lives as long as anyone has it, so that a store whose owner died goes on, and can be adopted. */
	KVSHM_EXPORT_FD = 0,
	/* Legacy CUDA IPC handles: for drivers or devices that can't do the other. The memory is gone with its owner:
	 * from 50 ms after that on every call returns -ESTALE. */
	KVSHM_EXPORT_IPC = 1,
};

/* How far the making of a store is. */
enum kvshm_phase {
	KVSHM_RESERVING = 0,  /* the kernel sets the memory aside; done and total are bytes */
	KVSHM_POPULATING = 1, /* it is zeroed and made present: likewise */
};

/* Called by kvshm_create() in its own thread, now and then. Other than 0 calls the making off. Must not call kvshm. */
typedef int kvshm_progress_fn(enum kvshm_phase phase, uint64_t done, uint64_t total, void *arg);

/* What a new store is to be. kvshm_create_defaults() fills it; set size and block_size, and what else differs. */
struct kvshm_create_options {
	const char *dir;	  /* where stores live; NULL: $KVSHM_DIR, or /dev/shm */
	const char *label;	  /* model, dtype, layout: whatever engines must agree on; NULL: "" */
	uint64_t size;		  /* bytes of each plane, a ceiling: rounded down to whole blocks */
	uint64_t block_size;	  /* bytes of a block in each plane, a multiple of KVSHM_BLOCK_UNIT */
	uint32_t planes;	  /* 1 unless told */
	uint32_t key_max;	  /* bytes of the longest key; 64 unless told */
	uint32_t clients;	  /* processes that can be attached at once; 64 unless told */
	uint32_t requests;	  /* requests that can be open at once; 1024 unless told */
	uint32_t mode;		  /* permission bits of the files; 0600 unless told */
	enum kvshm_retain retain; /* KVSHM_KEEP unless told */
	int fence;	  /* non-zero: readers use memory fences, not membarrier(2) (slower; for kernels without) */
	int replace_dead; /* non-zero: a store of the name without a living owner is replaced */
	int hugepages;	  /* non-zero: planes of huge pages, of the machine's default size, in a hugetlbfs */
	int32_t numa_node; /* all memory of this NUMA node; -1: any, unless told */
	int64_t group;	   /* numeric group of the files; -1: the process's, unless told */
	uint32_t populate; /* threads that populate the memory, this one included, at most 256; 0: only reserve it */
	/* Which memory the planes have. NULL or "host": the machine's. Else GPUs, with commas between them, a plane on
	 * each: "cuda:N", the Nth that CUDA shows this process; or a UUID as nvidia-smi -L has it ("GPU-...",
	 * "MIG-..."). planes is 0, 1 or their number then, hugepages 0; numa_node, populate and mode are of the segment
	 * alone. */
	const char *pool;
	enum kvshm_export gpu_export; /* of GPU memory; KVSHM_EXPORT_FD unless told */
	kvshm_progress_fn *progress; /* NULL: nobody is told */
	void *progress_arg;
};

void kvshm_create_defaults(struct kvshm_create_options *options);

/* Makes the store NAME and owns it. The files (kvshm.NAME and kvshm.NAME.p0, ...; planes of huge pages have theirs in
 * the hugetlbfs) appear whole or not at all, with all their memory reserved. On success *owner must be given to
 * kvshm_destroy() or kvshm_disown().
 *
 * A store that is replaced (replace_dead) is destroyed first: who is attached to it gets -ESTALE. That may be a store
 * of another version of kvshm, of another boot, or a truncated one, if no client has it.
 *   -EEXIST  a store of the name exists and has a living owner
 *   -EOWNERDEAD  one exists without a living owner: adopt it, or set replace_dead
 *   -EBUSY   one of another version, or a truncated one, can't be replaced: kvshm_error() says who has it
 *   -EPROTO  the name's file is no segment of this layout (set replace_dead), or none at all: it is left alone
 *   -ENOSPC  the file system has no room for it
 *   -ENOMEM  the machine, the node, the control group (compared before anything is reserved), or the pool of huge pages
 *            has not enough memory; kvshm_error() says which, what it has and what is needed
 *   -EACCES  dir, or the hugetlbfs, can't be written   -EPERM  the files can't be given to that group, or memory not be
 *            bound to the node, or a dead store not be removed by this user
 *   -ENOENT  there is no such directory, or no hugetlbfs is mounted
 *   -ENODEV  there is no such NUMA node with memory
 *   -ECANCELED  progress called it off
 *   -ENODEV, -EOPNOTSUPP, -EBUSY, -EPERM, -EIO  also: no driver, no such GPU, or it can't do what is asked:
 *            kvshm_error() says what to do
 *   -EOPNOTSUPP  no membarrier here (set fence), or a file system without O_TMPFILE */
int kvshm_create(const char *name, const struct kvshm_create_options *options, kvshm_owner **owner);

/* Becomes the owner of a sound store whose owner is gone, with all its blocks. The contents and the attached clients
 * stay as they are. dir as above. Of a store in GPU memory (KVSHM_EXPORT_FD) the memory's descriptors come back from
 * whichever client makes a call first: it waits for that, up to 10 s.
 *   -ENOENT  no such store     -EEXIST  it has a living owner      -EUCLEAN  it is not sound: replace it
 *   -ESTALE  it was being destroyed when its owner died; or its GPU memory has gone with it (KVSHM_EXPORT_IPC), or with
 *            the last client: replace it
 *   -ETIMEDOUT  clients that have its GPU memory live, but none made a call: try again
 *   -EPROTO, -EACCES, -EOPNOTSUPP as in kvshm_attach() */
int kvshm_adopt(const char *name, const char *dir, kvshm_owner **owner);

/* Looks for dead clients and recovers them; *recovered (may be NULL): how many were finished by this call. Also looks,
 * once a second, whether the store still has its names, and tells the log, once, when it has lost them: attached
 * clients go on, and nobody new can attach. */
int kvshm_owner_recover(kvshm_owner *owner, unsigned *recovered);

/* Readable when a client wants the descriptors of a store in GPU memory, which it gets from the next
 * kvshm_owner_recover(): an owner that looks at it lets them wait no longer than that. The library's, as that of
 * kvshm_poll_fd(). *fd is -1 where nothing is ever to be done. */
int kvshm_owner_fd(kvshm_owner *owner, int *fd);

/* Tells the log of each pin of a living client that is older than timeout (ns), with owner, request and age, once each;
 * *overdue (may be NULL): how many pins were told by this call. The pins of one request are told together; so are those
 * that a client has on one block without a request. No pin is taken away. They are counted (kvshm-counters(7)). */
int kvshm_owner_look_at_pins(kvshm_owner *owner, uint64_t timeout, unsigned *overdue);

/* Marks the store destroyed (every call of its clients returns -ESTALE from now on, waiters too), removes its names,
 * and frees *owner. The memory goes when the last client has detached; that of KVSHM_EXPORT_IPC goes with the owner,
 * who waits up to 2 s for its clients to detach. */
int kvshm_destroy(kvshm_owner *owner);

/* Gives up the ownership, leaves the store as it is, and frees *owner. Another process may adopt the store. (Not one of
 * KVSHM_EXPORT_IPC: that is marked destroyed, and its memory goes as by kvshm_destroy().) */
int kvshm_disown(kvshm_owner *owner);

/* Removes a store that nobody has: no living owner, no attached client. It may be of any version of kvshm, of another
 * boot, truncated, or only planes that a maker left who died. Nobody can attach while it is being removed. dir as
 * above.
 *   -EBUSY   somebody has it: kvshm_error() says who; nothing was changed
 *   -ENOENT  no such store        -EACCES, -EPERM  this user can't remove it
 *   -EPROTO  the name's file is no kvshm segment: it is left alone */
int kvshm_unlink(const char *name, const char *dir);

/* Removes all stores in dir that nobody has, as kvshm_unlink() does; those that somebody has, and those that this user
 * can't open, are passed over. fn (may be NULL) is called with the name of each that was removed (result 0) and each
 * that could not be (a negative errno; kvshm_error() says why); other than 0 ends it, and is returned.
 *   -ENOENT, -EACCES  dir can't be read */
int kvshm_unlink_dead(const char *dir, int (*fn)(const char *name, int result, void *arg), void *arg);

/* ---- Attaching ------------------------------------------------------------------------------------------- */

struct kvshm_attach_options {
	const char *dir;   /* as above */
	const char *label; /* must equal the store's label; NULL: any */
	const char *name;  /* this client's name, for people; NULL: the program's */
};

/* Attaches the store NAME: maps it, takes a client slot, reserves its row of counts, and recovers dead clients that it
 * finds. options may be NULL. A process may attach a store more than once; each is a client of its own. Where the only
 * free slots are locked for the moment, by processes that come and go, it tries again for up to 50 ms. On success
 * *store must be given to kvshm_detach().
 *   -ENOENT  no such store                  -EACCES  no permission
 *   -EPROTO  not a kvshm segment, or one of another layout or boot; both versions are in kvshm_error()
 *   -EMEDIUMTYPE  another label; both are in kvshm_error()
 *   -ESTALE  it is being destroyed, or was by an owner who died at that
 *   -EUSERS  no client slot is left         -ENOSPC, -ENOMEM  no memory for the row of counts
 *   -EMFILE  256 stores are attached or owned by this process, or no descriptor is left
 *   -EOPNOTSUPP  the store uses membarrier(2) and this process can't
 *   -ENODEV  its planes are in a hugetlbfs that is not mounted here
 * Of a store in GPU memory (KVSHM_EXPORT_FD) it waits up to 5 s for the owner, who hands out what the memory is reached
 * by. Neither a driver nor a GPU is needed before the first call that says so.
 *   -EOWNERDEAD  the owner is dead: adopt the store (kvshmd --adopt)      -ETIMEDOUT  the owner does not answer */
int kvshm_attach(const char *name, const struct kvshm_attach_options *options, kvshm_store **store);

/* Lets go of everything that this client holds (refs and pins; fills and parts are given up, blocks without a key go
 * back, its requests end), gives back its slot, unmaps the store and frees it. No other thread may be in a call with
 * the store, and none may use it afterwards. Works on a destroyed store too. In a child of fork() it returns
 * -ECHILD. */
int kvshm_detach(kvshm_store *store);

struct kvshm_geometry {
	uint64_t block_size;  /* bytes of a block in each plane */
	uint64_t incarnation; /* differs for every store ever made under a name */
	uint32_t blocks;
	uint32_t planes;
	uint32_t key_max;
	uint32_t clients;
	uint32_t requests;
	uint32_t slot; /* this client's slot */
	enum kvshm_retain retain;
};

/* How the store was made, and which slot this client has. */
int kvshm_get_geometry(kvshm_store *store, struct kvshm_geometry *geometry);

/* Which memory a plane has. */
enum kvshm_memory {
	KVSHM_MEMORY_HOST = 0, /* of the machine */
	KVSHM_MEMORY_CUDA = 1, /* of a GPU, as CUDA has it: its addresses are for CUDA's calls and kernels only */
};

#define KVSHM_GPU_SIZE 48 /* of a GPU's name: "GPU-" or "MIG-" and its UUID */

/* A plane as this process sees it. */
struct kvshm_plane_info {
	void *address;		  /* of block 0, at a page's beginning; block n is at n * block_size */
	uint64_t size;		  /* bytes of all blocks: blocks * block_size; mapped up to the end of the last page */
	uint64_t page_size;	  /* of its pages: those of the store's huge pages, or the system's; of a GPU what its
				   * memory is allocated in */
	enum kvshm_memory memory; /* which memory it is */
	int device;		  /* the GPU's ordinal in this process; -1 of host memory */
	char gpu[KVSHM_GPU_SIZE]; /* its UUID, which is the same in all processes; "" of host memory */
};

/* Who owns the store, looked at by the call: an engine that asks now and then knows of the owner's death at once. The
 * store goes on without one (but see KVSHM_EXPORT_IPC). */
struct kvshm_owner_info {
	int alive;
	int32_t pid; /* as the owner saw itself */
};
int kvshm_get_owner_info(kvshm_store *store, struct kvshm_owner_info *info);

/* Where a plane, counted from 0, is mapped, without a hold: for an engine that registers it, whole, with a driver or a
 * NIC, or sees all blocks as one tensor. Who may read and write a block's bytes, and when, is as in kvshm_address(). It
 * stays mapped there until kvshm_detach(), also where the store is destroyed meanwhile, and is missing in children of
 * fork().
 *
 * A plane of GPU memory is mapped by the first call that needs it, in the calling thread's CUDA context, or in its
 * GPU's primary context where it has none, which is not made current. Its address is good in all contexts of its GPU in
 * this process; of KVSHM_EXPORT_IPC in that one context only, which must live until kvshm_detach(). The client is
 * marked as one that does DMA: when it dies, its holds are given back when its whole process has ended.
 *   -EINVAL  there is no such plane
 * of GPU memory, here and in all calls that need it mapped, kvshm_error() says what to do:
 *   -ENODEV  there is no driver, or this process can't see the GPU (CUDA_VISIBLE_DEVICES, MIG, the container)
 *   -EOPNOTSUPP  the driver is too old, or can't import the memory; or others could not see this process's end
 *   -EPERM   importing is not permitted here      -EBUSY  the GPU, or MPS, takes no more processes
 *   -ENOMEM  no GPU memory, or no addresses        -EXDEV  it is mapped in another context already (KVSHM_EXPORT_IPC)
 *   -ECHILD  CUDA was initialized before fork()    -EIO  the context has failed */
int kvshm_get_plane_info(kvshm_store *store, unsigned plane, struct kvshm_plane_info *info);

/* ---- Keys and holds -------------------------------------------------------------------------------------- */

enum kvshm_kind {
	KVSHM_NONE = 0,	  /* no hold: never given one, or released */
	KVSHM_REF = 1,	  /* a ref: the bytes may be read (once the block is ready) */
	KVSHM_PIN = 2,	  /* a pin: a request will come back for the block */
	KVSHM_WRITER = 3, /* the hold of the one who fills the block: the bytes may be written */
	KVSHM_OWNED = 4,  /* the hold of the one who has a block without a key: the bytes may be written */
	KVSHM_PART = 5,	  /* the hold of one who writes a single plane of a shared fill */
	KVSHM_LENT = 6,	  /* a hold of a request, lent to who asked: it ends with the request (below) */
};

/* A hold on a block: the block, its life, and the kind of hold, to be read, but changed by calls only; one of zeros is
 * no hold. It belongs to the client that took it, not to a thread, and ends with the call that releases it, which sets
 * it to KVSHM_NONE. It may be copied and moved, and means nothing to other processes (see struct kvshm_ticket). A
 * handle used after its release, or for an earlier life of the block, gives -EBADF and changes nothing. (Copies of one
 * handle are one hold: it is released once. A client that releases a copy of a released handle while it has another
 * hold of that kind on the same life releases that one; other clients' holds are never touched.) */
struct kvshm_handle {
	uint64_t life;
	uint32_t block;
	uint8_t kind;	  /* enum kvshm_kind */
	uint8_t plane;	  /* of a part; else 0 */
	uint16_t request; /* of a request's: the request's slot + 1; else 0 */
	uint64_t since; /* the library's own: when it was taken, of those whose time is measured */
};

/* What an engine says of a block when it publishes it. */
struct kvshm_meta {
	uint64_t length; /* bytes used in each plane, 0 to block_size */
	uint32_t depth;	 /* position in its sequence; of blocks last used together the deeper are evicted first */
	uint8_t opaque[KVSHM_OPAQUE_SIZE]; /* the engine's own */
};

/* Takes a ref of a key that is ready, to be given to kvshm_release(). A key is 1 to key_max bytes of any value.
 *   -ENOENT  no such key     -EAGAIN  it is being filled; nothing is held
 *   -EMFILE  65,535 refs of it are held here */
int kvshm_get(kvshm_store *store, const void *key, size_t key_length, struct kvshm_handle *ref);

enum kvshm_outcome {
	KVSHM_READY = 0,   /* the key was there: a ref; read it */
	KVSHM_PENDING = 1, /* another is filling it: a ref; kvshm_wait() before reading */
	KVSHM_FILL = 2,	   /* it is yours to fill: write every plane, then kvshm_publish() or kvshm_give_up() */
};

/* Takes a ref of a key, or becomes the one who fills it. Of all who ask for a missing key at the same time exactly one
 * gets KVSHM_FILL; the others hold the same block (other threads of this process, too; and who asks again for what it
 * is filling itself). On success the key is held in every case: the finding and the hold are one step.
 *   -ENOSPC  no room: nothing is free or evictable now, or what is free still waits for a grace period
 *            (kvshm-stat(1) says which). Release something and ask again, or go on without the store
 *   -EMFILE  65,535 refs of it are held here */
int kvshm_get_or_fill(kvshm_store *store, const void *key, size_t key_length, enum kvshm_outcome *outcome,
		      struct kvshm_handle *handle);

/* Publishes a fill: all who wait are woken, and everyone finds the key ready. The bytes of all planes must have been
 * written before the call. The hold becomes a ref, to be given to kvshm_release(): handle->kind is KVSHM_REF
 * afterwards. meta NULL: the whole block, depth 0, opaque zero.
 *
 * Of a shared fill (below) it is one of two things. By the filler (KVSHM_WRITER): meta is as it should be; the block is
 * ready once all parts are. By the writer of a plane (KVSHM_PART, meta NULL): that plane is whole. Whichever comes last
 * makes the block ready; until then the ref is pending, and kvshm_wait() waits for the rest.
 *   -EBADF      the handle is no fill or part of this client's
 *   -ECANCELED  the key was removed or the store cleared before the block was ready; or a shared fill has failed in
 *               another part. The hold has ended and handle is KVSHM_NONE
 *   -EINVAL     meta->length is more than a block; or meta was given with a part; or the block has no key yet (see
 *               kvshm_publish_as()). The hold stays */
int kvshm_publish(kvshm_store *store, struct kvshm_handle *handle, const struct kvshm_meta *meta);

/* Gives up a fill: the key is missing again, those who wait are woken, ask again, and one of them may fill it. A part
 * that is given up (it failed) does so to the whole fill. A block without a key goes back. The hold has ended, and
 * handle is KVSHM_NONE, also where the fill was cancelled meanwhile.
 *   -EBADF      the handle is no fill, part or block without a key of this client's */
int kvshm_give_up(kvshm_store *store, struct kvshm_handle *handle);

/* Waits until a held block is ready, or until the deadline. Looks at the lives of the filler and the writers at least
 * every 10 ms, and recovers them if they are dead. Signals do not end it. Who has fills of its own should end them
 * first: two engines that wait for each other's do so until the deadline.
 *   -ETIMEDOUT  still being filled; the hold stays
 *   -ECANCELED  the fill was given up, its filler or a writer died, the key was removed before it was ready, or (of a
 *               ready block, too) the store was cleared; the hold has ended and ref is KVSHM_NONE: ask again. A lent
 *               hold (below) also ends with its request
 *   -EBADF      neither a ref that this client holds, nor a hold that one of its requests has lent */
int kvshm_wait(kvshm_store *store, struct kvshm_handle *ref, uint64_t deadline);

/* Ends a ref; it is KVSHM_NONE afterwards. The last release of a key in a drop store frees its block.
 * The filler of a shared fill that lets go of its last hold before the block is ready gives the fill up.
 *   -EBADF  not a ref that this client holds
 *   -EBUSY  it is a fill, a part or a block without a key: publish it or give it up; or a request's hold */
int kvshm_release(kvshm_store *store, struct kvshm_handle *ref);

/* Takes a pin of a block that this client holds (ref or pin, ready or pending): it keeps the block as a ref does, and
 * is counted apart. The pin must be given to kvshm_unpin(); held stays as it is.
 *   -EBADF  not held by this client      -EMFILE  4,095 pins of it are held here
 *   -EBUSY  the block has no key yet */
int kvshm_pin(kvshm_store *store, const struct kvshm_handle *held, struct kvshm_handle *pin);

/* Ends a pin; it is KVSHM_NONE afterwards.     -EBADF  not a pin that this client holds */
int kvshm_unpin(kvshm_store *store, struct kvshm_handle *pin);

/* Ends holds of any kind, each in its way: refs are released, pins unpinned, fills (a request's, too), parts and blocks
 * without a key given up. They are KVSHM_NONE afterwards. Those that are so already are passed over, and what a request
 * has lent stays the request's, and as it is. So a program that keeps holds of several kinds ends them all with one
 * call, in a destructor, say. All are tried: the result is the first error, if there was one, and what could not be let
 * go of stays as it was.
 *   -EBADF  this client does not hold one of them (any more): it may be another client's, or another store's */
int kvshm_let_go(kvshm_store *store, struct kvshm_handle *handles, size_t count);

/* Removes a key: it is missing at once, and can be filled anew at once. Its bytes live until the last hold on them
 * ends, as with unlink(2). A fill of it that is under way is cancelled.
 *   -ENOENT  no such key     -EMFILE  65,535 refs of it are held here */
int kvshm_remove(kvshm_store *store, const void *key, size_t key_length);

/* Marks a ready key as used now, so that it is evicted later, without holding it: what it says may be past already.
 *   -ENOENT  no such key     -EAGAIN  it is being filled */
int kvshm_touch(kvshm_store *store, const void *key, size_t key_length);

/* Clears the store: from this one step on, and for all processes, every key that was there is missing, whoever was
 * filling it; so are blocks without a key that were taken before. Bytes live until the last hold on them ends, as with
 * kvshm_remove(): what was held before, by requests too, can go on being read and loaded. So an engine that is reset
 * lets go of what it has matched and not loaded (kvshm_request_release()). For a change of weights: call it when no
 * engine computes with the old ones any more, since what such an engine begins to fill afterwards is found. What was
 * cleared is then given back, block by block, within the call; a death there leaves that to others, and no key comes
 * back.
 *   -EOVERFLOW  the store was cleared 16,777,215 times: make a new one */
int kvshm_clear(kvshm_store *store);

struct kvshm_key {
	const void *bytes; /* NULL with length 0: a key that is not asked for, where a call says so */
	size_t length;
};

/* Why a match ended where it did. */
enum kvshm_next {
	KVSHM_NEXT_NONE = 0,	/* all keys are ready */
	KVSHM_NEXT_MISSING = 1, /* the next key is missing */
	KVSHM_NEXT_FILLING = 2, /* the next key is being filled */
};

/* Takes refs of the longest ready prefix of count keys. refs[0] to refs[*ready - 1] are held afterwards, the rest is
 * untouched; *next says what key *ready is. Keys that are not asked for (bytes NULL, length 0) are passed over as if
 * they were ready, and their refs set to KVSHM_NONE: so an engine chooses the keys that it needs. It never blocks. A
 * call that fails holds nothing, and may have set refs to KVSHM_NONE. Each ref must be given to kvshm_release().
 *   -EMFILE  65,535 refs of one of them are held here */
int kvshm_match(kvshm_store *store, const struct kvshm_key *keys, size_t count, struct kvshm_handle *refs,
		size_t *ready, enum kvshm_next *next);

/* The same for layers that attend to a sliding window: the longest prefix of count keys whose last `window` keys (all
 * of them, if it is shorter) are ready. Only these are held; all other refs are KVSHM_NONE. Earlier keys may be
 * missing. *ready 0: no key is ready, or no run of them is long enough. *next says what key *ready is.
 *   -EINVAL  window is 0    -EMFILE  as above */
int kvshm_match_window(kvshm_store *store, const struct kvshm_key *keys, size_t count, size_t window,
		       struct kvshm_handle *refs, size_t *ready, enum kvshm_next *next);

/* What was published with a held block; all zeros if its fill has failed.
 *   -EBADF  not held by this client    -EAGAIN  it is still being filled, or has no key yet */
int kvshm_get_meta(kvshm_store *store, const struct kvshm_handle *held, struct kvshm_meta *meta);

/* The address of a held block's bytes in a plane: block_size bytes, valid while it is held. Only the holder of a fill,
 * of a block without a key, or of that plane's part may write there, and nobody may read there before the block is
 * ready. plane counts from 0. The address is this process's own; it stays mapped until kvshm_detach(), also where the
 * store is destroyed meanwhile. Of GPU memory it is a CUdeviceptr, mapped as kvshm_get_plane_info() tells, with its
 * errors.
 *   -EBADF  not held by this client      -EINVAL  there is no such plane */
int kvshm_address(kvshm_store *store, const struct kvshm_handle *held, unsigned plane, void **address);

/* Copies bytes of a held block in a plane to, or from, this process's memory, whichever memory the plane has; it
 * returns when the bytes are there. Who may read and write, and when, is as in kvshm_address(). Of GPU memory
 * kvshm_get_plane_info() tells more, with its errors. It goes through a stream of kvshm's own in that context, which
 * must live until kvshm_detach(): it waits for no stream of the program's (what these do with the bytes must be done
 * before), and bears captures. What an engine moves often it moves by kvshm_copy_in() and kvshm_copy_out().
 *   -EBADF  not held by this client; of kvshm_write(): not to be written by it
 *   -EAGAIN  kvshm_read(): it is still being filled, by others
 *   -ECANCELED  kvshm_read(): its fill has failed: there is nothing to be read
 *   -EINVAL  there is no such plane, or the block ends before offset + length */
int kvshm_read(kvshm_store *store, const struct kvshm_handle *held, unsigned plane, uint64_t offset, void *to,
	       uint64_t length);
int kvshm_write(kvshm_store *store, const struct kvshm_handle *held, unsigned plane, uint64_t offset, const void *from,
		uint64_t length);

/* Looks for dead clients and recovers them; *recovered (may be NULL): how many were finished by this call. Attach,
 * kvshm_wait() and a get-or-fill that finds no room do so by themselves. */
int kvshm_recover(kvshm_store *store, unsigned *recovered);

/* ---- Blocks whose key comes later -------------------------------------------------------------------------- */

/* Takes a block that has no key yet: the caller's alone, to be written; nobody else can find or hold it, and it is
 * never evicted. It must be given to kvshm_publish_as() or kvshm_give_up().
 *   -ENOSPC  as in kvshm_get_or_fill() */
int kvshm_alloc(kvshm_store *store, struct kvshm_handle *owned);

enum kvshm_published {
	KVSHM_PUBLISHED = 0,	     /* the owned block has the key: everyone finds it now */
	KVSHM_DUPLICATE = 1,	     /* the key was there: that block is held, and the owned one has gone back */
	KVSHM_DUPLICATE_PENDING = 2, /* the same, but another is filling it: kvshm_wait() before reading */
};

/* Publishes an owned block, whose bytes are written in all planes, under a key. Where it returns 0, a block of that
 * key is held, and handle is a ref of it, to be given to kvshm_release(): perhaps another block, so ask for its
 * address again. meta as in kvshm_publish().
 *   -EINVAL     the key or meta->length is out of range; the block stays the caller's
 *   -EBADF      the handle is no block without a key of this client's
 *   -ECANCELED  the store was cleared since the block was taken, or the key removed while it was published: the block
 *               has gone back, and handle is KVSHM_NONE
 *   -EMFILE     65,535 refs of the block that has the key are held here; the owned block has gone back, and handle is
 *               KVSHM_NONE */
int kvshm_publish_as(kvshm_store *store, struct kvshm_handle *handle, const void *key, size_t key_length,
		     const struct kvshm_meta *meta, enum kvshm_published *published);

/* ---- Tickets, and fills by several processes ---------------------------------------------------------------- */

/* Names a block in one life, in one store: what a scheduler sends to its workers, as bytes in a message of its own. It
 * is no hold, and needs no release; old ones are refused. Its bytes mean something to the library only; they are the
 * same in every process of the node. */
#define KVSHM_TICKET_SIZE 16
struct kvshm_ticket {
	uint8_t bytes[KVSHM_TICKET_SIZE];
};

/* The ticket of a block that this client holds (a ref, a pin, a fill, a part, or what a request has lent).
 *   -EBADF  not held by this client     -EBUSY  the block has no key yet */
int kvshm_get_ticket(kvshm_store *store, const struct kvshm_handle *held, struct kvshm_ticket *ticket);

/* Takes a ref by ticket, without a lookup, to be given to kvshm_release(). As long as anyone holds the block this
 * succeeds, also if its key was removed or the store was cleared meanwhile: a hit of the one who gave out the ticket,
 * and keeps its hold until this call has returned, is a hit here. *outcome is KVSHM_READY or KVSHM_PENDING.
 *   -ENOENT     the block has gone, or holds another key by now; or the ticket is of another store. Where who gave it
 *               out has let go meanwhile (its request was aborted, say), this is ordinary: look the key up
 *   -ECANCELED  its fill was given up, or its filler or a writer died: its bytes are not whole
 *   -EMFILE     65,535 refs of it are held here */
int kvshm_hold(kvshm_store *store, const struct kvshm_ticket *ticket, enum kvshm_outcome *outcome,
	       struct kvshm_handle *ref);

/* As kvshm_get_or_fill(), with its errors, but a fill that it begins (KVSHM_FILL) is shared: each plane is written by
 * a process that joins it, and the filler says with kvshm_publish() what the block is, before or after they are done.
 * The filler may join planes itself. It must keep a hold (the ref that kvshm_publish() leaves, say) until the block is
 * ready: the end of its last one gives the fill up, which is also the way out if a writer never comes. KVSHM_PENDING
 * may also be of a fill that was begun by kvshm_get_or_fill(): that one can't be joined. */
int kvshm_get_or_fill_shared(kvshm_store *store, const void *key, size_t key_length, enum kvshm_outcome *outcome,
			     struct kvshm_handle *handle);

/* Takes part in a shared fill as the writer of one plane, counted from 0. The part ends by kvshm_publish(), which
 * leaves a ref, or kvshm_give_up(); the writer's death before that gives up the whole fill. The ticket may be of any
 * hold of the block: who asked by kvshm_get_or_fill_shared() and got KVSHM_PENDING joins by the ticket of that ref.
 *   -EBUSY      that plane has, or had, a writer
 *   -EALREADY   the block is ready: hold it by its ticket
 *   -EOPNOTSUPP  the fill is not shared
 *   -ENOENT, -ECANCELED, -EMFILE as in kvshm_hold(); -EMFILE also with 15 parts of one block in one client
 *   -EINVAL     there is no such plane */
int kvshm_join(kvshm_store *store, const struct kvshm_ticket *ticket, unsigned plane, struct kvshm_handle *part);

/* ---- Batches ------------------------------------------------------------------------------------------------- */

/* Each is its single form for count items, in order, with one result for each: results[i] is what the single call would
 * have returned, and no item's failure touches another. The return value is 0 if the batch was carried out, whatever
 * came of its items; else nothing was done, and nothing is set. Handles that a failed item would have set are
 * KVSHM_NONE; other results of an item are set only if it succeeded. kvshm_error() is the text of the last item that
 * failed. What several items need is fetched from memory at the same time, so that a batch takes a fraction of the time
 * of single calls. All arrays are the caller's, of count items each; none may be NULL unless count is 0, but for metas
 * where it says so. A batch is not one step: others see its items done one after the other. */
int kvshm_get_batch(kvshm_store *store, const struct kvshm_key *keys, size_t count, struct kvshm_handle *refs,
		    int *results);
int kvshm_get_or_fill_batch(kvshm_store *store, const struct kvshm_key *keys, size_t count,
			    enum kvshm_outcome *outcomes, struct kvshm_handle *handles, int *results);
int kvshm_get_or_fill_shared_batch(kvshm_store *store, const struct kvshm_key *keys, size_t count,
				   enum kvshm_outcome *outcomes, struct kvshm_handle *handles, int *results);
int kvshm_remove_batch(kvshm_store *store, const struct kvshm_key *keys, size_t count, int *results);
int kvshm_touch_batch(kvshm_store *store, const struct kvshm_key *keys, size_t count, int *results);

/* metas NULL: none for any. */
int kvshm_publish_batch(kvshm_store *store, struct kvshm_handle *handles, const struct kvshm_meta *metas, size_t count,
			int *results);
int kvshm_publish_as_batch(kvshm_store *store, struct kvshm_handle *handles, const struct kvshm_key *keys,
			   const struct kvshm_meta *metas, size_t count, enum kvshm_published *published, int *results);
int kvshm_give_up_batch(kvshm_store *store, struct kvshm_handle *handles, size_t count, int *results);
/* Waits for all of them, until the one deadline. */
int kvshm_wait_batch(kvshm_store *store, struct kvshm_handle *refs, size_t count, uint64_t deadline, int *results);
int kvshm_release_batch(kvshm_store *store, struct kvshm_handle *refs, size_t count, int *results);
int kvshm_pin_batch(kvshm_store *store, const struct kvshm_handle *held, size_t count, struct kvshm_handle *pins,
		    int *results);
int kvshm_unpin_batch(kvshm_store *store, struct kvshm_handle *pins, size_t count, int *results);
int kvshm_get_meta_batch(kvshm_store *store, const struct kvshm_handle *held, size_t count, struct kvshm_meta *metas,
			 int *results);
int kvshm_address_batch(kvshm_store *store, const struct kvshm_handle *held, unsigned plane, size_t count,
			void **addresses, int *results);
int kvshm_alloc_batch(kvshm_store *store, size_t count, struct kvshm_handle *owned, int *results);
int kvshm_get_ticket_batch(kvshm_store *store, const struct kvshm_handle *held, size_t count,
			   struct kvshm_ticket *tickets, int *results);
int kvshm_hold_batch(kvshm_store *store, const struct kvshm_ticket *tickets, size_t count, enum kvshm_outcome *outcomes,
		     struct kvshm_handle *refs, int *results);
int kvshm_join_batch(kvshm_store *store, const struct kvshm_ticket *tickets, unsigned plane, size_t count,
		     struct kvshm_handle *parts, int *results);

/* ---- Requests ------------------------------------------------------------------------------------------------ */

/* A request is the name of the holds, and of the room, that an engine's request has: they belong together, and end
 * together. It lives in the store, under the engine's own id (1 to KVSHM_REQUEST_ID_MAX bytes of any value) and attempt
 * number, or without a name, and has one owner: the client that opened it. Its holds are its owner's, so that they end
 * with that one's death, and nobody else's way takes them away.
 *
 *   open      its owner matches, reserves room, and fills
 *   complete  the blocks that it had when its owner said so are ready, and held until its end: others may claim them
 *   ending    another process has asked for its end; its owner has not let go yet
 *   aborted   given up before it was complete, or its owner died; what it held is being let go
 *   closed    it holds nothing. Its id and attempt, if it has these, are remembered until its slot is needed again
 *
 * The rules of its end:
 *
 * - Anybody may end it, from any process, however often: the first one does, all others are told (-EALREADY).
 * - The owner's end lets go of everything at once: room, holds, fills. Nobody may be reading or writing by them then:
 *   who does so in another thread or process has a ref of its own (kvshm_hold(), kvshm_request_claim()).
 * - Another's asks for it. The owner's calls with that request return -ECANCELED then, having let go of its room and
 *   its holds; a call of the owner's that waits for room does so at once, and kvshm_request_complete() within 10 ms.
 *   Only a fill that is under way stays its writer's until it is published (which returns -ECANCELED) or given up: no
 *   block is taken from under a writer. An owner that has nothing to call looks with kvshm_request_tend() when
 *   kvshm_poll_fd() says so.
 * - The owner's death aborts it, and wakes all who wait.
 *
 * The value names one request of one store, in every process, as a ticket names a block; it needs no release. */
struct kvshm_request {
	uint64_t number; /* how many requests its slot has had */
	uint32_t slot;
	uint32_t store; /* the low half of its store's incarnation: one of another store is refused */
};

/* Errors of all calls with a request, not repeated below:
 *   -ECANCELED  it has ended, or its end was asked for: the text says which
 *   -EPERM      the call is its owner's (where it says "owner")
 *   -EBADF      it is no request of this store: of another one, perhaps, that had the name before */

/* Opens a request of so many blocks, as it expects (0 is allowed). Of any number that open one id at the same time
 * exactly one does. id NULL, id_length 0 and attempt 0: one without a name, which nobody finds, and which is like no
 * other. Whoever is given its value may wait for it, claim it and end it like any.
 *   -EEXIST    one of that id is open; kvshm_error() says whose: client slot, process and name
 *   -EALREADY  one of that id and attempt, or a later attempt, has been closed: a late message, or a new attempt that
 *              needs a higher number
 *   -ENFILE    all requests of the store are open (kvshmd --requests) */
int kvshm_request_open(kvshm_store *store, const void *id, size_t id_length, uint32_t attempt, uint32_t blocks,
		       struct kvshm_request *request);

/* Finds a request by its id; of several attempts the last one, also if it is closed.
 *   -ENOENT  none of that id is remembered */
int kvshm_request_find(kvshm_store *store, const void *id, size_t id_length, struct kvshm_request *request);

/* Owner: reserves room for so many blocks, whole or not at all, in order of arrival, and waits for it until the
 * deadline. Fills of the request draw on it. A key that is ready already gives its block back at once, one that another
 * is filling when that one is done; what is left goes back when the request is complete, or ends. In the meantime
 * others' fills that have no room reserved are refused (-ENOSPC): so nobody is overtaken, and parts of rooms do not
 * wait for each other. What a request holds already it keeps while it waits, though: where several have matched, and
 * wait for what the others hold, they do so until a deadline. So let it be one that comes; or reserve before matching.
 * A fill that is given up, or begun by two at the same time, has used its block up.
 *   -E2BIG      the store has fewer blocks than that
 *   -ETIMEDOUT  not granted by the deadline; nothing is held
 *   -EBUSY      it has room, or a place in the line, already: kvshm_request_unreserve() gives it back
 *   -ECANCELED  also: kvshm_request_unreserve() was called in another thread */
int kvshm_request_reserve(kvshm_store *store, const struct kvshm_request *request, uint32_t blocks, uint64_t deadline);

/* Owner: the same for who must not block: takes a place in the line, until the deadline. 0: the room is there.
 *   -EINPROGRESS  in the line: kvshm_request_wait_room() looks, when kvshm_poll_fd() says so. (Who comes first in
 *                 the line and does not look until its deadline, 10 ms at least, holds up the others until then) */
int kvshm_request_queue(kvshm_store *store, const struct kvshm_request *request, uint32_t blocks, uint64_t deadline);

/* Owner: waits until the room is there, at most until the time given.
 *   -EINPROGRESS  not yet    -ETIMEDOUT  its deadline has passed: it has no place any more
 *   -EINVAL       it has no room, and no place in the line */
int kvshm_request_wait_room(kvshm_store *store, const struct kvshm_request *request, uint64_t until);

/* Owner: gives back what is left of the room, or the place in the line. 0 also where there is none. */
int kvshm_request_unreserve(kvshm_store *store, const struct kvshm_request *request);

/* Owner: as kvshm_match(), for a request: the longest ready prefix of the keys is held by the request (a pin each),
 * until it ends, or kvshm_request_release(). Asked again it gives the same holds, not more; asked for other keys it
 * adds theirs, and kvshm_request_keep() lets go of the ones before. Handles from lent[*ready] on stay as they are.
 * lent[i] may be used as a hold (kvshm_address(), kvshm_get_ticket(), ...) while it lasts, and can't be released. It
 * never blocks.
 *
 * A block is held once, however often and by whatever call it was asked for: kvshm_request_release() ends that for all
 * who asked. Who gives out tickets of it takes a ref or a pin of its own (kvshm_pin()) for as long as these may come.
 *
 * KVSHM_NEXT_FILLING: asked again later, that key is ready, or missing, or still being filled: by this request itself,
 * perhaps, or another of this client's, and who waits for its own fill does so in vain. kvshm_poll_fd() tells when to
 * ask again, but for the filler's death; who wants to be told of that holds the key (kvshm_request_get_or_fill()).
 *   -EMFILE  65,535 refs of one of the blocks are held here    -ENOMEM */
int kvshm_request_match(kvshm_store *store, const struct kvshm_request *request, const struct kvshm_key *keys,
			size_t count, struct kvshm_handle *lent, size_t *ready, enum kvshm_next *next);

/* Owner: the request takes a hold of each of these blocks, which this client holds (refs, pins; taken by key, ticket or
 * kvshm_match_window(); ready or pending): as a batch, with a result for each. held stays as it is; lent is as in
 * kvshm_request_match(), and a block that the request holds already gives the same hold. As with a match, each block
 * that is ready gives one of the request's room back: so let what needs no room be held before it is reserved. Of
 * KVSHM_NONE (a key that a match passed over) the result is 0, and lent is so, too. Of a fill or a part of the caller's
 * own kvshm_request_complete() waits for the end: publish it before.
 *   -EBADF   not held by this client           -EBUSY  the block has no key yet
 *   -EMFILE  65,535 refs of it are held here    -ENOMEM */
int kvshm_request_pin(kvshm_store *store, const struct kvshm_request *request, const struct kvshm_handle *held,
		      size_t count, struct kvshm_handle *lent, int *results);

/* Owner: as kvshm_get_or_fill(), for a request. KVSHM_READY, KVSHM_PENDING: the hold is the request's, handle is lent;
 * asked again for a key it gives the same hold. KVSHM_FILL: a fill in room of the request's (any, if it has none), to
 * be given to kvshm_publish(), which makes its hold the request's and handle a lent one; or to kvshm_give_up().
 *   -ENOSPC  as there: the request has no room left    -EMFILE, -ENOMEM as in kvshm_request_match() */
int kvshm_request_get_or_fill(kvshm_store *store, const struct kvshm_request *request, const void *key,
			      size_t key_length, enum kvshm_outcome *outcome, struct kvshm_handle *handle);

/* Owner: the same as kvshm_get_or_fill_shared(). The filler's hold is the request's once it is published: if that one
 * ends, or lets go of it, before the block is ready, the fill is given up, whoever else holds the block. */
int kvshm_request_get_or_fill_shared(kvshm_store *store, const struct kvshm_request *request, const void *key,
				     size_t key_length, enum kvshm_outcome *outcome, struct kvshm_handle *handle);

/* Owner: batches of these (see Batches). */
int kvshm_request_get_or_fill_batch(kvshm_store *store, const struct kvshm_request *request,
				    const struct kvshm_key *keys, size_t count, enum kvshm_outcome *outcomes,
				    struct kvshm_handle *handles, int *results);
int kvshm_request_get_or_fill_shared_batch(kvshm_store *store, const struct kvshm_request *request,
					   const struct kvshm_key *keys, size_t count, enum kvshm_outcome *outcomes,
					   struct kvshm_handle *handles, int *results);

/* Owner: shrinks a request: lets go of these of its holds, which become KVSHM_NONE. Handles that are no hold of its
 * (any more) are passed over, and stay as they are. */
int kvshm_request_release(kvshm_store *store, const struct kvshm_request *request, struct kvshm_handle *lent,
			  size_t count);

/* Owner: lets go of all holds of a request but these lent ones: for who asks again with other keys, and for who is done
 * with all but what it still reads. Fills of its own that are under way stay, and so do those that it has published and
 * that wait for others' parts. Handles in keep that are no hold of its (any more) are passed over; those of holds that
 * end by it lead to nothing any more.
 *   -EBADF  one in keep was lent by another request; nothing is let go of */
int kvshm_request_keep(kvshm_store *store, const struct kvshm_request *request, const struct kvshm_handle *keep,
		       size_t count);

/* Owner: waits, at most until the deadline, until all blocks that it holds are ready, and says that the request is
 * complete. What is left of its room goes back. 0 also where it was complete already: what was added since is not
 * waited for.
 *   -EBUSY        a fill of its own is under way: publish it, or give it up, before
 *   -EINPROGRESS  fewer blocks are held than it was opened with; at once
 *   -EAGAIN       a key that it waited for was given up, or removed, or its filler died: that hold has ended, which its
 *                 handle does not show; ask for all keys again, with the same array of handles. Room for them is
 *                 reserved anew after kvshm_request_unreserve(), where some is left
 *   -ETIMEDOUT    a block is still being filled by another */
int kvshm_request_complete(kvshm_store *store, const struct kvshm_request *request, uint64_t deadline);

/* Owner: looks how far the fills are that the request has begun, or waits for: *pending is how many of its blocks are
 * not ready yet, those counted that are its own to publish. It never blocks, and may be called again and again, also
 * when the request is complete. Who is told of pending ones looks again when kvshm_poll_fd() says so. Where all have
 * been seen ready it looks at no block.
 *   -EAGAIN  one or more of them were given up, or removed, or their filler died: these holds have ended. It is told
 *            once, and not where another call has told it before; *pending is set here, too */
int kvshm_request_settle(kvshm_store *store, const struct kvshm_request *request, uint32_t *pending);

/* Anyone: waits until a request is complete. 0: it was, when the call returned.
 *   -ETIMEDOUT  not yet    -ECANCELED  it has ended: before it was complete, or since */
int kvshm_request_wait(kvshm_store *store, const struct kvshm_request *request, uint64_t deadline);

/* Anyone: takes refs of keys of a request, as kvshm_get_batch() does, each to be given to kvshm_release(). All were
 * taken before the request has let go of anything: in a drop store, too, there is no gap between its holds and these.
 * It puts off the owner's claim timeout (kvshm_request_tend()), whatever came of its keys; the end is still to be asked
 * for. A request that is not complete can be claimed, too: then it takes the keys that are there.
 *   -ECANCELED  it has ended, or its end was asked for; nothing is held */
int kvshm_request_claim(kvshm_store *store, const struct kvshm_request *request, const struct kvshm_key *keys,
			size_t count, struct kvshm_handle *refs, int *results);

/* Anyone: ends a request, see above.
 *   -EALREADY  it has ended, or its end was asked for, before: nothing was changed. (An owner that is told so has let
 *              go of everything then, too) */
int kvshm_request_end(kvshm_store *store, const struct kvshm_request *request);

/* Ends those of this client's requests whose end another process has asked for, and those that have been complete for
 * claim_timeout ns (0: for ever) while nobody has claimed them, or claimed them again: who has claimed one keeps its
 * own refs, and may have died before it asked for the end. *ended (may be NULL): how many. One with a fill under way
 * ends with that fill, and is not counted. */
int kvshm_request_tend(kvshm_store *store, uint64_t claim_timeout, unsigned *ended);

enum kvshm_request_state {
	KVSHM_REQUEST_OPENING = 1,
	KVSHM_REQUEST_OPEN = 2,
	KVSHM_REQUEST_COMPLETE = 3,
	KVSHM_REQUEST_ENDING = 4,
	KVSHM_REQUEST_ABORTED = 5,
	KVSHM_REQUEST_CLOSED = 6,
};

/* What can be told of a request. Times are ns of CLOCK_MONOTONIC. */
struct kvshm_request_info {
	struct kvshm_request request;
	enum kvshm_request_state state;
	int completed;	   /* it has been complete */
	uint32_t attempt;
	uint32_t owner;	   /* the client slot of its owner; KVSHM_NO_SLOT: nonsense */
	int owner_alive;   /* 0 also of a closed one, which is nobody's any more */
	uint32_t expected; /* blocks it was opened with; of one that came from another node, and is complete: without
			    * those of a key that came before, which are held once */
	uint32_t held;	   /* blocks it holds, ready or pending */
	uint32_t fills;	   /* of its own, under way */
	uint32_t room;	   /* blocks that it has reserved and not used */
	uint32_t wanted;   /* blocks that it waits for in the line; else 0 */
	uint32_t ahead;	   /* of those that wait: how many are before it */
	uint32_t claims;
	uint64_t age;	   /* ns since it was opened */
	uint64_t held_age; /* ns since its oldest hold; 0: it has none */
	size_t id_length;  /* 0: it has no name (yet) */
	uint8_t id[KVSHM_REQUEST_ID_MAX];
};

/* Anyone. A moving picture, as of views. */
int kvshm_request_get_info(kvshm_store *store, const struct kvshm_request *request, struct kvshm_request_info *info);

/* ---- On a GPU's streams -------------------------------------------------------------------------------------- */

/* Calls that take effect when a CUDA stream gets there: behind the kernels and copies that were put on it before.
 * stream is a CUstream, or cudaStream_t, of this process; NULL is the legacy default stream of the calling thread's
 * context (or of the primary context of the plane's GPU, where it has none), so of the current device: with several
 * GPUs, cudaSetDevice() comes before, since NULL says nothing of its GPU. Each call puts one thing on the stream,
 * whatever count is. A store in host memory will do, too. Errors of all of them:
 *   -EBUSY   the stream is being captured into a graph, which would do it again and again: end the capture before
 *   -ENODEV, -EOPNOTSUPP, -EIO and others as in kvshm_get_plane_info(); -ENOMEM
 *
 * A context that fails (a kernel that touches what it may not) swallows what is on its streams: these calls then take
 * no effect, and what they would have ended ends with the client. kvshm_detach() waits until all of them have taken
 * effect, or their contexts have failed; so no stream may be waiting for something that only its caller can do. What
 * they come to, where no caller is left to be told, the log is told (kvshm_set_log()), by the next of these calls or
 * kvshm_detach(); that a key was removed meanwhile is ordinary, and only those who wait are told.
 *
 * Batches as above: each item's result is that of taking it over. A failure to put it on the stream is the call's, and
 * changes nothing. results may be NULL where count is 0. */

/* kvshm_publish() of fills and parts. Each handle is a ref (KVSHM_REF) of its block at once, to be given to
 * kvshm_release(): pending until the stream gets there, which kvshm_wait() waits for; that of a request's fill is a
 * lent one (KVSHM_LENT), pending likewise, which kvshm_request_complete() waits for. A request that ends, or lets go of
 * it, before the stream gets there gives the fill up. metas NULL: none for any.
 *   -EBADF, -EINVAL, -EMFILE as in kvshm_publish() and kvshm_pin()
 *   -ECANCELED  the request is over: the fill is given up when the stream gets there, and the handle is KVSHM_NONE */
int kvshm_publish_on(kvshm_store *store, void *stream, struct kvshm_handle *handles, const struct kvshm_meta *metas,
		     size_t count, int *results);

/* kvshm_give_up() of fills, parts and blocks without a key; kvshm_release() of refs. The handles are KVSHM_NONE at
 * once; the blocks are what they were until the stream gets there. */
int kvshm_give_up_on(kvshm_store *store, void *stream, struct kvshm_handle *handles, size_t count, int *results);
int kvshm_release_on(kvshm_store *store, void *stream, struct kvshm_handle *refs, size_t count, int *results);

/* kvshm_request_end(). A request that has ended by then is none the worse.
 *   -EALREADY  it is not remembered any more, since it has ended before */
int kvshm_request_end_on(kvshm_store *store, void *stream, const struct kvshm_request *request);

/* Bytes of a block in a plane, and where they are to go, or come from: an engine's own memory on the plane's GPU, or
 * host memory that is pinned (cuMemHostAlloc(), cuMemHostRegister()), or a host plane that kvshm_register_plane() has
 * registered. */
struct kvshm_piece {
	const struct kvshm_handle *held;
	uint64_t offset; /* in the block */
	void *memory;
	uint64_t length;
};

/* Copies many pieces into blocks of a plane, or out of them, in one call on a stream: small ones all together by a
 * kernel, large ones by the copy engine. It returns when they are on the stream; the holds must last until the stream
 * has got there (kvshm_publish_on(), kvshm_release_on()). Pieces that overlap in what they write are written in no
 * certain order. A plane of host memory is to be registered before (kvshm_register_plane()). The first copy in a
 * context loads the kernel, for which the driver may wait for what is on that context's streams; and the context must
 * live until kvshm_detach(). A failure of the driver's (-EIO, -ENOMEM, ...) may leave some of the pieces on the stream.
 * Where the driver can say so, memory that the GPU can't reach is refused: copying it would ruin the context.
 *   -EXDEV  the stream is of another GPU than the plane or a piece's memory, or of another context than the plane is
 *       mapped in. Nothing is copied
 *   -EFAULT  a piece's memory is neither GPU memory nor pinned host memory (register it, or use kvshm_read() and
 *       kvshm_write()), and the GPU is none that reaches all memory. Nothing is copied
 *   -EBADF  a block is not held by this client; of kvshm_copy_in(): not to be written by it. Nothing is copied
 *   -EINVAL  there is no such plane, or a block ends before offset + length: nothing is copied
 *   -ENOTSUP  a plane of host memory that is not registered */
int kvshm_copy_in(kvshm_store *store, void *stream, unsigned plane, const struct kvshm_piece *pieces, size_t count);
int kvshm_copy_out(kvshm_store *store, void *stream, unsigned plane, const struct kvshm_piece *pieces, size_t count);

/* Registers a plane of host memory with the CUDA driver in this process, until kvshm_detach(): kernels, and copies at
 * full speed, reach it at the addresses that kvshm_address() gives. Again is no error. It pins the plane's pages, and
 * marks the client as one that does DMA (kvshm_get_plane_info()).
 *   -EINVAL  there is no such plane     -EALREADY  it is GPU memory, which needs no registering
 *   -EEXIST  the program has registered that memory itself
 *   -ENODEV, -EOPNOTSUPP, -ENOMEM, -EPERM as in kvshm_get_plane_info() */
int kvshm_register_plane(kvshm_store *store, unsigned plane);

/* ---- Event loops --------------------------------------------------------------------------------------------- */

/* A descriptor for poll(2), epoll(7) and the like: readable when a call that has returned "not yet" in this process
 * may return something else: a block was published or given up, room has come, a request has changed, the end of one
 * of this client's was asked for; and 10 ms after a call returned "not yet", so that deaths are seen, which nobody
 * announces. "Not yet" is: -ETIMEDOUT of kvshm_wait(), kvshm_request_wait() and kvshm_request_complete() with deadline
 * 0, -EINPROGRESS of kvshm_request_queue() and kvshm_request_wait_room(), and what kvshm_request_settle() has pending.
 * (KVSHM_NEXT_FILLING of a match and -EAGAIN of kvshm_get() are not: the end of such a fill makes it readable, too, but
 * 10 ms are not counted from there.)
 * It stays the library's, and is closed by kvshm_detach(): never read from it, or close it.
 *   -EMFILE  no descriptor is left */
int kvshm_poll_fd(kvshm_store *store, int *fd);

/* Makes the descriptor unreadable until there is something new; call it before the calls that look again. It recovers
 * dead clients where 10 ms have passed since the last time. */
int kvshm_poll_clear(kvshm_store *store);

/* ---- Other nodes --------------------------------------------------------------------------------------------- */

/* Blocks go to another node's store, and come from there, over a connection between two processes: one listens, on
 * behalf of its store (kvshmd --listen, mostly), the other connects. The node that has the blocks writes them straight
 * into the blocks of the other one, by RDMA, or over TCP where there is no such device.
 *
 * A transfer is a request of the receiving store, of that id and attempt, which its receiver owns: room for all its
 * blocks is reserved before anything is offered; keys that are there already are held for it and not sent; what is sent
 * can be found by no one before it is whole; and all of it is held until an engine over there has waited for the
 * request, claimed its blocks and asked for its end (kvshm_request_find() and what follows), or nobody did for the
 * receiver's claim timeout. If the sender aborts, is silent for too long, or dies, its fills are given up, and who
 * waits for one of its keys may fill it.
 *
 * What all these calls have in common:
 * - They never wait, but those with a deadline. What is under way goes on within kvshm_peer_work() and
 *   kvshm_listener_work() only, and in those calls that wait: so either is called again whenever its descriptor is
 *   readable, or by a thread that does nothing else.
 * - A peer, its transfers, and a listener may be used by any thread, one at a time: the library sees to it. After
 *   fork() they are -ECHILD, as stores are; so is their connection the parent's alone.
 * - A transfer that has ended otherwise than well says so in every call that would go on with it: they return what it
 *   has ended with. So does one that is being aborted: -ECANCELED.
 * - When a connection is lost, all its transfers end: -ECONNRESET, -ETIMEDOUT, ... whose text says why; the peer is
 *   still to be closed, and a new one may be made at once, from either side (R22).
 *   -ENOTCONN  the connection is lost; kvshm_error() says why and since when
 *   -EOPNOTSUPP  this library was built without RDMA (URLs of tcp work); or this client's end could not be seen by
 *                others, for lack of pidfd_open(2) or /proc (likewise) */
typedef struct kvshm_peer kvshm_peer;
typedef struct kvshm_transfer kvshm_transfer;
typedef struct kvshm_listener kvshm_listener;

/* What a connection is to use. kvshm_net_defaults() fills it. */
struct kvshm_net_options {
	const void *secret;	 /* that both sides share, 16 to 4,096 bytes: each proves that it has it; NULL: none */
	size_t secret_length;
	const char *device;	 /* RDMA device, such as "mlx5_0"; NULL: the one that the address or the route has; of
				  * several that would do, the nearest to the store's memory */
	uint32_t device_port;	 /* of it; 0: any that is active */
	int32_t gid_index;	 /* in that port's table; -1: the address's */
	int32_t traffic_class;	 /* of the IP header; -1: the system's */
	uint64_t timeout;	 /* ns that the other side may be silent, and connecting may take; 10 s unless told */
	uint64_t claim_timeout;	 /* ns that what is complete waits to be claimed; 60 s unless told, 0: for ever. Of
				  * listeners, and of what a peer wants */
	uint64_t fill_timeout;	 /* ns that a transfer which has room may go without a block that is offered, written or
				  * committed; then it is aborted. 300 s unless told, 0: for ever. Of the same */
	int open;		 /* non-zero: listen without a secret where other machines can connect: for tests in
				  * networks of their own */
};

void kvshm_net_defaults(struct kvshm_net_options *options);

/* Listens at URL, [rdma|tcp]://ADDR[:PORT], for peers that fill blocks of the store or want some; PORT is 7471 unless
 * told, 0 any that is free. options may be NULL. On success *listener must be given to kvshm_listener_close() before
 * the store is detached. Its client is marked as one that does DMA: see kvshm_get_plane_info().
 *   -EACCES       no secret, and ADDR is not a loopback address: anyone could write into the store
 *   -EINVAL       URL is none, or it is of TCP, and options name a device, its port or its table of addresses
 *   -EADDRINUSE   another listens there     -EADDRNOTAVAIL  ADDR is none of this machine's
 *   -ENODEV       there is no such RDMA device, or none has that address    -ENETDOWN  its port is down
 *   -ENOMEM       the planes can't be registered: kvshm_error() names the limit
 *   -EOPNOTSUPP   they are in GPU memory that the device can't reach: kvshm_error() says why, and what to do; or this
 *                 library was built without RDMA */
int kvshm_listen(kvshm_store *store, const char *url, const struct kvshm_net_options *options,
		 kvshm_listener **listener);

/* Ends all its connections (fills that are under way are given up, once nothing can be written into them any more),
 * and frees it. */
int kvshm_listener_close(kvshm_listener *listener);

/* Its URL, with the port that it has; size 80 is enough for any. */
int kvshm_listener_url(kvshm_listener *listener, char *url, size_t size);

/* Readable when kvshm_listener_work() has something to do; the library's, as that of kvshm_poll_fd(). */
int kvshm_listener_fd(kvshm_listener *listener, int *fd);

/* Does what there is to do; if nothing is, sleeps until something is, or the deadline has come.
 *   -ETIMEDOUT  nothing was
 *   -ENETDOWN, -ENODEV  its device, port or address went away: close it, and listen again */
int kvshm_listener_work(kvshm_listener *listener, uint64_t deadline);

/* Connects to who listens at URL, and waits until both sides know each other, or the deadline. store: this process's
 * own, from whose blocks is sent, and into which what is wanted comes; NULL: none. Label, block size and number of
 * planes must be the other's. On success *peer must be given to kvshm_disconnect(), before the store is detached.
 *   -ETIMEDOUT, -ECONNREFUSED, -EHOSTUNREACH, -ECONNRESET   nobody (any more), or not there
 *   -EACCES        only one side has a secret, or they differ
 *   -EMEDIUMTYPE   another label; both are in kvshm_error()
 *   -EPROTO        other sizes, another version, or no kvshm: kvshm_error() says which
 *   -ENODEV, -ENETDOWN, -ENOMEM, -EOPNOTSUPP as in kvshm_listen() */
int kvshm_connect(kvshm_store *store, const char *url, const struct kvshm_net_options *options, uint64_t deadline,
		  kvshm_peer **peer);

/* Aborts what is under way, closes the connection, and frees the peer and all its transfers. No other thread may be in
 * a call with them. The other side is told, which may take half a second where it does not take notice. */
int kvshm_disconnect(kvshm_peer *peer);

/* Readable when kvshm_peer_work() has something to do; the library's, as that of kvshm_poll_fd(). */
int kvshm_peer_fd(kvshm_peer *peer, int *fd);

/* Memory that blocks may be written from, beside the planes of the peer's store: registered, once, with the device. It
 * is host memory: a GPU's is sent from where it lies in planes only.
 *   -ENOMEM   kvshm_error() names the limit    -EEXIST  it overlaps memory that is registered
 *   -EFAULT   (register) not all of it is mapped, or it can't be read
 *   -EBUSY    (unregister) a write from it is under way    -ENOENT  (unregister) none is registered at address */
int kvshm_peer_register(kvshm_peer *peer, void *address, size_t size);
int kvshm_peer_unregister(kvshm_peer *peer, void *address);

/* Where a block of a transfer is. */
enum kvshm_sending {
	KVSHM_SENDING_NONE = 0,	     /* not offered yet */
	KVSHM_SENDING_OFFERED = 1,   /* no answer yet */
	KVSHM_SENDING_PENDING = 2,   /* another fills it over there: it may yet be granted, or be there */
	KVSHM_SENDING_GRANTED = 3,   /* it is to be written: kvshm_transfer_write(), then kvshm_transfer_commit() */
	KVSHM_SENDING_COMMITTED = 4, /* its writes are on their way: their sources are not to be changed yet */
	KVSHM_SENDING_SENT = 5,	     /* they have arrived; the sources are the engine's again. The last state */
	KVSHM_SENDING_THERE = 6,     /* it was there, or came from another: nothing is to be written. The last state */
	KVSHM_SENDING_REFUSED = 7,   /* the event's result says why; the others go on. The last state */
};

#define KVSHM_WHOLE_TRANSFER UINT32_MAX

/* What kvshm_peer_work() tells. Of a position it tells the state that it is in now, however many it went through. */
struct kvshm_event {
	kvshm_transfer *transfer;
	void *user;	   /* of the transfer's options */
	uint32_t position; /* of the block; KVSHM_WHOLE_TRANSFER: the transfer's end is told */
	enum kvshm_sending sending; /* of a block */
	int result; /* of a block that was refused; of a transfer: 0, it is complete; or as kvshm_transfer_wait() */
};

/* Does what there is to do; if nothing is, sleeps until something is, or the deadline has come. events (NULL with max
 * 0): what has happened is told, once, as far as there is place; *count: how many. What has no place is told next time.
 *   -ETIMEDOUT  nothing happened (*count is 0)     -ENOTCONN  also after the ends of all transfers were told */
int kvshm_peer_work(kvshm_peer *peer, uint64_t deadline, struct kvshm_event *events, size_t max, size_t *count);

struct kvshm_transfer_options {
	uint32_t attempt; /* of the request, as in kvshm_request_open() */
	uint32_t planes;  /* that are written here: a bit each; 0: all. Others join with the same id and attempt, and
			   * the same keys at the same positions, for the rest */
	uint64_t room_timeout; /* ns that it may wait for room over there; 30 s unless told */
	void *user;	  /* told with its events */
};

void kvshm_transfer_defaults(struct kvshm_transfer_options *options);

/* Opens a transfer of so many blocks, 0 allowed, or joins it. id: as in kvshm_request_open(); NULL and 0: one without a
 * name (nobody can wait for it or join it: it is a put, whose blocks stay in a keep store, and go again in a drop
 * store). Returns at once: blocks may be offered at once, too. It must be given to kvshm_transfer_close(), or goes
 * with its peer.
 *   -E2BIG      the store over there has fewer blocks than that    -EOPNOTSUPP  the other side has no store
 * How it ends (kvshm_transfer_wait(), or its event):
 *   -ETIMEDOUT  no room there until the room timeout; or it had room, and did not go on for the fill timeout there
 *   -ECONNRESET the connection of another sender of the same request was lost over there
 *   -EEXIST, -EALREADY, -ENFILE   as in kvshm_request_open(), over there; -EEXIST also: another sender has the planes;
 *               -EALREADY also: that attempt is complete, perhaps by this sender's own blocks, and not joined any more
 *   -EINVAL     what it was opened with, or its offers, do not fit those of who opened it before */
int kvshm_transfer_open(kvshm_peer *peer, const void *id, size_t id_length, uint32_t blocks,
			const struct kvshm_transfer_options *options, kvshm_transfer **transfer);

/* A block that is offered. */
struct kvshm_offer {
	struct kvshm_key key;
	struct kvshm_meta meta; /* as it is to be published */
};

/* Offers count blocks, for the positions from first on: 0 to blocks - 1, each once. A transfer is complete when all are
 * there. Keys are copied; one that comes for a second position follows the first: it is pending while that one is
 * written, and there afterwards, and held once. The answers are events.
 * A key that is too long for the store over there is refused alone: KVSHM_SENDING_REFUSED, with -EINVAL.
 *   -EINVAL  a position is out of its range, or was offered before, or a key can be no store's; nothing is offered */
int kvshm_transfer_offer(kvshm_transfer *transfer, uint32_t first, const struct kvshm_offer *offers, size_t count);

/* Writes length bytes into a plane of a granted block, from offset on: memory of the store's planes, or registered. The
 * bytes must stay as they are until the block is KVSHM_SENDING_SENT, or the transfer has ended.
 *   -EFAULT  the bytes are in no registered memory    -EINVAL  not granted, not this transfer's plane, beyond a block
 *   */
int kvshm_transfer_write(kvshm_transfer *transfer, uint32_t position, unsigned plane, uint64_t offset,
			 const void *bytes, uint64_t length);

/* These blocks are whole in all planes of this transfer's: all that is to be written was given to
 * kvshm_transfer_write() before. They are published over there once all planes are.     -EINVAL  one is not granted;
 * none is committed */
int kvshm_transfer_commit(kvshm_transfer *transfer, const uint32_t *positions, size_t count);

/* These granted blocks will not come: who waits for one over there may fill it; the transfer ends with -ECANCELED once
 * its other blocks are through.     -EINVAL  one is not granted; none is given up */
int kvshm_transfer_give_up(kvshm_transfer *transfer, const uint32_t *positions, size_t count);

/* Aborts it, at any moment: what is not complete over there is given up, also what was deduplicated is let go of. It
 * ends with -ECANCELED, once the other side has answered: the sources must not be changed before. 0 also where it has
 * ended. */
int kvshm_transfer_abort(kvshm_transfer *transfer);

/* Waits until it is complete over there (0): every block is there, and held for the request, until it is claimed.
 *   -ETIMEDOUT   not yet (or, as its end: no room; kvshm_transfer_look() tells which)
 *   -ECANCELED   it was aborted, here or over there (an engine there has asked for its end), or a block did not come
 *   others       as in kvshm_transfer_open(); -ENOTCONN */
int kvshm_transfer_wait(kvshm_transfer *transfer, uint64_t deadline);

struct kvshm_transfer_info {
	uint32_t blocks;
	uint32_t offered; /* these seven: positions in each state */
	uint32_t pending;
	uint32_t granted;
	uint32_t committed;
	uint32_t sent;
	uint32_t there;
	uint32_t refused;
	uint64_t bytes;	 /* written */
	int ended;	 /* non-zero: it has ended, with: */
	int result;
	int has_request; /* of one that was wanted: request is that of this process's own store */
	struct kvshm_request request;
};

int kvshm_transfer_look(kvshm_transfer *transfer, struct kvshm_transfer_info *info);

/* Frees it; one that is under way is aborted first, and goes on until that is done. */
int kvshm_transfer_close(kvshm_transfer *transfer);

/* Sends blocks that this client holds (refs, pins, what requests have lent; ready), of all planes of the peer's store:
 * a transfer that offers, writes and commits by itself, with the keys, lengths and opaque bytes that they were
 * published with. It takes refs of its own, and lets go of each when it was sent or need not be.
 * A hold that ends meanwhile is the caller's matter only.
 *   -EBADF  one is not held by this client    -EAGAIN  one is still being filled    -EBUSY  one has no key yet
 *   -EINVAL  the peer has no store of its own    -E2BIG, -EOPNOTSUPP as in kvshm_transfer_open() */
int kvshm_send(kvshm_peer *peer, const void *id, size_t id_length, const struct kvshm_transfer_options *options,
	       const struct kvshm_handle *held, size_t count, kvshm_transfer **transfer);

/* Asks the other side for those of these keys that its store has: they come into the peer's own store, under a request
 * of that id and attempt there, which the peer's client owns (kvshm_transfer_look() names it). It is complete when all
 * that the other side has are here; *those that it lacks* are just not among them: claim the request's keys
 * (kvshm_request_claim()), and end it. Keys that are here already are not sent, as far as they are still
 * here once there is room for the whole request.
 *   -EINVAL  the peer has no store of its own    -EOPNOTSUPP  the other side has none */
int kvshm_want(kvshm_peer *peer, const void *id, size_t id_length, const struct kvshm_transfer_options *options,
	       const struct kvshm_key *keys, size_t count, kvshm_transfer **transfer);

/* What is known of the other side, and what went over the connection. */
struct kvshm_peer_info {
	struct kvshm_geometry geometry; /* of its store; zeros: it has none; slot is not set */
	char label[KVSHM_LABEL_MAX + 1];
	char store[KVSHM_NAME_MAX + 1];
	char node[64];
	int32_t pid;
	char device[64]; /* empty: TCP */
	char local[64];
	char remote[64];
	uint64_t bytes_sent;	 /* of blocks and messages */
	uint64_t bytes_received; /* likewise, as far as the device tells: RDMA writes come unseen */
	uint64_t round_trip;	 /* ns, the last one measured; 0: none yet */
	uint32_t transfers;	 /* under way */
	int connected;
};

int kvshm_peer_get_info(kvshm_peer *peer, struct kvshm_peer_info *info);

/* ---- Making keys --------------------------------------------------------------------------------------------- */

#define KVSHM_DERIVED_KEY_SIZE 32

/* Derives a key from a label (the engine's own: model, dtype, layout; NULL: ""), a group (of layers, say) and an
 * engine's hash of hash_size bytes, so that blocks of different labels or groups never share a key. It is BLAKE2b-256
 * (RFC 7693, without a key) of: the 16 bytes "kvshm key v1" and four zeros; the label's length as 8 bytes, and the
 * label; the group as 4 bytes; hash_size as 8 bytes, and the hash; numbers with their low byte first. Needs no store.
 *   -EINVAL  hash is NULL or hash_size is 0, or key is NULL     -ENOSYS  libsodium can't be initialised */
int kvshm_derive_key(const char *label, uint32_t group, const void *hash, size_t hash_size,
		     uint8_t key[KVSHM_DERIVED_KEY_SIZE]);

/* The same for count hashes, each with a result, as in the other batches (see Batches). The keys lie behind each other,
 * without a gap; that of a hash that was refused stays as it is. */
int kvshm_derive_key_batch(const char *label, uint32_t group, const struct kvshm_key *hashes, size_t count,
			   uint8_t (*keys)[KVSHM_DERIVED_KEY_SIZE], int *results);

/* ---- Looking at a store: what the tools use -------------------------------------------------------------- */

/* A view needs no slot, writes nothing, maps nothing, and works on a store whose owner is dead. What it shows of a
 * store at work is a moving picture. A view belongs to one thread at a time. Its calls return -EPROTO for a file that
 * was truncated since it was opened, -EUCLEAN for a head that makes no sense, and -ENOMEM. */
typedef struct kvshm_view kvshm_view;

/* -ENOENT no such store; -EPROTO not a kvshm segment, truncated, or of another layout; -EACCES no permission.
 * dir as in kvshm_create_options. *view must be given to kvshm_view_close(). */
int kvshm_view_open(const char *name, const char *dir, kvshm_view **view);
void kvshm_view_close(kvshm_view *view);

#define KVSHM_NO_SLOT UINT32_MAX

struct kvshm_store_info {
	struct kvshm_geometry geometry; /* slot is not set */
	char name[KVSHM_NAME_MAX + 1];
	char label[KVSHM_LABEL_MAX + 1];
	char maker[24];	       /* version of the library that made it */
	uint64_t segment_size; /* bytes of the segment's file */
	uint64_t epoch;
	int64_t created; /* seconds since 1970 */
	uint32_t layout;
	uint32_t readers;	   /* reader slots */
	uint32_t readers_used;	   /* of these, taken by threads now */
	uint32_t readers_stalling; /* of these, in a section since an earlier epoch: these stall grace periods */
	uint32_t slowest_reader;   /* the reader slot in the oldest section; KVSHM_NO_SLOT: no reader is in one */
	uint32_t slowest_client;   /* the client slot that it belongs to; KVSHM_NO_SLOT: to none */
	uint64_t slowest_epoch;	   /* the epoch that its section began at */
	uint64_t clears;	   /* how often the store was cleared */
	uint32_t clients_alive;	   /* client slots of the living */
	uint32_t clients_dead;	   /* and of those who wait for recovery */
	int32_t owner_pid;	   /* as the owner saw itself; 0: none yet */
	int owner_alive;
	int destroyed;
	int unlinked; /* the file has lost its name */
	int fence;
	uint32_t mode;	    /* of the files */
	uint32_t group;	    /* likewise */
	int32_t numa_node;  /* that its memory is bound to; -1: none */
	uint64_t huge_page; /* size of the planes' huge pages; 0: they have ordinary ones */
	enum kvshm_memory memory; /* of the planes */
	enum kvshm_export gpu_export; /* of planes in GPU memory */
};

int kvshm_view_store(kvshm_view *view, struct kvshm_store_info *info);

/* A plane, as everyone sees it. */
struct kvshm_plane_view {
	unsigned plane;
	enum kvshm_memory memory;
	uint64_t size;		  /* bytes of all blocks */
	uint32_t mapped;	  /* of GPU memory: how many clients have it mapped; else all of them */
	char gpu[KVSHM_GPU_SIZE]; /* as in struct kvshm_plane_info */
};

/* Calls fn for each plane of the store. fn's non-zero result ends the walk and is returned. */
int kvshm_view_planes(kvshm_view *view, int (*fn)(const struct kvshm_plane_view *plane, void *arg), void *arg);

struct kvshm_usage {
	uint64_t free;	/* nobody's */
	uint64_t owned; /* being prepared */
	uint64_t room;	/* reserved by requests */
	uint64_t filling;
	uint64_t ready;
	uint64_t removing;  /* someone looks whether anyone holds it */
	uint64_t doomed;    /* removed, and still held */
	uint64_t grace;	    /* free once a grace period has passed */
	uint64_t unknown;   /* of no state that there is: see kvshm-check(1) */
	uint64_t held;	    /* blocks with a ref or a pin */
	uint64_t pinned;    /* blocks with a pin */
	uint64_t cleared;   /* filling or ready, but from before the last clearing: no key leads to them */
	uint64_t evictable; /* ready and held by nobody */
	uint64_t refs;	    /* of all clients */
	uint64_t pins;
};

int kvshm_view_usage(kvshm_view *view, struct kvshm_usage *usage);

struct kvshm_client_info {
	uint32_t slot;
	int32_t pid; /* as the client saw itself */
	char name[KVSHM_CLIENT_NAME_MAX + 1];
	int64_t attached; /* seconds since 1970 */
	int alive;	  /* 0: dead, and not recovered yet */
	int recovering;	  /* dead, and a process is at its recovery now, or was stopped at it */
	int dma;	  /* it moves blocks' bytes by devices (NICs, GPUs) */
	int waiting;	  /* dead, and what its devices may reach waits until its process has ended. 2: that is of
			   * another pid namespace than the caller, who can't see its end */
	uint64_t refs;
	uint64_t pins;
	uint64_t blocks; /* with a ref or a pin of this client's */
	uint64_t fills;	 /* that it has begun */
	uint64_t parts;	 /* planes that it writes for fills */
	uint64_t owned;	 /* blocks without a key */
	uint32_t planes; /* of GPU memory, that it has mapped: bit n is plane n */
};

/* Calls fn for each attached client, and each dead one that waits for recovery. fn's non-zero result ends the walk and
 * is returned. */
int kvshm_view_clients(kvshm_view *view, int (*fn)(const struct kvshm_client_info *client, void *arg), void *arg);

struct kvshm_counter {
	const char *name; /* in the manner of "evictions" */
	const char *help; /* one line */
	uint64_t value;	  /* since the store was made; it outlasts the clients that counted it */
};

/* Calls fn for each counter; kvshm-counters(7) lists them. view NULL: with values of 0, for who wants to know which
 * there are. */
int kvshm_view_counters(kvshm_view *view, int (*fn)(const struct kvshm_counter *counter, void *arg), void *arg);

/* What a block is and has. Key, length, depth, opaque bytes and planes are 0 while it has no key (yet, or any more: a
 * doomed one still has it). */
struct kvshm_block_info {
	uint32_t block;
	uint32_t depth;
	const char *state; /* "owned", "room", "filling", "ready", "removing", "doomed", "grace"; "unknown": no state */
	uint64_t life;	   /* as in handles */
	uint64_t length;   /* as it was published */
	uint64_t age;	   /* ns since it was taken for a fill; once it was ready, since then; 0 in grace */
	uint64_t refs;	   /* of all clients */
	uint64_t pins;
	uint32_t owner;	   /* the client slot that owns, fills or removes it; KVSHM_NO_SLOT: none */
	uint32_t claimed;  /* planes that have or had a writer: a bit each */
	uint32_t written;  /* planes that are whole: a bit each */
	int cleared;	   /* it is from before the last clearing: no key leads to it */
	size_t key_length; /* 0: it has no key */
	uint8_t key[KVSHM_KEY_MAX];
	uint8_t opaque[KVSHM_OPAQUE_SIZE];
};

/* Calls fn for each block that is not free, in the order of their numbers; as above. */
int kvshm_view_blocks(kvshm_view *view, int (*fn)(const struct kvshm_block_info *block, void *arg), void *arg);

/* Calls fn for each request, the oldest first; closed ones too, while they are remembered. As above. -ENOMEM. */
int kvshm_view_requests(kvshm_view *view, int (*fn)(const struct kvshm_request_info *request, void *arg), void *arg);

/* Pins that came together: those of one request, or those of a client on one block that are of no request. */
struct kvshm_pin_info {
	uint32_t client; /* the slot of their owner */
	int32_t pid;	 /* as it saw itself */
	char name[KVSHM_CLIENT_NAME_MAX + 1];
	uint32_t pins;
	uint64_t age;	 /* ns that one of them, at least, has been held */
	uint32_t block;	 /* KVSHM_BLOCKS_MAX: of a request, and of several blocks */
	uint32_t attempt;
	size_t id_length; /* 0: of no request, or of one without a name */
	uint8_t id[KVSHM_REQUEST_ID_MAX];
};

/* Calls fn for the pins of living clients, the oldest first. As above. -ENOMEM. */
int kvshm_view_pins(kvshm_view *view, int (*fn)(const struct kvshm_pin_info *pins, void *arg), void *arg);

/* A connection to another node, and what went over it. */
struct kvshm_peer_view {
	uint32_t peer;	  /* its entry in the store's table, which has 128 */
	uint32_t client;  /* the slot whose connection it is */
	int32_t pid;	  /* that client's, as it saw itself */
	int alive;	  /* 0: that client is dead */
	int outgoing;	  /* it was made from here */
	char name[KVSHM_CLIENT_NAME_MAX + 1]; /* that client's */
	char transport[8];
	char device[64]; /* "": TCP */
	char local[64];	 /* addresses */
	char remote[64];
	char node[64]; /* as the other side calls itself, and its store */
	char store[KVSHM_NAME_MAX + 1];
	int64_t since;		  /* seconds since 1970 */
	uint64_t round_trip;	  /* ns, the last one; 0: none was measured yet */
	uint64_t round_trip_mean; /* ns */
	/* Since then: kvshm-stat(1) tells what each of them counts. */
	uint64_t requests;
	uint64_t blocks;
	uint64_t bytes;
	uint64_t commits;
	uint64_t deduplicated;
	uint64_t pending;
	uint64_t refused;
	uint64_t aborts;
	uint64_t sent_requests;
	uint64_t sent_blocks;
	uint64_t sent_bytes;
	uint64_t sent_deduplicated;
	uint64_t sent_refused;
	uint64_t sent_wants;
	uint64_t link_sent;
	uint64_t link_received;
	uint64_t windows_bound;
	uint64_t windows_invalidated;
	uint64_t windows_retired;
	uint64_t retries;
	uint64_t round_trips;
	uint64_t round_trips_ns;
};

/* Calls fn for each connection of the store's clients to another node, by their entries. As above. */
int kvshm_view_peers(kvshm_view *view, int (*fn)(const struct kvshm_peer_view *peer, void *arg), void *arg);

#define KVSHM_HISTOGRAM_BUCKETS 37

struct kvshm_histogram {
	const char *name; /* in the manner of "fill" */
	const char *help; /* one line */
	uint64_t count;
	uint64_t sum;				 /* ns */
	uint64_t bucket[KVSHM_HISTOGRAM_BUCKETS]; /* [i]: times below 1,024 * 2^i ns and in no lower bucket; the last
						   * one: all others */
};

/* Calls fn for each histogram; kvshm-counters(7) lists them. As above, also with view NULL. */
int kvshm_view_histograms(kvshm_view *view, int (*fn)(const struct kvshm_histogram *histogram, void *arg), void *arg);

/* What can be told of the store of any version of kvshm: from the first 64 bytes of its segment, and its locks. */
struct kvshm_head_info {
	char name[KVSHM_NAME_MAX + 1];
	char maker[24];	       /* version of the library that made it */
	uint32_t layout;       /* of its segment */
	uint32_t layout_known; /* the one that this library knows: if they differ, nothing more can be told */
	uint64_t segment_size; /* as it was made */
	uint64_t file_size;    /* as it is */
	uint32_t clients_alive;
	int owner_alive;
};

/* -ENOENT, -EACCES as in kvshm_view_open(); -EPROTO: not a kvshm segment of any version. A truncated file has a
 * head as long as 64 bytes are left of it. */
int kvshm_view_head(const char *name, const char *dir, struct kvshm_head_info *info);

struct kvshm_check_result {
	uint64_t unsound; /* findings that nothing explains */
	uint64_t pending; /* what dead clients left and the next recovery takes: not unsound */
	uint64_t leaked;  /* blocks that no living client and no ready key account for, and holds of nobody */
	int quiescent;	  /* no client was alive: everything could be judged */
};

/* Proves from the segment alone that every invariant holds: each key once, chains sound, counts against states, nothing
 * of a dead client after its recovery. It also looks whether the planes' files are there, and as large as they were
 * made; not at their bytes. fn (may be NULL) is called with one line for each finding. On a store at work it reports
 * only what no work in progress can explain. */
int kvshm_view_check(kvshm_view *view, void (*fn)(const char *finding, void *arg), void *arg,
		     struct kvshm_check_result *result);

/* Calls fn with the name of each store in dir, in no order, also of those that kvshm_view_open() will refuse (no
 * permission, another layout, truncated); files that are no kvshm segment are passed over. */
int kvshm_list(const char *dir, int (*fn)(const char *name, void *arg), void *arg);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif /* KVSHM_H */
