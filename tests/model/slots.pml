/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * A client's slot: attaching, detaching, death, recovery by several at once, and the next client.
 * stands for shm/client.c: try_slot(), move_in(), kvs_client_leave(), kvs_client_clear_readers(), trim_row()
 * stands for shm/recover.c: clear_readers(), recover_block(), end_work(), give_back_shared(), finish(), lock_alone()
 * stands for shm/recover.c: recover_locked(), recover_one(), kvs_recover_self()
 * stands for shm/lock.h: kvs_lock_write(), kvs_lock_read(), kvs_lock_drop()
 * stands for shm/epoch.c: kvs_reader_take(), kvs_reader_give_back()
 *
 * C is in the slot at first, and leaves it or dies; D wants it. Each has, when it is in, a reader slot, a hold, and a
 * block that it fills. Q and P recover (once each, or P twice), and may be stopped at any step for as long as they
 * like. X is another client's thread, which takes a reader slot and gives it back. TRIMMER takes the idle slot's
 * lock, and a reader slot in its name, in between. Any DEATHS of them all but X die after any step; the kernel drops
 * their locks then. At the end one more recovers.
 *
 * Shows: while a client has its lock, nobody else changes its hold, its fill, its reader slot or its slot; no
 * recoverer changes a reader slot that another has taken since; when the slot is free, nothing of the one before is
 * left (D1, D2); a row is touched only while the slot is LIVE; if two recoverers are in each other's way, the slot
 * gets free all the same. It is left to the next recovery, which frees it, only where one of them dies or finds no
 * reader slot, or where one who attaches or trims had the lock at that moment, having seen the slot free before its
 * client came, and died.
 *
 * Left out: that the row is reserved (rows.pml); more than one block, and what else recovery heals (each block is
 * walked alone, in a section of its own); epochs (a reader slot is inside, or not); EMPTY (as IDLE here).
 *
 * check: -DDEATHS=1 C is dead, all others go on
 * check: -DDEATHS=1 -DLEAVES=1 -DREADERS=3 -DOTHER=0 one dies, or none
 * check: -DDEATHS=3 -DREADERS=3 -DOTHER=0 C is dead, and two others die
 * check: -DDEATHS=2 -DREADERS=3 -DOTHER=0 -DTWICE=1 P recovers twice
 * check: -DDEATHS=1 -DLEAVES=1 -DVACANT=1 -DREADERS=3 -DOTHER=0 C and D both want the slot, one dies, or none
 * check: -DDEATHS=1 -DREADERS=1 there are too few reader slots
 * check: -DDEATHS=2 -DREADERS=3 -DOTHER=0 -DTRIMMER=1 a trimmer, who may die
 * long: -DDEATHS=2 C is dead, and another dies; X is there
 * long: -DDEATHS=2 -DLEAVES=1 -DREADERS=3 -DOTHER=0 any two die
 * fault 1: -DFAULT=1 -DDEATHS=1 recoverers only look whether the client lives, and lock nothing
 * fault 2: -DFAULT=2 -DDEATHS=1 who can't have the write lock does not let go and ask again
 * fault 3: -DFAULT=3 -DDEATHS=1 a dead client's reader slot is cleared without a CAS
 * fault 4: -DFAULT=4 -DDEATHS=1 a reader slot gets free before its epoch is cleared
 * fault 5: -DFAULT=5 -DDEATHS=2 -DREADERS=3 -DOTHER=0 the last recoverer does not walk once more
 * fault 6: -DFAULT=6 -DDEATHS=2 -DREADERS=3 -DOTHER=0 the last recoverer leaves the reader slots of recoverers alone
 * fault 7: -DFAULT=7 -DDEATHS=1 -DLEAVES=1 -DVACANT=1 -DREADERS=3 -DOTHER=0 no second look behind an attacher's lock
 * fault 8: -DFAULT=8 -DDEATHS=1 -DLEAVES=1 who leaves drops the lock before the slot
 * fault 9: -DFAULT=9 -DDEATHS=1 the last recoverer does not look again behind the write lock
 * fault 10: -DFAULT=10 -DDEATHS=1 a recoverer does not look again behind the read lock
 * fault 11: -DFAULT=11 -DDEATHS=2 -DREADERS=3 -DOTHER=0 -DTRIMMER=1 a dead trimmer's reader slot stays
 */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef DEATHS
#define DEATHS 2
#endif
#ifndef LEAVES
#define LEAVES 0	/* C may leave; else it is dead from the start, which is one of the DEATHS */
#endif
#ifndef READERS
#define READERS 4
#endif
#ifndef TRIMMER
#define TRIMMER 0
#endif
#ifndef OTHER
#define OTHER 1
#endif
#ifndef VACANT
#define VACANT 0	/* nobody is in at first: C wants it too */
#endif
#ifndef TWICE
#define TWICE 0
#endif
#define C 0
#define D 1
#define Q 2
#define P 3
#define M 4		/* the trimmer */
#define Z 5		/* recovers at the end */
#define N 6
#define NOBODY 9

