/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * The line for room: places, gathering, deadlines, deaths, and the next client of a place. A has place 0, B place 1,
 * and C (-DC=1) place 2: each wants two blocks, waits until it has both or its time is over, draws some of them, and
 * ends. The others come at any time:
 *   X  -DX=1       claims A's request slot when it is closed, and wants room too
 *   F  -DF=1       fills a block outside of the line, and lets it go
 *   S  -DS=1       passes by: may find a place late, and may sweep, each once
 *   Q  -DDEATHS=1  recovers A, which may die after any step; with -DDEATHS=2 P does so too, and may die, or stop for as
 *                  long as it likes; when both are through or dead, Z recovers once more, as under the write lock
 * With -DSOON=1 A has a deadline, which may have passed whenever somebody looks; with -DSTOPS=1 A may stop for good
 * until it is granted. With -DAGAIN=1 A waits once more when its first time is over, without a deadline.
 * stands for shm/room.h: kvs_room_place()
 * stands for shm/room.c: kvs_room_join() kvs_room_gather() kvs_room_first() expired() kvs_room_heal() put_back() lost()
 * stands for shm/room.c: grant() kvs_room_draw() kvs_room_leave() kvs_room_abandon() kvs_room_refused() drop_line()
 * stands for shm/room.c: tell_first() kvs_room_tell() kvs_room_wake() kvs_room_listen() kvs_room_sleep()
 * stands for shm/requests.c: kvs_request_abort_all() kvs_request_close_all()
 * stands for shm/alloc.c: own() kvs_alloc_room()
 *
 * Shows: who is granted has all that it wants, and each of it until it draws it or gives it back, so that no block is
 * in two hands; nobody's place is taken away before its own deadline, or by who recovers another; all who wait are
 * granted in the end, whoever stopped or died, and also while all live and nobody has a deadline: parts that were
 * gathered block nobody. Who took its number when another waited already is not granted before that one. When all is
 * over every block is free but what one who stopped has; so no ROOM block is left behind a place that has ended.
 *
 * With -DWAKES=1 nobody looks again but who is woken: no wake is lost, also none of a block that gets free while a fill
 * outside of the line takes the hint away that there is one. (Without: who sleeps looks again when a look would show
 * it something, and F takes a block whenever it likes. A wake that a late comer with a lower number needs, because the
 * first sleeps on what it has gathered, is left to the look every 10 ms: so there a number is taken in the line.)
 *
 * Left out: that idle blocks wait for a grace period, and hints (a search looks at every block); the request's end as
 * such (request_end.pml).
 *
 * long: -O2 -DC=1 three in the line, each of which wants all there is
 * check: -DSOON=1 -DSTOPS=1 A stops anywhere in the line
 * long: -DSOON=1 -DAGAIN=1 -DS=1 A waits twice, while who passes by stands
 * check: -DF=1 fills outside of the line
 * check: -DDEATHS=1 -DSOON=1 A dies, and B is in the line
 * check: -DDEATHS=2 -DX=1 -DB=0 A dies, a recoverer stops or dies too, and X comes
 * check: -DWAKES=1 -DF=1 each is woken
 * long: -DC=1 -DBLOCKS=3 three in the line, and one block more
 * long: -DSOON=1 -DSTOPS=1 -DS=1 A stops, and so does who passes by
 * long: -DDEATHS=1 -DX=1 A dies, B is in the line, and X comes
 * long: -DDEATHS=2 -DX=1 -DB=0 -DS=1 A dies, a recoverer stops or dies too, X comes, and somebody passes by
 * fault 1: -DFAULT=1 -DSOON=1 -DAGAIN=1 -DS=1 a sweeper looks at the place before the block
 * fault 2: -DFAULT=2 -DSOON=1 -DAGAIN=1 -DS=1 it frees what the block is by then
 * fault 3: -DFAULT=3 -DSOON=1 -DS=1 who has gathered all is granted without a CAS
 * fault 4: -DFAULT=4 -DSOON=1 -DAGAIN=1 -DS=1 the deadline is read before the place
 * fault 5: -DFAULT=5 -DDEATHS=2 -DX=1 -DB=0 a recoverer looks at the request before its place
 * fault 6: -DFAULT=6 -DDEATHS=1 -DX=1 -DB=0 a request is closed before the walk over the blocks
 * fault 7: -DFAULT=7 who sees a lower number keeps what it has
 * fault 8: -DFAULT=8 -DSOON=1 -DSTOPS=1 only the deadline of the first is looked at
 * fault 9: -DFAULT=9 -DSOON=1 -DSTOPS=1 a block is OWNED before it is ROOM
 * fault 10: -DFAULT=10 a number is taken in two steps
 * fault 11: -DFAULT=11 -DSOON=1 what is given back is stored without a CAS
 * fault 12: -DFAULT=12 -DSOON=1 -DSTOPS=1 -DS=1 who finds nothing to gather does not sweep
 * fault 13: -DFAULT=13 -DDEATHS=1 recovery leaves the place as it is
 * fault 14: -DFAULT=14 the lowest place is the first, not the lowest number
 * fault 15: -DFAULT=15 -DSOON=1 -DAGAIN=1 -DS=1 a place is taken away from whatever number it has by then
 * fault 16: -DFAULT=16 -DWAKES=1 -DF=1 who takes the hint away does not look again
 * fault 17: -DFAULT=17 -DWAKES=1 -DF=1 who puts it back tells nobody
 * fault 18: -DFAULT=18 -DWAKES=1 who leaves the line tells nobody
 * fault 19: -DFAULT=19 -DWAKES=1 who sleeps reads the bells behind its look
 */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef BLOCKS
