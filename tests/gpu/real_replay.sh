#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# real_replay: engines replay a trace on a store in GPU memory, by both exports, while some of them are killed: every
# byte that is read is the right one, and nothing is lost. (kvshm-replay says so by its status.)
set -eu
"${top_builddir:?}/tests/gpu/real_probe" || exit
for export in fd ipc; do
	"${KVSHM_BIN:?}/kvshm-replay" --pool cuda:0 --export "$export" --generate 200 --procs 3 --capacity 256 \
		--block-size 64K --kill-every 300 --seconds 3
done
