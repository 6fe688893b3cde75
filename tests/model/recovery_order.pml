/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * The order in which recovery looks at a block: the word, then the entry, then the CAS from exactly that word; all in
 * one section, and the entry cleared last.
 * stands for shm/recover.c: recover_block(), end_work(), recover_one()
 * stands for shm/remove.c: kvs_remove_doom()
 * stands for shm/part.h: kvs_part_fail()
 *
 * W died as a writer of the fill of a block's first life. Q and P recover it; either may be stopped anywhere, or die
 * once; then Z recovers. The filler lets go when its fill is doomed; the block goes to LIMBO when nobody holds it,
 * and begins its second life, an innocent fill, once no section goes on that was entered before.
 *
 * Shows: the first fill is doomed, so that nobody waits for it for ever (D3), and the second is neither doomed nor
 * failed (D2); nothing of W's is left. With -DSECTION=0: the order alone keeps the second fill's word from harm, but
 * not its parts, which are not in the word.
 *
 * Left out: how grace periods come about (epochs.pml), the slot's locks (slots.pml), holds of others.
 *
 * check: both recoverers, in sections
 * check: -DSECTION=0 no sections and no parts: what the order alone does
 * fault 1: -DFAULT=1 the entry is cleared before the fill is doomed
 * fault 2: -DFAULT=2 a recoverer is in no section
 * fault 3: -DFAULT=3 -DSECTION=0 the entry is read before the word
 * fault 4: -DFAULT=4 -DSECTION=0 the CAS is from what the word is by then
 * fault 5: -DFAULT=5 the entry is not looked at: only the word's owner counts
 */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef SECTION
#define SECTION 1
#endif
#define Q 0
#define P 1
#define Z 2

mtype = { FILLING, DOOMED, LIMBO };
mtype word = FILLING; byte life = 1;	/* each state once in a life: together they are the word, with its step */
bool failed;				/* of the block's parts, in this life */
bool filler = 1;			/* holds it */
bool entry = 1;				/* W's, for life 1: a writer */
bool inside[3], before[3];		/* sections; those that were entered before LIMBO */
bool gone[3], ended[3], died;

inline kvs_enter(me)
{
#if SECTION && FAULT != 2
	inside[me] = 1
#else
	skip
#endif
}
inline kvs_leave(me) { atomic { inside[me] = 0; before[me] = 0 } }
inline kvs_remove_doom()
{
#if SECTION
	atomic { assert(life == 1); failed = 1 };
#endif
	atomic {
		if
#if FAULT == 4
		:: word == FILLING -> assert(life == 1); word = DOOMED
#else
		:: word == FILLING && life == was -> assert(life == 1); word = DOOMED
#endif
		:: else
		fi
	}
}
inline look_at_word() { atomic { was = (word == FILLING -> life : 0) } }
inline look_at_entry()
{
#if FAULT == 5
	writes = 0
#else
	writes = entry
#endif
}
inline try_limbo()
{
	atomic {
		if
		:: word == DOOMED && !filler && !entry ->
			word = LIMBO; before[Q] = inside[Q]; before[P] = inside[P]; before[Z] = inside[Z]
		:: else
		fi
	}
}
inline recover_block(me)
{
	kvs_enter(me);
#if FAULT == 3
	look_at_entry();
	look_at_word();
#else
	look_at_word();
	look_at_entry();
#endif
#if FAULT == 1
	entry = 0;
#endif
	if
	:: was && writes -> kvs_remove_doom()
	:: else
	fi;
	entry = 0;
	try_limbo();
	was = 0; writes = 0;
	kvs_leave(me)
}
proctype Recoverer(byte me)
{
	byte was; bool writes;
	{
		recover_block(me)
	} unless { gone[me] };
	kvs_leave(me);				/* a dead recoverer's reader slot is cleared later */
	ended[me] = 1
}
inline die(me) { atomic { !ended[me] && !died -> gone[me] = 1; died = 1 } }
proctype Death()
{
	if
	:: die(Q)
	:: die(P)
	:: true
	fi
}
proctype Filler()
{
	do
	:: atomic { word == DOOMED && life == 1 && filler -> filler = 0 };
		try_limbo()
	:: atomic {
		word == LIMBO && !before[Q] && !before[P] && !before[Z] ->
			word = FILLING; life = 2; failed = 0; break
	}
	:: atomic { ended[Z] -> break }
	od
}
init {
	atomic { run Recoverer(Q); run Recoverer(P); run Filler(); run Death() };
	ended[Q] && ended[P];
	run Recoverer(Z);
	_nr_pr == 1;
	assert(!entry && (word != FILLING || life == 2) && (life == 1 || !failed))
}
