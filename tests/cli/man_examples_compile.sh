#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# Each example of kvshm(7) and of the man pages of calls compiles without a warning, given what its names say: the
# calls' arguments, and functions of the engine's own. (That of kvshm_get_ticket(3) has two columns, and that of
# kvshm_error(3) a function beside its statements; those of kvshm-python(7) are run: tests/engines/man_examples.py.)
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
: "${top_srcdir:?}" "${KVSHM_TEST_CC:?is to be the compiler}"
read -r -a compiler <<<"$KVSHM_TEST_CC"

# What an example may name without a declaration.
cat >"$tmp/before" <<-'END'
	#include <err.h>
	#include <errno.h>
	#include <kvshm.h>
	#include <poll.h>
	#include <stdlib.h>
	#include <string.h>

	/* The engine's own. */
	uint64_t now(void);
	void compute(void *bytes);
	void decode_into(void *bytes);
	void use(const void *bytes);
	void fill(size_t item, struct kvshm_handle *block);
	void hold_and_fill(kvshm_store *store, struct kvshm_request *request, const struct kvshm_key *keys,
			   size_t count);
	void decode(const struct kvshm_handle *refs, size_t count);
	void register_memory(void *address, uint64_t size);
	void send_to_all_ranks(const char *what, const struct kvshm_ticket *ticket);
	void launch_prefill(void *stream, void *bytes);
	void launch_decode(void *stream, const void *bytes);
	void *page_of_layer(unsigned layer);
	void wait_for(void *stream);
	void end_now(struct kvshm_handle *held);
	extern void *stream, *other_stream;
	extern unsigned layer, layers;
	extern size_t layer_size;
	extern const char id[64], key[32], prefix_hash[32];
	extern const struct kvshm_key *keys, *hashes;
	extern size_t length;
	extern uint32_t count, attempt;
	extern uint64_t deadline;
	extern unsigned rank;
	extern struct kvshm_meta meta;

	/* What calls set. */
	extern kvshm_store *store;
	extern kvshm_owner *owner;
	extern struct kvshm_create_options options;
	extern struct kvshm_ticket ticket;
	extern struct kvshm_handle block, part, ref, *refs, *handles;
	extern struct kvshm_request request;
	extern enum kvshm_published published;
	extern enum kvshm_outcome outcome, *outcomes;
	extern enum kvshm_next next;
	extern struct pollfd event;
	extern struct kvshm_plane_info plane;
	extern struct kvshm_piece *pieces;
	extern struct kvshm_net_options net;
	extern kvshm_peer *peer;
	extern kvshm_transfer *transfer;
	extern struct kvshm_transfer_info info;
	extern struct kvshm_event told;
	extern struct kvshm_offer offer;
	extern const char secret[32];
	extern kvshm_listener *listener;
	extern unsigned ended;
	extern size_t ready;
	extern void *bytes;
	extern int rc, *results;

	int example(void);
	int example(void)
	{
END
cat >"$tmp/after" <<-'END'
		return rc;
	}
END

examples=0
for page in "$top_srcdir"/lib/man/*.[37]; do
	[ ! -L "$page" ] || continue
	name=${page##*/}
	case $name in
	kvshm-python.7 | kvshm_get_ticket.3 | kvshm_error.3) continue ;;
	esac
	awk -v out="$tmp/$name" '/^\.Sh/ { here = $2 == "EXAMPLES" }
		here && /^\.Bd -literal/ { file = out "." ++count ".body"; next }
		/^\.Ed/ { file = ""; next }
		file { gsub(/\\e/, "\\"); gsub(/\\-/, "-"); print >file }' "$page"
	for body in "$tmp/$name".*.body; do
		[ -e "$body" ] || continue
		cat "$tmp/before" "$body" "$tmp/after" >"$tmp/example.c"
		"${compiler[@]}" -fsyntax-only -Wall -Wextra -Werror -Wno-unused -I"$top_srcdir/lib" "$tmp/example.c" \
			>"$tmp/cc.log" 2>&1 || fail "an example of $name does not compile: $(cat "$tmp/cc.log")"
		examples=$((examples + 1))
	done
done
[ "$examples" -ge 10 ] || fail "only $examples examples were found"
