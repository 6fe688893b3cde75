/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * check_plants.c: faults for the check to find, in the head, in the slots and in the blocks. Each plant writes one into
 * the sound store that it is for, and says how it must be told. See check_scene.h.
 */
#include "config.h"

#include "check_scene.h"

#include "epoch.h"
#include "part.h"

/* ---- Plants: the head, slots and reader slots ------------------------------------------------------------ */

static void head_state(void)
{
	atomic_store(&scene.map.head->state, 3);
	expect("the head's state is 0x3, which it can't be");
}

static void head_readers_top(void)
{
	atomic_store(&scene.map.head->readers_top, scene.map.g.readers + 1);
	expect("the head's readers_top is %#x, which it can't be", scene.map.g.readers + 1);
}

static void head_epoch(void)
{
	put_state(scene.limbo, KVS_FREE, 0); /* else its epoch is one that has not been */
	atomic_store(&scene.map.head->epoch, KVS_EPOCH_FIRST - 1);
	expect("the head's epoch is %#x, which it can't be", KVS_EPOCH_FIRST - 1);
}

static void head_floor(void)
{
	atomic_store(&scene.map.head->floor, 1);
	expect("the head's floor is 0x1, which it can't be");
}

static void slot_of_no_state(void)
{
	atomic_store(&scene.map.clients[5].word, 3);
	expect("client slot 5 has the word 0x3, which is no state");
}

static void slot_with_other_bits(void)
{
	atomic_store(&scene.map.clients[5].word, 0x40);
	expect("client slot 5 has the word 0x40, which is no state");
}

static void dma_of_no_state(void)
{
	atomic_store(&scene.map.clients[0].dma, KVS_DMA_ENDED + 1);
	expect("client slot 0 says 0x4 of its devices, which makes no sense");
}

static void peer_of_no_state(void)
{
	atomic_store(&scene.map.peers[3].word, 3);
	expect("connection 3 has the word 0x3, which makes no sense");
}

static void peer_with_other_bits(void)
{
	atomic_store(&scene.map.peers[3].word, 6);
	expect("connection 3 has the word 0x6, which makes no sense");
}

static void free_peer_with_an_owner(void)
{
	atomic_store(&scene.map.peers[3].word, 0x10);
	expect("connection 3 has the word 0x10, which makes no sense");
}

static void peer_of_nobody(void)
{
	atomic_store(&scene.map.peers[3].word, 0x10062);
	expect("connection 3 is of client 6, whose slot is nobody's");
}

static void peer_beyond_the_clients(void)
{
	atomic_store(&scene.map.peers[3].word, 0x1fff1);
	expect("connection 3 is of client 4095, whose slot is nobody's");
}

static void reader_of_no_client(void)
{
	atomic_store(&scene.map.readers[0].owner, 4 + 1);
	expect("reader slot 0 is taken for client slot 4, which is nobody's");
}

static void reader_beyond_the_clients(void)
{
	atomic_store(&scene.map.readers[0].owner, (scene.map.g.clients + 1) | KVS_READER_RECOVERER);
	expect("reader slot 0 is taken for client slot %u, which is nobody's", scene.map.g.clients);
}

static void reader_above_the_top(void)
{
	uint32_t top = atomic_load(&scene.map.head->readers_top);

	atomic_store(&scene.map.readers[top].owner, 1 | KVS_READER_RECOVERER);
	expect("reader slot %u is taken, though no more than %u were ever used", top, top);
}

static void reader_in_a_section_of_nobody(void)
{
	atomic_store(&scene.map.readers[7].epoch, atomic_load(&scene.map.head->epoch));
	expect("reader slot 7 is in a section, and nobody's: grace periods stall");
}

static void reader_ahead_of_the_epoch(void)
{
	uint64_t epoch = atomic_load(&scene.map.head->epoch) + 1;

	atomic_store(&scene.map.readers[0].epoch, epoch);
	expect("reader slot 0 is in a section of epoch %#llx, which has not been", (unsigned long long)epoch);
}

static void reader_before_all_epochs(void)
{
	atomic_store(&scene.map.readers[0].epoch, KVS_EPOCH_FIRST - 1);
	expect("reader slot 0 is in a section of epoch 0xf, which has not been");
}

/* ---- Plants: blocks -------------------------------------------------------------------------------------- */

static void room_of_no_request(void)
{
	put_state(scene.unused, KVS_ROOM, scene.map.g.requests);
	expect("block %u is ROOM with owner %u, which makes no sense", scene.unused, scene.map.g.requests);
}

static void room_of_nobody(void)
{
	put_state(scene.unused, KVS_ROOM, 0);
	expect("block %u is ROOM, and nobody is left to give it back", scene.unused);
}

static void state_that_there_is_not(void)
{
	put_state(scene.unused, 12, 3);
	expect("block %u is state 12 with owner 3, which makes no sense", scene.unused);
}

static void free_with_an_owner(void)
{
	put_state(scene.unused, KVS_FREE, 1);
	expect("block %u is FREE with owner 1, which makes no sense", scene.unused);
}

static void ready_with_an_owner(void)
{
	put_state(scene.ready, KVS_READY, 1);
	expect("block %u is READY with owner 1, which makes no sense", scene.ready);
}

