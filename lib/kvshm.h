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
 *   kvshm_error() gives the text of the calling thread's last error: what is wrong and what to do.
 * - Threads: any thread of any attached process may make any call at any time, but for kvshm_detach(), which must
 *   be the last one on its store. No call may be made from a signal handler.
 * - Fork: a child does not inherit its parent's store. Calls with a store or an owner from before fork() fail with
 *   -ECHILD and change nothing; the child attaches for itself. (vfork() and posix_spawn() are fine. After a raw
 *   clone() without CLONE_VM the calls fail the same way, but the child keeps the parent's descriptors open:
 *   until it ends or calls exec, the parent's death is not seen.)
 * - No call waits for another process, dead, stopped or slow, but kvshm_wait() until its deadline, and kvshm_attach()
 *   as told there.
 * - Deadlines are absolute times of CLOCK_MONOTONIC in nanoseconds; 0 looks once.
 * - The library starts no threads, never prints, never exits, and installs no signal handlers.
 *
 * Errors that every call with a store may return, not repeated below:
 *   -EINVAL     an argument is out of its range (kvshm_error() says which)
 *   -ESTALE     the store was destroyed or replaced; detach, and attach the new one
 *   -ECHILD     the store is from before fork()
 *   -EUSERS     this thread got no reader slot: too many threads of all clients use the store at once
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
#define KVSHM_BLOCK_UNIT 512	 /* a block's size is a multiple of this */
#define KVSHM_BLOCKS_MAX (UINT32_C(1) << 30) /* blocks of one store */

/* An attached store, and a store that this process owns. */
typedef struct kvshm kvshm;
typedef struct kvshm_owner kvshm_owner;

/* ---- What went wrong, and what goes on ------------------------------------------------------------------- */

/* The text of the calling thread's last failed call, in one line without a newline; "" if none failed. It is valid
 * until the thread's next call. Never NULL. */
const char *kvshm_error(void);

/* The library's version, such as "0.1.0". */
const char *kvshm_version(void);

enum kvshm_log_level { KVSHM_LOG_ERROR = 3, KVSHM_LOG_WARNING = 4, KVSHM_LOG_NOTICE = 5, KVSHM_LOG_INFO = 6 };

/* Called with one line, without a newline, for what a program's log should have: recoveries, sizes rounded down. It
 * may be called from any thread that is in a call; it must not call kvshm. */
typedef void kvshm_log_fn(enum kvshm_log_level level, const char *text, void *arg);

/* Sets the process's log callback; NULL: silence, which is the default. Set it before other threads use kvshm. */
void kvshm_set_log(kvshm_log_fn *fn, void *arg);

/* ---- Owning a store -------------------------------------------------------------------------------------- */

/* What the last release of a key does. */
enum kvshm_retain {
	KVSHM_KEEP = 0, /* a cache: the block stays until its room is needed */
	KVSHM_DROP = 1, /* a transfer buffer: the block is freed at once */
};

/* What a new store is to be. kvshm_create_defaults() fills it; set size and block_size, and what else differs. */
struct kvshm_create_options {
	const char *dir;	  /* where stores live; NULL: $KVSHM_DIR, or /dev/shm */
	const char *label;	  /* model, dtype, layout: whatever engines must agree on; NULL: "" */
	uint64_t size;		  /* bytes of each plane, a ceiling: rounded down to whole blocks */
	uint64_t block_size;	  /* bytes of a block in each plane, a multiple of KVSHM_BLOCK_UNIT */
	uint32_t planes;	  /* 1 unless told */
	uint32_t key_max;	  /* bytes of the longest key; 64 unless told */
	uint32_t clients;	  /* processes that can be attached at once; 64 unless told */
	uint32_t mode;		  /* permission bits of the files; 0600 unless told */
	enum kvshm_retain retain; /* KVSHM_KEEP unless told */
	int fence;	  /* non-zero: readers use memory fences, not membarrier(2) (slower; for kernels without) */
	int replace_dead; /* non-zero: a store of the name without a living owner is replaced */
};

void kvshm_create_defaults(struct kvshm_create_options *options);

/* Makes the store NAME and owns it. The files (kvshm.NAME and kvshm.NAME.p0, ...) appear whole or not at all, with
 * all their memory reserved. On success *owner must be given to kvshm_destroy() or kvshm_disown(). A store that is
 * replaced (replace_dead) is destroyed first: who is attached to it gets -ESTALE.
 *   -EEXIST  a store of the name exists and has a living owner
 *   -EOWNERDEAD  one exists without a living owner: adopt it, or set replace_dead
 *   -ENOSPC  the file system has no room for it     -ENOMEM  the machine has no memory for it
 *   -EACCES  dir can't be written                   -ENOENT  there is no such directory
 *   -EPROTO  the name's file is no segment of this layout: it is left alone
 *   -EOPNOTSUPP  no membarrier here (set fence), or a file system without O_TMPFILE */
int kvshm_create(const char *name, const struct kvshm_create_options *options, kvshm_owner **owner);

/* Becomes the owner of a sound store whose owner is gone, with all its blocks. The contents and the attached clients
 * stay as they are. dir as above.
 *   -ENOENT  no such store     -EEXIST  it has a living owner      -EUCLEAN  it is not sound: replace it
 *   -ESTALE  it was being destroyed when its owner died: replace it
 *   -EPROTO, -EACCES, -EOPNOTSUPP as in kvshm_attach() */
int kvshm_adopt(const char *name, const char *dir, kvshm_owner **owner);

/* Looks for dead clients and recovers them; *recovered (may be NULL): how many were finished by this call. */
int kvshm_owner_recover(kvshm_owner *owner, unsigned *recovered);

/* Marks the store destroyed (every call of its clients returns -ESTALE from now on, waiters too), removes its names,
 * and frees *owner. The memory goes when the last client has detached. */
int kvshm_destroy(kvshm_owner *owner);

/* Gives up the ownership, leaves the store as it is, and frees *owner. Another process may adopt the store. */
int kvshm_disown(kvshm_owner *owner);

/* ---- Attaching ------------------------------------------------------------------------------------------- */

struct kvshm_attach_options {
	const char *dir;   /* as above */
	const char *label; /* must equal the store's label; NULL: any */
	const char *name;  /* this client's name, for people; NULL: the program's */
};

/* Attaches the store NAME: maps it, takes a client slot, reserves its row of counts, and recovers dead clients that it
 * finds. options may be NULL. A process may attach a store more than once; each is a client of its own. Where the only
 * free slots are locked for the moment, by processes that come and go, it tries again for up to 50 ms.
 *   -ENOENT  no such store                  -EACCES  no permission
 *   -EPROTO  not a kvshm segment, or one of another layout or boot; both versions are in kvshm_error()
 *   -EMEDIUMTYPE  another label; both are in kvshm_error()
 *   -ESTALE  it is being destroyed, or was by an owner who died at that
 *   -EUSERS  no client slot is left         -ENOSPC, -ENOMEM  no memory for the row of counts
 *   -EMFILE  256 stores are attached or owned by this process, or no descriptor is left
 *   -EOPNOTSUPP  the store uses membarrier(2) and this process can't */
int kvshm_attach(const char *name, const struct kvshm_attach_options *options, kvshm **store);

/* Lets go of everything that this client holds (refs, pins, fills: fills are given up), gives back its slot, unmaps
 * the store and frees it. No other thread may be in a call with the store, and none may use it afterwards. Works on a
 * destroyed store too. In a child of fork() it returns -ECHILD. */
int kvshm_detach(kvshm *store);

struct kvshm_geometry {
	uint64_t block_size;  /* bytes of a block in each plane */
	uint64_t incarnation; /* differs for every store ever made under a name */
	uint32_t blocks;
	uint32_t planes;
	uint32_t key_max;
	uint32_t clients;
	uint32_t slot; /* this client's slot */
	enum kvshm_retain retain;
};

int kvshm_geometry(kvshm *store, struct kvshm_geometry *geometry);

/* ---- Keys and holds -------------------------------------------------------------------------------------- */

enum kvshm_kind {
	KVSHM_NONE = 0,	  /* no hold: never given one, or released */
	KVSHM_REF = 1,	  /* a ref: the bytes may be read (once the block is ready) */
	KVSHM_PIN = 2,	  /* a pin: a request will come back for the block */
	KVSHM_WRITER = 3, /* the hold of the one who fills the block: the bytes may be written */
};

/* A hold on a block: the block, its life, and the kind of hold. It belongs to the client that took it, not to a thread,
 * and ends with the call that releases it, which sets it to KVSHM_NONE. A handle used after its release, or for an
 * earlier life of the block, gives -EBADF and changes nothing. (Copies of one handle are one hold: it is released
 * once. A client that releases a copy of a released handle while it has another hold of that kind on the same life
 * releases that one; other clients' holds are never touched.) */
struct kvshm_handle {
	uint64_t life;
	uint32_t block;
	uint32_t kind; /* enum kvshm_kind */
};

/* What an engine says of a block when it publishes it. */
struct kvshm_meta {
	uint64_t length; /* bytes used in each plane, 0 to block_size */
	uint32_t depth;	 /* position in its sequence; deeper blocks are evicted before shallower ones */
	uint8_t opaque[KVSHM_OPAQUE_SIZE]; /* the engine's own */
};

/* Takes a ref of a key that is ready.
 *   -ENOENT  no such key     -EAGAIN  it is being filled; nothing is held
 *   -EMFILE  65,535 refs of it are held here */
int kvshm_get(kvshm *store, const void *key, size_t key_length, struct kvshm_handle *ref);

enum kvshm_outcome {
	KVSHM_READY = 0,   /* the key was there: a ref; read it */
	KVSHM_PENDING = 1, /* another is filling it: a ref; kvshm_wait() before reading */
	KVSHM_FILL = 2,	   /* it is yours to fill: write every plane, then kvshm_publish() or kvshm_give_up() */
};

/* Takes a ref of a key, or becomes the one who fills it. Of all who ask for a missing key at the same time exactly one
 * gets KVSHM_FILL; the others hold the same block. On success the key is held in every case: the finding and the hold
 * are one step.
 *   -ENOSPC  no room: nothing is free or evictable now, or what is free still waits for a grace period
 *            (kvshm-stat(1) says which)
 *   -EMFILE  65,535 refs of it are held here */
int kvshm_get_or_fill(kvshm *store, const void *key, size_t key_length, enum kvshm_outcome *outcome,
		      struct kvshm_handle *handle);

/* Publishes a fill: all who wait are woken, and everyone finds the key ready. The bytes of all planes must have been
 * written before the call. The hold becomes a ref: handle->kind is KVSHM_REF afterwards. meta NULL: the whole block,
 * depth 0, opaque zero.
 *   -EBADF      the handle is no fill of this client's
 *   -ECANCELED  the key was removed meanwhile; the hold has ended and handle is KVSHM_NONE */
int kvshm_publish(kvshm *store, struct kvshm_handle *handle, const struct kvshm_meta *meta);

/* Gives up a fill: the key is missing again, those who wait are woken, ask again, and one of them may fill it. The
 * hold has ended.
 *   -EBADF      the handle is no fill of this client's */
int kvshm_give_up(kvshm *store, struct kvshm_handle *handle);

/* Waits until a held block is ready, or until the deadline. Looks at the life of the filler at least every 10 ms, and
 * recovers it if it is dead.
 *   -ETIMEDOUT  still being filled; the hold stays
 *   -ECANCELED  the fill was given up, or its filler died, or the key was removed; the hold has ended and ref is
 *               KVSHM_NONE: ask again
 *   -EBADF      not a ref that this client holds */
int kvshm_wait(kvshm *store, struct kvshm_handle *ref, uint64_t deadline);

/* Ends a ref. The last release of a key in a drop store frees its block.
 *   -EBADF  not a ref that this client holds   -EBUSY  it is a fill: publish it or give it up */
int kvshm_release(kvshm *store, struct kvshm_handle *ref);

/* Takes a pin of a block that this client holds (ref or pin, ready or pending): it keeps the block as a ref does, and
 * is counted apart.
 *   -EBADF  not held by this client      -EMFILE  4,095 pins of it are held here */
int kvshm_pin(kvshm *store, const struct kvshm_handle *held, struct kvshm_handle *pin);

/* Ends a pin.     -EBADF  not a pin that this client holds */
int kvshm_unpin(kvshm *store, struct kvshm_handle *pin);

/* Removes a key: it is missing at once, and can be filled anew at once. Its bytes live until the last hold on them
 * ends, as with unlink(2). A fill of it that is under way is cancelled.
 *   -ENOENT  no such key     -EMFILE  65,535 refs of it are held here */
int kvshm_remove(kvshm *store, const void *key, size_t key_length);

struct kvshm_key {
	const void *bytes;
	size_t length;
};

/* Why a match ended where it did. */
enum kvshm_next {
	KVSHM_NEXT_NONE = 0,	/* all keys are ready */
	KVSHM_NEXT_MISSING = 1, /* the next key is missing */
	KVSHM_NEXT_FILLING = 2, /* the next key is being filled */
};

/* Takes refs of the longest ready prefix of count keys. refs[0] to refs[*ready - 1] are held afterwards, the rest is
 * untouched; *next says what key *ready is. It never blocks. A call that fails holds nothing, and
 * may have set refs to KVSHM_NONE.
 *   -EMFILE  65,535 refs of one of them are held here */
int kvshm_match(kvshm *store, const struct kvshm_key *keys, size_t count, struct kvshm_handle *refs, size_t *ready,
		enum kvshm_next *next);

/* What was published with a held block; all zeros if its fill was given up.
 *   -EBADF  not held by this client    -EAGAIN  it is still being filled */
int kvshm_get_meta(kvshm *store, const struct kvshm_handle *held, struct kvshm_meta *meta);

/* The address of a held block's bytes in a plane: block_size bytes, valid while it is held. Only the holder of a fill
 * may write there.     -EBADF  not held by this client */
int kvshm_address(kvshm *store, const struct kvshm_handle *held, unsigned plane, void **address);

/* Looks for dead clients and recovers them; *recovered (may be NULL): how many were finished by this call. Attach,
 * kvshm_wait() and a get-or-fill that finds no room do so by themselves. */
int kvshm_recover(kvshm *store, unsigned *recovered);

/* ---- Looking at a store: what the tools use -------------------------------------------------------------- */

/* A view needs no slot, writes nothing, maps nothing, and works on a store whose owner is dead. What it shows of a
 * store at work is a moving picture. A view belongs to one thread at a time. Its calls return -EPROTO for a file that
 * was truncated since it was opened, -EUCLEAN for a head that makes no sense, and -ENOMEM. */
typedef struct kvshm_view kvshm_view;

/* -ENOENT no such store; -EPROTO not a kvshm segment, truncated, or of another layout; -EACCES no permission.
 * dir as in kvshm_create_options. *view must be given to kvshm_view_close(). */
int kvshm_view_open(const char *name, const char *dir, kvshm_view **view);
void kvshm_view_close(kvshm_view *view);

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
	int32_t owner_pid;	   /* as the owner saw itself; 0: none yet */
	int owner_alive;
	int destroyed;
	int unlinked; /* the file has lost its name */
	int fence;
};

