/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * Opens of one id at the same time. U, V and W (-DW=0: not there) each open a request: V and W that of id 1, U the same
 * or (-DOTHER=1) id 2. Each claims a slot, whichever is next, writes its id there, announces it, and looks at all
 * others. With -DTOMB=1 slot 0 still has the closed first attempt of id 1. With -DCLOSES=1 who has opened may close, so
 * that the slot is claimed again; with -DDEATHS=1 U may die after any step, Q and P recover it, and P may stop.
 * stands for shm/requests.c: kvs_request_open() claim() write_id() meet() meet_all() find_rival() is_id()
 * stands for shm/requests.c: claim_from_hand() kvs_request_same()
 * stands for shm/requests.c: kvs_request_abort_all()
 *
 * Shows: at no time are two requests of one id open; of those that live exactly one is opened (or, where some close, at
 * least one), and who opens another id is never refused; that an attempt was closed already is said only if that one,
 * or a later one, was; nobody writes an id into a slot that is not its own; nobody but who meets it, or recovers its
 * owner, changes an open that is under way; nothing of a dead one's stays.
 *
 * Left out: hashes of ids that meet (as other slots); that the last slot may be taken; an id's bytes, which are one
 * step here; the request's life (request_end.pml).
 *
 * check: -DSLOTS=2 -DW=0 two of one id
 * check: -O2 -DHAND=2 three of one id: the first gets the highest slot, the second the lowest
 * check: -DTOMB=1 -DOTHER=1 -DW=0 the slot of an earlier attempt is claimed by who opens another id
 * check: -DTOMB=1 -DOTHER=1 -DEARLY=1 -DW=0 and a late message of that attempt comes
 * check: -DTOMB=1 -DW=0 both are later attempts
 * check: -DSLOTS=2 -DCLOSES=1 -DW=0 slots are claimed again
 * check: -O2 -DSLOTS=2 -DHAND=0 -DDEATHS=1 -DW=0 one dies: the first gets the lower slot
 * long: -DW=1 three of one id, in any slots
 * long: -DTOMB=1 -DOTHER=1 three, and an earlier attempt
 * long: -DDEATHS=1 -DW=0 one dies, and there is another slot
 * long: -DDEATHS=1 -DHAND=2 three, one of which dies
 * fault 1: -DFAULT=1 -DTOMB=1 -DOTHER=1 -DW=0 a slot is announced before its id is written
 * fault 2: -DFAULT=2 -DSLOTS=2 -DW=0 who opens looks first, and announces then
 * fault 3: -DFAULT=3 -DSLOTS=2 -DW=0 each gives way to the other
 * fault 4: -DFAULT=4 -DSLOTS=2 -DW=0 who has the lower slot leaves the other alone
 * fault 5: -DFAULT=5 -DTOMB=1 -DW=0 what was read of a closed one is not looked at again
 * fault 6: -DFAULT=6 -DSLOTS=2 -DW=0 who was beaten opens all the same
 * fault 7: -DFAULT=7 -DSLOTS=2 -DDEATHS=1 -DW=0 a recoverer ends what the slot has by then
 * fault 8: -DFAULT=8 -DSLOTS=2 -DDEATHS=1 -DW=0 who loses to a dead one does not have it recovered
 * fault 9: -DFAULT=9 -DSLOTS=2 -DDEATHS=1 -DW=0 who was beaten does not ask by whom
 */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef SLOTS
#define SLOTS 3
#endif
#ifndef W
#define W 1
#endif
#ifndef OTHER
#define OTHER 0
#endif
#ifndef TOMB
#define TOMB 0
#endif
#ifndef EARLY
#define EARLY 0		/* V comes with the first attempt */
#endif
#ifndef CLOSES
#define CLOSES 0
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#define is_U 0
#define is_V 1
#define is_W 2
#define is_Q 3
#define is_P 4
#define N 5
#define NO_SLOT 9

mtype = { NONE, CLAIMED, OPENING, OPEN, CLOSED };
mtype st[SLOTS] = NONE;		/* with owner and number: the word */
byte owner[SLOTS];
byte number[SLOTS];
byte ids[SLOTS];		/* the dense hashes */
byte id[SLOTS];
byte attempt[SLOTS];
byte hand;

mtype = { PENDING, OPENED, EXISTS, ALREADY };
mtype result[3] = PENDING;
byte closed = TOMB;		/* the last attempt of id 1 that was */
bool gone[N], over[N];

#define live(slot) (st[slot] != NONE && st[slot] != CLOSED)

