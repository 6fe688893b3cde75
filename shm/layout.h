/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * layout.h: what lies where in the segment.
 *
 *   head      one page: frozen part, fingerprint, geometry, label; then the few words that everyone writes
 *   clients   a slot for each client
 *   readers   a reader slot for each thread that is in or between calls, with that thread's counters and histograms
 *   requests  the requests of engines; and, dense, so that a search for one reads little:
 *   ids       a hash of each one's id
 *   places    each one's place in the line for room
 *   peers     connections to other nodes, for people
 *   hints     a bitmap of blocks that may be free
 *   buckets   the index: a link for each
 *   blocks    descriptors
 *   tails     what is longer of their keys
 *   infos     what was published with each block
 *   rows      for each client a row of counts, an entry for each block, and behind these a note for each block of
 *   pins; page aligned, and reserved only while it is used
 *
 * Guarantees: the segment holds indexes, never pointers. What never changes between versions, so that each can tell of
 * any other's store whose it is and whether anyone has it: the first KVS_FROZEN bytes; the names of the files (files.h,
 * pool_host.c); and the bytes of the segment's file that are locked (lock.h): 0 to 1023 by the clients, each that of
 * its slot's number, and 1024 by the owner; in a plane's file, byte 0 by its maker until the segment has its name. The
 * geometry, and which files the planes are, never change after the segment was linked into place; a process copies
 * them to private memory at attach and believes only that copy (F1). Every section starts on a page or cache line of
 * its own.
 *
 * Whatever changes here changes KVS_LAYOUT; kvs_layout_fingerprint() catches who forgets.
 */
#ifndef KVS_LAYOUT_H
#define KVS_LAYOUT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "counters.h"
#include "histograms.h"
#include "word.h"

#define KVS_MAGIC "kvshm\r\n\032" /* as PNG's: notices a transfer as text */
#define KVS_LAYOUT 5U
#define KVS_FROZEN 64
#define KVS_PAGE 4096U	    /* alignment of the sections */
#define KVS_ROW_UNIT 65536U /* of the rows: they are given back in whole pages, which have 64 KiB on some machines */
#define KVS_LINE 64U

#define KVS_NAME_MAX 64
#define KVS_LABEL_SIZE 256
#define KVS_CLIENT_NAME_SIZE 32
#define KVS_KEY_MAX 256
#define KVS_OPAQUE_SIZE 32
#define KVS_CLIENTS_MAX 1024U
#define KVS_PLANES_MAX 32U
#define KVS_READERS_PER_CLIENT 16U
#define KVS_REQUESTS_MAX 4095U /* a place fits into a word's owner */
#define KVS_REQUEST_ID_SIZE 128
#define KVS_PEERS 128U
#define KVS_PEER_TEXT 64
#define KVS_BLOCK_UNIT 512U
#define KVS_BLOCKS_MAX (1U << 30)
#define KVS_NONE UINT32_MAX /* no block, no client */

/* What a store is, fixed at its creation. Counts and sizes are the maker's; offsets follow from them. */
struct kvs_geometry {
	uint64_t size;	     /* of the segment, in bytes */
	uint64_t block_size; /* in each plane */
	uint64_t incarnation;
	uint64_t seed; /* of the hash */
	uint64_t clients_at, readers_at, requests_at, ids_at, places_at, peers_at;
	uint64_t hints_at, buckets_at, blocks_at, tails_at, infos_at, rows_at;
	uint64_t row_size; /* bytes from one row to the next */
	uint32_t blocks;
	uint32_t buckets; /* a power of two, at least blocks */
	uint32_t clients;
	uint32_t readers;
	uint32_t planes;
	uint32_t key_max;
	uint32_t tail;	/* bytes of a key behind its head, as they are kept: 0, or a multiple of 8 */
	uint32_t drop;	/* retain: 0 keep, 1 drop */
	uint32_t fence; /* 0: membarrier, 1: readers fence */
	uint32_t requests;
};

