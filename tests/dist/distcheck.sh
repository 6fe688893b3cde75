#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# distcheck: from a release alone, in a directory of its own and with a source tree that is read-only (but for root),
# everything is built with warnings as errors; some tests of each kind pass (release_tests: the suites as a whole are
# not run twice); what was installed serves a program (installed.sh); uninstall and distclean leave nothing.
set -eu
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
# shellcheck disable=SC2016 # make expands it
make --no-print-directory -C "${top_builddir:?}" -j "$(nproc)" distcheck 'TESTS=$(release_tests)'
