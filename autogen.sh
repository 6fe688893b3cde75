#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# autogen.sh: makes configure and what it needs, in a checkout. A release has them.
set -eu
cd "$(dirname "$0")"
for tool in autoreconf automake libtoolize pkg-config; do
	if ! command -v $tool >/dev/null; then
		echo "autogen.sh: $tool is missing." \
			"On Debian: apt-get install autoconf automake libtool pkg-config" >&2
		exit 1
	fi
done
exec autoreconf --install --warnings=all,no-portability "$@"
