#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# check: searches one model with spin, as the model itself says in the comment at its head:
#
#    * stands for shm/hold.c: kvs_hold_add(), kvs_hold_sub()      each file in lines of its own: functions that are
#                                                                 defined there; the file names the model
#    * check: [-O2] [-DNAME=VALUE...] what is shown               to be clean, searched to the end (-O2: millions of
#                                                                 states, so that compiling it well is worth it)
#    * long: [-DNAME=VALUE...] what is shown                      the same, with KVSHM_TEST_LONG=1 only
#    * fault N: -DFAULT=N [-DNAME=VALUE...] what is left out      to be found; each N that the model looks at has one
#
# Guarantees: a search that was cut short, by its depth or its memory, has failed, and so has a fault that isn't found
# where it may be (two at least). A statement that no clean search has reached has failed too, since a model that can't
# get there shows nothing about it, unless its line ends with the comment "not reached: why". What is compared are whole
# states: nothing is hashed away.
#
# Usage: tests/model/check.sh MODEL.pml
# Prints a table, in lines that begin with "| ", and where a search went wrong how it came to that. 77: spin is missing.
set -u
export LC_ALL=C
model=$(realpath "$1") || exit 1
name=$(basename "$model" .pml)
root=${top_srcdir:-$(dirname "$model")/../..}
memory=900 # MiB, for one search; two run at a time
packed=() # how states are kept: the long searches take less memory, and longer
if [ "${KVSHM_TEST_LONG:-}" ]; then
	memory=3000
	packed=(-DCOLLAPSE)
fi
depth=1000000

for program in spin cc; do
	command -v $program >/dev/null || { echo "$program is not installed"; exit 77; }
done
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
status=0

complain()
{
	echo "$name: $*"
	status=1
}

# lines_of LABEL: what stands behind ` * LABEL: ` at the head.
lines_of() { sed -n "/\*\//q; s/^ \* $1: *//p" "$model"; }

# Every function that the model stands for is where the model says, and knows of it.
check_names()
{
	local file functions function

	grep -q '^ \* stands for ' "$model" || complain "says of no function that it stands for it"
	while IFS=' ' read -r file functions; do
		file=${file%:}
		if ! grep -qF "tests/model/$name.pml" "$root/$file"; then
			complain "$file does not name tests/model/$name.pml"
		fi
		for function in $functions; do
			function=${function%%(*}
			grep -qE "^[A-Za-z].*\b$function\(" "$root/$file" || complain "$file has no $function()"
		done
	done < <(sed -n '/\*\//q; s/^ \* stands for //p' "$model")
	while IFS= read -r file; do
		file=${file#"$root/"}
		grep -q "^ \* stands for $file:" "$model" || complain "$file names it, but it does not stand for $file"
	done < <(grep -rlF "tests/model/$name.pml" --include='*.[ch]' "$root/shm" "$root/lib")
}

# search OPTIMISE FLAGS...: leaves what pan prints in `out`. Small searches get a small table to begin with, and take
# less time than it takes to compile them well.
search()
{
	local optimise=$1 table=24

	shift
	[ "$optimise" = -O2 ] || table=20
	rm -f pan* ./*.trail
	if ! spin "$@" -a "$model" >out 2>&1 ||
	   ! cc "$optimise" -DSAFETY "${packed[@]}" -DMEMLIM="$memory" -o pan pan.c >>out 2>&1; then
		sed 's/^/    /' out
		complain "${*:-the model} does not compile"
		return 1
	fi
	./pan -m$depth -w$table >out 2>&1
}

figure() { sed -nE "s/$1/\1/p" out | head -n 1; }

# row FLAGS RESULT: a line of the table.
row()
{
	printf '| %-14s %-52s %9s states, depth %4s: %s\n' "$name" "$1" "$(figure '^ *([0-9.e+]+) states, stored.*')" \
		"$(figure '.*depth reached ([0-9]+),.*')" "$2"
}

# Why the search in `out` is not to be believed, if so.
cut_short()
{
	grep -m 1 -E 'max search depth|MEMLIM|out of memory|not completed|Bit statespace|Hash-Compact|aborting' out ||
		grep -q 'errors: ' out || echo "it ended before its end"
}

# Adds what this search can reach, and what of it it reached, to `all` and `reached`, each a statement and its line.
add_reached()
{
	./pan -d 2>/dev/null | awk -v out=out -v model="$name.pml:" '
		BEGIN {
			while ((getline text <out) > 0) {
				if (text ~ /^unreached in /)
					process = text ~ /init$/ ? ":init:" : substr(text, match(text, /[^ ]+$/))
				else if (match(text, /state [0-9]+/))
					unreached[process, substr(text, RSTART + 6, RLENGTH - 6)] = 1
			}
		}
		/^(proctype|init|:init:)/ { process = /init/ ? ":init:" : $2 }
		/ org / { next } # the escape of an unless, which every statement in it has
		/=> / {
			line = substr($0, index($0, model) + length(model))
			statement = substr(line, index(line, "=> ") + 3)
			sub(/ .*/, "", line)
			if (statement !~ /^(else|-end-|\.\(goto\)|goto .*)$/) {
				print line, statement >>"all"
				if (!((process, $2) in unreached))
					print line, statement >>"reached"
			}
		}'
}

