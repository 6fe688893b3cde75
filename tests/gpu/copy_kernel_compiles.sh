#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# copy_kernel_compiles: NVIDIA's assembler takes the kernel that copies, for GPUs from Turing on, and needs no memory
# for registers that there are too few of.
set -eu
: "${top_builddir:?}"

ptxas=$(command -v ptxas) || ptxas=${CUDA_HOME:-/usr/local/cuda}/bin/ptxas
if [ ! -x "$ptxas" ]; then
	echo "no ptxas, which CUDA has: name CUDA's directory in CUDA_HOME"
	exit 77
fi
ptx=$TMPDIR/copy.ptx
"$top_builddir/tests/gpu/copy_ptx" >"$ptx"
taken=0
for gpu in sm_75 sm_80 sm_90 sm_100 sm_120; do
	if ! "$ptxas" --help | grep -q "'$gpu'"; then
		echo "$gpu: this ptxas does not know it"
		continue
	fi
	said=$("$ptxas" -v -arch=$gpu -o "$TMPDIR/copy.cubin" "$ptx" 2>&1) || { echo "$gpu: $said"; exit 1; }
	case $said in
	*"0 bytes spill stores, 0 bytes spill loads"*) ;;
	*) echo "$gpu: registers are spilled: $said"; exit 1 ;;
	esac
	taken=$((taken + 1))
done
[ $taken -gt 0 ] || { echo "this ptxas knows none of the GPUs"; exit 1; }
echo "the kernel compiles for $taken kinds of GPU"
