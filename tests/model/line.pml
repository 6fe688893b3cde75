/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * The line for room: places, gathering, deadlines, deaths, and the next client of a place. A has place 0, B place 1,
 * and C (-DC=1) place 2: each wants two blocks, waits until it has both or its time is over, draws some of them, and
 * ends. The others come at any time:
 *   X  -DX=1       claims A's request slot when it is closed, and wants room too
 *   F  -DF=1       fills a block outside of the line, and lets it go; with -DF=2 it only looks whether it may,
 *                and takes the hint that somebody waits away as if it had found nobody
 *   S  -DS=1       passes by: may find a place late, and may sweep, each once
 *   Q  -DDEATHS=1  recovers A, which may die after any step; with -DDEATHS=2 P does so too, and may die, or stop for as
 *                  long as it likes; when both are through or dead, Z recovers once more, as under the write lock
 * With -DSOON=1 A has a deadline, which may have passed whenever somebody looks; with -DSTOPS=1 A may stop for good
 * until it is granted. With -DAGAIN=1 A waits once more when its first time is over, without a deadline. With -DSTRAY=1
 * there is no A: its place waits, in front of all, but no request has it, as in a segment that was damaged: then it has
 * a block, or X comes.
 * stands for shm/room.h: kvs_room_place()
 * stands for shm/room.c: kvs_room_join() kvs_room_gather() gather() kvs_room_first() sound_place() expired()
 * stands for shm/room.c: kvs_room_heal() put_back() give_up() lost() grant() kvs_room_draw() kvs_room_leave()
 * stands for shm/room.c: kvs_room_abandon() kvs_room_refused() drop_line() tell_first() kvs_room_tell() kvs_room_wake()
 * stands for shm/room.c: kvs_room_listen() kvs_room_sleep()
 * stands for lib/request_room.c: too_late()
 * stands for shm/requests.c: kvs_request_abort_all() kvs_request_close_all()
 * stands for shm/alloc.c: own() kvs_alloc_room()
 *
 * Shows: who is granted has all that it wants, and each of it until it draws it or gives it back, so that no block is
 * in two hands; nobody's place is taken away before its own deadline, or by who recovers another, or because the slot
 * had no request a moment ago; all who wait are granted in the end, whoever stopped or died, and also while all live
 * and nobody has a deadline: parts that were gathered block nobody. Who took its number when another waited already is
 * not granted before that one. When all is over every block is free but what one who stopped has; so no ROOM block is
 * left behind a place that has ended.
 *
 * With -DWAKES=1 nobody looks again but who is woken, or whose slice of 10 ms is over: which it is once only, when A
 * has died (-DDEATHS=1). So no wake is lost of who is told only where somebody SLEEPS; also none while a fill outside
 * of the line, or who leaves it, takes the hint away that there is one (-DLINE=1 and 2: the hint that a line of
 * before has left: GATHERS, SLEEPS); and what a death loses, also between these two steps, one slice mends. (Without:
 * who sleeps looks again when a look would show it something, and F takes a block whenever it likes. A wake that a
 * late comer with a lower number needs, because the first sleeps on what it has gathered, is left to the look every
 * 10 ms, as is one that a place which has expired owes the next: so there a number is taken in the line, and there
 * are no deadlines.)
 *
 * Left out: that idle blocks wait for a grace period, that they are evicted (for all of a room in one go), and hints (a
 * search looks at every block); the request's end as such (request_end.pml); words that make no sense, but STRAY.
 *
 * long: -O2 -DC=1 three in the line, each of which wants all there is
 * check: -DSOON=1 -DSTOPS=1 A stops anywhere in the line
 * long: -DSOON=1 -DAGAIN=1 -DS=1 A waits twice, while who passes by stands
 * check: -DF=1 fills outside of the line
 * check: -DSTRAY=1 -DX=1 -DS=1 a place that no request has is in front, with a block, or X comes into its slot
 * check: -DDEATHS=1 -DSOON=1 A dies, and B is in the line
 * long: -DDEATHS=2 -DX=1 -DB=0 A dies, a recoverer stops or dies too, and X comes
 * check: -DWAKES=1 -DF=2 each is woken
 * long: -DWAKES=1 -DDEATHS=1 A dies, and one slice mends what it owed
 * long: -DWAKES=1 -DF=1 -DLINE=1 each is woken, also of what fills let go of
 * long: -DWAKES=1 -DF=2 -DLINE=2 each is woken, of a line that was left as one that sleeps
 * long: -DWAKES=1 -DC=1 three are woken
 * long: -DF=1 -DX=1 X comes into A's slot, while B looks at its place; and fills
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
 * fault 12: -DFAULT=12 -DSTRAY=1 -DX=1 who finds nothing to gather does not sweep
 * fault 13: -DFAULT=13 -DDEATHS=1 recovery leaves the place as it is
 * fault 14: -DFAULT=14 the lowest place is the first, not the lowest number
 * fault 15: -DFAULT=15 -DSOON=1 -DAGAIN=1 -DS=1 a place is taken away from whatever number it has by then
 * fault 16: -DFAULT=16 -DWAKES=1 -DF=2 who takes the hint away does not look again
 * fault 17: -DFAULT=17 -DWAKES=1 -DF=2 who puts it back tells nobody
 * fault 18: -DFAULT=18 -DWAKES=1 who leaves the line tells nobody
 * fault 19: -DFAULT=19 -DWAKES=1 who sleeps reads the bells behind its look
 * fault 20: -DFAULT=20 -DWAKES=1 who sleeps says so behind its second look
 * fault 21: -DFAULT=21 -DWAKES=1 it does not look a second time
 * fault 22: -DFAULT=22 -DWAKES=1 -DF=2 who puts the hint back says GATHERS, though another may sleep
 * fault 23: -DFAULT=23 -DSTRAY=1 -DX=1 who looks for a place that no request has reads the request before the place
 * fault 24: -DFAULT=24 -DSTRAY=1 -DX=1 a place that no request has is left in the line
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
#ifndef LINE
#define LINE 0
#endif
#ifndef STRAY
#define STRAY 0
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
#define EMPTY 0
#define GATHERS 1
#define SLEEPS 2
#define SLEPT 3			/* none of a line: it looks for the first time since it has slept */
#define AGAIN_THEN_SAID 4	/* nor this */
byte line = LINE;
bool own_rung[PLACES], room_rung[PLACES];	/* has the bell been rung since its owner read it? */
#if DEATHS
bool slice;			/* B's, since A has died */
#endif
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

