/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * remote.c: remote URL BLOCKS TRANSFERS: puts blocks into another node's store, from registered memory: transfers of so
 * many blocks, some of them in flight at a time, until so many are complete. Prints how long that took, from the first
 * one's opening to the last one's end, in s, and the bytes. Blocks that lie behind each other over there come from
 * places here that do not, so that each block is a write of its own; what one call tells as granted is committed
 * together. tests/bench/remote.sh compares that with perftest.
 */
#include "config.h"

#include "bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { IN_FLIGHT = 4, EVENTS = 256, APART = 37 }; /* APART: no divisor of the numbers of blocks */

struct put {
	kvshm_peer *peer;
	struct kvshm_geometry geometry;
	uint8_t *bytes;
	struct kvshm_offer *offers;
	uint64_t (*keys)[3];
	uint32_t blocks;
	uint64_t opened, wanted, done;
	kvshm_transfer *transfer; /* whose blocks at these positions are written, and not committed yet */
	uint32_t positions[EVENTS];
	size_t written;
};

static void must(int rc, const char *what)
{
	if (rc)
		bench_die(what);
}

static void commit(struct put *put)
{
	if (put->written)
		must(kvshm_transfer_commit(put->transfer, put->positions, put->written), "commit");
	put->written = 0;
}

static void write_block(struct put *put, kvshm_transfer *transfer, uint32_t position)
{
	uint64_t size = put->geometry.block_size, from = (uint64_t)position * APART % put->blocks;

	if (put->transfer != transfer)
		commit(put);
	for (unsigned plane = 0; plane < put->geometry.planes; plane++)
		must(kvshm_transfer_write(transfer, position, plane, 0, put->bytes + from * size, size), "write");
	put->transfer = transfer;
	put->positions[put->written++] = position;
}

static void open_next(struct put *put)
{
	kvshm_transfer *transfer;

	for (uint32_t i = 0; i < put->blocks; i++) {
		put->keys[i][0] = (uint64_t)getpid();
		put->keys[i][1] = put->opened;
		put->keys[i][2] = i;
		put->offers[i].key = (struct kvshm_key){ put->keys[i], sizeof(put->keys[i]) };
		put->offers[i].meta = (struct kvshm_meta){ .length = put->geometry.block_size };
	}
	must(kvshm_transfer_open(put->peer, NULL, 0, put->blocks, NULL, &transfer), "open");
	must(kvshm_transfer_offer(transfer, 0, put->offers, put->blocks), "offer");
	put->opened++;
}

static void take(struct put *put, const struct kvshm_event *event)
{
	if (event->position != KVSHM_WHOLE_TRANSFER) {
		if (event->sending == KVSHM_SENDING_GRANTED)
			write_block(put, event->transfer, event->position);
		return;
	}
	must(event->result, "a transfer");
	must(kvshm_transfer_close(event->transfer), "close");
	put->done++;
	if (put->opened < put->wanted)
		open_next(put);
}

static void put_all(struct put *put)
{
	struct kvshm_event events[EVENTS];
	size_t count;

	while (put->opened < IN_FLIGHT && put->opened < put->wanted)
		open_next(put);
	while (put->done < put->wanted) {
		must(kvshm_peer_work(put->peer, UINT64_MAX, events, EVENTS, &count), "work");
		for (size_t i = 0; i < count; i++)
			take(put, &events[i]);
		commit(put);
	}
}

static void begin(struct put *put, const char *url)
{
	struct kvshm_net_options options;
	struct kvshm_peer_info info;
	uint64_t size;

	kvshm_net_defaults(&options);
	options.secret = getenv("KVSHM_BENCH_SECRET");
	options.secret_length = options.secret ? strlen(options.secret) : 0;
	must(kvshm_connect(NULL, url, &options, UINT64_MAX, &put->peer), "connect");
	must(kvshm_peer_get_info(put->peer, &info), "info");
	put->geometry = info.geometry;
	size = put->geometry.block_size * put->blocks;
	put->bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	put->offers = calloc(put->blocks, sizeof(*put->offers));
	put->keys = calloc(put->blocks, sizeof(*put->keys));
	if (put->bytes == MAP_FAILED || !put->offers || !put->keys)
		bench_die("no memory");
	must(kvshm_peer_register(put->peer, put->bytes, size), "register");
}

int main(int argc, char **argv)
{
	struct put put = { 0 };
	double began, took;

	if (argc != 4) {
		fprintf(stderr, "remote URL BLOCKS TRANSFERS\n");
		return EXIT_FAILURE;
	}
	put.blocks = (uint32_t)strtoul(argv[2], NULL, 10);
	put.wanted = strtoull(argv[3], NULL, 10);
	begin(&put, argv[1]);
	began = bench_now();
	put_all(&put);
	took = bench_now() - began;
	must(kvshm_disconnect(put.peer), "disconnect");
	free(put.offers);
	free(put.keys);
	printf("%.6f %" PRIu64 "\n", took,
	       put.wanted * put.blocks * put.geometry.block_size * put.geometry.planes);
	return EXIT_SUCCESS;
}