static void doomed_with_an_owner(void)
{
	put_state(scene.doomed, KVS_DOOMED, 1);
	expect("block %u is DOOMED with owner 1, which makes no sense", scene.doomed);
}

static void owned_by_nobody(void)
{
	put_state(scene.unused, KVS_OWNED, 6);
	expect("block %u is OWNED of client 6, whose slot is nobody's", scene.unused);
}

static void owned_by_one_beyond_the_clients(void)
{
	put_state(scene.unused, KVS_OWNED, scene.map.g.clients);
	expect("block %u is OWNED of client %u, whose slot is nobody's", scene.unused, scene.map.g.clients);
}

static void filled_by_nobody(void)
{
	put_state(scene.filling, KVS_FILLING, 6);
	expect("block %u is FILLING of client 6, whose slot is nobody's", scene.filling);
}

static void removed_by_nobody(void)
{
	put_state(scene.ready, KVS_REM_READY, 6);
	expect("block %u is REMOVING from READY of client 6, whose slot is nobody's", scene.ready);
}

static void let_go_by_nobody(void)
{
	put_state(scene.doomed, KVS_REM_DOOMED, 6);
	expect("block %u is REMOVING from DOOMED of client 6, whose slot is nobody's", scene.doomed);
}

static void life_of_a_clearing_to_come(void)
{
	atomic_store(&block(scene.ready)->life, life(scene.ready) + KVS_CLEARS_ONE);
	expect("block %u is READY, in a life that has not begun", scene.ready);
}

static void life_of_none(void)
{
	atomic_store(&block(scene.limbo)->life, 0);
	expect("block %u is LIMBO, in a life that has not begun", scene.limbo);
}

static void grace_of_an_epoch_to_come(void)
{
	uint32_t epoch = (uint32_t)atomic_load(&scene.map.head->epoch) + 1;

	put_state(scene.limbo, KVS_LIMBO, epoch);
	expect("block %u is LIMBO since epoch %u, which has not been", scene.limbo, epoch);
}

static void key_of_no_length(void)
{
	block(scene.limbo)->key_length = 0;
	expect("block %u is LIMBO with a key of 0 bytes", scene.limbo);
}

static void key_above_the_longest(void)
{
	block(scene.ready)->key_length = (uint16_t)(scene.map.g.key_max + 1);
	expect("block %u is READY with a key of %u bytes", scene.ready, scene.map.g.key_max + 1);
}

static void key_of_a_free_block_above_the_longest(void)
{
	block(scene.unused)->key_length = UINT16_MAX;
	expect("block %u is FREE with a key of 65535 bytes", scene.unused);
}

static void length_above_the_block(void)
{
	scene.map.infos[scene.ready].length = scene.map.g.block_size + 1;
	expect("block %u (READY) has a length above the block size", scene.ready);
}

static void length_above_the_block_of_one_that_is_doomed(void)
{
	scene.map.infos[scene.doomed].length = UINT64_MAX;
	expect("block %u (DOOMED) has a length above the block size", scene.doomed);
}

static void no_sense(uint32_t number, const char *state)
{
	expect("block %u (%s) has parts that make no sense", number, state);
}

static void parts_of_no_plane(void)
{
	atomic_fetch_or(&scene.map.infos[scene.ready].written, kvs_part_plane(2));
	no_sense(scene.ready, "READY");
}

static void parts_claimed_of_no_plane(void)
{
	atomic_fetch_or(&scene.map.infos[scene.shared].claimed, 1U << 2);
	no_sense(scene.shared, "FILLING");
}

static void parts_of_one_that_are_claimed(void)
{
	atomic_fetch_or(&scene.map.infos[scene.shared].written, KVS_PART_ALONE);
	no_sense(scene.shared, "FILLING");
}

static void parts_written_and_not_claimed(void)
{
	atomic_fetch_or(&scene.map.infos[scene.shared].written, kvs_part_plane(1));
	no_sense(scene.shared, "FILLING");
}

static void parts_whole_and_failed(void)
{
	atomic_fetch_or(&scene.map.infos[scene.doomed].written, KVS_PART_FAILED);
	no_sense(scene.doomed, "DOOMED");
}

static void plane_missing(void)
{
	atomic_fetch_and(&scene.map.infos[scene.ready].written, ~kvs_part_plane(1));
	expect("block %u is READY, though a part of it is not written", scene.ready);
}

static void fillers_part_missing(void)
{
	atomic_fetch_and(&scene.map.infos[scene.held].written, ~KVS_PART_FILLER);
	put_state(scene.held, KVS_REM_READY, 0); /* by a, who is in a section */
	enter(0);
	expect("block %u is REMOVING from READY, though a part of it is not written", scene.held);
}

static void decided(uint32_t number)
{
	expect("block %u is FILLING, though its fill is decided, and nobody goes on with it", number);
}

static void fill_whole_and_left(void)
{
	atomic_fetch_or(&scene.map.infos[scene.filling].written, KVS_PART_FILLER);
	decided(scene.filling);
}

