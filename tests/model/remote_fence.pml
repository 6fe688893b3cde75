/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * A block that another node fills: its window, the sender's late writes, the receiver's death, and the block's next
 * life.
 * stands for rdma/grants.c: open_windows(), kvr_grants_commit(), end_run(), settle(), kvr_grants_withdrawn()
 * stands for rdma/inbound.c: kvr_inbound_fenced(), kvr_inbound_end_fill()
 * stands for rdma/inbound_work.c: look_at_drains()
 * stands for rdma/verbs_window.c: get(), open_window(), kvr_window_withdraw(), kvr_window_was_invalidated()
 * stands for shm/recover.c: judge(), recover_locked()
 *
 * The receiver grants a block, by a window that it opens over it. A sender, who keeps to no rule, writes with any key
 * that it was ever given, at any time, as often as it likes. A write is two steps of the receiver's NIC: the key is
 * looked up, and the bytes are placed, any time later. The grant ends by a commit or by an abort, whichever; then the
 * block goes on to its next life. The receiver may die at any step: its lock falls first, its queue pair some time
 * later, and a recoverer looks whenever it likes. Without windows (-DWINDOWS=0) the sender is one that keeps to the
 * rules, but may be late: it writes until it has answered an abort, or its queue pair is gone.
 *
 * Shows: nothing is placed in a block that is ready, or that has another life than the window was opened for (E2, E3,
 * R23); also where the receiver has died, and also where the keys of a window (here two, 256 in hardware) have all been
 * used. A commit's block becomes ready, and an aborted one is reused, if nobody dies.
 *
 * Left out: what is in the bytes; several blocks in one window, which end together; credits and messages, whose order
 * the sender's arbitrary writes include.
 *
 * check: -DDEATHS=0 nobody dies
 * check: -DDEATHS=1 the receiver may die
 * check: -DDEATHS=1 -DWINDOWS=0 a device without windows: the queue pair is the fence
 * fault 1: -DFAULT=1 -DDEATHS=0 a commit publishes before its window is withdrawn
 * fault 2: -DFAULT=2 -DDEATHS=0 an abort gives the block up before its window is withdrawn
 * fault 3: -DFAULT=3 -DDEATHS=1 recovery ends the dead receiver's hold when its lock has fallen
 * fault 4: -DFAULT=4 -DDEATHS=0 a window is bound again when all its keys were used
 * fault 5: -DFAULT=5 -DDEATHS=0 -DWINDOWS=0 without windows an abort gives the block up while the queue pair is there
 */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef WINDOWS
#define WINDOWS 1
#endif
#define KEYS 2		/* of a window, before it is retired */
#define LIVES 4
#define RKEYS (3 * KEYS)

mtype = { FREE, FILLING, DOOMED, READY };
mtype word = FREE;
byte life;			/* of the block */
bool held;			/* the receiver's row has a hold of it */

byte window, key;		/* the window's number, and its key now: what a grant tells */
bool bound;			/* there is one; without windows: the queue pair takes writes */
byte meant[RKEYS];		/* by rkey, window * KEYS + key: the life that the sender was last told it for */
bool told;			/* without windows: it was told to write, and has not answered an abort */
byte of_life;			/* likewise: for which life */
byte busy;			/* writes whose key was found right, and that are not placed yet */
bool locked = 1, qp = 1, over;

/* Placed: the bytes are the block's, whoever has it now. */
inline place(target)
{
	atomic {
		assert((word == FILLING || word == DOOMED) && life == target);
		busy--
	}
}

/* The sender, and the receiver's NIC. A queue pair that is destroyed has placed what it had begun. */
active proctype nic()
{
	byte rkey, target;

	do
#if WINDOWS
	:: qp && meant[rkey] ->
		target = meant[rkey];	/* posted: it may be on its way for long */
		if
		:: atomic { qp && bound && rkey == window * KEYS + key -> busy++ };
			place(target)
		:: else		/* a remote access error */
		fi
	:: rkey < RKEYS - 1 -> rkey++
	:: rkey > 0 -> rkey = 0
#else
	:: atomic { qp && told -> target = of_life; busy++ };
		place(target)
	:: told && !busy -> told = 0	/* it has answered: ABORTED, or its COMMIT */
#endif
	:: over || !qp -> break
	od
}

/* The invalidation completes: what was begun with the key has been placed, and nothing is begun any more. */
inline withdraw()
{
#if WINDOWS
	bound = 0;
	busy == 0
#else
	if
	:: !told
#if FAULT != 5
	:: atomic { qp = 0; told = 0 }; busy == 0	/* it did not answer in time: the queue pair's end */
#else
	:: true
#endif
	fi
#endif
}

/* The window is bound with its next key; one whose keys are used up is retired for another. */
inline expose()
{
#if WINDOWS
	if
	:: key < KEYS - 1 -> key++
	:: else ->
		key = 0;
#if FAULT != 4
		window++
#endif
	fi;
	atomic { bound = 1; meant[window * KEYS + key] = life }
#else
	atomic { of_life = life; told = 1 }
#endif
}

inline free_block()
{
	atomic { held = 0; word = FREE }
}

proctype receiver()
{
	{
	do
	:: qp && life < LIVES && (!WINDOWS || window * KEYS + key < RKEYS - 1) ->
		atomic { word == FREE; life++; held = 1; word = FILLING };
		expose();
		if
		:: true ->	/* COMMIT */
#if FAULT == 1
			word = READY;
			withdraw();
#else
			withdraw();
			word = READY;
#endif
			free_block()	/* released, evicted: the next life */
		:: true ->	/* ABORT, the sender's or an engine's */
#if FAULT != 2
			withdraw();
#endif
			word = DOOMED;
			free_block()
#if FAULT == 2
			;
			withdraw()
#endif
		fi
	:: else -> break
	od;
	over = 1
	} unless { !locked }
}

#if DEATHS
/* The kernel tears the dead one down, and a recoverer looks: first the lock, then the end of its thread group. */
proctype death()
{
	locked = 0;
	atomic { qp = 0; told = 0 };
	busy == 0;
	over = 1
}

proctype recoverer()
{
	!locked;
	if
	:: atomic { word == FILLING -> word = DOOMED }
	:: else
	fi;
#if FAULT != 3
	over;		/* its process has ended */
#endif
	if
	:: held -> free_block()
	:: else
	fi;
	if	/* its next life, an engine's */
	:: atomic { word == FREE -> life++; word = READY }
	:: else
	fi
}
#endif

init
{
	atomic {
		run receiver();
#if DEATHS
		run death();
		run recoverer()
#endif
	}
}
