/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * Adopters ask the clients of a dead owner for the planes' descriptors, one after the other; each may die at any step.
 * stands for gpu/share_ask.c: set_bit(), kvg_share_ask_for(), answer(), kvg_share_answer()
 * stands for gpu/share_parts.c: kvg_listen(), kvg_listen_end(), kvg_connect(), kvg_send()
 *
 * A client makes CALLS calls in each of its THREADS, which share what it has answered. An adopter waits until it is
 * answered, or its time is over, which may be at any moment. The owner's lock, which lets one adopt at a time, falls
 * with it; its name and the bit stay then.
 *
 * Shows: a call that began when an adopter had asked, and ended when it still did, has brought it the descriptors,
 * whatever other threads were at since when, and whoever had died before; a client tries no number twice once nobody
 * was there or it was sent (by one thread: two may do so at once); when the last adopter did not die, neither bit nor
 * name is left.
 *
 * Left out: that a call is made without the bit; connections that are lost for other reasons (a number is not done with
 * then); that several clients live, each of which has its own `answered`; who is stopped.
 *
 * check: -DDEATHS=1 -DTHREADS=1 -DCALLS=3 one thread; an adopter dies, or none
 * check: -O2 -DDEATHS=1 -DADOPTERS=2 -DTHREADS=2 -DCALLS=2 two threads, and two adopters, one of whom may die
 * long: -O2 -DDEATHS=2 -DADOPTERS=2 -DTHREADS=2 -DCALLS=3 two threads, each with a call more; both may die
 * fault 1: -DFAULT=1 -DDEATHS=1 -DTHREADS=1 -DCALLS=3 the number goes up before anybody listens
 * fault 2: -DFAULT=2 -DDEATHS=1 -DTHREADS=1 -DCALLS=3 the bit comes before the number
 * fault 3: -DFAULT=3 -DDEATHS=1 -DTHREADS=1 -DCALLS=3 a client is done with the number that there is behind its attempt
 * fault 4: -DFAULT=4 -DDEATHS=1 -DTHREADS=1 -DCALLS=3 an adopter takes the number of the one before
 * fault 5: -DFAULT=5 -DDEATHS=1 -DTHREADS=1 -DCALLS=3 where nobody is, the number is not done with
 * fault 6: -DFAULT=6 -DDEATHS=1 -DTHREADS=1 -DCALLS=3 an adopter whose time is over leaves the bit
 */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef THREADS
#define THREADS 1
#endif
#ifndef CALLS
#define CALLS 3
#endif
#ifndef ADOPTERS
#define ADOPTERS 3
#endif

bool flag;				/* KVS_STORE_ASKS */
byte asks, answered;
byte name;				/* whose socket the name leads to; 0: there is none */
bool listens[ADOPTERS + 1];
bool got[ADOPTERS + 1];
byte deaths = DEATHS;

byte asking;				/* who has asked, and waits: for what is shown only */
byte through;				/* numbers that were done with, a bit each: likewise */

/* The kernel takes the socket; the lock, and the next one has it. */
inline may_die()
{
	if
	:: atomic { deaths > 0 -> deaths--; listens[me] = 0; asking = 0 }; goto dead
	:: skip
	fi
}

proctype Adopters()
{
	byte me = 1;

again:
#if FAULT == 1
	asks++;
	may_die();
#endif
	name = me;			/* unlink(), bind() */
	may_die();
	listens[me] = 1;
	may_die();
	flag = 0;
	may_die();
#if FAULT == 2
	atomic { flag = 1; asking = me };
	may_die();
	asks++;
#elif FAULT == 1
	atomic { flag = 1; asking = me };
#elif FAULT == 4
	if
	:: asks == 0 -> asks++
	:: else
	fi;
	atomic { flag = 1; asking = me };
#else
	asks++;
	may_die();
	atomic { flag = 1; asking = me };
#endif
	may_die();
	if
	:: got[me]
	:: skip				/* its time is over */
	fi;
#if FAULT == 6
	if
	:: got[me] -> atomic { flag = 0; asking = 0 }
	:: else -> asking = 0
	fi;
#else
	atomic { flag = 0; asking = 0 };
#endif
	may_die();
	name = 0;
	may_die();
	listens[me] = 0;
	assert(!flag);
dead:	if
	:: atomic { me < ADOPTERS -> got[me] = 0; me++ }; goto again
	:: else
	fi
}

/* One connection: whoever has the name by now, if it listens. */
inline attempt()
{
	atomic { to = name; there = listens[to] };
	if
	:: there ->			/* connected */
		if
		:: atomic { listens[to] -> got[to] = 1 }; done = 1
		:: !listens[to] -> done = 0 /* it has gone: the next call tries again */
		fi
	:: else ->
#if THREADS == 1
		through = through | (1 << number);
#endif
#if FAULT == 5
		done = 0
#else
		done = 1
#endif
	fi
}

proctype Thread()
{
	byte calls, number, to, whose;
	bool there, done;

	do
	:: calls < CALLS ->
		calls++;
		whose = 0;
		if
		:: atomic { flag -> whose = asking }
		:: atomic { !flag -> assert(!asking) }; goto next
		fi;
		number = asks;
		if
		:: number != answered ->
#if THREADS == 1
			assert(!(through & (1 << number)));
#endif
			attempt();
			if
			:: done ->
#if FAULT == 3
				answered = asks
#else
				answered = number
#endif
			:: else
			fi
#if THREADS == 1
			; through = through | (done << number)
#endif
		:: else
		fi;
		assert(!whose || whose != asking || got[whose]);
next:		number = 0; to = 0; there = 0; done = 0
	:: else -> break
	od
}

init
{
	byte i;

	atomic {
		run Adopters();
		do
		:: i < THREADS -> run Thread(); i++
		:: else -> break
		od;
		i = 0
	}
}
