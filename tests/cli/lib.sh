# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# lib.sh: what the tests of the tools share; read by each of them. Nothing in it waits by the clock: kvshmd's `ready`
# comes through a fifo, as do a client's answers.
#
# KVSHM_BIN is where the built tools are, KVSHM_TEST_PREFIX begins the names of all stores. A test ends with status 0
# (passed), 77 (skipped; the reason is its last line) or another (failed; the same). What it started is killed, and its
# stores are removed, when it ends.
set -u
export LC_ALL=C
: "${KVSHM_BIN:?is to be the directory of the built tools}"
: "${KVSHM_TEST_PREFIX:?is to be the beginning of the names of all stores}"
test_client=${KVSHM_TEST_CLIENT:-$KVSHM_BIN/../tests/cli/client}
store=${KVSHM_TEST_PREFIX}s
shm=${KVSHM_DIR:-/dev/shm} # where this test's stores live now
first_shm=$shm
tmp=$(mktemp -d) || exit 1
status=0
kvshmd_pid=
started=()
declare -A client_pid client_in client_out

clean_up()
{
	local pid

	for pid in "${started[@]}"; do
		kill -KILL "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
	done
	rm -rf "$tmp" "$first_shm"/kvshm*".$KVSHM_TEST_PREFIX"*
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

fail()
{
	echo "FAILED: $*"
	exit 1
}

skip()
{
	echo "$*"
	exit 77
}

# own_directory: from here on the test has a directory for stores of its own, where no other test's are.
own_directory()
{
	shm=$shm/kvshm.${KVSHM_TEST_PREFIX}dir
	mkdir "$shm" || fail "no directory"
	export KVSHM_DIR=$shm
}

# What a tool is run by, where a test needs that: words to stand before its name.
run_by=()

# try TOOL [ARGUMENT]...: $status, $tmp/out and $tmp/err are what came of it. A kvshmd that should have been refused,
# and serves instead, is ended.
try()
{
	status=0
	timeout 20 "${run_by[@]}" "$KVSHM_BIN/$1" "${@:2}" >"$tmp/out" 2>"$tmp/err" </dev/null || status=$?
}

# must TOOL [ARGUMENT]...: it succeeds, and says nothing on stderr.
must()
{
	try "$@"
	[ "$status" -eq 0 ] || fail "$*: status $status: $(cat "$tmp/err")"
	[ ! -s "$tmp/err" ] || fail "$*: unexpected on stderr: $(cat "$tmp/err")"
}

# call_off [ARGUMENT]...: a kvshmd that is told to end before it begins. $status, $tmp/out and $tmp/err as after try.
call_off()
{
	# shellcheck disable=SC2016 # the inner shell's
	local run_by=(env --block-signal=TERM sh -c 'kill -TERM $$; exec "$@"' sh)

	try kvshmd "$@"
}

# why_no_numa: prints why a store can't be bound to a NUMA node here, if so. A kvshmd that asks for mbind(2), and then
# ends, sees it.
why_no_numa()
{
	[ -e /sys/devices/system/node/node0 ] || { echo "this kernel has no NUMA"; return; }
	call_off --store "$store" --size 1M --block-size 4K --numa 0
	sed -nE 's/.*cannot bind .*: ((Function not implemented|Operation not permitted).*)/mbind(2): \1/p' "$tmp/err"
}

# refused STATUS PATTERN TOOL [ARGUMENT]...: it fails with the status, with a message of its own that matches the
# extended regular expression, and prints no result.
refused()
{
	local wanted=$1 pattern=$2

	shift 2
	try "$@"
	[ "$status" -eq "$wanted" ] || fail "$*: status $status, not $wanted: $(cat "$tmp/err")"
	[ ! -s "$tmp/out" ] || fail "$*: printed a result: $(cat "$tmp/out")"
	grep -qE -e "$pattern" "$tmp/err" || fail "$*: no '$pattern' in: $(cat "$tmp/err")"
	! grep -v "^$1: " "$tmp/err" || fail "$*: a message does not begin with the program's name"
}

# start_kvshmd [ARGUMENT]...: returns when clients can attach. $kvshmd_pid, and $tmp/kvshmd.log for its messages.
start_kvshmd()
{
	local line=

	rm -f "$tmp/ready"
	mkfifo "$tmp/ready" || fail "no fifo"
	"$KVSHM_BIN/kvshmd" "$@" >"$tmp/ready" 2>"$tmp/kvshmd.log" </dev/null &
	kvshmd_pid=$!
	started+=("$kvshmd_pid")
	read -r line <"$tmp/ready"
	[ "$line" = ready ] || fail "kvshmd $*: '$line' instead of ready: $(cat "$tmp/kvshmd.log")"
}

# end_kvshmd SIGNAL: $status is what it ended with.
end_kvshmd()
{
	kill "-$1" "$kvshmd_pid"
	status=0
	wait "$kvshmd_pid" 2>/dev/null || status=$?
}

# name_of PID: what the kernel calls a process: an emulator's name, if one runs it.
name_of() { cat "/proc/$1/comm"; }

# start_client ID STORE: a process (client.c) that attaches the store and does what ask tells it.
start_client()
{
	local in out

	[ -x "$test_client" ] || skip "no $test_client: make check builds it"
	rm -f "$tmp/$1.in" "$tmp/$1.out"
	mkfifo "$tmp/$1.in" "$tmp/$1.out" || fail "no fifo"
	"$test_client" "$2" <"$tmp/$1.in" >"$tmp/$1.out" &
	client_pid[$1]=$!
	started+=("$!")
	exec {in}>"$tmp/$1.in" {out}<"$tmp/$1.out"
	client_in[$1]=$in
	client_out[$1]=$out
	answer_of "$1" ok attach
}

# answer_of ID WANTED CALL: reads the client's next answer; a pattern of the shell's is wanted.
answer_of()
{
	local answer=

	read -r answer <&"${client_out[$1]}"
	# shellcheck disable=SC2053 # WANTED is a pattern
	[[ $answer = $2 ]] || fail "client $1: $3 gave '$answer', not '$2'"
}

# ask ID WANTED COMMAND KEY
ask()
{
	echo "$3 $4" >&"${client_in[$1]}"
	answer_of "$1" "$2" "$3 $4"
}

# kill_client ID: with SIGKILL; it is gone, its memory too, when this returns.
kill_client()
{
	kill -KILL "${client_pid[$1]}"
	wait "${client_pid[$1]}" 2>/dev/null
}

# json_value NAME: the value of the first member of that name in the document in $tmp/out.
json_value()
{
	sed -n "s/^ *\"$1\": \"\\{0,1\\}\\([^\",]*\\)\"\\{0,1\\},\\{0,1\\}\$/\\1/p" "$tmp/out" | head -n 1
}

# with_kills MS NAME[:N]...: calls replay_killing MS, a run of kvshm-replay that kills a process every so many ms, until
# each of these values, all runs taken together, is N at least (1 unless told). A busy machine may kill all engines
# before they come to any end, or not get around to kill: each run leaves them twice the time of the last.
with_kills()
{
	local every=$1 last=$(($1 * 64)) name least missing
	local -A sum=()

	shift
	for (( ; every <= last; every *= 2)); do
		replay_killing "$every"
		missing=
		while IFS=: read -r name least; do
			sum[$name]=$((${sum[$name]:-0} + $(json_value "$name")))
			[ "${sum[$name]}" -ge "${least:-1}" ] || missing+=" $name ${sum[$name]}"
		done < <(printf '%s\n' "$@")
		[ "$missing" ] || return 0
	done
	fail "too few in all runs together:$missing"
}

# shows NAME VALUE [STORE]: kvshm-stat's document has this value.
shows()
{
	must kvshm-stat --store "${3:-$store}" --json
	[ "$(json_value "$1")" = "$2" ] || fail "kvshm-stat: $1 is '$(json_value "$1")', not '$2'"
}

# nothing_left: no file of this test's is where stores live.
nothing_left()
{
	local left

	left=$(find "$shm" -mindepth 1 -maxdepth 1 -name "kvshm*.$KVSHM_TEST_PREFIX*")
	[ -z "$left" ] || fail "left behind: $left"
}