#define BLOCKS 2
#endif
#ifndef B
#define B 1
#endif
#ifndef C
#define C 0
#endif
#ifndef X
#define X 0
#endif
#ifndef F
#define F 0
#endif
#ifndef S
#define S 0
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef SOON
#define SOON 0
#endif
#ifndef STOPS
#define STOPS 0
#endif
#ifndef AGAIN
#define AGAIN 0
#endif
#ifndef WAKES
#define WAKES 0
#endif
#define is_A 0
#define is_B 1
#define is_C 2
#define is_X 3
#define is_F 4
#define is_S 5
#define is_Q 6
#define is_P 7
#define is_Z 8
#define N 9
#define WANTED 2
#define PLACES (2 + C)
#define NO_PLACE PLACES
#define bit(who) (1 << (who))

mtype = { NONE, WAITING, GRANTED, EXPIRED };
mtype place[PLACES] = NONE;	/* with the number it is the place's word: no two numbers are the same */
byte number[PLACES];
bool soon[PLACES];		/* its deadline is one that passes */
byte line_next = 1;
mtype = { FREE, OWNED, ROOM };
mtype st[BLOCKS] = FREE;
byte owner[BLOCKS];		/* a client, or a place */
short fresh[BLOCKS];		/* whose copy of the word is still the word */
mtype = { OPEN, ABORTED, CLOSED, THEIRS };
mtype request = OPEN;		/* of place 0: A's, nobody's, X's */

#if WAKES
bool line;
bool own_rung[2], room_rung[2];	/* has the bell been rung since its owner read it? */
#endif
byte before[PLACES];		/* which places waited when this one took its number */
bool gone[N], over[N], dead;

#define waits(q) (place[q] == WAITING)
#define is_over(q) (place[q] != WAITING && place[q] != GRANTED)
#define loose(block) (st[block] == ROOM && is_over(owner[block]))
#if FAULT == 14
#define in_front(q) (waits(q) && q < p)
#else
#define in_front(q) (waits(q) && number[q] < number[p])
#endif
#if FAULT == 8
#define late(q) (waits(q) && soon[q] && (q == p || in_front(q)))
#else
#define late(q) (waits(q) && soon[q])
#endif
#if C
#define any(what) (what(0) || what(1) || what(2))
#else
#define any(what) (what(0) || what(1))
#endif
#define is_free(block) (st[block] == FREE)
#if BLOCKS == 3
#define any_block(what) (what(0) || what(1) || what(2))
#define count(set) ((set & 1) + (set >> 1 & 1) + (set >> 2 & 1))
#else
#define any_block(what) (what(0) || what(1))
#define count(set) ((set & 1) + (set >> 1 & 1))
#endif
#if FAULT == 12
#define there_is_room any_block(is_free)
#else
#define there_is_room (any_block(is_free) || any_block(loose))
#endif
#if FAULT == 7
#define behind_with_blocks 0
#else
#define behind_with_blocks mine
#endif
/* Would a look show it anything? */
#define look_pays (!waits(p) || any(late) || (any(in_front) -> behind_with_blocks : there_is_room))

#define locals byte n, q, sq, at, mine, drawn; mtype sp; bool ok, late_now, lower, ended

/* ---- Wakes ---- */