mtype = { IDLE, LIVE };
mtype word = LIVE;		/* struct kvs_client */
byte writer = C;		/* who has the write lock on its byte, */
bool reads[N];			/* and read locks */
bool hold = 1;			/* its row */
bool fills = 1; byte step;	/* a block's word: FILLING by this client's number, or by nobody */
mtype = { FREE, OWN, FLAGGED, OTHERS };
mtype owner[READERS] = FREE;	/* struct kvs_reader: owner, and is the epoch not 0? */
bool inside[READERS];
bool gone[N], ended[N];
bool owed;			/* a recoverer has begun, */
bool excused;			/* but one has died, found no reader slot, or met another's lock */

#define living (writer == C || writer == D)
#define read_by_others(me) ((reads[Q] && me != Q) || (reads[P] && me != P) || (reads[Z] && me != Z))
#define of_slot(r) (owner[r] == OWN || owner[r] == FLAGGED)
#if READERS == 1
#define left of_slot(0)
#elif READERS == 3
#define left (of_slot(0) || of_slot(1) || of_slot(2))
#else
#define left (of_slot(0) || of_slot(1) || of_slot(2) || of_slot(3))
#endif

inline kvs_lock_drop(me)
{
	atomic {
		reads[me] = 0;
		if
		:: writer == me -> writer = NOBODY
		:: else
		fi
	}
}
/* Takes the first free one; i == READERS: there is none. */
inline kvs_reader_take(by)
{
	i = 0;
	do
	:: atomic { i < READERS && owner[i] == FREE -> owner[i] = by; break }
	:: atomic { i < READERS && owner[i] != FREE -> i++ }
	:: atomic { i == READERS -> break }
	od
}
inline kvs_reader_give_back(at)
{
#if FAULT == 4
	owner[at] = FREE;
	inside[at] = 0
#else
	inside[at] = 0;
	owner[at] = FREE
#endif
}
#define of_client(unflagged_only) (owner[j] == OWN || (owner[j] == FLAGGED && !unflagged_only))
/* Of a client and its recoverers, under the write lock. */
inline kvs_client_clear_readers(unflagged_only)
{
	do
	:: atomic { j < READERS && !of_client(unflagged_only) -> j++ }
	:: atomic { j < READERS && of_client(unflagged_only) -> skip };
		kvs_reader_give_back(j)
	:: atomic { j == READERS -> j = 0; break }
	od
}
/* recover_block(), for the client itself or for a dead one. */
inline walk()
{
	atomic { was = fills; at = step; assert(word == LIVE) };
	atomic {
		if
		:: was && fills && step == at -> assert(mine || !living); fills = 0; step++
		:: else
		fi;
		was = hold; at = 0
	};
	atomic {
		if
		:: was -> assert(mine || !living); hold = 0
		:: else
		fi;
		was = 0
	}
}
proctype Client(byte me)
{
	byte i, j, at; bool was;
	bool mine = 1;
	{
		if
		:: me == C && !VACANT -> goto at_home
		:: else
		fi;
try_slot:	if
		:: word != LIVE
		:: goto over			/* tries no more */
		fi;
		if
		:: atomic { writer == NOBODY && !read_by_others(me) -> writer = me }
		:: writer != NOBODY || read_by_others(me) -> goto try_slot
		fi;
#if FAULT != 7
		if
		:: atomic { word == LIVE -> excused = 1 }; kvs_lock_drop(me); goto try_slot
		:: word != LIVE
		fi;
#endif
		word = IDLE;
#if FAULT != 11
		kvs_client_clear_readers(0);
#endif
		atomic { word = LIVE; assert(!hold && !fills && !left) };
		kvs_reader_take(OWN);
		if
		:: i == READERS -> goto leave
		:: else
		fi;
		hold = 1;
		atomic { fills = 1; step++; at = step };
		inside[i] = 1;
at_home:	assert(word == LIVE && hold && fills && step == at && owner[i] == OWN && inside[i]);
		inside[i] = 0;
leave:		walk();					/* kvs_recover_self() */
		kvs_client_clear_readers(0);
#if FAULT == 8
		kvs_lock_drop(me);
#endif
		atomic {
			assert(!hold && !fills && !left && (FAULT == 8 || writer == me));
			word = IDLE; owed = 0
		};
		kvs_lock_drop(me);
over:		skip
	} unless { gone[me] };
	ended[me] = 1
}
/* Lets readers stall no grace period any more; a CAS for each. */
inline clear_readers()
{
	do
	:: atomic { j < READERS && owner[j] != OWN -> j++ }
#if FAULT == 3
	:: j < READERS && owner[j] == OWN ->
		inside[j] = 0;
#else
	:: atomic { j < READERS && owner[j] == OWN -> assert(!living); owner[j] = FLAGGED };
		atomic { assert(owner[j] == FLAGGED); inside[j] = 0 };
#endif
		owner[j] = FREE
	:: atomic { j == READERS -> j = 0; break }
	od
}
/* As FLAGGED slots are of one recoverer each, what it stores there is nobody else's business. */
inline walk_flagged()
{
	inside[i] = 1;
	walk();
	assert(owner[i] == FLAGGED);
	inside[i] = 0
}
/* The last recoverer, under the write lock. */
inline finish()
{
	kvs_reader_take(FLAGGED);
	if
	:: i == READERS -> excused = 1
	:: else ->
#if FAULT != 5
		walk_flagged();
#endif
#if FAULT == 6
		kvs_reader_give_back(i);
		kvs_client_clear_readers(1);
#else
		kvs_client_clear_readers(0);
#endif
		atomic { assert(!hold && !fills && !left); word = IDLE; owed = 0 }
	fi
}
/* Turns the read lock into a write lock, or lets go and asks once more. */
inline lock_alone(me)
{
	if
	:: atomic { !read_by_others(me) && (writer == NOBODY || FAULT == 1) -> reads[me] = 0; writer = me }
	:: read_by_others(me) || (writer != NOBODY && FAULT != 1) ->
#if FAULT != 2
		kvs_lock_drop(me);
		if
		:: atomic { writer == NOBODY && !read_by_others(me) -> writer = me }
		:: writer != NOBODY || read_by_others(me)
		fi
#endif
	fi
}
proctype Recoverer(byte me; bool again)
{
	byte i, j, at; bool was;
	bool mine = 0;
	{
		i = 0;
once_more:	if
		:: word == LIVE
		:: word != LIVE -> goto over
		fi;
		if
#if FAULT == 1
		:: writer == NOBODY
#else
		:: atomic { writer == NOBODY -> reads[me] = 1 }
#endif
		:: writer != NOBODY -> goto over
		fi;
#if FAULT != 10
		if
		:: atomic { word == LIVE -> owed = 1 }
		:: word != LIVE -> goto drop
		fi;
#endif
		clear_readers();
		kvs_reader_take(FLAGGED);
		if
		:: i == READERS -> excused = 1; goto drop
		:: else
		fi;
		walk_flagged();
		kvs_reader_give_back(i);
		i = 0;
		lock_alone(me);
		if
		:: writer != me -> goto drop
		:: else
		fi;
#if FAULT == 9
		finish();
#else
		if
		:: word == LIVE -> finish()
		:: word != LIVE
		fi;
#endif
drop:		kvs_lock_drop(me);
over:		if
#if TWICE
		:: again -> again = 0; i = 0; goto once_more
#endif
		:: else
		fi
	} unless { gone[me] };
	ended[me] = 1
}
#if TRIMMER
proctype Trimmer()
{
	{
		if
		:: word == IDLE
		:: goto over
		fi;
		if
		:: atomic { writer == NOBODY && !read_by_others(M) -> writer = M }
		:: writer != NOBODY || read_by_others(M) -> goto over
		fi;
		if
		:: word == IDLE ->		/* there is no earlier trimmer whose slot it could clear */
			if
			:: atomic { owner[0] == FREE -> owner[0] = FLAGGED };
				kvs_reader_give_back(0)
			:: owner[0] != FREE
			fi
		:: atomic { word == LIVE -> excused = 1 }
		fi;
		kvs_lock_drop(M);
over:		skip
	} unless { gone[M] };
	ended[M] = 1
}
#endif
#if OTHER
/* A thread of another client. */
proctype Others()
{
	byte i;

	kvs_reader_take(OTHERS);
	if
	:: i < READERS ->
		inside[i] = 1;
		assert(owner[i] == OTHERS && inside[i]);	/* as late as it likes */
		kvs_reader_give_back(i)
	:: else
	fi
}
#endif
/* The kernel drops the locks of who has died. */
inline die(me)
{
	atomic {
		!ended[me] && !gone[me] -> gone[me] = 1; reads[me] = 0;
		writer = (writer == me -> NOBODY : writer);
		excused = excused || me == Q || me == P
	}
}
proctype Death()
{
	byte deaths = DEATHS - !LEAVES;

	do
	:: deaths -> deaths--;
		if
#if LEAVES
		:: die(C)
#endif
		:: die(D)
		:: die(Q)
		:: die(P)
#if TRIMMER
		:: die(M)
#endif
		:: true -> break
		fi
	:: !deaths -> break
	od
}

init {
	atomic {
#if VACANT
		word = IDLE; hold = 0; fills = 0; writer = NOBODY;
#else
		owner[0] = OWN; inside[0] = 1;
#endif
#if LEAVES
		run Client(C);
#else
		gone[C] = 1; ended[C] = 1; writer = NOBODY;
#endif
		run Client(D); run Recoverer(Q, 0); run Recoverer(P, TWICE);
#if TRIMMER
		run Trimmer();
#endif
#if OTHER
		run Others();
#endif
		run Death()
	};
	_nr_pr == 1;
	assert(!owed || excused);
	run Recoverer(Z, 0);
	_nr_pr == 1;
	/* A dead trimmer's reader slot is left until the next client comes, or the next trim. */
	assert(word == IDLE && !hold && !fills && (!left || gone[M]))
}
