#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# The program of README.md is doc/example.c, has at most 40 lines, and does what is said of it: it is built as a user
# would, with pkg-config against an installed library. Of several processes at once, one computes the block, and the
# others find it; one that waits for another's fill gets its bytes, or computes them itself when that one is killed.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
: "${top_srcdir:?}" "${top_builddir:?}" "${KVSHM_TEST_CC:?is to be the compiler}"

# The code block behind "## A program", without its indentation; and the file without its opening comment.
sed -n '/^## A program/,/^## /p' "$top_srcdir/README.md" | awk '/^    / { print substr($0, 5); code = 1; next }
	code && /^$/ { print; next }
	code { exit }' | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' >"$tmp/readme.c"
sed '1,/^ \*\/$/d' "$top_srcdir/doc/example.c" | expand >"$tmp/example.c"
[ -s "$tmp/example.c" ] || fail "doc/example.c has no program"
diff "$tmp/example.c" "$tmp/readme.c" || fail "README.md has another program than doc/example.c (left)"
[ "$(wc -l <"$tmp/example.c")" -le 40 ] || fail "it has more than 40 lines"

# An installation, as a package would make it.
root=$tmp/root
env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make -C "$top_builddir" DESTDIR="$root" install-includeHEADERS \
	install-libLTLIBRARIES install-nodist_pkgconfigDATA >"$tmp/install.log" 2>&1 ||
	fail "make install: $(tail "$tmp/install.log")"
pc=$(find "$root" -name kvshm.pc)
[ "$pc" ] || fail "no kvshm.pc is installed"
read -r -a flags < <(PKG_CONFIG_PATH=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$root pkg-config --cflags --libs kvshm)
read -r -a compiler <<<"$KVSHM_TEST_CC"
"${compiler[@]}" -Wall -Wextra -Werror -o "$tmp/example" "$tmp/readme.c" "${flags[@]}" >"$tmp/cc.log" 2>&1 ||
	fail "it does not compile: $(cat "$tmp/cc.log")"
library=$(find "$root" -name libkvshm.so)
export LD_LIBRARY_PATH=${library%/*}

# has_waiter: returns when a program that was started has slept in a wait.
has_waiter()
{
	waits=
	while [ "$waits" != 1 ]; do
		must kvshm-stat --store "$store" --json
		waits=$(json_value waits)
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
	has_waiter
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
nothing_left