/* Is the slot's request one of that id? found, word and seen. */
inline is_id()
{
	if
	:: ids[i] != name -> found = 0
	:: ids[i] == name ->
		atomic { word = st[i]; seen = number[i]; whose = owner[i] };
		if
		:: word == NONE || word == CLAIMED -> found = 0
		:: else ->
#if FAULT == 5
			found = (id[i] == name)
#else
			if
			:: id[i] != name -> found = 0
			:: id[i] == name -> found = (number[i] == seen)
			fi
#endif
		fi
	fi
}
/* In an atomic: a CAS from the word that was read. */
inline move(to)
{
	if
	:: st[i] == word && number[i] == seen -> st[i] = to; ok = 1
	:: else -> ok = 0
	fi
}
/* What the request in slot i means: answer. */
inline meet()
{
	do
	:: is_id();
		if
		:: !found -> break
		:: found && word == OPENING && mine == NO_SLOT -> break
#if FAULT == 3
		:: found && word == OPENING && mine != NO_SLOT -> answer = EXISTS; break
#else
		:: found && word == OPENING && mine != NO_SLOT && i < mine -> answer = EXISTS; break
#if FAULT == 4
		:: found && word == OPENING && mine != NO_SLOT && i > mine -> break
#else
		:: found && word == OPENING && mine != NO_SLOT && i > mine ->
			atomic { move(NONE) };
			if
			:: ok -> break
			:: else
			fi
#endif
#endif
		:: found && word == CLOSED ->
			if
			:: attempt[i] < my_attempt -> break
#if FAULT == 5
			:: attempt[i] >= my_attempt -> answer = ALREADY; break
#else
			:: attempt[i] >= my_attempt ->
				if
				:: number[i] == seen -> answer = ALREADY; break
				:: number[i] != seen
				fi
#endif
			fi
		:: found && word == OPEN -> answer = EXISTS; break
		fi
	od;
	atomic { found = 0; word = 0; seen = 0; ok = 0 }
}
/* rival: who is in the way. */
inline meet_all()
{
	atomic { answer = PENDING; i = 0 };
	do
	:: i == mine -> i++
	:: i < SLOTS && i != mine ->
		meet();
		atomic {
			if
			:: answer != PENDING -> rival = whose; break
			:: else -> i++; whose = 0
			fi
		}
	:: i == SLOTS -> break
	od;
	atomic { i = 0; whose = 0 }
}
/* As meet_all(), of who was beaten. */
inline find_rival()
{
	i = 0;
	do
	:: i == mine -> i++		/* not reached: by U, who is beaten by nobody that dies; by V it is */
	:: i < SLOTS && i != mine ->
		is_id();
		atomic {
			if
			:: found && word != CLOSED -> answer = EXISTS; rival = whose; break
			:: else -> i++
			fi
		}
	:: i == SLOTS -> break
	od;
	atomic { i = 0; whose = 0; word = 0; seen = 0; found = 0 }
}
/* To read that a slot is nobody's, and lose the CAS, is like finding it taken. */
inline claim(state)
{
	atomic { i = hand % SLOTS; hand = (hand + 1) % SLOTS };
	do
	:: atomic { live(i) -> i = (i + 1) % SLOTS }	/* not reached: by U; by V it is */
	:: atomic { !live(i) -> st[i] = state; owner[i] = me; number[i]++; mine = i; i = 0; break }
	od
}
inline write_id()
{
	atomic { assert(owner[mine] == me && live(mine)); id[mine] = name };
	atomic { assert(owner[mine] == me && live(mine)); attempt[mine] = my_attempt }
}
inline cas_mine(from, to)
{
	atomic {
		if
#if FAULT == 6
		:: true ->
#else
		:: st[mine] == from && number[mine] == my_number ->
#endif
			st[mine] = to; ok = 1
		:: else -> ok = 0
		fi
	}
}
inline open()
{
	atomic { mine = NO_SLOT };
	meet_all();
	if
	:: answer != PENDING -> goto refused
	:: else
	fi;
#if FAULT == 1
	claim(OPENING);
	ids[mine] = 0;
	write_id();
	ids[mine] = name;
	my_number = number[mine];
#else
	claim(CLAIMED);
	my_number = number[mine];
	write_id();
#if FAULT == 2
	meet_all();
#endif
	ids[mine] = name;
	cas_mine(CLAIMED, OPENING);
	assert(ok);
#endif
#if FAULT != 2
	meet_all();
#endif
	if
	:: answer != PENDING -> cas_mine(OPENING, NONE)
	:: else ->
		atomic {
			cas_mine(OPENING, OPEN);
			if
			:: ok ->
				assert(id[mine] == name && attempt[mine] == my_attempt);
				assert(mine == 0 || st[0] != OPEN || id[0] != name);
				assert(mine == 1 || st[1] != OPEN || id[1] != name);
#if SLOTS == 3
				assert(mine == 2 || st[2] != OPEN || id[2] != name);
#endif
				answer = OPENED
			:: else
			fi
		};
#if FAULT != 9
		if
		:: answer == PENDING -> find_rival()	/* beaten: by whom? */
		:: else
		fi
#endif
	fi;
refused: skip
}
#define locals byte i, seen, whose, mine, my_number, rival; mtype word, answer; bool found, ok
/* kvshm_request_open() */
inline open_once()
{
	do
	:: open();
		if
		:: answer == OPENED || answer == ALREADY -> break
#if FAULT == 9
		:: answer == PENDING -> answer = EXISTS; rival = 1 - me; break
#else
		:: answer == PENDING	/* who beat it is gone */
#endif
#if DEATHS && FAULT != 8
		:: atomic { answer == EXISTS && !gone[rival] -> told = 1; break }
		:: answer == EXISTS && gone[rival] -> over[is_Q]	/* it is recovered */
#else
		:: answer == EXISTS -> break
#endif
		fi
	od;
	atomic {
		assert(answer != EXISTS || told || !gone[rival]);
		assert(answer != ALREADY || (name == 1 && my_attempt <= closed));
		result[me] = answer
	};
#if CLOSES
	if
	:: answer == OPENED ->
		atomic {
			st[mine] = CLOSED;
			closed = (name == 1 && my_attempt > closed -> my_attempt : closed)
		}
	:: true
	fi
#endif
}
proctype Opener(byte me; byte name; byte my_attempt)
{
	bool told;
	locals;

	open_once()
}
#if DEATHS
proctype Mortal(byte me; byte name; byte my_attempt)
{
	bool told;
	locals;
	{
		open_once()
	} unless { gone[me] };
	over[me] = 1
}
#else
#define Mortal Opener
#endif
#if DEATHS
/* kvs_request_abort_all(), and kvs_request_close_all(). */
proctype Recoverer(byte me)
{
	byte i, seen; mtype word; bool ok;
	{
		over[is_U];
		if
		:: gone[is_U] ->
			do
			:: atomic { i < SLOTS && !(live(i) && owner[i] == is_U) -> i++ }
			:: atomic { i < SLOTS && live(i) && owner[i] == is_U -> word = st[i]; seen = number[i] };
				atomic {
#if FAULT == 7
					seen = number[i];
					word = (live(i) -> st[i] : word);
#endif
					assert(st[i] != word || number[i] != seen || owner[i] == is_U);
					if
					:: word == OPEN -> move(CLOSED); closed = 1
					:: else -> move(NONE)
					fi;
					i++; ok = 0; word = 0; seen = 0
				}
			:: i == SLOTS -> break
			od
		:: else
		fi
	} unless { gone[me] };
	over[me] = 1
}
/* U dies, and P stops, at any time or never. */
proctype Fate()
{
	if
	:: atomic { !over[is_U] -> gone[is_U] = 1 }
	:: true
	fi;
	if
	:: atomic { !over[is_P] -> gone[is_P] = 1 }
	:: true
	fi
}
#endif
#define is_opened(who) (result[who] == OPENED)
init {
	byte n;

	atomic {
#ifdef HAND
		hand = HAND;
#else
		do
		:: hand < SLOTS - 1 -> hand++
		:: break
		od;
#endif
#if TOMB
		st[0] = CLOSED; number[0] = 1; ids[0] = 1; id[0] = 1; attempt[0] = 1;
#endif
		run Mortal(is_U, 1 + OTHER, 1 + TOMB);
		run Opener(is_V, 1, (EARLY -> 1 : 2 + TOMB));
#if W
		run Opener(is_W, 1, 2 + TOMB);
#endif
#if DEATHS
		run Recoverer(is_Q); run Recoverer(is_P); run Fate()
#endif
	};
	atomic {
		_nr_pr == 1;
#if DEATHS
		assert(gone[is_U] || is_opened(is_U) + is_opened(is_V) + is_opened(is_W) == 1);
		for (n : 0 .. SLOTS - 1) {
			assert(!live(n) || (owner[n] != is_U || !gone[is_U]))
		}
#elif CLOSES
		assert(is_opened(is_U) || is_opened(is_V))
#elif OTHER
		assert(is_opened(is_U) && (EARLY && !W || is_opened(is_V) + is_opened(is_W) == 1))
#else
		assert(is_opened(is_U) + is_opened(is_V) + is_opened(is_W) == 1)
#endif
	}
}