/* Which memory the planes have, and how processes come by it where it is a GPU's. */
enum kvs_memory_kind { KVS_MEMORY_HOST = 0, KVS_MEMORY_CUDA = 1 };
enum kvs_export {
	KVS_EXPORT_FD = 0,  /* as file descriptors, which the owner hands out, and which keep the memory */
	KVS_EXPORT_IPC = 1, /* by the handles below; the memory is gone with the owner */
};
#define KVS_UUID_SIZE 16
#define KVS_IPC_HANDLE_SIZE 64

/* Where the planes are, fixed as well. */
struct kvs_plane_files {
	uint32_t memory; /* enum kvs_memory_kind */
	uint32_t export; /* enum kvs_export */
	/* Of host memory, 0: they lie beside the segment; else in the hugetlbfs of that device and page size. Of a
	 * GPU's: what its memory is allocated in. */
	uint64_t page;
	union {
		struct { /* host: the inodes that belong to it, so that another store's file of that name is noticed */
			uint64_t device[KVS_PLANES_MAX];
			uint64_t inode[KVS_PLANES_MAX];
		};
		uint8_t uuid[KVS_PLANES_MAX][KVS_UUID_SIZE]; /* GPU: which; ordinals differ between processes */
	};
	uint8_t handle[KVS_PLANES_MAX][KVS_IPC_HANDLE_SIZE]; /* of KVS_EXPORT_IPC */
};

/* What the word of a store's state has: one of these two, */
enum kvs_store_state { KVS_STORE_OPEN = 1, KVS_STORE_DESTROYED = 2 };
#define KVS_STORE_STATE 3U
/* and what every call of an open store is to look at, which costs the others nothing: */
#define KVS_STORE_ASKS 4U     /* a new owner asks for the planes' descriptors, which died with the old one */
#define KVS_STORE_WATCHED 8U  /* the planes go with the owner: does it live? Fixed */
#define KVS_STORE_BITS (KVS_STORE_STATE | KVS_STORE_ASKS | KVS_STORE_WATCHED)

static inline int kvs_store_is_open(uint32_t state)
{
	return (state & KVS_STORE_STATE) == KVS_STORE_OPEN;
}

/* What the line for room has, at most: see room.c. */
enum kvs_line { KVS_LINE_EMPTY = 0, KVS_LINE_GATHERS = 1, KVS_LINE_SLEEPS = 2 };

/* Its padding keeps what is written often off the lines of what is read often. */
struct kvs_head { // NOLINT(clang-analyzer-optin.performance.Padding)
	/* Frozen: any version can read these 64 bytes of any other's segment. */
	char magic[8];
	uint32_t layout;
	uint32_t frozen_reserved;
	uint64_t size;
	char maker[24];
	char frozen_rest[16];

	uint64_t fingerprint; /* of the structs' sizes and offsets */
	uint8_t boot_id[16];  /* a segment in a file that outlived a boot has no living process behind its slots */
	int64_t created;      /* seconds since 1970 */
	struct kvs_geometry geometry;
	struct kvs_plane_files planes;
	int32_t plane_node;  /* the NUMA node that they are bound to, or -1 */
	uint32_t plane_reserved;
	char label[KVS_LABEL_SIZE];

	/* Read by every call, written almost never. */
	_Alignas(128) _Atomic uint32_t state; /* enum kvs_store_state, and bits */
	_Atomic uint32_t readers_top;	      /* no reader slot from here on was ever used */
	_Atomic uint64_t epoch;
	_Atomic uint64_t floor;	    /* the clear count, as the lowest life that is not cleared: see clear.h */
	_Atomic uint8_t generation; /* of the stamps: see evict.c. Relaxed: a hint */
	_Atomic int32_t owner_pid;  /* for people, so relaxed; the lock decides whether the owner lives */
	_Atomic uint32_t asks;	    /* how often owners have asked for the planes' descriptors: see gpu/share.h */

	/* Hints of the allocator, written at fills. Relaxed: the blocks' words decide. */
	_Alignas(128) _Atomic uint64_t free_hand; /* where to look for a free block */
	_Atomic uint64_t evict_hand;
	_Atomic uint64_t ticks;	   /* fills so far, from which the generations come */
	_Atomic int64_t idle;	   /* about how many blocks are FREE or LIMBO */
	_Atomic uint32_t pressure; /* a fill has found no idle block: evict ahead from now on */
	_Atomic uint32_t line;	   /* enum kvs_line. Its tag tells the order */

