/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * Reuse after one quiet look, without an advance of the epoch, with stores of readers that are delayed until the
 * barrier (readers.inc).
 * stands for shm/epoch.h: kvs_enter(), kvs_leave()
 * stands for shm/epoch.c: kvs_reader_take(), kvs_reader_give_back(), raise_top()
 * stands for shm/epoch.c: alone(), barrier(), kvs_epoch_quiet()
 * stands for shm/alloc.c: note_waiting(), reap()
 *
 * Client R removes a block (DOOMED, unlinked, LIMBO), and again once it has been reused: in two lives. Both clients
 * note its word where they see it in LIMBO, look whether all readers are outside, and take it by a CAS from the word
 * that they noted. Reader I comes through the index, reader T by number, each once or twice, at any time, and with a
 * reader slot that it takes then and gives back.
 *
 * Shows: a section finds one life of a block, and no other while it goes on; also where there was no membarrier
 * because there was no other reader, and where a block that was noted has had another life since.
 *
 * Left out: the epochs, which go on beside it: what is freed by them is freed by a CAS of the same word (epochs.pml);
 * FREE and OWNED, between which nobody finds the block; counts, deaths, and others that take a removal over, as
 * there.
 *
 * check: -DSECTIONS=2 -DNUMBER=0 two clients, the reader through the index
 * check: -DSECTIONS=2 -DINDEX=0 two clients, the reader by number
 * check: -DSECTIONS=2 -DCLIENTS=1 one client, which may be alone, and both readers
 * check: -DFENCE=1 -DCLIENTS=1 fences, no membarrier
 * long: -DSECTIONS=2 two clients, both readers, two sections each
 * fault 1: -DFAULT=1 -DCLIENTS=1 no membarrier
 * fault 6: -DFAULT=6 -DCLIENTS=1 a reader slot is taken without a fence
 * fault 7: -DFAULT=7 -DCLIENTS=1 the bound of the walks is raised late: a slot is not looked at
 * fault 8: -DFAULT=8 -DCLIENTS=1 the look comes before the membarrier
 * fault 10: -DFAULT=10 -DFENCE=1 -DCLIENTS=1 no fence in fence mode
 * fault 11: -DFAULT=11 -DNUMBER=0 the word is noted after the look
 * fault 12: -DFAULT=12 -DNUMBER=0 the CAS is from the word as it is then, not from the one that was noted
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
#define LIVES 2		/* that end */
#include "readers.inc"

/* hide() and let_go() of shm/remove.c, in one section. */
inline remove()
{
	kvs_enter(R);
	atomic { drain(R); st = DOOMED };
	linked = 0;
	atomic { drain(R); st = LIMBO };
	kvs_leave(R)
}
/* A life's states do not come again: with it the word is the one that was noted. */
inline note()
{
	d_step {
		if
		:: st == LIMBO -> noted = life
		:: else
		fi
	}
}
inline reap(me)
{
#if FAULT != 11
	note();
#endif
	kvs_epoch_quiet(me);
#if FAULT == 11
	note();
#endif
	atomic {
		if
#if FAULT == 12
		:: !stalled && st == LIMBO -> st = READY; life++; linked = 1
#else
		:: !stalled && st == LIMBO && life == noted -> st = READY; life++; linked = 1
#endif
		:: else
		fi;
		noted = 0; stalled = 0
	}
}
proctype Client(byte me)
{
	byte e, noted, i, n; bool stalled, lone;

	kvs_reader_take(me);
end:	do
	:: me == R && st == READY && life <= LIVES -> remove()
#if FAULT == 11
	:: reap(me)
#else
	:: st == LIMBO -> reap(me)
#endif
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
