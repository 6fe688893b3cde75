/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * The life of a block, and its next: holds against removals. F fills it, and publishes it or gives up. The others come
 * at any time:
 *   K  -DKEYS=1     finds it by its key, waits while it is being filled, reads it, releases it
 *   T  -DTICKETS=1  comes with a ticket of the first life, perhaps late; it may remove the key while it holds
 *   A  -DLIVES=2    takes the block when it is free, and fills it in its second life
 *   H  -DHELPS=1    another allocator, which takes it as far as FREE
 *   E  -DEVICTS=1   evicts it, or sweeps (in a keep store, -DKEEP=1, or a drop store)
 *   C  -DCLEARS=1   clears the store
 *   Q  -DDEATHS=1   recovers F, which may die after any step; with -DDEATHS=2 R does so too, and may die at it: Q walks
 *                   once more when R is through or dead, as under the write lock
 * Shows: who holds the block, holds it (B1): it is not let go, nor in another life, and was published if it is read
 * (A2); when all is over no count is left (D1), and what nobody holds has gone, exactly once in each life (C1), or,
 * in a keep store, is READY; what is READY is in the index; nobody waits for ever (D3), with two recoverers neither
 * (D2); and who looks after a clearing finds nothing from before it (R28).
 * One step is one access to the segment. Left out: of the word's steps there is only whether a copy of the word is
 * still the word, which is the same as long as they do not turn; an entry of a row changes in one step, since it does
 * so by a CAS of all of it; the index is one bit (insert.pml), and the parts are the word (parts.pml); owners are
 * known by the life; shared fills, of which the filler's last hold may end before they are whole; who dies is outside
 * of its section at once, which can only end grace periods earlier; grace periods are perfect (epochs.pml,
 * quiet_look.pml): when the block is FREE, those have left who were inside when it went to LIMBO.
 * stands for shm/hold.h: kvs_hold_add() kvs_hold_sub() kvs_hold_mark() kvs_hold_take() kvs_hold_must_look()
 * stands for shm/hold.c: kvs_hold_take_other() add_by_ticket() judge_by_ticket() kvs_hold_take_life() kvs_hold_look()
 * stands for shm/hold.c: kvs_hold_release_inside() kvs_hold_release() kvs_hold_any()
 * stands for shm/remove.c: lost() hide() let_go() attempt() kvs_remove_try() kvs_remove_doom()
 * stands for shm/table.c: kvs_table_begin() kvs_table_end_part() kvs_table_give_up() kvs_table_doom()
 * stands for shm/recover.c: end_work() heal() recover_block()
 * stands for shm/clear.c: raise_floor() in_the_way() remove_cleared()
 * stands for shm/clear.h: kvs_cleared()
 * stands for shm/alloc.c: own() claim()
 * check: -DKEYS=1 -DEVICTS=1 two holds, of which one is the last, and a sweep
 * check: -DKEYS=1 -DLIVES=2 -DHELPS=1 two lives, in both of which it may be found
 * check: -DTICKETS=1 -DLIVES=2 a ticket, in time or late, and a removal
 * check: -DKEEP=1 -DTICKETS=1 -DEVICTS=1 evicted while it is held by ticket, and removed
 * check: -DKEEP=1 -DKEYS=1 -DEVICTS=1 evicted while it is looked up
 * check: -DKEEP=1 -DLIVES=2 -DCLEARS=1 cleared, and filled again
 * check: -DKEEP=1 -DKEYS=1 -DCLEARS=1 cleared while it is looked up
 * check: -DKEYS=1 -DDEATHS=1 the filler dies while another waits or reads
 * check: -DDEATHS=2 the filler dies, and one who recovers it
 * check: -DKEEP=1 -DDEATHS=2 the same in a keep store
 * long: -DKEYS=1 -DTICKETS=1 three holds, and a removal
 * long: -DTICKETS=1 -DDEATHS=1 the filler dies; another removes
 * long: -DKEEP=1 -DKEYS=1 -DEVICTS=1 -DLIVES=2 an eviction in either life
 * fault 1: -DFAULT=1 -DKEYS=1 a lookup reads the word before it counts
 * fault 2: -DFAULT=2 -DKEYS=1 -DTICKETS=1 a release does not look at a block that is being removed from DOOMED
 * fault 3: -DFAULT=3 -DKEYS=1 who lost the word to one who put it back does not look again
 * fault 4: -DFAULT=4 -DDEATHS=1 recovery does not heal what it passes
 * fault 5: -DFAULT=5 -DTICKETS=1 a hold by ticket does not take the block back from REMOVING
 * fault 6: -DFAULT=6 -DTICKETS=1 -DLIVES=2 a hold by ticket does not compare the life after it has counted
 * fault 7: -DFAULT=7 -DKEYS=1 the holder's bit is set behind the look at the word
 * fault 8: -DFAULT=8 -DKEYS=1 from READY to LIMBO without DOOMED between
 * fault 9: -DFAULT=9 -DKEYS=1 -DLIVES=2 no grace period
 * fault 10: -DFAULT=10 -DKEEP=1 -DLIVES=2 -DCLEARS=1 a fill is published without a look at the floor
 * fault 11: -DFAULT=11 -DKEEP=1 -DKEYS=1 -DCLEARS=1 a lookup does not look at the floor
 * fault 12: -DFAULT=12 -DKEYS=1 -DLIVES=2 -DHELPS=1 who frees the block resets its holders, not who owns it
 * fault 13: -DFAULT=13 -DDEATHS=2 the last recoverer does not walk once more
 */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef KEEP
