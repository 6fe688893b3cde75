#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshm-replay refuses what it can't use with status 1 and a message that says what is wrong (of a broken line: which
# one it is), and leaves nothing behind.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

dir=$shm/kvshm.${KVSHM_TEST_PREFIX}dir
mkdir "$dir" || fail "no directory"
good='{"hash_ids": [0, 1, 2]}'
echo "$good" >"$tmp/good"

# refused_line PATTERN LINE: in a trace, and through standard input.
refused_line()
{
	printf '%s\n\n%s\n%s\n' "$good" "$2" "$good" >"$tmp/trace"
	refused 1 "$tmp/trace: line 3: $1.*mend or remove" kvshm-replay --dir "$dir" --capacity 8 "$tmp/trace"
	"$KVSHM_BIN/kvshm-replay" --dir "$dir" --capacity 8 - <"$tmp/trace" 2>"$tmp/err" && fail "'$2' was taken"
	grep -qE "standard input: line 3: $1" "$tmp/err" || fail "no '$1' in: $(cat "$tmp/err")"
}

refused_line "no JSON" 'hash_ids: 1, 2'
refused_line "no JSON" '{"hash_ids": [3, 4'
refused_line "no JSON" "$good $good"
refused_line "no JSON.*duplicate" '{"hash_ids": [3], "hash_ids": [4]}'
refused_line "no JSON.*too big" '{"hash_ids": [99999999999999999999]}'
refused_line "no JSON object" '[3, 4]'
refused_line "the object has no hash_ids" '{"hash": [3, 4]}'
refused_line "hash_ids is no array" '{"hash_ids": 3}'
refused_line "entry 2 of hash_ids is no whole number" '{"hash_ids": [3, -4]}'
refused_line "entry 1 of hash_ids is no whole number" '{"hash_ids": [3.5]}'
refused_line "entry 3 of hash_ids is no whole number" '{"hash_ids": [3, 4, "5"]}'

# What has no end of a line is not read for ever.
refused 1 "line 1: longer than 64 MiB" kvshm-replay --dir "$dir" --capacity 8 /dev/zero

: >"$tmp/trace"
refused 1 "no requests in it" kvshm-replay --dir "$dir" --capacity 8 "$tmp/trace"
refused 1 "can't be read after line 0" kvshm-replay --dir "$dir" --capacity 8 "$tmp"
refused 1 "can't be opened" kvshm-replay --dir "$dir" --capacity 8 "$tmp/none"
refused 1 "no trace" kvshm-replay --dir "$dir" --capacity 8
refused 1 "leave one out" kvshm-replay --dir "$dir" --capacity 8 --generate 5 "$tmp/good"
refused 1 "one trace at a time" kvshm-replay --dir "$dir" --capacity 8 "$tmp/good" "$tmp/good"
refused 1 "--capacity BLOCKS is missing, or --store NAME" kvshm-replay --dir "$dir" "$tmp/good"
refused 1 "the least is 1" kvshm-replay --dir "$dir" --capacity 0 "$tmp/good"
refused 1 "the least is 1" kvshm-replay --dir "$dir" --capacity 8 --block-size 0 "$tmp/good"
refused 1 "multiple of 512" kvshm-replay --dir "$dir" --capacity 8 --block-size 1000 "$tmp/good"
refused 1 "2\^64" kvshm-replay --dir "$dir" --capacity 1073741824 --block-size 16777215T "$tmp/good"
refused 1 "the most is 1023" kvshm-replay --dir "$dir" --capacity 8 --procs 1024 "$tmp/good"
refused 1 "are 1024 processes: the most is 1023" kvshm-replay --dir "$dir" --capacity 8 --procs 512 "$tmp/good"
refused 1 "1144 processes: the most is 1023" kvshm-replay --dir "$dir" --capacity 8 --tickets --procs 104 --planes 9 \
	"$tmp/good"
refused 1 "are 4096 requests: the most is 4095" kvshm-replay --dir "$dir" --capacity 8 --procs 2 --in-flight 2048 \
	"$tmp/good"
refused 1 "the most is 100" kvshm-replay --dir "$dir" --capacity 8 --abort 101 "$tmp/good"
refused 1 "the least is 1" kvshm-replay --dir "$dir" --capacity 8 --claim-timeout 0 "$tmp/good"
for option in "--key-file $tmp/good" "--device mlx5_0" "--timeout 1000"; do
	# shellcheck disable=SC2086 # two words
	refused 1 "${option%% *} is for another node's store: add --remote URL, or leave it out" \
		kvshm-replay --dir "$dir" --capacity 8 $option "$tmp/good"
done
refused 1 "it can be keep\|drop" kvshm-replay --dir "$dir" --capacity 8 --retain both "$tmp/good"
refused 1 "a number is wanted" kvshm-replay --dir "$dir" --capacity 8 --seconds 1.5 "$tmp/good"
refused 1 "kvshm-replay: .*none" kvshm-replay --dir "$dir" --store "${store}none" "$tmp/good"
refused 1 "kvshm-replay: .*none" kvshm-replay --dir "$dir/none" --capacity 8 "$tmp/good"

must kvshm-replay --dir "$dir" --capacity 8 "$tmp/good"
must kvshm-replay --dir "$dir" --capacity 8 --tickets "$tmp/good"
"$KVSHM_BIN/kvshm-replay" --dir "$dir" --capacity 8 "$tmp/good" >/dev/full 2>"$tmp/err" &&
	fail "the result went nowhere"
grep -q "can't write" "$tmp/err" || fail "no message about output that went nowhere: $(cat "$tmp/err")"
left=$(ls -A "$dir")
[ -z "$left" ] || fail "left behind: $left"
