/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * Grace periods by epochs, with stores of readers that are delayed until the barrier (readers.inc).
 * stands for shm/epoch.h: kvs_enter(), kvs_leave()
 * stands for shm/epoch.c: kvs_reader_take(), kvs_reader_give_back(), raise_top()
 * stands for shm/epoch.c: alone(), barrier(), kvs_epoch_advance()
 * stands for shm/remove.c: let_go()
 * stands for shm/alloc.c: claim(), age()
 * stands for shm/word.h: kvs_word_aged()
 *
 * Client R removes a block (DOOMED, unlinked, LIMBO of an epoch), advances the epoch, frees and reuses the block; so
 * does client A but for the removal: so two advance at once, and either may be long about it. Reader I comes through
 * the index, reader T by number. Each takes a reader slot at any time, and the readers give theirs back.
 *
 * Shows: a section finds one life of a block, and no other while it goes on, whether it came through the index or by
 * number; also where there was no membarrier because there was no other reader.
 *
 * Left out: counts (a hold is a locked instruction, which drains the buffer: less is delayed); who takes the removal
 * over (one of the CAS to LIMBO succeeds, with an epoch that its own section read); deaths (a dead reader is one that
 * does not go on, until recovery's CAS: slots.pml); the quiet look (quiet_look.pml).
 *
 * check: -DNUMBER=0 two clients, the reader through the index
 * check: -DINDEX=0 two clients, the reader by number
 * check: -DCLIENTS=1 one client, which may be alone, and both readers
 * check: -DFENCE=1 -DCLIENTS=1 fences, no membarrier
 * check: -DGRACE=2 -DNUMBER=0 two epochs are enough for who comes through the index
 * long: -DSECTIONS=2 -DNUMBER=0 two sections
 * long: -DSECTIONS=2 -DINDEX=0 two sections
 * long: -DSECTIONS=2 -DCLIENTS=1 two sections of both readers
 * long: -DFENCE=1 two clients, both readers
 * fault 1: -DFAULT=1 -DCLIENTS=1 no membarrier
 * fault 2: -DGRACE=2 -DFAULT=2 -DINDEX=0 two epochs for who comes by number
 * fault 3: -DFAULT=3 -DNUMBER=0 the epoch of LIMBO is read before the section and the unlink
 * fault 4: -DFAULT=4 -DINDEX=0 LIMBO comes after the section
 * fault 5: -DFAULT=5 -DINDEX=0 the epoch is advanced by an addition in place of the CAS
 * fault 6: -DFAULT=6 -DCLIENTS=1 a reader slot is taken without a fence
 * fault 7: -DFAULT=7 -DCLIENTS=1 the bound of the walks is raised late
 * fault 8: -DFAULT=8 -DGRACE=2 -DNUMBER=0 the look comes before the membarrier (a third epoch makes up for it)
 * fault 9: -DFAULT=9 -DINDEX=0 the epoch is read relaxed
 * fault 10: -DFAULT=10 -DFENCE=1 -DCLIENTS=1 no fence in fence mode
 * fault 11: -DFAULT=11 -DGRACE=2 -DNUMBER=0 the block is in LIMBO before it is unlinked
 * fault 12: -DFAULT=12 -DINDEX=0 the epoch is read before the word: a difference of -1 is a very old one
 */
#ifndef CLIENTS
#define CLIENTS 2
#endif
#ifndef INDEX
#define INDEX 1
#endif
#ifndef NUMBER
#define NUMBER 1
#endif
#include "readers.inc"

byte limbo;				/* the epoch of the block's word */
#define TURN 16				/* where epochs in words begin anew */

/* hide() and let_go() of shm/remove.c, in one section. */
inline remove()
{
#if FAULT == 3
	le = epoch;
#endif
	kvs_enter(R);
	atomic { drain(R); st = DOOMED };
#if FAULT != 11
	linked = 0;
#endif
#if FAULT != 3
	le = epoch;
#endif
#if FAULT == 4
	kvs_leave(R);
#endif
	atomic { drain(R); st = LIMBO; limbo = le; le = 0 };
#if FAULT == 11
	atomic { if :: life == 1 -> linked = 0 :: else fi };
#endif
#if FAULT != 4
	kvs_leave(R)
#endif
}
/* claim(): the epoch only grows, so read behind the word it is as good as if it were read at the CAS. */
proctype Client(byte me)
{
	byte e, le, i, n; bool stalled, lone;

	kvs_reader_take(me);
	if
	:: me == R ->
#if FAULT == 12
		kvs_epoch_advance(R);		/* while A is in its search */
#endif
		remove()
	:: else
	fi;
end:	do
	#if FAULT == 12
	:: e = epoch;
		atomic {
			if
			:: st == LIMBO && (e + TURN - limbo) % TURN >= GRACE ->
				st = READY; limbo = 0; life++; linked = 1
			:: else
			fi
		}
#else
	:: d_step { st == LIMBO && epoch - limbo >= GRACE -> st = READY; limbo = 0; life++; linked = 1 }
#endif
	:: epoch < LAST -> kvs_epoch_advance(me)
	od
}
init {
	atomic {
		run Client(R);
#if CLIENTS == 2
		run Client(A);
#endif
#if INDEX
		run Index();
#endif
#if NUMBER
		run Number()
#endif
	}
}
