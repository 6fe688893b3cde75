#!/bin/busybox sh
# shellcheck shell=dash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# guest_init: the first program of a guest, in its initrd: loads the modules that reach the host's files, and goes on
# with guest_root.sh of the host's / under a writable layer. What goes wrong ends the guest with a message.
/bin/busybox mkdir -p /bin /proc /sys /dev /host /layer /root
/bin/busybox --install -s /bin
export PATH=/bin

give_up()
{
	echo "guest: $*"
	poweroff -f
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do
	insmod "/modules/$module" || give_up "$module can't be loaded"
done </modules/order

# Nothing of the host changes while a guest looks at it: caching is safe.
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro host /host || give_up "no 9p"
mount -t tmpfs -o mode=755 tmpfs /layer
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work overlay /root || give_up "no overlayfs"

# The last word of the kernel's command line is where the harness is.
root=$(sed 's/.*kvshm\.root=//' /proc/cmdline)
umount /sys /proc
exec switch_root /root /bin/bash "$root"
