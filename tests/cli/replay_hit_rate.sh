#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# A keep store's hit rate, as one engine sees it, is at least that of exact LRU less 0.003, on traces of several shapes
# and stores of several sizes; where everything fits it is exactly that. The same replay gives the same result each
# time. (--long: with more seeds.)
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

trace=$KVSHM_BIN/../tests/cli/trace
[ -x "$trace" ] || skip "no $trace: make check builds it"
seeds=1
[ -z "${KVSHM_TEST_LONG:-}" ] || seeds=20
fits=150000
worse=0

# The times differ, nothing else may.
replay()
{
	must kvshm-replay --procs 1 --in-flight 1 --capacity "$1" --block-size 512 --json "$tmp/trace"
	grep -v '"seconds"' "$tmp/out" >"$tmp/result"
}

for shape in $("$trace" shapes); do
	for ((seed = 1; seed <= seeds; seed++)); do
		"$trace" make "$shape" "$seed" >"$tmp/trace" || fail "no trace $shape"
		for capacity in 500 1500 5000 $fits; do
			read -r refs hits rate < <("$trace" lru "$capacity" <"$tmp/trace")
			replay "$capacity"
			echo "$shape, seed $seed, $capacity blocks: LRU $rate, kvshm $(json_value hit_rate)"
			[ "$(json_value block_refs)" = "$refs" ] || fail "$(json_value block_refs) refs, not $refs"
			[ $(($(json_value filled) + $(json_value hits))) -eq "$refs" ] || fail "some are no fill"
			if [ "$capacity" -eq $fits ]; then
				[ "$(json_value hits)" = "$hits" ] || fail "hits: $(json_value hits), not $hits"
			elif [ $((($(json_value hits) - hits) * 1000)) -lt $((-3 * refs)) ]; then
				echo "that is too few"
				worse=$((worse + 1))
			fi
		done
	done
done
[ $worse -eq 0 ] || fail "$worse times worse than LRU less 0.003"

replay 500
mv "$tmp/result" "$tmp/first"
replay 500
difference=$(diff "$tmp/first" "$tmp/result") || fail "the same replay gave another result: $difference"
