/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * A client's row: reserved before its slot is LIVE, and given back once no section reads it any more.
 * stands for shm/client.h: kvs_client_has_row()
 * stands for shm/client.c: try_slot(), move_in(), kvs_client_leave(), outlived(), trim_row(), kvs_client_trim()
 * stands for shm/hold.c: counts_of()
 * stands for shm/epoch.c: kvs_epoch_quiet(), kvs_epoch_advance()
 *
 * One slot. Its client leaves, and others move in, one after the other, each of which leaves too, or dies. A trims
 * the row, twice if need be; R advances the epoch meanwhile, whenever it likes. I looks at the row in a section if it
 * saw the slot LIVE, and stays as long as it likes; its stores are delayed until the barrier (readers.inc).
 *
 * Shows: [row-reserved] who saw the slot LIVE in its section finds the row reserved until it leaves; the row of a
 * LIVE slot is reserved, also of a dead client's; an EMPTY slot's is not: no memory is lost.
 *
 * Left out: what is in the row, recovery but for its last step, and the flagged reader slots of trimmers who died,
 * which are outside of sections (all in slots.pml). A's advances go on where one has failed: the epoch decides at the
 * end.
 *
 * check: -O2 -DLAST=5 the row is given back after a quiet look, or three advances, while another advances
 * check: -DSECTIONS=2 -DADVANCES=0 -DTENANTS=3 two sections, three clients, and nobody else who advances
 * long: -DLAST=6 four epochs pass
 * fault 1: -DFAULT=1 no membarrier
 * fault 8: -DFAULT=8 the look comes before the membarrier
 * fault 11: -DFAULT=11 nobody waits for sections
 * fault 12: -DFAULT=12 LIVE before the row is reserved
 * fault 13: -DFAULT=13 the trim does not look again whether the slot is idle, behind its lock
 * fault 14: -DFAULT=14 the trim takes no lock
 * fault 15: -DFAULT=15 one advance is taken for enough
 * fault 16: -DFAULT=16 the epoch is one that the client noted before it left
 * fault 17: -DFAULT=17 EMPTY before the row is given back, where the trimmer may die
 */
#ifndef ADVANCES
#define ADVANCES 1
#endif
#ifndef TENANTS
#define TENANTS 2	/* the first is there already */
#endif
#define INDEX 0
#define NUMBER 0
#include "readers.inc"

mtype = { EMPTY, IDLE, LIVE };
mtype word = LIVE;			/* struct kvs_client */
bool reserved = 1, locked = 1;
byte came = 1;				/* tenants so far */
byte noted;				/* fault 16 */

/* Dies: the lock falls. */
inline may_die() { if :: locked = 0; goto end :: skip fi }

proctype Tenants()
{
	bool lives = 1;

	do
	:: lives ->
		assert(reserved);
#if FAULT == 16
		noted = epoch;
#endif
		if
		:: word = IDLE				/* kvs_client_leave() */
		:: skip					/* dies */
		fi;
		lives = 0;
		locked = 0
	:: !lives && word == LIVE ->			/* recover_one() */
		if
		:: atomic { !locked -> locked = 1 }
		:: locked -> goto end
		fi;
		assert(reserved);
		word = IDLE;				/* finish() */
		locked = 0
	:: !lives && word != LIVE && came < TENANTS ->	/* try_slot(): its second look can't differ here */
		if
		:: atomic { !locked -> locked = 1 } -> came++
		:: locked -> goto end
		fi;
		assert(word != EMPTY || !reserved);
		word = IDLE;
#if FAULT == 12
		word = LIVE;
#endif
		may_die();
		reserved = 1;
		may_die();
		word = LIVE;
		lives = 1;
end:		skip
	:: !lives && word != LIVE && came == TENANTS -> break
	od
}
/* Leaves in done whether the sections have ended that saw the slot LIVE. */
inline outlived()
{
#if FAULT == 16
	from = noted;
#else
	from = epoch;
	kvs_epoch_quiet(A);
	done = !stalled;
	stalled = 0;
#endif
#if FAULT != 16
	do
	:: !done && tries < GRACE && epoch < LAST -> kvs_epoch_advance(A); tries++
	:: else -> break
	od;
#endif
#if FAULT == 11
	done = 1;
#elif FAULT == 15
	done = done || epoch - from >= 1;
#else
	done = done || epoch - from >= GRACE;
#endif
	from = 0; tries = 0
}
proctype Trimmer()
{
	byte e, i, n, from, tries; bool stalled, lone, done;

	kvs_reader_take(A);
end:	do
	:: word == IDLE ->
#if FAULT != 14
		if
		:: atomic { !locked -> locked = 1 }
		:: locked -> goto end
		fi;
#endif
		if
#if FAULT == 13
		:: true ->
#else
		:: word == IDLE ->
#endif
			outlived();
			may_die();
			if
			:: done ->
				done = 0;
#if FAULT == 17
				word = EMPTY;
				may_die();
#endif
				reserved = 0;
				may_die();
				word = EMPTY
			:: !done
			fi
#if FAULT != 13
		:: else
#endif
		fi;
		locked = 0
	od
}
proctype Reader()
{
	byte e, s; bool live;

	kvs_reader_take(I);
	for (s : 1 .. SECTIONS) {
		kvs_enter(I);
		live = word == LIVE;
		assert(!live || reserved);		/* counts_of(), as late as it likes */
		live = 0;
		kvs_leave(I)
	};
	kvs_reader_give_back(I)
}
#if ADVANCES
proctype Advancer()
{
	byte e, i, n; bool stalled, lone;

	kvs_reader_take(R);
end:	do
	:: epoch < LAST -> kvs_epoch_advance(R)
	od
}
#endif
init {
	atomic {
		run Tenants(); run Trimmer(); run Reader();
#if ADVANCES
		run Advancer()
#endif
	}
}
