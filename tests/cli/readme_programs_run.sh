#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# The programs of README.md do what is said of them, built as a user would, with pkg-config against an installed
# library. The first one is doc/example.c, and has at most 40 lines: of several processes at once, one computes the
# block, and the others find it; one that waits for another's fill gets its bytes, or computes them itself when that one
# is killed. The second one is doc/transfer.c: what one process has filled for a request another gets, and nothing is
# left in the store. The third is doc/remote.c: what is sent to another store is claimed there.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
: "${top_srcdir:?}" "${top_builddir:?}" "${KVSHM_TEST_CC:?is to be the compiler}"

# readme_code HEADING: the first code block behind that heading, without its indentation.
readme_code()
{
	sed -n "/^## $1\$/,/^## /p" "$top_srcdir/README.md" | awk '/^    / { print substr($0, 5); code = 1; next }
		code && /^$/ { print; next }
		code { exit }' | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}'
}

# The files without their opening comments, and what README.md has not of the second one.
readme_code "A program" >"$tmp/readme.c"
sed '1,/^ \*\/$/d' "$top_srcdir/doc/example.c" | expand >"$tmp/example.c"
[ -s "$tmp/example.c" ] || fail "doc/example.c has no program"
diff "$tmp/example.c" "$tmp/readme.c" || fail "README.md has another program than doc/example.c (left)"
[ "$(wc -l <"$tmp/example.c")" -le 40 ] || fail "it has more than 40 lines"
readme_code "From a prefill engine to a decode engine" | sed '/^\$/,$d' | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' \
	>"$tmp/transfer.readme"
sed -n '/^static void prefill/,/^int main/{/^int main/d;p}' "$top_srcdir/doc/transfer.c" | expand |
	sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' >"$tmp/transfer.functions"
[ -s "$tmp/transfer.functions" ] || fail "doc/transfer.c has no prefill()"
diff "$tmp/transfer.functions" "$tmp/transfer.readme" || fail "README.md has others than doc/transfer.c (left)"

readme_code "Another node" | sed '/^\$/,$d' | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' >"$tmp/remote.readme"
sed -n '/^static void send_prompt/,/^}/p' "$top_srcdir/doc/remote.c" | expand >"$tmp/remote.functions"
[ -s "$tmp/remote.functions" ] || fail "doc/remote.c has no send_prompt()"
diff "$tmp/remote.functions" "$tmp/remote.readme" || fail "README.md has another than doc/remote.c (left)"

# An installation, as a package would make it.
root=$tmp/root
env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make -C "$top_builddir" DESTDIR="$root" install-includeHEADERS \
	install-libLTLIBRARIES install-nodist_pkgconfigDATA >"$tmp/install.log" 2>&1 ||
	fail "make install: $(tail "$tmp/install.log")"
pc=$(find "$root" -name kvshm.pc)
[ "$pc" ] || fail "no kvshm.pc is installed"
read -r -a flags < <(PKG_CONFIG_PATH=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$root pkg-config --cflags --libs kvshm)
read -r -a compiler <<<"$KVSHM_TEST_CC"
for program in "example $tmp/readme.c" "transfer $top_srcdir/doc/transfer.c" \
	"remote $top_srcdir/doc/remote.c"; do
	"${compiler[@]}" -Wall -Wextra -Werror -o "$tmp/${program%% *}" "${program#* }" "${flags[@]}" \
		>"$tmp/cc.log" 2>&1 ||
		fail "${program%% *} does not compile: $(cat "$tmp/cc.log")"
