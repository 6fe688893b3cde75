/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * Recovery of a client that did DMA, in two steps: what waits for its fills goes on once its lock has fallen; what its
 * devices may reach waits until its process has ended.
 * stands for shm/recover.c: judge(), give_back_shared(), leave_waiting(), finish(), lock_alone()
 * stands for shm/recover.c: recover_locked(), recover_one()
 * stands for shm/client.c: kvs_client_set_dma(), kvs_client_dma_goes_on(), move_in()
 *
 * C is dead, and its process (life 1) goes on for a while: it fills a block, which it holds, and has one without a key.
 * Q and P recover: P is in another pid namespace, and never sees the process. D takes the slot when it is free, does
 * the same, and dies, too: its process is the second. Any DEATHS of Q, P and D are sudden, after any step. Then Z
 * recovers while the last process goes on, and once more when it has ended.
 *
 * Shows: a block that devices may reach is nobody else's until that very process has ended, whoever recovers, however
 * slowly (E2); after any one recovery nobody waits for a fill of the dead one (D3), and no reader slot of a dead
 * recoverer stalls grace periods, also while the client waits; when the process has ended one recovery frees all (D1,
 * D2), also by one who can't see it, if one who could has begun.
 *
 * Left out: what a recoverer does with one block is one step (recovery_order.pml has it in many); of the lock of the
 * slot's byte, what slots.pml shows.
 *
 * check: -DDEATHS=1 one death
 * check: -DDEATHS=2 two deaths
 * check: -DDEATHS=2 -DBLIND=1 the last one can't see the process either
 * fault 1: -DFAULT=1 -DDEATHS=1 the row is given back in the first step
 * fault 2: -DFAULT=2 -DDEATHS=1 a recoverer looks at the process before it has the lock, and not behind it
 * fault 3: -DFAULT=3 -DDEATHS=1 that all has been given up is said under the read lock
 * fault 4: -DFAULT=4 -DDEATHS=1 who can't see the process takes it as ended
 * fault 5: -DFAULT=5 -DDEATHS=1 -DBLIND=1 who saw it end does not say so
 * fault 6: -DFAULT=6 -DDEATHS=1 the client says that it does DMA when it has begun
 * fault 7: -DFAULT=7 -DDEATHS=1 a fill is given up in the second step only
 * fault 8: -DFAULT=8 -DDEATHS=1 a client that waits is walked again, by one who may die in a section
 */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef BLIND
#define BLIND 0
#endif
#define Q 0
#define P 1
#define D 2
#define Z 3
#define NOBODY 9

mtype = { NONE, DOES, WAITS, ENDED };
mtype = { FILLING, DOOMED, GONE };
bool live = 1;				/* the slot */
mtype dma = DOES;			/* its mark */
byte life = 1;				/* whose process its pid and start time mean */
bool over[3];				/* has it ended? */
bool reaches = 1;			/* may devices of that process reach the blocks? */
mtype word = FILLING; bool entry = 1;	/* a block, with the client's entry of it */
bool owned = 1;				/* another, without a key */
byte writer = NOBODY; bool reads[4];	/* locks of the slot's byte */
bool flagged[4];			/* reader slots of recoverers, in a section */
bool gone[4], ended[4];
byte deaths;

#define reaching (reaches && !over[life])
#define others_read(me) ((reads[Q] && me != Q) || (reads[P] && me != P) || (reads[Z] && me != Z))
#if BLIND
#define blind(me) (me == P || (me == Z))
#else
#define blind(me) (me == P)
#endif
#if FAULT == 4
#define seen_ended(me) (blind(me) || over[life])
#else
#define seen_ended(me) (!blind(me) && over[life])
#endif

inline kvs_lock_read(me) { atomic { got = (writer == NOBODY); reads[me] = got } }
inline kvs_lock_write(me)
{
	atomic {
		got = (writer == NOBODY && !others_read(me));
		if
		:: got -> writer = me; reads[me] = 0
		:: else
		fi
	}
}
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
inline lock_alone(me)
{
	kvs_lock_write(me);
	if
	:: !got -> kvs_lock_drop(me); kvs_lock_write(me)
	:: else
	fi
}
#define kvs_client_dma_goes_on(me) (dma != NONE && dma != ENDED && !seen_ended(me))
#define only_waits(me) (dma == WAITS && kvs_client_dma_goes_on(me))

