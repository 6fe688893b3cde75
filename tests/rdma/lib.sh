# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# lib.sh: what the tests in guests share; read by each of them. A test begins on the host, and goes on in a guest, or in
# two: in_guest and in_pair return there only. KVSHM_GUEST is one, a or b then, and 10.77.0.1 (one, a) or 10.77.0.2 (b)
# the guest's address on the network that its device is of.
#
# What it has of tests/cli/lib.sh is there: try, must, start_kvshmd, fail, skip. Guests end with their job, so nothing
# that is started needs to be ended.
top_srcdir=${top_srcdir:-$(dirname "$0")/../..}
# shellcheck source=tests/cli/lib.sh
. "$top_srcdir/tests/cli/lib.sh"
network=10.77.0
mtu=4200 # of it 4096 are a packet's of RDMA

leave_for_guests()
{
	[ ! "${KVSHM_GUEST:-}" ] || return 0
	[ -x "$KVSHM_BIN/../tests/rdma/windows" ] || skip "no tests/rdma/windows: this build is without RDMA"
	export KVSHM_GUESTS=${KVSHM_GUESTS:-$KVSHM_BIN/../guests}
	rm -rf "$tmp"
	trap - EXIT
	exec "$top_srcdir/tests/rdma/guest" "$1" bash "$0"
}

in_guest() { leave_for_guests run; }

in_pair()
{
	leave_for_guests pair
	exec {words}<>/dev/vport0p1 || fail "no port between the guests"
}

# tell WORD: to the other guest of a pair. await WORD: from it; it is the next, or the test has failed.
tell() { echo "$1" >&"$words"; }

await()
{
	local word=

	read -r -t "${KVSHM_TEST_LIMIT:-300}" word <&"$words"
	[ "$word" = "$1" ] || fail "guest $KVSHM_GUEST: '$word' instead of $1 from the other"
}

must_run() { "$@" || fail "$*: status $?"; }

# bring_up: the network's interface: the cable of a pair, or one that leads nowhere (rdma_cm has no use for lo). Sets
# $interface and $address.
bring_up()
{
	[ ! "${address:-}" ] || return 0
	address=$network.1
	interface=kvshm0
	if [ "$KVSHM_GUEST" = one ]; then
		must_run modprobe dummy numdummies=0
		must_run ip link add $interface mtu $mtu type dummy
	else
		must_run modprobe virtio_net
		interface=$(basename "$(dirname "$(find /sys/class/net/*/device -maxdepth 0 | head -n 1)")")
		must_run ip link set "$interface" mtu $mtu
		[ "$KVSHM_GUEST" = a ] || address=$network.2
	fi
	must_run ip address add "$address/24" dev "$interface"
	must_run ip link set "$interface" up
}

# device TYPE: rxe0 or siw0 on it, and rdma_cm.
device()
{
	bring_up
	case $1 in
	rxe) must_run modprobe rdma_rxe ;;
	siw) must_run modprobe siw ;;
	esac
	must_run modprobe rdma_ucm
	must_run rdma link add "${1}0" type "$1" netdev "$interface"
}

# second_device NAME INTERFACE ADDRESS: of rxe, on a network that leads nowhere.
second_device()
{
	must_run ip link add "$2" mtu $mtu type dummy
	must_run ip address add "$3/24" dev "$2"
	must_run ip link set "$2" up
	must_run rdma link add "$1" type rxe netdev "$2"
}

# gid_index DEVICE: which of its GIDs is the guest's address.
gid_index()
{
	local file hex

	# shellcheck disable=SC2046,SC2183 # four numbers
	hex=$(printf '%02x%02x:%02x%02x' $(tr . ' ' <<<"$address"))
	file=$(grep -lx "0000:0000:0000:0000:0000:ffff:$hex" /sys/class/infiniband/"$1"/ports/1/gids/* 2>/dev/null)
	[ "$file" ] || fail "$1 has no GID for $address"
	basename "$file"
}