#if WAKES
inline ring_room() { atomic { room_rung[0] = 1; room_rung[1] = 1 } }
inline kvs_room_wake(q) { own_rung[q] = 1; ring_room() }
/* Behind a block that has become free. */
inline kvs_room_tell()
{
	if
	:: line -> ring_room()
	:: !line
	fi
}
/* lower: is anybody there? */
inline look_at_line()
{
	lower = waits(0);
	if
	:: !lower -> lower = waits(1)
	:: else
	fi
}
inline drop_line()
{
	line = 0;
#if FAULT != 16
	look_at_line();
	if
	:: lower ->
		line = 1;
#if FAULT != 17
		kvs_room_tell()
#endif
	:: else
	fi
#endif
}
inline tell_first()
{
#if FAULT != 18
	if
	:: waits(1 - p) -> kvs_room_wake((1 - p))
	:: !waits(1 - p) ->
		if
		:: line -> drop_line(); lower = 0
		:: !line
		fi
	fi
#else
	skip
#endif
}
#define TELL }; kvs_room_tell(); atomic {
#define TELL_FIRST tell_first();
#else
#define TELL
#define TELL_FIRST
#endif
inline sleep()
{
#if WAKES
#if FAULT == 19
	atomic { own_rung[p] = 0; room_rung[p] = 0 };
#endif
	if
	:: in_front(1 - p) -> own_rung[p]
	:: !in_front(1 - p) -> room_rung[p]
	fi
#else
	look_pays
#endif
}

/* ---- Blocks ---- */

/* In an atomic, as what the caller does next with its own variables. */
inline set_block(to, by) { st[n] = to; owner[n] = by; fresh[n] = (to == FREE -> 0 : bit(me)) }
inline read_block() { fresh[n] = fresh[n] | bit(me) }
inline forget() { fresh[n] = fresh[n] & ~bit(me) }
inline cas_block(to, by)
{
	if
	:: fresh[n] & bit(me) -> set_block(to, by)
	:: else
	fi
}
/* The next of a loop over the blocks, or its end. */
#define next_block n++; if :: n == BLOCKS -> n = 0; break :: else fi

/* kvs_room_heal() of each block; who has a place p leaves its own alone. */
inline sweep()
{
	do
	:: atomic { st[n] != ROOM || owner[n] == p -> next_block }
	:: atomic { st[n] == ROOM && owner[n] != p -> at = owner[n]; read_block() };
#if FAULT == 1
		if
		:: is_over(at) ->
			atomic {
				if
				:: st[n] == ROOM && owner[n] == at -> read_block()
				:: else
				fi
			};
			atomic { cas_block(FREE, 0); forget() }
		:: atomic { !is_over(at) -> forget() }
		fi;
#elif FAULT == 2
		if
		:: is_over(at) ->
			atomic {
				if
				:: st[n] == ROOM && owner[n] == at -> set_block(FREE, 0)
				:: else
				fi
			}
		:: atomic { !is_over(at) -> forget() }
		fi;
#else
		if
		:: is_over(at) -> atomic { cas_block(FREE, 0) }
		:: atomic { !is_over(at) -> forget() }
		fi;
#endif
		atomic { at = 0; next_block }
	od
}
/* put_back() of all: unless a sweeper was first. */
inline put_all_back()
{
	do
	:: atomic { !(mine & bit(n)) -> next_block }
	:: atomic {
			mine & bit(n) ->
			mine = mine & ~bit(n);
#if FAULT == 11
			set_block(FREE, 0);
#else
			if
			:: st[n] == ROOM && owner[n] == p -> set_block(FREE, 0)
			:: else
			fi;
#endif
			next_block
		}
	od
}
/* A free block, if there is one: it is ROOM from there on. To see that it is free, and lose the CAS, is like seeing it
 * taken. */
inline take()
{
	do
	:: atomic { st[n] != FREE -> ok = 0; next_block }
	:: atomic {
			st[n] == FREE ->
#if FAULT == 9
			set_block(OWNED, me)
		};
		atomic {
#endif
			set_block(ROOM, p);
			ok = 1; mine = mine | bit(n); n = 0; break
		}
	od
}

/* ---- Places ---- */