#define KEEP 0
#endif
#ifndef KEYS
#define KEYS 0
#endif
#ifndef TICKETS
#define TICKETS 0
#endif
#ifndef LIVES
#define LIVES 1
#endif
#ifndef HELPS
#define HELPS 0
#endif
#ifndef EVICTS
#define EVICTS 0
#endif
#ifndef CLEARS
#define CLEARS 0
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#define is_F 0
#define is_K 1
#define is_T 2
#define is_A 3
#define is_C 4
#define ROWS 5
#define is_E 5
#define is_H 5
#define is_R 6
#define is_Q 7

mtype = { FREE, OWNED, FILLING, READY, REM_READY, DOOMED, REM_DOOMED, LIMBO };
mtype st = FILLING;
byte fresh;		/* whose copy of the word is still the word */
byte life = 1;
byte holders = 1;	/* F's bit */
bool linked = 1;
bool published;		/* in this life */
byte row_life[ROWS], row_refs[ROWS];
byte floor;
byte born[3];		/* what the floor was when a life began */
byte inside;		/* who is in a section */
byte waits;		/* who was, when the block went to LIMBO, and is still */

byte holds;		/* who was told that it holds the block */
byte went;		/* how many times it went to LIMBO */
bool dead_F, over_F, dead_R, over_R;

#define bit(who) (1 << (who))
#define counts(client, lf) (row_life[client] == lf -> row_refs[client] : 0)
#define cleared(lf) (born[lf] < floor)

inline enter() { inside = inside | bit(me) }
inline leave() { atomic { inside = inside & ~bit(me); waits = waits & ~bit(me); fresh = fresh & ~bit(me) } }