done
library=$(find "$root" -name libkvshm.so)
export LD_LIBRARY_PATH=${library%/*}

# until_one COUNTER: returns when the store's counter is 1: of waits when a program that was started has slept in one.
until_one()
{
	count=
	while [ "$count" != 1 ]; do
		must kvshm-stat --store "$store" --json
		count=$(json_value "$1")
	done
}

start_kvshmd --store "$store" --size 64K --block-size 4K
"$tmp/example" "$store" >"$tmp/said" 2>&1 || {
	[ $? -ne 126 ] || skip "programs that $KVSHM_TEST_CC makes do not run on this machine"
	fail "it failed: $(cat "$tmp/said")"
}
[ "$(cat "$tmp/said")" = "computed: its keys and values" ] || fail "it printed: $(cat "$tmp/said")"
end_kvshmd TERM

start_kvshmd --store "$store" --size 64K --block-size 4K
pids=()
for i in 1 2 3 4; do
	"$tmp/example" "$store" >"$tmp/said.$i" 2>&1 &
	pids+=("$!")
done
for pid in "${pids[@]}"; do
	wait "$pid" || fail "one of them failed: $(cat "$tmp"/said.*)"
done
[ "$(sort "$tmp"/said.* | uniq -c | tr -s ' ' | tr '\n' ';')" = \
	" 1 computed: its keys and values; 3 found: its keys and values;" ] || fail "they printed: $(cat "$tmp"/said.*)"
end_kvshmd TERM

for end in publish die; do
	start_kvshmd --store "$store" --size 64K --block-size 4K
	start_client filler "$store"
	ask filler fill begin a-prefix
	"$tmp/example" "$store" >"$tmp/said" 2>&1 &
	pid=$!
	until_one waits
	if [ "$end" = publish ]; then
		ask filler ok publish a-prefix
		wanted="found: a-prefix"
	else
		wanted="computed: its keys and values"
	fi
	kill_client filler
	wait "$pid" || fail "it failed when its filler did this: $end: $(cat "$tmp/said")"
	[ "$(cat "$tmp/said")" = "$wanted" ] || fail "its filler did this: $end, and it printed: $(cat "$tmp/said")"
	end_kvshmd TERM
done

start_kvshmd --store "$store" --size 64K --block-size 4K --retain drop
"$tmp/transfer" prefill "$store" request-1 >"$tmp/said.prefill" 2>&1 &
pid=$!
until_one requests
"$tmp/transfer" decode "$store" request-1 >"$tmp/said" 2>&1 || fail "decode failed: $(cat "$tmp/said")"
wait "$pid" || fail "prefill failed: $(cat "$tmp/said.prefill")"
[ "$(cat "$tmp/said")" = "$(printf 'tokens 0-%d\n' 15 31 47)" ] || fail "decode printed: $(cat "$tmp/said")"
must kvshm-stat --store "$store" --json
[ "$(json_value ready) $(json_value held)" = "0 0" ] || fail "blocks were left"
"$tmp/transfer" decode "$store" request-1 >"$tmp/said" 2>&1 && fail "a request was claimed that has ended"
grep -q "has ended" "$tmp/said" || fail "decode was told: $(cat "$tmp/said")"
"$tmp/transfer" prefill "$store" request-1 >"$tmp/said" 2>&1 && fail "a request was opened twice"
grep -q "has been closed" "$tmp/said" || fail "prefill was told: $(cat "$tmp/said")"
end_kvshmd TERM

start_kvshmd --store "$store-there" --size 64K --block-size 4K --listen tcp://127.0.0.1:0
url=$(sed -n 's/^kvshmd: listening at //p' "$tmp/kvshmd.log")
there=$kvshmd_pid
start_kvshmd --store "$store" --size 64K --block-size 4K
for said in "3 sent, 0 were there" "0 sent, 3 were there"; do
	"$tmp/remote" "$store" "$url" "for ${said%% *}" >"$tmp/said" 2>&1 || fail "remote failed: $(cat "$tmp/said")"
	[ "$(cat "$tmp/said")" = "$said" ] || fail "remote printed: $(cat "$tmp/said")"
	"$tmp/transfer" decode "$store-there" "for ${said%% *}" >"$tmp/said" 2>&1 ||
		fail "decode failed on the other node: $(cat "$tmp/said")"
	[ "$(cat "$tmp/said")" = "$(printf 'tokens 0-%d\n' 15 31 47)" ] || fail "decode printed: $(cat "$tmp/said")"
done
end_kvshmd TERM
kvshmd_pid=$there
end_kvshmd TERM
nothing_left