/* As cas_block(). */
inline read_place() { sp = place[q]; sq = number[q] }
inline cas_place(to)
{
	if
#if FAULT == 15
	:: place[q] == sp ->
#else
	:: place[q] == sp && number[q] == sq ->
#endif
		assert(to != EXPIRED || soon[q]);
		assert(to != NONE || request != THEIRS);
		place[q] = to; ok = 1
	:: else -> ok = 0
	fi
}
/* Of place q, which waited when it was read. */
inline expired()
{
#if FAULT == 4
	late_now = (me == is_S -> late_now : soon[q]);
#else
	late_now = soon[q];
#endif
	if
	:: late_now ->
		atomic { cas_place(EXPIRED) };
		if
		:: ok -> ok = 0; sweep()
		:: else
		fi
	:: true		/* not yet */
	fi
}
inline note_place()
{
	read_place();
#if FAULT == 14
	lower = lower || (sp == WAITING && q < p);
#else
	lower = lower || (sp == WAITING && sq < number[p]);
#endif
	ended = ended || (q == p && sp != WAITING)
}
#define next_place sp = 0; sq = 0; q++; if :: q == PLACES -> q = 0; break :: else fi
/* kvs_room_first(): is anyone in front, and has anyone's time passed? */
inline scan()
{
	atomic { lower = 0; ended = 0 };
	do
	:: atomic { !late(q) -> note_place(); next_place }
	:: atomic { late(q) -> note_place() };	/* A's, which is not the last */
		expired();
		atomic { late_now = 0; sp = 0; sq = 0; q++ }
	od
}
inline kvs_room_join(deadline)
{
#if FAULT == 10
	mine = line_next;
	atomic { line_next = mine + 1; sq = mine; mine = 0 };
#else
	/* who waits at this moment is in front for good */
	atomic {
		sq = line_next; line_next++; before[p] = waits(0) | waits(1) << 1;
#if WAKES
		place[p] = WAITING; number[p] = sq; sq = 0
#endif
	};
#endif
#if !WAKES
#if SOON
	soon[p] = deadline;
#endif
	atomic { place[p] = WAITING; number[p] = sq; sq = 0 }
#endif
}
inline lost()
{
	put_all_back();
	place[p] = NONE;
	TELL_FIRST
}
#define was_before(q) (before[p] & bit(q) && waits(q) && number[q] < number[p])
inline grant()
{
#if FAULT == 3
	atomic { place[p] = GRANTED; ok = 1 }
#else
	atomic {
		if
		:: waits(p) -> assert(!was_before(0) && !was_before(1)); place[p] = GRANTED; ok = 1
		:: else -> ok = 0
		fi
	}
#endif
}
/* kvs_room_gather(), again and again. ok: it is granted; else its time is over. */
inline wait_in_line(deadline)
{
	kvs_room_join(deadline);
	do
	::
#if WAKES
#if FAULT != 19
		atomic { own_rung[p] = 0; room_rung[p] = 0 };
#endif
		line = 1;
#endif
		scan();
		if
		:: ended -> lost(); ok = 0; break
		:: !ended && lower ->
#if FAULT != 7
			put_all_back();
#if WAKES
			kvs_room_tell();
#endif
#endif
			sleep()
		:: !ended && !lower ->
			do
			:: take();
				if
				:: !ok || !waits(p) -> break
				:: ok && waits(p) && count(mine) == WANTED -> break
				:: ok && waits(p) && count(mine) < WANTED
				fi
			od;
			if
			:: count(mine) == WANTED ->
				grant();
				if
				:: ok -> TELL_FIRST break
				:: else -> lost(); ok = 0; break
				fi
			:: count(mine) < WANTED && ok -> lost(); ok = 0; break
			:: count(mine) < WANTED && !ok ->
#if FAULT != 12
				sweep();
#endif
				sleep()
			fi
		fi
	od
}

/* ---- Who is there ---- */