#if WAKES
#define LINE_LOCALS ; byte was = SLEPT
#else
#define LINE_LOCALS
#endif
#define locals byte n, q, sq, at, mine, drawn; mtype sp; bool ok, late_now, lower, ended LINE_LOCALS

/* ---- Wakes ---- */

#if WAKES
inline ring_room()
{
	room_rung[0] = 1; room_rung[1] = 1;
#if C
	room_rung[2] = 1
#endif
}
/* In one step: each is asleep on one of them at most, and has read both before its look. */
inline kvs_room_wake(who) { atomic { own_rung[who] = 1; ring_room() } }
/* Behind a block that has become free. */
inline kvs_room_tell()
{
	if
	:: line == SLEEPS -> atomic { ring_room() }
	:: line != SLEEPS
	fi
}
/* In an atomic, as what the caller does next with its own variables. */
inline note_first(which)
{
	at = (waits(which) && (at == NO_PLACE || number[which] < sq) -> which : at);
	sq = (at == which -> number[which] : sq)
}
/* kvs_room_first(), where no time passes. at: who; numbers are looked at place by place. */
inline look_for_first()
{
	atomic { at = NO_PLACE; note_first(0) };
#if C
	atomic { note_first(1) };
	atomic { note_first(2); sq = 0 }
#else
	atomic { note_first(1); sq = 0 }
#endif
}
/* at: whom it has found; else NO_PLACE. */
inline drop_line()
{
	line = EMPTY;
#if FAULT != 16
	look_for_first();
	if
	:: at == NO_PLACE
	:: at != NO_PLACE ->
#if FAULT == 22
		line = GATHERS;
#else
		line = SLEEPS;
#endif
		look_for_first();
#if FAULT != 17
		if
		:: at != NO_PLACE -> kvs_room_wake(at)
		:: at == NO_PLACE	/* who fills is refused all the same; here it goes on */
		fi
#endif
	fi
#endif
}
inline tell_first()
{
#if FAULT != 18
	if
	:: line == SLEEPS ->
		look_for_first();
		if
		:: at != NO_PLACE -> kvs_room_wake(at)
		:: else -> drop_line()
		fi;
		at = 0
	:: line != SLEEPS
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
#if WAKES && DEATHS
#define wait_for(bell) atomic { bell || (slice && p == 1) -> slice = slice && (bell || p != 1) }
#define A_HAS_DIED slice = 1
#else
#define wait_for(bell) bell
#define A_HAS_DIED skip
#endif
inline sleep()
{
#if WAKES
#if FAULT == 19
	atomic { own_rung[p] = 0; room_rung[p] = 0 };
#endif
	if
	:: any(in_front) -> wait_for(own_rung[p])
	:: !any(in_front) -> wait_for(room_rung[p])
	fi
#else
	look_pays
#endif
}

/* ---- A place's word ---- */

/* In an atomic, as what the caller does next with its own variables. */
inline read_place(which) { sp = place[which]; sq = number[which] }
inline cas_place(which, to)
{
	if
#if FAULT == 15
	:: place[which] == sp ->
#else
	:: place[which] == sp && number[which] == sq ->
#endif
		assert(to != EXPIRED || soon[which]);
		assert(to != NONE || request == OPEN || request == ABORTED || (STRAY && sq == 1));
		place[which] = to; ok = 1
	:: else -> ok = 0
	fi
}
#define SOUND (X || STRAY)
#if SOUND
/* A place that no request has is taken away: the place first, then the request. Only place 0 may be one. sp, sq: what
 * it is then. */
#define may_hold(which) (which != 0 || request != CLOSED)
#define has_place (sp == WAITING || sp == GRANTED)
inline sound_place(which)
{
#if FAULT == 23
	ok = may_hold(which);
	atomic { read_place(which); ok = ok || !has_place };
	if
	:: atomic { ok -> ok = 0 }
	:: !ok ->
#elif FAULT == 24
	atomic { read_place(which) };
	if
	:: true
	:: false ->
#else
	atomic { read_place(which) };
	if
	:: !has_place || may_hold(which)
	:: has_place && !may_hold(which) ->
#endif
		atomic { cas_place(which, NONE); read_place(which) }
	fi
}
#endif

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
#if SOUND
		q = at;
		sound_place(q);
		atomic {
			if
			:: has_place -> forget()
			:: else -> cas_block(FREE, 0)
			fi;
			sp = 0; sq = 0; q = 0; at = 0; next_block
		}
#else
		if
		:: is_over(at) -> atomic { cas_block(FREE, 0) }
		:: atomic { !is_over(at) -> forget() }
		fi;
#endif
#if WAKES
		kvs_room_tell();
#endif
#endif
#if !SOUND || FAULT == 1 || FAULT == 2
		atomic { at = 0; next_block }
#endif
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
		atomic { cas_place(q, EXPIRED) };
		if
		:: ok -> ok = 0; sweep()
		:: else
		fi
	:: true		/* not yet */
	fi
}
inline note_place()
{
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
#if SOUND
	:: q == 0 && p != 0 ->
		sound_place(q);
		atomic { note_place() };
		q = 1		/* not reached: alone, as spin makes one step of it and the one before */
	:: atomic { !(q == 0 && p != 0) -> read_place(q); note_place(); next_place }
#else
	:: atomic { !late(q) -> read_place(q); note_place(); next_place }
	:: atomic { late(q) -> read_place(q); note_place() };	/* A's, which is not the last */
		expired();
		atomic { late_now = 0; sp = 0; sq = 0; q++ }
#endif
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
inline give_up()
{
	put_all_back();
	place[p] = NONE;
	TELL_FIRST
}
/* Taken away: as is lawful from the deadline on, of which it has a copy of its own (which soon[p] is, undamaged). */
inline lost()
{
	assert(place[p] == EXPIRED && soon[p]);
	give_up();
	ok = 0
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
/* A look has come to nothing: it looks once more, or sleeps; or its time is over: too_late(). */
inline nothing_yet(deadline)
{
#if WAKES
	if
	:: was == SLEEPS -> sleep(); was = SLEPT
#if FAULT == 20
	:: was == EMPTY || was == GATHERS -> was = AGAIN_THEN_SAID
	:: was == AGAIN_THEN_SAID -> line = SLEEPS; sleep(); was = SLEPT
#elif FAULT == 21
	:: was != SLEEPS -> line = SLEEPS; sleep(); was = SLEPT
#else
	:: was != SLEEPS -> line = SLEEPS; was = SLEEPS
#endif
	fi
#else
	if
	:: deadline -> give_up(); ok = 0; break
	:: true -> sleep()
	fi
#endif
}
/* kvs_room_gather(), again and again, each with one gather() or two. ok: it is granted; else its time is over. */
inline wait_in_line(deadline)
{
	kvs_room_join(deadline);
	do
	::
#if WAKES
		if
		:: was == SLEPT ->
#if FAULT != 19
			atomic { own_rung[p] = 0; room_rung[p] = 0 };
#endif
			atomic {
				was = line;
				if
				:: line == EMPTY -> line = GATHERS
				:: else
				fi
			}
		:: was != SLEPT
		fi;
#endif
		scan();
		if
		:: ended -> lost(); break
		:: !ended && lower ->
#if FAULT != 7
			if
			:: mine ->
				put_all_back();
#if WAKES
				kvs_room_tell()
#endif
			:: !mine
			fi;
#endif
			nothing_yet(deadline)
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
				:: else -> lost(); break
				fi
			:: count(mine) < WANTED && ok -> lost(); break
			:: count(mine) < WANTED && !ok ->
#if FAULT != 12 && (!WAKES || DEATHS)	/* else there is nothing to sweep */
				sweep();
#endif
				nothing_yet(deadline)
			fi
		fi
	od
}

/* ---- Who is there ---- */

inline draw_one()
{
	assert(st[n] == ROOM && owner[n] == p);
	set_block(OWNED, me); mine = mine & ~bit(n); drawn = drawn | bit(n)
}
/* kvs_room_draw() of some; the rest is given back. */
inline draw()
{
#if WAKES	/* of all or none, in one step: it wakes nobody */
	if
	:: atomic {
			true ->
			do
			:: draw_one(); next_block
			od
		}
	:: true
	fi
#else
	do
	:: atomic { true -> next_block }
	:: atomic { mine & bit(n) -> draw_one(); next_block }
	od
#endif
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
	give_up();			/* kvs_room_leave() */
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
	:: line != EMPTY ->		/* kvs_room_refused() */
#if F == 1
		look_for_first();
		if
		:: at != NO_PLACE -> goto refused
		:: at == NO_PLACE
		fi;
#endif
		drop_line();
		if
		:: at != NO_PLACE -> goto refused
		:: at == NO_PLACE -> at = 0
		fi
	:: line == EMPTY
	fi;
#endif
#if F == 1
	do
	:: atomic { st[n] != FREE -> next_block }
	:: atomic { st[n] == FREE -> set_block(OWNED, me); drawn = bit(n); n = 0; break }
	od;
	release();
#endif
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
	:: atomic { waits(q) -> read_place(q) };
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
	atomic { read_place(q) };
#else
	atomic { read_place(q) };
	ok = (request == OPEN || request == ABORTED);
#endif
	if
	:: ok ->
#if FAULT != 13
		atomic {			/* kvs_room_abandon() */
			ok = 0;
			if
			:: sp != NONE -> cas_place(q, NONE)
			:: else
			fi
		};
#if WAKES
		if
		:: ok -> TELL_FIRST
		:: else
		fi;
#endif
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
		atomic { cas_block(FREE, 0); TELL next_block }
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
	:: atomic { !over[is_A] -> gone[is_A] = 1; dead = 1; A_HAS_DIED }
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
#if STRAY
		request = CLOSED; place[0] = WAITING; number[0] = line_next; line_next++;
		if
		:: st[0] = ROOM; owner[0] = 0
		:: run Next()
		fi;
#else
		run Mortal(is_A, 0);
#endif
#if B
		run Owner(is_B, 1);
#endif
#if C
		run Owner(is_C, 2);
#endif
#if X && !STRAY
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
