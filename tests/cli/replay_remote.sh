#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshm-replay --remote sends a trace to a store that kvshmd listens for, over TCP: an engine there reads all of it,
# what is there already is not sent, aborted transfers leave nothing, and a signal ends it early. What does not go with
# --remote is told, and so is a store that does not fit, and one that is not there.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

decode=$KVSHM_BIN/../tests/rdma/decode
[ -x "$decode" ] || skip "no $decode: make check builds it"
"$KVSHM_BIN/../tests/cli/trace" make chats 1 | head -n 300 >"$tmp/trace"

refused 1 '--kill-every does not go with --remote' kvshm-replay --remote tcp://127.0.0.1 --kill-every 5 "$tmp/trace"
refused 1 '--store does not go with --remote' kvshm-replay --remote tcp://127.0.0.1 --store x "$tmp/trace"

start_kvshmd --store "$store" --size 4M --block-size 4K --planes 2 --listen tcp://127.0.0.1:0
url=$(sed -n 's/.*listening at \(tcp:[^ ]*\).*/\1/p' "$tmp/kvshmd.log")
[ "$url" ] || fail "it does not say where: $(cat "$tmp/kvshmd.log")"
refused 1 "--block-size 8192: store '$store' at $url has 4096" kvshm-replay --remote "$url" --block-size 8K "$tmp/trace"

mkfifo "$tmp/more" || fail "no fifo"
"$decode" "$store" "$tmp/trace" <"$tmp/more" >"$tmp/decoded" 2>&1 &
decoder=$!
started+=("$decoder")
exec {more}>"$tmp/more"

must kvshm-replay --remote "$url" --in-flight 16 --json "$tmp/trace"
cat "$tmp/out"
[ "$(json_value requests)" = 300 ] || fail "not all were sent"
[ "$(json_value deduplicated)" -gt 0 ] || fail "nothing was there"
[ $(($(json_value deduplicated) + $(json_value written))) -eq "$(json_value block_refs)" ] || fail "some are neither"
[ "$(json_value bytes)" -eq $(($(json_value written) * 8192)) ] || fail "these are not the bytes of two planes"

try kvshm-replay --remote "$url" --in-flight 16 --abort 50 --json "$tmp/trace"
[ "$status" -eq 0 ] || fail "with aborts: status $status: $(cat "$tmp/err")"
[ "$(json_value aborted)" -gt 50 ] || fail "$(json_value aborted) were aborted"
[ $(($(json_value aborted) + $(json_value requests))) -eq 300 ] || fail "some are neither"

"$KVSHM_BIN/kvshm-replay" --remote "$url" --in-flight 16 --seconds 60 --json "$tmp/trace" >"$tmp/ended" 2>"$tmp/err" &
sender=$!
started+=("$sender")
until must kvshm-stat --store "$store" --json && [ "$(json_value open)" -gt 0 ]; do
	kill -0 $sender 2>/dev/null || fail "it has ended: $(cat "$tmp/err")"
done
kill -TERM $sender
status=0
wait $sender || status=$?
[ "$status" -eq 143 ] || fail "status $status of one that was ended: $(cat "$tmp/err")"
grep -q '"aborted"' "$tmp/ended" || fail "it did not print its result"

exec {more}>&-
wait "$decoder" || fail "decode: $(cat "$tmp/decoded")"
cat "$tmp/decoded"
until must kvshm-stat --store "$store" --json && [ "$(json_value room)$(json_value open)$(json_value held)" = 000 ]; do
	:
done
must kvshm-check --store "$store"
end_kvshmd TERM
refused 1 'no connection: .*refused' kvshm-replay --remote "$url" "$tmp/trace"
nothing_left
