/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * One chain of the index: inserts of one key against each other, and against unlinking. Block 0 has another key, and
 * block 1 the key, or (-DNEW=1) another one as well; both are ready, and linked, 0 in front of 1. F and G look for the
 * key and insert a block of their own where they find none; G's may be block 1, once that is free. U removes block 1,
 * and N (-DNEIGHBOUR=1) block 0. C (-DCLEARS=1) dooms F's block by its number while it is being filled, as clearing
 * does, and tries to let it go.
 * Shows: at no time are two blocks to be found that have one key (B3); F and G have each filled the key or found a
 * block of it, which somebody had filled (A2); what is in its grace period, or free, is in no chain, and nobody who
 * walks comes upon a block of another life (B1); no unlinking is lost: at the end nothing doomed is linked, and what is
 * ready is found.
 * One step is one access. Left out: that a walk is bounded; holds other than of the one who fills (block_life.pml), and
 * what a remover looks at before; other chains, which a block comes to in another life only. Grace periods are perfect
 * (quiet_look.pml, epochs.pml): a block is free when those have left who were in a section when it went.
 * stands for shm/index.c: kvs_index_link() mark() kvs_index_unlink()
 * stands for shm/index.h: kvs_index_start() kvs_index_next()
 * stands for shm/table.c: name() link_or_take() kvs_table_link()
 * check: -DU=1 two fillers, and one who removes the block that has the key
 * check: -DU=1 -DNEW=1 the key is new, and G may get the block that is removed
 * check: -DU=1 -DNEIGHBOUR=1 -DONE=1 two neighbours are removed at once, and one fills
 * check: -DCLEARS=1 -DNEW=1 -DONE=1 the filler's block is doomed before it is linked, or after
 * check: -DCLEARS=1 -DNEIGHBOUR=1 -DNEW=1 -DONE=1 and its neighbour removed
 * fault 1: -DFAULT=1 -DU=1 -DNEW=1 the bucket is linked to whatever it is, not from the head that the walk began at
 * fault 2: -DFAULT=2 -DU=1 -DNEW=1 a block is taken again without a grace period
 * fault 3: -DFAULT=3 -DCLEARS=1 -DNEW=1 -DONE=1 the filler does not look at its word behind the link
 * fault 4: -DFAULT=4 -DU=1 -DNEIGHBOUR=1 -DONE=1 a block is unlinked without being marked
 * fault 5: -DFAULT=5 -DU=1 -DNEW=1 the word is FILLING after the link only
 */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef NEW
#define NEW 0
#endif
#ifndef U
#define U 0
#endif
#ifndef NEIGHBOUR
#define NEIGHBOUR 0
#endif
#ifndef CLEARS
#define CLEARS 0
#endif
#ifndef ONE
#define ONE 0		/* G is not there */
#endif
#define BLOCKS 4
#define BUCKET BLOCKS	/* the word that leads to the first */
#define KEY 1
#define OTHER 2
#define is_F 0
#define is_G 1
#define is_U 2
#define is_N 3
#define is_C 4
#define bit(who) (1 << (who))
#define link_to(block) ((block) * 2 + 2)
#define block_of(link) ((link) / 2 - 1)
#define MARK 1

mtype = { FREE, OWNED, FILLING, READY, DOOMED, REM_DOOMED, LIMBO };
byte next[BLOCKS + 1];
mtype st[BLOCKS];
byte key[BLOCKS];
byte life[BLOCKS];
bool held[BLOCKS];		/* by its filler */
byte step[BLOCKS];
byte waits[BLOCKS];		/* who was in a section when it went */
byte inside;

/* ---- What is always true ---- */

#define found(block) (key[block] == KEY && linked[block] && (st[block] == FILLING || st[block] == READY))
#define is_unique (found(0) + found(1) + found(2) + found(3) <= 1)

/* What a walk from the bucket meets now. */
bool linked[BLOCKS];
inline survey()
{
	d_step {
		linked[0] = 0; linked[1] = 0; linked[2] = 0; linked[3] = 0;
		at = next[BUCKET];
		do
		:: at > MARK ->
			assert(!linked[block_of(at)]);
			linked[block_of(at)] = 1;
			at = next[block_of(at)]
		:: else -> break
		od;
		at = 0;
		assert(is_unique);
		assert(!linked[0] || (st[0] != LIMBO && st[0] != FREE));
		assert(!linked[1] || (st[1] != LIMBO && st[1] != FREE));
		assert(!linked[2] || (st[2] != LIMBO && st[2] != FREE));
		assert(!linked[3] || (st[3] != LIMBO && st[3] != FREE))
	}
}

/* ---- The index ---- */

#define locals byte at, before, link, nx, n, b, was; mtype word; bool ok

