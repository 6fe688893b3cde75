#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# Permissions: a store's files have mode 0600 unless told; who may not read them, or may not write where stores live, is
# told so, and nothing is left behind. Root tries it without the capabilities that make it root for files.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

own_directory
segment=$shm/kvshm.$store

modes_are()
{
	local file

	for file in "$segment" "$segment.p0" "$segment.p1"; do
		[ "$(stat -c %a "$file")" = "$1" ] || fail "$file has mode $(stat -c %a "$file"), not $1"
	done
}

umask 077 # --mode is what the files get, whatever this says
for mode in 0660 0640 0644; do
	start_kvshmd --store "$store" --size 1M --block-size 4K --planes 2 --mode "$mode"
	modes_are "${mode#0}"
	end_kvshmd TERM
done
umask 000
start_kvshmd --store "$store" --size 1M --block-size 4K --planes 2
modes_are 600

if [ "$(id -u)" -eq 0 ]; then
	run_by=(setpriv "--bounding-set=-dac_override,-dac_read_search")
	"${run_by[@]}" "$KVSHM_BIN/kvshm-stat" --version >/dev/null || skip "setpriv can't run the tools here"
fi
must kvshm-stat --store "$store"
chmod 0 "$segment"
refused 1 "ermission" kvshm-stat --store "$store"
refused 2 "ermission" kvshm-check --store "$store"
chmod 600 "$segment"
end_kvshmd KILL

chmod 0 "$segment"
refused 1 "ermission" kvshmd --store "$store" --adopt
chmod 600 "$segment"
chmod 500 "$shm"
refused 1 "ermission|can't be written" kvshmd --store "${store}2" --size 1M --block-size 4K
chmod 0 "$shm"
refused 1 "ermission" kvshm-stat --list
refused 1 "ermission" kvshm-stat --store "$store"
chmod 700 "$shm"
[ ! -e "${segment}2" ] || fail "a store that was refused is there"
must kvshm-check --store "$store"