/* In a read, or a CAS, s is what the word is then. */
inline read() { atomic { s = st; fresh = fresh | bit(me) } }
inline cas(to)
{
	atomic {
		if
		:: fresh & bit(me) ->
			if
			:: to == LIMBO -> assert(!holds && !linked); waits = inside; went++
			:: to == READY -> assert(linked); published = published || st == FILLING
			:: else
			fi;
			st = to; fresh = bit(me); ok = 1
		:: else -> fresh = fresh | bit(me); ok = 0
		fi;
		s = st
	}
}
/* An entry of another life counts as zero. */
inline add(lf)
{
	atomic {
		if
		:: row_life[client] == lf -> row_refs[client]++
		:: else -> row_life[client] = lf; row_refs[client] = 1
		fi
	}
}
inline mark()
{
	if
	:: holders & bit(client) -> skip
	:: else -> holders = holders | bit(client)
	fi
}
inline unlink() { atomic { assert(!linked || st == DOOMED || st == REM_DOOMED); linked = 0 } }
/* kvs_hold_any() */
inline look_at_rows()
{
	lf = life;
	atomic { bits = holders; i = 0; any = 0 };
	do
	:: atomic {
			!any && (bits >> i) ->
				do
				:: bits & bit(i) -> break
				:: else -> i++
				od;
				any = counts(i, lf) > 0; i++
		}
	:: else -> break
	od;
	atomic { bits = 0; i = 0; lf = 0 }
}
/* What a look at the rows leads to: before the CAS to REMOVING, and behind it. */
inline judge_rows()
{
	if
	:: first && any -> to = 0
	:: first && !any -> first = 0
	:: !first && any -> to = (to == REM_READY -> READY : DOOMED)
#if FAULT == 8
	:: !first && !any && to == REM_READY -> linked = 0; to = LIMBO
	:: !first && !any && to == REM_DOOMED -> to = LIMBO
#else
	:: !first && !any -> to = (to == REM_READY -> DOOMED : LIMBO)
#endif
	fi
}
/* From what attempt() saw: the look before, hide(), let_go(). to: the CAS that comes next; again: what lost() says. */
inline go_on()
{
	do
	:: to && first -> look_at_rows(); atomic { judge_rows() }
	:: to && !first ->
		cas(to);
		if
		:: ok && (to == REM_READY || to == REM_DOOMED) -> look_at_rows(); atomic { judge_rows() }
		:: ok && to == DOOMED && !any -> unlink(); to = REM_DOOMED
		:: ok && (to == READY || to == LIMBO || (to == DOOMED && any)) -> to = 0
		:: !ok ->
#if FAULT != 3
			again = (to == REM_READY || to == REM_DOOMED) && (s == READY || s == DOOMED);
#endif
			to = 0
		fi
	:: !to -> break
	od
}
/* kvs_remove_try() */
inline remove_try(evict)
{
	again = 1;
	do
	:: again ->
		atomic { again = 0; any = 0; read(); first = (s == READY || s == DOOMED) };
		if
		:: s == READY && (evict || !KEEP || cleared(life)) -> to = REM_READY
		:: s == REM_READY -> to = REM_READY
		:: s == DOOMED || s == REM_DOOMED -> unlink(); to = REM_DOOMED
		:: else
		fi;
		go_on()
	:: else -> break
	od
}
/* kvs_hold_sub(), kvs_hold_must_look(), kvs_hold_look() */
inline release_inside()
{
	atomic { holds = holds & ~bit(me); assert(counts(client, l) > 0); row_refs[client]-- };
	s = st;
	if
	:: (s == READY || s == REM_READY) && !KEEP -> remove_try(0)
#if FAULT == 2
	:: s == FILLING || s == DOOMED -> remove_try(0)
#else
	:: s == FILLING || s == DOOMED || s == REM_DOOMED -> remove_try(0)
#endif
	:: else
	fi
}
/* kvs_table_doom() */
inline doom()
{
	do
	:: read();
		if
		:: s == FILLING || s == READY || s == REM_READY ->
			cas(DOOMED);
			if
			:: ok -> unlink(); break
			:: else
			fi
		:: else -> break
		fi
	od
}

