# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
# shellcheck shell=bash
# shellcheck disable=SC2034 # variables are for those who read this file
#
# setup.sh: what tools/quickstart and tests/run share: installing what is missing, and building out of tree. A script
# that reads it is in bash, with set -u.

program=${0#./}
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 1
build=${KVSHM_BUILD:-$top/build}
jobs=$(nproc)
unset MAKEFLAGS MAKELEVEL MFLAGS CONFIG_SITE

library_packages=(liburcu-dev libsodium-dev libibverbs-dev librdmacm-dev libxxhash-dev libjansson-dev check)
build_packages=(gcc libc6-dev make autoconf automake libtool pkg-config "${library_packages[@]}")

say() { printf '%s: %s\n' "$program" "$*" >&2; }

# Prints those of the packages that are not installed. NAME:ARCHITECTURE is another architecture's.
missing_packages()
{
	local package architecture

	for package; do
		architecture=$(dpkg --print-architecture)
		[ "$package" = "${package%:*}" ] || architecture=${package##*:}
		dpkg-query -W -f='${db:Status-Status} ${Architecture}\n' "$package" 2>/dev/null |
			grep -qxE "installed ($architecture|all)" || echo "$package"
	done
}

# Installs those of the packages that are missing, and removes none. Nothing is asked, and no network is needed if none
# is missing.
install_packages()
{
	local missing sudo=() log architecture

	if ! command -v dpkg-query >/dev/null; then
		say "this is not Debian: nothing is installed; configure names what is missing"
		return
	fi
	mapfile -t missing < <(missing_packages "$@")
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ "$(id -u)" -ne 0 ]; then
		if ! command -v sudo >/dev/null; then
			say "missing: ${missing[*]}. Run this as root, or install sudo;" \
				"or as root: apt-get install ${missing[*]}"
			return 1
		fi
		sudo=(sudo)
	fi
	say "installing ${missing[*]}"
	for architecture in $(printf '%s\n' "${missing[@]}" | sed -n 's/.*://p' | sort -u); do
		"${sudo[@]}" dpkg --add-architecture "$architecture" || return
	done
	log=$(mktemp) || return
	if ! "${sudo[@]}" apt-get -q update >"$log" 2>&1 ||
		! "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-remove \
			--no-install-recommends "${missing[@]}" >>"$log" 2>&1 </dev/null; then
		tail -n 20 "$log" >&2
		rm -f "$log"
		say "apt-get failed (see above). Mend that, or install by hand: ${missing[*]}"
		return 1
	fi
	rm -f "$log"
}

# Makes configure when there is none, or an old one. make could do so too; but not in several builds at once.
make_configure()
{
	local log=$build/autogen.log

	mkdir -p "$build" && : >"$log" || return
	if [ ! -x "$top/configure" ] || [ ! -e "$top/Makefile.in" ] ||
		[ "$(find "$top" -maxdepth 3 \( -name configure.ac -o -name Makefile.am -o -name Makemodule.am -o \
			-path '*/m4/kvshm.m4' \) -newer "$top/Makefile.in")" ]; then
		logged "$log" "$top/autogen.sh" --force
	fi
}

# logged LOG COMMAND...: shows a command's output only when it fails.
logged()
{
	local log=$1

	shift
	if ! "$@" >>"$log" 2>&1 </dev/null; then
		say "failed: $*"
		grep -E -A 5 '(error|Error|\*\*\*|undefined reference)' "$log" | tail -n 40 >&2
		say "all of it is in $log"
		return 1
	fi
}

# configure_tree DIR OPTIONS...: configures DIR, if it was not configured so before.
configure_tree()
{
	local dir=$1 log=$1/build.log

	shift
	mkdir -p "$dir" && : >"$log" || return
	if [ ! -e "$dir/Makefile" ] || [ "$(cat "$dir/options" 2>/dev/null)" != "$*" ]; then
		rm -f "$dir/options"
		logged "$log" env -C "$dir" "$top/configure" "$@" || return
		echo "$*" >"$dir/options"
	fi
}

# make_tree DIR TARGET...: makes the targets in a directory that was configured.
make_tree()
{
	logged "$1/build.log" make -C "$1" -j "$jobs" "${@:2}"
}
