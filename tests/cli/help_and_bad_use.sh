#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# Every tool: --help and --version work; the options of --help are those of the manual; bad use is refused with status 1
# and a message that says what is wrong; numbers and sizes are read whole or refused.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

tools=(kvshmd kvshm-stat kvshm-check kvshm-replay kvshm-rm kvshm-send)
manuals=${top_srcdir:-$(dirname "$0")/../..}/tools/man

options_in_help() { grep -oE '^  --[a-z-]+' "$tmp/out" | tr -d ' ' | sort; }
options_in_manual() { grep -E '^\.It Fl -' "$1" | grep -oE 'Fl -[a-z-]+|, Fl -[a-z-]+' | sed 's/.*Fl -/--/' | sort; }

for tool in "${tools[@]}"; do
	must "$tool" --version
	grep -qE "^$tool \(kvshm\) [0-9]+\.[0-9]+" "$tmp/out" || fail "$tool --version: $(cat "$tmp/out")"
	must "$tool" --help
	grep -q "^Usage: $tool " "$tmp/out" || fail "$tool --help has no usage line"
	for manual in "$manuals/$tool".[18]; do
		[ -e "$manual" ] || fail "no manual of $tool in $manuals"
		difference=$(diff <(options_in_help) <(options_in_manual "$manual")) ||
			fail "$tool: --help (<) and the manual (>) differ: $difference"
	done

	refused 1 "no option --nonsense" "$tool" --nonsense
	refused 1 "no option -z" "$tool" -z
	refused 1 "--dir needs DIR" "$tool" --dir
	refused 1 "--help takes no argument" "$tool" --help=yes
	refused 1 "empty" "$tool" --dir ''
done

"$KVSHM_BIN/kvshm-stat" --help >/dev/full 2>"$tmp/err" && fail "help that went nowhere was a success"
grep -q "can't write" "$tmp/err" || fail "no message about output that went nowhere: $(cat "$tmp/err")"

refused 1 "nothing was expected at 'extra'" kvshm-stat --store "$store" 1 1 extra
for tool in kvshmd kvshm-check; do
	refused 1 "nothing was expected at 'extra'" "$tool" --store "$store" extra
	refused 1 "empty" "$tool" --store ''
done
refused 1 "empty" kvshm-stat --store ''
refused 1 "--store NAME is missing" kvshmd --size 1M --block-size 4K
refused 1 "--store NAME is missing" kvshm-check
refused 1 "--size BYTES is missing" kvshmd --store "$store" --block-size 4K
refused 1 "--block-size BYTES is missing" kvshmd --store "$store" --size 1M
refused 1 "leave one out" kvshmd --store "$store" --adopt --replace-dead
refused 1 "leave one out" kvshmd --store "$store" --adopt --populate 1
refused 1 "leave one out" kvshm-stat --store "$store" --list
refused 1 "leave one out" kvshm-stat --json --prometheus
refused 1 "leave one out" kvshm-stat --list 1
refused 1 "leave all but one out" kvshm-stat --clients --blocks
refused 1 "leave all but one out" kvshm-stat --requests --pins
refused 1 "leave all but one out" kvshm-stat --requests --peers
refused 1 "leave all but one out" kvshm-stat --blocks 1
refused 1 "leave out" kvshm-stat --prometheus --clients
refused 1 "leave out" kvshm-stat --prometheus 1
refused 1 "as well" kvshm-stat --columns slot
refused 1 "of GPU memory: add --pool" kvshm-replay --export ipc --capacity 10 --generate 3
refused 1 "of GPU memory: add --pool" kvshm-replay --pool host --export fd --capacity 10 --generate 3
refused 1 "leave it or --store out" kvshm-replay --pool cuda:0 --store "$store" --generate 3
refused 1 "does not go with --remote" kvshm-replay --pool cuda:0 --remote tcp://127.0.0.1 --generate 3
refused 1 "it can be fd.ipc" kvshm-replay --export nvlink --capacity 10 --generate 3
refused 1 "--store NAME is missing" kvshm-send --to tcp://127.0.0.1 key
refused 1 "is missing" kvshm-send --store "$store" key
refused 1 "leave one out" kvshm-send --store "$store" --to tcp://127.0.0.1 --from tcp://127.0.0.1 key
refused 1 "KEY is missing" kvshm-send --store "$store" --to tcp://127.0.0.1
refused 1 "a key is empty" kvshm-send --store "$store" --to tcp://127.0.0.1 ''
refused 1 "no key in hexadecimal" kvshm-send --store "$store" --to tcp://127.0.0.1 --hex 5e2
refused 1 "no key in hexadecimal" kvshm-send --store "$store" --to tcp://127.0.0.1 --hex 5g
refused 1 "--id ID, which is missing" kvshm-send --store "$store" --to tcp://127.0.0.1 --attempt 1 key
for interval in x -1 +1 1s 1e3 inf nan 0x1 1.2.3 '' ' 1'; do
	refused 1 "seconds are wanted|no option" kvshm-stat "$interval"
