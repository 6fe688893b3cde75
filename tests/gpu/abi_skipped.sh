#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# abi_skipped: takes the place of tests/gpu/abi, where that can't be built.
echo "gpu/driver.h is not compared with cuda.h: configure found no cuda.h (--with-cuda=DIR), or no C++ compiler"
exit 77
