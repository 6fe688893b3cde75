/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * A request's end. Its owner has two holds for it: of a block that is ready, and of one that it fills. Threads of the
 * owner: T publishes the fill, says that the request is complete, and tends to it; E (-DENDS=1, or 2 of them) ends it;
 * G (-DTENDS=1) looks once whether its end was asked for, or ends it, as nobody has claimed it in time. Other
 * processes come at any time:
 *   A  -DASKS=1   asks for the end; with -DASKS=2 another does so too
 *   K  -DCLAIMS=1 claims its keys
 *   W  -DWAITS=1  waits for it: nobody wakes W but who changes the word, unless somebody died
 *   X  -DX=1      claims the request's slot when it is closed, and opens another
 *   Q  -DDEATHS=1 recovers the owner, which may die after any step; with -DDEATHS=2 P does so too, and may die, or stop
 *                 for as long as it likes; when both are through or dead, Z recovers once more, as under the write lock
 * stands for shm/requests.c: kvs_request_move() kvs_request_ask() kvs_request_abort_all() kvs_request_close_all()
 * stands for shm/requests.c: kvs_request_claim() describe()
 * stands for lib/request.c: kvl_request_begin() kvl_request_let_go() close_it() end_own() tend() is_unclaimed()
 * stands for lib/request.c: kvshm_request_end()
 * stands for lib/request_keys.c: kvl_request_publish() forget()
 * stands for lib/request_wait.c: say_complete() kvshm_request_wait() kvshm_request_claim()
 *
 * Shows: each hold ends once, whoever ends the request, and from wherever (R04); a request is closed when nothing of it
 * is left, and not before; a claim that succeeds took its hold while the owner had its own (so the claimed block was
 * there all the time); the end comes however many ask for it; a waiter gets to know of each end, and of complete only
 * what was; the slot's next request is nobody else's to change, nor to count a claim of.
 *
 * Left out: the line for room (line.pml: its place goes behind the first step of an end); opens that meet
 * (request_open.pml); what becomes of the blocks (block_life.pml); that waiters also look every 10 ms, and so do not
 * depend on wakes.
 *
 * check: -DENDS=2 -DASKS=1 -DTENDS=1 two threads end it, another process asks, and a third thread looks
 * check: -DASKS=2 -DTENDS=1 -DCLAIMS=1 two ask for its end, and one claims
 * check: -DENDS=1 -DCLAIMS=1 -DX=1 -DASKS=1 it is claimed late, or its end asked for
 * check: -DENDS=1 -DWAITS=1 -DASKS=1 -DX=1 one waits
 * check: -DDEATHS=1 -DENDS=1 -DCLAIMS=1 -DWAITS=1 its owner dies, while one claims and one waits
 * check: -DDEATHS=2 -DENDS=1 -DX=1 -DASKS=1 and a recoverer stops or dies
 * long: -DENDS=2 -DASKS=2 -DTENDS=1 -DCLAIMS=1 -DWAITS=1 -DX=1 all but deaths
 * long: -DDEATHS=2 -DENDS=1 -DX=1 -DASKS=1 -DCLAIMS=1 -DWAITS=1 all but what threads do to each other
 * fault 1: -DFAULT=1 -DENDS=1 -DCLAIMS=1 who claims does not look again behind its holds
 * fault 2: -DFAULT=2 -DENDS=1 -DCLAIMS=1 -DX=1 it looks at the state only
 * fault 3: -DFAULT=3 -DENDS=1 -DCLAIMS=1 the owner lets go before it says that it ends
 * fault 4: -DFAULT=4 -DDEATHS=1 -DENDS=1 -DCLAIMS=1 recovery ends the holds before it says that the request is over
 * fault 5: -DFAULT=5 -DENDS=2 threads end it without a lock
 * fault 6: -DFAULT=6 -DASKS=1 -DTENDS=1 it is closed while a fill of it goes on
 * fault 7: -DFAULT=7 -DDEATHS=2 -DENDS=1 -DX=1 a recoverer aborts what the slot has by then
 * fault 8: -DFAULT=8 -DENDS=1 -DWAITS=1 nobody is woken
 * fault 9: -DFAULT=9 -DENDS=1 -DWAITS=1 who waits sleeps without comparing the word once more
 * fault 10: -DFAULT=10 -DASKS=1 it is said to be complete without a CAS
 * fault 11: -DFAULT=11 -DDEATHS=1 -DENDS=1 recovery closes it before it has ended the holds
 * fault 12: -DFAULT=12 -DENDS=1 -DASKS=1 who asks for the end stores it without a CAS
 * fault 13: -DFAULT=13 -DASKS=1 it is said to be complete from whatever the word is by then
 * fault 14: -DFAULT=14 -DENDS=1 -DCLAIMS=1 -DX=1 -DASKS=1 who claims late counts it, whose the slot is by then
 */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef ENDS