/* all: it goes all the way; idle: there is nothing to do for now. */
inline judge(me)
{
#if FAULT == 2
	idle = 0;
#elif FAULT == 8
	atomic { idle = 0; all = !kvs_client_dma_goes_on(me) };
#else
	atomic { idle = only_waits(me); all = !kvs_client_dma_goes_on(me) };
#endif
#if FAULT != 5
	if
	:: all && dma != NONE -> dma = ENDED
	:: else
	fi
#endif
}
inline recover_all(me)
{
	flagged[me] = 1;
	atomic {
		if
#if FAULT == 7
		:: word == FILLING && all -> word = DOOMED
#else
		:: word == FILLING -> word = DOOMED
#endif
		:: else
		fi
	};
	if
#if FAULT == 1
	:: true -> entry = 0
#else
	:: all -> entry = 0
#endif
	:: else
	fi;
	atomic {
		if
		:: word == DOOMED && !entry -> assert(!reaching); word = GONE
		:: else
		fi
	};
	atomic {
		if
		:: all && owned -> assert(!reaching); owned = 0
		:: else
		fi
	};
#if FAULT == 3
	if
	:: !all -> dma = WAITS
	:: else
	fi;
#endif
}
inline finish(me)
{
	recover_all(me);
	atomic { flagged[Q] = 0; flagged[P] = 0; flagged[Z] = 0 };	/* kvs_client_clear_readers() */
	if
	:: all -> live = 0
	:: else -> dma = WAITS
	fi
}
inline recover_one(me)
{
#if FAULT == 2
	atomic { all = !kvs_client_dma_goes_on(me) };
#endif
	if
	:: !live || only_waits(me) -> got = 0
	:: else -> kvs_lock_read(me)
	fi;
	if
	:: got && live ->
		judge(me);
		if
		:: !idle ->
			recover_all(me);
			flagged[me] = 0;
			lock_alone(me)
		:: else -> got = 0
		fi;
		if
		:: got && live ->
			judge(me);
			if
			:: !idle -> finish(me)
			:: else
			fi
		:: else
		fi
	:: else
	fi;
	kvs_lock_drop(me)
}
proctype Recoverer(byte me)
{
	bool got, all, idle;
	{
		recover_one(me)
	} unless { gone[me] };
	kvs_lock_drop(me);
	ended[me] = 1
}
/* The next client of the slot. */
proctype Next()
{
	bool got;
	{
		if
		:: atomic { !live && writer == NOBODY && !reads[Q] && !reads[P] -> writer = D };
			dma = NONE;
			atomic { live = 1; life = 2; reaches = 0; word = GONE };
#if FAULT != 6
			dma = DOES;
#endif
			atomic { word = FILLING; entry = 1; reaches = 1 };
			owned = 1;
#if FAULT == 6
			dma = DOES
#endif
		:: atomic { ended[Q] && ended[P] -> skip }
		fi
	} unless { gone[D] };
	kvs_lock_drop(D);			/* it dies, sooner or later */
	ended[D] = 1
}
proctype End() { over[1] = 1; over[2] = 1 }
inline die(me) { atomic { !ended[me] && !gone[me] && deaths < DEATHS -> gone[me] = 1; deaths++ } }
proctype Death()
{
	do
	:: die(Q)
	:: die(P)
	:: die(D)
	:: break
	od
}
init {
	atomic { run Recoverer(Q); run Recoverer(P); run Next(); run Death() };
	if
	:: run End()
	:: true
	fi;
	ended[Q] && ended[P] && ended[D];
	run Recoverer(Z);
	ended[Z];
	assert(word != FILLING && !flagged[Q] && !flagged[P]);
	over[1] = 1; over[2] = 1;
	ended[Z] = 0;
	run Recoverer(Z);
	ended[Z];
	assert(!flagged[Q] && !flagged[P] && !flagged[Z]);
#if BLIND
	assert(!live || dma == WAITS)
#else
	assert(!live && !entry && !owned && word == GONE)
#endif
}