int kvshm_view_store(kvshm_view *view, struct kvshm_store_info *info);

struct kvshm_usage {
	uint64_t free;	/* nobody's */
	uint64_t owned; /* being prepared */
	uint64_t filling;
	uint64_t ready;
	uint64_t removing;  /* someone looks whether anyone holds it */
	uint64_t doomed;    /* removed, and still held */
	uint64_t grace;	    /* free once a grace period has passed */
	uint64_t held;	    /* blocks with a ref or a pin */
	uint64_t pinned;    /* blocks with a pin */
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
	uint64_t refs;
	uint64_t pins;
	uint64_t blocks; /* with a ref or a pin of this client's */
	uint64_t fills;
};

/* Calls fn for each attached client, and each dead one that waits for recovery. fn's non-zero result ends the walk and
 * is returned. */
int kvshm_view_clients(kvshm_view *view, int (*fn)(const struct kvshm_client_info *client, void *arg), void *arg);

struct kvshm_counter {
	const char *name; /* in the manner of "evictions" */
	const char *help; /* one line */
	uint64_t value;	  /* since the store was made; it outlasts the clients that counted it */
};

/* Calls fn for each counter; kvshm-counters(7) lists them. */
int kvshm_view_counters(kvshm_view *view, int (*fn)(const struct kvshm_counter *counter, void *arg), void *arg);

struct kvshm_check_result {
	uint64_t unsound; /* findings that nothing explains */
	uint64_t pending; /* what dead clients left and the next recovery takes: not unsound */
	uint64_t leaked;  /* blocks that no living client and no ready key account for, and holds of nobody */
	int quiescent;	  /* no client was alive: everything could be judged */
};

/* Proves from the segment alone that every invariant holds: each key once, chains sound, counts against states, nothing
 * of a dead client after its recovery. fn (may be NULL) is called with one line for each finding. On a store at work it
 * reports only what no work in progress can explain. */
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