	/* Written by requests. */
	_Alignas(128) _Atomic uint64_t line_next; /* the next number in the line; relaxed: that they differ counts */
	_Atomic uint32_t room_bell;		  /* goes up when a block becomes idle while there is a line: a futex */
	_Atomic uint32_t listening;		  /* somebody may listen by a descriptor: see wait.h */
	_Atomic uint64_t request_hand;		  /* which slot the next request tries first: a hint, so relaxed */
	_Atomic uint64_t pins_overdue;		  /* a counter of the owner's, which has no reader slot; relaxed */
};

/* What a client slot's word says; its other bits are 0. */
enum kvs_slot_state {
	KVS_SLOT_EMPTY = 0, /* nobody's, and its row is not reserved */
	KVS_SLOT_IDLE = 1,  /* nobody's; its row may be reserved, holds nothing, and is not read any more */
	KVS_SLOT_LIVE = 2,  /* a client's, who is alive if it has its lock: else it waits for recovery */
};

/* Does a slot's client do DMA? Its devices may reach its blocks until its process has ended, which is later than its
 * lock falls: see recover.h. */
enum kvs_dma {
	KVS_DMA_NONE = 0,
	KVS_DMA_DOES = 1,
	KVS_DMA_WAITS = 2, /* it is dead, and all has been given up but what its devices may reach: that waits */
	KVS_DMA_ENDED = 3, /* a recoverer has seen that its process has ended: any recovers the rest */
};

struct kvs_client {
	_Alignas(128) _Atomic uint64_t word;
	/* For people, so relaxed. The name is no atomic: it is read by pread(2) only, and may be torn just after the
	 * slot became LIVE. */
	_Atomic int32_t pid;
	_Atomic uint32_t listens; /* by a descriptor: see wait.h */
	_Atomic int64_t attached; /* seconds since 1970 */
	char name[KVS_CLIENT_NAME_SIZE];

	/* Of one that does DMA; written by it before it does any, and by its recoverers. Relaxed: who reads them is
	 * behind the fall of its lock, and of that of the recoverer before; other looks are hints. */
	_Atomic uint64_t started, home; /* struct kvs_process, with pid */
	_Atomic uint32_t dma;		/* enum kvs_dma */
	_Atomic uint32_t planes;	/* of a GPU's memory, that it has mapped: a bit each. For people, so relaxed */
};

/* A thread's reader slot: the epoch that its section entered at, 0 outside; whose it is; and what the thread counts.
 * One thread writes it, so counting needs no locked instruction; counters are never set back, so they outlast it. */
struct kvs_reader {
	_Alignas(128) _Atomic uint64_t epoch;
	_Atomic uint32_t owner; /* 0 nobody's; else slot + 1, with KVS_READER_RECOVERER if a recoverer of it has it */
	uint32_t reserved;
	/* Relaxed: written by one thread, read by people; whose turn it is, the owner says. */
	_Atomic uint64_t counters[KVS_COUNTERS];
	_Atomic uint64_t times[KVS_HISTOGRAMS][KVS_HISTOGRAM_CELLS];
};
#define KVS_READER_RECOVERER (1U << 31)

/* A request: see requests.h. */
#define KVS_REQUEST_ID_WORDS (KVS_REQUEST_ID_SIZE / 8)
struct kvs_request {
	_Alignas(128) _Atomic uint64_t word;
	_Atomic uint32_t bell; /* goes up when its place in the line, or it, has changed: a futex */
	uint32_t reserved;