# clean OPTIMISE FLAGS WHAT: the model holds there.
clean()
{
	local optimise=$1 flags why start=$EPOCHREALTIME

	shift
	read -r -a flags <<<"$1"
	search "$optimise" "${flags[@]}" || return
	why=$(cut_short)
	if ! grep -q 'errors: 0$' out; then
		row "$1" "NOT CLEAN: $(found)"
		complain "an error with $1; it came to it so:"
		spin "${flags[@]}" -t -p -g -l -k "$name.pml.trail" "$model" 2>&1 | tail -n 200 | sed 's/^/    /'
	elif [ "$why" ]; then
		row "$1" "CUT SHORT: $why"
		complain "the search with $1 was cut short"
	else
		row "$1" "clean, $(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }') s: $2"
		add_reached
	fi
}

# What kind of error was found: that nothing goes on, where it should, is an invalid end state.
found() { sed -nE 's/^pan:1: (assertion violated|invalid end state).*/\1/p' out | head -n 1; }

# faulty FLAGS WHAT: the fault is found.
faulty()
{
	local flags

	read -r -a flags <<<"$1"
	search -O0 "${flags[@]}" || return
	if grep -q 'errors: 1$' out && [ "$(found)" ]; then
		row "$1" "this fault is found ($(found)): $2"
	else
		row "$1" "NOT FOUND: $2 $(cut_short)"
		complain "the fault $1 is not found"
	fi
}

# flags_of LINE: the options that it begins with.
flags_of()
{
	local word flags=()

	for word in $1; do
		[[ $word == -D* ]] || break
		flags+=("$word")
	done
	echo "${flags[*]}"
}

check_clean()
{
	local line flags optimise

	: >all
	: >reached
	lines_of check >configurations
	[ -s configurations ] || complain "names no configuration to check"
	while IFS= read -r line; do
		optimise=-O0
		[[ $line != -O2\ * ]] || optimise=-O2
		line=${line#-O2 }
		flags=$(flags_of "$line")
		clean $optimise "$flags" "${line#"$flags "}"
	done <configurations
	sort -u all | comm -23 - <(sort -u reached) | while read -r line text; do
		sed -n "${line}p" "$model" | grep -q '/\* not reached: ' || echo "$line: $text"
	done >never
	if [ -s never ]; then
		sort -n never | sed "s/^/    $name.pml:/"
		complain "no clean search reaches these statements"
	fi
	[ "${KVSHM_TEST_LONG:-}" ] || return
	while IFS= read -r line; do
		flags=$(flags_of "$line")
		clean -O2 "$flags" "${line#"$flags "}"
	done < <(lines_of long)
}

check_faults()
{
	local line flags number

	lines_of 'fault [0-9]*' >faults
	[ "$(wc -l <faults)" -ge 2 ] || complain "plants less than two faults"
	while IFS= read -r line; do
		flags=$(flags_of "$line")
		[[ $flags == *-DFAULT=* ]] || complain "a fault without its -DFAULT: $line"
		faulty "$flags" "${line#"$flags "}"
	done <faults
	while read -r number; do
		grep -qE -- "-DFAULT=$number( |\$)" faults || complain "fault $number is not said to be found"
	done < <(grep -oE 'FAULT [!=]= [1-9][0-9]*' "$model" | grep -oE '[0-9]+' | sort -u)
}

check_names
check_clean
check_faults
exit $status
