/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * Reuse after one quiet look, without an advance of the epoch.
 * A remover V takes block 1 out (unlink, then LIMBO); an allocator A notes the word that it sees in LIMBO, issues a
 * membarrier, looks at every reader slot, and takes the block, by a CAS of that word, if it saw each slot at 0.
 * Meanwhile a reader I comes through the index, and one N by number; both enter by a store that may stay in their
 * store buffer until a membarrier, or until they leave.
 * Shows: no section that reached the block in its first life goes on in its second.
 * stands for shm/epoch.h: kvs_enter() kvs_leave()
 * stands for shm/epoch.c: barrier() kvs_epoch_quiet()
 * stands for shm/alloc.c: note_waiting() reap()
 * check: no section that reached the block in its first life goes on in its second
 * fault 1: -DFAULT=1 no membarrier
 * fault 2: -DFAULT=2 the word is noted after the membarrier
 * fault 3: -DFAULT=3 one slot is not looked at
 */
#ifndef FAULT
#define FAULT 0
#endif
mtype = { READY, DOOMED, LIMBO, TAKEN };
mtype st = READY; byte life = 1; bool linked = 1;
bool slot[2], buffered[2];	/* what others see, and what still sits in the store buffer */

inline enter(me) { buffered[me] = 1 }			/* store; no barrier */
inline drain(me) { atomic { if :: buffered[me] -> slot[me] = 1; buffered[me] = 0 :: else fi } }
inline leave(me) { atomic { buffered[me] = 0; slot[me] = 0 } }

proctype Buffer(byte me)				/* the hardware may drain at any time */
{
	do :: drain(me) :: break od
}
proctype I()
{
	bool met;
	enter(0);
	met = linked;
	if :: met -> assert(life == 1); assert(life == 1) :: else fi;	/* as long as it stays inside */
	leave(0)
}
proctype N()
{
	bool ok;
	enter(1);
	atomic { ok = (life == 1 && st != LIMBO && st != TAKEN) };
	if :: ok -> assert(life == 1); assert(life == 1) :: else fi;
	leave(1)
}
proctype V()
{
	st = DOOMED; linked = 0; st = LIMBO
}
proctype A()
{
	bool quiet = 1;
#if FAULT != 2
	st == LIMBO;
#endif
#if FAULT != 1
	atomic { drain(0); drain(1) };				/* membarrier */
#endif
#if FAULT == 2
	st == LIMBO;
#endif
	if :: slot[0] -> quiet = 0 :: else fi;
#if FAULT != 3
	if :: slot[1] -> quiet = 0 :: else fi;
#endif
	if :: quiet -> atomic { st == LIMBO -> st = TAKEN; life = 2 } :: else fi
}
init { atomic { run Buffer(0); run Buffer(1); run I(); run N(); run V(); run A() } }
