# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# target.sh: how the targets are run by the tests; read by each of them.
#
# In a build with --enable-fuzzer libFuzzer makes the inputs: a number of them, so that a seed (KVSHM_TEST_SEED repeats
# it) makes the same ones. Elsewhere the target is given those in seeds/ only. An input that is at fault is in the
# test's log, in base64: what a test leaves is removed.
set -u

# run_target NAME RUNS LENGTH [OPTION]...: gives tests/fuzz/target_NAME so many inputs (thirty times as many with
# --long) of up to LENGTH bytes. OPTION: of libFuzzer.
run_target()
{
	local target=${top_builddir:?}/tests/fuzz/target_$1 runs=$2 length=$3 status input
	local new=${TMPDIR:?}/new seeds=${top_srcdir:?}/tests/fuzz/seeds/$1 seed=${KVSHM_TEST_SEED:-$(date +%s)}

	[ "${KVSHM_TEST_LONG:-}" != 1 ] || runs=$((runs * 30))
	[ -d "$seeds" ] || seeds=
	mkdir "$new" || exit
	echo "KVSHM_TEST_SEED=$seed"
	"$target" -seed="$seed" -runs="$runs" -max_len="$length" -len_control=0 -timeout=25 -rss_limit_mb=1024 \
		-close_fd_mask=3 -print_final_stats=1 -artifact_prefix="$TMPDIR/" "${@:4}" "$new" ${seeds:+"$seeds"}
	status=$?
	for input in "$TMPDIR"/{crash,leak,oom,timeout}-*; do
		[ ! -e "$input" ] || echo "the input, in base64: $(base64 -w 0 "$input")"
	done
	[ "$status" -eq 0 ] && exit
	echo "target_$1 ends with status $status"
	exit 1 # libFuzzer's 77 is no skipped test
}
