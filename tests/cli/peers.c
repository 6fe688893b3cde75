/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * peers: a client of STORE with connections to other nodes in the store's table, though it has none: what is counted of
 * each is known. It answers `ok`, and ends when its input does.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "internal.h"
#include "peers.h"

static const struct kvs_peer_about abouts[] = {
	{ .outgoing = false, .transport = "rdma", .device = "mlx5_0 port 1 gid 3", .local = "10.0.0.1:7471",
	  .remote = "10.0.0.2:40000", .node = "prefill\x01", .store = "engine" },
	{ .outgoing = true, .transport = "tcp", .device = "", .local = "[::1]:40001", .remote = "[::1]:7471",
	  .node = "decode \"b\"", .store = "" },
};

int main(int argc, char **argv)
{
	const struct kvshm_attach_options options = { .name = "peers" };
	kvshm_store *store;
	uint32_t peer;

	if (argc != 2 || kvshm_attach(argv[1], &options, &store))
		return EXIT_FAILURE;
	for (unsigned i = 0; i < sizeof(abouts) / sizeof(abouts[0]); i++) {
		if (kvs_peer_take(&store->map, store->slot, &abouts[i], &peer))
			return EXIT_FAILURE;
		for (unsigned c = 0; c < KVS_PEER_round_trips; c++)
			kvs_peer_add(&store->map, peer, c, 1000 * i + c);
		kvs_peer_round_trip(&store->map, peer, 1000);
		kvs_peer_round_trip(&store->map, peer, 3000);
	}
	puts("ok");
	fflush(stdout);
	(void)getchar();
	return kvshm_detach(store) ? EXIT_FAILURE : EXIT_SUCCESS;
}