static void fill_failed_and_left(void)
{
	atomic_fetch_or(&scene.map.infos[scene.shared].written, KVS_PART_FAILED);
	decided(scene.shared);
}

static void plane_claimed_by_nobody(void)
{
	atomic_fetch_or(&scene.map.infos[scene.shared].claimed, 1U << 1);
	expect("block %u is FILLING, and nobody writes a plane that is claimed", scene.shared);
}

static void writer_lost(void)
{
	put_counts(1, scene.shared, KVS_ENTRY_REF);
	expect("block %u is FILLING, and nobody writes a plane that is claimed", scene.shared);
}

static void removal_left(void)
{
	put_state(scene.ready, KVS_REM_READY, 1);
	expect("block %u is REMOVING from READY by client 1, which is not at it", scene.ready);
}

static void letting_go_left(void)
{
	put_state(scene.doomed, KVS_REM_DOOMED, 0);
	expect("block %u is REMOVING from DOOMED by client 0, which is not at it", scene.doomed);
}

static void doomed_of_nobody(void)
{
	put_state(scene.limbo, KVS_DOOMED, 0);
	expect("block %u is DOOMED, and nobody is left to give it back", scene.limbo);
}

static void cleared_and_left(void)
{
	/* The others came later. */
	atomic_store(&scene.map.head->floor, KVS_CLEARS_ONE);
	atomic_store(&block(scene.second)->life, life(scene.second) + KVS_CLEARS_ONE);
	atomic_store(&block(scene.tailed)->life, life(scene.tailed) + KVS_CLEARS_ONE);
	expect("block %u is READY, and nobody is left to give it back", scene.ready);
}

static void ready_in_a_drop_store(void)
{
	cut(scene.second);
	put_state(scene.second, KVS_FREE, 0);
	cut(scene.tailed);
	put_state(scene.tailed, KVS_FREE, 0);
	scene.map.head->geometry.drop = 1;
	expect("block %u is READY, and nobody is left to give it back", scene.ready);
}

/* ---- All of them ----------------------------------------------------------------------------------------- */

const struct plant plants_of_blocks[] = {
	AT_REST(head, head_state),
	AT_REST(head, head_readers_top),
	AT_REST(head, head_epoch),
	AT_REST(head, head_floor),
	AT_REST(slot, slot_of_no_state),
	AT_REST(slot, slot_with_other_bits),
	AT_REST(dma, dma_of_no_state),
	AT_REST(peer, peer_of_no_state),
	AT_REST(peer, peer_with_other_bits),
	AT_REST(peer, free_peer_with_an_owner),
	AT_REST(peer_owner, peer_of_nobody),
	AT_REST(peer_owner, peer_beyond_the_clients),
	AT_REST(reader, reader_of_no_client),
	AT_REST(reader, reader_beyond_the_clients),
	AT_REST(reader_above, reader_above_the_top),
	AT_REST(reader_stray, reader_in_a_section_of_nobody),
	AT_REST(state, state_that_there_is_not),
	AT_REST(state, free_with_an_owner),
	AT_REST(state, ready_with_an_owner),
	AT_REST(life, life_of_a_clearing_to_come),
	AT_REST(life, life_of_none),
	AT_REST(grace, grace_of_an_epoch_to_come),
	AT_REST(key, key_of_no_length),
	AT_REST(key, key_above_the_longest),
	AT_REST(key, key_of_a_free_block_above_the_longest),
	AT_REST(length, length_above_the_block),
	AT_REST(parts, parts_of_no_plane),
	AT_REST(part_missing, plane_missing),
	AT_REST(leaked, doomed_of_nobody),
	AT_REST(leaked, room_of_nobody),
	AT_REST(leaked, cleared_and_left),
	AT_REST(leaked, ready_in_a_drop_store),
	AT_WORK(reader_epoch, reader_ahead_of_the_epoch),
	AT_WORK(reader_epoch, reader_before_all_epochs),
	AT_WORK(state, doomed_with_an_owner),
	AT_WORK(state, room_of_no_request),
	AT_WORK(no_owner, owned_by_nobody),
	AT_WORK(no_owner, owned_by_one_beyond_the_clients),
	AT_WORK(no_owner, filled_by_nobody),
	AT_WORK(no_owner, removed_by_nobody),
	AT_WORK(no_owner, let_go_by_nobody),
	AT_WORK(length, length_above_the_block_of_one_that_is_doomed),
	AT_WORK(parts, parts_claimed_of_no_plane),
	AT_WORK(parts, parts_of_one_that_are_claimed),
	AT_WORK(parts, parts_written_and_not_claimed),
	AT_WORK(parts, parts_whole_and_failed),
	AT_WORK(part_missing, fillers_part_missing),
	AT_WORK(fill_stuck, fill_whole_and_left),
	AT_WORK(fill_stuck, fill_failed_and_left),
	AT_WORK(no_writer, plane_claimed_by_nobody),
	AT_WORK(no_writer, writer_lost),
	AT_WORK(removal_stuck, removal_left),
	AT_WORK(removal_stuck, letting_go_left),
};
const size_t plants_of_blocks_count = sizeof(plants_of_blocks) / sizeof(plants_of_blocks[0]);