	/* The owner's to write, and relaxed: deadline and wanted before it takes a place, whose word releases them; the
	 * id and attempt while it is CLAIMED, which the word's next change releases; all else is for people. */
	_Atomic uint64_t deadline; /* of its place in the line: CLOCK_MONOTONIC ns */
	_Atomic uint32_t wanted;   /* blocks that it waits for */
	_Atomic uint32_t attempt;
	_Atomic uint32_t id_length;
	_Atomic uint32_t expected;
	_Atomic uint64_t id[KVS_REQUEST_ID_WORDS]; /* words, since it is read while it may be written: who does looks
						    * at the request's word before and behind */
	_Atomic uint32_t held, fills, room;
	_Atomic uint64_t claims; /* 31..0 how often others have claimed it    63..32 the low half of its number */
	_Atomic uint64_t opened, completed, held_since; /* CLOCK_MONOTONIC ns; 0: not yet */
	_Atomic uint64_t claimed; /* likewise: when it was last claimed, by others: one that is late puts off an end */
};

enum kvs_peer_state {
	KVS_PEER_FREE = 0,
	KVS_PEER_TAKEN = 1, /* its owner writes what it is */
	KVS_PEER_USED = 2,
};

/* A connection to another node: see peers.h. */
struct kvs_peer {
	_Alignas(128) _Atomic uint64_t word;
	/* All else is its owner's, for people: relaxed, and texts are read by pread(2) only. */
	_Atomic int64_t since; /* seconds since 1970 */
	_Atomic uint64_t round_trip; /* ns: the last one */
	_Atomic uint32_t outgoing;
	char transport[8];
	char device[KVS_PEER_TEXT];
	char local[KVS_PEER_TEXT];
	char remote[KVS_PEER_TEXT];
	char node[KVS_PEER_TEXT];
	char store[KVS_NAME_MAX + 1];
	_Atomic uint64_t counters[KVS_PEER_COUNTERS];
};

/* A block's descriptor: one line. A key of up to KVS_KEY_HEAD bytes shares it with all else that a lookup reads; the
 * rest of a longer one is in the section of tails, so that descriptors lie as close as they can. */
#define KVS_KEY_HEAD 32U
struct kvs_block {
	_Alignas(KVS_LINE) _Atomic uint64_t word;
	_Atomic uint64_t life;
	_Atomic uint64_t holders; /* bit slot % 64 of each client that has held it in this life; bits are only set */
	_Atomic uint32_t next;	  /* the index link */
	_Atomic uint16_t key_length; /* as the key: relaxed */
	_Atomic uint8_t stamp; /* the generation in which it was last released: a hint for eviction, so relaxed */
	uint8_t reserved;
	uint8_t key[KVS_KEY_HEAD]; /* its owner's until the word is FILLING, which releases it; not changed then */
};

/* What lookups do not need: a section of its own, so that they find more descriptors in fewer pages. */
struct kvs_block_info {
	uint64_t length; /* as opaque: the filler's until it sets its bit in written, which releases it */
	_Atomic uint32_t depth;	  /* the same, but also a hint for eviction: hence an atomic, and relaxed */
	_Atomic uint32_t claimed; /* planes that have a writer: a bit each */
	_Atomic uint64_t written; /* parts that are whole: a bit for each plane, and the filler's: see part.h */
	/* Relaxed: a statistic. */
	_Atomic uint64_t since; /* CLOCK_MONOTONIC ns: when its fill began; once it is ready, when it became so */
	uint8_t opaque[KVS_OPAQUE_SIZE];
};

/* What the maker of a store asks for. */
struct kvs_shape {
	uint64_t block_size;
	uint32_t blocks, planes, key_max, clients, requests;
	uint32_t drop, fence;
};

/* Computes the geometry of a shape (incarnation and seed are left at 0). 0, or -EINVAL if a number is out of range. */
int kvs_layout_make(const struct kvs_shape *shape, struct kvs_geometry *geometry);

/* Does the geometry follow from its own numbers, inside a file of that many bytes? 0 or -EUCLEAN. (F1) */
int kvs_layout_check(const struct kvs_geometry *geometry, uint64_t file_size);

/* The bytes of a plane's file: all its blocks, in whole pages (page 0: ordinary ones). */
uint64_t kvs_layout_plane(const struct kvs_geometry *geometry, uint64_t page);

/* Differs between two builds whose structs differ. */
uint64_t kvs_layout_fingerprint(void);

#endif
