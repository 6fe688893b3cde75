/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * A client's entry for a block, when one of its threads comes with a ticket of a life that has passed.
 * stands for shm/hold.c: kvs_hold_take_life(), add_by_ticket(), judge_by_ticket(), kvs_hold_release_inside()
 * stands for shm/hold.c: counts_of(), kvs_hold_any()
 * stands for shm/hold.h: kvs_hold_mark(), kvs_hold_sub(), kvs_hold_must_look()
 * stands for shm/recover.c: concerned(), recover_block()
 * stands for shm/remove.c: hide(), let_go()
 *
 * A client has two threads, one with a ticket of life 1, one with a ticket of life 2, each of which comes when its
 * life has begun, or any time later. A remover tries to end the block wherever it can; when it is in LIMBO it is
 * reused, for the next life. The client may die at any step; it is then recovered.
 *
 * Shows: who was granted a hold has the block in that life until it ends the hold (B1); a count of one life never
 * becomes, or ends, another's (B2); nothing is left in the entry when all is over, whether its client died or not,
 * and whether its bit was set or not (D1).
 *
 * Left out: grace periods: a hold by ticket needs none (what is unlinked meanwhile does: epochs.pml); the index; pins
 * and writers, which are counted in the same word; FILLING, which is as READY here.
 *
 * check: -DDEATHS=0 nobody dies
 * check: -DDEATHS=1 the client may die
 * fault 1: -DFAULT=1 -DDEATHS=1 recovery looks at entries whose bit is set only
 * fault 2: -DFAULT=2 -DDEATHS=0 a hold is ended without comparing the life
 * fault 3: -DFAULT=3 -DDEATHS=0 a stale ticket overwrites the entry of a later life
 * fault 4: -DFAULT=4 -DDEATHS=0 a count goes on from another life's
 * fault 5: -DFAULT=5 -DDEATHS=0 the life is not read behind the word
 * fault 6: -DFAULT=6 -DDEATHS=0 the word is looked at before the count
 * fault 7: -DFAULT=7 -DDEATHS=0 the bit is set after the look at the word
 */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#define LIVES 3
#ifndef TRIES
#define TRIES 5		/* of the remover */
#endif

mtype = { READY, REM_READY, DOOMED, REM_DOOMED, LIMBO, OWNED };
mtype word = READY; byte step;
byte life = 1;
bool marked;				/* of the client, in the block's holders */
byte of_life, refs;			/* its entry */
byte held[LIVES + 1];			/* holds granted, by life */
#define R 2		/* the remover */
bool gone, ended[3];

/* An assertion wherever the word leaves what a hold keeps. */
inline cas(from, at, to)
{
	atomic {
		if
		:: word == from && step == at ->
			word = to; step++; done = 1;
			assert(to != LIMBO || !held[life])
		:: else -> done = 0
		fi
	}
}
inline mark()
{
	if
	:: !marked -> marked = 1
	:: else
	fi
}
/* add_by_ticket(): the entry is read, and a CAS made from that. */
inline add()
{
	do
	:: atomic { was_life = of_life; was_refs = refs };
		if
#if FAULT != 3
		:: was_life > mine && was_refs -> break
#endif
#if FAULT == 4
		:: else -> counts = was_refs
#else
		:: else -> counts = (was_life == mine -> was_refs : 0)
#endif
		fi;
		atomic {
			if
			:: of_life == was_life && refs == was_refs ->
				of_life = mine; refs = counts + 1; added = 1; break
			:: else
			fi
		}
	od;
	was_life = 0; was_refs = 0; counts = 0
}
/* kvs_hold_sub() */
inline sub()
{
	atomic {
		if
#if FAULT == 2
		:: refs -> refs--
#else
		:: of_life == mine && refs -> refs--
#endif
		:: else -> assert(!held[mine])	/* -EBADF is for who holds nothing */
		fi
	}
}
inline judge()
{
	do
	:: atomic { seen = word; at = step };
#if FAULT != 5
		if
		:: life != mine -> break
		:: else
		fi;
#endif
		if
		:: seen == REM_READY -> cas(REM_READY, at, READY)
		:: seen == REM_DOOMED -> cas(REM_DOOMED, at, DOOMED)
		:: seen == READY || seen == DOOMED -> granted = 1; break
		:: else -> break
		fi
	od;
	at = 0; seen = READY; done = 0
}

/* kvs_hold_take_life(), use, release. */
proctype Thread(byte me; byte mine)
{
	byte was_life, was_refs, counts, at; mtype seen = READY; bool added, granted, done;
	{
		if
		:: life > mine || (life == mine && word == READY)
		:: ended[R] -> goto over	/* there will be no such life */
		fi;
		if
		:: life != mine -> goto over
		:: life == mine			/* which may pass from here on */
		fi;
#if FAULT != 7
		mark();
#endif
#if FAULT == 6
		judge();
		add();
#else
		add();
		if
		:: added -> judge()
		:: else
		fi;
#endif
#if FAULT == 7
		mark();
#endif
		if
		:: granted && added ->
			atomic { held[mine]++; assert(life == mine && word != LIMBO && word != OWNED) };
			held[mine]--
		:: else
		fi;
		if
		:: added -> sub()
		:: else
		fi;
over:		skip
	} unless { gone };
	ended[me] = 1
}
/* Does the client hold it? Of all rows those are looked at whose bit is set. */
#define is_held (marked && of_life == life && refs)
proctype Remover()
{
	byte tries, at; bool done, is;

	do
	:: tries < TRIES && (word == READY || word == DOOMED) ->
		tries++;
		if
		:: atomic { word == READY -> at = step } -> cas(READY, at, REM_READY);
			if
			:: done -> at++; is = is_held;
				if
				:: is -> cas(REM_READY, at, READY)
				:: else -> cas(REM_READY, at, DOOMED)
				fi
			:: else
			fi
		:: atomic { word == DOOMED -> at = step } -> cas(DOOMED, at, REM_DOOMED);
			if
			:: done -> at++; is = is_held;
				if
				:: is -> cas(REM_DOOMED, at, DOOMED)
				:: else -> cas(REM_DOOMED, at, LIMBO)
				fi
			:: else
			fi
		fi;
		at = 0; is = 0; done = 0
	:: word == LIMBO && life < LIVES ->
		word = OWNED; step++;
		life++;
		marked = 0;
		word = READY; step++
	:: tries == TRIES || (word == LIMBO && life == LIVES) -> break
	od;
	ended[R] = 1
}
proctype Recoverer()
{
	(ended[0] && ended[1]);
	if
#if FAULT == 1
	:: gone && marked && refs -> refs = 0; of_life = 0
#else
	:: gone && refs -> refs = 0; of_life = 0
#endif
	:: else
	fi
}
init {
	atomic {
		run Thread(0, 1); run Thread(1, 2); run Remover(); run Recoverer()
	};
#if DEATHS
	if
	:: atomic { !ended[0] || !ended[1] -> gone = 1; held[1] = 0; held[2] = 0 }
	:: true
	fi;
#endif
	_nr_pr == 1;
	assert(!refs)
}