/* kvs_room_draw() of some; the rest is given back. */
inline draw()
{
	do
	:: atomic { true -> next_block }
	:: atomic {
			mine & bit(n) ->
			assert(st[n] == ROOM && owner[n] == p);
			set_block(OWNED, me); mine = mine & ~bit(n); drawn = drawn | bit(n);
			next_block
		}
	od
}
inline release()
{
	do
	:: atomic { !(drawn & bit(n)) -> next_block }
	:: atomic {
			drawn & bit(n) ->
			assert(st[n] == OWNED && owner[n] == me);
			set_block(FREE, 0); drawn = drawn & ~bit(n);
			TELL next_block
		}
	od
}
inline own()
{
	wait_in_line((me == is_A && SOON));
#if AGAIN
	if
	:: !ok && me == is_A -> wait_in_line(0)
	:: else
	fi;
#endif
	if
	:: ok -> assert(count(mine) == WANTED); draw()
	:: else
	fi;
#if X || DEATHS
	if
	:: me == is_A -> request = ABORTED
	:: else
	fi;
#endif
	lost();				/* kvs_room_leave() */
	release();
#if X || DEATHS
	if
	:: me == is_A -> request = CLOSED
	:: else
	fi
#endif
}
proctype Owner(byte me; byte p)
{
	locals;

	own()
}
#if STOPS || DEATHS
proctype Mortal(byte me; byte p)
{
	locals;
	{
		own()
	} unless { gone[me] };
	over[me] = 1
}
#else
#define Mortal Owner
#endif
#if X
proctype Next()
{
	byte me = is_X, p = 0;
	locals;

	if
	:: atomic { request == CLOSED -> request = THEIRS };
		own()
	:: true
	fi
}
#endif
#if F
proctype Fill()
{
	byte me = is_F;
	locals;

#if WAKES
	if
	:: line ->			/* kvs_room_refused() */
		look_at_line();
		if
		:: !lower -> drop_line()
		:: else
		fi
	:: !line
	fi;
	if
	:: lower -> goto refused
	:: else
	fi;
#endif
	do
	:: atomic { st[n] != FREE -> next_block }
	:: atomic { st[n] == FREE -> set_block(OWNED, me); drawn = bit(n); n = 0; break }
	od;
	release();
refused: skip
}
#endif
#if S
proctype Passer()
{
	byte me = is_S, p = NO_PLACE;
	locals;

#if FAULT == 4
	late_now = soon[q];
#endif
	if
	:: atomic { waits(q) -> read_place() };
		expired()
	:: true
	fi;
	atomic { sp = 0; sq = 0; late_now = 0 };
	if
	:: sweep()
	:: true
	fi
}
#endif
#if DEATHS
inline kvs_request_abort_all()
{
#if FAULT == 5
	ok = (request == OPEN || request == ABORTED);
	atomic { read_place() };
#else
	atomic { read_place() };
	ok = (request == OPEN || request == ABORTED);
#endif
	if
	:: ok ->
#if FAULT != 13
		atomic {			/* kvs_room_abandon() */
			if
			:: sp != NONE -> cas_place(NONE)
			:: else
			fi
		};
#endif
		atomic {
			if
			:: request == OPEN -> request = ABORTED
			:: else
			fi
		}
	:: else
	fi;
	atomic { sp = 0; sq = 0; ok = 0 }
}
/* A's blocks outside of its room; then those of its room. */
inline walk()
{
	do
	:: atomic { !(st[n] == OWNED && owner[n] == is_A) -> next_block }
	:: atomic { st[n] == OWNED && owner[n] == is_A -> read_block() };
		atomic { cas_block(FREE, 0); next_block }
	od;
	sweep()
}
inline kvs_request_close_all()
{
	atomic {
		if
		:: request == ABORTED -> request = CLOSED
		:: else
		fi
	}
}
proctype Recoverer(byte me)
{
	byte p = NO_PLACE;
	locals;
	{
		over[is_A];
		if
		:: dead ->
			kvs_request_abort_all();
#if FAULT == 6
			kvs_request_close_all();
#endif
			walk();
			kvs_request_close_all()
		:: else
		fi
	} unless { gone[me] };
	over[me] = 1
}
#endif
#if STOPS || DEATHS
/* Stops, and deaths, at any time or never. */
proctype Fate()
{
#if STOPS
	if
	:: atomic { !number[0] || waits(0) || place[0] == EXPIRED -> gone[is_A] = 1 }
	:: true
	fi;
#else
	if
	:: atomic { !over[is_A] -> gone[is_A] = 1; dead = 1 }
	:: true
	fi;
#endif
#if DEATHS == 2
	if
	:: atomic { !over[is_P] -> gone[is_P] = 1 }
	:: true
	fi
#endif
}
#endif
init {
	byte n;

	atomic {
		run Mortal(is_A, 0);
#if B
		run Owner(is_B, 1);
#endif
#if C
		run Owner(is_C, 2);
#endif
#if X
		run Next();
#endif
#if F
		run Fill();
#endif
#if S
		run Passer();
#endif
#if DEATHS
		run Recoverer(is_Q);
#endif
#if DEATHS == 2
		run Recoverer(is_P);
#endif
#if STOPS || DEATHS
		run Fate()
#endif
	};
#if DEATHS == 2
	over[is_Q] && over[is_P];
	run Recoverer(is_Z);
#endif
	atomic {
		_nr_pr == 1;
		for (n : 0 .. BLOCKS - 1) {
			assert(st[n] == FREE || (STOPS && gone[is_A]))
		}
	}
}