inline enter() { inside = inside | bit(me) }
inline leave()
{
	atomic {
		inside = inside & ~bit(me);
		waits[0] = waits[0] & ~bit(me); waits[1] = waits[1] & ~bit(me);
		waits[2] = waits[2] & ~bit(me); waits[3] = waits[3] & ~bit(me)
	}
}
inline cas_link(word, from, to)
{
	atomic {
		if
		:: next[word] == from -> next[word] = to; ok = 1; survey()
		:: else -> ok = 0
		fi
	}
}
inline unlink(block)
{
	do
	:: atomic { before = BUCKET; link = next[BUCKET] };
		do
		:: link == 0 -> break
		:: else ->
			n = block_of(link);
			assert(!(link & MARK));
			if
			:: n == block ->
#if FAULT == 4
				nx = next[n] | MARK
#else
				atomic { next[n] = next[n] | MARK; nx = next[n] }
#endif
			:: else -> nx = next[n]
			fi;
			if
			:: !(nx & MARK) -> before = n; link = nx
			:: else ->
				cas_link(before, link, nx & ~MARK);
				if
				:: ok -> link = nx & ~MARK
				:: else -> break
				fi
			fi
		od;
		if
		:: link == 0 -> break
		:: else
		fi
	od;
	atomic { before = 0; link = 0; nx = 0; n = 0; ok = 0 }
}
/* kvs_remove_try() of what is DOOMED; step is the word's. */
inline let_go(block)
{
	do
	:: atomic { word = st[block]; was = step[block] };
		if
		:: word == DOOMED || word == REM_DOOMED ->
			unlink(block);
			atomic {
				if
				:: st[block] == word && step[block] == was ->
					st[block] = REM_DOOMED; step[block]++; was++; ok = 1
				:: else -> ok = 0
				fi
			};
			if
			:: ok ->
				word = (held[block] -> DOOMED : LIMBO);
				atomic {
					if
					:: step[block] == was ->
						st[block] = word; step[block]++;
						if
						:: word == LIMBO -> waits[block] = inside; survey()
						:: else
						fi
					:: else
					fi
				};
				break
			:: !ok && st[block] == DOOMED -> skip	/* another put it back */
			:: !ok && st[block] != DOOMED -> break
			fi
		:: else -> break
		fi
	od;
	atomic { word = FREE; was = 0; ok = 0 }
}

/* ---- Who is there ---- */

inline take(block)
{
	atomic {
		st[block] = OWNED; life[block]++; held[block] = 1; key[block] = 0; b = block
	}
}
/* A walk; it ends at a block of the key that can be held. */
inline find()
{
	link = head;
	theirs = BLOCKS;
	do
	:: link <= MARK -> break
	:: else ->
		n = block_of(link);
		lf = life[n];
		link = next[n];
		if
		:: atomic {
				key[n] == KEY && (st[n] == FILLING || st[n] == READY) ->
				assert(life[n] == lf); theirs = n
			};
			break
		:: else -> assert(life[n] == lf)
		fi
	od
}
inline fill()
{
	key[b] = KEY;
#if FAULT != 5
	atomic { st[b] = FILLING; survey() };
#endif
	enter();
	do
	:: head = next[BUCKET];
		find();
		if
		:: theirs < BLOCKS -> break
		:: else
		fi;
		next[b] = head;
#if FAULT == 1
		head = next[BUCKET]; next[b] = head;
#endif
		cas_link(BUCKET, head, link_to(b));
		if
		:: ok -> break
		:: else
		fi
	od;
	if
	:: theirs < BLOCKS ->
		atomic {
			if
			:: st[b] == FILLING || st[b] == OWNED -> st[b] = DOOMED
			:: else
			fi
		}
	:: else ->
#if FAULT == 5
		atomic { st[b] = FILLING; survey() };
#endif
#if FAULT != 3
		if
		:: st[b] != FILLING -> unlink(b)
		:: else
		fi;
#endif
		atomic {	/* publish */
			if
			:: st[b] == FILLING -> st[b] = READY
			:: else
			fi
		}
	fi;
	held[b] = 0;
	let_go(b);
	leave();
	atomic { head = 0; theirs = 0; link = 0; n = 0; ok = 0; b = 0; lf = 0 }
}
#if FAULT == 2
#define is_old(block) (st[block] == LIMBO)
#else
#define is_old(block) (st[block] == LIMBO && !waits[block])
#endif
proctype F()
{
	byte me = is_F, head, theirs, lf;
	locals;

	take(2);
	fill()
}
proctype G()
{
	byte me = is_G, head, theirs, lf;
	locals;

	if
	:: atomic { is_old(1) -> take(1) }
	:: take(3)
	fi;
	fill()
}
proctype Remover(byte me; byte block)
{
	locals;

	enter();
	atomic { assert(st[block] == READY); st[block] = DOOMED };
	unlink(block);
	let_go(block);
	leave()
}
/* F's block, by its number. */
proctype C()
{
	byte me = is_C;
	locals;

	enter();
	atomic {
		if
		:: st[2] == FILLING -> st[2] = DOOMED; ok = 1
		:: else -> ok = 0
		fi
	};
	if
	:: ok -> unlink(2); let_go(2)
	:: else
	fi;
	leave()
}
init {
	byte at;

	atomic {
		st[0] = READY; key[0] = OTHER; life[0] = 1;
		st[1] = READY; key[1] = (NEW -> OTHER : KEY); life[1] = 1;
		st[2] = FREE; st[3] = FREE;
		next[BUCKET] = link_to(0); next[0] = link_to(1);
		survey();
		run F();
#if !ONE
		run G();
#endif
#if U
		run Remover(is_U, 1);
#endif
#if NEIGHBOUR
		run Remover(is_N, 0);
#endif
#if CLEARS
		run C()
#endif
	}
	atomic {
		_nr_pr == 1;
		survey();
		assert(st[0] != DOOMED && st[1] != DOOMED && st[2] != DOOMED && st[3] != DOOMED);
		assert(linked[0] == (st[0] == READY) && linked[1] == (st[1] == READY));
		assert(linked[2] == (st[2] == READY) && linked[3] == (st[3] == READY))
	}
}