#define ENDS 0
#endif
#ifndef TENDS
#define TENDS 0
#endif
#ifndef ASKS
#define ASKS 0
#endif
#ifndef CLAIMS
#define CLAIMS 0
#endif
#ifndef WAITS
#define WAITS 0
#endif
#ifndef X
#define X 0
#endif
#ifndef DEATHS
#define DEATHS 0
#endif

mtype = { CLOSED, ABORTED, ENDING, COMPLETE, OPEN, CLAIMED };
mtype st = OPEN;		/* with number and completed: the word; 2 is X's */
byte number = 1;
bool completed;
byte claims_of = 1, claims;	/* one word */
byte pins = 1, refs = 1;	/* the owner's counts: of the ready block; of the one that is filled */
/* The owner's record of it: */
bool locked;
bool open = 1;
bool lists_pin = 1;
mtype = { LEFT, PIN, FILL };
mtype second = FILL;		/* its hold of the other block */
bool asleep;			/* W */
bool dead, died;		/* the owner; anybody */
byte running;			/* of the owner's threads */
byte recovering;
bool gone;			/* P */

#define is_over(state) (state == ENDING || state == ABORTED || state == CLOSED)
#define locals mtype s; byte nr; bool ok

inline read_word() { atomic { s = st; nr = number } }
/* kvs_request_move(): s and nr are what the word is then. */
inline move(to)
{
	atomic {
		if
		:: st == s && number == nr ->
			assert(number == 1);
			assert(to != CLOSED || (pins == 0 && refs == 0));
			st = to; completed = completed || to == COMPLETE; ok = 1
		:: else -> ok = 0
		fi;
		s = st; nr = number
	};
#if WAITS && FAULT != 8
	if
	:: ok -> asleep = 0
	:: else
	fi
#endif
}
#if FAULT == 5
#define LOCK skip;
#define UNLOCK skip
#else
#define LOCK atomic { !locked -> locked = 1 };
#define UNLOCK locked = 0
#endif
#if FAULT == 6
#define fills_left 0
#else
#define fills_left (second == FILL)
#endif
/* kvl_request_let_go(), and close_it(). */
inline let_go(fills)
{
	if
	:: lists_pin -> atomic { assert(pins > 0); pins-- }; lists_pin = 0
	:: else
	fi;
	if
	:: second == PIN || (second == FILL && fills) -> atomic { assert(refs > 0); refs--; second = LEFT }
	:: else
	fi;
	if
	:: !fills_left && open ->
		open = 0;
		read_word();
		do
		:: nr == 1 && s != CLOSED -> move(CLOSED)
		:: else -> break
		od
	:: else
	fi
}
/* kvl_request_begin(): ok: it goes on, locked. */
inline begin()
{
	LOCK
	if
	:: !open -> ok = 0; UNLOCK
	:: else ->
		read_word();
		ok = !is_over(s);
		if
		:: !ok -> let_go(0); ok = 0; UNLOCK
		:: else
		fi
	fi
}
inline publish()
{
	LOCK
	if
	:: open && second == FILL ->
		read_word();
		if
		:: is_over(s) ->
			atomic { assert(refs > 0); refs--; second = LEFT };
			let_go(0)		/* forget() */
		:: else -> second = PIN
		fi
	:: else
	fi;
	UNLOCK
}
inline say_complete()
{
#if FAULT == 10
	atomic { st = COMPLETE; completed = 1 };
#else
	read_word();
#if FAULT == 13
	move(COMPLETE);
#else
	if
	:: is_over(s) -> ok = 0
	:: else -> move(COMPLETE)
	fi;
#endif
	if
	:: !ok -> let_go(0)
	:: else
	fi;
#endif
	UNLOCK
}
proctype T()
{
	locals;
	{
		publish();
		begin();
		if
		:: ok -> say_complete()
		:: else
		fi;
		/* its next call, or at once if it waits */
		is_over(st) || number != 1;
		begin()
	} unless { dead };
	running--
}
#if ENDS || TENDS
inline end_own()
{
	read_word();
#if FAULT == 3
	if
	:: lists_pin -> pins--; lists_pin = 0
	:: else
	fi;
#endif
	do
	:: is_over(s) -> break
	:: !is_over(s) && completed -> move(ENDING)
	:: !is_over(s) && !completed -> move(ABORTED)
	od;
	let_go(1)
}
#endif
#if ENDS
/* kvshm_request_end() by the owner. */
proctype E()
{
	locals;
	{
		LOCK
		if
		:: open -> end_own()
		:: else
		fi;
		UNLOCK
	} unless { dead };
	running--
}
#endif
#if TENDS
/* kvshm_request_tend() */
proctype G()
{
	locals;
	{
		LOCK
		if
		:: open ->
			read_word();
			if
			:: is_over(s) -> let_go(0)
			:: !is_over(s) ->
				read_word();
				if
				:: s == COMPLETE && claims == 0 -> end_own()
				:: true
				fi
			fi
		:: else
		fi;
		UNLOCK
	} unless { dead };
	running--
}
#endif
#if ASKS
/* kvs_request_ask() */
proctype A()
{
	locals;

	read_word();
	do
	:: nr != 1 || is_over(s) -> break	/* -EALREADY */
#if FAULT == 12
	:: else -> st = ENDING; break
#else
	:: else -> move(ENDING)
#endif
	od
}
#endif
#if CLAIMS
/* kvs_request_claim(): not ok: it lets go of it, too. */
inline count_claim()
{
	atomic {
		if
#if FAULT == 14
		:: true ->
#else
		:: claims_of == 1 ->
#endif
			claims++; ok = 1
		:: else -> ok = 0
		fi
	}
}
proctype K()
{
	bool early;
	locals;

	read_word();
	if
	:: nr == 1 && !is_over(s) ->
		early = pins > 0;	/* its hold */
#if FAULT != 1
		read_word();
#endif
		if
#if FAULT == 2
		:: !is_over(s) -> assert(early)
#else
		:: nr == 1 && !is_over(s) ->
			count_claim();
			assert(!ok || early)
#endif
		:: else		/* it lets go of it */
		fi
	:: else
	fi
}
#endif
#if WAITS
/* kvshm_request_wait() */
proctype W()
{
	locals;

	do
	:: read_word();
		if
		:: nr != 1 || is_over(s) -> break
		:: nr == 1 && s == COMPLETE -> assert(completed); break
		:: else ->
#if FAULT == 9
			asleep = 1;
#else
			atomic { asleep = (st == s && number == nr) };
#endif
			!asleep || died
		fi
	od
}
#endif
#if X
proctype Next()
{
	atomic { st == CLOSED -> st = CLAIMED; number = 2 };
	atomic { claims_of = 2; claims = 0 };	/* describe() */
	st = OPEN
}
#endif
#if DEATHS
inline kvs_request_abort_all()
{
	read_word();
	do
	:: nr == 1 && s != CLOSED && s != ABORTED ->
#if FAULT == 7
		atomic { nr = number; s = st };
#endif
		move(ABORTED)
	:: else -> break
	od
}
inline kvs_request_close_all()
{
	read_word();
	if
	:: nr == 1 && s == ABORTED -> move(CLOSED)
	:: else
	fi
}
inline walk() { pins = 0; refs = 0 }
inline recover()
{
	running == 0;
	if
	:: dead ->
#if FAULT == 4
		walk();
#endif
		kvs_request_abort_all();
#if FAULT == 11
		kvs_request_close_all();
#endif
		walk();
		kvs_request_close_all()
	:: else
	fi
}
proctype Q()
{
	locals;

	recover();
	recovering--
}
#if DEATHS == 2
proctype P()
{
	locals;
	{
		recover()
	} unless { gone };
	recovering--
}
proctype Z()
{
	locals;

	recovering == 0;
	recover()
}
#endif
/* The owner, or a recoverer, at any time or never. */
proctype Fate()
{
	if
	:: atomic { running > 0 -> dead = 1; died = 1 }
	:: true
	fi;
#if DEATHS == 2
	if
	:: atomic { recovering > 0 -> gone = 1; died = 1 }
	:: true
	fi
#endif
}
#endif
init {
	atomic {
		running = 1 + ENDS + TENDS;
		run T();
#if ENDS
		run E();
#endif
#if ENDS == 2
		run E();
#endif
#if TENDS
		run G();
#endif
#if ASKS
		run A();
#endif
#if ASKS == 2
		run A();
#endif
#if CLAIMS
		run K();
#endif
#if WAITS
		run W();
#endif
#if X
		run Next();
#endif
#if DEATHS
		recovering = DEATHS;
		run Q(); run Fate();
#endif
#if DEATHS == 2
		run P(); run Z()
#endif
	};
	atomic {
		_nr_pr == 1;
		assert(number == 2 || (st == CLOSED && pins == 0 && refs == 0));
		assert(number == 1 || (st == OPEN && claims == 0));
		assert(dead || (!open && !lists_pin && second == LEFT && !locked))
	}
}
