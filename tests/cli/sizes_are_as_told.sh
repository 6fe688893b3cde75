#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# What README.md and kvshm(7) tell of sizes is so: the table of models follows from its own formula, and the segment
# takes so much for each block, for each client, and for each request; so does the example.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

# The columns: model, layers, KV heads, head size, bytes of a number, planes, bytes per token and plane, and per block
# of 16 tokens.
awk -F ' *[|] *' '/^## Sizes/ { here = 1 } /^## / && !/^## Sizes/ { here = 0 }
	here && NF == 10 && $3 + 0 {
		gsub(",", "")
		rows++
		token = 2 * $3 * $4 * $5 * $6 / $7
		if ($8 != token || $9 != 16 * token || 16 * token % 512) {
			print "README.md, " $2 ": " token " bytes per token, " 16 * token " for 16 tokens"
			wrong = 1
		}
	}
	END { exit wrong || rows < 3 }' "${top_srcdir:?}/README.md" || fail "the table of models in README.md is wrong"

# segment BLOCKS CLIENTS KEY-MAX [REQUESTS]: $segment is the size of such a store's segment.
segment()
{
	start_kvshmd --store "$store" --size "$(($1 * 512))" --block-size 512 --clients "$2" --key-max "$3" \
		--requests "${4:-1024}"
	must kvshm-stat --store "$store" --json
	segment=$(json_value segment_size)
	end_kvshmd TERM
}

# told TEXT: both pages have it.
told()
{
	grep -qF -e "$1" "$top_srcdir/README.md" || fail "README.md does not tell '$1'"
	grep -qF -e "$1" "$top_srcdir/lib/man/kvshm.7" || fail "kvshm.7 does not tell '$1'"
}

# Powers of two, so that there is one bucket for each block. Its bit among the hints is lost in what is rounded up.
segment 65536 1 32
base=$segment
segment 131072 1 32
block=$(((segment - base) / 65536 - 16))
[ "$block" -eq 132 ] || fail "a block takes $block bytes beside its entry in the one row"
told "132 to 136 bytes"
segment 65536 1 256
[ $(((segment - base) / 65536)) -eq 224 ] || fail "a key of 256 bytes takes $(((segment - base) / 65536)) bytes more"
# As many clients as make whole units of what the rows are aligned to.
segment 8192 1 32
base=$segment
segment 8192 513 32
client=$(((segment - base) / 512 - 16 * 8192))
[ "$client" -eq 34944 ] || fail "a client takes $client bytes beside its row"
told "34,944 bytes"
# The sections before the rows are rounded up to 64 KiB together: that is less than 24 bytes for each of these requests.
segment 8192 1 32 1
base=$segment
segment 8192 1 32 4095
requests=$((segment - base - 4094 * 272))
[ "${requests#-}" -le 65536 ] || fail "a request takes about $(((segment - base) / 4094)) bytes"
told "272 bytes"
# The example.
segment 32768 64 64
rows=$((64 * 32768 * 16))
is="$(((segment - rows + 500000) / 1000000)) MB, and at most $(((rows + 500000) / 1000000)) MB of rows"
grep -qF "$is" "$top_srcdir/README.md" || fail "README.md does not tell '$is' of its example"
nothing_left