/* Who is told that it holds, holds what it asked for, and reads what was published. */
inline told(what)
{
	assert(life == l && st != LIMBO && st != FREE && st != OWNED);
	assert(what != READY || published);
	holds = holds | bit(me);
	taken = what
}
/* kvs_hold_take(): taken is READY or FILLING; LIMBO: what was counted is to be released; or 0 */
inline take()
{
	l = life;
	if
#if FAULT != 11
	:: cleared(l) -> skip
#endif
	:: else ->
#if FAULT == 1
		s = st;
		mark();
		add(l);
		if
		:: s == READY || s == FILLING -> told(s)
		:: else -> taken = LIMBO
		fi
#else
#if FAULT != 7
		mark();
#endif
		add(l);
		do
		:: atomic {
				read();
				if
				:: s == READY || s == FILLING -> told(s); break
				:: else
				fi
			}
			if
			:: s == REM_READY -> cas(READY)
			:: else -> taken = LIMBO; break
			fi
		od
#endif
	fi
}
#if FAULT == 6
#define same true
#else
#define same (life == l)
#endif
/* kvs_hold_take_life(): taken may be DOOMED too */
inline take_life()
{
	if
	:: life == l ->
		mark();
		add(l);
		do
		:: read();
			if
			:: atomic { same && (s == READY || s == FILLING || s == DOOMED) -> told(s); break }
			:: same && s == REM_READY -> cas(READY)
#if FAULT == 5
			:: atomic { same && s == REM_DOOMED -> told(DOOMED); break }
#else
			:: same && s == REM_DOOMED -> cas(DOOMED)
#endif
			:: !same || s == LIMBO || s == FREE || s == OWNED -> taken = LIMBO; break
			fi
		od
	:: else
	fi
}
/* The end of a fill: kvs_table_end_part() of one that is not shared, or kvs_table_give_up() */
inline end_fill()
{
	if
#if FAULT == 10
	:: to = READY
#else
	:: atomic { to = (cleared(l) -> DOOMED : READY) }
#endif
	:: to = DOOMED
	fi;
	do
	:: read();
		if
		:: s == FILLING -> cas(to)
		:: else -> break
		fi
	od;
	if
	:: to == DOOMED -> unlink()
	:: else
	fi;
	to = 0
}
#define locals(it, its) byte me = it, client = its, l, lf, bits, i; mtype s, to, taken; bool ok, any, first, again

