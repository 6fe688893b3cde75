# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# replay.sh: what the tests share that replay a trace from one node to another: the receiver is a kvshmd that listens
# and a decode engine, the sender kvshm-replay --remote. It begins with the lib.sh of the test's own directory: what
# needs no guest is in tests/cli.
# shellcheck source=tests/rdma/lib.sh
. "$(dirname "$0")/lib.sh"
key=$tmp/key
decoder_pid=
sender=
pause=0.005 # s between two looks at what is under way
[ ! "${KVSHM_GUEST:-}" ] || pause=0.05 # an emulated processor gets nowhere in less

# conversation N: the first requests of the conversation trace, or of one that is made where that one is not there:
# $tmp/trace.
conversation()
{
	local file=$top_srcdir/../shared/traces/conversation_trace.jsonl

	if [ -r "$file" ]; then
		head -n "$1" "$file" >"$tmp/trace"
	else
		"$KVSHM_BIN/../tests/cli/trace" make chats 1 | head -n "$1" >"$tmp/trace"
	fi
	[ "$(wc -l <"$tmp/trace")" -eq "$1" ] || fail "no trace of $1 requests"
}

make_key()
{
	(umask 077 && echo "the key of all tests in guests" >"$key")
}

# receive URL [ARGUMENT OF KVSHMD...]: a store that takes what comes. $url: where, with the port that it has.
receive()
{
	make_key
	start_kvshmd --store "$store" --listen "$1" --key-file "$key" "${@:2}"
	# shellcheck disable=SC2034 # tests read it
	url=$(sed -n 's/^kvshmd: listening at //p' "$tmp/kvshmd.log")
}

# decode: an engine that decodes what comes, until end_decode says that there is no more. $decoded_... is what it did.
decode()
{
	rm -f "$tmp/more"
	mkfifo "$tmp/more" || fail "no fifo"
	"$KVSHM_BIN/../tests/rdma/decode" "$store" "$tmp/trace" <"$tmp/more" >"$tmp/decoded" 2>"$tmp/decode.err" &
	decoder_pid=$!
	started+=("$decoder_pid")
	exec {more}>"$tmp/more"
}

end_decode()
{
	echo >&"$more" # a kvshmd that was started since may have it open
	exec {more}>&-
	wait "$decoder_pid" || fail "decode: $(cat "$tmp/decode.err" "$tmp/decoded")"
	cat "$tmp/decoded"
}

# decoded NAME: of the figures of the decoder.
decoded() { sed -n "s/.*\\b$1 \\([0-9]*\\).*/\\1/p" "$tmp/decoded"; }

# replay URL [ARGUMENT...]: sends the trace; what it tells is in $tmp/sent, and `sent NAME` is one of these.
replay()
{
	start_replay "$@"
	wait "$sender"
}

# start_replay URL [ARGUMENT...]: the same; it goes on, as process $sender.
start_replay()
{
	: >"$tmp/sent" # of an earlier one nothing is left
	"$KVSHM_BIN/kvshm-replay" --remote "$1" --key-file "$key" --json "${@:2}" "$tmp/trace" >"$tmp/sent" \
		2>"$tmp/replay.err" &
	sender=$!
	started+=("$sender")
}

# watch: begins to look at the store. next_look sets $filling, blocks that are being filled, $completed, how many
# requests come whole, and $whole as soon as some have. (One process that goes on: each that begins keeps an emulated
# processor busy for a second, in which those who send and receive get nowhere.)
watch()
{
	exec {looks}< <(exec "$KVSHM_BIN/kvshm-stat" --store "$store" --columns filling,requests_completed $pause 2>&1)
	watcher=$!
	started+=("$watcher")
	whole=
}

next_look()
{
	until read -r filling completed <&"$looks" && [[ $filling =~ ^[0-9]+$ ]]; do
		[ "$filling" = filling ] || fail "kvshm-stat: $filling $completed"
	done
	[ "$completed" = 0 ] || whole=yes
}

end_watch()
{
	kill "$watcher"
	exec {looks}<&-
}

# under_way: at the last look some requests had come whole, and others were on their way.
under_way() { [ "$whole" ] && [ "$filling" -gt 0 ]; }

# midway: stops the sender when it is under way. It is for moments only, and may be over when it is seen: what counts is
# what is still on its way when the sender has stood still for some time.
midway()
{
	local stands=0

	watch
	while [ $stands -lt 3 ]; do
		next_look
		kill -0 "$sender" 2>/dev/null || fail "it ended: $(cat "$tmp/sent" "$tmp/replay.err")"
		if ! under_way; then
			[ $stands -eq 0 ] || kill -CONT "$sender"
			stands=0
		elif [ $((stands++)) -eq 0 ]; then
			kill -STOP "$sender"
		fi
	done
	end_watch
}

must_replay()
{
	replay "$@" ||
		fail "kvshm-replay $*: status $?: $(tail -n 5 "$tmp/replay.err") $(cat "$tmp/kvshmd.log" 2>/dev/null)"
	tr -d '\n' <"$tmp/sent"
	echo
}

sent() { sed -n "s/^ *\"$1\": \\([0-9.]*\\),\\{0,1\\}\$/\\1/p" "$tmp/sent"; }

# equal WHAT A B
equal() { [ "$2" = "$3" ] || fail "$1: $2, not $3"; }

# settles: everything that was under way in the store ends, and nothing is left of it: no holds, no room, no fills, and
# no open requests; and kvshm-check finds nothing.
settles()
{
	local name left tries

	for ((tries = 0; tries < 200; tries++)); do
		must kvshm-stat --store "$store" --json
		left=
		for name in room filling held pins opening open complete ending aborted; do
			[ "$(json_value $name)" = 0 ] || left+=" $name $(json_value $name)"
		done
		[ "$left" ] || break
	done
	[ -z "$left" ] || fail "left in the store:$left"
	must kvshm-check --store "$store"
}
