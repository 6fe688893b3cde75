#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshm-stat --prometheus: an exposition that promtool accepts without lint, of one store or of all, whatever their
# labels and states; with every counter and histogram that is declared, and the values that kvshm-stat shows.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

sources=${top_srcdir:-$(dirname "$0")/../..}/shm
own_directory

# has LINE: a sample of the exposition, as it stands there.
has() { grep -qxF -e "$1" "$tmp/out" || fail "no '$1' in: $(cat "$tmp/out")"; }

promtool_accepts()
{
	command -v promtool >/dev/null || return 0
	promtool check metrics <"$tmp/out" >"$tmp/lint" 2>&1 || fail "promtool: $(cat "$tmp/lint")"
	[ ! -s "$tmp/lint" ] || fail "promtool: $(cat "$tmp/lint")"
}

start_kvshmd --store a --size 1M --block-size 4K --clients 2 --label $'a"quote, a back\\slash, a\nline, \xc3\xa4'
start_client one a
for key in k1 k2; do
	ask one fill begin "$key"
	ask one ok publish "$key"
done
ask one ok pin k1
ask one fill begin k3
ask one ENOENT read k4
must kvshm-stat --prometheus
promtool_accepts
has 'kvshm_blocks{store="a",state="ready"} 2'
has 'kvshm_blocks{store="a",state="filling"} 1'
has 'kvshm_blocks{store="a",state="free"} 253'
has 'kvshm_blocks_pinned{store="a"} 1'
has 'kvshm_refs{store="a"} 3'
has 'kvshm_fills_total{store="a"} 2'
has 'kvshm_store_blocks{store="a"} 256'
has 'kvshm_store_block_size_bytes{store="a"} 4096'
has 'kvshm_store_owner_alive{store="a"} 1'
has 'kvshm_store_state{store="a",state="live"} 1'
has "kvshm_client_pins{store=\"a\",slot=\"0\",pid=\"${client_pid[one]}\",name=\"client\"} 1"
grep -qF 'kvshm_store_info{store="a",label="a\"quote, a back\\slash, a?line, ??",' "$tmp/out" ||
	fail "the label is not escaped: $(grep _info "$tmp/out")"
[ "$(awk '/^kvshm_blocks{/ { sum += $2 } END { print sum }' "$tmp/out")" -eq 256 ] || fail "not all blocks have a state"
has 'kvshm_fill_seconds_count{store="a"} 2'
has 'kvshm_fill_seconds_bucket{store="a",le="+Inf"} 2'
has 'kvshm_fill_seconds_bucket{store="a",le="35184.3720888"} 2' # 2^45 ns, the last end
grep -qE '^kvshm_fill_seconds_bucket\{store="a",le="1.024e-06"\} ' "$tmp/out" || fail "no first bucket"
grep -qE '^kvshm_fill_seconds_sum\{store="a"\} 0\.[0-9]*[1-9]' "$tmp/out" || fail "no sum"

# All that is declared is there, each family once.
declared=0
while read -r family; do
	grep -qx "# TYPE $family" "$tmp/out" || fail "no $family"
	declared=$((declared + 1))
done < <(sed -n -e 's/^KVS_COUNTER(\([a-z_]*\),.*/kvshm_\1_total counter/p' \
	-e 's/^KVS_HISTOGRAM(\([a-z_]*\),.*/kvshm_\1_seconds histogram/p' "$sources"/*.def)
[ "$declared" -gt 20 ] || fail "few are declared: $declared"
[ -z "$(grep '^# TYPE' "$tmp/out" | sort | uniq -d)" ] || fail "a family is there twice"
! grep -v -e '^# ' -e '^kvshm_[a-z_]*{store="' "$tmp/out" || fail "a sample without its store"

# All stores: a dead one, one of another layout, one that is truncated.
start_kvshmd --store b --size 1M --block-size 8K
end_kvshmd KILL
cp "$shm/kvshm.b" "$shm/kvshm.c"
printf '\377' | dd of="$shm/kvshm.c" bs=1 seek=8 conv=notrunc status=none
cp "$shm/kvshm.b" "$shm/kvshm.d"
truncate -s 100 "$shm/kvshm.d"
must kvshm-stat --list --prometheus
promtool_accepts
has 'kvshm_store_state{store="a",state="live"} 1'
has 'kvshm_store_state{store="b",state="dead"} 1'
has 'kvshm_store_state{store="c",state="other-layout"} 1'
has 'kvshm_store_state{store="d",state="truncated"} 1'
has 'kvshm_store_owner_alive{store="b"} 0'
has 'kvshm_store_file_size_bytes{store="d"} 100'
has 'kvshm_blocks{store="b",state="free"} 128'
[ -z "$(grep '^# TYPE' "$tmp/out" | sort | uniq -d)" ] || fail "a family is there twice"
rm "$shm"/kvshm.[abcd]*
must kvshm-stat --list --prometheus # no store is no sample, and no error
promtool_accepts

command -v promtool >/dev/null || skip "no promtool (of the package prometheus): all but its judgement was tested"