proctype F()
{
	locals(is_F, is_F);
	{
		l = 1;
		enter();
		end_fill();
		leave();
		enter();
		release_inside()
	} unless { dead_F };
	atomic { holds = holds & ~bit(me); leave(); over_F = 1 }
}
#if KEYS
proctype K()
{
	locals(is_K, is_K);
	byte asked;

	atomic { asked = floor; enter() };
	if
	:: linked -> take()
	:: else
	fi;
#if FAULT == 7
	mark();
#endif
	assert(taken == 0 || taken == LIMBO || born[l] >= asked);
	if
	:: taken == READY || taken == FILLING ->
		leave();
		if
		:: taken == FILLING -> st != FILLING		/* woken */
		:: else
		fi;
		assert(life == l);
		enter()
	:: else
	fi;
	if
	:: taken -> release_inside()
	:: else
	fi;
	leave()
}
#endif
#if TICKETS
proctype T()
{
	locals(is_T, is_T);

	l = 1;
	enter();
	take_life();
	if
	:: taken && taken != LIMBO ->
		leave();
		assert(life == l);
		enter();
		if
		:: skip
		:: doom()
		fi
	:: else
	fi;
	if
	:: taken -> release_inside()
	:: else
	fi;
	leave()
}
#endif
/* kvs_table_alloc(), kvs_table_link(): the floor is read before the life is stored. */
inline fill_again()
{
	born[2] = floor;
	atomic { assert(!holds); life = 2; l = 2; published = 0 };
	holders = bit(client);
	atomic { holds = bit(me); add(l) };
	cas(FILLING);
	enter();
	linked = 1;
	read();
	if
	:: s == FILLING -> skip
	:: else -> unlink()
	fi;
	end_fill();
	release_inside();
	leave()
}
#if FAULT == 9
#define old_enough (st == LIMBO)
#else
#define old_enough (st == LIMBO && !waits)
#endif
#if LIVES == 2
/* It takes the block, if it finds it free, or old enough. */
proctype A()
{
	locals(is_A, is_A);

	if
	:: atomic { old_enough -> read() }; cas(FREE)
	:: atomic { st == FREE -> read(); ok = 1 }
	:: st != FREE && !old_enough -> ok = 0
	fi;
	if
	:: ok -> cas(OWNED)
	:: else
	fi;
	if
	:: ok -> fill_again()
	:: else
	fi;
	leave()
}
#endif
#if HELPS
/* Another allocator, which comes as far as FREE. */
proctype H()
{
	locals(is_H, 0);

	if
	:: atomic { old_enough -> read() };
#if FAULT == 12
		holders = 0;
#endif
		cas(FREE)
	:: else
	fi;
	leave()
}
#endif
#if EVICTS
proctype E()
{
	locals(is_E, 0);

	enter();
	remove_try(1);
	leave()
}
#endif
#if CLEARS
proctype C()
{
	locals(is_C, is_C);

	floor++;
	s = st;
	if
	:: (s == FILLING || s == READY || s == REM_READY) && cleared(life) ->
		l = life;
		enter();
		if
		:: cleared(l) -> take_life()
		:: else
		fi;
		if
		:: taken && taken != LIMBO -> doom()
		:: else
		fi;
		if
		:: taken -> release_inside()
		:: else
		fi;
		leave()
	:: else
	fi
}
#endif
/* recover_block(), in F's name; its word was FILLING in its first life only. */
inline recover_block()
{
	enter();
	atomic { read(); mine = s == FILLING && life == 1 };
	if
	:: mine ->
		cas(DOOMED);
		if
		:: ok -> unlink()
		:: else
		fi
	:: else
	fi;
	atomic { row_life[client] = 0; row_refs[client] = 0 };
#if FAULT != 4
	read();
	if
	:: s == READY || s == REM_READY || s == DOOMED || s == REM_DOOMED -> remove_try(0)
	:: else
	fi;
#endif
	leave()
}
#if DEATHS == 2
proctype R()
{
	locals(is_R, is_F);
	bool mine;
	{
		over_F;
		if
		:: dead_F -> recover_block()
		:: else
		fi
	} unless { dead_R };
	atomic { leave(); over_R = 1 }
}
#endif
#if DEATHS
proctype Q()
{
	locals(is_Q, is_F);
	bool mine, alone;

	over_F;
	if
	:: dead_F ->
		do
		:: recover_block();
			if
#if FAULT == 13
			:: break
#else
			:: alone -> break
			:: over_R && !alone -> alone = 1
#endif
			fi
		od
	:: else
	fi
}
#endif
#if DEATHS
/* They die at any time, or not. */
proctype Death()
{
	if
	:: atomic { !over_F -> dead_F = 1 }
	:: skip
	fi;
#if DEATHS == 2
	if
	:: atomic { !over_R -> dead_R = 1 }
	:: skip
	fi
#endif
}
#endif
init {
	byte n;

	atomic {
		row_life[is_F] = 1; row_refs[is_F] = 1; holds = bit(is_F);
		run F();
#if KEYS
		run K();
#endif
#if TICKETS
		run T();
#endif
#if LIVES == 2
		run A();
#endif
#if HELPS
		run H();
#endif
#if EVICTS
		run E();
#endif
#if CLEARS
		run C();
#endif
#if DEATHS
		run Death(); run Q();
#endif
#if DEATHS == 2
		run R();
#else
		over_R = 1;
#endif
	}
	atomic {
		_nr_pr == 1;
		assert(!holds && !inside);
		for (n : 0 .. ROWS - 1) {
			assert(row_refs[n] == 0)
		}
		if
		:: KEEP && st == READY -> assert(linked && went == life - 1 && !cleared(life))
		:: else -> assert((st == LIMBO || st == FREE) && went == life)
		fi
	}
}