done
for interval in 0 0.0 . 0.0009 86401 99999999999999999999; do
	refused 1 "the least is 0.001" kvshm-stat "$interval"
done
for count in x 1.5 -1 '' 1K; do
	refused 1 "a number of lines is wanted|no option" kvshm-stat 1 "$count"
done
for count in 0 18446744073709551616; do
	refused 1 "the least is 1" kvshm-stat 1 "$count"
done
for rows in --list --clients --blocks --requests --pins --peers 1; do
	refused 1 "'such': there is no such column of [a-z]+; there are .*, " kvshm-stat "$rows" --columns such
	refused 1 "'': there is no such column" kvshm-stat "$rows" --columns ,
done
refused 1 "'cuda' names no GPU" kvshmd --store "$store" --size 1M --block-size 4K --pool cuda
refused 1 "--export 'pipe': it can be fd\|ipc" kvshmd --store "$store" --export pipe
refused 1 "--export is of GPU memory" kvshmd --store "$store" --size 1M --block-size 4K --export fd
refused 1 "--export is of GPU memory" kvshmd --store "$store" --size 1M --block-size 4K --export fd --pool host
refused 1 "--hugepages is of the host's memory" kvshmd --store "$store" --size 1M --block-size 4K --pool cuda:0 \
	--hugepages
refused 1 "--retain 'both': it can be keep\|drop" kvshmd --store "$store" --retain both

for size in '' -1 +1 ' 1' 1k 1Q 1KK K 0x10 1.5M 1M1; do
	refused 1 "a size is wanted" kvshmd --store "$store" --size "$size"
done
for size in 18446744073709551616 99999999999999999999999 16777216T 18014398509481984K; do
	refused 1 "too large" kvshmd --store "$store" --size "$size"
done
for number in '' -1 1K x 1x; do
	refused 1 "a number is wanted" kvshmd --store "$store" --planes "$number"
done
refused 1 "the least is 1" kvshmd --store "$store" --planes 0
refused 1 "the most is 32" kvshmd --store "$store" --planes 33
refused 1 "the most is 256" kvshmd --store "$store" --key-max 257
refused 1 "the most is 1023" kvshmd --store "$store" --numa 1024
refused 1 "the most is 256" kvshmd --store "$store" --populate 257
refused 1 "no such group" kvshmd --store "$store" --size 1M --block-size 4K --group "no such one"
refused 1 "no such group" kvshmd --store "$store" --size 1M --block-size 4K --group 4294967295
refused 1 "NAME is missing" kvshm-rm
refused 1 "leave 'extra' out" kvshm-rm --dead extra
refused 1 "the most is 1024" kvshmd --store "$store" --clients 1025
refused 1 "the most is 4095" kvshmd --store "$store" --requests 4096
refused 1 "octal digits are wanted" kvshmd --store "$store" --mode 0690
refused 1 "the most is 777" kvshmd --store "$store" --mode 1777

# Names are the library's to judge: 1 to 64 of A-Z a-z 0-9 . _ -, not starting with a dot.
for name in a/b .a 'a b' ä "$(printf 'a%.0s' {1..65})"; do
	for tool in kvshm-stat kvshm-check; do
		refused 1 "name" "$tool" --store "$name"
	done
	refused 1 "name" kvshm-rm "$name"
	refused 1 "name" kvshmd --store "$name" --size 1M --block-size 4K
done
nothing_left
