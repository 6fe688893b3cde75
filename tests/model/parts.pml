/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * A shared fill of two planes: shm/part.h, and in shm/table.c kvs_table_end_part(), kvs_table_finish() and
 * kvs_table_fail_part(); become_writer() in lib/tickets.c, publish_part() in lib/fill.c, end_work() in shm/recover.c.
 * F fills, W writes plane 0, V plane 1; H waits. With -DREMOVER=1 one may remove the key at any time; with -DRIVAL=1 X
 * tries to write plane 0 too. Any DEATHS of F, W, X and V may die after any step, and are then recovered, W by two
 * recoverers at once. Writers may fail instead of ending well; a filler to whom no writer comes gives up.
 * Shows: the block becomes READY only when both planes are whole and F has said what it is (A2, R27); a plane has one
 * writer (R27); nobody waits for ever (D3): READY, or DOOMED, is reached whoever dies; and once one who waited was told
 * that the fill has failed, it is whole for nobody (R26).
 *   spin -DDEATHS=1 -a parts.pml && cc -O2 -DSAFETY -DHC4 -DMEMLIM=8000 -o pan pan.c && ./pan -m100000 -w27
 * Clean: 29 million states with one death, 4 million with a remover, 7 million with a rival (these without deaths), in
 * less than a minute each; two deaths, or several of these at once, have not been searched to the end.
 * Planted faults, each found within seconds:
 * -DFAULT=1: the bit before the bytes                              (found: READY of torn bytes)
 * -DFAULT=2: recovery does not look whether the dead one was a writer (found: who waits does so for ever)
 * -DFAULT=3: no claim                                              (found with -DRIVAL=1: READY of torn bytes)
 * -DFAULT=4: a writer uncounts itself before its bit is set        (found: who waits does so for ever)
 * -DFAULT=5: claim first, then count                               (found: who waits does so for ever)
 * -DFAULT=6: the word alone decides                                (found with -DREMOVER=1: first failed, then whole)
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
/* judge_wait() */
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
		run Filler(); run Writer(W, 0); run Writer(V, 1); run Waiter();
#if DEATHS
		run Death();
#endif
		run Recoverer(F); run Recoverer(W); run Recoverer(W); run Recoverer(V);
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
