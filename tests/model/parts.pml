/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * A shared fill of two planes. F fills, W writes plane 0, V plane 1; H waits. With -DREMOVER=1 one may remove the key
 * at any time; with -DRIVAL=1 X tries to write plane 0 too; with -DPLANES=1 plane 1 is whole already. Any DEATHS of F,
 * W, X and V may die after any step, and are then recovered, W by two recoverers at once. Writers may fail instead of
 * ending well; a filler to whom no writer comes gives up.
 * Shows: the block becomes READY only when both planes are whole and F has said what it is (A2, R27); a plane has one
 * writer (R27); nobody waits for ever (D3): READY, or DOOMED, is reached whoever dies; and once one who waited was told
 * that the fill has failed, it is whole for nobody (R26).
 * stands for shm/part.h: kvs_part_begin() kvs_part_claim() kvs_part_set()
 * stands for shm/table.c: kvs_table_end_part() kvs_table_finish() kvs_table_fail_part()
 * stands for lib/tickets.c: become_writer()
 * stands for lib/fill.c: publish_part() kvl_judge_wait()
 * stands for shm/recover.c: end_work()
 * check: -DDEATHS=1 -DPLANES=1 one plane to write, and a death
 * check: -DDEATHS=0 -DREMOVER=1 -DPLANES=1 one plane to write, and a removal
 * long: -DDEATHS=1 two planes, and a death
 * long: -DDEATHS=0 -DREMOVER=1 two planes, and a removal
 * long: -DDEATHS=0 -DRIVAL=1 two planes, and two who want to write one
 * fault 1: -DFAULT=1 -DDEATHS=0 the bit comes before the bytes
 * fault 2: -DFAULT=2 -DDEATHS=1 -DPLANES=1 recovery does not ask whether the dead one was a writer
 * fault 3: -DFAULT=3 -DDEATHS=0 -DRIVAL=1 no claim
 * fault 4: -DFAULT=4 -DDEATHS=1 -DPLANES=1 a writer uncounts itself before its bit is set
 * fault 5: -DFAULT=5 -DDEATHS=1 -DPLANES=1 claim first, then count
 * fault 6: -DFAULT=6 -DDEATHS=0 -DREMOVER=1 the word alone decides: first failed, then whole
 */
#ifndef DEATHS
#define DEATHS 2
#endif
#ifndef REMOVER
#define REMOVER 0
#endif
#ifndef RIVAL
#define RIVAL 0
#endif
#ifndef PLANES
#define PLANES 2
#endif
#ifndef FAULT
#define FAULT 0
#endif
#define F 0
#define W 1
#define X 2
#define V 3
#define N 4
mtype = { FILLING, READY, DOOMED };
mtype st = FILLING; byte step = 0;
bool written[2], filler, failed, claimed[2];	/* struct kvs_block_info: written, claimed */
byte bytes[2]; bool meta;		/* 0 nothing, 1 torn, 2 whole */
bool writing[2];
byte writers[N];			/* of the rows */
bool gone[N], ended[N];
bool told_failed;			/* one who waited was */

#define whole (written[0] && written[1] && filler)

inline cas(s, k, to)
{
	atomic {
		if
		:: st == s && step == k ->
			st = to; step++;
			assert(to != READY || (bytes[0] == 2 && bytes[1] == 2 && meta))
		:: else
		fi
	}
}
/* kvs_table_finish() */
inline finish()
{
	do
	:: atomic { s = st; k = step };
		if
		:: s == FILLING -> cas(s, k, READY)
		:: else -> break
		fi
	od
}
/* kvs_part_set(): a bit of a fill that is neither whole nor failed */
inline set(what)
{
	atomic {
		if :: !failed && !whole -> what = 1 :: else fi;
		assert(!(whole && told_failed))		/* another would be told that it is whole */
	}
}
/* kvs_remove_doom() */
inline fail()
{
#if FAULT != 6
	set(failed)
#else
	skip
#endif
}
inline doom() { atomic { s = st; k = step }; if :: s == FILLING -> fail(); cas(s, k, DOOMED) :: else fi }

proctype Filler()
{
	mtype s; byte k;
	{
		if
		:: meta = 1; set(filler);
			if :: whole -> finish() :: else fi;
			if
			:: st != FILLING		/* it keeps its hold until then */
			:: (ended[W] && ended[X] && !claimed[0]) || (ended[V] && !claimed[1]) ->
				doom()			/* nobody came: it can tell, by a deadline of its own */
			fi
		:: doom()
		fi
	} unless { gone[F] };
	ended[F] = 1
}
inline count_and_claim(me, p)
{
#if FAULT == 5
	atomic { if :: claimed[p] -> goto over :: else -> claimed[p] = 1 fi };
	writers[me] = 1;
#else
	writers[me] = 1;
#if FAULT != 3
	atomic { if :: claimed[p] -> goto uncount :: else -> claimed[p] = 1 fi };
#endif
#endif
}
proctype Writer(byte me; byte p)
{
	mtype s; byte k;
	{
		if :: st == FILLING :: else -> goto over fi;
		count_and_claim(me, p);
		atomic { assert(!writing[p]); writing[p] = 1 };
		if
		:: skip
		:: doom(); goto done		/* it failed */
		fi;
#if FAULT == 1
		set(written[p]); bytes[p] = 1; bytes[p] = 2;
#else
		bytes[p] = 1; bytes[p] = 2;
#if FAULT == 4
		writers[me] = 0;
#endif
		set(written[p]);
#endif
		if :: whole -> finish() :: else fi;
done:		writing[p] = 0;
uncount:	writers[me] = 0;
over:		skip
	} unless { gone[me] };
	ended[me] = 1
}
#if DEATHS
/* DEATHS of them die at most, at any time. */
inline die(me) { atomic { !ended[me] -> gone[me] = 1 } }
proctype Death()
{
	byte i;

	for (i : 1 .. DEATHS) {
		if :: die(F) :: die(W) :: die(X) :: die(V) :: skip fi
	}
}
#endif
proctype Recoverer(byte dead)
{
	mtype s; byte k; byte n;

	if
	:: gone[dead] && ended[dead] ->
		atomic { s = st; k = step };
		n = writers[dead];
#if FAULT == 2
		n = 0;
#endif
		if :: s == FILLING && (dead == F || n) -> fail(); cas(s, k, DOOMED) :: else fi;
		writers[dead] = 0
	:: !gone[dead] && ended[dead]
	fi
}
/* Someone removes the key, or not. */
proctype Remover()
{
	mtype s; byte k;

	if :: doom() :: skip fi
}
/* kvl_judge_wait() */
proctype Waiter()
{
	mtype s; byte k;

	if
	:: st != FILLING
	:: st == FILLING && whole -> finish()
	:: st == FILLING && failed -> doom()
	fi;
	if
	:: whole && !failed
	:: else -> told_failed = 1
	fi
}
init {
	atomic {
#if PLANES == 1
		written[1] = 1; bytes[1] = 2; claimed[1] = 1; ended[V] = 1;
#else
		run Writer(V, 1); run Recoverer(V);
#endif
		run Filler(); run Writer(W, 0); run Waiter();
#if DEATHS
		run Death();
#endif
		run Recoverer(F); run Recoverer(W); run Recoverer(W);
#if RIVAL
		run Writer(X, 0); run Recoverer(X)
#else
		ended[X] = 1
#endif
#if REMOVER
		; run Remover()
#endif
	}
}
